"""Regions of a brain: built-in ones, how they get from MNI space to a person, and the checks on the way.

A parcellation is a label map with a name for each label. Built in and offline, all made from the ICBM 152
template that ships with the extension: ``tissue``, ``hemispheres`` and ``paper21``. Label maps from files are
read by :mod:`MRI2PETLib.templates.atlases`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
import SimpleITK as sitk

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.findings import Finding
from MRI2PETLib.core.resources import resources_dir
from MRI2PETLib.core.tables import read_table
from MRI2PETLib.templates import CORTICAL_SPHERES
from MRI2PETLib.templates.icbm152 import load_template
from MRI2PETLib.templates.sides import side_of

Space = Literal["mni", "native"]
# Share of the smaller of atlas and brain that the other covers. Atlases of MNI space pulled by an affine
# reach 0.85 and more; one that was drawn in another space falls far below.
MIN_REGION_OVERLAP = 0.7
WHOLE_BRAIN = "whole brain"
REFERENCE_REGIONS = (WHOLE_BRAIN, "cerebellum", "occipital")
_ORIGIN = "ICBM 152 2009a nonlinear symmetric template (Fonov et al. 2011), shipped with MRI2PET"
_MIDLINE_MM = 2.0  # a region whose centre is nearer to the midline proves nothing about sides


@dataclass(frozen=True)
class Parcellation:
    """Labels with names. ``labels``: integer image, 0 = no region; world = MNI or that of the T1, by
    ``space``.

    ``source`` is a printable sentence: where it comes from and under which licence.
    """

    name: str
    labels: sitk.Image
    names: dict[int, str]
    space: Space
    source: str
    findings: tuple[Finding, ...] = ()


def parcellation_title(name: str) -> str:
    """What a person reads for a parcellation."""
    return {"paper21": "21 coordinate regions"}.get(name, name)


@dataclass(frozen=True)
class RegionVoxels:
    """One region of one person.

    :ivar index: flat voxel indices (C order) on the person's grid of what was measured of it.
    :ivar covered: share of its voxels in the brain that was measured; 1 for a region without voxels.
    """

    parcellation: str
    label: int
    name: str
    index: np.ndarray
    covered: float = 1.0


@cache
def _tissue_regions() -> Parcellation:
    brain = sitk.GetArrayViewFromImage(load_template().mask) > 0
    return Parcellation(
        "tissue",
        _label_image(np.where(brain, 1 + load_template().tissue, 0)),
        {1: "grey matter", 2: "white matter", 3: "CSF"},
        "mni",
        f"Most probable tissue of the {_ORIGIN}; by affine registration, so cortex is approximate.",
    )


@cache
def _hemispheres() -> Parcellation:
    template = load_template()
    brain = sitk.GetArrayViewFromImage(template.mask) > 0
    x, _, _ = _ras_coordinates(template.mask)
    return Parcellation(
        "hemispheres",
        _label_image(np.where(brain & (x < 0), 1, 0) + np.where(brain & (x > 0), 2, 0)),
        {1: "left hemisphere", 2: "right hemisphere"},
        "mni",
        f"Sign of x in the {_ORIGIN}.",
    )


@cache
def _paper_regions() -> Parcellation:
    """The 21 structures of the published evaluation as spheres (some cut to a tissue) at rounded MNI centres.

    They stand in for the Harvard-Oxford labels of the paper, which the FSL licence (non-commercial) does not
    allow to ship; ask for those with ``harvard-oxford``.
    """
    return _spheres(
        "paper21",
        "paper_regions.csv",
        "Coordinate regions: spheres at MNI coordinates, named after the 21 Harvard-Oxford structures of "
        "Ferrante et al. 2025, which they are not.",
    )


BUILT_IN: dict[str, Callable[[], Parcellation]] = {
    "tissue": _tissue_regions,
    "hemispheres": _hemispheres,
    "paper21": _paper_regions,
}


def built_in_parcellations() -> tuple[Parcellation, ...]:
    """Tissue, hemispheres and the coordinate regions, in MNI space on the grid of the template."""
    return tuple(make() for make in BUILT_IN.values())


@cache
def cortical_spheres() -> Parcellation:
    """Grey matter in spheres at rounded MNI centres: the regions of an amyloid composite, and cerebellum.

    A stand-in for trying the software without an atlas of one's own: the regions of Choi & Lee 2018 come from
    AAL, which is not shipped.
    """
    return _spheres(
        CORTICAL_SPHERES,
        "cortical_regions.csv",
        "Coordinate regions: grey matter of the ICBM 152 template in spheres at MNI coordinates; no "
        "anatomical atlas.",
    )


@cache
def reference_regions() -> Parcellation:
    """Grey matter in spheres at rounded MNI centres: cerebellum and occipital cortex, to divide a PET by."""
    return _spheres(
        "reference regions",
        "reference_regions.csv",
        "Coordinate regions: grey matter of the ICBM 152 template in spheres at MNI coordinates; no "
        "anatomical atlas.",
    )


def _spheres(name: str, table: str, source: str) -> Parcellation:
    """A table of spheres in MNI space, some cut to a tissue; rows come first where they meet."""
    template = load_template()
    brain = sitk.GetArrayViewFromImage(template.mask) > 0
    axes = [axis.ravel() for axis in _ras_coordinates(template.mask)]
    labels = np.zeros(brain.shape, dtype=np.uint8)
    names: dict[int, str] = {}
    for row in read_table(resources_dir() / "Templates" / table).rows:
        radius_mm = float(row["radius_mm"])
        for side in ("left", "right") if row["side"] == "both" else ("",):
            sign = -1.0 if side == "left" else 1.0
            centre = (sign * float(row["x_mm"]), float(row["y_mm"]), float(row["z_mm"]))
            within = [np.flatnonzero(np.abs(axis - c) <= radius_mm) for axis, c in zip(axes, centre)]
            near = np.ix_(*within[::-1])
            distance_2 = sum((axis[index] - c) ** 2 for axis, index, c in zip(axes, near[::-1], centre))
            region = brain[near] & (labels[near] == 0) & (distance_2 <= radius_mm**2)
            if side:
                region &= sign * axes[0][near[2]] > 0
            if row["tissue"] != "any":
                region &= template.tissue[near] == ("gm", "wm", "csf").index(row["tissue"])
            label = len(names) + 1
            labels[near] = np.where(region, label, labels[near])
            names[label] = f"{side} {row['name']}".strip()
    return Parcellation(name, _label_image(labels), names, "mni", source)


def _ras_coordinates(image: sitk.Image) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """RAS x, y, z (mm) of all voxel centres as broadcastable arrays; the image has world-aligned axes."""
    direction = np.array(image.GetDirection()).reshape(3, 3)
    if not np.allclose(np.abs(direction), np.eye(3)):
        raise ValueError("the template grid is aligned with the world")
    axes = [
        origin + direction[a, a] * spacing * np.arange(size)
        for a, (origin, spacing, size) in enumerate(
            zip(image.GetOrigin(), image.GetSpacing(), image.GetSize())
        )
    ]
    return -axes[0][None, None, :], -axes[1][None, :, None], axes[2][:, None, None]


def _label_image(labels: np.ndarray) -> sitk.Image:
    image = sitk.GetImageFromArray(labels.astype(np.uint8))
    image.CopyInformation(load_template().mask)
    return image


def pull_labels(
    parcellation: Parcellation, reference: sitk.Image, template_to_native: sitk.Transform | None
) -> np.ndarray:
    """Labels on the grid of ``reference`` (the T1), array [k, j, i], by nearest neighbour.

    ``template_to_native`` maps MNI points to points of the T1; not needed for native parcellations.

    :raises InputError: for a parcellation in MNI space without that transform.
    """
    transform = sitk.Transform(3, sitk.sitkIdentity)
    if parcellation.space == "mni":
        if template_to_native is None:
            raise InputError(
                f"The regions {parcellation.name!r} are in MNI space and there is no transform to this "
                f"person.",
                "Give the T1 (--t1), or a label map drawn on this person with --atlas-space native.",
            )
        transform = template_to_native.GetInverse()
    pulled = sitk.Resample(parcellation.labels, reference, transform, sitk.sitkNearestNeighbor, 0)
    return sitk.GetArrayFromImage(pulled)


def overlap(labels: np.ndarray, brain: np.ndarray) -> float:
    """Voxels that are both labelled and in the brain, over the smaller of the two sets."""
    inside, labelled = brain != 0, labels != 0
    smaller = min(np.count_nonzero(inside), np.count_nonzero(labelled))
    return float(np.count_nonzero(inside & labelled) / smaller) if smaller else 0.0


def check_overlap(parcellation: Parcellation, labels: np.ndarray, brain: np.ndarray) -> float:
    """The overlap of pulled labels with the brain mask.

    :raises InputError: if it is under :data:`MIN_REGION_OVERLAP`: the atlas is in another space.
    """
    share = overlap(labels, brain)
    if share < MIN_REGION_OVERLAP:
        other = "native" if parcellation.space == "mni" else "mni"
        raise InputError(
            f"The atlas {parcellation.name!r} does not lie on the brain: taken as {parcellation.space} "
            f"space, the overlap is {share:.2f} (at least {MIN_REGION_OVERLAP} expected).",
            f"If it is in {other} space, say --atlas-space {other}; else check its header.",
        )
    return share


def check_sides(parcellation: Parcellation) -> tuple[Finding, ...]:
    """Compare the sides in the names with the sign of x (RAS; in native space relative to the atlas' own
    centre).

    Tables with left and right swapped do circulate.

    :return: a warning naming the regions when some disagree.
    :raises InputError: when most disagree.
    """
    centres = _centres_x(parcellation.labels)
    middle = 0.0 if parcellation.space == "mni" else float(np.mean(list(centres.values())))
    checked, wrong = 0, []
    for label, name in parcellation.names.items():
        side = side_of(name)
        if side is None or label not in centres or abs(centres[label] - middle) < _MIDLINE_MM:
            continue
        checked += 1
        if (centres[label] < middle) != (side == "left"):
            wrong.append(name)
    if not wrong:
        return ()
    message = f"{len(wrong)} of {checked} regions of {parcellation.name!r} are not on the side of their name"
    if 2 * len(wrong) > checked:
        raise InputError(
            f"{message}.",
            "Left and right are swapped in the label table, or it belongs to another map: give the right "
            "one.",
        )
    return (Finding("warn", "atlas-sides", f"{message}: {', '.join(wrong)}.", "Check the label table."),)


def _centres_x(image: sitk.Image) -> dict[int, float]:
    """RAS x (mm) of the centre of every label but 0."""
    array = sitk.GetArrayViewFromImage(image)
    where = np.nonzero(array)
    labels, index = np.unique(array[where], return_inverse=True)
    count = np.bincount(index)
    k, j, i = (np.bincount(index, weights=axis) / count for axis in where)
    points = (
        image.TransformContinuousIndexToPhysicalPoint(p) for p in zip(i.tolist(), j.tolist(), k.tolist())
    )
    return {int(label): -point[0] for label, point in zip(labels, points)}


def region_voxels(
    parcellation: Parcellation, labels: np.ndarray, brain: np.ndarray, measured: np.ndarray
) -> Iterator[RegionVoxels]:
    """Every named region with its voxels inside the brain, in the order of the names; empty ones included.

    :param measured: where numbers can be had, [k, j, i] as ``labels`` and ``brain``.
    """
    flat = np.where(brain != 0, labels, 0).ravel()
    order = np.argsort(flat, kind="stable")
    ordered = flat[order]
    for label, name in parcellation.names.items():
        first, last = np.searchsorted(ordered, [label, label + 1])
        index = order[first:last]
        inside = measured.ravel()[index] != 0
        covered = float(inside.mean()) if index.size else 1.0
        yield RegionVoxels(parcellation.name, label, name, index[inside], covered)
