"""Turned heads: does the PET of a head whose header turns it by any rotation equal that of the upright one?

Every T1 is synthesised as it is and with its header turned by rotations that are all equally likely. Pearson
r of the two PETs is taken in both brain masks, voxel by voxel, since only the header differs. Prints a table
in Markdown. What is finished is kept in FOLDER.

    python Testing/benchmarks/poses.py FOLDER T1 [T1 ...] [--rotations 30] [--model tspo-demo]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from MRI2PETLib.core.errors import MRI2PETError
from MRI2PETLib.core.files import write_json
from MRI2PETLib.images.io import read_image
from MRI2PETLib.models.bundle import Bundle
from MRI2PETLib.models.store import find_bundle
from MRI2PETLib.synthesis.pipeline import synthesize

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "library"))
from head_poses import degrees_between, random_rotation, turned  # noqa: E402

LEAST_R = 0.99


def measure(t1: sitk.Image, bundle: Bundle, upright: Any, rotation: np.ndarray) -> dict[str, Any]:
    """One pose: r with the upright PET, error of the pose in degrees, CPU seconds; or why it was refused."""
    angle = degrees_between(rotation, np.eye(3))
    started = time.process_time()
    try:
        result = synthesize(turned(t1, rotation), bundle, device="cpu")
    except MRI2PETError as error:
        return {"angle": angle, "refused": error.message}
    seconds = time.process_time() - started
    images = (upright.mask, result.mask, upright.pet, result.pet)
    m, n, a, b = (sitk.GetArrayViewFromImage(image) for image in images)
    both = (m > 0) & (n > 0)
    axes, expected = (np.reshape(r.extraction.axes, (3, 3)) for r in (result, upright))
    return {
        "angle": angle,
        "r": float(np.corrcoef(a[both], b[both])[0, 1]),
        "error": degrees_between(axes, rotation @ expected),
        "seconds": seconds,
    }


def poses_of(path: Path, bundle: Bundle, rotations: int, folder: Path) -> list[dict[str, Any]]:
    """All poses of one T1; those in ``folder`` are not measured again."""
    cached = folder / f"{path.name.split('.')[0]}.json"
    rows: list[dict[str, Any]] = json.loads(cached.read_text()) if cached.is_file() else []
    rng = np.random.default_rng(0)
    turns = [np.eye(3), *(random_rotation(rng) for _ in range(rotations))]
    if len(rows) >= len(turns):
        return rows[: len(turns)]
    t1 = read_image(path, kind="t1").image
    upright = synthesize(t1, bundle, device="cpu")
    for turn in turns[len(rows) :]:
        rows.append(measure(t1, bundle, upright, turn))
        write_json(cached, rows)
    return rows


def table_row(path: Path, rows: list[dict[str, Any]]) -> str:
    """One line of the table; the first row of ``rows`` is the head as it is."""
    upright, *poses = rows
    registered = [row for row in poses if "r" in row]
    refused = f"{len(poses) - len(registered)} of {len(poses)}"
    if not registered:
        return f"| {path.name} | | | | | {refused} | | |"
    r, error, seconds = (np.array([row[key] for row in registered]) for key in ("r", "error", "seconds"))
    return (
        f"| {path.name} | {len(poses)} | {r.min():.5f} | {np.median(r):.5f} | {int((r < LEAST_R).sum())} "
        f"| {refused} | {error.max():.1f} | {upright['seconds']:.1f} / {seconds.mean():.1f} |"
    )


def pose_arguments(about: str | None, *, t1s: str = "+", rotations: int = 30) -> argparse.ArgumentParser:
    """The arguments of both measurements of poses.

    :param t1s: how many T1s there may be.
    """
    raw = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(description=about, formatter_class=raw, allow_abbrev=False)
    parser.add_argument("folder", type=Path, help="where what is finished is kept")
    parser.add_argument("t1", type=Path, nargs=t1s)
    parser.add_argument("--rotations", type=int, default=rotations, help="how many are drawn")
    return parser


def start(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Read the arguments, make the folder; one thread, so that CPU seconds compare."""
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    return arguments


def main() -> None:
    """Measure what is missing and print the table."""
    parser = pose_arguments(__doc__)
    parser.add_argument("--model", default="tspo-demo")
    arguments = start(parser)
    bundle = find_bundle(arguments.model)
    print(f"| T1 | rotations | smallest r | median r | r below {LEAST_R} | refused ", end="")
    print("| largest error, degrees | CPU-s, as it is / turned |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for path in arguments.t1:
        print(table_row(path, poses_of(path, bundle, arguments.rotations, arguments.folder)), flush=True)


if __name__ == "__main__":
    main()
