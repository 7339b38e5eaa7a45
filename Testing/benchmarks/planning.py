"""What a cohort costs: cases an hour and core, processor seconds and memory of a process, output of a case.

    python Testing/benchmarks/planning.py -o build/planning --cases 8 --nprocs 2 T1 [T1 ...]
    python Testing/benchmarks/planning.py -o build/planning --cases 2 T1 --pet PET --analysis suvr ...

The T1s, in turn, become a BIDS dataset of so many people. ``mri2pet bids`` works on the first one alone, then
on all of them with so many processes; other options (``--member-sd``) are handed on to it. Cases an hour mean
something on an idle machine only; processor seconds, memory and output on any.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Cost:
    """Of one run: seconds, those of all processors, and the memory of its largest process so far (GB)."""

    wall_s: float
    cpu_s: float
    peak_gb: float


def write_dataset(root: Path, t1s: list[Path], pets: list[Path], cases: int) -> None:
    for number in range(cases):
        name = f"sub-{number:03d}"
        for kind, images, end in (("anat", t1s, "T1w"), ("pet", pets, "pet")):
            if images:
                image = images[number % len(images)]
                suffix = ".nii.gz" if image.name.endswith(".gz") else ".nii"
                (root / name / kind).mkdir(parents=True)
                shutil.copyfile(image, root / name / kind / f"{name}_{end}{suffix}")
    (root / "dataset_description.json").write_text('{"Name": "planning", "BIDSVersion": "1.10.0"}')


def run(dataset: Path, output: Path, *more: str) -> Cost:
    paths = [str(REPOSITORY / name) for name in ("MRI2PETSynthesis", "MRI2PETTraining")]
    line = [sys.executable, "-m", "MRI2PETLib", "bids", str(dataset), str(output), "participant", *more]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        [*line, "--device=cpu", "--progress=none"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        check=True,
        stdout=subprocess.DEVNULL,
    )
    wall_s, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    unit = 1 if sys.platform == "darwin" else 1024
    return Cost(wall_s, cpu_s, after.ru_maxrss * unit / 1e9)


def megabytes(output: Path, cases: int) -> dict[str, float]:
    """Of a case, by what the files are, a linked one once; those of all cases are left out."""
    sizes: dict[str, float] = {}
    files = {path.stat().st_ino: path for path in output.glob("sub-*/**/*") if path.is_file()}
    for path in files.values():
        kind = path.name.split("_")[-2].removeprefix("desc-") if path.name.endswith(".nii.gz") else "rest"
        sizes[kind] = sizes.get(kind, 0.0) + path.stat().st_size / 1e6 / cases
    return sizes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--cases", type=int, default=8)
    parser.add_argument("--nprocs", type=int, default=2)
    parser.add_argument(
        "--pet", dest="pets", action="append", type=Path, default=[], help="of each T1, in turn"
    )
    parser.add_argument("t1s", nargs="+", type=Path)
    args, more = parser.parse_known_args()
    shutil.rmtree(args.output, ignore_errors=True)
    write_dataset(args.output / "bids", args.t1s, args.pets, args.cases)
    first = run(args.output / "bids", args.output / "first", "--participant-label=000", *more)
    cost = run(args.output / "bids", args.output / "all", f"--nprocs={args.nprocs}", *more)
    sizes = megabytes(args.output / "all", args.cases)
    print(f"the first case alone: {first.cpu_s:.1f} s of processors, {first.wall_s:.1f} s")
    print(
        f"{args.cases} cases, {args.nprocs} processes: {cost.wall_s:.1f} s, {cost.cpu_s:.1f} s of processors"
    )
    print(f"  {cost.cpu_s / args.cases:.2f} s of processors a case, the starts of the processes included")
    print(f"  {3600 * args.cases / cost.wall_s / args.nprocs:.0f} cases an hour and core")
    print(f"  {cost.peak_gb:.2f} GB: the largest process")
    print(f"  {sum(sizes.values()):.2f} MB of output a case:")
    for kind, size in sorted(sizes.items(), key=lambda item: -item[1]):
        print(f"    {size:.2f} MB {kind}")


if __name__ == "__main__":
    main()
