"""Depthwise separable convolutions of channels-last volumes, fast on a CPU forward and backward.

PyTorch's own backward pass of a channels-last depthwise convolution takes half of a training step on a CPU
(at 48^3 voxels x 32 channels 146 ms for the input's gradient, where the forward pass takes 6 ms). The input's
gradient is the forward convolution with the kernel mirrored; a weight's gradient is the sum over the voxels
of input x gradient at one of 27 shifts.
"""

from __future__ import annotations

import itertools
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_AT_ONCE = 96 * 96  # voxels whose products stay in the processor's cache


class DepthwiseSeparableConv3d(nn.Module):
    """A 3 x 3 x 3 convolution for each channel, then a 1 x 1 x 1 one across them."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.depthwise_separable_conv = nn.Sequential(
            nn.Conv3d(in_channels, in_channels, 3, padding=1, groups=in_channels),
            nn.Conv3d(in_channels, out_channels, 1),
        )

    def forward(self, parts: list[Tensor]) -> Tensor:
        depthwise, pointwise = (cast(nn.Conv3d, m) for m in self.depthwise_separable_conv)
        assert depthwise.bias is not None
        out, start = None, 0
        for part in parts:
            channels = slice(start, start + part.shape[1])
            h = depthwise_conv3d(part, depthwise.weight[channels], depthwise.bias[channels])
            out = pointwise_conv3d(h, pointwise, channels, out)
            start = channels.stop
        assert out is not None
        return out


def pointwise_conv3d(x: Tensor, convolution: nn.Conv3d, channels: slice, total: Tensor | None) -> Tensor:
    """A 1 x 1 x 1 convolution as a matrix product over the channels.

    :param channels: the part of the kernel that meets ``x``, when ``x`` holds only some of its channels.
    :param total: the sum of the parts so far, added to in place where no gradient is asked for and it lies
        channels-last; ``None`` starts it with the bias.
    """
    weight = convolution.weight[:, channels].flatten(1)
    rows = x.permute(0, 2, 3, 4, 1)
    if total is None:
        return F.linear(rows, weight, convolution.bias).permute(0, 4, 1, 2, 3)
    into = total.permute(0, 2, 3, 4, 1)
    # In place, the backward pass copies whole volumes; and only channels-last can be written to as rows.
    if torch.is_grad_enabled() or not into.is_contiguous():
        return total + F.linear(rows, weight).permute(0, 4, 1, 2, 3)
    # Autocast, which converts the others, leaves an operation in place alone.
    into.view(-1, into.shape[-1]).addmm_(rows.flatten(0, 3).to(into.dtype), weight.t().to(into.dtype))
    return total


def depthwise_conv3d(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``F.conv3d`` with padding 1 and one group a channel, differentiable once.

    :param x: [batch, channels, k, j, i].
    :param weight: [channels, 1, 3, 3, 3]; ``bias`` [channels].
    """
    if x.device.type == "cpu" and torch.is_grad_enabled():
        if x.shape[2] < weight.shape[2]:
            x = x.float()  # PyTorch's own weight gradient of bf16 would be wrong, see models.shallow
        if x.dtype == torch.float32:
            return _DepthwiseConv3d.apply(x, weight, bias)
    return F.conv3d(x, weight, bias, padding=1, groups=x.shape[1])


class _DepthwiseConv3d(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return F.conv3d(x, weight, bias, padding=1, groups=x.shape[1])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        # Under autocast the gradient comes in half precision.
        gradient = gradient.to(x.dtype).contiguous(memory_format=torch.channels_last_3d)
        of_x = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            of_x = F.conv3d(gradient, weight.flip(2, 3, 4), None, padding=1, groups=x.shape[1])
        if ctx.needs_input_grad[1]:
            of_weight = _weight_gradient(x, gradient)
        if ctx.needs_input_grad[2]:
            of_bias = gradient.sum((0, 2, 3, 4))
        return of_x, of_weight, of_bias


def _weight_gradient(x: Tensor, gradient: Tensor) -> Tensor:
    """[channels, 1, 3, 3, 3]: for each shift the sum over the voxels of x times the output's gradient."""
    rows = gradient.permute(0, 2, 3, 4, 1)
    padded = F.pad(x.permute(0, 2, 3, 4, 1), (0, 0, 1, 1, 1, 1, 1, 1))
    batch, depth, height, width, channels = rows.shape
    slab = max(1, _AT_ONCE // (batch * height * width))
    sums = rows.new_zeros(3, 3, 3, channels)
    for start in range(0, depth, slab):
        part = rows[:, start : start + slab]
        for k, j, i in itertools.product(range(3), repeat=3):
            first = start + k
            shifted = padded[:, first : first + part.shape[1], j : j + height, i : i + width]
            sums[k, j, i] += (shifted * part).sum((0, 1, 2, 3))
    return sums.permute(3, 0, 1, 2)[:, None]
