"""The readout of a drawn region, by hand."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.evaluation.local import RoiReadout, region_cnr, roi_readout

SPACING = (1.0, 2.0, 4.0)


def image(values: list[float], kind: type = np.float32) -> sitk.Image:
    """One row of voxels of 1 x 2 x 4 mm."""
    result = sitk.GetImageFromArray(np.array([[values]], dtype=kind))
    result.SetSpacing(SPACING)
    return result


SYNTHETIC = image([2, 3, 1, 3, 9, 9])
REAL = image([1, 3, 2, 4, 9, 9])
BRAIN = image([1, 1, 1, 1, 0, 0], np.uint8)


def readout(roi: list[int], real: sitk.Image = REAL, brain: sitk.Image = BRAIN) -> RoiReadout:
    return roi_readout(SYNTHETIC, real, brain, image(roi, np.uint8), unit="SUVR")  # type: ignore[arg-type]


def test_a_region_by_hand() -> None:
    """Region: voxels 0, 1 (and 4, outside the brain); the rest of the brain: voxels 2, 3."""
    result = readout([1, 1, 0, 0, 1, 0])
    assert result.n_voxels == 2 and result.unit == "SUVR"
    assert result.volume_ml == pytest.approx(2 * 8 / 1000) and result.outside_ml == pytest.approx(8 / 1000)
    assert (result.mean_synthetic, result.mean_real) == (2.5, 2)
    assert result.metrics["percent_difference"].value == pytest.approx(25)
    assert result.metrics["normdiff_mean"].value == pytest.approx((1 / 3 + 0) / 2)
    assert result.metrics["normdiff_median"].value == pytest.approx(1 / 6)
    assert result.metrics["normdiff_sd"].value == pytest.approx(1 / 6)
    assert result.metrics["normdiff_excluded_fraction"].value == 0
    together = np.array([1, 3, 2, 3])
    assert result.metrics["roi_cnr_bias"].value == pytest.approx((2 - 2.5) / together.std())
    # rest: synthetic 1, 3: mean 2, SD 1; real 2, 4: mean 3, SD 1
    assert result.cnr_synthetic.value == pytest.approx(0.5)
    assert result.cnr_real.value == pytest.approx(-1)


def test_voxels_that_are_zero_in_both_have_no_normdiff_and_are_counted() -> None:
    zero = image([0, 3, 1, 3, 9, 9])
    result = roi_readout(
        zero, image([0, 1, 2, 4, 9, 9]), BRAIN, image([1, 1, 0, 0, 0, 0], np.uint8), unit="x"
    )
    assert result.metrics["normdiff_excluded_fraction"].value == 0.5 and result.metrics[
        "normdiff_mean"
    ].value == pytest.approx(0.5)


def test_voxels_that_are_not_finite_are_left_out() -> None:
    result = readout([1, 1, 0, 0, 0, 0], image([np.nan, 3, 2, 4, 9, 9]))
    assert result.n_voxels == 1 and result.mean_synthetic == 3 and result.metrics["normdiff_mean"].value == 0


def test_what_cannot_be_measured_says_why() -> None:
    with pytest.raises(InputError, match="region is empty"):
        readout([0] * 6)
    with pytest.raises(InputError, match="no voxel inside the brain"):
        readout([0, 0, 0, 0, 1, 1])
    other = image([1, 1, 0, 0, 0, 0], np.uint8)
    other.SetOrigin((1.0, 0.0, 0.0))
    with pytest.raises(InputError, match="one grid"):
        roi_readout(SYNTHETIC, REAL, BRAIN, other, unit="SUVR")
    result = readout([1, 1, 1, 1, 0, 0])
    assert result.cnr_real.value is None and "fills the brain" in result.cnr_real.reason
    flat = region_cnr(np.array([2.0]), np.array([1.0, 1.0]))
    assert flat.value is None and "constant" in flat.reason


def test_contrast_does_not_depend_on_the_unit() -> None:
    region, rest = np.array([5.0, 6.0]), np.array([1.0, 2.0, 3.0])
    one, other = region_cnr(region, rest).value, region_cnr(37 * region, 37 * rest).value
    assert one == pytest.approx(3.5 / np.sqrt(2 / 3)) and other == pytest.approx(one)
