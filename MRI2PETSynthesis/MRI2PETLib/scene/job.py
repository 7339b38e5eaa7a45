"""A run of ``mri2pet`` on nodes of a scene: write them, let child processes work, bring results back. No Qt.

Nodes are held by ID and looked up again at the end: they may be deleted, and the scene closed, while a child
works. Results enter the scene when everything has succeeded; after Cancel it is as it was.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

import slicer

from MRI2PETLib.core.errors import Cancelled, Explained, InputError, MRI2PETError
from MRI2PETLib.core.explain import explain
from MRI2PETLib.jobs.child_process import Callbacks, Job, Outcome, mri2pet_command
from MRI2PETLib.jobs.messages import Progress
from MRI2PETLib.jobs.pace import Course, Pace
from MRI2PETLib.jobs.run_state import RunState, duration
from MRI2PETLib.synthesis.run_checks import in_words

if TYPE_CHECKING:
    from typing import Self

    from MRI2PETLib.synthesis.checks import Check

_POLL_S = 0.05
# SimpleITK raises RuntimeError for whatever goes wrong with a file.
_EXPECTED = (MRI2PETError, OSError, RuntimeError)
RunRequest = TypeVar("RunRequest")
Nodes = TypeVar("Nodes")


@dataclass(frozen=True)
class RunEnd(Generic[Nodes]):
    """How a run ended. ``nodes`` are there even with an ``error`` when only a later step failed; ``checks``:
    the lights of :mod:`MRI2PETLib.synthesis.checks` that the run set.
    """

    state: Literal["done", "failed", "cancelled"]
    nodes: Nodes | None = None
    error: Explained | None = None
    checks: tuple[Check, ...] = ()


@dataclass(frozen=True)
class Step:
    """One child process: what it is called, its arguments, the folder it writes to."""

    name: str
    arguments: list[str]
    output: Path


class SceneJob(Generic[RunRequest, Nodes]):
    """A run. Its owner calls :meth:`pump` regularly, or :meth:`wait` once, from the main thread.

    What is run is up to the class that inherits: :meth:`_write` and :meth:`_import`.

    :cvar partly: what to say before the reason when a later step failed.
    """

    partly = ""

    def __init__(
        self,
        scene: slicer.vtkMRMLScene,
        request: RunRequest,
        *,
        python: str | None = None,
        folder: Path | None = None,
        on_state: Callable[[RunState], None] = lambda state: None,
        on_log: Callable[[str], None] = lambda line: None,
        on_finished: Callable[[RunEnd[Nodes]], None] = lambda finished: None,
        courses: MutableMapping[str, Course] | None = None,
    ) -> None:
        """
        :param request: what to run on which nodes.
        :param python: interpreter of the children, see :func:`MRI2PETLib.jobs.child_process.mri2pet_command`.
        :param courses: what the steps of earlier runs took, for the time left; those of this run are added.
        :param folder: where the temporary folder of this run is made; default: the system's.
        """
        self.state = RunState()
        self.finished: RunEnd[Nodes] | None = None
        self._scene, self._request, self._python = scene, request, python
        self._on_state, self._on_log, self._on_finished = on_state, on_log, on_finished
        self._parent = folder
        self._folder: Path | None = None
        self._steps: list[Step] = []
        self._done_steps: list[Step] = []
        self._results: dict[str, dict[str, Any]] = {}
        self._job: Job | None = None
        self._started = self._step_started = 0.0
        self._pace = Pace({} if courses is None else courses)
        self._observers: list[int] = []
        self._names: dict[str, str] = {}

    # -- what runs -------------------------------------------------------------------------------------------

    def _write(self, folder: Path) -> list[Step]:
        """Write the nodes' files and plan the commands."""
        raise NotImplementedError

    def _arguments(self, step: Step) -> Sequence[str]:
        """The arguments of a step that is about to start."""
        return step.arguments

    def _import(self) -> Nodes:
        """Bring the results of the steps that are done into the scene, all or none."""
        raise NotImplementedError

    def _remark(self, nodes: Nodes) -> str:
        """What to say of a result besides that it is there."""
        return ""

    def _checks(self, error: Explained | None = None) -> tuple[Check, ...]:
        """What the steps that are done, and the error of the one that failed, say of the inputs."""
        return ()

    def _file(self, name: str, node: Any) -> Path:
        """The file that a node is written to; messages name the node instead."""
        assert self._folder is not None
        self._names[name] = str(node.GetName())
        return self._folder / name

    def _files(self, step: str) -> dict[str, Any]:
        """The files of a step that is done, by role, as its child named them."""
        result = self._results.get(step, {})
        files = result["cases"][0]["files"] if "cases" in result else result.get("files")
        if not files:
            raise InputError(f"The {step} returned no result.", "Run it again.")
        return dict(files)

    def _node(self, node_id: str, what: str) -> Any:
        node = self._scene.GetNodeByID(node_id)
        if node is None:
            raise InputError(f"The {what} is no longer in the scene.", "Choose it again.")
        return node

    # -- for the owner ---------------------------------------------------------------------------------------

    @property
    def is_active(self) -> bool:
        return self.state.is_busy

    def start(self) -> Self:
        """Write the inputs and start the first child. Bad inputs end the run at once, with their reason."""
        self._started = time.monotonic()
        self._set(RunState("preparing", "writing the images"))
        event = slicer.vtkMRMLScene.StartCloseEvent
        self._observers.append(self._scene.AddObserver(event, lambda *_: self.abandon()))
        try:
            self._folder = Path(tempfile.mkdtemp(prefix="mri2pet-", dir=self._parent))
            self._steps = self._write(self._folder)
            self._next()
        except _EXPECTED as error:
            self._fail(error)
        return self

    def pump(self) -> bool:
        """Deliver what has arrived; True while the run is active."""
        if self._job is not None:
            self._job.pump()
        return self.is_active

    def cancel(self) -> None:
        """End the child with everything it started; returns at once. The scene stays as it was."""
        if self._job is not None and self._job.is_active:
            self._set(self.state.cancelling())
            self._job.cancel()

    def wait(self) -> RunEnd[Nodes]:
        """Pump until the run has ended. An exception on the way (Ctrl-C) cancels the child."""
        try:
            while self.pump():
                time.sleep(_POLL_S)
        except BaseException:
            if self._job is not None:
                self._job.cancel()
            self._close()
            raise
        assert self.finished is not None
        return self.finished

    def abandon(self) -> None:
        """End the child now, and bring nothing back: the scene or the module closes."""
        job, self._job = self._job, None
        if job is not None and job.is_active:
            job.cancel()
            job.wait()
        if self.is_active:
            message = "The scene was closed, so the run was stopped."
            self._finish(RunEnd("cancelled", error=Cancelled(message)), RunState(message=message))

    # -- steps -----------------------------------------------------------------------------------------------

    def _next(self) -> None:
        step = self._steps[0]
        callbacks = Callbacks(
            progress=self._progress, log=self._tell, warning=self._tell, finished=self._ended
        )
        command = mri2pet_command(self._arguments(step), self._python)
        self._job = Job(command, callbacks, output=step.output).start()
        self._step_started = time.monotonic()
        self._pace.start()
        self._set(replace(self.state, phase="running", stage=f"starting the {step.name}"))

    def _tell(self, line: str) -> None:
        self._on_log(self._for_user(line))

    def _progress(self, progress: Progress) -> None:
        share, seconds = min(1.0, progress.done / progress.total), time.monotonic() - self._step_started
        self._pace.at(share, seconds)
        steps, place = [step.name for step in (*self._done_steps, *self._steps)], len(self._done_steps)
        left = self._pace.left_s(steps, place, share, seconds)
        done = self._pace.share_of_run(steps, place, share)
        self._set(self.state.at(Progress(done, 1.0, progress.stage, left)))

    def _ended(self, outcome: Outcome) -> None:
        if outcome.state == "cancelled":
            self._finish(RunEnd("cancelled", error=Cancelled("Cancelled.")), RunState(message="Cancelled."))
            return
        if outcome.error is not None and not self._done_steps:
            self._fail(outcome.error)
            return
        if outcome.error is None:
            step = self._steps.pop(0)
            self._done_steps.append(step)
            self._pace.end(step.name, time.monotonic() - self._step_started)
            self._results[step.name] = outcome.result or {}
        try:
            if self._steps and outcome.error is None:
                self._next()
                return
            self._set(RunState("importing", "showing the result", 1.0))
            nodes = self._import()
        except _EXPECTED as error:
            self._fail(error)
            return
        if outcome.error is not None:
            self._fail(outcome.error, nodes)
            return
        checks = self._checks()
        self._finish(
            RunEnd("done", nodes, checks=checks), RunState(message=self._done("Done", nodes, checks))
        )

    def _done(self, what: str, nodes: Nodes | None = None, checks: Sequence[Check] = ()) -> str:
        """How long it took, which lights are not green, and the remark."""
        took = f"{what} in {duration(time.monotonic() - self._started)}"
        lights = in_words(checks)
        return f"{took}{', ' if lights else ''}{lights}. {self._remark(nodes) if nodes else ''}".strip()

    # -- ends ------------------------------------------------------------------------------------------------

    def _fail(self, error: Exception | Explained, nodes: Nodes | None = None) -> None:
        failure = error if isinstance(error, Explained) else explain(error)
        checks = self._checks(failure)
        failure = type(failure)(
            self._for_user(failure.message), self._for_user(failure.hint), failure.findings
        )
        message = f"{self.partly} {failure}" if nodes else str(failure)
        self._on_log(str(failure))
        self._finish(RunEnd("failed", nodes, failure, checks), RunState("failed", message=message))

    def _for_user(self, text: str) -> str:
        """A message of a child with names of nodes for those of files, which say nothing to anybody."""
        if self._folder is not None:
            text = text.replace(f"{self._folder}{os.sep}", "")
        for file, name in self._names.items():
            text = text.replace(file, name)
        return text

    def _finish(self, finished: RunEnd[Nodes], state: RunState) -> None:
        self.finished = finished
        self._close()
        self._set(state)
        self._on_finished(finished)

    def _close(self) -> None:
        for observer in self._observers:
            self._scene.RemoveObserver(observer)
        self._observers.clear()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _set(self, state: RunState) -> None:
        self.state = state
        self._on_state(state)
