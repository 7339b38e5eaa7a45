"""Open an image file: header first, voxels on demand, geometry as a possibly sheared affine."""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import SimpleITK as sitk

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.findings import Finding

if TYPE_CHECKING:
    import nibabel as nib

SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
# 1 GB as float32; the pipeline holds a handful of copies. 0.5 mm isotropic over 300 mm is 216 million voxels.
MAX_VOXELS = 256_000_000
# An affine this close to orthonormal (largest displacement of a corner) is rounding of the header, not shear.
SHEAR_TOLERANCE_MM = 0.01
# NIfTI xyzt_units: code -> factor to mm. 0 (unknown) is mm by convention.
_NIFTI_UNITS = {0: ("unknown", 1.0), 1: ("metre", 1e3), 2: ("mm", 1.0), 3: ("micrometre", 1e-3)}
_PLAUSIBLE_EXTENT_MM = (60.0, 3000.0)
# A compressed file up to this size is decompressed once and kept while it is read; a larger one (frames of a
# dynamic PET) is decompressed again for what is asked for.
_IN_MEMORY_BYTES = 1 << 29


@dataclass(frozen=True)
class RawImage:
    """An opened image, before any check of its content.

    :ivar affine: 4 x 4, maps (i, j, k) of voxel centres to LPS mm. Not necessarily orthonormal.
    :ivar size: voxels along i, j, k.
    :ivar read_frame: returns frame t as an array [k, j, i] with its stored scaling applied.
    :ivar files: the files that hold the image.
    """

    path: Path
    affine: np.ndarray
    size: tuple[int, int, int]
    n_frames: int
    read_frame: Callable[[int], np.ndarray]
    files: tuple[Path, ...]
    metadata: dict[str, Any]
    findings: tuple[Finding, ...] = ()

    @property
    def spacing_mm(self) -> np.ndarray:
        """Distance of voxel centres along i, j, k."""
        return np.linalg.norm(self.affine[:3, :3], axis=0)

    @property
    def extent_mm(self) -> np.ndarray:
        """Field of view along i, j, k."""
        return np.asarray(self.size) * self.spacing_mm


def image_suffix(path: Path) -> str:
    """The suffix as one of :data:`SUFFIXES`, or the plain last suffix."""
    name = path.name.lower()
    return next((s for s in SUFFIXES if name.endswith(s)), Path(name).suffix)


def open_file(path: Path) -> RawImage:
    """Open a NIfTI, NRRD or MetaImage file; reads the header only.

    :raises InputError: missing file, wrong suffix, unreadable header, not three-dimensional, too large.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist.", "Check the path.")
    suffix = image_suffix(path)
    if suffix not in SUFFIXES:
        hint = f"Give a file that ends in {', '.join(SUFFIXES)}, or a folder with a DICOM series."
        if suffix in (".dcm", ".ima", ""):
            hint = f"If it is one slice of a DICOM series, give the folder {path.parent} instead. " + hint
        raise InputError(f"{path} is not of a supported image type ({suffix or 'no suffix'}).", hint)
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty (0 bytes).", "Copy or export the file again.")
    return _open_nifti(path, suffix) if suffix.startswith(".nii") else _open_itk(path)


@contextmanager
def unreadable_as_input_error(path: Path) -> Iterator[None]:
    """Turn the errors of the readers into an :class:`InputError` that names the file."""
    from nibabel.filebasedimages import ImageFileError
    from nibabel.spatialimages import HeaderDataError

    try:
        yield
    except MemoryError as error:
        raise InputError(f"{path} does not fit into memory.", "Resample it to about 1 mm.") from error
    except (
        OSError,
        EOFError,
        zlib.error,
        ValueError,
        RuntimeError,
        ImageFileError,
        HeaderDataError,
    ) as error:
        reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        raise InputError(
            f"{path} cannot be read: it is damaged, cut short or not what its name says ({reason}).",
            "Copy or export the file again.",
        ) from error


def _open_nifti(path: Path, suffix: str) -> RawImage:
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
    ras_affine, findings, orientation = _nifti_affine(path, image)
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


def _nifti_affine(path: Path, image: nib.Nifti1Image) -> tuple[np.ndarray, tuple[Finding, ...], str]:
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
    unit, factor = _NIFTI_UNITS.get(int(header["xyzt_units"]) & 7, ("unknown", 1.0))
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


def _open_itk(path: Path) -> RawImage:
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    with unreadable_as_input_error(path):
        reader.ReadImageInformation()
    if reader.GetNumberOfComponents() > 1 or "complex" in sitk.GetPixelIDValueAsString(reader.GetPixelID()):
        raise InputError(
            f"{path} is a vector image ({reader.GetNumberOfComponents()} components a voxel).",
            "Give a scalar image; of a sequence, export one volume or NIfTI.",
        )
    dimension = reader.GetDimension()
    size, n_frames = split_size(path, reader.GetSize())
    matrix = np.array(reader.GetDirection()).reshape(dimension, dimension)[:3, :3]
    affine = np.eye(4)
    affine[:3, :3] = matrix * np.array(reader.GetSpacing())[:3]
    affine[:3, 3] = reader.GetOrigin()[:3]

    def read_frame(t: int) -> np.ndarray:
        with unreadable_as_input_error(path):
            if dimension > 3:
                reader.SetExtractIndex([0, 0, 0, t])
                reader.SetExtractSize([*size, 0])
            return sitk.GetArrayFromImage(reader.Execute())

    return RawImage(
        path=path,
        affine=affine,
        size=size,
        n_frames=n_frames,
        read_frame=read_frame,
        files=(path,),
        metadata={"format": "NRRD" if image_suffix(path) in (".nrrd", ".nhdr") else "MetaImage"},
    )


def split_size(path: Path, shape: tuple[int, ...]) -> tuple[tuple[int, int, int], int]:
    """Split (i, j, k[, t]) into the size of a volume and the number of frames.

    :raises InputError: for a two-dimensional image, or one too large to hold in memory.
    """
    if len(shape) < 3 or min(shape[:3]) < 2 or len(shape) > 4:
        raise InputError(
            f"{path} is not a volume: its size is {' x '.join(map(str, shape))}.", "Give a 3-D image."
        )
    i, j, k = (int(n) for n in shape[:3])
    if i * j * k > MAX_VOXELS:
        raise InputError(
            f"{path} has {i} x {j} x {k} voxels, too many (limit {MAX_VOXELS / 1e6:.0f} million).",
            "Resample it to about 1 mm.",
        )
    return (i, j, k), int(shape[3]) if len(shape) == 4 else 1


def to_image(array: np.ndarray, affine: np.ndarray, *, nearest: bool = False) -> tuple[sitk.Image, float]:
    """Make an image with orthonormal axes from an array [k, j, i] and an affine (ijk to LPS mm).

    ITK and MRML cannot hold shear, so a sheared array is resampled (linear, or nearest for labels; 0
    outside) to the nearest orthonormal axes, with the same voxel size, covering all of it.

    :returns: the image, and the largest displacement in mm that ignoring the shear would have caused.
    """
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    u, _, vt = np.linalg.svd(affine[:3, :3] / spacing)
    direction = u @ vt
    corners = np.array(np.meshgrid(*[(0.0, n - 1.0) for n in array.shape[::-1]])).reshape(3, -1)
    shear_mm = float(np.linalg.norm((affine[:3, :3] - direction * spacing) @ corners, axis=0).max())
    image = sitk.GetImageFromArray(array)
    if shear_mm > SHEAR_TOLERANCE_MM:
        along_axes = direction.T @ (affine[:3, :3] @ corners + affine[:3, 3:])
        low, high = along_axes.min(axis=1), along_axes.max(axis=1)
        size = np.ceil((high - low) / spacing - 1e-6).astype(int) + 1
        if np.prod(size.astype(float)) > MAX_VOXELS:
            raise InputError(f"The axes of the image are sheared by {shear_mm:.0f} mm.", "Check its header.")
        to_index = sitk.AffineTransform(3)
        inverse = np.linalg.inv(affine)
        to_index.SetMatrix(inverse[:3, :3].ravel().tolist())
        to_index.SetTranslation(inverse[:3, 3].tolist())
        interpolator = sitk.sitkNearestNeighbor if nearest else sitk.sitkLinear
        image = sitk.Resample(
            image, size.tolist(), to_index, interpolator, (direction @ low).tolist(), spacing.tolist(),
            direction.ravel().tolist(), 0.0, image.GetPixelID(),
        )  # fmt: skip
        return image, shear_mm
    image.SetSpacing(spacing.tolist())
    image.SetDirection(direction.ravel().tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    return image, shear_mm
