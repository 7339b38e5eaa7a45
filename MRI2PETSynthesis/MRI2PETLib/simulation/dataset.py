"""A folder of simulated people in the layout that the training reads: written person by person, resumable."""

from __future__ import annotations

import csv
import io
import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from MRI2PETLib import __version__
from MRI2PETLib.errors import InputError
from MRI2PETLib.images import write_image
from MRI2PETLib.outputs import make_folder, temporary_mark, write_json, write_text
from MRI2PETLib.progress import ProgressCallback, no_progress
from MRI2PETLib.simulation.subject import SimulatedSubject, check_arguments, simulate_subject

COLUMNS = ("case", "subject", "t1", "pet", "group", "genotype")
README = """SIMULATED DATA: nobody was scanned.

T1 and TSPO PET pairs of people who do not exist, made by `mri2pet simulate` (SlicerMRI2PET).
Anatomy: ICBM 152 2009a template, deformed at random. PET: parametric model of the mean [11C]PBR28 pattern,
seen by a simulated scanner. Use them to test software and to learn the workflow, never as evidence of
biology.

subject_*/T1.nii.gz             arbitrary units
subject_*/PET.nii.gz            SUV, on the grid of the T1
subject_*/PET_true.nii.gz       SUV, the same without noise
subject_*/brain_mask.nii.gz     1 inside the brain
subject_*/tissue.nii.gz         1 grey matter, 2 white matter, 3 CSF
subject_*/lesion_mask.nii.gz    1 inside the focal lesion (group "lesion" only)
subject_*/truth.json            everything that was drawn
manifest.csv                    one row a case: case, subject, t1, pet, group, genotype
"""


@dataclass(frozen=True)
class DatasetSettings:
    """What a simulated dataset is made with, but for the number of its people.

    :ivar lesion_share: probability (0..1) that a person has a focal lesion.
    """

    seed: int = 0
    spacing_mm: float = 2.0
    head: bool = False
    lesion_share: float = 0.25

    def __post_init__(self) -> None:
        if not 0 <= self.lesion_share <= 1:
            raise InputError(
                f"The lesion share {self.lesion_share} is not a share.", "Give a number from 0 to 1."
            )
        check_arguments(self.seed, self.spacing_mm)


def write_dataset(
    folder: Path | str, count: int, settings: DatasetSettings, progress: ProgressCallback = no_progress
) -> tuple[int, int]:
    """Write ``count`` simulated people to ``folder``; those that are there already are kept.

    A person depends on the settings and on the own number only, so a dataset can be made longer later.

    :return: how many people were made now, and how many there were before.
    :raises InputError: if ``count`` is below 1 or ``folder`` holds something made with other settings.
    :raises OutputError: if something cannot be written.
    """
    if count < 1:
        raise InputError(f"{count} subjects cannot be simulated.", "Give 1 or more.")
    folder = Path(folder)
    _claim(folder, settings)
    write_text(folder / "README.txt", README)
    missing = [n for n in range(1, count + 1) if not (folder / _name(n) / "truth.json").is_file()]
    try:
        for done, number in enumerate(missing):
            progress(done, len(missing), f"Simulating {_name(number)}")
            seed, lesion = _draw(settings, number)
            subject = simulate_subject(
                seed, spacing_mm=settings.spacing_mm, head=settings.head, lesion=lesion
            )
            _write_subject(folder / _name(number), subject)
    finally:
        _write_manifest(folder)
    progress(1, 1, "Simulated")
    return len(missing), count - len(missing)


def _name(number: int) -> str:
    return f"subject_{number:03d}"


def _draw(settings: DatasetSettings, number: int) -> tuple[int, bool]:
    """Seed and lesion of a person: numbers of their own for every dataset seed."""
    rng = np.random.default_rng([settings.seed, number])
    return int(rng.integers(2**31)), bool(rng.random() < settings.lesion_share)


def _claim(folder: Path, settings: DatasetSettings) -> None:
    """Mark an empty folder as this dataset, or check that it is."""
    description = folder / "dataset_description.json"
    if description.is_file():
        try:
            found = json.loads(description.read_text(encoding="utf-8")).get("SimulationSettings")
        except (ValueError, AttributeError):
            found = None
        if found is None:
            raise InputError(f"{folder} holds another dataset.", "Choose another output folder.")
        if found != asdict(settings):
            differing = [
                f"{k} {found.get(k)} there, {v} now" for k, v in asdict(settings).items() if found.get(k) != v
            ]
            raise InputError(
                f"{folder} was simulated with other settings: {'; '.join(differing)}.",
                "Use the same settings to continue it, or choose another output folder.",
            )
        return
    if folder.is_dir() and any(folder.iterdir()):
        raise InputError(
            f"{folder} is not empty and not a simulated dataset.", "Choose another output folder."
        )
    make_folder(folder)
    content = {
        "Name": "SIMULATED T1 and TSPO PET pairs",
        "Simulated": True,
        "GeneratedBy": [{"Name": "SlicerMRI2PET simulate", "Version": __version__}],
        "SimulationSettings": asdict(settings),
    }
    write_json(description, content)


def _write_subject(folder: Path, subject: SimulatedSubject) -> None:
    """Write a person's files to a hidden folder beside ``folder``, then rename it: all of them or none."""
    temporary = folder.with_name(f".{temporary_mark()}-{folder.name}")
    make_folder(temporary)
    note = {"Simulated": True, "Description": "SIMULATED: nobody was scanned", "Seed": subject.truth["seed"]}
    suv = {**note, "Modality": "PT", "TracerName": "PBR28", "Units": "SUV"}
    try:
        write_image(subject.t1, temporary / "T1.nii.gz", {**note, "Modality": "MR", "Units": "arbitrary"})
        write_image(subject.pet, temporary / "PET.nii.gz", suv)
        write_image(subject.pet_true, temporary / "PET_true.nii.gz", {**suv, "Noise": "none"})
        write_image(subject.brain_mask, temporary / "brain_mask.nii.gz", note)
        labels = {"1": "grey matter", "2": "white matter", "3": "CSF"}
        write_image(subject.tissue, temporary / "tissue.nii.gz", {**note, "Labels": labels})
        if subject.truth["lesion"] is not None:
            write_image(subject.lesion_mask, temporary / "lesion_mask.nii.gz", note)
        write_json(temporary / "truth.json", subject.truth)
        if folder.is_dir():
            # Whatever is there has no truth.json, so it was not written by us as a whole.
            raise InputError(
                f"{folder} is in the way: it is not a complete subject.", "Remove it and run again."
            )
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_manifest(folder: Path) -> None:
    """One row for every complete person in the folder."""
    text = io.StringIO()
    rows = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    rows.writeheader()
    for path in sorted(folder.glob("subject_*/truth.json")):
        truth: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        name = path.parent.name
        rows.writerow(
            {
                "case": name,
                "subject": name,
                "t1": f"{name}/T1.nii.gz",
                "pet": f"{name}/PET.nii.gz",
                "group": "lesion" if truth["lesion"] else "control",
                "genotype": truth["genotype"],
            }
        )
    write_text(folder / "manifest.csv", text.getvalue())
