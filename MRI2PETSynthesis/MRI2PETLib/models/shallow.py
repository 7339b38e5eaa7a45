"""A remedy for wrong weight gradients of bf16 convolutions on a CPU.

PyTorch's CPU library (oneDNN, as of PyTorch 2.13, with AVX-512) reads uninitialised memory in the bf16 weight
gradient of a 3-D convolution whose input has fewer slices than its kernel: two slices under 3 x 3 x 3, the
bottom of a U-Net of four levels on 16^3 voxels. The gradient is then NaN, or a large number, depending on
what lay in the memory before. Forward pass, input gradient, float32, 2-D and deeper inputs are right.

Depthwise convolutions have it too where the volume is channels-last; :mod:`.separable` sees to these.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn


def protect_shallow_convolutions(network: nn.Module) -> None:
    """Let a network's convolutions compute in float32 on a CPU where the input is shallower than the kernel.

    Elsewhere nothing changes. Names and values of the state are the same.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv3d):
            module._conv_forward = partial(_convolve, module)  # type: ignore[method-assign]


def _convolve(module: nn.Conv3d, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if x.device.type != "cpu" or x.shape[2] >= module.kernel_size[0]:
        return nn.Conv3d._conv_forward(module, x, weight, bias)
    with torch.autocast("cpu", enabled=False):
        whole = None if bias is None else bias.float()
        return nn.Conv3d._conv_forward(module, x.float(), weight.float(), whole)
