"""A training in the scene: tables of cases and folds, curves as plots, and the views that show them. No Qt.

The nodes show what the run folder holds; they are not saved with the scene.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import slicer

from MRI2PETLib.core.tables import write_table
from MRI2PETLib.scene.layout import NUMBERS, arrange, plot_view, split, table_view, views_of
from MRI2PETLib.scene.tables import add_chart, add_series, add_table, fill_table
from MRI2PETTrainingLib.dataset.manifest import TrainingCase
from MRI2PETTrainingLib.run_folder import EDITABLE, RunColumns, RunView, case_columns, fold_columns

LAYOUT, TABLES_LAYOUT = NUMBERS["training"], NUMBERS["training tables"]
CASES_VIEW, FOLDS_VIEW = "MRI2PETTrainingCases", "MRI2PETTrainingFolds"
_CHARTS = {
    # view: column, title, axis, room above the curves (the legend lies at the upper right, where r rises)
    "MRI2PETTrainingLoss": ("train_loss", "Training loss", "loss", 0.05),
    "MRI2PETTrainingError": ("val_nmse", "Validation error", "1 - R² (the mean has 1)", 0.05),
    "MRI2PETTrainingR": ("val_r", "Validation r", "r", 0.5),
}
_FONT = 14
# Marks our nodes. After the scene was closed, an id of before may be that of another's node.
_MARK = "MRI2PET.Training"
# Okabe and Ito's palette, which people with any colour vision tell apart; it repeats after seven folds.
_COLORS = (
    (0.00, 0.45, 0.70),
    (0.84, 0.37, 0.00),
    (0.00, 0.62, 0.45),
    (0.80, 0.47, 0.65),
    (0.90, 0.62, 0.00),
    (0.34, 0.71, 0.91),
    (0.35, 0.35, 0.35),
)


class TrainingNodes:
    """Nodes of one run, made when first needed. A node that the user deleted is made again."""

    def __init__(self, scene: slicer.vtkMRMLScene) -> None:
        self._scene = scene
        self._ids: dict[str, str] = {}
        self._tables: dict[str, Any] = {}

    def update(self, view: RunView) -> None:
        """Show a run: tables that changed, and what came to the curves."""
        self._table("cases", "Training cases", case_columns(view), editable=True)
        self._table("folds", "Training folds", fold_columns(view))
        for status in view.folds:
            self._curves(status.fold.number, status.curves)
        self._charts(view)
        self._make_room()

    def clear(self) -> None:
        """Remove the nodes."""
        for name in reversed(list(self._ids)):
            node = self.node(name)
            if node is not None:
                self._scene.RemoveNode(node)
        self._ids.clear()
        self._tables.clear()
        self._make_room()

    def node(self, name: str) -> Any:
        """A node by its name here (``cases``, ``folds``, tag of a plot view), ``None`` if there is none."""
        node = self._scene.GetNodeByID(self._ids[name]) if name in self._ids else None
        return node if node is not None and node.GetAttribute(_MARK) == name else None

    def show(self) -> None:
        """Arrange plots above tables, tables alone before any curve is there (a view without one is black).

        Without an application nothing is seen.
        """
        tables = (table_view(CASES_VIEW, "Cases"), table_view(FOLDS_VIEW, "Folds"))
        if self._has_curves:
            plots = (plot_view(tag, title) for tag, (_, title, _, _) in _CHARTS.items())
            rows = (split("horizontal", *plots), split("horizontal", *tables))
            arrange(self._scene, LAYOUT, split("vertical", *rows))
        else:
            arrange(self._scene, TABLES_LAYOUT, split("vertical", *tables))
        self.fill_views()

    @property
    def _has_curves(self) -> bool:
        return any(self.node(tag) is not None for tag in _CHARTS)

    def _make_room(self) -> None:
        """Where the tables are shown: curves above them from the first curve on, none without any."""
        layout = self._scene.GetFirstNodeByClass("vtkMRMLLayoutNode")
        other = TABLES_LAYOUT if self._has_curves else LAYOUT
        if layout is not None and layout.GetViewArrangement() == other:
            self.show()

    def fill_views(self) -> None:
        """Give the views of the layout their nodes."""
        for tag, name in ((CASES_VIEW, "cases"), (FOLDS_VIEW, "folds")):
            for view in views_of(self._scene, "vtkMRMLTableViewNode", tag):
                view.SetTableNodeID(self._id(name))
        for tag in _CHARTS:
            for view in views_of(self._scene, "vtkMRMLPlotViewNode", tag):
                view.SetPlotChartNodeID(self._id(tag))

    def edited_cases(self) -> RunColumns:
        """The table of cases as it is now, edits included."""
        node = self.node("cases")
        table = node.GetTable() if node is not None else None
        if table is None:
            return {}
        columns = [table.GetColumn(n) for n in range(table.GetNumberOfColumns())]
        rows = range(table.GetNumberOfRows())
        return {c.GetName(): [c.GetVariantValue(row).ToString() for row in rows] for c in columns}

    def _id(self, name: str) -> str | None:
        node = self.node(name)
        return None if node is None else str(node.GetID())

    def _keep(self, name: str, node: Any) -> Any:
        """Take care of a new node under a name."""
        node.SetSaveWithScene(False)
        node.SetAttribute(_MARK, name)
        self._ids[name] = node.GetID()
        return node

    def _table(
        self, key: str, name: str, columns: Mapping[str, Sequence[Any]], editable: bool = False
    ) -> None:
        node = self.node(key)
        if node is None:
            node = self._keep(key, add_table(self._scene, name, columns))
            node.SetLocked(not editable)
            self.fill_views()
        elif self._tables.get(key) != columns:
            fill_table(node, columns)
        self._tables[key] = columns

    def _curves(self, fold: int, curves: Sequence[Mapping[str, float]]) -> None:
        """A series in every chart, from two points on. Epochs without validation are no points of it."""
        for tag, (column, *_) in _CHARTS.items():
            rows = [row for row in curves if column in row]
            if len(rows) < 2:
                continue
            columns = {"epoch": [row["epoch"] + 1 for row in rows], column: [row[column] for row in rows]}
            key = f"fold {fold} {column}"
            self._table(key, f"Training fold {fold} {column}", columns)
            if self.node(f"{tag} {fold}") is None:
                color = _COLORS[fold % len(_COLORS)]
                series = add_series(self._scene, f"fold {fold}", self.node(key), "epoch", column, color)
                series.SetMarkerStyle(series.MarkerStyleNone)
                self._keep(f"{tag} {fold}", series)

    def _charts(self, view: RunView) -> None:
        """Charts of the folds that have curves."""
        for tag, (column, title, axis, room) in _CHARTS.items():
            tables = [self.node(f"{tag} {status.fold.number}") for status in view.folds]
            series = [one for one in tables if one is not None]
            if not series:
                continue
            chart = self.node(tag)
            if chart is None:
                chart = self._keep(tag, add_chart(self._scene, title, [], "epoch", axis))
                chart.SetTitleVisibility(False)  # the view's own label says it
                chart.SetLegendFontSize(_FONT)
                self.fill_views()
            for one in series:
                if not chart.HasPlotSeriesNodeID(one.GetID()):
                    chart.AddAndObservePlotSeriesNodeID(one.GetID())
            rows = [row for status in view.folds for row in status.curves if column in row]
            _set_ranges(chart, rows, column, view.epochs, room)


def _set_ranges(
    chart: Any, rows: Sequence[Mapping[str, float]], column: str, epochs: int, room: float
) -> None:
    """Room for all values, and for epochs to come: an automatic range does not follow curves that grow.

    :param room: above the values, as a share of their range.
    """
    values = [row[column] for row in rows]
    extent = max(values) - min(values) or abs(max(values)) or 20.0
    chart.SetYAxisRangeAuto(False)
    chart.SetYAxisRange(min(values) - 0.05 * extent, max(values) + room * extent)
    end = 10
    while end <= max(row["epoch"] for row in rows):
        end *= 2
    chart.SetXAxisRangeAuto(False)
    chart.SetXAxisRange(0, min(end, epochs or end))


def write_edited(view: RunView, edited: RunColumns, path: Path | str) -> Path:
    """Write the cases of a run with the edits of the table as a manifest.

    What is not in the table (a mask) stays as it was; paths are absolute.
    """
    changes = {
        name: {column: edited[column][row] for column in EDITABLE if column in edited}
        for row, name in enumerate(edited.get("case", []))
    }
    names = [field.name for field in fields(TrainingCase)]
    return write_table(path, names, [{**row, **changes.get(row.get("case", ""), {})} for row in view.cases])
