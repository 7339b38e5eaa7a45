"""Names and places of files in a BIDS dataset: entities (``ses-01``), folders, addresses.

Source: the Brain Imaging Data Structure 1.10, its tables of entities and their order.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from MRI2PETLib.images.formats import image_stem

# Those of a PET's name, in their order, up to the tracer; what else a T1's name says goes into rec-.
_BEFORE_TRACER, _AFTER_TRACER = ("sub", "ses", "task"), ("rec", "run")


class BidsPlace(NamedTuple):
    """Where an image lies in a dataset: ``folder`` (``sub-01/ses-1``) below ``dataset``."""

    dataset: Path
    folder: Path


def bids_place(image: Path) -> BidsPlace | None:
    """The place of ``sub-*/[ses-*/]anat/*_T1w.*``; ``None`` for any other image."""
    image = image.absolute()
    if image.parent.name != "anat" or not image_stem(image).endswith("_T1w"):
        return None
    owner = image.parents[1]
    subject = owner.parent if owner.name.startswith("ses-") else owner
    if not subject.name.startswith("sub-"):
        return None
    return BidsPlace(subject.parent, owner.relative_to(subject.parent))


def entity(stem: str, name: str) -> str:
    """The value of an entity in a file's name; empty when it has none.

    >>> entity("sub-01_acq-hires_T1w", "acq")
    'hires'
    """
    match = re.search(rf"(?:^|_){name}-([A-Za-z0-9+]+)", stem)
    return match[1] if match else ""


def name_of_pet(name: str, tracer: str) -> str:
    """The name of a PET of the person, session and run of a T1, with its tracer.

    BIDS has no ``acq-`` of a PET: what else tells T1s apart becomes its ``rec-``.

    >>> name_of_pet("sub-01_ses-1_acq-hires_run-2", "PBR28")
    'sub-01_ses-1_trc-PBR28_rec-acqhires_run-2'
    >>> name_of_pet("Anna", "PBR28")
    'Anna_trc-PBR28'
    """
    traced = f"{name}_trc-{tracer}" if tracer else name
    parts = [part.partition("-")[::2] for part in name.split("_")]
    if parts[0][0] != "sub" or not all(value for _, value in parts):
        return traced
    values = dict(parts)
    others = [key for key in values if key not in (*_BEFORE_TRACER, "run")]
    if others and others != ["rec"]:
        values["rec"] = "".join(key + values[key] for key in others)
    values["trc"] = re.sub(r"[^A-Za-z0-9]", "", tracer)
    order = (*_BEFORE_TRACER, "trc", *_AFTER_TRACER)
    return "_".join(f"{key}-{values[key]}" for key in order if values.get(key))


def bids_uri(link: str, dataset: Path, file: Path) -> str:
    """The address of a file of the dataset that ``DatasetLinks`` calls ``link``."""
    return f"bids:{link}:{file.absolute().relative_to(dataset.absolute()).as_posix()}"
