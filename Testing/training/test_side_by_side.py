"""Folds at the same time: how many, what is reported, and what happens to the others when one fails."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from MRI2PETLib.core.errors import InputError, MRI2PETError
from MRI2PETLib.core.progress import Reporter
from MRI2PETTrainingLib import side_by_side
from MRI2PETTrainingLib.launch import check_launch
from MRI2PETTrainingLib.plan import Plan
from MRI2PETTrainingLib.presets import read_preset
from MRI2PETTrainingLib.settings import TrainingSettings

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the stand-in for Python is a shell script")

# Stands for the interpreter of a fold: says how far it is, and writes when it began and ended.
CHILD = """#!/bin/sh
for word; do
  case "$word" in --fold=*) fold=${word#--fold=};; --threads=*) threads=${word#--threads=};; esac
done
echo "$fold begins with $threads" >> LOG
echo '{"event": "warning", "message": "of the dataset"}'
echo '{"event": "progress", "done": 1, "total": 2, "stage": "fold '$fold', epoch 1/2", "eta_s": null}'
echo '{"event": "warning", "message": "of the fold"}'
END
sleep .3
echo "$fold ends" >> LOG
"""
FAILS = """[ $fold = 1 ] && { echo '{"event": "error", "code": "input", "message": "no memory"}'; exit 3; }
[ $fold = 0 ] && echo $$ > LOG.pid && exec sleep 60"""


class Messages(Reporter):
    def __init__(self) -> None:
        self.stages: list[tuple[float, float, str]] = []
        self.warnings: list[str] = []

    def progress(self, done: float, total: float, stage: str) -> None:
        self.stages.append((done, total, stage))

    def warning(self, message: str) -> None:
        self.warnings.append(message)


def prepare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str = "") -> tuple[Plan, Path]:
    log, child = tmp_path / "log", tmp_path / "python"
    child.write_text(CHILD.replace("END", end).replace("LOG", str(log)))
    child.chmod(0o755)
    monkeypatch.setattr(side_by_side, "child_python", lambda: str(child))
    monkeypatch.setattr(side_by_side, "cores", lambda: 4)
    settings = TrainingSettings("ds", str(tmp_path / "run"), preset="smoke", device="cpu", folds_at_once=2)
    return Plan(settings, read_preset("smoke")), log


def test_two_at_a_time_share_the_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, log = prepare(tmp_path, monkeypatch)
    messages = Messages()
    side_by_side.train_side_by_side(plan, [], messages)  # all are finished
    side_by_side.train_side_by_side(plan, [0, 1, 2, 4], messages)
    lines = log.read_text().splitlines()
    assert sorted(line for line in lines if "begins" in line) == [f"{k} begins with 2" for k in (0, 1, 2, 4)]
    at_work = [sum(1 if "begins" in line else -1 for line in lines[: n + 1]) for n in range(len(lines))]
    assert max(at_work) == 2 and at_work[-1] == 0
    assert sorted(messages.warnings) == [f"fold {k}: of the fold" for k in (0, 1, 2, 4)]
    done = [one[0] for one in messages.stages]
    assert done == sorted(done) and messages.stages[-1][1] == 4
    assert any(stage == "fold 0, epoch 1/2; fold 1, epoch 1/2" for _, _, stage in messages.stages)


def test_when_one_fails_the_others_are_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, log = prepare(tmp_path, monkeypatch, FAILS)
    with pytest.raises(MRI2PETError, match="no memory"):
        side_by_side.train_side_by_side(plan, [0, 1, 2], Messages())
    assert "2 begins" not in log.read_text() and "ends" not in log.read_text()
    if (pid := tmp_path / "log.pid").is_file():  # it had begun
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid.read_text()), 0)


def test_one_device_a_fold() -> None:
    with pytest.raises(InputError, match="one device"):
        check_launch(2, folds_at_once=2)
