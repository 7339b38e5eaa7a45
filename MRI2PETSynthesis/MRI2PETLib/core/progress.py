"""Progress of a long task: a callback inside the library, a bar or JSON lines outside it."""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any, TextIO

from MRI2PETLib.core.errors import MRI2PETError
from MRI2PETLib.core.files import plain

# done, total (same unit; total > 0), stage in a few words. Raising inside the callback cancels the task.
ProgressCallback = Callable[[float, float, str], None]
_WINDOW_S, _LEAST_MARKS = 120.0, 8  # the speed of late: of the last two minutes, or of some events
_JUMP, _JUMP_S = 0.01, 0.1  # more of the whole at once than any work gets done in that time


def no_progress(done: float, total: float, stage: str) -> None:
    """The callback of a caller who does not want to know."""


def part_of(progress: ProgressCallback, start: float, end: float, total: float = 1.0) -> ProgressCallback:
    """A callback for a sub-task that fills ``start`` to ``end`` of ``total`` of the whole."""

    def inner(done: float, inner_total: float, stage: str) -> None:
        share = min(1.0, done / inner_total) if inner_total > 0 else 1.0
        progress(start + (end - start) * share, total, stage)

    return inner


class TimeLeft:
    """Estimates the seconds left of a task from its speed of late.

    Work that was there already (a resumed run, a filled cache) passes in no time: such a jump is no speed.
    """

    def __init__(self) -> None:
        self._marks: deque[tuple[float, float]] = deque()  # seconds, share done

    def after(self, done: float, total: float) -> float | None:
        """Take note of the progress; ``None`` while nothing can be said."""
        now, share = time.monotonic(), done / total
        if self._marks:
            before, reached = self._marks[-1]
            if share < reached or (share - reached > _JUMP and now - before < _JUMP_S):
                self._marks.clear()
        self._marks.append((now, share))
        while len(self._marks) > _LEAST_MARKS and now - self._marks[0][0] > _WINDOW_S:
            self._marks.popleft()
        start, first = self._marks[0]
        return (now - start) * (1 - share) / (share - first) if share > first else None


class Reporter:
    """What the command line tells while it works. This base says nothing (``--progress none``)."""

    def progress(self, done: float, total: float, stage: str) -> None:
        """Report ``done`` of ``total`` in ``stage``."""

    def log(self, message: str) -> None:
        """A line for the curious."""

    def warning(self, message: str) -> None:
        """A line that everyone should see."""

    def say(self, text: str) -> None:
        """A command's own answer to a person, on stdout."""
        print(text)

    def result(self, content: dict[str, Any]) -> None:
        """The outcome, machine readable."""

    def error(self, error: MRI2PETError) -> None:
        """The reason why there is no outcome."""
        print(f"error: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"hint:  {error.hint}", file=sys.stderr)

    def close(self) -> None:
        """Restore the terminal."""


class BarReporter(Reporter):
    """A tqdm bar with the time left on stderr; messages beside it."""

    def __init__(self) -> None:
        from tqdm import tqdm

        # tqdm's own time left is that of the whole task, which a resumed one has not done.
        layout = "{desc:<32.32} {percentage:3.0f}% |{bar:24}| {elapsed} < {unit}"
        self._left, self._written = TimeLeft(), tqdm.format_interval
        self._bar = tqdm(total=1.0, bar_format=layout, leave=False, file=sys.stderr, dynamic_ncols=True)

    def progress(self, done: float, total: float, stage: str) -> None:
        self._bar.set_description_str(stage, refresh=False)
        self._bar.n = min(1.0, done / total)
        left = self._left.after(done, total)
        self._bar.unit = "?" if left is None else self._written(left)
        self._bar.refresh()

    def log(self, message: str) -> None:
        self._bar.write(message, file=sys.stderr)

    def warning(self, message: str) -> None:
        self._bar.write(f"warning: {message}", file=sys.stderr)

    def error(self, error: MRI2PETError) -> None:
        self.close()
        super().error(error)

    def close(self) -> None:
        self._bar.close()


class JsonReporter(Reporter):
    """One JSON object a line on stdout, for a parent process.

    ``event`` is progress, log, warning, result or error.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._left = TimeLeft()

    def _send(self, event: str, **content: Any) -> None:
        print(
            json.dumps(plain({"event": event, **content}), ensure_ascii=True), file=self._stream, flush=True
        )

    def progress(self, done: float, total: float, stage: str) -> None:
        eta = self._left.after(done, total)
        self._send(
            "progress", done=done, total=total, stage=stage, eta_s=None if eta is None else round(eta, 1)
        )

    def log(self, message: str) -> None:
        self._send("log", message=message)

    def warning(self, message: str) -> None:
        self._send("warning", message=message)

    def say(self, text: str) -> None:
        """Nothing: stdout belongs to the protocol."""

    def result(self, content: dict[str, Any]) -> None:
        self._send("result", **content)

    def error(self, error: MRI2PETError) -> None:
        self._send("error", code=error.code, message=error.message, hint=error.hint)


class QuietReporter(Reporter):
    """``--progress none``: warnings and errors only."""

    def warning(self, message: str) -> None:
        print(f"warning: {message}", file=sys.stderr)


class LineReporter(QuietReporter):
    """A bar that has no terminal to be drawn on (a job's log file): logs and warnings as lines on stderr."""

    def log(self, message: str) -> None:
        print(message, file=sys.stderr, flush=True)


def make_reporter(kind: str) -> Reporter:
    """``bar``, ``json`` or ``none``. A bar is only drawn on a terminal."""
    if kind == "json":
        return JsonReporter()
    if kind == "bar":
        return BarReporter() if sys.stderr.isatty() else LineReporter()
    return QuietReporter()
