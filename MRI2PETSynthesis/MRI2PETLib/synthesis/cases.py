"""The T1s that a command line names (files, DICOM folders, BIDS roots, folders), and what to call them."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.names import file_name
from MRI2PETLib.images.bids_names import BidsPlace, bids_place, bids_uri, entity
from MRI2PETLib.images.formats import check_regular, image_kind, image_stem, is_image, is_output
from MRI2PETLib.synthesis.settings import CaseInputs

_NOT_A_NAME = {"t1", "t1w", "t1_mprage", "mprage", "image", "brain"}


@dataclass(frozen=True)
class Case:
    """One T1 to process. ``name`` is unique in its batch and safe in file names; ``folder`` is relative.

    ``inputs`` is what belongs to this T1 alone; ``space`` is that of a T1 that BIDS names so (``space-``);
    ``dataset`` is the root of the BIDS dataset that it lies in, ``link`` what the output calls it.
    """

    name: str
    t1: Path
    folder: Path = Path(".")
    inputs: CaseInputs = CaseInputs()
    space: str = ""
    dataset: Path | None = None
    link: str = ""

    def address(self, file: Path) -> str:
        """Of an input in a sidecar: as BIDS writes it, else its path."""
        if self.dataset is None or not self.link or not file.absolute().is_relative_to(self.dataset):
            return str(file)
        return bids_uri(self.link, self.dataset, file)


class _Image(NamedTuple):
    path: Path
    place: BidsPlace | None = None


def find_cases(
    inputs: Sequence[Path | str], source: str = "MR", tell: Callable[[str], None] = lambda text: None
) -> list[Case]:
    """Turn what the user named into cases, in order and without repeats.

    * a file: one case;
    * a BIDS root, or the folder of a subject or session in one: every ``sub-*/[ses-*/]anat/*_T1w`` image;
    * a folder of subject folders: every ``*/T1.nii.gz`` (or another image format);
    * a folder of images: every image in it, but those whose name or sidecar says that they are no T1;
    * any other folder: a DICOM series.

    :param source: ``PET`` for a model that starts from PETs: then those are looked for instead.
    :param tell: is told what was left out of a folder of images.
    :raises InputError: if a path does not exist or a folder holds nothing that can be used.
    """
    images: list[_Image] = []
    for item in map(Path, inputs):
        if item.is_dir():
            images += _in_folder(item, source, tell)
        else:
            check_regular(item)
            if part := _complex_part(item):
                message = f"{item} is the {part} of a complex image (part-{part}), not a T1."
                raise InputError(message, "Give the magnitude.")
            images.append(_Image(item, bids_place(item)))
    unique = list({image.path.absolute(): image for image in images}.values())
    names = _tell_apart(
        [_name(t1) for t1, _ in unique], [file_name(t1.resolve().parent.name) for t1, _ in unique]
    )
    cases = []
    for (t1, place), name in zip(unique, names):
        folder, dataset = (Path("."), None) if place is None else (place.folder, place.dataset)
        cases.append(Case(name, t1, folder, space=entity(image_stem(t1), "space"), dataset=dataset))
    return cases


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


def _in_folder(folder: Path, source: str, tell: Callable[[str], None]) -> list[_Image]:
    patterns = (
        "sub-*/anat/*_T1w.*",
        "sub-*/ses-*/anat/*_T1w.*",
        "ses-*/anat/*_T1w.*",
        "anat/*_T1w.*",
        "*_T1w.*",
    )
    paths = sorted(p for pattern in patterns for p in folder.glob(pattern) if bids_place(p) and _is_input(p))
    if paths:
        native = {_bare_name(p) for p in paths if not entity(image_stem(p), "space")}
        return [
            _Image(p, bids_place(p))
            for p in paths
            if not entity(image_stem(p), "space") or _bare_name(p) not in native
        ]
    subjects = sorted(p for p in folder.glob("*/T1.*") if _is_input(p))
    if subjects:
        return [_Image(p) for p in subjects]
    images = sorted(p for p in folder.iterdir() if p.is_file() and _is_input(p))
    if images:
        return [_Image(p) for p in _of_kind(images, source, tell)]
    if any(p.is_file() and is_image(p) for p in folder.iterdir()):
        raise InputError(f"{folder} holds outputs of this program only.", "Name the folder of the T1s.")
    if any(p.is_file() for p in folder.rglob("*")):
        return [_Image(folder)]
    raise InputError(f"{folder} is empty.", "Name a T1 image, a DICOM folder or a BIDS dataset.")


def _of_kind(images: Sequence[Path], source: str, tell: Callable[[str], None]) -> list[Path]:
    """Those that may be what a model starts from.

    :raises InputError: if none may.
    """
    others = {p: kind for p in images if (kind := image_kind(p)) not in ("", source)}
    what = "no T1" if source == "MR" else "no PET"
    names = ", ".join(f"{path.name} ({kind})" for path, kind in [*others.items()][:4])
    names += ", ..." if len(others) > 4 else ""
    if len(others) == len(images):
        raise InputError(f"{images[0].parent} holds {what}: {names}.", "Name the image itself if it is one.")
    if others:
        tell(f"Left out of {images[0].parent}, by name or sidecar {what}: {names}.")
    return [path for path in images if path not in others]


def _is_input(path: Path) -> bool:
    """Whether a file of a folder may be a T1: not what this program made, not a phase image."""
    return is_image(path) and not _complex_part(path) and not is_output(path)


def _complex_part(path: Path) -> str:
    """``phase``, ``real`` or ``imag``, if BIDS names the image so."""
    part = entity(image_stem(path), "part")
    return part if part in ("phase", "real", "imag") else ""


def _bare_name(path: Path) -> str:
    """The stem without ``_T1w`` and the entities that outputs have of their own."""
    stem = image_stem(path)
    if stem.startswith("sub-"):
        stem = re.sub(r"_(space|res|desc|part)-[A-Za-z0-9+]+", "", stem)
    return re.sub(r"_T1w$", "", stem)


def _name(path: Path) -> str:
    """:func:`_bare_name`; the folder's name for a DICOM folder or a file just called T1."""
    if path.is_dir():
        return file_name(path.resolve().name)
    stem = file_name(_bare_name(path))
    return file_name(path.resolve().parent.name) if stem.lower() in _NOT_A_NAME else stem
