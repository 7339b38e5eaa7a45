"""Simulated cases on disk for the evaluation tests: what a synthesis would write, made without a network."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from MRI2PETLib.core.requests import located, read_record
from MRI2PETLib.images.io import write_image
from MRI2PETLib.simulation import SimulatedSubject, simulate_subject

MODEL = {"id": "test-model", "version": "1", "sha256": "0" * 64, "intended_use": "demonstration"}


def listed_files(record: Path) -> dict[str, Any]:
    """The files of a finished result by role, as its record lists them."""
    content = read_record(record)
    assert content is not None
    return located(record.parent, content["about"]["files"])


def affine_part(transform: sitk.Transform) -> list[list[float]]:
    """The 4 x 4 matrix (LPS mm) that is closest to a transform inside the brain."""
    points = np.random.default_rng(0).uniform(-60, 60, (300, 3))
    moved = np.array([transform.TransformPoint(p) for p in points.tolist()])
    solution = np.linalg.lstsq(np.c_[points, np.ones(len(points))], moved, rcond=None)[0]
    return [*solution.T.tolist(), [0.0, 0.0, 0.0, 1.0]]


def like(values: np.ndarray, reference: sitk.Image) -> sitk.Image:
    """An image of ``values`` [k, j, i] on the grid of ``reference``."""
    image = sitk.GetImageFromArray(values)
    image.CopyInformation(reference)
    return image


def predicted(subject: SimulatedSubject, shrink: float = 0.6) -> np.ndarray:
    """A pretended network: the noise-free PET in SUVR, pulled towards its mean."""
    mask = sitk.GetArrayViewFromImage(subject.brain_mask) > 0
    true = sitk.GetArrayViewFromImage(subject.pet_true)
    suvr = true / true[mask].mean()
    return np.where(mask, 1 + shrink * (suvr - 1), 0).astype(np.float32)


def real_suvr(subject: SimulatedSubject) -> np.ndarray:
    """The simulated PET over its mean in the brain mask."""
    mask = sitk.GetArrayViewFromImage(subject.brain_mask) > 0
    pet = sitk.GetArrayViewFromImage(subject.pet)
    return (pet / pet[mask].mean()).astype(np.float32)


def sidecar(subject: SimulatedSubject, unit: str = "SUVR") -> dict[str, Any]:
    """What a synthesis records, as far as the evaluation reads it."""
    matrix = affine_part(subject.template_to_native)
    provenance = {"model": MODEL, "preprocessing": {"template_to_t1_lps": matrix}}
    return {"Units": unit, "Simulated": True, "TracerName": "PBR28", "Provenance": provenance}


def write_subject(folder: Path, subject: SimulatedSubject) -> dict[str, Path]:
    """Write T1, mask, synthetic (SUVR) and real PET (SUV and SUVR) of a person."""
    folder.mkdir(parents=True, exist_ok=True)
    write_image(subject.t1, folder / "T1.nii.gz")
    write_image(subject.brain_mask, folder / "mask.nii.gz")
    write_image(like(predicted(subject), subject.t1), folder / "synthetic.nii.gz", sidecar(subject))
    write_image(subject.pet, folder / "suv.nii.gz", {"Units": "SUV", "Simulated": True})
    real = like(real_suvr(subject), subject.t1)
    write_image(real, folder / "real.nii.gz", {"Units": "SUVR", "Simulated": True})
    return {name: folder / f"{name}.nii.gz" for name in ("T1", "mask", "synthetic", "suv", "real")}


@cache
def _person(seed: int) -> SimulatedSubject:
    return simulate_subject(seed, spacing_mm=6.0)


def write_run(folder: Path, seeds: Sequence[int]) -> Path:
    """A cross-validation run of simulated people: two folds, two groups, person 0 scanned twice."""
    rows = []
    for number, seed in enumerate(seeds):
        case = f"case{number:03d}"
        write_subject(folder / case, _person(seed))
        rows.append(
            {
                "case": case,
                "subject": f"person{max(0, number - 1):03d}",
                "fold": number % 2,
                "synthetic": f"{case}/synthetic.nii.gz",
                "pet": f"{case}/real.nii.gz",
                "t1": f"{case}/T1.nii.gz",
                "mask": "",
                "group": "patient" if number % 3 == 2 else "control",
                "genotype": "HAB",
            }
        )
    write_table(folder / "predictions.csv", rows)
    return folder


def write_table(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """A CSV of dictionaries."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path
