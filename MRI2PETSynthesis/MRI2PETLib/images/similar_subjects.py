"""Subjects that look like one person: two spellings of a name, or names that differ in a visit only.

Repeated scans of a person on two sides of a split are a leak that nothing later can notice, so whatever may
be one is pointed out, with the option that joins the two. Who is who is for the user to say.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.findings import Finding
from MRI2PETLib.images.subjects import VISIT_MARKS, plain_name, subject_keys

TWO_SPELLINGS, LAST_PART = "two-spellings", "last-part"
_SEPARATOR = re.compile(r"[\W_]+")
_MONTH = r"(?:jan|feb|mar|apr|may|mai|jun|jul|aug|sep|oct|okt|nov|dec|dez)[a-z]*"
_UNIT = (
    r"d|day|w|wk|week|m|mo|mon|month|y|yr|year|v|vis|visit|t|tp|time|timepoint|ses|sess|session|fu|bl|"
    r"mr|pet|scan|run|wave|phase|stage|visita|visite|besuch|termin"
)
# Words of a design within people, which part people as well where they stand first (drug_01, placebo_01).
_CONDITION = (
    r"drug|placebo|verum|active|sham|treated|treatment|untreated|therapy|on|off|medicated|unmedicated"
    r"|left|right|lh|rh|am|pm|morning|evening|night|rest|task|fed|fasted|asleep|awake|dose\d*|day|night"
    r"|(?:mon|tues|wednes|thurs|fri|satur|sun)day|one|two|three|erste[rs]?|zweite[rs]?|dritte[rs]?"
    r"|alpha|beta|gamma|delta|[\u03b1-\u03c9]"
)
_WORD = (
    r"pre|post|before|after|base|baseline|bsl|follow|followup\d*|early|late|test|retest|rescan|repeat"
    r"|vorher|nachher|avant|apres|antes|despues|prima|dopo"
)
# A visit wherever it stands: d0129, 12months, 1.5y, T+6, V1, pre, baseline, 2019, 20190304, 04mar19.
_VISIT = re.compile(
    rf"(?:{_UNIT})[\W_]*\d*|\d+(?:[.,]\d+)?(?:{_UNIT}|(?:day|week|month|year|visit)s|min|h|st|nd|rd|th)"
    rf"|{_WORD}|{_CONDITION}"
    r"|scr|screen|screening|first|second|third|initial|final|start|end|entry|exit|redo|old|new"
    rf"|(?:19|20)\d\d|\d{{6}}|\d{{8}}|\d{{0,2}}{_MONTH}\d{{0,4}}"
    r"|\d+\.[^\W\d_]{3,}"  # an ordinal: 2.Messung
)
# A visit where the rest holds a number, which is then the person's: also a, B2, x01, II, 3rd.
_LETTER = re.compile(rf"(?:{_VISIT.pattern})|[a-z]{{1,3}}\d*|\d+[a-z]{{1,6}}")
# Behind such a part a number is a person's: 002_S_0295 and 002_S_0413 (ADNI).
_PERSON = re.compile(
    r"(?:.*[\W_])?(?:s|sub|subj|subject|p|pt|pat|patient|person|id|nr|hc|con|control)[\W_]\d+"
)
# A visit before the person or among its parts: pre_S1, v2_012, visit_1_012, 20190304_S1. Not w01 or m01,
# which are people as well, unless there is a 0 or as many days as nobody has people.
_FIRST = re.compile(
    r"(?:v|vis|visit|ses|sess|session|time|timepoint|tp|scan|day|week|wk|month|mon|year)[\W_]*\d+"
    rf"|[dwmyt](?:\d{{3,}}|0+|06|12|18|24|36|48)|\d{{6}}|\d{{8}}|bl|fu\d*|{_WORD}"
    r"|(?:19|20)\d\d[\W_]\d\d[\W_]\d\d"
)
# Likewise where the rest is a letter and a number, a person's: drug_P1, left_S07, 2019_P1.
_FIRST_OF_PERSON = re.compile(rf"{_CONDITION}|(?:19|20)\d\d")
_LETTERS_AND_NUMBER = re.compile(r"[^\W\d_]+[\W_]?\d+")
# Behind the visit no person is numbered any more: what images are called.
_IMAGE = re.compile(r"t1w?|t2w?|pet\d?|mri?\d?|anat|flair|\d+t|run\d*|[a-z]*")
# What many people share: diagnoses, groups, words for a person.
_GROUP = re.compile(
    r"(?:s|sub|subj|subject|p|pt|pat|patient|person|volunteer|participant|case|id|hc|nc|cn|con|control|healthy"
    r"|ad|mci|scd|ms|pd|hd|als|ftd|mdd|hab|mab|lab|group|arm|site|centre|center|cohort|case|pet|mri?|male|female|young|old|elderly"
    rf"|\w*(?:relapse|remission|stable|progressive|responder|carrier|smoker)|{_CONDITION})s?"
)
# People of a group in capitals, numbered: MDD_01, TSPO_HAB_02.
_OF_GROUP = re.compile(r"(?:[A-Z]{2,5}[\W_])+0\d+")
# People of a site or study, numbered: 001, 0012, p3, sub12.
_COUNTED = re.compile(r"00?\d\d|(?:s|sub|subj|subject|p|pt|pat|patient|person|participant|hc|id)\d+")
_NUMBERED = 4  # so many numbers behind a name without one: people of a site
_MARKS, _BRACKETS = " _-.#~@+,", "()[]{} "
_MOST_VISITS = 8  # of a person; more names with one stem are numbered people of a site


@dataclass(frozen=True)
class Group:
    """Subjects whose names are equal but for one part that may be a visit (``tails``, in lower case; empty
    for a name without).
    """

    subjects: tuple[str, ...]
    tails: frozenset[str]

    @property
    def part(self) -> str:
        """Where the names differ: the ``last``, ``first`` or ``middle`` part."""
        ends = tuple(self.tails)
        names = [subject.casefold().rstrip("".join(_BRACKETS)) for subject in self.subjects]
        if all(name.endswith(ends) for name in names):
            return "last"
        return "first" if all(name.startswith(ends) for name in names) else "middle"


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
        shorter, longer = (re.sub(r"\d+$", "", numbered[subject]) for subject in (a, b))
        are_groups = _GROUP.fullmatch(shorter) and _GROUP.fullmatch(longer)  # male1 and female1
        tail = numbered[b].endswith(numbered[a]) and len(shorter) >= 2
        if same or (tail and not are_groups):
            message = f"The subjects {a!r} and {b!r} look like one person under two names."
            hint = "If they are, give them one subject (--subjects or the manifest's subject column)."
            findings[b] = Finding("warn", TWO_SPELLINGS, message, hint)
    return findings


def last_part_groups(subjects: Sequence[str]) -> list[Group]:
    """Subjects whose names are equal but for a part, mostly the last, that may be a visit.

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
    n_stems = Counter(tail for own in stems.values() for tail in set(own.values()))
    stems = {stem: own for stem, own in stems.items() if len(own) > 1}
    # More stems than ends of each (anna_1, anna_2, bert_1, bert_2, carl_1, carl_2): the ends are visits.
    are_people = len(stems) > max(map(len, stems.values()), default=0)
    groups: dict[frozenset[str], Group] = {}
    for stem, own in stems.items():
        tails = frozenset(own.values())
        recurs = any(tail.isalpha() and n_stems[tail] > 1 for tail in tails)
        alone = (
            len(own) < min(len(subjects), _NUMBERED)
            and not _has_letters_before(own)
            and not any(map(_OF_GROUP.fullmatch, own))
        )
        if _may_be_visits(
            stem,
            tails - {""},
            own=len(own),
            everyone=len(subjects),
            alone=alone,
            are_people=are_people,
            recurs=recurs,
        ):
            groups.setdefault(frozenset(own), Group(tuple(sorted(own)), tails))
    largest = [group for names, group in groups.items() if not any(names < other for other in groups)]
    return sorted(largest, key=lambda group: group.subjects)


def _splits(name: str) -> Iterator[tuple[str, str]]:
    """Every way to take a visit off a name, as (rest, visit): one last part of any kind and visits before it,
    letters behind a number, a year or a word of visits behind letters; a first part or one in the middle that
    is a visit.
    """
    name = name.strip(_BRACKETS)
    inner = list(_inner_visits(name))
    yield from inner
    if any(not _is_numbered(name[: name.index(visit)]) for _, visit in inner):
        return  # the person is behind it
    cuts = [] if _PERSON.fullmatch(name) else list(_SEPARATOR.finditer(name))
    for cut in reversed(cuts):
        tail = name[cut.end() :]
        parts = _SEPARATOR.split(tail)
        is_visits = _is_visit(tail, True) or all(_is_visit(part, True) for part in parts[:-1])
        is_words = _is_numbered(name[: cut.start()]) and all(map(_IMAGE.fullmatch, parts))
        if cut.start() and (is_visits or is_words):
            yield name[: cut.start()], tail
    for pattern in (
        r"(.*\d)([^\W\d_][^\W_]*)",
        r"(\D*[^\W\d_])((?:19|20)\d\d)",
        rf"([^\W\d_]{{2,}}?)({_WORD})",
        r"([^\W\d_]{3,})([1-3])",
    ):
        if (match := re.fullmatch(pattern, name)) and not _GROUP.fullmatch(match[1]):
            yield match[1], match[2]


def _inner_visits(name: str) -> Iterator[tuple[str, str]]:
    """Visits that stand before the end of a name, and the rest of it."""
    if match := re.fullmatch(rf"({_WORD})([^\W\d_]+[\W_]*\d.*)", name):
        yield match[2], match[1]
    parts = list(re.finditer(r"[^\W\d_]+\d*|\d+", name))
    for n in range(len(parts) - 1):
        for last in parts[n : min(n + 3, len(parts) - 1)]:
            start, end = parts[n].start(), last.end()
            visit, before, behind = name[start:end], name[:start], name[end:]
            rest = before.rstrip(_MARKS) + "_" + behind.lstrip(_MARKS) if before else behind.lstrip(_MARKS)
            own = [part for part in _SEPARATOR.split(behind) if part]
            if _FIRST.fullmatch(visit):
                at_end = own and all(_is_visit(o, False) for o in own)
                word = re.fullmatch(_WORD, visit) and re.search(r"[^\W\d_]{2}", rest)
                is_one = bool(word or (re.search(r"\d", rest) and not at_end))
            elif before:
                is_one = (
                    bool(re.search(r"\d", before))
                    and all(map(_IMAGE.fullmatch, own))
                    and _is_visit(visit, False)
                )
            else:
                is_one = bool(_FIRST_OF_PERSON.fullmatch(visit) and _LETTERS_AND_NUMBER.fullmatch(rest))
            if is_one:
                yield rest, visit


def _is_numbered(text: str) -> bool:
    """Whether a part of a name holds a number that may be a person's, not that of T1 or PET2."""
    parts = _SEPARATOR.split(text)
    return any(re.search(r"\d", part) and not _IMAGE.fullmatch(part) for part in parts)


def _parts(tail: str) -> list[str]:
    return [tail] if _is_visit(tail, False) else _SEPARATOR.split(tail)


def _is_visit(part: str, behind_number: bool) -> bool:
    return (_LETTER if behind_number else _VISIT).fullmatch(part) is not None


def _has_letters_before(own: Mapping[str, str]) -> bool:
    """Whether a last part follows letters without a mark (mueller1)."""
    return any(
        tail and subject.casefold().endswith(tail) and subject[: -len(tail)][-1:].isalpha()
        for subject, tail in own.items()
    )


def _may_be_visits(
    stem: str,
    tails: frozenset[str],
    *,
    own: int,
    everyone: int,
    alone: bool,
    are_people: bool,
    recurs: bool,
) -> bool:
    numbered = re.search(r"\d", stem) is not None
    few = own <= _MOST_VISITS
    parts = [part for tail in tails for part in _parts(tail)]
    if all(_is_visit(part, False) for part in parts):
        return numbered or few
    if all(_COUNTED.fullmatch(part) for part in parts):
        return False
    if not numbered:
        is_group = _GROUP.fullmatch(stem) is not None
        short = all(len(part) <= 2 for part in parts)
        return (are_people or alone) and not is_group and (short or recurs)
    # Behind a person's number any word may be a visit (P01_ketamine), another number only some.
    is_word = all(re.search(r"[^\W\d_]", tail) for tail in tails)
    return few and (
        is_word or own < everyone or all(_is_visit(part, True) or len(part) < 3 for part in parts)
    )


def joining_pattern(keys: Mapping[str, str], groups: Sequence[Group]) -> str | None:
    """A subject pattern that makes each group one subject and leaves all other cases where they are.

    :param keys: case -> subject.
    """
    tails = sorted({tail for group in groups for tail in group.tails} - {""})
    shapes = sorted({r"[\W_]+".join(map(_shape, _SEPARATOR.split(tail))) for tail in tails})
    if not shapes:
        return None
    ends = "|".join(shapes)
    letters = "|".join(shape for shape in shapes if shape[0].isalpha())
    behind_number = rf"|(?<=\d)(?:{letters})" if letters else ""
    target = _joined(keys, groups)
    for pattern in (
        rf"(?P<subject>.+?)(?:[\W_]+(?:{ends})[\W_]*)?",
        rf"(?P<subject>.+?)(?:[\W_]+(?:{ends}){behind_number})?",
        rf"(?P<subject>.+?)(?:[_. -](?:{ends}|{VISIT_MARKS}){behind_number})*",
        rf"(?P<subject>.+?)(?:{ends})?",
        rf"(?:(?:{ends})[\W_]*)?(?P<subject>.+)",
        rf"(?P<subject>.+?)(?:[\W_]+(?:{ends})(?:[\W_].*)?)?",
        rf"(?:.*[\W_](?:{ends})[\W_]+)?(?P<subject>.+)",
    ):
        try:
            subjects = subject_keys(keys, pattern)
        except InputError:
            continue
        if _partition(subjects) == target:
            return pattern
    return None


def _shape(part: str) -> str:
    """A part of a name with any number in the place of its own."""
    return re.sub(r"\d+", r"\\d+", re.escape(part))


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
