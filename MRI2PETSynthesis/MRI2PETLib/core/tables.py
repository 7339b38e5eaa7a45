"""The one reader and the one writer of tables (CSV, TSV).

Read is what spreadsheets of any country save: commas, semicolons or tabs, UTF-8, UTF-16 or Windows-1252, any
line end, quoted values, blank lines. Written is UTF-8 with ``\\n``, whole or not at all.

A text that a spreadsheet would take for a formula is written with an apostrophe before it (OWASP, "CSV
Injection"); the reader takes it away again. Numbers stay numbers.
"""

from __future__ import annotations

import codecs
import csv
import io
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from numbers import Real
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, get_args, get_type_hints

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.files import atomic_path
from MRI2PETLib.core.findings import Finding

MAX_BYTES = 64 * 2**20
EMPTY_CELLS = {"", "n/a", "na", "nan", "#n/a"}  # in small letters: what says that there is nothing
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins with the mark of UTF-16
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")  # xlsx and ods; xls
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
_FORMULA = re.compile(r"'*[=+\-@\uff1d\uff0b\uff0d\uff20]")
_END = "\x1a"  # a line behind the last one, which an open quotation mark swallows
_Row = TypeVar("_Row")


class Line(NamedTuple):
    """The cells of a line that is not blank, and where it begins in its file (the first line is 1)."""

    number: int
    cells: list[str]


@dataclass(frozen=True)
class Table:
    """A table with a line of column names.

    :ivar columns: names in lower case with ``_`` for blanks and hyphens (see :func:`column_name`); empty
        where a column has none.
    :ivar rows: a mapping from column name to text for every row; every named column is there.
    :ivar lines: where each row begins in the file.
    :ivar findings: what had to be guessed to read it.
    """

    path: Path
    columns: tuple[str, ...]
    rows: tuple[dict[str, str], ...]
    lines: tuple[int, ...]
    findings: tuple[Finding, ...] = ()


def column_name(text: str) -> str:
    """The name by which a column is found: ``Subject`` is ``subject``, ``Participant ID``
    ``participant_id``.
    """
    return re.sub(r"[\s-]+", "_", text.strip().casefold())


def read_table(path: Path | str, needed: Sequence[str] = ()) -> Table:
    """Read a table whose first line names the columns.

    :param needed: columns that must be there.
    :raises InputError: no file, too large, no text, empty, a column missing or named twice, a line with more
        values than there are columns.
    """
    path = Path(path)
    lines, findings = read_lines(path)
    if not lines:
        raise InputError(f"The table {path} is empty.", "It needs a line of column names and a line a row.")
    columns = tuple(column_name(cell) for cell in lines[0].cells)
    twice = sorted({name for name in columns if name and columns.count(name) > 1})
    if twice:
        raise InputError(
            f"The table {path} has the column {twice[0]!r} twice.", "Rename or remove one of the two."
        )
    missing = [name for name in needed if name not in columns]
    if missing:
        raise InputError(
            f"The table {path} lacks the column(s) {', '.join(missing)}.",
            f"Its first line names {', '.join(filter(None, columns)) or 'nothing'}.",
        )
    rows = []
    for line in lines[1:]:
        if any(line.cells[len(columns) :]):
            raise InputError(
                f"Line {line.number} of {path} has {len(line.cells)} values for {len(columns)} columns.",
                "Put a value that holds the separator into quotation marks.",
            )
        padded = line.cells + [""] * (len(columns) - len(line.cells))
        rows.append({name: cell for name, cell in zip(columns, padded) if name})
    return Table(path, columns, tuple(rows), tuple(line.number for line in lines[1:]), findings)


def read_rows(path: Path | str, kind: type[_Row]) -> list[_Row]:
    """Read a table into named tuples or dataclasses: a column a field, numbers where the field is one.

    An empty cell is ``None`` where the field may be that. Further columns are ignored.

    :raises InputError: see :func:`read_table`; a value that is not what its field holds.
    """
    kinds = get_type_hints(kind)
    return [kind(**values) for values in typed_rows(read_table(path, list(map(column_name, kinds))), kinds)]


def typed_rows(table: Table, kinds: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The rows with numbers where the type of a field is one.

    :raises InputError: a value that is not what its field holds.
    """
    for number, row in zip(table.lines, table.rows):
        values = {}
        for name, hint in kinds.items():
            text = row[column_name(name)]
            try:
                values[name] = _value(text, hint)
            except ValueError as error:
                raise InputError(
                    f"Line {number} of {table.path} has {text!r:.100} as {name}.", "A number is needed there."
                ) from error
        yield values


def _value(text: str, hint: Any) -> Any:
    kinds = get_args(hint) or (hint,)
    if str in kinds:
        return text
    if not text and type(None) in kinds:
        return None
    number = int(text) if int in kinds and float not in kinds else float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def read_lines(path: Path | str) -> tuple[list[Line], tuple[Finding, ...]]:
    """The lines of a table with or without column names; blank ones are left out, cells are stripped.

    :raises InputError: see :func:`read_text`; a quotation mark that is not closed.
    """
    path = Path(path)
    text, findings = read_text(path)
    separator_line = re.match(r"sep=([,;\t])\r?\n", text)  # Excel's own first line
    text = text[separator_line.end() :] if separator_line else text
    delimiter = separator_line[1] if separator_line else _delimiter(text, path)
    if path.suffix.lower() == ".tsv" and delimiter != "\t":
        message = f"{path.name} is called TSV, but {delimiter!r} separates its columns."
        findings += (Finding("warn", "table-separator", message, "Check that the columns are right."),)
    reader = csv.reader(
        chain(io.StringIO(text, newline=""), (_END,)), delimiter=delimiter, skipinitialspace=True
    )
    first = start = 2 if separator_line else 1
    lines: list[Line] = []
    row: list[str] = []
    try:
        for row in reader:
            lines.append(Line(start, [_without_mark(cell.strip()) for cell in row]))
            start = reader.line_num + first
    except csv.Error as error:
        raise InputError(f"Line {start} of {path} cannot be read: {error}.", "Correct that line.") from error
    if row != [_END]:
        raise InputError(
            f"A quotation mark in line {lines[-1].number} of {path} is not closed.", "Close or remove it."
        )
    return [line for line in lines[:-1] if any(line.cells)], findings


def _delimiter(text: str, path: Path) -> str:
    """What separates most values of the first line; the file's suffix decides between equals."""
    first = re.split(r"[\r\n]", re.sub(r'"[^"]*"', "", text.lstrip("\r\n")), maxsplit=1)[0]
    is_tsv = path.suffix.lower() in (".tsv", ".tab")
    if is_tsv and "\t" in first:
        return "\t"
    return max(("\t", ",", ";") if is_tsv else (",", ";", "\t"), key=first.count)


def read_text(path: Path | str) -> tuple[str, tuple[Finding, ...]]:
    """The text of a table in whatever encoding, with a finding where that had to be guessed.

    :raises InputError: no file, larger than ``MAX_BYTES``, a workbook, no text.
    """
    path = Path(path)
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"The table {path} is not a file.", "Name a CSV or TSV file.")
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"The table {path} cannot be read: {reason}.", "Check the path.") from error
    if len(data) > MAX_BYTES:
        raise InputError(
            f"The table {path} is larger than {MAX_BYTES // 2**20} MB.", "Is it another file by mistake?"
        )
    if data.startswith(_WORKBOOKS):
        raise InputError(f"The table {path} is a workbook of a spreadsheet.", "Save it as CSV (UTF-8).")
    text, findings = _decoded(data, path)
    if "\0" in text:
        raise InputError(f"The table {path} is not a text file.", "Save it as CSV (UTF-8).")
    return text, findings


def _decoded(data: bytes, path: Path) -> tuple[str, tuple[Finding, ...]]:
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), None)
    if encoding is None and data[1:2] == b"\0":
        encoding = "utf-16-le"
    if encoding is None and data[:1] == b"\0":
        encoding = "utf-16-be"
    try:
        return data.decode(encoding or "utf-8"), ()
    except UnicodeDecodeError as error:
        if encoding is not None:
            raise InputError(
                f"The table {path} is damaged ({error}).", "Save it again as CSV (UTF-8)."
            ) from error
    try:
        text, guess = data.decode("cp1252"), "Windows-1252"
    except UnicodeDecodeError:
        text, guess = data.decode("latin-1"), "Latin-1"
    message = f"{path.name} is not UTF-8; it was read as {guess}."
    hint = "Check letters with accents, or save it as UTF-8."
    return text, (Finding("warn", "table-encoding", message, hint),)


def write_table(
    path: Path | str, columns: Sequence[str], rows: Iterable[Sequence[Any] | Mapping[str, Any]]
) -> Path:
    """Write a table, whole or not at all. Tabs separate the columns of a ``.tsv``, commas those of others.

    :param rows: values in the order of ``columns``, or mappings. ``None`` and numbers that are not finite
        become empty cells.
    :raises OutputError: if it cannot be written.
    """
    with open_table(path, columns) as add:
        add(rows)
    return Path(path)


def record(row: NamedTuple) -> dict[str, Any]:
    """The fields of a named tuple by their names, those of named tuples that it holds among them.

    >>> record(Line(3, ["a"]))
    {'number': 3, 'cells': ['a']}
    """
    values: dict[str, Any] = {}
    for name, value in row._asdict().items():
        values |= value._asdict() if hasattr(value, "_asdict") else {name: value}
    return values


def write_rows(path: Path | str, rows: Sequence[NamedTuple]) -> Path:
    """Write named tuples (at least one) as :func:`record` has them; see :func:`write_table`."""
    records = [record(row) for row in rows]
    return write_table(path, list(records[0]), records)


@contextmanager
def open_table(
    path: Path | str, columns: Sequence[str]
) -> Iterator[Callable[[Iterable[Sequence[Any] | Mapping[str, Any]]], None]]:
    """A table that grows: yields what adds rows to it. It appears when the block ends without an error.

    :raises OutputError: if it cannot be written.
    """
    delimiter = "\t" if Path(path).suffix.lower() == ".tsv" else ","
    with atomic_path(path) as temporary:
        # Names of files may hold bytes that are no UTF-8; they are shown as \udcXX.
        with temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as stream:
            writer = csv.writer(stream, delimiter=delimiter, lineterminator="\n")
            writer.writerow(columns)

            def add(rows: Iterable[Sequence[Any] | Mapping[str, Any]]) -> None:
                for row in rows:
                    values = [row.get(c) for c in columns] if isinstance(row, Mapping) else row
                    assert len(values) == len(columns), f"{len(values)} values for {len(columns)} columns"
                    writer.writerow([cell_text(value) for value in values])

            yield add


def table_text(columns: Sequence[str], rows: Iterable[Sequence[Any]], delimiter: str = "\t") -> str:
    """A table as text, for the clipboard."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([cell_text(value) for value in row] for row in rows)
    return text.getvalue()


def cell_text(value: Any) -> str:
    """A value as the text of a cell, without blanks around it.

    >>> [cell_text(v) for v in (0.1, -2, None, float("nan"), "-2", "=1+1", "a\\r\\nb")]
    ['0.1', '-2', '', '', '-2', "'=1+1", 'a\\nb']
    """
    if value is None or (isinstance(value, Real) and not math.isfinite(value)):
        return ""
    text = re.sub(r"\r\n?", "\n", str(value)).replace("\0", "\ufffd").strip()
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def _without_mark(cell: str) -> str:
    """Undo what :func:`cell_text` puts before a formula."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell
