"""A simple head around the brain, so that a brain extraction has something to remove.

CSF, a dark skull with brighter marrow, a scalp with fat under the skin, and a face and a neck of soft tissue.
The layers follow the brain through the deformation. There are no eyes, ears or sinuses.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from MRI2PETLib.images.grid import Grid
from MRI2PETLib.simulation.deformation import Deformation
from MRI2PETLib.simulation.fields import FloatArray, coarser, sample, smooth_noise, upsampled
from MRI2PETLib.templates.icbm152 import load_template

# The imaged box of a whole head (LPS mm): from above the vertex to the chin.
HEAD_CENTRE = (0.0, 12.0, 2.0)
HEAD_EXTENT_MM = (204.0, 244.0, 216.0)
# Depths in mm outside the closed surface of the brain at which CSF, skull and scalp end.
CSF_END, SKULL_END, SCALP_END = 2.5, 8.5, 13.5
# Relative to white matter (T1) and to the mean of the brain (PET).
T1_LEVELS = {"csf": 0.2, "bone": 0.08, "marrow": 0.35, "soft": 0.45, "fat": 0.9}
PET_LEVELS = {"csf": 0.05, "bone": 0.1, "marrow": 0.3, "soft": 0.3, "fat": 0.15}


def surround(
    rng: np.random.Generator, grid: Grid, deformation: Deformation, brain: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """T1 (white matter = 1) and activity (brain = 1) of what is not brain, volumes on ``grid``.

    :param brain: share of every voxel of ``grid`` that is brain.
    """
    coarse = coarser(grid, 3.0)
    points = deformation.to_template(coarse.points())
    depth_map, outer_map, map_grid = _surfaces()
    index = map_grid.index(points)
    thickness = 0.7 * smooth_noise(rng, coarse, 12.0)
    depth = upsampled(sample(depth_map, index, 99.0).reshape(coarse.shape) + thickness, coarse, grid)
    outer = upsampled(sample(outer_map, index, 99.0).reshape(coarse.shape) + thickness, coarse, grid)
    texture = upsampled(smooth_noise(rng, coarse, 4.0), coarse, grid)

    in_csf, in_skull = (_below(depth, end, grid) for end in (CSF_END, SKULL_END))
    shares = {"csf": in_csf, "bone": in_skull - in_csf}
    shares["marrow"] = shares["bone"] * np.exp(-np.square((depth - (CSF_END + SKULL_END) / 2) / 1.2))
    shares["bone"] = shares["bone"] - shares["marrow"]
    shares["soft"] = np.clip(_below(outer, 0.0, grid) - in_skull, 0, None)
    shares["fat"] = shares["soft"] * np.exp(-np.square((outer + 3.0) / 2.0))
    shares["soft"] = (shares["soft"] - shares["fat"]) * np.clip(1 + 0.25 * texture, 0.2, 2)
    rest = 1 - brain
    t1, activity = (
        rest * sum(np.float32(level) * shares[name] for name, level in levels.items())
        for levels in (T1_LEVELS, PET_LEVELS)
    )
    return t1, activity


def _below(depth: FloatArray, end: float, grid: Grid) -> FloatArray:
    """Share of a voxel on the near side of a surface at depth ``end``."""
    return np.clip(np.float32(0.5) + (np.float32(end) - depth) / np.float32(grid.spacing_mm[0]), 0, 1)


@cache
def _surfaces() -> tuple[FloatArray, FloatArray, Grid]:
    """Signed distances in mm (template space, negative inside) to the closed brain and to the skin."""
    mask = load_template().mask
    step = 3.0
    grid = Grid.covering((0.0, 12.0, 0.0), (240.0, 276.0, 252.0), step)
    points = grid.points()
    near = ndimage.map_coordinates(
        sitk.GetArrayFromImage(mask).astype(np.float32), Grid.of(mask).index(points), order=1
    ).reshape(grid.shape)
    distance = ndimage.distance_transform_edt
    # Closing by 12 mm bridges fissures and the gap between temporal lobe and cerebellum.
    closed = distance(step * distance(near < 0.5) <= 12) * step > 12
    depth = ndimage.gaussian_filter(step * (distance(~closed) - distance(closed)), 1.5, mode="nearest")
    x, y, z = points.reshape(3, *grid.shape)
    face = (np.sqrt((x / 62) ** 2 + ((y + 42) / 52) ** 2 + ((z + 58) / 78) ** 2) - 1) * 52
    neck = np.maximum(np.sqrt((x / 58) ** 2 + ((y - 30) / 62) ** 2) - 1, -1) * 58 + np.maximum(z + 60, 0)
    skin = np.minimum(depth - SCALP_END, np.minimum(face, neck))
    smooth = ndimage.gaussian_filter(skin, 1.5, mode="nearest")
    return depth.astype(np.float32), smooth.astype(np.float32), grid
