"""The work folder: where the data lie, who is used for what, and what has been made of them so far.

::

    WORK/sources.json                 folders of the data, the split of the people, the donors
    WORK/anatomies/<subject>.v*.npz   a person's T1 with tissue maps, see ``anatomies.py``
    WORK/mean_tissue.v*.npy           of the training people, in MNI space
    WORK/seed-<n>/<stage>             a training, see ``training.py``
    WORK/test_people.json             which models have been measured on the test people, and when
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import SimpleITK as sitk

from MRI2PETLib.core.checksums import sha256_of_voxels
from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.files import atomic_path, make_folder, read_object, write_json
from MRI2PETLib.core.progress import Reporter
from MRI2PETLib.images.io import read_image
from TSPODemoModel.activity_model import ActivityModel, Donor, build_activity, read_donors, training_donors
from TSPODemoModel.anatomies import (
    VERSION,
    PeopleSplit,
    PersonAnatomy,
    anatomy_file,
    find_t1s,
    load_anatomy,
    prepare_anatomies,
    split_people,
)
from TSPODemoModel.average_anatomies import average_anatomies, mean_tissue

if TYPE_CHECKING:
    from MRI2PETLib.models.bundle import Bundle
    from TSPODemoModel.simulated_pairs import People
    from TSPODemoModel.training import LoadPeople, Stage

SEED = 20250908  # of the split, the donors held out, the average anatomies
SOURCES, ANATOMIES, LOOKS = "sources.json", "anatomies", "test_people.json"
TISSUE = f"mean_tissue.v{VERSION}.npy"


@dataclass(frozen=True)
class WorkFolder:
    """What all commands work with.

    :ivar tissue: mean tissue of the training people on the template's grid [k, j, i].
    """

    folder: Path
    t1s: dict[str, Path]
    anatomies: dict[str, Path]
    split: PeopleSplit
    donors: list[Donor]
    tissue: np.ndarray

    def people(self, subjects: Sequence[str]) -> list[PersonAnatomy]:
        return [load_anatomy(self.anatomies[subject]) for subject in subjects]

    def activity(self, donors: Sequence[Donor]) -> ActivityModel:
        return build_activity(donors, self.tissue)

    def images(self) -> list[str]:
        """Checksums of the T1s that chose the weights or the epoch, as a bundle's metadata keeps them."""
        subjects = [*self.split.train, *self.split.validation]
        t1s = (read_image(self.t1s[subject], kind="t1").image for subject in subjects)
        return sorted(sha256_of_voxels(sitk.GetArrayViewFromImage(t1)) for t1 in t1s)

    def seen_donors(self) -> list[Donor]:
        """Those of the out-of-sample model: two controls and two patients are held out."""
        return training_donors(self.donors, SEED)

    def training_folder(self, seed: int, donors: Sequence[Donor]) -> Path:
        name = f"seed-{seed}" if len(donors) == len(self.donors) else f"seed-{seed}-donors-held-out"
        return self.folder / name

    def about(self, donors: Sequence[Donor]) -> dict[str, Any]:
        """Who a model is trained with, for its folder."""
        return {"people": self.split.to_dict(), "donors": [donor.name for donor in donors]}

    def loader(self, donors: Sequence[Donor], device: str) -> LoadPeople:
        """Training people with averages of them, and validation people, for the stages of one training."""
        from MRI2PETLib.core.devices import pick_device
        from TSPODemoModel.simulated_pairs import load_people

        @cache
        def material() -> tuple[ActivityModel, list[PersonAnatomy], list[PersonAnatomy]]:
            return self.activity(donors), self.people(self.split.train), self.people(self.split.validation)

        @cache
        def averages(count: int) -> list[PersonAnatomy]:
            return average_anatomies(material()[1], count, SEED)

        def load(stage: Stage) -> tuple[People, People]:
            model, people, validation = material()
            on = pick_device(device)
            trained = load_people([*people, *averages(stage.averages)], model, stage.size, on)
            return trained, load_people(validation, model, stage.size, on)

        return load


def prepare_work_folder(folder: Path, t1s: Path, maps: Path, workers: int, reporter: Reporter) -> WorkFolder:
    """Make everything that a training needs, or what of it is missing.

    :param t1s: folder of the T1s; ``maps`` of the real PETs.
    :raises InputError: if the folder was begun with other people or donors.
    """
    t1_paths = find_t1s(t1s)
    donors = read_donors(maps)
    prepared = prepare_anatomies(t1_paths, folder / ANATOMIES, workers, reporter.progress)
    for subject in sorted(set(t1_paths) - set(prepared)):
        reporter.warning(f"{subject} is left out, see {folder / ANATOMIES / subject}.txt")
    split = split_people(prepared, SEED)
    content = {
        "t1": str(t1s.resolve()),
        "pbr28": str(maps.resolve()),
        "people": split.to_dict(),
        "donors": [donor.name for donor in donors],
    }
    path = folder / SOURCES
    begun = read_object(path) if path.is_file() else content
    if any(begun[key] != content[key] for key in ("people", "donors")):
        raise InputError(f"{folder} was begun with other people or donors.", "Choose another work folder.")
    tissue = folder / TISSUE
    if not tissue.is_file():
        mean = mean_tissue([load_anatomy(prepared[subject]) for subject in split.train])
        with atomic_path(tissue) as temporary:
            np.save(temporary, mean, allow_pickle=False)
    write_json(make_folder(folder) / SOURCES, content)
    return open_work_folder(folder)


def open_work_folder(folder: Path) -> WorkFolder:
    """Open what :func:`prepare_work_folder` has finished.

    :raises InputError: if it has not.
    """
    path = folder / SOURCES
    if not path.is_file():
        raise InputError(f"{folder} is not a prepared work folder.", "Begin with `prepare`.")
    content = read_object(path)
    split = PeopleSplit(**content["people"])
    people = [*split.train, *split.validation, *split.test]
    anatomies = {subject: anatomy_file(folder / ANATOMIES, subject) for subject in people}
    tissue = folder / TISSUE
    if not all(file.is_file() for file in (tissue, *anatomies.values())):
        raise InputError(f"{folder} was prepared by another version.", "Run `prepare` again.")
    mean: np.ndarray = np.load(tissue, allow_pickle=False)
    donors = read_donors(Path(content["pbr28"]))
    return WorkFolder(folder, find_t1s(Path(content["t1"])), anatomies, split, donors, mean)


def check_held_out(bundle: Bundle, people: Sequence[str]) -> None:
    """Refuse to measure a model on people whom it was trained with.

    :raises InputError: naming the first of them.
    """
    trained = bundle.metadata.get("split", {}).get("people", {}).get("train", [])
    both = sorted(set(trained) & set(people))
    if both:
        raise InputError(f"{bundle.id} was trained with {both[0]}.", "Measure it on people it has not seen.")


def note_look(folder: Path, bundle: Bundle) -> list[str]:
    """Write down that a model is measured on the test people; the models that have been, first to last.

    A choice between models after such a look would make their figures too good.
    """
    path = folder / LOOKS
    looks: dict[str, str] = read_object(path) if path.is_file() else {}
    looks.setdefault(bundle.sha256, time.strftime("%Y-%m-%d %H:%M"))
    write_json(path, looks)
    return [f"{sha256[:12]} ({when})" for sha256, when in looks.items()]
