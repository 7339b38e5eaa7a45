"""Which T1s of a BIDS dataset a command works on, and with how many processes."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.files import make_folder
from MRI2PETLib.core.settings import Settings, option
from MRI2PETLib.images.bids_names import entity
from MRI2PETLib.images.formats import image_stem, is_output
from MRI2PETLib.preprocessing.tracers import tracer_name
from MRI2PETLib.synthesis.cases import Case, find_cases
from MRI2PETLib.synthesis.settings import CaseInputs, PetReading


@dataclass(frozen=True)
class BidsSelection(Settings):
    """Options of a BIDS App that do not decide any result."""

    participant_label: tuple[str, ...] = option(
        "people to work on, with or without sub-", (), metavar="LABEL", decides=False, listed=True
    )
    session_label: tuple[str, ...] = option(
        "sessions to work on, with or without ses-", (), metavar="LABEL", decides=False, listed=True
    )
    part: str = option(
        "the Ith of N blocks of the cases, for a task of an array: 1/100 to 100/100",
        "",
        metavar="I/N",
        decides=False,
    )
    nprocs: int = option("processes side by side", 1, least=1, metavar="N", decides=False)
    mem_gb: float | None = option(
        "memory for all processes together: fewer of them run when it is short", None, least=0.1,
        metavar="GB", decides=False,
    )  # fmt: skip
    work: Path | None = option(
        "folder for temporary files of brain extractors", None, metavar="DIR", short="-w", decides=False
    )


@dataclass(frozen=True)
class BidsPets(PetReading):
    """Whether and how the real PETs of a dataset are compared with."""

    with_pet: bool = option("compare with the real PET of the same session, where there is one", False)


@dataclass(frozen=True)
class BidsReading(PetReading):
    """Which real PETs of a dataset are measured, and how they are read."""

    tracer: str | None = option(
        "tracer (trc-) of the PET, where a session has several; left out: that of the model, else the first "
        "by name",
        None,
        metavar="NAME",
        decides=False,
    )


@dataclass(frozen=True)
class BidsNorm(Settings):
    """The norm that people of a dataset are compared with, and by which prediction."""

    norm: Path = option("folder of the norm", decides=False)
    with_synthetic: bool = option(
        "by the PETs that synthesize has written to the same folder, made by a model that has never seen "
        "these people, instead of the norm's own model",
        False,
    )


def add_pets(cases: Sequence[Case], pets: BidsPets, tracer: str, warn: Callable[[str], None]) -> list[Case]:
    """Give each case the real PET of its session, if one is there, see :func:`pet_of_session`."""
    if not pets.with_pet:
        return list(cases)
    reading = {name: getattr(pets, name) for name in PetReading.options()}
    result = []
    for case in cases:
        pet = pet_of_session(case, tracer, warn)
        result.append(replace(case, inputs=CaseInputs(pet=pet, **reading)) if pet is not None else case)
    if not any(case.inputs.pet for case in result):
        warn("No session has a PET (pet/*_pet): nothing is compared.")
    return result


def pet_of_session(case: Case, tracer: str, warn: Callable[[str], None]) -> Path | None:
    """The real PET of the session of a T1, if one is there.

    Of several, one of the tracer (``trc-``), the first by name, with a warning.

    :param tracer: empty for any.
    """
    there, name = _pets(case), tracer_name(tracer)
    own = [p for p in there if name and tracer_name(entity(image_stem(p), "trc")) == name]
    candidates = own or there
    if len(candidates) > 1:
        warn(f"{case.name} has {len(candidates)} PETs: {candidates[0].name} is used.")
    return candidates[0] if candidates else None


def has_pet(case: Case) -> bool:
    """Whether the session of a T1 has a real PET."""
    return bool(_pets(case))


def _pets(case: Case) -> list[Path]:
    assert case.dataset is not None
    paths = sorted((case.dataset / case.folder / "pet").glob("*_pet.nii*"))
    return [path for path in paths if not is_output(path)]


def sessions_without_t1(dataset: Path, selection: BidsSelection) -> list[str]:
    """Of those that were chosen, the sessions with a PET and no T1, as ``sub-01/ses-a``."""
    people = {_label(label, "sub-") for label in selection.participant_label}
    sessions = {_label(label, "ses-") for label in selection.session_label}
    pets = [p for level in ("sub-*", "sub-*/ses-*") for p in dataset.glob(f"{level}/pet/*_pet.nii*")]
    folders = {pet.parents[1] for pet in pets if not any(pet.parents[1].glob("anat/*_T1w.*"))}
    names = sorted(folder.relative_to(dataset).as_posix() for folder in folders)
    return [
        name
        for name in names
        if (not people or name.partition("/")[0] in people)
        and (not sessions or name.rpartition("/")[2] in sessions)
    ]


def select_cases(
    dataset: Path,
    selection: BidsSelection,
    usable: Callable[[Case], bool] = lambda case: True,
    warn: Callable[[str], None] = lambda message: None,
) -> list[Case]:
    """The T1s of a dataset that were chosen, in the order of their names.

    :param usable: which of them can be worked on; there need not be any. Nor need there in a block of them.
    :param warn: is told of people who were named and have no T1.
    :raises InputError: if there is none; for a person or session that is not there; for a wrong part.
    """
    people = [_label(label, "sub-") for label in selection.participant_label]
    missing = [name for name in people if not (dataset / name).is_dir()]
    if missing:
        raise InputError(f"{dataset} has no {', '.join(missing)}.", "Check --participant-label.")
    cases = [c for c in find_cases([dataset / name for name in people] or [dataset]) if c.dataset is not None]
    without = [name for name in people if name not in {case.folder.parts[0] for case in cases}]
    if without and not cases:
        raise InputError(
            f"{', '.join(without)} of {dataset}: no T1 (anat/*_T1w).", "Check --participant-label."
        )
    if without:
        warn(f"No T1 (anat/*_T1w), left out: {', '.join(without)}.")
    if not cases:
        raise InputError(
            f"{dataset} holds no sub-*/[ses-*/]anat/*_T1w image.", "Name the root of a BIDS dataset."
        )
    if selection.session_label:
        sessions = {_label(label, "ses-") for label in selection.session_label}
        there = {case.folder.name for case in cases}
        if not sessions <= there:
            names = ", ".join(sorted(sessions - there))
            raise InputError(f"No T1 of {dataset} is of {names}.", "Check --session-label.")
        cases = [case for case in cases if case.folder.name in sessions]
    cases = [case for case in cases if usable(case)]
    return block_of(sorted(cases, key=lambda case: case.name), selection.part) if cases else []


def block_of(cases: list[Case], part: str) -> list[Case]:
    """The block ``I/N`` of the cases; the sizes of blocks differ by one at most.

    The last ones are empty where there are fewer cases than blocks.

    >>> block_of(list("abcde"), "2/2")
    ['d', 'e']

    :raises InputError: if it is not I/N with I from 1 to N.
    """
    if not part:
        return cases
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", part)
    index, number = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= index <= number:
        raise InputError(f"--part {part} cannot be used.", "Give I/N, for example 3/20, with I from 1 to N.")
    size, more = divmod(len(cases), number)
    start = (index - 1) * size + min(index - 1, more)
    return cases[start : start + size + (index <= more)]


def use_work_folder(folder: Path | None) -> None:
    """Let temporary files of this process go there."""
    if folder is not None:
        tempfile.tempdir = str(make_folder(folder))


def _label(text: str, prefix: str) -> str:
    bare = text.removeprefix(prefix)
    if not re.fullmatch(r"[A-Za-z0-9+]+", bare):
        raise InputError(f"{text!r} is no label of BIDS.", f"Give letters and digits, as in {prefix}01.")
    return prefix + bare
