"""The Lightning module of all families: training step, moving average of weights, validation, optimisers.

What a step computes is the family's :class:`MRI2PETLib.models.objective.Objective`; here are the optimisers,
the gradients' accumulation and clipping, the schedule, and the moving average, the same for all.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import lightning
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.checkpoint import checkpoint

from MRI2PETLib.core.errors import TrainingError
from MRI2PETLib.core.progress import no_progress
from MRI2PETLib.models import get_family
from MRI2PETLib.models.objective import NETWORK_STATE, OBJECTIVE_STATE
from MRI2PETLib.models.shallow import protect_shallow_convolutions
from MRI2PETTrainingLib.batches import Batch
from MRI2PETTrainingLib.presets import Preset

_WARM_UP = 0.1  # share of all steps
_LAST_RATE = 0.01  # of the learning rate


class Learner(lightning.LightningModule):
    """A network in training, and what its objective trains beside it.

    :param steps: steps of the whole fold; one updates every optimiser once.
    :param initial: state to start from instead of random weights.
    """

    updates: torch.Tensor  # steps done

    def __init__(
        self, preset: Preset, steps: int, seed: int, initial: Mapping[str, torch.Tensor] | None = None
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self._preset, self._steps, self._seed = preset, steps, seed
        self._family = get_family(preset.family)
        torch.manual_seed(seed)
        self.network = self._family.build(dict(preset.network))
        self.objective = self._family.objective(dict(preset.loss))
        if initial is not None:
            self.network.load_state_dict(initial, strict=True)
        self.average = moving_average(self.network, preset.ema_decay) if preset.ema_decay else None
        self.register_buffer("updates", torch.zeros((), dtype=torch.long))
        if preset.precision == "bf16":
            for part in (self.network, self.objective):
                protect_shallow_convolutions(part)
        if preset.gradient_checkpointing:
            checkpoint_blocks(self.network)

    @property
    def evaluated(self) -> nn.Module:
        """The network that is validated and kept: the moving average where there is one."""
        return self.network if self.average is None else self.average.module

    def on_train_epoch_start(self) -> None:
        # A family may draw noise in its loss: what it draws must not depend on interruptions.
        torch.manual_seed((self._seed * 1_000_003 + self.current_epoch) * 1009 + self.global_rank)

    def training_step(self, batch: Batch, index: int) -> None:
        size, ends = self._effective_batch(index)
        losses = self.objective.losses(self.network, batch["source"], batch["target"], batch["mask"])
        for part, loss in losses:
            if not torch.isfinite(loss):
                raise TrainingError(
                    f"The loss became {loss.item()} in epoch {self.current_epoch}, step {index}.",
                    f"The last complete epoch is kept. Start again with a lower learning rate than "
                    f"{self._preset.learning_rate:g}, or with precision fp32.",
                )
            self.manual_backward(loss / size)
            if ends:
                self._update(part)
            name = "train_loss" if part == NETWORK_STATE else f"train_loss_of_{part}"
            self.log(name, loss.detach(), on_step=False, on_epoch=True, batch_size=len(batch["source"]))
        if ends:
            self.end_step()

    def _effective_batch(self, index: int) -> tuple[int, bool]:
        """How many batches share the step that a batch belongs to, and whether it is the last of them."""
        count, each = int(self.trainer.num_training_batches), self._preset.accumulate
        size = min(each, count - index // each * each)
        return size, index % each == size - 1

    def _update(self, part: str) -> None:
        """Update the parameters of the network or of the objective."""
        number = list(self._trained()).index(part)
        optimisers: Any = self.optimizers(use_pl_optimizer=True)
        schedules: Any = self.lr_schedulers()
        several = isinstance(optimisers, list)
        optimiser, schedule = (optimisers[number], schedules[number]) if several else (optimisers, schedules)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        schedule.step()

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        # Here, and not before: with half precision the gradients have their true size only now.
        if self._preset.gradient_clip:
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            torch.nn.utils.clip_grad_norm_(parameters, self._preset.gradient_clip)

    def end_step(self) -> None:
        """Count a step, and move the average towards the network."""
        self.updates += 1
        if self.average is not None:
            self.average.update_parameters(self.network)

    def on_validation_start(self) -> None:
        self._rows: list[tuple[float, float]] = []

    def validation_step(self, batch: Batch, index: int) -> None:
        prediction, _ = self._family.predict(
            self.evaluated,
            batch["source"],
            samples=self._preset.validation_samples,
            steps=self._preset.validation_steps,
            seed=self._seed,
            progress=no_progress,
        )
        for one, truth, mask in zip(prediction, batch["target"], batch["mask"]):
            self._rows.append(nmse_and_r(one[mask > 0], truth[mask > 0]))

    def on_validation_epoch_end(self) -> None:
        # Every process validates all cases, so there is nothing to gather.
        for name, values in zip(("val_nmse", "val_r"), zip(*self._rows)):
            self.log(name, math.fsum(values) / len(values))

    def _trained(self) -> dict[str, nn.Module]:
        """What has parameters to train."""
        parts: dict[str, nn.Module] = {NETWORK_STATE: self.network, OBJECTIVE_STATE: self.objective}
        return {name: part for name, part in parts.items() if any(True for _ in part.parameters())}

    def configure_optimizers(self) -> Any:
        """One a part that is trained, with the schedule of the learning rate."""
        optimizers = []
        for name, part in self._trained().items():
            rate = self._preset.learning_rate * (
                1.0 if name == NETWORK_STATE else self.objective.relative_rate
            )
            optimiser = torch.optim.Adam(part.parameters(), lr=rate, betas=(self._preset.beta1, 0.999))
            schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, self._rate)
            optimizers.append({"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule}})
        return optimizers

    def _rate(self, step: int) -> float:
        """Share of the learning rate at a step."""
        if self._preset.schedule == "constant":
            return 1.0
        warm_up = max(1, round(_WARM_UP * self._steps))
        if step < warm_up:
            return (step + 1) / warm_up
        done = min(1.0, (step - warm_up) / max(1, self._steps - warm_up))
        return _LAST_RATE + (1 - _LAST_RATE) * 0.5 * (1 + math.cos(math.pi * done))


def moving_average(network: nn.Module, decay: float) -> AveragedModel:
    """A copy of a network for the exponential moving average of its weights.

    The first update copies the weights; the memory of the n-th is then (1 + n) / (10 + n), at most ``decay``,
    so that the beginning does not stay in the average.
    """

    def update(average: Any, new: Any, count: Any) -> None:
        n = int(count)
        get_ema_multi_avg_fn(min(decay, (1 + n) / (10 + n)))(average, new, count)

    return AveragedModel(network, multi_avg_fn=update).requires_grad_(False)


def nmse_and_r(prediction: torch.Tensor, truth: torch.Tensor) -> tuple[float, float]:
    """Mean squared error over the truth's variance (1 - R^2: 1 for its mean), and Pearson's r."""
    prediction, truth = prediction.cpu().double(), truth.cpu().double()  # MPS has no float64
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
