"""Frames of a dynamic PET: their times since injection, their average over a window (60-90 min)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.findings import Finding

WINDOW_S = (3600.0, 5400.0)
# A window counts as covered when frames fill at least this share of it.
MIN_COVERAGE = 0.9


@dataclass(frozen=True)
class FrameTimes:
    """Start since injection and duration of each frame, in seconds."""

    start_s: tuple[float, ...]
    duration_s: tuple[float, ...]


def frame_times_from_bids(sidecar: dict[str, Any], n_frames: int) -> FrameTimes:
    """Frame times of a BIDS PET sidecar (FrameTimesStart, FrameDuration; both in s, starts since TimeZero).

    InjectionStart (s since TimeZero) is subtracted, so that times count from the injection.

    :raises InputError: when the fields are missing, not numbers, or do not fit the number of frames.
    """
    start, duration = sidecar.get("FrameTimesStart"), sidecar.get("FrameDuration")
    if start is None or duration is None:
        missing = "FrameTimesStart" if start is None else "FrameDuration"
        raise InputError(
            f"The PET has {n_frames} frames, but its JSON sidecar has no {missing}.",
            "Add FrameTimesStart and FrameDuration in seconds, or give the averaged PET.",
        )
    try:
        starts = np.atleast_1d(np.asarray(start, dtype=float)) - float(sidecar.get("InjectionStart") or 0.0)
        durations = np.atleast_1d(np.asarray(duration, dtype=float))
    except (TypeError, ValueError) as error:
        raise InputError(f"The frame times in the PET sidecar are not numbers: {error}.") from error
    if len(starts) != n_frames or len(durations) != n_frames:
        raise InputError(
            f"The PET has {n_frames} frames, but its sidecar lists {len(starts)} starts and "
            f"{len(durations)} durations.",
            "Give the sidecar that belongs to this image.",
        )
    return FrameTimes(tuple(starts.tolist()), tuple(durations.tolist()))


def overlap_s(times: FrameTimes, window_s: tuple[float, float]) -> np.ndarray:
    """Seconds of each frame inside the window: max(0, min(start + duration, end) - max(start, begin)).

    :raises InputError: for frames without duration, or frames that overlap each other.
    """
    start, duration = np.array(times.start_s), np.array(times.duration_s)
    if not (np.isfinite(start).all() and np.isfinite(duration).all() and (duration > 0).all()):
        raise InputError("Some PET frames have no positive duration.", "Correct FrameDuration (in seconds).")
    order = np.argsort(start)
    late = (start + duration)[order][:-1] - start[order][1:]
    if late.size and late.max() > 1.0:
        raise InputError(
            f"PET frames overlap by up to {late.max():.0f} s.", "Correct FrameTimesStart and FrameDuration."
        )
    return np.clip(np.minimum(start + duration, window_s[1]) - np.maximum(start, window_s[0]), 0.0, None)


def frame_weights(times: FrameTimes, window_s: tuple[float, float] = WINDOW_S) -> np.ndarray:
    """Weights of the average over ``window_s`` (s since injection): each frame's share of the covered time.

    :returns: one weight a frame, summing to 1.
    :raises InputError: when less than 90 % of the window is covered.
    """
    inside = overlap_s(times, window_s)
    length = window_s[1] - window_s[0]
    if inside.sum() < MIN_COVERAGE * length:
        begin, end = times.start_s[0], max(np.add(times.start_s, times.duration_s))
        hint = f"The frames run from {begin:.0f} to {end:.0f} s after injection; choose another window."
        if end < 200:
            hint += " Times must be in seconds: these look like minutes."
        elif end > 1e5:
            hint += " Times must be in seconds: these look like milliseconds."
        raise InputError(f"The PET frames cover {_of_window(inside, window_s)}.", hint)
    return inside / inside.sum()


def check_static_window(times: FrameTimes, window_s: tuple[float, float]) -> tuple[Finding, ...]:
    """Warn when a PET of one frame was not measured in the window."""
    inside = overlap_s(times, window_s)
    if inside.sum() >= MIN_COVERAGE * (window_s[1] - window_s[0]):
        return ()
    message = f"The PET was measured from {times.start_s[0] / 60:.0f} min on; it covers "
    message += f"{_of_window(inside, window_s)}."
    return (Finding("warn", "other_window", message, "Compare it only with PETs of the same window."),)


def _of_window(inside: np.ndarray, window_s: tuple[float, float]) -> str:
    begin, end = (t / 60 for t in window_s)
    return f"only {inside.sum() / 60:.1f} of the {end - begin:.0f} min from {begin:.0f} to {end:.0f} min"


def average_frames(
    read_frame: Callable[[int], np.ndarray], weights: Sequence[float] | np.ndarray
) -> np.ndarray:
    """Weighted mean over frames, float32 [k, j, i]. Only frames of non-zero weight are read."""
    total: np.ndarray | None = None
    for t, weight in enumerate(weights):
        if weight > 0:
            frame = np.asarray(read_frame(t), dtype=np.float64) * float(weight)
            total = frame if total is None else np.add(total, frame, out=total)
    if total is None:
        raise InputError("No PET frame lies in the window.", "Choose another window.")
    return total.astype(np.float32)
