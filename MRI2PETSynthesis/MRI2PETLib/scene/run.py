"""Synthesis and comparison on nodes of a scene. No Qt."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import SimpleITK as sitk

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.evaluation.settings import CasePaths, EvaluationSettings
from MRI2PETLib.jobs.child_process import Outcome
from MRI2PETLib.jobs.run_state import RunState
from MRI2PETLib.reports.case_files import read_comparison
from MRI2PETLib.scene.comparison import add_comparison
from MRI2PETLib.scene.files import write_atlas, write_mask, write_pet, write_synthetic, write_t1
from MRI2PETLib.scene.job import RunEnd, SceneJob, Step
from MRI2PETLib.scene.nodes import all_or_nothing
from MRI2PETLib.scene.results import ResultNodes, Synthetic, add_result, read_synthetic
from MRI2PETLib.synthesis.input_checks import Check
from MRI2PETLib.synthesis.settings import CaseInputs, SynthesisSettings
from MRI2PETLib.templates.regions import Space

_SYNTHESIS, _COMPARISON = "synthesis", "comparison"


@dataclass(frozen=True)
class SynthesisRequest:
    """What to run, by node ID. ``synthetic``: compare this synthetic PET instead of making one;
    ``check_only``: only check the inputs.

    ``mask_segment``: segment of a segmentation, default its first. ``pet`` is the real PET; ``pet_unit``
    overrides what it states, ``window`` the minutes over which its frames are averaged.
    """

    t1: str
    settings: SynthesisSettings = SynthesisSettings()
    mask: str | None = None
    mask_segment: str | None = None
    pet: str | None = None
    pet_unit: str | None = None
    window: tuple[float, float] | None = None
    atlas: str | None = None
    atlas_space: Space = "native"
    synthetic: str | None = None
    check_only: bool = False


class SceneRun(SceneJob[SynthesisRequest, ResultNodes]):
    """One synthesis, one comparison, both, or a check; settings as those of
    :class:`~MRI2PETLib.scene.job.SceneJob`.
    """

    partly = "The synthetic PET is there, but the comparison failed."
    _name = ""

    def _write(self, folder: Path) -> list[Step]:
        """Write the nodes' files and plan the commands."""
        request = self._request
        t1_node = self._node(request.t1, "T1")
        self._name = t1_node.GetName()
        t1 = write_t1(t1_node, folder / "T1.nrrd")
        if request.check_only:
            return [self._check_step(folder, t1)]
        steps = []
        if request.synthetic is None:
            inputs = CaseInputs(mask=self._mask(folder, t1))
            arguments = ["synthesize", str(folder / "T1.nrrd"), "-o", str(folder / "out")]
            arguments += [*inputs.arguments(), *request.settings.arguments()]
            steps.append(Step(_SYNTHESIS, arguments, folder / "out"))
        else:
            write_synthetic(self._node(request.synthetic, "synthetic PET"), folder / "synthetic.nii.gz")
        if request.pet:
            self._pet(folder)
            settings = self._evaluation(folder, t1)
            arguments = ["evaluate", "-o", str(folder / "comparison"), *settings.arguments()]
            steps.append(Step(_COMPARISON, arguments, folder / "comparison"))
        if not steps:
            raise InputError("There is nothing to do.", "Choose a real PET to compare with.")
        return steps

    def _evaluation(self, folder: Path, t1: sitk.Image) -> EvaluationSettings:
        settings = EvaluationSettings(to_synthetic_unit=True, window=self._request.window)
        if not self._request.atlas:
            return settings
        path, space = folder / "atlas.nrrd", self._request.atlas_space
        table = write_atlas(self._node(self._request.atlas, "atlas"), space, t1, path)
        return replace(settings, atlas=(str(path),), labels=table, atlas_space=space)

    def _check_step(self, folder: Path, t1: sitk.Image) -> Step:
        pet = self._pet(folder) if self._request.pet else None
        inputs = CaseInputs(mask=self._mask(folder, t1), pet=pet, window=self._request.window)
        return Step("check", ["check", str(folder / "T1.nrrd"), *inputs.arguments()], folder)

    def _mask(self, folder: Path, t1: sitk.Image) -> Path | None:
        if not self._request.mask:
            return None
        node = self._node(self._request.mask, "brain mask")
        write_mask(node, self._request.mask_segment, t1, folder / "mask.nrrd")
        return folder / "mask.nrrd"

    def _pet(self, folder: Path) -> Path:
        node = self._node(str(self._request.pet), "real PET")
        write_pet(node, folder / "PET.nrrd", self._request.pet_unit)
        return folder / "PET.nrrd"

    def _arguments(self, step: Step) -> list[str]:
        if step.name != _COMPARISON:
            return step.arguments
        assert self._folder is not None
        paths = CasePaths(self._synthetic_file(), self._folder / "PET.nrrd", self._folder / "T1.nrrd")
        return [*step.arguments, *paths.arguments()]

    def _synthetic_file(self) -> Path:
        assert self._folder is not None
        if self._request.synthetic is not None:
            return self._folder / "synthetic.nii.gz"
        return Path(self._files(_SYNTHESIS)["pet"])

    def _ended(self, outcome: Outcome) -> None:
        if self._request.check_only and outcome.result is not None and outcome.state != "cancelled":
            checks = tuple(
                Check(
                    row["name"],
                    row["level"],
                    self._without_folder(row["message"]),
                    self._without_folder(row["hint"]),
                )
                for row in outcome.result["checks"]
            )
            self._finish(RunEnd("done", checks=checks), RunState(message="The inputs were checked."))
            return
        super()._ended(outcome)

    def _import(self) -> ResultNodes:
        """Bring the results of the steps that are done into the scene, all or none."""
        scene, request = self._scene, self._request
        done = [step.name for step in self._done_steps]
        pet_id, nodes = request.synthetic, None
        with all_or_nothing(scene):
            if _SYNTHESIS in done:
                nodes = add_result(scene, self._result(), scene.GetNodeByID(request.t1))
                pet_id = nodes.pet
            if _COMPARISON in done:
                assert pet_id is not None
                nodes = add_comparison(scene, pet_id, read_comparison(self._files(_COMPARISON)))
        assert nodes is not None
        return nodes

    def _result(self) -> Synthetic:
        result = read_synthetic(self._files(_SYNTHESIS))
        return replace(result, provenance={**result.provenance, "t1_node": self._name})
