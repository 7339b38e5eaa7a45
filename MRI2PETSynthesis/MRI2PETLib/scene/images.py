"""Volume nodes and segments as ``sitk.Image``, and back.

MRML's world is RAS, SimpleITK's is LPS, both in mm; arrays are [k, j, i]. Needs no Qt.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import SimpleITK as sitk
import slicer
import slicer.util
import vtk
import vtk.util.numpy_support

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.images.orientation import RAS_TO_LPS

# The cosine between two axes that counts as a right angle; float32 headers reach 1e-6.
_RIGHT_ANGLE = 1e-4


def image_of(node: slicer.vtkMRMLVolumeNode) -> sitk.Image:
    """A scalar volume as an image in world coordinates (LPS), voxel type kept. A linear transform that the
    node is under is applied to the geometry.

    :raises InputError: if the node is empty, has several components, or its axes are not at right angles.
    """
    if node.GetImageData() is None:
        raise InputError(f"{node.GetName()} has no voxels.", "Choose a loaded volume.")
    if node.GetImageData().GetNumberOfScalarComponents() != 1:
        raise InputError(f"{node.GetName()} has several values a voxel.", "Choose a scalar volume.")
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    ijk_to_world = _to_world(node) @ slicer.util.arrayFromVTKMatrix(matrix)
    return _image(slicer.util.arrayFromVolume(node), ijk_to_world, node.GetName())


def mask_of_segment(
    node: slicer.vtkMRMLSegmentationNode, segment_id: str, reference: sitk.Image
) -> sitk.Image:
    """A segment as a uint8 mask (0, 1) on the grid of ``reference``.

    :raises InputError: if there is no such segment, or it has no voxel on that grid.
    """
    segment = node.GetSegmentation().GetSegment(segment_id)
    labelmap = slicer.vtkOrientedImageData()
    if segment is None or not (
        node.CreateBinaryLabelmapRepresentation()
        and node.GetBinaryLabelmapRepresentation(segment_id, labelmap)
    ):
        raise InputError(f"{node.GetName()} has no segment {segment_id}.", "Choose a segment.")
    what = f"{segment.GetName()} ({node.GetName()})"
    extent = labelmap.GetExtent()
    if labelmap.GetPointData().GetScalars() is None or any(
        extent[2 * a] > extent[2 * a + 1] for a in range(3)
    ):
        raise InputError(f"{what} is empty.", "Draw the segment first.")
    matrix = vtk.vtkMatrix4x4()
    labelmap.GetImageToWorldMatrix(matrix)
    first = np.eye(4)
    first[:3, 3] = extent[::2]  # a segment's voxels begin at its extent, not at 0
    shape = labelmap.GetDimensions()[::-1]
    voxels = vtk.util.numpy_support.vtk_to_numpy(labelmap.GetPointData().GetScalars()).reshape(shape)
    ijk_to_world = _to_world(node) @ slicer.util.arrayFromVTKMatrix(matrix) @ first
    image = _image((voxels != 0).astype(np.uint8), ijk_to_world, what)
    mask = sitk.Resample(image, reference, sitk.Transform(), sitk.sitkNearestNeighbor, 0)
    if not sitk.GetArrayViewFromImage(mask).any():
        raise InputError(f"{what} has no voxel inside the T1.", "Check that both belong together.")
    return mask


def add_volume(scene: slicer.vtkMRMLScene, image: sitk.Image, name: str, *, labels: bool = False) -> Any:
    """A new scalar volume node, or label map node, with the voxels and geometry of ``image``.

    64-bit integers, which MRML does not hold, become int32.

    :raises InputError: for several values a voxel, or integers beyond int32.
    """
    if image.GetNumberOfComponentsPerPixel() != 1 or image.GetDimension() != 3:
        raise InputError(f"{name} is not a 3-D image with one value a voxel.")
    values = sitk.GetArrayViewFromImage(image)
    if values.dtype.kind in "iu" and values.dtype.itemsize == 8:
        if np.abs(values).max(initial=0) > np.iinfo(np.int32).max:
            raise InputError(f"{name} holds integers beyond 32 bits.")
        values = values.astype(np.int32)
    kind = "vtkMRMLLabelMapVolumeNode" if labels else "vtkMRMLScalarVolumeNode"
    node = scene.AddNewNodeByClass(kind, scene.GenerateUniqueName(name))
    ijk_to_lps = np.eye(4)
    ijk_to_lps[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    ijk_to_lps[:3, 3] = image.GetOrigin()
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(RAS_TO_LPS @ ijk_to_lps))
    slicer.util.updateVolumeFromArray(node, values)
    node.CreateDefaultDisplayNodes()
    if labels and node.GetDisplayNode():
        node.GetDisplayNode().SetAndObserveColorNodeID("vtkMRMLColorTableNodeLabels")
    return node


def _to_world(node: slicer.vtkMRMLTransformableNode) -> np.ndarray:
    """The 4 x 4 matrix (RAS mm) of the transforms a node is under."""
    matrix = vtk.vtkMatrix4x4()
    parent = node.GetParentTransformNode()
    if parent is not None:
        if not parent.IsTransformToWorldLinear():
            raise InputError(
                f"{node.GetName()} is under the non-linear transform {parent.GetName()}.", "Harden it first."
            )
        parent.GetMatrixTransformToWorld(matrix)
    return np.asarray(slicer.util.arrayFromVTKMatrix(matrix))


def _image(values: np.ndarray, ijk_to_ras: np.ndarray, name: str) -> sitk.Image:
    ijk_to_lps = RAS_TO_LPS @ ijk_to_ras
    spacing = np.linalg.norm(ijk_to_lps[:3, :3], axis=0)
    if not spacing.min() > 0:
        raise InputError(f"{name} has an axis without length.", "Check its transform.")
    direction = ijk_to_lps[:3, :3] / spacing
    if np.abs(direction.T @ direction - np.eye(3)).max() > _RIGHT_ANGLE:
        raise InputError(
            f"{name} is sheared: its axes are not at right angles.", "Harden its transform, or resample it."
        )
    image = sitk.GetImageFromArray(values)
    image.SetSpacing(spacing.tolist())
    image.SetDirection(direction.ravel().tolist())
    image.SetOrigin(ijk_to_lps[:3, 3].tolist())
    return image
