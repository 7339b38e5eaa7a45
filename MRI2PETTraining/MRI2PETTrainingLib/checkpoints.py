"""What a fold keeps while it trains: a checkpoint that is whole or absent, the best weights in it, and the
curves."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from MRI2PETLib.core.files import atomic_path, make_folder
from MRI2PETLib.core.progress import ProgressCallback
from MRI2PETLib.core.tables import write_table
from MRI2PETTrainingLib.learner import Learner
from MRI2PETTrainingLib.run_folder import CURVES

LAST = "last.ckpt"
MONITORED = "val_nmse"
_COLUMNS = ("epoch", "step", "learning_rate", "train_loss", "val_nmse", "val_r", "seconds")


class AtomicCheckpointIO(TorchCheckpointIO):
    """Checkpoints are written beside their place, flushed to the disk, and then moved there."""

    def save_checkpoint(self, checkpoint: Any, path: Any, storage_options: Any = None) -> None:
        save_atomically(checkpoint, Path(path))


def save_atomically(state: Any, path: Path) -> None:
    """Save with torch; a reader finds the old file or the new one, also after a power cut.

    :raises OutputError: full disk, read-only folder.
    """
    content = io.BytesIO()
    torch.save(state, content)
    _write(path, content.getbuffer())


def save_weights(network: torch.nn.Module, path: Path) -> None:
    """Save a network's state as safetensors, atomically."""
    import safetensors.torch

    state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    _write(path, safetensors.torch.save(state))


def _write(path: Path, content: bytes | memoryview) -> None:
    make_folder(path.parent)
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


class Keeper(Checkpoint):
    """After every validation: the curves, and last the checkpoint, which holds the best weights too.

    In this order, a kill between the two repeats the epoch, which gives the same curves again.

    :param request: checksum of what decides the training; a checkpoint says which it is of.
    :ivar history: one row a validation, see :data:`~MRI2PETTrainingLib.run_folder.CURVES`; ``seconds`` are
        those since the last one.
    :ivar best_weights: the state of the network that was best, on the CPU.
    """

    def __init__(self, folder: Path, patience: int, request: str = "") -> None:
        super().__init__()
        self._folder, self._patience, self._request = folder, patience, request
        self.history: list[dict[str, float]] = []
        self.best_weights: dict[str, torch.Tensor] = {}
        self._started: float | None = None

    @property
    def best(self) -> dict[str, float]:
        """The row with the lowest validation error."""
        return min(self.history, key=lambda row: row[MONITORED])

    @property
    def has_stopped(self) -> bool:
        """Whether patience has run out."""
        if not self._patience or not self.history:
            return False
        return self.history[-1]["epoch"] - self.best["epoch"] >= self._patience

    def state_dict(self) -> dict[str, Any]:
        return {"history": self.history, "best_weights": self.best_weights, "request": self._request}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.history = list(state_dict["history"])
        self.best_weights = dict(state_dict["best_weights"])

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        trainer.should_stop = self.has_stopped

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._started = self._started or time.perf_counter()

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        assert isinstance(pl_module, Learner) and self._started is not None
        if (trainer.current_epoch + 1) % (trainer.check_val_every_n_epoch or 1):
            return
        metrics = {k: float(v) for k, v in trainer.callback_metrics.items()}
        row = {
            "epoch": trainer.current_epoch,
            "step": int(pl_module.updates),
            "learning_rate": trainer.optimizers[0].param_groups[0]["lr"],
            **{name: metrics[name] for name in ("train_loss", "val_nmse", "val_r")},
            "seconds": round(time.perf_counter() - self._started, 3),
        }
        self.history.append(row)
        self._started = None
        if self.best is row:
            state = pl_module.evaluated.state_dict()
            self.best_weights = {name: tensor.detach().cpu().clone() for name, tensor in state.items()}
        if trainer.is_global_zero:
            write_curves(make_folder(self._folder) / CURVES, self.history)
        trainer.should_stop = trainer.should_stop or self.has_stopped
        trainer.save_checkpoint(self._folder / LAST)


def request_in(checkpoint: Mapping[str, Any]) -> str:
    """What the training was of that left a checkpoint, see :class:`Keeper`.

    :raises KeyError: if no :class:`Keeper` wrote it.
    """
    return str(checkpoint["callbacks"][Keeper.__qualname__]["request"])


class Ticker(lightning.Callback):
    """Tell how far the fold is, after every step."""

    def __init__(self, progress: ProgressCallback, epochs: int, label: str) -> None:
        self._progress, self._epochs, self._label = progress, epochs, label

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if trainer.is_global_zero:
            for done in (0, trainer.current_epoch):  # what a resumed fold has done is a jump, no work
                self._progress(done, self._epochs, f"{self._label}, epoch {trainer.current_epoch + 1}")

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.is_global_zero:
            done = trainer.current_epoch + (batch_idx + 1) / max(1, int(trainer.num_training_batches))
            stage = f"{self._label}, epoch {trainer.current_epoch + 1}/{self._epochs}"
            self._progress(done, self._epochs, stage)


def write_curves(path: Path, history: list[dict[str, float]]) -> Path:
    """Write the curves of a fold as CSV, atomically."""
    return write_table(path, _COLUMNS, history)
