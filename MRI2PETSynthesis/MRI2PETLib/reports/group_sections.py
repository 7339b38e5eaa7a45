"""What the section on groups of a cohort's report shows."""

from __future__ import annotations

from collections.abc import Sequence

from MRI2PETLib.evaluation.cohort_groups import GroupRow
from MRI2PETLib.evaluation.covariates import Covariate
from MRI2PETLib.reports.columns import columns, side_by_side
from MRI2PETLib.reports.page import ReportTable


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
    content = columns(rows, "region")
    for image in ("real", "synthetic"):
        content += columns(rows, f"{image}_difference", unit=rows[0].unit)
        content += columns(rows, f"{image}_p", f"{image}_fdr")
    content.append(("synthetic only", ["yes" if row.synthetic_only else "no" for row in rows]))
    return side_by_side(content, caption, lead=())


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
    left_out = " ".join(filter(None, (c.left_out() for c in covariates)))
    return (
        f"{first} One linear model a region over all people: {' and '.join(models)}. The difference is "
        f"that of two people who are alike in the covariates, with its interval of 95 % and the p of a t "
        f"test. Covariates: {about}. {left_out}"
    ).strip()
