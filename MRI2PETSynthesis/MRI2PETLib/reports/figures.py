"""What pictures of a head share: planes cut in world coordinates, scales, letters and words."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import SimpleITK as sitk

from MRI2PETLib.evaluation.normdiff import normdiff_map
from MRI2PETLib.images.grid import bounding_box

if TYPE_CHECKING:
    from matplotlib.axes import Axes
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


def mask_centre_mm(mask: sitk.Image) -> tuple[float, float, float]:
    """Centre of mass of the mask in world coordinates (LPS, mm)."""
    inside = np.asarray(sitk.GetArrayViewFromImage(mask) != 0).view(np.uint8)
    along_k = inside.sum(axis=0, dtype=np.uint16)  # then along the others: a fifth of the time of each alone
    counts = (
        [np.count_nonzero(plane) for plane in inside],
        along_k.sum(axis=1, dtype=np.int64),
        along_k.sum(axis=0, dtype=np.int64),
    )
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
    style |= {"fontsize": 9, "fontweight": "normal"}
    axis.text(0.02, 0.02, position_words(plane, point), **style)


def position_words(plane: Plane, point: np.ndarray) -> str:
    """Where a plane through a point (LPS mm) lies: ``S 26 mm``."""
    position = float(point[plane.normal])
    return f"{_DIRECTIONS[plane.normal][0 if position >= 0 else 1]} {abs(position):.0f} mm"


def words_below(note: str) -> list[str]:
    """What stands below a picture: a note, the viewing convention and the standing caution."""
    return [
        *filter(None, [note]),
        "Patient's right is on the left (radiological view). Not for clinical use.",
    ]


def write_words(figure: Figure, title: str, note: str) -> None:
    """Title above, :func:`words_below` below."""
    width = int(figure.get_figwidth() * 10.5)
    figure.suptitle("\n".join(textwrap.wrap(title, int(width * 0.8))), fontsize=15, fontweight="bold")
    lines = [line for words in words_below(note) for line in textwrap.wrap(words, width)]
    figure.supxlabel("\n".join(lines), fontsize=11)
