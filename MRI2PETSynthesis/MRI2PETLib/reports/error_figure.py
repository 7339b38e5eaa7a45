"""The picture of the errors: percentage difference and squared error in three planes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import SimpleITK as sitk

from MRI2PETLib.core.files import atomic_path
from MRI2PETLib.reports.colors import PET_IN_REPORTS, normdiff_colors
from MRI2PETLib.reports.figures import (
    PLANES,
    cut_plane,
    dress,
    mask_centre_mm,
    plane_extent,
    world_bounds,
    write_words,
)

SCALES = (
    "Percentage difference: 100 (synthetic \N{MINUS SIGN} real) / real, red where the synthetic is higher, "
    "colours up to the 95th percentile of its size. Squared error: colours up to its 99th percentile."
)


class ErrorImages(NamedTuple):
    """Maps on the grid of a T1: percentage difference (%) where ``percent_valid`` is not 0, and squared error
    (in ``squared_unit``) within ``mask``.
    """

    t1: sitk.Image
    mask: sitk.Image
    percent: sitk.Image
    percent_valid: sitk.Image
    squared: sitk.Image
    squared_unit: str


def error_figure(
    images: ErrorImages,
    path: Path,
    *,
    title: str,
    note: str,
    point_mm: tuple[float, float, float] | None = None,
) -> Path:
    """Write a PNG: percentage difference (symmetric around 0) and squared error over the T1, three planes.

    The scales end at the 95th and the 99th percentile (:data:`SCALES`); beyond them the colour stays the last
    one.

    :param point_mm: where the planes cross (LPS); default: the centre of the mask.
    :raises OutputError: if the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.6 * len(PLANES) + 1.6, 7.4), facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, len(PLANES), squeeze=False)
    point = np.array(point_mm if point_mm is not None else mask_centre_mm(images.mask))
    lower, upper = world_bounds(images.mask)
    brain = sitk.GetArrayViewFromImage(images.mask) != 0
    grey_top = 1.15 * float(np.percentile(sitk.GetArrayViewFromImage(images.t1)[brain], 99))
    limit = _percentile(np.abs(sitk.GetArrayViewFromImage(images.percent)), images.percent_valid, 95)
    top = _percentile(sitk.GetArrayViewFromImage(images.squared), images.mask, 99)
    rows = (
        (images.percent, images.percent_valid, ListedColormap(normdiff_colors()), -limit, limit, "both"),
        (images.squared, images.mask, PET_IN_REPORTS, 0.0, top, "max"),
    )
    labels = ("percentage difference (%)", f"squared error ({images.squared_unit})")
    for row, label, (image, valid, colors, low, high, extend) in zip(axes, labels, rows):
        artist: Any = None
        for axis, plane in zip(row, PLANES):
            style = {
                "extent": plane_extent(plane, lower, upper),
                "origin": "lower" if plane.upright else "upper",
                "interpolation": "nearest",
            }
            grey, values, where = (
                cut_plane(i, plane.normal, point, lower, upper, nearest=nearest)
                for i, nearest in ((images.t1, False), (image, True), (valid, True))
            )
            axis.imshow(grey, cmap="gray", vmin=0, vmax=grey_top, **style)
            visible = np.ma.masked_array(values, where == 0)
            artist = axis.imshow(visible, cmap=colors, vmin=low, vmax=high, alpha=0.9, **style)
            dress(axis, plane, point)
        bar = figure.colorbar(artist, ax=row, shrink=0.85, pad=0.01, extend=extend)
        bar.set_label(label, fontsize=10)
    write_words(figure, title, note)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=100)
    return path


def _percentile(values: np.ndarray, valid: sitk.Image, share: float) -> float:
    inside = values[sitk.GetArrayViewFromImage(valid) != 0]
    end = float(np.percentile(inside, share)) if inside.size else 0.0
    return end if end > 0 else 1.0
