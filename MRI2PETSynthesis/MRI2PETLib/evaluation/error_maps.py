"""Where a synthetic PET is off: percentage difference and squared error a voxel, and means over people."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from MRI2PETLib.evaluation.normdiff import shared_voxels
from MRI2PETLib.evaluation.spaces import mni_grid

# Of the mean real PET: where the real PET is lower, a percentage of it says nothing.
LEAST_SHARE = 0.05


def percent_difference_map(
    synthetic: np.ndarray, real: np.ndarray, mask: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """``100 (s - r) / r`` in % a voxel, and where it is defined: inside the mask, with a real PET of at least
    5 % of its mean there.

    :return: map (float32, 0 where it is not defined), validity (bool).
    """
    inside = shared_voxels(synthetic, real, mask)
    mean = float(real[inside].astype(np.float64).mean()) if inside.any() else 0.0
    valid = inside & (np.where(inside, real, 0) >= max(LEAST_SHARE * mean, 1e-12))
    values = np.zeros(inside.shape, dtype=np.float32)
    np.divide(100.0 * (synthetic - real), real, out=values, where=valid, casting="same_kind")
    return values, valid


def squared_error_map(synthetic: np.ndarray, real: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """``(s - r)^2`` a voxel in the squared unit of both, float32, 0 outside; its mean is the MSE."""
    inside = shared_voxels(synthetic, real, mask)
    difference = np.where(inside, synthetic, 0).astype(np.float64) - np.where(inside, real, 0)
    return np.asarray((difference**2).astype(np.float32))


@dataclass(frozen=True)
class MeanMaps:
    """Means over people on :func:`.spaces.mni_grid`, [k, j, i]; 0 where fewer than half of the
    people have a value (not in ``valid``).
    """

    percent_difference: np.ndarray
    squared_error: np.ndarray
    valid: np.ndarray


class MeanMapSums:
    """Adds up the maps of scan after scan: memory does not grow with the number of people."""

    def __init__(self) -> None:
        shape = mni_grid().GetSize()[::-1]
        self._sums = {name: np.zeros((2, *shape), dtype=np.float64) for name in ("percent", "squared")}
        self._total = 0.0

    def add(self, synthetic: np.ndarray, real: np.ndarray, weight: float) -> None:
        """Add a scan in MNI space, NaN where it has nothing.

        :param weight: 1 over the number of scans of the person, so that people count alike.
        """
        inside = np.isfinite(synthetic) & np.isfinite(real)
        percent, valid = percent_difference_map(synthetic, real, inside)
        for name, values, where in (
            ("percent", percent, valid),
            ("squared", squared_error_map(synthetic, real, inside), inside),
        ):
            self._sums[name][0] += weight * np.where(where, values, 0)
            self._sums[name][1] += weight * where
        self._total += weight

    def mean(self) -> MeanMaps | None:
        """The means so far; ``None`` if nothing was added."""
        if not self._total:
            return None
        valid = np.logical_and(*(weights >= self._total / 2 for _, weights in self._sums.values()))
        percent, squared = (
            np.divide(total, weights, out=np.zeros_like(total), where=valid).astype(np.float32)
            for total, weights in self._sums.values()
        )
        return MeanMaps(percent, squared, valid)
