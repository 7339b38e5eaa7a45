"""Whose scan a case is: the subject key, from a column or from the case's name, and where it looks wrong."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping
from itertools import combinations
from pathlib import Path

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.findings import Finding

# A name with at least one digit, then any number of visit marks: _01, _010818, _REDO, _ses-02, -run2, _V1 ...
# Three digits are a person's number, so that subject_001 stays whole.
DEFAULT_PATTERN = (
    r"(?P<subject>.*?\d.*?)"
    r"(?:[_\- .](?:\d{1,2}|\d{6}|\d{8}|redo|rescan|retest|test|baseline|follow-?up\d*"
    r"|(?:ses|session|run|visit|scan|v|tp|rep)-?[a-z]?\d+))*"
)


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """A pattern that must match a whole case name and holds a group called ``subject``; case is ignored.

    :raises InputError: if it is not a regular expression or has no such group.
    """
    try:
        compiled = re.compile(pattern, re.IGNORECASE)
    except re.error as error:
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
    spelling: dict[str, str] = {_plain(name): name for name in sorted(overrides.values())}
    keys = {}
    for case in cases:
        key = overrides.get(case) or subject_key(case, compiled)
        keys[case] = spelling.setdefault(_plain(key), key)
    return keys


def read_overrides(path: Path) -> dict[str, str]:
    """A CSV of two columns, ``case`` and ``subject``.

    :raises InputError: if it cannot be read or lacks a column or value.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read: {error}.", "Give a CSV with case and subject.") from error
    found = {(row.get("case") or "").strip(): (row.get("subject") or "").strip() for row in rows}
    if not found or not all(found) or not all(found.values()):
        raise InputError(f"{path} lacks a case or a subject in some line.", "It needs both columns, filled.")
    return found


def spelling_findings(keys: Mapping[str, str]) -> dict[str, Finding]:
    """Warnings for subjects that look like one person under two names, such as KOA033 and PBRKOA033.

    :param keys: case -> subject.
    :returns: subject -> warning.
    """
    plain = {subject: _plain(subject) for subject in sorted(set(keys.values()))}
    numbered = {s: p for s, p in plain.items() if re.search(r"[a-z]\d+$", p)}
    found = {}
    for a, b in combinations(sorted(numbered, key=lambda s: len(numbered[s])), 2):
        same = numbered[a] == numbered[b]
        tail = numbered[b].endswith(numbered[a]) and len(re.sub(r"\d+$", "", numbered[a])) >= 2
        if same or tail:
            message = f"The subjects {a!r} and {b!r} look like one person under two names."
            hint = "If they are, give them one subject (--subjects or the manifest's subject column)."
            found[b] = Finding("warn", "two_spellings", message, hint)
    return found


def _plain(name: str) -> str:
    """For comparing: lower case, no separators, no leading zeros in a number."""
    name = re.sub(r"(?<!\d)0+(?=\d)", "", name.lower())
    return re.sub(r"[^\w]|_", "", name) or name
