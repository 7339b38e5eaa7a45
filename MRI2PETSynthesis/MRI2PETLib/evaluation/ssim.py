"""Structural similarity of images inside a brain mask."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from MRI2PETLib.evaluation.measure import Measure, measured
from MRI2PETLib.evaluation.normdiff import EMPTY, shared_voxels

WINDOW = 7  # voxels on each axis


class _Moments(NamedTuple):
    """An image minus ``offset`` (0 outside the mask), and its mean and variance around each whole window."""

    centred: np.ndarray
    offset: float
    mean: np.ndarray
    variance: np.ndarray


def ssim(
    synthetic: np.ndarray,
    real: np.ndarray,
    mask: np.ndarray,
    *,
    data_range: float | None = None,
    window: int = WINDOW,
) -> Measure:
    """Mean structural similarity (Wang et al. 2004, IEEE TIP 13:600), in 3-D; 1 for equal images, no unit.

    Uniform window of ``window``^3 voxels, K1 = .01, K2 = .03, sample (n - 1) covariances; ``L`` as in
    :func:`~MRI2PETLib.evaluation.metrics.psnr`. The mean runs over the voxels whose whole window lies in M,
    so that neither zeros around the brain nor the rim enter. The window is in voxels: values on grids of
    different spacing do not compare.
    """
    return ssim_table([synthetic], [real], mask, data_range=data_range, window=window)[0][0]


def ssim_table(
    synthetic: Sequence[np.ndarray],
    real: Sequence[np.ndarray],
    mask: np.ndarray,
    *,
    data_range: float | None = None,
    window: int = WINDOW,
) -> list[list[Measure]]:
    """:func:`ssim` of every synthetic image (rows) with every real one (columns), at half the cost.

    M is one for all of them: the voxels inside the mask where every image is finite.
    """
    inside = np.asarray(mask != 0)
    for image in (*synthetic, *real):
        inside = shared_voxels(image, image, inside)
    if not inside.any():
        return [[Measure(None, EMPTY)] * len(real) for _ in synthetic]
    box = ndimage.find_objects(inside.view(np.uint8))[0]
    inside = inside[box]
    whole = np.flatnonzero(ndimage.minimum_filter(inside, size=window, mode="constant", cval=0))
    if not whole.size:
        reason = f"no window of {window} x {window} x {window} voxels fits inside the mask"
        return [[Measure(None, reason)] * len(real) for _ in synthetic]
    bessel = window**3 / (window**3 - 1)

    def local_mean(image: np.ndarray) -> np.ndarray:
        return np.asarray(ndimage.uniform_filter(image, size=window, mode="constant")).ravel()[whole]

    def moments(image: np.ndarray) -> _Moments:
        # Centred first: E[x^2] - E[x]^2 loses digits when the mean is large against the spread.
        values = image[box][inside].astype(np.float64)
        offset = float(values.mean())
        centred = np.zeros(inside.shape)
        centred[inside] = values - offset
        mean = local_mean(centred)
        return _Moments(centred, offset, mean, bessel * (local_mean(centred * centred) - mean**2))

    spans = [data_range or float(np.ptp(r[box][inside].astype(np.float64))) for r in real]
    references = [moments(r) for r in real]

    def compare(s: _Moments, r: _Moments, span: float) -> Measure:
        if span <= 0:
            return Measure(None, "the real PET is constant")
        covariance = bessel * (local_mean(s.centred * r.centred) - s.mean * r.mean)
        mean_s, mean_r = s.mean + s.offset, r.mean + r.offset
        c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
        luminance = (2 * mean_s * mean_r + c1) / (mean_s**2 + mean_r**2 + c1)
        structure = (2 * covariance + c2) / (s.variance + r.variance + c2)
        return measured(np.mean(luminance * structure), "not finite")

    table = []
    for image in synthetic:
        s = moments(image)
        table.append([compare(s, r, span) for r, span in zip(references, spans)])
    return table
