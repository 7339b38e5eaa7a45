"""Where a PET was measured: what lies outside its field of view is no uptake of zero."""

from __future__ import annotations

import numpy as np

# The end of a field of view cuts through the uptake; the end of a head or of a stripped brain tapers. So much
# of the largest cross-section must be left in the plane beside the empty ones (a cap of 1 % of a brain: .2).
_LEAST_SECTION = 0.2
_UPTAKE = 0.25  # of the 98th percentile of what is not 0


def measured_voxels(values: np.ndarray) -> np.ndarray:
    """Where an image was measured, as a boolean array.

    Not measured is what is not finite, and the planes of exact zeros at an end of the scan, along any axis of
    the array, that cut through the uptake.

    :param values: [k, j, i], NaN where a program marked voxels as outside.
    """
    measured = np.isfinite(values)
    present = measured & (values != 0)
    if not present.any():
        return measured
    uptake = present & (values > _UPTAKE * float(np.percentile(values[present], 98)))
    for axis in range(3):
        others = tuple(n for n in range(3) if n != axis)
        filled = np.flatnonzero(present.any(axis=others))
        section = uptake.sum(axis=others)
        least = _LEAST_SECTION * section.max()
        planes: list[slice | int] = [slice(None)] * 3
        for first, empty in ((filled[0], slice(0, filled[0])), (filled[-1], slice(filled[-1] + 1, None))):
            if section[first] >= max(least, 1):
                planes[axis] = empty
                measured[tuple(planes)] = False
    return measured
