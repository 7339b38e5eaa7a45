"""What every node of a result gets: its unit, provenance, study, and links to the other nodes.

Also the one way to add nodes: all or none.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import slicer

from MRI2PETLib.scene.display import composites, layers_of, set_layers

PREFIX = "MRI2PET."
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


@contextmanager
def all_or_nothing(scene: slicer.vtkMRMLScene) -> Iterator[None]:
    """Add nodes as one step; on any exception those are removed and the slice views show what they showed."""
    before = {scene.GetNthNode(n).GetID() for n in range(scene.GetNumberOfNodes())}
    views = {node.GetID(): layers_of(node) for node in composites(scene)}
    scene.StartState(slicer.vtkMRMLScene.BatchProcessState)
    try:
        yield
    except BaseException:
        for composite in composites(scene):
            if composite.GetID() in views:
                set_layers(composite, views[composite.GetID()])
        added = [scene.GetNthNode(n) for n in range(scene.GetNumberOfNodes())]
        for node in reversed([n for n in added if n.GetID() not in before]):
            scene.RemoveNode(node)
        raise
    finally:
        scene.EndState(slicer.vtkMRMLScene.BatchProcessState)


def link(node: Any, role: str, other_id: str | None) -> None:
    """Let ``node`` refer to another node; the reference is saved with the scene and survives new IDs."""
    node.SetNodeReferenceID(PREFIX + role, other_id)


def linked(node: Any, role: str) -> str | None:
    """ID of the node that :func:`link` named, ``None`` when there is none or it was deleted."""
    return node.GetNodeReferenceID(PREFIX + role) if node.GetNodeReference(PREFIX + role) else None


def set_content(node: Any, name: str, content: Any) -> None:
    """Keep what JSON can say as an attribute of ours; the scene saves it."""
    node.SetAttribute(PREFIX + name, json.dumps(content, ensure_ascii=False, sort_keys=True))


def content_of(node: Any, name: str) -> Any:
    """What :func:`set_content` kept; ``None`` if there is nothing, or nothing that can be read: a scene may
    come from anybody.
    """
    try:
        return json.loads(node.GetAttribute(PREFIX + name) or "null")
    except (ValueError, RecursionError):
        return None


def own_ids(node: Any) -> list[str]:
    """IDs of display and storage nodes of a node: the scene would keep them.

    The last display first: a colour legend cannot be drawn without the display that it explains.
    """
    ids = []
    if node.IsA("vtkMRMLDisplayableNode"):
        ids += [node.GetNthDisplayNodeID(n) for n in reversed(range(node.GetNumberOfDisplayNodes()))]
    if node.IsA("vtkMRMLStorableNode"):
        ids += [node.GetNthStorageNodeID(n) for n in range(node.GetNumberOfStorageNodes())]
    return [i for i in ids if i]


def _coded(code: tuple[str, str, str]) -> Any:
    entry = slicer.vtkCodedEntry()
    entry.SetValueSchemeMeaning(*code)
    return entry


def set_unit(node: Any, unit: str, meaning: str = "") -> None:
    """State the unit of a volume's voxels as coded entries (DICOM, UCUM).

    :param meaning: of this quantity, instead of the usual one.
    """
    if unit in _QUANTITY:
        code, scheme, usual = _QUANTITY[unit]
        node.SetVoxelValueQuantity(_coded((code, scheme, meaning or usual)))
    if unit in _UNITS:
        node.SetVoxelValueUnits(_coded(_UNITS[unit]))


def set_provenance(node: Any, unit: str, provenance: Mapping[str, Any], notes: Sequence[str] = ()) -> None:
    """Write what made a synthetic image into the node's attributes.

    :param provenance: ``Provenance`` of the sidecar; ``notes``: what was noticed, such as a change of device.
    """
    model = provenance.get("model") or {}
    short = {
        "Synthetic": "true",
        "Unit": unit,
        "ModelId": model.get("id"),
        "ModelVersion": model.get("version"),
        "ModelSha256": model.get("sha256"),
        "ModelIntendedUse": model.get("intended_use"),
        "Version": provenance.get("version"),
        "Device": provenance.get("device"),
        "Seconds": (provenance.get("seconds") or {}).get("total"),
        "Notes": "\n".join(notes) or None,
    }
    set_content(node, "Provenance", provenance)
    for name, value in short.items():
        if value is not None:
            node.SetAttribute(PREFIX + name, str(value))


def join_study(scene: slicer.vtkMRMLScene, node: Any, t1: Any) -> None:
    """Put a node beside the T1 in subject hierarchy; without a T1 nothing happens."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    item = hierarchy.GetItemByDataNode(t1) if hierarchy is not None and t1 is not None else 0
    if item:
        own = hierarchy.GetItemByDataNode(node)
        parent = hierarchy.GetItemParent(item)
        if own:
            hierarchy.SetItemParent(own, parent)
        else:
            hierarchy.CreateItem(parent, node)
