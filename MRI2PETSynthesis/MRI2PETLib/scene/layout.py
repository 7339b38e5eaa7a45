"""What is seen where: overlay, side by side, with tables and plots. Layouts are MRML, so no Qt is needed.

In the layouts *side by side* and *readouts* slice views of one view group show T1, real PET, synthetic PET
and NormDiff of the same plane, or of all three planes, a row each; they are panned, zoomed and scrolled
together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
import slicer
import slicer.util

from MRI2PETLib.scene.display import composites, set_views, slice_node_id
from MRI2PETLib.scene.nodes import PREFIX
from MRI2PETLib.scene.results import ResultNodes

LayoutName = Literal["overlay", "side by side", "readouts", "suvr"]
VIEW_GROUP = 7  # of the compared views; Slicer's own are in group 0
# Orientation and the one of Slicer's own views that has it.
SLICE_PLANES = {
    "axial": ("Axial", "Red"),
    "coronal": ("Coronal", "Green"),
    "sagittal": ("Sagittal", "Yellow"),
}
ALL_PLANES = "all three"
_OWN_VIEWS = {view for _, view in SLICE_PLANES.values()}
# Label, which has to fit a narrow view (the whole name is written into the view), and colour of the bar, on
# which Slicer writes in black.
_IMAGES = {
    "T1": ("T1", "#A0A0A0"),
    "Real": ("Real", "#6DB37A"),
    "Synthetic": ("Syn", "#E08A4F"),
    "NormDiff": ("Diff", "#A98FD0"),
}
# Image and plane of each compared view, by its tag.
COMPARED = {
    f"MRI2PET{image}{orientation}": (image, plane)
    for plane, (orientation, _) in SLICE_PLANES.items()
    for image in _IMAGES
}
# What may lie over the T1 in the layout *overlay*, by its role in a result.
OVERLAYS = {
    "pet": "synthetic PET",
    "real": "real PET",
    "normdiff": "NormDiff",
    "sd": "SD of the synthetic PET",
    "error_sd": "SD of the model's error",
}
# Width and height as shares of the view; the text grows with them.
_LEGEND_SIZE = (0.1, 0.3)
TABLE_VIEW, PLOT_VIEW = "MRI2PETTable", "MRI2PETPlot"
# Of all layouts of both modules: Slicer keeps numbers below 100 for itself. Planes are counted on.
NUMBERS: dict[str, int] = {
    "suvr": 26203,
    "overlay": 26204,
    "side by side": 26210,
    "readouts": 26220,
    "training tables": 26230,
    "training": 26231,
}
_WITHOUT_PLOT = 5  # is added to the number of the same layout with a plot
_PLANES = (*SLICE_PLANES, ALL_PLANES)


def planes_of(plane: str) -> tuple[str, ...]:
    """The planes that a choice of the user means."""
    return tuple(SLICE_PLANES) if plane == ALL_PLANES else (plane,)


def set_layout(
    scene: slicer.vtkMRMLScene, name: LayoutName, plane: str = "axial", *, plot: bool = True
) -> None:
    """Arrange the views. Without an application (no layout node in the scene) nothing happens.

    :param plane: of the compared views, one of :data:`SLICE_PLANES` or :data:`ALL_PLANES`.
    :param plot: whether there is a plot to show; an empty view of one is black.
    """
    arrange(scene, _number(name, plane, plot), layout_description(name, plane, plot=plot))


def leave_results(scene: slicer.vtkMRMLScene) -> None:
    """The views of the overlay instead of those that are called after images of a result, tables and plots:
    what there is to show is no result.
    """
    if shown_layout(scene) not in (None, "overlay"):
        set_layout(scene, "overlay")


def shown_layout(scene: slicer.vtkMRMLScene) -> LayoutName | None:
    """Which of our layouts is seen now; ``None`` for any other one, and without an application."""
    layout = scene.GetFirstNodeByClass("vtkMRMLLayoutNode")
    return None if layout is None else _NAMES.get(layout.GetViewArrangement())


def _number(name: LayoutName, plane: str, plot: bool) -> int:
    number = NUMBERS[name] + (_WITHOUT_PLOT if name in ("readouts", "suvr") and not plot else 0)
    return number + _PLANES.index(plane) if name in ("side by side", "readouts") else number


_NAMES: dict[int, LayoutName] = {
    _number(name, plane, plot): name
    for name in get_args(LayoutName)
    for plane in _PLANES
    for plot in (True, False)
}


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


def layout_description(name: LayoutName, plane: str = "axial", *, plot: bool = True) -> str:
    """XML of a layout, as Slicer reads it; parameters as of :func:`set_layout`."""
    figures = table_view(TABLE_VIEW, "Table")
    if plot:
        figures = split("vertical", plot_view(PLOT_VIEW, "Plot"), figures)
    axial, coronal, sagittal = (_own_view(plane) for plane in SLICE_PLANES)
    if name == "overlay":
        return split("horizontal", axial, split("vertical", coronal, sagittal), sizes=(600, 400))
    if name == "suvr":
        planes = split("vertical", axial, coronal, sagittal)
        return split("horizontal", planes, figures, sizes=(500, 500))
    views = _compared_views(plane)
    if name == "side by side":
        return views
    return split("horizontal", views, figures, sizes=(600, 400))


def show_result(
    scene: slicer.vtkMRMLScene,
    nodes: ResultNodes,
    opacity: float = 0.5,
    *,
    plane: str = "axial",
    overlay: str = "pet",
) -> None:
    """Show a result in all slice views there are: the PET over the T1, and in the compared views each image
    in its own, over the T1. Colour legends say the unit.

    :param plane: that is compared: the first of several has the legends.
    :param overlay: what lies over the T1 in the overlay's views, one of :data:`OVERLAYS`.
    """
    # A missing image stays a T1: an empty view would look like a failure.
    foregrounds = {
        "T1": (None, 1.0),
        "Real": (nodes.real, 1.0),
        "Synthetic": (nodes.pet, 1.0),
        "NormDiff": (nodes.normdiff, 0.75),
    }
    compared = {tag: (nodes.t1, *foregrounds[image]) for tag, (image, _) in COMPARED.items()}
    others = (nodes.t1, getattr(nodes, overlay), opacity)
    set_views(scene, lambda view, _: compared.get(view, others))
    for composite in composites(scene):  # an image that is loaded is none of those that they are called after
        composite.SetDoPropagateVolumeSelection(composite.GetLayoutName() not in COMPARED)
    _show_legends(scene, nodes, planes_of(plane)[0])


def set_opacity(scene: slicer.vtkMRMLScene, opacity: float) -> None:
    """Opacity (0..1) of the PET over the T1 in the overlay's views; the compared views keep theirs."""
    set_views(scene, lambda view, now: now if view in COMPARED else (*now[:2], opacity))


def show_over_t1(scene: slicer.vtkMRMLScene, nodes: ResultNodes, overlay: str) -> None:
    """Show one of :data:`OVERLAYS` over the T1 of a result in the overlay's views."""
    volume = getattr(nodes, overlay)
    set_views(scene, lambda view, now: now if view in COMPARED else (nodes.t1, volume, now[2]))


def overlay_of(scene: slicer.vtkMRMLScene, nodes: ResultNodes | None) -> str | None:
    """Which of :data:`OVERLAYS` lies over the T1 in the overlay's views; ``None`` for anything else."""
    uppermost = {c.GetForegroundVolumeID() for c in composites(scene) if c.GetLayoutName() == "Red"} - {None}
    return next((role for role in OVERLAYS if nodes is not None and getattr(nodes, role) in uppermost), None)


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


def straighten(view: Any) -> None:
    """Turn a slice node into the plane of its view: Slicer turns it into an oblique image that is loaded."""
    name = view.GetLayoutName()
    planes = {own: orientation for orientation, own in SLICE_PLANES.values()}
    orientation = SLICE_PLANES[COMPARED[name][1]][0] if name in COMPARED else planes.get(name)
    if orientation is not None:
        view.SetOrientation(orientation)


def crosshair_to_slices(scene: slicer.vtkMRMLScene) -> None:
    """Put the crosshair where the slices that are seen cross; hidden views count for the other planes.

    Nothing without a slice of each of three planes, or without an application.
    """
    crosshair = scene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    count = scene.GetNumberOfNodesByClass("vtkMRMLSliceNode")
    views = [scene.GetNthNodeByClass(n, "vtkMRMLSliceNode") for n in range(count)]
    slices = {}
    for view in sorted(views, key=lambda view: bool(view.IsMappedInLayout())):
        if view.GetName() in _OWN_VIEWS or view.IsMappedInLayout():
            to_ras = slicer.util.arrayFromVTKMatrix(view.GetSliceToRAS())
            normal, origin = to_ras[:3, 2], to_ras[:3, 3]
            slices[int(np.argmax(np.abs(normal)))] = (normal, normal @ origin)
    if crosshair is not None and len(slices) == 3:
        normals, distances = zip(*slices.values())
        crosshair.SetCrosshairRAS(np.linalg.solve(normals, distances).tolist())


def _show_legends(scene: slicer.vtkMRMLScene, nodes: ResultNodes, plane: str) -> None:
    """Colour legends with their unit: in the overlay's axial view, and in each compared view of a plane."""
    unit = scene.GetNodeByID(nodes.pet).GetAttribute(PREFIX + "Unit") or ""
    tags = {image: tag for tag, (image, own_plane) in COMPARED.items() if own_plane == plane}
    places = {
        nodes.pet: (unit, ("Red", tags["Synthetic"])),
        nodes.real: (unit, ("Red", tags["Real"])),
        nodes.normdiff: ("NormDiff", ("Red", tags["NormDiff"])),
        nodes.sd: (f"SD ({unit})", ("Red",)),
        nodes.error_sd: (f"SD ({unit})", ("Red",)),
    }
    for node_id, (title, views) in places.items():
        node = scene.GetNodeByID(node_id) if node_id else None
        if node is not None:
            show_legend(node, title, views)


def show_legend(node: Any, title: str, views: Sequence[str]) -> None:
    """A colour legend of a volume, in the slice views with these layout names."""
    logic = slicer.vtkSlicerColorLogic
    before = logic.GetColorLegendDisplayNode(node)
    if before is not None:  # a view that was made after it does not know it
        node.GetScene().RemoveNode(before)
    legend = logic.AddDefaultColorLegendDisplayNode(node)
    if legend is not None:
        legend.SetTitleText(title)
        legend.SetSize(*_LEGEND_SIZE)
        legend.SetLabelFormat("%.2f")
        legend.RemoveAllViewNodeIDs()
        for view in views:
            legend.AddViewNodeID(slice_node_id(view))
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


def _compared_views(plane: str) -> str:
    """Two rows of a plane, or a row of each plane."""
    rows = [[_compared_view(t) for t, (_, own) in COMPARED.items() if own == p] for p in planes_of(plane)]
    if len(rows) == 1:
        rows = [rows[0][:2], rows[0][2:]]
    return split("vertical", *(split("horizontal", *row) for row in rows))


def _compared_view(tag: str) -> str:
    image, plane = COMPARED[tag]
    (label, color), orientation = _IMAGES[image], SLICE_PLANES[plane][0]
    return (
        f'<view class="vtkMRMLSliceNode" singletontag="{tag}">'
        f'<property name="orientation" action="default">{orientation}</property>{view_label(label)}'
        f'<property name="viewcolor" action="default">{color}</property>'
        f'<property name="viewgroup" action="default">{VIEW_GROUP}</property></view>'
    )


def _own_view(plane: str) -> str:
    """The one of Slicer's own slice views that shows this plane."""
    orientation, tag = SLICE_PLANES[plane]
    return (
        f'<view class="vtkMRMLSliceNode" singletontag="{tag}">'
        f'<property name="orientation" action="default">{orientation}</property>{view_label(tag[0])}</view>'
    )


def table_view(tag: str, label: str) -> str:
    """XML of a table view."""
    return f'<view class="vtkMRMLTableViewNode" singletontag="{tag}">{view_label(label)}</view>'


def plot_view(tag: str, label: str) -> str:
    """XML of a plot view."""
    return f'<view class="vtkMRMLPlotViewNode" singletontag="{tag}">{view_label(label)}</view>'


def view_label(text: str) -> str:
    return f'<property name="viewlabel" action="default">{text}</property>'
