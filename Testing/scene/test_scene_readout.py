"""What a result says about a point and about drawn regions, on turned images with known numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

slicer = pytest.importorskip("slicer", reason="needs slicer-core: pip install -e .[slicer]")

import slicer.util  # noqa: E402, F811

from bootstrap import Application, bootstrap  # noqa: E402
from MRI2PETLib.core.errors import InputError  # noqa: E402
from MRI2PETLib.core.findings import Verdict  # noqa: E402
from MRI2PETLib.evaluation.case import RegionRow  # noqa: E402
from MRI2PETLib.reports.case_files import Comparison  # noqa: E402
from MRI2PETLib.scene.comparison import add_comparison  # noqa: E402
from MRI2PETLib.scene.images import image_of  # noqa: E402
from MRI2PETLib.scene.readout import (  # noqa: E402
    jump_to,
    mask_of_roi,
    readout_at_point,
    readout_of_roi,
    regions_at,
)
from MRI2PETLib.scene.results import Synthetic, add_result  # noqa: E402

SHAPE = (10, 12, 14)  # k, j, i
INSIDE = (slice(1, 9), slice(1, 11), slice(1, 13))
LEFT = (slice(1, 9), slice(1, 11), slice(1, 7))  # label 1; the rest of the brain is label 2


def image(values: np.ndarray) -> sitk.Image:
    """On an oblique grid of 2 x 3 x 4 mm voxels."""
    made = sitk.GetImageFromArray(values)
    made.SetSpacing((2.0, 3.0, 4.0))
    made.SetOrigin((5.0, -7.0, 20.0))
    made.SetDirection(sitk.Euler3DTransform((0.0, 0.0, 0.0), 0.3, -0.2, 0.5).GetMatrix())
    return made


def row(label: int, region: str, predictor: str, normdiff: float | None) -> RegionRow:
    values: dict[str, Any] = {
        "parcellation": "halves",
        "label": label,
        "region": region,
        "predictor": predictor,
    }
    values |= {"scale": "stated", "unit": "SUVR", "n_voxels": 9, "volume_ml": 0.5}
    values |= {"mean_real": 1.0, "mean_predicted": 1.5}
    values["metrics"] = {"normdiff_median": normdiff, "roi_cnr_bias": -0.25, "percent_difference": 50.0}
    return RegionRow(**values)


@pytest.fixture
def application(tmp_path: Path) -> Application:
    return bootstrap(tmp_path)


@pytest.fixture
def pet_id(application: Application) -> str:
    """Real PET 1 in the brain; synthetic 1.5 on the left, 1 on the right, one voxel of 3."""
    brain, synthetic, real, labels = (np.zeros(SHAPE, np.float32) for _ in range(4))
    brain[INSIDE], real[INSIDE], synthetic[INSIDE], labels[INSIDE] = 1, 1, 1, 2
    synthetic[LEFT], labels[LEFT] = 1.5, 1
    real[5, 5, 9] = 3
    result = Synthetic(
        image(synthetic), image(brain.astype(np.uint8)), "SUVR", "Synthetic: not a measurement.", "PBR28"
    )
    nodes = add_result(application.scene, result)
    rows = [row(1, "left", "network", 0.2), row(2, "right", "network", 0.0)]
    rows += [row(1, "left", "warped average", 0.3), row(2, "right", "warped average", None)]
    comparison = Comparison(
        real=image(real),
        unit="SUVR",
        scale="stated",
        scales={"stated": {"network": {"mse": 0.1}, "baselines": {}}},
        regions=rows,
        labels={"halves": (image(labels.astype(np.uint8)), {1: "left", 2: "right"})},
        report="<!doctype html>",
        is_simulated=False,
        largest={},
        verdict=Verdict(),
    )
    return add_comparison(application.scene, nodes.pet, comparison).pet


def ras(i: float, j: float, k: float) -> list[float]:
    x, y, z = image(np.zeros(SHAPE, np.uint8)).TransformContinuousIndexToPhysicalPoint((i, j, k))
    return [-x, -y, z]


def test_a_point_shows_both_pets_and_its_region_with_the_baselines(
    application: Application, pet_id: str
) -> None:
    scene = application.scene
    assert regions_at(scene, pet_id, ras(3.3, 5.4, 5.4)) == [("halves", "left")]
    text = readout_at_point(scene, pet_id, ras(3.3, 5.4, 5.4)).splitlines()
    assert text[0].endswith("mm: synthetic 1.5 SUVR; real 1 SUVR; NormDiff 0.2")
    assert text[1] == (
        "left (halves): synthetic 1.5 SUVR, real 1 SUVR; NormDiff, median 0.2 (warped average 0.3); "
        "difference (%) 50 (warped average 50); ROI CNR bias -0.25"
    )
    hot = readout_at_point(scene, pet_id, ras(9, 5, 5))
    assert "real 3 SUVR; NormDiff -0.5" in hot and "NormDiff, median 0; difference" in hot
    assert regions_at(scene, pet_id, ras(0, 0, 0)) == []
    assert readout_at_point(scene, pet_id, ras(-0.6, 5, 5)) == ""
    assert readout_at_point(scene, pet_id, ras(-0.4, 5, 5)) != ""
    assert readout_at_point(scene, None, ras(5, 5, 5)) == ""


def test_a_result_under_a_transform_is_read_where_it_is_shown(application: Application, pet_id: str) -> None:
    scene = application.scene
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    moved = np.eye(4)
    moved[:3, 3] = [100.0, -50.0, 7.0]
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(moved))
    scene.GetNodeByID(pet_id).SetAndObserveTransformNodeID(transform.GetID())
    there = (np.array(ras(3, 5, 5)) + moved[:3, 3]).tolist()
    assert "synthetic 1.5 SUVR" in readout_at_point(scene, pet_id, there)
    assert readout_at_point(scene, pet_id, ras(3, 5, 5)) == ""


def test_views_and_crosshair_jump(application: Application) -> None:
    jump_to(application.scene, [10.0, -20.0, 30.0])
    assert application.slices["Red"].GetSliceNode().GetSliceToRAS().GetElement(2, 3) == pytest.approx(30)
    crosshair = application.scene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    if crosshair is not None:
        assert list(crosshair.GetCrosshairRAS()) == [10.0, -20.0, 30.0]


def box(scene: Any, centre: list[float], size: list[float], name: str = "box") -> Any:
    node = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", name)
    node.SetSize(*size)
    node.SetCenter(*centre)
    return node


def test_a_turned_box_holds_the_voxels_inside_it(application: Application, pet_id: str) -> None:
    """A box in the axes of the grid, 2.8 voxels wide around the voxel (3, 5, 5), holds 3 x 3 x 3 centres."""
    reference = image_of(application.scene.GetNodeByID(pet_id))
    node = box(application.scene, [0.0, 0.0, 0.0], [2.8 * 2, 2.8 * 3, 2.8 * 4])
    turned = np.eye(4)
    turned[:3, :3] = np.diag([-1, -1, 1]) @ np.reshape(reference.GetDirection(), (3, 3))
    turned[:3, 3] = ras(3, 5, 5)
    transform = application.scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(turned))
    node.SetAndObserveTransformNodeID(transform.GetID())
    expected = np.zeros(SHAPE, np.uint8)
    expected[4:7, 4:7, 2:5] = 1
    assert np.array_equal(sitk.GetArrayFromImage(mask_of_roi(node, reference)), expected)


def test_a_drawn_box_is_measured_against_the_real_pet(application: Application, pet_id: str) -> None:
    scene = application.scene
    # Small enough to lie in one voxel's surroundings: all of it synthetic 1.5 against real 1.
    text = readout_of_roi(scene, pet_id, box(scene, ras(3, 5, 5), [7.0, 7.0, 7.0], "mine").GetID())
    assert text.startswith("mine: ") and "synthetic 1.5 SUVR, real 1 SUVR; NormDiff, median +0.200" in text
    assert "outside" not in text
    text = readout_of_roi(scene, pet_id, box(scene, ras(0, 5, 5), [9.0, 9.0, 9.0]).GetID())
    assert "outside the brain left out" in text


def test_every_segment_is_measured(application: Application, pet_id: str) -> None:
    scene = application.scene
    segmentation = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "drawn")
    with pytest.raises(InputError, match="no segment"):
        readout_of_roi(scene, pet_id, segmentation.GetID())
    for name, where in (("one", (slice(3, 6), slice(3, 6), slice(2, 5))), ("two", (5, 5, 9))):
        voxels = np.zeros(SHAPE, np.uint8)
        voxels[where] = 1
        labels = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", name)
        matrix = slicer.vtkOrientedImageData()
        drawn = image(voxels)
        ijk_to_ras = np.eye(4)
        ijk_to_ras[:3, :3] = np.reshape(drawn.GetDirection(), (3, 3)) * drawn.GetSpacing()
        ijk_to_ras[:3, 3] = drawn.GetOrigin()
        ijk_to_ras[:2] *= -1
        slicer.util.updateVolumeFromArray(labels, voxels)
        matrix.DeepCopy(labels.GetImageData())
        matrix.SetGeometryFromImageToWorldMatrix(slicer.util.vtkMatrixFromArray(ijk_to_ras))
        segment = slicer.vtkSegment()
        segment.SetName(name)
        segment.AddRepresentation("Binary labelmap", matrix)
        segmentation.GetSegmentation().AddSegment(segment)
    first, second = readout_of_roi(scene, pet_id, segmentation.GetID()).splitlines()
    assert first.startswith("one: 0.648 mL; synthetic 1.5 SUVR, real 1 SUVR; NormDiff, median +0.200")
    assert second.startswith("two: 0.024 mL; synthetic 1 SUVR, real 3 SUVR; NormDiff, median -0.500")


def test_what_cannot_be_measured_says_why(application: Application, pet_id: str) -> None:
    scene = application.scene
    far = box(scene, [900.0, 0.0, 0.0], [5.0, 5.0, 5.0])
    with pytest.raises(InputError, match="no voxel inside the PET"):
        readout_of_roi(scene, pet_id, far.GetID())
    with pytest.raises(InputError, match="no volume"):
        readout_of_roi(scene, pet_id, box(scene, ras(3, 5, 5), [0.0, 5.0, 5.0]).GetID())
    with pytest.raises(InputError, match="no longer in the scene"):
        readout_of_roi(scene, pet_id, "vtkMRMLMarkupsROINode99")
    with pytest.raises(InputError, match="no real PET"):
        readout_of_roi(scene, None, far.GetID())
