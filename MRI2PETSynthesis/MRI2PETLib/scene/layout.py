"""What is seen where: overlay, side by side, with tables and plots. Layouts are MRML, so no Qt is needed.

In the layouts *compare* and *readouts* four slice views of one view group show T1, real PET, synthetic PET
and NormDiff of the same plane; they are panned, zoomed and scrolled together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import slicer

from MRI2PETLib.scene.display import set_views
from MRI2PETLib.scene.nodes import PREFIX
from MRI2PETLib.scene.results import ResultNodes

LayoutName = Literal["overlay", "compare", "readouts", "suvr"]
VIEW_GROUP = 7  # of the compared views; Slicer's own are in group 0
COMPARED = {
    "MRI2PETT1": ("T1", "#808080"),
    "MRI2PETReal": ("Real PET", "#3A7D44"),
    "MRI2PETSynthetic": ("Synthetic PET", "#B5541C"),
    "MRI2PETNormDiff": ("NormDiff", "#6A4C93"),
}
_PLANES = {"Red": ("Axial", "R"), "Green": ("Coronal", "G"), "Yellow": ("Sagittal", "Y")}
# Width and height as shares of the view; the text grows with them.
_LEGEND_SIZE = (0.1, 0.3)
TABLE_VIEW, PLOT_VIEW = "MRI2PETTable", "MRI2PETPlot"
# Slicer keeps numbers below 100 for itself and asks extensions for larger ones.
_NUMBERS: dict[str, int] = {"compare": 26201, "readouts": 26202, "suvr": 26203}


def set_layout(scene: slicer.vtkMRMLScene, name: LayoutName) -> None:
    """Arrange the views. Without an application (no layout node in the scene) nothing happens."""
    layout = scene.GetFirstNodeByClass("vtkMRMLLayoutNode")
    if layout is not None and name == "overlay":
        layout.SetViewArrangement(layout.SlicerLayoutFourUpView)
    elif layout is not None:
        arrange(scene, _NUMBERS[name], layout_description(name))


def arrange(scene: slicer.vtkMRMLScene, number: int, description: str) -> None:
    """Arrange the views as an XML says; ``number`` is the layout's own. Nothing without a layout node."""
    layout = scene.GetFirstNodeByClass("vtkMRMLLayoutNode")
    if layout is None:
        return
    if layout.IsLayoutDescription(number):
        layout.SetLayoutDescription(number, description)
    else:
        layout.AddLayoutDescription(number, description)
    layout.SetViewArrangement(number)


def layout_description(name: LayoutName) -> str:
    """XML of a layout, as Slicer reads it.

    :raises KeyError: for ``overlay``, which is one of Slicer's own.
    """
    table, plot = table_view(TABLE_VIEW, "Table"), plot_view(PLOT_VIEW, "Plot")
    if name == "suvr":
        planes = split("vertical", *(_plane(tag, plane) for tag, plane in _PLANES.items()))
        return split("horizontal", planes, split("vertical", plot, table), sizes=(500, 500))
    first, second, third, fourth = (_slice_view(tag) for tag in COMPARED)
    views = split("vertical", split("horizontal", first, second), split("horizontal", third, fourth))
    if name == "compare":
        return views
    if name == "readouts":
        return split("horizontal", views, split("vertical", plot, table), sizes=(600, 400))
    raise KeyError(name)


def show_result(scene: slicer.vtkMRMLScene, nodes: ResultNodes, opacity: float = 0.5) -> None:
    """Show a result in all slice views there are: the PET over the T1, and in the compared views each image
    in its own, over the T1. Colour legends say the unit.
    """
    overlay = (nodes.t1, nodes.pet, opacity)
    # A missing image stays a T1: an empty view would look like a failure.
    compared = {
        "MRI2PETT1": (nodes.t1, None, 1.0),
        "MRI2PETReal": (nodes.t1, nodes.real, 1.0),
        "MRI2PETSynthetic": (nodes.t1, nodes.pet, 1.0),
        "MRI2PETNormDiff": (nodes.t1, nodes.normdiff, 0.75),
    }
    set_views(scene, lambda view, _: compared.get(view, overlay))
    _show_legends(scene, nodes)


def set_opacity(scene: slicer.vtkMRMLScene, opacity: float) -> None:
    """Opacity (0..1) of the PET over the T1 in the overlay's views; the compared views keep theirs."""
    set_views(scene, lambda view, now: now if view in COMPARED else (*now[:2], opacity))


def set_foreground(scene: slicer.vtkMRMLScene, node_id: str | None) -> None:
    """What lies over the T1 in the overlay's views."""
    set_views(scene, lambda view, now: now if view in COMPARED else (now[0], node_id, now[2]))


def show_table_and_plot(scene: slicer.vtkMRMLScene, table_id: str | None, chart_id: str | None) -> None:
    """Fill the table view and the plot view of the layout *readouts*, where they exist."""
    for view in views_of(scene, "vtkMRMLTableViewNode", TABLE_VIEW):
        view.SetTableNodeID(table_id)
    for view in views_of(scene, "vtkMRMLPlotViewNode", PLOT_VIEW):
        view.SetPlotChartNodeID(chart_id)


def show_crosshair(scene: slicer.vtkMRMLScene) -> None:
    """Show one crosshair in all views; it follows the mouse while Shift is held."""
    crosshair = scene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    if crosshair is not None:
        crosshair.SetCrosshairMode(crosshair.ShowBasic)
        crosshair.SetCrosshairBehavior(crosshair.OffsetJumpSlice)


def _show_legends(scene: slicer.vtkMRMLScene, nodes: ResultNodes) -> None:
    """Colour legends with their unit: one in the overlay's axial view, one in each compared view."""
    pet = scene.GetNodeByID(nodes.pet)
    unit = pet.GetAttribute(PREFIX + "Unit") or ""
    places = {
        nodes.pet: (unit, ("Red", "MRI2PETSynthetic")),
        nodes.real: (unit, ("MRI2PETReal",)),
        nodes.normdiff: ("NormDiff", ("Red", "MRI2PETNormDiff")),
    }
    for node_id, (title, views) in places.items():
        node = scene.GetNodeByID(node_id) if node_id else None
        if node is not None:
            show_legend(node, title, views)


def show_legend(node: Any, title: str, views: Sequence[str]) -> None:
    """A colour legend of a volume, in the slice views with these layout names."""
    legend = slicer.vtkSlicerColorLogic.AddDefaultColorLegendDisplayNode(node)
    if legend is not None:
        legend.SetTitleText(title)
        legend.SetSize(*_LEGEND_SIZE)
        legend.SetLabelFormat("%.2f")
        legend.RemoveAllViewNodeIDs()
        for view in views:
            legend.AddViewNodeID(f"vtkMRMLSliceNode{view}")
        legend.SetVisibility(True)


def views_of(scene: slicer.vtkMRMLScene, kind: str, tag: str) -> list[Any]:
    """Nodes of the views of a class that have this tag."""
    count = scene.GetNumberOfNodesByClass(kind)
    nodes = [scene.GetNthNodeByClass(n, kind) for n in range(count)]
    return [node for node in nodes if node.GetSingletonTag() == tag]


def split(kind: str, *items: str, sizes: Sequence[int] = ()) -> str:
    """XML of views beside (``horizontal``) or above (``vertical``) each other.

    :param sizes: relative to each other, equal by default. Without any, a view takes what it asks for, which
        for a table is nearly all.
    """
    shares = sizes or [500] * len(items)
    inside = "".join(f'<item splitSize="{size}">{item}</item>' for size, item in zip(shares, items))
    return f'<layout type="{kind}" split="true">{inside}</layout>'


def _slice_view(tag: str) -> str:
    label, color = COMPARED[tag]
    return (
        f'<view class="vtkMRMLSliceNode" singletontag="{tag}">'
        f'<property name="orientation" action="default">Axial</property>{view_label(label)}'
        f'<property name="viewcolor" action="default">{color}</property>'
        f'<property name="viewgroup" action="default">{VIEW_GROUP}</property></view>'
    )


def _plane(tag: str, plane: tuple[str, str]) -> str:
    """One of Slicer's own slice views."""
    orientation, label = plane
    return (
        f'<view class="vtkMRMLSliceNode" singletontag="{tag}">'
        f'<property name="orientation" action="default">{orientation}</property>{view_label(label)}</view>'
    )


def table_view(tag: str, label: str) -> str:
    """XML of a table view."""
    return f'<view class="vtkMRMLTableViewNode" singletontag="{tag}">{view_label(label)}</view>'


def plot_view(tag: str, label: str) -> str:
    """XML of a plot view."""
    return f'<view class="vtkMRMLPlotViewNode" singletontag="{tag}">{view_label(label)}</view>'


def view_label(text: str) -> str:
    return f'<property name="viewlabel" action="default">{text}</property>'
