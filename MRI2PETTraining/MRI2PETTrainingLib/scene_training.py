"""A training in the scene: tables of cases and folds, curves as plots, and the views that show them. No Qt.

The nodes show what the run folder holds; they are not saved with the scene.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import slicer

from MRI2PETLib.outputs import write_text
from MRI2PETLib.scene_layout import arrange, plot_view, split, table_view, views_of
from MRI2PETLib.scene_tables import add_chart, add_series, add_table, fill_table
from MRI2PETTrainingLib.manifest import TrainingCase
from MRI2PETTrainingLib.run_folder import EDITABLE, Columns, RunView, case_columns, fold_columns

# Slicer's layouts have numbers below 100; those of MRI2PETLib.scene_layout are 26201 and 26202.
LAYOUT = 26203
CASES_VIEW, FOLDS_VIEW = "MRI2PETTrainingCases", "MRI2PETTrainingFolds"
_CHARTS = {
    # view: column, title and label, axis
    "MRI2PETTrainingLoss": ("train_loss", "Training loss", "loss"),
    "MRI2PETTrainingError": ("val_nmse", "Validation error", "1 - R² (the mean has 1)"),
    "MRI2PETTrainingR": ("val_r", "Validation correlation", "r"),
}
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
        self._shown: dict[str, Any] = {}

    def update(self, view: RunView) -> None:
        """Show a run: tables that changed, and what came to the curves."""
        self._table("cases", "Training cases", case_columns(view), editable=True)
        self._table("folds", "Training folds", fold_columns(view))
        for status in view.folds:
            self._curves(status.fold.number, status.curves)
        self._charts([status.fold.number for status in view.folds if status.curves])

    def clear(self) -> None:
        """Remove the nodes."""
        for node_id in reversed(list(self._ids.values())):
            node = self._scene.GetNodeByID(node_id)
            if node is not None:
                self._scene.RemoveNode(node)
        self._ids.clear()
        self._shown.clear()

    def node(self, name: str) -> Any:
        """A node by its name here (``cases``, ``folds``, tag of a plot view), ``None`` if there is none."""
        return self._scene.GetNodeByID(self._ids[name]) if name in self._ids else None

    def show(self) -> None:
        """Arrange plots above tables; without an application nothing is seen."""
        first, second, third = (plot_view(tag, title) for tag, (_, title, _) in _CHARTS.items())
        tables = split("horizontal", table_view(CASES_VIEW, "Cases"), table_view(FOLDS_VIEW, "Folds"))
        curves = split("horizontal", first, second, third)
        arrange(self._scene, LAYOUT, split("vertical", curves, tables))
        self.fill_views()

    def fill_views(self) -> None:
        """Give the views of the layout their nodes."""
        for tag, name in ((CASES_VIEW, "cases"), (FOLDS_VIEW, "folds")):
            for view in views_of(self._scene, "vtkMRMLTableViewNode", tag):
                view.SetTableNodeID(self._ids.get(name))
        for tag in _CHARTS:
            for view in views_of(self._scene, "vtkMRMLPlotViewNode", tag):
                view.SetPlotChartNodeID(self._ids.get(tag))

    def edited_cases(self) -> Columns:
        """The table of cases as it is now, edits included."""
        node = self.node("cases")
        table = node.GetTable() if node is not None else None
        if table is None:
            return {}
        columns = [table.GetColumn(n) for n in range(table.GetNumberOfColumns())]
        rows = range(table.GetNumberOfRows())
        return {c.GetName(): [c.GetVariantValue(row).ToString() for row in rows] for c in columns}

    def _table(
        self, key: str, name: str, columns: Mapping[str, Sequence[Any]], editable: bool = False
    ) -> None:
        node = self.node(key)
        if node is None:
            node = add_table(self._scene, name, columns)
            node.SetSaveWithScene(False)
            node.SetLocked(not editable)
            self._ids[key] = node.GetID()
            self.fill_views()
        elif self._shown.get(key) != columns:
            fill_table(node, columns)
        self._shown[key] = columns

    def _curves(self, fold: int, curves: Sequence[Mapping[str, float]]) -> None:
        """A series in every chart. Epochs without validation are no points of its curve."""
        for tag, (column, _, _) in _CHARTS.items():
            rows = [row for row in curves if column in row]
            if not rows:
                continue
            columns = {"epoch": [row["epoch"] + 1 for row in rows], column: [row[column] for row in rows]}
            key = f"fold {fold} {column}"
            self._table(key, f"Training fold {fold} {column}", columns)
            if self.node(f"{tag} {fold}") is None:
                color = _COLORS[fold % len(_COLORS)]
                series = add_series(self._scene, f"fold {fold}", self.node(key), "epoch", column, color)
                series.SetSaveWithScene(False)
                self._ids[f"{tag} {fold}"] = series.GetID()
            series = self.node(f"{tag} {fold}")
            # One point makes no line.
            alone = len(rows) == 1
            series.SetMarkerStyle(series.MarkerStyleCircle if alone else series.MarkerStyleNone)
            series.SetLineStyle(series.LineStyleNone if alone else series.LineStyleSolid)

    def _charts(self, folds: Sequence[int]) -> None:
        for tag, (_, title, axis) in _CHARTS.items():
            series = [self.node(f"{tag} {fold}") for fold in folds]
            shown = [one for one in series if one is not None]
            chart = self.node(tag)
            if chart is None and shown:
                chart = add_chart(self._scene, title, [], "epoch", axis)
                chart.SetSaveWithScene(False)
                chart.SetLegendVisibility(True)
                self._ids[tag] = chart.GetID()
                self.fill_views()
            for one in shown:
                if not chart.HasPlotSeriesNodeID(one.GetID()):
                    chart.AddAndObservePlotSeriesNodeID(one.GetID())


def write_edited(view: RunView, edited: Columns, path: Path | str) -> Path:
    """Write the cases of a run with the edits of the table as a manifest.

    What is not in the table (a mask) stays as it was; paths are absolute.
    """
    changes = {
        name: {column: edited[column][row] for column in EDITABLE if column in edited}
        for row, name in enumerate(edited.get("case", []))
    }
    names = [field.name for field in fields(TrainingCase)]
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    for row in view.cases:
        writer.writerow({**dict.fromkeys(names, ""), **row, **changes.get(row.get("case", ""), {})})
    return write_text(path, text.getvalue())
