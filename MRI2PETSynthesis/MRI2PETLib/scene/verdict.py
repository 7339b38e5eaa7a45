"""What a run found out about its inputs, kept with its result. Needs ``slicer``, no Qt."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import slicer

from MRI2PETLib.scene.nodes import content_of, link, linked, set_content
from MRI2PETLib.scene.results import ResultNodes, result_nodes
from MRI2PETLib.synthesis.checks import LIGHT_LEVELS, Check
from MRI2PETLib.synthesis.run_checks import in_words

_CHECKS = "Checks"  # of a synthetic PET, and of a real one
_SOURCE = "source"  # of a real PET: the volume that was compared


def keep_verdict(
    scene: slicer.vtkMRMLScene,
    nodes: ResultNodes,
    *,
    synthesis: Iterable[Check] | None = None,
    comparison: Iterable[Check] | None = None,
    source: str | None = None,
) -> None:
    """Keep the lights that a run has set with its result; they are saved with the scene.

    :param synthesis: of the T1, ``None``: they are there already. ``comparison``: of the real PET.
    :param source: ID of the volume that was compared.
    """
    for node_id, checks in ((nodes.pet, synthesis), (nodes.real, comparison)):
        if node_id is not None and checks is not None:
            set_content(scene.GetNodeByID(node_id), _CHECKS, [check.to_dict() for check in checks])
    if nodes.real is not None and comparison is not None:
        link(scene.GetNodeByID(nodes.real), _SOURCE, source)


def verdict_of(scene: slicer.vtkMRMLScene, pet_id: str | None) -> list[Check]:
    """All lights that the runs of a result have set."""
    nodes = result_nodes(scene, pet_id)
    ids = () if nodes is None else (nodes.pet, nodes.real)
    return [check for node_id in ids if node_id for check in _checks(scene.GetNodeByID(node_id))]


def verdict_on(scene: slicer.vtkMRMLScene, pet_id: str | None, t1: Any, pet: Any) -> list[Check]:
    """Those of them that are about this T1 and this real PET: none, if the result is of another T1."""
    nodes = result_nodes(scene, pet_id)
    if nodes is None or t1 is None or nodes.t1 != t1.GetID():
        return []
    real = scene.GetNodeByID(nodes.real) if nodes.real else None
    is_compared = real is not None and pet is not None and linked(real, _SOURCE) == pet.GetID()
    return _checks(scene.GetNodeByID(nodes.pet)) + (_checks(real) if is_compared else [])


def verdict_in_words(scene: slicer.vtkMRMLScene, pet_id: str | None) -> str:
    """A result's name with how many of its lights warn and which; empty if none does."""
    words = in_words(verdict_of(scene, pet_id))
    return f"{scene.GetNodeByID(pet_id).GetName()}: {words}." if words else ""


def _checks(node: Any) -> list[Check]:
    content = content_of(node, _CHECKS)
    rows = [row for row in content if isinstance(row, dict)] if isinstance(content, list) else []
    fields = ("name", "level", "message", "hint")
    return [Check(*(str(row.get(f, "")) for f in fields)) for row in rows if row.get("level") in LIGHT_LEVELS]  # type: ignore[arg-type]
