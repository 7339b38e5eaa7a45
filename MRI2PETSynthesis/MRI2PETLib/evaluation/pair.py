"""A predicted PET against a real one, as the metrics see them; what several metrics need is computed once."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from MRI2PETLib.evaluation.cnr import BoxPairs, cnr_summary
from MRI2PETLib.evaluation.measure import Measure
from MRI2PETLib.evaluation.normdiff import summarise_normdiff
from MRI2PETLib.evaluation.ssim import Moments, Windows


class Volume:
    """An image inside a mask. ``image``: array [k, j, i]; ``inside``: bool, only voxels that are finite.

    :param windows: of ``inside``; ``boxes``: pairs of boxes for the CNR, if one is wanted.
    """

    def __init__(
        self, image: np.ndarray, inside: np.ndarray, windows: Windows, boxes: BoxPairs | None = None
    ) -> None:
        self.values = image[inside].astype(np.float64)
        self._image, self._windows, self._boxes = image, windows, boxes

    @cached_property
    def moments(self) -> Moments:
        """Local means and variances (for SSIM)."""
        return self._windows.moments(self._image)

    @cached_property
    def cnr(self) -> dict[str, Measure]:
        """See :func:`~MRI2PETLib.evaluation.cnr.cnr_summary`."""
        return cnr_summary(self._image, self._boxes)


class Pair:
    """Two vectors, float64, finite, voxel by voxel: ``s`` predicted (synthetic), ``r`` real, in one unit."""

    def __init__(self, s: np.ndarray, r: np.ndarray) -> None:
        self.s, self.r = s, r

    @classmethod
    def of_values(cls, s: np.ndarray, r: np.ndarray) -> Pair:
        """The voxels of two vectors where both are finite, as float64."""
        both = np.isfinite(s) & np.isfinite(r)
        return cls(s[both].astype(np.float64), r[both].astype(np.float64))

    @cached_property
    def difference(self) -> np.ndarray:
        return self.s - self.r

    @cached_property
    def squared(self) -> np.ndarray:
        return self.difference**2

    @cached_property
    def normdiff(self) -> dict[str, Measure]:
        """See :func:`~MRI2PETLib.evaluation.normdiff.summarise_normdiff`."""
        return summarise_normdiff(self.s, self.r)


class VolumePair(Pair):
    """Two whole images inside one mask: for metrics that need the neighbours of a voxel."""

    def __init__(self, synthetic: Volume, real: Volume) -> None:
        super().__init__(synthetic.values, real.values)
        self.synthetic, self.real = synthetic, real
