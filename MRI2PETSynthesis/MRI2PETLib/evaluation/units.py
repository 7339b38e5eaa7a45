"""The unit in which two images are compared, or why they cannot be."""

from __future__ import annotations

from typing import Any

import numpy as np
import SimpleITK as sitk

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.findings import Finding
from MRI2PETLib.evaluation.settings import CasePaths, EvaluationSettings
from MRI2PETLib.preprocessing.pet import PetImage, check_uptake, to_unit


def shared_unit(
    synthetic: PetImage, real: PetImage, paths: CasePaths, settings: EvaluationSettings, *, to_pet: bool
) -> str | None:
    """The unit of both images, ``None`` where only their patterns are compared.

    :param to_pet: whether the synthetic image is a PET.
    :raises InputError: if they have no unit in common, or one that is not stated.
    """
    if not to_pet:
        return _unit_of_mri(synthetic, paths, settings)
    if settings.reference_region is not None:
        return _check_ratio(synthetic, real, paths, settings)
    if settings.to_synthetic_unit:
        return _check_can_rescale(synthetic, real, paths, settings.scale_free)
    return _common_unit(synthetic, real, paths, settings.scale_free)


def _check_ratio(synthetic: PetImage, real: PetImage, paths: CasePaths, settings: EvaluationSettings) -> str:
    """SUVR, where both images are uptake with a zero."""
    if settings.to_synthetic_unit or settings.scale_free:
        raise InputError(
            "--reference-region makes both PETs SUVR.", "Leave out --to-synthetic-unit and --scale-free."
        )
    for pet, path in ((synthetic, paths.synthetic), (real, paths.pet)):
        check_uptake(pet)
        if pet.unit == "normalised":
            raise InputError(
                f"{path} is scaled to 0 to 1: its zero is lost, so ratios mean nothing.",
                "Use a model whose target is SUVR.",
            )
    return "SUVR"


def _unit_of_mri(synthetic: PetImage, paths: CasePaths, settings: EvaluationSettings) -> str:
    """The unit of a synthetic MRI and of the T1 as it is compared with it."""
    if paths.t1 is None:
        raise InputError(
            f"{paths.synthetic} is a synthetic MRI: it is compared with the T1.", "Give the T1 (--t1)."
        )
    if settings.to_synthetic_unit or settings.scale_free or settings.reference_region is not None:
        raise InputError(
            "--to-synthetic-unit, --scale-free and --reference-region are for PET.",
            "Leave them out: the T1 is scaled as the model's target is.",
        )
    if synthetic.unit != "normalised":
        raise InputError(
            f"The synthetic MRI {paths.synthetic} is in {synthetic.unit}.",
            "State --synthetic-unit normalised if it goes from 0 to 1.",
        )
    return synthetic.unit


def _common_unit(synthetic: PetImage, real: PetImage, paths: CasePaths, scale_free: bool) -> str | None:
    if synthetic.unit == real.unit != "unknown":
        return synthetic.unit
    if scale_free:
        return None
    for pet, path, option in (
        (synthetic, paths.synthetic, "--synthetic-unit"),
        (real, paths.pet, "--pet-unit"),
    ):
        if pet.unit == "unknown":
            raise InputError(
                f"The unit of {path} is not stated.",
                f"State it with {option} (SUV, SUVR, Bq/mL, normalised), or compare patterns only "
                f"(--scale-free).",
            )
    raise InputError(
        f"The synthetic PET is in {synthetic.unit}, the real one in {real.unit}: they cannot be compared.",
        "Scale the real one by its own values in the brain (--to-synthetic-unit), or compare patterns only, "
        "each image over its own in-brain mean (--scale-free).",
    )


def _check_can_rescale(synthetic: PetImage, real: PetImage, paths: CasePaths, scale_free: bool) -> str:
    """The unit that the real PET will have."""
    if scale_free:
        raise InputError("--scale-free compares without a unit.", "Leave out --to-synthetic-unit.")
    if synthetic.unit not in ("SUVR", "normalised"):
        raise InputError(
            f"The synthetic PET {paths.synthetic} is in {synthetic.unit}: no PET can be brought to that unit "
            f"by its own values.",
            "Only SUVR and normalised can be reached; state --synthetic-unit if its files do not say.",
        )
    if real.unit != synthetic.unit:
        check_uptake(real)
    if real.unit == "normalised" and synthetic.unit != "normalised":
        raise InputError(
            f"The real PET {paths.pet} is normalised: its zero is lost, so it cannot be converted to "
            f"{synthetic.unit}.",
            "Give the PET in a unit of activity (Bq/mL, SUV, SUVR).",
        )
    return synthetic.unit


def rescale(
    real: sitk.Image, mask: sitk.Image, unit: str, target: str
) -> tuple[sitk.Image, dict[str, Any], tuple[Finding, ...]]:
    """The aligned real PET in the unit of the synthetic one, the record of it, and what to tell."""
    inside = sitk.GetArrayViewFromImage(real)[sitk.GetArrayViewFromImage(mask) != 0].astype(np.float64)
    mean, low, high = (float(v) for v in (inside.mean(), inside.min(), inside.max()))
    if target == "SUVR":
        how, record = f"divided by its mean in the brain ({mean:.4g})", {"divided_by": mean}
    else:
        how, record = f"scaled from {low:.4g} to {high:.4g} in the brain", {"minimum": low, "maximum": high}
    message = f"The real PET (unit: {unit}) was {how} to {target}: a difference in level cannot be seen."
    about = {"from": unit, "to": target, "where": "brain mask within the field of view of the PET", **record}
    return to_unit(real, mask, target), about, (Finding("ok", "real-rescaled", message),)
