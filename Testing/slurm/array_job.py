"""An array of Slurm jobs on one dataset, disturbed on its way: killed, drained, requeued.

Simulated T1s, a small model with random weights and ``Cluster/synthesis.sbatch`` in the cluster of
:mod:`one_node`; registrations look less far than those of the command. One task is killed, the node is
drained and resumed, then the killed task and at last the whole array are requeued. At the end every case must
have been made once, every image must equal that of a serial run byte for byte, and the page of all cases must
count them.

    python Testing/slurm/array_job.py -o build/slurm --cases 60 --tasks 15
    python Testing/slurm/array_job.py -o build/slurm --cases 4 --tasks 2 --analysis suvr   # real PETs
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import psutil

from one_node import Cluster, one_node

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "Testing" / "library"))
COMMAND = Path(__file__).with_name("quick_mri2pet.py")
PAGES = {"synthesize": "group.html", "suvr": "group_suvr.html"}


def write_inputs(folder: Path, cases: int) -> None:
    """A BIDS dataset of simulated people with a PET, and a model."""
    from bundles import tiny_bundle
    from MRI2PETLib.images.io import write_image
    from MRI2PETLib.simulation.subject import simulate_subject

    for number in range(cases):
        name = f"sub-{number:03d}"
        own = folder / "bids" / name
        for kind in ("anat", "pet"):
            (own / kind).mkdir(parents=True)
        person = simulate_subject(number, spacing_mm=6.0)
        write_image(person.t1, own / "anat" / f"{name}_T1w.nii.gz")
        write_image(person.pet, own / "pet" / f"{name}_trc-PBR28_pet.nii.gz", {"Units": "SUV"})
    (folder / "bids/dataset_description.json").write_text('{"Name": "simulated", "BIDSVersion": "1.10.0"}')
    tiny_bundle(folder / "model")


def environment() -> dict[str, str]:
    paths = [str(REPOSITORY / name) for name in ("MRI2PETSynthesis", "MRI2PETTraining")]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "OMP_NUM_THREADS": "1",
        "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1",
    }


def arguments(folder: Path, analysis: str) -> list[str]:
    """What the command is told besides the dataset and the output."""
    more = {
        "synthesize": [f"--model={folder / 'model'}"],
        "suvr": ["--atlas=cortical-spheres", "--reference=*cerebellum*"],
    }
    return [f"--analysis={analysis}", *more[analysis], "--device=cpu"]


def bids(folder: Path, output: str, level: str, *more: str) -> None:
    """The command in this cluster's place: serially, on this computer."""
    line = [sys.executable, str(COMMAND), "bids", str(folder / "bids"), str(folder / output), level]
    subprocess.run(
        [*line, *more, "--progress=none"], env=environment(), check=True, stdout=subprocess.DEVNULL
    )


def disturbed_array(cluster: Cluster, folder: Path, tasks: int, analysis: str) -> None:
    """Submit the array, and disturb it."""
    env = {
        **environment(),
        "BIDS": str(folder / "bids"),
        "OUT": str(folder / "array"),
        "MRI2PET": f"{sys.executable} {COMMAND}",
        "ARGUMENTS": " ".join(arguments(folder, analysis)),
    }
    logs = ["--output", f"{folder}/task_%a.log", "--mem=0"]
    script = str(REPOSITORY / "Cluster" / "synthesis.sbatch")
    job = cluster.run("sbatch", "--parsable", f"--array=1-{tasks}", *logs, script, env=env)
    node = cluster.run("sinfo", "--noheader", "--format=%N")

    victim = kill_one_task(folder)
    cluster.wait(" F", "squeue", "--noheader", f"--jobs={job}", "--array", "--states=all", "--format=%K %t")
    cluster.run("scontrol", "update", f"nodename={node}", "state=drain", "reason=test")
    drained = cluster.wait("drained", "sinfo", "--noheader", "--format=%T")
    print(f"killed process {victim}; node {drained}", flush=True)
    cluster.run("scontrol", "update", f"nodename={node}", "state=resume")
    wait_for_all(cluster, job)
    states = task_states(cluster, job)
    failed = [task for task, state in states.items() if state == "F"]
    print(f"tasks by state: {dict(Counter(states.values()))}, to be requeued: {failed}", flush=True)
    for task in failed:
        cluster.run("scontrol", "requeue", f"{job}_{task}")
    wait_for_all(cluster, job)
    made = {path: path.stat().st_mtime_ns for path in (folder / "array").rglob("*_status.json")}
    for task in states:
        cluster.run("scontrol", "requeue", f"{job}_{task}")
    wait_for_all(cluster, job)
    print(f"after the array was requeued: {dict(Counter(task_states(cluster, job).values()))}", flush=True)
    assert made == {path: path.stat().st_mtime_ns for path in (folder / "array").rglob("*_status.json")}


def kill_one_task(folder: Path) -> int:
    """SIGKILL to a process that works on a case."""
    while True:
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                line = process.cmdline()
                if (
                    "participant" in line
                    and str(folder / "array") in line
                    and _has_claim(folder, process.pid)
                ):
                    process.kill()
                    return int(process.pid)
        time.sleep(0.05)


def _has_claim(folder: Path, pid: int) -> bool:
    for path in (folder / "array").rglob(".*.claim"):
        with suppress(OSError, ValueError):
            if json.loads(path.read_text())["pid"] == pid:
                return True
    return False


def task_states(cluster: Cluster, job: str) -> dict[str, str]:
    """PD, R, CD, F ... by the number of the task."""
    line = ("squeue", "--noheader", f"--jobs={job}", "--array", "--states=all", "--format=%K %t")
    return dict(text.split() for text in cluster.run(*line).splitlines())


def wait_for_all(cluster: Cluster, job: str) -> None:
    cluster.wait("", "squeue", "--noheader", f"--jobs={job}", "--format=%K", seconds=3000)


def check(folder: Path, cases: int, analysis: str) -> None:
    """What must hold at the end."""
    serial = {p.relative_to(folder / "serial"): p for p in (folder / "serial").rglob("*.nii.gz")}
    array = {p.relative_to(folder / "array"): p for p in (folder / "array").rglob("*.nii.gz")}
    assert len(serial) >= 2 * cases and serial.keys() == array.keys()
    different = [name for name, path in serial.items() if path.read_bytes() != array[name].read_bytes()]
    assert not different, different
    made = Counter(
        line.split(":")[0]
        for log in folder.glob("task_*.log")
        for line in log.read_text().splitlines()
        if ": done ->" in line
    )
    assert set(made.values()) <= {1}, made.most_common(3)
    left = [p for p in (folder / "array").rglob(".*") if p.name != ".bidsignore"]
    assert not left, left
    page = (folder / "array" / PAGES[analysis]).read_text()
    assert (
        f"{cases} cases: " in page and '"verdict":"failed"' not in page and '"verdict":"missing"' not in page
    )
    print(f"{cases} cases made once, {len(serial)} images equal to those of a serial run", flush=True)


def run(folder: Path, cases: int, tasks: int, analysis: str) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write_inputs(folder, cases)
    bids(folder, "serial", "participant", *arguments(folder, analysis))
    with one_node() as cluster:
        disturbed_array(cluster, folder, tasks, analysis)
    bids(folder, "array", "group", f"--analysis={analysis}")
    check(folder, cases, analysis)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--cases", type=int, default=60)
    parser.add_argument("--tasks", type=int, default=15)
    parser.add_argument("--analysis", choices=list(PAGES), default="synthesize")
    args = parser.parse_args()
    run(args.output.resolve(), args.cases, args.tasks, args.analysis)


if __name__ == "__main__":
    main()
