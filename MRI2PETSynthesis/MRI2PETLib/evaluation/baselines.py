"""What a predictor without a network reaches on the same case. Shown beside the network in every table.

Each baseline gives a pattern only; its level is the in-brain mean of the synthetic PET. So the error of the
level is the same for all rows, and what differs between them is the pattern.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import SimpleITK as sitk

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.models.bundle import Bundle
from MRI2PETLib.preprocessing.smoothing import smooth_fwhm
from MRI2PETLib.templates.icbm152 import load_template
from MRI2PETLib.templates.uptake import population_uptake

NETWORK = "network"
ANATOMY_NULL = "anatomy null"
# A usual resolution of reconstructed brain PET; the population map itself is as sharp as the template.
POPULATION_FWHM_MM = 6.0


@dataclass(frozen=True)
class Predictor:
    """One row of the tables. ``values``: array [k, j, i] on the case's grid, or ``None`` and a ``reason``.

    ``uses`` says what information it has, in a few words that can be printed.
    """

    name: str
    uses: str
    values: np.ndarray | None
    reason: str = ""


def predictors(
    synthetic: np.ndarray,
    mask: sitk.Image,
    t1: sitk.Image | None,
    template_to_native: sitk.Transform | None,
    *,
    cubic: Sequence[float] | None = None,
    training_mean: sitk.Image | None = None,
) -> list[Predictor]:
    """The network's output and all baselines on the grid of ``mask``, in the order of the tables.

    :param cubic: coefficients c0..c3 of PET over T1 (1st to 99th percentile inside the mask scaled to 0..1).
    :param training_mean: mean PET of the training fold in MNI space.
    """
    inside = sitk.GetArrayViewFromImage(mask) != 0
    level = float(synthetic[inside].astype(np.float64).mean())
    no_transform = "" if template_to_native is not None else "no transform between MNI space and this person"

    def at_level(name: str, uses: str, values: np.ndarray | None, reason: str) -> Predictor:
        if values is None:
            return Predictor(name, uses, None, reason)
        mean = float(values[inside].astype(np.float64).mean())
        if not mean > 0:
            return Predictor(name, uses, None, f"its mean inside the brain mask is {mean:.3g}")
        return Predictor(name, uses, np.where(inside, values * (level / mean), 0).astype(np.float32))

    cubic_values, cubic_reason = _cubic(t1, inside, cubic)
    mean_reason = (
        no_transform if training_mean is not None else "no training-fold mean comes with this model or run"
    )
    warped_mean = _from_mni(training_mean, mask, template_to_native)
    population = None if no_transform else _from_mni(_population(), mask, template_to_native)
    return [
        Predictor(NETWORK, "the T1, through the trained network", synthetic),
        at_level("constant", "one value everywhere, no pattern", np.ones(inside.shape), ""),
        at_level("cubic of T1", "the T1 of the same voxel, four coefficients", cubic_values, cubic_reason),
        at_level(
            "training mean",
            "the mean PET of the training fold, placed by an affine",
            warped_mean,
            mean_reason,
        ),
        at_level(
            ANATOMY_NULL,
            f"one population activity map ({POPULATION_FWHM_MM:g} mm), placed by an affine",
            population,
            no_transform,
        ),
    ]


def cubic_of_bundle(bundle: Bundle | None) -> list[float] | None:
    """c0..c3 of the T1 baseline from a bundle's metadata, ``baselines.cubic_of_t1.coefficients``."""
    value: Any = None if bundle is None else bundle.metadata.get("baselines")
    for key in ("cubic_of_t1", "coefficients"):
        value = value.get(key) if isinstance(value, dict) else None
    if not isinstance(value, list) or not all(isinstance(v, (int, float)) for v in value):
        return None
    return [float(v) for v in value]


def normalised_t1(t1: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """T1 with its 1st and 99th percentile inside the mask at 0 and 1, clipped.

    :raises InputError: if the T1 is constant inside the mask.
    """
    low, high = np.percentile(t1[inside], (1, 99))
    if not high > low:
        raise InputError(
            "The T1 has a single value inside the brain mask.", "Check that T1 and mask belong together."
        )
    return np.asarray(np.clip((t1 - low) / (high - low), 0, 1))


def _cubic(
    t1: sitk.Image | None, inside: np.ndarray, coefficients: Sequence[float] | None
) -> tuple[np.ndarray | None, str]:
    if coefficients is None:
        return None, "its coefficients do not come with this model"
    if t1 is None:
        return None, "it needs the T1"
    return np.polynomial.polynomial.polyval(
        normalised_t1(sitk.GetArrayViewFromImage(t1), inside), np.asarray(coefficients, dtype=float)
    ), ""


@cache
def _population() -> sitk.Image:
    """The population's mean activity on the template grid at the resolution of a PET."""
    return smooth_fwhm(population_uptake("PBR28"), POPULATION_FWHM_MM, load_template().mask)


def _from_mni(
    image: sitk.Image | None, reference: sitk.Image, template_to_native: sitk.Transform | None
) -> np.ndarray | None:
    if image is None or template_to_native is None:
        return None
    inverse = template_to_native.GetInverse()
    return sitk.GetArrayFromImage(sitk.Resample(image, reference, inverse, sitk.sitkLinear, 0.0))
