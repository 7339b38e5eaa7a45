from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from MRI2PETLib.preprocessing.morphology import dilate
from MRI2PETLib.preprocessing.pet_template import uptake_mask
from MRI2PETLib.preprocessing.smoothing import smooth_fwhm
from MRI2PETLib.templates.icbm152 import load_template


def brain_pet() -> sitk.Image:
    """The template's brain with uptake 1, a cold ventricle-like hole in it, blurred by 6 mm."""
    mask = load_template().mask
    values = sitk.GetArrayFromImage(mask).astype(np.float32)
    k, j, i = (n // 2 for n in values.shape)
    values[k - 4 : k + 4, j - 8 : j + 8, i - 4 : i + 4] = 0.1
    image = sitk.GetImageFromArray(values)
    image.CopyInformation(mask)
    return smooth_fwhm(image, 6.0)


def test_the_edge_of_uptake_is_the_edge_of_the_brain() -> None:
    truth = sitk.GetArrayViewFromImage(load_template().mask) > 0
    wide = dilate(load_template().mask, 8.0)
    result = sitk.GetArrayFromImage(uptake_mask(brain_pet() * 13.0, wide)) > 0  # the unit cancels
    dice = 2 * (result & truth).sum() / (result.sum() + truth.sum())
    assert dice > 0.97
    assert (
        2
        * (truth & (sitk.GetArrayFromImage(wide) > 0)).sum()
        / (truth.sum() + (sitk.GetArrayFromImage(wide) > 0).sum())
        < 0.9
    )
    k, j, i = (n // 2 for n in truth.shape)
    assert result[k, j, i]  # a hole is part of the brain


def test_without_uptake_the_wide_mask_stays() -> None:
    mask = load_template().mask
    empty = sitk.Cast(mask, sitk.sitkFloat32) * 0
    same = sitk.GetArrayFromImage(uptake_mask(empty, mask)) == sitk.GetArrayViewFromImage(mask)
    assert same.all()
