"""One run on nodes of a scene: write them, let child processes work, bring the results back. No Qt.

Nodes are held by ID and looked up again at the end: they may be deleted, and the scene closed, while a child
works. Results enter the scene when everything has succeeded; after Cancel it is as it was.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import SimpleITK as sitk
import slicer

from MRI2PETLib.comparison_files import read_comparison
from MRI2PETLib.errors import Cancelled, InputError, MRI2PETError
from MRI2PETLib.evaluation.regions import Space
from MRI2PETLib.jobs import Callbacks, Job, Outcome, Progress, mri2pet_command
from MRI2PETLib.model_store import DEFAULT_MODEL
from MRI2PETLib.run_state import RunState, duration
from MRI2PETLib.scene import ResultNodes, Synthetic, add_result, read_synthetic
from MRI2PETLib.scene_comparison import add_comparison
from MRI2PETLib.scene_files import write_atlas, write_mask, write_pet, write_synthetic, write_t1
from MRI2PETLib.scene_nodes import all_or_nothing

if TYPE_CHECKING:
    from MRI2PETLib.preflight import Check

_POLL_S = 0.05
# Share of the time that a synthesis takes when a comparison follows it; only the bar depends on it.
_SYNTHESIS_SHARE = 0.5


@dataclass(frozen=True)
class Request:
    """What to run, by node ID. ``synthetic``: compare this synthetic PET instead of making one;
    ``check_only``: only check the inputs.

    ``mask_segment``: segment of a segmentation, default its first. ``real_unit`` overrides what the PET
    states. The other settings are those of :func:`MRI2PETLib.synthesis.synthesize`.
    """

    t1: str
    model: str = DEFAULT_MODEL
    mask: str | None = None
    mask_segment: str | None = None
    real: str | None = None
    real_unit: str | None = None
    atlas: str | None = None
    atlas_space: Space = "native"
    device: str = "auto"
    precision: str = "fp32"
    samples: int = 1
    seed: int = 0
    synthetic: str | None = None
    check_only: bool = False


@dataclass(frozen=True)
class Finished:
    """How a run ended. ``nodes`` are there even with an ``error`` when only the comparison failed; ``checks``
    are those of :mod:`MRI2PETLib.preflight`.
    """

    state: Literal["done", "failed", "cancelled"]
    nodes: ResultNodes | None = None
    error: MRI2PETError | None = None
    checks: tuple[Check, ...] = ()


@dataclass(frozen=True)
class _Step:
    name: str
    arguments: list[str]
    output: Path


class SceneRun:
    """A run. Its owner calls :meth:`pump` regularly, or :meth:`wait` once, from the main thread."""

    def __init__(
        self,
        scene: slicer.vtkMRMLScene,
        request: Request,
        *,
        python: str | None = None,
        folder: Path | None = None,
        on_state: Callable[[RunState], None] = lambda state: None,
        on_log: Callable[[str], None] = lambda line: None,
        on_finished: Callable[[Finished], None] = lambda finished: None,
    ) -> None:
        """
        :param python: interpreter of the children, see :func:`MRI2PETLib.jobs.mri2pet_command`.
        :param folder: where the temporary folder of this run is made; default: the system's.
        """
        self.state = RunState()
        self.finished: Finished | None = None
        self._scene, self._request, self._python = scene, request, python
        self._on_state, self._on_log, self._on_finished = on_state, on_log, on_finished
        self._parent = folder
        self._folder: Path | None = None
        self._steps: list[_Step] = []
        self._done_steps: list[_Step] = []
        self._job: Job | None = None
        self._name = ""
        self._started = 0.0
        self._observers: list[int] = []

    @property
    def is_active(self) -> bool:
        return self.state.is_busy

    def start(self) -> SceneRun:
        """Write the inputs and start the first child. Bad inputs end the run at once, with their reason."""
        self._started = time.monotonic()
        self._set(RunState("preparing", "writing the images"))
        event = slicer.vtkMRMLScene.StartCloseEvent
        self._observers.append(self._scene.AddObserver(event, lambda *_: self.abandon()))
        try:
            self._folder = Path(tempfile.mkdtemp(prefix="mri2pet-", dir=self._parent))
            self._steps = self._write(self._folder)
            self._next()
        except (MRI2PETError, OSError) as error:
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

    def wait(self) -> Finished:
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

    # -- steps -----------------------------------------------------------------------------------------------

    def _write(self, folder: Path) -> list[_Step]:
        """Write the nodes' files and plan the commands."""
        request = self._request
        t1_node = self._node(request.t1, "T1")
        self._name = t1_node.GetName()
        t1 = write_t1(t1_node, folder / "T1.nrrd")
        if request.check_only:
            return [self._check_step(folder, t1)]
        steps = []
        if request.synthetic is None:
            arguments = ["synthesize", str(folder / "T1.nrrd"), "-o", str(folder / "out")]
            arguments += ["--model", request.model, "--device", request.device]
            arguments += ["--precision", request.precision]
            arguments += ["--samples", str(request.samples), "--seed", str(request.seed)]
            arguments += self._mask(folder, t1)
            steps.append(_Step("synthesis", arguments, folder / "out"))
        else:
            write_synthetic(self._node(request.synthetic, "synthetic PET"), folder / "synthetic.nii.gz")
        if request.real:
            arguments = ["evaluate", "--real", self._pet(folder), "--t1", str(folder / "T1.nrrd")]
            arguments += ["--register", "rigid", "--to-synthetic-unit", "-o", str(folder / "comparison")]
            if request.atlas:
                atlas = self._node(request.atlas, "atlas")
                table = write_atlas(atlas, request.atlas_space, t1, folder / "atlas.nrrd")
                arguments += ["--atlas", str(folder / "atlas.nrrd"), "--labels", str(table)]
                arguments += ["--atlas-space", request.atlas_space]
            steps.append(_Step("comparison", arguments, folder / "comparison"))
        if not steps:
            raise InputError("There is nothing to do.", "Choose a real PET to compare with.")
        return steps

    def _check_step(self, folder: Path, t1: sitk.Image) -> _Step:
        arguments = ["check", str(folder / "T1.nrrd"), *self._mask(folder, t1)]
        if self._request.real:
            arguments += ["--pet", self._pet(folder)]
        return _Step("check", arguments, folder)

    def _mask(self, folder: Path, t1: sitk.Image) -> list[str]:
        if not self._request.mask:
            return []
        node = self._node(self._request.mask, "brain mask")
        write_mask(node, self._request.mask_segment, t1, folder / "mask.nrrd")
        return ["--mask", str(folder / "mask.nrrd")]

    def _pet(self, folder: Path) -> str:
        node = self._node(str(self._request.real), "real PET")
        write_pet(node, folder / "PET.nrrd", self._request.real_unit)
        return str(folder / "PET.nrrd")

    def _node(self, node_id: str, what: str) -> Any:
        node = self._scene.GetNodeByID(node_id)
        if node is None:
            raise InputError(f"The {what} is no longer in the scene.", "Choose it again.")
        return node

    def _next(self) -> None:
        step = self._steps[0]
        arguments = list(step.arguments)
        if step.name == "comparison":
            arguments += ["--synthetic", str(self._synthetic_file())]
        callbacks = Callbacks(
            progress=self._progress, log=self._on_log, warning=self._on_log, finished=self._ended
        )
        command = mri2pet_command(arguments, self._python)
        self._job = Job(command, callbacks, output=step.output).start()
        self._set(replace(self.state, phase="running", stage=f"starting the {step.name}"))

    def _synthetic_file(self) -> Path:
        assert self._folder is not None
        if self._request.synthetic is not None:
            return self._folder / "synthetic.nii.gz"
        return next((self._folder / "out").rglob("*_desc-synthetic_pet.nii.gz"))

    def _progress(self, progress: Progress) -> None:
        total = len(self._steps) + len(self._done_steps)
        share = [1.0] if total == 1 else [_SYNTHESIS_SHARE, 1 - _SYNTHESIS_SHARE]
        place = len(self._done_steps)
        done = sum(share[:place]) + share[place] * min(1.0, progress.done / progress.total)
        eta = (time.monotonic() - self._started) * (1 - done) / done if done > 0.02 else None
        self._set(self.state.at(Progress(done, 1.0, progress.stage, eta)))

    def _ended(self, outcome: Outcome) -> None:
        if outcome.state == "cancelled":
            self._finish(Finished("cancelled", error=Cancelled("Cancelled.")), RunState(message="Cancelled."))
            return
        if self._request.check_only and outcome.result is not None:
            checks = _checks(outcome.result)
            self._finish(Finished("done", checks=checks), RunState(message="The inputs were checked."))
            return
        if outcome.error is not None and not self._done_steps:
            self._fail(outcome.error)
            return
        if outcome.error is None:
            self._done_steps.append(self._steps.pop(0))
        try:
            if self._steps and outcome.error is None:
                self._next()
                return
            self._set(RunState("importing", "showing the result", 1.0))
            nodes = self._import()
        except (MRI2PETError, OSError) as error:
            self._fail(error)
            return
        if outcome.error is not None:
            self._fail(outcome.error, nodes)
            return
        took = duration(time.monotonic() - self._started)
        self._finish(Finished("done", nodes), RunState(message=f"Done in {took}."))

    def _import(self) -> ResultNodes:
        """Bring the results of the steps that are done into the scene, all or none."""
        scene, request = self._scene, self._request
        done = [step.name for step in self._done_steps]
        pet_id, nodes = request.synthetic, None
        with all_or_nothing(scene):
            if "synthesis" in done:
                nodes = add_result(scene, self._result(), scene.GetNodeByID(request.t1))
                pet_id = nodes.pet
            if "comparison" in done:
                assert pet_id is not None
                nodes = add_comparison(scene, pet_id, read_comparison(self._done_steps[-1].output))
        assert nodes is not None
        return nodes

    def _result(self) -> Synthetic:
        result = read_synthetic(self._synthetic_file())
        return replace(result, provenance={**result.provenance, "t1_node": self._name})

    # -- ends ------------------------------------------------------------------------------------------------

    def _fail(self, error: Exception, nodes: ResultNodes | None = None) -> None:
        known = error if isinstance(error, MRI2PETError) else MRI2PETError(str(error))
        prefix = "The synthetic PET is there, but the comparison failed. " if nodes else ""
        self._on_log(str(known))
        self._finish(Finished("failed", nodes, known), RunState("failed", message=f"{prefix}{known}"))

    def abandon(self) -> None:
        """End the child now, and bring nothing back: the scene or the module closes."""
        job, self._job = self._job, None
        if job is not None and job.is_active:
            job.cancel()
            job.wait()
        if self.is_active:
            message = "The scene was closed: the run was ended."
            self._finish(Finished("cancelled", error=Cancelled(message)), RunState(message=message))

    def _finish(self, finished: Finished, state: RunState) -> None:
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


def _checks(result: dict[str, Any]) -> tuple[Check, ...]:
    from MRI2PETLib.preflight import Check

    return tuple(Check(**row) for row in result["checks"])
