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
from MRI2PETTrainingLib.run_folder import RunView, read_run, settings_of_run
from MRI2PETTrainingLib.scene.training import TrainingNodes
from MRI2PETTrainingLib.settings import Task, TrainingSettings
from MRI2PETTrainingLib.training_run import TrainingRun, list_cases

_LOOK_S = 2.0  # between two looks at the run folder


def _ignore(_: Any) -> None:
    """The callback of an owner who does not want to know."""


class TrainingSession:
    """Its owner calls :meth:`pump` regularly, from the main thread.

    :ivar view: what the chosen folders hold, ``None`` before anything is chosen.
    :ivar problem: why the dataset or the run folder cannot be used, else empty.
    :ivar settings: what was chosen or started last.
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
        self.settings = TrainingSettings("", "")
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

    def choose(self, settings: TrainingSettings) -> TrainingSettings:
        """Look at what the settings name, and follow the job of their run folder if one works there.

        :returns: the settings; for a folder that holds a run, that run's own but for those of the machine.
        """
        if self.is_active:
            return settings
        self.problem = ""
        self._state = RunState()
        if settings.output != self.settings.output:
            self.nodes.clear()
        view = read_run(Path(settings.output)) if settings.output else None
        if view is not None and view.begun:
            self.view = view
            try:
                settings = _going_on(view, settings)
            except InputError as error:
                self.problem = str(error)
        elif view is not None and view.cases and view.dataset == _resolved(settings.dataset):
            self.view = view
        else:
            self.view = self._listing(settings)
        self._show()
        self.settings = settings
        if not (settings.output and self._attach(settings.output)):
            self._on_state(self._state)
        return settings

    def start(self, settings: TrainingSettings, *, check: bool = False) -> None:
        """Start, or go on with what the run folder holds; then only what is about the machine is taken.

        :param check: only check and prepare the dataset, and make the folds.
        :raises MRI2PETError: why it cannot be started.
        """
        view = read_run(Path(settings.output))
        if view.begun:
            settings = _going_on(view, settings)
        self.settings = settings
        self._run = self._new_run(settings.output)
        self._run.start(settings, Task(check=check, resume=view.begun))

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

    def _listing(self, settings: TrainingSettings) -> RunView | None:
        if not settings.dataset:
            return None
        try:
            return list_cases(settings)
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


def _going_on(view: RunView, settings: TrainingSettings) -> TrainingSettings:
    """The settings of a run, on the machine as ``settings`` have it."""
    own = {name: getattr(settings, name) for name in ("device", "workers", "folds_at_once")}
    return replace(settings_of_run(view), **own)


def _resolved(path: str) -> str:
    return str(Path(path).resolve()) if path else ""
