"""Image translation by a conditional GAN (pix2pix), in 2-D slices or in 3-D.

A U-Net of strided convolutions translates the source; a critic that looks at patches of source and target
together tells real targets from translated ones. The network is trained on lambda_l1 x L1 + lambda_adv x what
the critic says. Choi & Lee 2018 (J Nucl Med 59:1111) make MR from amyloid PET so; the details that their
paper leaves to its supplement are those of Isola et al. 2017 (CVPR, arXiv:1611.07004).

All normalisation is by instance: a result depends on nothing else in its batch, nor on running statistics.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from MRI2PETLib.core.errors import BundleError
from MRI2PETLib.core.progress import ProgressCallback
from MRI2PETLib.models.objective import (
    NETWORK_STATE,
    OBJECTIVE_STATE,
    Between,
    Objective,
    check_arguments,
    frozen,
)

STOCHASTIC = False
UPSAMPLING = ("linear", "transposed")
ADVERSARIAL = ("bce", "least_squares")

_WIDEST = 8  # times the first level's channels
_DROPOUT_LEVELS = 3  # of the decoder, from the bottom (Isola 2017)
_SLOPE = 0.2
_SLICES_AT_ONCE = 32  # in prediction


def _layer(name: str, dims: int) -> Any:
    return getattr(nn, f"{name}{dims}d")


class Down(nn.Sequential):
    """Halve every axis: activation, convolution of 4 with stride 2, instance norm."""

    def __init__(self, dims: int, inside: int, outside: int, *, first: bool, norm: bool) -> None:
        layers: list[nn.Module] = [] if first else [nn.LeakyReLU(_SLOPE)]
        layers += [_layer("Conv", dims)(inside, outside, 4, 2, 1)]
        layers += [_layer("InstanceNorm", dims)(outside, affine=True)] if norm else []
        super().__init__(*layers)


class Up(nn.Sequential):
    """Double every axis: activation, upsampling, instance norm, dropout.

    ``transposed`` is the published convolution; its strides leave a checkerboard that ``linear`` does not.
    """

    def __init__(self, dims: int, inside: int, outside: int, upsampling: str, dropout: float) -> None:
        layers: list[nn.Module] = [nn.ReLU()]
        if upsampling == "transposed":
            layers += [_layer("ConvTranspose", dims)(inside, outside, 4, 2, 1)]
        else:
            mode = "bilinear" if dims == 2 else "trilinear"
            layers += [nn.Upsample(scale_factor=2, mode=mode), _layer("Conv", dims)(inside, outside, 3, 1, 1)]
        layers += [_layer("InstanceNorm", dims)(outside, affine=True)]
        layers += [_layer("Dropout", dims)(dropout)] if dropout else []
        super().__init__(*layers)


class Generator(nn.Module):
    """U-Net that maps [batch, 1, k, j, i] to the same shape, 0 to 1 on both sides.

    :param dims: 3, or 2 for a network that treats every axial slice (k) on its own.
    :param channels: of the first level; they double to at most eight times as many.
    :param levels: how often the axes are halved.
    :param upsampling: ``linear`` (and the source joins again at full resolution), or ``transposed``, as
        published.
    :param dropout: in the three deepest levels of the decoder, while training.
    """

    def __init__(
        self,
        dims: int = 3,
        channels: int = 32,
        levels: int = 4,
        upsampling: str = "linear",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.dims, self.multiple, self.joined = dims, 2**levels, upsampling == "linear"
        widths = [channels * min(2**level, _WIDEST) for level in range(levels)]
        self.down = nn.ModuleList(
            # Nothing to normalise by where a single voxel may be left.
            Down(dims, inside, outside, first=n == 0, norm=0 < n < levels - 1)
            for n, (inside, outside) in enumerate(zip([1, *widths], widths))
        )
        self.up = nn.ModuleList()
        for n, level in enumerate(reversed(range(levels))):
            inside = widths[level] * (1 if n == 0 else 2)
            outside = widths[max(level - 1, 0)]
            self.up.append(Up(dims, inside, outside, upsampling, dropout if n < _DROPOUT_LEVELS else 0.0))
        self.final = _layer("Conv", dims)(widths[0] + self.joined, 1, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Axes that the levels cannot halve are padded, then cut back."""
        if self.dims == 2:
            batch, _, slices, *_ = x.shape
            flat = x.transpose(1, 2).flatten(0, 1)
            return self._translate(flat).unflatten(0, (batch, slices)).transpose(1, 2)
        return self._translate(x)

    def _translate(self, x: Tensor) -> Tensor:
        shape = x.shape[2:]
        padding = [p for length in reversed(shape) for p in (0, -length % self.multiple)]
        source = F.pad(x, padding) if any(padding) else x
        source = 2 * source - 1
        features, skips = source, []
        for down in self.down:
            features = down(features)
            skips.append(features)
        for n, up in enumerate(self.up):
            features = up(features if n == 0 else torch.cat([features, skips[-1 - n]], 1))
        features = torch.cat([features, source], 1) if self.joined else features
        out = (torch.tanh(self.final(F.relu(features)).float()) + 1) / 2  # float: as the U-Net's sigmoid
        for axis, length in enumerate(shape, start=2):
            out = out.narrow(axis, 0, length)
        return out


class Critic(nn.Sequential):
    """PatchGAN: logits that each judge a patch of source and target together (two channels, -1 to 1).

    With 3 layers a patch is 70 voxels wide, with 2 it is 34.
    """

    def __init__(self, dims: int, channels: int, n_layers: int) -> None:
        layers: list[nn.Module] = [_layer("Conv", dims)(2, channels, 4, 2, 1), nn.LeakyReLU(_SLOPE)]
        width = channels
        for n in range(1, n_layers + 1):
            inside, width = width, channels * min(2**n, _WIDEST)
            layers += [
                _layer("Conv", dims)(inside, width, 4, 2 if n < n_layers else 1, 1),
                _layer("InstanceNorm", dims)(width, affine=True),
                nn.LeakyReLU(_SLOPE),
            ]
        super().__init__(*layers, _layer("Conv", dims)(width, 1, 4, 1, 1))


class Translation(Objective):
    """L1 and the critic.

    :param dims: of the critic: that of the network.
    :param lambda_l1: weight of the mean absolute error, of values from -1 to 1.
    :param lambda_adv: weight of the critic's verdict; 0 trains a plain regression, without a critic.
    :param adversarial: ``bce`` (as published) or ``least_squares`` (Mao et al. 2017).
    :param critic_rate: learning rate of the critic over that of the network.
    :param slices: axial slices of a volume that a step of a 2-D network looks at, drawn from those that hold
        brain; 0 for all.
    :param loss_region: ``brain`` (error and critic see the mask only) or ``volume`` (all voxels).
    """

    def __init__(
        self,
        dims: int = 3,
        lambda_l1: float = 100.0,
        lambda_adv: float = 1.0,
        adversarial: str = "least_squares",
        critic_channels: int = 32,
        critic_layers: int = 2,
        critic_rate: float = 1.0,
        slices: int = 0,
        loss_region: str = "brain",
    ) -> None:
        super().__init__()
        self.dims, self.lambda_l1, self.lambda_adv = dims, lambda_l1, lambda_adv
        self.adversarial, self.slices, self.loss_region = adversarial, slices, loss_region
        self.relative_rate = critic_rate
        self.critic = Critic(dims, critic_channels, critic_layers) if lambda_adv else None

    def losses(
        self, network: nn.Module, source: Tensor, target: Tensor, mask: Tensor
    ) -> Iterator[tuple[str, Tensor]]:
        if getattr(network, "dims", self.dims) != self.dims:
            raise BundleError(f"The loss is for {self.dims}-D, the network is not.", "Give both one dims.")
        if self.dims == 2 and self.slices:
            slices = _some_slices(mask, self.slices)
            source, target, mask = (t.index_select(2, slices) for t in (source, target, mask))
        fake = network(source)
        error = self.lambda_l1 * self._l1(fake, target, mask)
        if self.critic is None:
            yield NETWORK_STATE, error
            return
        region = mask if self.loss_region == "brain" else torch.ones_like(mask)
        real, translated = (self._pair(source, t * region) for t in (target, fake))
        verdicts = self.critic(translated.detach()), self.critic(real)
        yield OBJECTIVE_STATE, 0.5 * (self._against(verdicts[0], 0.0) + self._against(verdicts[1], 1.0))
        with frozen(self.critic):
            verdict = self.critic(translated)
        yield NETWORK_STATE, error + self.lambda_adv * self._against(verdict, 1.0)

    def _l1(self, fake: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        error = 2 * (fake.float() - target.float()).abs()  # the span of -1 to 1 is 2
        if self.loss_region == "volume":
            return error.mean()
        return (error * mask).sum() / mask.sum().clamp(min=1)

    def _pair(self, source: Tensor, target: Tensor) -> Tensor:
        """What the critic sees: two channels from -1 to 1, slices in the batch for 2-D."""
        pair = 2 * torch.cat([source, target.to(source.dtype)], 1) - 1
        return pair.transpose(1, 2).flatten(0, 1) if self.dims == 2 else pair

    def _against(self, verdict: Tensor, label: float) -> Tensor:
        target = torch.full_like(verdict, label)
        if self.adversarial == "bce":
            return F.binary_cross_entropy_with_logits(verdict, target)
        return F.mse_loss(verdict, target)


def _some_slices(mask: Tensor, count: int) -> Tensor:
    """Indices of at most ``count`` axial slices with brain, in random order."""
    filled = mask.sum(dim=(0, 1, 3, 4)).nonzero().flatten()
    if not len(filled):
        filled = torch.arange(mask.shape[2], device=mask.device)
    # Drawn on the CPU: the same seed gives the same slices on every device.
    return filled[torch.randperm(len(filled))[:count].to(filled.device)]


def build(arguments: dict[str, Any]) -> Generator:
    """Build the generator from the ``network`` object of a bundle.

    :raises BundleError: for an unknown argument or a value out of range.
    """
    allowed: dict[str, tuple[type, Container[Any]]] = {
        "dims": (int, (2, 3)),
        "channels": (int, range(4, 129)),
        "levels": (int, range(2, 8)),
        "upsampling": (str, UPSAMPLING),
        "dropout": (float, Between(0, 0.9)),
    }
    check_arguments("The pix2pix network", arguments, allowed)
    return Generator(**arguments)


def objective(settings: dict[str, Any]) -> Translation:
    """:class:`Translation` from the ``loss`` object of a preset.

    :raises BundleError: for an unknown setting or a value out of range.
    """
    allowed: dict[str, tuple[type, Container[Any]]] = {
        "dims": (int, (2, 3)),
        "lambda_l1": (float, Between(0, 1e4)),
        "lambda_adv": (float, Between(0, 1e3)),
        "adversarial": (str, ADVERSARIAL),
        "critic_channels": (int, range(4, 129)),
        "critic_layers": (int, range(1, 5)),
        "critic_rate": (float, Between(0.001, 100)),
        "slices": (int, range(513)),
        "loss_region": (str, ("brain", "volume")),
    }
    check_arguments("The pix2pix loss", settings, allowed)
    if not (settings.get("lambda_l1", 1) or settings.get("lambda_adv", 1)):
        raise BundleError("The pix2pix loss has no part.", "Give lambda_l1 or lambda_adv above 0.")
    return Translation(**settings)


def predict(
    network: nn.Module, source: Tensor, *, samples: int, steps: int, seed: int, progress: ProgressCallback
) -> tuple[Tensor, None]:
    """Translate once: the network is deterministic, so there is no SD, and the other options have no effect.

    A 2-D network works on a few slices at a time; ``progress`` is called after each of them.
    """
    at_once = _SLICES_AT_ONCE if getattr(network, "dims", 3) == 2 else source.shape[2]
    parts = []
    with torch.inference_mode():
        for first in range(0, source.shape[2], at_once):
            parts.append(network(source[:, :, first : first + at_once]).float())
            progress(min(first + at_once, source.shape[2]), source.shape[2], "network")
    return torch.cat(parts, 2), None
