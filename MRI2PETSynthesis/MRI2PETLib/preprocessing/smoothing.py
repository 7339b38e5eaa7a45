"""Gaussian smoothing given as full width at half maximum in mm."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.images.grid import FWHM_PER_SIGMA
from MRI2PETLib.images.io import same_grid


def smooth_fwhm(image: sitk.Image, fwhm_mm: float, mask: sitk.Image | None = None) -> sitk.Image:
    """Smooth a 3-D image with an isotropic Gaussian of ``fwhm_mm`` (float32, same grid).

    With a mask the smoothing is normalised, G(x m) / G(m) inside and 0 outside, so that activity
    neither leaks in nor is lost at the edge. Without one the border voxels are repeated outwards.

    :raises InputError: for a negative width or a mask on another grid.
    """
    from scipy.ndimage import gaussian_filter

    if not fwhm_mm >= 0 or not np.isfinite(fwhm_mm):
        raise InputError(f"The smoothing width is {fwhm_mm} mm.", "Give a FWHM of 0 mm or more.")
    if mask is not None and not same_grid(image, mask):
        raise InputError("The mask for smoothing is not on the grid of the image.", "Resample the mask.")
    values = sitk.GetArrayFromImage(image).astype(np.float32)
    sigma = np.array(image.GetSpacing())[::-1] ** -1 * (fwhm_mm / FWHM_PER_SIGMA)
    if mask is None:
        smoothed = gaussian_filter(values, sigma, mode="nearest") if fwhm_mm else values
    else:
        inside = sitk.GetArrayViewFromImage(mask) > 0
        weight = inside.astype(np.float32)
        if fwhm_mm:
            values = gaussian_filter(values * weight, sigma, mode="constant")
            weight = gaussian_filter(weight, sigma, mode="constant")
        smoothed = np.zeros_like(values)
        np.divide(values, weight, out=smoothed, where=inside)
    result = sitk.GetImageFromArray(smoothed)
    result.CopyInformation(image)
    return result
