"""Where a fold's weights begin: random, those of a model, or those of the same fold of another run.

A model that has seen a person of the test fold would make this fold's figures too good. Models say which
images and people they were trained with, as checksums, so that this is noticed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from MRI2PETLib.core.checksums import sha256_of_value
from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.progress import Reporter
from MRI2PETLib.images.subjects import person_key
from MRI2PETLib.models.bundle import IMAGES, PEOPLE, Bundle, read_bundle
from MRI2PETLib.models.store import find_bundle
from MRI2PETTrainingLib.dataset.cache import PreparedCase
from MRI2PETTrainingLib.dataset.manifest import TrainingCase
from MRI2PETTrainingLib.folds import Fold, read_folds
from MRI2PETTrainingLib.run_folder import BUNDLE, FOLDS, RUN, fold_folder

_OTHER = (
    "Start from a model that has not seen the test people. After a pre-training with --unpaired, give its "
    "run folder (--start-from RUN): each fold then starts from its own."
)


def start_bundle(start_from: str | None, fold: int) -> Bundle | None:
    """The model that a fold starts from.

    :param start_from: ``None`` for random weights; a model's id or folder; or the folder of a run, whose fold
        of the same number it then is.
    :raises BundleError: if there is no such model.
    :raises InputError: if the run has not finished this fold.
    """
    if not start_from:
        return None
    if not _is_run(start_from):
        return find_bundle(start_from)
    folder = fold_folder(Path(start_from), fold) / BUNDLE
    if not folder.is_dir():
        hint = "Train its folds first: as many as here."
        raise InputError(f"{start_from} has no model of fold {fold}.", hint)
    return read_bundle(folder)


def in_full(start_from: str | None) -> str | None:
    """The same for any working folder: a path in full, the id of a model as it is.

    :raises BundleError: if there is no such model.
    """
    if not start_from:
        return None
    folder = Path(start_from) if _is_run(start_from) else find_bundle(start_from).folder
    return str(folder.resolve()) if folder == Path(start_from) else start_from


def describe(start_from: str | None) -> str | dict[str, Any] | None:
    """What identifies the weights to start from, as JSON keeps it."""
    if not start_from:
        return None
    if not _is_run(start_from):
        return find_bundle(start_from).sha256
    numbers = [fold.number for fold in read_folds(Path(start_from) / FOLDS).folds]
    folders = {str(n): fold_folder(Path(start_from), n) / BUNDLE for n in numbers}
    sums = {n: read_bundle(folder).sha256 for n, folder in folders.items() if folder.is_dir()}
    return {"run": str(Path(start_from).resolve()), "folds": sums}


def seen_in_training(cases: Sequence[PreparedCase], initial: Bundle | None) -> dict[str, list[str] | None]:
    """Checksums of all images and people that weights have seen: of ``cases``, and of the model that they
    began from. ``None`` where that model does not say.
    """
    own: dict[str, list[str]] = {IMAGES: images_of(cases), PEOPLE: people_of([e.case for e in cases])}
    if initial is None:
        return dict(own)
    earlier = {what: initial.trained_on(what) for what in own}
    return {
        what: None if before is None else sorted({*before, *own[what]}) for what, before in earlier.items()
    }


def seen_by_all(bundles: Sequence[Bundle]) -> dict[str, list[str] | None]:
    """The same of an ensemble; ``None`` where one of its members does not say."""
    lists = {what: [bundle.trained_on(what) for bundle in bundles] for what in (IMAGES, PEOPLE)}
    return {
        what: None if None in own else sorted({name for one in own if one for name in one})
        for what, own in lists.items()
    }


def images_of(cases: Sequence[PreparedCase]) -> list[str]:
    """Checksums of the images that cases are made of, as a bundle's metadata keeps them."""
    return sorted({image for entry in cases for image in entry.about.get(IMAGES, ())})


def people_of(cases: Sequence[TrainingCase]) -> list[str]:
    """Checksums of the people that cases are of, or were made from, in any spelling."""
    names = {name for case in cases for name in (case.subject, case.donor) if name.strip()}
    return sorted({sha256_of_value(["person", person_key(name)]) for name in names})


def check_unseen(
    start_from: str | None, folds: Sequence[Fold], prepared: Mapping[str, PreparedCase], reporter: Reporter
) -> None:
    """Refuse to start a fold from a model that was trained with its test people.

    They are known by their images; by their names where the model has seen other images of this dataset. A
    model of another dataset may have seen namesakes, and one that names nobody may have seen anybody: then a
    warning asks the user.

    :raises InputError: naming model, fold and case.
    """
    silent: set[str] = set()
    namesakes: dict[str, str] = {}  # by model
    everything = set(images_of(list(prepared.values())))
    for fold in folds:
        bundle = start_bundle(start_from, fold.number)
        if bundle is None:
            return
        images, people = bundle.trained_on(IMAGES), bundle.trained_on(PEOPLE)
        if images is None or people is None:
            silent.add(bundle.id)
        for name in fold.test:
            if images and images.intersection(images_of([prepared[name]])):
                raise InputError(
                    f"{bundle.id} was trained with an image of {name!r}, whom fold {fold.number} tests.",
                    _OTHER,
                )
            case = prepared[name].case
            if people and people.intersection(people_of([case])):
                if images and images & everything:
                    raise InputError(
                        f"{bundle.id} was trained with another scan of {case.subject!r}, whom fold "
                        f"{fold.number} tests ({name!r}).",
                        _OTHER,
                    )
                namesakes.setdefault(bundle.id, case.subject)
    for name in sorted(silent):
        reporter.warning(
            f"{name} does not say which images and people it was trained with: make sure that nobody of the "
            "dataset is among them, or the figures will be too good."
        )
    for name, subject in namesakes.items():
        reporter.warning(
            f"{name} was trained with other images of a person with the same name as the test person "
            f"{subject!r}. If these are scans of one person, the figures will be too good: leave the person "
            "out."
        )


def _is_run(start_from: str) -> bool:
    return (Path(start_from) / RUN).is_file()
