"""The anatomical template that ships with the extension: brain-only ICBM 152 2009a at 2 mm (MNI space)."""

from __future__ import annotations

from functools import cache, cached_property

import numpy as np
import SimpleITK as sitk

from MRI2PETLib.core.resources import resources_dir


class Template:
    """ICBM 152 nonlinear symmetric 2009a, skull-stripped, on one 2 mm grid padded by 24 mm around the brain.

    ``t1`` is float32 in 0..255, ``mask`` uint8, ``gm``, ``wm`` and ``csf`` float32 probabilities in 0..1
    that sum to 1 inside the mask. World coordinates are MNI (LPS in SimpleITK). Each is read when it is
    first asked for. Source: Fonov et al. 2011, as distributed with nilearn;
    ``Resources/Templates/make_templates.py`` makes the files.
    """

    @cached_property
    def t1(self) -> sitk.Image:
        return sitk.Cast(_read("T1"), sitk.sitkFloat32)

    @cached_property
    def mask(self) -> sitk.Image:
        return _read("mask")

    @cached_property
    def gm(self) -> sitk.Image:
        return _probability("gm")

    @cached_property
    def wm(self) -> sitk.Image:
        return _probability("wm")

    @cached_property
    def csf(self) -> sitk.Image:
        return _probability("csf")

    @cached_property
    def tissue(self) -> np.ndarray:
        """The most probable one, uint8 [k, j, i]: 0 grey matter, 1 white matter, 2 CSF."""
        gm, wm, csf = (sitk.GetArrayFromImage(_read(name)) for name in ("gm", "wm", "csf"))
        return np.where(gm >= np.maximum(wm, csf), 0, np.where(wm >= csf, 1, 2)).astype(np.uint8)


@cache
def load_template() -> Template:
    """The template. The images are shared between callers: do not change them in place."""
    return Template()


def _read(name: str) -> sitk.Image:
    return sitk.ReadImage(str(resources_dir() / "Templates" / f"icbm152_2009a_{name}.nii.gz"))


def _probability(name: str) -> sitk.Image:
    return sitk.Cast(_read(name), sitk.sitkFloat32) / 255.0
