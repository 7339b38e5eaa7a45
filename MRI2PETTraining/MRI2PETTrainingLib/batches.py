"""Prepared cases as batches. What an epoch shows depends on the seed, the epoch and the case only: not on how
often the run was interrupted, on the number of workers, or on what was drawn before.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, Sampler

from MRI2PETTrainingLib.presets import Augmentation

if TYPE_CHECKING:
    from MRI2PETTrainingLib.dataset.cache import PreparedCase

Batch = dict[str, torch.Tensor]


class PairsByEpoch(Protocol):
    """What a training learns from: ``source``, ``target`` and ``mask`` by (epoch, index), float32
    [1, k, j, i]. The same key gives the same pair.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, key: tuple[int, int]) -> Batch: ...


class CasePairs(Dataset[Batch]):
    """Cases by (epoch, index): ``source``, ``target`` and ``mask``, float32 [1, k, j, i].

    Files stay mapped, not loaded: memory is bounded by the batch.

    :param augmentation: ``None`` for validation.
    """

    def __init__(self, cases: Sequence[PreparedCase], augmentation: Augmentation | None, seed: int) -> None:
        self._cases, self._augmentation, self._seed = list(cases), augmentation, seed

    def __len__(self) -> int:
        return len(self._cases)

    def __getitem__(self, key: tuple[int, int]) -> Batch:
        epoch, index = key
        volumes = torch.from_numpy(np.array(self._cases[index].arrays(), dtype=np.float32))
        if self._augmentation is not None:
            rng = np.random.default_rng([self._seed, epoch, index])
            volumes = augment(volumes, self._augmentation, rng)
        return {"source": volumes[0:1], "target": volumes[1:2], "mask": volumes[2:3]}


class EpochSampler(Sampler[tuple[int, int]]):
    """(epoch, index) in an order drawn from seed and epoch; each of several processes gets its share.

    Lightning calls ``set_epoch`` before an epoch.
    """

    def __init__(self, count: int, seed: int, *, shuffle: bool, rank: int = 0, processes: int = 1) -> None:
        self._count, self._seed, self._shuffle = count, seed, shuffle
        self._rank, self._processes = rank, processes
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self._epoch = epoch

    def __len__(self) -> int:
        return math.ceil(self._count / self._processes)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = np.arange(self._count)
        if self._shuffle:
            order = np.random.default_rng([self._seed, self._epoch]).permutation(self._count)
        # Processes must take equally many steps: the first cases fill up.
        order = np.resize(order, len(self) * self._processes)
        for index in order[self._rank :: self._processes].tolist():
            yield self._epoch, index


def loader(
    data: PairsByEpoch,
    *,
    seed: int,
    batch_size: int,
    shuffle: bool,
    workers: int = 0,
    rank: int = 0,
    processes: int = 1,
) -> DataLoader[Batch]:
    """Batches of (epoch, index) items; without loading processes they may lie on any device."""
    return DataLoader(
        data,  # type: ignore[arg-type]
        batch_size=batch_size,
        sampler=EpochSampler(len(data), seed, shuffle=shuffle, rank=rank, processes=processes),
        num_workers=workers,
        pin_memory=workers > 0 and torch.cuda.is_available(),
        persistent_workers=workers > 0,
    )


def augment(volumes: torch.Tensor, settings: Augmentation, rng: np.random.Generator) -> torch.Tensor:
    """Change a pair at random: geometry of all three volumes alike, intensity of the T1 only.

    :param volumes: T1 (0..1), PET (0..1) and mask, [3, k, j, i]; i runs from left to right.
    """
    if rng.random() < settings.flip:
        volumes = volumes.flip(-1)
    volumes = _move(volumes, settings, rng)
    source, mask = volumes[0], volumes[2]
    gamma = math.exp(rng.uniform(-settings.gamma, settings.gamma))
    if gamma != 1.0:
        source = source.clamp(min=0) ** gamma
    if settings.noise > 0:
        drawn = rng.standard_normal(source.shape, dtype=np.float32)
        source = source + settings.noise * torch.from_numpy(drawn) * mask
    return torch.stack([source, volumes[1], mask])


def _move(volumes: torch.Tensor, settings: Augmentation, rng: np.random.Generator) -> torch.Tensor:
    """Rotate, scale and shift by one affine map and one linear interpolation."""
    angles = np.radians(rng.uniform(-settings.rotate_deg, settings.rotate_deg, 3))
    scale = 1.0 + rng.uniform(-settings.scale, settings.scale, 3)
    shift = rng.uniform(-settings.shift_voxels, settings.shift_voxels, 3)
    if not (angles.any() or shift.any() or (scale != 1).any()):
        return volumes
    matrix = np.diag(scale)
    for axis, angle in enumerate(angles):
        a, b = [i for i in range(3) if i != axis]
        turn = np.eye(3)
        turn[[a, a, b, b], [a, b, a, b]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
        matrix = turn @ matrix
    # grid_sample works in units of the half field of view, which differ between axes of other lengths.
    half = np.array(volumes.shape[:0:-1]) / 2
    theta = np.concatenate([matrix * half / half[:, None], (shift / half)[:, None]], axis=1)
    grid = F.affine_grid(
        torch.tensor(theta, dtype=torch.float32)[None], [1, *volumes.shape], align_corners=False
    )
    moved = F.grid_sample(volumes[None], grid, mode="bilinear", align_corners=False)[0]
    mask = (moved[2] > 0.5).float()
    return torch.stack([moved[0] * mask, moved[1] * mask, mask])
