"""The traffic light for nodes of the scene: at once, without finding the brain. Needs ``slicer``, no Qt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from html import escape
from typing import Any

import slicer
import vtk

from MRI2PETLib.core.errors import MRI2PETError
from MRI2PETLib.scene.files import chosen_unit, tracer_of_node, unit_of
from MRI2PETLib.scene.images import image_of
from MRI2PETLib.scene.nodes import PREFIX
from MRI2PETLib.scene.origin import is_map_node, is_synthetic_node
from MRI2PETLib.synthesis.checks import CHECK_NAMES, PET_IMAGE, SYNTHETIC, T1, UNIT, Check, worst_first
from MRI2PETLib.synthesis.input_checks import quick_checks, tracer_check


def may_be_t1(volume: Any) -> bool:
    """Whether a scalar volume may be chosen as the T1 for the user: not one that says that it is a PET, or
    that it was computed.
    """
    is_label_map = volume.IsA("vtkMRMLLabelMapVolumeNode")
    return not (is_label_map or volume.GetAttribute(PREFIX + "Unit") or is_synthetic_node(volume))


def _stop_of_map(t1: Any, pet: Any) -> Check | None:
    """The red light of a map of results in the place of an image."""
    for node, what in ((t1, "T1"), (pet, "PET")):
        if node is not None and is_map_node(node) and not is_synthetic_node(node):
            message = f"The {what} is a map of results, {node.GetName()}: it is not a measurement."
            return Check(SYNTHETIC, "refuse", message, f"Choose a measured {what}.")
    return None


def stop_of_pet(t1: Any, pet: Any) -> Check | None:
    """The red light of a PET that nothing can be started with, ``None`` where there is no reason."""
    if t1 is None or pet is None:
        return None
    if pet.GetID() == t1.GetID():
        return Check(PET_IMAGE, "refuse", "T1 and PET are the same volume.")
    if (chosen_unit(pet) or unit_of(pet)) is None:
        message = "Choose the unit of the PET: neither the volume nor a JSON file beside it states one."
        return Check(UNIT, "refuse", message)
    return None


def checks_of_nodes(
    t1: Any, pet: Any = None, pet_unit: str | None = None, model_tracer: str | None = None
) -> list[Check]:
    """Checks of a T1 node and a PET node; no check without a T1.

    :param pet_unit: overrides the unit that the PET's node states.
    :param model_tracer: of the model, empty where it is not stated; ``None``: there is no model.
    """
    if t1 is None:
        return []
    file_unit = None if pet is None else unit_of(pet)
    try:
        checks = quick_checks(
            image_of(t1),
            None if pet is None else image_of(pet),
            t1_synthetic=is_synthetic_node(t1),
            pet_synthetic=pet is not None and is_synthetic_node(pet),
            pet_unit=pet_unit or file_unit,
            pet_unit_of_file=(pet_unit and file_unit) or "",
            t1_name=t1.GetName(),
            pet_name="The PET" if pet is None else pet.GetName(),
        )
        has_both = pet is not None and model_tracer is not None
        for stop in (None if pet_unit else stop_of_pet(t1, pet), _stop_of_map(t1, pet)):
            if stop is not None:
                checks = [_stopped(check, stop) if check.name == stop.name else check for check in checks]
        return checks + ([tracer_check(tracer_of_node(pet), model_tracer or "")] if has_both else [])
    except MRI2PETError as error:  # a node that is no image at all: empty, sheared, several values a voxel
        rest = [Check(name, "not checked") for name in CHECK_NAMES if name != T1]
        return [Check(T1, "refuse", error.message, error.hint), *rest]


def _stopped(check: Check, stop: Check) -> Check:
    """A light that stops, with what it said: what the values look like helps to choose."""
    if check.level not in ("warn", "refuse"):
        return stop
    return replace(stop, message=f"{stop.message} {check.message}", hint=check.hint)


def content_events(node: Any) -> list[int]:
    """Events after which the voxels, segments or place of a node may be others."""
    events = node.GetContentModifiedEvents()
    own = {events.GetValue(n) for n in range(events.GetNumberOfValues())}
    if node.IsA("vtkMRMLVolumeNode"):  # its geometry, and arrays edited in place, have no event of their own
        own.add(vtk.vtkCommand.ModifiedEvent)
    else:
        own.discard(vtk.vtkCommand.ModifiedEvent)
    return sorted({*own, slicer.vtkMRMLTransformableNode.TransformModifiedEvent})


def content_state(node: Any) -> tuple[Any, ...]:
    """What differs once the voxels or the geometry of a volume have changed, and not after a new name."""
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    image = node.GetImageData()
    return (image and image.GetMTime(), *(matrix.GetElement(i, j) for i in range(3) for j in range(4)))


# Sign and colour, on a light and on a dark ground: neither sign nor colour alone reaches everybody.
_LIGHTS = {
    "ok": ("&#10003;", "#2E7D32", "#81C784"),
    "warn": ("&#9650;", "#8A5100", "#FFB74D"),
    "refuse": ("&#10007;", "#B3261E", "#FF8A80"),
}


def lights_html(checks: Sequence[Check], *, brief: bool = False, on_dark: bool = False) -> str:
    """Checks as lines of HTML, one a check, the worst first; those that were not made share a line for each
    reason.

    :param brief: those that are ok share a line, too, without what was measured; a warning is its first
        sentence, and dots where there is more.
    :param on_dark: the ground is dark.
    """
    lines, fine = [], []
    waiting: dict[str, list[str]] = {}
    for check in worst_first(checks):
        if check.level not in _LIGHTS:
            waiting.setdefault(check.message, []).append(check.name)
        elif brief and check.level == "ok":
            fine.append(check.name)
        else:
            text = f"{check.message} {check.hint}".strip() or check.level
            if brief and check.level == "warn":
                text = _first_sentence(text)
            lines.append(_light(check.level, on_dark, check.name, text))
    if fine:
        lines.append(_light("ok", on_dark, ", ".join(fine)))
    for reason, names in waiting.items():
        lines.append("&#8211; " + escape(f"{', '.join(names)}: {reason}"))
    return "<br>".join(lines)


def _first_sentence(text: str) -> str:
    first, stop, rest = text.partition(". ")
    return f"{first}. ..." if rest else first + stop


def _light(level: str, on_dark: bool, names: str, text: str = "") -> str:
    sign, *colors = _LIGHTS[level]
    after = f": {escape(text)}" if text else ""
    return f'<span style="color:{colors[on_dark]}">{sign}</span> <b>{escape(names)}</b>{after}'
