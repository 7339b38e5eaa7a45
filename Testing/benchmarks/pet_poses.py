"""A real PET in any pose: is it aligned with the T1, refused, or misaligned without a warning?

Every PET is simulated for its T1 (of a phantom with a head, or of the files), or with --map a real map in MNI
space, warped to the T1. It is resampled to a grid of its own that lies a little askew, and given headers that
turn it by 15 to 180 degrees about each axis, by rotations that are all equally likely, or that mirror it,
each shifted as well. The pose that the program finds is compared with the header's. Prints a table in
Markdown; what is finished is kept in FOLDER.

    python Testing/benchmarks/pet_poses.py FOLDER [T1 ...] [--rotations 19] [--map PET_IN_MNI]
"""

from __future__ import annotations

import json
import logging
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.files import write_json
from MRI2PETLib.core.findings import Verdict
from MRI2PETLib.images.grid import Grid, affine_matrix, resample
from MRI2PETLib.images.io import read_image
from MRI2PETLib.preprocessing.brain_mask import extract_brain
from MRI2PETLib.preprocessing.pet import PetImage
from MRI2PETLib.preprocessing.pet_alignment import align_pet_to_t1
from MRI2PETLib.preprocessing.template_warp import warp_to_template
from MRI2PETLib.simulation import simulate_subject
from MRI2PETLib.simulation.for_t1 import simulate_pet

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "library"))
from poses import pose_arguments, start  # noqa: E402

from head_poses import degrees_between, random_rotation, rotation_xyz, turned  # noqa: E402

MAX_DEGREES, MAX_MM = 3.0, 3.0
_ANGLES = (15.0, 40.0, 90.0, -90.0, 180.0)
_MIRRORED = 2  # at random, besides one along each axis
_SPACING_MM = 2.34  # of the PET's own grid
_ASKEW_DEG, _ASIDE_MM = (6.0, -4.0, 3.0), (3.0, -5.0, 4.0)


@dataclass(frozen=True)
class Person:
    """A T1 and its brain mask, a PET askew to it, and what puts T1 points on that PET (4 x 4, LPS mm)."""

    t1: sitk.Image
    mask: sitk.Image
    pet: sitk.Image
    t1_to_pet: np.ndarray


def person_of(path: Path | None, mni_map: Path | None = None) -> Person:
    """A phantom with a head, or the person of a T1 with a simulated PET or the map of another person."""
    if path is None:
        subject = simulate_subject(4, spacing_mm=2.5, head=True)
        t1, mask, pet = subject.t1, subject.brain_mask, subject.pet
    else:
        t1 = read_image(path, kind="t1").image
        brain = extract_brain(t1)
        mask = brain.mask
        if mni_map is None:
            pet = simulate_pet(t1, 1).pet
        else:
            assert brain.template_to_native is not None
            warp = warp_to_template(t1, mask, brain.template_to_native)
            pet = resample(read_image(mni_map, kind="pet").image, Grid.of(t1), warp)
    askew = sitk.AffineTransform(rotation_xyz(*_ASKEW_DEG).ravel().tolist(), _ASIDE_MM)
    middle = np.array(pet.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in pet.GetSize()]))
    extent = np.array(pet.GetSize()) * pet.GetSpacing() + 20.0
    grid = Grid.covering(askew.TransformPoint(middle.tolist()), extent.tolist(), _SPACING_MM)
    return Person(t1, mask, resample(pet, grid, askew.GetInverse()), np.reshape(affine_matrix(askew), (4, 4)))


def poses(n_random: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Matrix (3 x 3, a mirror among them) and shift (LPS mm) by name."""
    rng = np.random.default_rng(0)
    matrices = {"as it is": np.eye(3)}
    for axis, name in enumerate(("pitch", "roll", "yaw")):
        for angle in _ANGLES:
            matrices[f"{name} {angle:g}"] = rotation_xyz(*(angle * np.eye(3)[axis]))
    for n in range(n_random):
        matrices[f"any {n + 1}"] = random_rotation(rng)
    mirrors = {f"mirrored {letter}": np.diag(1 - 2 * np.eye(3)[axis]) for axis, letter in enumerate("xyz")}
    for n in range(_MIRRORED):
        mirrors[f"mirrored, any {n + 1}"] = random_rotation(rng) @ np.diag([-1.0, 1.0, 1.0])
    return {name: (matrix, rng.uniform(-60, 60, 3)) for name, matrix in (matrices | mirrors).items()}


class _Warnings(logging.Handler):
    """Keeps what the library logs as a warning."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def measure(person: Person, matrix: np.ndarray, shift: np.ndarray) -> dict[str, Any]:
    """One pose: what was refused, or its errors in degrees and, at the middle of the brain, mm."""
    pet = turned(person.pet, matrix)
    pet.SetOrigin(np.add(pet.GetOrigin(), shift).tolist())
    warnings = _Warnings()
    logging.getLogger("MRI2PETLib").addHandler(warnings)
    row: dict[str, Any] = {"mirrored": bool(np.linalg.det(matrix) < 0)}
    started = time.process_time()
    try:
        aligned = align_pet_to_t1(PetImage(pet, "SUV", Verdict(), "", {}), person.t1, person.mask)
    except InputError as error:
        row["refused"] = error.message
    else:
        to_pet = np.eye(4)
        to_pet[:3, :3], to_pet[:3, 3] = matrix, shift
        true, measured = to_pet @ person.t1_to_pet, np.reshape(affine_matrix(aligned.t1_to_pet), (4, 4))
        middle = _middle(person.mask)
        row["degrees"] = degrees_between(measured[:3, :3], true[:3, :3])
        row["mm"] = float(np.linalg.norm((measured - true) @ middle))
        row["findings"] = [finding.code for finding in aligned.verdict.findings]
    finally:
        logging.getLogger("MRI2PETLib").removeHandler(warnings)
    return row | {"seconds": time.process_time() - started, "logged": warnings.messages}


def _middle(mask: sitk.Image) -> np.ndarray:
    """Centre of mass (LPS mm), with a 1 behind it."""
    index = np.argwhere(sitk.GetArrayViewFromImage(mask) > 0).mean(axis=0)[::-1]
    return np.append(mask.TransformContinuousIndexToPhysicalPoint(index.tolist()), 1.0)


def rows_of(
    path: Path | None, n_random: int, folder: Path, mni_map: Path | None
) -> dict[str, dict[str, Any]]:
    """All poses of one person by name; those in ``folder`` are not measured again."""
    name = "phantom" if path is None else path.name.split(".")[0]
    record = folder / f"{name}{'' if mni_map is None else '_' + mni_map.name.split('.')[0]}.json"
    rows: dict[str, dict[str, Any]] = json.loads(record.read_text()) if record.is_file() else {}
    person = None
    for pose, (matrix, shift) in poses(n_random).items():
        if pose not in rows:
            person = person or person_of(path, mni_map)
            rows[pose] = measure(person, matrix, shift)
            write_json(record, rows)
    return {pose: rows[pose] for pose in poses(n_random)}


def table_row(name: str, rows: dict[str, dict[str, Any]]) -> str:
    """One line of the table."""
    rotations = [row for row in rows.values() if not row["mirrored"]]
    mirrors = [row for row in rows.values() if row["mirrored"]]
    laid = [row for row in rotations if "degrees" in row]
    degrees, mm = (np.array([row[key] for row in laid]) for key in ("degrees", "mm"))
    silent = int(((degrees > MAX_DEGREES) | (mm > MAX_MM)).sum()) + sum("degrees" in row for row in mirrors)
    return (
        f"| {name} | {len(laid)} of {len(rotations)} | {np.median(degrees):.2f} / {degrees.max():.2f} "
        f"| {np.median(mm):.2f} / {mm.max():.2f} | {sum('refused' in row for row in mirrors)} of "
        f"{len(mirrors)} | {silent} | {np.mean([row['seconds'] for row in rows.values()]):.1f} |"
    )


def main() -> None:
    """Measure what is missing and print the table."""
    parser = pose_arguments(__doc__, t1s="*", rotations=19)
    parser.add_argument("--map", type=Path, help="PET in MNI space, of another person")
    arguments = start(parser)
    print("| PET of | turned, aligned | degrees, median / largest | mm, median / largest ", end="")
    print("| mirrored, refused | wrong, not reported | CPU-s |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for path in arguments.t1 if arguments.map else (None, *arguments.t1):
        name = "a phantom with a head" if path is None else path.name
        print(
            table_row(name, rows_of(path, arguments.rotations, arguments.folder, arguments.map)), flush=True
        )


if __name__ == "__main__":
    main()
