"""The patient and the study that a new DICOM series joins: those of a series, or of any file of the study."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.images.dicom import begins_with_element, is_synthetic_series
from MRI2PETLib.images.dicom_tags import tag_name, text

if TYPE_CHECKING:
    import pydicom


@dataclass(frozen=True)
class DicomOrigin:
    """Whose a new series is.

    :ivar header: an image of the patient and the study, without its pixels.
    :ivar sources: SOP class and instance UIDs of the images it is computed from; none when those are no DICOM
        images, and then it has a frame of reference of its own.
    """

    header: pydicom.Dataset
    sources: tuple[tuple[str, str], ...] = ()


def origin_of_series(files: Sequence[Path]) -> DicomOrigin:
    """The origin of what is computed from these slices.

    :raises InputError: if they say no study.
    """
    header = _read(files[0])
    instances = (_read(file, ("SOPClassUID", "SOPInstanceUID")) for file in files)
    sources = tuple((text(one, "SOPClassUID"), text(one, "SOPInstanceUID")) for one in instances)
    return DicomOrigin(_with_study(header, files[0]), sources)


def study_file(path: Path) -> Path:
    """The file that says patient and study: ``path``, or the first DICOM file of that folder (all levels).

    :raises InputError: if there is none, or the folder holds several patients or studies.
    """
    if not path.is_dir():
        return path
    files: dict[tuple[str, str], Path] = {}
    for file, data in _dicom_files(path):
        if text(data, "StudyInstanceUID"):
            files.setdefault((text(data, "PatientID"), text(data, "StudyInstanceUID")), file)
    if not files:
        raise InputError(f"{path} holds no DICOM file with a study.", "Give a DICOM file of the person.")
    if len(files) > 1:
        first = ", ".join(str(file) for file in list(files.values())[:3])
        raise InputError(
            f"{path} holds {len(files)} patients or studies.", f"Give one file, for example of: {first}."
        )
    return next(iter(files.values()))


def origin_of_study(path: Path) -> DicomOrigin:
    """Patient and study of a DICOM file, or of the only study in a folder, for what is not computed from it.

    :raises InputError: see :func:`study_file`; if the file cannot be read or says no study.
    """
    file = study_file(path)
    return DicomOrigin(_with_study(_read(file), file))


def is_synthetic_file(file: Path) -> bool:
    """Whether a DICOM file says that a model made it.

    :raises InputError: if it is none.
    """
    return is_synthetic_series({"ImageType": _read(file, ("ImageType",)).get("ImageType")})


def _read(file: Path, tags: Sequence[str] | None = None) -> pydicom.Dataset:
    import pydicom

    try:
        force = begins_with_element(file)
        names: Any = None if tags is None else list(tags)
        return pydicom.dcmread(file, stop_before_pixels=True, specific_tags=names, force=force)
    except Exception as error:  # pydicom raises what it happens to meet in a damaged file
        raise InputError(f"{file} cannot be read as DICOM ({error}).", "Give a DICOM file.") from error


def _dicom_files(folder: Path) -> Iterator[tuple[Path, pydicom.Dataset]]:
    """Files that are DICOM, with the tags that say whose they are."""
    for file in sorted(f for f in folder.rglob("*") if f.is_file()):
        with file.open("rb") as stream:
            is_dicom = stream.read(132)[128:] == b"DICM"
        if is_dicom or begins_with_element(file):
            yield file, _read(file, ("PatientID", "StudyInstanceUID"))


def _with_study(header: pydicom.Dataset, file: Path) -> pydicom.Dataset:
    if not text(header, "StudyInstanceUID"):
        raise InputError(
            f"{file} has no {tag_name('StudyInstanceUID')}: no DICOM series can join its study.",
            "Export the images again, or go on without DICOM.",
        )
    return header
