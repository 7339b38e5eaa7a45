"""The Laplacian pyramid loss of Theodorou et al. 2025: errors of each band of spatial frequencies alike."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

PYRAMID_LEVELS = 5  # as published


def bands(x: Tensor) -> Iterator[Tensor]:
    """Split images into bands, the finest first; each but the last level halves the axes.

    A band is what an average over 2 voxels an axis and linear interpolation back take away, so a constant
    has none. Axes of 1 voxel are not halved; when there is no other, the bands end before
    :data:`PYRAMID_LEVELS`.

    :param x: [batch, channel, j, i] or [batch, channel, k, j, i].
    """
    pool, mode = (F.avg_pool2d, "bilinear") if x.ndim == 4 else (F.avg_pool3d, "trilinear")
    for _ in range(PYRAMID_LEVELS):
        window = [2 if length > 1 else 1 for length in x.shape[2:]]
        if max(window) == 1:
            return
        coarse = pool(x, window, ceil_mode=True)
        yield x - F.interpolate(coarse, size=x.shape[2:], mode=mode, align_corners=False)
        x = coarse


def laplacian_loss(prediction: Tensor, target: Tensor, dims: int) -> Tensor:
    """Sum over the bands of their mean squared error, for each volume: [batch].

    The pyramid is linear, so it is that of the difference.

    :param prediction: [batch, 1, k, j, i], as ``target``.
    :param dims: 2 for axial slices (as published), 3 for the volume.
    """
    difference = prediction - target
    batch = difference.shape[0]
    if dims == 2:
        difference = difference.transpose(1, 2).flatten(0, 1)
    errors = [band.square().reshape(batch, -1).mean(dim=1) for band in bands(difference)]
    return torch.stack(errors).sum(dim=0)
