"""Train one fold; interrupted at any moment, go on from its last complete epoch."""

from __future__ import annotations

import logging
import math
import sys
import time
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.plugins.environments import LightningEnvironment, SLURMEnvironment

from MRI2PETLib.core.devices import describe_device, is_out_of_memory, pick_device
from MRI2PETLib.core.errors import BundleError, InputError, TrainingError
from MRI2PETLib.core.progress import ProgressCallback, no_progress
from MRI2PETLib.models import get_family
from MRI2PETLib.models.bundle import Bundle
from MRI2PETTrainingLib.batches import CasePairs, PairsByEpoch, loader
from MRI2PETTrainingLib.checkpoints import LAST, AtomicCheckpointIO, Keeper, Ticker, request_in
from MRI2PETTrainingLib.dataset.cache import PreparedCase
from MRI2PETTrainingLib.hardware import Hardware
from MRI2PETTrainingLib.learner import Learner
from MRI2PETTrainingLib.presets import LIGHTNING_PRECISIONS, Preset

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fitted:
    """A trained fold: the network to keep, its curves, which epoch it is of, and what it cost."""

    network: torch.nn.Module
    history: list[dict[str, float]]
    epoch: int
    cost: dict[str, Any]


def fit_fold(
    folder: Path,
    train: Sequence[PreparedCase],
    validation: Sequence[PreparedCase],
    preset: Preset,
    *,
    seed: int,
    hardware: Hardware | None = None,
    initial: Bundle | None = None,
    request: str = "",
    label: str = "training",
    progress: ProgressCallback = no_progress,
) -> Fitted:
    """:func:`fit` with prepared cases.

    :param initial: bundle whose weights to start from (same family and network); of an ensemble the first
        member.
    :raises BundleError: if it is of another network.
    """
    return fit(
        folder,
        CasePairs(train, preset.augmentation, seed),
        CasePairs(validation, None, seed),
        preset,
        seed=seed,
        hardware=hardware,
        initial=_initial_state(initial, preset),
        request=request,
        label=label,
        progress=progress,
    )


def fit(
    folder: Path,
    train: PairsByEpoch,
    validation: PairsByEpoch,
    preset: Preset,
    *,
    seed: int,
    hardware: Hardware | None = None,
    initial: Mapping[str, torch.Tensor] | None = None,
    request: str = "",
    label: str = "training",
    progress: ProgressCallback = no_progress,
) -> Fitted:
    """Train on ``train``, choose the epoch on ``validation``; goes on from ``folder``'s checkpoint if there.

    With the same seed on a CPU, an interrupted and resumed training equals an unbroken one.

    :param folder: its ``checkpoints`` are kept there.
    :param initial: weights to start from.
    :param request: checksum of what decides the training; a checkpoint of another one is not gone on with.
    :raises TrainingError: if the loss is not finite, or the memory does not suffice.
    :raises OutputError: if a checkpoint cannot be written; the previous one is intact.
    :raises InputError: if the checkpoint cannot be read.
    """
    hardware = hardware or Hardware()
    checkpoints = folder / "checkpoints"
    batches = math.ceil(math.ceil(len(train) / hardware.processes) / preset.batch_size)
    per_epoch = math.ceil(batches / preset.accumulate)
    learner = Learner(preset, per_epoch * preset.epochs, seed, initial)
    keeper = Keeper(checkpoints, preset.patience, request)
    trainer = _trainer(folder, preset, hardware, [keeper, Ticker(progress, preset.epochs, label)])
    device = pick_device(hardware.device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    started = time.perf_counter()
    try:
        with warnings.catch_warnings():
            # Number of loading processes, and logging intervals: chosen on purpose.
            warnings.filterwarnings("ignore", module="lightning.*")
            warnings.filterwarnings("ignore", category=UserWarning, module="torch.*")
            trainer.fit(
                learner,
                loader(
                    train,
                    seed=seed,
                    batch_size=preset.batch_size,
                    shuffle=True,
                    workers=hardware.workers,
                    rank=trainer.global_rank,
                    processes=trainer.world_size,
                ),
                loader(validation, seed=seed, batch_size=1, shuffle=False, workers=hardware.workers),
                ckpt_path=_checkpoint(checkpoints, request),
                weights_only=True,
            )
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise TrainingError(
            f"{describe_device(device)} ran out of memory with batches of {preset.batch_size} on a grid of "
            f"{' x '.join(map(str, preset.space.size))}.",
            "Use --batch-size 1 and --gradient-checkpointing; finished epochs are kept (--resume).",
        ) from error
    network = learner.evaluated
    if preset.select == "best":
        network = get_family(preset.family).build(dict(preset.network))
        network.load_state_dict(keeper.best_weights, strict=True)
    epoch = int(keeper.best["epoch"] if preset.select == "best" else keeper.history[-1]["epoch"])
    cost = _cost(keeper.history, len(train), preset, device, time.perf_counter() - started)
    return Fitted(network.cpu().eval(), keeper.history, epoch, cost)


def _trainer(
    folder: Path, preset: Preset, hardware: Hardware, callbacks: list[lightning.Callback]
) -> lightning.Trainer:
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    device = pick_device(hardware.device)
    devices: Any = hardware.devices
    if device.type == "cuda" and hardware.devices == 1:
        devices = [device.index or 0]
    plugins: list[Any] = [AtomicCheckpointIO()]
    if hardware.processes == 1:  # in a job of SLURM for several tasks too
        plugins.append(LightningEnvironment())
    elif SLURMEnvironment.detect():
        # Requeuing would resume in the middle of an epoch; ours resumes after one.
        plugins.append(SLURMEnvironment(auto_requeue=False))
    return lightning.Trainer(
        default_root_dir=folder,
        accelerator={"cuda": "gpu"}.get(device.type, device.type),
        devices=devices,
        num_nodes=hardware.nodes,
        # The published attention leaves parameters without gradient.
        strategy="ddp_find_unused_parameters_true" if hardware.processes > 1 else "auto",
        precision=LIGHTNING_PRECISIONS[preset.precision],  # type: ignore[arg-type]
        max_epochs=preset.epochs,
        # A divisor of the epochs, so that the last one is validated, too.
        check_val_every_n_epoch=math.gcd(preset.validate_every, preset.epochs),
        num_sanity_val_steps=0,
        callbacks=callbacks,
        plugins=plugins,
        logger=_logger(folder),
        log_every_n_steps=1,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )


def _logger(folder: Path) -> Any:
    """TensorBoard where it is installed; the curves are written as CSV in any case."""
    from importlib.util import find_spec

    if find_spec("tensorboard") is None:
        return False
    from lightning.pytorch.loggers import TensorBoardLogger

    return TensorBoardLogger(folder, name="tensorboard", version="")


def _checkpoint(checkpoints: Path, request: str) -> Path | None:
    """The checkpoint to go on from, checked, or ``None`` to begin."""
    path = checkpoints / LAST
    if not path.is_file():
        return None
    try:
        _check_crc(path)
        of = request_in(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # noqa: BLE001  a damaged file makes the unpickler raise anything
        raise InputError(
            f"The checkpoint {path} cannot be read: {type(error).__name__}.",
            "Delete it to train this fold again from its beginning; the other folds are not touched.",
        ) from error
    if of == request:
        return path
    _log.warning("%s is of a training on other images or settings: the fold begins again.", path)
    return None


def _check_crc(path: Path) -> None:
    """A checkpoint is a ZIP archive, whose checksums torch does not look at."""
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise zipfile.BadZipFile(damaged)


def _initial_state(initial: Bundle | None, preset: Preset) -> dict[str, torch.Tensor] | None:
    if initial is None:
        return None
    required = get_family(preset.family).build(dict(preset.network)).state_dict()
    state = initial.networks()[0].state_dict()
    differs = [k for k in required if k not in state or state[k].shape != required[k].shape]
    if initial.family != preset.family or differs or len(state) != len(required):
        raise BundleError(
            f"Training cannot start from {initial.id}: it is another network than that of {preset.name}.",
            f"{initial.id} has {initial.family} {initial.metadata['network']}; the preset has "
            f"{preset.family} {dict(preset.network)}.",
        )
    return state


def _cost(
    history: list[dict[str, float]], cases: int, preset: Preset, device: torch.device, seconds: float
) -> dict[str, Any]:
    """What the fold took: seconds of the epochs (validation included), a step and a case; peak memory."""
    seconds_of_all = math.fsum(row["seconds"] for row in history)
    epochs = int(history[-1]["epoch"]) + 1
    return {
        "device": describe_device(device),
        "epochs": epochs,
        "seconds": round(seconds_of_all, 1),
        "seconds_now": round(seconds, 1),
        "seconds_per_step": round(seconds_of_all / max(1, history[-1]["step"]), 4),
        "seconds_per_case": round(seconds_of_all / max(1, epochs * cases), 4),
        "peak_memory_gb": _peak_memory_gb(device),
    }


def _peak_memory_gb(device: torch.device) -> float | None:
    """Of the device, or of this process on the CPU; ``None`` where the system does not say (Windows)."""
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 1e9, 2)
    try:
        import resource
    except ImportError:
        return None
    unit = 1e9 if sys.platform == "darwin" else 1e6  # bytes there, kB on Linux
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, 2)
