"""Axis-aligned grids in world coordinates (LPS, mm) and smooth random fields on them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

FloatArray = NDArray[np.float32]

FWHM_PER_SIGMA = 2.354820045


@dataclass(frozen=True)
class Grid:
    """A voxel grid whose axes are the world axes: ``origin`` and signed ``step`` are x, y, z in LPS mm.

    ``shape`` is that of the array: k, j, i.
    """

    origin: tuple[float, float, float]
    step: tuple[float, float, float]
    shape: tuple[int, int, int]

    @staticmethod
    def covering(centre: tuple[float, float, float], extent: tuple[float, float, float], step: float) -> Grid:
        """The smallest grid of evenly many voxels an axis that covers ``extent`` mm about ``centre``."""
        counts = [2 * int(np.ceil(e / step / 2 - 1e-9)) for e in extent]
        x, y, z = (c - (n - 1) * step / 2 for c, n in zip(centre, counts))
        return Grid((x, y, z), (step, step, step), (counts[2], counts[1], counts[0]))

    @staticmethod
    def of(image: sitk.Image) -> Grid:
        """The grid of an image whose direction matrix is diagonal."""
        signs = np.diag(np.reshape(image.GetDirection(), (3, 3)))
        x, y, z = (float(sign * spacing) for sign, spacing in zip(signs, image.GetSpacing()))
        i, j, k = image.GetSize()
        ox, oy, oz = image.GetOrigin()
        return Grid((ox, oy, oz), (x, y, z), (k, j, i))

    def index(self, points: FloatArray) -> FloatArray:
        """Continuous array indices (rows k, j, i) of ``points`` (rows x, y, z in LPS mm)."""
        origin = np.asarray(self.origin, np.float32)[:, None]
        step = np.asarray(self.step, np.float32)[:, None]
        return ((points - origin) / step)[::-1]

    def points(self, where: NDArray[np.bool_] | None = None) -> FloatArray:
        """World points (rows x, y, z in LPS mm) of the voxels in ``where``, or of all, in array order."""
        if where is None:
            where = np.ones(self.shape, bool)
        index = np.nonzero(where)
        return np.stack(
            [
                np.float32(o) + np.float32(s) * n.astype(np.float32)
                for o, s, n in zip(self.origin, self.step, index[::-1])
            ]
        )

    def finer(self, parts: int) -> Grid:
        """Every voxel divided into ``parts`` along every axis."""
        x, y, z = (o - s / 2 + s / parts / 2 for o, s in zip(self.origin, self.step))
        a, b, c = (s / parts for s in self.step)
        k, j, i = (n * parts for n in self.shape)
        return Grid((x, y, z), (a, b, c), (k, j, i))

    def coarser(self, step: float) -> Grid:
        """A grid of isotropic ``step`` mm that covers this one with room for linear interpolation."""
        sizes = [s * n for s, n in zip(self.step, self.shape[::-1])]
        x, y, z = (o - s / 2 + size / 2 for o, s, size in zip(self.origin, self.step, sizes))
        a, b, c = (size + 2 * step for size in sizes)
        return Grid.covering((x, y, z), (a, b, c), step)

    def image(self, array: NDArray) -> sitk.Image:
        """The array as an image. Only for grids with positive steps."""
        image = sitk.GetImageFromArray(array)
        image.SetOrigin(self.origin)
        image.SetSpacing(self.step)
        return image


def sample(array: FloatArray, index: FloatArray, outside: float = 0.0) -> FloatArray:
    """Linear interpolation of ``array`` at continuous array indices; ``outside`` beyond its borders."""
    values: FloatArray = ndimage.map_coordinates(
        array, index, np.float32, 1, "constant", outside, prefilter=False
    )
    return values


def upsampled(field: FloatArray, coarse: Grid, grid: Grid) -> FloatArray:
    """``field`` on ``coarse`` linearly interpolated on ``grid``, which it covers; axis by axis."""
    for axis in range(3):
        world = 2 - axis
        world_positions = grid.origin[world] + grid.step[world] * np.arange(grid.shape[axis])
        position = (world_positions - coarse.origin[world]) / coarse.step[world]
        low = np.floor(position).astype(int)
        part = (position - low).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
        field = field.take(low, axis) * (1 - part) + field.take(low + 1, axis) * part
    return field


def smooth_noise(rng: np.random.Generator, grid: Grid, sigma_mm: float) -> FloatArray:
    """Gaussian random field on ``grid`` with mean 0 and standard deviation 1: white noise, Gaussian filtered.

    The noise is drawn on a wider grid so that the deviation is the same up to the borders.
    """
    sigma = [sigma_mm / abs(s) for s in grid.step[::-1]]
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
