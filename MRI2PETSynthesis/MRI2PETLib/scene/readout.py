"""What a result says about one place: a point, or regions that a person drew. Needs no Qt.

Points are RAS in mm, in world coordinates.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import SimpleITK as sitk
import slicer
import slicer.util
import vtk

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.evaluation.local import RoiReadout, roi_readout
from MRI2PETLib.evaluation.measure import Measure
from MRI2PETLib.evaluation.metrics import region_metrics
from MRI2PETLib.evaluation.region_table import region_heading
from MRI2PETLib.scene.comparison import LABELS, REAL_SOURCE
from MRI2PETLib.scene.display import NO_VALUE
from MRI2PETLib.scene.images import image_of, mask_of_segment
from MRI2PETLib.scene.nodes import PREFIX
from MRI2PETLib.scene.results import ResultNodes, result_nodes


def compared_title(scene: slicer.vtkMRMLScene, pet_id: str | None) -> str:
    """Which images the figures of a comparison are about; empty without a comparison."""
    nodes = result_nodes(scene, pet_id)
    real = scene.GetNodeByID(nodes.real) if nodes is not None and nodes.real else None
    if nodes is None or real is None:
        return ""
    name = real.GetAttribute(REAL_SOURCE) or real.GetName()
    return f"{scene.GetNodeByID(nodes.pet).GetName()}, against {name}"


def jump_to(scene: slicer.vtkMRMLScene, point_ras: Sequence[float]) -> None:
    """Show a point in all slice views, with the crosshair on it."""
    slicer.vtkMRMLSliceNode.JumpAllSlices(scene, *point_ras)
    crosshair = scene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    if crosshair is not None:
        crosshair.SetCrosshairRAS(list(point_ras))


def regions_at(scene: slicer.vtkMRMLScene, pet_id: str, point_ras: Sequence[float]) -> list[tuple[str, str]]:
    """Parcellation and region that hold a point, one a parcellation; empty outside of all regions."""
    pet = scene.GetNodeByID(pet_id)
    regions = []
    for n in range(pet.GetNumberOfNodeReferences(LABELS) if pet is not None else 0):
        labels = pet.GetNthNodeReference(LABELS, n)
        value = _voxel(labels, point_ras)
        if value:
            names = labels.GetDisplayNode().GetColorNode()
            regions.append((labels.GetAttribute(PREFIX + "Parcellation"), names.GetColorName(int(value))))
    return regions


def readout_at_point(scene: slicer.vtkMRMLScene, pet_id: str | None, point_ras: Sequence[float]) -> str:
    """Both PETs and NormDiff at a point, then the figures of the regions that hold it, a line each.

    Empty outside of the image, and when the result is no longer in the scene.
    """
    nodes = result_nodes(scene, pet_id)
    if nodes is None:
        return ""
    unit = scene.GetNodeByID(nodes.pet).GetAttribute(PREFIX + "Unit")
    values = {name: _value_at(scene, node_id, point_ras) for name, node_id in _volumes(nodes)}
    if values["synthetic"] is None:
        return ""
    parts = [
        f"{name} {value:.3g}" + ("" if name == "NormDiff" else f" {unit}")
        for name, value in values.items()
        if value is not None
    ]
    r, a, s = point_ras
    lines = [f"Point {r:.1f}, {a:.1f}, {s:.1f} mm: " + "; ".join(parts)]
    for parcellation, region in regions_at(scene, nodes.pet, point_ras):
        lines.append(f"{region} ({parcellation}): {_region_figures(scene, nodes, parcellation, region)}")
    return "\n".join(lines)


def missing_for_roi(nodes: ResultNodes | None, roi: Any) -> str:
    """Why no region can be measured, empty when one can."""
    if nodes is None or nodes.real is None:
        return "Compare with a real PET first."
    return "" if roi is not None else "Choose a markups ROI or a segmentation first."


def readout_of_roi(scene: slicer.vtkMRMLScene, pet_id: str | None, roi_id: str) -> str:
    """Both PETs in a markups ROI, or in every segment of a segmentation, a line each.

    :raises InputError: without a result or a real PET, or for a region without a voxel in the brain.
    """
    nodes = result_nodes(scene, pet_id)
    if nodes is None or nodes.real is None or nodes.mask is None:
        raise InputError("There is no real PET beside this synthetic one.", "Compare with a real PET first.")
    synthetic, real, brain = (image_of(scene.GetNodeByID(i)) for i in (nodes.pet, nodes.real, nodes.mask))
    unit = str(scene.GetNodeByID(nodes.pet).GetAttribute(PREFIX + "Unit"))
    return "\n".join(
        _line(name, roi_readout(synthetic, real, brain, mask, unit=unit))
        for name, mask in _masks(scene.GetNodeByID(roi_id), synthetic)
    )


def mask_of_roi(node: slicer.vtkMRMLMarkupsROINode, reference: sitk.Image) -> sitk.Image:
    """The voxels of ``reference`` whose centres lie in a box, turned ones included: uint8 (0, 1).

    :raises InputError: if the box has no volume or no voxel.
    """
    half = np.array(node.GetSize()) / 2  # in the box's own axes
    if not half.min() > 0:
        raise InputError(f"{node.GetName()} has no volume.", "Place the ROI first.")
    to_world = slicer.util.arrayFromVTKMatrix(node.GetObjectToWorldMatrix())
    ijk_to_ras = np.eye(4)
    ijk_to_ras[:3, :3] = np.reshape(reference.GetDirection(), (3, 3)) * reference.GetSpacing()
    ijk_to_ras[:3, 3] = reference.GetOrigin()
    ijk_to_ras[:2] *= -1
    to_box = np.linalg.inv(to_world) @ ijk_to_ras
    size = reference.GetSize()
    i, j, k = (np.arange(n) for n in size)
    inside = np.ones(size[::-1], bool)
    for axis in range(3):
        a, b, c, origin = to_box[axis]
        position = c * k[:, None, None] + b * j[:, None] + a * i + origin
        inside &= np.abs(position) <= half[axis]
    if not inside.any():
        raise InputError(f"{node.GetName()} has no voxel inside the PET.", "Move the ROI into the brain.")
    mask = sitk.GetImageFromArray(inside.astype(np.uint8))
    mask.CopyInformation(reference)
    return mask


def _masks(node: Any, reference: sitk.Image) -> Iterator[tuple[str, sitk.Image]]:
    if node is None:
        raise InputError("The region is no longer in the scene.", "Choose another one.")
    if not node.IsA("vtkMRMLSegmentationNode"):
        yield node.GetName(), mask_of_roi(node, reference)
        return
    segmentation = node.GetSegmentation()
    if segmentation.GetNumberOfSegments() == 0:
        raise InputError(f"{node.GetName()} has no segment.", "Draw a segment first.")
    for n in range(segmentation.GetNumberOfSegments()):
        segment_id = segmentation.GetNthSegmentID(n)
        name = segmentation.GetSegment(segment_id).GetName()
        yield name, mask_of_segment(node, segment_id, reference)


def _line(name: str, roi: RoiReadout) -> str:
    unit = roi.unit
    parts = [
        f"{roi.volume_ml:.3g} mL",
        f"synthetic {roi.mean_synthetic:.3g} {unit}, real {roi.mean_real:.3g} {unit}",
        *(f"{m.heading} {_number(roi.metrics[name])}" for name, m in region_metrics(in_reports=True).items()),
        f"contrast to the rest of the brain {_number(roi.cnr_synthetic)}, real {_number(roi.cnr_real)}",
    ]
    if roi.outside_ml > 0:
        parts.append(f"{roi.outside_ml:.3g} mL outside the brain left out")
    return f"{name}: " + "; ".join(parts)


def _number(measure: Measure) -> str:
    return f"- ({measure.reason})" if measure.value is None else f"{measure.value:+.3f}"


def _volumes(nodes: ResultNodes) -> list[tuple[str, str | None]]:
    return [("synthetic", nodes.pet), ("real", nodes.real), ("NormDiff", nodes.normdiff)]


def _value_at(scene: Any, node_id: str | None, point_ras: Sequence[float]) -> float | None:
    node = scene.GetNodeByID(node_id) if node_id else None
    value = None if node is None else _voxel(node, point_ras)
    return None if value == NO_VALUE else value


def _voxel(node: Any, point_ras: Sequence[float]) -> float | None:
    """The value of the voxel that holds a point; ``None`` outside of the image."""
    if node.GetImageData() is None:
        return None
    local = [0.0, 0.0, 0.0]
    node.TransformPointFromWorld(list(point_ras), local)
    ras_to_ijk = vtk.vtkMatrix4x4()
    node.GetRASToIJKMatrix(ras_to_ijk)
    index = np.floor(np.array(ras_to_ijk.MultiplyPoint([*local, 1.0])[:3]) + 0.5).astype(int)
    if not all(0 <= n < size for n, size in zip(index, node.GetImageData().GetDimensions())):
        return None
    return float(node.GetImageData().GetScalarComponentAsDouble(*index.tolist(), 0))


def _region_figures(scene: Any, nodes: ResultNodes, parcellation: str, region: str) -> str:
    table = scene.GetNodeByID(nodes.regions).GetTable() if nodes.regions else None
    if table is None:
        return "-"
    columns = {table.GetColumn(n).GetName(): table.GetColumn(n) for n in range(table.GetNumberOfColumns())}
    for row in range(table.GetNumberOfRows()):
        if (columns["parcellation"].GetValue(row), columns["region"].GetValue(row)) == (parcellation, region):
            break
    else:
        return "-"
    cells = {title: _cell(column.GetValue(row)) for title, column in columns.items()}
    unit = scene.GetNodeByID(nodes.pet).GetAttribute(PREFIX + "Unit")
    parts = [f"synthetic {cells[f'synthetic ({unit})']} {unit}, real {cells[f'real ({unit})']} {unit}"]
    for metric in region_metrics(in_reports=True).values():
        own, start = region_heading(metric), region_heading(metric, "")
        others = [
            f"{title.removeprefix(start)} {cell}"
            for title, cell in cells.items()
            if title.startswith(start) and title != own and cell != "-"
        ]
        parts.append(f"{metric.heading} {cells[own]}" + (f" ({', '.join(others)})" if others else ""))
    return "; ".join(parts)


def _cell(value: Any) -> str:
    try:
        return f"{float(value):.3g}"
    except ValueError:  # an empty cell
        return "-"
