"""A volume as a DICOM series: PET Image Storage, one file a slice, in the study of its T1.

DICOM PS3.3: A.21 (PET Image IOD), C.8.9 (its modules), C.7.6.1 (derivation, source images), C.7.6.2 (plane).
DICOM has no code for an image that a network synthesised, so the derivation is in words.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import SimpleITK as sitk

from MRI2PETLib import __version__
from MRI2PETLib.core.errors import InputError
from MRI2PETLib.images.dicom_study import DicomOrigin
from MRI2PETLib.images.dicom_tags import tag_name, text
from MRI2PETLib.images.formats import SOFTWARE

if TYPE_CHECKING:
    import pydicom

SYNTHETIC_PET = "SYNTHETIC PET (not for diagnosis)"
_LARGEST = 32767  # of the 16-bit voxels
_SOURCE_IMAGES = 0x00082112  # Source Image Sequence
_SERIES_NUMBERS = 9000  # added to that of the source, behind those of a scanner
# Of the patient and the study: Type 2 tags, which are there even when they are empty, and others.
_PRESENT = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex",
    "StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip
_OPTIONAL = (
    "SpecificCharacterSet", "TimezoneOffsetFromUTC", "StudyInstanceUID", "StudyDescription",
    "IssuerOfPatientID", "OtherPatientIDsSequence", "PatientAge", "PatientSize", "PatientWeight",
    "PatientIdentityRemoved", "DeidentificationMethod", "DeidentificationMethodCodeSequence",
    "LongitudinalTemporalInformationModified", "PatientSpeciesDescription",
)  # fmt: skip
_UNITS = {"SUVR": ("{ratio}", "ratio")}


@dataclass(frozen=True)
class SeriesLabels:
    """What a series says of itself. ASCII; other letters become question marks.

    :ivar unit: of the voxels, with its ``meaning``.
    :ivar note: one or two sentences that say synthetic.
    :ivar model: id of the model, with ``model_version`` and the checksum of its weights.
    """

    unit: str
    meaning: str
    tracer: str
    note: str
    model: str
    model_version: str
    model_sha256: str

    @property
    def series_description(self) -> str:
        return f"{SYNTHETIC_PET}, {self.unit}"

    @property
    def comment(self) -> str:
        tracer = f" Imitates {self.tracer}; no tracer was given." if self.tracer else ""
        return f"{SYNTHETIC_PET}. {self.note} Values: {self.unit}, {self.meaning}.{tracer}"

    @property
    def derivation(self) -> str:
        return (
            f"{SYNTHETIC_PET}: computed from the T1-weighted images by the model {self.model} "
            f"{self.model_version} (weights sha256 {self.model_sha256}) of {SOFTWARE} {__version__}."
        )


def write_series(image: sitk.Image, folder: Path, origin: DicomOrigin, labels: SeriesLabels) -> list[Path]:
    """Write a volume into an empty folder, ordered along the normal of the slices.

    UIDs follow from everything else that is written: the same series has the same UIDs. Only a source
    without any date gives others every time, because a series needs one and the present one is taken.

    :param image: 3-D, finite, LPS mm. A slice is a plane of its last axis.
    :returns: the files. Voxels are 16-bit, with one rescale slope and intercept 0: they differ from those of
        the image by up to 1.6e-5 of the largest value.
    :raises InputError: if a tag of the source cannot be copied.
    """
    import pydicom
    from pydicom.uid import ExplicitVRLittleEndian, PositronEmissionTomographyImageStorage

    values = sitk.GetArrayViewFromImage(image)
    slope, slope_text = _slope(values)
    stored = np.rint(values / slope).astype("<i2")
    data = pydicom.Dataset()
    _add_patient_and_study(data, origin)
    _add_series(data, origin, labels)
    _add_image(data, image, labels, slope, slope_text)
    sources = _encoded(_source_images(origin))
    series_uid, frame_uid = _uids(data, origin, image, sources, stored)
    data.SeriesInstanceUID, data.FrameOfReferenceUID = series_uid, frame_uid
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID = meta.MediaStorageSOPClassUID = PositronEmissionTomographyImageStorage
    files = []
    for number, (k, position, location) in enumerate(_slices(image), start=1):
        data.InstanceNumber = data.ImageIndex = number
        data.SOPInstanceUID = meta.MediaStorageSOPInstanceUID = _uid(series_uid, str(number))
        data.ImagePositionPatient, data.SliceLocation = _decimals(position), _decimals([location])[0]
        data.PixelData = stored[k].tobytes()
        files.append(folder / f"IM{number:04d}.dcm")
        # The source images are many and the same in every slice: encoded once, which is half of the time.
        head, tail = data[:_SOURCE_IMAGES], data[_SOURCE_IMAGES + 1 :]
        head.file_meta = meta
        pydicom.dcmwrite(files[-1], head, enforce_file_format=True)
        with files[-1].open("ab") as stream:
            stream.write(sources)
            stream.write(_encoded(tail, data.get("SpecificCharacterSet")))
    return files


def _encoded(data: pydicom.Dataset, characters: Any = None) -> bytes:
    """A part of a data set as Explicit VR Little Endian.

    :param characters: Specific Character Set (0008,0005) of the whole.
    """
    from pydicom.charset import default_encoding
    from pydicom.filebase import DicomBytesIO
    from pydicom.filewriter import write_dataset

    written = DicomBytesIO()
    written.is_little_endian, written.is_implicit_VR = True, False
    write_dataset(written, data, characters or default_encoding)
    return written.getvalue()


def _add_patient_and_study(data: pydicom.Dataset, origin: DicomOrigin) -> None:
    for keyword in (*_PRESENT, *_OPTIONAL):
        try:
            if keyword in origin.header:
                data.add(origin.header[keyword])
            elif keyword in _PRESENT:
                setattr(data, keyword, None)
        except Exception as error:  # pydicom raises what it happens to meet in a malformed value
            raise InputError(
                f"{tag_name(keyword)} of the source cannot be read ({error}).", "Export the images again."
            ) from error


def _add_series(data: pydicom.Dataset, origin: DicomOrigin, labels: SeriesLabels) -> None:
    """The modules of series, equipment and PET series. No scanner, no tracer and no acquisition is named."""
    source = origin.header
    days = [text(source, name) for name in ("SeriesDate", "AcquisitionDate", "StudyDate")]
    times = [text(source, name) for name in ("SeriesTime", "AcquisitionTime", "StudyTime")]
    dates = [(day, time or "000000") for day, time in zip(days, times) if day]
    now = datetime.now()
    data.SeriesDate, data.SeriesTime = (*dates, (now.strftime("%Y%m%d"), now.strftime("%H%M%S")))[0]
    data.Modality = "PT"
    number = text(source, "SeriesNumber")
    data.SeriesNumber = _SERIES_NUMBERS + (int(number) if number.isdecimal() else 0)
    data.SeriesDescription = _ascii(labels.series_description, 64)
    data.ProtocolName = SYNTHETIC_PET
    data.BodyPartExamined = "BRAIN"
    data.PositionReferenceIndicator = ""
    data.Manufacturer, data.ManufacturerModelName = SOFTWARE, _ascii(labels.model, 64)
    data.SoftwareVersions = [f"{SOFTWARE} {__version__}", _ascii(f"model {labels.model_version}", 64)]
    data.Units, data.CountsSource, data.SeriesType = "NONE", "EMISSION", ["STATIC", "IMAGE"]
    data.CorrectedImage = data.CollimatorType = None
    data.DecayCorrection = "NONE"
    data.RadiopharmaceuticalInformationSequence = []
    data.PatientOrientationCodeSequence = []
    data.PatientGantryRelationshipCodeSequence = []


def _add_image(
    data: pydicom.Dataset, image: sitk.Image, labels: SeriesLabels, slope: float, slope_text: str
) -> None:
    """What is the same in every slice: derivation, plane, voxels."""
    columns, rows, slices = image.GetSize()
    data.ImageType = ["DERIVED", "PRIMARY", "SYNTHETIC"]
    data.ImageComments = _ascii(labels.comment, 1024)
    data.DerivationDescription = _ascii(labels.derivation, 1024)
    data.BurnedInAnnotation, data.LossyImageCompression = "NO", "00"
    data.AcquisitionDate = data.AcquisitionTime = None
    data.FrameReferenceTime, data.ActualFrameDuration, data.NumberOfSlices = 0, None, slices
    direction = np.reshape(image.GetDirection(), (3, 3))
    width, height, step = image.GetSpacing()
    data.PixelSpacing = _decimals([height, width])
    data.SliceThickness = data.SpacingBetweenSlices = _decimals([step])[0]
    data.ImageOrientationPatient = _decimals([*direction[:, 0], *direction[:, 1]])
    data.Rows, data.Columns = rows, columns
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = 16
    data.HighBit, data.PixelRepresentation = 15, 1
    data.RescaleIntercept, data.RescaleSlope = 0, slope_text
    data.RealWorldValueMappingSequence = [_real_world_values(labels, slope)]


def _real_world_values(labels: SeriesLabels, slope: float) -> pydicom.Dataset:
    """What the voxels mean, which Units (0054,1001) cannot say."""
    from pydicom.dataset import Dataset

    code, meaning = _UNITS.get(labels.unit, ("1", "no units"))
    item, unit = Dataset(), Dataset()
    item.add_new("RealWorldValueFirstValueMapped", "SS", -_LARGEST)
    item.add_new("RealWorldValueLastValueMapped", "SS", _LARGEST)
    item.RealWorldValueIntercept, item.RealWorldValueSlope = 0.0, slope
    item.LUTLabel, item.LUTExplanation = _ascii(labels.unit, 16), _ascii(labels.meaning, 64)
    unit.CodeValue, unit.CodingSchemeDesignator, unit.CodeMeaning = code, "UCUM", meaning
    item.MeasurementUnitsCodeSequence = [unit]
    return item


def _source_images(origin: DicomOrigin) -> pydicom.Dataset:
    from pydicom.dataset import Dataset

    items = []
    for class_uid, instance_uid in origin.sources:
        item, purpose = Dataset(), Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = class_uid, instance_uid
        purpose.CodeValue, purpose.CodingSchemeDesignator = "121322", "DCM"
        purpose.CodeMeaning = "Source image for image processing operation"
        item.PurposeOfReferenceCodeSequence = [purpose]
        items.append(item)
    data = Dataset()
    if items:
        data.SourceImageSequence = items
    return data


def _slope(values: np.ndarray) -> tuple[float, str]:
    """The rescale slope, and as the text that says exactly this number."""
    from pydicom.valuerep import format_number_as_ds

    largest = float(np.abs(values).max(initial=0.0))
    slope_text = format_number_as_ds(largest / _LARGEST if largest > 0 else 1.0)
    return float(slope_text), slope_text


def _slices(image: sitk.Image) -> Iterator[tuple[int, list[float], float]]:
    """Index, position (LPS mm) and place along the normal of each slice, in the order of that place."""
    direction = np.reshape(image.GetDirection(), (3, 3))
    normal = np.cross(direction[:, 0], direction[:, 1])
    order = range(image.GetSize()[2])
    for k in order if normal @ direction[:, 2] > 0 else reversed(order):
        position = np.array(image.TransformIndexToPhysicalPoint((0, 0, k)))
        yield k, position.tolist(), float(position @ normal)


def _uids(
    data: pydicom.Dataset, origin: DicomOrigin, image: sitk.Image, sources: bytes, stored: np.ndarray
) -> tuple[str, str]:
    """UIDs of the series and of its frame of reference, which is that of the images it is computed from."""
    place = repr((image.GetOrigin(), image.GetDirection())).encode()
    digest = hashlib.sha256()
    for part in (_encoded(data), sources, place, stored.tobytes()):
        digest.update(part)
    series_uid = _uid(digest.hexdigest())
    frame_uid = text(origin.header, "FrameOfReferenceUID") if origin.sources else ""
    return series_uid, frame_uid or _uid(series_uid, "frame of reference")


def _uid(*parts: str) -> pydicom.uid.UID:
    """A UID that follows from the parts: a name-based UUID (RFC 4122) as PS3.5 B.2 writes it."""
    from pydicom.uid import UID

    return UID(f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, ' '.join(parts)).int}")


def _decimals(values: Sequence[float]) -> list[Any]:
    from pydicom.valuerep import DSfloat

    return [DSfloat(float(value), auto_format=True) for value in values]


def _ascii(text: str, most: int) -> str:
    return text.encode("ascii", "replace").decode()[:most].replace("\\", "/")
