"""One case that fails does not stop the others; cancelling and a full disk do."""

from __future__ import annotations

import logging

import pytest

from MRI2PETLib.core.case_loop import CaseOutcome, each_case
from MRI2PETLib.core.errors import Cancelled, InputError, MRI2PETError, OutputError
from MRI2PETLib.core.progress import ProgressCallback, Reporter


class Listener(Reporter):
    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.heard: list[tuple[float, float, str]] = []

    def warning(self, message: str) -> None:
        self.warnings.append(message)

    def progress(self, done: float, total: float, stage: str) -> None:
        self.heard.append((done, total, stage))


def outcomes(cases: list[object], reporter: Reporter) -> list[CaseOutcome]:
    """A case is its result, or what its work raises."""

    def work(case: object, progress: ProgressCallback) -> str:
        progress(1, 2, "half")
        if isinstance(case, BaseException):
            raise case
        return f"did {case}"

    return list(each_case(cases, work, name=lambda case: f"<{case}>", reporter=reporter))


def test_the_rest_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    listener = Listener()
    with caplog.at_level(logging.ERROR):
        result = outcomes(["a", InputError("no T1.", "Give one."), ValueError("odd"), "d"], listener)
    assert [done.result for done in result] == ["did a", None, None, "did d"]
    assert [None if d.error is None else str(d.error) for d in result] == [
        None,
        "no T1. Give one.",
        "Unexpected ValueError: odd Please report this.",
        None,
    ]
    assert listener.warnings == [
        "<no T1. Give one.> failed: no T1. Give one.",
        "<odd> failed: Unexpected ValueError: odd Please report this.",
    ]
    # Only what nobody foresaw has a traceback in the log.
    assert [record.exc_info is not None for record in caplog.records] == [True]
    assert listener.heard[0] == (0.5, 4, "<a>: half") and listener.heard[-1] == (3.5, 4, "<d>: half")
    assert all(done.seconds >= 0 for done in result)


@pytest.mark.parametrize("stop", [Cancelled("stop"), OutputError("disk full"), KeyboardInterrupt()])
def test_what_concerns_all_cases_stops_them(stop: BaseException) -> None:
    with pytest.raises(type(stop)):
        outcomes(["a", stop, "c"], Listener())


@pytest.mark.parametrize("error", [InputError("no T1."), ValueError("odd")])
def test_the_only_case_is_told_of_and_then_raises(error: Exception) -> None:
    listener, calls = Listener(), []

    def work(case: str, progress: ProgressCallback) -> None:
        progress(0, 1, "reading")
        raise error

    with pytest.raises(type(error)):
        for done in each_case(["a"], work, name=str, reporter=listener):
            calls.append(done)
    assert len(calls) == 1 and isinstance(calls[0].error, MRI2PETError)
    assert not listener.warnings and listener.heard == [(0, 1, "reading")]
