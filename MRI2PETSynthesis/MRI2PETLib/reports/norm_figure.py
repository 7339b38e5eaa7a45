"""Picture of a person against a norm: T1, predicted and real PET, z with and without the T1, three planes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import SimpleITK as sitk

from MRI2PETLib.core.files import atomic_path
from MRI2PETLib.normative.card import KIND_NAMES
from MRI2PETLib.reports.colors import PET_IN_REPORTS, gray_colors, normdiff_colors, pet_colors
from MRI2PETLib.reports.figures import (
    PET_OPACITY,
    PLANES,
    cut_plane,
    dress,
    plane_extent,
    source_window,
    target_window,
    world_bounds,
    write_words,
)
from MRI2PETLib.reports.viewer import Layer, Viewer

LEAST_Z_SHOWN, Z_LIMITS = 1.0, (4.0, 8.0)  # where colours begin; the least and the largest end of the scale


class ScoredImages(NamedTuple):
    """On the grid of the T1: both PETs in ``unit``, and z by kind (0: no score)."""

    t1: sitk.Image
    mask: sitk.Image
    predicted: sitk.Image
    real: sitk.Image
    z: Mapping[str, sitk.Image]
    unit: str


def norm_figure(
    images: ScoredImages, path: Path, *, title: str, note: str, point_mm: tuple[float, float, float]
) -> Path:
    """Write a PNG. All z share one scale, symmetric around 0; |z| below 1 stays bare.

    :param point_mm: where the planes cross (LPS).
    :raises OutputError: if the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure

    names = ["T1", f"Predicted ({images.unit})", f"Real ({images.unit})"]
    columns = [*names, *(KIND_NAMES[kind] for kind in images.z)]
    figure = Figure(figsize=(3.1 * len(columns) + 0.4, 10.4), facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(3, len(columns), squeeze=False)
    point = np.array(point_mm)
    lower, upper = world_bounds(images.mask)
    brain = sitk.GetArrayViewFromImage(images.mask) != 0
    grey_top = 1.15 * float(np.percentile(sitk.GetArrayViewFromImage(images.t1)[brain], 99))
    tops = [
        np.percentile(sitk.GetArrayViewFromImage(i)[brain], 99.5) for i in (images.predicted, images.real)
    ]
    top, limit = float(max(tops)), scale_of_z(images)
    pet_artist: Any = None
    z_artist: Any = None
    for row, plane in enumerate(PLANES):
        style = {
            "extent": plane_extent(plane, lower, upper),
            "origin": "lower" if plane.upright else "upper",
            "interpolation": "nearest",
        }

        def cut(image: sitk.Image, nearest: bool = True, normal: int = plane.normal) -> np.ndarray:
            return cut_plane(image, normal, point, lower, upper, nearest=nearest)

        grey, inside = cut(images.t1, nearest=False), cut(images.mask) > 0
        for axis in axes[row]:
            axis.imshow(grey, cmap="gray", vmin=0, vmax=grey_top, **style)
            dress(axis, plane, point)
        for axis, pet in zip(axes[row, 1:3], (images.predicted, images.real)):
            picture = np.ma.masked_array(cut(pet), ~inside)
            pet_artist = axis.imshow(
                picture, cmap=PET_IN_REPORTS, vmin=0, vmax=top, alpha=PET_OPACITY, **style
            )
        for axis, z in zip(axes[row, 3:], images.z.values()):
            values = cut(z)
            picture = np.ma.masked_array(values, np.abs(values) < LEAST_Z_SHOWN)
            z_artist = axis.imshow(
                picture, cmap=ListedColormap(normdiff_colors()), vmin=-limit, vmax=limit, alpha=0.9, **style
            )
    for axis, name in zip(axes[0], columns):
        axis.set_title(name, fontsize=12)
    bar = figure.colorbar(
        pet_artist, ax=axes[:, 1:3], orientation="horizontal", shrink=0.7, aspect=40, pad=0.01
    )
    bar.set_label(f"PET, {images.unit}: one scale for both", fontsize=11)
    bar = figure.colorbar(
        z_artist, ax=axes[:, 3:], orientation="horizontal", shrink=0.7, aspect=40, pad=0.01, extend="both"
    )
    bar.set_label("z, red where the real PET is higher: one scale for both", fontsize=11)
    write_words(figure, title, note)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=100)
    return path


def norm_viewer(images: ScoredImages, point_mm: tuple[float, float, float], note: str) -> Viewer:
    """The same images for the viewer of the report; z wherever there is one."""
    brain, limit = sitk.GetArrayViewFromImage(images.mask) != 0, scale_of_z(images)
    layers = [Layer("T1", images.t1, "", gray_colors(), source_window(images.t1, brain), "T1")]
    window = target_window([images.predicted, images.real], brain)
    for name, pet in (("Predicted PET", images.predicted), ("Real PET", images.real)):
        layers.append(Layer(name, pet, images.unit, pet_colors(), window, "PET", PET_OPACITY, images.mask))
    for kind, z in images.z.items():
        layers.append(Layer(KIND_NAMES[kind], z, "", normdiff_colors(), (-limit, limit), "z", 0.9, z != 0))
    return Viewer(layers, images.mask, point_mm, {}, note)


def scale_of_z(images: ScoredImages) -> float:
    """End of the symmetric scale: the largest 99.9th percentile of |z|, within :data:`Z_LIMITS`."""
    largest = 0.0
    for image in images.z.values():
        values = np.abs(sitk.GetArrayViewFromImage(image))
        values = values[values > 0]
        largest = max(largest, float(np.percentile(values, 99.9)) if values.size else 0.0)
    return float(np.clip(np.ceil(largest), *Z_LIMITS))
