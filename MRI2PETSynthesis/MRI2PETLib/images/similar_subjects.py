"""Subjects that look like one person: two spellings of a name, or names that differ in a visit only.

Repeated scans of a person on two sides of a split are a leak that nothing later can notice, so whatever may
be one is pointed out, with the option that joins the two. Who is who is for the user to say.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.findings import Finding
from MRI2PETLib.images.subjects import VISIT_MARKS, plain_name, subject_keys

TWO_SPELLINGS, LAST_PART = "two-spellings", "last-part"
_SEPARATOR = re.compile(r"[_\-. ]+")
_MONTH = r"(?:jan|feb|mar|apr|may|mai|jun|jul|aug|sep|oct|okt|nov|dec|dez)[a-z]*"
_UNIT = (
    r"d|day|w|wk|week|m|mo|mon|month|y|yr|year|v|vis|visit|t|tp|time|timepoint|ses|sess|session|fu|bl|"
    r"mr|pet|scan|run|wave|phase|stage"
)
# A visit wherever it stands: d0129, 12months, V1, pre, baseline, 2019, 20190304, 04mar19.
_VISIT = re.compile(
    rf"(?:{_UNIT})\d*|\d+(?:{_UNIT}|(?:day|week|month|year|visit)s|st|nd|rd|th)"
    r"|pre|post|before|after|base|baseline|bsl|scr|screen|screening|follow|followup\d*|first|second|third"
    r"|early|late|initial|final|start|end|entry|exit|test|retest|rescan|repeat|redo|old|new"
    rf"|(?:19|20)\d\d|\d{{6}}|\d{{8}}|\d{{0,2}}{_MONTH}\d{{0,4}}"
)
# A visit where the rest holds a number, which is then the person's: also a, B2, x01, II, 3rd.
_LETTER = re.compile(rf"(?:{_VISIT.pattern})|[a-z]{{1,3}}\d*|\d+[a-z]{{1,6}}")
# Behind such a part a number is a person's: 002_S_0295 and 002_S_0413 (ADNI).
_PERSON = re.compile(
    r"(?:.*[_\-. ])?(?:s|sub|subj|subject|p|pt|pat|patient|person|id|nr|hc|con|control)[_\-. ]\d+"
)
# A visit before the person: pre_S1, v2_012, 20190304_S1. Not d01 or m01, which are people as well.
_FIRST = re.compile(
    r"(?:v|vis|visit|ses|sess|session|time|timepoint|tp|scan|day|week|wk|month|mon|year)\d+|\d{6}|\d{8}"
    r"|pre|post|before|after|base|baseline|bl|fu\d*|follow|followup\d*|early|late|test|retest|rescan|repeat"
)
# What many people share: diagnoses, groups, words for a person.
_GROUP = re.compile(
    r"(?:s|sub|subj|subject|p|pt|pat|patient|person|volunteer|participant|case|id|hc|nc|cn|con|control|healthy"
    r"|ad|mci|scd|ms|pd|hd|als|ftd|group|arm|site|centre|center|cohort)s?"
)
_NUMBERED = 4  # so many numbers behind a name without one: people of a site
_MOST_VISITS = 8  # of a person; more names with one stem are numbered people of a site


@dataclass(frozen=True)
class Group:
    """Subjects whose names are equal but for a last part that may be a visit, or a first one (``tails``, in
    lower case; empty for a name without).
    """

    subjects: tuple[str, ...]
    tails: frozenset[str]

    @property
    def part(self) -> str:
        """Where the names differ: ``last`` or ``first``."""
        names = [subject.casefold() for subject in self.subjects]
        return "last" if all(name.endswith(tuple(self.tails)) for name in names) else "first"


def similar_subjects(keys: Mapping[str, str], *, by_name: bool = True) -> dict[str, Finding]:
    """A warning for every subject that may be another one too.

    :param keys: case -> subject.
    :param by_name: the subjects come from the names of the cases, so that another pattern can join them.
    """
    findings = spelling_findings(keys)
    groups = last_part_groups(sorted(set(keys.values())))
    pattern = joining_pattern(keys, groups) if by_name else None
    option = "" if pattern is None else f"--subject-pattern '{pattern}', "
    for group in groups:
        examples = " and ".join(repr(name) for name in group.subjects[:2])
        more = f" (and {len(group.subjects) - 2} more)" if len(group.subjects) > 2 else ""
        message = (
            f"The subjects {examples}{more} differ in their {group.part} part only: scans of one person?"
        )
        hint = f"If they are, join them: {option}--subjects, or the column subject of a manifest."
        for subject in group.subjects:
            findings.setdefault(subject, Finding("warn", LAST_PART, message, hint))
    return findings


def spelling_findings(keys: Mapping[str, str]) -> dict[str, Finding]:
    """Warnings for subjects that look like one person under two names, such as KOA033 and PBRKOA033.

    :param keys: case -> subject.
    :returns: subject -> warning.
    """
    plain = {subject: plain_name(subject) for subject in sorted(set(keys.values()))}
    numbered = {s: p for s, p in plain.items() if re.search(r"[a-z]\d+$", p)}
    findings = {}
    for a, b in combinations(sorted(numbered, key=lambda s: len(numbered[s])), 2):
        same = numbered[a] == numbered[b]
        tail = numbered[b].endswith(numbered[a]) and len(re.sub(r"\d+$", "", numbered[a])) >= 2
        if same or tail:
            message = f"The subjects {a!r} and {b!r} look like one person under two names."
            hint = "If they are, give them one subject (--subjects or the manifest's subject column)."
            findings[b] = Finding("warn", TWO_SPELLINGS, message, hint)
    return findings


def last_part_groups(subjects: Sequence[str]) -> list[Group]:
    """Subjects whose names are equal but for a last part that may be a visit.

    >>> [g.subjects for g in last_part_groups(["OAS3_MR_d0129", "OAS3_MR_d2430", "OAS4_MR_d0129"])]
    [('OAS3_MR_d0129', 'OAS3_MR_d2430')]
    >>> last_part_groups(["subject_001", "subject_002", "subject_003"])
    []
    """
    stems: dict[str, dict[str, str]] = defaultdict(dict)  # stem -> subject -> last part
    for subject in subjects:
        stems[plain_name(subject)][subject] = ""
        for stem, tail in _splits(subject.casefold()):
            stems[plain_name(stem)].setdefault(subject, tail)
    stems = {stem: own for stem, own in stems.items() if len(own) > 1}
    # More stems than ends of each (anna_1, anna_2, bert_1, bert_2, carl_1, carl_2): the ends are visits.
    are_people = len(stems) > max(map(len, stems.values()), default=0)
    groups: dict[frozenset[str], Group] = {}
    for stem, own in stems.items():
        tails = frozenset(own.values())
        if _may_be_visits(stem, tails - {""}, own=len(own), everyone=len(subjects), are_people=are_people):
            groups.setdefault(frozenset(own), Group(tuple(sorted(own)), tails))
    largest = [group for names, group in groups.items() if not any(names < other for other in groups)]
    return sorted(largest, key=lambda group: group.subjects)


def _splits(name: str) -> Iterator[tuple[str, str]]:
    """Every way to take a last part off a name: one part of any kind and visits before it, letters behind a
    number, or a year behind letters. Of a name that begins with a visit: the way to take that off.
    """
    first, *rest = _SEPARATOR.split(name, maxsplit=1)
    if rest and _FIRST.fullmatch(first) and re.search(r"\d", rest[0]) and not _is_visit(rest[0], False):
        yield rest[0], first
        return
    cuts = [] if _PERSON.fullmatch(name) else list(_SEPARATOR.finditer(name))
    for cut in reversed(cuts):
        parts = _SEPARATOR.split(name[cut.end() :])
        if cut.start() and all(parts) and all(_is_visit(part, True) for part in parts[:-1]):
            yield name[: cut.start()], name[cut.end() :]
    for pattern in (r"(.*\d)([a-z][a-z\d]*)", r"(\D*[^\W\d_])((?:19|20)\d\d)"):
        if match := re.fullmatch(pattern, name):
            yield match[1], match[2]


def _is_visit(part: str, behind_number: bool) -> bool:
    return (_LETTER if behind_number else _VISIT).fullmatch(part) is not None


def _may_be_visits(stem: str, tails: frozenset[str], *, own: int, everyone: int, are_people: bool) -> bool:
    numbered = re.search(r"\d", stem) is not None
    few = own <= _MOST_VISITS
    parts = [part for tail in tails for part in _SEPARATOR.split(tail)]
    if all(_is_visit(part, False) for part in parts):
        return numbered or few
    if not numbered:
        alone = own < everyone and own < _NUMBERED and not _GROUP.fullmatch(stem)
        return (are_people or alone) and all(len(part) <= 2 for part in parts)
    return few and (own < everyone or all(_is_visit(part, True) for part in parts))


def joining_pattern(keys: Mapping[str, str], groups: Sequence[Group]) -> str | None:
    """A subject pattern that makes each group one subject and leaves all other cases where they are.

    :param keys: case -> subject.
    """
    tails = sorted({tail for group in groups for tail in group.tails} - {""})
    shapes = sorted({re.sub(r"\d+", r"\\d+", re.sub(_SEPARATOR, "[_. -]+", tail)) for tail in tails})
    if not shapes or not all(re.fullmatch(r"[\w. -]+", tail) for tail in tails):
        return None
    ends = "|".join(shapes)
    letters = "|".join(shape for shape in shapes if shape[0].isalpha())
    behind_number = rf"|(?<=\d)(?:{letters})" if letters else ""
    target = _joined(keys, groups)
    for pattern in (
        rf"(?P<subject>.+?)(?:[_. -]+(?:{ends}))?",
        rf"(?P<subject>.+?)(?:[_. -]+(?:{ends}){behind_number})?",
        rf"(?P<subject>.+?)(?:[_. -](?:{ends}|{VISIT_MARKS}){behind_number})*",
        rf"(?:(?:{ends})[_. -]+)?(?P<subject>.+)",
    ):
        try:
            subjects = subject_keys(keys, pattern)
        except InputError:
            continue
        if _partition(subjects) == target:
            return pattern
    return None


def _joined(keys: Mapping[str, str], groups: Sequence[Group]) -> set[frozenset[str]]:
    """The cases of each person when every group is one."""
    people = {subject: {subject} for subject in keys.values()}
    for group in groups:
        one = set().union(*(people[subject] for subject in group.subjects))
        people.update(dict.fromkeys(one, one))
    return _partition({case: min(people[subject]) for case, subject in keys.items()})


def _partition(keys: Mapping[str, str]) -> set[frozenset[str]]:
    cases: dict[str, set[str]] = defaultdict(set)
    for case, subject in keys.items():
        cases[subject].add(case)
    return {frozenset(own) for own in cases.values()}
