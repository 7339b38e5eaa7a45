"""A real Slurm on this computer: what an array of jobs makes is what a serial run makes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import array_job
import one_node


@pytest.mark.slow
@pytest.mark.parametrize(("analysis", "cases", "tasks"), [("synthesize", 8, 4), ("suvr", 4, 2)])
def test_an_array_that_is_disturbed_makes_every_case_once(
    analysis: str, cases: int, tasks: int, tmp_path: Path
) -> None:
    if lacking := one_node.missing():
        pytest.skip(f"needs Slurm (apt-get install slurmctld slurmd slurm-client munge): no {lacking[0]}")
    array_job.run(tmp_path / "run", cases, tasks, analysis)


@pytest.mark.skipif(sys.platform == "win32", reason="no bash")
def test_a_task_does_its_part_with_the_threads_of_its_job(tmp_path: Path) -> None:
    """Inside of a container that lets only variables through which are meant for it, too."""
    own = {"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "7", "SLURM_CPUS_PER_TASK": "4"}
    program = tmp_path / "program"
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\nenv | grep THREADS | sort\n')
    program.chmod(0o755)
    variables = {"BIDS": "a b", "OUT": "o", "MRI2PET": f"{program} x", "ARGUMENTS": "--reference *"}
    script = str(array_job.REPOSITORY / "Cluster" / "synthesis.sbatch")
    env = {"PATH": "/usr/bin:/bin", **own, **variables}
    ended = subprocess.run(
        ["bash", script], env=env, capture_output=True, text=True, cwd=tmp_path, check=True
    )
    words = [
        "x",
        "bids",
        "a b",
        "o",
        "participant",
        "--part",
        "3/7",
        "--progress",
        "none",
        "--reference",
        "*",
    ]
    names = ("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS=4", "OMP_NUM_THREADS=4")
    threads = [*(f"APPTAINERENV_{name}" for name in names), *names]
    assert ended.stdout.splitlines() == [*words, *threads]
    again = subprocess.run(
        ["bash", script],
        env={**env, "PARTS": "100"},
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=True,
    )
    assert "3/100" in again.stdout.splitlines(), "a block that is submitted again"


@pytest.mark.skipif(sys.platform == "win32", reason="no bash")
@pytest.mark.parametrize("name", ["synthesis.sbatch", "training.sbatch"])
def test_the_scripts_are_sound(name: str) -> None:
    script = array_job.REPOSITORY / "Cluster" / name
    assert subprocess.run(["bash", "-n", str(script)]).returncode == 0
    ended = subprocess.run(
        ["bash", str(script)], env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True
    )
    assert ended.returncode and ("BIDS" in ended.stderr or "DATASET" in ended.stderr), (
        "it names what it lacks"
    )
