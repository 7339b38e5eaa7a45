"""The images of a person who is compared with a norm: prediction, registration, unit, reference region."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import SimpleITK as sitk

from MRI2PETLib.core.checksums import sha256_of_voxels
from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.files import make_folder
from MRI2PETLib.core.findings import Finding, Verdict
from MRI2PETLib.core.progress import ProgressCallback, part_of
from MRI2PETLib.evaluation.inputs import CaseImages, load_case
from MRI2PETLib.evaluation.reference_region import stated_reference
from MRI2PETLib.evaluation.settings import CasePaths, EvaluationSettings
from MRI2PETLib.images.io import read_image
from MRI2PETLib.models.bundle import IMAGES
from MRI2PETLib.models.model_space import BRAIN_MASK
from MRI2PETLib.models.store import model_text
from MRI2PETLib.normative.norm import Norm, PredictedBy
from MRI2PETLib.normative.settings import ScorePaths, ScoreSettings
from MRI2PETLib.preprocessing.frame_window import are_one_window, windows_text
from MRI2PETLib.preprocessing.tracers import check_tracer
from MRI2PETLib.synthesis.case_files import case_files, write_case
from MRI2PETLib.synthesis.cases import Case
from MRI2PETLib.synthesis.pipeline import synthesize
from MRI2PETLib.templates.regions import REFERENCE_REGIONS

PREDICTED_FOLDER = "predicted"


def load_person(
    paths: ScorePaths, settings: ScoreSettings, norm: Norm, folder: Path, progress: ProgressCallback
) -> tuple[CaseImages, Verdict]:
    """Predict the PET from the T1, lay the real PET on the T1, both in the unit of the norm.

    :param folder: where the prediction is written, below :data:`PREDICTED_FOLDER`.
    :return: the images, and what was noticed.
    :raises InputError: another unit or reference region than that of the norm, or a person of its run.
    """
    check_reference(paths.pet, norm)
    other_window = check_window(settings.window, norm.about.window_min)
    synthetic, findings = _prediction(paths, settings, norm, folder, part_of(progress, 0, 0.4))
    reference = norm.about.reference_region
    named = reference if reference in REFERENCE_REGIONS else None
    ratio = named is None and norm.about.unit in ("SUVR", "normalised")
    own = EvaluationSettings(
        register=settings.register,
        pet_unit=settings.pet_unit,
        window=settings.window or norm.about.window_min,
        realign_frames=settings.realign_frames,
        to_synthetic_unit=ratio,
        reference_region=named,
    )
    images = CasePaths(synthetic=synthetic, pet=paths.pet, t1=paths.t1, mask=paths.mask)
    case = load_case(images, own, progress=part_of(progress, 0.4, 1))
    if case.unit != norm.about.unit:
        raise InputError(
            f"The PET is compared in {case.unit}, the norm is in {norm.about.unit}.",
            "Give the PET and a prediction in the unit of the norm, or build a norm in theirs.",
        )
    findings += other_window + check_tracer(case.direction.tracer, norm.about.tracer, "the norm")
    findings += check_model(case.model, norm.about.predicted_by)
    return case, case.verdict + findings


def check_model(prediction: Mapping[str, Any], controls: PredictedBy) -> tuple[Finding, ...]:
    """A warning if a prediction states another model than that of the run which the norm is about: z would
    hold the difference between the two. The folds and the ensemble of a run count as one model. Checksums of
    weights decide where both sides state them, else names with versions.

    :param prediction: what its sidecar says of its model.
    """
    own, checksum = model_text(prediction), prediction.get("sha256")
    theirs = model_text({"id": controls.id, "version": controls.version})
    if checksum and controls.checksums:
        is_other = checksum not in controls.checksums
    else:
        is_other = bool(own and theirs) and own != theirs
    if not is_other:
        return ()
    weights = f" with other weights ({str(checksum)[:12]})" if own == theirs else ""
    message = (
        f"The prediction is by the model {own or 'of no name'}{weights}, those of the controls were by "
        f"{theirs or 'another one'}."
    )
    return (Finding("warn", "norm-other-model", message, "Give a prediction by a model of the norm's run."),)


def check_window(
    window: tuple[float, float] | None, controls: tuple[float, float] | None
) -> tuple[Finding, ...]:
    """A warning if the frames that are to be averaged (``--window``) are not those of the norm's controls.

    Without ``--window`` those of the controls are averaged, or a PET of one frame is compared with them.
    """
    if window is None or controls is None or are_one_window([window, controls]):
        return ()
    own, theirs = windows_text([window]), windows_text([controls])
    message = f"The minutes of the PET are {own}, those of the controls {theirs}: uptake changes with time."
    hint = "Leave out the window: that of the norm is taken."
    return (Finding("warn", "norm-other-window", message, hint),)


def check_reference(pet: Path, norm: Norm) -> None:
    """Refuse a SUVR whose file states another reference region than that of the norm, and a norm whose region
    cannot be measured here.

    :raises InputError: naming the regions.
    """
    own = norm.about.reference_region
    if norm.about.unit == "SUVR" and own not in (BRAIN_MASK, *REFERENCE_REGIONS):
        raise InputError(
            f"The norm is of SUVR by {own or 'no region that it names'}, which cannot be measured here.",
            f"Use a norm by one of: {', '.join((BRAIN_MASK, *REFERENCE_REGIONS))}.",
        )
    text = stated_reference(pet)
    if text and norm.about.reference_region and text.lower() != norm.about.reference_region.lower():
        raise InputError(
            f"{pet} is a SUVR by {text}, the norm is of SUVR by {norm.about.reference_region}.",
            "Give the PET in SUV or Bq/mL: it is then divided by the norm's own reference region.",
        )


def _prediction(
    paths: ScorePaths, settings: ScoreSettings, norm: Norm, folder: Path, progress: ProgressCallback
) -> tuple[Path, tuple[Finding, ...]]:
    t1 = read_image(paths.t1, kind="t1")
    is_of_run = norm.bundle is not None and _digest(t1.image) in _training_images(norm)
    if paths.synthetic is not None:
        if not is_of_run:
            return paths.synthetic, ()
        message = f"{paths.t1} was in the run of this norm: as one of its controls it would look too normal."
        return paths.synthetic, (Finding("warn", "norm-own-person", message, "Score people of no control."),)
    if norm.bundle is None:
        raise InputError(
            "The norm holds no model.",
            "Give the prediction for this T1 by the model that it is about (--synthetic).",
        )
    if is_of_run:
        raise InputError(
            f"The model of this norm was trained with {paths.t1}: it knows this person.",
            "Give the prediction of the fold that left the person out (--synthetic): RUN/predictions.csv.",
        )
    result = synthesize(paths.t1, norm.bundle, mask=paths.mask, device=settings.device, progress=progress)
    files = case_files(Case("person", paths.t1), norm.bundle, folder / PREDICTED_FOLDER)
    make_folder(files.folder)
    write_case(files, Case("person", paths.t1), t1, norm.bundle, result)
    return files.pet, tuple(result.verdict.findings)


def _digest(image: sitk.Image) -> str:
    return sha256_of_voxels(sitk.GetArrayViewFromImage(image))


def _training_images(norm: Norm) -> set[str]:
    return (norm.bundle.trained_on(IMAGES) if norm.bundle is not None else None) or set()
