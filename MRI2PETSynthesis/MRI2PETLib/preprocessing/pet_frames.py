"""Frames of a dynamic PET: their times since injection, their average over a window."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.findings import Finding
from MRI2PETLib.preprocessing.frame_window import FrameWindow

# A window counts as covered when frames fill at least this share of it.
MIN_WINDOW_COVERAGE = 0.9
# Frames that stick out of the window by more than this share of it are told.
_TOLD_OUTSIDE = 0.05


@dataclass(frozen=True)
class FrameTimes:
    """Start since injection and duration of each frame, in seconds."""

    start_s: tuple[float, ...]
    duration_s: tuple[float, ...]

    @property
    def range_min(self) -> tuple[float, float]:
        """From the first start to the last end, in minutes after the injection."""
        ends = np.add(self.start_s, self.duration_s)
        return min(self.start_s) / 60.0, float(ends.max()) / 60.0


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
        starts = np.atleast_1d(np.asarray(start, dtype=float)) - _injection_s(sidecar)
        durations = np.atleast_1d(np.asarray(duration, dtype=float))
        if starts.ndim != 1 or durations.ndim != 1:
            raise ValueError("lists in lists")
    except (TypeError, ValueError) as error:
        raise InputError(f"The frame times in the PET sidecar are not numbers: {error}.") from error
    if len(starts) != n_frames or len(durations) != n_frames:
        raise InputError(
            f"The PET has {n_frames} frames, but its sidecar lists {len(starts)} starts and "
            f"{len(durations)} durations.",
            "Give the sidecar that belongs to this image.",
        )
    return FrameTimes(tuple(starts.tolist()), tuple(durations.tolist()))


def frame_times_to_bids(start_min: float, end_min: float) -> dict[str, list[float]]:
    """The fields of a sidecar for one frame of these minutes after the injection."""
    return {"FrameTimesStart": [60.0 * start_min], "FrameDuration": [60.0 * (end_min - start_min)]}


def _injection_s(sidecar: dict[str, Any]) -> float:
    value = sidecar.get("InjectionStart") or 0.0
    return float(value[0] if isinstance(value, list) and len(value) == 1 else value)


def overlap_s(times: FrameTimes, window: FrameWindow) -> np.ndarray:
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
    begin, end = 60.0 * window.start_min, 60.0 * window.end_min
    return np.clip(np.minimum(start + duration, end) - np.maximum(start, begin), 0.0, None)


def frame_weights(times: FrameTimes, window: FrameWindow) -> np.ndarray:
    """Weights of the average over a window: each frame's share of the covered time.

    :returns: one weight a frame, summing to 1.
    :raises InputError: when less than 90 % of the window is covered.
    """
    inside = overlap_s(times, window)
    if inside.sum() < MIN_WINDOW_COVERAGE * _length_s(window):
        begin, end = times.range_min
        hint = f"The frames run from {begin:.0f} to {end:.0f} min after injection; choose another window "
        hint += f"(--window START END, in min).{_other_unit(times)}"
        raise InputError(f"The PET frames cover {_of_window(inside, window)}.", hint)
    return inside / inside.sum()


def window_findings(times: FrameTimes, window: FrameWindow) -> tuple[Finding, ...]:
    """What to tell about the averaged frames: a window that nobody stated, frames that stick out of it."""
    findings: list[Finding] = []
    if not window.is_stated:
        has_tracer = bool(window.tracer)
        message = f"The frames of {window} are averaged: " + (
            f"the window of {window.tracer} ({window.why})." if has_tracer else f"{window.why} is taken."
        )
        hint = "For another window: --window START END (min)."
        findings.append(Finding("ok" if has_tracer else "warn", "window-default", message, hint))
    inside = overlap_s(times, window)
    whole = np.array(times.duration_s)
    cut = (inside > 0) & (whole - inside > 1.0)
    if (whole - inside)[cut].sum() > _TOLD_OUTSIDE * _length_s(window):
        frames = ", ".join(
            f"{s / 60:g} to {(s + d) / 60:g}" for s, d, c in zip(times.start_s, times.duration_s, cut) if c
        )
        message = f"Frames lie only partly in the window of {window} ({frames} min); each counts by the time "
        message += "inside, with its mean over the whole frame."
        findings.append(Finding("warn", "partial-frames", message))
    return tuple(findings)


def check_static_window(times: FrameTimes | None, window: FrameWindow) -> tuple[Finding, ...]:
    """Warn when a PET of one frame was not measured in the window, or does not say when."""
    if times is None:
        if not window.is_stated:
            return ()
        message = f"The PET has one frame and does not say when it was measured: {window} cannot be checked."
        return (Finding("warn", "window-not-checked", message),)
    inside = float(overlap_s(times, window).sum())
    length, whole = _length_s(window), sum(times.duration_s)
    if inside >= MIN_WINDOW_COVERAGE * length and whole - inside <= (1.0 - MIN_WINDOW_COVERAGE) * length:
        return ()
    begin, end = times.range_min
    message = f"The PET was measured from {begin:.0f} to {end:.0f} min; it covers "
    message += f"{_of_window(np.array(inside), window)}."
    hint = f"Compare it only with PETs of the same window.{_other_unit(times)}"
    return (Finding("warn", "other-window", message, hint),)


def _other_unit(times: FrameTimes) -> str:
    end_s = 60.0 * times.range_min[1]
    if end_s < 200:
        return " Times must be in seconds: these look like minutes."
    if end_s > 1e5:
        return " Times must be in seconds: these look like milliseconds."
    return ""


def _length_s(window: FrameWindow) -> float:
    return 60.0 * (window.end_min - window.start_min)


def _of_window(inside: np.ndarray, window: FrameWindow) -> str:
    share = f"{inside.sum() / 60:.1f} of the {_length_s(window) / 60:g} min"
    return f"{'only ' if inside.sum() < _length_s(window) else ''}{share} from {window}"


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
