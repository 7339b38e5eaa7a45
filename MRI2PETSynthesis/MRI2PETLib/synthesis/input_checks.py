"""The traffic light: named checks of the inputs before anything is computed.

Two depths. :func:`quick_checks` looks at images in memory and answers at once; what needs the brain is *not
checked*. :func:`full_checks` reads files, finds the brain and lays the PET on the T1. Nothing is judged here:
every message comes from the check that the computation itself makes.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from MRI2PETLib.core.findings import Finding
from MRI2PETLib.core.progress import ProgressCallback, no_progress, part_of
from MRI2PETLib.images import image_checks
from MRI2PETLib.images.dicom import is_synthetic_series
from MRI2PETLib.images.grid import size_text
from MRI2PETLib.images.image_checks import ImageKind
from MRI2PETLib.images.raw import RawImage
from MRI2PETLib.preprocessing.fit_quality import judge_field_of_view
from MRI2PETLib.preprocessing.pet import PetImage, check_unit, check_uptake, read_pet
from MRI2PETLib.preprocessing.pet_alignment import align_pet_to_t1
from MRI2PETLib.preprocessing.pet_units import check_overruled, parse_unit
from MRI2PETLib.preprocessing.tracers import check_tracer
from MRI2PETLib.synthesis.checks import (
    BRAIN,
    CONTRAST,
    FIELD,
    OVERLAP,
    PET_IMAGE,
    STRIPPED,
    SYNTHETIC,
    T1,
    TRACER_CHECK,
    UNIT,
    Check,
    Checks,
)
from MRI2PETLib.synthesis.settings import CaseInputs

_NO_PET = "No PET was chosen."
_MEASURED = "Not made by a model, as far as is stated."
_LATER = "Known once the brain has been found."
# Of the smaller field of view, the share inside the other one; below it the headers may not belong together.
_MIN_SHARED = 0.5
_LATTICE = 16  # points on each axis to measure that share
_UNIT_VOXELS = 64  # on each axis: a unit is recognised on a coarse copy


def quick_checks(
    t1: sitk.Image,
    pet: sitk.Image | None = None,
    *,
    t1_synthetic: bool = False,
    pet_synthetic: bool = False,
    pet_unit: str | None = None,
    pet_unit_of_file: str = "",
    t1_name: str = "The T1",
    pet_name: str = "The PET",
) -> list[Check]:
    """Everything that can be said without finding the brain; under 0.3 s for 256^3 voxels.

    :param t1: scalar image of any voxel type (LPS mm). ``pet``: real PET, 3-D.
    :param t1_synthetic: its sidecar says that a model made it; likewise ``pet_synthetic``.
    :param pet_unit: unit of the PET as it is stated somewhere (SUV, SUVR, Bq/mL, normalised), if it is.
    :param pet_unit_of_file: the one that its file states, where the user states one, too.
    :return: one check for each of :data:`.checks.CHECK_NAMES`, in that order.
    """
    checks = Checks()
    checks.add(SYNTHETIC, _synthetic(t1_synthetic, pet_synthetic), _MEASURED)
    raw = _raw(t1, t1_name)
    checks.run(T1, lambda: _values(raw, "t1"), f"{size_text(t1)}.")
    checks.run(FIELD, lambda: _field_of_view(raw, t1), "")
    if checks.level(FIELD) == "ok":
        checks.set(FIELD, "ok", f"{' x '.join(f'{e:.0f}' for e in raw.extent_mm)} mm.")
    for name in (CONTRAST, BRAIN, STRIPPED):
        checks.set(name, "not checked", _LATER)
    if pet is None:
        for name in (PET_IMAGE, UNIT, OVERLAP):
            checks.set(name, "not checked", _NO_PET)
        return checks.in_order()
    raw_pet = _raw(pet, pet_name)
    checks.run(PET_IMAGE, lambda: _values(raw_pet, "pet"), f"{size_text(pet)}.")
    checks.run(UNIT, lambda: _unit(pet, pet_unit, pet_unit_of_file), f"{pet_unit}, stated.")
    usable = checks.level(T1) != "refuse" and checks.level(PET_IMAGE) != "refuse"
    if usable:
        share = shared_field_of_view(t1, pet)
        checks.add(OVERLAP, _overlap(share), f"{100 * share:.0f} % of the smaller field of view is shared.")
    return checks.in_order()


def tracer_check(pet: str, model: str) -> Check:
    """The light of the tracers that a PET and a model state, empty for none."""
    checks = Checks()
    if not pet or not model:
        whose = "the model" if pet else "the PET"
        checks.set(TRACER_CHECK, "not checked", f"Not stated of {whose}.")
    else:
        checks.add(TRACER_CHECK, check_tracer(pet, model, "the model"), f"{pet}, as the model.")
    return checks.lights()[0]


def full_checks(
    t1: Path, inputs: CaseInputs | None = None, *, progress: ProgressCallback = no_progress
) -> list[Check]:
    """All checks of files: the quick ones, the brain in the T1, and the PET on it.

    :return: as :func:`quick_checks`. What cannot be checked because of an earlier refusal is *not checked*.
    """
    from MRI2PETLib.images.io import read_image, read_mask
    from MRI2PETLib.synthesis.case_files import is_synthetic
    from MRI2PETLib.synthesis.dicom_case import dicom_origin

    checks = Checks()
    progress(0, 1, "reading")
    own = inputs or CaseInputs()
    mask, pet = own.mask, own.pet
    image = checks.read(T1, lambda: read_image(t1, kind="t1", series_uid=own.series))
    forms = None if image is None else image.forms
    brain = checks.read(BRAIN, lambda: read_mask(mask, forms)) if mask is not None else None
    real = checks.read(PET_IMAGE, lambda: _real_pet(pet, own)) if pet is not None else None
    synthetic = (
        is_synthetic(t1) or (image is not None and is_synthetic_series(image.metadata.get("series") or {})),
        pet is not None and is_synthetic(pet),
    )
    if real is not None and is_synthetic_series(real.metadata.get("series") or {}):
        synthetic = (synthetic[0], True)
    if image is None:
        checks.add(SYNTHETIC, _synthetic(*synthetic), _MEASURED)
        return checks.in_order("Not checked, because the T1 cannot be used.")
    if own.dicom_study is not None:
        checks.read(T1, lambda: dicom_origin(image, own.dicom_study))
    unit = None if real is None or real.unit == "unknown" else real.unit
    quick = quick_checks(
        image.image,
        None if real is None else real.image,
        t1_synthetic=synthetic[0],
        pet_synthetic=synthetic[1],
        pet_unit=unit,
    )
    checks.take(quick)
    if pet is not None and real is None:
        for name in (UNIT, OVERLAP):
            checks.set(name, "not checked", "Not checked, because the PET cannot be used.")
    checks.merge(T1, image.verdict.findings)
    if real is not None:
        checks.merge(UNIT, real.about_unit)
        checks.merge(PET_IMAGE, [f for f in real.verdict.findings if f not in real.about_unit])
    if checks.level(BRAIN) != "refuse":
        _check_brain(checks, image.image, brain, real, own.register, progress)
    progress(1, 1, "checked")
    return checks.in_order()


def _real_pet(path: Path, inputs: CaseInputs) -> PetImage:
    pet = read_pet(path, unit=inputs.pet_unit, window_min=inputs.window, realign_frames=inputs.realign_frames)
    check_uptake(pet)
    return pet


def shared_field_of_view(a: sitk.Image, b: sitk.Image) -> float:
    """Share (0..1) of the smaller field of view that lies inside the other one, by the headers; exact for
    oblique grids but for a lattice of 16^3 points.
    """
    return max(_share_inside(a, b), _share_inside(b, a))


def _share_inside(a: sitk.Image, b: sitk.Image) -> float:
    to_world, origin = _index_to_world(a)
    to_world_b, origin_b = _index_to_world(b)
    steps = [(np.arange(_LATTICE) + 0.5) / _LATTICE * n - 0.5 for n in a.GetSize()]
    index = np.stack(np.meshgrid(*steps, indexing="ij")).reshape(3, -1)
    points = to_world @ index + (origin - origin_b)[:, None]
    inside = np.linalg.solve(to_world_b, points)
    size = np.array(b.GetSize())[:, None]
    return float(((inside >= -0.5) & (inside <= size - 0.5)).all(axis=0).mean())


def _index_to_world(image: sitk.Image) -> tuple[np.ndarray, np.ndarray]:
    return np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing(), np.array(image.GetOrigin())


# -- single checks -----------------------------------------------------------------------------------------


def _raw(image: sitk.Image, name: str) -> RawImage:
    """An image in memory as the checks of files take it."""
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = _index_to_world(image)
    size = tuple(image.GetSize())
    view = sitk.GetArrayViewFromImage(image)
    return RawImage(Path(name.replace("/", "-")), affine, size, 1, lambda _: view, (), {})


def _values(raw: RawImage, kind: ImageKind) -> Iterable[Finding]:
    image_checks.check_axes(raw, kind)
    values, findings = image_checks.clean_values(raw.read_frame(0), raw)
    image_checks.check_contrast(values, raw)
    return findings + (image_checks.check_field_of_view(raw, kind) if kind == "pet" else ())


def _field_of_view(raw: RawImage, t1: sitk.Image) -> Iterable[Finding]:
    finding = judge_field_of_view(t1)
    return finding if finding else image_checks.check_field_of_view(raw, "t1")


def _unit(pet: sitk.Image, unit: str | None, of_file: str) -> Iterable[Finding]:
    unit_name = "unknown" if unit is None else parse_unit(unit).unit
    steps = [max(1, n // _UNIT_VOXELS) for n in pet.GetSize()]
    coarse = sitk.GetArrayViewFromImage(pet)[:: steps[2], :: steps[1], :: steps[0]]
    coarse_image = sitk.GetImageFromArray(np.nan_to_num(coarse.astype(np.float32)))
    overruled = check_overruled(unit, of_file) if of_file else ()
    return overruled + check_unit(coarse_image, unit_name)


def _synthetic(t1: bool, pet: bool) -> list[Finding]:
    findings = []
    for is_so, what in ((t1, "T1"), (pet, "PET")):
        if is_so:
            message = f"The {what} was made by a model, as is stated with it: it is not a measurement."
            findings.append(Finding("refuse", "synthetic-input", message, f"Choose a measured {what}."))
    return findings


def _overlap(share: float) -> list[Finding]:
    if share >= _MIN_SHARED:
        return []
    message = f"By their headers, only {100 * share:.0f} % of the smaller field of view is shared."
    hint = "Check that both are of one person and one session; look at the overlay after registration."
    return [Finding("warn", "headers-apart", message, hint)]


def _check_brain(
    checks: Checks,
    t1: sitk.Image,
    mask: sitk.Image | None,
    pet: PetImage | None,
    register: str,
    progress: ProgressCallback,
) -> None:
    """Find the brain, and lay the PET on it."""
    from MRI2PETLib.preprocessing.brain_mask import extract_brain

    end = 1.0 if pet is None else 0.6
    extraction = checks.read(BRAIN, lambda: extract_brain(t1, mask=mask, progress=part_of(progress, 0, end)))
    if extraction is None:
        return
    checks.set_brain(extraction.verdict.findings, extraction.measures, extraction.method)
    if pet is not None and extraction.verdict.level != "refuse":
        aligned = checks.read(
            OVERLAP,
            lambda: align_pet_to_t1(
                pet, t1, extraction.mask, register=register, progress=part_of(progress, 0.6, 1)
            ),
        )
        if aligned is not None:
            checks.add(OVERLAP, aligned.verdict.findings, measure=aligned.summary())
