"""Normalisation, SiLU and separable convolution of large volumes on a CPU, a few slices at a time.

Operations on whole volumes write every intermediate volume to memory and read it back (113 MB at 96^3 voxels
x 32 channels), and a volume that was just allocated costs more in page faults than in arithmetic. Here only
the input and the result are whole; what lies between stays in the processor's cache. The sums of the
normalisation are taken in float32 a slab and in float64 over slabs: closer to the exact result than
PyTorch's own normalisation of channels-last volumes (4e-7 against 4e-4 at 96^3).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from MRI2PETLib.models.separable import DepthwiseSeparableConv3d

_AT_ONCE = 96 * 96 * 12  # voxels of a slab


def use_slabs(x: Tensor) -> bool:
    """Whether slabs serve: prediction on a CPU, in the precision of the weights; an export has none."""
    if x.device.type != "cpu" or torch.is_grad_enabled() or _is_exported():
        return False
    return not _autocast_is_enabled()


def _is_exported() -> bool:
    is_compiling = getattr(torch.compiler, "is_compiling", None)
    return is_compiling is not None and is_compiling()  # torch 2.2 has none, and writes no ONNX file


def _autocast_is_enabled() -> bool:
    try:
        return torch.is_autocast_enabled("cpu")
    except TypeError:  # torch 2.2 has the function for GPUs only
        return torch.is_autocast_cpu_enabled()


def convolve_in_slabs(
    parts: list[Tensor], norm: nn.GroupNorm, convolution: DepthwiseSeparableConv3d, *, in_place: bool = False
) -> Tensor:
    """``convolution(silu(norm(x)))`` for channels that lie in several tensors.

    :param parts: [batch, channels, k, j, i] each; every part holds whole groups of ``norm``.
    :param in_place: the result takes the place of the only part, which has as many channels.
    """
    depthwise, pointwise = (cast(nn.Conv3d, m) for m in convolution.depthwise_separable_conv)
    assert depthwise.bias is not None and pointwise.bias is not None
    parts = [part.contiguous(memory_format=torch.channels_last_3d) for part in parts]
    shape = (parts[0].shape[0], *parts[0].shape[2:], pointwise.out_channels)
    out = _rows(parts[0]) if in_place else parts[0].new_empty(shape)
    thickness = max(2, min(shape[1], _AT_ONCE // (shape[2] * shape[3])))
    first = 0
    for part in parts:
        channels = slice(first, first + part.shape[1])
        weight = pointwise.weight[:, channels].flatten(1).t()
        for volume, result in zip(_rows(part), out):
            scale, shift = _normalisation(volume, norm, channels, thickness)
            for start, stop, slab in _activated_slabs(volume, scale, shift, thickness):
                h = F.conv3d(
                    slab[None].permute(0, 4, 1, 2, 3),
                    depthwise.weight[channels],
                    depthwise.bias[channels],
                    padding=(0, 1, 1),
                    groups=part.shape[1],
                )
                into = result[start:stop].flatten(0, 2)
                if first == 0:  # not addmm: it copies the bias to every voxel first, and slowly
                    torch.mm(_rows(h).flatten(0, 3), weight, out=into).add_(pointwise.bias)
                else:
                    into.addmm_(_rows(h).flatten(0, 3), weight)
        first = channels.stop
    return out.permute(0, 4, 1, 2, 3)


def _rows(x: Tensor) -> Tensor:
    """[batch, k, j, i, channels] of a channels-last volume, without a copy."""
    return x.permute(0, 2, 3, 4, 1)


def _normalisation(
    volume: Tensor, norm: nn.GroupNorm, channels: slice, thickness: int
) -> tuple[Tensor, Tensor]:
    """Scale and shift of each channel [k, j, i, channels] that are the group normalisation."""
    count = volume.shape[-1]
    sums, squares = torch.zeros(2, count, dtype=torch.float64)
    product = torch.empty_like(volume[:thickness], dtype=torch.float32)
    for slab in volume.split(thickness):
        values = slab.float()
        sums += values.sum((0, 1, 2))
        squares += torch.mul(values, values, out=product[: len(values)]).sum((0, 1, 2))
    per_group = norm.num_channels // norm.num_groups
    voxels = volume[..., 0].numel()
    mean = (sums / voxels).view(-1, per_group).mean(1)
    variance = (squares / voxels).view(-1, per_group).mean(1) - mean.square()
    gain = (variance.clamp(min=0) + norm.eps).rsqrt().repeat_interleave(per_group)
    scale = gain * norm.weight[channels]
    shift = norm.bias[channels] - mean.repeat_interleave(per_group) * scale
    return scale.to(volume.dtype), shift.to(volume.dtype)


def _activated_slabs(
    volume: Tensor, scale: Tensor, shift: Tensor, thickness: int
) -> Iterator[tuple[int, int, Tensor]]:
    """First slice, slice after the last, and ``silu(volume * scale + shift)`` of these and of the slice on
    either side, 0 beyond the volume. A slab may be overwritten in ``volume`` once it was given.
    """
    depth = len(volume)
    buffer = volume.new_empty(thickness + 2, *volume.shape[1:])
    buffer[0] = 0
    n_ready = 1  # slices at the front of the buffer that are there: the zeros before the first
    for start in range(0, depth, thickness):
        stop = min(start + thickness, depth)
        fresh = volume[start - 1 + n_ready : stop + 1]
        target = buffer[n_ready : n_ready + len(fresh)]
        torch.addcmul(shift, fresh, scale, out=target)
        F.silu(target, inplace=True)
        if stop == depth:
            buffer[stop - start + 1] = 0
        yield start, stop, buffer[: stop - start + 2]
        buffer[:2] = buffer[thickness:]
        n_ready = 2
