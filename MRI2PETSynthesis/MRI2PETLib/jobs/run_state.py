"""What a window shows while a child process works, derived from one plain state. No Qt."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from MRI2PETLib.jobs.messages import Progress

Phase = Literal["idle", "preparing", "running", "importing", "cancelling", "failed"]
_BUSY = ("preparing", "running", "importing", "cancelling")


@dataclass(frozen=True)
class RunState:
    """Where a run is.

    ``fraction`` (0..1) and ``eta_s`` (seconds left) are ``None`` while unknown. ``message`` is the outcome of
    the last run, or the reason of its failure.
    """

    phase: Phase = "idle"
    stage: str = ""
    fraction: float | None = None
    eta_s: float | None = None
    message: str = ""

    @property
    def is_busy(self) -> bool:
        return self.phase in _BUSY

    def at(self, progress: Progress) -> RunState:
        """The state after a report of the child. While it is being cancelled, reports change nothing."""
        if self.phase == "cancelling":
            return self
        fraction = min(1.0, max(0.0, progress.done / progress.total))
        return RunState("running", progress.stage, fraction, progress.eta_s)

    def cancelling(self) -> RunState:
        return replace(self, phase="cancelling", eta_s=None) if self.is_busy else self


@dataclass(frozen=True)
class WindowState:
    """What the window shows. ``percent`` of the bar, ``None`` for one that only moves."""

    may_start: bool
    may_cancel: bool
    inputs_enabled: bool
    bar_visible: bool
    percent: int | None
    status: str


def window_state(state: RunState, missing: str = "") -> WindowState:
    """What to show for a state.

    :param missing: why nothing can be started now ("Choose a T1."), empty when it can.
    """
    busy = state.is_busy
    if state.phase == "cancelling":
        status = "Cancelling ..."
    elif busy:
        left = "" if state.eta_s is None else f", {duration(state.eta_s)} left"
        status = f"{_sentence(state.stage) or 'Preparing'}{left}"
    else:
        status = state.message or missing
    return WindowState(
        may_start=not busy and not missing,
        may_cancel=busy and state.phase != "cancelling",
        inputs_enabled=not busy,
        bar_visible=busy,
        percent=None if state.fraction is None or not busy else round(100 * state.fraction),
        status=status,
    )


def duration(seconds: float) -> str:
    """Seconds as a person says them: ``8 s``, ``3 min``, ``2 h 5 min``."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
