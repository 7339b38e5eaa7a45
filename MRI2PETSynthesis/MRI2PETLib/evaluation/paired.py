"""Two predictors on the same people: differences with intervals, effects and tests.

People are the unit; repeated scans of a person are averaged first. A test of the difference person by person
says more than two means with their SDs: most of the spread between people is common to both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from MRI2PETLib.evaluation.baselines import NETWORK
from MRI2PETLib.evaluation.case import SCALE_FREE, SCALE_FREE_UNIT
from MRI2PETLib.evaluation.cohort import Cohort, region_numbers
from MRI2PETLib.evaluation.cohort_tables import scans_by_person
from MRI2PETLib.evaluation.measure import is_constant
from MRI2PETLib.evaluation.metrics import Metric, brain_metrics
from MRI2PETLib.evaluation.statistics import CONFIDENCE, TAILS, false_discovery_rate
from MRI2PETLib.templates.regions import WHOLE_BRAIN

# The fewest with which a signed-rank test can reach p < .05: 2 / 2^6 = .031.
MIN_PEOPLE = 6
DRAWS = 4000
HOW_PAIRED = (
    f"Intervals: {100 * CONFIDENCE:g} %, {DRAWS} bootstrap draws of people. p: Wilcoxon signed-rank. "
    "d = mean over SD of the differences."
)
REGION_ERROR = "error of the region mean"
_Row = TypeVar("_Row", bound=Any)


class Difference(NamedTuple):
    """Mean of a paired difference ``first - second`` over people.

    ``difference_low``, ``difference_high``: its 95 % interval by percentile bootstrap over people.
    ``effect``: Cohen's d of paired data, mean over SD (n - 1) of the differences. ``p``: Wilcoxon's
    signed-rank test, two-sided. ``fdr``: Benjamini-Hochberg, see :func:`with_adjusted_p`. ``reason`` explains
    ``None``.
    """

    difference: float | None
    difference_low: float | None = None
    difference_high: float | None = None
    effect: float | None = None
    p: float | None = None
    fdr: float | None = None
    reason: str = ""


class PairedRow(NamedTuple):
    """One number of two predictors on the same people.

    A metric that is best near 0 or near 1 is compared by its distance from there (``compared``).
    ``better`` says which mean is better, ``n_first_better`` of how many people the first predictor is. The
    FDR of ``paired`` is over the metrics of the whole brain, or over the regions of a parcellation.
    """

    first: str
    second: str
    scale: str
    parcellation: str
    region: str
    metric: str
    compared: str
    unit: str
    n_people: int
    first_mean: float | None
    second_mean: float | None
    better: str
    n_first_better: int
    paired: Difference


def paired_difference(first: np.ndarray, second: np.ndarray, *, seed: int = 0) -> Difference:
    """How two vectors over the same people differ; see :class:`Difference`."""
    from scipy import stats

    difference = np.asarray(first, float) - np.asarray(second, float)
    n = len(difference)
    if not n:
        return Difference(None, reason="there are no people")
    mean = float(difference.mean())
    if n < MIN_PEOPLE:
        return Difference(mean, reason=f"needs {MIN_PEOPLE} people, there are {n}")
    if is_constant(difference):
        reason = "the two are equal" if mean == 0 else "the difference is the same for all"
        return Difference(mean, reason=reason)
    draws = np.random.default_rng(seed).integers(0, n, (DRAWS, n))
    low, high = np.percentile(difference[draws].mean(axis=1), TAILS).tolist()
    p = float(stats.wilcoxon(difference).pvalue)
    return Difference(mean, low, high, mean / float(difference.std(ddof=1)), p)


def with_adjusted_p(rows: Sequence[_Row]) -> Iterator[_Row]:
    """Rows that hold a :class:`Difference` as ``paired``, its p adjusted over all of them."""
    for row, adjusted in zip(rows, false_discovery_rate([row.paired.p for row in rows])):
        yield row._replace(paired=row.paired._replace(fdr=adjusted))


def methods_table(cohort: Cohort) -> list[PairedRow]:
    """The network against every baseline on the same scans."""
    rows: list[PairedRow] = []
    for other in cohort.predictors:
        if other != NETWORK:
            rows += compared(cohort, cohort, NETWORK, other, (NETWORK, other))
    return rows


def compared(first: Cohort, second: Cohort, own: str, other: str, names: tuple[str, str]) -> list[PairedRow]:
    both = {scan.case.case for scan in first.scans} & {scan.case.case for scan in second.scans}
    cohorts = [_Side(cohort, both, name) for cohort, name in ((first, own), (second, other))]
    seed = first.settings.seed
    rows: list[PairedRow] = []
    for scale in dict.fromkeys(scale for scale, _ in first.scans[0].metrics):
        block = []
        for metric in brain_metrics(in_reports=True).values():
            if metric.better:
                values = _by_person(cohorts, [side.metric(scale, metric) for side in cohorts], metric)
                unit = metric.unit_of(SCALE_FREE_UNIT if scale == SCALE_FREE else first.unit)
                about = _About(scale, "brain", WHOLE_BRAIN, metric.heading, _ideal(metric)[1], unit)
                block.append(_row(names, about, list(values), metric.better == "higher", seed))
        rows += with_adjusted_p(block)
    if first.regions == second.regions:
        errors_of = _region_errors(cohorts)
        for parcellation in dict.fromkeys(name for name, _ in first.regions):
            block = []
            for index, (name, region) in enumerate(first.regions):
                if name == parcellation != "brain":
                    errors = errors_of[:, :, index]
                    about = _About(first.scale, name, region, REGION_ERROR, "absolute value", first.unit)
                    block.append(_row(names, about, list(errors), False, seed))
            rows += with_adjusted_p(block)
    return [row for row in rows if row.n_people]


class _Side:
    """What one predictor of a cohort has scan by scan, in the order of people and cases."""

    def __init__(self, cohort: Cohort, cases: set[str], predictor: str) -> None:
        scans = [scan for scan in cohort.scans if scan.case.case in cases]
        self.scans = sorted(scans, key=lambda scan: (scan.case.subject, scan.case.case))
        self._predictor, self._index = predictor, cohort.predictors.index(predictor)

    def metric(self, scale: str, metric: Metric) -> np.ndarray:
        """The metric of each scan, NaN where there is none."""
        values = [scan.metrics[scale, self._predictor][metric.name] for scan in self.scans]
        return np.array([np.nan if value is None else value for value in values], float)

    def region_numbers(self, name: str) -> np.ndarray:
        """A number of all regions: [scan, region], NaN where there is none."""
        number = region_numbers().index(name)
        return np.array([scan.regions[self._index, :, number] for scan in self.scans])


def _by_person(
    sides: Sequence[_Side], values: Sequence[np.ndarray], metric: Metric | None = None
) -> np.ndarray:
    """Averages of two predictors over the scans of each person that both have, [side, person, ...].

    A scan that only one has would compare them on other scans. Of a metric: its distance from what is best.
    """
    both = np.isfinite(values[0]) & np.isfinite(values[1])
    means = []
    for own in values:
        common = np.where(both, own, np.nan)
        of_person = [common[index] for index in scans_by_person(sides[0].scans).values()]
        means.append([_mean(block) for block in of_person])
    averages = np.array(means, float)
    ideal = None if metric is None else _ideal(metric)[0]
    if ideal is not None:
        averages = np.abs(averages - ideal)
    # A difference of the means is 0 but for rounding where scaling makes it so.
    return np.round(averages, 3) if metric is not None and metric.unit == "%" else averages


def _mean(scans: np.ndarray) -> np.ndarray:
    """Mean over the first axis of the numbers, else NaN."""
    count = np.isfinite(scans).sum(axis=0)
    return np.where(count > 0, np.nansum(scans, axis=0) / np.maximum(count, 1), np.nan)


def _region_errors(sides: Sequence[_Side]) -> np.ndarray:
    """|predicted - smoothed real| of the mean of each region: [side, person, region]."""
    if not sides[0].scans:
        return np.zeros((2, 0, 0))
    predicted, real = (
        [side.region_numbers(name) for side in sides] for name in ("mean_predicted", "mean_real_smoothed")
    )
    sums = [own + of for own, of in zip(predicted, real)]  # NaN where one of the two is
    errors = [
        _by_person(sides, [np.where(np.isfinite(k), v, np.nan) for k, v in zip(sums, side)])
        for side in (predicted, real)
    ]
    return np.asarray(np.abs(errors[0] - errors[1]))


def _ideal(metric: Metric) -> tuple[float | None, str]:
    """What is best, and how the metric is compared in words."""
    if metric.ideal is None:
        return None, "value"
    return metric.ideal, f"distance from {metric.ideal:g}"


class _About(NamedTuple):
    """What a row is of, as in :class:`PairedRow`."""

    scale: str
    parcellation: str
    region: str
    metric: str
    compared: str
    unit: str


def _row(
    names: tuple[str, str], about: _About, values: Sequence[np.ndarray], higher: bool, seed: int
) -> PairedRow:
    both = np.isfinite(values[0]) & np.isfinite(values[1])
    first, second = (v[both] for v in values)
    outcome = paired_difference(first, second, seed=seed)
    gain = (first - second) * (1 if higher else -1)
    return PairedRow(
        first=names[0],
        second=names[1],
        **about._asdict(),
        n_people=len(first),
        first_mean=float(first.mean()) if len(first) else None,
        second_mean=float(second.mean()) if len(second) else None,
        better="" if not outcome.difference else names[0] if (outcome.difference > 0) == higher else names[1],
        n_first_better=int(np.count_nonzero(gain > 0)),
        paired=outcome,
    )
