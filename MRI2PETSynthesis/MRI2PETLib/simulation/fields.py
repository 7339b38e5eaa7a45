"""Smooth random fields on grids with LPS axes, and their interpolation. Arrays are [k, j, i]."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from MRI2PETLib.images.grid import Grid

FloatArray = NDArray[np.float32]


def finer(grid: Grid, parts: int) -> Grid:
    """Every voxel of a grid with LPS axes divided into ``parts`` along every axis."""
    x, y, z = (o - s / 2 + s / parts / 2 for o, s in zip(grid.origin, grid.spacing_mm))
    a, b, c = (s / parts for s in grid.spacing_mm)
    i, j, k = (n * parts for n in grid.size)
    return Grid((i, j, k), (a, b, c), (x, y, z))


def coarser(grid: Grid, spacing_mm: float) -> Grid:
    """An isotropic grid that covers ``grid`` (LPS axes) with room for linear interpolation."""
    sizes = [s * n for s, n in zip(grid.spacing_mm, grid.size)]
    centre = [o - s / 2 + size / 2 for o, s, size in zip(grid.origin, grid.spacing_mm, sizes)]
    return Grid.covering(centre, [size + 2 * spacing_mm for size in sizes], spacing_mm)


def sample(array: FloatArray, index: FloatArray, outside: float = 0.0) -> FloatArray:
    """Linear interpolation of ``array`` at continuous array indices; ``outside`` beyond its borders."""
    values: FloatArray = ndimage.map_coordinates(
        array, index, np.float32, 1, "constant", outside, prefilter=False
    )
    return values


def upsampled(field: FloatArray, coarse: Grid, grid: Grid) -> FloatArray:
    """``field`` on ``coarse`` linearly interpolated on ``grid``, which it covers; axis by axis."""
    for axis, coordinates in enumerate(grid.coordinates()[::-1]):
        world = 2 - axis
        position = (coordinates - coarse.origin[world]) / coarse.spacing_mm[world]
        low = np.floor(position).astype(int)
        part = (position - low).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
        field = field.take(low, axis) * (1 - part) + field.take(low + 1, axis) * part
    return field


def smooth_noise(rng: np.random.Generator, grid: Grid, sigma_mm: float) -> FloatArray:
    """Gaussian random field on ``grid`` with mean 0 and standard deviation 1: white noise, Gaussian filtered.

    The noise is drawn on a wider grid so that the deviation is the same up to the borders.
    """
    sigma = [sigma_mm / s for s in grid.spacing_mm[::-1]]
    pad = [int(np.ceil(3 * s)) for s in sigma]
    wide = rng.standard_normal([n + 2 * p for n, p in zip(grid.shape, pad)], dtype=np.float32)
    field = blur(wide, sigma)
    inner = field[tuple(slice(p, n + p) for n, p in zip(grid.shape, pad))]
    return inner * np.float32(1 / np.prod([_filter_norm(s) for s in sigma]))


def blur(array: FloatArray, sigma: list[float]) -> FloatArray:
    """Gaussian filter with ``sigma`` in voxels along k, j, i."""
    filtered: FloatArray = ndimage.gaussian_filter(array, sigma, mode="constant", truncate=3.0)
    return filtered


def _filter_norm(sigma: float) -> float:
    """What a Gaussian filter along one axis does to the standard deviation of white noise."""
    reach = np.arange(-int(3 * sigma + 0.5), int(3 * sigma + 0.5) + 1)
    kernel = np.exp(-0.5 * (reach / max(sigma, 1e-6)) ** 2)
    return float(np.linalg.norm(kernel / kernel.sum()))
