"""A folder of simulated people in the layout that the training reads: written person by person, resumable."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from MRI2PETLib import __version__
from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.files import new_folder, output_folder, read_object, write_json, write_text
from MRI2PETLib.core.progress import ProgressCallback, no_progress
from MRI2PETLib.core.tables import write_table
from MRI2PETLib.images.io import read_image, write_image
from MRI2PETLib.images.orientation import NiftiForms
from MRI2PETLib.simulation.for_t1 import SimulatedPet, simulate_pet
from MRI2PETLib.simulation.scanner import TRACER
from MRI2PETLib.simulation.settings import DatasetSettings
from MRI2PETLib.simulation.subject import SimulatedSubject, simulate_subject

MANIFEST_COLUMNS = ("case", "subject", "t1", "pet", "group", "genotype")
MANIFEST, TRUTH = "manifest.csv", "truth.json"
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
README_FOR_T1 = """SIMULATED PET: nobody was scanned by PET.

Simulated TSPO PETs for the T1s of real people, made by `mri2pet simulate --t1` (SlicerMRI2PET). The PET
follows the anatomy in the T1; its levels are drawn. Use it to test software and to learn the workflow, never
as evidence of biology.

<case>/PET.nii.gz        SUV, on a 2 mm grid of its own, aligned with the T1; the brain alone
<case>/PET_true.nii.gz   SUV, the same without noise
<case>/truth.json        everything that was drawn
manifest.csv             one row a case: case, t1 (where it was found), pet, genotype
"""


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
    _claim(folder, settings.to_dict())
    write_text(folder / "README.txt", README)
    missing = [n for n in range(1, count + 1) if not (folder / _name(n) / TRUTH).is_file()]
    try:
        for done, number in enumerate(missing):
            progress(done, len(missing), f"Simulating {_name(number)}")
            seed, lesion = _draw(settings, number)
            subject = simulate_subject(
                seed, spacing_mm=settings.spacing_mm, head=settings.head, lesion=lesion
            )
            _write_whole(folder / _name(number), partial(_write_subject, subject))
    finally:
        _write_manifest(folder)
    progress(1, 1, "Simulated")
    return len(missing), count - len(missing)


def write_pets(
    folder: Path | str, t1s: Mapping[str, Path], seed: int, progress: ProgressCallback = no_progress
) -> tuple[int, int]:
    """Write a simulated PET for the T1 of every case to ``folder``, and a manifest that names both images.

    :param t1s: the T1 of each case, by the case's name.
    :return: how many PETs were made now, and how many there were before.
    :raises InputError: if a T1 cannot be used, or ``folder`` holds something made otherwise.
    :raises OutputError: if something cannot be written.
    """
    folder = Path(folder)
    DatasetSettings(seed)  # refuses a seed that is none
    _claim(folder, {"seed": seed, "t1": "given"})
    write_text(folder / "README.txt", README_FOR_T1)
    missing = [case for case in t1s if not (folder / case / TRUTH).is_file()]
    for case in t1s.keys() - set(missing):
        _check_t1(folder / case, t1s[case])
    for done, case in enumerate(missing):
        progress(done, len(missing), f"Simulating the PET of {case}")
        t1 = read_image(t1s[case], kind="t1")
        number = int(np.random.default_rng([seed, zlib.crc32(case.encode())]).integers(2**31))
        person = simulate_pet(t1.image, number)
        source = {"path": str(t1s[case].resolve()), "sha256": t1.sha256}
        _write_whole(folder / case, partial(_write_pet, person, source, t1.forms))
    there = [case for case in t1s if (folder / case / TRUTH).is_file()]
    truths = {case: read_object(folder / case / TRUTH) for case in there}
    rows = [
        (case, str(t1s[case].resolve()), f"{case}/PET.nii.gz", truth["genotype"])
        for case, truth in truths.items()
    ]
    write_table(folder / MANIFEST, ("case", "t1", "pet", "genotype"), rows)
    progress(1, 1, "Simulated")
    return len(missing), len(t1s) - len(missing)


def _check_t1(folder: Path, t1: Path) -> None:
    """:raises InputError: if the PET that is there was simulated for another T1."""
    about = read_object(folder / "PET.json").get("T1")
    source = about if isinstance(about, dict) else {}
    if source.get("sha256") != read_image(t1, kind="t1").sha256:
        raise InputError(
            f"{folder} holds the simulated PET of {source.get('path', 'another T1')}, not of {t1}.",
            "Choose another output folder, or remove that one.",
        )


def _name(number: int) -> str:
    return f"subject_{number:03d}"


def _draw(settings: DatasetSettings, number: int) -> tuple[int, bool]:
    """Seed and lesion of a person: numbers of their own for every dataset seed."""
    rng = np.random.default_rng([settings.seed, number])
    return int(rng.integers(2**31)), bool(rng.random() < settings.lesion_share)


def _claim(folder: Path, settings: Mapping[str, Any]) -> None:
    """Mark an empty folder as this dataset, or check that it is. What a killed run left there is removed."""
    description = output_folder(folder) / "dataset_description.json"
    if description.is_file():
        try:
            settings_before = read_object(description).get("SimulationSettings")
        except InputError:
            settings_before = None
        if settings_before is None:
            raise InputError(f"{folder} holds another dataset.", "Choose another output folder.")
        if settings_before != settings:
            keys = [*settings, *(k for k in settings_before if k not in settings)]
            differing = [
                f"{k} {settings_before.get(k)} there, {settings.get(k)} now"
                for k in keys
                if settings_before.get(k) != settings.get(k)
            ]
            raise InputError(
                f"{folder} was simulated with other settings: {'; '.join(differing)}.",
                "Use the same settings to continue it, or choose another output folder.",
            )
        return
    if any(folder.iterdir()):
        raise InputError(
            f"{folder} is not empty and not a simulated dataset.", "Choose another output folder."
        )
    content = {
        "Name": "SIMULATED T1 and TSPO PET pairs",
        "Simulated": True,
        "GeneratedBy": [{"Name": "SlicerMRI2PET simulate", "Version": __version__}],
        "SimulationSettings": dict(settings),
    }
    write_json(description, content)


def _write_subject(subject: SimulatedSubject, folder: Path) -> None:
    note = _note(subject.truth["seed"])
    suv = {**note, **_SUV}
    write_image(subject.t1, folder / "T1.nii.gz", {**note, "Modality": "MR", "Units": "arbitrary"})
    write_image(subject.pet, folder / "PET.nii.gz", suv)
    write_image(subject.pet_true, folder / "PET_true.nii.gz", {**suv, "Noise": "none"})
    write_image(subject.brain_mask, folder / "brain_mask.nii.gz", note)
    labels = {"1": "grey matter", "2": "white matter", "3": "CSF"}
    write_image(subject.tissue, folder / "tissue.nii.gz", {**note, "Labels": labels})
    if subject.truth["lesion"] is not None:
        write_image(subject.lesion_mask, folder / "lesion_mask.nii.gz", note)
    write_json(folder / TRUTH, subject.truth)


def _write_pet(
    person: SimulatedPet, source: Mapping[str, str], forms: NiftiForms | None, folder: Path
) -> None:
    suv = {**_note(person.truth["seed"]), **_SUV, "T1": dict(source)}
    write_image(person.pet, folder / "PET.nii.gz", suv, forms=forms)
    write_image(person.pet_true, folder / "PET_true.nii.gz", {**suv, "Noise": "none"}, forms=forms)
    write_json(folder / TRUTH, person.truth)


_SUV = {"Modality": "PT", "TracerName": TRACER, "Units": "SUV"}


def _note(seed: int) -> dict[str, Any]:
    return {"Simulated": True, "Description": "SIMULATED: nobody was scanned", "Seed": seed}


def _write_whole(folder: Path, write: Callable[[Path], None]) -> None:
    """Let ``write`` fill a hidden folder beside ``folder``, then rename it: all files or none."""
    with new_folder(folder.parent) as temporary:
        write(temporary)
        if folder.is_dir():
            # Whatever is there has no truth.json, so it was not written by us as a whole.
            raise InputError(
                f"{folder} is in the way: it is not a complete subject.", "Remove it and run again."
            )
        temporary.rename(folder)


def _write_manifest(folder: Path) -> None:
    """One row for every complete person in the folder."""
    rows = []
    for path in sorted(folder.glob(f"subject_*/{TRUTH}")):
        truth = read_object(path)
        name, group = path.parent.name, "lesion" if truth["lesion"] else "control"
        rows.append((name, name, f"{name}/T1.nii.gz", f"{name}/PET.nii.gz", group, truth["genotype"]))
    write_table(folder / MANIFEST, MANIFEST_COLUMNS, rows)
