"""Conditional diffusion from a source volume to a target volume, on MONAI's U-Net and noise schedules.

The system of Theodorou et al. 2025 (MRI2PET), with the source as a second input channel instead of a vector:
so the target stays aligned with it voxel by voxel. Three objectives:

* ``rflow``: rectified flow; learns the way from noise to target, few Euler steps, samples that differ where
  the source does not determine the target;
* ``x0``: learns the target; lowest error after a short training, samples hardly differ;
* ``eps``: learns the noise, as published; needs long training.

Inside, volumes run from -1 to 1. MONAI's inferer is not used to sample: it takes no seed and cannot be
stopped, and the next noise level of its DDIM schedule is not the one at which the network is asked next.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from MRI2PETLib.core.errors import DependencyError
from MRI2PETLib.core.progress import ProgressCallback
from MRI2PETLib.models.laplacian import laplacian_loss
from MRI2PETLib.models.objective import NETWORK_STATE, Between, Objective, check_arguments

STOCHASTIC = True
PRESET = "rflow"
OBJECTIVES = ("rflow", "x0", "eps")
_GROUPS = 8  # of every normalisation, and channels of an attention head


def _monai() -> Any:
    """MONAI's networks and schedules.

    :raises DependencyError: if it, or einops that its attention needs, is not installed.
    """
    try:
        import einops  # noqa: F401
        from monai.networks import nets, schedulers
    except ImportError as error:
        raise DependencyError(
            f"Diffusion models need MONAI and einops ({error}).",
            "Install them: pip install 'mri2pet[diffusion]', in Slicer pip_install('monai einops').",
        ) from error
    return nets.DiffusionModelUNet, schedulers


class Diffusion(nn.Module):
    """A denoiser with its objective and noise schedule.

    :param objective: see the module.
    :param channels: width of each level; each level but the first halves the axes.
    :param n_blocks: residual blocks a level.
    :param steps: sampling steps unless told otherwise; ``timesteps`` of them with ``eps`` are those of DDPM.
    :param timesteps: noise levels of the training; ``beta_start`` and ``beta_end`` make the linear schedule
        of ``x0`` and ``eps``.
    """

    def __init__(
        self,
        objective: str = "rflow",
        channels: list[int] | None = None,
        n_blocks: int = 1,
        steps: int = 5,
        timesteps: int = 1000,
        beta_start: float = 0.0015,
        beta_end: float = 0.02,
    ) -> None:
        super().__init__()
        unet, _ = _monai()
        channels = channels or [16, 32, 64, 128]
        self.objective, self.steps, self.timesteps = objective, steps, timesteps
        self._betas = {"beta_start": beta_start, "beta_end": beta_end}
        self._multiple = 2 ** (len(channels) - 1)
        self.denoiser = unet(
            spatial_dims=3,
            in_channels=2,
            out_channels=1,
            num_res_blocks=n_blocks,
            channels=channels,
            attention_levels=[False] * len(channels),
            norm_num_groups=_GROUPS,
            num_head_channels=_GROUPS,
            use_flash_attention=True,
        )

    def schedule(self) -> Any:
        """MONAI's ``RFlowScheduler`` (a straight line), or ``DDPMScheduler`` with linear betas."""
        _, schedulers = _monai()
        if self.objective == "rflow":
            return schedulers.RFlowScheduler(self.timesteps)
        return schedulers.DDPMScheduler(
            self.timesteps,
            "linear_beta",
            prediction_type={"x0": "sample", "eps": "epsilon"}[self.objective],
            variance_type="fixed_large",  # as published
            **self._betas,
        )

    def forward(self, noisy: Tensor, source: Tensor, timesteps: Tensor) -> Tensor:
        """The denoiser's answer, what the objective learns: volumes [batch, 1, k, j, i] from -1 to 1.

        :param timesteps: noise level of each volume, [batch].
        """
        shape = noisy.shape[2:]
        x = torch.cat([noisy, source], dim=1).to(next(self.denoiser.parameters()).dtype)
        padding: list[int] = []
        for length in reversed(shape):
            padding += [0, -length % self._multiple]
        out = self.denoiser(F.pad(x, padding, value=-1.0), timesteps)
        return out[:, :, : shape[0], : shape[1], : shape[2]].float()

    def signal_and_noise(self, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """Factors of target and noise in a noisy volume, [batch, 1, 1, 1, 1]."""
        if self.objective == "rflow":
            noise = timesteps.float() / self.timesteps
            signal = 1 - noise
        else:
            share_of_signal = self.schedule().alphas_cumprod.to(timesteps.device)[timesteps.long()]
            signal, noise = share_of_signal.sqrt(), (1 - share_of_signal).sqrt()
        return signal[:, None, None, None, None], noise[:, None, None, None, None]

    def clean(self, output: Tensor, noisy: Tensor, signal: Tensor, noise: Tensor) -> Tensor:
        """The target that an output of the denoiser stands for."""
        if self.objective == "rflow":  # output = target - noise
            return noisy + noise * output
        return output if self.objective == "x0" else (noisy - noise * output) / signal


_ARGUMENTS: dict[str, tuple[type, Any]] = {
    "objective": (str, OBJECTIVES),
    "n_blocks": (int, range(1, 5)),
    "steps": (int, range(1, 4001)),
    "timesteps": (int, range(10, 4001)),
    "beta_start": (float, Between(1e-6, 0.5)),
    "beta_end": (float, Between(1e-6, 0.5)),
}


class _Channels:
    """Lists of two to six widths, each a multiple of the groups."""

    def __contains__(self, value: object) -> bool:
        return (
            isinstance(value, list)
            and 2 <= len(value) <= 6
            and all(type(n) is int and n in range(_GROUPS, 513, _GROUPS) for n in value)
        )

    def __repr__(self) -> str:
        return f"two to six multiples of {_GROUPS} up to 512"


def build(arguments: dict[str, Any]) -> Diffusion:
    """Build the network from the ``network`` object of a bundle.

    :raises BundleError: for an unknown argument or a value out of range.
    :raises DependencyError: if MONAI or einops is not installed.
    """
    check_arguments("The diffusion model", arguments, {**_ARGUMENTS, "channels": (list, _Channels())})
    return Diffusion(**arguments)


class Denoising(Objective):
    """Mean squared error of the denoiser at random noise levels, plus a Laplacian pyramid loss of the target
    that its answer stands for.

    :param laplacian: weight of the pyramid, 0 for none.
    :param laplacian_dims: 2 for axial slices (as published), 3 for volumes.
    :param weighting: of the pyramid, ``snr``: by the ratio of signal to noise, at most 1; ``none``, as
        published: with ``eps`` the noisiest levels then decide, whose error is divided by their tiny signal.
    """

    def __init__(self, laplacian: float = 0.25, laplacian_dims: int = 3, weighting: str = "snr") -> None:
        super().__init__()
        self._weight, self._dims, self._weighting = laplacian, laplacian_dims, weighting

    def losses(
        self, network: nn.Module, source: Tensor, target: Tensor, mask: Tensor
    ) -> Iterator[tuple[str, Tensor]]:
        assert isinstance(network, Diffusion)
        clean, condition = 2 * target.float() - 1, 2 * source.float() - 1
        # Drawn on the CPU: the same on every device.
        drawn, levels = torch.randn(clean.shape), torch.rand(len(clean)) * network.timesteps
        drawn, levels = drawn.to(clean.device), levels.long().to(clean.device)
        signal, noise = network.signal_and_noise(levels)
        noisy = signal * clean + noise * drawn
        output = network(noisy, condition, levels)
        aim = {"rflow": clean - drawn, "x0": clean, "eps": drawn}[network.objective]
        loss = F.mse_loss(output, aim)
        if self._weight:
            errors = laplacian_loss(network.clean(output, noisy, signal, noise), clean, self._dims)
            if self._weighting == "snr":
                errors = errors * (signal / noise.clamp(min=1e-6)).square().clamp(max=1).flatten()
            loss = loss + self._weight * errors.mean()
        yield NETWORK_STATE, loss


def objective(settings: dict[str, Any]) -> Denoising:
    """:class:`Denoising` from the ``loss`` object of a preset.

    :raises BundleError: for an unknown setting or value.
    """
    allowed: dict[str, tuple[type, Any]] = {
        "laplacian": (float, Between(0, 100)),
        "laplacian_dims": (int, (2, 3)),
        "weighting": (str, ("snr", "none")),
    }
    check_arguments("The diffusion model's loss", settings, allowed)
    return Denoising(**settings)


def predict(
    network: nn.Module, source: Tensor, *, samples: int, steps: int, seed: int, progress: ProgressCallback
) -> tuple[Tensor, Tensor | None]:
    """Mean and SD (n - 1) of samples, each volume and each sample by itself.

    The state of a sample is kept on the CPU, as is its noise: the seed means the same on every device.
    ``progress`` is told the time left, from the time of the steps so far.
    """
    assert isinstance(network, Diffusion)
    steps = min(steps or network.steps, network.timesteps)
    total, done, started = len(source) * samples * steps, 0, time.perf_counter()

    def count_step() -> None:
        nonlocal done
        done += 1
        left = (time.perf_counter() - started) / done * (total - done)
        progress(done, total, f"step {done} of {total}, {left:.0f} s left")

    means, sds = [], []
    for volume in source:
        drawn = []
        for number in range(samples):
            sample = _sample(network, 2 * volume[None].float() - 1, steps, seed + number, count_step)
            drawn.append(((sample + 1) / 2).clamp(0, 1)[0])
        stack = torch.stack(drawn)
        means.append(stack.mean(dim=0))
        sds.append(stack.std(dim=0, correction=1) if samples > 1 else None)
    mean = torch.stack(means).to(source.device)
    present = [sd for sd in sds if sd is not None]
    return mean, torch.stack(present).to(source.device) if present else None


def _sample(network: Diffusion, source: Tensor, steps: int, seed: int, step_done: Any) -> Tensor:
    """One sample, [1, 1, k, j, i] from -1 to 1, on the CPU."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(source.shape, generator=generator)
    schedule = network.schedule()
    ancestral = network.objective == "eps" and steps == network.timesteps
    if network.objective == "rflow":
        schedule.set_timesteps(steps)
        levels = schedule.timesteps.tolist()
    else:
        levels = torch.linspace(network.timesteps - 1, 0, steps).round().long().tolist()
    for level, following in zip(levels, [*levels[1:], None]):
        with torch.inference_mode():
            at = torch.full((1,), level, device=source.device)
            output = network(x.to(source.device), source, at).cpu()
        if network.objective == "rflow":
            x, _ = schedule.step(output, level, x, following or 0)
        elif ancestral:
            x, _ = schedule.step(output, level, x, generator=generator)
        else:
            x = _ddim_step(network, output, x, level, following)
        step_done()
    return x


def _ddim_step(network: Diffusion, output: Tensor, x: Tensor, level: int, following: int | None) -> Tensor:
    """The deterministic step of Song et al. 2021 (eq. 12, eta = 0) to the level that is asked for next."""
    signal, noise = network.signal_and_noise(torch.tensor([level]))
    clean = network.clean(output, x, signal, noise).clamp(-1, 1)
    if following is None:
        return clean
    next_signal, next_noise = network.signal_and_noise(torch.tensor([following]))
    return next_signal * clean + next_noise * (x - signal * clean) / noise
