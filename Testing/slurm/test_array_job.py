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
