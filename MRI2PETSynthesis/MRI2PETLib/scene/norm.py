"""A real PET against a norm on nodes of a scene, and the norm of a finished run. No Qt."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import slicer

from MRI2PETLib.core.errors import InputError, reason_of
from MRI2PETLib.core.files import read_object
from MRI2PETLib.evaluation.cohort_cases import PREDICTIONS
from MRI2PETLib.images.case_table import read_case_table
from MRI2PETLib.images.person_values import group_of_controls
from MRI2PETLib.normative.headings import CLUSTER_HEADINGS, REGION_HEADINGS
from MRI2PETLib.normative.settings import LEAST_PEOPLE, NormSettings, ScorePaths, ScoreSettings
from MRI2PETLib.scene.comparison import add_report
from MRI2PETLib.scene.display import (
    NO_VALUE,
    set_views,
    show_symmetric,
    signed_voxels,
    symmetric_color_node,
)
from MRI2PETLib.scene.files import write_mask, write_pet, write_t1
from MRI2PETLib.scene.images import add_volume
from MRI2PETLib.scene.job import SceneJob, Step
from MRI2PETLib.scene.layout import COMPARED, set_layout, show_crosshair, show_legend
from MRI2PETLib.scene.nodes import PREFIX, all_or_nothing, join_study, link, linked
from MRI2PETLib.scene.readout import jump_to
from MRI2PETLib.scene.results import named
from MRI2PETLib.scene.tables import add_table, table_cells, with_decimals
from MRI2PETLib.templates.regions import parcellation_title

_RESULT, _SCORING, _BUILDING = PREFIX + "Norm", "comparison with the norm", "norm"
_BY = PREFIX + "NormBy"  # the norm and the person's covariates, which may have been chosen anew since
_NORM_FOLDER, _RECORD_OF_NORM = "norm", "norm.json"
_COLOR_TABLE, _LEAST_LIMIT, _MOST_LIMIT = "MRI2PET z", 4.0, 8.0


@dataclass(frozen=True)
class NormRequest:
    """What to compare with which norm, by node ID.

    :ivar pet_unit: overrides what the PET states.
    """

    t1: str
    pet: str
    norm: Path
    settings: ScoreSettings = ScoreSettings()
    mask: str | None = None
    pet_unit: str | None = None


@dataclass(frozen=True)
class NormNodes:
    """IDs of the nodes of one comparison; ``z`` is the volume that the others are linked with."""

    z: str
    z_unconditional: str | None = None
    regions: str | None = None
    clusters: str | None = None
    report: str | None = None
    t1: str | None = None
    pet: str | None = None


def missing_for_norm(norm: Path | None, t1: Any, pet: Any) -> str:
    """Why nothing can be compared, empty when it can."""
    if norm is None:
        return "Choose the folder of a norm."
    if not (norm / _RECORD_OF_NORM).is_file():
        return f"{norm} holds no norm ({_RECORD_OF_NORM})."
    if t1 is None or pet is None:
        return "Choose a T1 and the real PET of the same person."
    return "T1 and PET are the same volume." if t1.GetID() == pet.GetID() else ""


def covariates_of(text: str) -> tuple[str, ...]:
    """What a user wrote, ``age=67, sex=F``, as the settings have it: values may hold spaces and commas."""
    entries = re.split(r"[\s,;]+(?=[^\s,;=]+\s*=)", text.strip(" ,;"))
    return tuple(entry for entry in entries if entry)


class NormRun(SceneJob[NormRequest, NormNodes]):
    """One comparison; settings as those of :class:`.job.SceneJob`."""

    def _write(self, folder: Path) -> list[Step]:
        request = self._request
        t1_node, pet = self._node(request.t1, "T1"), self._node(request.pet, "PET")
        t1 = write_t1(t1_node, self._file("T1.nrrd", t1_node))
        unit = write_pet(pet, self._file("PET.nrrd", pet), request.pet_unit)
        mask = None
        if request.mask:
            node = self._node(request.mask, "brain mask")
            mask = self._file("mask.nrrd", node)
            write_mask(node, None, t1, mask)
        paths = ScorePaths(folder / "PET.nrrd", folder / "T1.nrrd", request.norm, mask)
        output = folder / "norm"
        arguments = ["normative", "score", *paths.arguments(), "-o", str(output)]
        settings = replace(request.settings, pet_unit=unit or request.settings.pet_unit)
        return [Step(_SCORING, [*arguments, *settings.arguments()], output)]

    def _import(self) -> NormNodes:
        t1, pet = (self._scene.GetNodeByID(i) for i in (self._request.t1, self._request.pet))
        by = ", ".join((str(self._request.norm), *self._request.settings.covariate))
        return add_norm_result(self._scene, self._files(_SCORING), t1, pet, by)


def norm_nodes(scene: slicer.vtkMRMLScene, z_id: str | None) -> NormNodes | None:
    """The nodes that belong to a z map; ``None`` if it is not one of ours."""
    node = scene.GetNodeByID(z_id) if z_id else None
    if node is None or node.GetAttribute(_RESULT) is None:
        return None
    return NormNodes(node.GetID(), **{f.name: linked(node, f.name) for f in fields(NormNodes)[1:]})


def norm_result(scene: slicer.vtkMRMLScene, t1: Any, pet: Any) -> NormNodes | None:
    """The last comparison of this PET, by this T1, with a norm, also in a scene that was loaded; ``None``
    without one.
    """
    if t1 is None or pet is None:
        return None
    for n in reversed(range(scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode"))):
        nodes = norm_nodes(scene, scene.GetNthNodeByClass(n, "vtkMRMLScalarVolumeNode").GetID())
        if nodes is not None and nodes.t1 == t1.GetID() and nodes.pet == pet.GetID():
            return nodes
    return None


def add_norm_result(
    scene: slicer.vtkMRMLScene, files: Mapping[str, Any], t1: Any = None, pet: Any = None, by: str = ""
) -> NormNodes:
    """Bring what ``mri2pet normative score`` wrote into the scene: all of its nodes or none.

    :param files: by role, as its result event or its record names them.
    :param t1: the T1's node: nodes join its study. ``pet``: its name ends theirs.
    :param by: the norm and the person's covariates, as the summary says them.
    :raises InputError: if files are missing or not those of a comparison.
    """
    try:
        content = read_object(files["score"])
        report = Path(files["report"]).read_text(encoding="utf-8")
        maps = {name: sitk.ReadImage(str(files[name]), sitk.sitkFloat32) for name in _MAPS}
        regions, clusters, note = content["regions"], content["clusters"], str(content["description"])
        peak = [float(v) for v in content["peak_lps_mm"]]
    except (InputError, OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise InputError(
            f"These are not the files of a comparison: {reason_of(error)}.", "Compare again."
        ) from error
    whose = pet.GetName() if pet is not None else None
    with all_or_nothing(scene):
        volumes = {
            role: add_volume(scene, _signed(maps[role]), named(title, whose)) for role, title in _MAPS.items()
        }
        limit = _limit(list(maps.values()))
        for volume in volumes.values():
            volume.SetDescription(f"{note} {NO_VALUE:g} where there is no score.")
            volume.SetAttribute(PREFIX + "Unit", "none")
            show_z(scene, volume, limit)
        z = volumes["z"]
        z.SetAttribute(_RESULT, "true")
        z.SetAttribute(_BY, by or None)
        z.SetAttribute(PREFIX + "PeakRas", " ".join(f"{v:.3f}" for v in (-peak[0], -peak[1], peak[2])))
        unit = str(content["unit"])
        nodes = {"z_unconditional": volumes["z_unconditional"]}
        nodes["regions"] = add_table(
            scene, named("z by region", whose), _columns(regions, REGION_HEADINGS, unit), note
        )
        nodes["clusters"] = add_table(
            scene, named("clusters of z", whose), _columns(clusters, CLUSTER_HEADINGS, unit), note
        )
        nodes["report"] = add_report(scene, named("norm report", whose), report)
        for role, node in nodes.items():
            link(z, role, node.GetID())
        for role, source in (("t1", t1), ("pet", pet)):
            link(z, role, source.GetID() if source is not None else None)
        for node in (z, *nodes.values()):
            join_study(scene, node, t1)
            for name in ("demonstration", "simulated"):
                if content[name]:
                    node.SetAttribute(PREFIX + name.capitalize(), "true")
    own = norm_nodes(scene, z.GetID())
    assert own is not None
    return own


_MAPS = {"z": "z", "z_unconditional": "unconditional z"}
_MAP_OF_KIND = {"residual": "z by the T1", "real": "unconditional z"}  # as the window names the maps


def _signed(z: sitk.Image) -> sitk.Image:
    """A map of z for Slicer. In its file 0 says that there is no score."""
    values = sitk.GetArrayViewFromImage(z)
    image = sitk.GetImageFromArray(signed_voxels(values, values != 0))
    image.CopyInformation(z)
    return image


def show_z(scene: slicer.vtkMRMLScene, volume: Any, limit: float) -> None:
    """Colours from blue (lower than expected) over white to red, symmetric around 0."""
    about = "z: blue where the real PET is lower than expected, red where it is higher."
    name = f"{_COLOR_TABLE} {limit:g}"
    colors = symmetric_color_node(scene, name, about, limit)
    show_symmetric(volume, colors, limit)


def show_norm_result(
    scene: slicer.vtkMRMLScene, nodes: NormNodes, *, conditional: bool = True, opacity: float = 0.5
) -> None:
    """Show z, by the T1 or without it, over the T1 with legend and crosshair, in the layout *overlay*."""
    volume = nodes.z if conditional else nodes.z_unconditional
    set_layout(scene, "overlay")
    set_views(scene, lambda view, now: now if view in COMPARED else (nodes.t1, volume, opacity))
    show_crosshair(scene)
    if volume:
        show_legend(scene.GetNodeByID(volume), _MAPS["z" if conditional else "z_unconditional"], ("Red",))


def jump_to_peak(scene: slicer.vtkMRMLScene, nodes: NormNodes) -> tuple[float, float, float] | None:
    """Show the farthest z by the T1 in all slice views (RAS mm)."""
    text = scene.GetNodeByID(nodes.z).GetAttribute(PREFIX + "PeakRas")
    if not text:
        return None
    r, a, s = (float(v) for v in text.split())
    jump_to(scene, (r, a, s))
    return r, a, s


def norm_summary(scene: slicer.vtkMRMLScene, nodes: NormNodes) -> str:
    """The farthest region, in a sentence, and by which norm."""
    titles, rows = table_cells(scene.GetNodeByID(nodes.regions)) if nodes.regions else ([], [])
    if not rows:
        return ""
    row = dict(zip(titles, rows[0]))
    z, other = (
        f"{float(row[REGION_HEADINGS[name]]):.1f}" if row[REGION_HEADINGS[name]] else "none"
        for name in ("z", "z_unconditional")
    )
    by = scene.GetNodeByID(nodes.z).GetAttribute(_BY)
    text = f"Farthest region: {row[REGION_HEADINGS['region']]}, z {z}, unconditional z {other}."
    return f"{text} By {by}." if by else text


def _columns(rows: Sequence[Mapping[str, Any]], titles: Mapping[str, str], unit: str) -> dict[str, list[Any]]:
    if "z" in titles:
        rows = sorted((r for r in rows if r["z"] is not None), key=lambda r: -abs(r["z"]))
    if "kind" in titles:
        rows = [{**row, "kind": _MAP_OF_KIND.get(row["kind"], row["kind"])} for row in rows]
    if "parcellation" in titles:
        rows = [{**row, "parcellation": parcellation_title(row["parcellation"])} for row in rows]
    return with_decimals(
        {title.format(unit=unit): [row[name] for row in rows] for name, title in titles.items()}
    )


def _limit(images: Sequence[sitk.Image]) -> float:
    """End of the scale: the largest 99.9th percentile of |z|, a whole number from 4 to 8."""
    ends = [0.0]
    for image in images:
        values = np.abs(sitk.GetArrayViewFromImage(image))
        values = values[values > 0]
        ends.append(float(np.percentile(values, 99.9)) if values.size else 0.0)
    return float(np.clip(np.ceil(max(ends)), _LEAST_LIMIT, _MOST_LIMIT))


@dataclass(frozen=True)
class NormBuildRequest:
    """The run to build a norm from; it goes into the folder ``norm`` of the run."""

    run: Path
    settings: NormSettings = NormSettings()


@dataclass(frozen=True)
class BuiltNorm:
    """The folder of a norm, its card and how many people are in it."""

    folder: Path
    card: Path
    people: int


def norm_of_run(run: Path | None) -> Path | None:
    """The norm that was built of a run here, if there is one."""
    folder = None if run is None else run / _NORM_FOLDER
    return folder if folder is not None and (folder / _RECORD_OF_NORM).is_file() else None


@dataclass(frozen=True)
class RunGroups:
    """The groups of a run with the number of people in each, by name; ``controls``: the name of theirs, empty
    without groups, ``None`` where it is not clear.
    """

    people: dict[str, int]
    controls: str | None = ""
    everybody: int = 0

    def too_few(self, group: str | None) -> str:
        """Why no norm can be made of a group, ``None`` for everybody; empty where it can."""
        people = self.people.get(group, 0) if group else self.everybody
        if people >= LEAST_PEOPLE:
            return ""
        return f"There are {people} controls; a norm needs {LEAST_PEOPLE} or more. Add controls."


def groups_of_run(run: Path | None) -> RunGroups:
    """Of whom a norm of the run can be; nobody for a run whose table is not there or cannot be read."""
    if missing_for_build(run):
        return RunGroups({})
    assert run is not None
    table = run / PREDICTIONS
    return _groups_in(table, table.stat().st_mtime_ns)


@lru_cache(maxsize=1)
def _groups_in(table: Path, _changed_ns: int) -> RunGroups:
    """The window asks again and again."""
    try:
        rows = read_case_table(table, ("case",)).used
    except InputError:  # Build norm says why
        return RunGroups({})
    group_of = {row.subject: row.group for row in rows}
    people = Counter(group for group in group_of.values() if group)
    return RunGroups(dict(sorted(people.items())), group_of_controls(people), len(group_of))


def missing_for_build(run: Path | None) -> str:
    """Why no norm can be built, empty when it can."""
    if run is None or not (run / PREDICTIONS).is_file():
        return "A norm needs a finished cross-validation."
    return ""


class NormBuild(SceneJob[NormBuildRequest, BuiltNorm]):
    """One norm; settings as those of :class:`.job.SceneJob`. The scene stays as it is."""

    def _write(self, folder: Path) -> list[Step]:
        run, output = self._request.run, self._request.run / _NORM_FOLDER
        arguments = ["normative", "build", str(run), "-o", str(output), *self._request.settings.arguments()]
        return [Step(_BUILDING, arguments, output)]

    def _import(self) -> BuiltNorm:
        result = self._results[_BUILDING]
        return BuiltNorm(Path(result["norm"]), Path(self._files(_BUILDING)["card"]), int(result["people"]))
