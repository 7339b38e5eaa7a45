"""Statistics over people: agreement, splits, group differences. Vectors in, named tuples out, no NaN.

``None`` stands for what is not defined, with a ``reason``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from MRI2PETLib.evaluation.measure import correlation, is_constant, regression_slope

MIN_GROUP = 3
ALPHA = 0.05


class MeanSD(NamedTuple):
    """``sd`` with n - 1; ``None`` for fewer than two values."""

    mean: float | None
    sd: float | None
    n: int


class BlandAltman(NamedTuple):
    """Agreement of two measurements. ``difference = synthetic - real`` and ``average = (synthetic + real) /
    2``.

    ``bias`` = mean difference, limits = bias +- 1.96 SD (n - 1). ``proportional_slope``: least-squares slope
    of the difference on the average; away from 0 the bias depends on the level (negative: regression to the
    mean). Source: Bland & Altman 1986, Lancet 327:307; 1999, Stat Methods Med Res 8:135.
    """

    bias: float | None
    sd: float | None
    lower: float | None
    upper: float | None
    proportional_slope: float | None
    proportional_p: float | None
    n: int
    reason: str = ""


class Split(NamedTuple):
    """Two-sided Mann-Whitney U of the synthetic PET between people with low (<= median) and high real PET."""

    median_low: float | None
    median_high: float | None
    p: float | None
    n_low: int
    n_high: int
    reason: str = ""


def mean_sd(values: Sequence[float | None] | np.ndarray) -> MeanSD:
    """Mean and SD of the values that are not ``None``."""
    present = np.array([v for v in values if v is not None], dtype=np.float64)
    if not present.size:
        return MeanSD(None, None, 0)
    sd = float(present.std(ddof=1)) if present.size > 1 else None
    return MeanSD(float(present.mean()), sd, int(present.size))


def bland_altman(synthetic: np.ndarray, real: np.ndarray) -> BlandAltman:
    """Bland-Altman agreement; needs three people."""
    n = len(real)
    if n < MIN_GROUP:
        return BlandAltman(None, None, None, None, None, None, n, f"needs {MIN_GROUP} people, there are {n}")
    difference, average = synthetic - real, (synthetic + real) / 2
    bias, sd = float(difference.mean()), float(difference.std(ddof=1))
    slope = regression_slope(average, difference).value
    p = correlation_p(average, difference)
    return BlandAltman(bias, sd, bias - 1.96 * sd, bias + 1.96 * sd, slope, p, n)


def correlation_p(x: np.ndarray, y: np.ndarray) -> float | None:
    """Two-sided p of the Pearson correlation (t distribution, n - 2), ``None`` where r is not defined."""
    from scipy import special

    r = correlation(x, y).value
    if r is None:
        return None
    degrees = len(x) - 2
    # The regularised incomplete beta function of 1 - r^2 is the tail of the t distribution, also at r = +-1.
    return float(special.betainc(degrees / 2, 0.5, max(0.0, 1 - r * r)))


def median_split(synthetic: np.ndarray, real: np.ndarray) -> Split:
    """Split people at the median of the real PET: do the halves differ on the synthetic one? (Table 3)"""
    low = real <= np.median(real) if len(real) else np.zeros(0, dtype=bool)
    a, b = synthetic[low], synthetic[~low]
    if min(len(a), len(b)) < MIN_GROUP:
        reason = f"each half needs {MIN_GROUP} people, there are {len(a)} and {len(b)}"
        return Split(None, None, None, len(a), len(b), reason)
    p, reason = mann_whitney(a, b)
    return Split(float(np.median(a)), float(np.median(b)), p, len(a), len(b), reason)


def mann_whitney(a: np.ndarray, b: np.ndarray) -> tuple[float | None, str]:
    """Two-sided p of the Mann-Whitney U test, or ``None`` and the reason."""
    from scipy import stats

    if min(len(a), len(b)) < MIN_GROUP:
        return None, f"each group needs {MIN_GROUP} people, there are {len(a)} and {len(b)}"
    if is_constant(np.concatenate([a, b])):
        return None, "all values are equal"
    return float(stats.mannwhitneyu(a, b, alternative="two-sided", method="auto").pvalue), ""


def false_discovery_rate(p_values: Sequence[float | None]) -> list[float | None]:
    """Benjamini-Hochberg adjusted p values in the order given; ``None`` stays ``None`` and is not counted."""
    index = [i for i, p in enumerate(p_values) if p is not None]
    adjusted: list[float | None] = [None] * len(p_values)
    if index:
        p = np.array([p_values[i] for i in index], dtype=np.float64)
        order = np.argsort(p)
        stepped = p[order] * len(p) / np.arange(1, len(p) + 1)
        stepped = np.minimum(1.0, np.minimum.accumulate(stepped[::-1])[::-1])
        for rank, value in zip(order, stepped):
            adjusted[index[rank]] = float(value)
    return adjusted


def area_under_curve(own: np.ndarray, other: np.ndarray) -> float | None:
    """Probability that an own distance is smaller than an other's, ties counted half; 0.5 is chance."""
    if not len(own) or not len(other):
        return None
    ordered = np.sort(other)
    above = len(other) - np.searchsorted(ordered, own, side="right")
    ties = np.searchsorted(ordered, own, side="right") - np.searchsorted(ordered, own, side="left")
    return float((above + 0.5 * ties).sum() / (len(own) * len(other)))
