"""Statistics of a cohort: people, not scans, are the unit; repeated scans of a person are averaged first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from MRI2PETLib.evaluation.case import SCALE_FREE, SCALE_FREE_UNIT
from MRI2PETLib.evaluation.cohort import Cohort, Scan, region_numbers
from MRI2PETLib.evaluation.metrics import AS_IS, METRICS, SMOOTHED, brain_metrics
from MRI2PETLib.evaluation.statistics import (
    ALPHA,
    RegressionLine,
    bland_altman,
    false_discovery_rate,
    mann_whitney,
    mean_sd,
    median_split,
    regression,
)

EVERYONE = "all"
# Real values that vary by less than this share of their mean are equal by their scaling, such as the whole
# brain in SUVR to the whole brain: correlations of what is left are noise.
_EQUAL_BY_SCALING = 1e-3
_PAPER_PARCELLATIONS = ("harvard-oxford", "paper21")


class GlobalRow(NamedTuple):
    """A global metric of one predictor: mean and SD over people, and over the means of the folds."""

    scale: str
    predictor: str
    metric: str
    unit: str
    mean: float | None
    sd: float | None
    n_people: int
    fold_mean: float | None
    fold_sd: float | None
    n_folds: int


class RegionStatistics(NamedTuple):
    """One region, one predictor, one stratum of people. Real = smoothed real PET, as in the published
    analysis.

    ``bias`` to ``proportional_p``: Bland-Altman. ``r``: over people, predicted against real. ``low_high_p``:
    Mann-Whitney of the predicted values between the halves below and above the median of the real ones.
    ``*_fdr``: Benjamini-Hochberg over the regions of one parcellation.
    """

    stratum: str
    predictor: str
    parcellation: str
    region: str
    unit: str
    n_people: int
    real_mean: float | None
    real_sd: float | None
    predicted_mean: float | None
    predicted_sd: float | None
    percent_difference: float | None
    bias: float | None
    lower_limit: float | None
    upper_limit: float | None
    proportional_slope: float | None = None
    proportional_p: float | None = None
    r: float | None = None
    r_p: float | None = None
    r_fdr: float | None = None
    slope: float | None = None
    sd_ratio: float | None = None
    low_high_p: float | None = None
    low_high_fdr: float | None = None
    predicted_t1_r: float | None = None
    predicted_t1_p: float | None = None
    real_t1_r: float | None = None
    real_t1_p: float | None = None
    reason: str = ""


class GroupRow(NamedTuple):
    """Two groups compared on the real and on the network's PET (Mann-Whitney, FDR over the regions).

    ``synthetic_only``: the synthetic PET differs between the groups (FDR < .05) and the real PET does not.
    """

    stratum: str
    first: str
    second: str
    parcellation: str
    region: str
    n_first: int
    n_second: int
    real_p: float | None
    real_fdr: float | None
    synthetic_p: float | None
    synthetic_fdr: float | None
    synthetic_only: bool
    reason: str


class PaperRow(NamedTuple):
    """A line of the published Table 4: mean and population SD over (region, fold) rows."""

    metric: str
    mean: float | None
    sd: float | None
    n_rows: int
    n_missing: int


def scans_by_person(scans: Sequence[Scan]) -> dict[str, list[int]]:
    """Person -> indices of the scans."""
    by_person: dict[str, list[int]] = {}
    for index, scan in enumerate(scans):
        by_person.setdefault(scan.case.subject, []).append(index)
    return by_person


def _average(values: Iterable[float | None]) -> float | None:
    return mean_sd(list(values)).mean


def global_table(cohort: Cohort) -> list[GlobalRow]:
    """Every global metric of every predictor on both scales."""
    persons = scans_by_person(cohort.scans)
    folds: dict[str, dict[str, None]] = {}  # people in the order of the table: sums are the same in every run
    for scan in cohort.scans:
        if scan.case.fold:
            folds.setdefault(scan.case.fold, {})[scan.case.subject] = None
    rows = []
    for scale, predictor in cohort.scans[0].metrics:
        images = SCALE_FREE_UNIT if scale == SCALE_FREE else cohort.unit
        for name, metric in brain_metrics().items():
            by_person = {
                person: _average(cohort.scans[i].metrics[scale, predictor][name] for i in index)
                for person, index in persons.items()
            }
            overall = mean_sd(list(by_person.values()))
            if overall.n == 0:
                continue
            fold = mean_sd([_average(by_person[p] for p in members) for members in folds.values()])
            rows.append(GlobalRow(scale, predictor, name, metric.unit_of(images), *overall, *fold))
    return rows


def strata(cohort: Cohort) -> Iterator[tuple[str, list[Scan]]]:
    """Everyone, then each value of the columns group and genotype that the table has."""
    yield EVERYONE, cohort.scans
    for column in ("group", "genotype"):
        values = sorted({getattr(scan.case, column) for scan in cohort.scans} - {""})
        for value in values if len(values) > 1 else ():
            yield f"{column} {value}", [s for s in cohort.scans if getattr(s.case, column) == value]


def person_numbers(scans: Sequence[Scan]) -> np.ndarray:
    """Averages over the scans of each person: [person, predictor, region, number]; NaN = none."""
    stacked = []
    for index in scans_by_person(scans).values():
        block = np.stack([scans[i].regions for i in index])
        count = np.isfinite(block).sum(axis=0)
        total = np.nansum(block, axis=0)
        stacked.append(np.where(count > 0, total / np.maximum(count, 1), np.nan))
    return np.stack(stacked)


def region_table(cohort: Cohort) -> list[RegionStatistics]:
    """Agreement of each region over people, for each predictor and stratum."""
    rows: list[RegionStatistics] = []
    for stratum, scans in strata(cohort):
        numbers = person_numbers(scans)
        for p, predictor in enumerate(cohort.predictors):
            if not np.isfinite(numbers[:, p, :, region_numbers().index("mean_predicted")]).any():
                continue  # not available for this cohort
            block = [
                _region(cohort, numbers[:, p, r], stratum, predictor, key)
                for r, key in enumerate(cohort.regions)
            ]
            rows += _with_fdr(block, ("r_p", "r_fdr"), ("low_high_p", "low_high_fdr"))
    return rows


def _region(
    cohort: Cohort, numbers: np.ndarray, stratum: str, predictor: str, key: tuple[str, str]
) -> RegionStatistics:
    column = dict(zip(region_numbers(), numbers.T))
    real, predicted = column["mean_real_smoothed"], column["mean_predicted"]
    usable = np.isfinite(real) & np.isfinite(predicted)
    real, predicted, t1 = real[usable], predicted[usable], column["mean_t1"][usable]
    agreement = bland_altman(predicted, real)
    real_stats, predicted_stats = mean_sd(real), mean_sd(predicted)
    difference = None
    if real_stats.mean and predicted_stats.mean is not None and real_stats.mean > 0:
        difference = 100 * (predicted_stats.mean - real_stats.mean) / real_stats.mean
    row = RegionStatistics(
        *(stratum, predictor, *key, cohort.unit, len(real)),
        *(real_stats.mean, real_stats.sd, predicted_stats.mean, predicted_stats.sd, difference),
        *(agreement.bias, agreement.lower, agreement.upper),
        reason=agreement.reason,
    )
    if len(real) and np.ptp(real) <= _EQUAL_BY_SCALING * abs(real.mean()):
        return row._replace(
            reason=f"the real values of the {len(real)} people are equal, by their scaling or by chance"
        )
    split, line = median_split(predicted, real), regression(real, predicted)
    nothing = RegressionLine(None, None, None)
    has_t1 = bool(np.isfinite(t1).all())
    predicted_t1, real_t1 = (regression(t1, y) if has_t1 else nothing for y in (predicted, real))
    return row._replace(
        proportional_slope=agreement.proportional_slope,
        proportional_p=agreement.proportional_p,
        r=line.r,
        r_p=line.p,
        slope=line.slope,
        sd_ratio=float(predicted.std() / real.std()) if len(real) > 1 else None,
        low_high_p=split.p,
        predicted_t1_r=predicted_t1.r,
        predicted_t1_p=predicted_t1.p,
        real_t1_r=real_t1.r,
        real_t1_p=real_t1.p,
        reason="; ".join(dict.fromkeys(filter(None, (agreement.reason, line.reason, split.reason)))),
    )


def _with_fdr(rows: list, *columns: tuple[str, str]) -> list:
    """Fill the FDR columns, parcellation by parcellation."""
    done = list(rows)
    for parcellation in dict.fromkeys(row.parcellation for row in rows):
        index = [i for i, row in enumerate(rows) if row.parcellation == parcellation]
        for source, target in columns:
            adjusted = false_discovery_rate([getattr(rows[i], source) for i in index])
            for i, value in zip(index, adjusted):
                done[i] = done[i]._replace(**{target: value})
    return done


def group_table(cohort: Cohort) -> list[GroupRow]:
    """Every pair of groups (and of genotypes), region by region, on the real and on the network's PET."""
    rows: list[GroupRow] = []
    for column in ("group", "genotype"):
        of_person: dict[str, str] = {}
        for scan in cohort.scans:
            of_person.setdefault(scan.case.subject, getattr(scan.case, column))
        labels = np.array(list(of_person.values()))
        numbers = person_numbers(cohort.scans)[:, 0]
        for first, second in combinations(sorted(set(labels) - {""}), 2):
            members = (labels == first, labels == second)
            block = [
                _group_region(column, (first, second), members, numbers[:, r], key)
                for r, key in enumerate(cohort.regions)
            ]
            block = _with_fdr(block, ("real_p", "real_fdr"), ("synthetic_p", "synthetic_fdr"))
            rows += [row._replace(synthetic_only=_only_synthetic(row)) for row in block]
    return rows


def _group_region(
    column: str,
    names: tuple[str, str],
    members: tuple[np.ndarray, np.ndarray],
    numbers: np.ndarray,
    key: tuple[str, str],
) -> GroupRow:
    p_values, reasons, counts = [], [], (0, 0)
    for name in ("mean_real_smoothed", "mean_predicted"):
        values = numbers[:, region_numbers().index(name)]
        a, b = (values[chosen & np.isfinite(values)] for chosen in members)
        p, reason = mann_whitney(a, b)
        p_values.append(p)
        reasons.append(reason)
        counts = (len(a), len(b))
    return GroupRow(
        *(column, *names, *key, *counts, p_values[0], None, p_values[1], None, False),
        reason="; ".join(dict.fromkeys(filter(None, reasons))),
    )


def _only_synthetic(row: GroupRow) -> bool:
    if row.synthetic_fdr is None or row.real_fdr is None:
        return False
    return row.synthetic_fdr < ALPHA <= row.real_fdr


def paper_table4(cohort: Cohort) -> list[PaperRow]:
    """The aggregation behind Table 4 of Ferrante et al. 2025, for comparison with it and for nothing else.

    Each row = one region in one fold: mean over scans of the *median* over voxels (MSE, NormDiff) or of a
    ratio of region means (CNR, PercDiff as a fraction). Mean and SD run over these rows, so the SD is between
    regions, not people. NormDiff and PercDiff have the sign of the published code (real - synthetic); its
    "CNR smoothed", which repeats CNR by mistake, is computed here. Regions without a value are counted, not
    imputed.
    """
    names = {parcellation for parcellation, _ in cohort.regions}
    chosen = next((name for name in _PAPER_PARCELLATIONS if name in names), None)
    if chosen is None:
        return []
    folds: dict[str, list[np.ndarray]] = {}
    for scan in cohort.scans:
        folds.setdefault(scan.case.fold, []).append(scan.regions[0])
    index = [i for i, key in enumerate(cohort.regions) if key[0] == chosen]
    rows = []
    for metric in (metric for metric in METRICS.values() if metric.paper):
        title, divisor = metric.paper or ("", 1.0)
        for prefix in (AS_IS, SMOOTHED):
            column = region_numbers().index(prefix + metric.name)
            values: list[float | None] = []
            for scans in folds.values():
                block = np.stack(scans)[:, index, column]
                values += [_average(v for v in region if np.isfinite(v)) for region in block.T]
            present = np.array([v for v in values if v is not None]) / divisor
            mean, sd = (float(present.mean()), float(present.std())) if present.size else (None, None)
            about = f"{title} smoothed" if prefix else title
            rows.append(PaperRow(about, mean, sd, present.size, len(values) - present.size))
    return rows
