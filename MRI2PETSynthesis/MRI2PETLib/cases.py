"""Which T1s a command line names: files, DICOM folders, BIDS roots, folders of subjects; and what to call
them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from MRI2PETLib.errors import InputError

IMAGE_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
_NOT_A_NAME = {"t1", "t1w", "t1_mprage", "mprage", "image", "brain"}


@dataclass(frozen=True)
class Case:
    """One T1 to process.

    ``name`` is unique in its batch and safe in file names; ``folder`` is relative (BIDS).
    """

    name: str
    t1: Path
    folder: Path = Path(".")


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
        if not item.exists():
            raise InputError(f"{item} does not exist.", "Check the path.")
        found += [(item, Path("."))] if item.is_file() else _in_folder(item)
    unique = list(dict.fromkeys(found))
    stems = [_stem(t1) for t1, _ in unique]
    counts = Counter(stems)
    names: list[str] = []
    for (t1, _), stem in zip(unique, stems):
        if counts[stem] > 1 or stem.lower() in _NOT_A_NAME:
            stem = (
                f"{_safe(t1.resolve().parent.name)}_{stem}"
                if counts[stem] > 1
                else _safe(t1.resolve().parent.name)
            )
        names.append(stem)
    again = Counter(names)
    seen: Counter[str] = Counter()
    cases = []
    for (t1, folder), name in zip(unique, names):
        seen[name] += 1
        cases.append(Case(f"{name}-{seen[name]}" if again[name] > 1 else name, t1, folder))
    return cases


def is_image(path: Path) -> bool:
    """Whether the name is that of an image file this program reads."""
    return path.name.lower().endswith(IMAGE_SUFFIXES) and not path.name.startswith(".")


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


def _stem(path: Path) -> str:
    name = path.name if path.is_file() else path.resolve().name
    for suffix in IMAGE_SUFFIXES:
        if path.is_file() and name.lower().endswith(suffix):
            name = name[: -len(suffix)]
            break
    return _safe(re.sub(r"_T1w$", "", name))


def _safe(name: str) -> str:
    """Keep letters and digits of any script, ``-``, ``_`` and ``.``; everything else becomes ``-``."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "case"
