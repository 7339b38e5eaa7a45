"""A synthetic PET of the scene as a DICOM series in the study of its T1."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import slicer

from MRI2PETLib.core.errors import InputError, OutputError
from MRI2PETLib.core.files import new_folder
from MRI2PETLib.core.names import file_name
from MRI2PETLib.images.dicom_series_out import write_series
from MRI2PETLib.images.dicom_study import DicomOrigin, origin_of_series, origin_of_study
from MRI2PETLib.scene.images import image_of
from MRI2PETLib.scene.nodes import PREFIX
from MRI2PETLib.scene.origin import provenance_of
from MRI2PETLib.scene.results import ResultNodes
from MRI2PETLib.synthesis.dicom_case import check_pydicom, series_labels

INSTANCES = "DICOM.instanceUIDs"  # Slicer writes it on what it loads from its DICOM database
_NEAR_VOXEL = 0.05


def is_from_dicom(scene: slicer.vtkMRMLScene, nodes: ResultNodes) -> bool:
    """Whether the T1 of a result says of which DICOM images it is."""
    t1 = scene.GetNodeByID(nodes.t1) if nodes.t1 else None
    return t1 is not None and bool(t1.GetAttribute(INSTANCES))


def export_series(
    scene: slicer.vtkMRMLScene,
    nodes: ResultNodes,
    folder: Path,
    find_file: Callable[[str], str],
    study: Path | None = None,
) -> Path:
    """Write the PET of a result as a series into a new folder inside ``folder``, whole or not at all.

    :param find_file: SOP instance UID -> path, empty where it is not known (``fileForInstance`` of Slicer's
        DICOM database).
    :param study: a DICOM file or folder of the person's study, for a T1 that is not from DICOM.
    :return: the folder of the series.
    :raises InputError: without patient and study; if files of the T1 are gone; if the T1 was moved, so that
        it does not lie where its DICOM images say.
    :raises OutputError: if the folder is there already or cannot be written to.
    """
    check_pydicom()
    pet = scene.GetNodeByID(nodes.pet)
    origin = _origin(scene.GetNodeByID(nodes.t1), find_file) if is_from_dicom(scene, nodes) else None
    if origin is None:
        if study is None:
            raise InputError(
                "The T1 was not loaded from DICOM: it does not say of which patient and study the PET is.",
                "Name a DICOM file or folder of that person's study.",
            )
        origin = origin_of_study(study)
    target = folder / f"{file_name(pet.GetName())}_dicom"
    if target.exists():
        raise OutputError(f"{target} is there already.", "Choose another folder, or remove it.")
    model = {key: pet.GetAttribute(f"{PREFIX}Model{key.title()}") for key in ("id", "version", "sha256")}
    tracer = pet.GetAttribute(PREFIX + "Result")
    labels = series_labels(
        pet.GetAttribute(PREFIX + "Unit"),
        str(provenance_of(pet).get("unit_meaning") or ""),
        "" if tracer == "PET" else tracer,
        pet.GetDescription(),
        model,
    )
    with new_folder(folder) as staging:
        (staging / "series").mkdir()
        image = sitk.Cast(image_of(pet), sitk.sitkFloat32)
        write_series(image, staging / "series", origin, labels)
        os.replace(staging / "series", target)
    return target


def _origin(t1: Any, find_file: Callable[[str], str]) -> DicomOrigin:
    paths = [find_file(uid) for uid in t1.GetAttribute(INSTANCES).split()]
    if not all(path and Path(path).is_file() for path in paths):
        raise InputError(
            f"DICOM images of {t1.GetName()} are not in the database any more.", "Import them again."
        )
    origin = origin_of_series([Path(path) for path in paths])
    position = getattr(origin.header, "ImagePositionPatient", None)
    if position is not None:
        index = np.array(image_of(t1).TransformPhysicalPointToContinuousIndex([float(v) for v in position]))
        size = np.array(t1.GetImageData().GetDimensions())
        inside = (index > -0.5).all() and (index < size - 0.5).all()
        if np.abs(index - np.rint(index)).max() > _NEAR_VOXEL or not inside:
            raise InputError(
                f"{t1.GetName()} does not lie where its DICOM images say: it was moved.",
                "Take away its transform, or load it again and synthesise from that.",
            )
    return origin
