"""Train the U-Net by the library's training loop, coarse to fine, on pairs that are made while it trains.

A model is trained in stages of ever finer voxels, each a preset of the training library that starts from the
weights of the one before. The validation people choose the epoch of each stage. A training that was stopped
or killed goes on from its last complete epoch and gives the same weights as one that was not.

The library's loop costs .05 of 1.3 CPU-seconds a step at 48^3 voxels, on one thread.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.files import make_folder, plain, read_object, write_json
from MRI2PETLib.core.progress import ProgressCallback, no_progress
from MRI2PETLib.models import unet
from MRI2PETLib.models.model_space import ModelSpace, with_grid
from MRI2PETTrainingLib.batches import Batch
from MRI2PETTrainingLib.checkpoints import save_weights
from MRI2PETTrainingLib.fit import Fitted, fit
from MRI2PETTrainingLib.hardware import Hardware
from MRI2PETTrainingLib.presets import Augmentation, Preset, read_preset
from TSPODemoModel.simulated_pairs import FIELD_MM, NO_VARIATION, People, make_pairs

STAGE, STAGE_WEIGHTS = "stage.json", "network.safetensors"
VALIDATION_SEED = 5_000
_VALIDATION_DRAWS = 3  # pairs a validation person: other activity


@dataclass(frozen=True)
class Stage:
    """What decides the weights of a stage, but for the people, the donors and the seed.

    :ivar averages: average anatomies that are trained with like people, see ``average_anatomies.py``.
    """

    preset: Preset
    averages: int = 21

    @property
    def size(self) -> int:
        """Voxels an axis."""
        return self.preset.space.size[0]

    @property
    def target(self) -> str:
        return self.preset.space.target

    def to_dict(self) -> dict[str, Any]:
        return {"preset": self.preset.to_dict(), "averages": self.averages}


def _stage(size: int, **changes: Any) -> Stage:
    base = read_preset("tspo-unet")
    name = spacing_name(size)
    fixed = {
        "name": name,
        "description": f"Demonstration model, stage of {name}",
        "space": with_grid(ModelSpace(), size, FIELD_MM / size),
        "augmentation": Augmentation(),  # the pairs vary by themselves
        "batch_size": 1,
        "patience": 0,
    }
    return Stage(replace(base, **{**fixed, **changes}))


def spacing_name(size: int) -> str:
    """``3mm`` for 64 voxels an axis."""
    return f"{FIELD_MM / size:g}mm"


# From coarse to fine; a model ends at one of them. The memory of the moving average is a tenth of the steps
# or less. 2 mm needs an accelerator.
STAGES = {
    stage.preset.name: stage
    for stage in (
        _stage(32, epochs=20, learning_rate=2e-3, ema_decay=0.99),
        _stage(48, epochs=16, learning_rate=1e-3, ema_decay=0.99),
        _stage(64, epochs=32, learning_rate=1e-3, ema_decay=0.995),
        _stage(96, epochs=64, learning_rate=1e-3, ema_decay=0.995, batch_size=4),
    )
}


def stages_to(last: str, epochs: int | None = None) -> list[Stage]:
    """The stages of a model that ends at ``last``, a name of :data:`STAGES`.

    :param epochs: length of the last stage, if it is not its own.
    """
    names = list(STAGES)
    stages = [STAGES[name] for name in names[: names.index(last) + 1]]
    if epochs is None:
        return stages
    return [*stages[:-1], replace(stages[-1], preset=replace(stages[-1].preset, epochs=epochs))]


def trained_stages(last: str, folder: Path) -> list[Stage]:
    """The stages of the training in ``folder``: the last one as long as it was begun."""
    path = folder / last / STAGE
    epochs = read_object(path)["settings"]["preset"]["epochs"] if path.is_file() else None
    return stages_to(last, epochs)


class SimulatedPairs:
    """Training pairs of people, another one each epoch: a function of seed, epoch and person."""

    def __init__(self, people: People, seed: int, target: str) -> None:
        self._people, self._seed, self._target = people, seed, target

    def __len__(self) -> int:
        return len(self._people.subjects)

    def __getitem__(self, key: tuple[int, int]) -> Batch:
        state = np.random.SeedSequence([self._seed, *key]).generate_state(1, np.uint64)
        pairs = make_pairs(self._people, [key[1]], int(state[0] >> np.uint64(1)), target=self._target)
        return {"source": pairs.source[0], "target": pairs.target[0], "mask": pairs.mask[0]}


class ValidationPairs:
    """Pairs of people as they are, with noise-free targets; the same in every epoch."""

    def __init__(self, people: People, target: str) -> None:
        self._people, self._target = people, target

    def __len__(self) -> int:
        return _VALIDATION_DRAWS * len(self._people.subjects)

    def __getitem__(self, key: tuple[int, int]) -> Batch:
        _, index = key
        person = index // _VALIDATION_DRAWS
        pairs = make_pairs(self._people, [person], VALIDATION_SEED + index, NO_VARIATION, target=self._target)
        return {"source": pairs.source[0], "target": pairs.clean[0], "mask": pairs.mask[0]}


@dataclass(frozen=True)
class Trained:
    """A finished stage.

    :ivar error: of the validation people in the chosen ``epoch``: mean squared error over the variance.
    """

    stage: Stage
    network: nn.Module
    error: float
    epoch: int
    history: list[dict[str, float]]
    cost: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """What a bundle's metadata says of it."""
        steps = int(self.history[-1]["step"])
        about = {"steps": steps, "epoch": self.epoch, "validation_nmse": self.error, "cost": self.cost}
        return {**self.stage.to_dict(), **about}


# Training and validation people of a stage, made only when they are needed.
LoadPeople = Callable[[Stage], tuple[People, People]]


class TimeIsUp(Exception):
    """The minutes are over; what is finished lies in the work folder."""


def train_model(
    stages: list[Stage],
    load: LoadPeople,
    folder: Path,
    *,
    seed: int,
    about: Mapping[str, Any],
    device: str = "cpu",
    minutes: float = math.inf,
    progress: ProgressCallback = no_progress,
) -> list[Trained]:
    """Train stage after stage.

    :param folder: gets a folder a stage; what is finished there is not trained again.
    :param about: who is trained with, to recognise a folder of another training.
    :returns: the stages in order. The last one is the model.
    :raises TimeIsUp: when ``minutes`` are over and an epoch is complete.
    :raises InputError: if ``folder`` was begun with other settings.
    """
    deadline = time.monotonic() + 60 * minutes
    done: list[Trained] = []

    for stage in stages:
        start = done[-1].network if done else _start(stage.target, seed)
        report = stop_after(deadline, progress)
        done.append(_train_stage(stage, start, load, folder / stage.preset.name, seed, about, device, report))
    return done


def finished(
    stages: list[Stage], folder: Path, *, seed: int, about: Mapping[str, Any]
) -> list[Trained] | None:
    """What :func:`train_model` returns for a training that is finished, or ``None``."""

    def unfinished(stage: Stage) -> tuple[People, People]:
        raise TimeIsUp

    try:
        return train_model(stages, unfinished, folder, seed=seed, about=about)
    except TimeIsUp:
        return None


def _start(target: str, seed: int) -> nn.Module | None:
    """A network that begins at the mean of a min-max target, .14; half of the range needs none."""
    if target == "suvr-half":
        return None
    torch.manual_seed(seed)
    network = unet.build({})
    with torch.no_grad():
        network.final.depthwise_separable_conv[1].bias.fill_(math.log(0.14 / 0.86))  # type: ignore[union-attr,index]
    return network


def _train_stage(
    stage: Stage,
    start: nn.Module | None,
    load: LoadPeople,
    folder: Path,
    seed: int,
    about: Mapping[str, Any],
    device: str,
    progress: ProgressCallback,
) -> Trained:
    settings = plain({**stage.to_dict(), "seed": seed, **about})
    earlier = _earlier_result(folder / STAGE, settings)
    if earlier is not None:
        return Trained(stage, _read_network(folder / STAGE_WEIGHTS), **earlier)
    people, validation = load(stage)
    write_json(make_folder(folder) / STAGE, {"settings": settings})
    fitted = fit(
        folder,
        SimulatedPairs(people, seed, stage.target),
        ValidationPairs(validation, stage.target),
        stage.preset,
        seed=seed,
        hardware=Hardware(device),
        initial=None if start is None else start.state_dict(),
        label=stage.preset.name,
        progress=progress,
    )
    save_weights(fitted.network, folder / STAGE_WEIGHTS)
    result = _result(fitted)
    write_json(folder / STAGE, {"settings": settings, "result": result})
    return Trained(stage, fitted.network, **result)


def _result(fitted: Fitted) -> dict[str, Any]:
    best = next(row for row in fitted.history if row["epoch"] == fitted.epoch)
    return {
        "error": best["val_nmse"],
        "epoch": fitted.epoch,
        "history": fitted.history,
        "cost": fitted.cost,
    }


def _earlier_result(path: Path, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """The result of a finished stage; its file is there, without one, from the beginning of the stage.

    :raises InputError: if the stage was begun with other settings.
    """
    if not path.is_file():
        return None
    content = read_object(path)
    if content["settings"] != settings:
        raise InputError(f"{path.parent} was begun with other settings.", "Choose another work folder.")
    return content.get("result")


def _read_network(path: Path) -> nn.Module:
    import safetensors.torch

    network = unet.build({})
    network.load_state_dict(safetensors.torch.load(path.read_bytes()), strict=True)
    return network.eval()


def stop_after(deadline: float, progress: ProgressCallback) -> ProgressCallback:
    """A callback that stops a training after the first epoch that ends beyond the deadline.

    It is told 0 and the epoch to begin with, then every step: a whole number is the end of an epoch, which is
    saved when the next step comes.
    """
    steps: list[float] = []

    def inner(done: float, total: float, stage: str) -> None:
        progress(done, total, stage)
        saved = len(steps) > 2 and steps[-1] % 1 == 0
        steps.append(done)
        if saved and time.monotonic() > deadline:
            raise TimeIsUp

    return inner
