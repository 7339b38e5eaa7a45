"""The anatomical template that ships with the extension: brain-only ICBM 152 2009a at 2 mm (MNI space)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import SimpleITK as sitk

from MRI2PETLib.core.resources import resources_dir


@dataclass(frozen=True)
class Template:
    """ICBM 152 nonlinear symmetric 2009a, skull-stripped, on one 2 mm grid padded by 24 mm around the brain.

    ``t1`` is float32 in 0..255, ``mask`` uint8, ``gm``, ``wm`` and ``csf`` float32 probabilities in 0..1
    that sum to 1 inside the mask. World coordinates are MNI (LPS in SimpleITK). Source: Fonov et al. 2011,
    as distributed with nilearn; ``Resources/Templates/make_templates.py`` makes the files.
    """

    t1: sitk.Image
    mask: sitk.Image
    gm: sitk.Image
    wm: sitk.Image
    csf: sitk.Image


@cache
def load_template() -> Template:
    """Read the template. The images are shared between callers: do not change them in place."""
    folder = resources_dir() / "Templates"

    def read(name: str) -> sitk.Image:
        return sitk.ReadImage(str(folder / f"icbm152_2009a_{name}.nii.gz"))

    def probability(name: str) -> sitk.Image:
        return sitk.Cast(read(name), sitk.sitkFloat32) / 255.0

    return Template(
        t1=sitk.Cast(read("T1"), sitk.sitkFloat32),
        mask=read("mask"),
        gm=probability("gm"),
        wm=probability("wm"),
        csf=probability("csf"),
    )
