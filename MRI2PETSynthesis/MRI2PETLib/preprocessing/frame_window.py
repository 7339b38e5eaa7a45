"""The minutes of a PET that are averaged: stated, or those of the tracer's published protocol."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import cache

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.resources import resources_dir
from MRI2PETLib.core.tables import read_table

# Where neither the user nor the tracer says it: that of the shipped TSPO model.
DEFAULT_WINDOW_MIN = (60.0, 90.0)


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
    unknown = "the tracer is not known, so that of the TSPO protocol"
    return _published(tracer) or FrameWindow(*DEFAULT_WINDOW_MIN, why=unknown)


def parse_window(text: str) -> tuple[float, float] | None:
    """A window in one text, as a table holds it: ``60-90``, ``60 90``; ``None`` for an empty one.

    :raises InputError: for anything else.
    """
    if not text.strip():
        return None
    match = re.fullmatch(r"([\d.]+)\s*(?:-|–|to|[\s,;/])\s*([\d.]+)(?:\s*min)?", text.strip())
    try:
        assert match is not None
        return float(match[1]), float(match[2])
    except (AssertionError, ValueError):
        raise InputError(
            f"'{text}' is not a window of frames.",
            "Write its minutes after the injection, for example 60-90.",
        ) from None


def tracer_of_protocol(text: str) -> str:
    """The tracer of a published protocol that a text names, by whichever of its names, else empty."""
    published = _published(text)
    return published.tracer if published else ""


def _published(tracer: str) -> FrameWindow | None:
    plain = _plain(tracer)
    matches = [(name, window) for name, window in _windows() if name in plain]
    return max(matches, key=lambda pair: len(pair[0]))[1] if matches else None


@cache
def _windows() -> tuple[tuple[str, FrameWindow], ...]:
    """Names and other names of the tracers, plain, with their windows."""
    rows = read_table(resources_dir() / "PET" / "tracer_windows.csv").rows
    return tuple(
        (
            _plain(name),
            FrameWindow(float(row["start_min"]), float(row["end_min"]), row["tracer"], row["source"]),
        )
        for row in rows
        for name in (row["tracer"], *row["aliases"].split("|"))
        if name.strip()
    )


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
