"""Uptake where a model's scale ends: at SUVR 2 by the brain, at 4 by a named region."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import SimpleITK as sitk

from MRI2PETLib.core.findings import Finding

SCALE_END_KEY = "LargestSUVR"  # in the sidecar of a prediction
BRAIN_END = 2.0
_LEAST_SHARE = 1e-3  # of the brain: single noisy voxels are no news


def at_scale_end(relative: np.ndarray, largest_suvr: float | None, what: str) -> tuple[Finding, ...]:
    """What to say of a PET where the model's scale ends.

    :param relative: voxels of the brain over ``largest_suvr``, see :attr:`.ModelSpace.largest_suvr`.
    :param what: the PET, as the subject of a sentence.
    """
    share = float(np.mean(relative >= 1)) if largest_suvr is not None and relative.size else 0.0
    if share < _LEAST_SHARE:
        return ()
    message = (
        f"{what} reaches SUVR {largest_suvr:g} in {100 * share:.1f} % of the brain: there the scale of the "
        "model ends."
    )
    hint = "The network knows higher values as this one."
    if largest_suvr == BRAIN_END:
        hint += " The scale of a model trained with --reference-region cerebellum reaches 4."
    return (Finding("warn", "scale-end", message, hint),)


def real_at_scale_end(about: Mapping[str, Any], real: sitk.Image, mask: sitk.Image) -> tuple[Finding, ...]:
    """The same of a real PET that is compared with a prediction, in its unit.

    :param about: the prediction's sidecar, which says where the model's scale ends, or does not.
    """
    end = about.get(SCALE_END_KEY)
    if isinstance(end, bool) or not isinstance(end, (int, float)) or not 0 < end < np.inf:
        return ()
    inside = sitk.GetArrayViewFromImage(mask) != 0
    return at_scale_end(sitk.GetArrayViewFromImage(real)[inside] / end, float(end), "The real PET")
