"""Whose scan a case is: the subject key, from a column or from the case's name."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.findings import Finding
from MRI2PETLib.core.tables import read_table

# What follows a person's number and tells a visit: _01, _010818, _2018-08-01, _REDO, _ses-02, -run2, _V1 ...
# Three digits are a person's number, so that subject_001 stays whole.
VISIT_MARKS = (
    r"(?:19|20)\d\d[-_.]\d\d[-_.]\d\d|\d\d[-_.]\d\d[-_.](?:19|20)\d\d|\d{1,2}|\d{6}|\d{8}"
    r"|redo|rescan|retest|test|baseline|follow-?up\d*"
    r"|(?:ses|session|run|visit|scan|v|tp|rep)-?[a-z]?\d+"
)
DEFAULT_PATTERN = rf"(?P<subject>.*?\d.*?)(?:[_\- .](?:{VISIT_MARKS}))*"


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """A pattern that must match a whole case name and holds a group called ``subject``; case is ignored.

    :raises InputError: if it is not a regular expression or has no such group.
    """
    try:
        compiled = re.compile(pattern, re.IGNORECASE)
    except (re.error, RecursionError) as error:
        raise InputError(f"The subject pattern {pattern!r} is not valid: {error}.") from error
    if "subject" not in compiled.groupindex:
        raise InputError(
            f"The subject pattern {pattern!r} has no group called subject.",
            r"Example: (?P<subject>[A-Z]+\d+).*",
        )
    return compiled


def subject_key(case: str, pattern: re.Pattern[str] | None = None) -> str:
    """The subject that a case's name names.

    >>> subject_key("IGN_CLBP008_01_REDO")
    'IGN_CLBP008'
    >>> subject_key("subject_01")
    'subject_01'

    :raises InputError: if the pattern does not match.
    """
    match = (pattern or compile_pattern(DEFAULT_PATTERN)).fullmatch(case)
    if match is None or not match["subject"]:
        if pattern is None:
            return case
        raise InputError(
            f"The subject pattern does not match the case {case!r}.",
            "Correct --subject-pattern, or name the subject in --subjects or a manifest.",
        )
    return match["subject"]


def subject_keys(
    cases: Iterable[str], pattern: str | None = None, overrides: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Subjects of case names. Spellings that differ in case, separators or leading zeros become one.

    :param overrides: case -> subject, wins over the pattern.
    :raises InputError: for a pattern that does not match, or an override of a case that does not exist.
    """
    cases = sorted(cases)
    overrides = overrides or {}
    unknown = sorted(set(overrides) - set(cases))
    if unknown:
        raise InputError(
            f"The list of subjects names the case {unknown[0]!r}, which is not in the dataset.",
            "Correct the list; its first column holds names of cases.",
        )
    compiled = None if pattern is None else compile_pattern(pattern)
    spelling: dict[str, str] = {plain_name(name): name for name in sorted(overrides.values())}
    keys = {}
    for case in cases:
        key = overrides.get(case) or subject_key(case, compiled)
        keys[case] = spelling.setdefault(plain_name(key), key)
    return keys


def joined_by_name(keys: Mapping[str, str], named: Iterable[str] = ()) -> tuple[Finding, ...]:
    """What to say of cases that their names alone made scans of one person; empty if there is none.

    :param keys: case -> subject, by the default pattern.
    :param named: cases whose subject a column or a list names.
    """
    own: dict[str, list[str]] = {}
    for case in sorted(set(keys) - set(named)):
        own.setdefault(keys[case], []).append(case)
    joined = {subject: cases for subject, cases in own.items() if len(cases) > 1}
    if not joined:
        return ()
    subject, cases = next(iter(joined.items()))
    n_cases = sum(map(len, joined.values()))
    people = "1 person" if len(joined) == 1 else f"{len(joined)} people"
    message = (
        f"By their names {n_cases} cases are scans of {people}: {cases[0]!r} and {cases[1]!r} are {subject!r}"
    )
    message += "." if n_cases == 2 else ", for example."
    hint = (
        "If they are not, name the person of each: --subject-pattern '(?P<subject>.+)' takes whole names, or "
        "--subjects, or the column subject of a manifest."
    )
    return (Finding("warn", "joined-by-name", message, hint),)


def read_overrides(path: Path) -> dict[str, str]:
    """A table of two columns, ``case`` and ``subject``.

    :raises InputError: if it cannot be read, lacks a column or value, or gives a case two subjects.
    """
    table = read_table(path, ("case", "subject"))
    subjects: dict[str, str] = {}
    for number, row in zip(table.lines, table.rows):
        case, subject = row["case"], row["subject"]
        if not case or not subject:
            raise InputError(f"Line {number} of {path} lacks a case or a subject.", "It needs both.")
        if subjects.setdefault(case, subject) != subject:
            raise InputError(
                f"{path} gives the case {case!r} two subjects: {subjects[case]!r} and {subject!r}.",
                "Keep one line a case.",
            )
    if not subjects:
        raise InputError(f"{path} lists no case.", "It needs the columns case and subject, filled.")
    return subjects


def one_spelling(names: Iterable[str], key: Callable[[str], str] | None = None) -> dict[str, str]:
    """What each name becomes when those that differ in case, separators or leading zeros are one.

    :param key: what is equal for names that are one, in place of :func:`plain_name`.

    >>> one_spelling(["d1", "D01", "Oslo", " oslo", ""])
    {'': '', ' oslo': ' oslo', 'D01': 'D01', 'Oslo': ' oslo', 'd1': 'D01'}
    """
    first: dict[str, str] = {}
    return {name: first.setdefault((key or plain_name)(name), name) for name in sorted(set(names))}


def word_key(word: str) -> str:
    """For comparing groups and the like, whose signs have a meaning: case and spaces have none.

    >>> word_key(" Mild  AD") == word_key("mild ad"), word_key("AD+") == word_key("AD-")
    (True, False)
    """
    return " ".join(unicodedata.normalize("NFKC", word).casefold().split())


def person_key(name: str) -> str:
    """:func:`plain_name` of a person, with or without the ``sub-`` of BIDS.

    >>> person_key("sub-001") == person_key("1"), person_key("P1") == person_key(" p_01")
    (True, True)
    """
    return plain_name(re.sub(r"^\s*sub-", "", name, flags=re.IGNORECASE))


def plain_name(name: str) -> str:
    """For comparing: one form of accents, lower case, no separator but between digits, no leading zeros.

    >>> plain_name("KOA_033") == plain_name("koa33"), plain_name("2_10") == plain_name("21_0")
    (True, False)
    """
    name = unicodedata.normalize("NFKC", name).casefold()
    name = re.sub(r"(?<=\d)[\W_]+(?=\d)", ".", name)  # 2_10 and 21_0 are two names
    plain = re.sub(r"[^\w.]|_|(?<!\d)\.|\.(?!\d)", "", name)
    plain = re.sub(r"(?<!\d)0+(?=\d)", "", plain)
    return re.sub(r"^(\d+)\.0$", r"\1", plain) or name  # a spreadsheet's 7.0 is 7
