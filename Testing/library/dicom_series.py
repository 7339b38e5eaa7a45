"""Small DICOM series for tests, written with pydicom."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

MR = "1.2.840.10008.5.1.4.1.1.4"
PT = "1.2.840.10008.5.1.4.1.1.128"
SHAPE = (24, 30, 32)  # k, j, i at 6 mm: 144 x 180 x 192 mm
SPACING = 6.0
SAGITTAL = [0, 1, 0, 0, 0, -1]
AXIAL = [1, 0, 0, 0, 1, 0]


def volume(seed: int = 0, shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """Whole numbers, so that 16-bit pixel data holds them exactly."""
    return np.random.default_rng(seed).integers(1, 2000, shape).astype(np.uint16)


def write_series(
    folder: Path,
    array: np.ndarray,
    *,
    uid: str | None = None,
    prefix: str = "IM",
    orientation: list[float] | None = None,
    origin: tuple[float, float, float] = (-90.0, 40.0, 25.0),
    spacing: tuple[float, float, float] = (SPACING, SPACING, SPACING),
    leave_out: tuple[int, ...] = (),
    step: np.ndarray | None = None,
    per_slice: dict[str, list[Any]] | None = None,
    **tags: Any,
) -> str:
    """Write ``array`` [k, j, i] as one file a slice, with shuffled names; returns the series UID.

    ``spacing`` is (i, j, k) in mm; ``step`` replaces the vector from slice to slice.
    """
    folder.mkdir(parents=True, exist_ok=True)
    uid = uid or generate_uid()
    orientation = orientation or SAGITTAL
    normal = np.cross(orientation[:3], orientation[3:])
    step = normal * spacing[2] if step is None else step
    names = np.random.default_rng(1).permutation(len(array))
    for k, plane in enumerate(array):
        if k in leave_out:
            continue
        modality = tags.get("Modality", "MR")
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID = PT if modality == "PT" else MR
        meta.MediaStorageSOPInstanceUID = generate_uid()
        data = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
        data.SOPClassUID = meta.MediaStorageSOPClassUID
        data.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
        data.SeriesInstanceUID, data.PatientID, data.Modality = uid, "anonymous", modality
        data.Rows, data.Columns = plane.shape
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated = data.BitsStored = 16
        data.HighBit, data.PixelRepresentation = 15, 0
        data.PixelSpacing = [spacing[1], spacing[0]]
        data.SliceThickness = spacing[2]
        data.ImageOrientationPatient = orientation
        data.ImagePositionPatient = [float(f"{v:.6f}") for v in np.array(origin) + k * step]
        data.InstanceNumber = len(array) - k
        for name, value in tags.items():
            setattr(data, name, value)
        for name, values in (per_slice or {}).items():
            setattr(data, name, values[k])
        data.PixelData = plane.astype(np.uint16).tobytes()
        pydicom.dcmwrite(folder / f"{prefix}{names[k]:04d}", data, enforce_file_format=True)
    return str(uid)


MPRAGE = {
    "SeriesDescription": "t1_mprage_sag",
    "MRAcquisitionType": "3D",
    "ScanningSequence": ["GR", "IR"],
    "RepetitionTime": 2300.0,
    "EchoTime": 2.98,
    "InversionTime": 900.0,
    "FlipAngle": 9.0,
    "ImageType": ["ORIGINAL", "PRIMARY", "M", "ND", "NORM"],
    "SeriesNumber": 5,
}
T2 = {
    "SeriesDescription": "t2_space_sag",
    "MRAcquisitionType": "3D",
    "ScanningSequence": "SE",
    "RepetitionTime": 3200.0,
    "EchoTime": 408.0,
    "FlipAngle": 120.0,
    "ImageType": ["ORIGINAL", "PRIMARY", "M", "ND", "NORM"],
    "SeriesNumber": 7,
}


def radiopharmaceutical(**tags: Any) -> Dataset:
    data = Dataset()
    data.RadiopharmaceuticalStartTime = "100000.00"
    data.RadionuclideTotalDose = 350e6
    data.RadionuclideHalfLife = 1223.4
    for name, value in tags.items():
        if value is None:
            delattr(data, name)
        else:
            setattr(data, name, value)
    return data


def pet_tags(info: Dataset | None = None, **tags: Any) -> dict[str, Any]:
    """A static PET of 60-90 min: injected at 10:00, scanned from 11:00, decay-corrected to its start."""
    return {
        "Modality": "PT",
        "SeriesDescription": "PBR28",
        "Units": "BQML",
        "DecayCorrection": "START",
        "SeriesDate": "20200301",
        "SeriesTime": "110000",
        "AcquisitionDate": "20200301",
        "AcquisitionTime": "110000",
        "ActualFrameDuration": 1800000,
        "PatientWeight": 70.0,
        "RadiopharmaceuticalInformationSequence": [info or radiopharmaceutical()],
        **tags,
    }
