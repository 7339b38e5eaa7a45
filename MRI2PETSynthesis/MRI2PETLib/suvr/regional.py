"""SUVR by region: which regions, the checks of the reference region, the means on the grid of the PET."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.images.grid import Grid, resample
from MRI2PETLib.preprocessing.pet_measured import why_left_out
from MRI2PETLib.templates.icbm152 import load_template
from MRI2PETLib.templates.regions import Parcellation

COMPOSITE, REFERENCE, REGION = "composite", "reference", "region"
# 200 voxels of 2 mm: a mean over less is too noisy to divide by.
MIN_REFERENCE_ML = 1.6
# Grey matter of the template, as a share of the voxel.
_GREY_MATTER = 0.5


@dataclass(frozen=True)
class RegionPlan:
    """Which labels of an atlas in MNI space are measured.

    :ivar reference: labels whose union is the reference region.
    :ivar composite: labels whose union is the composite region.
    """

    atlas: Parcellation
    reference: tuple[int, ...]
    composite: tuple[int, ...]


class SuvrRow(NamedTuple):
    """One region of one PET by one method. ``role``: region, reference or composite.

    ``mean`` is in the unit of the PET, ``suvr`` without a unit; ``covered`` is the share of the region inside
    the field of view. ``reason`` explains ``None``. ``correction``: of partial volume.
    """

    method: str
    region: str
    label: int | None
    role: str
    n_voxels: int
    volume_ml: float
    mean: float | None
    suvr: float | None
    covered: float
    reason: str = ""
    correction: str = "none"


def plan_regions(
    atlas: Parcellation, reference: str, composite: str | None = None, *, grey_matter: bool = False
) -> RegionPlan:
    """Choose the reference and the composite region by name.

    :param reference: names of regions, or patterns such as ``*Cerebellum*``, or labels; commas between them.
    :param composite: likewise; default: all regions but the reference.
    :param grey_matter: keep only the grey matter of the template, the same for every person and method, as
        Choi & Lee 2018 do.
    :raises InputError: for names that the atlas does not have, regions that the map does not hold, or a
        composite region that shares a label with the reference region.
    """
    if atlas.space != "mni":
        raise InputError(f"The atlas {atlas.name!r} is not in MNI space.", "Give an atlas in MNI space.")
    if grey_matter:
        atlas = _grey_matter_only(atlas)
    reference_labels = _labels_of(atlas, reference, "reference")
    others = tuple(label for label in atlas.names if label not in reference_labels)
    composite_labels = others if composite is None else _labels_of(atlas, composite, "composite")
    both = sorted(set(reference_labels) & set(composite_labels))
    if both:
        raise InputError(
            f"{atlas.names[both[0]]!r} is in both the composite and the reference region.",
            "A region cannot be measured against itself: choose others.",
        )
    if not composite_labels:
        raise InputError("The atlas has no region besides the reference region.", "Use another atlas.")
    for role, labels in ((REFERENCE, reference_labels), (COMPOSITE, composite_labels)):
        if not np.isin(sitk.GetArrayViewFromImage(atlas.labels), labels).any():
            raise InputError(
                f"The {role} region is empty: the atlas {atlas.name!r} has no voxel of "
                f"{_names(atlas, labels)}.",
                "Choose another region" + (", or leave out --grey-matter." if grey_matter else "."),
            )
    return RegionPlan(atlas, reference_labels, composite_labels)


def _labels_of(atlas: Parcellation, terms: str, role: str) -> tuple[int, ...]:
    labels: list[int] = []
    for word in (w.strip() for w in terms.split(",")):
        matching = [
            label
            for label, name in atlas.names.items()
            if word == str(label) or fnmatch.fnmatchcase(name.lower(), word.lower())
        ]
        if not word or not matching:
            names = list(atlas.names.values())
            close = difflib.get_close_matches(word, names, n=4, cutoff=0.4) or names[:6]
            raise InputError(
                f"The atlas {atlas.name!r} has no region {word!r} (for the {role} region).",
                f"Regions are named like: {', '.join(close)}. Patterns such as '*cerebellum*' work too.",
            )
        labels += [label for label in matching if label not in labels]
    return tuple(labels)


def _grey_matter_only(atlas: Parcellation) -> Parcellation:
    identity = sitk.Transform(3, sitk.sitkIdentity)
    grey = resample(load_template().gm, Grid.of(atlas.labels), identity)
    grey_labels = sitk.Mask(atlas.labels, sitk.Cast(grey > _GREY_MATTER, sitk.sitkUInt8))
    return replace(
        atlas, labels=grey_labels, source=f"{atlas.source} Cut to the grey matter of the ICBM 152 template."
    )


def _names(atlas: Parcellation, labels: Sequence[int]) -> str:
    names = [atlas.names[label] for label in labels]
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def pull_atlas(plan: RegionPlan, pet: sitk.Image, pet_to_template: sitk.Transform) -> sitk.Image:
    """The atlas' labels on the grid of the PET, by nearest neighbour: no label is invented."""
    return sitk.Resample(plan.atlas.labels, pet, pet_to_template, sitk.sitkNearestNeighbor, 0)


def regional_suvr(
    pet: sitk.Image,
    labels: sitk.Image,
    plan: RegionPlan,
    template_to_pet: sitk.Transform,
    *,
    method: str,
    measured: sitk.Image | None = None,
    correction: str = "none",
) -> list[SuvrRow]:
    """Mean and SUVR of every region: composite and reference first, then the regions in the atlas' order.

    The SUVR of a region is the mean of its voxels over the mean of the voxels of the reference region.

    >>> labels = sitk.GetImageFromArray(np.array([[[1, 1, 2, 2]]], np.uint8).repeat(30, 0).repeat(30, 1))
    >>> pet = sitk.Cast(labels, sitk.sitkFloat32) * 1.5
    >>> atlas = Parcellation("two", labels, {1: "cerebellum", 2: "cortex"}, "mni", "")
    >>> plan = plan_regions(atlas, reference="cerebellum")
    >>> rows = regional_suvr(pet, labels, plan, sitk.Transform(), method="real MR")
    >>> [(row.region, row.suvr) for row in rows if row.role != "reference"][-1]
    ('cortex', 2.0)

    :param labels: on the grid of the PET, from :func:`pull_atlas`.
    :param template_to_pet: for the share of a region inside the field of view; a linear part suffices.
    :param measured: on the grid of the PET, 0 where nothing was measured; those voxels enter no mean.
    :param correction: what was done to the PET, for the table.
    :raises InputError: if the reference region has no voxel on the PET, lies outside of its field of view by
        more than a tenth, is smaller than 1.6 mL, or has a mean that is not above zero.
    """
    values = sitk.GetArrayViewFromImage(pet).astype(np.float64)
    pulled = sitk.GetArrayFromImage(labels)
    if measured is None:
        measured = Grid.of(pet).image(np.ones(pet.GetSize()[::-1], np.uint8))
    pulled[sitk.GetArrayViewFromImage(measured) == 0] = 0
    voxel_ml = float(np.prod(pet.GetSpacing())) / 1000.0
    inside_view = _inside_view(plan, measured, template_to_pet)

    def measure(role: str, name: str, region_labels: tuple[int, ...]) -> SuvrRow:
        voxels = values[np.isin(pulled, region_labels)]
        mean = float(voxels.mean()) if voxels.size else None
        return SuvrRow(
            method=method,
            region=name,
            label=region_labels[0] if role == REGION else None,
            role=role,
            n_voxels=voxels.size,
            volume_ml=voxels.size * voxel_ml,
            mean=mean,
            suvr=None,
            covered=float(np.mean([inside_view[label] for label in region_labels])),
            correction=correction,
        )

    reference = measure(REFERENCE, _names(plan.atlas, plan.reference), plan.reference)
    _check_reference(reference, method)
    rows = [measure(COMPOSITE, COMPOSITE, plan.composite), reference]
    rows += [measure(REGION, name, (label,)) for label, name in plan.atlas.names.items()]
    return [_divided(row, reference.mean or 1.0) for row in rows]


def _inside_view(plan: RegionPlan, measured: sitk.Image, template_to_pet: sitk.Transform) -> dict[int, float]:
    """Share of every label's atlas voxels that the PET measured."""
    in_view = sitk.Resample(measured, plan.atlas.labels, template_to_pet, sitk.sitkNearestNeighbor, 0)
    atlas = sitk.GetArrayViewFromImage(plan.atlas.labels).ravel()
    total = np.bincount(atlas[atlas > 0], minlength=max(plan.atlas.names) + 1)
    covered = np.bincount(
        atlas[(atlas > 0) & (sitk.GetArrayViewFromImage(in_view).ravel() > 0)], minlength=len(total)
    )
    return {label: float(covered[label] / max(1, total[label])) for label in plan.atlas.names}


def _check_reference(row: SuvrRow, method: str) -> None:
    where = f"The reference region ({row.region})"
    reason = why_left_out(row.covered)
    if reason:
        raise InputError(
            f"{where} cannot be used: {reason} ({method}).",
            "Choose a reference region that the PET covers, or check the header of the PET.",
        )
    if not row.n_voxels:
        raise InputError(f"{where} has no voxel on the PET ({method}).", "Choose a larger region.")
    if row.volume_ml < MIN_REFERENCE_ML:
        raise InputError(
            f"{where} has {row.volume_ml:.2g} mL on the PET; at least {MIN_REFERENCE_ML} mL are needed "
            f"({method}).",
            "Choose a larger region.",
        )
    if row.mean is None or not row.mean > 0:
        raise InputError(
            f"The mean of the PET in the reference region ({row.region}) is {row.mean or 0:.4g}, not above "
            f"zero ({method}).",
            "Check that the PET is not centred or masked, and look at the labels over it.",
        )


def _divided(row: SuvrRow, reference: float) -> SuvrRow:
    reason = why_left_out(row.covered) or ("no voxel on the PET" if row.mean is None else "")
    if row.mean is None or reason:
        return row._replace(reason=reason)
    return row._replace(suvr=row.mean / reference)
