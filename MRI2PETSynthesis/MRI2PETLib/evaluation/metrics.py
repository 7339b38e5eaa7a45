"""How close a synthetic PET is to the real one, inside a brain mask.

All functions take numpy arrays on one grid, axis order [k, j, i], and a mask (non-zero = inside). Every
metric is computed in float64 over M, the voxels inside the mask where both images are finite; ``n`` is their
number. A metric that is not defined is ``None`` with a reason, never NaN.

Definitions follow Ferrante et al. 2025 (Eq. 2, Eq. 3, Table 4) where the paper has them; where the published
code contradicts the paper, the paper is followed and the docstring says so.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from functools import update_wrapper
from typing import Any

import numpy as np
import SimpleITK as sitk

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.evaluation.cnr import BoxPairs, box_pairs, cnr_summary
from MRI2PETLib.evaluation.measure import Measure, correlation, is_constant, measured, regression_slope
from MRI2PETLib.evaluation.normdiff import (
    EMPTY,
    NORMDIFF_NAMES,
    RELATIVE_EPS,
    normdiff_map,
    normdiff_summary,
    shared_voxels,
    summarise_normdiff,
)
from MRI2PETLib.evaluation.settings import FWHM_MM
from MRI2PETLib.evaluation.ssim import ssim, ssim_table
from MRI2PETLib.preprocessing.smoothing import smooth_fwhm

__all__ = [
    "compare",
    "divide_by_mean",
    "global_table",
    "mae",
    "metrics_of_each",
    "mse",
    "mse_median",
    "normdiff_map",
    "normdiff_summary",
    "pearson_r",
    "percent_difference",
    "plain_measures",
    "psnr",
    "roi_cnr_bias",
    "sd_ratio",
    "shared_voxels",
    "slope",
    "smooth_in_mask",
    "ssim",
    "ssim_table",
    "value_metrics",
    "voxel_metrics",
]


def _values(synthetic: np.ndarray, real: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    inside = shared_voxels(synthetic, real, mask)
    return synthetic[inside].astype(np.float64), real[inside].astype(np.float64)


class VoxelMetric:
    """A metric to which the position of a voxel means nothing.

    Called with two images and a mask. ``of_values`` takes the values themselves: two vectors, float64,
    finite, voxel by voxel.
    """

    def __init__(self, of_values: Callable[..., Measure]) -> None:
        update_wrapper(self, of_values)
        self.of_values = of_values

    def __call__(
        self, synthetic: np.ndarray, real: np.ndarray, mask: np.ndarray, **options: float
    ) -> Measure:
        return self.of_values(*_values(synthetic, real, mask), **options)


@VoxelMetric
def mse(s: np.ndarray, r: np.ndarray) -> Measure:
    """Mean squared error, ``mean((s - r)^2)`` over M. Unit: that of the images, squared."""
    return Measure(float(np.mean((s - r) ** 2))) if s.size else Measure(None, EMPTY)


@VoxelMetric
def mse_median(s: np.ndarray, r: np.ndarray) -> Measure:
    """Median squared error, ``median((s - r)^2)`` over M: what the published code reports as "MSE".

    It ignores the worst half of the voxels and is well below :func:`mse`. Unit: that of the images, squared.
    """
    return Measure(float(np.median((s - r) ** 2))) if s.size else Measure(None, EMPTY)


@VoxelMetric
def mae(s: np.ndarray, r: np.ndarray) -> Measure:
    """Mean absolute error, ``mean(|s - r|)`` over M, in the unit of the images."""
    return Measure(float(np.mean(np.abs(s - r)))) if s.size else Measure(None, EMPTY)


@VoxelMetric
def psnr(s: np.ndarray, r: np.ndarray, *, data_range: float | None = None) -> Measure:
    """Peak signal-to-noise ratio, ``10 log10(L^2 / mse)`` in dB.

    ``L`` is ``data_range``, or else max - min of the real PET over M. Not defined for equal images (infinite)
    and for a constant real PET without ``data_range``.
    """
    if not s.size:
        return Measure(None, EMPTY)
    span = float(np.ptp(r)) if data_range is None else float(data_range)
    error = float(np.mean((s - r) ** 2))
    if span <= 0:
        return Measure(None, "the real PET is constant")
    if error == 0:
        return Measure(None, "the images are equal: the ratio is infinite")
    return measured(10 * np.log10(span**2 / error), "not finite")


@VoxelMetric
def pearson_r(s: np.ndarray, r: np.ndarray) -> Measure:
    """Pearson correlation over M, no unit. Not defined for n < 3 or a constant image.

    It depends on the mask (a wide mask with zeros around the brain raises it): state the mask with every r.
    """
    return correlation(s, r)


@VoxelMetric
def percent_difference(s: np.ndarray, r: np.ndarray) -> Measure:
    """Difference of the means, ``100 (mean(s) - mean(r)) / mean(r)`` in %; positive when the synthetic is
    higher.

    The published "PercDiff" is the same as a fraction with the opposite sign. Not defined when mean(r) <= 0.
    """
    if not s.size:
        return Measure(None, EMPTY)
    mean = float(r.mean())
    if mean <= RELATIVE_EPS * float(np.abs(r).mean()) or mean <= 0:
        return Measure(None, "the mean of the real PET is not above zero")
    return measured(100 * (s.mean() - mean) / mean, "not finite")


@VoxelMetric
def roi_cnr_bias(s: np.ndarray, r: np.ndarray) -> Measure:
    """Standardised bias, ``(mean(r) - mean(s)) / std(r and s together)``, population SD; no unit, ideal value
    0.

    This is what Table 4 of Ferrante et al. 2025 prints as "CNR", with its sign (positive when the synthetic
    PET is lower). It is no contrast-to-noise ratio of an image: that is
    :func:`MRI2PETLib.evaluation.cnr.cnr_values`.
    """
    if not s.size:
        return Measure(None, EMPTY)
    both = np.concatenate([r, s])
    if is_constant(both):
        return Measure(None, "both images are constant")
    return measured((r.mean() - s.mean()) / both.std(), "not finite")


@VoxelMetric
def slope(s: np.ndarray, r: np.ndarray) -> Measure:
    """Least-squares slope of the synthetic on the real PET over M, no unit.

    1 is ideal, below 1 is regression to the mean: high voxels too low and low ones too high. Noise of the
    real PET alone lowers it too, so read it on the smoothed real PET.
    """
    return regression_slope(r, s)


@VoxelMetric
def sd_ratio(s: np.ndarray, r: np.ndarray) -> Measure:
    """SD of the synthetic over SD of the real PET over M, no unit; below 1 the synthetic PET is too flat."""
    if s.size < 2:
        return Measure(None, EMPTY if not s.size else "an SD needs 2 values")
    if is_constant(r):
        return Measure(None, "the real PET is constant")
    return measured(s.std() / r.std(), "not finite")


def smooth_in_mask(
    image: np.ndarray, mask: np.ndarray, spacing_mm: tuple[float, float, float], fwhm_mm: float = FWHM_MM
) -> np.ndarray:
    """Gaussian smoothing inside the mask only, G(x m) / G(m), float32, 0 outside: nothing leaks over the
    edge.

    ``spacing_mm`` in array order (k, j, i). Non-finite voxels count as outside.
    """
    inside = (mask != 0) & np.isfinite(image)
    flat = sitk.GetImageFromArray(np.where(inside, image, 0.0).astype(np.float32))
    flat.SetSpacing([float(s) for s in spacing_mm[::-1]])
    within = sitk.GetImageFromArray(inside.astype(np.uint8))
    within.CopyInformation(flat)
    return sitk.GetArrayFromImage(smooth_fwhm(flat, fwhm_mm, within))


def divide_by_mean(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The image over its own mean inside the mask: scale-free, so that SUV and SUVR can be compared.

    :raises InputError: when that mean is not above zero.
    """
    inside = (mask != 0) & np.isfinite(image)
    mean = float(image[inside].astype(np.float64).mean()) if inside.any() else 0.0
    if mean <= 0:
        raise InputError(
            f"The mean inside the brain mask is {mean:.4g}: the image cannot be scaled by it.",
            "Check that the PET and the mask belong together.",
        )
    return np.asarray(image / mean)


_SINGLE = {
    "mse": mse,
    "mse_median": mse_median,
    "mae": mae,
    "psnr_db": psnr,
    "pearson_r": pearson_r,
    "percent_difference": percent_difference,
    "roi_cnr_bias": roi_cnr_bias,
    "slope": slope,
    "sd_ratio": sd_ratio,
}


def value_metrics(
    synthetic: np.ndarray, real: np.ndarray, names: Container[str] | None = None
) -> dict[str, Measure]:
    """The metrics of two vectors (float64, finite, voxel by voxel) by name, but for SSIM and image CNR."""
    result = {
        name: metric.of_values(synthetic, real)
        for name, metric in _SINGLE.items()
        if names is None or name in names
    }
    if names is not None and not any(f"normdiff_{name}" in names for name in NORMDIFF_NAMES):
        return result
    summary = summarise_normdiff(synthetic, real)
    normdiff = {f"normdiff_{name}": value for name, value in summary.items()}
    return result | {name: value for name, value in normdiff.items() if names is None or name in names}


def voxel_metrics(
    synthetic: np.ndarray, real: np.ndarray, mask: np.ndarray, names: Container[str] | None = None
) -> dict[str, Measure]:
    """Every metric of this module but the image CNR, by name; or only those in ``names``."""
    result = value_metrics(*_values(synthetic, real, mask), names)
    if names is None or "ssim" in names:
        result["ssim"] = ssim(synthetic, real, mask)
    return result


def metrics_of_each(
    predicted: Sequence[np.ndarray], real: np.ndarray, smoothed: np.ndarray, mask: np.ndarray
) -> list[dict[str, Measure]]:
    """:func:`voxel_metrics` of each predicted image against the real PET, and with the prefix ``smoothed_``
    against the smoothed one.

    What depends on the real PET alone is computed once.
    """
    similar = ssim_table(predicted, [real, smoothed], mask)
    result = []
    for image, (against_real, against_smoothed) in zip(predicted, similar):
        measures = value_metrics(*_values(image, real, mask)) | {"ssim": against_real}
        against = value_metrics(*_values(image, smoothed, mask)) | {"ssim": against_smoothed}
        result.append(measures | {f"smoothed_{name}": measure for name, measure in against.items()})
    return result


def compare(
    synthetic: np.ndarray,
    real: np.ndarray,
    mask: np.ndarray,
    spacing_mm: tuple[float, float, float],
    *,
    seed: int = 0,
    fwhm_mm: float = FWHM_MM,
) -> dict[str, Any]:
    """All global metrics of one case, plain numbers ready for JSON.

    Both images in one unit, on one grid, [k, j, i]; ``spacing_mm`` in the same order. The metrics stand
    twice: as they are, and with the prefix ``smoothed_`` against the real PET smoothed to ``fwhm_mm`` inside
    the mask (the synthetic one is never smoothed). ``cnr_*`` is the image CNR of each image over the same
    1000 box pairs.

    :return: name -> number or ``None``; ``not_available``: name -> reason for every ``None``; ``n_voxels``,
        ``n_not_finite``, ``mean_synthetic``, ``mean_real``, ``seed``, ``fwhm_mm``.
    :raises InputError: if the arrays differ in shape.
    """
    inside = shared_voxels(synthetic, real, mask)
    smoothed = smooth_in_mask(real, inside, spacing_mm, fwhm_mm)
    measures = metrics_of_each([synthetic], real, smoothed, inside)[0]
    pairs = box_pairs(inside, spacing_mm, seed=seed)
    table = global_table(measures, synthetic, real, smoothed, mask, pairs)
    return {"seed": seed, "fwhm_mm": fwhm_mm, **table}


def global_table(
    measures: dict[str, Measure],
    synthetic: np.ndarray,
    real: np.ndarray,
    smoothed: np.ndarray,
    mask: np.ndarray,
    pairs: BoxPairs,
) -> dict[str, Any]:
    """What :func:`compare` returns, but for ``seed`` and ``fwhm_mm``, from parts that are known."""
    inside = shared_voxels(synthetic, real, mask)
    n = int(np.count_nonzero(inside))
    for name, image in (("synthetic", synthetic), ("real", real), ("real_smoothed", smoothed)):
        measures |= {f"cnr_{name}_{key}": value for key, value in cnr_summary(image, pairs).items()}
    for name, image in (("synthetic", synthetic), ("real", real)):
        mean = Measure(float(image[inside].astype(np.float64).mean())) if n else Measure(None, EMPTY)
        measures[f"mean_{name}"] = mean
    n_not_finite = int(np.count_nonzero(mask)) - n
    return {"n_voxels": n, "n_not_finite": n_not_finite, **plain_measures(measures)}


def plain_measures(measures: dict[str, Measure]) -> dict[str, Any]:
    """Numbers by name, ready for JSON, and under ``not_available`` the reasons of those that are missing."""
    return {
        **{name: measure.value for name, measure in measures.items()},
        "not_available": {name: m.reason for name, m in measures.items() if m.value is None},
    }
