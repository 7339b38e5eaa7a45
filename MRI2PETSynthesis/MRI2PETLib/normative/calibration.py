"""Can the z be believed, and what does the T1 add: controls scored by the other controls."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from MRI2PETLib.evaluation.statistics import TAILS

LIMITS = (1.96, 3.0)  # |z| beyond which controls are counted
FAMILY_LEVEL = 0.05  # the largest p by the controls' own maxima that is beyond their threshold
_SAMPLES = 2000
_LEAST_VARIANCE = 1e-12  # of the squared level: rounding


class CalibrationRow(NamedTuple):
    """Scores of controls by the others, one unit or all of them together.

    ``beyond_196`` and ``beyond_3``: shares (0..1), nominally .05 and .0027; the interval of the first is
    exact (Clopper-Pearson), ``None`` for scores that depend on each other.
    """

    unit: str
    n: int
    mean: float
    sd: float | None
    beyond_196: float
    low: float | None
    high: float | None
    beyond_3: float


def calibration_row(name: str, z: np.ndarray, *, independent: bool = True) -> CalibrationRow | None:
    """Summary of scores (any shape, NaN: none); ``None`` if there is no score."""
    from scipy.stats import binomtest

    scores = z[np.isfinite(z)]
    if not scores.size:
        return None
    counts = [int(np.count_nonzero(np.abs(scores) > limit)) for limit in LIMITS]
    low = high = None
    if independent:
        interval = binomtest(counts[0], scores.size).proportion_ci(method="exact")
        low, high = float(interval.low), float(interval.high)
    return CalibrationRow(
        unit=name,
        n=int(scores.size),
        mean=float(scores.mean()),
        sd=float(scores.std(ddof=1)) if scores.size > 1 else None,
        beyond_196=counts[0] / scores.size,
        low=low,
        high=high,
        beyond_3=counts[1] / scores.size,
    )


def family_p(maxima: Sequence[float], value: float) -> float:
    """Chance that the largest score of a control is at least ``value``: (1 + those that are) / (n + 1).

    >>> family_p([2.0, 3.0, 4.0], 3.5)
    0.5

    :param maxima: the largest score of each control, by the others. With n of them no p is below 1 / (n + 1).
    """
    return (1 + sum(m >= value for m in maxima)) / (len(maxima) + 1)


def family_threshold(maxima: Sequence[float]) -> float | None:
    """The score that a share of :data:`FAMILY_LEVEL` of new controls exceeds; ``None`` for too few controls.

    >>> family_threshold([float(n) for n in range(19)]), family_threshold([1.0] * 18)
    (18.0, None)
    """
    rank = math.ceil((1 - FAMILY_LEVEL) * (len(maxima) + 1) - 1e-9)
    return sorted(maxima)[rank - 1] if 0 < rank <= len(maxima) else None


class ExplainedShare(NamedTuple):
    """Share of the variance over controls that the prediction explains, with its interval of 95 %.

    1 - variance of (real - predicted) / variance of the real PET. Negative: the prediction makes it worse.
    """

    share: float | None
    low: float | None
    high: float | None
    reason: str = ""


def explained_variance(
    real: np.ndarray, residual: np.ndarray, design: np.ndarray, *, seed: int = 0, samples: int = _SAMPLES
) -> ExplainedShare:
    """Sum over units of the variances of ``residual`` against that of ``real``, over people.

    What the covariates explain is taken out of both first. The interval: people are drawn anew, ``samples``
    times, and the percentiles 2.5 and 97.5 taken.

    :param real: [person, unit], as ``residual``; units with a NaN are left out.
    """
    usable = np.isfinite(real).all(axis=0) & np.isfinite(residual).all(axis=0)
    if not usable.any():
        return ExplainedShare(None, None, None, "not measured in everybody")
    level = float(np.abs(real[:, usable]).mean())
    keep = np.eye(len(design)) - design @ np.linalg.pinv(design)
    errors = [keep @ values[:, usable].astype(np.float64) for values in (real, residual)]
    if not float(errors[0].var(axis=0).sum()) > _LEAST_VARIANCE * level**2 * usable.sum():
        return ExplainedShare(None, None, None, "scaling makes the real values equal")
    n = len(design)
    counts = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=samples) / n
    share, draws = (_one_minus_ratio(weights, errors) for weights in (np.full((1, n), 1 / n), counts))
    low, high = np.percentile(draws[np.isfinite(draws)], TAILS)
    return ExplainedShare(float(share[0]), float(low), float(high))


def _one_minus_ratio(weights: np.ndarray, errors: Sequence[np.ndarray]) -> np.ndarray:
    """1 - weighted variance of the second / of the first, for each line of ``weights``."""
    real, residual = (
        weights @ (values**2).sum(axis=1) - ((weights @ values) ** 2).sum(axis=1) for values in errors
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(real > 0, 1 - residual / np.where(real > 0, real, 1), np.nan)
