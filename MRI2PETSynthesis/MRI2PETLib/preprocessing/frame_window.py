"""The minutes of a PET that are averaged: stated, or those of the tracer's published protocol."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.preprocessing.tracers import find_tracer, stated_tracer

# Where neither the user nor the tracer says it: that of the shipped TSPO model.
DEFAULT_WINDOW_MIN = (60.0, 90.0)
_MOST_NAMED = 5
_SAME_WINDOW_MIN = 5.0  # scans of one protocol start and end this close to each other


@dataclass(frozen=True)
class FrameWindow:
    """Start and end in minutes after the injection.

    :ivar tracer: whose published protocol it is; empty for another reason.
    :ivar why: where it comes from, for sidecars: ``stated``, a publication, or that the tracer is not known.
    """

    start_min: float
    end_min: float
    tracer: str = ""
    why: str = "stated"

    @property
    def is_stated(self) -> bool:
        return self.why == "stated"

    def __str__(self) -> str:
        return f"{self.start_min:g} to {self.end_min:g} min"


def frame_window(window_min: tuple[float, float] | None, tracer: str = "") -> FrameWindow:
    """The stated window, else that of the tracer (``[11C]PBR28``, ``Florbetapir F^18^``), else 60 to 90 min.

    :raises InputError: for a window that ends before it starts.
    """
    if window_min is not None:
        start, end = (float(t) for t in window_min)
        if not (math.isfinite(start) and math.isfinite(end) and 0 <= start < end):
            raise InputError(
                f"The window from {start:g} to {end:g} min has no length.",
                "Give its start and its end in minutes after the injection, for example --window 60 90.",
            )
        return FrameWindow(start, end)
    listed = find_tracer(tracer)
    if listed is not None and listed.window_min is not None:
        return FrameWindow(*listed.window_min, listed.name, listed.source)
    if listed is not None:
        why = f"no published window of {listed.name} is listed, so that of the TSPO protocol"
    else:
        name = stated_tracer(tracer)
        who = f"the tracer '{name}'" if name else "the tracer"
        why = f"{who} is not known, so that of the TSPO protocol"
    return FrameWindow(*DEFAULT_WINDOW_MIN, why=why)


def are_one_window(windows: Sequence[tuple[float, float]]) -> bool:
    """Whether scans of these minutes can be of one protocol."""
    return all(max(ends) - min(ends) <= _SAME_WINDOW_MIN for ends in zip(*windows))


def windows_text(windows: Iterable[tuple[float, float]]) -> str:
    """Windows in words, with their counts where there are several: ``12 of 60 to 90 min, 3 of 40 to 60 min``.

    >>> windows_text([(60, 90)]), windows_text([(60, 90), (60, 90), (40, 60)])
    ('60 to 90 min', '2 of 60 to 90 min, 1 of 40 to 60 min')
    """
    counts = Counter(f"{start:.0f} to {end:.0f} min" for start, end in windows)
    if len(counts) == 1:
        return next(iter(counts))
    return ", ".join(f"{n} of {window}" for window, n in counts.most_common(_MOST_NAMED))


def window_text(window_min: tuple[float, float] | None) -> str:
    """What :func:`parse_window` reads: ``60-90``, empty for ``None``."""
    return "" if window_min is None else "{:g}-{:g}".format(*window_min)


def parse_window(text: str) -> tuple[float, float] | None:
    """A window in one text, as a table holds it: ``60-90``, ``60 90``; ``None`` for an empty one.

    :raises InputError: for anything else, and for a window that ends before it starts.
    """
    if not text.strip():
        return None
    match = re.fullmatch(r"([\d.]+)\s*(?:-|–|to|[\s,;/])\s*([\d.]+)(?:\s*min)?", text.strip())
    try:
        assert match is not None
        window = frame_window((float(match[1]), float(match[2])))
        return window.start_min, window.end_min
    except (AssertionError, ValueError):
        raise InputError(
            f"'{text}' is not a window of frames.",
            "Write its minutes after the injection, for example 60-90.",
        ) from None
