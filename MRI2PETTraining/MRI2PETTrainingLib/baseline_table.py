"""What a training gives: the network beside each baseline, on people that its fold has not seen."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from MRI2PETLib.evaluation.baselines import NETWORK
from MRI2PETLib.evaluation.case import SCALE_FREE, STATED_UNIT
from MRI2PETLib.evaluation.cohort import Cohort
from MRI2PETLib.evaluation.headings import people_better
from MRI2PETLib.evaluation.metrics import METRICS
from MRI2PETLib.evaluation.paired import paired_difference
from MRI2PETLib.reports.page import interval, number_text

PERSON_METRICS = ("pearson_r", "mse")  # of each person
ERROR = "mse"  # by which predictors are compared
# Of the table, in the report and in the model card.
HEADINGS = (
    *("predictor", "knows", *(METRICS[name].heading for name in PERSON_METRICS)),
    *("network's MSE − its (95 %)", people_better("the network")),
)


class BaselineRow(NamedTuple):
    """A predictor over people. ``means``: of :data:`PERSON_METRICS`, by name. ``difference``: mean of the
    network's MSE - its own, with the ends of its interval of 95 % (bootstrap over people; ``None`` for fewer
    than 6). ``n_network_better`` of ``n_people`` have a lower MSE by the network.
    """

    predictor: str
    uses: str
    means: dict[str, float | None]
    n_people: int
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    n_network_better: int | None = None

    @property
    def gain(self) -> str:
        """The difference as a cell."""
        return str(interval(self.difference, self.low, self.high) or "")

    @property
    def verdict(self) -> str:
        """Whether the network beats it."""
        if self.difference is None:
            return "could not be compared with the network"
        if self.low is None or self.high is None:
            return "has too few people for an interval"
        if self.low <= 0 <= self.high:
            return "cannot be told from the network by these people"
        return "is worse than the network" if self.high < 0 else "is BETTER than the network"


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
            for metric in PERSON_METRICS:
                values = [scan.metrics[scale, predictor].get(metric) for scan in own]
                present = [v for v in values if v is not None]
                row[f"{predictor}: {metric}"] = math.fsum(present) / len(present) if present else None
        rows.append(row)
    return rows


def baseline_rows(cohort: Cohort) -> list[BaselineRow]:
    """The network and every baseline that could be computed, in the order of the tables."""
    people = person_table(cohort)
    rows = []
    for predictor in cohort.predictors:
        means = {name: _mean(people, f"{predictor}: {name}") for name in PERSON_METRICS}
        both = _errors_of_both(cohort, predictor)
        row = BaselineRow(predictor, cohort.uses[predictor], means, len(both))
        if predictor != NETWORK and len(both):
            change = paired_difference(both[:, 0], both[:, 1], seed=cohort.settings.seed)
            better = int(np.count_nonzero(both[:, 0] < both[:, 1]))
            row = row._replace(
                difference=change.difference,
                low=change.difference_low,
                high=change.difference_high,
                n_network_better=better,
            )
        if len(both):
            rows.append(row)
    return rows


def _errors_of_both(cohort: Cohort, predictor: str) -> np.ndarray:
    """Error of the network and of a predictor by person, [person, 2]: over the scans that both have."""
    scale, pairs = _scale(cohort), defaultdict(list)
    for scan in cohort.scans:
        pair = [scan.metrics[scale, name].get(ERROR) for name in (NETWORK, predictor)]
        if None not in pair:
            pairs[scan.case.subject].append(pair)
    means = [np.mean(np.array(own, float), axis=0) for _, own in sorted(pairs.items())]
    return np.array(means, float).reshape(-1, 2)


def best_baseline(rows: Sequence[BaselineRow]) -> BaselineRow | None:
    """The baseline with the lowest mean error."""
    compared = [row for row in rows if row.predictor != NETWORK and row.means[ERROR] is not None]
    return min(compared, key=lambda row: row.means[ERROR] or 0.0, default=None)


def not_beaten(rows: Sequence[BaselineRow]) -> list[str]:
    """The baselines whose mean error is not above that of the network."""
    return [row.predictor for row in rows if row.difference is not None and not row.difference < 0]


def card_section(rows: Sequence[BaselineRow], n_people: int, scale_words: str, tested: str) -> str:
    """The table as a section of a model card.

    :param tested: whose figures these are.
    """
    lines = [[*HEADINGS], ["---"] * len(HEADINGS)]
    for row in rows:
        better = "" if row.n_network_better is None else f"{row.n_network_better} of {row.n_people}"
        numbers = [number_text(v) if (v := row.means[name]) is not None else "" for name in PERSON_METRICS]
        lines.append([row.predictor, row.uses, *numbers, row.gain, better])
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    best = best_baseline(rows)
    remark = "" if best is None else f"\n\nThe best baseline, {best.predictor}, {best.verdict}."
    return (
        f"\n## Beside the baselines\nMean over {n_people} people, in the brain, {scale_words}. {tested} "
        f"Intervals by bootstrap over people.\n\n{table}{remark}\n"
    )


def scale_words(cohort: Cohort) -> str:
    if cohort.direction.to_pet:
        return "each PET divided by its own mean there (scale-free)"
    return "each MRI from 0 (1st percentile) to 1 (99th percentile)"


def _scale(cohort: Cohort) -> str:
    """Levels of a PET are no matter of its T1, so its pattern is judged; an MRI has one scale."""
    return SCALE_FREE if cohort.direction.to_pet else STATED_UNIT


def _mean(people: Sequence[Mapping[str, Any]], column: str) -> float | None:
    present = [row[column] for row in people if row[column] is not None]
    return math.fsum(present) / len(present) if present else None
