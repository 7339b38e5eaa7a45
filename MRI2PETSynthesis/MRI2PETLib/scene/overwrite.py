"""A new result in the place of an earlier one: its node stays, its content is new. No Qt."""

from __future__ import annotations

from typing import Any

import slicer
import vtk

from MRI2PETLib.scene.comparison import comparison_ids, shared_ids
from MRI2PETLib.scene.display import pet_window, set_pet_window
from MRI2PETLib.scene.nodes import PREFIX, join_study, own_ids
from MRI2PETLib.scene.results import ResultNodes, result_nodes

# Nodes of a result besides those of its comparison and the T1.
_IMAGES = ("mask", "sd", "error_sd", "unpredicted")


def overwrite_result(scene: slicer.vtkMRMLScene, earlier_id: str, new: ResultNodes) -> ResultNodes:
    """Let the synthetic PET of an earlier result be that of a new one.

    Whatever refers to the earlier one shows the new one: views, segmentations, the lists of modules. Its name
    stays where the T1 is the same; its other images, its comparison and a transform above it go, but for what
    belongs to another result, too.

    :return: the new result, with the earlier one's node. ``new`` as it is, if that is no longer there.
    """
    before = result_nodes(scene, earlier_id)
    if before is None or earlier_id == new.pet:
        return new
    earlier, pet = scene.GetNodeByID(earlier_id), scene.GetNodeByID(new.pet)
    shared, names = shared_ids(scene, earlier), {}
    gone = [getattr(before, role) for role in _IMAGES if getattr(before, role) not in shared]
    gone += comparison_ids(scene, earlier)
    if earlier.GetAttribute(PREFIX + "T1Name") != pet.GetAttribute(PREFIX + "T1Name"):
        earlier.SetName(pet.GetName())
    else:
        others = {None, before.pet, before.t1, *shared}
        ids = {role: node_id for role, node_id in vars(before).items() if node_id not in others}
        names = {role: scene.GetNodeByID(node_id).GetName() for role, node_id in ids.items()}
    _take_voxels(earlier, pet)
    _take_statements(earlier, pet)
    top, below = pet_window(pet)
    t1 = scene.GetNodeByID(new.t1) if new.t1 else None
    for node_id in (pet.GetID(), *gone):
        node = scene.GetNodeByID(node_id) if node_id else None
        if node is not None:  # not with the node that it belongs to
            _remove(scene, node)
    set_pet_window(scene, [earlier_id, new.real], top, transparent_below=below)
    join_study(scene, earlier, t1)
    after = result_nodes(scene, earlier_id)
    assert after is not None
    for role, name in names.items():  # while the earlier nodes were there, theirs were taken
        node = scene.GetNodeByID(getattr(after, role) or "")
        if node is not None:
            node.SetName(name)
    return after


def _take_voxels(node: Any, source: Any) -> None:
    matrix = vtk.vtkMatrix4x4()
    source.GetIJKToRASMatrix(matrix)
    node.SetAndObserveTransformNodeID(None)
    node.SetIJKToRASMatrix(matrix)
    node.SetAndObserveImageData(source.GetImageData())


def _take_statements(node: Any, source: Any) -> None:
    """Description, unit, attributes and references of ours."""
    node.SetDescription(source.GetDescription())
    node.SetVoxelValueQuantity(source.GetVoxelValueQuantity())
    node.SetVoxelValueUnits(source.GetVoxelValueUnits())
    for name in (*node.GetAttributeNames(), *source.GetAttributeNames()):
        if name.startswith(PREFIX):
            node.SetAttribute(name, source.GetAttribute(name))
    for owner in (node, source):
        roles = [owner.GetNthNodeReferenceRole(n) for n in range(owner.GetNumberOfNodeReferenceRoles())]
        for role in (r for r in roles if r.startswith(PREFIX)):
            node.RemoveNodeReferenceIDs(role)
            for n in range(source.GetNumberOfNodeReferences(role)):
                node.AddNodeReferenceID(role, source.GetNthNodeReferenceID(role, n))


def _remove(scene: slicer.vtkMRMLScene, node: Any) -> None:
    """A node with its display and storage."""
    for own in (*map(scene.GetNodeByID, own_ids(node)), node):
        if own is not None:
            scene.RemoveNode(own)
