"""Image files by their names: which can be read and written, what to do with others, where sidecars are."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from MRI2PETLib import __version__
from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.files import read_object
from MRI2PETLib.core.names import check_file

SUFFIXES = (
    ".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".mgz", ".mgh", ".mnc", ".hdr", ".par",
)  # fmt: skip
WRITABLE_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha")
SOFTWARE = "SlicerMRI2PET"
# In the sidecar of every output, so that it is not taken for an input where both lie in one folder.
GENERATED_BY = {"GeneratedBy": [{"Name": SOFTWARE, "Version": __version__}]}
EDITED_KEY = "edited"  # of the provenance: the values are not those of the synthesis
STATES_SD = {"Statistic": "SD"}  # of a sidecar: the voxels are SDs, no image
# The voxels of a pair of files: its header is what is opened.
_HEADER_OF = {".img": ".hdr", ".rec": ".par"}
_REMEDIES = {
    ".v": "This looks like ECAT. Convert it to NIfTI with its times and unit, for example with ecatpet2bids "
    "(pypet2bids) or ecat2nii (TPCCLIB).",
    ".i": "This looks like Interfile. Convert it to NIfTI, for example with ifh2nii or TPCCLIB.",
    ".head": "This looks like AFNI. Convert it with 3dAFNItoNIFTI.",
    ".brik": "This looks like AFNI. Convert it with 3dAFNItoNIFTI.",
    ".mif": "This looks like MRtrix. Convert it with mrconvert.",
    ".json": "This is a sidecar. Give the image beside it.",
}
# Words in the names of images; the first kind that has one of them counts.
_KINDS = {
    "mask": {"mask", "brainmask"},
    "labels": {"labels", "dseg", "probseg", "aseg", "tissue"},
    "MR": {"t1", "t1w", "mprage", "mp2rage"},
    "PET": {"pet", "suv", "suvr"},
    "T2": {"t2", "t2w", "flair"},
    "functional MRI": {"bold", "dwi", "asl"},
}
_POINTERS = {
    b"version https://git-lfs": "git lfs pull",
    b"/annex/objects/": "git annex get, or datalad get",
    b"../.git/annex/objects/": "git annex get, or datalad get",
}


def image_suffix(path: Path) -> str:
    """The suffix as one of :data:`SUFFIXES`, or the plain last suffix."""
    name = path.name.lower()
    return next((s for s in SUFFIXES if name.endswith(s)), Path(name).suffix)


def image_stem(path: Path | str) -> str:
    """The file's name without :func:`image_suffix`; the name of a folder."""
    path = Path(path)
    return path.name[: len(path.name) - len(image_suffix(path))] if is_image(path) else path.name


def is_image(path: Path) -> bool:
    """Whether the name is that of an image file this program reads."""
    return path.name.lower().endswith(SUFFIXES) and not path.name.startswith(".")


def sidecar_path(path: Path | str) -> Path:
    """``PET.nii.gz`` -> ``PET.json``."""
    path = Path(path)
    return path.with_name(path.name[: len(path.name) - len(image_suffix(path))] + ".json")


def is_output(path: Path) -> bool:
    """Whether an image's own sidecar says that it is a result of this program (:data:`GENERATED_BY`, or
    ``Synthetic``). A simulated T1 or PET is none: it is an input.
    """
    try:
        content = read_object(sidecar_path(path), nan=lambda name: None)
        return "Synthetic" in content or content.get("GeneratedBy", [{}])[0].get("Name") == SOFTWARE
    except (InputError, TypeError, AttributeError, LookupError):
        return False


def image_kind(path: Path) -> str:
    """What an image says to be by its sidecar or its name: ``MR`` (a T1), ``PET``, ``mask``, ``labels``,
    another contrast; empty where they do not say.
    """
    about: dict[str, Any] = {}
    with suppress(InputError):
        about = read_object(sidecar_path(path), nan=lambda name: None)
    if isinstance(about.get("Labels"), dict):
        return "labels"
    words = re.split(r"[^a-z0-9]+", image_stem(path).lower())
    by_name = next((kind for kind, marks in _KINDS.items() if marks & set(words)), "")
    modality = "PET" if about.get("Modality") in ("PT", "PET") else ""
    return by_name if by_name in ("mask", "labels") else modality or by_name


def check_regular(path: Path) -> None:
    """Check that a path is a file, without opening it: a pipe would never end.

    :raises InputError: missing, a pipe, device or socket, or what git-annex left in place of the file.
    """
    if path.is_symlink() and not path.exists():
        target = os.readlink(path)
        if "annex/objects" in target.replace("\\", "/"):
            raise _not_fetched(path, _POINTERS[b"/annex/objects/"])
        raise InputError(f"{path} is a link to {target}, which does not exist.", "Copy the file itself.")
    check_file(path)


def _check_content(path: Path) -> None:
    """:raises InputError: empty, unreadable, or what git left in place of the file."""
    try:
        with path.open("rb") as stream:
            start = stream.read(64)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.", "Check the path.") from error
    if not start:
        raise InputError(f"{path} is empty (0 bytes).", "Copy or export the file again.")
    for sign, remedy in _POINTERS.items():
        if start.startswith(sign):
            raise _not_fetched(path, remedy)


def check_image_file(path: Path) -> Path:
    """Check a file and its suffix. Returns the file to open: of a pair, its header.

    :raises InputError: see :func:`check_regular`; empty; for other formats, with how to convert them.
    """
    check_regular(path)
    _check_content(path)
    suffix = image_suffix(path)
    if suffix in _HEADER_OF:
        headers = [path.with_suffix(s) for s in (_HEADER_OF[suffix], _HEADER_OF[suffix].upper())]
        header = next((h for h in headers if h.exists()), headers[0])
        check_regular(header)
        _check_content(header)
        return header
    if suffix in SUFFIXES:
        return path
    hint = f"Give a file that ends in {', '.join(SUFFIXES)}, or a folder with a DICOM series."
    if suffix in (".dcm", ".ima", ""):
        hint = f"If it is one slice of a DICOM series, give the folder {path.parent} instead. " + hint
    hint = _REMEDIES.get(suffix, hint)
    raise InputError(f"{path} is not of a supported image type ({suffix or 'no suffix'}).", hint)


def _not_fetched(path: Path, remedy: str) -> InputError:
    message = f"{path} has not been downloaded: git keeps only a pointer to it here."
    return InputError(message, f"Fetch its content ({remedy}), then run again.")
