"""Groups of people compared, region by region, on the real and on the network's PET."""

from __future__ import annotations

from itertools import combinations
from typing import NamedTuple

import numpy as np

from MRI2PETLib.evaluation.cohort import Cohort, region_numbers
from MRI2PETLib.evaluation.cohort_tables import (
    EQUAL_BY_SCALING,
    are_equal_by_scaling,
    person_numbers,
    scans_by_person,
    with_fdr,
)
from MRI2PETLib.evaluation.covariates import Covariate, Effect, adjusted_difference
from MRI2PETLib.evaluation.statistics import ALPHA, mann_whitney

_COLUMNS = ("group", "genotype")


class GroupRow(NamedTuple):
    """Two groups compared on the real (smoothed) and on the network's PET.

    ``model``: the test. Without covariates Mann-Whitney; with covariates the contrast of a linear model over
    everyone. Differences are ``first - second`` in ``unit``, of the means or as the model adjusts them, these
    with an interval of 95 %. ``*_fdr``: Benjamini-Hochberg over the regions of one parcellation.
    ``synthetic_only``: the synthetic PET differs between the groups (FDR < .05) and the real PET does not.
    """

    stratum: str
    first: str
    second: str
    parcellation: str
    region: str
    unit: str
    model: str
    n_first: int
    n_second: int
    real_difference: float | None
    real_difference_low: float | None
    real_difference_high: float | None
    real_p: float | None
    real_fdr: float | None
    synthetic_difference: float | None
    synthetic_difference_low: float | None
    synthetic_difference_high: float | None
    synthetic_p: float | None
    synthetic_fdr: float | None
    synthetic_only: bool
    reason: str


class _Comparison(NamedTuple):
    """Who is compared. ``covariates``: [person, column], of ``model``; no column for Mann-Whitney."""

    column: str
    pair: tuple[str, str]
    labels: np.ndarray
    covariates: np.ndarray
    model: str


def group_table(cohort: Cohort) -> list[GroupRow]:
    """Every pair of groups (and of genotypes), region by region, on the real and on the network's PET."""
    rows: list[GroupRow] = []
    people = list(scans_by_person(cohort.scans))
    numbers = person_numbers(cohort.scans)[:, 0]
    for column in _COLUMNS:
        of_person: dict[str, str] = {}
        for scan in cohort.scans:
            of_person.setdefault(scan.case.subject, getattr(scan.case, column))
        labels = np.array([of_person[person] for person in people])
        covariates = [c for c in cohort.covariates if c.name != column]
        design = np.column_stack([np.zeros((len(people), 0)), *(c.columns(people) for c in covariates)])
        model = _formula(column, covariates)
        for pair in combinations(sorted(set(of_person.values()) - {""}), 2):
            comparison = _Comparison(column, pair, labels, design, model)
            block = [
                _region(cohort.unit, comparison, numbers[:, r], key) for r, key in enumerate(cohort.regions)
            ]
            block = with_fdr(block, ("real_p", "real_fdr"), ("synthetic_p", "synthetic_fdr"))
            rows += [row._replace(synthetic_only=_only_synthetic(row)) for row in block]
    return rows


def _formula(column: str, covariates: list[Covariate]) -> str:
    if not covariates:
        return "Mann-Whitney"
    return " + ".join([f"region mean ~ {column}", *(c.name for c in covariates)])


def _region(unit: str, who: _Comparison, numbers: np.ndarray, key: tuple[str, str]) -> GroupRow:
    column = dict(zip(region_numbers(), numbers.T))
    real, synthetic = column["mean_real_smoothed"], column["mean_predicted"]
    present = np.isfinite(real) & np.isfinite(who.covariates).all(axis=1)
    counts = [int(np.count_nonzero(present & (who.labels == name))) for name in who.pair]
    if are_equal_by_scaling(column["mean_real"]) or are_equal_by_scaling(real):
        effects = [Effect(None, None, None, None, EQUAL_BY_SCALING)] * 2
    else:
        effects = [_compare(values, who) for values in (real, synthetic)]
    first, second = effects
    return GroupRow(
        stratum=who.column,
        first=who.pair[0],
        second=who.pair[1],
        parcellation=key[0],
        region=key[1],
        unit=unit,
        model=who.model,
        n_first=counts[0],
        n_second=counts[1],
        real_difference=first.difference,
        real_difference_low=first.low,
        real_difference_high=first.high,
        real_p=first.p,
        real_fdr=None,
        synthetic_difference=second.difference,
        synthetic_difference_low=second.low,
        synthetic_difference_high=second.high,
        synthetic_p=second.p,
        synthetic_fdr=None,
        synthetic_only=False,
        reason="; ".join(dict.fromkeys(e.reason for e in effects if e.reason)),
    )


def _compare(values: np.ndarray, who: _Comparison) -> Effect:
    if who.covariates.shape[1]:
        return adjusted_difference(values, who.labels, who.pair, who.covariates)
    a, b = (values[(who.labels == name) & np.isfinite(values)] for name in who.pair)
    p, reason = mann_whitney(a, b)
    difference = float(a.mean() - b.mean()) if len(a) and len(b) else None
    return Effect(difference, None, None, p, reason)


def _only_synthetic(row: GroupRow) -> bool:
    if row.synthetic_fdr is None or row.real_fdr is None:
        return False
    return row.synthetic_fdr < ALPHA <= row.real_fdr
