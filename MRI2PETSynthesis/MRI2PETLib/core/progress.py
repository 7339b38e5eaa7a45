"""Progress of a long task: a callback inside the library, a bar or JSON lines outside it."""

from __future__ import annotations

import errno
import json
import os
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TextIO

from MRI2PETLib.core import cancellation
from MRI2PETLib.core.errors import Explained, OutputError
from MRI2PETLib.core.files import plain
from MRI2PETLib.core.findings import Verdict
from MRI2PETLib.core.names import printable

# done, total (same unit; total > 0), stage in a few words. Raising inside the callback cancels the task.
ProgressCallback = Callable[[float, float, str], None]
_WINDOW_S, _LEAST_MARKS = 120.0, 8  # the speed of late: of the last two minutes, or of some events
_JUMP, _JUMP_S = 0.01, 0.1  # more of the whole at once than any work gets done in that time


def no_progress(done: float, total: float, stage: str) -> None:
    """The callback of a caller who does not want to know."""


def part_of(progress: ProgressCallback, start: float, end: float) -> ProgressCallback:
    """A callback for a sub-task that fills ``start`` to ``end`` (0..1) of the whole."""

    def inner(done: float, inner_total: float, stage: str) -> None:
        share = min(1.0, done / inner_total) if inner_total > 0 else 1.0
        progress(start + (end - start) * share, 1.0, stage)

    return inner


def write_line(text: str, stream: TextIO | None) -> None:
    """Print a line for a person; control characters are shown, not obeyed.

    Whoever has stopped reading (``| head``) or closed the stream wants no more: that is no error. A full disk
    under standard output is one.

    :raises OutputError: if standard output cannot take the line.
    """
    if stream is None:  # a program without a console
        return
    try:
        print(printable(text), file=stream, flush=True)
    except ValueError:  # closed
        pass
    except OSError as error:
        _silence(stream)
        if stream is sys.stdout and error.errno not in (errno.EPIPE, errno.EBADF, errno.EINVAL):
            raise OutputError(f"Cannot write to standard output: {error.strerror}.") from error


def open_standard_streams() -> None:
    """Give a process that was started without them streams that lead nowhere.

    Else the next file it opens gets the number of the missing one, and a library's message ends up in it.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            with suppress(OSError):
                os.fstat(number)
                continue  # a program without a console: the number is in use or needs none
            nowhere = os.open(os.devnull, os.O_RDONLY if name == "stdin" else os.O_WRONLY)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
            setattr(sys, name, open(number, "r" if name == "stdin" else "w", encoding="utf-8"))  # noqa: SIM115


def flush(stream: TextIO | None) -> None:
    """Write what is still held back, before Python tries to and complains."""
    if stream is not None:
        try:
            stream.flush()
        except ValueError:
            pass
        except OSError:
            _silence(stream)


def _silence(stream: TextIO) -> None:
    """Send what is still to come, and what Python writes at its end, to nowhere."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


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
        """Report ``done`` of ``total`` in ``stage``.

        :raises Cancelled: if a signal has asked for it, even if the exception that it raised was lost.
        """
        cancellation.check()

    def log(self, message: str) -> None:
        """A line for the curious."""

    def warning(self, message: str) -> None:
        """A line that everyone should see."""

    def tell(self, verdict: Verdict, about: str = "") -> None:
        """What was noticed about ``about``: warnings for everyone, the rest for the curious."""
        before = f"{about}: " if about else ""
        for reason in verdict.reasons("warn"):
            self.warning(before + reason)
        for reason in verdict.reasons("ok"):
            self.log(before + reason)

    def say(self, text: str) -> None:
        """A command's own answer to a person, on stdout."""
        write_line(text, sys.stdout)

    def result(self, content: dict[str, Any]) -> None:
        """The outcome, machine readable."""

    def error(self, error: Explained) -> None:
        """The reason why there is no outcome."""
        write_line(f"error: {error.message}", sys.stderr)
        if error.hint:
            write_line(f"hint:  {error.hint}", sys.stderr)

    def close(self) -> None:
        """Restore the terminal."""


class CaseReporter(Reporter):
    """One of several cases: its messages begin with its name, its progress is a part of the whole. What it
    says and its result are left to who reports all of them.
    """

    def __init__(self, whole: Reporter, name: str, progress: ProgressCallback) -> None:
        self._whole, self._name, self._progress = whole, name, progress

    def progress(self, done: float, total: float, stage: str) -> None:
        self._progress(done, total, stage)

    def log(self, message: str) -> None:
        self._whole.log(f"{self._name}: {message}")

    def warning(self, message: str) -> None:
        self._whole.warning(f"{self._name}: {message}")

    def say(self, text: str) -> None:
        """Nothing."""


class BarReporter(Reporter):
    """A tqdm bar with the time left on stderr; messages beside it."""

    def __init__(self) -> None:
        from tqdm import tqdm

        # tqdm's own time left is that of the whole task, which a resumed one has not done.
        layout = "{desc:<32.32} {percentage:3.0f}% |{bar:24}| {elapsed} < {unit}"
        self._left, self._written = TimeLeft(), tqdm.format_interval
        self._bar = tqdm(total=1.0, bar_format=layout, leave=False, file=sys.stderr, dynamic_ncols=True)

    def progress(self, done: float, total: float, stage: str) -> None:
        super().progress(done, total, stage)
        self._bar.set_description_str(printable(stage), refresh=False)
        self._bar.n = min(1.0, done / total)
        left = self._left.after(done, total)
        self._bar.unit = "?" if left is None else self._written(left)
        self._bar.refresh()

    def log(self, message: str) -> None:
        self._bar.write(printable(message), file=sys.stderr)

    def warning(self, message: str) -> None:
        self._bar.write(f"warning: {printable(message)}", file=sys.stderr)

    def error(self, error: Explained) -> None:
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
        write_line(json.dumps(plain({"event": event, **content}), ensure_ascii=True), self._stream)

    def progress(self, done: float, total: float, stage: str) -> None:
        super().progress(done, total, stage)
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

    def error(self, error: Explained) -> None:
        more = {"findings": [f.to_dict() for f in error.findings]} if error.findings else {}
        self._send("error", code=error.code, message=error.message, hint=error.hint, **more)


class QuietReporter(Reporter):
    """``--progress none``: warnings and errors only."""

    def warning(self, message: str) -> None:
        write_line(f"warning: {message}", sys.stderr)


class LineReporter(QuietReporter):
    """A bar that has no terminal to be drawn on (a job's log file): logs and warnings as lines on stderr."""

    def log(self, message: str) -> None:
        write_line(message, sys.stderr)


def make_reporter(kind: str) -> Reporter:
    """``bar``, ``json`` or ``none``. A bar is only drawn on a terminal."""
    if kind == "json":
        return JsonReporter()
    if kind == "bar":
        return BarReporter() if sys.stderr.isatty() else LineReporter()
    return QuietReporter()
