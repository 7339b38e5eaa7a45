"""SUVR by a named region: synthetic and real PET are each divided by their own mean there."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.findings import Finding
from MRI2PETLib.evaluation.settings import EvaluationSettings
from MRI2PETLib.images.bids import read_sidecar
from MRI2PETLib.models.model_space import BRAIN_MASK, ModelSpace
from MRI2PETLib.preprocessing.pet import to_unit
from MRI2PETLib.preprocessing.pet_measured import why_left_out
from MRI2PETLib.templates.regions import REFERENCE_REGIONS, WHOLE_BRAIN, reference_regions

LEAST_REFERENCE_ML = 1.6  # as for SUVR by an atlas: a mean over less is too noisy


def check_references(own: str, real: Path, unit: str, settings: EvaluationSettings) -> tuple[Finding, ...]:
    """What to say where two SUVR are compared as they are, whose reference regions may differ.

    :param own: what the synthetic PET states, empty for the brain mask.
    :param real: the real PET, in ``unit``.
    :raises InputError: if both are stated, and differ; if the real one is to be brought to a region that is
        not known by name.
    """
    if settings.reference_region is not None:
        return ()
    if settings.to_synthetic_unit:
        if _plain(own) not in REFERENCE_REGIONS:
            raise InputError(
                f"The synthetic PET is SUVR by the {own}: the real one cannot be brought to that.",
                "Bring both to one region (--reference-region NAME).",
            )
        return ()
    if unit != "SUVR":
        return ()
    other = stated_reference(real)
    if (other or own) and _plain(other) != _plain(own):
        if other:
            raise InputError(
                f"The synthetic PET is SUVR by the {own or BRAIN_MASK}, {real} by {other}.",
                "Bring both to one region (--reference-region NAME), or the real one to that of the "
                "synthetic one (--to-synthetic-unit).",
            )
        message = f"The synthetic PET is SUVR by the {own}; the real one does not say by which region."
        return (Finding("warn", "reference-not-stated", message, "Bring both to one: --reference-region."),)
    return ()


def check_one_reference(synthetic: Sequence[Path], settings: EvaluationSettings) -> None:
    """Refuse synthetic PETs that state different reference regions: their numbers have different scales.

    :raises InputError: naming the regions.
    """
    if settings.reference_region is not None or settings.scale_free:
        return
    names = references_of(synthetic)
    if len(names) > 1:
        raise InputError(
            f"The synthetic PETs are SUVR by different regions: {', '.join(names)}.",
            "Bring all to one region (--reference-region NAME), or compare patterns only (--scale-free).",
        )


def references_of(synthetic: Sequence[Path]) -> list[str]:
    """The different regions that synthetic PETs are SUVR by; what is not stated is the brain mask."""
    regions = set()
    for pet in synthetic:
        with suppress(InputError):  # the case itself will fail
            regions.add(_plain(stated_reference(pet)))
    return sorted(BRAIN_MASK if name == WHOLE_BRAIN else name for name in regions)


def _plain(reference: str) -> str:
    """A reference region as it is compared: what is not stated is the brain mask: the whole brain."""
    name = reference.lower()
    return WHOLE_BRAIN if name in ("", BRAIN_MASK) else name


def stated_reference(pet: Path) -> str:
    """The reference region that the sidecar of a PET states, empty without one."""
    sidecar: dict[str, Any] = {} if pet.is_dir() else read_sidecar(pet)
    regions = sidecar.get("Regions")
    reference = sidecar.get("ReferenceRegion")
    if reference is None and isinstance(regions, dict):
        reference = regions.get("reference")
    if isinstance(reference, list):
        return ", ".join(map(str, reference))
    return str(reference or "").strip()


def named_reference(synthetic: Path) -> str:
    """The region of :data:`.regions.REFERENCE_REGIONS` that a synthetic PET is SUVR by, empty for none."""
    name = stated_reference(synthetic).lower()
    return name if name in REFERENCE_REGIONS else ""


def reference_mask(name: str, brain: sitk.Image, to_template: sitk.Transform | None) -> sitk.Image:
    """A region of :data:`.regions.REFERENCE_REGIONS` inside a person's brain mask (uint8, its grid).

    :param to_template: maps points of the person to MNI points (LPS mm).
    :raises InputError: if it needs a transform and there is none.
    """
    inside = sitk.Cast(brain != 0, sitk.sitkUInt8)
    if name == WHOLE_BRAIN:
        return inside
    if to_template is None:
        raise InputError(
            f"There is no transform between MNI space and this person: where is the {name}?",
            f"Give the T1 (--t1), or the reference region {WHOLE_BRAIN!r}.",
        )
    regions = reference_regions()
    own = [label for label, region in regions.names.items() if region.endswith(name)]
    pulled = sitk.Resample(regions.labels, brain, to_template, sitk.sitkNearestNeighbor, 0)
    labels = np.isin(sitk.GetArrayViewFromImage(pulled), own).astype(np.uint8)
    region = sitk.GetImageFromArray(labels)
    region.CopyInformation(brain)
    return sitk.And(region, inside)


def in_unit_of(
    space: ModelSpace,
    image: sitk.Image,
    brain: sitk.Image,
    measured: sitk.Image,
    to_template: sitk.Transform | None,
) -> sitk.Image:
    """A real PET on the grid of the T1 in the unit of a model's PET.

    :param measured: what of the brain the PET measured; ``to_template``: see :func:`reference_mask`.
    :raises InputError: see :func:`reference_mask` and :func:`divide_by_region`.
    """
    name = space.named_reference
    if not name:
        return to_unit(image, measured, space.output_unit)
    return divide_by_region([image], name, reference_mask(name, brain, to_template), measured)[0][0]


def divide_by_region(
    images: Sequence[sitk.Image], name: str, region: sitk.Image, measured: sitk.Image
) -> tuple[list[sitk.Image], dict[str, Any], tuple[Finding, ...]]:
    """Each image over its own mean in the region, float32; what it was divided by, and what to say.

    :param region: on the grid of the images, as ``measured``: what of the brain the PET measured.
    :raises InputError: if the region is too small, not measured, or a mean is not above zero.
    """
    whole, there = (sitk.GetArrayViewFromImage(image) != 0 for image in (region, measured))
    voxels = whole & there
    volume_ml = float(voxels.sum() * np.prod(region.GetSpacing()) / 1000)
    if volume_ml < LEAST_REFERENCE_ML:
        raise InputError(
            f"The reference region {name} has {volume_ml:.2g} mL in this brain; at least "
            f"{LEAST_REFERENCE_ML} are needed.",
            "Check the T1 and the registration, or choose another region.",
        )
    reason = why_left_out(float(voxels.sum() / whole.sum()))
    if reason:
        raise InputError(f"The reference region {name} cannot be used: {reason}.", "Choose another region.")
    means = [float(sitk.GetArrayViewFromImage(image)[voxels].astype(np.float64).mean()) for image in images]
    if not min(means) > 0:
        raise InputError(f"The mean in the reference region {name} is {min(means):.4g}.", "Check the images.")
    divided = [sitk.Cast(image / mean, sitk.sitkFloat32) for image, mean in zip(images, means)]
    who = "The real PET was divided by its" if len(images) == 1 else "Both PETs were divided by their"
    message = f"{who} own mean in the {name} ({volume_ml:.1f} mL): SUVR by it."
    record = {"name": name, "volume_ml": round(volume_ml, 2), "means": means}
    return divided, record, (Finding("ok", "reference-region", message),)
