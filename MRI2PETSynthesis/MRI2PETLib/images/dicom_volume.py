"""A DICOM series as an image: its slices are complete, even, and in the order of their positions."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.findings import Finding
from MRI2PETLib.images.dicom import DicomSeries, normal
from MRI2PETLib.images.raw import RawImage, check_memory, split_size, unreadable_as_input_error

# What a sidecar may say about the series; no dates, nothing that identifies the person.
_SIDECAR_TAGS = (
    "SeriesInstanceUID",
    "SeriesDescription",
    "Modality",
    "ImageType",
    "ScanningSequence",
    "MRAcquisitionType",
    "RepetitionTime",
    "EchoTime",
    "InversionTime",
    "FlipAngle",
)
# Slices further from even than this share of their distance mean that some are missing.
_UNEVEN_SHARE = 0.1
_OFF_LINE_MM = 0.5
_PIXEL_TAGS = ("Rows", "Columns", "BitsAllocated", "RescaleSlope", "PixelData")


def open_series(series: DicomSeries, folder: Path, *, findings: Iterable[Finding] = ()) -> RawImage:
    """Open a series as an image; checks that its slices are complete and evenly spaced.

    :raises InputError: for missing or uneven slices.
    """
    name = f"Series '{series.description}' in {folder}"
    if series.n_frames == 0:
        hint = "Export the series again; frames or slices are missing or there twice."
        raise InputError(f"{name} has different numbers of images at its positions.", hint)
    size, n_frames = split_size(folder, (*series.size, series.n_frames))
    check_memory(folder, size, 2)
    more = _check_slices(name, series)
    affine = np.eye(4)
    orientation = np.array(series.tags["ImageOrientationPatient"], dtype=float).reshape(2, 3)
    affine[:3, 0] = orientation[0] * series.spacing_mm[0]
    affine[:3, 1] = orientation[1] * series.spacing_mm[1]
    affine[:3, 2] = series.step
    affine[:3, 3] = series.positions[0]

    def read_frame(t: int) -> np.ndarray:
        files = series.files[t * size[2] : (t + 1) * size[2]]
        for file in files:
            _check_pixels(file)
        reader = sitk.ImageSeriesReader()
        # Float, because the rescale slope of a PET differs from slice to slice.
        reader.SetOutputPixelType(sitk.sitkFloat32)
        reader.SetFileNames([str(f) for f in files])
        with unreadable_as_input_error(folder):
            return sitk.GetArrayFromImage(reader.Execute())

    tags = {key: value for key, value in series.tags.items() if key in _SIDECAR_TAGS}
    return RawImage(
        path=folder,
        affine=affine,
        size=size,
        n_frames=n_frames,
        read_frame=read_frame,
        files=series.files,
        metadata={"format": "DICOM", "series": tags},
        findings=(*findings, *more),
    )


def _check_pixels(file: Path) -> None:
    """Check that a slice holds the pixels that its tags promise: ITK fills up with foreign memory, takes the
    first half of what is twice as long, and a slope of 0 for 1.

    :raises InputError: naming the slice.
    """
    import pydicom

    hint = "Export or copy the series again."
    try:
        data = pydicom.dcmread(file, force=True, specific_tags=[*_PIXEL_TAGS])
        pixels, compressed = data.get("PixelData"), data.file_meta.get("TransferSyntaxUID")
        promised = int(data.Rows) * int(data.Columns) * int(data.BitsAllocated) // 8
        slope = 1.0 if data.get("RescaleSlope") is None else float(data.RescaleSlope)
    except Exception as error:  # pydicom raises what it happens to meet in a damaged file
        raise InputError(f"The pixels of {file} cannot be read ({error}).", hint) from error
    present = 0 if pixels is None else len(pixels)
    if compressed is not None and compressed.is_compressed:
        promised = present or 1
    if present < promised:
        raise InputError(f"The slice {file} is incomplete: it holds {present} of {promised} bytes.", hint)
    if present >= 2 * promised:
        raise InputError(f"The slice {file} holds {present} bytes, {promised} by its tags.", hint)
    if slope == 0 or not math.isfinite(slope):
        raise InputError(f"The slice {file} has a rescale slope of {slope:g}.", hint)


def _check_slices(name: str, series: DicomSeries) -> tuple[Finding, ...]:
    positions = np.array(series.positions)
    if len(positions) < 3:
        return ()
    gaps = np.diff(positions @ normal(series.tags))
    gap = float(np.median(gaps))
    n_missing = int(np.sum(np.rint(gaps[gaps > 1.5 * gap] / gap) - 1))
    if n_missing:
        raise InputError(
            f"{name} lacks {n_missing} slices ({len(positions)} found, {gap:.2f} mm apart).",
            "Export the series again, completely.",
        )
    off_line = np.linalg.norm(
        positions - positions[0] - np.outer(np.arange(len(gaps) + 1), series.step), axis=1
    )
    unevenness = float(np.abs(gaps / gap - 1).max())
    if unevenness > _UNEVEN_SHARE or off_line.max() > max(_OFF_LINE_MM, 0.5 * gap):
        raise InputError(
            f"The slices of {name} are uneven: {gaps.min():.2f} to {gaps.max():.2f} mm apart.",
            "Export the series again, or convert it with a tool that resamples such series.",
        )
    if unevenness > 0.02:
        message = f"The slices of {name} are {gaps.min():.3f} to {gaps.max():.3f} mm apart; taken as even."
        return (Finding("warn", "uneven-slices", message),)
    return ()
