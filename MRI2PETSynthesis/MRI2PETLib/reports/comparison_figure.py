"""Picture of one case: T1, synthetic and real PET on one window, NormDiff with its scale, three planes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from MRI2PETLib.core.files import make_folder
from MRI2PETLib.evaluation.direction import Direction
from MRI2PETLib.reports.colors import gray_colors, normdiff_colors, pet_colors, sd_colors
from MRI2PETLib.reports.figures import (
    PET_OPACITY,
    mask_centre_mm,
    normdiff_images,
    source_window,
    symmetric_limit,
    target_window,
    world_bounds,
)
from MRI2PETLib.reports.plane_pictures import Overlay, PictureColumn, ScaleBar, draw_planes


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
    path = Path(path)
    make_folder(path.parent)
    way = direction or Direction()
    columns, bars = [PictureColumn(way.source_name)], []

    def add(label: str, *layers: PictureColumn) -> None:
        first = len(columns)
        columns.extend(layers)
        assert layers[0].overlay is not None
        bars.append(ScaleBar(label, layers[0].overlay, first, len(columns) - 1))

    brain = sitk.GetArrayViewFromImage(mask) != 0
    target = way.target_name
    top = target_window([synthetic, real], brain)[1]
    colors, opacity = (pet_colors(), PET_OPACITY) if way.to_pet else (gray_colors(), 1.0)
    pets = {f"Synthetic {target} ({unit})": synthetic, f"{real_name or f'Real {target}'} ({unit})": real}
    layers = [
        PictureColumn(name, Overlay(image, mask, colors, 0.0, top, opacity))
        for name, image in pets.items()
        if image is not None
    ]
    add(f"{target}, {unit}: one scale for {'the picture' if real is None else 'both'}", *layers)
    if real is not None:
        add(*_difference(synthetic, real, mask, way))
    if error_sd is not None:
        top = target_window([error_sd], brain)[1]
        layer = Overlay(error_sd, mask, sd_colors(), 0.0, top, PET_OPACITY)
        add(f"by region, {unit}", PictureColumn(f"SD of the error ({unit})", layer))
    draw_planes(
        t1,
        source_window(t1, brain),
        columns,
        bars,
        path,
        point=np.array(point_mm if point_mm is not None else mask_centre_mm(mask)),
        bounds=world_bounds(mask),
        title=title,
        note=note,
    )
    return path


def _difference(
    synthetic: sitk.Image, real: sitk.Image, mask: sitk.Image, way: Direction
) -> tuple[str, PictureColumn]:
    """NormDiff, or the plain difference of MRIs, and what its bar says."""
    values, valid = (
        normdiff_images(synthetic, real, mask) if way.to_pet else (sitk.Subtract(synthetic, real), mask)
    )
    limit = symmetric_limit((values, valid))
    layer = Overlay(values, valid, normdiff_colors(), -limit, limit, 0.9)
    if way.to_pet:
        return "NormDiff = (syn \N{MINUS SIGN} real) / (syn + real)", PictureColumn("NormDiff", layer)
    return "syn \N{MINUS SIGN} real", PictureColumn("Difference", layer)
