"""How close a synthetic PET is to the real one, inside a brain mask.

All functions take numpy arrays on one grid, axis order [k, j, i], and a mask (non-zero = inside). Every
metric is computed in float64 over M, the voxels inside the mask where both images are finite; ``n`` is their
number. A metric that is not defined is ``None`` with a reason, never NaN.

Definitions follow Ferrante et al. 2025 (Eq. 2, Eq. 3, Table 4) where the paper has them; where the published
code contradicts the paper, the paper is followed and the docstring says so.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Any

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from MRI2PETLib.errors import InputError
from MRI2PETLib.evaluation.cnr import box_pairs, cnr_summary
from MRI2PETLib.evaluation.measure import Measure, correlation, is_constant, measured, regression_slope
from MRI2PETLib.evaluation.normdiff import EMPTY, RELATIVE_EPS, normdiff_map, normdiff_summary, shared_voxels
from MRI2PETLib.preprocessing.smoothing import smooth_fwhm

__all__ = [
    "compare",
    "divide_by_mean",
    "mae",
    "mse",
    "mse_median",
    "normdiff_map",
    "normdiff_summary",
    "pearson_r",
    "percent_difference",
    "psnr",
    "roi_cnr_bias",
    "sd_ratio",
    "shared_voxels",
    "slope",
    "smooth_in_mask",
    "ssim",
    "voxel_metrics",
]

FWHM_MM = 4.0  # smoothing of the real PET: Ferrante et al. 2025, Fig. 2


def _values(synthetic: np.ndarray, real: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    inside = shared_voxels(synthetic, real, mask)
    return synthetic[inside].astype(np.float64), real[inside].astype(np.float64)


def mse(synthetic: np.ndarray, real: np.ndarray, mask: np.ndarray) -> Measure:
    """Mean squared error, ``mean((s - r)^2)`` over M. Unit: that of the images, squared."""
    s, r = _values(synthetic, real, mask)
    return Measure(float(np.mean((s - r) ** 2))) if s.size else Measure(None, EMPTY)


def mse_median(synthetic: np.ndarray, real: np.ndarray, mask: np.ndarray) -> Measure:
    """Median squared error, ``median((s - r)^2)`` over M: what the published code reports as "MSE".

    It ignores the worst half of the voxels and is well below :func:`mse`. Unit: that of the images, squared.
    """
    s, r = _values(synthetic, real, mask)
    return Measure(float(np.median((s - r) ** 2))) if s.size else Measure(None, EMPTY)


def mae(synthetic: np.ndarray, real: np.ndarray, mask: np.ndarray) -> Measure:
    """Mean absolute error, ``mean(|s - r|)`` over M, in the unit of the images."""
    s, r = _values(synthetic, real, mask)
    return Measure(float(np.mean(np.abs(s - r)))) if s.size else Measure(None, EMPTY)


def psnr(
    synthetic: np.ndarray, real: np.ndarray, mask: np.ndarray, *, data_range: float | None = None
) -> Measure:
    """Peak signal-to-noise ratio, ``10 log10(L^2 / mse)`` in dB.

    ``L`` is ``data_range``, or else max - min of the real PET over M. Not defined for equal images (infinite)
    and for a constant real PET without ``data_range``.
    """
    s, r = _values(synthetic, real, mask)
    if not s.size:
        return Measure(None, EMPTY)
    span = float(np.ptp(r)) if data_range is None else float(data_range)
    error = float(np.mean((s - r) ** 2))
    if span <= 0:
        return Measure(None, "the real PET is constant")
    if error == 0:
        return Measure(None, "the images are equal: the ratio is infinite")
    return measured(10 * np.log10(span**2 / error), "not finite")


def ssim(
    synthetic: np.ndarray,
    real: np.ndarray,
    mask: np.ndarray,
    *,
    data_range: float | None = None,
    window: int = 7,
) -> Measure:
    """Mean structural similarity (Wang et al. 2004, IEEE TIP 13:600), in 3-D; 1 for equal images, no unit.

    Uniform window of ``window``^3 voxels, K1 = .01, K2 = .03, sample (n - 1) covariances; ``L`` as in
    :func:`psnr`. The mean runs over the voxels whose whole window lies in M, so that neither zeros around the
    brain nor the rim enter. The window is in voxels: values on grids of different spacing do not compare.
    """
    inside = shared_voxels(synthetic, real, mask)
    if not inside.any():
        return Measure(None, EMPTY)
    box = ndimage.find_objects(inside.astype(np.uint8))[0]
    inside = inside[box]
    s = np.where(inside, synthetic[box], 0.0).astype(np.float64)
    r = np.where(inside, real[box], 0.0).astype(np.float64)
    span = float(np.ptp(r[inside])) if data_range is None else float(data_range)
    if span <= 0:
        return Measure(None, "the real PET is constant")
    whole = ndimage.minimum_filter(inside, size=window, mode="constant", cval=0)
    if not whole.any():
        return Measure(None, f"no window of {window} x {window} x {window} voxels fits inside the mask")

    def local_mean(image: np.ndarray) -> np.ndarray:
        return np.asarray(ndimage.uniform_filter(image, size=window, mode="constant"))[whole]

    # Centred first: E[x^2] - E[x]^2 loses digits when the mean is large against the spread.
    offset = float(r[inside].mean())
    s, r = np.where(inside, s - offset, 0.0), np.where(inside, r - offset, 0.0)
    mean_s, mean_r = local_mean(s), local_mean(r)
    bessel = window**3 / (window**3 - 1)
    var_s = bessel * (local_mean(s * s) - mean_s**2)
    var_r = bessel * (local_mean(r * r) - mean_r**2)
    covariance = bessel * (local_mean(s * r) - mean_s * mean_r)
    mean_s, mean_r = mean_s + offset, mean_r + offset
    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    luminance = (2 * mean_s * mean_r + c1) / (mean_s**2 + mean_r**2 + c1)
    structure = (2 * covariance + c2) / (var_s + var_r + c2)
    return measured(np.mean(luminance * structure), "not finite")


def pearson_r(synthetic: np.ndarray, real: np.ndarray, mask: np.ndarray) -> Measure:
    """Pearson correlation over M, no unit. Not defined for n < 3 or a constant image.

    It depends on the mask (a wide mask with zeros around the brain raises it): state the mask with every r.
    """
    return correlation(*_values(synthetic, real, mask))


def percent_difference(synthetic: np.ndarray, real: np.ndarray, mask: np.ndarray) -> Measure:
    """Difference of the means, ``100 (mean(s) - mean(r)) / mean(r)`` in %; positive when the synthetic is
    higher.

    The published "PercDiff" is the same as a fraction with the opposite sign. Not defined when mean(r) <= 0.
    """
    s, r = _values(synthetic, real, mask)
    if not s.size:
        return Measure(None, EMPTY)
    mean = float(r.mean())
    if mean <= RELATIVE_EPS * float(np.abs(r).mean()) or mean <= 0:
        return Measure(None, "the mean of the real PET is not above zero")
    return measured(100 * (s.mean() - mean) / mean, "not finite")


def roi_cnr_bias(synthetic: np.ndarray, real: np.ndarray, mask: np.ndarray) -> Measure:
    """Standardised bias, ``(mean(r) - mean(s)) / std(r and s together)``, population SD; no unit, ideal value
    0.

    This is what Table 4 of Ferrante et al. 2025 prints as "CNR", with its sign (positive when the synthetic
    PET is lower). It is no contrast-to-noise ratio of an image: that is
    :func:`MRI2PETLib.evaluation.cnr.cnr_values`.
    """
    s, r = _values(synthetic, real, mask)
    if not s.size:
        return Measure(None, EMPTY)
    both = np.concatenate([r, s])
    if is_constant(both):
        return Measure(None, "both images are constant")
    return measured((r.mean() - s.mean()) / both.std(), "not finite")


def slope(synthetic: np.ndarray, real: np.ndarray, mask: np.ndarray) -> Measure:
    """Least-squares slope of the synthetic on the real PET over M, no unit.

    1 is ideal, below 1 is regression to the mean: high voxels too low and low ones too high. Noise of the
    real PET alone lowers it too, so read it on the smoothed real PET.
    """
    s, r = _values(synthetic, real, mask)
    return regression_slope(r, s)


def sd_ratio(synthetic: np.ndarray, real: np.ndarray, mask: np.ndarray) -> Measure:
    """SD of the synthetic over SD of the real PET over M, no unit; below 1 the synthetic PET is too flat."""
    s, r = _values(synthetic, real, mask)
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
    "ssim": ssim,
    "pearson_r": pearson_r,
    "percent_difference": percent_difference,
    "roi_cnr_bias": roi_cnr_bias,
    "slope": slope,
    "sd_ratio": sd_ratio,
}


def voxel_metrics(
    synthetic: np.ndarray, real: np.ndarray, mask: np.ndarray, names: Container[str] | None = None
) -> dict[str, Measure]:
    """Every metric of this module but the image CNR, by name; or only those in ``names``."""
    result = {
        name: function(synthetic, real, mask)
        for name, function in _SINGLE.items()
        if names is None or name in names
    }
    summary = normdiff_summary(synthetic, real, mask)
    normdiff = {f"normdiff_{name}": value for name, value in summary.items()}
    return result | {name: value for name, value in normdiff.items() if names is None or name in names}


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
    measures = voxel_metrics(synthetic, real, inside)
    measures |= {f"smoothed_{k}": v for k, v in voxel_metrics(synthetic, smoothed, inside).items()}
    pairs = box_pairs(inside, spacing_mm, seed=seed)
    for name, image in (("synthetic", synthetic), ("real", real), ("real_smoothed", smoothed)):
        measures |= {f"cnr_{name}_{key}": value for key, value in cnr_summary(image, pairs).items()}
    n = int(np.count_nonzero(inside))
    for name, image in (("synthetic", synthetic), ("real", real)):
        mean = Measure(float(image[inside].astype(np.float64).mean())) if n else Measure(None, EMPTY)
        measures[f"mean_{name}"] = mean
    return {
        "n_voxels": n,
        "n_not_finite": int(np.count_nonzero(mask)) - n,
        "seed": seed,
        "fwhm_mm": fwhm_mm,
        **{name: measure.value for name, measure in measures.items()},
        "not_available": {name: m.reason for name, m in measures.items() if m.value is None},
    }
