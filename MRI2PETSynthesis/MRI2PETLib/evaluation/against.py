"""Another model on the same people: its scans, the checks that they are the same ones, the comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.evaluation.baselines import NETWORK
from MRI2PETLib.evaluation.cohort import Cohort
from MRI2PETLib.evaluation.cohort_cases import CohortCase
from MRI2PETLib.evaluation.paired import PairedRow, compared
from MRI2PETLib.evaluation.settings import EvaluationSettings
from MRI2PETLib.images.bids import read_sidecar
from MRI2PETLib.images.sources import source_of
from MRI2PETLib.preprocessing.pet import read_pet

_NAMED = 4


@dataclass(frozen=True)
class Against:
    """The scans of another model, and what the two models are called: this one, the other one."""

    cases: Sequence[CohortCase]
    names: tuple[str, str]


def against_table(first: Cohort, second: Cohort, names: tuple[str, str]) -> list[PairedRow]:
    """The networks of two cohorts of the same people; scans that failed in one of them are left out of both.

    :param names: what the two are called.
    :raises InputError: if the two are in other units.
    """
    if (first.unit, first.scale) != (second.unit, second.scale):
        raise _other_units(names, (first.unit, second.unit))
    return compared(first, second, NETWORK, NETWORK, names)


def check_same_people(
    first: Sequence[CohortCase], second: Sequence[CohortCase], names: tuple[str, str]
) -> None:
    """Refuse tables that are not of the same scans, people, folds and real PETs.

    :raises InputError: with the first few that differ.
    """
    a, b = ({case.case: case for case in cases} for cases in (first, second))
    for mine, others, has, lacks in ((a, b, *names), (b, a, *reversed(names))):
        only = [case for case in mine if case not in others]
        if only:
            raise InputError(
                f"{has} has {len(only)} cases that {lacks} lacks: {_listed(only)}.",
                "Compare models on the same people.",
            )
    for attribute, hint in (
        ("subject", "Correct the column subject of one of the tables."),
        ("fold", "Train both with the same folds.json, so that both learn from the same people."),
    ):
        other = [case for case in a if getattr(a[case], attribute) != getattr(b[case], attribute)]
        if other:
            raise InputError(
                f"{len(other)} cases have another {attribute} in {names[1]} than in {names[0]}: "
                f"{_listed(other)}.",
                hint,
            )
    other = [case for case in a if not _same_image(a[case], b[case])]
    if other:
        raise InputError(
            f"{len(other)} cases have another real PET in {names[1]} than in {names[0]}: {_listed(other)}.",
            "Compare both with the same images.",
        )


def check_same_unit(cases: Sequence[CohortCase], against: Against, settings: EvaluationSettings) -> None:
    """Refuse synthetic PETs in other units, by the first case of both, before anything is computed.

    :raises InputError: with both units.
    """
    if settings.scale_free:
        return
    units = [
        read_pet(some[0].synthetic, unit=settings.synthetic_unit).unit for some in (cases, against.cases)
    ]
    if units[0] != units[1]:
        raise _other_units(against.names, units)


def _other_units(names: Sequence[str], units: Sequence[str]) -> InputError:
    return InputError(
        f"{names[0]} is in {units[0]}, {names[1]} in {units[1]}: they cannot be compared.",
        "Compare patterns only (--scale-free).",
    )


def _same_image(first: CohortCase, second: CohortCase) -> bool:
    """Whether two real PETs are one image, or were made from one: each run has its own target's scale."""
    if first.real.resolve() == second.real.resolve():
        return True
    origins = [_origin(case.real) for case in (first, second)]
    if origins[0] is not None and origins[0] == origins[1]:
        return True
    return source_of(first.real, "pet").checksum == source_of(second.real, "pet").checksum


def _origin(path: Path) -> tuple[str, object] | None:
    """Checksum of the image that a PET was made from, and for which genotype it was adjusted."""
    about = read_sidecar(path)
    source = about.get("Source")
    checksum = source.get("sha256") if isinstance(source, dict) else None
    return (str(checksum), about.get("GenotypeAdjusted")) if checksum else None


def _listed(cases: Sequence[str]) -> str:
    return ", ".join(cases[:_NAMED]) + (", ..." if len(cases) > _NAMED else "")
