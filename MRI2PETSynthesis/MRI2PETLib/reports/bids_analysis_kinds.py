"""Done with the real PETs of a BIDS dataset: SUVR, comparison with the synthetic PET, score by a norm."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from MRI2PETLib.core.case_status import Figure, StatusTable
from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.files import read_object, write_json
from MRI2PETLib.core.progress import Reporter
from MRI2PETLib.core.requests import Request, located, read_record
from MRI2PETLib.evaluation.case import SCALE_FREE, STATED_UNIT
from MRI2PETLib.evaluation.settings import CasePaths, EvaluationSettings
from MRI2PETLib.images.bids import read_sidecar, stated_of_person
from MRI2PETLib.images.case_table import columns_of
from MRI2PETLib.images.formats import sidecar_path
from MRI2PETLib.normative.norm import Norm
from MRI2PETLib.normative.settings import ScorePaths, ScoreSettings
from MRI2PETLib.preprocessing.tracers import tracer_name
from MRI2PETLib.reports.bids_analysis_base import PetAnalysis, PetCase, tracer_in_name
from MRI2PETLib.reports.case_report import METRICS_FILE
from MRI2PETLib.reports.evaluation import evaluate_pair, request_of_pair
from MRI2PETLib.reports.normative import SCORE_FILE, score_into, score_request
from MRI2PETLib.reports.suvr_files import write_suvr
from MRI2PETLib.reports.suvr_report import note_of
from MRI2PETLib.suvr import files as suvr_files
from MRI2PETLib.suvr.case import SuvrSetup
from MRI2PETLib.suvr.run import measure_case, title_of
from MRI2PETLib.suvr.settings import SuvrPaths
from MRI2PETLib.synthesis.batch import SYNTHESIS
from MRI2PETLib.synthesis.cases import Case
from MRI2PETLib.synthesis.settings import PetReading
from MRI2PETLib.templates.regions import Parcellation

_FOLDERS = ("sub-*/pet/", "sub-*/ses-*/pet/")
SUVR_TABLE = StatusTable(
    "suvr",
    "_desc-suvr_status.json",
    _FOLDERS,
    (
        Figure("method"),
        Figure("composite", "Composite SUVR"),
        Figure("pet_coverage", "Brain measured (share)"),
    ),
    worst="pet_coverage",
    title="SUVR",
)
EVALUATION_TABLE = StatusTable(
    "evaluation",
    "_desc-evaluation_status.json",
    _FOLDERS,
    (
        Figure("synthetic"),
        Figure("unit"),
        Figure("pearson_r", "r"),
        Figure("mae", "MAE"),
        Figure("normdiff_median", "NormDiff, median"),
        Figure("pet_coverage", "Brain measured (share)"),
    ),
    worst="pearson_r",
    title="Synthetic against real PET",
)
SCORE_TABLE = StatusTable(
    "score",
    "_desc-score_status.json",
    _FOLDERS,
    (
        Figure("peak_z", "Farthest z in a cluster"),
        Figure("p_peak", "p over the brain"),
        Figure("peak_region"),
        Figure("clusters", "Clusters"),
    ),
    worst="-peak_z",
    title="Scores by the norm",
)


@dataclass(frozen=True)
class SuvrAnalysis(PetAnalysis):
    """``mri2pet suvr`` with the T1 of the session."""

    setup: SuvrSetup
    reading: PetReading
    table: ClassVar[StatusTable] = SUVR_TABLE
    process_gb: ClassVar[float] = 1.7

    def request_of(self, case: PetCase) -> Request:
        return suvr_files.suvr_request(self._paths(case), self.setup)

    def write(
        self, case: PetCase, folder: Path, reporter: Reporter
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        measured = measure_case(
            title_of(case.pet), self._paths(case), self.setup, folder, write_suvr, reporter, reporter.progress
        )
        content = measured.content
        method = next(iter(content["Composite"]))
        figures = {
            "method": method,
            "composite": _digits(content["Composite"][method], 4),
            "pet_coverage": content["PetCoverage"][method],
            "note": note_of(content),
        }
        return figures, content["Quality"], measured.files

    def derivatives(self, case: PetCase, scratch: Path, folder: Path) -> dict[str, Path]:
        """The PET in SUVR."""
        pet, made = scratch / f"{self.name_of(case)}_desc-suvr_pet.nii.gz", folder / suvr_files.SUVR
        try:
            os.link(made, pet)
        except OSError:  # a file system without links
            shutil.copyfile(made, pet)
        address = case.case.address(case.pet)
        about = {"Sources": [address], "SpatialReference": address, "SkullStripped": False}
        if tracer := read_sidecar(case.pet).get("TracerName"):
            about["TracerName"] = tracer
        write_json(sidecar_path(pet), {**read_object(sidecar_path(made)), **about})
        return {"suvr_pet": pet}

    def _paths(self, case: PetCase) -> SuvrPaths:
        reading = {name: value for name, value in vars(self.reading).items() if name in SuvrPaths.options()}
        return SuvrPaths(case.pet, case.case.t1, **reading)


@dataclass(frozen=True)
class EvaluationAnalysis(PetAnalysis):
    """``mri2pet evaluate`` of what ``synthesize`` has made of the T1 in the same output folder."""

    settings: EvaluationSettings
    atlases: Sequence[Parcellation]
    table: ClassVar[StatusTable] = EVALUATION_TABLE
    process_gb: ClassVar[float] = 2.4

    def cases_of(self, cases: Sequence[Case], tracer: str, warn: Callable[[str], None]) -> list[PetCase]:
        """Every synthetic PET of a T1 with a real one, of its tracer where there are several."""
        result = []
        for case in cases:
            synthetics = _synthetics(self.output, case)
            for tracer, files in synthetics.items() or [("", {})]:
                own = super().cases_of([case], tracer, warn)
                result += [
                    replace(one, tracer=tracer, synthetic=files.get("pet"), mask=files.get("mask"))
                    for one in own
                ]
        return result

    def request_of(self, case: PetCase) -> Request:
        return request_of_pair(self._paths(case), self.settings, self.atlases)

    def write(
        self, case: PetCase, folder: Path, reporter: Reporter
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        result = evaluate_pair(self._paths(case), self.settings, self.atlases, folder, reporter)
        scales, content = result["scales"], read_object(folder / METRICS_FILE)
        scale = scales[STATED_UNIT if STATED_UNIT in scales else SCALE_FREE]
        names = ("pearson_r", "mae", "normdiff_median")
        figures = {
            "synthetic": str(case.synthetic),
            "unit": scale["unit"],
            **{name: _digits(scale["network"].get(name), 4) for name in names},
            "pet_coverage": result["pet_coverage"],
            "note": content["description"],
        }
        return figures, content["quality"], result["files"]

    def _paths(self, case: PetCase) -> CasePaths:
        if case.synthetic is None:
            raise _no_synthetic(case)
        return CasePaths(case.synthetic, case.pet, case.case.t1, case.mask)


@dataclass(frozen=True)
class ScoreAnalysis(PetAnalysis):
    """``mri2pet normative score`` with what the dataset says of each person.

    :ivar folder: of the norm.
    :ivar with_synthetic: by what ``synthesize`` has made of the T1, not by the norm's own model.
    """

    norm: Norm
    folder: Path
    settings: ScoreSettings
    with_synthetic: bool
    table: ClassVar[StatusTable] = SCORE_TABLE
    process_gb: ClassVar[float] = 2.0

    def cases_of(self, cases: Sequence[Case], tracer: str, warn: Callable[[str], None]) -> list[PetCase]:
        """With the synthetic PET of the norm's tracer, where that is asked for."""
        plain_cases = super().cases_of(cases, tracer, warn)
        if not self.with_synthetic:
            return plain_cases
        result = []
        for one in plain_cases:
            by_tracer = {tracer_name(t): files for t, files in _synthetics(self.output, one.case).items()}
            files = by_tracer.get(tracer_name(tracer), {})
            result.append(replace(one, synthetic=files.get("pet"), mask=files.get("mask")))
        return result

    def request_of(self, case: PetCase) -> Request:
        return score_request(self._paths(case), self._settings(case), self.norm)

    def write(
        self, case: PetCase, folder: Path, reporter: Reporter
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        result = score_into(self._paths(case), self._settings(case), folder, reporter, self.norm)
        content, largest = read_object(folder / SCORE_FILE), result["largest"] or {}
        figures = {
            "peak_z": _digits(largest.get("peak_z"), 4),
            "p_peak": _digits(largest.get("p_peak"), 3),
            "peak_region": largest.get("region"),
            "clusters": sum(cluster["kind"] == largest.get("kind") for cluster in content["clusters"]),
            "note": content["description"],
        }
        return figures, content["quality"], result["files"]

    def _paths(self, case: PetCase) -> ScorePaths:
        if not self.with_synthetic:
            return ScorePaths(case.pet, case.case.t1, self.folder)
        if case.synthetic is None:
            raise _no_synthetic(case)
        return ScorePaths(case.pet, case.case.t1, self.folder, case.mask, case.synthetic)

    def _settings(self, case: PetCase) -> ScoreSettings:
        """With the covariates of the person that the tables of the dataset state; those of the command line
        are everybody's.
        """
        everybody = {text.partition("=")[0].strip().lower() for text in self.settings.covariate}
        names = [c.name for c in self.norm.about.covariates if c.name not in everybody]
        entries = ((name, stated_of_person(case.pet, *columns_of(name))) for name in names)
        more = tuple(f"{name}={text}" for name, text in entries if text)
        return replace(self.settings, covariate=(*self.settings.covariate, *more))


def _synthetics(output: Path, case: Case) -> dict[str, dict[str, Any]]:
    """What was synthesised from a T1: the files by tracer and role."""
    result = {}
    for path in sorted((output / case.folder).glob(f"*{SYNTHESIS.suffix}")):
        record = read_record(path)
        if record is not None and record["about"].get("case") == case.name:
            files = located(path.parent, record["about"].get("files", {}))
            if "pet" in files:
                result[tracer_in_name(files["pet"])] = files
    return result


def _no_synthetic(case: PetCase) -> InputError:
    return InputError(
        f"The output folder holds no synthetic PET of {case.case.name}.",
        "Run --analysis synthesize with the same output folder first.",
    )


def _digits(value: float | None, digits: int) -> str | None:
    return None if value is None else f"{value:.{digits}g}"
