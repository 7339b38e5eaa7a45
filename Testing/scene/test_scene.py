"""The MRML bridge on the slicer-core wheel: geometry, results as nodes, overlay pixels, tables, .mrb."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

slicer = pytest.importorskip("slicer", reason="needs slicer-core: pip install -e .[slicer]")

import slicer.util  # noqa: E402, F811
import vtk  # noqa: E402

from bootstrap import Application, bootstrap, pixels  # noqa: E402
from bundles import tiny_bundle  # noqa: E402
from evaluation_cases import listed_files  # noqa: E402
from MRI2PETLib.cli import main  # noqa: E402
from MRI2PETLib.core.errors import InputError  # noqa: E402
from MRI2PETLib.core.files import write_json  # noqa: E402
from MRI2PETLib.evaluation.case import RegionRow  # noqa: E402
from MRI2PETLib.evaluation.reference_region import stated_reference  # noqa: E402
from MRI2PETLib.images.grid import Grid  # noqa: E402
from MRI2PETLib.images.io import read_image, same_grid, write_image  # noqa: E402
from MRI2PETLib.models.model_space import ModelSpace  # noqa: E402
from MRI2PETLib.reports.colors import NORMDIFF_LIMIT, PET_IN_SLICER  # noqa: E402
from MRI2PETLib.scene.display import (  # noqa: E402
    NO_VALUE,
    Layers,
    normdiff_color_node,
    pet_window,
    set_pet_window,
    set_views,
    show_overlay,
)
from MRI2PETLib.scene.files import write_pet, write_synthetic  # noqa: E402
from MRI2PETLib.scene.images import add_volume, image_of, mask_of_segment  # noqa: E402
from MRI2PETLib.scene.nodes import all_or_nothing  # noqa: E402
from MRI2PETLib.scene.overwrite import overwrite_result  # noqa: E402
from MRI2PETLib.scene.results import (  # noqa: E402
    ResultNodes,
    Synthetic,
    add_result,
    read_synthetic,
    result_nodes,
)
from MRI2PETLib.scene.tables import (  # noqa: E402
    add_bland_altman,
    add_scatter,
    add_table,
    global_columns,
    region_columns,
    with_decimals,
)
from MRI2PETLib.simulation import simulate_subject  # noqa: E402
from MRI2PETLib.synthesis.pipeline import synthesize  # noqa: E402

RAMP_MM = 1e-3  # what the interface promises; NIfTI headers are float32
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@pytest.fixture
def application(tmp_path: Path) -> Application:
    return bootstrap(tmp_path)


@pytest.fixture
def scene(application: Application) -> Any:
    return application.scene


def turn(angles_deg: tuple[float, float, float]) -> np.ndarray:
    """Rotation about x, then y, then z."""
    x, y, z = np.deg2rad(angles_deg)
    about_x = [[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]]
    about_y = [[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]]
    about_z = [[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]]
    return np.array(about_z) @ np.array(about_y) @ np.array(about_x)


def grid_of(direction: np.ndarray, spacing: tuple[float, float, float], size: tuple[int, int, int]) -> Grid:
    """A grid (LPS) whose middle is at (3, -7, 11) mm."""
    half = (np.array(size) - 1) / 2 * spacing
    origin = np.array([3.0, -7.0, 11.0]) - direction @ half
    return Grid(size, spacing, tuple(origin.tolist()), tuple(direction.ravel().tolist()))


GRIDS = {
    "RAS": grid_of(np.diag([-1.0, -1.0, 1.0]), (2.0, 2.0, 2.0), (50, 52, 54)),
    "LAS": grid_of(np.diag([1.0, -1.0, 1.0]), (2.0, 2.0, 2.0), (50, 52, 54)),
    "oblique": grid_of(turn((20, -15, 30)), (2.0, 2.0, 2.0), (50, 52, 54)),
    "anisotropic": grid_of(np.diag([-1.0, -1.0, 1.0]), (1.0, 1.5, 5.0), (100, 70, 22)),
}


def random_grid(rng: np.random.Generator) -> Grid:
    """Oblique by up to 40 degrees, axes permuted and flipped at random, anisotropic."""
    axes = np.eye(3)[rng.permutation(3)] * rng.choice([-1, 1], 3)
    direction = turn(tuple(rng.uniform(-40, 40, 3))) @ axes
    size = tuple(rng.integers(55, 75, 3).tolist())
    return grid_of(direction, tuple(rng.uniform(2.5, 4.0, 3).tolist()), size)


def world(grid: Grid) -> np.ndarray:
    """LPS mm of every voxel, [3, k, j, i]."""
    k, j, i = np.indices(grid.size[::-1])
    scaled = np.stack([i, j, k]).reshape(3, -1) * np.array(grid.spacing_mm)[:, None]
    points = np.reshape(grid.direction, (3, 3)) @ scaled + np.array(grid.origin)[:, None]
    return points.reshape(3, *grid.size[::-1])


def cropped(image: sitk.Image, rng: np.random.Generator) -> sitk.Image:
    start = rng.integers(0, 4, 3)
    size = np.array(image.GetSize()) - start - rng.integers(0, 4, 3)
    return sitk.RegionOfInterest(image, size.tolist(), start.tolist())


def ramp_error_mm(node: Any, axis: int) -> float:
    """Largest |value - LPS coordinate by the node's own geometry| of a volume that holds a coordinate."""
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    values = slicer.util.arrayFromVolume(node)
    k, j, i = (index.ravel() for index in np.indices(values.shape))
    points = LPS @ slicer.util.arrayFromVTKMatrix(matrix) @ np.stack([i, j, k, np.ones_like(i)])
    return float(np.abs(points[axis] - values.ravel()).max())


def load(application: Application, path: Path) -> Any:
    """A file through Slicer's own reader."""
    logic = slicer.vtkSlicerVolumesLogic()
    logic.SetMRMLApplicationLogic(application.logic)
    logic.SetMRMLScene(application.scene)
    node = logic.AddArchetypeVolume(str(path), "loaded", 0)
    assert node is not None
    return node


@pytest.mark.parametrize("seed", range(10))
def test_world_ramp_survives_scene_library_and_files(
    application: Application, tmp_path: Path, seed: int
) -> None:
    """node -> image -> file -> image -> node, and file -> Slicer's reader (flips k of left-handed ones)."""
    rng = np.random.default_rng(seed)
    grid, axis = random_grid(rng), seed % 3
    image = cropped(grid.image(world(grid)[axis].astype(np.float32)), rng)
    node = add_volume(application.scene, image, "ramp")
    assert ramp_error_mm(node, axis) < RAMP_MM
    back = image_of(node)
    assert same_grid(back, image, 1e-9) and back.GetPixelID() == image.GetPixelID()
    assert np.array_equal(sitk.GetArrayViewFromImage(back), sitk.GetArrayViewFromImage(image))
    path = write_image(back, tmp_path / "ä ramp.nii.gz")
    again = add_volume(application.scene, read_image(path, kind="pet").image, "again")
    assert ramp_error_mm(again, axis) < RAMP_MM
    loaded = load(application, path)
    assert ramp_error_mm(loaded, axis) < RAMP_MM
    assert ramp_error_mm(add_volume(application.scene, image_of(loaded), "through"), axis) < RAMP_MM


@pytest.mark.parametrize(
    "kind", ["uint8", "int16", "uint16", "int32", "int64", "uint64", "float32", "float64"]
)
def test_voxel_types(scene: Any, kind: str) -> None:
    values = np.arange(24, dtype=kind).reshape(2, 3, 4)
    node = add_volume(scene, sitk.GetImageFromArray(values), "x", labels=kind == "uint8")
    result = sitk.GetArrayFromImage(image_of(node))
    assert np.array_equal(result, values)
    assert result.dtype == (np.int32 if kind in ("int64", "uint64") else values.dtype)


def test_what_a_volume_node_cannot_hold(scene: Any) -> None:
    with pytest.raises(InputError, match="32 bits"):
        add_volume(scene, sitk.GetImageFromArray(np.full((2, 2, 2), 2**40)), "big")
    with pytest.raises(InputError, match="3-D"):
        add_volume(scene, sitk.GetImageFromArray(np.zeros((2, 2))), "flat")
    assert scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 0


def transform_node(scene: Any, matrix: np.ndarray) -> Any:
    node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "moved")
    node.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    return node


def test_parent_transforms_are_applied_or_refused(scene: Any) -> None:
    grid = GRIDS["oblique"]
    node = add_volume(scene, grid.image(world(grid)[0].astype(np.float32)), "x")
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = turn((10, 0, 5)), (5, -3, 20)
    node.SetAndObserveTransformNodeID(transform_node(scene, matrix).GetID())
    image = image_of(node)
    expected = LPS @ matrix @ LPS @ np.array([*grid.origin, 1])
    assert np.allclose(image.GetOrigin(), expected[:3], atol=1e-9)
    assert np.allclose(image.GetSpacing(), grid.spacing_mm, atol=1e-9)
    matrix[0, 1] += 0.3
    node.SetAndObserveTransformNodeID(transform_node(scene, matrix).GetID())
    with pytest.raises(InputError, match="sheared"):
        image_of(node)
    bent = scene.AddNewNodeByClass("vtkMRMLGridTransformNode", "bent")
    spline = vtk.vtkThinPlateSplineTransform()
    bent.SetAndObserveTransformToParent(spline)
    node.SetAndObserveTransformNodeID(bent.GetID())
    with pytest.raises(InputError, match="non-linear transform bent"):
        image_of(node)


def test_a_node_without_voxels(scene: Any) -> None:
    with pytest.raises(InputError, match="empty has no voxels"):
        image_of(scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty"))


@pytest.mark.parametrize("name", list(GRIDS))
def test_a_segment_becomes_the_mask_it_was_drawn_as(scene: Any, name: str) -> None:
    """A ball off the middle, so that a flip or a shift would show; also under a transform."""
    grid = GRIDS[name]
    ball = np.linalg.norm(world(grid) - np.array([13, -7, 5])[:, None, None, None], axis=0) < 20
    label = add_volume(scene, grid.image(ball.astype(np.uint8)), "ball", labels=True)
    segmentation = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "drawn")
    assert slicer.vtkSlicerSegmentationsModuleLogic.ImportLabelmapToSegmentationNode(label, segmentation)
    segment = segmentation.GetSegmentation().GetNthSegmentID(0)
    mask = mask_of_segment(segmentation, segment, grid.image())
    assert np.array_equal(sitk.GetArrayViewFromImage(mask), ball)
    shifted = np.eye(4)
    shifted[2, 3] = 1000
    segmentation.SetAndObserveTransformNodeID(transform_node(scene, shifted).GetID())
    with pytest.raises(InputError, match="no voxel inside"):
        mask_of_segment(segmentation, segment, grid.image())
    with pytest.raises(InputError, match="no segment other"):
        mask_of_segment(segmentation, "other", grid.image())


# -- results -----------------------------------------------------------------------------------------------

CENTRE = np.array([15.0, -17.0, 11.0])  # LPS mm, off the middle of the grids in x and y
PROVENANCE = {
    "version": "9",
    "device": "CPU",
    "seconds": {"total": 1.5},
    "model": {"id": "tiny", "version": "0", "sha256": "ab" * 32, "intended_use": "demonstration"},
}


def blob(grid: Grid, radius_mm: float) -> np.ndarray:
    return np.linalg.norm(world(grid) - CENTRE[:, None, None, None], axis=0) < radius_mm


def result_on(grid: Grid, **changes: Any) -> Synthetic:
    """PET of 1 in a ball of 16 mm; the real one is 2 in its half of larger z and 1/2 in the other."""
    inside = blob(grid, 16).astype(np.float32)
    real = inside * np.where(world(grid)[2] > CENTRE[2], 2, 0.5).astype(np.float32)
    images = {
        "pet": grid.image(inside),
        "mask": grid.image(inside.astype(np.uint8)),
        "real": grid.image(real),
    }
    provenance: dict[str, Any] = {
        "unit": "SUVR",
        "note": "Synthetic PET: not a measurement.",
        "tracer": "PBR28",
        "provenance": PROVENANCE,
        **images,
        **changes,
    }
    return Synthetic(**provenance)


def t1_on(scene: Any, grid: Grid) -> Any:
    return add_volume(scene, grid.image(np.full(grid.size[::-1], 100, np.int16)), "anna")


def test_a_suvr_by_a_named_region_says_so_on_its_nodes(scene: Any, tmp_path: Path) -> None:
    grid = GRIDS["LAS"]
    about = {**PROVENANCE, "reference_region": "cerebellum", "unit_meaning": "ratio to ..."}
    about |= {"preprocessing": {"model_space": ModelSpace().by_region("cerebellum").to_dict()}}
    nodes = add_result(scene, result_on(grid, provenance=about), t1_on(scene, grid))
    for node_id in (nodes.pet, nodes.real):
        quantity = scene.GetNodeByID(node_id).GetVoxelValueQuantity()
        assert quantity.GetCodeMeaning().endswith("to the mean in the cerebellum")
    write_synthetic(scene.GetNodeByID(nodes.pet), tmp_path / "pet.nii.gz")
    sidecar = json.loads((tmp_path / "pet.json").read_text())
    assert (sidecar["ReferenceRegion"], sidecar["LargestSUVR"]) == ("cerebellum", 4)
    assert "edited" not in sidecar["Provenance"]
    slicer.util.arrayFromVolume(scene.GetNodeByID(nodes.pet))[:] *= 2
    slicer.util.arrayFromVolumeModified(scene.GetNodeByID(nodes.pet))
    write_synthetic(scene.GetNodeByID(nodes.pet), tmp_path / "pet.nii.gz")
    assert json.loads((tmp_path / "pet.json").read_text())["Provenance"]["edited"]
    write_pet(scene.GetNodeByID(nodes.real), tmp_path / "real.nrrd", None)  # for a norm of another region
    assert stated_reference(tmp_path / "real.nrrd") == "cerebellum"


def test_result_nodes_say_what_they_are(scene: Any) -> None:
    grid = GRIDS["LAS"]
    nodes = add_result(scene, result_on(grid, sd=grid.image()), t1_on(scene, grid))
    pet, real, normdiff = (scene.GetNodeByID(i) for i in (nodes.pet, nodes.real, nodes.normdiff))
    assert (
        pet.GetName() == "synthetic PBR28 PET (SUVR) of anna" and real.GetName() == "real PET (SUVR) of anna"
    )
    for node_id in (nodes.pet, nodes.sd, nodes.normdiff):
        node = scene.GetNodeByID(node_id)
        assert "not a measurement" in node.GetDescription()
        assert node.GetAttribute("MRI2PET.Synthetic") == "true"
        assert node.GetAttribute("MRI2PET.ModelSha256") == "ab" * 32
        assert json.loads(node.GetAttribute("MRI2PET.Provenance")) == PROVENANCE
    assert real.GetAttribute("MRI2PET.Synthetic") is None
    assert pet.GetVoxelValueUnits().GetCodeValue() == "{SUVR}"
    assert pet.GetVoxelValueUnits().GetCodingSchemeDesignator() == "UCUM"
    assert pet.GetVoxelValueQuantity().GetCodeMeaning().startswith("Standardized uptake value ratio")
    assert normdiff.GetVoxelValueUnits() is None
    values = slicer.util.arrayFromVolume(normdiff)
    assert np.allclose(np.unique(values), [NO_VALUE, -1 / 3, 1 / 3], atol=1e-6)
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    assert nodes.unpredicted is None and hierarchy is not None


def test_a_result_that_is_overwritten_keeps_its_node_and_nothing_of_its_content(scene: Any) -> None:
    grid = GRIDS["RAS"]
    t1 = t1_on(scene, grid)
    earlier = add_result(scene, result_on(grid, sd=grid.image()), t1)
    before = {scene.GetNthNode(n).GetID() for n in range(scene.GetNumberOfNodes())}
    scene.GetNodeByID(earlier.pet).SetName("mine")
    doubled = result_on(grid, pet=grid.image(2 * blob(grid, 16).astype(np.float32)), note="Another note.")
    new = add_result(scene, doubled, t1)
    homeless = []  # Slicer warns of each node that is removed and belongs to no scene any more

    def note(_scene: Any, _event: str, node: Any) -> None:
        homeless.append(node.GetID() if node.GetScene() is None else None)

    note.CallDataType = vtk.VTK_OBJECT  # type: ignore[attr-defined]
    watch = scene.AddObserver(scene.NodeAboutToBeRemovedEvent, note)
    nodes = overwrite_result(scene, earlier.pet, new)
    scene.RemoveObserver(watch)
    assert len(homeless) > 5 and set(homeless) == {None}
    pet = scene.GetNodeByID(nodes.pet)
    assert nodes.pet == earlier.pet and scene.GetNodeByID(new.pet) is None
    assert pet.GetName() == "mine" and pet.GetDescription() == "Another note."
    assert scene.GetNodeByID(nodes.real).GetName() == "real PET (SUVR) of anna"
    assert slicer.util.arrayFromVolume(pet).max() == 2
    assert (nodes.real, nodes.normdiff, nodes.mask, nodes.sd) == (new.real, new.normdiff, new.mask, None)
    assert pet_window(pet) == pet_window(scene.GetNodeByID(nodes.real))
    assert all(
        scene.GetNodeByID(i) is None for i in (earlier.real, earlier.mask, earlier.sd, earlier.normdiff)
    )
    after = {scene.GetNthNode(n).GetID() for n in range(scene.GetNumberOfNodes())}
    assert len(after) <= len(before)  # nothing of the earlier one is left
    other = t1_on(scene, GRIDS["LAS"])
    other.SetName("bert")
    third = add_result(scene, result_on(GRIDS["LAS"]), other)
    assert overwrite_result(scene, earlier.pet, third).t1 == other.GetID()
    assert pet.GetName() == "synthetic PBR28 PET (SUVR) of bert"
    assert overwrite_result(scene, "vtkMRMLScalarVolumeNode99", third) == third


def test_a_result_keeps_its_nodes_when_a_clone_of_it_is_overwritten(scene: Any) -> None:
    """A volume that Slicer clones refers to the nodes of the first."""
    grid = GRIDS["RAS"]
    t1 = t1_on(scene, grid)
    first = add_result(scene, result_on(grid, sd=grid.image()), t1)
    clone = slicer.vtkSlicerVolumesLogic().CloneVolume(scene, scene.GetNodeByID(first.pet), "clone")
    assert result_nodes(scene, clone.GetID()).mask == first.mask
    nodes = overwrite_result(scene, clone.GetID(), add_result(scene, result_on(grid), t1))
    assert result_nodes(scene, first.pet) == first and first.normdiff and first.sd
    assert {nodes.mask, nodes.real, nodes.normdiff}.isdisjoint(vars(first).values())
    overwrite_result(scene, first.pet, add_result(scene, result_on(grid), t1))
    assert scene.GetNodeByID(first.mask) is None  # it is of one result now
    assert result_nodes(scene, clone.GetID()) == nodes


def test_results_join_the_study_of_the_t1(scene: Any) -> None:
    grid = GRIDS["RAS"]
    t1 = t1_on(scene, grid)
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "a study")
    hierarchy.CreateItem(study, t1)
    nodes = add_result(scene, result_on(grid), t1)
    for node_id in filter(None, vars(nodes).values()):
        item = hierarchy.GetItemByDataNode(scene.GetNodeByID(node_id))
        assert hierarchy.GetItemParent(item) == study


def test_real_and_synthetic_share_one_window_and_colours(scene: Any) -> None:
    nodes = add_result(scene, result_on(GRIDS["RAS"]))
    displays = [scene.GetNodeByID(i).GetDisplayNode() for i in (nodes.pet, nodes.real)]
    for display in displays:
        assert display.GetColorNodeID() == PET_IN_SLICER
        assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == pytest.approx((0, 2))
        assert display.GetApplyThreshold() and display.GetLowerThreshold() == pytest.approx(0.1)
    set_pet_window(scene, (nodes.pet, nodes.real), 3.0, transparent_below=0.7)
    for display in displays:
        assert display.GetWindow() == pytest.approx(3) and display.GetLowerThreshold() == pytest.approx(0.7)
    scene.RemoveNode(scene.GetNodeByID(nodes.real))  # deleted by the user meanwhile
    set_pet_window(scene, (nodes.pet, nodes.real), 2.0, transparent_below=0.0)
    with pytest.raises(InputError, match="shows nothing"):
        set_pet_window(scene, (nodes.pet, nodes.real), 1.0, transparent_below=1.0)


def test_normdiff_colours_are_symmetric_around_0(scene: Any) -> None:
    node = normdiff_color_node(scene)
    assert normdiff_color_node(scene).GetID() == node.GetID()
    colors = np.array([_color(node, n) for n in range(node.GetNumberOfColors())])
    assert len(colors) % 2 == 1
    assert np.all(colors[:, 3] == 1)
    assert np.all(np.diff(colors[: len(colors) // 2, 0]) > 0)  # blue, paler towards the middle
    assert np.all(np.diff(colors[len(colors) // 2 + 1 :, 2]) < 0)  # then redder
    assert colors[0, 2] > 0.6 > 0.1 > colors[0, 0] and colors[-1, 0] > 0.6 > 0.1 > colors[-1, 1]


def _color(node: Any, index: int) -> list[float]:
    color = [0.0] * 4
    node.GetColor(index, color)
    return color


def state(scene: Any) -> list[tuple[str, str]]:
    nodes = [scene.GetNthNode(n) for n in range(scene.GetNumberOfNodes())]
    return [(n.GetID(), n.GetName()) for n in nodes]


def test_a_failure_leaves_the_scene_as_it_was(application: Application, monkeypatch: Any) -> None:
    import MRI2PETLib.scene.display as module

    scene, grid = application.scene, GRIDS["RAS"]
    t1 = t1_on(scene, grid)
    show_overlay(scene, t1.GetID(), None, 0.3)
    pixels(application, "Red")
    before = state(scene)

    def fail(*_: Any) -> None:
        raise RuntimeError("no display")

    with monkeypatch.context() as patch:
        patch.setattr(module, "normdiff_color_node", fail)
        with pytest.raises(RuntimeError, match="no display"):
            add_result(scene, result_on(grid), t1)
    assert state(scene) == before and not scene.IsBatchProcessing()
    with pytest.raises(KeyboardInterrupt), all_or_nothing(scene):
        node = add_volume(scene, grid.image(), "x")
        show_overlay(scene, None, node.GetID(), 0.9)
        raise KeyboardInterrupt
    assert state(scene) == before
    composite = application.slices["Red"].GetSliceCompositeNode()
    assert composite.GetBackgroundVolumeID() == t1.GetID() and composite.GetForegroundVolumeID() is None
    assert composite.GetForegroundOpacity() == pytest.approx(0.3)
    with pytest.raises(InputError, match="not on one grid"):
        add_result(scene, result_on(grid, real=GRIDS["LAS"].image()))
    assert state(scene) == before


# -- pixels ------------------------------------------------------------------------------------------------


def pixel_points(application: Application, view: str, shape: tuple[int, ...]) -> np.ndarray:
    """LPS mm of every pixel of a view, [3, row, column]."""
    matrix = slicer.util.arrayFromVTKMatrix(application.slices[view].GetSliceNode().GetXYToRAS())
    row, column = np.indices(shape[:2])
    xy = np.stack([column, row, np.zeros_like(row), np.ones_like(row)]).reshape(4, -1)
    return (LPS @ matrix @ xy)[:3].reshape(3, *shape[:2])


@pytest.mark.parametrize("name", list(GRIDS))
@pytest.mark.parametrize("view", ["Red", "Green", "Yellow"])
def test_the_overlay_lies_where_the_pet_is(
    application: Application, tmp_path: Path, name: str, view: str
) -> None:
    """Colour exactly in the ball, grey around it, compared a pixel by its world position."""
    scene, grid = application.scene, GRIDS[name]
    t1 = t1_on(scene, grid)
    t1.GetDisplayNode().AutoWindowLevelOff()
    t1.GetDisplayNode().SetWindowLevelMinMax(0, 200)
    nodes = add_result(scene, result_on(grid), t1)
    show_overlay(scene, t1.GetID(), nodes.pet, 1.0)
    logic = application.slices[view]
    pixels(application, view)
    logic.GetSliceNode().JumpSliceByCentering(*(CENTRE * (-1, -1, 1)))
    logic.UpdatePipeline()
    picture = _current(logic).astype(int)
    distance = np.linalg.norm(pixel_points(application, view, picture.shape) - CENTRE[:, None, None], axis=0)
    colored = np.ptp(picture, axis=2) > 20
    voxel = max(grid.spacing_mm)
    assert colored[distance < 16 - voxel].all() and np.count_nonzero(distance < 16 - voxel) > 200
    assert not colored[distance > 16 + voxel].any()
    inside_t1 = (picture.max(axis=2) > 0) & (distance > 16 + voxel)
    assert abs(picture[inside_t1].mean() - 127) < 3  # half of the window


def _current(logic: Any) -> np.ndarray:
    return _image_of(logic)[..., :3]


def _image_of(logic: Any) -> np.ndarray:
    """What a view or a layer of it shows: uint8 [row, column, RGBA]."""
    producer = logic.GetImageDataConnection().GetProducer()
    producer.Update()
    image = producer.GetOutput()
    columns, rows, _ = image.GetDimensions()
    values = vtk.util.numpy_support.vtk_to_numpy(image.GetPointData().GetScalars())
    return np.array(values.reshape(rows, columns, -1))


def test_normdiff_is_red_above_blue_below_and_clear_outside(application: Application) -> None:
    scene, grid = application.scene, GRIDS["oblique"]
    t1 = t1_on(scene, grid)
    nodes = add_result(scene, result_on(grid), t1)
    show_overlay(scene, t1.GetID(), nodes.normdiff, 1.0)
    logic = application.slices["Green"]  # coronal: z goes up
    pixels(application, "Green")
    logic.GetSliceNode().JumpSliceByCentering(*(CENTRE * (-1, -1, 1)))
    logic.UpdatePipeline()
    picture = _current(logic).astype(int)
    offset = pixel_points(application, "Green", picture.shape) - CENTRE[:, None, None]
    distance = np.linalg.norm(offset, axis=0)
    above, below = (picture[(distance < 13) & (sign * offset[2] > 3)] for sign in (1, -1))
    assert len(above) > 100 and np.all(above[:, 2] > above[:, 0] + 60)  # real is twice: blue
    assert len(below) > 100 and np.all(below[:, 0] > below[:, 2] + 60)
    assert np.ptp(picture[distance > 19], axis=1).max() == 0
    display = scene.GetNodeByID(nodes.normdiff).GetDisplayNode()
    assert display.GetWindowLevelMin() == pytest.approx(-NORMDIFF_LIMIT)


def test_normdiff_is_opaque_in_the_brain_at_0_too_and_clear_outside(application: Application) -> None:
    """Half of a ball is exactly 0, the other half nearly: alpha of each voxel, in its axial slice."""
    scene, grid = application.scene, GRIDS["LAS"]
    inside = blob(grid, 16)
    real = inside * (1 + 1e-4 * np.clip(world(grid)[0] - CENTRE[0], 0, None))
    nodes = add_result(scene, result_on(grid, real=grid.image(real.astype(np.float32))))
    values = slicer.util.arrayFromVolume(scene.GetNodeByID(nodes.normdiff))[inside]
    assert np.count_nonzero(values == 0) > 500 and np.abs(values).max() < NORMDIFF_LIMIT / 255
    show_overlay(scene, None, nodes.normdiff, 1.0)
    logic = application.slices["Red"]
    shape = pixels(application, "Red").shape
    for k in range(grid.size[2]):
        logic.SetSliceOffset(grid.origin[2] + k * grid.spacing_mm[2])
        logic.UpdatePipeline()
        offset = pixel_points(application, "Red", shape) - np.array(grid.origin)[:, None, None]
        index = offset * np.array([1, -1, 1])[:, None, None] / 2
        i, j, own_k = np.rint(index).astype(int)
        assert np.all(own_k == k)
        there = np.all(np.abs(index - np.rint(index)) < 0.45, axis=0)  # at a border either voxel is right
        there &= (i >= 0) & (j >= 0) & (i < grid.size[0]) & (j < grid.size[1])
        expected = 255 * inside[k, j[there], i[there]]
        assert np.array_equal(_image_of(logic.GetForegroundLayer())[there][:, 3], expected)


def test_views_can_be_set_one_by_one(application: Application) -> None:
    scene = application.scene
    nodes = add_result(scene, result_on(GRIDS["RAS"]))
    layers: dict[str, Layers] = {"Red": (nodes.pet, None, 0.5), "Green": (nodes.real, None, 0.5)}
    set_views(scene, lambda view, now: layers.get(view, now))
    backgrounds = {
        name: logic.GetSliceCompositeNode().GetBackgroundVolumeID()
        for name, logic in application.slices.items()
    }
    assert backgrounds == {"Red": nodes.pet, "Green": nodes.real, "Yellow": None}


# -- files -------------------------------------------------------------------------------------------------


def test_results_are_read_back_from_their_files(tmp_path: Path) -> None:
    result, start = result_on(GRIDS["LAS"]), tmp_path / "sub-1_trc-PBR28_space-T1w"
    pet = write_image(result.pet, Path(f"{start}_desc-synthetic_pet.nii.gz"))
    write_image(result.mask, tmp_path / "sub-1_space-T1w_desc-brain_mask.nii.gz")
    assert result.real is not None
    write_image(result.real, Path(f"{start}_desc-real_pet.nii.gz"))
    files = {
        "pet": str(pet),
        "sidecar": f"{start}_desc-synthetic_pet.json",
        "mask": str(tmp_path / "sub-1_space-T1w_desc-brain_mask.nii.gz"),
        "real": f"{start}_desc-real_pet.nii.gz",
    }
    with pytest.raises(InputError, match="not the files of a synthesis"):
        read_synthetic(files)
    about = {"Units": "SUVR", "Description": "n", "Provenance": PROVENANCE, "TracerName": "PBR28"}
    write_json(Path(files["sidecar"]), about)
    outcome = read_synthetic(files)
    assert outcome.unit == "SUVR" and outcome.sd is None and outcome.provenance == PROVENANCE
    for a, b in ((outcome.pet, result.pet), (outcome.mask, result.mask), (outcome.real, result.real)):
        assert a is not None and same_grid(a, b)
        assert np.array_equal(sitk.GetArrayViewFromImage(a), sitk.GetArrayViewFromImage(b))


@pytest.mark.parametrize("name", ["LAS", "oblique"])
def test_from_the_scene_through_the_synthesis_and_back(
    application: Application, tmp_path: Path, name: str
) -> None:
    """A T1 that Slicer loaded, the command line, and its files as nodes on the grid of that T1."""
    person = simulate_subject(3, spacing_mm=3.0)
    turned = np.reshape(GRIDS[name].direction, (3, 3))
    centre = person.t1.TransformContinuousIndexToPhysicalPoint([n / 2 for n in person.t1.GetSize()])
    size, spacing = (76, 84, 60), (3.0, 3.0, 4.0)
    origin = np.array(centre) - turned @ ((np.array(size) - 1) / 2 * spacing)
    grid = Grid(size, spacing, tuple(origin.tolist()), tuple(turned.ravel().tolist())).image()
    t1_file = write_image(sitk.Resample(person.t1, grid, sitk.Transform()), tmp_path / "T1 of Slicer.nii.gz")
    t1 = load(application, t1_file)
    image = image_of(t1)
    (tmp_path / "in é").mkdir()
    paths = [write_image(image, tmp_path / "in é" / "anna_T1w.nii.gz")]
    for key, what in (("mask", person.brain_mask), ("pet", person.pet)):
        paths.append(write_image(sitk.Resample(what, image, sitk.Transform()), tmp_path / f"{key}.nii.gz"))
    bundle = tiny_bundle(tmp_path / "tiny")
    arguments = ["synthesize", str(paths[0]), "-o", str(tmp_path / "out"), "--model", str(bundle.folder)]
    arguments += ["--mask", str(paths[1]), "--pet", str(paths[2]), "--pet-unit", "SUV"]
    assert main([*arguments, "--device", "cpu", "--progress", "none"]) == 0
    files = listed_files(next((tmp_path / "out").glob("*_status.json")))
    nodes = add_result(application.scene, read_synthetic(files), t1)
    assert nodes.real is not None and nodes.normdiff is not None
    for node_id in (nodes.pet, nodes.mask, nodes.real, nodes.normdiff):
        assert same_grid(image_of(application.scene.GetNodeByID(node_id)), image, RAMP_MM)
    pet = application.scene.GetNodeByID(nodes.pet)
    assert pet.GetAttribute("MRI2PET.ModelSha256") == bundle.sha256
    assert "DEMONSTRATION MODEL" in pet.GetDescription()
    result = synthesize(image, bundle, mask=read_image(paths[1], kind="mask").image, device="cpu")
    direct = add_result(application.scene, Synthetic.of(result, bundle), t1)
    arrays = [slicer.util.arrayFromVolume(application.scene.GetNodeByID(n)) for n in (nodes.pet, direct.pet)]
    assert arrays[0].max() > 0 and np.allclose(*arrays, atol=1e-5)


@pytest.fixture
def saved(application: Application, tmp_path: Path) -> Iterator[tuple[Application, ResultNodes]]:
    scene, grid = application.scene, GRIDS["oblique"]
    nodes = add_result(scene, result_on(grid), t1_on(scene, grid))
    show_overlay(scene, None, nodes.pet, 0.4)
    add_scatter(scene, "agreement", [1, 2, 3], [1, 2, 2.5], ["a", "b", "c"], "SUVR")
    assert scene.WriteToMRB(str(tmp_path / "scene ä.mrb"))
    (tmp_path / "second").mkdir()
    yield bootstrap(tmp_path / "second"), nodes


def test_a_saved_scene_brings_everything_back(saved: tuple[Application, ResultNodes], tmp_path: Path) -> None:
    application, nodes = saved
    scene = application.scene
    assert scene.ReadFromMRB(str(tmp_path / "scene ä.mrb"))
    pet = scene.GetFirstNodeByName("synthetic PBR28 PET (SUVR) of anna")
    expected = result_on(GRIDS["oblique"])
    assert same_grid(image_of(pet), expected.pet)
    assert np.array_equal(slicer.util.arrayFromVolume(pet), sitk.GetArrayViewFromImage(expected.pet))
    assert "not a measurement" in pet.GetDescription()
    assert json.loads(pet.GetAttribute("MRI2PET.Provenance")) == PROVENANCE
    assert pet.GetVoxelValueUnits().GetCodeValue() == "{SUVR}"
    assert pet.GetDisplayNode().GetColorNodeID() == PET_IN_SLICER
    assert pet.GetDisplayNode().GetWindowLevelMax() == pytest.approx(2)
    assert pet.GetDisplayNode().GetLowerThreshold() == pytest.approx(0.1)
    colors = scene.GetFirstNodeByName("NormDiff of anna").GetDisplayNode().GetColorNode()
    assert colors.GetName() == "MRI2PET NormDiff" and colors.GetNumberOfColors() == 255
    assert _color(colors, 127)[3] == 1 and _color(colors, 0)[2] == pytest.approx(0.65, abs=1 / 255)
    chart = scene.GetFirstNodeByName("agreement")
    assert chart.GetNthPlotSeriesNode(0).GetTableNode().GetNumberOfRows() == 3
    composite = application.slices["Red"].GetSliceCompositeNode()
    assert composite.GetForegroundVolumeID() == pet.GetID()
    assert composite.GetForegroundOpacity() == pytest.approx(0.4)


# -- tables and plots --------------------------------------------------------------------------------------


def row(region: str, predictor: str, normdiff: float | None, **more: Any) -> RegionRow:
    values: dict[str, Any] = {
        "parcellation": "p",
        "label": ord(region),
        "region": region,
        "predictor": predictor,
    }
    values |= {"scale": "stated", "unit": "SUVR", "n_voxels": 9, "volume_ml": 0.5}
    return RegionRow(**{**values, **more, "metrics": {"normdiff_median": normdiff}})


def cells(node: Any, column: str) -> list[Any]:
    array = node.GetTable().GetColumnByName(column)
    return [array.GetValue(n) for n in range(array.GetNumberOfValues())]


def test_tables_show_baselines_beside_the_network_and_never_nan(scene: Any) -> None:
    network = {"mse": 0.5, "pearson_r": None, "n_voxels": 7, "not_available": {"pearson_r": "constant"}}
    baselines = {"constant": {"uses": "x", "mse": 0.25}, "training mean": {"not_available": {"all": "none"}}}
    node = add_table(scene, "global", global_columns(network, baselines, "SUVR"), "note")
    assert cells(node, "metric") == ["r", "MSE"] and cells(node, "unit") == ["", "SUVR²"]
    assert cells(node, "better") == ["higher", "lower"] and cells(node, "network") == ["", "0.5000"]
    assert cells(node, "constant") == ["", "0.2500"] and cells(node, "training mean") == ["", ""]
    rows = [row("a", "network", 0.1), row("b", "network", None), row("a", "warped average", 0.2)]
    rows += [row("b", "warped average", 0.3), row("a", "network", 0.9, scale="scale-free")]
    node = add_table(scene, "regions", region_columns(rows, "stated"))
    titles = [node.GetColumnName(n) for n in range(node.GetNumberOfColumns())]
    assert titles[0] == "region" and titles.index("parcellation") > titles.index("NormDiff, median, network")
    assert cells(node, "region") == ["a", "b"] and cells(node, "volume (mL)") == ["0.5", "0.5"]
    assert cells(node, "NormDiff, median, network") == ["0.1000", ""]
    assert cells(node, "NormDiff, median, warped average") == ["0.2000", "0.3000"]
    with pytest.raises(InputError, match="length"):
        add_table(scene, "x", {"a": [1], "b": []})
    with pytest.raises(InputError, match="no region"):
        region_columns(rows, "other")


def test_numbers_have_the_digits_of_their_column() -> None:
    columns = {
        "volume (mL)": [702.628, 0.008, 0.0],
        "peak z": [-3.114, -0.0, 2.0],
        "SUVR, real MR": [1.0, None, 1.058416, 0.9],
        "MSE": [0.0012, 1.4, 0.00003],
        "counts": [12345.6, 7.0],
        "regions": [21, 4],
    }
    assert with_decimals(columns) == {
        "volume (mL)": ["702.6", "0.008", "0.0"],
        "peak z": ["-3.11", "0.00", "2.00"],
        "SUVR, real MR": ["1.000", None, "1.058", "0.900"],
        "MSE": ["0.00120", "1.40000", "0.00003"],
        "counts": ["12345.6", "7.0"],
        "regions": [21, 4],
    }


def test_bland_altman_and_scatter_hold_the_numbers(scene: Any) -> None:
    """Differences 0, 1, 2: bias 1, SD 1, limits 1 -+ 1.96."""
    real, synthetic, names = [1.0, 2.0, 3.0], [1.0, 3.0, 5.0], ["a", "b", "c"]
    chart = add_bland_altman(scene, "agreement", real, synthetic, names, "SUVR")
    assert chart.GetNumberOfPlotSeriesNodes() == 4 and "SUVR" in chart.GetXAxisTitle()
    points = chart.GetNthPlotSeriesNode(0)
    assert cells(points.GetTableNode(), points.GetYColumnName()) == [0, 1, 2]
    assert cells(points.GetTableNode(), points.GetLabelColumnName()) == names
    levels = [chart.GetNthPlotSeriesNode(n) for n in (1, 2, 3)]
    result = [cells(s.GetTableNode(), s.GetYColumnName())[0] for s in levels]
    assert result == pytest.approx([1, -0.96, 2.96])
    assert levels[0].GetName() == "bias +1"
    lowest, highest = chart.GetYAxisRange()
    assert lowest < -0.96 and highest - 2.96 > 0.36 * (highest - lowest)  # the legend has four rows there
    chart = add_scatter(scene, "scatter", real, synthetic, names, "SUVR")
    line = chart.GetNthPlotSeriesNode(1)
    assert cells(line.GetTableNode(), "real") == cells(line.GetTableNode(), "synthetic") == [1, 5]
    before = state(scene)
    with pytest.raises(InputError, match="needs 3"):
        add_bland_altman(scene, "few", [1, 2], [1, 2], ["a", "b"], "SUVR")
    with pytest.raises(InputError, match="no point"):
        add_scatter(scene, "none", [], [], [], "SUVR")
    assert state(scene) == before
