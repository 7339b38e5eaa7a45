"""What the views of a result show: layouts, sides of the person, names, legends, layers, swipe."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="needs slicer-core: pip install -e .[slicer]")

import slicer.util  # noqa: E402, F811
import vtk  # noqa: E402
import vtk.util.numpy_support  # noqa: E402

from bootstrap import Application, bootstrap  # noqa: E402
from MRI2PETLib.images.grid import RAS_AXES, Grid  # noqa: E402
from MRI2PETLib.reports.colors import PET_IN_SLICER  # noqa: E402
from MRI2PETLib.scene.display import LegendWatch, layers_of, set_views, slice_node  # noqa: E402
from MRI2PETLib.scene.fit import corners_ras, fit_to_corners  # noqa: E402
from MRI2PETLib.scene.images import add_volume  # noqa: E402
from MRI2PETLib.scene.layout import (  # noqa: E402
    ALL_PLANES,
    SLICE_PLANES,
    crosshair_to_slices,
    layout_description,
    leave_results,
    overlay_of,
    set_layout,
    show_over_t1,
    show_result,
    shown_layout,
    straighten,
)
from MRI2PETLib.scene.results import ResultNodes, Synthetic, add_result  # noqa: E402
from MRI2PETLib.scene.swipe import Swipe  # noqa: E402
from MRI2PETLib.scene.view_marks import view_marks, view_sides  # noqa: E402

SHAPE, SPACING_MM = (20, 24, 30), 3.0  # [k, j, i]
LEFT_TO_RIGHT = (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0)


@pytest.fixture
def application(tmp_path: Path) -> Application:
    return bootstrap(tmp_path)


def result(scene: Any, direction: tuple[float, ...] = LEFT_TO_RIGHT) -> ResultNodes:
    """A synthetic PET of 1 and a real one of 2 in the whole of a small image, SD 0 to 0.5."""
    grid = Grid(SHAPE[::-1], (SPACING_MM,) * 3, (10.0, 20.0, -5.0), direction)
    ones = np.ones(SHAPE, np.float32)
    images = {
        "pet": grid.image(ones),
        "mask": grid.image(ones.astype(np.uint8)),
        "real": grid.image(2 * ones),
        "sd": grid.image(np.linspace(0, 0.5, ones.size, dtype=np.float32).reshape(SHAPE)),
    }
    synthetic = Synthetic(unit="SUVR", note="Not a measurement.", tracer="PBR28", **images)
    return add_result(scene, synthetic, add_volume(scene, grid.image(100 * ones), "anna"))


def composite(application: Application, view: str) -> Any:
    return application.slices[view].GetSliceCompositeNode()


def tags(description: str) -> list[str]:
    views = ElementTree.fromstring(description).iter("view")
    return [str(view.get("singletontag")) for view in views if view.get("class") == "vtkMRMLSliceNode"]


def test_compared_views_are_of_one_plane_or_of_all_three(application: Application) -> None:
    images = ("T1", "Real", "Synthetic", "NormDiff")
    for name in ("side by side", "readouts"):
        for plane, (orientation, _) in SLICE_PLANES.items():
            assert tags(layout_description(name, plane)) == [f"MRI2PET{i}{orientation}" for i in images]
        in_rows = [f"MRI2PET{i}{plane}" for plane in ("Axial", "Coronal", "Sagittal") for i in images]
        assert tags(layout_description(name, ALL_PLANES)) == in_rows
    overlay = layout_description("overlay")
    assert tags(overlay) == ["Red", "Green", "Yellow"] and "vtkMRMLViewNode" not in overlay
    layout = application.scene.AddNewNodeByClass("vtkMRMLLayoutNode")
    numbers = set()
    for name in ("overlay", "side by side", "readouts", "suvr"):
        for plane in (*SLICE_PLANES, ALL_PLANES) if name in ("side by side", "readouts") else ("axial",):
            set_layout(application.scene, name, plane)
            numbers.add(layout.GetViewArrangement())
            assert shown_layout(application.scene) == name
            if name in ("readouts", "suvr"):
                set_layout(application.scene, name, plane, plot=False)
                numbers.add(layout.GetViewArrangement())
    assert len(numbers) == 15 and min(numbers) > 100
    assert "vtkMRMLPlotViewNode" in layout_description("suvr")
    assert "vtkMRMLPlotViewNode" not in layout_description("suvr", plot=False)


def test_without_a_result_no_view_is_called_after_an_image_of_one(application: Application) -> None:
    layout = application.scene.AddNewNodeByClass("vtkMRMLLayoutNode")
    layout.SetViewArrangement(layout.SlicerLayoutFourUpView)
    leave_results(application.scene)
    assert layout.GetViewArrangement() == layout.SlicerLayoutFourUpView  # not one of ours
    set_layout(application.scene, "overlay")
    overlay = layout.GetViewArrangement()
    for name in ("side by side", "readouts", "suvr"):
        for plane in (*SLICE_PLANES, ALL_PLANES):
            for plot in (True, False):
                set_layout(application.scene, name, plane, plot=plot)  # type: ignore[arg-type]
                assert layout.GetViewArrangement() != overlay
                leave_results(application.scene)
                assert layout.GetViewArrangement() == overlay


def test_a_view_shows_the_whole_brain_as_large_as_it_can(application: Application) -> None:
    """A box of 6 x 3 x 9 voxels of 3 mm, in a turned image and in views of other shapes."""
    inside = np.zeros(SHAPE, np.uint8)
    inside[2:5, 4:10, 20:29] = 1  # [k, j, i]: 9, 18, 27 mm
    turned = (0, 0, 1.0, -1.0, 0, 0, 0, -1.0, 0)
    for direction, sides in ((LEFT_TO_RIGHT, (27, 18, 9)), (turned, (9, 27, 18))):
        grid = Grid(SHAPE[::-1], (SPACING_MM,) * 3, (10.0, 20.0, -5.0), direction)
        mask = add_volume(application.scene, grid.image(inside), "mask", labels=True)
        corners = corners_ras(application.scene, mask.GetID())
        assert corners is not None and np.ptp(corners, axis=0) == pytest.approx(sides)
        for name, axes in (("Red", (0, 1)), ("Green", (0, 2)), ("Yellow", (1, 2))):
            for size in ((400, 100), (90, 300)):
                view = slice_node(application.scene, name)
                view.SetDimensions(*size, 1)
                fit_to_corners(view, corners)
                shares = [sides[axis] / view.GetFieldOfView()[n] for n, axis in enumerate(axes)]
                assert 0.6 < max(shares) < 0.8
                assert view.GetFieldOfView()[0] / view.GetFieldOfView()[1] == pytest.approx(size[0] / size[1])
                middle = [view.GetSliceToRAS().GetElement(row, 3) for row in range(3)]
                assert middle == pytest.approx(corners.mean(axis=0))
    assert corners_ras(application.scene, None) is None
    empty = add_volume(application.scene, grid.image(0 * inside), "empty", labels=True)
    assert corners_ras(application.scene, empty.GetID()) is None


def test_the_sides_of_the_person_are_at_the_edges_of_a_view(application: Application) -> None:
    sides = {name: "".join(view_sides(slice_node(application.scene, name))) for name in application.slices}
    assert sides == {"Red": "RLAP", "Green": "RLSI", "Yellow": "APSI"}  # left, right, top, bottom
    red = slice_node(application.scene, "Red")
    red.GetSliceToRAS().SetElement(0, 0, 0.9)  # turned, and not like a radiologist
    red.GetSliceToRAS().SetElement(1, 0, -0.4)
    assert "".join(view_sides(red)) == "LRAP"


def test_a_view_names_its_uppermost_image(application: Application) -> None:
    scene, red = application.scene, composite(application, "Red")
    assert set(view_marks(scene, red)) == {""}
    nodes = result(scene)
    for volume, opacity, name in (
        (nodes.normdiff, 0.75, "NormDiff (red: synthetic\nhigher)"),
        (nodes.pet, 0.5, "synthetic PBR28 PET (SUVR)"),
        (nodes.pet, 0.0, "anna"),
        (None, 1.0, "anna"),
    ):
        set_views(scene, lambda _view, _now, top=(volume, opacity): (nodes.t1, *top))
        assert view_marks(scene, red) == ("R", "L", f"{name}\nA", "P")
    show_result(scene, nodes)
    slice_node(scene, "Red").SetDimensions(140, 300, 1)  # narrow: the name is broken
    assert view_marks(scene, red).top == "synthetic PBR28\nPET (SUVR)\nA"


def test_what_lies_over_the_t1_can_be_chosen_and_legends_learn_of_it(application: Application) -> None:
    scene = application.scene
    nodes = result(scene)
    show_result(scene, nodes, overlay="sd", plane="coronal")
    assert composite(application, "Green").GetForegroundVolumeID() == nodes.sd
    display = scene.GetNodeByID(nodes.sd).GetDisplayNode()
    assert display.GetWindowLevelMin() == 0 and display.GetWindowLevelMax() == pytest.approx(0.4975, abs=1e-3)
    assert display.GetColorNode() is not None and display.GetColorNodeID() != PET_IN_SLICER
    logic, ids = slicer.vtkSlicerColorLogic, [nodes.pet, nodes.real, nodes.normdiff, nodes.sd]
    legends = [logic.GetColorLegendDisplayNode(scene.GetNodeByID(node_id)) for node_id in ids]
    views = {legend.GetTitleText(): legend.GetViewNodeIDs() for legend in legends}
    assert views["SD (SUVR)"] == ("vtkMRMLSliceNodeRed",)
    assert views["NormDiff"] == ("vtkMRMLSliceNodeRed", "vtkMRMLSliceNodeMRI2PETNormDiffCoronal")
    notified: list[int] = []
    for number, legend in enumerate(legends):
        legend.AddObserver("ModifiedEvent", lambda *_, number=number: notified.append(number))
    show_over_t1(scene, nodes, "normdiff")
    assert overlay_of(scene, nodes) == "normdiff"
    assert set(notified) == {0, 1, 2, 3}
    show_result(scene, nodes)
    assert overlay_of(scene, nodes) == "pet" and overlay_of(scene, None) is None
    set_views(scene, lambda _view, now: (now[0], nodes.t1, now[2]))  # such as z
    assert overlay_of(scene, nodes) is None
    assert scene.GetNumberOfNodesByClass("vtkMRMLColorLegendDisplayNode") == 4


def test_an_image_that_is_loaded_takes_neither_legends_nor_compared_views(application: Application) -> None:
    scene = application.scene
    watch = LegendWatch(scene)
    compared = slicer.vtkMRMLSliceLogic()
    compared.SetMRMLApplicationLogic(application.logic)
    compared.SetMRMLScene(scene)
    compared.AddSliceNode("MRI2PETSyntheticAxial")
    application.logic.GetSliceLogics().AddItem(compared)
    nodes = result(scene)
    show_result(scene, nodes)
    legend = slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(scene.GetNodeByID(nodes.pet))
    notified: list[str] = []
    legend.AddObserver("ModifiedEvent", lambda *_: notified.append("legend"))
    grid = Grid(SHAPE[::-1], (2.0,) * 3, (0.0,) * 3)
    other = add_volume(scene, grid.image(np.ones(SHAPE, np.float32)), "other")
    assert not notified
    scene.GetNodeByID("vtkMRMLSelectionNodeSingleton").SetActiveVolumeID(other.GetID())
    application.logic.PropagateVolumeSelection(0)  # as Slicer does with a file
    assert notified
    assert composite(application, "Red").GetBackgroundVolumeID() == other.GetID()
    assert layers_of(compared.GetSliceCompositeNode())[:2] == (nodes.t1, nodes.pet)
    del watch


def test_a_view_that_an_oblique_image_has_turned_is_turned_back(application: Application) -> None:
    oblique = (0.8, 0.0, 0.6, 0.0, 1.0, 0.0, -0.6, 0.0, 0.8)
    grid = Grid(SHAPE[::-1], (2.0,) * 3, (0.0,) * 3, oblique)
    volume = add_volume(application.scene, grid.image(np.ones(SHAPE, np.float32)), "oblique")
    for name, orientation in (("Red", "Axial"), ("Green", "Coronal"), ("Yellow", "Sagittal")):
        view = slice_node(application.scene, name)
        view.RotateToVolumePlane(volume)
        if orientation != "Coronal":  # its normal is the axis of the rotation, but not the edges of the view
            assert view.GetOrientation() != orientation
        straighten(view)
        assert view.GetOrientation() == orientation


def test_the_crosshair_stands_where_the_slices_that_are_seen_cross(application: Application) -> None:
    scene = application.scene
    crosshair = scene.AddNewNodeByClass("vtkMRMLCrosshairNode")
    for name, offset in (("Red", 3.0), ("Green", -7.0), ("Yellow", 11.0)):
        application.slices[name].SetSliceOffset(offset)
    crosshair_to_slices(scene)
    assert crosshair.GetCrosshairRAS() == pytest.approx((-11.0, -7.0, 3.0))  # it looks from the left
    compared = scene.AddNewNodeByClass("vtkMRMLSliceNode", "MRI2PETRealAxial")
    compared.SetOrientation("Axial")
    compared.SetSliceOffset(40.0)
    for is_seen, s_mm in ((0, 3.0), (1, 40.0)):
        compared.SetMappedInLayout(is_seen)
        crosshair_to_slices(scene)
        assert crosshair.GetCrosshairRAS() == pytest.approx((-11.0, -7.0, s_mm))


@pytest.mark.parametrize("direction", [LEFT_TO_RIGHT, RAS_AXES, (0, 0, 1.0, -1.0, 0, 0, 0, -1.0, 0)])
def test_swipe_goes_from_right_to_left_and_from_front_to_back(
    application: Application, direction: tuple[float, ...]
) -> None:
    """By position: the real PET (2) beyond the line, the synthetic (1) before it, in any order of voxels."""
    scene = application.scene
    nodes = result(scene, direction)
    show_result(scene, nodes)
    before = node_ids(scene)
    swipe = Swipe(scene, scene.GetNodeByID(nodes.pet))
    swipe.show()
    swipe.set_position(0.9)
    swipe.set_position(0.25)
    marks = {view: view_marks(scene, composite(application, view)) for view in application.slices}
    for axis, (volume, views) in enumerate(zip(swipe.volumes, (["Red", "Green"], ["Yellow"]))):
        line = scene.GetFirstNodeByName(f"swipe line {'RA'[axis]}-{'LP'[axis]}")
        values, where = values_and_positions(scene.GetNodeByID(volume))
        points = vtk.util.numpy_support.vtk_to_numpy(line.GetPolyData().GetPoints().GetData())
        assert np.ptp(points[:, axis]) < 1e-3 and min(np.ptp(np.delete(points, axis, 1), axis=0)) > 50
        assert np.array_equal(values == 2, where[axis] > points[0, axis])
        assert np.abs(where[axis] - points[0, axis]).min() == pytest.approx(SPACING_MM / 2, abs=1e-3)
        assert np.mean(values == 2) == pytest.approx(0.25, abs=0.5 / min(SHAPE))
        display = line.GetDisplayNode()
        assert display.GetViewNodeIDs() == tuple(f"vtkMRMLSliceNode{view}" for view in views)
        assert display.GetVisibility2D() and not line.GetSaveWithScene()
        for view in views:
            assert composite(application, view).GetForegroundVolumeID() == volume
            assert marks[view][:2] == (f"{'RA'[axis]}\nreal PET", f"{'LP'[axis]}\nsynthetic PET")
    swipe.remove()
    assert node_ids(scene) == before


def node_ids(scene: Any) -> set[str]:
    return {scene.GetNthNode(n).GetID() for n in range(scene.GetNumberOfNodes())}


def values_and_positions(volume: Any) -> tuple[np.ndarray, np.ndarray]:
    """Voxels of a node, and their positions in RAS, [3, k, j, i]."""
    values = slicer.util.arrayFromVolume(volume)
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    k, j, i = np.indices(values.shape)
    points = slicer.util.arrayFromVTKMatrix(matrix) @ np.stack([i, j, k, np.ones_like(i)]).reshape(4, -1)
    return values, points[:3].reshape(3, *values.shape)
