"""Results as nodes of a MRML scene, and how they are shown: overlays, colours, windows.

The scene is always passed. Needs ``slicer``, no Qt, no application: it runs on the ``slicer-core`` wheel too.
Images: :mod:`MRI2PETLib.scene_images`; tables and plots: :mod:`MRI2PETLib.scene_tables`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import slicer

from MRI2PETLib.bundle import Bundle
from MRI2PETLib.errors import InputError
from MRI2PETLib.evaluation.normdiff import normdiff_map
from MRI2PETLib.images import read_image, same_grid, sidecar_path
from MRI2PETLib.results import CaseFiles, synthetic_note
from MRI2PETLib.scene_images import add_volume
from MRI2PETLib.synthesis import SynthesisResult

PREFIX = "MRI2PET."
# PET-Heat is yellow to white above a third of its range: where a brain is, it shows no pattern.
PET_COLORS = "vtkMRMLPETProceduralColorNodePET-HotMetalBlue"
NORMDIFF_COLORS = "MRI2PET NormDiff"
# (s - r) / (s + r) of this size means that one PET is twice the other: there the colours end.
NORMDIFF_LIMIT = 1 / 3
# Below it both PETs count as equal and the T1 is seen. Slice views know no partial opacity of a colour.
NORMDIFF_EQUAL = 0.02
# code, scheme, meaning; UCUM allows any text in braces for a ratio. The SUV's quantity is that of DICOM.
_QUANTITY = {
    "SUV": ("126400", "DCM", "Standardized Uptake Value"),
    "SUVR": ("SUVR", "99MRI2PET", "Standardized uptake value ratio, to the mean in the brain mask"),
    "normalised": ("normalised", "99MRI2PET", "PET scaled to 0..1, without a unit"),
}
_UNITS = {
    "SUV": ("{SUVbw}g/ml", "UCUM", "Standardized Uptake Value body weight"),
    "SUVR": ("{SUVR}", "UCUM", "ratio"),
    "normalised": ("1", "UCUM", "no units"),
    "Bq/mL": ("Bq/ml", "UCUM", "Becquerels/milliliter"),
}


@dataclass(frozen=True)
class Synthetic:
    """What a synthesis gave, all images on one grid (that of the T1).

    ``real`` is the real PET in the same ``unit``; ``note`` the sentence that says synthetic; ``provenance``
    as in the sidecar.
    """

    pet: sitk.Image
    mask: sitk.Image
    unit: str
    note: str
    tracer: str = ""
    sd: sitk.Image | None = None
    unpredicted: sitk.Image | None = None
    real: sitk.Image | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, result: SynthesisResult, bundle: Bundle, real: sitk.Image | None = None) -> Synthetic:
        """The result of :func:`MRI2PETLib.synthesis.synthesize` with this model."""
        return cls(
            pet=result.pet,
            mask=result.mask,
            unit=result.unit,
            note=synthetic_note(bundle),
            tracer=bundle.tracer,
            sd=result.sd,
            unpredicted=result.unpredicted,
            real=real,
            provenance=result.provenance,
        )


@dataclass(frozen=True)
class ResultNodes:
    """IDs of the nodes of one result; ``None`` where there is nothing. IDs, because nodes may be deleted."""

    pet: str
    mask: str
    sd: str | None = None
    unpredicted: str | None = None
    real: str | None = None
    normdiff: str | None = None


def read_synthetic(pet: Path | str) -> Synthetic:
    """Read back what ``mri2pet synthesize`` wrote, by the path of the synthetic PET.

    :raises InputError: if files are missing, unreadable, or not those of a synthesis.
    """
    pet = Path(pet)
    traced = re.sub(r"_desc-synthetic_pet\.nii\.gz$", "", pet.name)
    files = CaseFiles(pet.parent, re.sub(r"_trc-[^_]+(?=_space-)", "", traced), traced)
    try:
        about = json.loads(sidecar_path(pet).read_text(encoding="utf-8"))
        unit, note, provenance = about["Units"], about["Description"], about["Provenance"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{pet} is not the result of a synthesis.", "Choose *_desc-synthetic_pet.nii.gz."
        ) from error

    def optional(path: Path, kind: Any) -> sitk.Image | None:
        return read_image(path, kind=kind).image if path.is_file() else None

    return Synthetic(
        pet=read_image(pet, kind="pet").image,
        mask=read_image(files.mask, kind="mask").image,
        unit=str(unit),
        note=str(note),
        tracer=str(about.get("TracerName") or ""),
        sd=optional(files.sd, "pet"),
        unpredicted=optional(files.unpredicted, "mask"),
        real=optional(files.real, "pet"),
        provenance=provenance,
    )


# -- results in the scene ----------------------------------------------------------------------------------


@contextmanager
def all_or_nothing(scene: slicer.vtkMRMLScene) -> Iterator[None]:
    """Add nodes as one step; on any exception those are removed and the slice views show what they showed."""
    known = {scene.GetNthNode(n).GetID() for n in range(scene.GetNumberOfNodes())}
    views = {node.GetID(): _layers(node) for node in _composites(scene)}
    scene.StartState(slicer.vtkMRMLScene.BatchProcessState)
    try:
        yield
    except BaseException:
        for composite in _composites(scene):
            if composite.GetID() in views:
                _set_layers(composite, views[composite.GetID()])
        added = [scene.GetNthNode(n) for n in range(scene.GetNumberOfNodes())]
        for node in reversed([n for n in added if n.GetID() not in known]):
            scene.RemoveNode(node)
        raise
    finally:
        scene.EndState(slicer.vtkMRMLScene.BatchProcessState)


def add_result(scene: slicer.vtkMRMLScene, result: Synthetic, t1: Any = None) -> ResultNodes:
    """Put a result into the scene: all of its nodes or none.

    Real and synthetic PET get the same colours and one window; NormDiff, where there is a real PET, its
    own colours. Every node says in its description and attributes what it is.

    :param t1: the T1's node: names begin with its name, and nodes join its study in subject hierarchy.
    :raises InputError: if the images are not on one grid.
    """
    for image in (result.mask, result.sd, result.unpredicted, result.real):
        if image is not None and not same_grid(image, result.pet):
            raise InputError("The images of this result are not on one grid.", "Run the synthesis again.")
    person = f"{t1.GetName()} " if t1 is not None else ""
    title = f"{person}synthetic {result.tracer} PET".replace("  ", " ")
    ids: dict[str, str] = {}
    with all_or_nothing(scene):

        def put(key: str, image: sitk.Image | None, name: str, note: str, *, labels: bool = False) -> None:
            if image is not None:
                node = add_volume(scene, image, name, labels=labels)
                node.SetDescription(note)
                ids[key] = node.GetID()
                _join_study(scene, node, t1)

        unit = result.unit
        put("pet", result.pet, f"{title} ({unit})", result.note)
        put("sd", result.sd, f"{title} SD ({unit})", f"Voxelwise SD. {result.note}")
        put("mask", result.mask, f"{person}brain mask", "Brain mask of the synthesis.", labels=True)
        missing = "Brain outside the model's field of view: not predicted."
        put("unpredicted", result.unpredicted, f"{person}not predicted", missing, labels=True)
        put("real", result.real, f"{person}real {result.tracer} PET ({unit})".replace("  ", " "), "Real PET.")
        if result.real is not None:
            note = f"(synthetic - real) / (synthetic + real), no unit. {result.note}"
            put("normdiff", _normdiff(result.pet, result.real, result.mask), f"{person}NormDiff", note)
        for key in ("pet", "sd", "real"):
            if key in ids:
                _set_unit(scene.GetNodeByID(ids[key]), unit)
        for key in ("pet", "sd", "normdiff"):
            if key in ids:
                _set_provenance(scene.GetNodeByID(ids[key]), result)
        nodes = ResultNodes(**ids)
        _set_pet_display(scene, nodes, result)
    return nodes


def _normdiff(pet: sitk.Image, real: sitk.Image, mask: sitk.Image) -> sitk.Image:
    arrays = [sitk.GetArrayViewFromImage(image) for image in (pet, real, mask)]
    image = sitk.GetImageFromArray(normdiff_map(*arrays)[0])
    image.CopyInformation(pet)
    return image


def _coded(code: tuple[str, str, str]) -> Any:
    entry = slicer.vtkCodedEntry()
    entry.SetValueSchemeMeaning(*code)
    return entry


def _set_unit(node: Any, unit: str) -> None:
    if unit in _QUANTITY:
        node.SetVoxelValueQuantity(_coded(_QUANTITY[unit]))
    if unit in _UNITS:
        node.SetVoxelValueUnits(_coded(_UNITS[unit]))


def _set_provenance(node: Any, result: Synthetic) -> None:
    found = result.provenance
    model = found.get("model") or {}
    short = {
        "Synthetic": "true",
        "Unit": result.unit,
        "ModelId": model.get("id"),
        "ModelVersion": model.get("version"),
        "ModelSha256": model.get("sha256"),
        "ModelIntendedUse": model.get("intended_use"),
        "Version": found.get("version"),
        "Device": found.get("device"),
        "Seconds": (found.get("seconds") or {}).get("total"),
        "Provenance": json.dumps(found, ensure_ascii=False),
    }
    for name, value in short.items():
        if value is not None:
            node.SetAttribute(PREFIX + name, str(value))


def _join_study(scene: slicer.vtkMRMLScene, node: Any, t1: Any) -> None:
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    item = hierarchy.GetItemByDataNode(t1) if hierarchy is not None and t1 is not None else 0
    if item:
        own = hierarchy.GetItemByDataNode(node)
        parent = hierarchy.GetItemParent(item)
        if own:
            hierarchy.SetItemParent(own, parent)
        else:
            hierarchy.CreateItem(parent, node)


# -- display -----------------------------------------------------------------------------------------------


def set_pet_window(
    scene: slicer.vtkMRMLScene, nodes: ResultNodes, top: float, *, transparent_below: float
) -> None:
    """Show real and synthetic PET alike: colours from 0 to ``top``, nothing below ``transparent_below`` (both
    in the unit of the PET). Nodes that were deleted meanwhile are left out.

    :raises InputError: if ``top`` is not above ``transparent_below``, or that is negative.
    """
    if not top > transparent_below >= 0:
        raise InputError(f"A window from {transparent_below:g} to {top:g} shows nothing.", "Swap the two.")
    for node_id in (nodes.pet, nodes.real):
        node = scene.GetNodeByID(node_id) if node_id else None
        if node is None:
            continue
        display = node.GetDisplayNode()
        display.SetAndObserveColorNodeID(PET_COLORS)
        display.AutoWindowLevelOff()
        display.SetWindowLevelMinMax(0.0, top)
        display.AutoThresholdOff()
        display.SetThreshold(transparent_below, max(top, node.GetImageData().GetScalarRange()[1]))
        display.ApplyThresholdOn()


def show_overlay(
    scene: slicer.vtkMRMLScene,
    background_id: str | None,
    foreground_id: str | None,
    opacity: float = 0.5,
    *,
    views: Sequence[str] | None = None,
) -> None:
    """Show one volume over another in the slice views, linked.

    :param views: layout names (``Red``, ...) of the views to change, all by default.
    """
    for composite in _composites(scene):
        if views is None or composite.GetLayoutName() in views:
            composite.SetLinkedControl(False)  # else setting one would set all
            _set_layers(composite, (background_id, foreground_id, opacity))
    for composite in _composites(scene):
        composite.SetLinkedControl(True)


def normdiff_color_node(scene: slicer.vtkMRMLScene) -> Any:
    """The scene's NormDiff colours, made when missing: blue below 0, red above, symmetric.

    The middle is transparent, so that where both PETs agree the T1 is seen. Slicer's own diverging table is a
    file that not every installation has.
    """
    found = scene.GetFirstNodeByName(NORMDIFF_COLORS)
    if found is not None and found.IsA("vtkMRMLColorTableNode"):
        return found
    node = scene.AddNewNodeByClass("vtkMRMLColorTableNode", NORMDIFF_COLORS)
    node.SetTypeToUser()
    node.SetAttribute("Category", "MRI2PET")
    node.SetDescription("NormDiff: blue where the synthetic PET is lower, red where it is higher.")
    count = 255  # odd: the middle colour is 0
    node.SetNumberOfColors(count)
    for index, position in enumerate(np.linspace(-1, 1, count)):
        end = np.array([0.70, 0.05, 0.10] if position > 0 else [0.05, 0.20, 0.65])
        strength = abs(position)
        color = (1 - strength) * np.array([0.97, 0.97, 0.97]) + strength * end
        opacity = float(strength * NORMDIFF_LIMIT >= NORMDIFF_EQUAL)
        node.SetColor(index, f"{position * NORMDIFF_LIMIT:+.3f}", *color.tolist(), opacity)
    node.GetLookupTable().SetRange(-NORMDIFF_LIMIT, NORMDIFF_LIMIT)
    return node


def _set_pet_display(scene: slicer.vtkMRMLScene, nodes: ResultNodes, result: Synthetic) -> None:
    inside = sitk.GetArrayViewFromImage(result.mask) > 0
    shown = [sitk.GetArrayViewFromImage(i)[inside] for i in (result.pet, result.real) if i is not None]
    top = max((float(np.percentile(values, 99.5)) for values in shown if values.size), default=1.0)
    top = top if top > 0 else 1.0
    set_pet_window(scene, nodes, top, transparent_below=0.05 * top)
    if nodes.normdiff is not None:
        display = scene.GetNodeByID(nodes.normdiff).GetDisplayNode()
        display.SetAndObserveColorNodeID(normdiff_color_node(scene).GetID())
        display.AutoWindowLevelOff()
        display.SetWindowLevelMinMax(-NORMDIFF_LIMIT, NORMDIFF_LIMIT)
        display.ApplyThresholdOff()


def _composites(scene: slicer.vtkMRMLScene) -> list[Any]:
    count = scene.GetNumberOfNodesByClass("vtkMRMLSliceCompositeNode")
    return [scene.GetNthNodeByClass(n, "vtkMRMLSliceCompositeNode") for n in range(count)]


def _layers(composite: Any) -> tuple[str | None, str | None, float]:
    return (
        composite.GetBackgroundVolumeID(),
        composite.GetForegroundVolumeID(),
        composite.GetForegroundOpacity(),
    )


def _set_layers(composite: Any, layers: tuple[str | None, str | None, float]) -> None:
    composite.SetBackgroundVolumeID(layers[0])
    composite.SetForegroundVolumeID(layers[1])
    composite.SetForegroundOpacity(layers[2])
