"""How well the methods without an MRI agree with the SUVR of the person's own MRI, over people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from MRI2PETLib.evaluation.agreement import bland_altman, intraclass_correlation
from MRI2PETLib.evaluation.measure import correlation
from MRI2PETLib.evaluation.paired import Difference, paired_difference, with_adjusted_p
from MRI2PETLib.evaluation.statistics import mean_sd
from MRI2PETLib.suvr.normalisation import METHODS, REAL_MR
from MRI2PETLib.suvr.regional import REFERENCE, SuvrRow


class PersonRow(NamedTuple):
    """One region of one person by one method; repeated scans of a person are averaged."""

    subject: str
    group: str
    method: str
    region: str
    role: str
    suvr: float


class AgreementRow(NamedTuple):
    """A method without an MRI against the real MR, one region, over people.

    ``mae`` and ``mae_sd``: mean and SD of the absolute differences (Table 2 of Choi & Lee 2018). ``bias`` =
    mean of method - real MR, limits = bias +- 1.96 SD (Bland & Altman 1986). ``*_low``, ``*_high``: ends of
    intervals of 95 %. ``icc``: ICC(2,1), see :mod:`.evaluation.agreement`. ``p``: two-sided paired t test
    of the difference. ``reason`` explains ``None``.
    """

    method: str
    region: str
    role: str
    n_people: int
    mae: float | None
    mae_sd: float | None
    bias: float | None
    bias_low: float | None
    bias_high: float | None
    lower_limit: float | None
    lower_limit_low: float | None
    lower_limit_high: float | None
    upper_limit: float | None
    upper_limit_low: float | None
    upper_limit_high: float | None
    icc: float | None
    icc_low: float | None
    icc_high: float | None
    r: float | None
    p: float | None
    reason: str = ""


class MethodsRow(NamedTuple):
    """Absolute errors of two methods without an MRI against the real MR, one region, the same people.

    ``paired``: ``first`` - ``second``, its FDR over the regions of the pair.
    """

    first: str
    second: str
    region: str
    role: str
    n_people: int
    first_mae: float | None
    second_mae: float | None
    paired: Difference


class LevelRow(NamedTuple):
    """SUVR of a group in one region by one method, mean and SD over people (Table 3 of Choi & Lee 2018)."""

    group: str
    region: str
    role: str
    method: str
    n_people: int
    mean: float | None
    sd: float | None


def person_rows(scans: Sequence[tuple[str, str, Sequence[SuvrRow]]]) -> list[PersonRow]:
    """One row a person, method and region from the scans' tables: means over the scans in which every method
    that measured this region of the person at all did so, so that methods are compared on the same scans.

    :param scans: subject, group and table of every scan. Rows without an SUVR and the reference region itself
        are left out.
    """
    values: dict[tuple[str, str, str, str, str], dict[int, float]] = {}
    for number, (subject, group, rows) in enumerate(scans):
        for row in rows:
            if row.suvr is not None and row.role != REFERENCE:
                key = (subject, group, row.method, row.region, row.role)
                values.setdefault(key, {})[number] = row.suvr
    common: dict[tuple[str, str, str], set[int]] = {}
    for (subject, _, _, region, role), suvrs in values.items():
        common.setdefault((subject, region, role), set(suvrs)).intersection_update(suvrs)
    people = []
    for key, suvrs in values.items():
        of_all = [suvrs[number] for number in sorted(common[key[0], key[3], key[4]])]
        if of_all:
            people.append(PersonRow(*key, float(np.mean(of_all))))
    return people


def agreement_table(rows: Sequence[PersonRow]) -> list[AgreementRow]:
    """Every other method against the real MR, composite first. Empty without a real MR."""
    table: list[AgreementRow] = []
    for (role, region), by_method in _by_region(rows).items():
        for method in METHODS[1:]:
            pairs = _paired(by_method.get(method, {}), by_method.get(REAL_MR, {}))
            if len(pairs):
                table.append(_agreement(method, region, role, pairs[:, 0], pairs[:, 1]))
    return table


def method_errors_table(rows: Sequence[PersonRow]) -> list[MethodsRow]:
    """Every pair of methods without an MRI, region by region. Empty without a real MR.

    Choi & Lee 2018 compare the errors by paired t tests; absolute errors are skewed, so here it is Wilcoxon's
    signed-rank test.
    """
    regions = _by_region(rows)
    table: list[MethodsRow] = []
    for first, second in combinations(METHODS[1:], 2):
        block = []
        for (role, region), by_method in regions.items():
            one, two, real = (by_method.get(method, {}) for method in (first, second, REAL_MR))
            people = [subject for subject in one if subject in two and subject in real]
            if people:
                errors = [np.array([abs(own[s] - real[s]) for s in people]) for own in (one, two)]
                block.append(
                    MethodsRow(
                        first=first,
                        second=second,
                        region=region,
                        role=role,
                        n_people=len(people),
                        first_mae=float(errors[0].mean()),
                        second_mae=float(errors[1].mean()),
                        paired=paired_difference(*errors),
                    )
                )
        table += with_adjusted_p(block)
    return table


def paired_composites(
    rows: Sequence[PersonRow], method: str, role: str
) -> tuple[np.ndarray, np.ndarray, list]:
    """SUVRs by ``method`` and by the real MR of the people who have both, and these people's groups."""
    own = {r.subject: r for r in rows if r.method == method and r.role == role}
    real = {r.subject: r for r in rows if r.method == REAL_MR and r.role == role}
    both = [subject for subject in own if subject in real]
    return (
        np.array([own[s].suvr for s in both], dtype=float),
        np.array([real[s].suvr for s in both], dtype=float),
        [own[s].group for s in both],
    )


def level_table(rows: Sequence[PersonRow]) -> list[LevelRow]:
    """Mean and SD of the SUVR by group, region and method."""
    table: list[LevelRow] = []
    for group in dict.fromkeys(row.group for row in rows):
        for (role, region), by_method in _by_region([r for r in rows if r.group == group]).items():
            for method in METHODS:
                if method in by_method:
                    level = mean_sd(list(by_method[method].values()))
                    table.append(LevelRow(group, region, role, method, level.n, level.mean, level.sd))
    return table


def _by_region(rows: Sequence[PersonRow]) -> dict[tuple[str, str], dict[str, dict[str, float]]]:
    """(role, region) -> method -> subject -> SUVR."""
    regions: dict[tuple[str, str], dict[str, dict[str, float]]] = {}
    for row in rows:
        regions.setdefault((row.role, row.region), {}).setdefault(row.method, {})[row.subject] = row.suvr
    return regions


def _paired(own: Mapping[str, float], real: Mapping[str, float]) -> np.ndarray:
    return np.array([(own[s], real[s]) for s in own if s in real], dtype=float).reshape(-1, 2)


def _agreement(method: str, region: str, role: str, own: np.ndarray, real: np.ndarray) -> AgreementRow:
    absolute = mean_sd(np.abs(own - real))
    limits = bland_altman(own, real)
    icc = intraclass_correlation(np.column_stack([own, real]))
    return AgreementRow(
        method=method,
        region=region,
        role=role,
        n_people=len(own),
        mae=absolute.mean,
        mae_sd=absolute.sd,
        bias=float(np.mean(own - real)),
        bias_low=limits.bias_low,
        bias_high=limits.bias_high,
        lower_limit=limits.lower,
        lower_limit_low=limits.lower_low,
        lower_limit_high=limits.lower_high,
        upper_limit=limits.upper,
        upper_limit_low=limits.upper_low,
        upper_limit_high=limits.upper_high,
        icc=icc.value,
        icc_low=icc.low,
        icc_high=icc.high,
        r=correlation(own, real).value,
        p=limits.bias_p,
        reason="; ".join(dict.fromkeys(filter(None, (limits.reason, icc.reason)))),
    )
