"""A whole cross-validation: prepare, split, train every fold, predict who was left out, evaluate, report.

::

    RUN/run.json                settings and environment
    RUN/cases.csv               every case and what was noticed; can be edited and used as a manifest
    RUN/folds.json              who is in training, validation and test of each fold
    RUN/fold_<k>/checkpoints    last.ckpt, metrics.csv (curves)
    RUN/fold_<k>/bundle         the model of the fold
    RUN/fold_<k>/predictions    of its test people, whom the model has not seen; beside them the real PETs
    RUN/fold_<k>/fold.json      record of the fold
    RUN/predictions.csv, baselines.json      from the records of all folds
    RUN/ensemble, evaluation, report.html, subjects.csv
    RUN/training_status.json    record of these

A step is skipped where its record proves it (:mod:`MRI2PETLib.core.requests`), so a killed run goes on where
it was, and nothing stays that was made from other images or settings.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MRI2PETLib.core.checksums import sha256_of
from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.files import make_folder, read_json, write_json
from MRI2PETLib.core.leftovers import sweep
from MRI2PETLib.core.progress import Reporter, part_of
from MRI2PETLib.core.requests import Request, Result, Source, read_record
from MRI2PETLib.core.tables import write_table
from MRI2PETTrainingLib import outcome
from MRI2PETTrainingLib.dataset.cache import ENTRY, PreparedCase
from MRI2PETTrainingLib.dataset.manifest import Manifest, TrainingCase
from MRI2PETTrainingLib.dataset.preflight import prepare_dataset, smallest_coverage
from MRI2PETTrainingLib.folds import Fold, Folds, check_leakage, folds_of, read_folds, write_folds
from MRI2PETTrainingLib.launch import check_launch, is_first_process
from MRI2PETTrainingLib.plan import Plan, claim, deciding, record_of
from MRI2PETTrainingLib.run_folder import (
    BUNDLE,
    CHECKPOINTS,
    CURVES,
    ENSEMBLE,
    FOLD,
    FOLDS,
    RUN,
    RUN_REPORT,
    SUBJECTS,
    FoldResult,
    fold_folder,
)
from MRI2PETTrainingLib.side_by_side import train_side_by_side
from MRI2PETTrainingLib.warm_start import check_unseen, seen_in_training, start_bundle

if TYPE_CHECKING:
    from MRI2PETTrainingLib.hardware import Hardware

READY_FILE, RUN_RECORD = "ready.json", "training_status.json"
PREDICTIONS_CSV, EVALUATION = "predictions.csv", "evaluation"
_WAIT_S = 24 * 3600.0  # of the other processes for the first one's preparation
_TRAINED = 0.9  # share of the folds in the bar; preparing the cases has a whole bar before


def prepare_run(plan: Plan, reporter: Reporter) -> tuple[Manifest, dict[str, PreparedCase], Folds]:
    """Everything before training: checks, cache, folds. Repeating it is cheap.

    :raises InputError: for a dataset that cannot be used, or another run in the folder.
    :raises OutputError: if the run folder cannot be written to.
    """
    make_folder(plan.run)
    claim(plan)
    sweep(plan.run, below=True)
    (plan.run / READY_FILE).unlink(missing_ok=True)
    path = plan.run / FOLDS
    of_pairs = plan.settings.unpaired is not None and not path.is_file()
    source = plan.pairs / FOLDS if of_pairs else path
    manifest, prepared = prepare_dataset(
        plan.run,
        plan.cache,
        plan.preset.space,
        plan.data,
        reporter=reporter,
        check_split=lambda cases: None if source.is_file() else folds_of(cases, plan.data),
    )
    cases = [entry.case for entry in prepared.values()]
    if source.is_file():
        folds = read_folds(source)
        check_leakage(folds, cases, plan.data.keep_together)
    else:
        folds = folds_of(cases, plan.data)
    if not path.is_file():  # one that is there stays as it is, edited or not
        write_folds(path, folds)
    only = plan.task.fold
    to_train = [fold for fold in folds.folds if not only or fold.number in only]
    check_unseen(plan.settings.start_from, to_train, prepared, reporter)
    entries = [{"case": asdict(e.case), "folder": str(e.folder.resolve())} for e in prepared.values()]
    write_json(plan.run / READY_FILE, {"settings": deciding(record_of(plan)), "cases": entries})
    return manifest, prepared, folds


def run_training(plan: Plan, reporter: Reporter) -> dict[str, Any]:
    """Train what is not trained yet; when all folds are there, make the ensemble, evaluate and report.

    :returns: a summary: folders, numbers of finished folds, path of the report if all are done; empty in
        all processes but the first.
    :raises MRI2PETError: with the reason; finished epochs and folds are kept.
    """
    processes = plan.settings.devices * plan.settings.nodes
    check_launch(processes, plan.settings.folds_at_once)  # before Lightning reads the same variables
    from MRI2PETTrainingLib.checkpoints import write_curves
    from MRI2PETTrainingLib.hardware import check_hardware

    check_hardware(_hardware(plan), plan.preset)
    first = is_first_process()
    manifest = None
    if first:
        manifest, prepared, folds = prepare_run(plan, reporter)
    else:
        prepared, folds = _wait_for_first(plan)
    numbers = plan.task.fold or tuple(fold.number for fold in folds.folds)
    unknown = [k for k in numbers if k >= len(folds.folds) or k < 0]
    if unknown:
        raise InputError(f"There is no fold {unknown[0]}.", f"Folds are 0 to {len(folds.folds) - 1}.")
    if plan.settings.folds_at_once > 1 and len(numbers) > 1:
        ready = {f.number: read_fold(plan.run, f, request_of_fold(plan, f, prepared)) for f in folds.folds}
        left = [number for number in numbers if ready[number] is None]
        train_side_by_side(plan, left, _Part(reporter, 0, _TRAINED))
    share = _TRAINED / len(numbers)
    for done, number in enumerate(numbers):
        inner = _Part(reporter, done * share, (done + 1) * share)
        request = request_of_fold(plan, folds.folds[number], prepared)
        finished = read_fold(plan.run, folds.folds[number], request)
        if finished is not None:
            reporter.log(f"Fold {number} is finished: kept.")
            if first:
                write_curves(fold_folder(plan.run, number) / CHECKPOINTS / CURVES, finished.history)
            inner.progress(0, 1, f"fold {number}")  # with the next line a jump: no work, see TimeLeft
            inner.progress(1, 1, f"fold {number}")
            continue
        if first and _fold_in(plan.run, number).path.is_file():
            reporter.warning(f"Fold {number} is made again: its images, settings or files have changed.")
        _train_fold(plan, folds.folds[number], prepared, request, inner, first)
    if not first:
        return {}
    # A fold that nobody has begun may start from one that is not there yet.
    begun = [fold for fold in folds.folds if _fold_in(plan.run, fold.number).path.is_file()]
    read = (read_fold(plan.run, fold, request_of_fold(plan, fold, prepared)) for fold in begun)
    results = [result for result in read if result is not None]
    summary: dict[str, Any] = {
        "run": plan.run,
        "finished_folds": [r.fold.number for r in results],
        "smallest_pet_coverage": smallest_coverage(prepared),
    }
    if len(results) < len(folds.folds):
        return summary
    assert manifest is not None
    _finish(plan, manifest, prepared, folds, results, _Part(reporter, _TRAINED, 1))
    return {**summary, "ensemble": plan.run / ENSEMBLE, "report": plan.run / RUN_REPORT}


def request_of_fold(plan: Plan, fold: Fold, prepared: Mapping[str, PreparedCase]) -> Request:
    """What decides the result of a fold: who is on which side, as prepared, and how it is trained."""
    sides = {"train": fold.train, "validation": fold.validation, "test": fold.test}
    entries = {f"{side}: {name}": prepared[name] for side, names in sides.items() for name in names}
    initial = start_bundle(plan.settings.start_from, fold.number)
    return Request(
        {},
        {role: Source(str(entry.case.t1), entry.folder.name) for role, entry in entries.items()},
        {
            "fold": fold.number,
            "seed": plan.settings.seed,
            "preset": plan.preset.to_dict(),
            "start_from": initial and initial.sha256,
            "processes": plan.settings.devices * plan.settings.nodes,
            "adjust_genotype": plan.data.adjust_genotype,
            "people": {role: [e.case.subject, e.case.donor, e.case.genotype] for role, e in entries.items()},
        },
    )


def read_fold(run: Path, fold: Fold, request: Request) -> FoldResult | None:
    """The result of a fold, or ``None`` if it is not finished."""
    about = _fold_in(run, fold.number).finished(request)
    return None if about is None else FoldResult(fold, **about)


def _fold_in(run: Path, number: int) -> Result:
    return Result(fold_folder(run, number), FOLD, {outcome.MEAN_PET})


def _train_fold(
    plan: Plan,
    fold: Fold,
    prepared: Mapping[str, PreparedCase],
    request: Request,
    reporter: _Part,
    first: bool,
) -> None:
    from MRI2PETTrainingLib.fit import fit_fold

    folder = fold_folder(plan.run, fold.number)
    train, validation, test = (
        [prepared[name] for name in names] for names in (fold.train, fold.validation, fold.test)
    )
    if plan.data.adjust_genotype:
        from MRI2PETTrainingLib.dataset.genotype import adjust

        train, validation, test = adjust(folder / "adjusted", train, validation, test)
    initial = start_bundle(plan.settings.start_from, fold.number)
    seed = plan.settings.seed + fold.number
    fitted = fit_fold(
        folder,
        train,
        validation,
        plan.preset,
        seed=seed,
        hardware=_hardware(plan),
        initial=initial,
        request=request.checksum,
        label=f"fold {fold.number}",
        progress=part_of(reporter.progress, 0, 0.95),
    )
    if not first:
        return
    reporter.progress(0.95, 1, f"fold {fold.number}: predicting {len(test)} cases")
    cases = [*train, *validation]
    details = {
        "fold": fold.number,
        "seed": seed,
        "start_from": initial and initial.sha256,
        **seen_in_training(cases, initial),
    }
    name = outcome.model_id(plan.run, f"fold{fold.number}")
    about: dict[str, Any] = {"epoch": fitted.epoch, "history": fitted.history, "cost": fitted.cost}
    with _fold_in(plan.run, fold.number).make(request, about) as staging:
        bundle = outcome.save_fold_bundle(staging / BUNDLE, name, fitted, plan.preset, cases, details)
        outcome.write_training_mean(staging / outcome.MEAN_PET, cases)
        about |= {
            "cubic": bundle.metadata["baselines"]["cubic_of_t1"],
            "cubic_sums": outcome.cubic_sums_of(cases),
            "predictions": outcome.predict_cases(staging, bundle, test, plan.settings.device),
        }
    reporter.log(f"{_tell_cost(fold.number, fitted.cost)}; epoch {fitted.epoch + 1} is kept.")


def _hardware(plan: Plan) -> Hardware:
    from MRI2PETTrainingLib.hardware import Hardware, enough_loaders

    device, devices, loaders = plan.settings.device, plan.settings.devices, plan.settings.loaders
    loaders = enough_loaders(device, devices) if loaders is None else loaders
    return Hardware(device, devices, plan.settings.nodes, loaders)


def _tell_cost(fold: int, cost: Mapping[str, Any]) -> str:
    """What training a fold took, in a sentence without its end."""
    memory = "" if cost["peak_memory_gb"] is None else f" {cost['peak_memory_gb']} GB,"
    return (
        f"Fold {fold}: {cost['epochs']} epochs, {cost['seconds']:.0f} s, {cost['seconds_per_step']:.3g} s a "
        f"step, {cost['seconds_per_case']:.3g} s a case and epoch,{memory} on {cost['device']}"
    )


def _finish(
    plan: Plan,
    manifest: Manifest,
    prepared: Mapping[str, PreparedCase],
    folds: Folds,
    results: Sequence[FoldResult],
    reporter: _Part,
) -> None:
    """Table of predictions, ensemble, evaluation and report of a run whose folds are all finished."""
    from MRI2PETLib.evaluation.cohort_cases import read_run_scans
    from MRI2PETLib.evaluation.cohort_run import evaluate_cohort
    from MRI2PETLib.evaluation.cubic import fit_cubic
    from MRI2PETLib.evaluation.settings import EvaluationSettings
    from MRI2PETLib.reports.cohort_report import write_cohort
    from MRI2PETTrainingLib.report import write_report

    outcome.write_baselines(plan.run, {r.fold.number: r.cubic for r in results})
    rows = [row for result in results for row in outcome.prediction_rows(plan.run, result, prepared)]
    rows.sort(key=lambda row: row["case"])
    write_table(plan.run / PREDICTIONS_CSV, list(rows[0]), rows)
    run, name = read_json(plan.run / RUN), plan.run.resolve().name
    records = [fold_folder(plan.run, result.fold.number) / FOLD for result in results]
    request = Request(
        {},
        {path.parent.name: Source(str(path), sha256_of(path)) for path in records},
        {"run": run, "name": name, "rows": rows, "folds": asdict(folds), "dataset": _described(manifest)},
    )
    result = Result(plan.run, RUN_RECORD, {RUN_REPORT, SUBJECTS})
    if result.finished(request) is not None:
        reporter.log(f"{plan.run}: ensemble, evaluation and report are there, kept.")
        return
    with result.make(request, {}) as staging:
        own = make_folder(staging / EVALUATION)
        cases = read_run_scans(plan.run, Reporter())
        cohort = evaluate_cohort(cases, EvaluationSettings(seed=plan.settings.seed), own, reporter)
        typical = write_cohort(own, f"{name}: people left out of training", cohort)
        ensemble = outcome.save_ensemble(
            staging / ENSEMBLE,
            outcome.model_id(plan.run, "ensemble"),
            outcome.read_bundles(plan.run, [result.fold.number for result in results]),
            plan.preset,
            [prepared[name] for name in folds.trained],
            fit_cubic([result.cubic_sums for result in results]),
            cohort,
        )
        write_report(
            staging / RUN_REPORT,
            f"Training: {name}",
            run,
            manifest,
            folds,
            results,
            typical,
            cohort,
            ensemble,
        )


def _described(manifest: Manifest) -> list[Any]:
    """What the report says of the dataset."""
    findings = {name: [one.to_dict() for one in own] for name, own in manifest.findings.items()}
    return [[asdict(case) for case in manifest.cases], findings]


def _wait_for_first(plan: Plan) -> tuple[dict[str, PreparedCase], Folds]:
    """What the first process prepared, for the others of a distributed training."""
    deadline = time.monotonic() + _WAIT_S
    settings = deciding(record_of(plan))
    while time.monotonic() < deadline:
        content: Any = {}
        with suppress(InputError):
            content = read_json(plan.run / READY_FILE)
        if content.get("settings") == settings:
            prepared: dict[str, PreparedCase] = {}
            for row in content["cases"]:
                fields: dict[str, Any] = {
                    k: Path(v) if k in ("t1", "pet", "mask") and v else v for k, v in row["case"].items()
                }
                folder = Path(row["folder"])
                entry = read_record(folder / ENTRY)
                assert entry is not None  # the first process has checked it
                prepared[fields["case"]] = PreparedCase(TrainingCase(**fields), folder, entry["about"])
            return prepared, read_folds(plan.run / FOLDS)
        time.sleep(1.0)
    raise InputError(f"The first process did not prepare {plan.run}.", "See its messages.")


class _Part(Reporter):
    """Passes everything on; progress fills ``start`` to ``end`` of the whole."""

    def __init__(self, whole: Reporter, start: float, end: float) -> None:
        self._whole = whole
        self._inner = part_of(whole.progress, start, end)

    def progress(self, done: float, total: float, stage: str) -> None:
        self._inner(done, total, stage)

    def log(self, message: str) -> None:
        self._whole.log(message)

    def warning(self, message: str) -> None:
        self._whole.warning(message)
