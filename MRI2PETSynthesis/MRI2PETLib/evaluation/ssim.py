"""Structural similarity of images inside a brain mask (Wang et al. 2004, IEEE TIP 13:600), in 3-D.

Uniform window of 7^3 voxels, K1 = .01, K2 = .03, sample (n - 1) covariances. The mean runs over the voxels
whose whole window lies in the mask, so that neither zeros around the brain nor the rim enter. The window is
in voxels: values on grids of different spacing do not compare.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import ndimage

from MRI2PETLib.evaluation.measure import Measure, measured
from MRI2PETLib.evaluation.normdiff import EMPTY

WINDOW = 7  # voxels on each axis
_BESSEL = WINDOW**3 / (WINDOW**3 - 1)


class Windows:
    """The whole windows inside a mask (bool, [k, j, i]); ``reason`` says why there is none."""

    def __init__(self, inside: np.ndarray) -> None:
        self.reason = "" if inside.any() else EMPTY
        self._box = ndimage.find_objects(inside.view(np.uint8))[0] if inside.any() else ()
        self._inside = inside[self._box]
        self._whole = np.flatnonzero(
            ndimage.minimum_filter(self._inside, size=WINDOW, mode="constant", cval=0)
        )
        if not self.reason and not self._whole.size:
            self.reason = f"no window of {WINDOW} x {WINDOW} x {WINDOW} voxels fits inside the mask"

    def local_mean(self, image: np.ndarray) -> np.ndarray:
        """Mean over each whole window of an image in the box of the mask, vector."""
        return np.asarray(ndimage.uniform_filter(image, size=WINDOW, mode="constant")).ravel()[self._whole]

    def moments(self, image: np.ndarray) -> Moments:
        """What SSIM needs of an image [k, j, i]."""
        if self.reason:
            return Moments(self, np.zeros(0), 0.0, np.zeros(0), np.zeros(0))
        # Centred first: E[x^2] - E[x]^2 loses digits when the mean is large against the spread.
        values = image[self._box][self._inside].astype(np.float64)
        offset = float(values.mean())
        centred = np.zeros(self._inside.shape)
        centred[self._inside] = values - offset
        mean = self.local_mean(centred)
        return Moments(self, centred, offset, mean, _BESSEL * (self.local_mean(centred * centred) - mean**2))


class Moments(NamedTuple):
    """An image minus ``offset`` (0 outside the mask), and its mean and variance in each whole window."""

    windows: Windows
    centred: np.ndarray
    offset: float
    mean: np.ndarray
    variance: np.ndarray


def similarity(s: Moments, r: Moments, span: float) -> Measure:
    """Mean structural similarity of two images in the same windows; 1 for equal images, no unit.

    :param span: the dynamic range L of the real image.
    """
    if s.windows.reason:
        return Measure(None, s.windows.reason)
    if span <= 0:
        return Measure(None, "the real PET is constant")
    covariance = _BESSEL * (s.windows.local_mean(s.centred * r.centred) - s.mean * r.mean)
    mean_s, mean_r = s.mean + s.offset, r.mean + r.offset
    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    luminance = (2 * mean_s * mean_r + c1) / (mean_s**2 + mean_r**2 + c1)
    structure = (2 * covariance + c2) / (s.variance + r.variance + c2)
    return measured(np.mean(luminance * structure), "not finite")
