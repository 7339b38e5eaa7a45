"""Folds of one run that are trained at the same time, each by a process of its own: ``train --fold K``."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from MRI2PETLib.core import cancellation
from MRI2PETLib.core.progress import Reporter
from MRI2PETLib.core.threads import cores
from MRI2PETLib.jobs.child_process import Callbacks, Job, child_python
from MRI2PETLib.jobs.messages import Progress
from MRI2PETTrainingLib.plan import Plan
from MRI2PETTrainingLib.settings import Task, TrainingSettings
from MRI2PETTrainingLib.training_run import training_environment

_POLL_S = 0.1


class _FoldJob:
    """The process of one fold. What it says before it trains, its parent has said already."""

    def __init__(self, plan: Plan, number: int, share: Mapping[str, Any], reporter: Reporter) -> None:
        """:param share: settings by which folds at the same time share the cores."""
        self.stage, self.fraction = f"fold {number}", 0.0
        self._name, self._reporter, self._trains = f"fold {number}", reporter, False
        settings = replace(plan.settings, folds_at_once=1, **share)
        arguments = [*settings.arguments(), *Task(resume=True, fold=(number,)).arguments()]
        command = [child_python(), "-m", "MRI2PETTrainingLib", *arguments, "--progress=json"]
        callbacks = Callbacks(progress=self._progress, warning=self._warning)
        self.job = Job(command, callbacks, output=plan.run, env=training_environment()).start()

    def _progress(self, progress: Progress) -> None:
        self._trains = self._trains or progress.stage.startswith(self._name)
        if self._trains:
            self.stage, self.fraction = progress.stage, progress.done / progress.total

    def _warning(self, message: str) -> None:
        if self._trains:
            self._reporter.warning(f"{self._name}: {message}")


def train_side_by_side(plan: Plan, numbers: Sequence[int], reporter: Reporter) -> None:
    """Train these folds of a prepared run, ``folds_at_once`` of them at a time; they share the cores.

    :raises MRI2PETError: why a fold failed. The others are stopped; finished epochs are kept.
    """
    at_once = max(1, min(plan.settings.folds_at_once, len(numbers)))
    share = _share(plan.settings, at_once)
    waiting, before = list(numbers), ""
    work: list[_FoldJob] = []
    try:
        while waiting or work:
            while waiting and len(work) < at_once:
                work.append(_FoldJob(plan, waiting.pop(0), share, reporter))
            for fold in list(work):
                if not fold.job.pump():
                    work.remove(fold)
                    if fold.job.outcome is not None and fold.job.outcome.error is not None:
                        raise fold.job.outcome.error
            done = len(numbers) - len(waiting) - len(work) + sum(fold.fraction for fold in work)
            stage = "; ".join(fold.stage for fold in work)
            if stage and stage != before:
                reporter.progress(done, len(numbers), stage)
            before = stage
            cancellation.check()
            time.sleep(_POLL_S)
    finally:
        for fold in work:
            fold.job.cancel()
        while [fold for fold in work if fold.job.pump()]:
            time.sleep(_POLL_S)


def _share(settings: TrainingSettings, at_once: int) -> dict[str, Any]:
    """The cores of one of the folds; what the settings state themselves stays."""
    from MRI2PETTrainingLib.hardware import enough_loaders

    loaders = settings.loaders
    return {
        "threads": settings.threads or max(1, cores() // at_once),
        "loaders": enough_loaders(settings.device, at_once) if loaders is None else loaders,
    }
