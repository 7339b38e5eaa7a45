"""DICOM folders: the series they hold, with the geometry that their tags state.

Geometry: DICOM PS3.3 C.7.6.2.1.1 (Image Plane Module): Image Position and Orientation (Patient) in LPS mm,
Pixel Spacing is (between rows, between columns). Slices are ordered by position, never by file name.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.images.dicom_times import NO_DATE, date_time, moment
from MRI2PETLib.images.formats import is_image

_TAGS = (
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "PatientID",
    "Modality",
    "SeriesDescription",
    "ProtocolName",
    "SeriesNumber",
    "ImageType",
    "ScanningSequence",
    "MRAcquisitionType",
    "RepetitionTime",
    "EchoTime",
    "InversionTime",
    "FlipAngle",
    "ContrastBolusAgent",
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "NumberOfFrames",
    "PixelSpacing",
    "SliceThickness",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "InstanceNumber",
    "AcquisitionNumber",
    "AcquisitionDate",
    "AcquisitionTime",
    "AcquisitionDateTime",
    "FrameReferenceTime",
    "CorrectedImage",
)
_SAME_POSITION_MM = 0.01
# Scanners round the echo time slice by slice; echoes of one scan are some tenths of a millisecond apart.
_SAME_ECHO_MS, _SAME_ECHO_SHARE = 0.02, 0.005
_HALF_DAY_S, _EPOCH = 43200.0, datetime(1970, 1, 1)


@dataclass(frozen=True)
class DicomSeries:
    """The images of one series that share orientation, matrix, echo and kind of image.

    A series whose images differ in these (a localiser, a multi-echo scan) is listed once for each part; so is
    an MR series that holds several acquisitions.

    :ivar part: number of the part among those with the same UID, from 1; 0 when it is the only one.
    :ivar files: ordered by frame, then along the normal of the slices.
    :ivar n_frames: images at each position; 0 when positions have different numbers of images.
    :ivar tags: plain values of the first image, but for PatientID.
    :ivar positions: Image Position (Patient) of the first frame's slices, LPS mm, in the order of ``files``.
    """

    uid: str
    modality: str
    description: str
    size: tuple[int, int, int]
    n_frames: int
    files: tuple[Path, ...]
    positions: tuple[tuple[float, float, float], ...]
    tags: dict[str, Any] = field(repr=False)
    patient: str = field(repr=False)
    part: int = 0

    @property
    def key(self) -> str:
        """What selects it: its UID, with ``#`` and its number where several parts share that."""
        return f"{self.uid}#{self.part}" if self.part else self.uid

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Along columns, rows and slices (mean distance of the slices)."""
        rows, columns = self.tags["PixelSpacing"]
        return float(columns), float(rows), float(np.linalg.norm(self.step))

    @property
    def step(self) -> np.ndarray:
        """LPS vector from one slice to the next."""
        if len(self.positions) > 1:
            return (np.array(self.positions[-1]) - self.positions[0]) / (len(self.positions) - 1)
        return normal(self.tags) * (number_or_zero(self.tags, "SliceThickness") or 1.0)

    def label(self) -> str:
        """One line for a list: what it is, how large, and what selects it."""
        size = " x ".join(str(n) for n in self.size)
        spacing = " x ".join(f"{s:.2f}" for s in self.spacing_mm)
        frames = f", {self.n_frames} frames" if self.n_frames != 1 else ""
        echo = (
            f", TE {number_or_zero(self.tags, 'EchoTime'):g} ms"
            if number_or_zero(self.tags, "EchoTime")
            else ""
        )
        scan = self.tags.get("SeriesNumber", "?")
        name = self.description or "no description"
        return f"{scan}: {self.modality} '{name}' {size} at {spacing} mm{echo}{frames}, {self.key}"


def list_series(folder: Path | str) -> list[DicomSeries]:
    """Find all DICOM image series under ``folder`` (all levels); reads tags only, passes over other files.

    :raises InputError: when there is no DICOM image with a position.
    """
    import pydicom

    folder = Path(folder)
    groups: list[list[dict[str, Any]]] = []
    instances: set[str] = set()
    files = sorted(f for f in folder.rglob("*") if f.is_file())
    multi_frame = 0
    for file in files:
        try:
            force = begins_with_element(file)
            data = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=[*_TAGS], force=force)
            tags = {name: _plain(data.get(name)) for name in _TAGS if data.get(name) is not None}
        except pydicom.errors.InvalidDicomError:
            continue
        except Exception as error:  # pydicom raises what it happens to meet in a damaged file
            raise InputError(
                f"The DICOM file {file} cannot be read: it is damaged.", "Export the series again."
            ) from error
        multi_frame += number_or_zero(tags, "NumberOfFrames") > 1
        if not _is_slice(tags) or str(tags.get("SOPInstanceUID")) in instances:
            continue
        instances.add(str(tags.get("SOPInstanceUID")))
        tags["file"] = file
        group = next((g for g in groups if _same_stack(g[0], tags)), None)
        if group is None:
            groups.append([tags])
        else:
            group.append(tags)
    if not groups:
        _refuse_folder(folder, files, multi_frame)
    series = [_series(part) for group in groups for part in _acquisitions(group)]
    uids = [one.uid for one in series]
    return [
        replace(one, part=uids[: n + 1].count(one.uid)) if uids.count(one.uid) > 1 else one
        for n, one in enumerate(series)
    ]


def begins_with_element(file: Path) -> bool:
    """Whether a file is a data set without preamble (PS3.10 demands one, archives leave it out): its first
    bytes are a low element of the group 0008, with explicit VR or with a length.
    """
    with file.open("rb") as stream:
        head = stream.read(8)
    if len(head) < 8 or head[:2] != b"\x08\x00" or head[3] or head[2] > 0x18:
        return False
    return head[4:6] in (b"UL", b"CS", b"UI", b"DA", b"TM", b"SH") or head[6:] == b"\0\0"


def _acquisitions(group: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """The acquisitions of an MR series, where its positions repeat and the numbers tell them apart; a PET
    with repeated positions is dynamic.
    """
    numbers = sorted({number_or_zero(tags, "AcquisitionNumber") for tags in group})
    positions = {tuple(tags["ImagePositionPatient"]) for tags in group}
    if group[0].get("Modality") != "MR" or len(numbers) < 2 or len(positions) == len(group):
        return [group]
    return [[tags for tags in group if number_or_zero(tags, "AcquisitionNumber") == one] for one in numbers]


def _series(group: list[dict[str, Any]]) -> DicomSeries:
    across = normal(group[0])
    by_position: list[list[dict[str, Any]]] = []
    for tags in sorted(group, key=lambda t: float(np.dot(t["ImagePositionPatient"], across))):
        height = float(np.dot(tags["ImagePositionPatient"], across))
        if by_position:
            last = float(np.dot(by_position[-1][0]["ImagePositionPatient"], across))
            if height - last < _SAME_POSITION_MM:
                by_position[-1].append(tags)
                continue
        by_position.append([tags])
    by_position = [_in_time_order(images) for images in by_position]
    counts = {len(images) for images in by_position}
    n_frames = counts.pop() if len(counts) == 1 else 0
    frames = [[images[t] for images in by_position] for t in range(max(1, n_frames))]
    first = frames[0][0]
    return DicomSeries(
        uid=str(first.get("SeriesInstanceUID", "")),
        modality=str(first.get("Modality", "")),
        description=str(first.get("SeriesDescription") or first.get("ProtocolName") or ""),
        size=(int(first["Columns"]), int(first["Rows"]), len(by_position)),
        n_frames=n_frames,
        files=tuple(image["file"] for frame in frames for image in frame),
        positions=tuple(_position(image) for image in frames[0]),
        tags={key: value for key, value in first.items() if key not in ("PatientID", "file")},
        patient=str(first.get("PatientID", "")),
    )


def _position(tags: dict[str, Any]) -> tuple[float, float, float]:
    x, y, z = tags["ImagePositionPatient"]
    return float(x), float(y), float(z)


def _in_time_order(images: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Images of one position by the time of their acquisition. Without dates, those before noon follow those
    after it where the scan passed midnight.
    """
    times = [_acquired_s(tags) for tags in images]
    past_midnight = max(times) - min(times) > _HALF_DAY_S and max(times) < 2 * _HALF_DAY_S
    if past_midnight:
        times = [t + 2 * _HALF_DAY_S if t < _HALF_DAY_S else t for t in times]
    rest = [
        (number_or_zero(tags, "FrameReferenceTime"), number_or_zero(tags, "InstanceNumber"))
        for tags in images
    ]
    order = sorted(range(len(images)), key=lambda n: (times[n], rest[n]))
    return [images[n] for n in order]


def _acquired_s(tags: dict[str, Any]) -> float:
    """Time of the acquisition in s, since 1970 where its date is known, else since midnight; 0 without."""
    try:
        if tags.get("AcquisitionTime"):
            begin = moment(str(tags.get("AcquisitionDate") or ""), str(tags["AcquisitionTime"]))
            return (begin.time - (_EPOCH if begin.dated else NO_DATE)).total_seconds()
        return (date_time(str(tags["AcquisitionDateTime"]))[0] - _EPOCH).total_seconds()
    except (KeyError, ValueError):
        return 0.0


def _is_slice(tags: dict[str, Any]) -> bool:
    """A single-channel, single-frame image with a position that makes sense."""
    if number_or_zero(tags, "NumberOfFrames") > 1 or number_or_zero(tags, "SamplesPerPixel") > 1:
        return False
    lengths = {"PixelSpacing": 2, "ImagePositionPatient": 3, "ImageOrientationPatient": 6}
    try:
        numbers = {name: np.array(tags.get(name), dtype=float) for name in lengths}
        good = all(n.shape == (lengths[name],) and np.isfinite(n).all() for name, n in numbers.items())
        good = good and int(tags["Rows"]) > 0 and int(tags["Columns"]) > 0 and min(tags["PixelSpacing"]) > 0
        return good and bool(abs(np.linalg.norm(normal(tags)) - 1) < 0.01)
    except (KeyError, TypeError, ValueError):
        return False


def _same_stack(a: dict[str, Any], b: dict[str, Any]) -> bool:
    same = ["SeriesInstanceUID", "Rows", "Columns"]
    if a.get("Modality") == "MR":  # archives have given several series one UID
        same += ["SeriesNumber", "SeriesDescription"]
    close = ("PixelSpacing", "ImageOrientationPatient")
    return (
        all(a.get(key) == b.get(key) for key in same)
        and _same_echo(number_or_zero(a, "EchoTime"), number_or_zero(b, "EchoTime"))
        and image_component(a) == image_component(b)
        and all(np.allclose(a[key], b[key], atol=1e-3) for key in close)
    )


def _same_echo(a: float, b: float) -> bool:
    return abs(a - b) <= max(_SAME_ECHO_MS, _SAME_ECHO_SHARE * max(a, b))


def image_component(tags: dict[str, Any]) -> str:
    """Value 3 of Image Type: M, P, R or I (magnitude, phase, ...) for MR."""
    image_type = tags.get("ImageType") or []
    return str(image_type[2]) if tags.get("Modality") == "MR" and len(image_type) > 2 else ""


def is_synthetic_series(tags: dict[str, Any]) -> bool:
    """Whether the tags of a series say that a model made it, as those that this program writes do."""
    return "SYNTHETIC" in [str(part).upper() for part in np.atleast_1d(tags.get("ImageType") or [])]


def normal(tags: dict[str, Any]) -> np.ndarray:
    """Unit vector (LPS) across the slices."""
    row, column = np.array(tags["ImageOrientationPatient"], dtype=float).reshape(2, 3)
    return np.cross(row, column)


def _refuse_folder(folder: Path, files: list[Path], multi_frame: int) -> None:
    if multi_frame:
        raise InputError(
            f"{folder} holds enhanced multi-frame DICOM, which is not supported.",
            "Convert it to NIfTI (for example with dcm2niix) and give that.",
        )
    images = [f for f in files if is_image(f)]
    hint = f"Give the image itself, for example {images[0]}." if images else "Give the folder of the series."
    raise InputError(f"{folder} has no DICOM image ({len(files)} files looked at).", hint)


def number_or_zero(tags: dict[str, Any], name: str) -> float:
    """A tag as a number; 0 when it is missing or not a number."""
    try:
        value = float(tags.get(name) or 0)
    except (TypeError, ValueError):
        return 0.0
    return value if np.isfinite(value) else 0.0


def _plain(value: Any) -> Any:
    """pydicom values as str, float, int and lists of them."""
    from pydicom.multival import MultiValue
    from pydicom.valuerep import IS, DSdecimal, DSfloat

    if isinstance(value, MultiValue):
        return [_plain(v) for v in value]
    if isinstance(value, (DSfloat, DSdecimal)):
        return float(value)
    if isinstance(value, IS):
        return int(value)
    return value if isinstance(value, (int, float)) else str(value)
