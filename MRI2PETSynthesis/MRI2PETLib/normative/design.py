"""What a norm allows for: covariates as columns that a person who is not in it can be put into."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.findings import Finding
from MRI2PETLib.evaluation.covariates import Covariate
from MRI2PETLib.images.person_values import person_value
from MRI2PETLib.images.subjects import word_key

INTERCEPT = "mean"


@dataclass(frozen=True)
class NormCovariate:
    """A covariate as the controls have it.

    :ivar names: of a covariate of names, all that occur; the first is the one without a column. Empty for
        numbers.
    :ivar centre: of each column, the mean over controls.
    :ivar low: smallest number, ``high`` the largest one; 0 for names.
    """

    name: str
    names: tuple[str, ...]
    centre: tuple[float, ...]
    low: float = 0.0
    high: float = 0.0

    @property
    def columns(self) -> list[str]:
        return [f"{self.name}={name}" for name in self.names[1:]] if self.names else [self.name]

    @classmethod
    def of(cls, covariate: Covariate, people: Sequence[str]) -> NormCovariate:
        """As ``people`` have it; everybody has a value."""
        values = [covariate.values[person] for person in people]
        if covariate.is_number:
            numbers = [float(v) for v in values if v is not None]
            return cls(covariate.name, (), (float(np.mean(numbers)),), min(numbers), max(numbers))
        names = tuple(sorted({str(v) for v in values}))
        centre = tuple(float(np.mean([v == name for v in values])) for name in names[1:])
        return cls(covariate.name, names, centre)

    def cells(self, value: float | str) -> list[float]:
        """The columns of a person."""
        if not self.names:
            return [float(value) - self.centre[0]]
        return [float(value == name) - middle for name, middle in zip(self.names[1:], self.centre)]

    def read(self, text: str) -> tuple[float | str, tuple[Finding, ...]]:
        """The value of a person who is compared, and a warning where no control has the like.

        :raises InputError: for no number, or a name that no control has.
        """
        value, remark = person_value(self.name, text)
        if not value:
            raise InputError(remark or f"The {self.name} {text!r} says nothing.", f"State the {self.name}.")
        text = value
        if self.names:
            alike = [name for name in self.names if word_key(name) == word_key(text)]
            if not alike:
                raise InputError(
                    f"No control of the norm has the {self.name} {text!r}.",
                    f"The norm knows {', '.join(self.names)}.",
                )
            return alike[0], ()
        try:
            number = float(text)
        except ValueError:
            raise InputError(f"The {self.name} {text!r} is no number.", "Give a number.") from None
        if not np.isfinite(number):
            raise InputError(f"The {self.name} {text!r} is no number.", "Give a number.")
        if self.low <= number <= self.high:
            return number, ()
        message = (
            f"The {self.name} {number:g} lies outside that of the controls, {self.low:g} to {self.high:g}."
        )
        return number, (Finding("warn", "norm-range", message, "The norm is continued by a straight line."),)

    def about(self) -> str:
        """For the reader."""
        if self.names:
            return f"{self.name} ({', '.join(self.names)})"
        return f"{self.name} ({self.low:g} to {self.high:g})"

    def to_dict(self) -> dict[str, Any]:
        return {**vars(self), "names": list(self.names), "centre": list(self.centre)}


def design_columns(covariates: Sequence[NormCovariate]) -> list[str]:
    """Names of the columns of the design."""
    return [INTERCEPT, *(column for covariate in covariates for column in covariate.columns)]


def design_row(covariates: Sequence[NormCovariate], values: Mapping[str, float | str]) -> np.ndarray:
    """The line of a person in the design."""
    return np.array([1.0, *(cell for c in covariates for cell in c.cells(values[c.name]))])


def parse_covariates(
    covariates: Sequence[NormCovariate], texts: Sequence[str]
) -> tuple[dict[str, float | str], tuple[Finding, ...]]:
    """What is said of a person who is compared, ``NAME=VALUE`` each.

    :raises InputError: if one is missing, said twice, unknown to the norm or cannot be read.
    """
    entries: dict[str, str] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        name = name.strip().lower()
        if not sign or not value.strip() or name in entries:
            raise InputError(f"The covariate {text!r} cannot be used.", "Write each once, as age=67.")
        entries[name] = value.strip()
    wanting = [c.about() for c in covariates if c.name not in entries]
    if wanting:
        raise InputError(
            f"The norm allows for {', '.join(wanting)}.",
            "State the person's: "
            + ", ".join(f"{c.name}=..." for c in covariates)
            + " (--covariate NAME=VALUE, once each; in Slicer in the field Age, sex, ...).",
        )
    unknown = sorted(set(entries) - {c.name for c in covariates})
    if unknown:
        known_names = ", ".join(c.name for c in covariates) or "nothing"
        raise InputError(f"The norm does not allow for {unknown[0]}.", f"It allows for {known_names}.")
    values: dict[str, float | str] = {}
    findings: tuple[Finding, ...] = ()
    for covariate in covariates:
        values[covariate.name], more = covariate.read(entries[covariate.name])
        findings += more
    return values, findings
