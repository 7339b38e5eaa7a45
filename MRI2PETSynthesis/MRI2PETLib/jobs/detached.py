"""A job that outlives the program that started it: its JSON lines go to a file, and whoever wants follows it.

::

    FOLDER/job.json    name, process number and command of the latest job of this folder
    FOLDER/job.log     what it said: its JSON lines, and its error output between them

>>> job = DetachedJob(command, "RUN").start()  # doctest: +SKIP
>>> job = DetachedJob.attach("RUN")  # later, from another program  # doctest: +SKIP
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from MRI2PETLib.core.errors import DependencyError, InputError
from MRI2PETLib.core.files import make_folder, read_object, write_json
from MRI2PETLib.core.leftovers import remove_of_job
from MRI2PETLib.jobs.child_process import GRACE_S, Callbacks, Job
from MRI2PETLib.jobs.process_tree import ask_group_to_end, is_running, kill_tree

JOB, JOB_LOG = "job.json", "job.log"
_FOLLOW_S = 0.2


class DetachedJob(Job):
    """Like :class:`MRI2PETLib.jobs.child_process.Job`, but the child goes on when this program ends."""

    def __init__(
        self,
        command: Sequence[str],
        folder: Path | str,
        callbacks: Callbacks | None = None,
        *,
        env: Mapping[str, str] | None = None,
    ) -> None:
        """
        :param folder: of the job's files; also what the child writes to, see
            :class:`~MRI2PETLib.jobs.child_process.Job`.
        """
        super().__init__(command, callbacks, output=folder, env=env)
        self._folder = Path(folder)
        self._pid: int | None = None
        self._exit_code = -9  # exit code as far as what it said tells: killed, as long as it said no end
        self._left = threading.Event()

    @classmethod
    def attach(cls, folder: Path | str, callbacks: Callbacks | None = None) -> DetachedJob | None:
        """Follow the latest job of a folder from its first line on; ``None`` if there was none.

        A job that has ended tells all it said, and its outcome.
        """
        try:
            about = read_object(Path(folder) / JOB)
            job = cls([str(part) for part in about["command"]], folder, callbacks)
            job.name, job._pid = str(about["name"]), int(about["pid"])
        except (InputError, ValueError, KeyError, TypeError):
            return None
        job._follow()
        return job

    @property
    def pid(self) -> int | None:
        return self._pid

    def start(self) -> DetachedJob:
        """Start the child and return at once.

        :raises DependencyError: if the program cannot be started.
        :raises OutputError: if the folder cannot be written to.
        """
        if self.state != "new":
            raise RuntimeError("A job is started once; make another one.")
        make_folder(self._folder)
        apart: dict[str, object] = {"start_new_session": True}
        if sys.platform == "win32":
            flags = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW
            apart = {"creationflags": flags}
        path = self._folder / JOB_LOG
        with suppress(OSError):
            path.unlink()  # a link that somebody put there is not followed
        with path.open("xb") as log:
            try:
                self._child = subprocess.Popen(  # type: ignore[call-overload]
                    self._command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=self._env,
                    **apart,
                )
            except OSError as error:
                message = f"Cannot start {self._command[0]}: {error.strerror or error}."
                raise DependencyError(message, "Check that this Python exists.") from error
        self._pid = self._child.pid
        write_json(self._folder / JOB, {"name": self.name, "pid": self._pid, "command": self._command})
        self._follow()
        return self

    def leave(self) -> None:
        """Stop following; the child goes on. No callback comes any more."""
        self._left.set()

    def end(self) -> None:
        """Kill the child with all its children, now, and stop following: for a program that closes."""
        self.leave()
        if self._alive() and self._pid is not None:
            ask_group_to_end(self._pid)
            deadline = time.monotonic() + GRACE_S
            while self._alive() and time.monotonic() < deadline:
                time.sleep(0.05)
            kill_tree(self._pid, self.name)

    def _alive(self) -> bool:
        if self._child is not None:
            return self._child.poll() is None
        return self._pid is not None and is_running(self._pid, self.name)

    def _follow(self) -> None:
        self.state = "running"
        threading.Thread(target=self._watch_log, name=self.name, daemon=True).start()

    def _watch_log(self) -> None:
        """Thread: tell what is new in the log, end the tree when asked to, hand over the exit code."""
        deadline: float | None = None
        part = b""
        with (self._folder / JOB_LOG).open("rb") as log:
            while not self._left.is_set():
                alive = self._alive()  # before reading: what it says last is read after its end
                part = self._read_new(log, part)
                if not alive:
                    break
                if self._cancel.is_set() and self._pid is not None:
                    if deadline is None:
                        deadline = time.monotonic() + GRACE_S
                        ask_group_to_end(self._pid)
                    elif time.monotonic() > deadline:
                        kill_tree(self._pid, self.name)
                self._left.wait(_FOLLOW_S)
        if self._left.is_set():
            return
        code = self._exit_code
        if self._child is not None and self._pid is not None:
            code = self._child.returncode
            kill_tree(self._pid, self.name)  # of an older job the number may be another's by now
        if code != 0:
            remove_of_job(self._folder, self.name)
        self._queue.put(code)

    def _read_new(self, log: BinaryIO, part: bytes) -> bytes:
        """Deliver the complete lines; returns the beginning of the next one."""
        *lines, part = (part + log.read()).split(b"\n")
        for line in lines:
            text = line.decode("utf-8", errors="replace").strip()
            if text.startswith("{"):
                self._tell(text)
                with suppress(ValueError, AttributeError):
                    kind = json.loads(text).get("event")
                    self._exit_code = {"result": 0, "error": 1}.get(kind, self._exit_code)
            elif text:
                self._keep(text)
        return part


def is_job_running(folder: Path | str) -> bool:
    """Whether the latest job of a folder still works, whoever started it."""
    try:
        about = read_object(Path(folder) / JOB)
        return int(about["pid"]) != os.getpid() and is_running(int(about["pid"]), str(about["name"]))
    except (InputError, ValueError, KeyError, TypeError):
        return False
