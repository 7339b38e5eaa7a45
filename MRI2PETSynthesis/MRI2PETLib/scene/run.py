"""Synthesis and comparison on nodes of a scene. No Qt."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import SimpleITK as sitk

from MRI2PETLib.core.errors import Explained, InputError
from MRI2PETLib.evaluation.settings import CasePaths, EvaluationSettings
from MRI2PETLib.jobs.child_process import Outcome
from MRI2PETLib.jobs.run_state import RunState
from MRI2PETLib.reports.case_files import read_comparison
from MRI2PETLib.scene.comparison import add_comparison
from MRI2PETLib.scene.files import (
    tracer_of_node,
    write_atlas,
    write_mask,
    write_pet,
    write_synthetic,
    write_t1,
)
from MRI2PETLib.scene.job import RunEnd, SceneJob, Step
from MRI2PETLib.scene.nodes import all_or_nothing
from MRI2PETLib.scene.overwrite import overwrite_result
from MRI2PETLib.scene.results import ResultNodes, Synthetic, add_result, read_synthetic
from MRI2PETLib.scene.verdict import keep_verdict
from MRI2PETLib.synthesis.checks import Check
from MRI2PETLib.synthesis.run_checks import checks_of_comparison, checks_of_refusal, checks_of_synthesis
from MRI2PETLib.synthesis.settings import CaseInputs, SynthesisSettings
from MRI2PETLib.templates.regions import Space

_SYNTHESIS, _COMPARISON = "synthesis", "comparison"


@dataclass(frozen=True)
class SynthesisRequest:
    """What to run, by node ID. ``synthetic``: compare this synthetic PET instead of making one;
    ``check_only``: only check the inputs; ``output``: the earlier result that is overwritten.

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
    output: str | None = None
    check_only: bool = False


class SceneRun(SceneJob[SynthesisRequest, ResultNodes]):
    """One synthesis, one comparison, both, or a check; settings as those of
    :class:`~MRI2PETLib.scene.job.SceneJob`.
    """

    partly = "The synthetic PET is there, but the comparison failed."
    _name = _tracer = ""
    # What the results say of the inputs.
    _of_synthesis: tuple[Check, ...] = ()
    _of_comparison: tuple[Check, ...] = ()

    def _write(self, folder: Path) -> list[Step]:
        """Write the nodes' files and plan the commands."""
        request = self._request
        t1_node = self._node(request.t1, "T1")
        self._name = t1_node.GetName()
        t1 = write_t1(t1_node, self._file("T1.nrrd", t1_node))
        if request.check_only:
            return [self._check_step(folder, t1)]
        steps = []
        if request.synthetic is None:
            inputs = CaseInputs(mask=self._mask(t1))
            arguments = ["synthesize", str(folder / "T1.nrrd"), "-o", str(folder / "out")]
            arguments += [*inputs.arguments(), *request.settings.arguments()]
            steps.append(Step(_SYNTHESIS, arguments, folder / "out"))
        else:
            synthetic = self._node(request.synthetic, "synthetic PET")
            write_synthetic(synthetic, self._file("synthetic.nii.gz", synthetic))
        if request.pet:
            settings = self._evaluation(t1, self._pet())
            arguments = ["evaluate", "-o", str(folder / "comparison"), *settings.arguments()]
            steps.append(Step(_COMPARISON, arguments, folder / "comparison"))
        if not steps:
            raise InputError("There is nothing to do.", "Choose a real PET to compare with.")
        return steps

    def _evaluation(self, t1: sitk.Image, pet_unit: str | None) -> EvaluationSettings:
        settings = EvaluationSettings(to_synthetic_unit=True, window=self._request.window, pet_unit=pet_unit)
        if not self._request.atlas:
            return settings
        atlas, space = self._node(self._request.atlas, "atlas"), self._request.atlas_space
        path = self._file("atlas.nrrd", atlas)
        table = write_atlas(atlas, space, t1, path)
        return replace(settings, atlas=(str(path),), labels=table, atlas_space=space)

    def _check_step(self, folder: Path, t1: sitk.Image) -> Step:
        pet, unit = (folder / "PET.nrrd", self._pet()) if self._request.pet else (None, None)
        inputs = CaseInputs(mask=self._mask(t1), pet=pet, window=self._request.window, pet_unit=unit)
        return Step("check", ["check", str(folder / "T1.nrrd"), *inputs.arguments()], folder)

    def _mask(self, t1: sitk.Image) -> Path | None:
        if not self._request.mask:
            return None
        node = self._node(self._request.mask, "brain mask")
        path = self._file("mask.nrrd", node)
        write_mask(node, self._request.mask_segment, t1, path)
        return path

    def _pet(self) -> str | None:
        """Write the real PET; the setting ``pet_unit``."""
        node = self._node(str(self._request.pet), "real PET")
        self._tracer = tracer_of_node(node)
        return write_pet(node, self._file("PET.nrrd", node), self._request.pet_unit)

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
            checks = self._named(Check(**row) for row in outcome.result["checks"])
            self._finish(RunEnd("done", checks=checks), RunState(message=self._done("Checked", None, checks)))
            return
        super()._ended(outcome)

    def _checks(self, error: Explained | None = None) -> tuple[Check, ...]:
        refused = () if error is None else self._named(checks_of_refusal(error))
        return self._of_synthesis + self._of_comparison + refused

    def _named(self, checks: Iterable[Check]) -> tuple[Check, ...]:
        say = self._for_user
        return tuple(replace(check, message=say(check.message), hint=say(check.hint)) for check in checks)

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
                comparison = read_comparison(self._files(_COMPARISON))
                source = self._names.get("PET.nrrd", "")
                nodes = add_comparison(scene, pet_id, comparison, source, self._tracer)
                self._of_comparison = self._named(checks_of_comparison(comparison.verdict.findings))
            assert nodes is not None
            if request.output is not None and _SYNTHESIS in done:
                nodes = overwrite_result(scene, request.output, nodes)
            of_synthesis = self._of_synthesis if _SYNTHESIS in done else None
            of_comparison = self._of_comparison if _COMPARISON in done else None
            keep_verdict(scene, nodes, synthesis=of_synthesis, comparison=of_comparison, source=request.pet)
        return nodes

    def _result(self) -> Synthetic:
        result = read_synthetic(self._files(_SYNTHESIS))
        checks = checks_of_synthesis(result.findings, result.provenance["preprocessing"])
        self._of_synthesis = self._named(checks)
        return replace(result, provenance={**result.provenance, "t1_node": self._name})
