"""Tables and plots of the evaluation as MRML nodes: global and regional figures, scatter, Bland-Altman."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import slicer
import vtk

from MRI2PETLib.core import tables
from MRI2PETLib.core.errors import InputError
from MRI2PETLib.evaluation.agreement import bland_altman
from MRI2PETLib.evaluation.baselines import NETWORK
from MRI2PETLib.evaluation.case import RegionRow
from MRI2PETLib.evaluation.metrics import brain_metrics
from MRI2PETLib.evaluation.region_table import shown_columns
from MRI2PETLib.scene.nodes import all_or_nothing
from MRI2PETLib.scene.results import ResultNodes
from MRI2PETLib.templates.regions import parcellation_title

Columns = Mapping[str, Sequence[Any]]
_DIGITS = 4
_DECIMALS = {" (mm)": 1, " (mL)": 1, "percentile": 1, "z": 2}  # by the end of a column's title
CENTRE_COLUMNS = ("R (mm)", "A (mm)", "S (mm)")
_LEGEND_ROW = 0.09  # height of a row of a legend, as a share of a plot of 250 pixels
_POINTS, _IDENTITY, _BIAS = (0.0, 0.45, 0.70), (0.35, 0.35, 0.35), (0.84, 0.37, 0.0)


def global_columns(
    network: Mapping[str, Any], baselines: Mapping[str, Mapping[str, Any]], unit: str
) -> Columns:
    """One row a metric, one column a predictor: the network, then what others reach on the same case.

    :param network: of :func:`MRI2PETLib.evaluation.compare.compare`; ``baselines``: name -> metrics.
    :param unit: of both PETs.
    """
    metrics = {name: metric for name, metric in brain_metrics().items() if name in network}
    columns: dict[str, Sequence[Any]] = {
        "metric": [metric.label for metric in metrics.values()],
        "unit": [metric.unit_of(unit) for metric in metrics.values()],
        "better": [metric.better for metric in metrics.values()],
    }
    predictors = {NETWORK: network, **baselines}
    rows = [[values.get(name) for values in predictors.values()] for name in metrics]
    rows = [_alike(row, _decimals_of(row)) for row in rows]
    return columns | {name: [row[n] for row in rows] for n, name in enumerate(predictors)}


def region_columns(rows: Sequence[RegionRow], scale: str) -> Columns:
    """One row a region on one scale, the baselines beside the network, and last what and where it is: in a
    narrow table the figures are seen first.
    """
    own_rows = [row for row in rows if row.scale == scale]
    if not any(row.predictor == NETWORK for row in own_rows):
        raise InputError(f"There is no region on the scale {scale}.")
    columns = shown_columns(own_rows)
    columns["parcellation"] = [parcellation_title(str(name)) for name in columns["parcellation"]]
    last = [title for title in columns if title == "parcellation" or title.endswith((" (mm)", " (mL)"))]
    order = [title for title in columns if title not in last] + last
    return with_decimals({title: columns[title] for title in order})


def with_decimals(columns: Columns) -> dict[str, list[Any]]:
    """Columns by their titles, numbers as text with one number of decimals in a column: a tenth of mm, mL and
    percentiles, a hundredth of z, else what the numbers need.
    """
    return {title: _alike(values, _decimals(title, values)) for title, values in columns.items()}


def _decimals(title: str, values: Sequence[Any]) -> int:
    own = next((places for end, places in _DECIMALS.items() if title.endswith(end)), None)
    return _decimals_of(values) if own is None else own


def _decimals_of(values: Sequence[Any]) -> int:
    """As many as give the largest number four digits, and up to two more for two digits of the smallest."""
    sizes = [math.floor(math.log10(abs(v))) for v in values if _is_number(v) and v]
    if not sizes:
        return 0
    most = _DIGITS - 1 - max(sizes)
    return max(0, min(most + 2, max(most, 1 - min(sizes))))


def _alike(values: Sequence[Any], decimals: int) -> list[Any]:
    return [_decimal(v, decimals) if _is_number(v) else v for v in values]


def _is_number(value: Any) -> bool:
    return isinstance(value, float) and math.isfinite(value)


def _decimal(value: float, decimals: int) -> str:
    """A number with so many decimals; a digit where none of them would be left of it."""
    left = round(value, decimals)
    return f"{left or 0:.{decimals}f}" if left or not value else f"{value:.1g}"


def add_table(scene: slicer.vtkMRMLScene, name: str, columns: Columns, note: str = "") -> Any:
    """A table node. A column with a missing number holds text, with an empty cell there: never NaN.

    :raises InputError: if the columns differ in length.
    """
    with all_or_nothing(scene):
        node = scene.AddNewNodeByClass("vtkMRMLTableNode", scene.GenerateUniqueName(name))
        node.SetDescription(note)
        fill_table(node, columns)
        node.SetUseColumnTitleAsColumnHeader(True)
        node.SetLocked(True)
    return node


def fill_table(node: Any, columns: Columns) -> None:
    """Replace what a table node holds.

    :raises InputError: if the columns differ in length.
    """
    if len({len(values) for values in columns.values()}) > 1:
        raise InputError(f"The columns of {node.GetName()} differ in length.")
    table = vtk.vtkTable()
    for title, values in columns.items():
        numeric = all(isinstance(v, (int, float, np.number)) and np.isfinite(v) for v in values)
        array = vtk.vtkDoubleArray() if numeric else vtk.vtkStringArray()
        array.SetName(title)
        for value in values:
            array.InsertNextValue(float(value) if numeric else _text(value))
        table.AddColumn(array)
    node.SetAndObserveTable(table)


def node_text(node: Any, delimiter: str) -> str:
    """A table node as text with a line of column titles, cells as they are shown."""
    return tables.table_text(*table_cells(node), delimiter)


def table_cells(node: Any) -> tuple[list[str], list[list[str]]]:
    """Titles of the columns of a table node, and the cells of its rows as they are shown."""
    table = node.GetTable()
    columns = [table.GetColumn(n) for n in range(table.GetNumberOfColumns())]
    rows = range(table.GetNumberOfRows())
    return [c.GetName() for c in columns], [[_text(c.GetValue(row)) for c in columns] for row in rows]


def region_point_ras(node: Any, row: int) -> tuple[float, float, float] | None:
    """Where the region in a row of the table of regions lies (RAS mm), ``None`` in any other table."""
    columns = [node.GetTable().GetColumnByName(name) for name in CENTRE_COLUMNS]
    if None in columns or not 0 <= row < node.GetNumberOfRows():
        return None
    try:
        r, a, s = (float(column.GetValue(row)) for column in columns)
    except ValueError:  # an empty cell: the region has no voxel
        return None
    return r, a, s


def report_html(scene: slicer.vtkMRMLScene, nodes: ResultNodes) -> str:
    """The HTML report of a comparison.

    :raises InputError: if there is none.
    """
    node = scene.GetNodeByID(nodes.report) if nodes.report else None
    if node is None:
        raise InputError("There is no report.", "Compare with a real PET first.")
    return str(node.GetText())


def add_scatter(
    scene: slicer.vtkMRMLScene,
    name: str,
    real: Sequence[float],
    synthetic: Sequence[float],
    labels: Sequence[str],
    unit: str,
) -> Any:
    """A chart node: synthetic over real, one point a region, with the line of identity."""
    if len(real) == 0:
        raise InputError(f"{name} has no point.")
    ends = [min(*real, *synthetic), max(*real, *synthetic)]
    with all_or_nothing(scene):
        points = add_table(scene, f"{name} points", {"real": real, "synthetic": synthetic, "region": labels})
        line = add_table(scene, f"{name} identity", {"real": ends, "synthetic": ends})
        chart = add_chart(
            scene,
            name,
            [
                _points(scene, "regions", points, "real", "synthetic"),
                _line(scene, "equal", line, "real", "synthetic", _IDENTITY),
            ],
            f"real PET ({unit})",
            f"synthetic PET ({unit})",
            title="",
        )
        _leave_room_for_legend(chart, *ends)
        return chart


def add_bland_altman(
    scene: slicer.vtkMRMLScene,
    name: str,
    real: Sequence[float],
    synthetic: Sequence[float],
    labels: Sequence[str],
    unit: str,
    *,
    names: tuple[str, str] = ("synthetic", "real"),
) -> Any:
    """A chart node: difference over average, one point a region, with bias and limits of agreement.

    :param names: of the first and the second in ``first - second``, for the title of the axis.
    :raises InputError: for fewer than three regions.
    """
    s, r = np.asarray(synthetic, dtype=float), np.asarray(real, dtype=float)
    agreement = bland_altman(s, r)
    if agreement.bias is None or agreement.lower is None or agreement.upper is None:
        raise InputError(f"There is no Bland-Altman plot: {agreement.reason}.")
    average = (s + r) / 2
    levels = {"bias": agreement.bias, "-1.96 SD": agreement.lower, "+1.96 SD": agreement.upper}
    ends = [float(average.min()), float(average.max())]
    with all_or_nothing(scene):
        columns = {"average": average.tolist(), "difference": (s - r).tolist(), "region": labels}
        points = add_table(scene, f"{name} points", columns)
        lines = add_table(
            scene, f"{name} limits", {"average": ends, **{k: [v, v] for k, v in levels.items()}}
        )
        series = [_points(scene, "regions", points, "average", "difference")]
        for level, value in levels.items():
            node = _line(scene, f"{level} {value:+.3g}", lines, "average", level, _BIAS)
            node.SetLineStyle(node.LineStyleSolid if level == "bias" else node.LineStyleDash)
            series.append(node)
        difference = f"{names[0]} \N{MINUS SIGN} {names[1]} ({unit})"
        chart = add_chart(scene, name, series, f"average of both ({unit})", difference, title="")
        heights = [*(s - r), *levels.values()]
        _leave_room_for_legend(chart, min(heights), max(heights))
        return chart


def _leave_room_for_legend(chart: Any, lowest: float, highest: float) -> None:
    """Let the axis of a chart go on above what it shows: there, in the corner, lies the legend."""
    margin = 0.05 * (highest - lowest) or 1.0
    legend = min(0.6, _LEGEND_ROW * (chart.GetNumberOfPlotSeriesNodes() + 0.5))
    chart.YAxisRangeAutoOff()
    chart.SetYAxisRange(lowest - margin, lowest - margin + (highest - lowest + 2 * margin) / (1 - legend))


def _text(value: Any) -> str:
    if value is None or (isinstance(value, float) and not np.isfinite(value)):
        return ""
    return value if isinstance(value, str) else f"{value:.6g}"


def _points(scene: Any, name: str, table: Any, x: str, y: str) -> Any:
    node = add_series(scene, name, table, x, y, _POINTS)
    node.SetLabelColumnName("region")
    node.SetMarkerStyle(node.MarkerStyleCircle)
    node.SetLineStyle(node.LineStyleNone)
    return node


def _line(scene: Any, name: str, table: Any, x: str, y: str, color: tuple[float, float, float]) -> Any:
    node = add_series(scene, name, table, x, y, color)
    node.SetMarkerStyle(node.MarkerStyleNone)
    node.SetLineStyle(node.LineStyleDash)
    return node


def add_series(
    scene: slicer.vtkMRMLScene, name: str, table: Any, x: str, y: str, color: tuple[float, float, float]
) -> Any:
    """A plot series node: column ``y`` of a table node over its column ``x``; ``color`` is RGB, 0..1."""
    node = scene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", name)
    node.SetAndObserveTableNodeID(table.GetID())
    node.SetPlotType(node.PlotTypeScatter)
    node.SetXColumnName(x)
    node.SetYColumnName(y)
    node.SetColor(*color)
    return node


def add_chart(
    scene: slicer.vtkMRMLScene,
    name: str,
    series: Sequence[Any],
    x_title: str,
    y_title: str,
    *,
    title: str | None = None,
) -> Any:
    """A chart node that shows series nodes.

    :param title: over the plot, default the name; a long one is cut.
    """
    node = scene.AddNewNodeByClass("vtkMRMLPlotChartNode", scene.GenerateUniqueName(name))
    for one in series:
        node.AddAndObservePlotSeriesNodeID(one.GetID())
    node.SetTitle(name if title is None else title)
    node.SetXAxisTitle(x_title)
    node.SetYAxisTitle(y_title)
    return node
