"""Stage 4: train the U-Net in chunks, each of which goes on exactly where the last one stopped.

All randomness of step ``n`` comes from (seed, n), and the optimiser, the schedule and the moving average are
saved with the weights: a run that was stopped gives the same weights as one that was not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from MRI2PETLib.core.errors import InputError, MRI2PETError
from MRI2PETLib.core.files import atomic_path, make_folder
from MRI2PETLib.core.progress import ProgressCallback, no_progress
from MRI2PETLib.models import unet
from MRI2PETLib.models.model_space import ModelSpace, with_grid
from TSPODemoModel.pairs import Pairs, People, make_pairs


@dataclass(frozen=True)
class TrainSettings:
    """What the bundle records of a training.

    :param size: voxels an axis over 192 mm: 96 (2 mm) needs an accelerator, 48 (4 mm) suits a CPU.
    :param coarse_steps: how many of the steps, at the start, run on ``coarse_size`` voxels: a third of the
        cost at 32, and most of the pattern can be learned there.
    :param averages: average anatomies that are trained with like people, made by ``averages.py``.
    :param loss_region: ``brain`` or ``volume`` (as published), see :func:`MRI2PETLib.models.unet.loss`.
    :param target: ``suvr-half`` or ``minmax`` (as published).
    """

    size: int = 48
    steps: int = 1800
    coarse_size: int = 32
    coarse_steps: int = 0
    batch: int = 1
    averages: int = 21
    learning_rate: float = 2e-3
    last_learning_rate: float = 1e-5
    ema_decay: float = 0.995
    gradient_clip: float = 1.0
    loss_region: str = "brain"
    target: Literal["suvr-half", "minmax"] = "suvr-half"
    seed: int = 20250908

    @property
    def space(self) -> ModelSpace:
        return with_grid(ModelSpace(target=self.target), self.size, 192.0 / self.size)

    def size_at(self, step: int) -> int:
        """Voxels an axis of the pairs of a step."""
        return self.coarse_size if step < self.coarse_steps else self.size


# The two sizes of the command; a model that ships is then refined. The EMA's memory is about a tenth of the
# steps or less.
SIZES = {
    96: TrainSettings(size=96, steps=4000, batch=4, ema_decay=0.999),
    48: TrainSettings(size=48, steps=1800, coarse_steps=1200, ema_decay=0.995),
}
REFINEMENT_STEPS: dict[int, tuple[int, ...]] = {96: (), 48: (650,)}


def refinement(settings: TrainSettings, cycle: int, steps: int) -> TrainSettings:
    """A further cycle (1, 2, ...) of ``steps`` for a finished network: full size, half the learning rate of
    the one before, other pairs, fewer averages.
    """
    return replace(
        settings,
        steps=steps,
        coarse_steps=0,
        averages=8,
        learning_rate=settings.learning_rate / 2**cycle,
        seed=settings.seed + cycle,
    )


class Trainer:
    """Network, moving average, optimiser and schedule at some step.

    :param start: network to begin with, random by default.
    """

    def __init__(
        self, settings: TrainSettings, device: torch.device, start: torch.nn.Module | None = None
    ) -> None:
        torch.manual_seed(settings.seed)
        self.settings, self.device, self.step = settings, device, 0
        self.network = unet.build({}).to(device)
        if start is not None:
            self.network.load_state_dict(start.state_dict())
        else:
            with torch.no_grad():  # the mean of the target: half of the range, or .14 after min-max
                mean = 0.5 if settings.target == "suvr-half" else 0.14
                self.network.final.depthwise_separable_conv[1].bias.fill_(math.log(mean / (1 - mean)))  # type: ignore[union-attr,index]
        self.average = {k: v.clone() for k, v in self.network.state_dict().items()}
        self.optimiser = torch.optim.Adam(self.network.parameters(), lr=settings.learning_rate)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimiser,
            max_lr=settings.learning_rate,
            total_steps=settings.steps,
            pct_start=0.1,
            final_div_factor=settings.learning_rate / 25 / settings.last_learning_rate,
        )

    def advance(self, pairs: Pairs) -> float:
        """One optimiser step; returns the loss."""
        s = self.settings
        self.network.train()
        loss = unet.loss(self.network, pairs.source, pairs.target, pairs.mask, {"loss_region": s.loss_region})
        if not torch.isfinite(loss):
            raise MRI2PETError(f"The loss is {loss.item()} at step {self.step}.", "Lower the learning rate.")
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), s.gradient_clip)
        self.optimiser.step()
        self.schedule.step()
        self.step += 1
        with torch.no_grad():
            # A short memory at first, or the random start would stay in the average.
            decay = min(s.ema_decay, (1 + self.step) / (10 + self.step))
            for name, value in self.network.state_dict().items():
                self.average[name].lerp_(value, 1 - decay)
        return float(loss.detach())

    def averaged(self) -> torch.nn.Module:
        """A copy of the network with the moving average of the weights, on the CPU, for evaluation."""
        network = unet.build({})
        network.load_state_dict({k: v.cpu() for k, v in self.average.items()})
        return network.eval()

    def state(self) -> dict[str, Any]:
        return {
            "settings": asdict(self.settings),
            "step": self.step,
            "network": self.network.state_dict(),
            "average": self.average,
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
        }

    def restore(self, state: dict[str, Any], path: Path) -> None:
        """Go on from a state.

        :raises InputError: if it was made with other settings.
        """
        if state["settings"] != asdict(self.settings):
            raise InputError(f"{path} was made with other settings.", "Choose another work folder.")
        self.step = state["step"]
        self.network.load_state_dict(state["network"])
        self.average = {k: v.to(self.device) for k, v in state["average"].items()}
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])


def people_of_step(n_people: int, settings: TrainSettings, step: int) -> list[int]:
    """Indices of the people of a step: everyone once before anyone twice."""
    chosen = []
    for position in range(step * settings.batch, (step + 1) * settings.batch):
        round_, place = divmod(position, n_people)
        order = np.random.default_rng([settings.seed, round_]).permutation(n_people)
        chosen.append(int(order[place]))
    return chosen


def train(
    settings: TrainSettings,
    load: Callable[[int], People],
    folder: Path,
    device: torch.device,
    *,
    start: torch.nn.Module | None = None,
    minutes: float = math.inf,
    progress: ProgressCallback = no_progress,
) -> torch.nn.Module | None:
    """Train up to ``minutes`` longer; the averaged network when all steps are done, else ``None``.

    :param load: makes the training people for a number of voxels an axis; called only when needed.
    :param start: network to begin with, random by default.
    :param folder: where ``training.pt`` (resumed if present) and ``losses.csv`` are written.
    """
    started = saved = time.monotonic()
    path = make_folder(folder) / "training.pt"
    trainer = Trainer(settings, device, start)
    if path.is_file():
        trainer.restore(torch.load(path, map_location=device, weights_only=True), path)
    people: People | None = None
    losses: list[tuple[int, float]] = []
    while trainer.step < settings.steps and time.monotonic() - started < 60 * minutes:
        step, size = trainer.step, settings.size_at(trainer.step)
        if people is None or people.size != size:
            people = load(size)
        chosen = people_of_step(len(people.subjects), settings, step)
        pairs = make_pairs(people, chosen, _seed(settings.seed, step), target=settings.target)
        losses.append((step, trainer.advance(pairs)))
        progress(step + 1, settings.steps, f"training, loss {losses[-1][1]:.4f}")
        if time.monotonic() - saved > 120:
            _save(trainer, path, losses)
            saved = time.monotonic()
    if losses:
        _save(trainer, path, losses)
    return trainer.averaged() if trainer.step == settings.steps else None


def finished(settings: TrainSettings, folder: Path) -> torch.nn.Module | None:
    """The averaged network of a finished training with these settings, or ``None``."""
    path = folder / "training.pt"
    if not path.is_file():
        return None
    trainer = Trainer(settings, torch.device("cpu"))
    trainer.restore(torch.load(path, map_location="cpu", weights_only=True), path)
    return trainer.averaged() if trainer.step == settings.steps else None


def _seed(seed: int, step: int) -> int:
    return int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _save(trainer: Trainer, path: Path, losses: list[tuple[int, float]]) -> None:
    with atomic_path(path) as temporary:
        torch.save(trainer.state(), temporary)
    # Steps repeated after a hard stop appear twice, with the same loss.
    with path.with_name("losses.csv").open("a", encoding="utf-8") as file:
        file.writelines(f"{step},{loss:.6f}\n" for step, loss in losses)
    losses.clear()
