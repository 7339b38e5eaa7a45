"""The cubic of the source: what the intensity of a voxel alone says about the target.

A T1 is sharper than a PET, and a cubic of the sharp image is a weak opponent. So the source is first smoothed
to the resolution of the target, when the coefficients are fitted and when they are used. The resolution is
the one of :data:`WIDTHS_MM` that fits the training people best.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.polynomial import polynomial

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.images.grid import Grid, crop_to
from MRI2PETLib.preprocessing.smoothing import smooth_fwhm

WIDTHS_MM = (0.0, 2.0, 4.0, 6.0, 8.0)
_ORDER = 3
Sums = Mapping[str, Any]


@dataclass(frozen=True)
class Cubic:
    """c0..c3 of the target over the source with its 1st to 99th percentile at 0 and 1, smoothed by
    ``fwhm_mm``.
    """

    coefficients: tuple[float, ...]
    fwhm_mm: float

    @classmethod
    def of(cls, content: Any) -> Cubic | None:
        """From ``to_dict``, as a bundle's metadata and a run's ``baselines.json`` hold it; ``None`` for
        anything else.
        """
        coefficients = content.get("coefficients") if isinstance(content, dict) else None
        if not isinstance(coefficients, list):
            return None
        numbers = [*coefficients, content.get("fwhm_mm")]
        if not all(isinstance(n, (int, float)) and np.isfinite(n) for n in numbers):
            return None
        *values, fwhm_mm = (float(n) for n in numbers)
        return cls(tuple(values), fwhm_mm)

    def to_dict(self) -> dict[str, Any]:
        return {"coefficients": list(self.coefficients), "fwhm_mm": self.fwhm_mm}

    def predict(self, source: sitk.Image, mask: sitk.Image) -> np.ndarray:
        """The target [k, j, i] on the grid of both images; outside of the mask it means nothing.

        :raises InputError: see :func:`normalised_source`.
        """
        smooth = smooth_fwhm(_scaled(source, mask), self.fwhm_mm, mask)
        values = sitk.GetArrayViewFromImage(smooth)
        return np.asarray(polynomial.polyval(values, np.array(self.coefficients)))


def normalised_source(image: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """An image with its 1st and 99th percentile inside the mask at 0 and 1, clipped.

    :raises InputError: if it is constant inside the mask.
    """
    low, high = np.percentile(image[inside], (1, 99))
    if not high > low:
        raise InputError(
            "The image has a single value inside the brain mask.",
            "Check that image and mask belong together.",
        )
    return np.asarray(np.clip((image - low) / (high - low), 0, 1))


def _scaled(source: sitk.Image, mask: sitk.Image) -> sitk.Image:
    values = normalised_source(sitk.GetArrayViewFromImage(source), sitk.GetArrayViewFromImage(mask) != 0)
    return Grid.of(mask).image(values.astype(np.float32))


def cubic_sums(source: sitk.Image, target: sitk.Image, mask: sitk.Image) -> dict[str, Any]:
    """What :func:`fit_cubic` needs of one case, so that no image has to be read again: means over the brain,
    for each of :data:`WIDTHS_MM`, of x^0..x^6 and y x^0..y x^3 (x the source, y the target).
    """
    source, target, brain = (crop_to(image, mask, 0.0) for image in (source, target, mask))
    inside = sitk.GetArrayViewFromImage(brain) != 0
    y = sitk.GetArrayViewFromImage(target)[inside].astype(np.float64)
    scaled = _scaled(source, brain)
    sums: dict[str, Any] = {}
    for fwhm_mm in WIDTHS_MM:
        smooth = sitk.GetArrayFromImage(smooth_fwhm(scaled, fwhm_mm, brain))
        x = smooth[inside].astype(np.float64)
        powers = np.vander(x, 2 * _ORDER + 1, increasing=True)
        sums[f"{fwhm_mm:g}"] = {
            "x": powers.mean(axis=0).tolist(),
            "xy": (y @ powers[:, : _ORDER + 1] / len(y)).tolist(),
        }
    return sums


def mean_sums(cases: Sequence[Sums]) -> Sums:
    """The sums of several cases as those of one: a cubic is fitted to them alike."""
    return {
        width: {key: np.mean([case[width][key] for case in cases], axis=0).tolist() for key in ("x", "xy")}
        for width in cases[0]
    }


def fit_cubic(cases: Sequence[Sums]) -> Cubic:
    """The least-squares cubic over all brains, all with equal weight, at the resolution that fits best.

    :param cases: of :func:`cubic_sums`, one or more.
    """
    best: tuple[float, Cubic] | None = None
    for width, sums in mean_sums(cases).items():
        x, xy = (np.array(sums[key]) for key in ("x", "xy"))
        normal = np.array([[x[i + j] for j in range(_ORDER + 1)] for i in range(_ORDER + 1)])
        coefficients = np.linalg.lstsq(normal, xy, rcond=None)[0]
        error = -2 * coefficients @ xy + coefficients @ normal @ coefficients
        if best is None or error < best[0]:
            best = float(error), Cubic(tuple(coefficients.tolist()), float(width))
    assert best is not None
    return best[1]
