"""Tables of the reports on the three spaces, and on the asymmetry of the brain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from MRI2PETLib.evaluation.asymmetry import AsymmetryRow, AsymmetryStatistics
from MRI2PETLib.evaluation.baselines import ANATOMY_NULL, NETWORK
from MRI2PETLib.evaluation.metrics import brain_metrics
from MRI2PETLib.evaluation.published_tables import SpaceRow
from MRI2PETLib.evaluation.spaces import NATIVE, SpaceMetrics
from MRI2PETLib.reports.page import (
    Cell,
    ReportTable,
    interval,
    metric_cell,
    number_text,
    p_value,
    percent,
    spread,
)


def case_spaces(spaces: Sequence[SpaceMetrics], unit: str) -> ReportTable:
    """The metrics of one case side by side: a row a space and predictor."""
    columns = brain_metrics(in_reports=True)
    rows: list[list[Cell]] = []
    lead = []
    for space in spaces:
        for predictor, values in space.metrics.items():
            if values.get("mse") is None:
                continue  # its reason is below the table of the whole brain
            if predictor == NETWORK:
                lead.append(len(rows))
            cells = [metric_cell(m, values.get(key)) for key, m in columns.items()]
            rows.append([f"{space.name}: {predictor}", *cells])
    header = ["space: predictor", *(metric.heading for metric in columns.values())]
    return ReportTable(header, rows, f"Native and after normalisation to MNI space ({unit})", lead)


def cohort_spaces(rows: Sequence[SpaceRow], unit: str) -> list[ReportTable]:
    """Mean and SD over people by space and predictor; and how the network's change from native space."""
    columns = brain_metrics(in_reports=True)
    by_key = {(row.space, row.predictor, row.metric): row for row in rows}
    lines: list[list[Cell]] = []
    lead = []
    for space, predictor in dict.fromkeys((row.space, row.predictor) for row in rows):
        own = [by_key.get((space, predictor, key)) for key in columns]
        if predictor == NETWORK:
            lead.append(len(lines))
        cells = [None if row is None else spread(row.mean, row.sd) for row in own]
        lines.append([f"{space}: {predictor}", *cells])
    header = ["space: predictor", *(metric.heading for metric in columns.values())]
    caption = f"Native and after normalisation to MNI space ({unit}), over people"
    tables = [ReportTable(header, lines, caption, lead)]
    spaces = [s for s in dict.fromkeys(row.space for row in rows) if s != NATIVE]
    changes: list[list[Cell]] = []
    for key, metric in columns.items():
        own = [by_key.get((space, NETWORK, key)) for space in spaces]
        native = by_key.get((NATIVE, NETWORK, key))
        cells = [None if r is None else interval(r.change, r.change_low, r.change_high) for r in own]
        changes.append([metric.heading, None if native is None else native.mean, *cells])
    if spaces and any(row.change is not None for row in rows):
        header = ["network", "native", *(f"{space}: change, 95 % interval" for space in spaces)]
        tables.append(
            ReportTable(header, changes, "Change of the network's metrics from native space", lead=())
        )
    return tables


def missing_spaces(spaces: Sequence[SpaceMetrics]) -> list[str]:
    """Why a space is missing."""
    return [f"{space.name}: not available, {space.reason}." for space in spaces if space.reason]


def asymmetry_of_case(rows: Sequence[AsymmetryRow]) -> ReportTable | None:
    """Left against right of one case."""
    by_key = {(row.predictor, row.parcellation, row.region): row for row in rows}
    others = [n for n in dict.fromkeys(row.predictor for row in rows) if n == ANATOMY_NULL]
    lines: list[list[Cell]] = []
    for row in (row for row in rows if row.predictor == NETWORK):
        null = [by_key.get((name, row.parcellation, row.region)) for name in others]
        line = [percent(row.real_percent), percent(row.synthetic_percent), percent(row.difference_percent)]
        line += [None if other is None else percent(other.synthetic_percent) for other in null]
        lines.append([f"{row.region} ({row.parcellation})", *line])
    header = ["pair of regions", "real, smoothed (%)", "synthetic (%)", "difference (%)"]
    header += [f"{name} (%)" for name in others]
    return (
        ReportTable(header, lines, "Asymmetry, left minus right over their mean", lead=()) if lines else None
    )


def cohort_asymmetry(rows: Sequence[AsymmetryStatistics]) -> ReportTable | None:
    """Agreement of the indices over people, the network beside the anatomy null."""
    by_key: Mapping[Any, AsymmetryStatistics] = {(r.predictor, r.parcellation, r.region): r for r in rows}
    lines: list[list[Cell]] = []
    for row in (row for row in rows if row.predictor == NETWORK):
        limits: Cell = None
        if row.lower_limit is not None and row.upper_limit is not None:
            limits = f"{number_text(row.lower_limit)} to {number_text(row.upper_limit)}"
        null = by_key.get((ANATOMY_NULL, row.parcellation, row.region))
        lines.append(
            [
                *(f"{row.region} ({row.parcellation})", row.n_people),
                *(spread(row.real_mean, row.real_sd), spread(row.predicted_mean, row.predicted_sd)),
                *(interval(row.bias, row.bias_low, row.bias_high), limits),
                interval(row.icc, row.icc_low, row.icc_high),
                *(row.r, p_value(row.r_fdr), None if null is None else null.r),
            ]
        )
    header = ["pair of regions", "people", "real, smoothed (%)", "synthetic (%)", "bias (%), 95 % interval"]
    header += ["limits of agreement (%)", "ICC(2,1), 95 % interval", "r", "FDR p", f"r of {ANATOMY_NULL}"]
    caption = "Asymmetry, left minus right over their mean, over people"
    return ReportTable(header, lines, caption, lead=()) if lines else None
