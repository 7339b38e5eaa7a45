"""Results as nodes of a MRML scene.

The scene is always passed. Needs ``slicer``, no Qt, no application: it runs on the ``slicer-core`` wheel too.
Images: :mod:`MRI2PETLib.scene.images`; colours and views: :mod:`MRI2PETLib.scene.display`; the comparison
with a real PET, its tables and plots: :mod:`MRI2PETLib.scene.comparison`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import SimpleITK as sitk
import slicer
import slicer.util

from MRI2PETLib.core.errors import InputError, reason_of
from MRI2PETLib.core.files import read_object
from MRI2PETLib.core.findings import Finding, Verdict
from MRI2PETLib.evaluation.normdiff import normdiff_map
from MRI2PETLib.images.io import read_image, same_grid
from MRI2PETLib.models.bundle import Bundle
from MRI2PETLib.models.model_space import BRAIN_MASK
from MRI2PETLib.scene.display import NO_VALUE, set_pet_window, show_normdiff, show_sd, signed_voxels
from MRI2PETLib.scene.images import add_volume
from MRI2PETLib.scene.nodes import PREFIX, all_or_nothing, join_study, link, linked, set_provenance, set_unit
from MRI2PETLib.scene.origin import (
    SIMULATED,
    STATISTIC,
    is_simulated_node,
    provenance_of,
    remember_values,
    set_reference,
)
from MRI2PETLib.synthesis.case_files import bundle_note
from MRI2PETLib.synthesis.pipeline import SynthesisResult


@dataclass(frozen=True)
class Synthetic:
    """What a synthesis gave, all images on one grid (that of the T1).

    ``real`` is the real PET in the same ``unit``; ``note`` the sentence that says synthetic; ``provenance``
    as in the sidecar; ``findings``: what was noticed about the input and in the run.
    """

    pet: sitk.Image
    mask: sitk.Image
    unit: str
    note: str
    tracer: str = ""
    sd: sitk.Image | None = None
    error_sd: sitk.Image | None = None
    unpredicted: sitk.Image | None = None
    real: sitk.Image | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    findings: Sequence[Finding] = ()

    @classmethod
    def of(cls, result: SynthesisResult, bundle: Bundle) -> Synthetic:
        """The result of :func:`MRI2PETLib.synthesis.pipeline.synthesize` with this model."""
        return cls(
            pet=result.pet,
            mask=result.mask,
            unit=result.unit,
            note=bundle_note(bundle),
            tracer=bundle.tracer,
            sd=result.sd,
            error_sd=result.error_sd,
            unpredicted=result.unpredicted,
            provenance=result.provenance,
            findings=result.verdict.findings,
        )


def read_synthetic(files: Mapping[str, Any]) -> Synthetic:
    """Read back what ``mri2pet synthesize`` wrote about one case.

    :param files: by role, as its result event or the case's record names them.
    :raises InputError: if files are missing, unreadable, or not those of a synthesis.
    """
    try:
        about = read_object(files["sidecar"])
        unit, note, provenance = about["Units"], about["Description"], about["Provenance"]
        findings = [Finding.of(one) for one in (about.get("Quality") or {}).get("findings", [])]
        pet, mask = files["pet"], files["mask"]
    except (InputError, OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"These are not the files of a synthesis: {reason_of(error)}.", "Synthesise again."
        ) from error

    def optional(role: str, kind: Any) -> sitk.Image | None:
        return read_image(files[role], kind=kind).image if role in files else None

    return Synthetic(
        pet=read_image(pet, kind="pet").image,
        mask=read_image(mask, kind="mask").image,
        unit=str(unit),
        note=str(note),
        tracer=str(about.get("TracerName") or ""),
        sd=optional("sd", "pet"),
        error_sd=optional("error_sd", "pet"),
        unpredicted=optional("unpredicted", "mask"),
        real=optional("real", "pet"),
        provenance=provenance,
        findings=findings,
    )


@dataclass(frozen=True)
class ResultNodes:
    """IDs of the nodes of one result; ``None`` where there is nothing. IDs, because nodes may be deleted."""

    pet: str
    t1: str | None = None
    mask: str | None = None
    sd: str | None = None
    error_sd: str | None = None
    unpredicted: str | None = None
    real: str | None = None
    normdiff: str | None = None
    metrics: str | None = None
    regions: str | None = None
    scatter: str | None = None
    bland_altman: str | None = None
    report: str | None = None


def result_nodes(scene: slicer.vtkMRMLScene, pet_id: str | None) -> ResultNodes | None:
    """The nodes that belong to a synthetic PET, as it remembers them; ``None`` if it is not one of ours."""
    pet = scene.GetNodeByID(pet_id) if pet_id else None
    if pet is None or pet.GetAttribute(PREFIX + "Result") is None:
        return None
    roles = [f.name for f in fields(ResultNodes) if f.name != "pet"]
    return ResultNodes(pet.GetID(), **{role: linked(pet, role) for role in roles})


def add_result(scene: slicer.vtkMRMLScene, result: Synthetic, t1: Any = None) -> ResultNodes:
    """Put a result into the scene: all of its nodes or none.

    Every node says in its description and attributes what it is; the synthetic PET refers to all others.

    :param t1: the T1's node: names end with its name, and nodes join its study in subject hierarchy.
    :raises InputError: if the images are not on one grid.
    """
    for image in (result.mask, result.sd, result.error_sd, result.unpredicted, result.real):
        if image is not None and not same_grid(image, result.pet):
            raise InputError("The images of this result are not on one grid.", "Run the synthesis again.")
    whose = t1.GetName() if t1 is not None else str(result.provenance.get("t1_node") or "")
    title = f"synthetic {result.tracer} PET".replace("  ", " ")
    simulated = "true" if t1 is not None and is_simulated_node(t1) else None
    with all_or_nothing(scene):
        pet = add_volume(scene, result.pet, named(f"{title} ({result.unit})", whose))
        pet.SetDescription(result.note)
        pet.SetAttribute(PREFIX + "Result", result.tracer or "PET")
        pet.SetAttribute(PREFIX + "T1Name", whose)
        join_study(scene, pet, t1)
        put(scene, pet, "mask", result.mask, named("brain mask", whose), "Brain mask.", t1, labels=True)
        described = [pet]
        if result.sd is not None:
            name = named(f"SD of {title} ({result.unit})", whose)
            note = f"SD between the model's networks or the samples that it drew, by voxel. {result.note}"
            described.append(put(scene, pet, "sd", result.sd, name, note, t1))
        if result.error_sd is not None:
            name = named(f"SD of the error of {title} ({result.unit})", whose)
            note = f"SD of the model's error by region, the same for everybody. {result.note}"
            described.append(put(scene, pet, "error_sd", result.error_sd, name, note, t1))
        if result.unpredicted is not None:
            note = "Brain outside the model's field of view: not predicted."
            name = named("not predicted", whose)
            put(scene, pet, "unpredicted", result.unpredicted, name, note, t1, labels=True)
        for node in described:
            set_unit(node, result.unit, _meaning(result.provenance))
            set_provenance(node, result.unit, result.provenance, Verdict(tuple(result.findings)).reasons())
            node.SetAttribute(PREFIX + SIMULATED, simulated)
        remember_values(pet)
        link(pet, "t1", t1.GetID() if t1 is not None else None)
        if result.real is not None:
            add_real(scene, pet, result.real, t1=t1)
        for node in described[1:]:
            node.SetAttribute(PREFIX + STATISTIC, "SD")
            show_sd(node)
        show_pets_alike(scene, pet)
    nodes = result_nodes(scene, pet.GetID())
    assert nodes is not None
    return nodes


def _meaning(provenance: Mapping[str, Any]) -> str:
    """What the quantity of a model's PET is, where it is SUVR by a named region."""
    region = provenance.get("reference_region")
    return f"Standardized uptake value ratio, to the mean in the {region}" if region else ""


def add_real(
    scene: slicer.vtkMRMLScene,
    pet: Any,
    real: sitk.Image,
    *,
    name: str = "real",
    t1: Any = None,
    tracer: str = "",
) -> None:
    """Put the real PET on the grid and in the unit of a synthetic one, and their NormDiff, beside it.

    :param name: ``real`` or ``simulated``. ``tracer``: its own, empty where it is not stated.
    """
    unit = str(pet.GetAttribute(PREFIX + "Unit"))
    whose = pet.GetAttribute(PREFIX + "T1Name")
    title = named(f"{name} {tracer} PET ({unit})".replace("  ", " "), whose)
    node = put(scene, pet, "real", real, title, f"{name.capitalize()} PET, on the grid of the T1.", t1)
    set_unit(node, unit, _meaning(provenance_of(pet)))
    node.SetAttribute(PREFIX + "Unit", unit)
    remember_values(node)
    if unit == "SUVR":
        set_reference(node, str(provenance_of(pet).get("reference_region") or BRAIN_MASK))
    node.SetAttribute(PREFIX + SIMULATED, "true" if name == "simulated" else None)
    note = f"(synthetic - {name}) / (synthetic + {name}), no unit; {NO_VALUE:g} where there is none. "
    note += pet.GetDescription()
    synthetic, measured = (slicer.util.arrayFromVolume(n) for n in (pet, node))
    mask = slicer.util.arrayFromVolume(pet.GetNodeReference(PREFIX + "mask"))
    normdiff = sitk.GetImageFromArray(signed_voxels(*normdiff_map(synthetic, measured, mask)))
    normdiff.CopyInformation(real)
    normdiff_node = put(scene, pet, "normdiff", normdiff, named("NormDiff", whose), note, t1)
    for attribute in pet.GetAttributeNames():
        if attribute.startswith(PREFIX) and attribute != PREFIX + "Result":
            normdiff_node.SetAttribute(attribute, pet.GetAttribute(attribute))
    normdiff_node.SetAttribute(PREFIX + "Unit", "none")
    remember_values(normdiff_node)
    show_normdiff(scene, normdiff_node)


def put(
    scene: slicer.vtkMRMLScene,
    pet: Any,
    role: str,
    image: sitk.Image,
    name: str,
    note: str,
    t1: Any,
    *,
    labels: bool = False,
) -> Any:
    """Add one image of a result: described, in the study of the T1, and known to the synthetic PET."""
    node = add_volume(scene, image, name, labels=labels)
    node.SetDescription(note)
    join_study(scene, node, t1)
    link(pet, role, node.GetID())
    return node


def named(what: str, whose: str | None) -> str:
    """The name of a node: what it is first, for the views cut long names; then the name of its T1."""
    return f"{what} of {whose}" if whose else what


def show_pets_alike(scene: slicer.vtkMRMLScene, pet: Any) -> None:
    """One window for the synthetic PET and the real one: 0 to the larger 99.5th percentile in the brain,
    nothing shown below a twentieth of that.
    """
    inside = slicer.util.arrayFromVolume(pet.GetNodeReference(PREFIX + "mask")) > 0
    ids = [pet.GetID(), linked(pet, "real")]
    values = [slicer.util.arrayFromVolume(scene.GetNodeByID(i))[inside] for i in ids if i]
    top = max((float(np.percentile(v, 99.5)) for v in values if v.size), default=1.0)
    top = top if top > 0 else 1.0
    set_pet_window(scene, ids, top, transparent_below=0.05 * top)
