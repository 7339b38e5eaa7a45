"""Picture of one measurement: what each method laid where, in three planes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import SimpleITK as sitk

from MRI2PETLib.core.files import atomic_path
from MRI2PETLib.images.grid import Grid, affine_transform
from MRI2PETLib.images.io import read_image
from MRI2PETLib.reports import figures
from MRI2PETLib.reports.colors import PET_IN_REPORTS
from MRI2PETLib.suvr.case import CaseSuvr
from MRI2PETLib.suvr.normalisation import REAL_MR, SYNTHETIC_MR
from MRI2PETLib.suvr.regional import RegionPlan
from MRI2PETLib.templates.icbm152 import load_template

COMPOSITE_COLOR, REFERENCE_COLOR = "#56B4E9", "#009E73"


class SuvrImages(NamedTuple):
    """On the grid of the PET: the PET divided by the reference mean of the first method, the brain, the MRIs
    and the labels by method; ``top``: end of the PET's colours; ``point_mm`` (LPS): where the planes cross.
    """

    pet: sitk.Image
    brain: sitk.Image
    mris: dict[str, sitk.Image]
    labels: dict[str, sitk.Image]
    top: float
    point_mm: np.ndarray


def suvr_images(case: CaseSuvr, plan: RegionPlan) -> SuvrImages:
    """What picture and viewer show."""
    pet = sitk.Cast(case.pet.image, sitk.sitkFloat32) / case.first.reference_mean
    brain = sitk.Resample(
        load_template().mask, pet, case.first.normalisation.pet_to_template, sitk.sitkNearestNeighbor, 0
    )
    mris = {name: m.normalisation.mr for name, m in case.methods.items() if m.normalisation.mr is not None}
    labels = {name: method.labels for name, method in case.methods.items()}
    return _images(pet, brain, mris, labels, plan)


def read_suvr_images(
    files: Mapping[str, Any], t1: Path | None, content: Mapping[str, Any], plan: RegionPlan
) -> SuvrImages:
    """The same from the files of a measurement; the brain is what has a label.

    :param files: by role, see :class:`.CaseMeasurement`.
    :param t1: of the person. ``content``: of ``suvr.json``.
    :raises InputError: if one cannot be read.
    """
    pet = read_image(files["suvr"], kind="pet").image
    labels = {
        name: read_image(paths["image"], kind="labels").image for name, paths in files["labels"].items()
    }
    mris = {}
    record = content["Normalisation"].get(REAL_MR)
    if t1 is not None and record is not None:
        to_pet = affine_transform(record["pet_to_t1"]["t1_to_pet_lps"]).GetInverse()
        image = read_image(t1, kind="t1").image
        mris[REAL_MR] = sitk.Resample(image, pet, to_pet, sitk.sitkLinear, 0.0, sitk.sitkFloat32)
    if "mr" in files:
        mris[SYNTHETIC_MR] = read_image(files["mr"], kind="t1").image
    first = next(iter(labels.values()))
    return _images(pet, sitk.Cast(first != 0, sitk.sitkUInt8), mris, labels, plan)


def _images(
    pet: sitk.Image,
    brain: sitk.Image,
    mris: dict[str, sitk.Image],
    labels: dict[str, sitk.Image],
    plan: RegionPlan,
) -> SuvrImages:
    first = next(iter(labels.values()))
    inside = sitk.GetArrayViewFromImage(first) > 0
    top = float(np.percentile(sitk.GetArrayViewFromImage(pet)[inside], 99.5))
    return SuvrImages(pet, brain, mris, labels, top, _point(first, plan))


def suvr_figure(case: CaseSuvr, plan: RegionPlan, path: Path, *, title: str, note: str) -> Path:
    """Write a PNG: the MRI of each method that has one, then the PET with the outlines of the composite and
    the reference region by each method, in axial, coronal and sagittal planes.

    All PETs are divided by the reference mean of the first method, on one colour scale.

    :raises OutputError: if the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    grid = Grid.of(case.pet.image)
    pet, brain, mris, labels_of, top, point = suvr_images(case, plan)
    lower, upper = figures.world_bounds(brain)
    columns = [*mris] + [f"PET, {name}" for name in case.methods]
    figure = Figure(figsize=(3.3 * len(columns) + 0.4, 10.4), facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(3, len(columns), squeeze=False)
    artist: Any = None
    for row, plane in enumerate(figures.PLANES):
        extent = figures.plane_extent(plane, lower, upper)
        origin = "lower" if plane.upright else "upper"
        for axis, image in zip(axes[row], mris.values()):
            grey = figures.cut_plane(image, plane.normal, point, lower, upper)
            axis.imshow(grey, cmap="gray", extent=extent, origin=origin, vmin=0, vmax=mri_top(image))
        for axis, label_image in zip(axes[row, len(mris) :], labels_of.values()):
            picture = figures.cut_plane(pet, plane.normal, point, lower, upper)
            artist = axis.imshow(picture, cmap=PET_IN_REPORTS, vmin=0, vmax=top, extent=extent, origin=origin)
            labels = sitk.GetArrayViewFromImage(label_image)
            for region_labels, color in (
                (plan.composite, COMPOSITE_COLOR),
                (plan.reference, REFERENCE_COLOR),
            ):
                region = grid.image(np.isin(labels, region_labels).astype(np.uint8))
                outline = figures.cut_plane(region, plane.normal, point, lower, upper, nearest=True)
                if outline.any() and not outline.all():
                    # Contours know nothing of the image's origin: give them the world positions.
                    column, line = plane.axes
                    xs = np.linspace(lower[column], upper[column], outline.shape[1])
                    ys = np.linspace(lower[line], upper[line], outline.shape[0])
                    axis.contour(xs, ys, outline, levels=[0.5], colors=[color], linewidths=1.3)
        for axis in axes[row]:
            figures.dress(axis, plane, point)
    for axis, name in zip(axes[0], columns):
        axis.set_title(name, fontsize=13)
    bar = figure.colorbar(
        artist, ax=axes[:, len(mris) :], orientation="horizontal", shrink=0.6, aspect=40, pad=0.01
    )
    bar.set_label(f"PET, SUVR by {next(iter(case.methods))}: one scale", fontsize=11)
    words = f"Blue: composite region. Green: reference region. {note}".strip()
    figures.write_words(figure, title, words)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=100)
    return path


def _point(labels: sitk.Image, plan: RegionPlan) -> np.ndarray:
    """Where the planes cross (LPS mm): through the largest part of the reference region, from left to right
    and front to back, and through the middle of the composite region, in height."""
    values = sitk.GetArrayViewFromImage(labels)
    largest = max(plan.reference, key=lambda label: int(np.count_nonzero(values == label)))
    middles = [np.argwhere(np.isin(values, region_labels)) for region_labels in ([largest], plan.composite)]
    worlds = [
        labels.TransformContinuousIndexToPhysicalPoint(where.mean(axis=0)[::-1].tolist())
        for where in middles
        if len(where)
    ]
    return np.array([*worlds[0][:2], worlds[-1][2]])


def mri_top(image: sitk.Image) -> float:
    values = sitk.GetArrayViewFromImage(image)
    inside = values[values > 0]
    return 1.1 * float(np.percentile(inside, 99)) if inside.size else 1.0
