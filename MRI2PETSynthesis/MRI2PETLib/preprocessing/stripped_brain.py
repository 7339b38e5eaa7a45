"""Tell whether an image already shows the brain only, and take its mask from it."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from MRI2PETLib.images.grid import bounding_box
from MRI2PETLib.preprocessing.morphology import filled, largest_component

# Looked at on a copy of about this spacing.
LOOK_SPACING_MM = 2.0
BORDER_SHARE = 0.95
COMPONENT_SHARE = 0.98
# Volume is what tells a brain from a head with zeroed air: stripped brains had 1126-2118 mL, heads 3232 mL
# and more.
VOLUME_RANGE_ML = (600.0, 2200.0)
# Of the range between background and the 99.5th percentile: what counts as background when looking, and
# where the mask's edge lies. Interpolation smears the edge: of stripped brains resampled to 2 mm, what is
# above 0 is 11 % larger than in the original, what is above 0.05 is 3 % larger; originals lose 0.3 %.
TOLERANCE, EDGE = 0.01, 0.05


def stripped_mask(image: sitk.Image) -> sitk.Image | None:
    """The brain mask (uint8, same grid) of an already skull-stripped image, or ``None`` for a head.

    Stripped means: the border is constant background, what is not background is one component, and its
    filled volume is that of a brain. Right on 36 stripped images and 22 heads; noise added everywhere after
    stripping hides it.
    """
    values = sitk.GetArrayViewFromImage(image)
    spacing = np.array(image.GetSpacing())[::-1]
    steps = np.maximum(np.round(LOOK_SPACING_MM / spacing), 1).astype(int)
    coarse = values[:: steps[0], :: steps[1], :: steps[2]]
    background = _border_mode(coarse)
    contrast = float(np.percentile(coarse, 99.5)) - background
    if contrast <= 0:
        return None
    foreground = np.abs(coarse - background) > TOLERANCE * contrast
    if _border(~foreground).mean() < BORDER_SHARE or not foreground.any():
        return None
    largest = largest_component(foreground)
    if largest.sum() < COMPONENT_SHARE * foreground.sum():
        return None
    volume_ml = filled(largest).sum() * float(np.prod(spacing * steps)) / 1000.0
    if not VOLUME_RANGE_ML[0] <= volume_ml <= VOLUME_RANGE_ML[1]:
        return None
    difference = values - background
    inside = np.abs(difference, out=difference) > EDGE * contrast
    low, high = bounding_box(inside)
    brain = tuple(slice(a, b + 1) for a, b in zip(low, high))
    inside[brain] = filled(largest_component(inside[brain]))
    result = sitk.GetImageFromArray(inside.view(np.uint8))
    result.CopyInformation(image)
    return result


def _border(array: np.ndarray) -> np.ndarray:
    """The voxels of the six faces."""
    faces = [array[0], array[-1], array[:, 0], array[:, -1], array[:, :, 0], array[:, :, -1]]
    return np.concatenate([f.ravel() for f in faces])


def _border_mode(array: np.ndarray) -> float:
    values, counts = np.unique(_border(array), return_counts=True)
    return float(values[np.argmax(counts)])
