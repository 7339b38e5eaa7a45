"""Tables of cases: which images belong to a scan, whose it is, and what is known of the person.

Every command that takes a table takes this one, and a column means the same to all of them:

==============  ==============================================================================================
``case``        name of the scan, one of its own
``subject``     whose scan it is; repeated scans of a person share it. Without the column the case's name says
``t1``          T1-weighted MRI: a file or a DICOM folder
``pet``         real PET
``mask``        brain mask on the grid of the T1
``synthetic``   synthetic PET, to be compared with ``pet``
``unit``        unit of ``pet``; wins over what its files state
``window_min``  minutes after the injection over which the frames of ``pet`` are averaged, such as ``60-90``
``group``       diagnosis or study arm: folds balance it, statistics are by it
``genotype``    HAB, MAB or LAB (rs6971)
``site``        where it was scanned
``age``         of the person, in years; what no person's can be (-9, 0, 999) counts as missing and is told
``sex``         of the person: F, M or O; ``female`` and ``f`` are F, ``unknown`` is an empty cell
``donor``       person who must not be on another side of a split, such as whose anatomy a simulation used;
                who is a ``subject`` too is the same person
``fold``        number of the fold of a cross-validation that left the case out
``exclude``     why the case is left out; empty, ``no`` or ``0`` for a case in use
==============  ==============================================================================================

Paths are relative to the table. ``n/a`` is an empty cell, as in BIDS. Columns are found in any case;
``participant_id`` is ``subject``. Others may serve as covariates
(``evaluate --covariates``); one that looks like one of these is warned about.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.findings import Finding
from MRI2PETLib.core.names import file_name
from MRI2PETLib.core.tables import EMPTY_CELLS, Table, read_table
from MRI2PETLib.images.person_values import person_value
from MRI2PETLib.images.similar_subjects import similar_subjects
from MRI2PETLib.images.subjects import joined_by_name, one_spelling, subject_keys, word_key

_PATHS = ("t1", "pet", "mask", "synthetic")
# What cannot differ between two scans of one person.
_OF_A_PERSON = ("genotype", "donor", "group")
_IN_USE = {"no", "0", "false", "n", "none", "-", "0.0"}
_MARKED = {"yes", "1", "true", "y", "x", "1.0"}
MOST_CASES = 100_000
_LONGEST = 120  # bytes of a case's name: names of outputs put entities behind it
_OTHER_NAMES = {
    "case": ("scan", "scan_id", "case_id", "session"),
    "subject": (
        "subject_id",
        "subjectid",
        "subj",
        "sub",
        "participant",
        "patient",
        "patient_id",
        "person",
        "pid",
    ),
    "t1": ("t1w", "mri", "mprage", "t1_path"),
    "pet": ("real", "real_pet", "pet_path"),
    "unit": ("pet_units", "suv_unit"),
    "window_min": ("window", "frame_window", "pet_window"),
    "group": ("diagnosis", "dx", "cohort", "arm"),
    "genotype": ("rs6971", "tspo"),
    "site": ("center", "centre", "scanner", "hospital"),
    "age": ("age_years", "age_at_scan"),
    "sex": ("gender",),
    "exclude": ("excluded", "exclusion", "use", "include", "qc"),
}


def columns_of(name: str) -> tuple[str, ...]:
    """Columns that may hold what a column of that name holds, the name itself first."""
    return (name, *_OTHER_NAMES.get(name, ()))


@dataclass(frozen=True)
class CaseColumns:
    """What every table of cases may say of one: whose scans they are, where they are, what is known.

    :ivar subject: the person; repeated scans of a person share it.
    :ivar mask: brain mask on the grid of the T1, or ``None``.
    :ivar unit: unit of the PET when its files do not say, or empty.
    :ivar window_min: minutes over which the frames of the PET are averaged, ``60-90``, or empty.
    :ivar group: stratum that folds balance (a diagnosis).
    :ivar donor: a person who must not be on another side of a split, for example whose anatomy a simulation
        used; who is a ``subject`` too is the same person.
    :ivar exclude: why the case is left out; empty for a case in use.
    """

    case: str
    subject: str
    t1: Path | None
    pet: Path | None
    mask: Path | None = None
    unit: str = ""
    window_min: str = ""
    group: str = ""
    genotype: str = ""
    site: str = ""
    age: str = ""
    sex: str = ""
    donor: str = ""
    exclude: str = ""


@dataclass(frozen=True)
class CaseRow(CaseColumns):
    """One line of a table of cases; see the columns above. What is not stated is ``None`` or empty.

    :ivar others: what further columns say, by their names.
    """

    synthetic: Path | None = None
    fold: str = ""
    others: Mapping[str, str] = field(default_factory=dict)


_Case = TypeVar("_Case", bound=CaseColumns)
_COLUMNS = tuple(own.name for own in fields(CaseRow) if own.name != "others")


@dataclass(frozen=True)
class CaseTable:
    """All lines of a table of cases, and what was noticed.

    :ivar names_people: the table says whose scan each is; else the names of the cases were taken for it.
    """

    path: Path
    rows: tuple[CaseRow, ...]
    findings: tuple[Finding, ...]
    names_people: bool

    @property
    def used(self) -> tuple[CaseRow, ...]:
        """The lines that are not excluded."""
        return tuple(row for row in self.rows if not row.exclude)

    def notes(self) -> list[str]:
        """What a user should be told: findings, possible repeats of a person, cases left out."""
        keys = {row.case: row.subject for row in self.used}
        similar = similar_subjects(keys, by_name=not self.names_people).values()
        texts = dict.fromkeys(f"{f.message} {f.hint}".strip() for f in (*self.findings, *similar))
        return [*texts, *(f"{row.case} is left out: {row.exclude}" for row in self.rows if row.exclude)]


def read_case_table(
    path: Path | str,
    needed: Sequence[str],
    *,
    subject_pattern: str | None = None,
    overrides: Mapping[str, str] | None = None,
) -> CaseTable:
    """Read a table of cases.

    :param needed: columns that must be there and filled in every line that is not excluded.
    :param subject_pattern: see :func:`.subjects.subject_keys`; not used where a column names the subjects.
    :param overrides: case -> subject, wins over the table.
    :raises InputError: no such table, more than :data:`MOST_CASES` rows, a column or value missing, a case
        named twice or like another one, a column that seems to hold the subjects under another name.
    """
    table = _renamed(read_table(path))
    if len(table.rows) > MOST_CASES:
        raise InputError(
            f"The table {path} has {len(table.rows)} rows; {MOST_CASES} cases are possible.",
            "It needs one row a scan.",
        )
    similar = dict(_similar_columns(table.columns))
    missing = [name for name in needed if name not in table.columns]
    if missing:
        like = [f"{other} looks like {name}" for other, name in similar.items() if name in missing]
        optional = [name for name in _COLUMNS if name not in needed]
        raise InputError(
            f"The table {path} lacks the column(s) {', '.join(missing)}"
            + (f" ({'; '.join(like)})." if like else "."),
            f"Needed: {', '.join(needed)}; optional: {', '.join(optional)}.",
        )
    people = next((other for other, name in similar.items() if name == "subject"), None)
    if people is not None:
        raise InputError(
            f"The table {path} has no column subject, but {people}, which may say whose scan each is.",
            "Rename it to subject. If the names of the cases say whose scan each is, remove the column.",
        )
    similar |= {other: "exclude" for other in table.columns if other in _OTHER_NAMES["exclude"]}
    findings = [_unused_column(table.path, other, name) for other, name in similar.items()]
    rows = [_row(table, number, row, needed) for number, row in zip(table.lines, table.rows)]
    if not rows:
        raise InputError(f"The table {path} has no row.", "List at least one case.")
    check_case_names([row.case for row in rows], str(path))
    subjects = {row.case: row.subject for row in rows if row.subject} | dict(overrides or {})
    keys = subject_keys([row.case for row in rows], subject_pattern, subjects)
    if subject_pattern is None:
        findings += joined_by_name(keys, subjects)
    rows, odd = with_one_spelling(replace(row, subject=keys[row.case]) for row in rows)
    return CaseTable(
        table.path, tuple(rows), (*table.findings, *findings, *odd), names_people="subject" in table.columns
    )


def with_one_spelling(cases: Iterable[_Case]) -> tuple[list[_Case], list[Finding]]:
    """Cases whose groups, sites, donors, genotypes, ages and sexes are spelt alike, and which values are odd.

    ``Oslo`` and ``oslo`` are one site, ``f`` and ``female`` one sex, see :func:`.person_value`.
    """
    cases = list(cases)
    spelt = {name: one_spelling(getattr(c, name) for c in cases) for name in ("site", "donor")}
    spelt["group"] = one_spelling((case.group for case in cases), word_key)
    result: list[_Case] = []
    odd: dict[str, list[str]] = {}
    for case in cases:
        values: dict[str, Any] = {name: names[getattr(case, name)] for name, names in spelt.items()}
        for name in ("genotype", "age", "sex"):
            values[name], remark = person_value(name, getattr(case, name))
            if remark:
                odd.setdefault(remark, []).append(case.case)
        result.append(replace(case, **values))
    more = {remark: f" and {len(own) - 1} more" * (len(own) > 1) for remark, own in odd.items()}
    return result, [
        Finding("warn", "person-value", remark, f"In {own[0]}{more[remark]}.") for remark, own in odd.items()
    ]


def check_people(cases: Sequence[CaseColumns]) -> None:
    """Raise if one subject has two genotypes, donors or groups: then it is two people, or a slip of the pen.

    :raises InputError: naming the subject and both values.
    """
    for column in _OF_A_PERSON:
        earlier: dict[str, CaseColumns] = {}
        for case in cases:
            value = getattr(case, column)
            first = earlier.setdefault(case.subject, case)
            before = getattr(first, column)
            if value.casefold() != before.casefold():
                raise InputError(
                    f"Subject {case.subject!r} has the {column} {before or 'missing'!r} in {first.case!r} "
                    f"and {value or 'missing'!r} in {case.case!r}: are these different people under one id?",
                    f"Give every person a subject id of their own and one {column}.",
                )


def check_case_names(names: Sequence[str], source: str) -> None:
    """Refuse names of cases that are equal, or are so as names of files on some computer.

    :raises InputError: naming both, or a name that is too long.
    """
    earlier: dict[str, str] = {}
    for name in names:
        key = file_name(name).casefold()
        if len(key.encode()) > _LONGEST:
            raise InputError(f"The case {name[:40]!r}... of {source} has too long a name.", "Shorten it.")
        if key in earlier:
            twice = (
                f"the case {name!r} twice"
                if earlier[key] == name
                else f"the cases {earlier[key]!r} and {name!r}"
            )
            raise InputError(
                f"{source} lists {twice}: their files would have one name.",
                "Give every scan a case name of its own. Scans of one person have the same subject.",
            )
        earlier[key] = name


def _renamed(table: Table) -> Table:
    """``participant_id`` of BIDS is the subject."""
    if "subject" in table.columns or "participant_id" not in table.columns:
        return table
    names = {"participant_id": "subject"}
    rows = tuple({names.get(key, key): value for key, value in row.items()} for row in table.rows)
    return replace(table, columns=tuple(names.get(name, name) for name in table.columns), rows=rows)


def _similar_columns(columns: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Columns that are none of ours, and which of ours that is not there each looks like."""
    absent = [name for name in _COLUMNS if name not in columns]
    for column in columns:
        if column in _COLUMNS or not column:
            continue
        similar = [name for name in absent if column in _OTHER_NAMES.get(name, ())]
        for name in similar or get_close_matches(column, absent, 1, 0.8):
            yield column, name


def _unused_column(path: Path, other: str, name: str) -> Finding:
    hint = f"Is it {name}?"
    if name == "exclude":  # a mark may mean the opposite there
        hint = "Only the column exclude leaves cases out: by its reason, yes or 1."
    return Finding("warn", "table-column", f"The column {other} of {path.name} is not used.", hint)


def _row(table: Table, number: int, row: Mapping[str, str], needed: Sequence[str]) -> CaseRow:
    values = {name: "" if text.lower() in EMPTY_CELLS else text for name, text in row.items()}
    for name in ("case", "subject"):  # somebody's initials may be NA
        values[name] = "" if row.get(name, "").lower() in ("", "n/a") else row[name]
    exclude = values.get("exclude", "")
    exclude = "" if exclude.lower() in _IN_USE else exclude
    exclude = "marked in the table" if exclude.lower() in _MARKED else exclude
    empty = [name for name in needed if not values[name] and (not exclude or name == "case")]
    if "subject" in row and not values["subject"] and not exclude:
        empty.append("subject")
    if empty:
        raise InputError(
            f"Line {number} of {table.path} has no {', '.join(empty)}.",
            "Fill it in. Without a column subject, the subjects are taken from the names of the cases.",
        )
    folder = table.path.parent
    content: dict[str, Any] = {name: values.get(name, "") for name in _COLUMNS}
    content["others"] = {name: text for name, text in values.items() if name and name not in _COLUMNS}
    content |= {name: _path(content[name], folder) if content[name] else None for name in _PATHS}
    return CaseRow(**{**content, "exclude": exclude})


def _path(text: str, folder: Path) -> Path:
    """A path of a cell; one with backslashes may come from a table made on Windows."""
    path = folder / os.path.expanduser(text)
    if "\\" in text and not path.exists():
        posix = folder / text.replace("\\", "/")
        return posix if posix.exists() else path
    return path
