"""The tables and the page of what was done with the real PETs of a BIDS dataset."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from MRI2PETLib.core.case_status import Status, StatusTable
from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.files import read_object
from MRI2PETLib.core.progress import Reporter
from MRI2PETLib.core.tables import open_table, read_table, write_rows, write_table
from MRI2PETLib.evaluation.metrics import brain_metrics
from MRI2PETLib.images.bids import stated_of_person
from MRI2PETLib.images.case_table import columns_of
from MRI2PETLib.reports.bids_analysis_kinds import EVALUATION_TABLE, SCORE_TABLE, SUVR_TABLE
from MRI2PETLib.reports.group_page import write_group
from MRI2PETLib.suvr.agreement import agreement_table, level_table, person_rows
from MRI2PETLib.suvr.files import suvr_rows
from MRI2PETLib.synthesis.cases import Case

_OF_PEOPLE = ("group", "genotype", "site", "age", "sex")


def write_analysis_group(
    output: Path, analysis: str, cases: Sequence[Case], reporter: Reporter, *, only_these: bool = False
) -> dict[str, Path]:
    """Write the page of all cases of an analysis, the worst first, and the tables that gather theirs.

    A case whose files are gone is left out of those tables with a warning. What an earlier gathering wrote
    and this one does not (all cases have failed since) is removed.

    :param cases: all of the dataset that have a PET; ``only_these``: leave out whoever else has a result.
    :raises InputError: if there is no case at all.
    :returns: the files by role.
    """
    table, gather, needs, names = _GATHER[analysis]
    page = f"group_{table.name}.html"
    files = write_group(output, cases, reporter, table=table, page=page, only_these=only_these)
    done = [row for row in table.read(output) if row.status != "failed"]
    if only_these:
        ours = {case.name for case in cases}
        done = [row for row in done if row.case in ours]
    whole = [row for row in done if _has(row, needs, reporter)]
    tables = gather(output, whole) if whole else {}
    for name in names:
        if output / name not in tables.values():
            (output / name).unlink(missing_ok=True)
    return {**files, **tables}


def _has(row: Status, roles: Sequence[str], reporter: Reporter) -> bool:
    for role in roles:
        path = row.files.get(role)
        if not isinstance(path, Path) or not path.is_file():
            what = f"{path} is gone" if path else f"{row.case} has no {role}"
            reporter.warning(f"{what}: left out of the tables. The level participant makes it again.")
            return False
    return True


def _suvr(output: Path, rows: Sequence[Status]) -> dict[str, Path]:
    """SUVRs of all; mean and SD over people; how far the methods agree with the real MR."""
    files = {"suvr": _joined(output / "group_suvr.csv", rows, "table")}
    people = []
    for row in rows:
        content = read_object(row.files["sidecar"])
        people.append((_subject(row), _entry_of(row, "group"), suvr_rows(content)))
    by_person = person_rows(people)
    files["levels"] = write_rows(output / "group_suvr_levels.csv", level_table(by_person))
    if agreement := agreement_table(by_person):
        files["agreement"] = write_rows(output / "group_suvr_agreement.csv", agreement)
    return files


def _evaluation(output: Path, rows: Sequence[Status]) -> dict[str, Path]:
    """Metrics in the brain of all, by scale and predictor, those by region, and a table of pairs for
    ``evaluate --pairs``.
    """
    metrics = list(brain_metrics())
    return {
        "metrics": write_table(
            output / "group_evaluation.csv",
            ("case", "scale", "unit", "predictor", *metrics),
            (line for row in rows for line in _metrics(row, metrics)),
        ),
        "regions": _joined(output / "group_evaluation_regions.csv", rows, "regions"),
        "pairs": write_table(
            output / "group_evaluation_pairs.csv",
            ("case", "subject", "synthetic", "pet", "t1", *_OF_PEOPLE),
            (
                [
                    row.case,
                    _subject(row),
                    row.figures["synthetic"],
                    row.pet,
                    row.t1,
                    *(_entry_of(row, name) for name in _OF_PEOPLE),
                ]
                for row in rows
            ),
        ),
    }


def _metrics(row: Status, metrics: Sequence[str]) -> Iterator[list[Any]]:
    for scale, content in read_object(row.files["metrics"])["scales"].items():
        for predictor, values in {"network": content["network"], **content["baselines"]}.items():
            yield [row.case, scale, content["unit"], predictor, *(values.get(name) for name in metrics)]


def _score(output: Path, rows: Sequence[Status]) -> dict[str, Path]:
    """Scores by region of all."""
    return {"regions": _joined(output / "group_score.csv", rows, "regions")}


_Gather = Callable[[Path, Sequence[Status]], dict[str, Path]]
# Of each analysis: its table; what makes the tables of all cases, from which files of each; their names.
_GATHER: dict[str, tuple[StatusTable, _Gather, tuple[str, ...], tuple[str, ...]]] = {
    "suvr": (
        SUVR_TABLE,
        _suvr,
        ("table", "sidecar"),
        ("group_suvr.csv", "group_suvr_levels.csv", "group_suvr_agreement.csv"),
    ),
    "evaluate": (
        EVALUATION_TABLE,
        _evaluation,
        ("metrics", "regions"),
        ("group_evaluation.csv", "group_evaluation_regions.csv", "group_evaluation_pairs.csv"),
    ),
    "score": (SCORE_TABLE, _score, ("regions",), ("group_score.csv",)),
}


def _joined(path: Path, rows: Sequence[Status], role: str) -> Path:
    """The tables of all cases below each other, with the case before each line."""
    columns = read_table(rows[0].files[role]).columns
    with open_table(path, ("case", *columns)) as add:
        for row in rows:
            own = read_table(row.files[role], columns)
            if own.columns != columns:
                raise InputError(
                    f"{own.path} has other columns than {rows[0].files[role]}.", "Run participant again."
                )
            add([row.case, *line.values()] for line in own.rows)
    return path


def _subject(row: Status) -> str:
    return row.case.partition("_")[0]


def _entry_of(row: Status, name: str) -> str:
    return stated_of_person(Path(row.t1), *columns_of(name))
