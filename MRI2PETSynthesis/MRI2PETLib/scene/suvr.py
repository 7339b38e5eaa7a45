"""SUVR on nodes of a scene: with the person's MRI, a synthetic MRI, or a PET template. No Qt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import slicer

from MRI2PETLib.core.errors import InputError, reason_of
from MRI2PETLib.core.files import read_object
from MRI2PETLib.evaluation.statistics import MIN_GROUP
from MRI2PETLib.images.io import read_image
from MRI2PETLib.scene.comparison import LABELS, add_report, color_names
from MRI2PETLib.scene.display import Layers, composites, set_pet_window, set_views, slice_node
from MRI2PETLib.scene.files import write_atlas, write_mask, write_pet, write_t1, write_volume
from MRI2PETLib.scene.images import add_volume, image_of
from MRI2PETLib.scene.job import SceneJob, Step
from MRI2PETLib.scene.layout import set_layout, show_legend
from MRI2PETLib.scene.nodes import PREFIX, all_or_nothing, join_study, link, linked, set_provenance, set_unit
from MRI2PETLib.scene.origin import remember_values, set_reference
from MRI2PETLib.scene.results import named
from MRI2PETLib.scene.tables import add_bland_altman, add_table, table_cells, with_decimals
from MRI2PETLib.suvr.files import suvr_rows
from MRI2PETLib.suvr.normalisation import PET_TEMPLATE, REAL_MR, SYNTHETIC_MR
from MRI2PETLib.suvr.regional import SuvrRow
from MRI2PETLib.suvr.settings import SuvrPaths, SuvrSettings
from MRI2PETLib.suvr.tables import method_columns, paired_regions, suvr_columns
from MRI2PETLib.templates import CORTICAL_SPHERES

DEFAULT_REFERENCE = "*cerebellum*"
_RESULT, _MEASUREMENT = PREFIX + "Suvr", "measurement"


@dataclass(frozen=True)
class SuvrRequest:
    """What to measure, by node ID.

    The PET template is always used; with a model (PET -> MR) among the settings a synthetic MRI too, with a
    ``t1`` that MRI, with which the others are then compared.

    :ivar atlas: label map or segmentation in MNI space, instead of the settings' atlas.
    :ivar mask: brain mask of the T1.
    :ivar template: mean PET of the same tracer in MNI space; ``None``: the built-in one that fits best.
    :ivar pet_unit: overrides what the PET states.
    :ivar window: minutes after the injection over which its frames are averaged.
    """

    pet: str
    settings: SuvrSettings = SuvrSettings(CORTICAL_SPHERES, DEFAULT_REFERENCE)
    t1: str | None = None
    mask: str | None = None
    atlas: str | None = None
    template: str | None = None
    pet_unit: str | None = None
    window: tuple[float, float] | None = None


@dataclass(frozen=True)
class SuvrNodes:
    """IDs of the nodes of one measurement; ``None`` where there is nothing.

    ``regions`` and ``methods`` are tables; ``pet`` is the PET that was measured, ``suvr`` the PET over the
    mean of its reference region; the charts compare the two methods without an MRI with the MRI.
    """

    regions: str
    methods: str | None = None
    pet: str | None = None
    suvr: str | None = None
    mr: str | None = None
    chart_synthetic_mr: str | None = None
    chart_pet_template: str | None = None
    report: str | None = None


_CHARTS = {SYNTHETIC_MR: "chart_synthetic_mr", PET_TEMPLATE: "chart_pet_template"}


def plots_of(nodes: SuvrNodes) -> dict[str, str]:
    """IDs of the charts that a measurement has, by the method that they compare with the real MR."""
    charts = {method: getattr(nodes, role) for method, role in _CHARTS.items()}
    return {method: chart for method, chart in charts.items() if chart}


def suvr_nodes(scene: slicer.vtkMRMLScene, table_id: str | None) -> SuvrNodes | None:
    """The nodes that belong to a table of regions; ``None`` if it is not one of ours."""
    table = scene.GetNodeByID(table_id) if table_id else None
    if table is None or table.GetAttribute(_RESULT) is None:
        return None
    roles = [f.name for f in fields(SuvrNodes) if f.name != "regions"]
    return SuvrNodes(table.GetID(), **{role: linked(table, role) for role in roles})


class SuvrRun(SceneJob[SuvrRequest, SuvrNodes]):
    """One measurement; settings as those of :class:`~MRI2PETLib.scene.job.SceneJob`."""

    def _write(self, folder: Path) -> list[Step]:
        request, settings = self._request, self._request.settings
        node = self._node(request.pet, "PET")
        unit = write_pet(node, self._file("PET.nrrd", node), request.pet_unit)
        paths = SuvrPaths(folder / "PET.nrrd", window=request.window, pet_unit=unit)
        if request.t1:
            t1_node = self._node(request.t1, "T1")
            t1 = write_t1(t1_node, self._file("T1.nrrd", t1_node))
            paths = replace(paths, t1=folder / "T1.nrrd")
            if request.mask:
                mask = self._node(request.mask, "brain mask")
                write_mask(mask, None, t1, self._file("mask.nrrd", mask))
                paths = replace(paths, mask=folder / "mask.nrrd")
        if request.atlas:
            atlas = self._node(request.atlas, "atlas")
            path = self._file("atlas.nrrd", atlas)
            table = write_atlas(atlas, "mni", image_of(node), path)
            settings = replace(settings, atlas=str(path), labels=table)
        if request.template:
            template = self._node(request.template, "PET template")
            write_volume(template, self._file("template.nrrd", template))
            settings = replace(settings, pet_template=(folder / "template.nrrd",))
        output = folder / "suvr"
        arguments = ["suvr", str(paths.pet), "-o", str(output), *paths.arguments(), *settings.arguments()]
        return [Step(_MEASUREMENT, arguments, output)]

    def _import(self) -> SuvrNodes:
        node = self._scene.GetNodeByID(self._request.pet)
        return add_suvr(self._scene, self._files(_MEASUREMENT), node)


def add_suvr(scene: slicer.vtkMRMLScene, files: Mapping[str, Any], pet: Any = None) -> SuvrNodes:
    """Bring what ``mri2pet suvr`` wrote about one PET into the scene: all of its nodes or none.

    :param files: by role, as its result event or its record names them.
    :param pet: the PET's node: names end with its name, and nodes join its study.
    :raises InputError: if files are missing or not those of a measurement.
    """
    try:
        content = read_object(files["sidecar"])
        rows = suvr_rows(content)
        report = Path(files["report"]).read_text(encoding="utf-8")
    except (InputError, OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"These are not the files of a measurement: {reason_of(error)}.", "Measure again."
        ) from error
    whose = pet.GetName() if pet is not None else None
    reference = content["Regions"]["reference"]
    note = f"{content['Description']} SUVR: over the mean of {', '.join(reference)}.".strip()
    with all_or_nothing(scene):
        regions = add_table(scene, named("SUVR by region", whose), with_decimals(suvr_columns(rows)), note)
        regions.SetAttribute(_RESULT, "true")
        columns = with_decimals(method_columns(rows, content["Failed"], reference))
        nodes = {"methods": add_table(scene, named("SUVR by method", whose), columns, note)}
        nodes |= _charts(scene, whose, rows, reference)
        nodes |= _volumes(scene, files, whose, content, note)
        nodes["report"] = add_report(scene, named("SUVR report", whose), report)
        for role, node in nodes.items():
            link(regions, role, node.GetID())
        labels = [_label_map(scene, own, whose, method) for method, own in files["labels"].items()]
        for node in labels:
            regions.AddNodeReferenceID(LABELS, node.GetID())
        link(regions, "pet", pet.GetID() if pet is not None else None)
        for node in (regions, *nodes.values(), *labels):
            join_study(scene, node, pet)
            if content["Simulated"]:
                node.SetAttribute(PREFIX + "Simulated", "true")
    own_nodes = suvr_nodes(scene, regions.GetID())
    assert own_nodes is not None
    return own_nodes


def suvr_summary(scene: slicer.vtkMRMLScene, nodes: SuvrNodes) -> str:
    """The composite SUVR by every method and how far it is from the real MR, a line a method."""
    table = scene.GetNodeByID(nodes.methods) if nodes.methods else None
    if table is None:
        return ""
    lines = []
    titles, rows = table_cells(table)
    for row in (dict(zip(titles, cells)) for cells in rows):
        value = row["composite SUVR"]
        line = f"{row['method']}: composite SUVR {float(value):.3f}" if value else f"{row['method']}: no SUVR"
        if row.get("MAE"):
            line += f", MAE against the real MR {float(row['MAE']):.3f} over {row['regions']} regions"
        lines.append(f"{line}. {row.get('remark') or ''}".strip())
    return "\n".join(lines)


def labels_of(scene: slicer.vtkMRMLScene, nodes: SuvrNodes) -> str | None:
    """ID of the label map of the first method: where it found the regions."""
    return scene.GetNodeByID(nodes.regions).GetNodeReferenceID(LABELS) or None


def show_suvr(scene: slicer.vtkMRMLScene, nodes: SuvrNodes) -> None:
    """Show the PET with the outlines of the regions that the first method found, over the synthetic MRI
    where there is one, with a plot where there is one.
    """
    set_layout(scene, "suvr", plot=bool(plots_of(nodes)))
    labels = labels_of(scene, nodes)
    layers: Layers = (nodes.mr, nodes.suvr, 0.5) if nodes.mr else (nodes.suvr, None, 0.0)
    set_views(scene, lambda _view, _now: layers)
    for composite in composites(scene):
        composite.SetLinkedControl(False)
        composite.SetLabelVolumeID(labels)
        composite.SetLabelOpacity(1.0)
        view = slice_node(scene, composite.GetLayoutName())
        if view is not None:
            view.SetUseLabelOutline(True)
    for composite in composites(scene):
        composite.SetLinkedControl(True)
    if nodes.suvr:
        show_legend(scene.GetNodeByID(nodes.suvr), "SUVR", ("Red",))


def hide_suvr(scene: slicer.vtkMRMLScene, nodes: SuvrNodes, t1: str | None) -> None:
    """Take a measurement out of the views: another T1, or nothing, without outlines.

    :param t1: ID of its node.
    """
    labels = labels_of(scene, nodes)
    set_layout(scene, "overlay")
    set_views(scene, lambda _view, now: (t1, None, now[2]))
    for composite in composites(scene):
        if composite.GetLabelVolumeID() == labels:
            composite.SetLabelVolumeID(None)
            view = slice_node(scene, composite.GetLayoutName())
            if view is not None:
                view.SetUseLabelOutline(False)


def _charts(
    scene: slicer.vtkMRMLScene, whose: str | None, rows: Sequence[SuvrRow], reference: Sequence[str]
) -> dict[str, Any]:
    """Bland-Altman of every method without an MRI against the real MR, over regions."""
    charts = {}
    for method, role in _CHARTS.items():
        own, real, names = paired_regions(rows, method, reference)
        if len(names) >= MIN_GROUP:
            title = named(f"SUVR: {method} against {REAL_MR}", whose)
            charts[role] = add_bland_altman(
                scene, title, real.tolist(), own.tolist(), names, "SUVR", names=(method, REAL_MR)
            )
    return charts


def highest_suvr(values: np.ndarray) -> float:
    """End of the colours of a PET in SUVR: the 99.5th percentile of what lies above half of the reference.

    Of the whole field of view, most of which is air, it left no colours for the highest regions of a brain.
    """
    tissue = values[values > 0.5]
    return float(np.percentile(tissue if tissue.size else values, 99.5))


def _volumes(
    scene: slicer.vtkMRMLScene,
    files: Mapping[str, Any],
    whose: str | None,
    content: Mapping[str, Any],
    note: str,
) -> dict[str, Any]:
    """The PET in SUVR, and the synthetic MRI where one was made."""
    image = read_image(files["suvr"], kind="pet").image
    suvr = add_volume(scene, image, named("PET (SUVR)", whose))
    suvr.SetDescription(note)
    suvr.SetAttribute(PREFIX + "Unit", "SUVR")
    reference = ", ".join(content["Regions"]["reference"])
    set_unit(suvr, "SUVR", f"Ratio to the mean in {reference}")
    set_reference(suvr, reference)
    remember_values(suvr)
    top = highest_suvr(sitk.GetArrayViewFromImage(image))
    if top > 0:
        set_pet_window(scene, [suvr.GetID()], top, transparent_below=0.05 * top)
    volumes = {"suvr": suvr}
    if "mr" in files:
        image = read_image(files["mr"], kind="t1").image
        mr = volumes["mr"] = add_volume(scene, image, named("synthetic MR", whose))
        mr.SetDescription(content["Description"])
        normalisation = content["Normalisation"][SYNTHETIC_MR]
        set_unit(mr, "normalised", "T1-weighted signal scaled to 0..1, without a unit")
        set_provenance(mr, "normalised", {**content["Provenance"], **normalisation})
    return volumes


def _label_map(scene: slicer.vtkMRMLScene, files: Mapping[str, Any], whose: str | None, method: str) -> Any:
    """Where a method found the regions, on the grid of the PET."""
    image = read_image(files["image"], kind="labels").image
    node = add_volume(scene, image, named(f"regions by {method}", whose), labels=True)
    names = read_object(files["sidecar"])["Labels"]
    colors = color_names(scene, node.GetName(), {int(label): name for label, name in names.items()})
    node.GetDisplayNode().SetAndObserveColorNodeID(colors.GetID())
    node.SetDescription(f"Regions of the atlas on the PET, by {method}.")
    return node
