"""The TSPO U-Net of Ferrante et al. 2025: a small 3D U-Net from T1 to normalised PET.

Parameter names and shapes are the authors' (252 tensors, 507,553 parameters at the published setting), so
that their weights would load strictly; the computation is ours:

* no concatenation: normalisation, depthwise and pointwise convolutions act on the two halves of a skip
  connection separately (a normalisation group never holds channels of both), which is the same sum;
* pointwise convolutions are matrix products over the channels of a channels-last volume;
* in training, normalised and convolved volumes are computed again instead of kept;
* attention is over the voxels (``spatial``), or, for weights trained by the published code, the function
  that this code computes for one volume (``reference``): with batch and sequence axes swapped there, its
  softmax runs over the batch and is 1 for one volume, which leaves an affine map per voxel.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from MRI2PETLib.core.progress import ProgressCallback
from MRI2PETLib.models.objective import NETWORK_STATE, Objective, check_arguments
from MRI2PETLib.models.separable import DepthwiseSeparableConv3d, pointwise_conv3d
from MRI2PETLib.models.slabs import convolve_in_slabs, use_slabs

STOCHASTIC = False
PRESET = "tspo-unet"
ATTENTION_MODES = ("spatial", "reference")
_GROUPS = 4  # of every normalisation but the last, which has 8
_LAST_GROUPS = 8


class DenseConv3d(nn.Conv3d):
    """A plain 3 x 3 x 3 convolution with the calling convention of
    :class:`~MRI2PETLib.models.separable.DepthwiseSeparableConv3d`.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 3, padding=1)

    def forward(self, parts: list[Tensor]) -> Tensor:  # type: ignore[override]
        return super().forward(torch.cat(parts, dim=1))


def _normalise_activate(parts: list[Tensor], norm: nn.GroupNorm) -> list[Tensor]:
    """Group normalisation and SiLU of channels that lie in several tensors; every part holds whole groups."""
    out, start, per_group = [], 0, norm.num_channels // norm.num_groups
    for part in parts:
        channels = slice(start, start + part.shape[1])
        normed = F.group_norm(
            part, part.shape[1] // per_group, norm.weight[channels], norm.bias[channels], norm.eps
        )
        out.append(F.silu(normed, inplace=not torch.is_grad_enabled()))
        start = channels.stop
    return out


def _activated_convolution(
    norm: nn.GroupNorm, convolution: nn.Module, *parts: Tensor, in_place: bool = False
) -> Tensor:
    """``convolution(silu(norm(parts)))``. A prediction on a CPU goes slab by slab. In training only the parts
    are kept and the rest is computed again for the backward pass, which costs a tenth of the time and saves
    more than half of the memory.

    :param in_place: the only part is not needed any more, and the result may take its place.
    """

    def compute(*parts: Tensor) -> Tensor:
        return convolution(_normalise_activate(list(parts), norm))

    if torch.is_grad_enabled():
        return checkpoint(compute, *parts, use_reentrant=False, preserve_rng_state=False)
    if isinstance(convolution, DepthwiseSeparableConv3d) and use_slabs(parts[0]):
        return convolve_in_slabs(list(parts), norm, convolution, in_place=in_place)
    return compute(*parts)


class ResidualBlock(nn.Module):
    """Twice normalisation, SiLU, convolution; plus the input (through a 1 x 1 x 1 convolution if channels
    differ).
    """

    def __init__(self, in_channels: int, out_channels: int, separable: bool) -> None:
        super().__init__()
        convolution = DepthwiseSeparableConv3d if separable else DenseConv3d
        self.norm1 = nn.GroupNorm(_GROUPS, in_channels)
        self.conv1 = convolution(in_channels, out_channels)
        self.norm2 = nn.GroupNorm(_GROUPS, out_channels)
        self.conv2 = convolution(out_channels, out_channels)
        self.shortcut = (
            nn.Identity() if in_channels == out_channels else nn.Conv3d(in_channels, out_channels, 1)
        )

    def forward(self, *parts: Tensor) -> Tensor:
        h = _activated_convolution(self.norm1, self.conv1, *parts)
        h = _activated_convolution(self.norm2, self.conv2, h, in_place=True)
        if isinstance(self.shortcut, nn.Identity):
            return h.add_(parts[0])
        start = 0
        for part in parts:
            h = pointwise_conv3d(part, self.shortcut, slice(start, start + part.shape[1]), h)
            start += part.shape[1]
        assert self.shortcut.bias is not None
        return h.add_(self.shortcut.bias[:, None, None, None])


class AttentionBlock(nn.Module):
    """Single-head attention with a residual, in one of two modes (see the module's docstring)."""

    def __init__(self, channels: int, mode: str) -> None:
        super().__init__()
        self.mode = mode
        self.norm = nn.GroupNorm(_GROUPS, channels)
        self.q = nn.Linear(channels, channels)
        self.k = nn.Linear(channels, channels)
        self.v = nn.Linear(channels, channels)
        self.attn = nn.MultiheadAttention(channels, 1, batch_first=True)
        self.output = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        # Projected twice (q, k, v, then the in-projection of the attention), as published: the weights ask
        # for it.
        inner_q, inner_k, inner_v = self.attn.in_proj_weight.chunk(3)
        bias_q, bias_k, bias_v = self.attn.in_proj_bias.chunk(3)
        source = self.norm(x) if self.mode == "spatial" else x
        tokens = source.flatten(2).transpose(1, 2)
        mixed = F.linear(self.v(tokens), inner_v, bias_v)
        if self.mode == "spatial":
            q = F.linear(self.q(tokens), inner_q, bias_q)
            k = F.linear(self.k(tokens), inner_k, bias_k)
            mixed = F.scaled_dot_product_attention(q[:, None], k[:, None], mixed[:, None])[:, 0]
        out = self.output(self.attn.out_proj(mixed))
        return x + out.transpose(1, 2).reshape(x.shape)


class ResidualStage(nn.Module):
    """One residual block of the way down or up, with attention where the level has it."""

    def __init__(self, in_channels: int, out_channels: int, separable: bool, attention: str | None) -> None:
        super().__init__()
        self.res = ResidualBlock(in_channels, out_channels, separable)
        self.attn = AttentionBlock(out_channels, attention) if attention else nn.Identity()

    def forward(self, *parts: Tensor) -> Tensor:
        return self.attn(self.res(*parts))


class Middle(nn.Module):
    """The bottom of the U: dense convolutions around attention."""

    def __init__(self, channels: int, attention: str) -> None:
        super().__init__()
        self.res1 = ResidualBlock(channels, channels, separable=False)
        self.attn = AttentionBlock(channels, attention)
        self.res2 = ResidualBlock(channels, channels, separable=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.res2(self.attn(self.res1(x)))


class Downsample(nn.Module):
    """Halve every axis by a dense strided convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class Upsample(nn.Module):
    """Double every axis by a dense transposed convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose3d(channels, channels, 4, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class TSPOUNet(nn.Module):
    """The network: one channel in, one channel in 0..1 out, on a grid of any size.

    :param n_channels: width, the same at every level; a multiple of 8 (published: 32).
    :param n_levels: resolutions; each but the first halves the axes (published: 4).
    :param n_blocks: residual blocks a level on the way down, one more on the way up (published: 1).
    :param depthwise_separable: separable convolutions on the way down and up (published: true).
    :param attention: ``spatial`` or ``reference``; at the lowest level and in the middle.
    :param sigmoid: squash the output to 0..1 (published: true).
    """

    def __init__(
        self,
        n_channels: int = 32,
        n_levels: int = 4,
        n_blocks: int = 1,
        depthwise_separable: bool = True,
        attention: str = "spatial",
        sigmoid: bool = True,
    ) -> None:
        super().__init__()
        c, separable = n_channels, depthwise_separable
        self.sigmoid = sigmoid
        self.multiple = 2 ** (n_levels - 1)
        self.image_proj = nn.Conv3d(1, c, 3, padding=1)
        down: list[nn.Module] = []
        up: list[nn.Module] = []
        for level in range(n_levels):
            mode = attention if level == n_levels - 1 else None
            down += [ResidualStage(c, c, separable, mode) for _ in range(n_blocks)]
            if level < n_levels - 1:
                down.append(Downsample(c))
        for level in reversed(range(n_levels)):
            mode = attention if level == n_levels - 1 else None
            up += [ResidualStage(2 * c, c, separable, mode) for _ in range(n_blocks + 1)]
            if level > 0:
                up.append(Upsample(c))
        self.down = nn.ModuleList(down)
        self.middle = Middle(c, attention)
        self.up = nn.ModuleList(up)
        self.norm = nn.GroupNorm(_LAST_GROUPS, c)
        self.final = DepthwiseSeparableConv3d(c, 1) if separable else DenseConv3d(c, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map [batch, 1, k, j, i] to the same shape.

        Axes that the levels cannot halve are padded, then cut back.
        """
        shape = x.shape[2:]
        padding: list[int] = []
        for length in reversed(shape):
            padding += [0, -length % self.multiple]
        if any(padding):
            x = F.pad(x, padding)
        # Everything runs channels-last: on a CPU the copies between layouts cost more than half of the time.
        x = self.image_proj(x.contiguous(memory_format=torch.channels_last_3d))
        skips = [x]
        for module in self.down:
            x = module(x)
            skips.append(x)
        x = self.middle(x)
        for module in self.up:
            x = module(x) if isinstance(module, Upsample) else module(x, skips.pop())
        x = _activated_convolution(self.norm, self.final, x)
        x = x.float()  # in bf16 the sigmoid would leave 343 different values of 27,347
        x = torch.sigmoid(x) if self.sigmoid else x
        return x[:, :, : shape[0], : shape[1], : shape[2]].contiguous()


_ARGUMENTS: dict[str, tuple[type, Any]] = {
    "n_channels": (int, range(8, 257, 8)),
    "n_levels": (int, range(2, 7)),
    "n_blocks": (int, range(1, 5)),
    "depthwise_separable": (bool, (True, False)),
    "attention": (str, ATTENTION_MODES),
    "sigmoid": (bool, (True, False)),
}


def build(arguments: dict[str, Any]) -> TSPOUNet:
    """Build the network from the ``network`` object of a bundle.

    :raises BundleError: for an unknown argument or a value out of range.
    """
    check_arguments("The U-Net", arguments, _ARGUMENTS)
    return TSPOUNet(**arguments).to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]


class Regression(Objective):
    """The loss of :func:`loss`, with its settings."""

    def __init__(self, loss_region: str = "brain") -> None:
        super().__init__()
        self._settings = {"loss_region": loss_region}

    def losses(
        self, network: nn.Module, source: Tensor, target: Tensor, mask: Tensor
    ) -> Iterator[tuple[str, Tensor]]:
        yield NETWORK_STATE, loss(network, source, target, mask, self._settings)


def objective(settings: dict[str, Any]) -> Regression:
    """:class:`Regression` from the ``loss`` object of a preset.

    :raises BundleError: for an unknown setting or value.
    """
    check_arguments("The U-Net's loss", settings, {"loss_region": (str, ("brain", "volume"))})
    return Regression(**settings)


def loss(
    network: nn.Module, source: Tensor, target: Tensor, mask: Tensor, settings: dict[str, Any]
) -> Tensor:
    """0.5 binary cross-entropy + 0.5 mean squared error (Ferrante 2025, Eq. 1), in float32.

    :param settings: ``loss_region`` is ``brain`` (mean over the mask) or ``volume`` (masked, mean over all
        voxels, as published: its value then depends on how much of the field of view is brain).
    """
    prediction = network(source).float().clamp(1e-6, 1 - 1e-6)
    target, mask = target.float(), mask.float()
    # Spelled out: the library's version stops at a NaN with a message about its own arguments.
    entropy = -(target * prediction.log() + (1 - target) * torch.log1p(-prediction))
    error = (prediction - target).square() + entropy
    voxels = mask.sum().clamp(min=1) if settings.get("loss_region", "brain") == "brain" else mask.numel()
    return 0.5 * (error * mask).sum() / voxels


def predict(
    network: nn.Module, source: Tensor, *, samples: int, steps: int, seed: int, progress: ProgressCallback
) -> tuple[Tensor, None]:
    """Run the network once: it is deterministic, so there is no SD, and the other options have no effect."""
    with torch.inference_mode():
        prediction = network(source).float()
    progress(1, 1, "network")
    return prediction, None
