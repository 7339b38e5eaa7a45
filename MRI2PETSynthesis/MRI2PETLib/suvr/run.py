"""Quantify one PET, or a cohort with the agreement of the methods over people."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from MRI2PETLib.core.case_loop import each_case
from MRI2PETLib.core.errors import EXIT_PARTIAL, InputError
from MRI2PETLib.core.files import output_folder, staged_folder, write_json
from MRI2PETLib.core.leftovers import sweep
from MRI2PETLib.core.names import is_safe_name
from MRI2PETLib.core.progress import ProgressCallback, Reporter, part_of
from MRI2PETLib.core.tables import write_rows, write_table
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
        sweep(output / case.case)
        content = _measure(case.case, case.paths, setup, output / case.case, reporter, progress)
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


def read_cases(table: Path, *, pet_unit: str | None = None) -> list[SuvrCase]:
    """PETs from a table (CSV) with the columns case and pet; subject, t1, mask and group are optional.

    Paths are relative to the table. The ``manifest.csv`` of a training dataset is such a table.

    :raises InputError: unreadable table, missing columns or values, a case named twice or not a file name.
    """
    try:
        with table.open(encoding="utf-8-sig", newline="") as stream:
            rows = [{k: (v or "").strip() for k, v in row.items() if k} for row in csv.DictReader(stream)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"The table {table} cannot be read: {error}.", "Give a CSV file in UTF-8."
        ) from error
    cases: dict[str, SuvrCase] = {}
    for number, row in enumerate(rows, start=2):
        if not row.get("case") or not row.get("pet"):
            raise InputError(f"Line {number} of {table} has no case or no pet.", "Columns: case, pet, t1.")
        name = row["case"]
        if name in cases or not is_safe_name(name):
            why = "is there twice" if name in cases else "cannot name a folder"
            raise InputError(f"The case {name!r} of {table} {why}.", "Give every scan a name of its own.")
        paths = {k: table.parent / row[k] if row.get(k) else None for k in ("pet", "t1", "mask")}
        assert paths["pet"] is not None
        cases[name] = SuvrCase(
            case=name,
            subject=row.get("subject") or name,
            paths=SuvrPaths(paths["pet"], paths["t1"], paths["mask"], pet_unit),
            group=row.get("group", ""),
        )
    if not cases:
        raise InputError(f"The table {table} has no row.", "List at least one PET.")
    return list(cases.values())
