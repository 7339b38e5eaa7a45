"""Nodes of the scene as input files of a child process. Needs ``slicer``, no Qt.

Files are NRRD: the geometry is written in double precision, and nothing is compressed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.files import write_json
from MRI2PETLib.core.tables import write_table
from MRI2PETLib.images.io import write_image
from MRI2PETLib.preprocessing.pet_units import StatedUnit, parse_unit
from MRI2PETLib.preprocessing.tracers import tracer_of_file
from MRI2PETLib.scene.images import image_of, mask_of_segment
from MRI2PETLib.scene.nodes import PREFIX
from MRI2PETLib.scene.origin import (
    is_edited,
    is_map_node,
    is_simulated_node,
    is_synthetic_node,
    provenance_of,
    remember_values,
    sidecar_for,
    sidecar_of,
)
from MRI2PETLib.templates.icbm152 import load_template
from MRI2PETLib.templates.regions import Space

_USER_UNIT, _USER_VALUES = PREFIX + "ChosenUnit", "ValuesOfChosenUnit"
# What SUV extensions and ours state as coded units of a volume, and the names of our own library.
_UNITS = {"{SUVbw}g/ml": "SUV", "{SUVR}": "SUVR", "Bq/ml": "Bq/mL", "1": "normalised"}


def unit_of(node: Any) -> str | None:
    """The unit that a PET volume states: its coded units, our attribute, or the sidecar beside its file.
    ``None``: it states none, or what was made here was edited since.
    """
    if node.GetAttribute(PREFIX + "Unit") and is_edited(node):
        return None
    entry, quantity = node.GetVoxelValueUnits(), node.GetVoxelValueQuantity()
    unit = None if entry is None else _UNITS.get(entry.GetCodeValue())
    # UCUM's "1" says of any volume that it has no unit; that it is a PET scaled to 0..1 says our quantity.
    if unit and (unit != "normalised" or (quantity is not None and quantity.GetCodeValue() == unit)):
        return unit
    own = node.GetAttribute(PREFIX + "Unit") or str(sidecar_of(node).get("Units") or "")
    try:
        return own if own and parse_unit(own) != StatedUnit("unknown") else None
    except InputError:  # what reads the PET says why it cannot be used
        return own


def choose_unit(node: Any, unit: str | None) -> None:
    """Keep with a PET volume the unit that the user states for it.

    :param unit: ``unknown`` where the user says so; ``None``: as the volume states.
    """
    remember_values(node, _USER_VALUES)
    node.SetAttribute(_USER_UNIT, unit)


def chosen_unit(node: Any) -> str | None:
    """The unit that the user states for a PET volume; ``None`` for none, without a volume, and once the
    values were edited.
    """
    return None if node is None or is_edited(node, _USER_VALUES) else node.GetAttribute(_USER_UNIT)


def tracer_of_node(node: Any) -> str:
    """The tracer that the sidecar or the file's name of a PET volume states; empty for none."""
    storage = node.GetStorageNode()
    file = Path((storage and storage.GetFileName()) or "")
    return tracer_of_file(sidecar_of(node), file.name)


def write_t1(node: Any, path: Path) -> sitk.Image:
    """Write the T1 with a sidecar that says whether it was simulated.

    :return: the image that was written.
    :raises InputError: if it is itself a synthetic image, or not a volume that can be used.
    """
    _refuse_computed(node, "image", "T1")
    image = _write(image_of(node), path)
    write_json(path.with_suffix(".json"), {"Modality": "MR", "Simulated": is_simulated_node(node)})
    return image


def write_pet(node: Any, path: Path, unit: str | None) -> str | None:
    """Write a real PET with what its own sidecar says of it (tracer, times, corrections) and its unit.

    :param unit: of the user: overrides what the node states.
    :return: the setting ``pet_unit`` of what reads it: that knows both, and says where they differ.
    :raises InputError: if it is one of our synthetic images: that would compare the model with itself.
    """
    _refuse_computed(node, "PET", "PET")
    _write(image_of(node), path)
    unit_to_write = unit if unit == "unknown" else unit_of(node) or unit
    about = {key: value for key, value in sidecar_of(node).items() if key != "Units"}
    if tracer_of_node(node):
        about["TracerName"] = tracer_of_node(node)
    about |= {"Modality": "PET", "Simulated": is_simulated_node(node)}
    if unit_to_write:
        about["Units"] = unit_to_write
    write_json(path.with_suffix(".json"), about)
    return None if unit == "unknown" else unit


def write_volume(node: Any, path: Path) -> None:
    """Write a volume as it is."""
    _write(image_of(node), path)


def write_mask(node: Any, segment_id: str | None, t1: sitk.Image, path: Path) -> None:
    """Write a brain mask on the grid of the T1: a label map's labels together, or one segment.

    :param segment_id: default: the first segment.
    :raises InputError: if it is empty there.
    """
    if node.IsA("vtkMRMLSegmentationNode"):
        segment = segment_id or _first_segment(node)
        _write(mask_of_segment(node, segment, t1), path)
        return
    labels = sitk.Resample(image_of(node), t1, sitk.Transform(), sitk.sitkNearestNeighbor, 0)
    mask = sitk.Cast(labels != 0, sitk.sitkUInt8)
    if not sitk.GetArrayViewFromImage(mask).any():
        raise InputError(f"{node.GetName()} has no voxel inside the T1.", "Check that both belong together.")
    _write(mask, path)


def write_atlas(node: Any, space: Space, t1: sitk.Image, path: Path) -> Path:
    """Write an atlas as a label map, and its names beside it.

    A segmentation is drawn on the grid of the T1 (``native``) or of the MNI template (``mni``).

    :return: the table of names (CSV).
    :raises InputError: if there is no label.
    """
    if node.IsA("vtkMRMLSegmentationNode"):
        image, names = _merged(node, t1 if space == "native" else load_template().t1)
    else:
        image = sitk.Cast(image_of(node), sitk.sitkInt32)
        names = _color_names(node, np.unique(sitk.GetArrayViewFromImage(image)))
    if not names:
        raise InputError(f"{node.GetName()} has no label.", "Choose an atlas with regions.")
    _write(image, path)
    return write_table(path.with_suffix(".csv"), ("label", "name"), names.items())


def _refuse_computed(node: Any, what: str, role: str) -> None:
    is_synthetic = is_synthetic_node(node)
    if is_synthetic or is_map_node(node):
        kind = f"synthetic {what}" if is_synthetic else "map of results"
        raise InputError(f"{node.GetName()} is a {kind}.", f"Choose a measured {role}.")


def _write(image: sitk.Image, path: Path) -> sitk.Image:
    sitk.WriteImage(image, str(path), useCompression=False)
    return image


def _first_segment(node: Any) -> str:
    if node.GetSegmentation().GetNumberOfSegments() == 0:
        raise InputError(f"{node.GetName()} has no segment.", "Draw the segment first.")
    return str(node.GetSegmentation().GetNthSegmentID(0))


def _merged(node: Any, reference: sitk.Image) -> tuple[sitk.Image, dict[int, str]]:
    """All segments in one label map, later ones over earlier ones, and their names."""
    segmentation = node.GetSegmentation()
    labels = np.zeros(reference.GetSize()[::-1], dtype=np.int32)
    names = {}
    for n in range(segmentation.GetNumberOfSegments()):
        segment_id = segmentation.GetNthSegmentID(n)
        mask = mask_of_segment(node, segment_id, reference)
        labels[sitk.GetArrayViewFromImage(mask) != 0] = n + 1
        names[n + 1] = str(segmentation.GetSegment(segment_id).GetName())
    image = sitk.GetImageFromArray(labels)
    image.CopyInformation(reference)
    return image, names


def _color_names(node: Any, labels: np.ndarray) -> dict[int, str]:
    """Names of labels in the node's colour table; a label that it does not name is called by its number."""
    colors = node.GetDisplayNode().GetColorNode() if node.GetDisplayNode() is not None else None
    names = {}
    for label in (int(v) for v in labels if v != 0):
        has_name = colors is not None and label < colors.GetNumberOfColors() and colors.GetColorName(label)
        names[label] = str(has_name or f"label {label}")
    return names


def write_synthetic(node: Any, path: Path) -> None:
    """Write one of our synthetic PETs with the sidecar that the synthesis gave it.

    :param path: of a NIfTI file.
    :raises InputError: if the node is not one of ours.
    """
    provenance = provenance_of(node)
    if not is_synthetic_node(node) or not provenance:
        raise InputError(f"{node.GetName()} was not synthesised here.", "Choose a synthetic PET.")
    write_image(image_of(node), path, sidecar_for(node))
