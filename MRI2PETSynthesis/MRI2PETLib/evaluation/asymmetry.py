"""Left against right: does the synthetic PET have the asymmetry of the real one?

Index of a pair of regions: ``100 (left - right) / ((left + right) / 2)`` in %, positive where the left is
higher. It needs two sides above zero: where one is not, the two may cancel out, and their ratio is of any
size; such a pair is left out with the reason. The real PET is the smoothed one, as in the other statistics of
regions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from MRI2PETLib.evaluation.agreement import bland_altman, intraclass_correlation
from MRI2PETLib.evaluation.cohort import Cohort, region_numbers
from MRI2PETLib.evaluation.cohort_tables import person_numbers, with_fdr
from MRI2PETLib.evaluation.region_table import RegionRow
from MRI2PETLib.evaluation.statistics import mean_sd, regression
from MRI2PETLib.templates.sides import side_of, without_side

_NOT_POSITIVE = "a side is not above zero"
_MEANS = ("mean_real_smoothed", "mean_predicted")


class SidePair(NamedTuple):
    """Two regions that mirror each other; ``region`` is their name without a side."""

    parcellation: str
    region: str
    left: str
    right: str


class AsymmetryRow(NamedTuple):
    """A pair of regions of one scan and predictor; indices in % (left minus right over their mean).

    ``reason``: why one of them is missing.
    """

    parcellation: str
    region: str
    predictor: str
    real_percent: float | None
    synthetic_percent: float | None
    difference_percent: float | None
    reason: str = ""


class AsymmetryStatistics(NamedTuple):
    """The indices of a pair of regions over people, predicted against real; all in % but ICC and r.

    ``bias``: mean of predicted - real, with its interval of 95 % and limits of agreement.
    """

    predictor: str
    parcellation: str
    region: str
    n_people: int
    real_mean: float | None
    real_sd: float | None
    predicted_mean: float | None
    predicted_sd: float | None
    bias: float | None
    bias_low: float | None
    bias_high: float | None
    lower_limit: float | None
    upper_limit: float | None
    icc: float | None
    icc_low: float | None
    icc_high: float | None
    r: float | None
    r_p: float | None
    r_fdr: float | None
    reason: str


def index_percent(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The index in %, within 200 of zero; NaN where a side is not above zero."""
    positive = (np.asarray(left) > 0) & (np.asarray(right) > 0)
    half = np.where(positive, (np.asarray(left, dtype=np.float64) + right) / 2, 1)
    return np.where(positive, 100 * (left - right) / half, np.nan)


def side_pairs(regions: Sequence[tuple[str, str]]) -> list[SidePair]:
    """The pairs among (parcellation, region) whose names differ in the side only, one name a side."""
    sides: dict[tuple[str, str], dict[str, list[str]]] = {}
    for parcellation, name in regions:
        side = side_of(name)
        if side is not None:
            key = parcellation, without_side(name).casefold()
            sides.setdefault(key, {}).setdefault(side, []).append(name)
    pairs = []
    for (parcellation, _), by_side in sides.items():
        left, right = (by_side.get(side, []) for side in ("left", "right"))
        if len(left) == 1 and len(right) == 1:
            pairs.append(SidePair(parcellation, without_side(left[0]), left[0], right[0]))
    return pairs


def case_asymmetry(rows: Sequence[RegionRow]) -> list[AsymmetryRow]:
    """The indices of one scan.

    :param rows: of the table of regions, one scale, all predictors.
    """
    table = []
    by_key = {(row.predictor, row.parcellation, row.region): row for row in rows}
    pairs = side_pairs(list(dict.fromkeys((row.parcellation, row.region) for row in rows)))
    for predictor in dict.fromkeys(row.predictor for row in rows):
        for pair in pairs:
            left, right = (by_key[predictor, pair.parcellation, name] for name in (pair.left, pair.right))
            real = _index(left.mean_real_smoothed, right.mean_real_smoothed)
            own = _index(left.mean_predicted, right.mean_predicted)
            means = [r.mean_predicted for r in (left, right)] + [r.mean_real_smoothed for r in (left, right)]
            difference = None if real is None or own is None else own - real
            if None not in means:  # else the table of regions says why
                reason = _NOT_POSITIVE if difference is None else ""
                table.append(AsymmetryRow(*pair[:2], predictor, real, own, difference, reason))
    return table


def _index(left: float | None, right: float | None) -> float | None:
    if left is None or right is None:
        return None
    value = float(index_percent(np.array(left), np.array(right)))
    return value if np.isfinite(value) else None


def asymmetry_table(cohort: Cohort) -> list[AsymmetryStatistics]:
    """Agreement of the indices over people, pair by pair, for each predictor."""
    rows: list[AsymmetryStatistics] = []
    numbers, names = person_numbers(cohort.scans), region_numbers()
    pairs = side_pairs(cohort.regions)
    where = {key: n for n, key in enumerate(cohort.regions)}
    for p, predictor in enumerate(cohort.predictors):
        block = []
        for pair in pairs:
            left, right = (numbers[:, p, where[pair.parcellation, name]] for name in (pair.left, pair.right))
            indices = index_percent(left, right)
            real, own = (indices[:, names.index(n)] for n in _MEANS)
            usable = np.isfinite(real) & np.isfinite(own)
            there = np.isfinite([left, right])[:, :, [names.index(n) for n in _MEANS]].all(axis=(0, 2))
            if there.any():
                dropped = int(np.count_nonzero(there & ~usable))
                why = f"{dropped} of {there.sum()} people left out: {_NOT_POSITIVE}" if dropped else ""
                block.append(_statistics(predictor, pair, own[usable], real[usable], why))
        rows += with_fdr(block, ("r_p", "r_fdr"))
    return rows


def _statistics(
    predictor: str, pair: SidePair, own: np.ndarray, real: np.ndarray, why: str
) -> AsymmetryStatistics:
    agreement, line = bland_altman(own, real), regression(real, own)
    icc = intraclass_correlation(np.column_stack([own, real]))
    of_real, of_own = mean_sd(real), mean_sd(own)
    return AsymmetryStatistics(
        predictor=predictor,
        parcellation=pair.parcellation,
        region=pair.region,
        n_people=len(real),
        real_mean=of_real.mean,
        real_sd=of_real.sd,
        predicted_mean=of_own.mean,
        predicted_sd=of_own.sd,
        bias=agreement.bias,
        bias_low=agreement.bias_low,
        bias_high=agreement.bias_high,
        lower_limit=agreement.lower,
        upper_limit=agreement.upper,
        icc=icc.value,
        icc_low=icc.low,
        icc_high=icc.high,
        r=line.r,
        r_p=line.p,
        r_fdr=None,
        reason="; ".join(dict.fromkeys(filter(None, (why, agreement.reason, line.reason, icc.reason)))),
    )
