"""Open NIfTI files with nibabel: header, orientation, unit of length, checksum of compressed files."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.findings import Finding
from MRI2PETLib.images.raw import RawImage, split_size, unreadable_as_input_error

if TYPE_CHECKING:
    import nibabel as nib

# NIfTI xyzt_units: code -> factor to mm. 0 (unknown) is mm by convention.
_UNITS = {0: ("unknown", 1.0), 1: ("metre", 1e3), 2: ("mm", 1.0), 3: ("micrometre", 1e-3)}
_PLAUSIBLE_EXTENT_MM = (60.0, 3000.0)
# A compressed file up to this size is decompressed once and kept while it is read; a larger one (frames of a
# dynamic PET) is decompressed again for what is asked for.
_IN_MEMORY_BYTES = 1 << 29


def open_nifti(path: Path, suffix: str) -> RawImage:
    """Open a NIfTI file; reads the header only.

    :raises InputError: unreadable header, not three-dimensional, vector or complex, too large.
    """
    import nibabel as nib

    with path.open("rb") as stream:
        is_gzip = stream.read(2) == b"\x1f\x8b"
    if is_gzip != (suffix == ".nii.gz"):
        state, right = ("gzip-compressed", ".nii.gz") if is_gzip else ("not gzip-compressed", ".nii")
        raise InputError(
            f"{path} ends in {suffix} but is {state}.", f"If it is NIfTI, rename it to end in {right}."
        )
    with unreadable_as_input_error(path):
        image = nib.load(path)
    if not isinstance(image, (nib.Nifti1Image, nib.Nifti2Image)):
        raise InputError(f"{path} is {type(image).__name__}, not NIfTI.", "Convert it to NIfTI.")
    if image.get_data_dtype().fields is not None or image.get_data_dtype().kind == "c":
        raise InputError(f"{path} holds colour, vector or complex voxels.", "Give a scalar image.")
    shape = image.shape
    if len(shape) > 4 and any(n > 1 for n in shape[4:]):
        raise InputError(f"{path} is a vector image (shape {shape}).", "Give a scalar image.")
    size, n_frames = split_size(path, shape[:4])
    if is_gzip:
        image = _decompressed(path, image)
    ras_affine, findings, orientation = _affine(path, image)
    dataobj = image.dataobj

    def read_frame(t: int) -> np.ndarray:
        index = (slice(None),) * 3 + ((t,) if len(shape) > 3 else ()) + (0,) * max(0, len(shape) - 4)
        with unreadable_as_input_error(path), np.errstate(all="ignore"):
            return np.asarray(dataobj[index]).T

    return RawImage(
        path=path,
        affine=np.diag([-1.0, -1.0, 1.0, 1.0]) @ ras_affine,
        size=size,
        n_frames=n_frames,
        read_frame=read_frame,
        files=(path,),
        metadata={"format": "NIfTI", "orientation_from": orientation},
        findings=findings,
    )


def _decompressed(path: Path, image: nib.Nifti1Image) -> nib.Nifti1Image:
    """The same image from memory, or still from its file if it is large.

    The file is read to its end, where the checksum is: nibabel stops at the last voxel and misses damaged
    ones.
    """
    stored: Any = image.dataobj
    n_bytes = stored.offset + math.prod(image.shape) * image.get_data_dtype().itemsize
    with unreadable_as_input_error(path):
        content = _decompressed_at_once(path, n_bytes) if n_bytes <= _IN_MEMORY_BYTES else b""
        if not content:
            with gzip.open(path, "rb") as stream:
                content = stream.read(n_bytes) if n_bytes <= _IN_MEMORY_BYTES else b""
                while stream.read(1 << 20):
                    pass
        return type(image).from_bytes(content) if content else image


def _decompressed_at_once(path: Path, n_bytes: int) -> bytes:
    """What a gzip file holds if that is one member of ``n_bytes``, else nothing.

    One call outside Python's lock; ``gzip`` makes thousands, and waits for another thread as often.
    """
    stream = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    content = stream.decompress(path.read_bytes(), n_bytes)
    more = stream.decompress(stream.unconsumed_tail, 1)
    return content if stream.eof and not more and not stream.unused_data else b""


def _affine(path: Path, image: nib.Nifti1Image) -> tuple[np.ndarray, tuple[Finding, ...], str]:
    """RAS affine in mm, what was odd about it, and which header field it came from."""
    header, size = image.header, np.asarray(image.shape[:3])
    findings: list[Finding] = []
    with unreadable_as_input_error(path):
        sform, sform_code = header.get_sform(coded=True)
        qform, qform_code = header.get_qform(coded=True)
    affine = np.array(image.affine, dtype=float)
    if sform_code and qform_code:
        corners = np.array(np.meshgrid(*[(0, n - 1) for n in size])).reshape(3, -1)
        apart = np.linalg.norm((sform - qform)[:3, :3] @ corners + (sform - qform)[:3, 3:], axis=0).max()
        if apart > 0.1:
            message = f"sform and qform of {path.name} differ by up to {apart:.1f} mm; the sform is used."
            findings.append(Finding("warn", "sform_qform", message, "Check the left-right and the overlay."))
    if not sform_code and not qform_code:
        message = f"{path.name} has neither sform nor qform: where left, front and top are is not known."
        hint = "Convert it again with the orientation (for example with dcm2niix)."
        findings.append(Finding("warn", "orientation_unknown", message, hint))
    unit, factor = _UNITS.get(int(header["xyzt_units"]) & 7, ("unknown", 1.0))
    if factor != 1.0:
        extent = float(np.max(size * np.linalg.norm(affine[:3, :3], axis=0)))
        low, high = _PLAUSIBLE_EXTENT_MM
        if low <= extent * factor <= high:
            affine[:3] *= factor
            message = f"{path.name} is in {unit}s; converted to mm."
        else:
            message = f"The header of {path.name} says {unit}s, but the numbers fit mm; taken as mm."
        hint = "Check the size of the head; write the file again with the unit mm."
        findings.append(Finding("warn", "unit_of_length", message, hint))
    used = "sform" if sform_code else "qform" if qform_code else "none"
    return affine, tuple(findings), used
