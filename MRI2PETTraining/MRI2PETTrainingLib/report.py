"""The report of a training: the folds, the curves, and the results on people it has not seen."""

from __future__ import annotations

import io
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from MRI2PETLib.core.files import write_text
from MRI2PETLib.core.tables import write_table
from MRI2PETLib.evaluation.baselines import NETWORK
from MRI2PETLib.evaluation.case import SCALE_FREE, STATED_UNIT
from MRI2PETLib.evaluation.cohort import Cohort
from MRI2PETLib.evaluation.metrics import METRICS
from MRI2PETLib.models.bundle import Bundle
from MRI2PETLib.reports.page import Cell, Picture, ReportTable, render
from MRI2PETLib.reports.texts import least_coverage_sentence
from MRI2PETTrainingLib.dataset.manifest import Manifest
from MRI2PETTrainingLib.folds import Folds
from MRI2PETTrainingLib.plan import deciding
from MRI2PETTrainingLib.run_folder import SUBJECTS, FoldResult, people_and_scans

_METRICS = ("pearson_r", "mse")  # of each person


def write_report(
    path: Path,
    title: str,
    run: Mapping[str, Any],
    manifest: Manifest,
    folds: Folds,
    results: Sequence[FoldResult],
    cohort: Cohort,
    ensemble: Bundle,
) -> Path:
    """Write ``report.html``, and ``subjects.csv`` (one row a person) beside it.

    :param run: content of ``run.json``.
    :param cohort: evaluation of the out-of-fold predictions.
    """
    people = person_table(cohort)
    write_table(path.with_name(SUBJECTS), list(people[0]), people)
    page = render(
        "training.html",
        title,
        folder=Path(__file__).parent / "templates",
        run=run,
        cohort=cohort,
        ensemble=ensemble,
        manifest=manifest,
        split=folds,
        not_beaten=_not_beaten(cohort, people),
        outcome=_outcome(cohort, people),
        folds=_folds(manifest, results),
        curves=_curves(results),
        subjects=_subjects(people, _scale_words(cohort)),
        coverage=least_coverage_sentence({scan.case.case: scan.pet_coverage for scan in cohort.scans}),
        excluded=[f"{case.case}: {case.exclude}" for case in manifest.cases if case.exclude],
        noticed=[
            f"{name}: {finding.message}"
            for name, findings in sorted(manifest.findings.items())
            for finding in findings
            if finding.level == "warn"
        ],
        cost=_cost(results),
        settings=_flat(deciding(run)),
    )
    return write_text(path, page)


def person_table(cohort: Cohort) -> list[dict[str, Any]]:
    """One row a person: r and MSE (of a PET scale-free) of network and baselines, averaged over the person's
    scans.
    """
    scale, scans = _scale(cohort), defaultdict(list)
    for scan in cohort.scans:
        scans[scan.case.subject].append(scan)
    rows = []
    for subject, own in sorted(scans.items()):
        row: dict[str, Any] = {
            "subject": subject,
            "group": own[0].case.group,
            "fold": own[0].case.fold,
            "scans": len(own),
        }
        for predictor in cohort.predictors:
            for metric in _METRICS:
                values = [scan.metrics[scale, predictor].get(metric) for scan in own]
                present = [v for v in values if v is not None]
                row[f"{predictor}: {metric}"] = math.fsum(present) / len(present) if present else None
        rows.append(row)
    return rows


def _scale(cohort: Cohort) -> str:
    """Levels of a PET are no matter of its T1, so its pattern is judged; an MRI has one scale."""
    return SCALE_FREE if cohort.direction.to_pet else STATED_UNIT


def _scale_words(cohort: Cohort) -> str:
    if cohort.direction.to_pet:
        return "each PET divided by its own mean there (scale-free)"
    return "each MRI from 0 (1st percentile) to 1 (99th percentile)"


def _mean(people: Sequence[Mapping[str, Any]], column: str) -> float | None:
    present = [row[column] for row in people if row[column] is not None]
    return math.fsum(present) / len(present) if present else None


def _not_beaten(cohort: Cohort, people: Sequence[Mapping[str, Any]]) -> list[str]:
    """The baselines whose mean error is not above that of the network."""
    errors = {predictor: _mean(people, f"{predictor}: mse") for predictor in cohort.predictors}
    network = errors.pop(NETWORK) or 0
    return [name for name, error in errors.items() if error is not None and not error > network]


def _outcome(cohort: Cohort, people: Sequence[Mapping[str, Any]]) -> ReportTable:
    rows: list[list[Cell]] = []
    for predictor in cohort.predictors:
        better = [
            row[f"{NETWORK}: mse"] < row[f"{predictor}: mse"]
            for row in people
            if row[f"{predictor}: mse"] is not None and row[f"{NETWORK}: mse"] is not None
        ]
        share = None if predictor == NETWORK or not better else f"{sum(better)} of {len(better)}"
        means = (_mean(people, f"{predictor}: {metric}") for metric in _METRICS)
        rows.append([predictor, cohort.uses[predictor], *means, share])
    headings = [METRICS[name].heading for name in _METRICS]
    return ReportTable(
        ["predictor", "knows", *headings, "people better predicted by the network"],
        rows,
        f"Mean over people, in the brain, {_scale_words(cohort)}",
        lead=[cohort.predictors.index(NETWORK)],
    )


def _folds(manifest: Manifest, results: Sequence[FoldResult]) -> ReportTable:
    by_name = {case.case: case for case in manifest.used}
    rows: list[list[Cell]] = []
    for result in results:
        fold = result.fold
        cells: list[Cell] = [f"fold {fold.number}"]
        for names in (fold.train, fold.validation, fold.test):
            groups = Counter(by_name[n].group for n in names)
            counts = ", ".join(f"{n} {group}" for group, n in sorted(groups.items()) if group)
            people = len({by_name[n].subject for n in names})
            cells.append(people_and_scans(people, len(names)) + (f" ({counts})" if counts else ""))
        best = next(row for row in result.history if row["epoch"] == result.epoch)
        epoch = f"{result.epoch + 1} of {result.cost['epochs']}"
        rows.append([*cells, epoch, best["val_nmse"], best["val_r"]])
    header = ["", "training", "validation", "test", "epoch kept", "validation 1 - R²", "validation r"]
    return ReportTable(
        header,
        rows,
        "Training, validation and test people of each fold; the validation figures chose the epoch",
        lead=(),
    )


def _curves(results: Sequence[FoldResult]) -> Picture:
    return Picture(
        curves_png({f"fold {r.fold.number}": r.history for r in results}),
        alt="Training loss and validation error over the epochs, one line a fold",
        caption="Left: training loss. Right: validation error (1 - R² in the brain; 1 is the target's mean).",
    )


def curves_png(histories: Mapping[str, Sequence[Mapping[str, float]]]) -> bytes:
    """Training loss and validation error over epochs as a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 3.4), dpi=110, layout="constrained")
    axes = figure.subplots(1, 2)
    for axis, key, name in zip(axes, ("train_loss", "val_nmse"), ("training loss", "validation 1 - R²")):
        for label, history in histories.items():
            axis.plot(
                [row["epoch"] + 1 for row in history], [row[key] for row in history], label=label, lw=1.4
            )
        axis.set_xlabel("epoch")
        axis.set_ylabel(name)
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize=8, frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _subjects(people: Sequence[Mapping[str, Any]], scale_words: str) -> ReportTable:
    columns = [key for key in people[0] if key == f"{NETWORK}: pearson_r" or key.endswith(": mse")]
    present = [c for c in columns if any(row[c] is not None for row in people)]
    rows: list[list[Cell]] = [
        [row["subject"], row["group"], row["fold"], row["scans"], *(row[c] for c in present)]
        for row in people
    ]
    headings = (f"{name}: {METRICS[metric].heading}" for name, metric in (c.split(": ") for c in present))
    header = ["subject", "group", "fold", "scans", *headings]
    return ReportTable(header, rows, f"In the brain, {scale_words}; all columns in {SUBJECTS}", lead=())


def _cost(results: Sequence[FoldResult]) -> ReportTable:
    keys = ("device", "epochs", "seconds", "seconds_per_step", "seconds_per_case", "peak_memory_gb")
    rows: list[list[Cell]] = [[f"fold {r.fold.number}", *(r.cost.get(key) for key in keys)] for r in results]
    header = ["", "device", "epochs", "seconds", "s a step", "s a case and epoch", "peak memory (GB)"]
    return ReportTable(header, rows, "Training, with its validation", lead=())


def _flat(content: Mapping[str, Any], name: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in content.items():
        full = f"{name}.{key}" if name else key
        flat |= _flat(value, full) if isinstance(value, Mapping) and value else {full: str(value)}
    return flat
