"""Morphology of masks equals ITK's filters, at borders and on unequal voxels too."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import SimpleITK as sitk

from MRI2PETLib.preprocessing.morphology import close, dilate, erode, fill_holes, largest_component, open_

BALL = sitk.sitkBall
CASES: dict[str, tuple[Callable, Callable]] = {
    "dilate": (dilate, lambda mask, radius: sitk.BinaryDilate(mask, radius, BALL)),
    "erode": (erode, lambda mask, radius: sitk.BinaryErode(mask, radius, BALL, 0.0, 1.0, False)),
    "open": (open_, lambda mask, radius: sitk.BinaryMorphologicalOpening(mask, radius, BALL)),
    "close": (close, lambda mask, radius: sitk.BinaryMorphologicalClosing(mask, radius, BALL)),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.0), (1.0, 2.0, 1.5)])
def test_equals_itk(name: str, spacing_mm: tuple[float, float, float]) -> None:
    """Random specks of any density touch every border; a radius may exceed the image."""
    ours, itk = CASES[name]
    rng = np.random.default_rng(0)
    for share in (0.01, 0.2, 0.8, 0.98):
        mask = sitk.GetImageFromArray((rng.random((9, 23, 30)) < share).astype(np.uint8))
        mask.SetSpacing(spacing_mm)
        for distance_mm in (0.2, 1.0, 3.0, 5.0, 12.0):
            radius = [max(1, round(distance_mm / s)) for s in spacing_mm]
            result, expected = ours(mask, distance_mm), itk(mask, radius)
            assert result.GetPixelID() == expected.GetPixelID() and result.GetSpacing() == spacing_mm
            np.testing.assert_array_equal(*map(sitk.GetArrayFromImage, (result, expected)))


@pytest.mark.parametrize("share", [0.3, 0.6, 0.7])
def test_holes_and_largest_part_equal_itk(share: float) -> None:
    """At 0.6 and 0.7 the voxels percolate: holes within, and one part that is much the largest."""
    mask = sitk.GetImageFromArray((np.random.default_rng(1).random((12, 23, 30)) < share).astype(np.uint8))
    mask.SetSpacing((1.0, 2.0, 1.5))
    result, expected = fill_holes(mask), sitk.BinaryFillhole(mask)
    assert result.GetSpacing() == mask.GetSpacing() and np.any(sitk.GetArrayFromImage(expected - mask))
    np.testing.assert_array_equal(*map(sitk.GetArrayFromImage, (result, expected)))
    largest = sitk.RelabelComponent(sitk.ConnectedComponent(mask)) == 1
    inside = sitk.GetArrayFromImage(mask) > 0
    assert largest_component(inside).sum() == np.count_nonzero(sitk.GetArrayFromImage(largest))
    assert not largest_component(np.zeros_like(inside)).any()


def test_a_given_mask_is_left_alone() -> None:
    mask = sitk.GetImageFromArray(np.eye(5, dtype=np.uint8)[None].repeat(5, axis=0))
    before = sitk.GetArrayFromImage(mask)
    dilate(mask, 1.0)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(mask), before)
