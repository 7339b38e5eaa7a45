"""What the section on groups of a cohort's report shows."""

from __future__ import annotations

from collections.abc import Sequence

from MRI2PETLib.evaluation.cohort_groups import GroupRow
from MRI2PETLib.evaluation.covariates import Covariate
from MRI2PETLib.reports.page import Cell, ReportTable, interval, p_value


def group_tables(groups: Sequence[GroupRow]) -> tuple[list[ReportTable], list[str]]:
    """A table for every pair of groups, and why other pairs and regions are in none."""
    tables, reasons = [], []
    for pair in dict.fromkeys((g.stratum, g.first, g.second) for g in groups):
        own_rows = [g for g in groups if (g.stratum, g.first, g.second) == pair]
        tested = [g for g in own_rows if g.real_p is not None]
        label = f"{pair[0]}: {pair[1]} ({own_rows[0].n_first}) against {pair[2]} ({own_rows[0].n_second})"
        by_reason: dict[str, list[str]] = {}
        for row in own_rows:
            if row.reason:
                by_reason.setdefault(row.reason, []).append(row.region)
        for reason, regions in by_reason.items():
            which = "no region" if len(regions) == len(own_rows) else ", ".join(regions)
            verb = "is tested" if which == "no region" else "not tested"
            reasons.append(f"{label}: {which} {verb}, {reason}.")
        if tested:
            tables.append(_table(tested, f"{tested[0].model}, {label}"))
    return tables, reasons


def _table(rows: Sequence[GroupRow], caption: str) -> ReportTable:
    unit = rows[0].unit
    header = ["region"]
    for image in ("real", "synthetic"):
        header += [f"{image}, difference ({unit})", "p", "FDR p"]
    lines: list[list[Cell]] = [
        [
            g.region,
            interval(g.real_difference, g.real_low, g.real_high),
            *(p_value(g.real_p), p_value(g.real_fdr)),
            interval(g.synthetic_difference, g.synthetic_low, g.synthetic_high),
            *(p_value(g.synthetic_p), p_value(g.synthetic_fdr)),
            "yes" if g.synthetic_only else "no",
        ]
        for g in rows
    ]
    return ReportTable([*header, "synthetic only"], lines, caption, lead=())


def how_tested(groups: Sequence[GroupRow], covariates: Sequence[Covariate]) -> str:
    """The test, in words; empty without groups."""
    if not groups:
        return ""
    first = "Differences are those of the first-named group minus the second."
    if not covariates:
        return (
            f"{first} p: Mann-Whitney test of the region means of people. Nothing else that differs between "
            "the groups (genotype, age, site) is allowed for; --covariates does that."
        )
    models = dict.fromkeys(g.model for g in groups)
    about = "; ".join(c.about() for c in covariates)
    return (
        f"{first} One linear model a region over all people: {' and '.join(models)}. The difference is "
        f"that of two people who are alike in the covariates, with its interval of 95 % and the p of a t "
        f"test. Covariates: {about}. People without a value are left out."
    )
