"""Folds that keep a person (and a donor, a site) on one side, balanced by group, kept as JSON."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from MRI2PETLib.core.errors import InputError, reason_of
from MRI2PETLib.core.files import read_object, write_json
from MRI2PETLib.images.subjects import person_key, plain_name
from MRI2PETTrainingLib.dataset.manifest import TrainingCase
from MRI2PETTrainingLib.settings import TrainingSettings
from MRI2PETTrainingLib.site_splits import split_by_site

_VALIDATION_SPLITS = 5  # about a fifth of the training people choose the epoch
_FORMAT = "mri2pet-folds-1"
GROUPING = TrainingSettings.choices("keep_together")  # columns that can be kept together
_PEOPLE = ("subject", "donor")  # columns that name a person
_BY_HAND = "folds.json must not be edited by hand: delete it, or use a new run folder, to make new folds."


SIDES = ("train", "validation", "test")


@dataclass(frozen=True)
class Fold:
    """Names of cases. ``test`` is touched once, after training; ``validation`` chooses the epoch."""

    number: int
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]


@dataclass(frozen=True)
class Folds:
    """A cross-validation, or one fixed split.

    :ivar keep_together: columns of the manifest whose values never lie on two sides of a split.
    :ivar test_sites: of a fixed split, the sites whose people are tested; nobody else is.
    """

    method: str
    seed: int
    keep_together: tuple[str, ...]
    folds: tuple[Fold, ...]
    test_sites: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """How many, and how they were made."""
        return self.method if self.test_sites else f"{len(self.folds)} folds ({self.method})"

    @property
    def trained(self) -> tuple[str, ...]:
        """The cases that some fold learns from: all but those that a fixed split tests."""
        return tuple(sorted({name for fold in self.folds for name in (*fold.train, *fold.validation)}))


def grouping_columns(cases: Sequence[TrainingCase], more: Sequence[str] = ()) -> tuple[str, ...]:
    """What a split keeps together: ``subject``, ``donor`` where the dataset names some, and ``more``."""
    donor = ("donor",) if any(case.donor for case in cases) else ()
    return tuple(dict.fromkeys(("subject", *donor, *more)))


def make_folds(
    cases: Sequence[TrainingCase],
    n_folds: int = 5,
    *,
    seed: int = 42,
    keep_together: Sequence[str] = (),
    leave_one_site_out: bool = False,
    test_sites: Sequence[str] = (),
) -> Folds:
    """Split cases into folds of training, validation and test.

    The scans of a person stay on one side, with all that was made from them (whose ``donor`` the person is),
    and with everything that shares a value of a ``keep_together`` column, directly or through a chain. Names
    count in any spelling, see :func:`.subjects.plain_name`. Strata are the ``group`` column (scikit-learn's
    StratifiedGroupKFold, shuffled).

    :param keep_together: columns to keep together besides ``subject`` and ``donor``.
    :param leave_one_site_out: one fold a ``site`` instead of ``n_folds``; that site is the test set.
    :param test_sites: one fold instead of ``n_folds``, which tests the people of these sites.
    :raises InputError: too few people for the folds, or a person at two sites.
    """
    cases = sorted(cases, key=lambda case: case.case)
    columns = grouping_columns(cases, keep_together)
    units = _units(cases, columns)
    people, groups = len({person_key(case.subject) for case in cases}), len(set(units))
    who = "1 person" if people == 1 else f"{people} people"
    if groups < people:
        who += f" ({groups} group(s) that share a {' or '.join(columns[1:])})"
    by_site = leave_one_site_out or bool(test_sites)
    least, parts = (3, "") if by_site else (max(3, n_folds), f"{n_folds} folds of ")
    if groups < least:
        raise InputError(
            f"{len(cases)} case(s) of {who} cannot be split into {parts}training, validation and test.",
            f"Every fold needs people of its own: have at least {least}, or use fewer folds (--folds, 2 or "
            "more).",
        )
    if n_folds < 2:
        raise InputError(f"{n_folds} fold(s) make no cross-validation.", "Use --folds 2 or more.")
    strata = _strata(cases, units)
    if by_site:
        outer, method = split_by_site(cases, units, test_sites)
    else:
        outer = _split(n_folds, seed, strata, units)
        method = "stratified by group, grouped by " + " and ".join(columns)
    folds = []
    for number, (rest, test) in enumerate(outer):
        rest_units = [units[i] for i in rest]
        n_inner = min(_VALIDATION_SPLITS, len(set(rest_units)))
        if n_inner < 2 or not len(test):
            raise InputError(
                f"Fold {number} has nobody left for its {'test' if not len(test) else 'validation'}: "
                f"{who} in {len(outer)} folds.",
                "Use fewer folds (--folds), or add people.",
            )
        splits = _split(n_inner, seed + number, [strata[i] for i in rest], rest_units)
        train, validation = next((t, v) for t, v in splits if len(t) and len(v))
        names = [cases[i].case for i in rest]
        folds.append(
            Fold(
                number,
                tuple(names[i] for i in train),
                tuple(names[i] for i in validation),
                tuple(cases[i].case for i in test),
            )
        )
    result = Folds(method, seed, columns, tuple(folds), tuple(test_sites))
    check_leakage(result, cases, keep_together)
    return result


def folds_of(cases: Sequence[TrainingCase], settings: TrainingSettings) -> Folds:
    """:func:`make_folds` as the settings of a training say."""
    return make_folds(
        cases,
        settings.folds,
        seed=settings.seed,
        keep_together=settings.keep_together,
        leave_one_site_out=settings.leave_one_site_out,
        test_sites=tuple(dict.fromkeys(settings.test_site)),
    )


def check_leakage(folds: Folds, cases: Sequence[TrainingCase], keep_together: Sequence[str] = ()) -> None:
    """Assert that nothing is on two sides, that no side is empty, and that every case is tested exactly once
    (by a fixed split: those of its test sites once, no other).

    The subject and the donor of every case are looked at, whatever the folds say was kept together: a
    subject may be the donor of another case.

    :param keep_together: see :func:`make_folds`.
    :raises InputError: naming the person and the fold, or the case.
    """
    by_name = {case.case: case for case in cases}
    columns = dict.fromkeys((*grouping_columns(cases, keep_together), *folds.keep_together))
    tested = Counter(name for fold in folds.folds for name in fold.test)
    if folds.test_sites:
        _check_fixed(folds, cases)
        tested.update(name for fold in folds.folds for name in (*fold.train, *fold.validation))
    wrong = sorted(set(tested) ^ set(by_name)) or [name for name, n in tested.items() if n > 1]
    if wrong:
        raise InputError(
            f"The folds and the dataset do not hold the same cases; the first that differs is {wrong[0]!r}.",
            "The dataset changed since the folds were made: use a new run folder.",
        )
    for number, fold in enumerate(folds.folds):
        sides = {"training": fold.train, "validation": fold.validation, "test": fold.test}
        _check_sides(number, fold, sides, set(by_name))
        ties = {
            side: {key: text for n in names for key, text in _ties(by_name[n], columns).items()}
            for side, names in sides.items()
        }
        for a, b in combinations(sides, 2):
            common = sorted(ties[a].keys() & ties[b].keys())
            if common:
                first, second = ties[a][common[0]], ties[b][common[0]]
                raise InputError(
                    f"Fold {fold.number}: {first} is in {a} and {'' if first == second else f'as {second} '}"
                    f"in {b}" + (f" ({len(common)} of them)." if len(common) > 1 else "."),
                    _BY_HAND,
                )


def _ties(case: TrainingCase, columns: Iterable[str]) -> dict[tuple[str, str], str]:
    """What ties a case to others, in any spelling, and in words; subject and donor are both people."""
    ties: dict[tuple[str, str], str] = {}
    for column in columns:
        value = getattr(case, column)
        if value.strip():
            is_person = column in _PEOPLE
            key = ("person", person_key(value)) if is_person else (column, plain_name(value))
            ties.setdefault(key, f"{column} {value!r}")
    return ties


def _check_fixed(folds: Folds, cases: Sequence[TrainingCase]) -> None:
    """One fold, whose test cases are those of the test sites; pairs that were made have no site."""
    if len(folds.folds) != 1:
        raise InputError(f"A fixed split has one fold, not {len(folds.folds)}.", _BY_HAND)
    test_sites = {plain_name(site) for site in folds.test_sites}
    for case in cases:
        is_tested = case.case in folds.folds[0].test
        if case.site and is_tested != (plain_name(case.site) in test_sites):
            where = "in test" if is_tested else "not in test"
            raise InputError(
                f"{case.case!r} is of the site {case.site!r} and {where}; the test sites are "
                f"{', '.join(folds.test_sites)}.",
                _BY_HAND,
            )


def _check_sides(number: int, fold: Fold, sides: Mapping[str, Sequence[str]], cases: set[str]) -> None:
    """Each case on one side, no side empty."""
    if fold.number != number:
        raise InputError(f"Fold {fold.number} is in the place of fold {number}.", _BY_HAND)
    for side, names in sides.items():
        if not names:
            raise InputError(f"Fold {number} has nobody in {side}.", _BY_HAND)
    counts = Counter(name for names in sides.values() for name in names)
    twice = [name for name, n in counts.items() if n > 1]
    if twice:
        raise InputError(f"Fold {number} lists the case {twice[0]!r} twice.", _BY_HAND)
    if set(counts) != cases:
        other = sorted(set(counts) ^ cases)[0]
        raise InputError(f"Fold {number} and the dataset differ in the case {other!r}.", _BY_HAND)


def write_folds(path: Path, folds: Folds) -> Path:
    """Write folds as JSON, atomically."""
    return write_json(path, {"format": _FORMAT, **asdict(folds)})


def read_folds(path: Path) -> Folds:
    """Read what :func:`write_folds` wrote.

    :raises InputError: if it is not such a file.
    """
    try:
        content = read_object(path)
        if content.pop("format") != _FORMAT:
            raise ValueError("unknown format")
        folds = tuple(Fold(int(f["number"]), *(_names(f, side) for side in SIDES)) for f in content["folds"])
        if not folds:
            raise ValueError("no fold")
        columns, sites = _names(content, "keep_together"), _names(content, "test_sites")
        if not set(columns) <= set(GROUPING):
            raise ValueError(f"unknown columns {columns}")
        return Folds(str(content["method"]), int(content["seed"]), columns, folds, sites)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path} cannot be used: {reason_of(error)}.", "Remove it to make new folds."
        ) from error


def _names(content: Mapping[str, Any], key: str) -> tuple[str, ...]:
    names = content[key]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{key} is not a list of names")
    return tuple(names)


def _units(cases: Sequence[TrainingCase], columns: Sequence[str]) -> list[int]:
    """A number a case; cases linked by any column, directly or through others, share it."""
    parent = list(range(len(cases)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    first: dict[tuple[str, str], int] = {}
    for i, case in enumerate(cases):
        for tie in _ties(case, columns):
            parent[root(i)] = root(first.setdefault(tie, i))
    return [root(i) for i in range(len(cases))]


def _strata(cases: Sequence[TrainingCase], units: Sequence[int]) -> list[str]:
    """The commonest group of each case's unit."""
    groups: dict[int, Counter[str]] = {}
    for case, unit in zip(cases, units):
        groups.setdefault(unit, Counter())[case.group] += 1
    return [groups[unit].most_common(1)[0][0] for unit in units]


def _split(
    n_splits: int, seed: int, strata: Sequence[str], units: Sequence[int]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Indices of both sides of every split; no balance where all strata are smaller than the splits."""
    from sklearn.model_selection import StratifiedGroupKFold

    if max(Counter(strata).values()) < n_splits:
        strata = [""] * len(strata)
    splitter = StratifiedGroupKFold(n_splits, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # Of strata smaller than the folds: the report shows who is where.
        warnings.simplefilter("ignore", UserWarning)
        return list(splitter.split(units, strata, units))
