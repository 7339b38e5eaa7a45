"""Scale and resolution at which two PETs are compared. Arrays [k, j, i]; a mask is not 0 inside."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.evaluation.settings import FWHM_MM
from MRI2PETLib.preprocessing.smoothing import smooth_fwhm


def smooth_in_mask(
    image: np.ndarray, mask: np.ndarray, spacing_mm: tuple[float, float, float], fwhm_mm: float = FWHM_MM
) -> np.ndarray:
    """Gaussian smoothing inside the mask only, G(x m) / G(m), float32, 0 outside.

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
