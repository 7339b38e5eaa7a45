"""Cases that any number of processes and computers share: each is done once, by whoever claims it first.

The others go on to the next case and come back at the end to what was claimed. What is there already from the
same request is kept; a case that failed is tried again by the next run, not by the others of the same run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from MRI2PETLib.core.case_loop import each_case
from MRI2PETLib.core.claims import Claims, remove_lost
from MRI2PETLib.core.errors import InputError, MRI2PETError, OutputError, QualityError
from MRI2PETLib.core.prefetch import OneAhead
from MRI2PETLib.core.progress import ProgressCallback, Reporter
from MRI2PETLib.core.requests import Request, Result

_Case = TypeVar("_Case")
_Own = TypeVar("_Own", contravariant=True)  # the case of a kind of work
_Ready = TypeVar("_Ready")


class CaseWork(Protocol[_Own, _Ready]):
    """One kind of work on cases, which are hashable."""

    @property
    def reads_ahead(self) -> bool:
        """Whether a case is claimed and read while the one before is made."""
        ...

    def about(self, case: _Own) -> dict[str, Any]:
        """What every record says: ``case``, its name, among it."""
        ...

    def record(self, case: _Own) -> Path:
        """The record of its result, whatever its name."""
        ...

    def result(self, case: _Own) -> Result:
        """Where its files go; only of a case that has a request."""
        ...

    def request(self, case: _Own) -> Request:
        """What decides them.

        :raises InputError: if it cannot be done.
        """
        ...

    def read(self, case: _Own, request: Request, progress: ProgressCallback) -> _Ready:
        """The first part of the work, which writes nothing."""
        ...

    def make(self, case: _Own, request: Request, ready: _Ready, progress: ProgressCallback) -> dict[str, Any]:
        """The rest of the work.

        :returns: what the record of the result says.
        """
        ...


@dataclass(frozen=True)
class CaseEnd(Generic[_Case]):
    """What became of a case: what its record says (``status`` is done, kept or failed), the folder of its
    record.
    """

    case: _Case
    folder: Path
    about: dict[str, Any]


def each_shared_case(
    cases: Sequence[_Case], work: CaseWork[_Case, Any], *, reporter: Reporter, since: float
) -> Iterator[CaseEnd[_Case]]:
    """Do the cases that nobody else does and yield what became of each, see :func:`.each_case`.

    :param since: when the work on the cases began (seconds of the epoch), here or in another process.
    :raises OutputError: if a result cannot be written: the next one could not be either; if another run with
        other settings works on them.
    :raises Cancelled: when the user cancels; finished cases are kept.
    """
    with Claims() as claims:
        sharing = _Sharing(work, claims, reporter, since, len(cases) == 1)
        busy: list[_Case] = []
        for case, end in sharing.each(cases, wait=False):
            if end is None:
                busy.append(case)
            else:
                yield end
        for _, end in sharing.each(busy, wait=True):
            if end is not None:
                yield end


@dataclass(frozen=True)
class _Claimed(Generic[_Ready]):
    request: Request
    ready: _Ready


@dataclass(frozen=True)
class _Sharing(Generic[_Case, _Ready]):
    work: CaseWork[_Case, _Ready]
    claims: Claims
    reporter: Reporter
    since: float
    is_only: bool
    remade: list[str] = field(default_factory=list)

    def each(self, cases: Sequence[_Case], *, wait: bool) -> Iterator[tuple[_Case, CaseEnd[_Case] | None]]:
        """What becomes of each; ``None`` of one that another process works on, unless it is waited for."""
        request_of = cache(self.work.request)

        def read(case: _Case, progress: ProgressCallback) -> _Claimed[_Ready] | dict[str, Any] | None:
            return self._read(case, request_of(case), progress, wait=wait)

        def make(case: _Case, progress: ProgressCallback) -> dict[str, Any] | None:
            progress(0, 1, "reading")
            claimed = read(case, progress) if ahead is None else ahead.take(progress)
            if isinstance(claimed, _Claimed):
                # Again: the case before may have the same result, and was made since this one was read.
                self.work.result(case).check_owner(claimed.request)
                return self.work.make(case, claimed.request, claimed.ready, progress)
            return claimed

        with OneAhead(cases, read) if self.work.reads_ahead else nullcontext() as ahead:
            for done in each_case(cases, make, name=self._name, reporter=self.reporter, is_only=self.is_only):
                about, record = done.result, self.work.record(done.case)
                if done.error is not None:
                    about = self._failed(done.case, done.error, done.seconds)
                self.claims.give_back(record)
                yield done.case, None if about is None else CaseEnd(done.case, record.parent, about)

    def _name(self, case: _Case) -> str:
        return str(self.work.about(case)["case"])

    def _read(
        self, case: _Case, request: Request, progress: ProgressCallback, *, wait: bool
    ) -> _Claimed[_Ready] | dict[str, Any] | None:
        """Claim a case and read it, or say that it was done before; ``None`` if another process has it."""
        result = self.work.result(case)
        if (about := self._earlier(case, result, request)) is not None:
            return about
        if wait:
            self.claims.wait(result.path, progress)
        elif not self.claims.take(result.path):
            return None
        if (about := self._earlier(case, result, request)) is not None:  # by another process, just now
            return about
        if (about := result.failure(request, self.since)) is not None:
            return about
        name = self._name(case)
        self._check_only_run(name, result, request)
        result.check_owner(request, lambda message: self.reporter.warning(f"{name}: {message}"))
        return _Claimed(request, self.work.read(case, request, progress))

    def _check_only_run(self, name: str, result: Result, request: Request) -> None:
        """Tell, once, that results of other settings are made again.

        :raises OutputError: if another run of other settings works there: each would replace what the other
            has made.
        """
        if not (other := result.other_settings(request)):
            return
        words = ", ".join(other)
        if result.path.stat().st_mtime >= self.since:
            raise OutputError(
                f"Another run, with other settings ({words}), works on the same folder: it has just made "
                f"{result.path}.",
                "Name another output folder, or run again when the other has ended.",
            )
        if not self.remade:
            self.reporter.warning(f"Results of other settings ({words}) are made again, {name} first.")
            self.remade.append(name)

    def _earlier(self, case: _Case, result: Result, request: Request) -> dict[str, Any] | None:
        about = result.finished(request)
        if about is None:
            return None
        remove_lost(result.path)
        if result.path.stat().st_mtime >= self.since:  # by another process of this run
            return about
        self.reporter.log(f"{self._name(case)}: already there, kept ({result.path})")
        return {**about, **self.work.about(case), "status": "kept"}

    def _failed(self, case: _Case, error: MRI2PETError, seconds: float) -> dict[str, Any]:
        """Its status file says so, too, if it has not that of another case."""
        about = {
            **self.work.about(case),
            "status": "failed",
            "quality": "refuse" if isinstance(error, QualityError) else "",
            "message": error.message,
            "hint": error.hint,
            "seconds": f"{seconds:.1f}",
        }
        with suppress(InputError):
            request, result = self.work.request(case), self.work.result(case)
            result.check_owner(request)
            if result.fail(request, about):
                removed = "its earlier result was of other inputs and has been removed."
                self.reporter.warning(f"{self._name(case)}: {removed}")
        return about
