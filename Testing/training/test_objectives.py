"""How the trainer follows a family's objective: optimisers, effective batches, validation, resuming."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from MRI2PETLib.models import unet
from MRI2PETLib.models.objective import NETWORK_STATE, OBJECTIVE_STATE, Objective, frozen
from MRI2PETTrainingLib import learner as learner_module
from MRI2PETTrainingLib.fit import Fitted, fit_fold
from MRI2PETTrainingLib.hardware import Hardware
from MRI2PETTrainingLib.learner import Learner
from MRI2PETTrainingLib.presets import Augmentation, Preset, read_preset
from small_datasets import prepared_cases, tiny_preset

torch.set_num_threads(1)
CPU = Hardware("cpu")
NAMES = [f"case{i}" for i in range(4)]
DIFFUSION = {"objective": "rflow", "channels": [8, 16], "steps": 2}


class Interrupted(Exception):
    """What a progress callback raises to stop a training."""


def fit(folder: Path, cases: list[Any], preset: Preset, stop: float = float("inf")) -> Fitted:
    def progress(done: float, total: float, stage: str) -> None:
        if done >= stop:
            raise Interrupted

    return fit_fold(folder, cases[:3], cases[3:], preset, seed=3, hardware=CPU, progress=progress)


def diffusion_preset(**overrides: Any) -> Preset:
    small = {"network": DIFFUSION, "batch_size": 2, "ema_decay": 0.9, "validation_samples": 2}
    base = replace(read_preset("rflow"), space=tiny_preset().space, **small)  # type: ignore[arg-type]
    return replace(base, **{"epochs": 3, "validate_every": 1, **overrides})


class TwoParts(Objective):
    """The U-Net's loss, and beside it a level that learns the targets' mean."""

    relative_rate = 50.0

    def __init__(self) -> None:
        super().__init__()
        self.level = nn.Parameter(torch.zeros(()))
        self.levels: list[tuple[float, float]] = []

    def losses(
        self, network: nn.Module, source: Tensor, target: Tensor, mask: Tensor
    ) -> Iterator[tuple[str, Tensor]]:
        before = float(self.level.detach())
        yield OBJECTIVE_STATE, (self.level - target.mean()).square()
        self.levels.append((before, float(self.level.detach())))
        with frozen(self):
            blind = (self.level * 0).sum()
        assert not blind.requires_grad and self.level.requires_grad
        yield NETWORK_STATE, unet.loss(network, source, target, mask, {})


def two_parts(_: str) -> SimpleNamespace:
    return SimpleNamespace(build=unet.build, objective=lambda settings: TwoParts(), predict=unet.predict)


def test_what_the_objective_trains_has_an_optimiser_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = prepared_cases(tmp_path / "cache", NAMES)
    preset = tiny_preset(epochs=3, augmentation=Augmentation(), learning_rate=1e-3)
    alone = fit(tmp_path / "alone", cases, preset)
    made: list[Learner] = []
    start = Learner.__init__
    monkeypatch.setattr(
        Learner, "__init__", lambda self, *a, **k: (made.append(self), start(self, *a, **k))[1]
    )
    monkeypatch.setattr(learner_module, "get_family", two_parts)
    both = fit(tmp_path / "both", cases, preset)
    # The network is the same to the last bit, and what is kept holds nothing of the objective.
    state = both.network.state_dict()
    assert state.keys() == alone.network.state_dict().keys()
    assert all(torch.equal(state[name], value) for name, value in alone.network.state_dict().items())
    objective = made[-1].objective
    assert isinstance(objective, TwoParts)
    # Six steps, each before the network's; Adam's first steps are as long as its rate, .05, after warm-up.
    assert len(objective.levels) == 6 and all(before < after for before, after in objective.levels)
    assert float(objective.level.detach()) > 0.1
    # Interrupted and resumed, the objective goes on too.
    with pytest.raises(Interrupted):
        fit(tmp_path / "resumed", cases, preset, stop=1.4)
    fit(tmp_path / "resumed", cases, preset)
    assert float(made[-1].objective.level.detach()) == pytest.approx(
        float(objective.level.detach()), abs=1e-6
    )  # type: ignore[arg-type]


def gradients(
    cases: list[Any], folder: Path, preset: Preset, patch: pytest.MonkeyPatch
) -> list[list[Tensor]]:
    of_steps: list[list[Tensor]] = []

    def keep(self: Learner, optimizer: torch.optim.Optimizer) -> None:
        group = optimizer.param_groups[0]["params"]
        of_steps.append([p.grad.clone() for p in group if p.grad is not None])

    patch.setattr(Learner, "on_before_optimizer_step", keep)
    fit_fold(folder, cases, cases[:1], preset, seed=3, hardware=CPU)
    return of_steps


def test_accumulated_batches_have_the_gradients_of_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five cases: a step of four batches and one of what is left, against batches of four and one."""
    cases = prepared_cases(tmp_path / "cache", [*NAMES, "case4"])
    preset = tiny_preset(epochs=1, augmentation=Augmentation(), learning_rate=1e-9, ema_decay=0.0)
    one = gradients(cases, tmp_path / "a", replace(preset, batch_size=4), monkeypatch)
    many = gradients(cases, tmp_path / "b", replace(preset, batch_size=1, accumulate=4), monkeypatch)
    assert len(one) == len(many) == 2
    for a, b in zip([g for step in one for g in step], [g for step in many for g in step]):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize(("epochs", "validated"), [(6, [1, 3, 5]), (5, [0, 1, 2, 3, 4])])
def test_validation_every_few_epochs_includes_the_last(
    tmp_path: Path, epochs: int, validated: list[int]
) -> None:
    cases = prepared_cases(tmp_path / "cache", NAMES)
    preset = tiny_preset(epochs=epochs, validate_every=2, augmentation=Augmentation())
    fitted = fit(tmp_path, cases, preset)
    assert [row["epoch"] for row in fitted.history] == validated
    assert fitted.cost["epochs"] == epochs and fitted.history[-1]["step"] == 2 * epochs
    assert fitted.epoch in validated


def largest_difference(a: Fitted, b: Fitted) -> float:
    states = zip(a.network.state_dict().values(), b.network.state_dict().values())
    return max(float((x - y).abs().max()) for x, y in states)


@pytest.fixture
def diffusion(tmp_path: Path) -> Callable[..., Fitted]:
    pytest.importorskip("monai", reason="MONAI is not installed: pip install 'mri2pet[diffusion]'")
    cases = prepared_cases(tmp_path / "cache", NAMES, size=16)

    def run(name: str, stop: float = float("inf"), **overrides: Any) -> Fitted:
        return fit(tmp_path / name, cases, diffusion_preset(**overrides), stop)

    return run


def test_a_diffusion_training_that_is_interrupted_equals_an_unbroken_one(
    diffusion: Callable[..., Fitted],
) -> None:
    """Noise and noise levels depend on seed and epoch only."""
    unbroken = diffusion("unbroken")
    with pytest.raises(Interrupted):
        diffusion("resumed", stop=1.4)
    assert largest_difference(diffusion("resumed"), unbroken) <= 1e-6


def test_recomputed_activations_give_the_same_diffusion_model(diffusion: Callable[..., Fitted]) -> None:
    plain = diffusion("plain", epochs=1)
    assert largest_difference(diffusion("less", epochs=1, gradient_checkpointing=True), plain) <= 1e-6
