"""SUVRs of one PET by every method that its inputs allow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import SimpleITK as sitk

from MRI2PETLib.core.errors import InputError, MRI2PETError, QualityError
from MRI2PETLib.core.findings import Finding, Verdict
from MRI2PETLib.core.progress import ProgressCallback, no_progress, part_of
from MRI2PETLib.images.bids import read_sidecar
from MRI2PETLib.images.io import LoadedImage, read_image, read_mask
from MRI2PETLib.models.bundle import Bundle
from MRI2PETLib.preprocessing.partial_volume import CorrectedPet, correct_partial_volume, tissue_maps
from MRI2PETLib.preprocessing.pet import UNIT_NOT_STATED, PetImage, check_uptake, read_pet
from MRI2PETLib.preprocessing.pet_template import BestFit, fit_best_template
from MRI2PETLib.preprocessing.tracers import check_tracer
from MRI2PETLib.suvr.normalisation import (
    PET_SEGMENTATION,
    PET_TEMPLATE,
    REAL_MR,
    SYNTHETIC_MR,
    SpatialNormalisation,
    by_pet_segmentation,
    by_pet_template,
    by_real_mr,
    by_synthetic_mr,
)
from MRI2PETLib.suvr.regional import COMPOSITE, REFERENCE, RegionPlan, SuvrRow, pull_atlas, regional_suvr
from MRI2PETLib.suvr.settings import SuvrPaths, SuvrSettings


@dataclass(frozen=True)
class SuvrSetup:
    """Settings with what they name read, see :func:`MRI2PETLib.suvr.setup.read_setup`.

    :ivar templates: PET templates by name, on the grid of the shipped template; the one that a PET fits best
        is used.
    :ivar bundle: PET -> MR model for the synthetic MRI, or ``None`` for no such method.
    """

    settings: SuvrSettings
    plan: RegionPlan
    templates: Mapping[str, sitk.Image]
    bundle: Bundle | None = None


@dataclass(frozen=True)
class MethodSuvr:
    """One method's result: how the PET got to the space of the atlas, the labels on the PET, the table."""

    normalisation: SpatialNormalisation
    labels: sitk.Image
    rows: list[SuvrRow]
    reference_mean: float  # of the PET as it is, in its unit: what the image is divided by

    @property
    def composite(self) -> float | None:
        return next(row.suvr for row in self.rows if row.role == COMPOSITE)


@dataclass(frozen=True)
class CaseSuvr:
    """All methods of one PET, best first: real MR, synthetic MR, PET template, PET segmentation.

    ``failed`` names the methods after the first that did not work, with the reason.
    """

    pet: PetImage
    t1: LoadedImage | None
    methods: dict[str, MethodSuvr]
    failed: dict[str, str]
    verdict: Verdict

    @property
    def first(self) -> MethodSuvr:
        """The method that the inputs call for: the gold standard where there is an MRI."""
        return next(iter(self.methods.values()))


def measure_suvr(paths: SuvrPaths, setup: SuvrSetup, *, progress: ProgressCallback = no_progress) -> CaseSuvr:
    """Measure one PET by every method that can be used: the MRI (with ``paths.t1``), a synthetic MRI (with
    ``setup.bundle``), the PET template (always), a segmentation of the PET (where the settings ask for it).

    The first of these has to work; another one that does not is named with its reason.

    :raises MRI2PETError: unreadable or unusable images, or a reference region that is empty, outside the
        field of view, too small or not positive.
    """
    progress(0, 1, "reading")
    pet = read_pet(
        paths.pet,
        unit=paths.pet_unit,
        window_min=paths.window,
        realign_frames=paths.realign_frames,
    )
    check_uptake(pet)
    if pet.unit == "normalised":
        raise InputError(
            f"{paths.pet} is scaled to 0 to 1: its zero is lost, so ratios mean nothing.",
            "Give the PET in Bq/mL, SUV or SUVR.",
        )
    t1 = None if paths.t1 is None else read_image(paths.t1, kind="t1")
    forms = pet.forms if t1 is None else t1.forms
    mask = None if paths.mask is None else read_mask(paths.mask, forms)
    # A ratio needs no unit, so an unstated one is no reason for a warning here.
    own = tuple(f for f in pet.verdict.findings if f.code != UNIT_NOT_STATED)
    verdict = Verdict(own) + (t1.verdict if t1 is not None else ())
    verdict += _check_tracers(pet, setup)
    steps = _steps(pet, t1, mask, setup)
    methods: dict[str, MethodSuvr] = {}
    failed: dict[str, str] = {}
    for number, (name, step) in enumerate(steps.items()):
        part = part_of(progress, 0.02 + 0.98 * number / len(steps), 0.02 + 0.98 * (number + 1) / len(steps))
        try:
            answer = step(part)
            labels = pull_atlas(setup.plan, pet.image, answer.pet_to_template)
            of_method: dict[str, Any] = {"method": name, "measured": pet.measured}
            rows = regional_suvr(pet.image, labels, setup.plan, answer.template_to_pet, **of_method)
            reference_mean = next(row.mean for row in rows if row.role == REFERENCE) or 1.0
            if setup.settings.pvc != "none":
                corrected = _correct(pet, labels, answer, setup.settings)
                own_labels = sitk.Mask(labels, corrected.valid)
                of_method["correction"] = corrected.about
                rows = regional_suvr(
                    corrected.image, own_labels, setup.plan, answer.template_to_pet, **of_method
                )
        except MRI2PETError as error:
            if not number:
                raise
            failed[name] = error.message
            verdict += (Finding("warn", "suvr-method", f"{name}: {error.message}", error.hint),)
            continue
        methods[name] = MethodSuvr(answer, labels, rows, reference_mean)
        verdict += (replace(f, message=f"{name}: {f.message}") for f in answer.verdict.findings)
    progress(1, 1, "measured")
    return CaseSuvr(pet, t1, methods, failed, verdict)


def _correct(
    pet: PetImage, labels: sitk.Image, answer: SpatialNormalisation, settings: SuvrSettings
) -> CorrectedPet:
    assert settings.psf_mm is not None  # or it has been refused
    tissues = tissue_maps(pet.image, answer.pet_to_template)
    image = sitk.Cast(pet.image, sitk.sitkFloat32)
    return correct_partial_volume(settings.pvc, image, labels, tissues, settings.psf_mm, pet.measured)


def _check_tracers(pet: PetImage, setup: SuvrSetup) -> tuple[Finding, ...]:
    """Warnings where templates of the user's own or the model are of another tracer than the PET.

    Of the built-in templates the one that fits best is taken, whatever the tracer.
    """
    tracer = pet.metadata["tracer"]
    findings: tuple[Finding, ...] = ()
    for path in setup.settings.pet_template:
        template = str(read_sidecar(path).get("TracerName") or "")
        findings += check_tracer(tracer, template, f"the PET template {path.name}")
    if setup.bundle is not None:
        of_model = str(setup.bundle.metadata["source"].get("tracer") or "")
        findings += check_tracer(tracer, of_model, f"the model {setup.bundle.id}")
    return findings


def _steps(
    pet: PetImage, t1: LoadedImage | None, mask: sitk.Image | None, setup: SuvrSetup
) -> dict[str, Callable[[ProgressCallback], SpatialNormalisation]]:
    """The methods in the order of trust. Those without an MRI share one fit to the PET template."""
    fits: list[BestFit] = []

    def fit(progress: ProgressCallback) -> BestFit:
        if not fits:
            fits.append(fit_best_template(pet.image, setup.templates, pet.measured, progress=progress))
        if fits[0].fit.verdict.level == "refuse":
            raise QualityError(" ".join(fits[0].fit.verdict.reasons("refuse")))
        return fits[0]

    steps: dict[str, Callable[[ProgressCallback], SpatialNormalisation]] = {}
    if t1 is not None:
        steps[REAL_MR] = lambda progress: by_real_mr(
            pet, t1.image, mask=mask, register=setup.settings.register, progress=progress
        )
    if setup.bundle is not None:
        bundle = setup.bundle
        steps[SYNTHETIC_MR] = lambda progress: by_synthetic_mr(
            pet,
            fit(part_of(progress, 0, 0.3)).fit,
            bundle,
            device=setup.settings.device,
            seed=setup.settings.seed,
            progress=part_of(progress, 0.3, 1),
        )
    steps[PET_TEMPLATE] = lambda progress: by_pet_template(
        pet, fit(part_of(progress, 0, 0.3)), setup.templates, progress=part_of(progress, 0.3, 1)
    )
    if setup.settings.pet_segmentation:
        steps[PET_SEGMENTATION] = lambda progress: by_pet_segmentation(
            pet, fit(part_of(progress, 0, 0.3)), progress=part_of(progress, 0.3, 1)
        )
    return steps
