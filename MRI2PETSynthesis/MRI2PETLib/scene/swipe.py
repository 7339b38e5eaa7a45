"""Swipe between the real and the synthetic PET: one volume, the real PET on one side of a plane and the
synthetic on the other, updated only where the plane moved. Needs ``slicer``, no Qt.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import slicer.util
import vtk

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.scene.nodes import PREFIX, linked


class Swipe:
    """The swipe volume of one result. It is a view, not a result: it is not saved with the scene."""

    def __init__(self, scene: slicer.vtkMRMLScene, pet: Any) -> None:
        """
        :param pet: the synthetic PET's node; its real PET is on the same grid.
        :raises InputError: if there is no real PET beside it.
        """
        real_id = linked(pet, "real")
        if real_id is None:
            raise InputError("There is no real PET to swipe to.", "Compare with a real PET first.")
        real = scene.GetNodeByID(real_id)
        self._synthetic, self._real = (slicer.util.arrayFromVolume(n) for n in (pet, real))
        self._axis, self._increasing = _left_to_right(pet)
        logic = slicer.vtkSlicerVolumesLogic
        self.node = logic.CloneVolume(scene, pet, "swipe")
        self.node.SetName("left real PET, right synthetic PET")
        self.node.SetSaveWithScene(False)
        self.node.SetHideFromEditors(True)
        self.node.SetAttribute(PREFIX + "Result", None)
        self.node.SetDescription(f"Left: real PET. Right: synthetic PET. {pet.GetDescription()}")
        display = self.node.GetDisplayNode()  # its own; above the upper threshold it would be transparent
        display.SetThreshold(display.GetLowerThreshold(), float(max(self._synthetic.max(), self._real.max())))
        self._voxels = slicer.util.arrayFromVolume(self.node)
        self._split = 0  # all synthetic, like its clone

    def set_position(self, share: float) -> None:
        """Show the real PET in this share (0..1) of the volume, from the side of the screen where an axial
        view shows the person's right, and the synthetic PET in the rest.
        """
        count = self._voxels.shape[self._axis]
        split = round(min(1.0, max(0.0, share)) * count)
        low, high = sorted((self._split, split))
        if low == high:
            return
        source = self._real if split > self._split else self._synthetic
        # The left of an axial view is the person's right, where R is largest.
        where = slice(count - high, count - low) if self._increasing else slice(low, high)
        index = (slice(None),) * self._axis + (where,)
        self._voxels[index] = source[index]
        self._split = split
        slicer.util.arrayFromVolumeModified(self.node)

    def remove(self, scene: slicer.vtkMRMLScene) -> None:
        """Take the volume out of the scene, if it is still there."""
        if scene.GetNodeByID(self.node.GetID()) is self.node:
            scene.RemoveNode(self.node)


def _left_to_right(node: Any) -> tuple[int, bool]:
    """Array axis ([k, j, i]) nearest to the person's left-right, and whether R increases along it."""
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASDirectionMatrix(matrix)
    to_right = [matrix.GetElement(0, column) for column in (2, 1, 0)]
    axis = int(np.argmax(np.abs(to_right)))
    return axis, to_right[axis] > 0
