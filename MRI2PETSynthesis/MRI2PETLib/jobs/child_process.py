"""Run ``mri2pet`` (or any command that speaks its JSON lines) as a child process: progress, result, cancel.

The parent holds the write end of the child's stdin and never writes to it. When the parent dies, however it
dies, the child reads the end of that pipe and stops (:func:`MRI2PETLib.jobs.process_tree.end_with_parent`).

>>> job = Job(mri2pet_command(["synthesize", "T1.nii.gz", "-o", "out"]), output="out")  # doctest: +SKIP
>>> outcome = job.start().wait()  # or call job.pump() from a timer of the main thread  # doctest: +SKIP
"""

from __future__ import annotations

import os
import queue
import shutil
import subprocess
import sys
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

from MRI2PETLib.core.errors import EXIT_PARTIAL, Cancelled, DependencyError, Explained
from MRI2PETLib.core.leftovers import JOB_VARIABLE, remove_of_job
from MRI2PETLib.jobs.messages import Progress, crash_error, error_of, read_event
from MRI2PETLib.jobs.process_tree import ask_to_end, kill_tree

# Cancel is asked for politely first, so that the child removes its own temporary files; a call into torch or
# ITK may not listen for longer than this.
GRACE_S = 1.0
_POLL_S = 0.05
_STDERR_LINES = 40

State = Literal["new", "running", "cancelling", "done", "failed", "cancelled"]


def _ignore(_: Any) -> None:
    """The callback of an owner who does not want to know."""


@dataclass(frozen=True)
class Callbacks:
    """What the owner is told, always from the thread that calls :meth:`Job.pump` or :meth:`Job.wait`.

    ``result`` gets the child's result, ``error`` the reason of a failure (not of a cancel); ``finished``
    comes last, once, whatever the outcome.
    """

    progress: Callable[[Progress], None] = _ignore
    log: Callable[[str], None] = _ignore
    warning: Callable[[str], None] = _ignore
    result: Callable[[dict[str, Any]], None] = _ignore
    error: Callable[[Explained], None] = _ignore
    finished: Callable[[Outcome], None] = _ignore


@dataclass(frozen=True)
class Outcome:
    """How a job ended.

    ``exit_code`` is negative for a signal (POSIX); ``error`` is ``None`` only when ``done``. That is a child
    some of whose cases failed, too: its ``result`` says which. ``stderr`` holds the last lines of the child's
    error output.
    """

    state: Literal["done", "failed", "cancelled"]
    exit_code: int
    result: dict[str, Any] | None = None
    error: Explained | None = None
    stderr: tuple[str, ...] = field(default=())


def mri2pet_command(arguments: Sequence[str | Path], python: str | Path | None = None) -> list[str]:
    """The command line of ``mri2pet`` with JSON lines on stdout.

    :param python: interpreter; this one by default. In Slicer, where this one is the application itself,
        ``PythonSlicer``.
    """
    interpreter = str(python or sys.executable)
    return [interpreter, "-m", "MRI2PETLib.cli", *map(str, arguments), "--progress", "json"]


def child_python() -> str:
    """The interpreter for child processes: this one, or in Slicer, where this one is the application,
    ``PythonSlicer`` beside it.

    :raises DependencyError: if there is none.
    """
    here = Path(sys.executable)
    if "python" in here.name.lower():
        return str(here)
    name = "PythonSlicer.exe" if sys.platform == "win32" else "PythonSlicer"
    python = here.with_name(name) if here.with_name(name).is_file() else shutil.which(name)
    if not python:
        raise DependencyError(f"{name} was not found near {here}.", "Reinstall Slicer.")
    return str(python)


def child_environment(base: Mapping[str, str], name: str) -> dict[str, str]:
    """A copy of ``base`` in which the child finds this library, writes UTF-8 and knows that it is a job."""
    library = str(Path(__file__).resolve().parents[2])
    paths = [library, *filter(None, [base.get("PYTHONPATH")])]
    return {
        **base,
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONUTF8": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONFAULTHANDLER": "1",  # a crash in native code says where, on stderr
        JOB_VARIABLE: name,
    }


class Job:
    """One child process. Its owner calls :meth:`pump` regularly, or :meth:`wait` once, from one thread."""

    def __init__(
        self,
        command: Sequence[str],
        callbacks: Callbacks | None = None,
        *,
        output: Path | str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | str | None = None,
    ) -> None:
        """
        :param command: program and arguments; no shell is involved.
        :param output: the folder the child writes to; temporary files that a killed child leaves there are
            removed (those of this job only).
        :param env: environment to start from, this process's by default. It is copied.
        """
        self.name = f"job-{uuid.uuid4().hex[:12]}"
        self.state: State = "new"
        self.outcome: Outcome | None = None
        self._command = [str(part) for part in command]
        self._callbacks = callbacks or Callbacks()
        self._output = output
        self._env = child_environment(os.environ if env is None else env, self.name)
        self._cwd = cwd
        self._queue: queue.SimpleQueue[dict[str, Any] | int] = queue.SimpleQueue()
        self._cancel = threading.Event()
        self._stderr: deque[str] = deque(maxlen=_STDERR_LINES)
        self._result: dict[str, Any] | None = None
        self._error: Explained | None = None
        self._pumping = False
        self._child: subprocess.Popen[str] | None = None

    @property
    def pid(self) -> int | None:
        """Process number of the child once it is started."""
        return None if self._child is None else self._child.pid

    @property
    def is_active(self) -> bool:
        """Whether the job was started and its outcome has not been delivered yet."""
        return self.state in ("running", "cancelling")

    def start(self) -> Job:
        """Start the child and return at once.

        :raises DependencyError: if the program cannot be started.
        """
        if self.state != "new":
            raise RuntimeError("A job is started once; make another one.")
        own_group: dict[str, Any] = {"start_new_session": True}
        if sys.platform == "win32":
            own_group = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}
        try:
            self._child = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                encoding="utf-8",
                errors="replace",
                env=self._env,
                cwd=self._cwd,
                **own_group,
            )
        except OSError as error:
            message = f"Cannot start {self._command[0]}: {error.strerror or error}."
            raise DependencyError(message, "Check that this Python exists.") from error
        self.state = "running"
        threading.Thread(target=self._supervise, args=(self._child,), name=self.name, daemon=True).start()
        return self

    def cancel(self) -> None:
        """Ask the child to end, and kill it with all its children after :data:`GRACE_S`. Returns at once.

        The outcome comes through :meth:`pump` or :meth:`wait`. A job that has ended is left as it is.
        """
        if self.state == "running":
            self.state = "cancelling"
            self._cancel.set()

    def pump(self) -> bool:
        """Call back for everything that has arrived since the last call. True while the job is active.

        A callback may cancel the job or run an event loop that calls ``pump`` again: the inner call does
        nothing. What a callback raises comes out here; the next call goes on with the next event.
        """
        if not self._pumping:
            self._pumping = True
            try:
                for _ in range(self._queue.qsize()):
                    self._deliver(self._queue.get())
            finally:
                self._pumping = False
        return self.is_active

    def wait(self) -> Outcome:
        """Pump until the job has ended. An exception on the way (Ctrl-C, a callback's) cancels the child.

        :raises RuntimeError: if the job was not started.
        """
        if self.state == "new":
            raise RuntimeError("The job was not started.")
        try:
            while self.outcome is None:
                if not self.pump():
                    break
                time.sleep(_POLL_S)
        except BaseException:
            self.cancel()
            raise
        assert self.outcome is not None
        return self.outcome

    def _deliver(self, event: dict[str, Any] | int) -> None:
        """One event, or the exit code, which comes last."""
        if isinstance(event, int):
            self._finish(event)
            return
        kind = event.pop("event")
        if kind == "progress":
            self._callbacks.progress(Progress(**event))
        elif kind == "result":
            self._result = event
        elif kind == "error":
            self._error = error_of(event)
        elif kind == "warning":
            self._callbacks.warning(event["message"])
        else:
            self._callbacks.log(event["message"])

    def _finish(self, code: int) -> None:
        stderr = tuple(self._stderr)
        if self.state == "cancelling" or isinstance(self._error, Cancelled):
            cancelled = self._error if isinstance(self._error, Cancelled) else Cancelled("Cancelled.")
            self.outcome = Outcome("cancelled", code, error=cancelled, stderr=stderr)
        elif code == 0 or (code == EXIT_PARTIAL and self._result is not None):
            self.outcome = Outcome("done", code, result=self._result, stderr=stderr)
        else:
            error = self._error or crash_error(self._command, code, stderr)
            self.outcome = Outcome("failed", code, result=self._result, error=error, stderr=stderr)
        self.state = self.outcome.state
        try:
            if self.outcome.state == "done" and self.outcome.result is not None:
                self._callbacks.result(self.outcome.result)
            if self.outcome.state == "failed" and self.outcome.error is not None:
                self._callbacks.error(self.outcome.error)
        finally:
            self._callbacks.finished(self.outcome)

    def _supervise(self, child: subprocess.Popen[str]) -> None:
        """Thread: read, wait, end the tree when asked to, tidy up, and hand over the exit code."""
        assert child.stdout is not None and child.stderr is not None and child.stdin is not None
        readers = [
            threading.Thread(target=_read, args=(child.stdout, self._tell), daemon=True),
            threading.Thread(target=_read, args=(child.stderr, self._keep), daemon=True),
        ]
        for reader in readers:
            reader.start()
        deadline: float | None = None
        while True:
            with suppress(subprocess.TimeoutExpired):
                code = child.wait(_POLL_S)
                break
            if self._cancel.is_set() and deadline is None:
                deadline = time.monotonic() + GRACE_S
                ask_to_end(child)
            elif deadline is not None and time.monotonic() > deadline:
                kill_tree(child.pid, self.name)
        # What the child started must not outlive it, whether it ended well, crashed or was killed.
        kill_tree(child.pid, self.name)
        for reader in readers:
            reader.join(0.2)
        with suppress(OSError):
            child.stdin.close()
        if code != 0 and self._output is not None:
            remove_of_job(self._output, self.name)
        self._queue.put(code)

    def _tell(self, line: str) -> None:
        self._queue.put(read_event(line))

    def _keep(self, line: str) -> None:
        self._stderr.append(line)
        self._queue.put({"event": "log", "message": line})


def _read(stream: IO[str], consume: Callable[[str], None]) -> None:
    with stream:
        for line in stream:
            if line.strip():
                consume(line.rstrip("\r\n"))
