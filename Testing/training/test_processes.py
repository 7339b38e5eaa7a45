"""One fold on two processes of the CPU: what can be shown of several devices without any GPU."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from MRI2PETTrainingLib.run_folder import CURVES, FOLD
from small_datasets import PRESET, write_dataset


@pytest.mark.slow
@pytest.mark.parametrize("start", ["by itself", "by torchrun"])
def test_two_processes_train_one_fold(tmp_path: Path, start: str) -> None:
    dataset = write_dataset(tmp_path / "ds", ["p1", "p2", "p3", "p4", "p5", "p6"])
    preset = tmp_path / "tiny.json"
    preset.write_text(json.dumps(PRESET))
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [sys.executable, *(torchrun if start == "by torchrun" else []), "-m", "MRI2PETTrainingLib"]
    command += [str(dataset), "-o", str(tmp_path / "run"), "--preset", str(preset), "--folds", "2"]
    command += ["--fold", "0", "--device", "cpu", "--devices", "2", "--threads", "1"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=900, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr[-3000:]
    fold = tmp_path / "run" / "fold_0"
    with (fold / "checkpoints" / CURVES).open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["epoch"] for row in rows] == ["0", "1"]
    # Two training people, one a process and step; alone, both would be one batch of two.
    assert [row["step"] for row in rows] == ["1", "2"]
    assert len(json.loads((fold / FOLD).read_text())["about"]["predictions"]) == 3
    assert done.stderr.count("Fold 0: 2 epochs") == 1  # the first process speaks for all
