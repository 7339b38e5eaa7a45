"""Covariates of people, and group differences adjusted for them by one linear model."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.evaluation.cohort_cases import STRATA
from MRI2PETLib.evaluation.statistics import CONFIDENCE, MIN_GROUP
from MRI2PETLib.images.subjects import one_spelling, word_key

_NAMES = (*STRATA, "sex")  # numbers there are names
_CODES = {-9.0, -99.0, -999.0, -9999.0, 99.0, 999.0, 9999.0}  # of what is missing


@dataclass(frozen=True)
class Covariate:
    """What a column of the table says of each person: numbers, or names. ``None``: nothing."""

    name: str
    values: Mapping[str, float | str | None]

    @property
    def is_number(self) -> bool:
        return all(isinstance(value, float) for value in self.values.values() if value is not None)

    def columns(self, people: Sequence[str]) -> np.ndarray:
        """Columns of a design, [person, column], centred; NaN where nothing is known of a person.

        A number is itself; names have a column each but the first.
        """
        entries = [self.values.get(person) for person in people]
        if self.is_number:
            columns = np.array([[np.nan if v is None else v] for v in entries], dtype=float)
        else:
            names = sorted({str(v) for v in entries if v is not None})
            columns = np.array(
                [[np.nan if v is None else float(v == name) for name in names[1:]] for v in entries]
            ).reshape(len(people), -1)
            columns[[v is None for v in entries]] = np.nan
        present = np.isfinite(columns).all(axis=1)
        centre = columns[present].mean(axis=0) if present.any() else 0.0
        return np.asarray(columns - centre)

    def about(self) -> str:
        """For the reader: how it enters the model."""
        present = [value for value in self.values.values() if value is not None]
        if self.is_number:
            numbers = [float(value) for value in present]
            return f"{self.name} (number, {min(numbers):g} to {max(numbers):g})"
        return f"{self.name} ({', '.join(sorted({str(value) for value in present}))})"

    def left_out(self) -> str:
        """Whom a model with it leaves out, in a sentence; empty where something is known of everybody."""
        unknown = [person for person, value in self.values.items() if value is None]
        if not unknown:
            return ""
        more = f" and {len(unknown) - 4} more" if len(unknown) > 4 else ""
        return (
            f"No {self.name} is stated of {', '.join(unknown[:4])}{more} ({len(unknown)} of "
            f"{len(self.values)} people): tests that allow for it leave them out."
        )


class Effect(NamedTuple):
    """Difference of two groups with everything else in the model held equal, with its interval and p."""

    difference: float | None
    low: float | None
    high: float | None
    p: float | None
    reason: str = ""


def read_covariate(name: str, scans: Sequence[tuple[str, str]]) -> Covariate:
    """A column of the table of cases.

    :param scans: whose scan, and what its line says; empty for nothing. Numbers of repeated scans (age) are
        averaged.
        Names that differ in case or spaces are one.
    :raises InputError: nothing is stated about anybody; names that contradict each other within a person;
        a few names, or a code for what is missing, among numbers.
    """
    texts_of: dict[str, list[str]] = {}
    for subject, text in scans:
        texts_of.setdefault(subject, []).extend([text] if text else [])
    if not any(texts_of.values()):
        raise InputError(
            f"The table of cases says nothing under {name!r}.",
            f"Add a column {name} to it, or leave out --covariates {name}.",
        )
    try:
        if name in _NAMES:
            raise ValueError
        numbers = {subject: [float(text) for text in texts] for subject, texts in texts_of.items()}
        if not all(np.isfinite(values).all() for values in numbers.values()):
            raise ValueError
        _check_codes(name, sorted({value for values in numbers.values() for value in values}))
        return Covariate(name, {s: float(np.mean(v)) if v else None for s, v in numbers.items()})
    except ValueError:
        _check_names(name, sorted({text for texts in texts_of.values() for text in texts}))
    spelt = one_spelling((text for texts in texts_of.values() for text in texts), word_key)
    texts_of = {subject: [spelt[text] for text in texts] for subject, texts in texts_of.items()}
    for subject, texts in texts_of.items():
        if len(set(texts)) > 1:
            raise InputError(
                f"The scans of {subject} have the {name} {' and '.join(sorted(set(texts)))}.",
                "A person has one: correct the table.",
            )
    return Covariate(name, {subject: texts[0] if texts else None for subject, texts in texts_of.items()})


def _check_codes(name: str, numbers: Sequence[float]) -> None:
    """Refuse a code for what is missing (-9, 999): farther from all others than they are from each other."""
    others = [value for value in numbers if value not in _CODES]
    for code in sorted(set(numbers) & _CODES) if len(others) > 1 else ():
        if max(others[0] - code, code - others[-1]) > others[-1] - others[0]:
            raise InputError(
                f"{name} has {code:g} beside {others[0]:g} to {others[-1]:g}: a code for what is missing?",
                f"Write n/a where nothing is known, or leave out --covariates {name}.",
            )


def _check_names(name: str, texts: Sequence[str]) -> None:
    """Refuse a column of numbers in which some are none (``62,5``): as names they would be another model."""
    if name in _NAMES:
        return
    names = [text for text in texts if re.fullmatch(r"[-+]?[\d.]+(?:e[-+]?\d+)?", text, re.I) is None]
    if 0 < len(names) <= len(texts) / 2:
        raise InputError(
            f"{name} is a number for most people, but not {names[0]!r}.",
            "Correct it (decimals have a point), empty the cell, or write all of them as names.",
        )


def adjusted_difference(
    values: np.ndarray, labels: np.ndarray, pair: tuple[str, str], covariates: np.ndarray
) -> Effect:
    """Difference ``first - second`` of two groups by least squares: values ~ group + covariates.

    Everyone with a label takes part, so that the covariates and the residual are estimated from all groups.
    The interval and the two-sided p are of the t distribution with n - rank degrees of freedom.

    :param labels: group of each person, empty for none. ``covariates``: [person, column]. NaN: not measured.
    """
    from scipy import stats

    used = (labels != "") & np.isfinite(values) & np.isfinite(covariates).all(axis=1)
    counts = [int(np.count_nonzero(labels[used] == name)) for name in pair]
    if min(counts) < MIN_GROUP:
        return _none(f"each group needs {MIN_GROUP} people, there are {counts[0]} and {counts[1]}")
    names = sorted(set(labels[used]))
    design = np.column_stack([*(labels[used] == name for name in names), covariates[used]]).astype(float)
    contrast = np.zeros(design.shape[1])
    contrast[names.index(pair[0])], contrast[names.index(pair[1])] = 1.0, -1.0
    inverse = np.linalg.pinv(design)
    if not np.allclose(contrast @ inverse @ design, contrast, atol=1e-8):
        return _none("the covariates tell the groups apart: nothing is left to compare")
    y = values[used]
    residual = y - design @ (inverse @ y)
    freedom = len(y) - int(np.linalg.matrix_rank(design))
    variance = float(residual @ residual) / freedom if freedom > 0 else 0.0
    if not variance > (1e-9 * float(np.abs(y).max())) ** 2:
        return _none("the model leaves no residual: too few people, or equal values")
    difference = float(contrast @ inverse @ y)
    error = float(np.linalg.norm(contrast @ inverse)) * variance**0.5
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom)) * error
    p = float(2 * stats.t.sf(abs(difference) / error, freedom))
    return Effect(difference, difference - half, difference + half, p)


def _none(reason: str) -> Effect:
    return Effect(None, None, None, None, reason)
