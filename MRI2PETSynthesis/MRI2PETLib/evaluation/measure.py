"""A number that may be missing, and then says why. There is no NaN in any table of this package."""

from __future__ import annotations

import math
from typing import NamedTuple


class Measure(NamedTuple):
    """``value`` is finite or ``None``; with ``None``, ``reason`` is a short sentence that can be printed."""

    value: float | None
    reason: str = ""


def measured(value: float, reason_if_not_finite: str) -> Measure:
    """``value`` as a :class:`Measure`; a NaN or an infinity becomes ``None`` with the reason given."""
    value = float(value)
    return Measure(value) if math.isfinite(value) else Measure(None, reason_if_not_finite)
