"""What the window works with: one run folder, its job, and its nodes in the scene. No Qt."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import slicer

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.jobs.child_process import Outcome
from MRI2PETLib.jobs.run_state import RunState
from MRI2PETTrainingLib.run_folder import RunView, read_run
from MRI2PETTrainingLib.scene.training import TrainingNodes
from MRI2PETTrainingLib.training_run import Request, Task, TrainingRun, list_cases, request_of

_LOOK_S = 2.0  # between two looks at the run folder


def _ignore(_: Any) -> None:
    """The callback of an owner who does not want to know."""


class TrainingSession:
    """Its owner calls :meth:`pump` regularly, from the main thread.

    :ivar view: what the chosen folders hold, ``None`` before anything is chosen.
    :ivar problem: why the dataset or the run folder cannot be used, else empty.
    :ivar request: what was chosen or started last.
    :ivar keep_running: what the user wants for a job that works when the program ends. A job that is found at
        work was left on purpose, or belongs to somebody else: it is to go on.
    """

    def __init__(
        self,
        scene: slicer.vtkMRMLScene,
        *,
        python: str | None = None,
        on_state: Callable[[RunState], None] = _ignore,
        on_log: Callable[[str], None] = _ignore,
        on_finished: Callable[[Outcome], None] = _ignore,
    ) -> None:
        """
        :param python: interpreter of the child, see :func:`MRI2PETLib.jobs.child_process.child_python`.
        """
        self.nodes = TrainingNodes(scene)
        self.view: RunView | None = None
        self.problem = ""
        self.request = Request("", "")
        self.keep_running = False
        self._python = python
        self._on_state, self._on_log, self._on_finished = on_state, on_log, on_finished
        self._run: TrainingRun | None = None
        self._state = RunState()
        self._looked = 0.0

    @property
    def state(self) -> RunState:
        return self._state

    @property
    def is_active(self) -> bool:
        return self._run is not None and self._run.is_active

    def choose(self, request: Request) -> Request:
        """Look at what the request names, and follow the job of its run folder if one works there.

        :returns: the request; for a folder that holds a run, that run's own but for device and workers.
        """
        if self.is_active:
            return request
        self.problem = ""
        self._state = RunState()
        if request.run != self.request.run:
            self.nodes.clear()
        view = read_run(Path(request.run)) if request.run else None
        if view is not None and view.begun:
            self.view = view
            try:
                request = replace(request_of(view), device=request.device, workers=request.workers)
            except InputError as error:
                self.problem = str(error)
        elif view is not None and view.cases and view.settings.get("dataset") == _resolved(request.dataset):
            self.view = view
        else:
            self.view = self._listing(request)
        self._show()
        self.request = request
        if not (request.run and self._attach(request.run)):
            self._on_state(self._state)
        return request

    def start(self, request: Request, task: Task) -> None:
        """Start, or go on with what the run folder holds; then device and workers alone are taken.

        :raises MRI2PETError: why it cannot be started.
        """
        view = read_run(Path(request.run))
        if view.begun:
            request = replace(request_of(view), device=request.device, workers=request.workers)
        self.request = request
        self._run = self._new_run(request.run)
        self._run.start(request, task, resume=view.begun)

    def cancel(self) -> None:
        if self._run is not None:
            self._run.cancel()

    def pump(self) -> bool:
        """Deliver what has arrived, look at the run folder now and then; True while the job works."""
        if self._run is None:
            return False
        active = self._run.pump()
        if active and time.monotonic() - self._looked > _LOOK_S:
            self.look()
        return active

    def look(self) -> None:
        """Show what the run folder holds now."""
        if self._run is not None:
            view = read_run(self._run.folder)
            self._looked = time.monotonic()
            if view.cases or self.view is None:
                self.view = view
                self._show()
            self._on_state(self._state)

    def close(self, *, keep_running: bool) -> None:
        """Leave the job, or end it."""
        if self._run is not None:
            if keep_running:
                self._run.leave()
            else:
                self._run.end()
            self._run = None

    def _attach(self, folder: str) -> bool:
        run = self._new_run(folder)
        if not run.attach():
            return False
        self._run = run
        self.keep_running = True
        return True

    def _new_run(self, folder: str) -> TrainingRun:
        return TrainingRun(
            folder,
            python=self._python,
            on_state=self._set,
            on_log=self._on_log,
            on_finished=self._finished,
        )

    def _listing(self, request: Request) -> RunView | None:
        if not request.dataset:
            return None
        try:
            return list_cases(request)
        except InputError as error:
            self.problem = str(error)
            return None

    def _set(self, state: RunState) -> None:
        self._state = state
        self._on_state(state)

    def _finished(self, outcome: Outcome) -> None:
        self.look()
        self._on_finished(outcome)

    def _show(self) -> None:
        if self.view is None:
            self.nodes.clear()
        else:
            self.nodes.update(self.view)


def _resolved(path: str) -> str:
    return str(Path(path).resolve()) if path else ""
