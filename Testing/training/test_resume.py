"""A training that is killed and resumed equals an unbroken one; failures leave the folder whole."""

from __future__ import annotations

import csv
import errno
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from MRI2PETLib.core.errors import InputError, OutputError
from MRI2PETTrainingLib import checkpoints as keeping
from MRI2PETTrainingLib import hardware as machine
from MRI2PETTrainingLib.fit import Fitted, fit_fold
from MRI2PETTrainingLib.hardware import Hardware
from MRI2PETTrainingLib.learner import Learner, TrainingError
from small_datasets import prepared_cases, tiny_preset
from train_one_fold import train

pytestmark = pytest.mark.usefixtures("quick_registration")

EPOCHS = 6
CHILD = Path(__file__).with_name("train_one_fold.py")
CPU = Hardware("cpu")


class Stopped(Exception):
    """What a progress callback raises to interrupt."""


def stop_at(epoch: float) -> Callable[[float, float, str], None]:
    def progress(done: float, total: float, stage: str) -> None:
        if done >= epoch:
            raise Stopped

    return progress


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    return train(tmp_path_factory.mktemp("unbroken"), EPOCHS)


def largest_difference(a: Fitted, b: Fitted) -> float:
    states = zip(a.network.state_dict().values(), b.network.state_dict().values())
    return max(float((x - y).abs().max()) for x, y in states)


def curves(fitted: Fitted) -> list[dict[str, float]]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in fitted.history]


def test_killed_at_random_moments(tmp_path: Path, unbroken: Fitted) -> None:
    """SIGKILL, up to three times; the second run dies while it writes.

    A fast machine may finish before the last.
    """
    rng = random.Random(6)
    ends = []
    for number in range(3):
        extra = [str(rng.randint(2, 5))] if number % 2 else []
        child = subprocess.Popen(
            [sys.executable, str(CHILD), str(tmp_path), str(EPOCHS), "0.3", *extra],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert child.stdout is not None and child.stdout.readline() == b"ready\n"
        if not extra:
            time.sleep(rng.uniform(0.5, 3.5))
            child.kill()
        ends.append(child.wait(timeout=120))
    assert ends[0] == -signal.SIGKILL and set(ends) <= {-signal.SIGKILL, 0}
    resumed = train(tmp_path, EPOCHS)
    assert largest_difference(resumed, unbroken) <= 1e-6
    assert curves(resumed) == curves(unbroken) and resumed.epoch == unbroken.epoch


@pytest.mark.parametrize("moments", [(0.5,), (1.0, 1.5, 2.0), (5.5, 6.0)])
def test_interrupted_in_and_between_epochs(
    tmp_path: Path, unbroken: Fitted, moments: tuple[float, ...]
) -> None:
    cases = prepared_cases(tmp_path / "cache", [f"case{i}" for i in range(5)])
    preset = tiny_preset(epochs=EPOCHS)
    for moment in moments:
        with pytest.raises(Stopped):
            fit_fold(tmp_path, cases[:4], cases[4:], preset, seed=7, hardware=CPU, progress=stop_at(moment))
    resumed = fit_fold(tmp_path, cases[:4], cases[4:], preset, seed=7, hardware=CPU)
    assert largest_difference(resumed, unbroken) <= 1e-6 and curves(resumed) == curves(unbroken)
    # A finished fold is not trained again.
    steps: list[float] = []
    again = fit_fold(
        tmp_path,
        cases[:4],
        cases[4:],
        preset,
        seed=7,
        hardware=CPU,
        progress=lambda done, total, stage: steps.append(done),
    )
    assert not steps and largest_difference(again, unbroken) <= 1e-6


def test_loading_processes_do_not_change_the_result(tmp_path: Path, unbroken: Fitted) -> None:
    cases = prepared_cases(tmp_path / "cache", [f"case{i}" for i in range(5)])
    hardware = Hardware("cpu", workers=2)
    fitted = fit_fold(tmp_path, cases[:4], cases[4:], tiny_preset(epochs=EPOCHS), seed=7, hardware=hardware)
    assert largest_difference(fitted, unbroken) <= 1e-6


def test_a_cpu_needs_no_loading_processes_and_an_accelerator_few(monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.enough_loaders("cpu") == 0
    monkeypatch.setattr(machine, "pick_device", lambda name: torch.device("cuda:0"))
    for n_cores, devices, expected in ((64, 1, 8), (16, 4, 3), (4, 1, 3), (2, 1, 1), (4, 4, 1)):
        monkeypatch.setattr(machine, "cores", lambda n_cores=n_cores: n_cores)
        assert machine.enough_loaders("auto", devices) == expected


def test_patience_stops_and_stays_stopped(tmp_path: Path) -> None:
    cases = prepared_cases(tmp_path / "cache", [f"case{i}" for i in range(4)])
    # Without learning, the first epoch stays the best.
    preset = tiny_preset(epochs=30, patience=2, ema_decay=0.0, learning_rate=1e-12)
    fitted = fit_fold(tmp_path, cases[:3], cases[3:], preset, seed=1, hardware=CPU)
    assert len(fitted.history) <= 6 and len(fitted.history) - 1 - fitted.epoch == 2
    again = fit_fold(tmp_path, cases[:3], cases[3:], preset, seed=1, hardware=CPU)
    assert len(again.history) == len(fitted.history) and again.epoch == fitted.epoch


def test_a_full_disk_leaves_the_last_checkpoint(
    tmp_path: Path, unbroken: Fitted, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = prepared_cases(tmp_path / "cache", [f"case{i}" for i in range(5)])
    preset = tiny_preset(epochs=EPOCHS)
    fsync, writes = keeping.os.fsync, [0]

    def full(descriptor: int) -> None:
        writes[0] += 1
        if writes[0] == 6:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(keeping.os, "fsync", full)
    with pytest.raises(OutputError, match="No space left") as caught:
        fit_fold(tmp_path, cases[:4], cases[4:], preset, seed=7, hardware=CPU)
    assert "disk is full" in caught.value.hint
    files = {p.name for p in (tmp_path / "checkpoints").iterdir()}
    assert files == {"last.ckpt", "metrics.csv"}
    resumed = fit_fold(tmp_path, cases[:4], cases[4:], preset, seed=7, hardware=CPU)
    assert largest_difference(resumed, unbroken) <= 1e-6


def test_a_loss_that_is_not_finite_names_the_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = prepared_cases(tmp_path / "cache", [f"case{i}" for i in range(4)])
    step = Learner.training_step

    def broken(self: Learner, batch: dict[str, torch.Tensor], index: int) -> torch.Tensor:
        if self.current_epoch == 1:
            batch["source"][:] = float("nan")
        return step(self, batch, index)

    monkeypatch.setattr(Learner, "training_step", broken)
    with pytest.raises(TrainingError, match="The loss became nan in epoch 1, step 0"):
        fit_fold(tmp_path, cases[:3], cases[3:], tiny_preset(), seed=1, hardware=CPU)
    with (tmp_path / "checkpoints" / "metrics.csv").open() as stream:
        assert [row["epoch"] for row in csv.DictReader(stream)] == ["0"]


def test_out_of_memory_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = prepared_cases(tmp_path / "cache", [f"case{i}" for i in range(4)])

    def exhausted(*_: object) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(Learner, "training_step", exhausted)
    with pytest.raises(TrainingError, match="cpu ran out of memory with batches of 2") as caught:
        fit_fold(tmp_path, cases[:3], cases[3:], tiny_preset(), seed=1, hardware=CPU)
    assert "--batch-size 1" in caught.value.hint


def test_an_altered_checkpoint_is_refused(tmp_path: Path) -> None:
    cases = prepared_cases(tmp_path / "cache", [f"case{i}" for i in range(4)])
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").write_bytes(b"half a file")
    with pytest.raises(InputError, match="last.ckpt cannot be read"):
        fit_fold(tmp_path, cases[:3], cases[3:], tiny_preset(), seed=1, hardware=CPU)


def test_a_case_that_vanishes_while_training_is_named(tmp_path: Path) -> None:
    cases = prepared_cases(tmp_path / "cache", [f"case{i}" for i in range(4)])
    (cases[1].folder / "arrays.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(InputError, match="The prepared case case1 cannot be read") as caught:
        fit_fold(tmp_path, cases[:3], cases[3:], tiny_preset(), seed=1, hardware=CPU)
    assert "--resume" in caught.value.hint
