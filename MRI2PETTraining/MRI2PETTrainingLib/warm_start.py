"""Where a fold's weights begin: random, those of a model, or those of the same fold of another run.

A model that has seen a person of the test fold would make this fold's figures too good. Models say which
images they were trained with, so that this is noticed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.progress import Reporter
from MRI2PETLib.models.bundle import Bundle, read_bundle
from MRI2PETLib.models.store import find_bundle
from MRI2PETTrainingLib.dataset.cache import PreparedCase
from MRI2PETTrainingLib.folds import Fold, read_folds
from MRI2PETTrainingLib.run_folder import BUNDLE, FOLDS, RUN, fold_folder

IMAGES = "images"  # in a bundle's ``training``


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


def images_seen(cases: Sequence[PreparedCase], initial: Bundle | None) -> list[str] | None:
    """Checksums of all images that weights have seen: of ``cases``, and of the model that they began from.
    ``None`` where that model does not say.
    """
    if initial is None:
        return images_of(cases)
    earlier = initial.metadata.get("training", {}).get(IMAGES)
    return None if earlier is None else sorted({*earlier, *images_of(cases)})


def images_of(cases: Sequence[PreparedCase]) -> list[str]:
    """Checksums of the images that cases are made of, as a bundle's metadata keeps them."""
    return sorted({image for entry in cases for image in entry.about.get(IMAGES, ())})


def check_unseen(
    start_from: str | None, folds: Sequence[Fold], prepared: Mapping[str, PreparedCase], reporter: Reporter
) -> None:
    """Refuse to start a fold from a model that was trained with an image of its test people.

    Whether it was cannot be said of a model that does not name its images: then a warning asks the user.

    :raises InputError: naming model, fold and case.
    """
    silent = {}
    for fold in folds:
        bundle = start_bundle(start_from, fold.number)
        if bundle is None:
            return
        images = bundle.metadata.get("training", {}).get(IMAGES)
        if images is None:
            silent[bundle.id] = bundle
            continue
        for name in fold.test:
            if set(prepared[name].about.get(IMAGES, ())) & set(images):
                raise InputError(
                    f"{bundle.id} was trained with an image of {name!r}, whom fold {fold.number} tests.",
                    "Start from a model that has not seen the test people. After a pre-training with "
                    "--unpaired, give its run folder (--start-from RUN): each fold then starts from its own.",
                )
    for name in silent:
        reporter.warning(
            f"{name} does not say which images it was trained with: make sure that nobody of the dataset is "
            "among them, or the figures will be too good."
        )


def _is_run(start_from: str) -> bool:
    return (Path(start_from) / RUN).is_file()
