"""Clusters of voxels beyond a threshold: how large, how far, where."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from MRI2PETLib.images.grid import Grid


class Cluster(NamedTuple):
    """Voxels that touch (26 neighbours) and lie beyond the threshold on one side.

    ``sign``: 1 where the PET is higher than expected, -1 lower. ``peak`` is its z; ``*_ras_mm`` where that
    lies, in the world of the map (RAS).
    """

    sign: int
    n_voxels: int
    volume_ml: float
    peak: float
    x_ras_mm: float
    y_ras_mm: float
    z_ras_mm: float


def find_clusters(z: np.ndarray, grid: Grid, threshold: float) -> list[Cluster]:
    """All clusters, the largest |peak| first.

    :param z: [k, j, i] on ``grid``; NaN: no score.
    """
    from scipy import ndimage

    clusters = []
    voxel_ml = float(np.prod(grid.spacing_mm)) / 1000
    for sign in (1, -1):
        beyond = sign * np.where(np.isfinite(z), z, 0)
        labels, n_clusters = ndimage.label(beyond > threshold, structure=np.ones((3, 3, 3)))
        index = range(1, n_clusters + 1)
        sizes = np.bincount(labels.ravel(), minlength=n_clusters + 1)[1:]
        for size, (k, j, i) in zip(sizes, ndimage.maximum_position(beyond, labels, index)):
            x, y, s = grid.image().TransformIndexToPhysicalPoint((int(i), int(j), int(k)))
            peak = float(z[k, j, i])
            clusters.append(Cluster(sign, int(size), float(size * voxel_ml), peak, -x, -y, s))
    return sorted(clusters, key=lambda cluster: -abs(cluster.peak))


def largest_volume_ml(clusters: list[Cluster]) -> float:
    """Of all clusters, 0 without one."""
    return max((cluster.volume_ml for cluster in clusters), default=0.0)
