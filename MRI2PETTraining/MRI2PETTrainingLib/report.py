"""The report of a training: the folds, the curves, and the results on people it has not seen."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from MRI2PETLib.core.files import write_text
from MRI2PETLib.core.tables import write_table
from MRI2PETLib.evaluation.baselines import NETWORK
from MRI2PETLib.evaluation.cohort import Cohort
from MRI2PETLib.evaluation.metrics import METRICS
from MRI2PETLib.models.bundle import Bundle
from MRI2PETLib.reports.cohort_report import TypicalCase
from MRI2PETLib.reports.page import Cell, Picture, ReportTable, render
from MRI2PETLib.reports.texts import least_coverage_sentence
from MRI2PETTrainingLib.baseline_table import (
    HEADINGS,
    BaselineRow,
    baseline_rows,
    best_baseline,
    not_beaten,
    person_table,
    scale_words,
)
from MRI2PETTrainingLib.dataset.manifest import Manifest
from MRI2PETTrainingLib.folds import SIDES, Folds
from MRI2PETTrainingLib.headings import training_heading
from MRI2PETTrainingLib.plan import deciding
from MRI2PETTrainingLib.run_folder import SUBJECTS, FoldResult, people_and_scans


def write_report(
    path: Path,
    title: str,
    run: Mapping[str, Any],
    manifest: Manifest,
    folds: Folds,
    results: Sequence[FoldResult],
    typical: TypicalCase,
    cohort: Cohort,
    ensemble: Bundle,
) -> Path:
    """Write ``report.html``, and ``subjects.csv`` (one row a person) beside it.

    :param run: content of ``run.json``.
    :param cohort: evaluation of the out-of-fold predictions.
    """
    people, rows = person_table(cohort), baseline_rows(cohort)
    write_table(path.with_name(SUBJECTS), list(people[0]), people)
    page = render(
        "training.html",
        title,
        folder=Path(__file__).parent / "templates",
        viewer=typical.viewer,
        typical=typical.picture,
        run=run,
        cohort=cohort,
        ensemble=ensemble,
        manifest=manifest,
        split=folds,
        not_beaten=not_beaten(rows),
        best=best_baseline(rows),
        outcome=_outcome(rows, scale_words(cohort)),
        folds=_folds(manifest, results),
        curves=_curves(results),
        subjects=_subjects(people, scale_words(cohort)),
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


def _outcome(rows: Sequence[BaselineRow], words: str) -> ReportTable:
    lines: list[list[Cell]] = []
    for row in rows:
        share = None if row.n_network_better is None else f"{row.n_network_better} of {row.n_people}"
        lines.append([row.predictor, row.uses, *row.means.values(), row.gain, share])
    return ReportTable(
        HEADINGS,
        lines,
        f"Mean over people, in the brain, {words}",
        lead=[n for n, row in enumerate(rows) if row.predictor == NETWORK],
    )


def _folds(manifest: Manifest, results: Sequence[FoldResult]) -> ReportTable:
    subjects = {case.case: case.subject for case in manifest.used}
    groups = {case.case: case.group for case in manifest.used}
    rows: list[list[Cell]] = []
    for result in results:
        whose = [people_and_scans(getattr(result.fold, side), subjects, groups) for side in SIDES]
        best = next(row for row in result.history if row["epoch"] == result.epoch)
        epoch = f"{result.epoch + 1} of {result.cost['epochs']}"
        rows.append([f"fold {result.fold.number}", *whose, epoch, best["val_nmse"], best["val_r"]])
    header = ["", *map(training_heading, (*SIDES, "epoch", "val_nmse", "val_r"))]
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
    for axis, key in zip(axes, ("train_loss", "val_nmse")):
        for label, history in histories.items():
            axis.plot(
                [row["epoch"] + 1 for row in history], [row[key] for row in history], label=label, lw=1.4
            )
        axis.set_xlabel("epoch")
        axis.set_ylabel(training_heading(key))
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize=8, frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _subjects(people: Sequence[Mapping[str, Any]], words: str) -> ReportTable:
    columns = [key for key in people[0] if key == f"{NETWORK}: pearson_r" or key.endswith(": mse")]
    present = [c for c in columns if any(row[c] is not None for row in people)]
    about = ("subject", "group", "fold", "scans")
    rows: list[list[Cell]] = [[row[c] for c in (*about, *present)] for row in people]
    headings = (f"{name}: {METRICS[metric].heading}" for name, metric in (c.split(": ") for c in present))
    return ReportTable(
        [*about, *headings], rows, f"In the brain, {words}; all columns in {SUBJECTS}", lead=()
    )


def _cost(results: Sequence[FoldResult]) -> ReportTable:
    keys = ("device", "epochs", "seconds", "seconds_per_step", "seconds_per_case", "peak_memory_gb")
    rows: list[list[Cell]] = [[f"fold {r.fold.number}", *(r.cost.get(key) for key in keys)] for r in results]
    return ReportTable(["", *map(training_heading, keys)], rows, "Training, with its validation", lead=())


def _flat(content: Mapping[str, Any], name: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in content.items():
        full = f"{name}.{key}" if name else key
        flat |= _flat(value, full) if isinstance(value, Mapping) and value else {full: str(value)}
    return flat
