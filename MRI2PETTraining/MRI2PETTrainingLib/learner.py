"""The Lightning module of all families: training step, moving average of weights, validation, optimiser."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import lightning
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from MRI2PETLib.errors import MRI2PETError
from MRI2PETLib.models import get_family
from MRI2PETLib.progress import no_progress
from MRI2PETTrainingLib.data import Batch
from MRI2PETTrainingLib.presets import Preset

_WARM_UP = 0.1  # share of all steps
_LAST_RATE = 0.01  # of the learning rate
_SAMPLES = 4  # of a stochastic family in validation


class TrainingError(MRI2PETError):
    """Training cannot go on: the loss is not finite, or the device's memory does not suffice."""

    exit_code = 9
    code = "training"


class Learner(lightning.LightningModule):
    """A network in training.

    :param steps: optimiser steps of the whole fold.
    :param initial: state to start from instead of random weights.
    """

    updates: torch.Tensor  # of the moving average

    def __init__(
        self, preset: Preset, steps: int, seed: int, initial: dict[str, torch.Tensor] | None = None
    ) -> None:
        super().__init__()
        self._preset, self._steps, self._seed = preset, steps, seed
        self._family = get_family(preset.family)
        torch.manual_seed(seed)
        self.network = self._family.build(dict(preset.network))
        if initial is not None:
            self.network.load_state_dict(initial, strict=True)
        self.average = copy.deepcopy(self.network).requires_grad_(False) if preset.ema_decay else None
        self.register_buffer("updates", torch.zeros((), dtype=torch.long))
        if preset.gradient_checkpointing:
            checkpoint_blocks(self.network)

    @property
    def evaluated(self) -> nn.Module:
        """The network that is validated and kept: the moving average where there is one."""
        return self.average if self.average is not None else self.network

    def on_train_epoch_start(self) -> None:
        # A family may draw noise in its loss: what it draws must not depend on interruptions.
        torch.manual_seed((self._seed * 1_000_003 + self.current_epoch) * 1009 + self.global_rank)

    def training_step(self, batch: Batch, index: int) -> torch.Tensor:
        loss = self._family.loss(
            self.network, batch["source"], batch["target"], batch["mask"], dict(self._preset.loss)
        )
        if not torch.isfinite(loss):
            raise TrainingError(
                f"The loss became {loss.item()} in epoch {self.current_epoch}, step {index}.",
                f"The last complete epoch is kept. Start again with a lower learning rate than "
                f"{self._preset.learning_rate:g}, or with precision 32.",
            )
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=len(batch["source"]))
        return loss

    def on_train_batch_end(self, *_: Any) -> None:
        if self.average is None:
            return
        self.updates += 1
        n = int(self.updates)
        decay = min(self._preset.ema_decay, (1 + n) / (10 + n))
        with torch.no_grad():
            for kept, new in zip(self.average.state_dict().values(), self.network.state_dict().values()):
                if kept.is_floating_point():
                    kept.lerp_(new, 1 - decay)
                else:
                    kept.copy_(new)

    def on_validation_start(self) -> None:
        self._rows: list[tuple[float, float]] = []

    def validation_step(self, batch: Batch, index: int) -> None:
        prediction, _ = self._family.predict(
            self.evaluated,
            batch["source"],
            samples=_SAMPLES,
            steps=0,
            seed=self._seed,
            progress=no_progress,
        )
        for one, truth, mask in zip(prediction, batch["target"], batch["mask"]):
            self._rows.append(nmse_and_r(one[mask > 0], truth[mask > 0]))

    def on_validation_epoch_end(self) -> None:
        # Every process validates all cases, so there is nothing to gather.
        for name, values in zip(("val_nmse", "val_r"), zip(*self._rows)):
            self.log(name, math.fsum(values) / len(values))

    def configure_optimizers(self) -> Any:
        optimiser = torch.optim.Adam(self.network.parameters(), lr=self._preset.learning_rate)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, self._rate)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _rate(self, step: int) -> float:
        """Share of the learning rate at a step."""
        if self._preset.schedule == "constant":
            return 1.0
        warm_up = max(1, round(_WARM_UP * self._steps))
        if step < warm_up:
            return (step + 1) / warm_up
        done = min(1.0, (step - warm_up) / max(1, self._steps - warm_up))
        return _LAST_RATE + (1 - _LAST_RATE) * 0.5 * (1 + math.cos(math.pi * done))


def nmse_and_r(prediction: torch.Tensor, truth: torch.Tensor) -> tuple[float, float]:
    """Mean squared error over the truth's variance (1 - R^2: 1 for its mean), and Pearson's r."""
    prediction, truth = prediction.double(), truth.double()
    nmse = (prediction - truth).square().mean() / truth.var(correction=0).clamp(min=1e-12)
    p, t = prediction - prediction.mean(), truth - truth.mean()
    r = (p * t).sum() / (p.norm() * t.norm()).clamp(min=1e-12)
    return float(nmse), float(r)


def checkpoint_blocks(network: nn.Module) -> None:
    """Keep only the inputs of a network's blocks for the backward pass and compute the rest again.

    Blocks are the members of its ``ModuleList``\\ s. The result is the same; the state's names are too.
    """
    for block in _blocks(network):
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)


def _blocks(network: nn.Module) -> Iterator[nn.Module]:
    for module in network.children():
        if isinstance(module, nn.ModuleList):
            yield from module
        else:
            yield from _blocks(module)
