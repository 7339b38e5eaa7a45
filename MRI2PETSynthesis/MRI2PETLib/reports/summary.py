"""The first screen of a report: the network against the best baseline, and what that says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from MRI2PETLib.evaluation.baselines import NETWORK
from MRI2PETLib.evaluation.headings import people_better
from MRI2PETLib.evaluation.metrics import METRICS, Metric
from MRI2PETLib.evaluation.paired import MIN_PEOPLE, PairedRow
from MRI2PETLib.reports.page import Cell, ReportTable, how_many, interval, metric_cell

HEADLINES = ("pearson_r", "mse", "ssim")


class Summary(NamedTuple):
    """``verdict`` in a sentence, its ``kind`` (``ok``, ``refuse`` or empty, as notes have), and the table."""

    verdict: str
    kind: str
    table: ReportTable | None


def cohort_summary(rows: Sequence[PairedRow], scale: str, unit: str) -> Summary:
    """Over people: the difference from the best baseline with its interval of 95 %.

    :param rows: the network against each baseline, see :func:`.paired.methods_table`.
    :param scale: of the numbers.
    :param unit: of the images, for the caption.
    """
    lines: list[list[Cell]] = []
    better: list[str] = []
    worse: list[str] = []
    unclear: list[str] = []
    for metric in _headlines():
        own = [r for r in rows if (r.scale, r.parcellation, r.metric) == (scale, "brain", metric.heading)]
        own = [row for row in own if row.second_mean is not None and row.first_mean is not None]
        if not own:
            continue
        best = min(own, key=lambda row: _from_best(metric, float(row.second_mean or 0.0)))
        change = best.paired
        cell = interval(change.difference, change.difference_low, change.difference_high)
        share = f"{best.n_first_better} of {best.n_people}"
        lines.append([metric.heading, best.first_mean, best.second, best.second_mean, cell, share])
        words = f"{metric.label} ({best.second})"
        low, high = change.difference_low, change.difference_high
        if low is None or high is None or low <= 0 <= high:
            unclear.append(words)
        else:
            (better if (low > 0) == (metric.better == "higher") else worse).append(words)
    if not lines:
        return Summary("There is no baseline to compare the network with.", "", None)
    header = [
        "number",
        NETWORK,
        "best baseline",
        "its value",
        "network − baseline (95 %)",
        people_better("the network"),
    ]
    people = next(row.n_people for row in rows)
    caption = f"In the brain, {unit}, mean over {how_many(people, 'person')}"
    table = ReportTable(header, lines, caption, lead=())
    return Summary(*_cohort_verdict(better, worse, unclear, people), table)


def case_summary(
    network: Mapping[str, Any], baselines: Mapping[str, Mapping[str, Any]], unit: str
) -> Summary:
    """Of one person: values side by side; no interval, so no verdict on the model.

    :param network: metric -> value; ``baselines``: name -> metric -> value.
    """
    lines: list[list[Cell]] = []
    better: list[str] = []
    worse: list[str] = []
    for metric in _headlines():
        value = network.get(metric.name)
        values = {name: b.get(metric.name) for name, b in baselines.items()}
        present = {name: v for name, v in values.items() if isinstance(v, (int, float))}
        if value is None or not present:
            continue
        best = min(present, key=lambda name: _from_best(metric, present[name]))
        lines.append([metric.heading, metric_cell(metric, value), best, metric_cell(metric, present[best])])
        (better if metric.is_better(value, present[best]) else worse).append(f"{metric.label} ({best})")
    if not lines:
        return Summary("There is no baseline to compare the network with.", "", None)
    words = [f"better than the best baseline in {_and(better)}"] if better else []
    words += [f"not better in {_and(worse)}"] if worse else []
    verdict = f"For this person the network is {', '.join(words)}. One person says nothing about the model."
    table = ReportTable(
        ["number", NETWORK, "best baseline", "its value"], lines, f"In the brain, {unit}", lead=()
    )
    return Summary(verdict, "", table)


def _headlines() -> list[Metric]:
    return [METRICS[name] for name in HEADLINES if name in METRICS]


def _from_best(metric: Metric, value: float) -> float:
    """Smaller is better."""
    return -value if metric.better == "higher" else value


def _cohort_verdict(
    better: Sequence[str], worse: Sequence[str], unclear: Sequence[str], people: int
) -> tuple[str, str]:
    if people < MIN_PEOPLE:
        few = f"{how_many(people, 'person')} {'is' if people == 1 else 'are'} too few for an interval"
        return f"{few} ({MIN_PEOPLE} are needed): no verdict.", ""
    if not worse and not unclear:
        return f"The network is better than the best baseline in {_and(better)}.", "ok"
    words = [f"worse than the best baseline in {_and(worse)}"] if worse else []
    other = "it" if worse else "the best baseline"
    words += [f"not clearly different from {other} in {_and(unclear)}"] if unclear else []
    words += [f"better in {_and(better)}"] if better else []
    return f"The network is {', '.join(words)}. Only what exceeds the best baseline is a finding of it.", (
        "refuse" if worse else ""
    )


def _and(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
