"""The one reader and the one writer of tables: what spreadsheets save is read, what is written reads back."""

from __future__ import annotations

import codecs
import csv
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from MRI2PETLib.core import tables
from MRI2PETLib.core.errors import InputError, OutputError
from MRI2PETLib.core.tables import (
    open_table,
    read_lines,
    read_rows,
    read_table,
    table_text,
    write_rows,
    write_table,
)
from properties import quick

TEXT = "case,name\n1,Müller\n2,Žižka\n"
ROWS = ({"case": "1", "name": "Müller"}, {"case": "2", "name": "Žižka"})


def save(folder: Path, content: bytes | str, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    "content",
    [
        TEXT.encode(),
        codecs.BOM_UTF8 + TEXT.encode(),
        TEXT.encode("utf-16"),
        codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"),
        TEXT.encode("utf-16-le"),
        TEXT.encode("utf-16-be"),
        TEXT.encode("utf-32"),
        TEXT.replace("\n", "\r\n").encode(),
        TEXT.replace("\n", "\r").encode(),
        TEXT.replace(",", ";").encode(),
        TEXT.replace(",", "\t").encode(),
        b"sep=;\r\n" + TEXT.replace(",", ";").encode(),
        ("\n\n" + TEXT.replace("\n", "\n,\n   \n")).encode(),
        TEXT.rstrip().encode(),
        TEXT.replace(",", " , ").replace("1", '"1"').replace("name", ' "Name" ').encode(),
        TEXT.replace("\n", ",,\n").encode(),
        TEXT.upper().partition("\n")[0].encode() + TEXT[len("case,name") :].encode(),
    ],
)
def test_whatever_a_spreadsheet_saves_is_the_same_table(tmp_path: Path, content: bytes) -> None:
    table = read_table(save(tmp_path, content))
    assert table.rows == ROWS and table.columns[:2] == ("case", "name") and not table.findings


def test_an_encoding_that_had_to_be_guessed_is_told(tmp_path: Path) -> None:
    table = read_table(save(tmp_path, TEXT.encode("cp1250")))
    assert table.rows[0]["name"] == "Müller"
    (finding,) = table.findings
    assert finding.level == "warn" and "not UTF-8; it was read as Windows-1252" in finding.message
    # 0x81 is no letter of Windows-1252.
    table = read_table(save(tmp_path, "case,name\n1,M\x81ll\xe9\n".encode("latin-1")))
    assert table.rows[0]["name"] == "M\x81llé" and "Latin-1" in table.findings[0].message


def test_a_tsv_whose_columns_are_not_separated_by_tabs_is_told(tmp_path: Path) -> None:
    table = read_table(save(tmp_path, TEXT, "t.tsv"))
    assert table.rows == ROWS and "',' separates its columns" in table.findings[0].message
    commas = read_table(save(tmp_path, "name\tage, in years, today\nA\t3\n", "u.tsv"))
    assert commas.columns == ("name", "age,_in_years,_today") and not commas.findings


def test_quoted_values_keep_separators_quotes_and_line_ends(tmp_path: Path) -> None:
    table = read_table(save(tmp_path, 'a,b\n"x, ""y""","one\r\ntwo"\n1,2\n'))
    assert table.rows[0] == {"a": 'x, "y"', "b": "one\r\ntwo"}
    assert table.lines == (2, 4)  # the line of the file in which each begins


def test_short_lines_are_filled_and_columns_without_a_name_left_out(tmp_path: Path) -> None:
    table = read_table(save(tmp_path, ",Participant ID,b\n0,P1\n"))
    assert table.rows == ({"participant_id": "P1", "b": ""},)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        ("case,PET\n", r"lacks the column\(s\) t1"),
        ("case,t1,Case\n", "has the column 'case' twice"),
        ("case,t1\na,b,c\n", "Line 2 .* has 3 values for 2 columns"),
        ('case,t1\na,"b\nc,d\n', "quotation mark in line 2 .* is not closed"),
        (b"case,t1\na,\0\n", "is not a text file"),
        (b"PK\x03\x04rest", "is a workbook"),
        (b"\xd0\xcf\x11\xe0rest", "is a workbook"),
        (codecs.BOM_UTF16_LE + b"a", "is damaged"),
        ("case,t1\na," + "x" * 200_000, "Line 2 of .* cannot be read: field larger"),
    ],
)
def test_what_is_wrong_with_a_table_is_named(tmp_path: Path, content: bytes | str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_table(save(tmp_path, content), ("case", "t1"))


def test_no_file_no_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_table(tmp_path / "no.csv")
    with pytest.raises(InputError, match="is not a file"):
        read_table(tmp_path)
    monkeypatch.setattr(tables, "MAX_BYTES", 10)
    with pytest.raises(InputError, match="is larger than"):
        read_table(save(tmp_path, TEXT))


@pytest.mark.parametrize("text", ["=1+1", "+x", "-x", "@SUM(A1)", "\t=1", "\r=1", "＝1", "'=1", "-1+2", "-"])
def test_a_spreadsheet_finds_no_formula_and_the_reader_finds_the_text(tmp_path: Path, text: str) -> None:
    path = write_table(tmp_path / "t.csv", ("a", "b"), [(text, 1)])
    with path.open(encoding="utf-8", newline="") as stream:
        cell = list(csv.reader(stream))[1][0]
    assert cell.startswith("'") and cell != text
    assert read_table(path).rows[0]["a"] == text.strip()


def test_numbers_stay_numbers_and_nothing_is_nan(tmp_path: Path) -> None:
    import numpy as np

    values = [-1, -0.5, 1e-7, 1 / 3, np.float64(-2.5), np.float32(0.1), np.int64(3), "-4.5e-3", "+5"]
    path = write_table(tmp_path / "t.csv", list("abcdefghi"), [values])
    row = path.read_text().splitlines()[1]
    assert row == "-1,-0.5,1e-07,0.3333333333333333,-2.5,0.1,3,-4.5e-3,+5"
    path = write_table(tmp_path / "t.csv", "abcd", [(None, float("nan"), float("inf"), np.float32("nan"))])
    assert path.read_text() == "a,b,c,d\n,,,\n"


def test_a_table_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    with pytest.raises(ZeroDivisionError), open_table(path, ("a",)) as add:
        add([(1,)])
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())
    write_table(path, ("a",), [(1,)])
    with pytest.raises(ZeroDivisionError), open_table(path, ("a",)) as add:
        raise ZeroDivisionError
    assert path.read_text() == "a\n1\n"
    with pytest.raises(OutputError):
        write_table(path / "below.csv", ("a",), [])


def test_names_that_are_no_utf_8_are_shown(tmp_path: Path) -> None:
    path = write_table(tmp_path / "t.tsv", ("a", "b"), [{"b": "x\udcff.nii", "a": 1}])
    assert path.read_text(encoding="utf-8") == "a\tb\n1\tx\\udcff.nii\n"


class Region(NamedTuple):
    region: str
    label: int
    mean: float | None


def test_rows_are_named_tuples_with_numbers(tmp_path: Path) -> None:
    rows = [Region("-left", 1, -0.25), Region("", 2, None)]
    path = write_rows(tmp_path / "t.csv", rows)
    assert read_rows(path, Region) == rows
    for text, name in (("a,1.5,1", "label"), ("a,1,nan", "mean"), ("a,1,1;5", "mean"), ("a,,1", "label")):
        with pytest.raises(InputError, match=f"Line 2 of .* as {name}"):
            read_rows(save(tmp_path, f"region,label,mean\n{text}\n"), Region)
    with pytest.raises(InputError, match=r"lacks the column\(s\) mean"):
        read_rows(save(tmp_path, "region,label\na,1\n"), Region)


def test_a_table_for_the_clipboard(tmp_path: Path) -> None:
    assert table_text(("a", "b"), [("-1.5", "=x"), (None, "p\tq")]) == 'a\tb\n-1.5\t\'=x\n\t"p\tq"\n'


def test_lines_without_column_names(tmp_path: Path) -> None:
    lines, _ = read_lines(save(tmp_path, "10;Left\n\n11;Right\n"))
    assert lines == [(1, ["10", "Left"]), (3, ["11", "Right"])]


# -- properties ----------------------------------------------------------------------------------------------

any_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
tricky = st.text("=+-@'\",;\t\r\n \ufeffa1\x1a\x85ｘ＝", max_size=8)
cells = st.one_of(any_text, tricky, st.floats(allow_nan=False, allow_infinity=False).map(repr))
grids = st.integers(1, 4).flatmap(
    lambda n: st.lists(st.lists(cells, min_size=n, max_size=n), min_size=1, max_size=5)
)


def as_read(text: str) -> str:
    """A text as a cell keeps it: no blanks around it, ``\\n`` as line end."""
    return text.replace("\r\n", "\n").replace("\r", "\n").strip()


@quick
@given(grids, st.sampled_from([".csv", ".tsv"]))
def test_any_text_reads_back(tmp_path_factory: pytest.TempPathFactory, rows: list, suffix: str) -> None:
    path = tmp_path_factory.getbasetemp() / f"any{suffix}"
    columns = tuple(f"c{n}" for n in range(len(rows[0])))
    write_table(path, columns, rows)
    table = read_table(path)
    expected = [tuple(as_read(cell) for cell in row) for row in rows]
    assert [tuple(row.values()) for row in table.rows] == [row for row in expected if any(row)]
    assert table.columns == columns and not table.findings


@quick
@given(grids, st.sampled_from(["utf-8-sig", "utf-16", "utf-32", "utf-16-le", "utf-16-be"]))
def test_any_encoding_reads_back(tmp_path_factory: pytest.TempPathFactory, rows: list, encoding: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any.csv"
    columns = tuple(f"c{n}" for n in range(len(rows[0])))
    write_table(path, columns, rows)
    there = read_table(path).rows
    path.write_bytes(path.read_bytes().decode("utf-8").encode(encoding))
    assert read_table(path).rows == there


@quick
@given(st.one_of(st.binary(max_size=200), st.text(max_size=100).map(lambda t: t.encode("utf-8", "ignore"))))
def test_any_bytes_are_a_table_or_named(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = save(tmp_path_factory.getbasetemp(), content, "bytes.csv")
    try:
        table = read_table(path)
    except InputError as error:
        assert str(path) in str(error)
    else:
        assert all(set(row) == set(table.columns) - {""} for row in table.rows)


@quick
@given(st.lists(st.floats(), min_size=1, max_size=5))
def test_numbers_read_back_to_the_last_digit(
    tmp_path_factory: pytest.TempPathFactory, values: list[float]
) -> None:
    path = tmp_path_factory.getbasetemp() / "numbers.csv"
    write_rows(path, [Region("x", 1, value) for value in values])
    back = [row.mean for row in read_rows(path, Region)]
    finite = [value if abs(value) < float("inf") else None for value in values]
    assert back == finite
