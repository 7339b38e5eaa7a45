"""Statistics over people: means, lines, splits, group differences. Vectors in, named tuples out, no NaN.

``None`` stands for what is not defined, with a ``reason``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from MRI2PETLib.evaluation.measure import is_constant

MIN_GROUP = 3
ALPHA = 0.05
CONFIDENCE = 0.95  # of all intervals
TAILS = (round(50 * (1 - CONFIDENCE), 6), round(50 * (1 + CONFIDENCE), 6))  # percentiles at their ends


class MeanSD(NamedTuple):
    """``sd`` with n - 1; ``None`` for fewer than two values."""

    mean: float | None
    sd: float | None
    n: int


class RegressionLine(NamedTuple):
    """A line over people: its ``slope``, Pearson's ``r`` and the two-sided ``p`` of both (t distribution)."""

    slope: float | None
    r: float | None
    p: float | None
    reason: str = ""


def mean_sd(values: Sequence[float | None] | np.ndarray) -> MeanSD:
    """Mean and SD of the values that are not ``None``."""
    present = np.array([v for v in values if v is not None], dtype=np.float64)
    if not present.size:
        return MeanSD(None, None, 0)
    sd = float(present.std(ddof=1)) if present.size > 1 else None
    return MeanSD(float(present.mean()), sd, int(present.size))


def regression(x: np.ndarray, y: np.ndarray) -> RegressionLine:
    """Least-squares line of ``y`` on ``x`` over people; needs three, and neither may be constant."""
    from scipy import stats

    if len(x) < MIN_GROUP:
        return RegressionLine(None, None, None, f"needs {MIN_GROUP} people, there are {len(x)}")
    if is_constant(x) or is_constant(y):
        return RegressionLine(None, None, None, "one of the two is constant")
    line = stats.linregress(x, y)
    return RegressionLine(float(line.slope), float(line.rvalue), float(line.pvalue))


def median_split(synthetic: np.ndarray, real: np.ndarray) -> tuple[float | None, str]:
    """Split people at the median of the real PET: do the halves differ on the synthetic one? (Table 3)

    :return: two-sided p of the Mann-Whitney U test, or ``None`` and the reason.
    """
    low = real <= np.median(real) if len(real) else np.zeros(0, dtype=bool)
    a, b = synthetic[low], synthetic[~low]
    if min(len(a), len(b)) < MIN_GROUP:
        return None, f"each half needs {MIN_GROUP} people, there are {len(a)} and {len(b)}"
    return mann_whitney(a, b)


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
    from scipy import stats

    present = [p for p in p_values if p is not None]
    adjusted = iter(stats.false_discovery_control(present).tolist() if present else ())
    return [None if p is None else next(adjusted) for p in p_values]


def area_under_curve(own: np.ndarray, other: np.ndarray) -> float | None:
    """Probability that an own distance is smaller than an other's, ties counted half; 0.5 is chance."""
    if not len(own) or not len(other):
        return None
    ordered = np.sort(other)
    above = len(other) - np.searchsorted(ordered, own, side="right")
    ties = np.searchsorted(ordered, own, side="right") - np.searchsorted(ordered, own, side="left")
    return float((above + 0.5 * ties).sum() / (len(own) * len(other)))
