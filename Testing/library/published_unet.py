"""The computation of the published TSPO U-Net, written plainly, on the parameters of our own network.

Contiguous layout, concatenated skip connections, ``x * sigmoid(x)``, convolutions as convolutions, and
attention with batch and sequence axes swapped, as described in the documentation of the reference
implementation. It is what the fast formulation must equal, and what the benchmarks compare with.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from MRI2PETLib.models.unet import (
    AttentionBlock,
    DepthwiseSeparableConv3d,
    Downsample,
    ResidualBlock,
    ResidualStage,
    TSPOUNet,
    Upsample,
)


def swish(x: Tensor) -> Tensor:
    return x * torch.sigmoid(x)


def convolve(block: nn.Module, x: Tensor) -> Tensor:
    if isinstance(block, DepthwiseSeparableConv3d):
        return block.depthwise_separable_conv(x)
    return F.conv3d(x, block.weight, block.bias, padding=1)


def residual(block: ResidualBlock, x: Tensor) -> Tensor:
    h = convolve(block.conv1, swish(block.norm1(x)))
    h = convolve(block.conv2, swish(block.norm2(h)))
    return h + block.shortcut(x)


def attend(block: AttentionBlock, x: Tensor) -> Tensor:
    """Batch and sequence swapped: softmax over the batch."""
    tokens = x.flatten(2).permute(0, 2, 1)
    swapped = nn.MultiheadAttention(tokens.shape[-1], 1).to(x.dtype)
    swapped.load_state_dict(block.attn.state_dict())
    mixed, _ = swapped(block.q(tokens), block.k(tokens), block.v(tokens))
    out = block.output(mixed) + tokens
    return out.permute(0, 2, 1).reshape(x.shape)


def published_forward(network: TSPOUNet, x: Tensor) -> Tensor:
    """The published function of [batch, 1, k, j, i]; axes must be multiples of 8."""

    def stage(block: ResidualStage, h: Tensor) -> Tensor:
        h = residual(block.res, h)
        return attend(block.attn, h) if isinstance(block.attn, AttentionBlock) else h

    h = network.image_proj(x)
    skips = [h]
    for block in network.down:
        h = block(h) if isinstance(block, Downsample) else stage(block, h)
        skips.append(h)
    h = residual(network.middle.res1, h)
    h = residual(network.middle.res2, attend(network.middle.attn, h))
    for block in network.up:
        h = block(h) if isinstance(block, Upsample) else stage(block, torch.cat((h, skips.pop()), dim=1))
    return torch.sigmoid(convolve(network.final, swish(network.norm(h))))
