"""Swipe between the real and the synthetic PET: a volume that is the real PET on one side of a plane and the
synthetic on the other, updated only where the plane moved. Needs ``slicer``, no Qt.

Views that show right and left side by side (axial, coronal) are swiped from right to left, sagittal ones from
front to back: each has its line from top to bottom.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import slicer.util
import vtk

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.scene.display import composites, set_views, slice_node
from MRI2PETLib.scene.layout import COMPARED
from MRI2PETLib.scene.nodes import PREFIX, linked, own_ids
from MRI2PETLib.scene.view_marks import name_sides, view_sides

# The side where the real PET begins, the other side, and their axis in RAS.
_WAYS = (("R", "L", 0), ("A", "P", 1))
_LINE_COLOR = (1.0, 1.0, 0.0)


class Swipe:
    """The swipe of one result in the overlay's views. It is a view, not a result: it is not saved."""

    def __init__(self, scene: slicer.vtkMRMLScene, pet: Any) -> None:
        """
        :param pet: the synthetic PET's node; its real PET is on the same grid.
        :raises InputError: if there is no real PET beside it.
        """
        real_id = linked(pet, "real")
        if real_id is None:
            raise InputError("There is no real PET to swipe to.", "Compare with a real PET first.")
        self._scene = scene
        self._ways = [_Way(scene, pet, scene.GetNodeByID(real_id), *way) for way in _WAYS]

    @property
    def volumes(self) -> list[str]:
        """IDs of the volumes that are shown instead of the PET."""
        return [way.volume.GetID() for way in self._ways]

    def show(self) -> None:
        """Show in each of the overlay's views the swipe from its left to its right, with its line."""
        own: dict[str, str] = {}
        for name in (c.GetLayoutName() for c in composites(self._scene)):
            view = None if name in COMPARED else slice_node(self._scene, name)
            if view is not None:
                way = self._ways[1 if view_sides(view).left in _WAYS[1][:2] else 0]
                own[name] = way.volume.GetID()
                way.line.GetDisplayNode().AddViewNodeID(view.GetID())
        set_views(self._scene, lambda name, now: (now[0], own.get(name, now[1]), now[2]))

    def set_position(self, share: float) -> None:
        """Show the real PET in this share (0..1) of the volume, from the right or from the front of the
        person, and the synthetic PET in the rest.
        """
        for way in self._ways:
            way.set_position(share)

    def remove(self) -> None:
        """Take the volumes and lines out of the scene, those that are still there."""
        for node in (node for way in self._ways for node in (way.volume, way.line)):
            if self._scene.GetNodeByID(node.GetID()) is node:
                for node_id in (node.GetID(), *own_ids(node)):
                    self._scene.RemoveNode(self._scene.GetNodeByID(node_id))


class _Way:
    """One direction: a volume, and the plane that is seen as a line."""

    def __init__(self, scene: Any, pet: Any, real: Any, first: str, last: str, ras_axis: int) -> None:
        self._synthetic, self._real = (slicer.util.arrayFromVolume(n) for n in (pet, real))
        self._axis, self._increasing = _along(pet, ras_axis)
        self.volume = slicer.vtkSlicerVolumesLogic.CloneVolume(scene, pet, "swipe")
        self.volume.SetName("swipe")
        self.volume.SetSaveWithScene(False)
        self.volume.SetHideFromEditors(True)
        self.volume.SetAttribute(PREFIX + "Result", None)
        self.volume.SetDescription(f"{first}: real PET. {last}: synthetic PET. {pet.GetDescription()}")
        name_sides(self.volume, {first: "real PET", last: "synthetic PET"})
        display = self.volume.GetDisplayNode()  # its own; above the upper threshold it would be transparent
        display.SetThreshold(display.GetLowerThreshold(), float(max(self._synthetic.max(), self._real.max())))
        self._voxels = slicer.util.arrayFromVolume(self.volume)
        self._split = 0  # all synthetic, like its clone
        self.line = _line(scene, f"swipe line {first}-{last}")
        self._place_line(0)

    def set_position(self, share: float) -> None:
        count = self._voxels.shape[self._axis]
        split = round(min(1.0, max(0.0, share)) * count)
        low, high = sorted((self._split, split))
        if low == high:
            return
        source = self._real if split > self._split else self._synthetic
        where = slice(count - high, count - low) if self._increasing else slice(low, high)
        index = (slice(None),) * self._axis + (where,)
        self._voxels[index] = source[index]
        self._split = split
        slicer.util.arrayFromVolumeModified(self.volume)
        self._place_line(count - split if self._increasing else split)

    def _place_line(self, border: int) -> None:
        """The face between two slices of voxels: the one before the slice ``border``."""
        shape = self._voxels.shape
        corners = []
        for ends in ((0, 0), (1, 0), (0, 1)):  # origin and the ends of two edges of a rectangle
            faces = list(ends)
            faces.insert(self._axis, 0)
            kji = [end * size - 0.5 for end, size in zip(faces, shape)]
            kji[self._axis] = border - 0.5
            corners.append(kji[::-1])
        matrix = vtk.vtkMatrix4x4()
        self.volume.GetIJKToRASMatrix(matrix)
        source = vtk.vtkPlaneSource()
        for place, ijk in zip((source.SetOrigin, source.SetPoint1, source.SetPoint2), corners):
            place(*matrix.MultiplyPoint([*ijk, 1.0])[:3])
        source.Update()
        self.line.SetAndObservePolyData(source.GetOutput())
        self.line.SetAndObserveTransformNodeID(self.volume.GetTransformNodeID())


def _line(scene: Any, name: str) -> Any:
    """A model whose cut through a slice view is the line."""
    model = scene.AddNewNodeByClass("vtkMRMLModelNode", name)
    model.SetSaveWithScene(False)
    model.SetHideFromEditors(True)
    model.CreateDefaultDisplayNodes()
    display = model.GetDisplayNode()
    display.SetSaveWithScene(False)
    display.SetColor(*_LINE_COLOR)
    display.SetVisibility2D(True)
    display.SetVisibility3D(False)
    display.SetSliceIntersectionThickness(2)
    return model


def _along(node: Any, ras_axis: int) -> tuple[int, bool]:
    """Array axis ([k, j, i]) nearest to an axis of RAS, and whether that grows along it."""
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASDirectionMatrix(matrix)
    along = [matrix.GetElement(ras_axis, column) for column in (2, 1, 0)]
    axis = int(np.argmax(np.abs(along)))
    return axis, along[axis] > 0
