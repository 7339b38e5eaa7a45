"""Open NIfTI-1 and NIfTI-2 files: header with nibabel, voxels on demand, checksum of compressed files."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.findings import Finding
from MRI2PETLib.images.formats import image_suffix
from MRI2PETLib.images.gzipped import MAGIC, deflated, read_gzip
from MRI2PETLib.images.nifti_orientation import read_forms
from MRI2PETLib.images.orientation import NiftiForms
from MRI2PETLib.images.raw import RawImage, check_memory, split_size, unreadable_as_input_error

# A compressed file up to this size is decompressed once and kept while it is read; a larger one (frames of a
# dynamic PET) is decompressed again for what is asked for.
_IN_MEMORY_BYTES = 1 << 29
_STATISTICS = range(2, 25)  # of intent_code: from correlation to -log10 of a p-value


@dataclass(frozen=True)
class _Layout:
    """Where the voxels are in the (decompressed) file."""

    dtype: np.dtype
    offset: int
    frame_bytes: int
    n_frames: int

    @property
    def end(self) -> int:
        return self.offset + self.frame_bytes * self.n_frames


def open_nifti(path: Path) -> RawImage:
    """Open a NIfTI file (``.nii``, ``.nii.gz``, or the ``.hdr`` of a pair); reads the header, and compressed
    files to their end, for their checksum.

    :raises InputError: unreadable header, cut short, not three-dimensional, vector or complex, too large.
    """
    compressed = _is_compressed(path)
    with unreadable_as_input_error(path):
        header = _header(path, compressed)
    data_path = path.with_suffix(".img") if image_suffix(path) == ".hdr" else path
    shape = tuple(int(n) for n in header["dim"][1 : 1 + max(0, min(7, int(header["dim"][0])))])
    size, _ = split_size(path, shape[:4])
    if any(n > 1 for n in shape[4:]):
        raise InputError(f"{path} is a vector image (shape {shape}).", "Give a scalar image.")
    with unreadable_as_input_error(path):
        dtype, slope, intercept = _values(header, path)
        layout = _layout(header, size, shape, dtype)
    check_memory(path, size, dtype.itemsize)
    forms, findings, used = read_forms(header, size, path.name)
    with unreadable_as_input_error(path):
        stored, more = _stored(data_path, layout, compressed)

    def read_frame(t: int) -> np.ndarray:
        with unreadable_as_input_error(path), np.errstate(all="ignore"):
            values = np.frombuffer(stored(t), dtype).reshape(size[::-1])
            return values if (slope, intercept) == (1.0, 0.0) else values * np.float64(slope) + intercept

    return RawImage(
        path=path,
        affine=forms.affine,
        size=size,
        n_frames=layout.n_frames,
        read_frame=read_frame,
        files=tuple(dict.fromkeys((path, data_path))),
        metadata={"format": "NIfTI", "orientation_from": used, **_statistic(header)},
        findings=(*findings, *more),
        forms=forms,
    )


def is_nifti_pair(header: Path) -> bool:
    """Whether a ``.hdr`` file is NIfTI, not Analyze 7.5 or something else."""
    with unreadable_as_input_error(header), header.open("rb") as stream:
        start = stream.read(348)
    nifti_2 = 540 in (int.from_bytes(start[:4], "little"), int.from_bytes(start[:4], "big"))
    return nifti_2 or start[344:347] in (b"ni1", b"n+1")


def write_nifti(image: sitk.Image, forms: NiftiForms, path: Path) -> None:
    """Write a scalar 3-D image with its orientations (:meth:`.NiftiForms.of_output`).

    :raises OSError: if the disk is full or the file cannot be written.
    """
    values = sitk.GetArrayViewFromImage(image)
    header = forms.header(values.dtype)
    parts = (header.binaryblock + bytes(4), values.data.cast("B"))
    with path.open("wb") as stream:
        stream.writelines(deflated(parts) if image_suffix(path) == ".nii.gz" else parts)


def _statistic(header: Any) -> dict[str, str]:
    """The statistic that the header says the values are, if it says so."""
    code = int(header["intent_code"])
    return {"statistic": str(header.get_intent()[0])} if code in _STATISTICS else {}


def _is_compressed(path: Path) -> bool:
    """Whether a file is gzip-compressed, as its name must say too."""
    with unreadable_as_input_error(path), path.open("rb") as stream:
        is_gzip = stream.read(2) == MAGIC
    suffix = image_suffix(path)
    if is_gzip != (suffix == ".nii.gz"):
        state, right = ("gzip-compressed", ".nii.gz") if is_gzip else ("not gzip-compressed", ".nii")
        raise InputError(
            f"{path} ends in {suffix} but is {state}.", f"If it is NIfTI, rename it to end in {right}."
        )
    return is_gzip


def _header(path: Path, compressed: bool) -> Any:
    """The header as it stands: nibabel's checks would correct or refuse what is harmless.

    :raises ValueError: if it is none of NIfTI.
    """
    import nibabel as nib

    def start(n_bytes: int) -> bytes:
        if compressed:
            return read_gzip(path, 0, n_bytes, to_end=False)[0]
        with path.open("rb") as stream:
            content = stream.read(n_bytes)
        if len(content) < n_bytes:
            raise EOFError("the file ends within its header")
        return content

    size = start(4)
    for kind, n_bytes, magics in (
        (nib.Nifti1Header, 348, (b"n+1", b"ni1")),
        (nib.Nifti2Header, 540, (b"n+2", b"ni2")),
    ):
        if n_bytes in (int.from_bytes(size, "little"), int.from_bytes(size, "big")):
            header = kind(start(n_bytes), check=False)
            if header["magic"].item()[:3] in magics:
                return header
    raise ValueError("it has no NIfTI header")


def _values(header: Any, path: Path) -> tuple[np.dtype, float, float]:
    """How voxels are stored, and what scales them."""
    try:
        dtype = header.get_data_dtype()
    except KeyError as error:
        raise ValueError(f"its voxels are of the unknown type {error}") from error
    if dtype.fields is not None or dtype.kind == "c":
        raise InputError(f"{path} holds colour, vector or complex voxels.", "Give a scalar image.")
    slope, intercept = header.get_slope_inter()
    return dtype, 1.0 if slope is None else slope, 0.0 if intercept is None else intercept


def _layout(header: Any, size: tuple[int, int, int], shape: tuple[int, ...], dtype: np.dtype) -> _Layout:
    """:raises ValueError: if the voxels are said to begin where they cannot."""
    offset = float(header["vox_offset"])
    if not 0 <= offset < 1e9:
        raise ValueError(f"its voxels are said to begin at byte {offset:g}")
    single = header["magic"].item()[1:2] == b"+"
    if single and offset < header.sizeof_hdr:  # 0 is usual; the NIfTI library does the same
        offset = header.sizeof_hdr + 4
    n_frames = shape[3] if len(shape) > 3 else 1
    return _Layout(dtype, int(offset), math.prod(size) * dtype.itemsize, n_frames)


def _stored(
    path: Path, layout: _Layout, compressed: bool
) -> tuple[Callable[[int], bytes | memoryview], tuple[Finding, ...]]:
    """What gives the bytes of a frame, and what was odd about the file.

    :raises EOFError: if the file holds fewer voxels than its header says.
    """
    if not compressed:
        present = path.stat().st_size
        if present < layout.end:
            raise EOFError(f"it holds {present} of {layout.end} bytes")

        def read(t: int) -> bytes:
            with path.open("rb") as stream:
                stream.seek(layout.offset + t * layout.frame_bytes)
                return stream.read(layout.frame_bytes)

        return read, ()
    small = layout.end <= _IN_MEMORY_BYTES
    # All of it, where that is kept: to cut the header off would be a copy.
    content, tail = read_gzip(path, 0, layout.end) if small else read_gzip(path, layout.offset, 0)
    findings = () if not tail else (_foreign_tail(path, tail),)

    def from_memory(t: int) -> memoryview:
        start = layout.offset + t * layout.frame_bytes
        return memoryview(content)[start : start + layout.frame_bytes]

    def again(t: int) -> bytes:
        start = layout.offset + t * layout.frame_bytes
        return read_gzip(path, start, layout.frame_bytes, to_end=False)[0]

    return from_memory if small else again, findings


def _foreign_tail(path: Path, n_bytes: int) -> Finding:
    message = f"{path.name} ends with {n_bytes} bytes that do not belong to it; they are left out."
    return Finding(
        "warn",
        "foreign-tail",
        message,
        "The checksum before them is right.",
    )
