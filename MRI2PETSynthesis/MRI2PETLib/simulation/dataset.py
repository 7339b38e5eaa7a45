"""A folder of simulated people in the layout that the training reads: written person by person, resumable.

Each has a record, see :mod:`MRI2PETLib.core.requests`: who is not there whole is simulated again.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from MRI2PETLib import __version__
from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.files import output_folder, read_object, write_json, write_text
from MRI2PETLib.core.leftovers import sweep
from MRI2PETLib.core.progress import ProgressCallback, no_progress
from MRI2PETLib.core.requests import Request, Result
from MRI2PETLib.core.tables import write_table
from MRI2PETLib.images.io import read_image, write_image
from MRI2PETLib.images.orientation import NiftiForms
from MRI2PETLib.images.sources import source_of
from MRI2PETLib.simulation.for_t1 import SimulatedPet, simulate_pet
from MRI2PETLib.simulation.scanner import TRACER
from MRI2PETLib.simulation.settings import DatasetSettings
from MRI2PETLib.simulation.subject import SimulatedSubject, simulate_subject

MANIFEST_COLUMNS = ("case", "subject", "t1", "pet", "group", "genotype")
MANIFEST, TRUTH, SIMULATION_RECORD = "manifest.csv", "truth.json", "simulation_status.json"
# Not the name of the program alone: these images are inputs of its other commands.
_SIMULATED_BY = {"GeneratedBy": [{"Name": "SlicerMRI2PET simulate", "Version": __version__}]}
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
subject_*/simulation_status.json  what the person was made from, checksums of the files
manifest.csv                    one row a case: case, subject, t1, pet, group, genotype
"""
README_FOR_T1 = """SIMULATED PET: nobody was scanned by PET.

Simulated TSPO PETs for the T1s of real people, made by `mri2pet simulate --t1` (SlicerMRI2PET). The PET
follows the anatomy in the T1; its levels are drawn. Use it to test software and to learn the workflow, never
as evidence of biology.

<case>/PET.nii.gz        SUV, on a 2 mm grid of its own, aligned with the T1; the brain alone
<case>/PET_true.nii.gz   SUV, the same without noise
<case>/truth.json        everything that was drawn
<case>/simulation_status.json  which T1 it is of, checksums of the files
manifest.csv             one row a case: case, t1 (where it was found), pet, genotype
"""


def write_dataset(
    folder: Path | str, count: int, settings: DatasetSettings, progress: ProgressCallback = no_progress
) -> tuple[int, int]:
    """Write ``count`` simulated people to ``folder``; those that are there whole are kept.

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
    people = {number: _result_in(folder / _name(number)) for number in range(1, count + 1)}
    finished = {number: result.finished(_request(settings, number)) for number, result in people.items()}
    there = {number: about for number, about in finished.items() if about is not None}
    missing = [number for number in people if number not in there]
    try:
        for done, number in enumerate(missing):
            progress(done, len(missing), f"Simulating {_name(number)}")
            there[number] = _make_subject(people[number], settings, number)
    finally:
        _write_manifest(folder, dict(_earlier(folder, count, settings)) | there)
    progress(1, 1, "Simulated")
    return len(missing), count - len(missing)


def write_pets(
    folder: Path | str,
    t1s: Mapping[str, Path],
    seed: int,
    progress: ProgressCallback = no_progress,
    tell: Callable[[str], None] = lambda message: None,
) -> tuple[int, int]:
    """Write a simulated PET for the T1 of every case to ``folder``, and a manifest that names both images.

    :param t1s: the T1 of each case, by the case's name.
    :param tell: is told of T1s that have changed since their PET was made.
    :return: how many PETs were made now, and how many there were before.
    :raises InputError: if a T1 cannot be used, or ``folder`` holds something made otherwise, or the PET of
        another T1 of that name.
    :raises OutputError: if something cannot be written.
    """
    folder = Path(folder)
    DatasetSettings(seed)  # refuses a seed that is none
    _claim(folder, {"seed": seed, "t1": "given"})
    write_text(folder / "README.txt", README_FOR_T1)
    there: dict[str, dict[str, Any]] = {}
    made = 0
    try:
        for done, (case, path) in enumerate(t1s.items()):
            progress(done, len(t1s), f"Simulating the PET of {case}")
            number = int(np.random.default_rng([seed, zlib.crc32(case.encode())]).integers(2**31))
            request = Request({"t1": source_of(path, "t1")}, {}, {"seed": number})
            result = _result_in(folder / case)
            about = result.finished(request)
            if about is None:
                made, about = made + 1, {}
                with result.attempt(request, tell):
                    sweep(result.folder)
                    t1 = read_image(path, kind="t1")
                    person = simulate_pet(t1.image, number)
                    source = {"path": str(path.resolve()), "sha256": t1.sha256}
                    with result.make(request, about) as staging:
                        _write_pet(person, source, t1.forms, staging)
                        about["genotype"] = person.truth["genotype"]
            there[case] = about
    finally:
        rows = [
            (case, str(t1s[case].resolve()), f"{case}/PET.nii.gz", about["genotype"])
            for case, about in there.items()
        ]
        write_table(folder / MANIFEST, ("case", "t1", "pet", "genotype"), rows)
    progress(1, 1, "Simulated")
    return made, len(t1s) - made


def _result_in(folder: Path) -> Result:
    """The person whose files lie in a folder."""
    images = ("T1", "PET", "PET_true", "brain_mask", "tissue", "lesion_mask")
    names = {f"{image}.{suffix}" for image in images for suffix in ("nii.gz", "json")}
    return Result(folder, SIMULATION_RECORD, {TRUTH, *names})


def _request(settings: DatasetSettings, number: int) -> Request:
    """What decides a person of a dataset."""
    seed, lesion = _draw(settings, number)
    about = {"seed": seed, "lesion": lesion, "spacing_mm": settings.spacing_mm, "head": settings.head}
    return Request({}, {}, about)


def _make_subject(result: Result, settings: DatasetSettings, number: int) -> dict[str, Any]:
    sweep(result.folder)
    request = _request(settings, number)
    about: dict[str, Any] = {}
    result.check_owner(request)
    subject = simulate_subject(**request.settings)
    with result.make(request, about) as staging:
        _write_subject(subject, staging)
        about["group"] = "control" if subject.truth["lesion"] is None else "lesion"
        about["genotype"] = subject.truth["genotype"]
    return about


def _earlier(folder: Path, count: int, settings: DatasetSettings) -> Iterator[tuple[int, dict[str, Any]]]:
    """People beyond ``count``, of a longer dataset that was made before."""
    for path in folder.glob(f"subject_*/{SIMULATION_RECORD}"):
        number = int(digits) if (digits := path.parent.name.partition("_")[2]).isdecimal() else 0
        if number > count and path.parent.name == _name(number):
            about = _result_in(path.parent).finished(_request(settings, number))
            if about is not None:
                yield number, about


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
        **_SIMULATED_BY,
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
    what = "SIMULATED: nobody was scanned"
    return {**_SIMULATED_BY, "Simulated": True, "Description": what, "Seed": seed}


def _write_manifest(folder: Path, people: Mapping[int, Mapping[str, Any]]) -> None:
    """One row for every person who is there whole."""
    rows = []
    for number, about in sorted(people.items()):
        name = _name(number)
        images = (f"{name}/T1.nii.gz", f"{name}/PET.nii.gz")
        rows.append((name, name, *images, about["group"], about["genotype"]))
    write_table(folder / MANIFEST, MANIFEST_COLUMNS, rows)
