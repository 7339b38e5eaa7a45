"""Measure one PET, or every PET of a table; what is there is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from MRI2PETLib.core.case_loop import each_case, exit_code
from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.files import output_folder, read_json
from MRI2PETLib.core.leftovers import sweep
from MRI2PETLib.core.names import file_name
from MRI2PETLib.core.progress import ProgressCallback, Reporter
from MRI2PETLib.core.requests import Request, located
from MRI2PETLib.images.case_table import check_people, read_case_table
from MRI2PETLib.preprocessing.frame_window import parse_window
from MRI2PETLib.preprocessing.pet_units import plain_unit
from MRI2PETLib.suvr import files
from MRI2PETLib.suvr.case import CaseSuvr, SuvrSetup, measure_suvr
from MRI2PETLib.suvr.regional import SuvrRow
from MRI2PETLib.suvr.settings import SuvrPaths

# Writes all files of a finished measurement into a folder, under a title.
Write = Callable[[Path, str, SuvrPaths, SuvrSetup, CaseSuvr], None]


@dataclass(frozen=True)
class SuvrCase:
    """One PET of a cohort. ``subject`` joins repeated scans of one person."""

    case: str
    subject: str
    paths: SuvrPaths
    group: str = ""


@dataclass(frozen=True)
class CaseMeasurement:
    """A finished measurement: its request, its table, the content of ``suvr.json``, its files by role."""

    request: Request
    rows: list[SuvrRow]
    content: dict[str, Any]
    files: dict[str, Any]


def title_of(pet: Path) -> str:
    """The title of the measurement of one PET."""
    return f"{pet.resolve().parent.name} {pet.name.split('.')[0]}: SUVR"


def measure_case(
    title: str,
    paths: SuvrPaths,
    setup: SuvrSetup,
    folder: Path,
    write: Write,
    reporter: Reporter,
    progress: ProgressCallback,
) -> CaseMeasurement:
    """The measurement in ``folder``, from an earlier run of the same request or a new one.

    :raises InputError: if the folder holds that of another PET.
    :raises MRI2PETError: see :func:`MRI2PETLib.suvr.case.measure_suvr`.
    """
    request, result = files.suvr_request(paths, setup), files.result_in(folder)
    about = result.finished(request)
    if about is not None:
        reporter.log(f"{folder}: already there, kept")
    else:
        about = {}
        with result.attempt(request, reporter.warning):
            case = measure_suvr(paths, setup, progress=progress)
            reporter.tell(case.verdict)
            with result.make(request, about) as staging:
                write(staging, title, paths, setup, case)
                about["files"] = files.by_role(staging)
    content = read_json(folder / files.SIDECAR)
    return CaseMeasurement(request, files.suvr_rows(content), content, located(folder, about["files"]))


def measure_cohort(
    cases: Sequence[SuvrCase], setup: SuvrSetup, output: Path, write: Write, reporter: Reporter
) -> tuple[list[tuple[SuvrCase, CaseMeasurement]], dict[str, str]]:
    """Measure every PET into a folder of its own in ``output``.

    :return: the finished cases; case -> reason of those that failed.
    :raises OutputError: if nothing can be written.
    :raises MRI2PETError: if all cases failed.
    """
    output_folder(output)

    def measure(case: SuvrCase, progress: ProgressCallback) -> CaseMeasurement:
        folder = output / file_name(case.case)
        sweep(folder)
        return measure_case(case.case, case.paths, setup, folder, write, reporter, progress)

    outcomes = list(each_case(cases, measure, name=lambda case: case.case, reporter=reporter))
    measured = [(done.case, done.result) for done in outcomes if done.result is not None]
    failed = {done.case.case: str(done.error) for done in outcomes if done.error is not None}
    exit_code(list(failed.values()), len(cases))
    return measured, failed


def read_cases(table: Path, reporter: Reporter, defaults: SuvrPaths | None = None) -> list[SuvrCase]:
    """The PETs of a table of cases (columns ``case`` and ``pet``; see :mod:`MRI2PETLib.images.case_table`).

    :param reporter: is told what was noticed and who is left out.
    :param defaults: how PETs are read whose line does not say it.
    :raises InputError: see :func:`.case_table.read_case_table`, :func:`.check_people`; all cases excluded.
    """
    case_table = read_case_table(table, ("case", "pet"))
    check_people(case_table.used)
    defaults = defaults or SuvrPaths(table)
    for note in case_table.notes():
        reporter.warning(note)
    cases = []
    for row in case_table.used:
        assert row.pet is not None
        paths = replace(
            defaults,
            pet=row.pet,
            t1=row.t1,
            mask=row.mask,
            pet_unit=plain_unit(row.unit) or defaults.pet_unit,
            window=parse_window(row.window_min) or defaults.window,
        )
        cases.append(SuvrCase(row.case, row.subject, paths, row.group))
    if not cases:
        raise InputError(
            f"All cases of {table} are left out.", "Clear the column exclude of at least one case."
        )
    return cases
