"""A small picture of a case for lists of thousands: the brain mask on the T1, and the synthetic image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk

from MRI2PETLib.core.files import atomic_path
from MRI2PETLib.reports.colors import gray_colors, pet_colors
from MRI2PETLib.reports.figures import PLANES, cut_plane, mask_centre_mm, world_bounds

if TYPE_CHECKING:
    from PIL.Image import Image

TILE = 80  # pixels of one side; a thumbnail is two tiles
SIZE = (2 * TILE, TILE)
_RIM = (255, 96, 0)


def write_thumbnail(
    t1: sitk.Image, synthetic: sitk.Image, mask: sitk.Image, path: Path, *, is_pet: bool
) -> None:
    """An axial plane through the middle of the brain: T1 with the rim of the mask, and the synthetic image.

    All images lie on one grid. The patient's right is on the left. The scale ends at the 99.5th percentile.

    :param is_pet: whether the synthetic image is a PET, and not an MRI.
    """
    from PIL import Image

    plane, middle = PLANES[0], np.array(mask_centre_mm(mask))
    lower, upper = world_bounds(mask)

    def cut(image: sitk.Image, *, nearest: bool = False) -> np.ndarray:
        return cut_plane(image, plane.normal, middle, lower, upper, nearest=nearest)

    inside = cut(mask, nearest=True) > 0
    grey, values = cut(t1), np.where(inside, cut(synthetic, nearest=True), 0)
    colors = pet_colors() if is_pet else gray_colors()
    tiles = [
        _with_rim(_levels(grey, inside), inside),
        np.rint(255 * colors[_levels(values, inside)]).astype(np.uint8),
    ]
    picture = Image.new("RGB", SIZE)
    for number, tile in enumerate(tiles):
        picture.paste(_fitting(Image.fromarray(tile)), (number * TILE, 0))
    with atomic_path(path) as temporary:
        picture.save(temporary)


def _levels(values: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """0 to 255 between 0 and the 99.5th percentile in the brain."""
    top = float(np.percentile(values[inside], 99.5)) if inside.any() else 1.0
    return np.clip(255 * values / (top or 1.0), 0, 255).astype(np.uint8)


def _with_rim(levels: np.ndarray, inside: np.ndarray) -> np.ndarray:
    padded = np.pad(inside, 1)
    surrounded = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    picture = np.repeat(levels[..., np.newaxis], 3, axis=2)
    picture[inside & ~surrounded] = _RIM
    return picture


def _fitting(tile: Image) -> Image:
    """In a black square of :data:`TILE` pixels."""
    from PIL import Image

    scale = TILE / max(tile.size)
    small = tile.resize((max(1, round(tile.width * scale)), max(1, round(tile.height * scale))))
    square = Image.new("RGB", (TILE, TILE))
    square.paste(small, ((TILE - small.width) // 2, (TILE - small.height) // 2))
    return square
