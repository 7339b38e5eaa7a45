"""Tables of the reports on the three spaces, and on the asymmetry of the brain."""

from __future__ import annotations

from collections.abc import Sequence

from MRI2PETLib.evaluation.asymmetry import AsymmetryRow, AsymmetryStatistics
from MRI2PETLib.evaluation.baselines import NETWORK, WARPED_AVERAGE
from MRI2PETLib.evaluation.metrics import brain_metrics
from MRI2PETLib.evaluation.published_tables import SpaceRow
from MRI2PETLib.evaluation.spaces import NATIVE, SpaceMetrics
from MRI2PETLib.reports.columns import Column, columns, side_by_side
from MRI2PETLib.reports.page import Cell, ReportTable, interval, metric_cell, percent, spread


def case_spaces(spaces: Sequence[SpaceMetrics], unit: str) -> list[ReportTable]:
    """The metrics of one case: a table a space, a column a predictor."""
    tables = []
    for space in spaces:
        # The reason of one that is left out is below the table of the whole brain.
        present = {name: values for name, values in space.metrics.items() if values.get("mse") is not None}
        rows: list[list[Cell]] = [
            [m.heading, *(metric_cell(m, values.get(key)) for values in present.values())]
            for key, m in brain_metrics(in_reports=True).items()
        ]
        if present:
            tables.append(_space_table(f"{space.name} ({unit})", list(present), rows))
    return tables


def _space_table(caption: str, predictors: Sequence[str], rows: Sequence[Sequence[Cell]]) -> ReportTable:
    return ReportTable(["number", *predictors], rows, caption, lead=(), lead_column=1)


def cohort_spaces(rows: Sequence[SpaceRow], unit: str) -> list[ReportTable]:
    """Mean and SD over people, a table a space; and how the network's change from native space."""
    metrics = brain_metrics(in_reports=True)
    by_key = {(row.space, row.predictor, row.metric): row for row in rows}
    tables = []
    for space in dict.fromkeys(row.space for row in rows):
        predictors = list(dict.fromkeys(row.predictor for row in rows if row.space == space))
        lines: list[list[Cell]] = []
        for key, metric in metrics.items():
            own = [by_key.get((space, predictor, key)) for predictor in predictors]
            lines.append([metric.heading, *(None if r is None else spread(r.mean, r.sd) for r in own)])
        tables.append(_space_table(f"{space} ({unit}), over people", predictors, lines))
    spaces = [s for s in dict.fromkeys(row.space for row in rows) if s != NATIVE]
    changes: list[list[Cell]] = []
    for key, metric in metrics.items():
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
    network = [row for row in rows if row.predictor == NETWORK]
    null = {(r.parcellation, r.region): r for r in rows if r.predictor == WARPED_AVERAGE}
    fields = ("real_percent", "synthetic_percent", "difference_percent")
    content = [_pairs(network), *columns(network, *fields)]
    if null:
        others = [null.get((row.parcellation, row.region)) for row in network]
        percents = [None if other is None else percent(other.synthetic_percent) for other in others]
        content.append((f"{WARPED_AVERAGE} (%)", percents))
    content += columns(network, "reason") if any(row.reason for row in network) else []
    return side_by_side(content, "Asymmetry, left minus right over their mean", lead=()) if network else None


def cohort_asymmetry(rows: Sequence[AsymmetryStatistics]) -> ReportTable | None:
    """Agreement of the indices over people, the network beside the warped average."""
    network = [row for row in rows if row.predictor == NETWORK]
    null = {(r.parcellation, r.region): r.r for r in rows if r.predictor == WARPED_AVERAGE}
    in_percent = columns(
        network, "real_mean", "predicted_mean", "bias", "lower_limit", "upper_limit", unit="%"
    )
    content = [_pairs(network), *columns(network, "n_people"), *in_percent]
    content += columns(network, "icc", "r", "r_fdr")
    content.append((f"r of {WARPED_AVERAGE}", [null.get((row.parcellation, row.region)) for row in network]))
    caption = "Asymmetry, left minus right over their mean, over people"
    reasons = dict.fromkeys(row.reason for row in network if row.reason)
    caption += f" (without a value: {'; '.join(reasons)})" if reasons else ""
    return side_by_side(content, caption, lead=()) if network else None


def _pairs(rows: Sequence[AsymmetryRow] | Sequence[AsymmetryStatistics]) -> Column:
    return "pair of regions", [f"{row.region} ({row.parcellation})" for row in rows]
