"""Cases and a fold on two processes of the CPU: what can be shown of several devices without any GPU."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.models.model_space import ModelSpace
from MRI2PETTrainingLib.dataset.cache import prepare_cases
from MRI2PETTrainingLib.dataset.checks import check_manifest
from MRI2PETTrainingLib.dataset.manifest import read_dataset
from MRI2PETTrainingLib.launch import check_launch, is_first_process
from MRI2PETTrainingLib.run_folder import CURVES, FOLD
from small_datasets import PRESET, prepared_cases, tiny_preset, write_dataset


def test_cases_that_two_processes_prepare_are_those_of_one(tmp_path: Path) -> None:
    manifest, hashes = check_manifest(read_dataset(write_dataset(tmp_path / "ds", ["s1", "s2"])))
    space = ModelSpace(size=(24, 24, 24), spacing_mm=8.0)
    one, two = (
        prepare_cases(manifest.used, hashes, space, tmp_path / str(workers), workers=workers)[0]
        for workers in (1, 2)
    )
    assert list(one) == list(two) == ["s1", "s2"]
    for name in one:
        assert one[name].folder.name == two[name].folder.name
        np.testing.assert_array_equal(one[name].arrays(), two[name].arrays())


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


@pytest.mark.parametrize(
    ("variables", "processes", "says"),
    [
        ({"RANK": "x"}, 1, "RANK is 'x', not a number"),
        ({"SLURM_NTASKS": "2(x3)"}, 1, "SLURM_NTASKS is '2"),
        ({"LOCAL_RANK": "-1"}, 1, "LOCAL_RANK is '-1'"),
        ({"RANK": "1", "WORLD_SIZE": "4"}, 1, "RANK is 1: this is not the first process"),
        ({"SLURM_NTASKS": "4", "SLURM_PROCID": "2"}, 1, "SLURM_PROCID is 2: this is not the first"),
        ({"WORLD_SIZE": "4"}, 2, "WORLD_SIZE is 4, but --devices and --nodes ask for 2"),
        ({"SLURM_NTASKS": "2", "SLURM_PROCID": "0"}, 2, "without --ntasks-per-node"),
    ],
)
def test_variables_of_another_launch_are_refused_at_once(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], processes: int, says: str
) -> None:
    """Else the first process would be waited for, a day long, or Lightning would fail."""
    for name, text in variables.items():
        monkeypatch.setenv(name, text)
    with pytest.raises(InputError, match=re.escape(says)):
        check_launch(processes)


@pytest.mark.parametrize(
    ("variables", "processes", "is_first"),
    [
        ({}, 1, True),
        ({"RANK": "0", "WORLD_SIZE": "4"}, 1, True),
        ({"SLURM_NTASKS": "4", "SLURM_PROCID": "0"}, 1, True),  # sbatch --ntasks 4, without srun
        ({"SLURM_NTASKS": "1", "SLURM_PROCID": "3"}, 1, True),
        ({"RANK": "1", "WORLD_SIZE": "2"}, 2, False),
        ({"SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2", "SLURM_PROCID": "1"}, 2, False),
        ({"RANK": "", "LOCAL_RANK": ""}, 1, True),
    ],
)
def test_which_process_this_is(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], processes: int, is_first: bool
) -> None:
    for name, text in variables.items():
        monkeypatch.setenv(name, text)
    check_launch(processes)
    assert is_first_process() == is_first


def test_a_job_of_several_tasks_trains_one_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from MRI2PETTrainingLib.fit import fit_fold
    from MRI2PETTrainingLib.hardware import Hardware

    for name, text in {"SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_JOB_NAME": "x"}.items():
        monkeypatch.setenv(name, text)
    cases = prepared_cases(tmp_path / "cache", ["a", "b"])
    fitted = fit_fold(tmp_path, cases[:1], cases[1:], tiny_preset(epochs=1), seed=1, hardware=Hardware("cpu"))
    assert len(fitted.history) == 1
