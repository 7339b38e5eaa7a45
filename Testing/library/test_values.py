"""The values of an image tell it from others, however it was saved."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from MRI2PETLib.images.io import read_image, write_image
from MRI2PETLib.images.values import differ, value_moments
from MRI2PETLib.simulation import simulate_subject


def test_an_image_is_itself_in_any_order_type_and_format_and_no_other_one(tmp_path: Path) -> None:
    t1 = simulate_subject(3, spacing_mm=6.0).t1
    own = value_moments(t1)
    rounded = sitk.Cast(sitk.Round(t1 * 50), sitk.sitkInt16) / 50  # 2 % of a unit
    turned = [sitk.DICOMOrient(t1, code) for code in ("RAS", "PIL", "SAR")]
    for same in (*turned, sitk.Cast(t1, sitk.sitkFloat64), rounded):
        assert not differ(own, value_moments(same))
    for name in ("a.nrrd", "b.mha", "c.nii.gz"):
        again = read_image(write_image(turned[1], tmp_path / name), kind="t1").image
        assert not differ(own, value_moments(again))
    other = simulate_subject(4, spacing_mm=6.0).t1
    for image in (other, t1 * 1.01, t1 + 5):
        assert differ(own, value_moments(image))


def test_people_whose_t1s_were_scaled_alike_differ() -> None:
    def scaled(seed: int) -> dict[str, float]:
        image = simulate_subject(seed, spacing_mm=6.0).t1
        values = sitk.GetArrayFromImage(image)
        return value_moments(sitk.GetImageFromArray((values - values.mean()) / values.std()))

    first, *others = (scaled(seed) for seed in range(6))
    assert all(differ(first, other) for other in others)


def test_what_says_nothing_differs_from_nothing() -> None:
    constant = sitk.GetImageFromArray(np.ones((8, 8, 8), np.float32))
    assert value_moments(constant) == {}
    own = {"mean": 1.0, "sd": 2.0, "skewness": 0.5, "kurtosis": 3.0}
    for nothing in ({}, {**own, "sd": None}, {**own, "mean": "many"}, {"mean": 1.0}):
        assert not differ(nothing, own) and not differ(own, nothing)
    assert differ(own, {**own, "kurtosis": 3.1}) and not differ(own, {**own, "kurtosis": 3.001})
