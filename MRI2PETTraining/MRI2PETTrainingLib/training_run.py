"""A training as a window runs it: a child process that may outlive the window, its state, its run folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from MRI2PETLib.core.errors import BundleError, Cancelled, InputError, MRI2PETError
from MRI2PETLib.jobs.child_process import Callbacks, Outcome, child_python
from MRI2PETLib.jobs.detached import DetachedJob, is_job_running
from MRI2PETLib.jobs.messages import Progress
from MRI2PETLib.jobs.run_state import RunState
from MRI2PETLib.models.store import import_bundle, user_folder
from MRI2PETTrainingLib.dataset.checks import noting_similar
from MRI2PETTrainingLib.dataset.manifest import read_dataset
from MRI2PETTrainingLib.run_folder import RunView, has_begun, read_run
from MRI2PETTrainingLib.settings import Task, TrainingSettings, check_run_folder


def missing(settings: TrainingSettings) -> str:
    """Why nothing can be started, empty when it can."""
    if not settings.dataset:
        return "Choose a dataset."
    if not Path(settings.dataset).expanduser().exists():
        return f"{settings.dataset} does not exist."
    if not settings.output:
        return "Choose a folder for the run."
    if Path(settings.output).is_file():
        return f"{settings.output} is a file."
    try:
        check_run_folder(settings)
    except InputError as error:
        return f"{error.message} {error.hint}"
    return ""


def default_run(dataset: str) -> str:
    """A folder for the run of a dataset: beside it."""
    path = Path(dataset)
    if not dataset or not path.name:
        return ""
    is_table = path.suffix.lower() in (".csv", ".tsv")
    folder = path.parent if path.name == "manifest.csv" else path.with_suffix("") if is_table else path
    return str(folder.with_name(f"{folder.name}-training"))


def run_for(dataset: str, output: str, before: tuple[str, str] | None = None) -> str:
    """The run folder that goes with what was chosen.

    :param before: dataset and run folder that were shown until now. Where another dataset is chosen and the
        folder is the one proposed for the dataset of before, or holds its run, a folder of its own is
        proposed: a run belongs to one dataset.
    """
    follows = not output
    if before is not None and dataset != before[0] and output == before[1]:
        follows = follows or output == _proposed(before[0]) or has_begun(Path(output))
    return _proposed(dataset) if follows else output


def _proposed(dataset: str) -> str:
    """:func:`default_run`, with a number where that holds a run of another dataset."""
    folder, number = default_run(dataset), 1
    path = folder
    while path and has_begun(Path(path)) and read_run(Path(path)).dataset != str(Path(dataset).resolve()):
        number += 1
        path = f"{folder}-{number}"
    return path


def list_cases(settings: TrainingSettings) -> RunView:
    """What a dataset holds, by its names alone: quick, before any check. No image is opened.

    :raises InputError: if there is no dataset.
    """
    manifest = noting_similar(read_dataset(settings.dataset, subject_pattern=settings.subject_pattern))
    about = [f"{f.message} {f.hint}" for f in manifest.about]
    rows = []
    for case in manifest.cases:
        row = {key: str(value or "") for key, value in asdict(case).items()}
        notes = [f"{f.message} {f.hint}" for f in manifest.findings.get(case.case, ())]
        if notes and not case.exclude:
            row |= {"level": "warn", "findings": " ".join(notes)}
        absent = [name.upper() for name in ("t1", "pet") if not Path(row[name]).exists()]
        if absent and not case.exclude:
            reason = f"There is no {' and no '.join(absent)}."
            row |= {"level": "refuse", "findings": " ".join([reason, *notes])}
        rows.append(row)
    return RunView(Path(settings.output), {}, tuple(rows), (), False, None, None, tuple(about))


class TrainingRun:
    """The job of a run folder. Its owner calls :meth:`pump` regularly, from the main thread."""

    def __init__(
        self,
        folder: Path | str,
        *,
        python: str | None = None,
        on_state: Callable[[RunState], None] = lambda state: None,
        on_log: Callable[[str], None] = lambda line: None,
        on_finished: Callable[[Outcome], None] = lambda outcome: None,
    ) -> None:
        """
        :param folder: the run folder.
        :param python: interpreter of the child, see :func:`MRI2PETLib.jobs.child_process.child_python`.
        """
        self.folder = Path(folder)
        self.state = RunState()
        self._python = python
        self._on_state, self._on_log, self._on_finished = on_state, on_log, on_finished
        self._job: DetachedJob | None = None

    @property
    def is_active(self) -> bool:
        return self._job is not None and self._job.is_active

    def start(self, settings: TrainingSettings, task: Task) -> TrainingRun:
        """Start the child. It goes on when this program ends, until :meth:`cancel` or :meth:`end`.

        :raises MRI2PETError: if it cannot be started, or something works in the folder already.
        """
        if is_job_running(self.folder):
            raise InputError(f"A training works in {self.folder} already.", "Attach to it, or stop it first.")
        command = [self._python or child_python(), "-m", "MRI2PETTrainingLib"]
        command += [*settings.arguments(), *task.arguments(), "--progress=json"]
        self._job = DetachedJob(command, self.folder, self._callbacks(), env=training_environment())
        self._set(RunState("preparing", "starting"))
        try:
            self._job.start()
        except MRI2PETError:
            self._job = None
            self._set(RunState())
            raise
        return self

    def attach(self) -> bool:
        """Follow what works in the folder, from its first line on; whether there is anything."""
        if not is_job_running(self.folder):
            return False
        self._job = DetachedJob.attach(self.folder, self._callbacks())
        self._set(RunState("preparing", "following"))
        return self._job is not None

    def pump(self) -> bool:
        """Deliver what has arrived; True while the child works."""
        return self._job is not None and self._job.pump()

    def cancel(self) -> None:
        """Stop the child; returns at once. Finished epochs are kept."""
        if self._job is not None and self._job.is_active:
            self._set(self.state.cancelling())
            self._job.cancel()

    def leave(self) -> None:
        """Stop following; the child goes on."""
        if self._job is not None:
            self._job.leave()
            self._job = None
            self._set(RunState())

    def end(self) -> None:
        """Stop the child now and wait for it: for a program that closes."""
        if self._job is not None:
            self._job.end()
            self._job = None

    def _callbacks(self) -> Callbacks:
        return Callbacks(
            progress=self._progress,
            log=self._on_log,
            warning=lambda line: self._on_log(f"Warning: {line}"),
            finished=self._finished,
        )

    def _progress(self, progress: Progress) -> None:
        self._set(self.state.at(progress))

    def _finished(self, outcome: Outcome) -> None:
        if isinstance(outcome.error, Cancelled):
            self._set(RunState(message="Stopped. What is finished is kept."))
        elif outcome.error is not None:
            self._on_log(str(outcome.error))
            self._set(RunState("failed", message=str(outcome.error)))
        else:
            self._set(RunState(message=closing_words(outcome)))
        self._on_finished(outcome)

    def _set(self, state: RunState) -> None:
        self.state = state
        self._on_state(state)


def closing_words(outcome: Outcome) -> str:
    """What a job that went well says of itself."""
    result = outcome.result or {}
    if "report" in result:
        return "Finished: ensemble, evaluation and report are ready."
    if "finished_folds" in result:
        done = ", ".join(map(str, result["finished_folds"])) or "none"
        return f"Finished folds: {done}."
    folds = result.get("folds", 0)
    split = "one split" if folds == 1 else f"{folds} folds"
    return f"Checked: {result.get('cases', 0)} cases can be used, {split}."


def training_environment() -> dict[str, str]:
    """This process's environment, in which a child finds the training library too."""
    library = str(Path(__file__).resolve().parents[1])
    paths = [library, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def register_model(ensemble: Path | str, *, replace_other: bool = False) -> str:
    """Copy a run's ensemble into the user's models, unless it is there, and return its id.

    :raises BundleError: if another model has its id and ``replace_other`` is false.
    """
    from MRI2PETLib.models.bundle import read_bundle

    bundle = read_bundle(ensemble)
    present = user_folder() / bundle.id
    if present.is_dir():
        try:
            if read_bundle(present).sha256 == bundle.sha256:
                return bundle.id
        except BundleError:
            pass  # damaged: to be replaced as another one would be
    return import_bundle(ensemble, replace=replace_other).id
