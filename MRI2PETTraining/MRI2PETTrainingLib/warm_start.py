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


def initial_bundle(initial: str, fold: int) -> Bundle | None:
    """The model that a fold starts from.

    :param initial: empty for random weights; a model's id or folder; or the folder of a run, whose fold of
        the same number it then is.
    :raises BundleError: if there is no such model.
    :raises InputError: if the run has not finished this fold.
    """
    if not initial:
        return None
    if not _is_run(initial):
        return find_bundle(initial)
    folder = fold_folder(Path(initial), fold) / BUNDLE
    if not folder.is_dir():
        raise InputError(f"{initial} has no model of fold {fold}.", "Train its folds first: as many as here.")
    return read_bundle(folder)


def describe(initial: str) -> str | dict[str, Any] | None:
    """What identifies the weights to start from, as JSON keeps it."""
    if not initial:
        return None
    if not _is_run(initial):
        return find_bundle(initial).sha256
    numbers = [fold.number for fold in read_folds(Path(initial) / FOLDS).folds]
    folders = {str(n): fold_folder(Path(initial), n) / BUNDLE for n in numbers}
    sums = {n: read_bundle(folder).sha256 for n, folder in folders.items() if folder.is_dir()}
    return {"run": str(Path(initial).resolve()), "folds": sums}


def images_of(cases: Sequence[PreparedCase]) -> list[str]:
    """Checksums of the images that cases are made of, as a bundle's metadata keeps them."""
    return sorted({image for entry in cases for image in entry.about.get(IMAGES, ())})


def check_unseen(
    initial: str, folds: Sequence[Fold], prepared: Mapping[str, PreparedCase], reporter: Reporter
) -> None:
    """Refuse to start a fold from a model that was trained with an image of its test people.

    Whether it was cannot be said of a model that does not name its images: then a warning asks the user.

    :raises InputError: naming model, fold and case.
    """
    silent = {}
    for fold in folds:
        bundle = initial_bundle(initial, fold.number)
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
                    "--unpaired, give its run folder (--init RUN): each fold then starts from its own.",
                )
    for name in silent:
        reporter.warning(
            f"{name} does not say which images it was trained with: make sure that nobody of the dataset is "
            "among them, or the figures will be too good."
        )


def _is_run(initial: str) -> bool:
    return (Path(initial) / RUN).is_file()
