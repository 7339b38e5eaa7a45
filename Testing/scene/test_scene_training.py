"""A training as nodes: tables, curves that grow, charts, edits; nodes that the user deletes."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

slicer = pytest.importorskip("slicer", reason="needs slicer-core: pip install -e .[slicer]")

from bootstrap import bootstrap  # noqa: E402
from MRI2PETLib.scene.layout import NUMBERS, layout_description, set_layout, shown_layout  # noqa: E402
from MRI2PETTrainingLib.folds import Fold  # noqa: E402
from MRI2PETTrainingLib.run_folder import FoldStatus, RunView  # noqa: E402
from MRI2PETTrainingLib.scene.training import LAYOUT, TABLES_LAYOUT, TrainingNodes, write_edited  # noqa: E402

CASES = (
    {"case": "a1", "subject": "a", "t1": "/x/a1.nii", "pet": "/x/p1.nii", "group": "HC", "mask": "/x/m.nii"},
    {"case": "b1", "subject": "b", "t1": "/x/b1.nii", "pet": "/x/p2.nii", "group": "", "level": "warn"},
)


def view(epochs: int, second: int = 0) -> RunView:
    curve = [{"epoch": float(n), "train_loss": 1 / (n + 1), "val_nmse": 0.5, "val_r": 0.7} for n in range(9)]
    folds = (
        FoldStatus(Fold(0, ("a1",), ("b1",), ()), tuple(curve[:epochs]), False),
        FoldStatus(Fold(1, ("b1",), ("a1",), ()), tuple(curve[:second]), False),
    )
    return RunView(Path("run"), {"content": {"preset": {"epochs": 9}}}, CASES, folds, True, None, None)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Any]:
    application = bootstrap(tmp_path)  # kept alive while the test runs
    yield application.scene


def points(series: Any) -> int:
    return series.GetTableNode().GetNumberOfRows()


def test_curves_grow_and_folds_join(scene: Any) -> None:
    nodes = TrainingNodes(scene)
    nodes.update(view(0))
    nodes.update(view(1))
    assert nodes.node("MRI2PETTrainingLoss") is None  # one point makes no line
    nodes.update(view(2))
    chart = nodes.node("MRI2PETTrainingLoss")
    assert chart.GetNumberOfPlotSeriesNodes() == 1
    first = chart.GetNthPlotSeriesNode(0)
    count = scene.GetNumberOfNodes()
    nodes.update(view(5))
    assert scene.GetNumberOfNodes() == count  # filled, not made again
    assert points(first) == 5
    nodes.update(view(9, 2))
    assert [chart.GetNthPlotSeriesNode(n).GetName() for n in range(2)] == ["fold 0", "fold 1"]
    assert nodes.node("folds").GetCellText(0, nodes.node("folds").GetColumnIndex("epochs")) == "9 of 9"
    table = first.GetTableNode()
    assert table.GetCellText(8, table.GetColumnIndex("epoch")) == "9"


def test_nothing_of_it_is_saved_or_left(scene: Any) -> None:
    before = scene.GetNumberOfNodes()
    nodes = TrainingNodes(scene)
    nodes.update(view(3, 3))
    new = [scene.GetNthNode(n) for n in range(before, scene.GetNumberOfNodes())]
    assert len(new) == 2 + 6 + 6 + 3 and not any(node.GetSaveWithScene() for node in new)
    nodes.clear()
    assert scene.GetNumberOfNodes() == before


def test_deleted_nodes_come_back(scene: Any) -> None:
    nodes = TrainingNodes(scene)
    nodes.update(view(3))
    scene.RemoveNode(nodes.node("cases"))
    scene.RemoveNode(nodes.node("MRI2PETTrainingR"))
    nodes.update(view(4))
    assert nodes.node("cases").GetNumberOfRows() == 2
    assert nodes.node("MRI2PETTrainingR").GetNumberOfPlotSeriesNodes() == 1
    scene.Clear(False)
    nodes.update(view(4))
    assert nodes.node("folds").GetNumberOfRows() == 2


def test_views_get_their_nodes(scene: Any) -> None:
    plot, table = (
        scene.AddNewNodeByClass(
            f"vtkMRML{kind}ViewNode",
            "view",
        )
        for kind in ("Plot", "Table")
    )
    plot.SetSingletonTag("MRI2PETTrainingLoss")
    table.SetSingletonTag("MRI2PETTrainingFolds")
    nodes = TrainingNodes(scene)
    nodes.update(view(2))
    assert plot.GetPlotChartNodeID() == nodes.node("MRI2PETTrainingLoss").GetID()
    assert table.GetTableNodeID() == nodes.node("folds").GetID()


def test_curves_get_their_room_with_the_first_of_them(scene: Any) -> None:
    layout = scene.AddNewNodeByClass("vtkMRMLLayoutNode")
    nodes = TrainingNodes(scene)
    nodes.update(view(0))
    nodes.show()
    assert layout.GetViewArrangement() == TABLES_LAYOUT
    nodes.update(view(2))
    assert layout.GetViewArrangement() == LAYOUT
    layout.SetViewArrangement(layout.SlicerLayoutFourUpView)
    nodes.update(view(3))  # the user looks at something else
    assert layout.GetViewArrangement() == layout.SlicerLayoutFourUpView
    nodes.show()
    assert layout.GetViewArrangement() == LAYOUT
    nodes.clear()
    nodes.update(view(0))  # another dataset: no view is black
    assert layout.GetViewArrangement() == TABLES_LAYOUT


def test_the_layouts_of_both_modules_are_told_apart(scene: Any) -> None:
    layout = scene.AddNewNodeByClass("vtkMRMLLayoutNode")
    set_layout(scene, "overlay")
    overlay = layout.GetViewArrangement()
    nodes = TrainingNodes(scene)
    for epochs in (0, 2):
        nodes.update(view(epochs))
        nodes.show()
        assert shown_layout(scene) is None
        layout.SetViewArrangement(overlay)  # as the window does when its module is left
        assert shown_layout(scene) == "overlay"
        assert layout.GetLayoutDescription(overlay) == layout_description("overlay")
    assert len({*NUMBERS.values()}) == len(NUMBERS)


def test_edited_cases_become_a_manifest(scene: Any, tmp_path: Path) -> None:
    nodes = TrainingNodes(scene)
    nodes.update(view(0))
    table = nodes.node("cases")
    assert not table.GetLocked() and nodes.node("folds").GetLocked()
    table.SetCellText(1, table.GetColumnIndex("subject"), "a")
    table.SetCellText(1, table.GetColumnIndex("exclude"), "moved")
    path = write_edited(view(0), nodes.edited_cases(), tmp_path / "edited.csv")
    with path.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["subject"] for row in rows] == ["a", "a"]
    assert rows[1]["exclude"] == "moved" and rows[0]["mask"] == "/x/m.nii" and rows[0]["exclude"] == ""
    assert "level" not in rows[0]


def test_another_s_node_that_has_got_an_old_id_is_left_alone(scene: Any) -> None:
    nodes = TrainingNodes(scene)
    nodes.update(view(2))
    old = nodes.node("cases").GetID()
    scene.Clear(False)
    other = scene.AddNewNodeByClass("vtkMRMLTableNode", "somebody's")
    while other.GetID() != old:  # the scene numbers its nodes anew
        other = scene.AddNewNodeByClass("vtkMRMLTableNode", "somebody's")
    assert nodes.node("cases") is None
    nodes.update(view(2))
    assert other.GetNumberOfRows() == 0 and nodes.node("cases").GetNumberOfRows() == 2
    nodes.clear()
    assert scene.GetNodeByID(old) == other


def test_the_axes_hold_all_values_and_epochs_to_come(scene: Any) -> None:
    nodes = TrainingNodes(scene)
    nodes.update(view(2))
    chart = nodes.node("MRI2PETTrainingLoss")
    assert list(chart.GetXAxisRange()) == [0, 9] and not chart.GetYAxisRangeAuto()  # all that are planned
    nodes.update(view(9))
    lowest, highest = chart.GetYAxisRange()
    assert 0 < lowest < 1 / 9 and 1 < highest < 1.1
    many = replace(view(9), record={"content": {"preset": {"epochs": 3000}}})
    nodes.update(many)
    assert list(chart.GetXAxisRange()) == [0, 10]
    last = {"epoch": 10.0, "train_loss": 0.1}
    first = replace(many.folds[0], curves=(*many.folds[0].curves, last))
    nodes.update(replace(many, folds=(first, many.folds[1])))
    assert list(chart.GetXAxisRange()) == [0, 20]
