"""Slice views that show a brain as large as they can, not the whole image around it. No Qt."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import slicer
import slicer.util
import vtk

_MARGIN = 1.5  # the names and sides at the edges of a view lie beside the brain


def corners_ras(scene: slicer.vtkMRMLScene, mask_id: str | None) -> np.ndarray | None:
    """The eight corners (RAS mm) of the box, along the axes of its voxels, around what is not 0 in a mask.

    :return: ``None`` without a mask, or without a voxel in it.
    """
    node = scene.GetNodeByID(mask_id) if mask_id else None
    if node is None or node.GetImageData() is None:
        return None
    values = slicer.util.arrayFromVolume(node) != 0
    ends = []
    for axis in (2, 1, 0):  # i, j, k of [k, j, i]
        inside = np.flatnonzero(values.any(axis=tuple(a for a in range(3) if a != axis)))
        if not inside.size:
            return None
        ends.append((inside[0] - 0.5, inside[-1] + 0.5))
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    to_ras = slicer.util.arrayFromVTKMatrix(matrix)
    return np.array([(to_ras @ [*ijk, 1.0])[:3] for ijk in product(*ends)])


def fit_to_corners(view: Any, corners: np.ndarray) -> None:
    """Let a slice view show the middle of a box, and the whole box around it.

    :param view: a slice node that knows its size in pixels.
    :param corners: points (RAS mm), one a row.
    """
    width, height, _ = view.GetDimensions()
    if min(width, height) < 1:
        return
    to_ras = view.GetSliceToRAS()
    axes = slicer.util.arrayFromVTKMatrix(to_ras)[:3, :2]
    right, up = _MARGIN * np.ptp(corners @ axes, axis=0)
    mm_a_pixel = max(right / width, up / height)
    for row, value in enumerate((corners.min(axis=0) + corners.max(axis=0)) / 2):
        to_ras.SetElement(row, 3, float(value))
    view.SetFieldOfView(width * mm_a_pixel, height * mm_a_pixel, view.GetFieldOfView()[2])
    view.UpdateMatrices()
