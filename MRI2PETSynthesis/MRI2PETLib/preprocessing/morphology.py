"""Morphology of masks by balls: ITK's filters with ITK's balls, in a tenth to a hundredth of their time.

A ball is a stack of rows. A mask is widened along i once for each length of row; the results, eight voxels a
byte, are then shifted along j and k and joined. Holes and largest parts are of parts connected by faces.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


def dilate(mask: sitk.Image, distance_mm: float) -> sitk.Image:
    """Dilation by a ball (uint8, 0 and 1)."""
    return _like(mask, _dilated(_inside(mask), _radius(mask, distance_mm)))


def erode(mask: sitk.Image, distance_mm: float) -> sitk.Image:
    """Erosion by a ball; the image's border does not count as inside."""
    radius = _radius(mask, distance_mm)
    return _like(mask, _cut(~_dilated(~_padded(mask, radius), radius), radius))


def open_(mask: sitk.Image, distance_mm: float) -> sitk.Image:
    """Opening by a ball; the image's border does not erode."""
    radius = _radius(mask, distance_mm)
    return _like(mask, _dilated(~_dilated(~_inside(mask), radius), radius))


def close(mask: sitk.Image, distance_mm: float) -> sitk.Image:
    """Closing by a ball; the image's border does not count as inside."""
    radius = _radius(mask, distance_mm)
    return _like(mask, _cut(~_dilated(~_dilated(_padded(mask, radius), radius), radius), radius))


def fill_holes(mask: sitk.Image) -> sitk.Image:
    """:func:`filled` of an image."""
    return _like(mask, filled(_inside(mask)))


def largest_component(mask: np.ndarray) -> np.ndarray:
    """The largest connected part (by faces) of a boolean array."""
    labels = _components(mask)
    sizes = np.bincount(labels.ravel())
    return mask if len(sizes) <= 2 else np.asarray(labels == np.argmax(sizes[1:]) + 1)


def filled(mask: np.ndarray) -> np.ndarray:
    """A boolean volume with its holes filled: all that the outside does not reach by faces."""
    labels = _components(~np.pad(mask, 1))
    return np.asarray(labels != labels[0, 0, 0])[1:-1, 1:-1, 1:-1]


def _components(mask: np.ndarray) -> np.ndarray:
    """Connected parts (by faces) as labels from 1: ITK takes a quarter of the time of SciPy's ``label``."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(mask).view(np.uint8))
    return sitk.GetArrayFromImage(sitk.ConnectedComponent(image))


def _inside(mask: sitk.Image) -> Mask:
    return np.asarray(sitk.GetArrayViewFromImage(mask) != 0)


def _padded(mask: sitk.Image, radius: tuple[int, ...]) -> Mask:
    return np.pad(_inside(mask), [(r, r) for r in reversed(radius)])


def _cut(inside: Mask, radius: tuple[int, ...]) -> Mask:
    i, j, k = (slice(r, -r) for r in radius)
    return inside[k, j, i]


def _like(mask: sitk.Image, inside: Mask) -> sitk.Image:
    image = sitk.GetImageFromArray(np.ascontiguousarray(inside).view(np.uint8))
    image.CopyInformation(mask)
    return image


def _radius(image: sitk.Image, distance_mm: float) -> tuple[int, ...]:
    """Voxels along i, j, k; at least one."""
    return tuple(max(1, round(distance_mm / s)) for s in image.GetSpacing())


@cache
def _ball_rows(radius: tuple[int, ...]) -> NDArray[np.int64]:
    """Half the length of each row [k, j] of ITK's ball (the middle voxel not counted), -1 for no row."""
    point = sitk.Image([2 * r + 1 for r in radius], sitk.sitkUInt8)
    point[radius] = 1
    ball = sitk.GetArrayFromImage(sitk.BinaryDilate(point, radius, sitk.sitkBall))
    return (ball.sum(axis=2, dtype=np.int64) + 1) // 2 - 1


def _dilated(inside: Mask, radius: tuple[int, ...]) -> Mask:
    rows = _ball_rows(radius)
    middle_k, middle_j = (n // 2 for n in rows.shape)
    size_k, size_j, size_i = inside.shape
    wide = np.array(inside)
    joined = np.zeros((size_k, size_j, -(-size_i // 8)), np.uint8)
    for half in range(rows.max() + 1):
        if 0 < half < size_i:
            wide[:, :, half:] |= inside[:, :, :-half]
            wide[:, :, :-half] |= inside[:, :, half:]
        packed = np.packbits(wide, axis=2)
        for k, j in np.argwhere(rows == half) - (middle_k, middle_j):
            to_k, from_k = _overlap(k, size_k)
            to_j, from_j = _overlap(j, size_j)
            joined[to_k, to_j] |= packed[from_k, from_j]
    return np.unpackbits(joined, axis=2, count=size_i).view(np.bool_)


def _overlap(shift: int, size: int) -> tuple[slice, slice]:
    """Where a row of ``size`` goes that is shifted by ``shift``, and what of it."""
    length = max(size - abs(shift), 0)
    to, start = max(shift, 0), max(-shift, 0)
    return slice(to, to + length), slice(start, start + length)
