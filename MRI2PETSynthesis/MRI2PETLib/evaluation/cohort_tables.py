"""Statistics of a cohort: people, not scans, are the unit; repeated scans of a person are averaged first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from MRI2PETLib.evaluation.agreement import (
    BlandAltman,
    bland_altman,
    equivalence,
    intraclass_correlation,
)
from MRI2PETLib.evaluation.case import SCALE_FREE, SCALE_FREE_UNIT
from MRI2PETLib.evaluation.cohort import Cohort, Scan, region_numbers
from MRI2PETLib.evaluation.metrics import brain_metrics
from MRI2PETLib.evaluation.statistics import (
    RegressionLine,
    false_discovery_rate,
    mean_sd,
    median_split,
    regression,
)

EVERYONE = "all"
# Real values that vary by less than this share of their mean are equal by their scaling, such as the whole
# brain in SUVR to the whole brain: tests and correlations of what is left are noise.
_SAME = 1e-3
EQUAL_BY_SCALING = "the real values of the people are equal, by their scaling or by chance"


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
    analysis. Means, SDs, bias, limits and the margin are in ``unit``.

    ``bias`` to ``proportional_p``: Bland-Altman, ``*_low`` and ``*_high`` the ends of intervals of 95 %;
    ``bias_p``: paired t test within the stratum (Figure 3 of the paper, where the stratum is a group).
    ``icc``: ICC(2,1). ``equivalence_p``: two one-sided tests that the bias is within the stated margin.
    ``r``: over people, predicted against real. ``low_high_p``: Mann-Whitney of the predicted values between
    the halves below and above the median of the real ones. ``*_fdr``: Benjamini-Hochberg over the regions of
    one parcellation. Where the real values are equal by their scaling nothing is tested.
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
    bias_low: float | None = None
    bias_high: float | None = None
    lower_limit_low: float | None = None
    lower_limit_high: float | None = None
    upper_limit_low: float | None = None
    upper_limit_high: float | None = None
    bias_p: float | None = None
    bias_fdr: float | None = None
    icc: float | None = None
    icc_low: float | None = None
    icc_high: float | None = None
    equivalence_margin: float | None = None
    equivalence_p: float | None = None
    equivalence_fdr: float | None = None
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


def scans_by_person(scans: Sequence[Scan]) -> dict[str, list[int]]:
    """Person -> indices of the scans."""
    by_person: dict[str, list[int]] = {}
    for index, scan in enumerate(scans):
        by_person.setdefault(scan.case.subject, []).append(index)
    return by_person


def average(values: Iterable[float | None]) -> float | None:
    """Mean of the values that are not ``None``, if there is one."""
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
                person: average(cohort.scans[i].metrics[scale, predictor][name] for i in index)
                for person, index in persons.items()
            }
            overall = mean_sd(list(by_person.values()))
            if overall.n == 0:
                continue
            fold = mean_sd([average(by_person[p] for p in members) for members in folds.values()])
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
            tests = ("bias", "equivalence", "r", "low_high")
            rows += with_fdr(block, *((f"{test}_p", f"{test}_fdr") for test in tests))
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
        *(agreement.bias_low, agreement.bias_high),
        *(agreement.lower_low, agreement.lower_high, agreement.upper_low, agreement.upper_high),
        reason=agreement.reason,
    )
    if are_equal_by_scaling(real) or are_equal_by_scaling(column["mean_real"]):
        return row._replace(reason=EQUAL_BY_SCALING)
    return row._replace(**_tests(agreement, predicted, real, t1, cohort.settings.equivalence_margin))


def are_equal_by_scaling(real: np.ndarray) -> bool:
    """Whether the people's real values are one number: there is nothing to test then. NaN are left out."""
    present = real[np.isfinite(real)]
    return present.size > 1 and bool(np.ptp(present) <= _SAME * abs(present.mean()))


def _tests(
    agreement: BlandAltman, predicted: np.ndarray, real: np.ndarray, t1: np.ndarray, margin: float | None
) -> dict[str, Any]:
    """The columns that are tests, or coefficients over people."""
    (low_high_p, no_halves), line = median_split(predicted, real), regression(real, predicted)
    icc = intraclass_correlation(np.column_stack([predicted, real]))
    nothing = RegressionLine(None, None, None)
    has_t1 = bool(np.isfinite(t1).all())
    predicted_t1, real_t1 = (regression(t1, y) if has_t1 else nothing for y in (predicted, real))
    reasons = (agreement.reason, line.reason, no_halves, icc.reason)
    return {
        "bias_p": agreement.bias_p,
        "icc": icc.value,
        "icc_low": icc.low,
        "icc_high": icc.high,
        "equivalence_margin": margin,
        "equivalence_p": None if margin is None else equivalence(predicted, real, margin),
        "proportional_slope": agreement.proportional_slope,
        "proportional_p": agreement.proportional_p,
        "r": line.r,
        "r_p": line.p,
        "slope": line.slope,
        "sd_ratio": float(predicted.std() / real.std()) if len(real) > 1 else None,
        "low_high_p": low_high_p,
        "predicted_t1_r": predicted_t1.r,
        "predicted_t1_p": predicted_t1.p,
        "real_t1_r": real_t1.r,
        "real_t1_p": real_t1.p,
        "reason": "; ".join(dict.fromkeys(filter(None, reasons))),
    }


def with_fdr(rows: list, *columns: tuple[str, str]) -> list:
    """Fill the FDR columns, parcellation by parcellation."""
    done = list(rows)
    for parcellation in dict.fromkeys(row.parcellation for row in rows):
        index = [i for i, row in enumerate(rows) if row.parcellation == parcellation]
        for source, target in columns:
            adjusted = false_discovery_rate([getattr(rows[i], source) for i in index])
            for i, value in zip(index, adjusted):
                done[i] = done[i]._replace(**{target: value})
    return done
