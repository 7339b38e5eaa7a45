"""Processor seconds and seconds of a batch of T1s with two or more trees of this project, in turns.

    python Testing/benchmarks/speed_batch.py -o build/batch --tree 0.1.0=../base --tree now=. T1 T1 T1

Each round runs ``mri2pet synthesize T1 ... -o DIR`` once with every tree. The best of the rounds is printed:
other work on the machine only adds. On a busy machine the processor seconds still mean something.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path


def run(tree: Path, t1s: list[str], output: Path) -> tuple[float, float, float]:
    """Processor seconds, seconds and peak memory (GB) of one batch."""
    shutil.rmtree(output, ignore_errors=True)
    paths = [str(tree / name) for name in ("MRI2PETSynthesis", "MRI2PETTraining")]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    code = "import resource, sys; from MRI2PETLib.cli import main; code = main(sys.argv[1:]); "
    code += "print('PEAK', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss); sys.exit(code)"
    line = [
        sys.executable,
        "-c",
        code,
        "synthesize",
        *t1s,
        "-o",
        str(output),
        "--device=cpu",
        "--progress=none",
    ]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    text = subprocess.run(line, env=env, check=True, capture_output=True, text=True).stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu_s, time.perf_counter() - began, float(text.split("PEAK")[1]) * 1024 / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--tree", action="append", required=True, metavar="NAME=FOLDER")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("t1s", nargs="+")
    args = parser.parse_args()
    trees = dict(text.split("=", 1) for text in args.tree)
    best: dict[str, tuple[float, ...]] = {}
    for number in range(args.rounds):
        for name, tree in trees.items():
            figures = run(Path(tree).resolve(), args.t1s, args.output / name)
            cpu_s, seconds, peak_gb = figures
            print(f"{number + 1}, {name}: {cpu_s:.1f} s of processors, {seconds:.1f} s, {peak_gb:.2f} GB")
            best[name] = tuple(map(min, zip(best.get(name, figures), figures)))
    first = next(iter(best.values()))
    for name, (cpu_s, seconds, peak_gb) in best.items():
        n_cases, faster = len(args.t1s), (first[0] / cpu_s, first[1] / seconds)
        print(f"{name}: {cpu_s / n_cases:.2f} s of processors a case ({faster[0]:.2f} times as fast),")
        print(f"    {seconds / n_cases:.2f} s a case ({faster[1]:.2f} times as fast), {peak_gb:.2f} GB")


if __name__ == "__main__":
    main()
