"""The comparison with a real PET as nodes: real PET, NormDiff, tables, plots, regions, report. No Qt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import slicer

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.evaluation.baselines import NETWORK
from MRI2PETLib.reports.case_files import Comparison
from MRI2PETLib.scene.images import add_volume, image_of
from MRI2PETLib.scene.nodes import PREFIX, all_or_nothing, join_study, link, own_ids
from MRI2PETLib.scene.results import ResultNodes, add_real, named, result_nodes, show_pets_alike
from MRI2PETLib.scene.tables import add_bland_altman, add_scatter, add_table, global_columns, region_columns
from MRI2PETLib.templates.regions import parcellation_title

LABELS = PREFIX + "labels"
REAL_SOURCE = PREFIX + "Source"  # of a real PET: the name of the volume that it was made of
_REPLACED = ("real", "normdiff", "metrics", "regions", "scatter", "bland_altman", "report")
# Bland-Altman over fewer regions than this says nothing.
_MIN_REGIONS = 3


def add_comparison(
    scene: slicer.vtkMRMLScene, pet_id: str, comparison: Comparison, source: str = "", tracer: str = ""
) -> ResultNodes:
    """Put a comparison beside its synthetic PET: all of its nodes or none. An earlier one is replaced.

    :param source: name of the volume that the real PET was made of. ``tracer``: its own, where it is stated.
    :raises InputError: if the synthetic PET is not in the scene, or the real one is not on its grid.
    """
    from MRI2PETLib.images.io import same_grid

    before = result_nodes(scene, pet_id)
    if before is None:
        raise InputError("The synthetic PET is no longer in the scene.", "Synthesise it again.")
    pet = scene.GetNodeByID(pet_id)
    if not same_grid(image_of(pet), comparison.real, 1e-3):
        raise InputError("The real PET is not on the grid of the synthetic one.", "Compare again.")
    old = comparison_ids(scene, pet)
    t1 = scene.GetNodeByID(before.t1) if before.t1 else None
    with all_or_nothing(scene):
        try:
            _add(scene, pet, t1, comparison, tracer)
            pet.GetNodeReference(PREFIX + "real").SetAttribute(REAL_SOURCE, source or None)
        except BaseException:
            for role in _REPLACED:
                link(pet, role, getattr(before, role))
            raise
    for node_id in old:
        if scene.GetNodeByID(node_id) is not None:
            scene.RemoveNode(scene.GetNodeByID(node_id))
    after = result_nodes(scene, pet_id)
    assert after is not None
    return after


def _add(scene: slicer.vtkMRMLScene, pet: Any, t1: Any, comparison: Comparison, tracer: str) -> None:
    name = "simulated" if comparison.is_simulated else "real"
    whose = pet.GetAttribute(PREFIX + "T1Name")
    pet.RemoveNodeReferenceIDs(LABELS)
    add_real(scene, pet, comparison.real, name=name, t1=t1, tracer=tracer)
    if comparison.verdict.findings:
        notes = "\n".join(comparison.verdict.reasons())
        pet.GetNodeReference(PREFIX + "real").SetAttribute(PREFIX + "Notes", notes)
    scale = comparison.scales[comparison.scale]
    about = f"{pet.GetDescription()} Unit: {comparison.unit}. NormDiff is positive where synthetic is higher."
    columns = global_columns(scale["network"], scale["baselines"], comparison.unit)
    metrics = add_table(scene, named("metrics", whose), columns, about)
    regions = add_table(
        scene, named("regions", whose), region_columns(comparison.regions, comparison.scale), about
    )
    nodes = {"metrics": metrics, "regions": regions}
    nodes |= _charts(scene, whose, comparison)
    nodes["report"] = add_report(scene, named("report", whose), comparison.report)
    for role, node in nodes.items():
        node.SetAttribute(PREFIX + "Unit", comparison.unit)
        join_study(scene, node, t1)
        link(pet, role, node.GetID())
    for parcellation, (image, names) in comparison.labels.items():
        title = parcellation_title(parcellation)
        node = add_volume(scene, image, named(title, whose), labels=True)
        node.SetDescription(f"Regions of {title}, on the grid of the T1.")
        node.SetHideFromEditors(True)  # a lookup for the crosshair, not an image to choose
        node.GetDisplayNode().SetAndObserveColorNodeID(color_names(scene, node.GetName(), names).GetID())
        node.SetAttribute(PREFIX + "Parcellation", title)
        pet.AddNodeReferenceID(LABELS, node.GetID())
    show_pets_alike(scene, pet)


def _charts(scene: slicer.vtkMRMLScene, whose: str | None, comparison: Comparison) -> dict[str, Any]:
    rows = [r for r in comparison.regions if r.scale == comparison.scale and r.predictor == NETWORK]
    # The whole brain would be one point among its parts, and the last parcellation is the user's own.
    last = rows[-1].parcellation if rows else ""
    rows = [r for r in rows if r.parcellation == last and None not in (r.mean_real, r.mean_predicted)]
    if len(rows) < _MIN_REGIONS:
        return {}
    real = [float(r.mean_real or 0) for r in rows]
    synthetic = [float(r.mean_predicted or 0) for r in rows]
    names = [r.region for r in rows]
    return {
        "scatter": add_scatter(
            scene, named("synthetic over real", whose), real, synthetic, names, comparison.unit
        ),
        "bland_altman": add_bland_altman(
            scene, named("Bland-Altman", whose), real, synthetic, names, comparison.unit
        ),
    }


def add_report(scene: slicer.vtkMRMLScene, name: str, html: str) -> Any:
    """A report as a text node, so that a saved scene brings it along."""
    node = scene.AddNewNodeByClass("vtkMRMLTextNode", scene.GenerateUniqueName(name))
    node.SetText(html)
    node.SetDescription("HTML report.")
    return node


def color_names(scene: slicer.vtkMRMLScene, title: str, names: Mapping[int, str]) -> Any:
    """A colour table that names labels; a label map has no other place for names."""
    labels = scene.GetNodeByID("vtkMRMLColorTableNodeLabels")
    node = scene.AddNewNodeByClass("vtkMRMLColorTableNode", f"{title} names")
    node.SetTypeToUser()
    node.SetHideFromEditors(True)
    node.SetNumberOfColors(max(names, default=0) + 1)
    node.SetColor(0, "", 0.0, 0.0, 0.0, 0.0)
    for label, name in names.items():
        color = [0.5, 0.5, 0.5, 1.0]
        if labels is not None:
            labels.GetColor(1 + label % (labels.GetNumberOfColors() - 1), color)
        node.SetColor(label, name, *color[:3], 1.0)
    return node


def comparison_ids(scene: slicer.vtkMRMLScene, pet: Any) -> list[str]:
    """All nodes of the present comparison that belong to no other result: also series and tables of its
    charts, display and storage.
    """
    nodes, shared = result_nodes(scene, pet.GetID()), shared_ids(scene, pet)
    roles = [role for role in _REPLACED if getattr(nodes, role) not in shared]
    ids = [getattr(nodes, role) for role in roles]
    for n in range(pet.GetNumberOfNodeReferences(LABELS)):
        labels = pet.GetNthNodeReference(LABELS, n)
        if labels is not None and labels.GetID() not in shared:
            ids += [labels.GetID(), labels.GetDisplayNode().GetColorNodeID()]
    for role in (r for r in ("scatter", "bland_altman") if r in roles):
        chart = scene.GetNodeByID(getattr(nodes, role)) if getattr(nodes, role) else None
        if chart is not None:
            for n in range(chart.GetNumberOfPlotSeriesNodes()):
                series = chart.GetNthPlotSeriesNode(n)
                ids += [series.GetID(), series.GetTableNodeID()]
    unique = list(dict.fromkeys(i for i in ids if i))
    return unique + [i for node_id in unique for i in own_ids(scene.GetNodeByID(node_id))]


def shared_ids(scene: slicer.vtkMRMLScene, pet: Any) -> set[str]:
    """Nodes that another result refers to, too: a volume that Slicer cloned refers to those of the first."""
    ids = set()
    for n in range(scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode")):
        other = scene.GetNthNodeByClass(n, "vtkMRMLScalarVolumeNode")
        if other.GetID() == pet.GetID() or result_nodes(scene, other.GetID()) is None:
            continue
        for role in (other.GetNthNodeReferenceRole(k) for k in range(other.GetNumberOfNodeReferenceRoles())):
            if role.startswith(PREFIX):
                ids |= {
                    other.GetNthNodeReferenceID(role, k) for k in range(other.GetNumberOfNodeReferences(role))
                }
    return ids
