"""Left against right: does the synthetic PET have the asymmetry of the real one?

Index of a pair of regions: ``100 (left - right) / ((left + right) / 2)`` in %, positive where the left is
higher. The real PET is the smoothed one, as in the other statistics of regions.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from MRI2PETLib.evaluation.agreement import bland_altman, intraclass_correlation
from MRI2PETLib.evaluation.cohort import Cohort, region_numbers
from MRI2PETLib.evaluation.cohort_tables import person_numbers, with_fdr
from MRI2PETLib.evaluation.region_table import RegionRow
from MRI2PETLib.evaluation.statistics import mean_sd, regression
from MRI2PETLib.templates.regions import side_of

_SIDE = re.compile(r"\b(?:left|right|lh|rh|l|r)\b", re.IGNORECASE)


class SidePair(NamedTuple):
    """Two regions that mirror each other; ``region`` is their name without a side."""

    parcellation: str
    region: str
    left: str
    right: str


class AsymmetryRow(NamedTuple):
    """A pair of regions of one scan and predictor; indices in % (left minus right over their mean)."""

    parcellation: str
    region: str
    predictor: str
    real_percent: float | None
    synthetic_percent: float | None
    difference_percent: float | None


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
    """The index in %, NaN where the two sides together are not above zero."""
    half = (np.asarray(left, dtype=np.float64) + right) / 2
    return np.where(half > 0, 100 * (left - right) / np.where(half > 0, half, 1), np.nan)


def side_pairs(regions: Sequence[tuple[str, str]]) -> list[SidePair]:
    """The pairs among (parcellation, region) whose names differ in the side only."""
    sides: dict[tuple[str, str], dict[str, str]] = {}
    for parcellation, name in regions:
        side = side_of(name)
        if side is not None:
            words = " ".join(_SIDE.sub(" ", re.sub(r"[_\W]+", " ", name)).split())
            sides.setdefault((parcellation, words), {})[side] = name
    return [
        SidePair(parcellation, words, by_side["left"], by_side["right"])
        for (parcellation, words), by_side in sides.items()
        if len(by_side) == 2
    ]


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
            difference = None if real is None or own is None else own - real
            if own is not None:
                table.append(AsymmetryRow(*pair[:2], predictor, real, own, difference))
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
            real, own = (indices[:, names.index(n)] for n in ("mean_real_smoothed", "mean_predicted"))
            usable = np.isfinite(real) & np.isfinite(own)
            if usable.any():
                block.append(_statistics(predictor, pair, own[usable], real[usable]))
        rows += with_fdr(block, ("r_p", "r_fdr"))
    return rows


def _statistics(predictor: str, pair: SidePair, own: np.ndarray, real: np.ndarray) -> AsymmetryStatistics:
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
        reason="; ".join(dict.fromkeys(filter(None, (agreement.reason, line.reason, icc.reason)))),
    )
