"""Pictures of one case: T1, synthetic and real PET on one window, NormDiff with its scale, three planes."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import SimpleITK as sitk

from MRI2PETLib.core.files import atomic_path, make_folder
from MRI2PETLib.evaluation.direction import Direction
from MRI2PETLib.evaluation.normdiff import normdiff_map
from MRI2PETLib.images.grid import bounding_box
from MRI2PETLib.reports.colors import PET_IN_REPORTS, normdiff_colors

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colorbar import Colorbar
    from matplotlib.figure import Figure

PET_OPACITY = 0.8
_STEP_MM = 1.0
_MARGIN_MM = 12.0


class Plane(NamedTuple):
    """A plane through a point. ``axes``: LPS axes that run along picture columns and rows; ``normal``: the
    third.

    ``upright`` is True where rows must run upwards (superior on top). Sides are those of the picture: left,
    right, top, bottom. LPS x grows to the patient's left, so the patient's right is on the picture's left
    (radiological).
    """

    name: str
    axes: tuple[int, int]
    normal: int
    upright: bool
    sides: tuple[str, str, str, str]


PLANES = (
    Plane("axial", (0, 1), 2, False, ("R", "L", "A", "P")),
    Plane("coronal", (0, 2), 1, True, ("R", "L", "S", "I")),
    Plane("sagittal", (1, 2), 0, True, ("A", "P", "S", "I")),
)
_DIRECTIONS = (("L", "R"), ("P", "A"), ("S", "I"))  # of growing and falling LPS x, y, z


def comparison_figure(
    t1: sitk.Image,
    synthetic: sitk.Image,
    real: sitk.Image | None,
    mask: sitk.Image,
    path: Path | str,
    *,
    title: str,
    unit: str,
    note: str = "",
    real_name: str = "",
    error_sd: sitk.Image | None = None,
    direction: Direction | None = None,
    point_mm: tuple[float, float, float] | None = None,
) -> Path:
    """Write a PNG: T1, synthetic PET over the T1 and, with a real PET, the real PET and NormDiff.

    Of a synthetic MRI: the PET (in the place of ``t1``), both MRIs and their difference.

    All images on the grid of the T1 (any orientation, oblique included: planes are cut in world coordinates).
    Synthetic and real share one colour scale, printed with ``unit``; they must be in that one unit. NormDiff
    is symmetric around 0; ``error_sd`` is the SD of the model's error in ``unit``, with a scale of its own.
    Voxels without a NormDiff stay bare. ``note`` is printed below (the place for
    "synthetic", "demonstration model"); ``real_name`` heads the real image's column. ``point_mm`` (LPS) is
    where the planes cross; default: the centre of the mask.

    :raises OutputError: if the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    path = Path(path)
    make_folder(path.parent)
    brain = sitk.GetArrayViewFromImage(mask) != 0
    point = np.array(point_mm if point_mm is not None else mask_centre_mm(mask))
    way = direction or Direction()
    layers = _target_layers(synthetic, real, mask, unit, real_name, way)
    if real is not None:
        layers.append(_difference_layer(synthetic, real, mask, way))
    if error_sd is not None:
        layers.append(_error_layer(error_sd, mask, unit))
    figure = Figure(figsize=(3.3 * (len(layers) + 1) + 0.4, 10.6), facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(3, len(layers) + 1, squeeze=False)
    lower, upper = world_bounds(mask)
    low, high = source_window(t1, brain)
    artists: dict[int, Any] = {}
    for row, plane in enumerate(PLANES):
        grey = cut_plane(t1, plane.normal, point, lower, upper)
        style = {
            "extent": plane_extent(plane, lower, upper),
            "origin": "lower" if plane.upright else "upper",
            "interpolation": "nearest",
        }
        for axis in axes[row]:
            axis.imshow(grey, cmap="gray", vmin=low, vmax=high, **style)
            dress(axis, plane, point)
        for column, layer in enumerate(layers, start=1):
            # Voxels as they are: interpolation would mix the rim with the zeros outside the brain.
            values, valid = (
                cut_plane(image, plane.normal, point, lower, upper, nearest=True)
                for image in (layer.values, layer.valid)
            )
            artists[column] = axes[row, column].imshow(
                np.ma.masked_array(values, ~(valid > 0)),
                cmap=layer.colors,
                vmin=layer.low,
                vmax=layer.high,
                alpha=layer.opacity,
                **style,
            )
    for axis, name in zip(axes[0], [way.source_name, *(layer.title for layer in layers)]):
        axis.set_title(name, fontsize=13)
    targets = 1 if real is None else 2
    _color_bar(figure, artists[targets], axes[:, 1 : 1 + targets], layers[0].bar, 0.6, 40)
    for column, layer in enumerate(layers[targets:], start=1 + targets):
        bar = _color_bar(figure, artists[column], axes[:, column], layer.bar, 0.9, 24)
        bar.locator = MaxNLocator(6, steps=[1, 1.5, 2, 2.5, 5, 10])  # labels of three decimals nearly touch
    write_words(figure, title, note)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=100)
    return path


class _Layer(NamedTuple):
    """What a column shows over the source image: values from ``low`` to ``high``, where ``valid``.

    ``bar``: what the colour bar says.
    """

    title: str
    values: sitk.Image
    valid: sitk.Image
    colors: Any
    low: float
    high: float
    opacity: float
    bar: str


def _target_layers(
    synthetic: sitk.Image,
    real: sitk.Image | None,
    mask: sitk.Image,
    unit: str,
    real_name: str,
    way: Direction,
) -> list[_Layer]:
    """Synthetic and real image, which share a scale and its bar."""
    target = way.target_name
    top = target_window([synthetic, real], sitk.GetArrayViewFromImage(mask) != 0)[1]
    bar = f"{target}, {unit}: one scale for " + ("both" if real is not None else "the picture")
    colors, opacity = (PET_IN_REPORTS, PET_OPACITY) if way.to_pet else ("gray", 1.0)
    titles = {f"Synthetic {target} ({unit})": synthetic, f"{real_name or f'Real {target}'} ({unit})": real}
    return [
        _Layer(title, image, mask, colors, 0, top, opacity, bar)
        for title, image in titles.items()
        if image is not None
    ]


def _difference_layer(synthetic: sitk.Image, real: sitk.Image, mask: sitk.Image, way: Direction) -> _Layer:
    from matplotlib.colors import ListedColormap

    values, valid = (
        normdiff_images(synthetic, real, mask) if way.to_pet else (sitk.Subtract(synthetic, real), mask)
    )
    limit = symmetric_limit((values, valid))
    title, bar = "Difference", "syn \N{MINUS SIGN} real"
    if way.to_pet:
        title, bar = "NormDiff", "NormDiff = (syn \N{MINUS SIGN} real) / (syn + real)"
    return _Layer(title, values, valid, ListedColormap(normdiff_colors()), -limit, limit, 0.9, bar)


def _error_layer(error_sd: sitk.Image, mask: sitk.Image, unit: str) -> _Layer:
    top = target_window([error_sd], sitk.GetArrayViewFromImage(mask) != 0)[1]
    title, bar = f"SD of the error ({unit})", f"by region, {unit}"
    return _Layer(title, error_sd, mask, "cividis", 0, top, PET_OPACITY, bar)


def _color_bar(figure: Figure, artist: Any, axes: Any, label: str, shrink: float, aspect: float) -> Colorbar:
    bar = figure.colorbar(artist, ax=axes, orientation="horizontal", shrink=shrink, aspect=aspect, pad=0.01)
    bar.set_label(label, fontsize=11)
    return bar


def mask_centre_mm(mask: sitk.Image) -> tuple[float, float, float]:
    """Centre of mass of the mask in world coordinates (LPS, mm)."""
    inside = sitk.GetArrayViewFromImage(mask) != 0
    counts = (np.count_nonzero(inside, axis=others) for others in ((1, 2), (0, 2), (0, 1)))
    k, j, i = (float(np.average(np.arange(len(count)), weights=count)) for count in counts)
    x, y, z = mask.TransformContinuousIndexToPhysicalPoint((i, j, k))
    return x, y, z


def cut_plane(
    image: sitk.Image,
    normal: int,
    point: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    *,
    nearest: bool = False,
) -> np.ndarray:
    """Values of ``image`` on a plane through ``point``, at 1 mm, 0 outside; rows and columns grow with LPS.

    ``normal`` is the LPS axis (0, 1, 2) at right angles to the plane; ``lower`` and ``upper`` bound it (LPS,
    mm).
    """
    size = [int(v) for v in np.round((upper - lower) / _STEP_MM) + 1]
    origin = lower.astype(float).copy()
    size[normal], origin[normal] = 1, point[normal]
    interpolator = sitk.sitkNearestNeighbor if nearest else sitk.sitkLinear
    flat = sitk.Resample(
        image,
        size,
        sitk.Transform(),
        interpolator,
        origin.tolist(),
        [_STEP_MM] * 3,
        [1.0, 0, 0, 0, 1, 0, 0, 0, 1],
        0.0,
        image.GetPixelID(),
    )
    return np.squeeze(sitk.GetArrayFromImage(flat), axis=2 - normal)


def world_bounds(mask: sitk.Image) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper LPS corner of the mask's bounding box, with a margin."""
    first, last = bounding_box(sitk.GetArrayViewFromImage(mask))
    ranges = [(int(low), int(high)) for low, high in zip(first[::-1], last[::-1])]
    corners = np.array(
        [
            mask.TransformIndexToPhysicalPoint((i, j, k))
            for i in ranges[0]
            for j in ranges[1]
            for k in ranges[2]
        ]
    )
    return corners.min(axis=0) - _MARGIN_MM, corners.max(axis=0) + _MARGIN_MM


def plane_extent(plane: Plane, lower: np.ndarray, upper: np.ndarray) -> tuple[float, float, float, float]:
    column, row = plane.axes
    bottom_top = (lower[row], upper[row]) if plane.upright else (upper[row], lower[row])
    return float(lower[column]), float(upper[column]), float(bottom_top[0]), float(bottom_top[1])


def source_window(image: sitk.Image, brain: np.ndarray) -> tuple[float, float]:
    """The grey scale of what lies under the PET."""
    low, high = (float(v) for v in np.percentile(sitk.GetArrayViewFromImage(image)[brain], (1, 99)))
    return min(low, 0.0), 1.15 * high if high > 0 else 1.0


def target_window(images: Sequence[sitk.Image | None], brain: np.ndarray) -> tuple[float, float]:
    """The common colour scale of synthetic and real: from 0 to the largest 99.5th percentile in the brain."""
    tops = [np.percentile(sitk.GetArrayViewFromImage(i)[brain], 99.5) for i in images if i is not None]
    return 0.0, float(max(tops)) if max(tops) > 0 else 1.0


def normdiff_images(
    synthetic: sitk.Image, real: sitk.Image, mask: sitk.Image
) -> tuple[sitk.Image, sitk.Image]:
    arrays = [sitk.GetArrayViewFromImage(image) for image in (synthetic, real, mask)]
    values, valid = normdiff_map(*arrays)
    images = (sitk.GetImageFromArray(values), sitk.GetImageFromArray(valid.astype(np.uint8)))
    for image in images:
        image.CopyInformation(synthetic)
    return images


def symmetric_limit(difference: tuple[sitk.Image, sitk.Image]) -> float:
    """End of the NormDiff scale: the 99th percentile of its size, rounded up to 0.05, within 0.05 to 1."""
    values, valid = (sitk.GetArrayViewFromImage(image) for image in difference)
    if not valid.any():
        return 1.0
    limit = float(np.percentile(np.abs(values[valid != 0]), 99))
    return float(np.clip(np.ceil(limit / 0.05) * 0.05, 0.05, 1.0))


def dress(axis: Axes, plane: Plane, point: np.ndarray) -> None:
    """Side letters, position of the plane, no ticks."""
    axis.set_xticks([])
    axis.set_yticks([])
    axis.set_facecolor("black")
    style: dict[str, Any] = {
        "transform": axis.transAxes,
        "color": "white",
        "fontsize": 11,
        "fontweight": "bold",
    }
    left, right, top, bottom = plane.sides
    axis.text(0.02, 0.5, left, ha="left", va="center", **style)
    axis.text(0.98, 0.5, right, ha="right", va="center", **style)
    axis.text(0.5, 0.98, top, ha="center", va="top", **style)
    axis.text(0.5, 0.02, bottom, ha="center", va="bottom", **style)
    position = float(point[plane.normal])
    letter = _DIRECTIONS[plane.normal][0 if position >= 0 else 1]
    style |= {"fontsize": 9, "fontweight": "normal"}
    axis.text(0.02, 0.02, f"{letter} {abs(position):.0f} mm", **style)


def write_words(figure: Figure, title: str, note: str) -> None:
    """Title above; below, the note, the viewing convention and the standing caution."""
    width = int(figure.get_figwidth() * 10.5)
    figure.suptitle("\n".join(textwrap.wrap(title, int(width * 0.8))), fontsize=15, fontweight="bold")
    words = ["Patient's right is on the left (radiological view). Not for clinical use."]
    if note:
        words = textwrap.wrap(note, width) + words
    figure.supxlabel("\n".join(words), fontsize=11)
