"""Agreement of two measurements over people: bias, limits, intraclass correlation, equivalence.

Vectors in, named tuples out, no NaN: ``None`` stands for what is not defined, with a ``reason``. Intervals
are of 95 %.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from MRI2PETLib.evaluation.measure import is_constant
from MRI2PETLib.evaluation.statistics import CONFIDENCE, MIN_GROUP, regression

LIMIT_SD = 1.96  # of the limits of agreement
_NO_INTERVAL = "the people differ too little for an interval of the ICC"


class BlandAltman(NamedTuple):
    """Agreement of two measurements. ``difference = synthetic - real`` and ``average = (synthetic + real) /
    2``.

    ``bias`` = mean difference, with its interval t s / sqrt(n) and the p of a paired t test; ``lower`` and
    ``upper`` = bias +- 1.96 SD (n - 1), each with an interval from the standard error s sqrt(1 / n + 1.96^2 /
    (2 (n - 1))), about s sqrt(3 / n). ``proportional_slope``: least-squares slope of the difference on the
    average; away from 0 the bias depends on the level (negative: regression to the mean). Source: Bland &
    Altman 1986, Lancet 327:307; 1999, Stat Methods Med Res 8:135, section 2.
    """

    bias: float | None
    sd: float | None
    lower: float | None
    upper: float | None
    proportional_slope: float | None
    proportional_p: float | None
    n: int
    bias_low: float | None = None
    bias_high: float | None = None
    bias_p: float | None = None
    lower_low: float | None = None
    lower_high: float | None = None
    upper_low: float | None = None
    upper_high: float | None = None
    reason: str = ""


class IntraclassCorrelation(NamedTuple):
    """ICC(2,1), absolute agreement of single measurements, with its interval."""

    value: float | None
    low: float | None
    high: float | None
    reason: str = ""


def bland_altman(synthetic: np.ndarray, real: np.ndarray) -> BlandAltman:
    """Bland-Altman agreement; needs three people."""
    from scipy import stats

    n = len(real)
    if n < MIN_GROUP:
        reason = f"needs {MIN_GROUP} people, there are {n}"
        return BlandAltman(None, None, None, None, None, None, n, reason=reason)
    difference, average = synthetic - real, (synthetic + real) / 2
    bias, sd = float(difference.mean()), float(difference.std(ddof=1))
    line = regression(average, difference)
    t = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1))
    of_bias, of_limit = t * sd / n**0.5, t * sd * (1 / n + LIMIT_SD**2 / (2 * (n - 1))) ** 0.5
    lower, upper = bias - LIMIT_SD * sd, bias + LIMIT_SD * sd
    # Differences that are all equal but for rounding have no test.
    scale = float(np.abs(average).max())
    p = float(2 * stats.t.sf(abs(bias) / (sd / n**0.5), n - 1)) if sd > 1e-9 * scale else None
    return BlandAltman(
        *(bias, sd, lower, upper, line.slope, line.p, n),
        *(bias - of_bias, bias + of_bias, p),
        *(lower - of_limit, lower + of_limit, upper - of_limit, upper + of_limit),
    )


def intraclass_correlation(ratings: np.ndarray) -> IntraclassCorrelation:
    """ICC(2,1) of people (rows) measured in several ways (columns).

    Two-way random effects, absolute agreement, single measurements. 1: the measurements are equal;
    a constant offset lowers it, unlike Pearson's r. Needs three people.
    Source: Shrout & Fleiss 1979, Psychol Bull 86:420, Table 4; interval: McGraw & Wong 1996, Psychol Methods
    1:30, Table 7, ICC(A,1); that has no solution for some values near or below 0.
    """
    from scipy import stats

    n, k = ratings.shape
    if n < MIN_GROUP:
        return IntraclassCorrelation(None, None, None, f"needs {MIN_GROUP} people, there are {n}")
    if is_constant(ratings):
        return IntraclassCorrelation(None, None, None, "all values are equal")
    mean = ratings.mean()
    rows, columns = ratings.mean(axis=1), ratings.mean(axis=0)
    people = float(k * ((rows - mean) ** 2).sum() / (n - 1))
    methods = float(n * ((columns - mean) ** 2).sum() / (k - 1))
    residual = ratings - rows[:, None] - columns[None] + mean
    error = float((residual**2).sum() / ((n - 1) * (k - 1)))
    value = (people - error) / (people + (k - 1) * error + k * (methods - error) / n)
    if 1 - value < 1e-12:
        return IntraclassCorrelation(1.0, 1.0, 1.0)
    a, b = k * value / (n * (1 - value)), 1 + k * value * (n - 1) / (n * (1 - value))
    spread = (a * methods) ** 2 / (k - 1) + (b * error) ** 2 / ((n - 1) * (k - 1))
    if not spread > 0:
        return IntraclassCorrelation(value, None, None, _NO_INTERVAL)
    freedom = (a * methods + b * error) ** 2 / spread
    tail = (1 + CONFIDENCE) / 2
    below, above = (float(stats.f.ppf(tail, *d)) for d in ((n - 1, freedom), (freedom, n - 1)))
    rest = k * methods + (k * n - k - n) * error
    low = n * (people - below * error) / (below * rest + n * people)
    high = n * (above * people - error) / (rest + n * above * people)
    # Its degrees of freedom go to 0 with the spread of the people: not finite then, or beside the value.
    if not (np.isfinite([low, high]).all() and low <= value <= high):
        return IntraclassCorrelation(value, None, None, _NO_INTERVAL)
    return IntraclassCorrelation(value, low, high)


def equivalence(synthetic: np.ndarray, real: np.ndarray, margin: float) -> float | None:
    """p of two one-sided paired t tests: small where the mean difference lies within -margin to margin.

    The larger of both p values. ``None`` for fewer than three people or differences that are all equal.
    Source: Schuirmann 1987, J Pharmacokinet Biopharm 15:657.

    :param margin: the largest mean difference that does not matter, in the unit of both.
    """
    from scipy import stats

    agreement = bland_altman(synthetic, real)
    if agreement.bias_p is None or agreement.bias is None or agreement.sd is None:
        return None
    error, freedom = agreement.sd / agreement.n**0.5, agreement.n - 1
    above = stats.t.sf((agreement.bias + margin) / error, freedom)
    below = stats.t.cdf((agreement.bias - margin) / error, freedom)
    return float(max(above, below))
