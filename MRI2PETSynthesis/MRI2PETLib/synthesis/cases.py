"""Which T1s a command line names: files, DICOM folders, BIDS roots, folders of subjects; and what to call
them.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.names import file_name
from MRI2PETLib.images.formats import check_regular, image_stem, is_image
from MRI2PETLib.synthesis.settings import CaseInputs

_NOT_A_NAME = {"t1", "t1w", "t1_mprage", "mprage", "image", "brain"}


@dataclass(frozen=True)
class Case:
    """One T1 to process. ``name`` is unique in its batch and safe in file names; ``folder`` is relative.

    ``inputs`` is what belongs to this T1 alone.
    """

    name: str
    t1: Path
    folder: Path = Path(".")
    inputs: CaseInputs = CaseInputs()


def find_cases(inputs: Sequence[Path | str]) -> list[Case]:
    """Turn what the user named into cases, in order and without repeats.

    * a file: one case;
    * a BIDS root (holds ``sub-*``): every ``sub-*/[ses-*/]anat/*_T1w`` image;
    * a folder of subject folders: every ``*/T1.nii.gz`` (or another image format);
    * a folder of images: every image in it;
    * any other folder: a DICOM series.

    :raises InputError: if a path does not exist or a folder holds nothing that can be used.
    """
    found: list[tuple[Path, Path]] = []
    for item in map(Path, inputs):
        if item.is_dir():
            found += _in_folder(item)
        else:
            check_regular(item)
            found.append((item, Path(".")))
    unique = list({(t1.absolute(), folder): (t1, folder) for t1, folder in found}.values())
    names = _tell_apart(
        [_name(t1) for t1, _ in unique], [file_name(t1.resolve().parent.name) for t1, _ in unique]
    )
    return [Case(name, t1, folder) for (t1, folder), name in zip(unique, names)]


def _tell_apart(names: list[str], parents: list[str]) -> list[str]:
    """Put the parent folder before names that occur twice, and a number behind those that still do.

    Names that differ in upper and lower case only are one file on Windows and macOS.
    """
    counts = Counter(map(str.casefold, names))
    names = [f"{p}_{name}" if counts[name.casefold()] > 1 else name for name, p in zip(names, parents)]
    counts = Counter(map(str.casefold, names))
    taken = {name for name, count in counts.items() if count == 1}
    for index, name in enumerate(names):
        if counts[name.casefold()] > 1:
            numbered = (f"{name}-{number}" for number in itertools.count(1))
            names[index] = next(new for new in numbered if new.casefold() not in taken)
            taken.add(names[index].casefold())
    return names


def _in_folder(folder: Path) -> list[tuple[Path, Path]]:
    bids = sorted(
        p
        for pattern in ("sub-*/anat/*_T1w.*", "sub-*/ses-*/anat/*_T1w.*")
        for p in folder.glob(pattern)
        if is_image(p)
    )
    if bids:
        return [(p, p.parent.parent.relative_to(folder)) for p in bids]
    subjects = sorted(p for p in folder.glob("*/T1.*") if is_image(p))
    if subjects:
        return [(p, Path(".")) for p in subjects]
    images = sorted(p for p in folder.iterdir() if p.is_file() and is_image(p))
    if images:
        return [(p, Path(".")) for p in images]
    if any(p.is_file() for p in folder.rglob("*")):
        return [(folder, Path("."))]
    raise InputError(f"{folder} is empty.", "Name a T1 image, a DICOM folder or a BIDS dataset.")


def _name(path: Path) -> str:
    """The file's stem without ``_T1w``; the folder's name for a DICOM folder or a file just called T1."""
    if path.is_dir():
        return file_name(path.resolve().name)
    stem = file_name(re.sub(r"_T1w$", "", image_stem(path)))
    return file_name(path.resolve().parent.name) if stem.lower() in _NOT_A_NAME else stem
