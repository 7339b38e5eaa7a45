"""Progress as a person or a parent process reads it: the time left, and lines where there is no terminal."""

from __future__ import annotations

import pytest

from MRI2PETLib.core import progress
from MRI2PETLib.core.progress import LineReporter, TimeLeft, make_reporter


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds, to be moved by hand."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_time_left_of_a_steady_task(clock: list[float]) -> None:
    left = TimeLeft()
    assert left.after(0, 50) is None
    for step in range(1, 11):
        clock[0] += 3
        assert left.after(step, 50) == pytest.approx(3 * (50 - step))


def test_what_was_there_already_is_no_speed(clock: list[float]) -> None:
    left = TimeLeft()
    left.after(0, 100)
    clock[0] += 2  # reading the checkpoint
    left.after(5, 100)
    left.after(60, 100)
    for step in range(61, 64):
        clock[0] += 10
        result = left.after(step, 100)
    assert result == pytest.approx(10 * (100 - 63))


def test_the_speed_of_late_counts(clock: list[float]) -> None:
    left = TimeLeft()
    for step in range(11):  # quick
        left.after(step, 1000)
        clock[0] += 1
    for step in range(11, 31):  # then ten times slower
        clock[0] += 9
        result = left.after(step, 1000)
        clock[0] += 1
    assert result == pytest.approx(10 * 970, rel=0.01)


def test_without_a_terminal_logs_are_lines(capsys: pytest.CaptureFixture[str]) -> None:
    reporter = make_reporter("bar")  # pytest's stderr is none
    assert isinstance(reporter, LineReporter)
    reporter.progress(1, 2, "half")
    reporter.log("0.12 s a step")
    reporter.warning("no unit")
    assert capsys.readouterr().err.splitlines() == ["0.12 s a step", "warning: no unit"]
    make_reporter("none").log("0.12 s a step")
    assert capsys.readouterr().err == ""
