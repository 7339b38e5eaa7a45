"""Cubic B-spline interpolation that stays between the values around it.

A B-spline of order 3 gives back what linear interpolation between coarse voxels blurs, but it overshoots at
edges. So every value is held between the least and the greatest of the 3 x 3 x 3 voxels around its nearest
one (Thevenaz, Blu & Unser 2000, IEEE TMI 19:739, for the interpolation).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from MRI2PETLib.images.grid import Grid

INTERPOLATION = "cubic B-spline, held between the voxels around it"
_BLOCK = 2**18  # points at a time, in each thread: their indices take 6 MB


def bounded_spline(values: NDArray, grid: Grid, to: Grid, where: NDArray[np.bool_]) -> NDArray:
    """Values on ``grid`` interpolated at voxels of another grid.

    :param values: floating-point array [k, j, i] on ``grid``, finite.
    :param where: voxels of ``to`` that are wanted, [k, j, i].
    :returns: one number for each of them, in array order and of the type of ``values``; 0 outside of the
        voxels of ``grid``.
    """
    axes, own = (np.reshape(g.direction, (3, 3)) * g.spacing_mm for g in (grid, to))
    step = np.linalg.solve(axes, own)[::-1, ::-1]  # indices k, j, i of one grid to those of the other
    start = np.linalg.solve(axes, np.subtract(to.origin, grid.origin))[::-1]
    last = np.array(grid.shape) - 1
    coefficients = ndimage.spline_filter(values, order=3, output=np.float64, mode="mirror")
    least, greatest = ndimage.minimum_filter(values, 3), ndimage.maximum_filter(values, 3)
    voxels = np.flatnonzero(where)
    result = np.zeros(len(voxels), values.dtype)

    def interpolate(begin: int) -> None:
        block = slice(begin, begin + _BLOCK)
        index = step @ np.stack(np.unravel_index(voxels[block], where.shape)) + start[:, None]
        at = np.clip(index, 0, last[:, None])
        near = tuple(np.rint(at).astype(np.intp))
        spline = ndimage.map_coordinates(coefficients, at, order=3, mode="mirror", prefilter=False)
        inside = (np.abs(index - at) <= 0.5).all(axis=0)
        result[block] = np.where(inside, np.clip(spline, least[near], greatest[near]), 0)

    with ThreadPoolExecutor(sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()) as threads:
        list(threads.map(interpolate, range(0, len(voxels), _BLOCK)))
    return result
