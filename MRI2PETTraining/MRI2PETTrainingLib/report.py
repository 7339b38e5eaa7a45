"""The report of a training: who was where, how it went, and what it gives on people it has not seen."""

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
from MRI2PETLib.evaluation.case import SCALE_FREE
from MRI2PETLib.evaluation.cohort import Cohort
from MRI2PETLib.evaluation.metrics import METRICS
from MRI2PETLib.models.bundle import Bundle
from MRI2PETLib.reports import markup
from MRI2PETTrainingLib.dataset.manifest import Manifest
from MRI2PETTrainingLib.folds import Folds
from MRI2PETTrainingLib.run_folder import FoldResult, people_and_scans

SUBJECTS = "subjects.csv"
_TRAINING_MEAN = "training mean"
_METRICS = ("pearson_r", "mse")  # of each person


def write_report(
    path: Path,
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
    preset = run["settings"]["preset"]
    title = f"Training: {path.parent.resolve().name}"
    intro = markup.paragraph(
        f"{preset['description']}. {len(cohort.scans)} scans of {cohort.n_people} people, {len(folds.folds)} "
        f"folds ({folds.method}). All figures below are of people that the model of their fold has not seen."
    )
    if cohort.simulated:
        intro = markup.note("SIMULATED DATA: nobody was scanned. The figures are no evidence.") + intro
    sections = [
        ("outcome", "What it gives", _outcome(cohort, people, ensemble)),
        ("folds", "Folds", _folds(manifest, folds, results)),
        ("curves", "Curves", _curves(results)),
        ("subjects", "Each person", _people_section(people)),
        ("data", "Data", _data(manifest)),
        ("cost", "Cost", _cost(results)),
        ("settings", "Settings", markup.definitions(_flat(run["settings"]))),
        (
            "environment",
            "Environment",
            markup.definitions({k: str(v) for k, v in run["environment"].items()}),
        ),
    ]
    return write_text(path, markup.page(title, sections, intro=intro))


def person_table(cohort: Cohort) -> list[dict[str, Any]]:
    """One row a person: r and scale-free MSE of network and baselines, averaged over the person's scans."""
    scans = defaultdict(list)
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
                values = [scan.metrics[SCALE_FREE, predictor].get(metric) for scan in own]
                known = [v for v in values if v is not None]
                row[f"{predictor}: {metric}"] = math.fsum(known) / len(known) if known else None
        rows.append(row)
    return rows


def _outcome(cohort: Cohort, people: Sequence[Mapping[str, Any]], ensemble: Bundle) -> str:
    rows: list[list[markup.Cell]] = []
    for predictor in cohort.predictors:
        cells: list[markup.Cell] = [predictor, cohort.uses[predictor]]
        for metric in _METRICS:
            known = [row[f"{predictor}: {metric}"] for row in people]
            known = [value for value in known if value is not None]
            cells.append(math.fsum(known) / len(known) if known else None)
        better = [
            row[f"{NETWORK}: mse"] < row[f"{predictor}: mse"]
            for row in people
            if row[f"{predictor}: mse"] is not None and row[f"{NETWORK}: mse"] is not None
        ]
        cells.append(None if predictor == NETWORK or not better else f"{sum(better)} of {len(better)}")
        rows.append(cells)
    table = markup.table(
        [
            "predictor",
            "knows",
            *(METRICS[m].heading for m in _METRICS),
            "people better predicted by the network",
        ],
        rows,
        caption="Mean over people, in the brain, each PET divided by its own mean there (scale-free)",
        lead=[cohort.predictors.index(NETWORK)],
    )
    return (
        _verdict(cohort, people)
        + table
        + markup.paragraph(
            "The anatomy null is one average map laid on each brain: only what exceeds it is a finding of "
            "the network. The published split put half of the test scans beside a scan of the same person; "
            "this one cannot, so lower figures than published are to be expected."
        )
        + markup.paragraph(f"The models: {ensemble.id} (ensemble, with an SD map) and one a fold.")
        + '<p><a href="evaluation/report.html">Full evaluation</a></p>'
    )


def _verdict(cohort: Cohort, people: Sequence[Mapping[str, Any]]) -> str:
    def mean(predictor: str) -> float | None:
        values = [row.get(f"{predictor}: mse") for row in people]
        known = [v for v in values if v is not None]
        return math.fsum(known) / len(known) if known else None

    network = mean(NETWORK)
    beaten = [p for p in cohort.predictors if p != NETWORK and (mean(p) or 0) > (network or 0)]
    others = [p for p in cohort.predictors if p != NETWORK and mean(p) is not None and p not in beaten]
    if others:
        told = f"The network does not beat: {', '.join(others)}. A model that does not is of no use."
        return markup.note(told, "refuse" if _TRAINING_MEAN in others else "")
    return markup.note("The network has a lower error than every baseline.", "ok")


def _folds(manifest: Manifest, folds: Folds, results: Sequence[FoldResult]) -> str:
    by_name = {case.case: case for case in manifest.used}
    rows: list[list[markup.Cell]] = []
    for result in results:
        fold = result.fold
        cells: list[markup.Cell] = [f"fold {fold.number}"]
        for names in (fold.train, fold.validation, fold.test):
            people = {by_name[n].subject for n in names}
            groups = Counter(by_name[n].group for n in names)
            told = ", ".join(f"{n} {group}" for group, n in sorted(groups.items()) if group)
            cells.append(people_and_scans(len(people), len(names)) + (f" ({told})" if told else ""))
        chosen = next(row for row in result.history if row["epoch"] == result.epoch)
        cells += [f"{result.epoch + 1} of {result.cost['epochs']}", chosen["val_nmse"], chosen["val_r"]]
        rows.append(cells)
    header = ["", "training", "validation", "test", "epoch kept", "validation 1 - R²", "validation r"]
    kept = " and ".join(folds.keep_together)
    return markup.table(
        header, rows, caption="Who was where; validation figures chose the epoch"
    ) + markup.paragraph(
        f"No {kept} is on two sides of any split (checked when the folds were made and again when this run "
        f"started). Seed {folds.seed}; the lists are in folds.json."
    )


def _curves(results: Sequence[FoldResult]) -> str:
    png = curves_png({f"fold {r.fold.number}": r.history for r in results})
    return markup.picture(
        png,
        alt="Training loss and validation error over the epochs, one line a fold",
        caption="Left: training loss. Right: validation error (1 - R² in the brain; 1 is the PET's mean).",
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


def _people_section(people: Sequence[Mapping[str, Any]]) -> str:
    columns = [key for key in people[0] if key == f"{NETWORK}: pearson_r" or key.endswith(": mse")]
    known = [c for c in columns if any(row[c] is not None for row in people)]
    rows: list[list[markup.Cell]] = [
        [row["subject"], row["group"], row["fold"], row["scans"], *(row[c] for c in known)] for row in people
    ]
    header = [
        "subject",
        "group",
        "fold",
        "scans",
        *(f"{name}: {METRICS[metric].heading}" for name, metric in (c.split(": ") for c in known)),
    ]
    return markup.table(header, rows, caption=f"Scale-free, in the brain; all columns in {SUBJECTS}")


def _data(manifest: Manifest) -> str:
    excluded = [f"{case.case}: {case.exclude}" for case in manifest.cases if case.exclude]
    noticed = [
        f"{name}: {finding.message}"
        for name, findings in sorted(manifest.findings.items())
        for finding in findings
        if finding.level == "warn"
    ]
    parts = [
        markup.paragraph(
            f"{len(manifest.used)} cases in use, {len(excluded)} left out; the table is cases.csv."
        )
    ]
    if excluded:
        parts += ["<h3>Left out</h3>", markup.bullets(excluded)]
    if noticed:
        parts += ["<h3>Noticed</h3>", markup.bullets(noticed)]
    return "".join(parts)


def _cost(results: Sequence[FoldResult]) -> str:
    keys = ("device", "epochs", "seconds", "seconds_per_step", "seconds_per_case", "peak_memory_gb")
    rows: list[list[markup.Cell]] = [
        [f"fold {r.fold.number}", *(r.cost.get(key) for key in keys)] for r in results
    ]
    header = ["", "device", "epochs", "seconds", "s a step", "s a case and epoch", "peak memory (GB)"]
    return markup.table(header, rows, caption="Training, with its validation")


def _flat(content: Mapping[str, Any], name: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in content.items():
        full = f"{name}.{key}" if name else key
        flat |= _flat(value, full) if isinstance(value, Mapping) and value else {full: str(value)}
    return flat
