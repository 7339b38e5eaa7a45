"""Tables of reports from rows: a column a field, with the field's heading and the cells that fit it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from MRI2PETLib.core.tables import record
from MRI2PETLib.evaluation.headings import heading, is_p_value, is_percent
from MRI2PETLib.evaluation.statistics import CONFIDENCE
from MRI2PETLib.reports.page import Cell, ReportTable, interval, p_value, percent, spread

Column = tuple[str, Sequence[Cell]]  # heading and cells


def columns(rows: Sequence[NamedTuple], *fields: str, unit: str = "") -> list[Column]:
    """One column a field of the rows (see :func:`.tables.record`).

    A field with an interval (``bias``, ``bias_low``, ``bias_high``) or an SD (``mae``, ``mae_sd``;
    ``real_mean``, ``real_sd``) is shown with it.
    """
    records = [record(row) for row in rows]
    return [_column(records, field, heading(field, unit)) for field in fields]


def _column(records: Sequence[dict], field: str, name: str) -> Column:
    names = records[0] if records else {}
    if f"{field}_low" in names:
        cells = [interval(r[field], r[f"{field}_low"], r[f"{field}_high"]) for r in records]
        return f"{name}, {100 * CONFIDENCE:g} % interval", cells
    for sd in (f"{field}_sd", re.sub("mean$", "sd", field)):
        if sd != field and sd in names:
            return name, [spread(r[field], r[sd]) for r in records]
    if is_p_value(field):
        return name, [p_value(r[field]) for r in records]
    return name, [percent(r[field]) if is_percent(field) else r[field] for r in records]


def side_by_side(content: Sequence[Column], caption: str, lead: Sequence[int] = (0,)) -> ReportTable:
    """Columns side by side."""
    rows = list(zip(*(cells for _, cells in content)))
    return ReportTable([name for name, _ in content], rows, caption, lead)
