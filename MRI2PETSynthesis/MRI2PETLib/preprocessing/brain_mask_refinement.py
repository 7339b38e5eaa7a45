"""Fit a brain mask that was propagated from a template to the image's own intensities."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from MRI2PETLib.core.errors import QualityError
from MRI2PETLib.preprocessing.morphology import close, dilate, erode, fill_holes, open_

# What is brighter than this times white matter is fat, marrow or a vessel with inflow.
FAT_LIMIT = 1.25
OPENING_MM, CORE_MM, CLOSING_MM, SMOOTHING_MM = 3.0, 9.0, 5.0, 3.0


def refine_mask(image: sitk.Image, prior: sitk.Image) -> sitk.Image:
    """The connected grey and white matter around the centre of ``prior``, closed and filled.

    :param image: bias-corrected T1, about 1 mm isotropic, float32.
    :param prior: mask (uint8, same grid) that holds the brain with a few mm of CSF around it.
    :raises QualityError: if nothing is left.
    """
    dark, bright = tissue_range(image, prior)
    tissue = sitk.BinaryThreshold(image, dark, bright, 1, 0) & prior
    opened = open_(tissue, OPENING_MM)
    core = erode(prior, CORE_MM)
    brain = connected_to(opened, core)
    # Opening took away thin gyri and the tips of the temporal lobes: take back tissue next to what is left.
    brain = dilate(brain, OPENING_MM) & tissue
    brain = fill_holes(close(brain, CLOSING_MM))
    # Closing also bridged to specks of muscle and fat.
    brain = connected_to(open_(brain, SMOOTHING_MM), core)
    if not np.any(sitk.GetArrayViewFromImage(brain)):
        raise QualityError("No brain tissue was found inside the registered template.", "Give a brain mask.")
    return brain


def tissue_range(image: sitk.Image, prior: sitk.Image) -> tuple[float, float]:
    """Darkest grey matter and brightest white matter, by Otsu's thresholds inside the prior."""
    inside = sitk.GetArrayViewFromImage(image)[sitk.GetArrayViewFromImage(prior) > 0]
    low, high = np.percentile(inside, (0.5, 99.0))
    flat = sitk.GetImageFromArray(np.clip(inside, low, high)[None, :])
    otsu = sitk.OtsuMultipleThresholdsImageFilter()
    otsu.SetNumberOfThresholds(2)
    otsu.SetNumberOfHistogramBins(128)
    otsu.Execute(flat)
    dark, grey_white = otsu.GetThresholds()
    white = float(np.median(inside[inside > grey_white]))
    return float(dark), FAT_LIMIT * white


def connected_to(mask: sitk.Image, core: sitk.Image) -> sitk.Image:
    """The component of ``mask`` that holds most of ``core``; empty if none does."""
    labels = sitk.ConnectedComponent(mask)
    array = sitk.GetArrayViewFromImage(labels)
    touching = np.bincount(array[sitk.GetArrayViewFromImage(core) > 0], minlength=1)
    touching[0] = 0
    if not touching.any():
        return sitk.Cast(labels != labels, sitk.sitkUInt8)
    keep = int(np.argmax(touching))
    return sitk.Cast(labels == keep, sitk.sitkUInt8)
