"""The same work on many cases: a case that fails does not stop the others."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from MRI2PETLib.core.errors import EXIT_PARTIAL, MRI2PETError, OutputError
from MRI2PETLib.core.explain import explain
from MRI2PETLib.core.progress import ProgressCallback, Reporter

_Case = TypeVar("_Case")
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class CaseOutcome(Generic[_Case, _Result]):
    """What became of a case: ``result``, or the ``error`` that it failed with."""

    case: _Case
    result: _Result | None
    error: MRI2PETError | None
    seconds: float


def each_case(
    cases: Sequence[_Case],
    work: Callable[[_Case, ProgressCallback], _Result],
    *,
    name: Callable[[_Case], str],
    reporter: Reporter,
    is_only: bool | None = None,
) -> Iterator[CaseOutcome[_Case, _Result]]:
    """Work on one case after the other and yield what became of each.

    A failure is a warning. The only case of a batch is
    yielded and then raises what it failed with.

    :param work: is given the progress of its case; it fills one part in ``len(cases)`` of the whole.
    :param is_only: whether the case is the only one of the batch; by default that of ``cases``.
    :raises Cancelled: when the user cancels.
    :raises OutputError: when a result cannot be written: the next one could not be either.
    """
    is_only = len(cases) == 1 if is_only is None else is_only
    for number, case in enumerate(cases):

        def progress(done: float, total: float, stage: str, number: int = number, case: _Case = case) -> None:
            label = f"{name(case)}: {stage}" if len(cases) > 1 else stage
            reporter.progress(number + done / total, len(cases), label)

        started = time.perf_counter()
        result: _Result | None = None
        error: MRI2PETError | None = None
        cause: Exception | None = None
        try:
            result = work(case, progress)
        except OutputError:
            raise
        except MRI2PETError as known:
            error = cause = known
        except Exception as unforeseen:  # noqa: BLE001  one broken case must not lose the others
            cause, error = unforeseen, explain(unforeseen)
            if isinstance(error, OutputError):
                raise error from unforeseen
        if error is not None and not is_only:
            reporter.warning(f"{name(case)} failed: {error}")
        yield CaseOutcome(case, result, error, time.perf_counter() - started)
        if cause is not None and is_only:
            raise cause


def exit_code(reasons: Sequence[str], cases: int) -> int:
    """Of a command that worked on several cases: 0 if none failed, ``EXIT_PARTIAL`` if some did. Its result
    says which.

    :param reasons: why each of those that failed did.
    :raises MRI2PETError: (exit code 1) if all of them failed.
    """
    if reasons and len(reasons) == cases:
        raise MRI2PETError(f"All {cases} cases failed. The first: {reasons[0]}")
    return EXIT_PARTIAL if reasons else 0
