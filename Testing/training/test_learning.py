"""What the network is shown, that it learns it, and that its own pair fits better than any other."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from MRI2PETLib.core.errors import BundleError, DeviceError, InputError
from MRI2PETLib.models import unet
from MRI2PETTrainingLib.batches import CasePairs, EpochSampler, augment
from MRI2PETTrainingLib.fit import fit_fold
from MRI2PETTrainingLib.hardware import Hardware, check_hardware
from MRI2PETTrainingLib.learner import Learner, checkpoint_blocks, nmse_and_r
from MRI2PETTrainingLib.presets import Augmentation, check_preset, preset_names, read_preset
from small_datasets import prepared_cases, tiny_preset

CPU = Hardware("cpu")


def test_one_pair_is_learnt_by_heart(tmp_path: Path) -> None:
    """Normalised MSE below .05 of the variance; noise alone leaves .01."""
    (pair,) = prepared_cases(tmp_path / "cache", ["one"])
    preset = tiny_preset(
        epochs=5, batch_size=1, augmentation=Augmentation(), learning_rate=0.01, ema_decay=0.0
    )
    fitted = fit_fold(tmp_path, [pair] * 50, [pair], preset, seed=1, hardware=CPU)
    assert fitted.history[fitted.epoch]["val_nmse"] < 0.05


def test_the_own_pair_is_never_beaten_by_another(tmp_path: Path) -> None:
    pairs = prepared_cases(tmp_path / "cache", [f"p{i}" for i in range(4)])
    preset = tiny_preset(epochs=4, batch_size=1, augmentation=Augmentation(), ema_decay=0.0)
    network = fit_fold(tmp_path, pairs * 10, pairs[:1], preset, seed=1, hardware=CPU).network
    for own in pairs:
        source = torch.from_numpy(np.array(own.arrays()[0], dtype=np.float32))[None, None]
        with torch.inference_mode():
            prediction = network(source)[0, 0]
        errors = {}
        for other in pairs:
            _, target, mask = torch.from_numpy(np.array(other.arrays(), dtype=np.float32))
            errors[other.case.case] = nmse_and_r(prediction[mask > 0], target[mask > 0])[0]
        assert min(errors, key=lambda name: errors[name]) == own.case.case


def test_no_change_without_augmentation_and_a_whole_flip() -> None:
    volumes = torch.rand(3, 8, 9, 10)
    rng = np.random.default_rng(0)
    assert torch.equal(augment(volumes, Augmentation(), rng), volumes)
    assert torch.equal(augment(volumes, Augmentation(flip=1.0), rng), volumes.flip(-1))


def test_geometry_changes_all_volumes_alike_and_intensity_the_t1_only() -> None:
    k, j, i = np.indices((20, 22, 24))
    ball = ((k - 10) ** 2 + (j - 11) ** 2 + (i - 12) ** 2 < 49).astype(np.float32)
    volumes = torch.from_numpy(np.stack([ball * 0.5, ball * 0.5, ball]))
    moved = augment(volumes, Augmentation(0, 10, 0.1, 3, 0, 0), np.random.default_rng(1))
    assert torch.equal(moved[0], moved[1]) and not torch.equal(moved[2], volumes[2])
    assert set(moved[2].unique().tolist()) == {0.0, 1.0}
    assert float(moved[2].sum()) == pytest.approx(float(ball.sum()), rel=0.35)
    other = augment(volumes, Augmentation(gamma=0.5, noise=0.1), np.random.default_rng(1))
    assert torch.equal(other[1:], volumes[1:]) and not torch.equal(other[0], volumes[0])
    assert float(other[0][volumes[2] == 0].abs().max()) == 0


def test_a_shift_is_the_number_of_voxels_it_says() -> None:
    """Along each axis, of a field of view whose sides differ."""
    volumes = torch.zeros(3, 12, 16, 20)
    volumes[:, 4:8, 6:10, 8:12] = 1
    centre = volumes[2].nonzero().double().mean(0)

    class Fixed:
        """Draws: no flip, no angles, no scale, and a shift of 2 voxels along i only."""

        def __init__(self) -> None:
            self.draws = [np.zeros(3), np.zeros(3), np.array([2.0, 0.0, 0.0])]

        def random(self) -> float:
            return 1.0

        def uniform(self, low: float, high: float, n: int | None = None) -> object:
            return 0.0 if n is None else self.draws.pop(0)

    moved = augment(volumes, Augmentation(shift_voxels=2.0), Fixed())  # type: ignore[arg-type]
    apart = moved[2].nonzero().double().mean(0) - centre
    np.testing.assert_allclose(apart.numpy(), [0, 0, -2], atol=1e-6)


def test_the_order_depends_on_seed_and_epoch_and_is_shared_between_processes(tmp_path: Path) -> None:
    sampler = EpochSampler(7, seed=3, shuffle=True)
    first = list(sampler)
    sampler.set_epoch(1)
    second = list(sampler)
    assert sorted(i for _, i in first) == list(range(7)) and first != second
    assert {epoch for epoch, _ in second} == {1}
    parts = []
    for rank in range(2):
        part = EpochSampler(7, seed=3, shuffle=True, rank=rank, processes=2)
        assert len(list(part)) == len(part) == 4
        parts += [i for _, i in part]
    assert set(parts) == set(range(7))
    pairs = CasePairs(prepared_cases(tmp_path, ["a", "b"]), Augmentation(0.5, 5, 0.05, 1, 0.1, 0.1), seed=1)
    assert torch.equal(pairs[(4, 1)]["source"], pairs[(4, 1)]["source"])
    assert not torch.equal(pairs[(4, 1)]["source"], pairs[(5, 1)]["source"])


def test_gradient_checkpointing_changes_nothing_but_memory() -> None:
    torch.manual_seed(0)
    a, b = (unet.build({"n_channels": 8, "n_levels": 2}) for _ in range(2))
    b.load_state_dict(a.state_dict())
    checkpoint_blocks(b)
    assert list(a.state_dict()) == list(b.state_dict())
    source, target = torch.rand(1, 1, 16, 16, 16), torch.rand(1, 1, 16, 16, 16)
    mask = torch.ones_like(source)
    losses = []
    for network in (a, b):
        loss = unet.loss(network, source, target, mask, {})
        loss.backward()
        losses.append(loss)
    assert torch.equal(losses[0], losses[1])
    for p, q in zip(a.parameters(), b.parameters()):
        assert (p.grad is None) == (q.grad is None)
        assert p.grad is None or torch.allclose(p.grad, q.grad, atol=1e-7)


def test_presets() -> None:
    assert set(preset_names()) >= {"tspo-unet", "ferrante2025", "smoke"}
    published = read_preset("ferrante2025")
    assert (published.learning_rate, published.epochs, published.batch_size) == (1e-4, 50, 2)
    assert published.space.target == "minmax" and published.network == {"attention": "reference"}
    assert published.select == "last" and published.loss == {"loss_region": "volume"}
    assert read_preset("smoke", epochs=3).epochs == 3
    for wrong, message in (
        ({"epochs": 0}, "epochs cannot be 0"),
        ({"precision": "8"}, "precision"),
        ({"epochs": 1.5}, "epochs cannot be 1.5"),
        ({"epochs": True}, "epochs cannot be True"),
        ({"network": "unet"}, "network cannot be 'unet'"),
        ({"loss": [1]}, "loss cannot be"),
        ({"augmentation": {"flip": 2}}, "augmentation cannot be"),
        ({"augmentation": {"noise": "1"}}, "noise cannot be '1'"),
    ):
        with pytest.raises(InputError, match=message):
            read_preset("smoke", **wrong)
    with pytest.raises(InputError, match="There is no preset 'other'. Presets: "):
        read_preset("other")


@pytest.mark.parametrize("family", ["unet", "pix2pix", "diffusion"])
def test_the_smoke_preset_is_for_every_family(tmp_path: Path, family: str) -> None:
    preset = read_preset("smoke", family, epochs=1)
    check_preset(preset)
    assert preset.family == family and preset.space.size == (32, 32, 32)
    # Its name alone finds it again, as a run that goes on does.
    assert preset.name in preset_names() and read_preset(preset.name, epochs=1) == preset
    cases = prepared_cases(tmp_path / "cache", ["a", "b"], size=32)
    fitted = fit_fold(tmp_path, cases[:1], cases[1:], preset, seed=1, hardware=CPU)
    assert math.isfinite(fitted.history[0]["val_nmse"])


def test_a_preset_of_one_family_is_for_no_other(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="rflow is for diffusion, not unet"):
        read_preset("rflow", "unet")
    with pytest.raises(InputError, match="smoke is for diffusion, pix2pix, unet, not os"):
        read_preset("smoke", "os")
    own = tmp_path / "own.json"
    own.write_text(json.dumps(read_preset("smoke", "pix2pix").to_dict()))
    assert read_preset(own).network == read_preset("smoke-pix2pix").network
    with pytest.raises(InputError, match="own is for pix2pix, not diffusion"):
        read_preset(own, "diffusion")


def test_the_moving_average_is_validated_and_kept(tmp_path: Path) -> None:
    learner = Learner(tiny_preset(ema_decay=0.9), steps=4, seed=0)
    with torch.no_grad():
        for parameter in learner.network.parameters():
            parameter += 1
    learner.end_step()  # a copy
    before = [p.clone() for p in learner.evaluated.parameters()]
    for old, new in zip(before, learner.network.parameters()):
        assert torch.equal(old, new)
    with torch.no_grad():
        for parameter in learner.network.parameters():
            parameter += 1
    learner.end_step()
    decay = 2 / 11  # (1 + n) / (10 + n) after one update
    for old, new in zip(before, learner.evaluated.parameters()):
        torch.testing.assert_close(new.data, old + (1 - decay))


def test_validation_figures_need_no_double_precision_on_the_device() -> None:
    """By hand: 1 - R^2 and r of 1, 2, 3 against 1, 2, 4; the numbers are computed on the CPU."""

    class NoDouble(torch.Tensor):
        def double(self) -> torch.Tensor:
            raise TypeError("Cannot convert a MPS Tensor to float64")

        def cpu(self) -> torch.Tensor:
            return self.as_subclass(torch.Tensor)

    arguments = [torch.tensor(values).as_subclass(NoDouble) for values in ([1.0, 2.0, 3.0], [1.0, 2.0, 4.0])]
    nmse, r = nmse_and_r(*arguments)
    assert nmse == pytest.approx((1 / 3) / (14 / 9)) and r == pytest.approx(3 / 28**0.5 * 3**0.5)


def test_warm_start_takes_the_weights_of_a_bundle_of_the_same_network(tmp_path: Path) -> None:
    from bundles import tiny_bundle

    bundle = tiny_bundle(tmp_path / "bundle")
    pairs = prepared_cases(tmp_path / "cache", ["a", "b"])
    preset = tiny_preset(epochs=1, learning_rate=1e-12, ema_decay=0.0)
    fitted = fit_fold(tmp_path / "x", pairs[:1], pairs[1:], preset, seed=5, hardware=CPU, initial=bundle)
    for a, b in zip(fitted.network.state_dict().values(), bundle.network().state_dict().values()):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=0)
    other = tiny_preset(network={"n_channels": 16, "n_levels": 2})
    with pytest.raises(BundleError, match="another network than that of"):
        fit_fold(tmp_path / "y", pairs[:1], pairs[1:], other, seed=5, hardware=CPU, initial=bundle)


def test_a_training_starts_from_the_first_member_of_an_ensemble(tmp_path: Path) -> None:
    from bundles import tiny_metadata
    from MRI2PETLib.models import unet
    from MRI2PETLib.models.bundle import save_bundle

    metadata = tiny_metadata(id="two")
    networks = {f"seed-{number}": unet.build(metadata["network"]) for number in (1, 2)}
    bundle = save_bundle(tmp_path / "two", networks, metadata, "# two\n")
    pairs = prepared_cases(tmp_path / "cache", ["a", "b"])
    preset = tiny_preset(epochs=1, learning_rate=1e-12, ema_decay=0.0)
    fitted = fit_fold(tmp_path / "x", pairs[:1], pairs[1:], preset, seed=5, hardware=CPU, initial=bundle)
    for name, tensor in networks["seed-1"].state_dict().items():
        torch.testing.assert_close(fitted.network.state_dict()[name], tensor, atol=1e-6, rtol=0)


def test_bf16_learns_on_a_cpu(tmp_path: Path) -> None:
    """On a GPU it was not run: there is none here."""
    pairs = prepared_cases(tmp_path / "cache", ["a", "b"])
    preset = tiny_preset(epochs=2, precision="bf16")
    fitted = fit_fold(tmp_path / "bf16", pairs[:1], pairs[1:], preset, seed=5, hardware=CPU)
    whole = fit_fold(tmp_path / "fp32", pairs[:1], pairs[1:], tiny_preset(epochs=2), seed=5, hardware=CPU)
    losses = [[row["train_loss"] for row in one.history] for one in (fitted, whole)]
    assert losses[0] != losses[1] and losses[0] == pytest.approx(losses[1], rel=0.02)  # 8 bits of mantissa
    assert all(p.dtype == torch.float32 for p in fitted.network.parameters())
    check_hardware(CPU, preset)
    with pytest.raises(InputError, match="precision cannot be 'fp16'"):
        tiny_preset(precision="fp16")
    with pytest.raises(DeviceError, match="There is no device cuda:7"):
        check_hardware(Hardware("cuda:7"), preset)
