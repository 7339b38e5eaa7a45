"""Sections of a cohort's report that set one predictor against another, and sets of slices."""

from __future__ import annotations

from collections.abc import Sequence

from MRI2PETLib.evaluation.cohort import Cohort
from MRI2PETLib.evaluation.headings import people_better
from MRI2PETLib.evaluation.paired import PairedRow
from MRI2PETLib.reports.columns import Column, columns, side_by_side
from MRI2PETLib.reports.page import ReportTable


def fid_table(cohort: Cohort) -> ReportTable | None:
    """Fréchet distance of the set of slices of every predictor from that of the real PETs."""
    if not cohort.fid:
        return None
    fields = ["predictor", "fid", "n_people", "n_slices"]
    fields += ["reason"] if any(row.reason for row in cohort.fid) else []
    first = cohort.fid[0]
    halves = ("half of the real people from the other half", first.real_halves, None, None, "")
    content = [(name, [*cells, cell]) for (name, cells), cell in zip(columns(cohort.fid, *fields), halves)]
    return side_by_side(content, f"Fréchet distance, {first.features}")


def paired_tables(rows: Sequence[PairedRow], scale: str) -> list[ReportTable]:
    """Whole brain, person by person: a table for every pair of predictors."""
    tables = []
    for pair in dict.fromkeys((row.first, row.second) for row in rows):
        own_rows = [
            r for r in rows if (r.first, r.second, r.scale, r.parcellation) == (*pair, scale, "brain")
        ]
        caption = f"{pair[0]} against {pair[1]}, person by person ({own_rows[0].n_people} people)"
        names: Column = ("number", [_compared_as(row) for row in own_rows])
        tables.append(side_by_side([names, *_paired_columns(own_rows)], caption, lead=()))
    return tables


def paired_region_tables(rows: Sequence[PairedRow]) -> list[ReportTable]:
    """Errors of region means, person by person: a table a parcellation."""
    tables = []
    for parcellation in dict.fromkeys(row.parcellation for row in rows if row.parcellation != "brain"):
        own_rows = [row for row in rows if row.parcellation == parcellation]
        caption = f"Absolute error of region means in {own_rows[0].unit}, {parcellation}"
        content = [*columns(own_rows, "region"), *_paired_columns(own_rows)]
        tables.append(side_by_side(content, caption, lead=()))
    return tables


def _compared_as(row: PairedRow) -> str:
    return row.metric if row.compared == "value" else f"{row.metric}: {row.compared}"


def _paired_columns(rows: Sequence[PairedRow]) -> list[Column]:
    """What tables of one pair of predictors have after the name of the row."""
    first = rows[0].first
    return [
        (first, [row.first_mean for row in rows]),
        (rows[0].second, [row.second_mean for row in rows]),
        *columns(rows, "difference", "effect", "p", "fdr"),
        ("better", [row.better or row.paired.reason for row in rows]),
        (people_better(first), [f"{row.n_first_better} of {row.n_people}" for row in rows]),
    ]
