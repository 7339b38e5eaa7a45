"""Cubic B-spline interpolation that stays between the values around it.

A B-spline of order 3 gives back what linear interpolation between coarse voxels blurs, but it overshoots at
edges. So every value is held between the least and the greatest of the 3 x 3 x 3 voxels around its nearest
one (Thevenaz, Blu & Unser 2000, IEEE TMI 19:739, for the interpolation).
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from MRI2PETLib.images.grid import Grid

INTERPOLATION = "cubic B-spline, held between the voxels around it"
_BLOCK = 2**16  # points at a time, in each thread: their numbers stay in the processor's cache


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
    least, greatest = (f(values, 3).ravel() for f in (ndimage.minimum_filter, ndimage.maximum_filter))
    spline = _spline(coefficients)
    voxels = np.flatnonzero(where)
    result = np.zeros(len(voxels), values.dtype)

    def interpolate(begin: int) -> None:
        block = slice(begin, begin + _BLOCK)
        index = step @ np.stack(np.unravel_index(voxels[block], where.shape)) + start[:, None]
        at = np.clip(index, 0, last[:, None])
        near = np.ravel_multi_index(tuple(np.rint(at).astype(np.intp)), grid.shape)
        inside = (np.abs(index - at) <= 0.5).all(axis=0)
        result[block] = np.where(inside, np.clip(spline(at), least[near], greatest[near]), 0)

    with ThreadPoolExecutor(sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()) as threads:
        list(threads.map(interpolate, range(0, len(voxels), _BLOCK)))
    return result


def _spline(coefficients: NDArray) -> Callable[[NDArray], NDArray]:
    """The cubic B-spline as a function of points [3, n] (continuous indices within the array).

    The numbers of ``ndimage.map_coordinates`` (mode ``mirror``), in half of its time: the 64 coefficients
    around a point are added up for all points at once.
    """
    around = np.pad(coefficients, (1, 2), mode="reflect")
    strides = np.array(around.strides) // around.itemsize
    around = around.ravel()

    def spline(at: NDArray) -> NDArray:
        voxel = np.floor(at).astype(np.intp)
        first = strides @ voxel
        weights = [_weights(t) for t in at - voxel]
        total, plane, row, value = np.zeros((4, at.shape[1]))
        for k, in_k in enumerate(weights[0]):
            plane[:] = 0
            for j, in_j in enumerate(weights[1]):
                row[:] = 0
                for i, in_i in enumerate(weights[2]):
                    around[strides @ (k, j, i) :].take(first, out=value, mode="clip")
                    row += np.multiply(value, in_i, out=value)
                plane += np.multiply(row, in_j, out=row)
            total += np.multiply(plane, in_k, out=plane)
        return total

    return spline


def _weights(t: NDArray) -> tuple[NDArray, ...]:
    """Of the four coefficients along an axis around a point, ``t`` (0..1) beyond the second of them."""
    rest = 1 - t
    return rest**3 / 6, (4 + t * t * (3 * t - 6)) / 6, (4 + rest * rest * (3 * rest - 6)) / 6, t**3 / 6
