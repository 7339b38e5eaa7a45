"""Work on the real PETs of a BIDS dataset, one result a case: what all analyses share.

Each writes what its own command writes, by the same code, into a folder a case beside its status file:
``sub-01/ses-a/pet/sub-01_ses-a_trc-PBR28_desc-suvr_report/``.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from MRI2PETLib.core.case_status import Status, StatusTable, status_of_shared_cases
from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.files import new_folder, output_folder
from MRI2PETLib.core.leftovers import sweep
from MRI2PETLib.core.names import LONGEST_NAME
from MRI2PETLib.core.progress import CaseReporter, ProgressCallback, Reporter
from MRI2PETLib.core.requests import Request, Result
from MRI2PETLib.images.bids_names import entity, name_of_pet
from MRI2PETLib.images.formats import image_stem
from MRI2PETLib.synthesis.bids_selection import pet_of_session
from MRI2PETLib.synthesis.cases import Case
from MRI2PETLib.synthesis.dataset_description import describe_dataset


@dataclass(frozen=True)
class PetCase:
    """A T1 of a BIDS dataset with a real PET of its session.

    :ivar tracer: names the result; ``synthetic``: the PET that was synthesised from this T1, ``mask``: the
        brain that was found for it.
    """

    case: Case
    pet: Path
    tracer: str = ""
    synthetic: Path | None = None
    mask: Path | None = None


@dataclass(frozen=True)
class PetAnalysis(ABC):
    """Work on the cases of a dataset, see :class:`.CaseWork`.

    :ivar table: of the analysis; ``process_gb``: memory of a process, measured with T1 and PET of 1 mm, see
        Docs/how_to/cluster.md.
    """

    output: Path
    reporter: Reporter
    reads_ahead: ClassVar[bool] = False
    table: ClassVar[StatusTable]
    process_gb: ClassVar[float]

    def cases_of(self, cases: Sequence[Case], tracer: str, warn: Callable[[str], None]) -> list[PetCase]:
        """T1s whose sessions have a PET, with the PET that is used.

        :param tracer: of that PET, where a session has several; empty for any.
        :param warn: is told of those.
        """
        result = []
        for case in cases:
            pet = pet_of_session(case, tracer, warn)
            if pet is not None:
                result.append(PetCase(case, pet, tracer_in_name(pet)))
        return result

    def about(self, case: PetCase) -> dict[str, Any]:
        return {"case": case.case.name, "t1": str(case.case.t1), "pet": str(case.pet)}

    def record(self, case: PetCase) -> Path:
        return self.output / case.case.folder / "pet" / f"{self.name_of(case)}{self.table.suffix}"

    def result(self, case: PetCase) -> Result:
        return Result(self.record(case).parent, self.record(case).name)

    def request(self, case: PetCase) -> Request:
        if len(self.record(case).name.encode()) > LONGEST_NAME:
            raise InputError(f"The name of {case.case.name[:60]}... is too long.", "Rename the T1.")
        return self.request_of(case)

    def read(self, case: PetCase, request: Request, progress: ProgressCallback) -> None:  # noqa: B027
        """Nothing: a case is claimed when its turn comes."""

    def make(
        self, case: PetCase, request: Request, ready: None, progress: ProgressCallback
    ) -> dict[str, Any]:
        started, result, about = time.perf_counter(), self.result(case), self.about(case)
        # Not where the result is staged: there whatever cannot be read would pass for what cannot be written.
        with new_folder(result.folder) as scratch:
            folder = scratch / f"{self.name_of(case)}_desc-{self.table.name}_report"
            own = CaseReporter(self.reporter, case.case.name, progress)
            figures, quality, files = self.write(case, folder, own)
            files |= self.derivatives(case, scratch, folder)
            warned = [finding for finding in quality["findings"] if finding["level"] == "warn"]
            about |= {
                "status": "done",
                "quality": quality["level"],
                "message": " ".join(f"{one['message']} {one['hint']}".strip() for one in warned),
                **{name: "" if value is None else value for name, value in figures.items()},
                "files": _relative(files, scratch),
                "seconds": f"{time.perf_counter() - started:.1f}",
            }
            with result.make(request, about) as staging:
                for path in sorted(scratch.iterdir()):
                    path.replace(staging / path.name)
        return about

    def derivatives(self, case: PetCase, scratch: Path, folder: Path) -> dict[str, Path]:
        """Put what BIDS has a name for beside the folder, too; returns those files by role."""
        return {}

    def name_of(self, case: PetCase) -> str:
        """What names of its files begin with."""
        return name_of_pet(case.case.name, case.tracer)

    @abstractmethod
    def request_of(self, case: PetCase) -> Request:
        """What decides a result."""

    @abstractmethod
    def write(
        self, case: PetCase, folder: Path, reporter: Reporter
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        """Write what the command alone writes.

        :returns: the figures of the table and the ``note`` of the pictures, what was noticed (a
            :class:`.Verdict` as JSON has it), the files by role.
        """


def run_analysis(
    cases: Sequence[PetCase], analysis: PetAnalysis, since: float, *, table: bool = True
) -> list[Status]:
    """Do the cases that nobody else does; what is there already from the same request is kept.

    :param since: when the work on the cases began (seconds of the epoch), here or in another process.
    :param table: make the table of the analysis.
    :raises OutputError: if the folder cannot be written to.
    :raises Cancelled: when the user cancels; finished cases are kept.
    """
    output = output_folder(analysis.output)
    for folder in {analysis.record(case).parent for case in cases}:
        sweep(folder)
    links = describe_dataset(output, [case.case.dataset for case in cases if case.case.dataset is not None])
    cases = [
        replace(one, case=replace(one.case, link=links[one.case.dataset])) if one.case.dataset else one
        for one in cases
    ]
    return status_of_shared_cases(
        cases, analysis, analysis.table, output, reporter=analysis.reporter, since=since, write=table
    )


def tracer_in_name(pet: Path) -> str:
    """The tracer in the name of a PET."""
    return entity(image_stem(pet), "trc")


def _relative(files: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Paths by role as a record names them."""
    return {
        role: _relative(path, folder) if isinstance(path, Mapping) else path.relative_to(folder).as_posix()
        for role, path in files.items()
    }
