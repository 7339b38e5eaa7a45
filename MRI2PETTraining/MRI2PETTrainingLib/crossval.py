"""A whole cross-validation: prepare, split, train every fold, predict who was left out, evaluate, report.

::

    RUN/run.json                settings and environment
    RUN/cases.csv               every case and what was noticed; can be edited and used as a manifest
    RUN/folds.json              who is in training, validation and test of each fold
    RUN/fold_<k>/checkpoints    last.ckpt, best.safetensors, metrics.csv (curves)
    RUN/fold_<k>/bundle         the model of the fold
    RUN/fold_<k>/fold.json      what the fold gave; written last
    RUN/ensemble                the model of all folds
    RUN/predictions, predictions.csv, baselines.json      people that the model of their fold has not seen
    RUN/evaluation, report.html

Every step is skipped where its result is there already, so a killed run goes on where it was.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MRI2PETLib.core.errors import BundleError, InputError
from MRI2PETLib.core.files import make_folder, write_json
from MRI2PETLib.core.leftovers import sweep
from MRI2PETLib.core.progress import Reporter, part_of
from MRI2PETLib.core.tables import write_table
from MRI2PETTrainingLib import outcome
from MRI2PETTrainingLib.dataset.cache import PreparedCase
from MRI2PETTrainingLib.dataset.manifest import Manifest, TrainingCase
from MRI2PETTrainingLib.dataset.preflight import prepare_dataset, smallest_coverage
from MRI2PETTrainingLib.folds import Fold, Folds, check_leakage, folds_of, read_folds, write_folds
from MRI2PETTrainingLib.plan import Plan, claim, deciding, record_of
from MRI2PETTrainingLib.run_folder import ENSEMBLE, FOLD, FOLDS, RUN, RUN_REPORT, FoldResult, fold_folder
from MRI2PETTrainingLib.warm_start import check_unseen, start_bundle

if TYPE_CHECKING:
    from MRI2PETTrainingLib.fit import Hardware

READY_FILE = "ready.json"
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
    manifest, prepared = prepare_dataset(
        plan.run, plan.cache, plan.preset.space, plan.data, reporter=reporter
    )
    cases = [entry.case for entry in prepared.values()]
    path = plan.run / FOLDS
    of_pairs = plan.settings.unpaired is not None and not path.is_file()
    source = plan.pairs / FOLDS if of_pairs else path
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
    listed = [{"case": asdict(e.case), "folder": str(e.folder.resolve())} for e in prepared.values()]
    write_json(plan.run / READY_FILE, {"settings": deciding(record_of(plan)), "cases": listed})
    return manifest, prepared, folds


def run_training(plan: Plan, reporter: Reporter) -> dict[str, Any]:
    """Train what is not trained yet; when all folds are there, make the ensemble, evaluate and report.

    :returns: a summary: folders, numbers of finished folds, path of the report if all are done; empty in
        all processes but the first.
    :raises MRI2PETError: with the reason; finished epochs and folds are kept.
    """
    from MRI2PETTrainingLib.fit import check_hardware

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
    share = _TRAINED / len(numbers)
    for done, number in enumerate(numbers):
        inner = _Part(reporter, done * share, (done + 1) * share)
        if read_fold(plan.run, folds.folds[number]) is not None:
            reporter.log(f"Fold {number} is finished: kept.")
            inner.progress(0, 1, f"fold {number}")  # with the next line a jump: no work, see TimeLeft
            inner.progress(1, 1, f"fold {number}")
            continue
        _train_fold(plan, folds.folds[number], prepared, inner, first)
    if not first:
        return {}
    results = [read_fold(plan.run, fold) for fold in folds.folds]
    finished = [r for r in results if r is not None]
    summary: dict[str, Any] = {
        "run": plan.run,
        "finished_folds": [r.fold.number for r in finished],
        "smallest_pet_coverage": smallest_coverage(prepared),
    }
    if len(finished) < len(folds.folds):
        return summary
    assert manifest is not None
    report = _finish(plan, manifest, prepared, folds, finished, _Part(reporter, _TRAINED, 1))
    return {**summary, "ensemble": plan.run / ENSEMBLE, "report": report}


def read_fold(run: Path, fold: Fold) -> FoldResult | None:
    """The result of a fold, or ``None`` if it is not finished."""
    folder = fold_folder(run, fold.number)
    try:
        content = json.loads((folder / FOLD).read_text(encoding="utf-8"))
        bundle = outcome.read_bundles(run, [fold.number])[f"fold_{fold.number}"]
        files = [run / row[name] for row in content["rows"] for name in ("synthetic", "pet", "mask")]
        if bundle.sha256 != content["model_sha256"] or not all(path.is_file() for path in files):
            return None
        return FoldResult(fold, *(content[k] for k in ("epoch", "history", "cost", "cubic", "rows")))
    except (OSError, ValueError, KeyError, TypeError, BundleError):
        return None


def is_first_process() -> bool:
    """Whether this is the first process of a training by torchrun, Lightning or SLURM, or the only one."""
    ranks = [os.environ.get(name) or "0" for name in ("RANK", "LOCAL_RANK", "NODE_RANK")]
    if int(os.environ.get("SLURM_NTASKS") or 1) > 1:
        ranks.append(os.environ.get("SLURM_PROCID") or "0")
    return all(rank == "0" for rank in ranks)


def _train_fold(
    plan: Plan, fold: Fold, prepared: Mapping[str, PreparedCase], reporter: _Part, first: bool
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
        label=f"fold {fold.number}",
        progress=part_of(reporter.progress, 0, 0.95),
    )
    if not first:
        return
    reporter.progress(0.95, 1, f"fold {fold.number}: predicting {len(test)} cases")
    cases = [*train, *validation]
    details = {"fold": fold.number, "seed": seed, "start_from": initial and initial.sha256}
    name = outcome.model_id(plan.run, f"fold{fold.number}")
    bundle = outcome.save_fold_bundle(folder, name, fitted, plan.preset, cases, details)
    outcome.write_training_mean(folder / outcome.MEAN_PET, cases)
    rows = outcome.predict_cases(plan.run, fold.number, bundle, test, plan.settings.device)
    cost = fitted.cost
    write_json(
        folder / FOLD,
        {
            "fold": fold.number,
            "model_sha256": bundle.sha256,
            "epoch": fitted.epoch,
            "history": fitted.history,
            "cost": cost,
            "cubic": bundle.metadata["baselines"]["cubic_of_t1"]["coefficients"],
            "rows": rows,
        },
    )
    reporter.log(f"{_tell_cost(fold.number, cost)}; epoch {fitted.epoch + 1} is kept.")


def _hardware(plan: Plan) -> Hardware:
    from MRI2PETTrainingLib.fit import Hardware, enough_loaders

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
) -> Path:
    """Ensemble, table of predictions, evaluation and report of a run whose folds are all finished."""
    from MRI2PETLib.core.files import staged_folder
    from MRI2PETLib.evaluation.cohort import evaluate_cohort
    from MRI2PETLib.evaluation.cohort_cases import read_run_scans
    from MRI2PETLib.evaluation.settings import EvaluationSettings
    from MRI2PETLib.reports.case_report import REPORT_FILE as COHORT_REPORT
    from MRI2PETLib.reports.cohort_report import write_cohort
    from MRI2PETTrainingLib.report import write_report

    numbers = [result.fold.number for result in results]
    bundles = outcome.read_bundles(plan.run, numbers)
    ensemble = outcome.save_ensemble(
        plan.run / ENSEMBLE,
        outcome.model_id(plan.run, "ensemble"),
        bundles,
        plan.preset,
        list(prepared.values()),
    )
    outcome.write_baselines(plan.run, {r.fold.number: r.cubic for r in results})
    rows = sorted((row for result in results for row in result.rows), key=lambda row: row["case"])
    write_table(plan.run / PREDICTIONS_CSV, list(rows[0]), rows)
    with staged_folder(plan.run / EVALUATION, last=COHORT_REPORT) as staging:
        cases = read_run_scans(plan.run, Reporter())
        cohort = evaluate_cohort(cases, EvaluationSettings(seed=plan.settings.seed), staging, reporter)
        write_cohort(staging, f"{plan.run.resolve().name}: people left out of training", cohort)
    run = json.loads((plan.run / RUN).read_text(encoding="utf-8"))
    return write_report(plan.run / RUN_REPORT, run, manifest, folds, results, cohort, ensemble)


def _wait_for_first(plan: Plan) -> tuple[dict[str, PreparedCase], Folds]:
    """What the first process prepared, for the others of a distributed training."""
    deadline = time.monotonic() + _WAIT_S
    settings = deciding(record_of(plan))
    while time.monotonic() < deadline:
        try:
            content = json.loads((plan.run / READY_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            content = {}
        if content.get("settings") == settings:
            prepared: dict[str, PreparedCase] = {}
            for row in content["cases"]:
                fields: dict[str, Any] = {
                    k: Path(v) if k in ("t1", "pet", "mask") and v else v for k, v in row["case"].items()
                }
                folder = Path(row["folder"])
                about = json.loads((folder / "entry.json").read_text(encoding="utf-8"))
                prepared[fields["case"]] = PreparedCase(TrainingCase(**fields), folder, about)
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
