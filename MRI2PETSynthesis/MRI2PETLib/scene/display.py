"""How results are shown: colours, windows, overlays in the slice views. Needs ``slicer``, no Qt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import slicer
import slicer.util
import vtk

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.reports.colors import NORMDIFF_LIMIT, PET_IN_SLICER, SD_IN_SLICER, normdiff_colors

NORMDIFF_TABLE = "MRI2PET NormDiff"
# Of a signed map, outside of the brain: far below all of its values.
NO_VALUE = -1000.0

_LEGEND = "vtkMRMLColorLegendDisplayNode"

Layers = tuple[str | None, str | None, float]


def set_pet_window(
    scene: slicer.vtkMRMLScene, node_ids: Sequence[str | None], top: float, *, transparent_below: float
) -> None:
    """Show PETs alike, real and synthetic: colours from 0 to ``top``, nothing below ``transparent_below``
    (both in the unit of the PET). Nodes that were deleted meanwhile are left out.

    :raises InputError: if ``top`` is not above ``transparent_below``, or that is negative.
    """
    if not top > transparent_below >= 0:
        raise InputError(f"A window from {transparent_below:g} to {top:g} shows nothing.", "Swap the two.")
    nodes = [scene.GetNodeByID(node_id) for node_id in node_ids if node_id]
    nodes = [node for node in nodes if node is not None]
    highest = max([top, *(node.GetImageData().GetScalarRange()[1] for node in nodes)])
    for node in nodes:
        display = node.GetDisplayNode()
        display.SetAndObserveColorNodeID(PET_IN_SLICER)
        display.AutoWindowLevelOff()
        display.SetWindowLevelMinMax(0.0, top)
        display.AutoThresholdOff()
        display.SetThreshold(transparent_below, highest)
        display.ApplyThresholdOn()


def pet_window(node: Any) -> tuple[float, float]:
    """Upper end of the colours of a PET and the value below which it is transparent, in its unit."""
    display = node.GetDisplayNode()
    below = display.GetLowerThreshold() if display.GetApplyThreshold() else 0.0
    return display.GetWindowLevelMax(), below


def show_overlay(
    scene: slicer.vtkMRMLScene, background_id: str | None, foreground_id: str | None, opacity: float = 0.5
) -> None:
    """Show one volume over another in all slice views, linked."""
    set_views(scene, lambda _view, _now: (background_id, foreground_id, opacity))


def set_views(scene: slicer.vtkMRMLScene, layers_of_view: Callable[[str, Layers], Layers]) -> None:
    """Set the layers of all slice views, and link them.

    :param layers_of_view: of a view's layout name (``Red``, ...) and its layers the new layers.
    """
    for composite in composites(scene):
        composite.SetLinkedControl(False)  # else setting one would set all
        set_layers(composite, layers_of_view(composite.GetLayoutName(), layers_of(composite)))
    for composite in composites(scene):
        composite.SetLinkedControl(True)
    refresh_legends(scene)


def refresh_legends(scene: slicer.vtkMRMLScene) -> None:
    """Show colour legends where their images are: Slicer sees changes of layers by the mouse only."""
    for n in range(scene.GetNumberOfNodesByClass(_LEGEND)):
        scene.GetNthNodeByClass(n, _LEGEND).Modified()


class LegendWatch:
    """Lets colour legends follow their images, whatever changes the layers of a slice view, such as a file
    that is loaded. Keep it as long as the scene.
    """

    def __init__(self, scene: slicer.vtkMRMLScene) -> None:
        self._layers: dict[str, Layers] = {}

        def added(_scene: Any, _event: str, node: Any) -> None:
            self._watch(node)

        added.CallDataType = vtk.VTK_OBJECT  # type: ignore[attr-defined]
        self._observer = scene.AddObserver(scene.NodeAddedEvent, added)
        for composite in composites(scene):
            self._watch(composite)

    def _watch(self, node: Any) -> None:
        if node.IsA("vtkMRMLSliceCompositeNode"):
            node.AddObserver(vtk.vtkCommand.ModifiedEvent, self._on_composite)

    def _on_composite(self, composite: Any, _event: str) -> None:
        layers, scene = layers_of(composite), composite.GetScene()
        if scene is not None and layers != self._layers.get(composite.GetID()):
            self._layers[composite.GetID()] = layers
            refresh_legends(scene)


def normdiff_color_node(scene: slicer.vtkMRMLScene) -> Any:
    """The scene's NormDiff colours, made when missing: blue below 0, white at 0, red above, symmetric.

    Slicer's own diverging table is a file that not every installation has.
    """
    about = "NormDiff: blue where the synthetic PET is lower, red where it is higher."
    return symmetric_color_node(scene, NORMDIFF_TABLE, about, NORMDIFF_LIMIT)


def symmetric_color_node(scene: slicer.vtkMRMLScene, name: str, about: str, limit: float) -> Any:
    """The scene's colour table of this name, made when missing: blue at ``-limit`` to red at ``limit``."""
    node = scene.GetFirstNodeByName(name)
    if node is not None and node.IsA("vtkMRMLColorTableNode"):
        return node
    node = scene.AddNewNodeByClass("vtkMRMLColorTableNode", name)
    node.SetTypeToUser()
    node.SetAttribute("Category", "MRI2PET")
    node.SetDescription(about)
    colors = normdiff_colors()
    node.SetNumberOfColors(len(colors))
    for index, color in enumerate(colors.tolist()):
        value = limit * (2 * index / (len(colors) - 1) - 1)
        node.SetColor(index, f"{value:+.3f}", *color, 1.0)
    node.GetLookupTable().SetRange(-limit, limit)
    return node


def signed_voxels(values: np.ndarray, defined: np.ndarray) -> np.ndarray:
    """Voxels of a signed map for Slicer, float32: :data:`NO_VALUE` where the map says nothing.

    A slice view can hide values by a threshold only. With 0 outside of the brain it would also hide the zeros
    inside.
    """
    return np.where(defined, values, NO_VALUE).astype(np.float32)


def show_symmetric(volume: Any, colors: Any, limit: float) -> None:
    """Give a signed map such a table, and the window that belongs to it; :data:`NO_VALUE` is transparent."""
    display = volume.GetDisplayNode()
    display.SetAndObserveColorNodeID(colors.GetID())
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(-limit, limit)
    display.AutoThresholdOff()
    display.SetThreshold(NO_VALUE / 2, max(limit, volume.GetImageData().GetScalarRange()[1]))
    display.ApplyThresholdOn()
    display.InterpolateOff()  # between a value and NO_VALUE lies a value that nobody measured


def show_sd(node: Any) -> None:
    """Give a map of standard deviations its colours, from 0 to the 99.5th percentile of those above 0."""
    values = slicer.util.arrayFromVolume(node)
    values = values[values > 0]
    top = float(np.percentile(values, 99.5)) if values.size else 1.0
    display = node.GetDisplayNode()
    display.SetAndObserveColorNodeID(SD_IN_SLICER)
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(0.0, top)
    display.AutoThresholdOff()
    display.SetThreshold(0.01 * top, float(values.max(initial=top)))
    display.ApplyThresholdOn()


def show_normdiff(scene: slicer.vtkMRMLScene, node: Any) -> None:
    """Give a NormDiff volume its colours, symmetric around 0."""
    show_symmetric(node, normdiff_color_node(scene), NORMDIFF_LIMIT)


def composites(scene: slicer.vtkMRMLScene) -> list[Any]:
    """All slice views, as their composite nodes."""
    count = scene.GetNumberOfNodesByClass("vtkMRMLSliceCompositeNode")
    return [scene.GetNthNodeByClass(n, "vtkMRMLSliceCompositeNode") for n in range(count)]


def slice_node_id(name: str) -> str:
    """ID of the node of the slice view with this layout name."""
    return f"vtkMRMLSliceNode{name}"


def slice_node(scene: slicer.vtkMRMLScene, name: str) -> Any:
    """The node of the slice view with this layout name, ``None`` without it."""
    return scene.GetNodeByID(slice_node_id(name))


def layers_of(composite: Any) -> Layers:
    """IDs of background and foreground, and the opacity of the latter."""
    return (
        composite.GetBackgroundVolumeID(),
        composite.GetForegroundVolumeID(),
        composite.GetForegroundOpacity(),
    )


def set_layers(composite: Any, layers: Layers) -> None:
    """Show these layers in one slice view."""
    composite.SetBackgroundVolumeID(layers[0])
    composite.SetForegroundVolumeID(layers[1])
    composite.SetForegroundOpacity(layers[2])
