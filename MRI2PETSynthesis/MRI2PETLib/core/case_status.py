"""What became of the cases of an output folder: a status file a case, and the table made from them."""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from MRI2PETLib.core.ownership import not_ours
from MRI2PETLib.core.progress import Reporter
from MRI2PETLib.core.requests import located, read_record
from MRI2PETLib.core.shared_cases import CaseWork, each_shared_case
from MRI2PETLib.core.tables import write_table

_Case = TypeVar("_Case")
_COLUMNS = ("case", "status", "quality", "message", "hint", "seconds", "t1", "pet")
_NOTE = "note"


@dataclass(frozen=True)
class Status:
    """A case. ``status`` is done, kept (was there already) or failed; ``pet`` the image that was made of it,
    or that was measured.

    ``figures`` are the other columns of its table; ``note`` is what its pictures say of themselves
    (synthetic, by a demonstration model, ...); ``files`` those of the case by role; ``by`` is the checksum of
    the norm or model that it was made by, if any.
    """

    case: str
    status: str
    quality: str
    message: str
    hint: str
    seconds: str
    t1: str
    pet: str
    figures: Mapping[str, str] = field(default_factory=dict)
    note: str = ""
    files: Mapping[str, Any] = field(default_factory=dict)
    by: str = ""

    def row(self) -> dict[str, str]:
        """The line of the table."""
        return {**{name: getattr(self, name) for name in _COLUMNS}, **self.figures, _NOTE: self.note}

    def to_dict(self) -> dict[str, Any]:
        """For a result event."""
        return {**self.row(), "files": self.files}


@dataclass(frozen=True)
class Figure:
    """A number of a case: ``column`` of the table, ``heading`` on the page; only in the table without one."""

    column: str
    heading: str = ""


@dataclass(frozen=True)
class StatusTable:
    """The status files of one kind of work, and the table made from them.

    :ivar name: of the work, as in ``synthesis_status.csv``; ``title``: in the heading of its page.
    :ivar suffix: of its status files.
    :ivar folders: where they lie in the output folder, as patterns that end with ``/``.
    :ivar figures: columns of the table besides the common ones.
    :ivar worst: the figure by which cases of one verdict are sorted, the lowest first; with ``-`` before it
        the farthest from 0. By name without one.
    """

    name: str
    suffix: str
    folders: tuple[str, ...]
    figures: tuple[Figure, ...]
    worst: str = ""
    title: str = "Cases"

    @property
    def file(self) -> str:
        """The name of the table."""
        return f"{self.name}_status.csv"

    @property
    def columns(self) -> tuple[str, ...]:
        return (*_COLUMNS, *(figure.column for figure in self.figures), _NOTE)

    def status(
        self, folder: Path, about: Mapping[str, Any], settings: Mapping[str, Any] | None = None
    ) -> Status:
        """A case from what its record in ``folder`` says, and the settings that it was made with."""
        by = str((settings or {}).get("norm") or (settings or {}).get("model") or "")
        files = located(folder, about.get("files", {}))
        texts = {name: str(about.get(name, "")) for name in _COLUMNS}
        figures = {figure.column: str(about.get(figure.column, "")) for figure in self.figures}
        own = {"pet": str(files["pet"])} if "pet" in files else {}
        return Status(**{**texts, **own}, figures=figures, note=str(about.get(_NOTE, "")), files=files, by=by)

    def check(self, output: Path) -> None:
        """Refuse to replace somebody's table; a damaged one among status files is ours.

        :raises InputError: naming it.
        """
        path, start = output / self.file, ",".join(_COLUMNS).encode()
        if not path.exists() or path.read_bytes().removeprefix(BOM_UTF8).startswith(start):
            return
        if not self.read(output):
            raise not_ours(path)

    def read(self, output: Path) -> list[Status]:
        """What the status files say, sorted by case."""
        paths = [path for folder in self.folders for path in output.glob(f"{folder}*{self.suffix}")]
        records = [(path.parent, read_record(path)) for path in paths]
        rows = [
            self.status(folder, record["about"], record["settings"])
            for folder, record in records
            if record is not None and record["about"]  # else files are just being moved
        ]
        return sorted(rows, key=lambda row: (row.case, row.t1))

    def write(self, output: Path, own: Sequence[Status] = ()) -> None:
        """Make the table.

        :param own: rows of this run: a case that was refused because of another's result has no status file.
        """
        rows, written = self.read(output), None
        while (rows or own) and rows != written:  # another process may have finished a case meanwhile
            there = {(row.case, row.t1) for row in rows}
            more = [row for row in own if row.status == "failed" and (row.case, row.t1) not in there]
            write_table(output / self.file, self.columns, [row.row() for row in (*rows, *more)])
            written, rows = rows, self.read(output)


def status_of_shared_cases(
    cases: Sequence[_Case],
    work: CaseWork[_Case, Any],
    table: StatusTable,
    output: Path,
    *,
    reporter: Reporter,
    since: float,
    write: bool = True,
) -> list[Status]:
    """Do the cases that nobody else does, see :func:`.each_shared_case`, and make the table.

    :param write: make the table.
    :returns: a row a case, in the order of the cases.
    :raises InputError: if somebody's file has the name of the table.
    """
    rows: list[Status] = []
    table.check(output)
    try:
        for end in each_shared_case(cases, work, reporter=reporter, since=since):
            rows.append(table.status(end.folder, end.about))
    finally:
        if write:
            table.write(output, rows)
    names = [table.status(output, work.about(case)) for case in cases]
    order = {(row.case, row.t1): number for number, row in enumerate(names)}
    return sorted(rows, key=lambda row: order.get((row.case, row.t1), len(order)))
