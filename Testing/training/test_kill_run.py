"""A whole run (preparation, folds, predictions) that is killed again and again, then resumed."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lost_cancellation import cancelled_run
from MRI2PETLib.cli import main
from MRI2PETLib.core import cancellation
from MRI2PETLib.core.errors import Cancelled
from MRI2PETLib.models.bundle import read_bundle
from MRI2PETTrainingLib import command
from MRI2PETTrainingLib.checkpoints import CURVES
from small_datasets import PRESET, write_dataset

NAMES = ["p1", "p2", "p3", "p4"]


def start(dataset: Path, preset: Path, run: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "MRI2PETTrainingLib", str(dataset), "-o", str(run), "--resume"]
    command += ["--preset", str(preset), "--folds", "2", "--workers", "2", "--device", "cpu"]
    return subprocess.Popen(
        [*command, "--progress", "json"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )


def kill_after(
    child: subprocess.Popen[bytes], words: str, delay_s: float, how: signal.Signals
) -> tuple[int, bytes]:
    """Send a signal a while after a stage has begun; returns the exit status, and what was said after it."""
    assert child.stdout is not None
    for line in child.stdout:
        if words in json.loads(line).get("stage", ""):
            break
    time.sleep(delay_s)
    child.send_signal(how)
    rest = child.stdout.read()
    return child.wait(timeout=300), rest


def curves(run: Path, fold: int) -> list[str]:
    """Lines of the curves without the seconds."""
    text = (run / f"fold_{fold}" / "checkpoints" / CURVES).read_text()
    return [line.rpartition(",")[0] for line in text.splitlines()]


@pytest.mark.slow
def test_killed_while_preparing_training_and_predicting(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "ds", NAMES)
    preset = tmp_path / "tiny.json"
    preset.write_text(json.dumps({**PRESET, "epochs": 4}))
    whole, killed = tmp_path / "a" / "run", tmp_path / "b" / "run"
    child = start(dataset, preset, whole)
    child.communicate(timeout=600)
    assert child.returncode == 0
    rng = random.Random(4)
    for words in ("preparing", "fold 0, epoch 2", "fold 1, epoch 1", "predicting"):
        status, _ = kill_after(start(dataset, preset, killed), words, rng.uniform(0, 0.7), signal.SIGKILL)
        assert status in (-signal.SIGKILL, 0)
    child = start(dataset, preset, killed)
    child.communicate(timeout=600)
    assert child.returncode == 0
    for k in range(2):
        ids = [read_bundle(run / f"fold_{k}" / "bundle").sha256 for run in (whole, killed)]
        assert ids[0] == ids[1] and curves(whole, k) == curves(killed, k)
    assert (killed / "predictions.csv").read_bytes() == (whole / "predictions.csv").read_bytes()
    assert (killed / "report.html").is_file()


@pytest.mark.parametrize("swallow", [True, False])
def test_a_cancelled_training_says_how_to_go_on(
    swallow: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same command alone would be refused: whether the exception is lost, or becomes another one."""

    monkeypatch.setattr(cancellation, "_requested", False)
    monkeypatch.setattr(command, "run", cancelled_run(swallow))
    assert main(["train", "people", "-o", "run"], {"train": command}) == Cancelled.exit_code
    assert f"hint:  {command.GO_ON}" in capsys.readouterr().err and "--resume" in command.GO_ON


@pytest.mark.slow
def test_cancelling_ends_with_its_exit_code_and_keeps_the_epochs(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "ds", NAMES)
    preset = tmp_path / "tiny.json"
    preset.write_text(json.dumps({**PRESET, "epochs": 200}))
    status, output = kill_after(
        start(dataset, preset, tmp_path / "run"), "fold 0, epoch 3", 0, signal.SIGTERM
    )
    assert status == 130 and b"--resume" in output.splitlines()[-1]
    files = {p.name for p in (tmp_path / "run" / "fold_0" / "checkpoints").iterdir()}
    assert files == {"last.ckpt", CURVES}
