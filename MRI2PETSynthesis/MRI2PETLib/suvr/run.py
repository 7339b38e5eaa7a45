"""Quantify one PET, or a cohort with the agreement of the methods over people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from MRI2PETLib.core.case_loop import each_case
from MRI2PETLib.core.errors import EXIT_PARTIAL, InputError
from MRI2PETLib.core.files import output_folder, staged_folder, write_json
from MRI2PETLib.core.leftovers import sweep
from MRI2PETLib.core.names import file_name
from MRI2PETLib.core.progress import ProgressCallback, Reporter, part_of
from MRI2PETLib.core.tables import write_rows, write_table
from MRI2PETLib.images.case_table import read_case_table
from MRI2PETLib.preprocessing.pet_units import plain_unit
from MRI2PETLib.reports import suvr_report as report
from MRI2PETLib.reports.case_report import REPORT
from MRI2PETLib.suvr import files
from MRI2PETLib.suvr.agreement import agreement_table, level_table, people
from MRI2PETLib.suvr.case import SuvrSetup, quantify
from MRI2PETLib.suvr.regional import SuvrRow
from MRI2PETLib.suvr.settings import SuvrPaths

COHORT = "cohort.json"


@dataclass(frozen=True)
class SuvrCase:
    """One PET of a cohort. ``subject`` joins repeated scans of one person."""

    case: str
    subject: str
    paths: SuvrPaths
    group: str = ""


@dataclass(frozen=True)
class Measured:
    """A finished case: its table, which model made it, where its files are."""

    case: SuvrCase
    rows: list[SuvrRow]
    content: dict[str, Any]


def run_case(paths: SuvrPaths, setup: SuvrSetup, output: Path, reporter: Reporter) -> dict[str, Any]:
    """Measure one PET and write its files and its report into ``output``.

    :return: for the result event: ``report``, ``table`` (path of the CSV), ``method``, ``composite``
        (SUVR by method) and ``failed`` (method -> reason).
    :raises MRI2PETError: see :func:`MRI2PETLib.suvr.case.quantify`.
    """
    output_folder(output)
    progress = part_of(reporter.progress, 0, 0.95)
    content = _measure(_title(paths.pet), paths, setup, output, reporter, progress)
    rows = files.table_of(content)
    reporter.progress(0.96, 1, "writing the report")
    report.write_case_report(output, _title(paths.pet), content, rows)
    reporter.progress(1, 1, "done")
    return {
        "report": output / REPORT,
        "table": output / files.TABLE,
        "method": content["Method"],
        "composite": content["Composite"],
        "failed": content["Failed"],
    }


def _title(pet: Path) -> str:
    return f"{pet.resolve().parent.name} {pet.name.split('.')[0]}: SUVR"


def _measure(
    title: str,
    paths: SuvrPaths,
    setup: SuvrSetup,
    folder: Path,
    reporter: Reporter,
    progress: ProgressCallback,
) -> dict[str, Any]:
    """The content of ``suvr.json``, from an earlier run of the same request or a new one."""
    wanted = files.request(paths, setup)
    kept = files.finished(folder, wanted)
    if kept is not None:
        reporter.log(f"{folder}: already there, kept")
        return kept
    found = quantify(paths, setup, progress=progress)
    for reason in found.verdict.reasons("warn"):
        reporter.warning(reason)
    return files.write_case(folder, title, paths, setup, found)


def run_cohort(
    cases: Sequence[SuvrCase], setup: SuvrSetup, output: Path, reporter: Reporter
) -> dict[str, Any]:
    """Measure every PET into a folder of its own, then the agreement over people; what is there is kept.

    :return: for the result event: ``report``, ``exit_code``, ``people``, ``scans``, ``failed`` (case ->
        reason), ``agreement`` (the rows of the composite region).
    :raises OutputError: if nothing can be written.
    :raises InputError: if all cases failed.
    """
    output_folder(output)

    def measure(case: SuvrCase, progress: ProgressCallback) -> Measured:
        folder = output / file_name(case.case)
        sweep(folder)
        content = _measure(case.case, case.paths, setup, folder, reporter, progress)
        return Measured(case, files.table_of(content), content)

    outcomes = list(each_case(cases, measure, name=lambda case: case.case, reporter=reporter))
    measured = [done.result for done in outcomes if done.result is not None]
    failed = {done.case.case: str(done.error) for done in outcomes if done.error is not None}
    if not measured:
        raise InputError(f"None of {len(cases)} PETs could be measured: {next(iter(failed.values()))}")
    rows = people([(m.case.subject, m.case.group, m.rows) for m in measured])
    agreement, levels = agreement_table(rows), level_table(rows)
    with staged_folder(output, last=REPORT) as staging:
        write_table(
            staging / files.TABLE, ("case", "subject", "group", *SuvrRow._fields), _scan_rows(measured)
        )
        write_rows(staging / "levels.csv", levels)
        if agreement:
            write_rows(staging / "agreement.csv", agreement)
        write_json(
            staging / COHORT,
            {
                "regions": files.describe_plan(setup.plan),
                "pet_template": setup.template_name,
                "model": None if setup.bundle is None else setup.bundle.id,
                "n_scans": len(measured),
                "n_people": len({m.case.subject for m in measured}),
                "failed": failed,
                "agreement": [row._asdict() for row in agreement],
                "levels": [row._asdict() for row in levels],
            },
        )
        report.write_cohort_report(
            staging, f"SUVR of {output.resolve().name}", setup, measured[0].content, rows, failed
        )
    reporter.progress(1, 1, "done")
    return {
        "report": output / REPORT,
        "exit_code": EXIT_PARTIAL if failed else 0,
        "people": len({m.case.subject for m in measured}),
        "scans": len(measured),
        "failed": failed,
        "agreement": [row._asdict() for row in agreement if row.role == "composite"],
    }


def _scan_rows(measured: Sequence[Measured]) -> Iterator[tuple[Any, ...]]:
    for one in measured:
        for row in one.rows:
            yield (one.case.case, one.case.subject, one.case.group, *row)


def read_cases(table: Path, reporter: Reporter, *, pet_unit: str | None = None) -> list[SuvrCase]:
    """The PETs of a table of cases (columns ``case`` and ``pet``; see :mod:`MRI2PETLib.images.case_table`).

    :param reporter: is told what was noticed and who is left out.
    :param pet_unit: unit of the PETs whose line states none.
    :raises InputError: see :func:`.case_table.read_case_table`; all cases excluded.
    """
    listed = read_case_table(table, ("case", "pet"))
    for note in listed.notes():
        reporter.warning(note)
    cases = []
    for row in listed.used:
        assert row.pet is not None
        paths = SuvrPaths(row.pet, row.t1, row.mask, plain_unit(row.unit) or pet_unit)
        cases.append(SuvrCase(row.case, row.subject, paths, row.group))
    if not cases:
        raise InputError(f"All cases of {table} are left out.", "Empty the column exclude of one.")
    return cases
