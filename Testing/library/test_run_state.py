"""What a window shows is a function of the state of the run."""

from __future__ import annotations

import pytest

from MRI2PETLib.jobs.messages import Progress
from MRI2PETLib.jobs.run_state import RunState, duration, window_state


def test_idle_without_inputs_says_what_is_missing() -> None:
    window = window_state(RunState(), "Choose a T1.")
    assert not window.may_start and not window.may_cancel and window.inputs_enabled
    assert window.status == "Choose a T1." and not window.bar_visible


def test_running_shows_stage_percent_and_time_left() -> None:
    state = RunState("preparing").at(Progress(3, 12, "network", 8.2))
    window = window_state(state)
    assert (window.percent, window.status) == (25, "Network, 8 s left")
    assert window.may_cancel and not window.may_start and not window.inputs_enabled


def test_a_report_after_cancel_changes_nothing() -> None:
    state = RunState("running", "network", 0.5, 3.0).cancelling()
    assert state.at(Progress(9, 10, "late", 1.0)) is state
    window = window_state(state)
    assert window.status == "Cancelling ..." and not window.may_cancel and window.bar_visible


@pytest.mark.parametrize("phase", ["idle", "failed"])
def test_nothing_to_cancel_when_nothing_runs(phase: str) -> None:
    state = RunState(phase, message="why")  # type: ignore[arg-type]
    assert state.cancelling() is state
    assert window_state(state).may_start and window_state(state).status == "why"


def test_progress_beyond_its_end_stays_in_the_bar() -> None:
    assert window_state(RunState("running").at(Progress(5, 4, "x", None))).percent == 100


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "1 s"), (89, "89 s"), (95, "2 min"), (3600, "60 min"), (7500, "2 h 5 min")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
