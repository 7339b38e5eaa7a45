"""The evaluation of a cohort from Slicer: a run folder or a table in, a report in its folder out. No Qt."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from MRI2PETLib.evaluation.cohort_cases import PREDICTIONS
from MRI2PETLib.evaluation.cohort_maps import COHORT_MAPS
from MRI2PETLib.evaluation.settings import EvaluationSettings
from MRI2PETLib.reports.case_report import REPORT_FILE
from MRI2PETLib.reports.page import how_many
from MRI2PETLib.scene.job import SceneJob, Step

_FOLDER = "cohort"
_EVALUATION = "evaluation"


@dataclass(frozen=True)
class CohortRequest:
    """What to evaluate: the folder of a cross-validation run, or a table of pairs."""

    path: Path
    settings: EvaluationSettings = EvaluationSettings()


@dataclass(frozen=True)
class CohortResult:
    """The report, which lies beside the tables of the evaluation; how many people and scans are in it, and
    how many cases could not be evaluated.
    """

    report: Path
    people: int
    scans: int
    failed: int


def cohort_folder(path: Path) -> Path:
    """Where the evaluation of a run or a table goes: into the run, or beside the table."""
    return path / _FOLDER if path.is_dir() else path.with_name(f"{path.stem}-{_FOLDER}")


def cohort_report(path: Path | None) -> Path | None:
    """The report of a run or a table, if it was evaluated here."""
    report = None if path is None else cohort_folder(path) / REPORT_FILE
    return report if report is not None and report.is_file() else None


def missing_for_cohort(path: Path | None) -> str:
    """Why nothing can be evaluated, empty when it can."""
    if path is None:
        return "Choose the folder of a cross-validation run, or a table of pairs."
    if path.is_dir() and not (path / PREDICTIONS).is_file():
        return f"{path} has no {PREDICTIONS}: it is no finished cross-validation run."
    return "" if path.exists() else f"{path} does not exist."


class CohortRun(SceneJob[CohortRequest, CohortResult]):
    """One evaluation; settings as those of :class:`.job.SceneJob`. The scene stays as it is."""

    def _write(self, folder: Path) -> list[Step]:
        path, output = self._request.path, cohort_folder(self._request.path)
        kind = "--run" if path.is_dir() else "--pairs"
        arguments = ["evaluate", f"{kind}={path}", "-o", str(output), *self._request.settings.arguments()]
        return [Step(_EVALUATION, arguments, output)]

    def _import(self) -> CohortResult:
        result = self._results[_EVALUATION]
        report = Path(self._files(_EVALUATION)["report"])
        return CohortResult(report, int(result["people"]), int(result["scans"]), len(result["failed"]))

    def _remark(self, nodes: CohortResult) -> str:
        remarks = []
        if nodes.failed:
            remarks.append(f"{how_many(nodes.failed, 'case')} could not be evaluated: see the report.")
        if self._request.settings.mni:
            remarks.append(f"Maps: {nodes.report.parent / COHORT_MAPS}.")
        return " ".join(remarks)
