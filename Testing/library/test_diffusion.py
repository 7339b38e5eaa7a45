"""The diffusion family: noise schedules, samplers with a denoiser that knows the truth, losses, seeds."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from MRI2PETLib.core.errors import BundleError, Cancelled, DependencyError
from MRI2PETLib.core.progress import no_progress
from MRI2PETLib.models import diffusion
from MRI2PETLib.models.laplacian import bands, laplacian_loss

pytest.importorskip("monai", reason="MONAI is not installed: pip install 'mri2pet[diffusion]'")

torch.set_num_threads(1)
TINY = {"channels": [8, 16], "steps": 3}


def tiny(objective: str, **more: object) -> diffusion.Diffusion:
    torch.manual_seed(0)
    return diffusion.build({**TINY, "objective": objective, **more})


def knowing(network: diffusion.Diffusion, truth: torch.Tensor) -> diffusion.Diffusion:
    """The same network with a denoiser that answers what follows from the truth (-1 to 1)."""

    def forward(noisy: torch.Tensor, source: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        signal, noise = network.signal_and_noise(timesteps)
        drawn = (noisy - signal * truth) / noise.clamp(min=1e-6)
        return {"rflow": truth - drawn, "x0": truth, "eps": drawn}[network.objective]

    network.forward = forward  # type: ignore[method-assign, assignment]
    return network


def test_the_published_schedule() -> None:
    """Linear betas from .0015 to .02: the share of signal left is .9985 after the first level and 2e-5 at
    the end (product of 1 - beta, by hand).
    """
    network = tiny("eps")
    signal, noise = network.signal_and_noise(torch.tensor([0, 999]))
    betas = np.linspace(0.0015, 0.02, 1000)
    by_hand = np.prod(1 - betas)
    assert float(signal[0].square()) == pytest.approx(0.9985, abs=1e-6)
    assert float(signal[1].square()) == pytest.approx(by_hand, rel=1e-3) == pytest.approx(1.994e-5, rel=1e-3)
    torch.testing.assert_close(signal.square() + noise.square(), torch.ones_like(signal))


@pytest.mark.parametrize("objective", diffusion.OBJECTIVES)
def test_the_target_follows_from_its_noisy_version(objective: str) -> None:
    network = tiny(objective)
    clean, drawn = torch.rand(4, 1, 4, 4, 4) * 2 - 1, torch.randn(4, 1, 4, 4, 4)
    levels = torch.tensor([0, 100, 500, 750])
    signal, noise = network.signal_and_noise(levels)
    noisy = signal * clean + noise * drawn
    output = {"rflow": clean - drawn, "x0": clean, "eps": drawn}[objective]
    torch.testing.assert_close(network.clean(output, noisy, signal, noise), clean, atol=1e-4, rtol=0)


@pytest.mark.parametrize("steps", [1, 2, 7, 25])
@pytest.mark.parametrize("objective", diffusion.OBJECTIVES)
def test_samplers_return_what_a_knowing_denoiser_knows(objective: str, steps: int) -> None:
    """Also after one step: a sampler that answers at another level than it asks would not."""
    truth = torch.rand(1, 1, 5, 6, 7)
    network = knowing(tiny(objective), 2 * truth - 1)
    mean, sd = diffusion.predict(
        network, torch.rand(1, 1, 5, 6, 7), samples=2, steps=steps, seed=3, progress=no_progress
    )
    # Rounding over the smallest signal, .0045, where the noise was all there is.
    torch.testing.assert_close(mean, truth, atol=2e-3, rtol=0)
    assert sd is not None and float(sd.max()) < 2e-3


def test_the_published_sampler_takes_all_steps() -> None:
    """DDPM adds noise on its way: other states in between, the same end."""
    truth = torch.rand(1, 1, 4, 4, 4)
    network = knowing(tiny("eps", timesteps=60, beta_end=0.2), 2 * truth - 1)
    calls: list[float] = []
    mean, _ = diffusion.predict(
        network,
        torch.rand(1, 1, 4, 4, 4),
        samples=1,
        steps=1000,
        seed=3,
        progress=lambda done, total, stage: calls.append(done),
    )
    assert len(calls) == 60
    torch.testing.assert_close(mean, truth, atol=2e-3, rtol=0)


@pytest.mark.parametrize("objective", diffusion.OBJECTIVES)
def test_odd_sizes_and_a_gradient_for_every_parameter(objective: str) -> None:
    network = tiny(objective)
    source, target = torch.rand(2, 1, 5, 9, 7), torch.rand(2, 1, 5, 9, 7)
    ((part, loss),) = diffusion.objective({}).losses(network, source, target, torch.ones_like(source))
    loss.backward()
    assert part == "network" and loss.isfinite()
    missing = [n for n, p in network.named_parameters() if p.grad is None]
    assert missing == []


def test_a_seed_gives_the_same_and_samples_are_those_of_the_next_seeds() -> None:
    network = tiny("rflow").eval()
    source = torch.rand(1, 1, 8, 8, 8)

    def run(samples: int, seed: int, source: torch.Tensor = source) -> torch.Tensor:
        return diffusion.predict(network, source, samples=samples, steps=2, seed=seed, progress=no_progress)[
            0
        ]

    assert torch.equal(run(1, 5), run(1, 5)) and not torch.equal(run(1, 5), run(1, 6))
    singles = torch.stack([run(1, seed) for seed in (5, 6, 7)])
    torch.testing.assert_close(run(3, 5), singles.mean(dim=0))
    # Not the volume beside it in the batch either.
    both = torch.cat([source, torch.rand(1, 1, 8, 8, 8)])
    torch.testing.assert_close(run(1, 5, both)[:1], run(1, 5))


def test_it_can_be_stopped_between_steps_and_tells_the_time_left() -> None:
    stages: list[str] = []

    def stop(done: float, total: float, stage: str) -> None:
        stages.append(stage)
        if done == 2:
            raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        diffusion.predict(tiny("x0"), torch.rand(1, 1, 4, 4, 4), samples=4, steps=5, seed=0, progress=stop)
    assert len(stages) == 2 and stages[0].startswith("step 1 of 20, ") and stages[0].endswith(" s left")


def test_half_precision_weights() -> None:
    network, source = tiny("rflow").eval(), torch.rand(1, 1, 8, 8, 8)
    settings = {"samples": 1, "steps": 2, "seed": 0, "progress": no_progress}
    exact, _ = diffusion.predict(network, source, **settings)  # type: ignore[arg-type]
    rough, _ = diffusion.predict(network.bfloat16(), source.bfloat16(), **settings)  # type: ignore[arg-type]
    assert float((exact - rough.float()).abs().max()) < 0.05


@pytest.mark.parametrize("shape", [(2, 1, 32, 128, 128), (1, 1, 6, 9, 5), (1, 1, 1, 8, 8), (1, 1, 2, 2, 2)])
@pytest.mark.parametrize("dims", [2, 3])
def test_the_pyramid_sees_patterns_and_no_constant(shape: tuple[int, ...], dims: int) -> None:
    x = torch.rand(shape)
    assert float(laplacian_loss(x, x, dims).max()) == 0
    assert float(laplacian_loss(x + 0.7, x, dims).max()) < 1e-10
    assert float(laplacian_loss(x + 0.1 * torch.randn(shape), x, dims).min()) > 1e-4


def test_the_pyramid_has_five_levels_and_gives_the_image_back() -> None:
    x = torch.rand(1, 1, 64, 64)
    result = list(bands(x))
    assert [band.shape[-1] for band in result] == [64, 32, 16, 8, 4]
    rest = F.avg_pool2d(x, 32)
    for band in reversed(result):
        rest = band + F.interpolate(rest, size=band.shape[2:], mode="bilinear", align_corners=False)
    torch.testing.assert_close(rest, x)


def test_the_two_dimensional_pyramid_looks_at_slices_one_by_one() -> None:
    """A change from slice to slice that is constant within each is nothing in 2D and something in 3D."""
    x = torch.zeros(1, 1, 8, 16, 16)
    striped = x + torch.tensor([0.0, 1.0]).repeat(4)[None, None, :, None, None]
    assert float(laplacian_loss(striped, x, 2)) == 0
    assert float(laplacian_loss(striped, x, 3)) > 0.1


def test_the_weighting_keeps_the_noisiest_levels_from_deciding(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a denoiser that is wrong by a tenth of the noise, at the last level: the error in the target is
    divided by a signal of .0045, so the published loss is about 100, and weighted it is about .01.
    """
    network = tiny("eps")
    monkeypatch.setattr(torch, "rand", lambda *size: torch.full(size, 0.9999))
    source = target = torch.full((1, 1, 8, 32, 32), 0.5)
    state = torch.get_rng_state()
    drawn = torch.randn(target.shape)
    network.forward = lambda *_: 0.9 * drawn  # type: ignore[method-assign, assignment]
    values = {}
    for weighting in ("snr", "none"):
        torch.set_rng_state(state)
        objective = diffusion.objective({"laplacian_dims": 2, "weighting": weighting})
        ((_, loss),) = objective.losses(network, source, target, torch.ones_like(target))
        values[weighting] = float(loss)
    assert values["snr"] < 0.03 and values["none"] > 50


@pytest.mark.parametrize(
    "arguments",
    [
        {"objective": "score"},
        {"channels": [8]},
        {"channels": [8, 12]},
        {"channels": "os"},
        {"steps": 0},
        {"beta_end": 2.0},
        {"_target_": "os.system"},
    ],
)
def test_bad_arguments_are_refused(arguments: dict) -> None:
    with pytest.raises(BundleError):
        diffusion.build(arguments)


@pytest.mark.parametrize(
    "settings", [{"laplacian": -1.0}, {"laplacian_dims": 4}, {"weighting": 1}, {"l1": 1.0}]
)
def test_bad_losses_are_refused(settings: dict) -> None:
    with pytest.raises(BundleError):
        diffusion.objective(settings)


def test_without_monai_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "monai.networks", None)
    with pytest.raises(DependencyError, match="need MONAI") as caught:
        diffusion.build(TINY)
    assert "mri2pet[diffusion]" in caught.value.hint


def test_a_bundle_brings_the_same_network_back(tmp_path: Path) -> None:
    from bundles import tiny_metadata
    from MRI2PETLib.models.bundle import read_bundle, save_bundle

    metadata = tiny_metadata(id="flow", family="diffusion", network={**TINY, "objective": "rflow"})
    network = diffusion.build(metadata["network"]).eval()
    save_bundle(tmp_path / "flow", network, metadata, "# flow\n")
    back = read_bundle(tmp_path / "flow").network()
    source = torch.rand(1, 1, 8, 8, 8)
    settings = {"samples": 1, "steps": 0, "seed": 1, "progress": no_progress}
    assert torch.equal(
        diffusion.predict(network, source, **settings)[0],  # type: ignore[arg-type]
        diffusion.predict(back, source, **settings)[0],  # type: ignore[arg-type]
    )
