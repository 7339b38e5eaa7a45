"""Whether two images hold the same values: one file may have been saved as another, in any format, voxel type
or order of axes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import SimpleITK as sitk

_STEP = 4  # every fourth voxel on each axis
# Above what rounding does to an image that is saved as integers; the two most similar of 12 T1s differ by
# 7e-3 in skewness or kurtosis alone.
_TOLERANCE = 1e-3


def value_moments(image: sitk.Image) -> dict[str, float]:
    """Mean, SD (in units of the image), skewness and kurtosis (no unit) of a 3-D image, whatever the order of
    its voxels; empty for a constant image.
    """
    array = sitk.GetArrayViewFromImage(image)
    direction = np.reshape(image.GetDirection(), (3, 3))
    # Rows are world axes, columns image axes; one file's order and that of another differ by whole axes.
    axes = np.abs(direction).argmax(axis=1)
    if len(set(axes)) == 3:
        signs = direction[np.arange(3), axes]
        array = array.transpose([2 - axis for axis in axes[::-1]])
        array = array[tuple(slice(None, None, 1 if sign > 0 else -1) for sign in signs[::-1])]
    values = array[::_STEP, ::_STEP, ::_STEP].astype(np.float64).ravel()
    mean, sd = float(values.mean()), float(values.std())
    if not sd > 0:
        return {}
    standard = (values - mean) / sd
    squares = standard * standard
    skewness, kurtosis = (float(np.dot(squares, v)) / values.size for v in (standard, squares))
    return {"mean": mean, "sd": sd, "skewness": skewness, "kurtosis": kurtosis}


def differ(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Whether :func:`value_moments` of two images say that their values differ; not if one says nothing."""
    try:
        first, second = ([float(m[key]) for key in ("mean", "sd", "skewness", "kurtosis")] for m in (a, b))
    except (KeyError, TypeError, ValueError):
        return False
    scales = (first[1], first[1], max(1, abs(first[2])), max(1, abs(first[3])))
    return any(abs(x - y) > _TOLERANCE * scale for x, y, scale in zip(first, second, scales, strict=True))
