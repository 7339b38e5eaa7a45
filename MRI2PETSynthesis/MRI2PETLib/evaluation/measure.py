"""A number that may be missing, and then says why. There is no NaN in any table of this package."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np


class Measure(NamedTuple):
    """``value`` is finite or ``None``; with ``None``, ``reason`` is a short sentence that can be printed."""

    value: float | None
    reason: str = ""


def measured(value: float, reason_if_not_finite: str) -> Measure:
    """``value`` as a :class:`Measure`; a NaN or an infinity becomes ``None`` with the reason given."""
    value = float(value)
    return Measure(value) if math.isfinite(value) else Measure(None, reason_if_not_finite)


def correlation(x: np.ndarray, y: np.ndarray) -> Measure:
    """Pearson correlation of two vectors; ``None`` for n < 3 or a constant one.

    >>> round(correlation(np.array([1, 2, 3]), np.array([2, 4, 6])).value, 6)
    1.0
    >>> correlation(np.array([1, 2]), np.array([2, 4])).reason
    'it needs 3 values, there are 2'
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if x.size < 3:
        return Measure(None, f"it needs 3 values, there are {x.size}")
    dx, dy = x - x.mean(), y - y.mean()
    if is_constant(x) or is_constant(y):
        return Measure(None, "one of the two is constant")
    r = float(dx @ dy / (np.linalg.norm(dx) * np.linalg.norm(dy)))
    return measured(min(1.0, max(-1.0, r)), "not finite")


def is_constant(values: np.ndarray) -> bool:
    """True when the spread is no more than the rounding of float32 input."""
    return float(np.ptp(values)) <= 1e-7 * float(np.max(np.abs(values)))


def regression_slope(x: np.ndarray, y: np.ndarray) -> Measure:
    """Least-squares slope of ``y`` on ``x``; ``None`` for n < 3 or a constant ``x``."""
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if x.size < 3:
        return Measure(None, f"it needs 3 values, there are {x.size}")
    if is_constant(x):
        return Measure(None, "the real values are constant")
    dx = x - x.mean()
    return measured(dx @ (y - y.mean()) / (dx @ dx), "not finite")
