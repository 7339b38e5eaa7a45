"""Sections of a cohort's report that set one predictor against another, and sets of slices."""

from __future__ import annotations

from collections.abc import Sequence

from MRI2PETLib.evaluation.cohort import Cohort
from MRI2PETLib.evaluation.paired import PairedRow
from MRI2PETLib.reports.page import Cell, ReportTable, number_text, p_value


def fid_table(cohort: Cohort) -> ReportTable | None:
    """Fréchet distance of the set of slices of every predictor from that of the real PETs."""
    rows: list[list[Cell]] = [
        [row.predictor, row.fid, row.n_people, row.n_slices, row.reason] for row in cohort.fid
    ]
    if not rows:
        return None
    first = cohort.fid[0]
    rows.append(["half of the real people from the other half", first.real_halves, None, None, ""])
    header = ["predictor", "distance from the real PETs", "people", "slices"]
    if any(row[-1] for row in rows):
        header.append("remark")
    cut = [row[: len(header)] for row in rows]
    return ReportTable(header, cut, f"Fréchet distance, {first.features}")


def paired_tables(rows: Sequence[PairedRow], scale: str) -> list[ReportTable]:
    """Whole brain, person by person: a table for every pair of predictors."""
    tables = []
    for pair in dict.fromkeys((row.first, row.second) for row in rows):
        own_rows = [
            r for r in rows if (r.first, r.second, r.scale, r.parcellation) == (*pair, scale, "brain")
        ]
        header = ["number", pair[0], pair[1], "difference", "95 %", "effect (d)", "p", "FDR p"]
        lines: list[list[Cell]] = [[_compared_as(r), *_paired_cells(r)] for r in own_rows]
        header += ["better", f"people with {pair[0]} better"]
        caption = f"{pair[0]} against {pair[1]}, person by person ({own_rows[0].n_people} people)"
        tables.append(ReportTable(header, lines, caption, lead=()))
    return tables


def paired_region_tables(rows: Sequence[PairedRow]) -> list[ReportTable]:
    """Errors of region means, person by person: a table a parcellation."""
    tables = []
    for parcellation in dict.fromkeys(row.parcellation for row in rows if row.parcellation != "brain"):
        own_rows = [row for row in rows if row.parcellation == parcellation]
        header = ["region", own_rows[0].first, own_rows[0].second, "difference", "95 %", "effect (d)", "p"]
        header += ["FDR p", "better", f"people with {own_rows[0].first} better"]
        lines: list[list[Cell]] = [[r.region, *_paired_cells(r)] for r in own_rows]
        caption = f"Absolute error of region means in {own_rows[0].unit}, {parcellation}"
        tables.append(ReportTable(header, lines, caption, lead=()))
    return tables


def _compared_as(row: PairedRow) -> str:
    return row.metric if row.compared == "value" else f"{row.metric}: {row.compared}"


def _paired_cells(row: PairedRow) -> list[Cell]:
    interval = (
        None if row.low is None or row.high is None else f"{number_text(row.low)} to {number_text(row.high)}"
    )
    cells: list[Cell] = [row.first_mean, row.second_mean, row.difference, interval, row.effect]
    share = f"{row.n_first_better} of {row.n_people}"
    return [*cells, p_value(row.p), p_value(row.fdr), row.better or row.reason, share]
