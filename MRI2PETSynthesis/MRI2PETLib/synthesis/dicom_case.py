"""The synthetic PET of a case as a DICOM series: whose it is, and what it says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from MRI2PETLib.core.checksums import sha256_of
from MRI2PETLib.core.errors import DependencyError, InputError
from MRI2PETLib.core.requests import Source
from MRI2PETLib.images.dicom_series_out import SeriesLabels, write_series
from MRI2PETLib.images.dicom_study import DicomOrigin, origin_of_series, origin_of_study, study_file
from MRI2PETLib.images.io import LoadedImage
from MRI2PETLib.models.bundle import Bundle
from MRI2PETLib.synthesis.case_files import bundle_note
from MRI2PETLib.synthesis.pipeline import SynthesisResult


def check_pydicom() -> None:
    """
    :raises DependencyError: if pydicom is older than 3: Slicer 5.10 brings 2.4.
    """
    from pydicom import __version__

    if int(__version__.split(".")[0]) < 3:
        raise DependencyError(
            f"DICOM is written with pydicom 3 or newer, and {__version__} is installed.",
            "Use Slicer 5.12 or newer, or leave out --dicom.",
        )


def check_dicom_out(bundle: Bundle) -> None:
    """
    :raises InputError: for a model that makes MRIs: only a PET is written as DICOM.
    :raises DependencyError: see :func:`check_pydicom`.
    """
    check_pydicom()
    if bundle.space.target_modality != "PET":
        raise InputError(
            f"{bundle.id} makes an MRI, and only a synthetic PET is written as DICOM.",
            "Leave out --dicom and --dicom-study.",
        )


def dicom_origin(t1: LoadedImage, study: Path | None) -> DicomOrigin:
    """Patient and study of a T1: its own, or for a T1 that is no DICOM series those of ``study``.

    :raises InputError: if there are none, or two; if they cannot be read.
    """
    if t1.metadata.get("format") == "DICOM":
        if study is not None:
            raise InputError(
                f"{t1.path} is DICOM and says patient and study itself, and --dicom-study names {study}.",
                "Leave out --dicom-study.",
            )
        return origin_of_series(t1.files)
    if study is None:
        raise InputError(
            f"{t1.path} is no DICOM series: it does not say of which patient and study the PET is.",
            "Name a DICOM folder or file of that person's study (--dicom-study), or leave out --dicom.",
        )
    return origin_of_study(study)


def study_source(study: Path | None) -> Source | None:
    """The file that says patient and study, as an input of a request; without checksum if there is none."""
    if study is None:
        return None
    try:
        return Source(str(study.resolve()), sha256_of(study_file(study)))
    except InputError:
        return Source(str(study.resolve()), "")


def series_labels(unit: str, meaning: str, tracer: str, note: str, model: Mapping[str, Any]) -> SeriesLabels:
    """
    :param meaning: of the unit, see :attr:`.ModelSpace.unit_meaning`.
    :param note: the sentence that says synthetic.
    :param model: ``model`` of the provenance.
    """
    return SeriesLabels(
        unit=unit,
        meaning=meaning,
        tracer=tracer,
        note=note,
        model=str(model["id"]),
        model_version=str(model["version"]),
        model_sha256=str(model["sha256"]),
    )


def write_dicom(result: SynthesisResult, origin: DicomOrigin, bundle: Bundle, folder: Path) -> None:
    """Write the synthetic PET as a DICOM series into a new folder."""
    folder.mkdir()
    space, model = bundle.space, result.provenance["model"]
    labels = series_labels(result.unit, space.unit_meaning, bundle.tracer, bundle_note(bundle), model)
    write_series(result.pet, folder, origin, labels)
