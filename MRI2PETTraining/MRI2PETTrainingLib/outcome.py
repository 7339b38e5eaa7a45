"""What a trained fold leaves: its bundle, its baselines, and predictions of people it has never seen."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from MRI2PETLib import __version__
from MRI2PETLib.core.files import make_folder, read_json, write_json
from MRI2PETLib.core.findings import Verdict
from MRI2PETLib.evaluation.cohort import Cohort
from MRI2PETLib.evaluation.cubic import Cubic, Sums, fit_cubic, mean_sums
from MRI2PETLib.images.formats import GENERATED_BY, sidecar_path
from MRI2PETLib.images.grid import Grid
from MRI2PETLib.images.io import read_image, write_image
from MRI2PETLib.models.bundle import DEMONSTRATION, Bundle, read_bundle, save_bundle
from MRI2PETLib.models.model_space import ModelSpace
from MRI2PETLib.preprocessing.brain_mask import BrainExtraction
from MRI2PETLib.preprocessing.frame_window import window_text
from MRI2PETLib.preprocessing.pet_alignment import mark_unmeasured
from MRI2PETLib.preprocessing.pet_frames import frame_times_to_bids
from MRI2PETLib.preprocessing.tracers import tracer_label
from MRI2PETLib.synthesis.case_files import case_files, write_case
from MRI2PETLib.synthesis.cases import Case
from MRI2PETLib.synthesis.pipeline import synthesize
from MRI2PETLib.templates.icbm152 import load_template
from MRI2PETTrainingLib.baseline_table import baseline_rows, card_section, scale_words
from MRI2PETTrainingLib.dataset.cache import MASK, REAL, SOURCE, WARP, PreparedCase
from MRI2PETTrainingLib.fit import Fitted
from MRI2PETTrainingLib.presets import Preset
from MRI2PETTrainingLib.run_folder import BUNDLE, FoldResult, fold_folder
from MRI2PETTrainingLib.warm_start import seen_by_all

_MODALITY = {"MR": "T1-weighted MRI", "PET": "PET"}
MEAN_PET, PREDICTIONS_FOLDER = "mean_pet.nii.gz", "predictions"


def save_fold_bundle(
    folder: Path,
    model_id: str,
    fitted: Fitted,
    preset: Preset,
    train: Sequence[PreparedCase],
    details: Mapping[str, Any],
) -> Bundle:
    """Write the bundle of a fold into ``folder``.

    :param train: the cases it was trained on (validation included), for the baselines and the words.
    :param details: of the training, for the metadata.
    """
    best = next(row for row in fitted.history if row["epoch"] == fitted.epoch)
    metadata = {
        **_common(preset, train),
        "id": model_id,
        "name": f"{preset.name}, one fold",
        "description": f"{preset.description}. Trained on {_people(train)}.",
        "training": {
            **preset.to_dict(),
            **details,
            "epoch": fitted.epoch,
            "validation": {"nmse": best["val_nmse"], "r": best["val_r"]},
            "cost": fitted.cost,
        },
        "baselines": {"cubic_of_t1": fit_cubic([cubic_sums_of(train)]).to_dict()},
    }
    return save_bundle(folder, fitted.network, metadata, _card(metadata))


def cubic_sums_of(cases: Sequence[PreparedCase]) -> Sums:
    """What :func:`.fit_cubic` needs of cases together, each with equal weight."""
    return mean_sums([entry.about["cubic"] for entry in cases])


def save_ensemble(
    folder: Path,
    model_id: str,
    bundles: Mapping[str, Bundle],
    preset: Preset,
    trained: Sequence[PreparedCase],
    cubic: Cubic,
    cohort: Cohort,
) -> Bundle:
    """Write the bundle of all folds together: a prediction is their mean, with their SD.

    :param trained: the cases that any of them was trained on; ``cubic``: of their targets as trained on.
    :param cohort: evaluation of the people that they have not seen.
    """
    rows = baseline_rows(cohort)
    several = len(bundles) > 1
    means = f"Mean of {len(bundles)} networks, each trained on another part of" if several else "Trained on"
    metadata = {
        **_common(preset, trained),
        "id": model_id,
        "name": f"{preset.name}, ensemble of {len(bundles)} folds"
        if several
        else f"{preset.name}, one split",
        "description": f"{preset.description}. {means} {_people(trained)}.",
        "training": {
            "preset": preset.to_dict(),
            "folds": {name: b.sha256 for name, b in bundles.items()},
            **seen_by_all(list(bundles.values())),
        },
        "baselines": {
            "cubic_of_t1": cubic.to_dict(),
            "out_of_fold": [row._asdict() for row in rows],
        },
    }
    tested = (
        "Each person was predicted by the model of a fold that has not seen them; the ensemble itself was "
        "not tested."
        if several
        else "None of them was in its training."
    )
    beside = card_section(rows, cohort.n_people, scale_words(cohort), tested)
    networks = {name: bundle.network() for name, bundle in bundles.items()}
    network = networks if several else next(iter(networks.values()))
    return save_bundle(folder, network, metadata, _card(metadata) + beside)


def write_training_mean(path: Path, train: Sequence[PreparedCase]) -> Path:
    """The mean target of the training cases in MNI space, in the model's unit.

    A PET is brought there by the non-linear warp of its T1, an MRI by the affine.
    """
    grid = Grid.of(load_template().t1)
    total, count = np.zeros(grid.shape, np.float64), np.zeros(grid.shape, np.int32)
    cases = 0
    for entry in train:
        values = entry.in_mni()
        if values is not None:
            total += np.nan_to_num(values.astype(np.float64))
            count += np.isfinite(values)
            cases += 1
    if cases:
        note = {
            "Description": f"Mean target of {cases} training cases, MNI",
            "Units": train[0].about["model_unit"],
        }
        write_image(grid.image((total / np.maximum(count, 1)).astype(np.float32)), path, note)
    return path


def predict_cases(
    folder: Path, bundle: Bundle, cases: Sequence[PreparedCase], device: str
) -> dict[str, dict[str, str]]:
    """Synthesise the target of every test case as ``mri2pet synthesize`` does; lay the real PET beside it.

    A model that starts from PET is given the PET aligned to the T1, inside the brain mask of the T1: metrics
    need both, so this is kinder than a PET without any T1.

    :param folder: that of the fold, or where it is made.
    :returns: the files of each case, relative to ``folder``.
    """
    predicted = {}
    for entry in cases:
        t1 = read_image(entry.case.t1, kind="t1")
        case = Case(re.sub(r"[^\w.-]+", "-", entry.case.case), entry.case.t1)
        mask = read_image(entry.folder / MASK, kind="mask").image
        mask.CopyInformation(t1.image)
        extraction = BrainExtraction(
            mask, entry.template_to_t1, entry.about["brain_mask"], Verdict(), dict(entry.about["measures"])
        )
        image = t1.image
        if bundle.space.source_modality == "PET":
            image = read_image(entry.folder / SOURCE, kind="pet").image
            image.CopyInformation(t1.image)
        result = synthesize(image, bundle, extraction=extraction, device=device)
        files = case_files(case, bundle, folder / PREDICTIONS_FOLDER)
        make_folder(files.folder)
        write_case(files, case, t1, bundle, result)
        if bundle.space.target_modality == "MR":  # the real MRI is the T1
            pet, name = image, SOURCE
        else:
            pet, name = mark_unmeasured(*entry.real()), REAL
        about = read_json(sidecar_path(entry.folder / name)) | {"TracerName": entry.about["tracer"]}
        about |= {} if entry.minutes is None else frame_times_to_bids(*entry.minutes)
        write_image(pet, files.real, {**about, **GENERATED_BY}, forms=t1.forms)
        if (entry.folder / WARP).is_file():
            shutil.copyfile(entry.folder / WARP, files.warp)
        named = {"synthetic": files.pet, "pet": files.real, "mask": files.mask}
        predicted[entry.case.case] = {
            role: path.relative_to(folder).as_posix() for role, path in named.items()
        }
    return predicted


def prediction_rows(
    run: Path, result: FoldResult, prepared: Mapping[str, PreparedCase]
) -> list[dict[str, str]]:
    """The rows of ``predictions.csv`` of the test people of a fold, with paths relative to ``run``."""
    return [
        _row(run, result.fold.number, prepared[name], files) for name, files in result.predictions.items()
    ]


def _row(run: Path, fold: int, entry: PreparedCase, files: Mapping[str, str]) -> dict[str, str]:
    case = entry.case
    t1, own = case.t1.resolve(), fold_folder(run, fold).relative_to(run)
    inside = t1.is_relative_to(run.resolve())
    return {
        "case": case.case,
        "subject": case.subject,
        "fold": str(fold),
        **{role: (own / name).as_posix() for role, name in files.items()},
        "t1": t1.relative_to(run.resolve()).as_posix() if inside else str(t1),
        "group": case.group,
        "genotype": case.genotype,
        "site": case.site,
        "age": case.age,
        "sex": case.sex,
        "window_min": window_text(entry.minutes),
    }


def model_id(run: Path, suffix: str) -> str:
    """An id that can name a folder: that of the run, and what part of it the model is."""
    stem = re.sub(r"[^A-Za-z0-9_.-]+", "-", run.resolve().name).strip("-.")[:40] or "run"
    return f"{stem}-{suffix}"


def _common(preset: Preset, cases: Sequence[PreparedCase]) -> dict[str, Any]:
    simulated = any(entry.about["simulated"] for entry in cases)
    space = preset.space
    tracers = Counter(tracer_label(e.about["tracer"]) for e in cases)
    tracer = tracers.most_common(1)[0][0]
    pet: dict[str, Any] = {"modality": "PET", **({"tracer": tracer} if tracer else {})}
    ends = {"MR": {"modality": "MR", "contrast": "T1w"}, "PET": pet}
    target = {**ends[space.target_modality], "unit": space.output_unit}
    if space.output_unit == "SUVR":
        target["reference_region"] = space.reference_region
    return {
        "version": "1",
        "family": preset.family,
        "network": dict(preset.network),
        "model_space": space.to_dict(),
        "source": ends[space.source_modality],
        "target": target,
        "intended_use": DEMONSTRATION if simulated else "research",
        "training_data": _people(cases),
        "license": "not stated: the owner of the training data decides",
        "software": f"SlicerMRI2PET {__version__}",
    }


def _people(cases: Sequence[PreparedCase]) -> str:
    simulated = sum(bool(entry.about["simulated"]) for entry in cases)
    text = f"{len(cases)} T1/PET pairs of {len({e.case.subject for e in cases})} people"
    return f"{text}, {simulated} of them SIMULATED" if simulated else text


def _card(metadata: Mapping[str, Any]) -> str:
    training = metadata["training"]
    validation = training.get("validation")
    text = ""
    if validation:
        text = (
            f"\n## Validation\nEpoch {training['epoch'] + 1} of {training['epochs']} was kept. On the "
            f"validation people of this fold: normalised MSE {validation['nmse']:.3f} (1 is their mean), "
            f"r {validation['r']:.3f}, in the brain, in model space. They chose the epoch, so this flatters; "
            "the report of the run has the people that no fold trained on.\n"
        )
    warning = (
        "**DEMONSTRATION MODEL - TRAINED ON SIMULATED PEOPLE.** It shows that the software works and says "
        "nothing about real PET.\n\n"
        if metadata["intended_use"] == DEMONSTRATION
        else ""
    )
    space = ModelSpace.from_dict(metadata["model_space"])
    source, target = (_MODALITY[m] for m in (space.source_modality, space.target_modality))
    return (
        f"# {metadata['id']}\n\n{warning}{metadata['description']}\n\n"
        f"A synthetic {target} is computed from the {source} alone: it is not a measurement, it cannot show "
        f"what the {source} does not show, and it is not for clinical use.\n\n"
        f"## Input and output\nA {source}; a {target}, {space.output_unit} ({space.unit_meaning}), on a grid "
        f"of {space.grid_text}, brought back to the grid of the input.\n{text}"
    )


def read_bundles(run: Path, folds: Sequence[int]) -> dict[str, Bundle]:
    """The bundles of finished folds by the name of their ensemble's member."""
    return {f"fold_{k}": read_bundle(run / f"fold_{k}" / BUNDLE) for k in folds}


def write_baselines(run: Path, cubics: Mapping[int, Mapping[str, Any]]) -> Path:
    """``RUN/baselines.json`` as the evaluation of a run reads it; ``cubics``: of each fold, see
    ``Cubic.to_dict``.
    """
    folds = {str(k): {"cubic_of_t1": dict(cubic)} for k, cubic in cubics.items()}
    note = "target over source, smoothed to fwhm_mm, 1st to 99th percentile scaled to 0 to 1"
    return write_json(run / "baselines.json", {"folds": folds, "note": note})
