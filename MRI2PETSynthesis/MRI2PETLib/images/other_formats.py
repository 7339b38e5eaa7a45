"""Open what nibabel reads besides NIfTI: FreeSurfer's MGH, MINC, Analyze 7.5, Philips PAR/REC."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.findings import Finding
from MRI2PETLib.images.formats import image_suffix
from MRI2PETLib.images.gzipped import read_gzip
from MRI2PETLib.images.raw import RawImage, check_memory, split_size

_NAMES = {".mgz": "MGH", ".mgh": "MGH", ".mnc": "MINC", ".hdr": "Analyze", ".par": "PAR/REC"}
_CONVERTERS = {"MGH": "mri_convert", "MINC": "mnc2nii", "Analyze": "nib-convert", "PAR/REC": "dcm2niix"}
_GOOD_RAS_FLAG = slice(28, 30)  # bytes of an MGH file
_HDF5 = b"\x89HDF"


def open_with_nibabel(path: Path) -> RawImage:
    """Open a file with nibabel; reads the header, and of ``.mgz`` the file to its end, for its checksum.

    :raises InputError: unreadable, not three-dimensional, too large, or of MINC 2 without h5py.
    """
    name = _NAMES[image_suffix(path)]
    image, affine, dtype, has_sides = _readable(path, lambda: _load(path))
    shape = tuple(int(n) for n in image.shape)
    if len(shape) > 4 or dtype.fields is not None or dtype.kind not in "iuf":
        raise InputError(f"{path} is a vector image (shape {shape}, {dtype}).", "Give a scalar image.")
    size, n_frames = split_size(path, shape)
    check_memory(path, size, dtype.itemsize)

    def read_frame(t: int) -> np.ndarray:
        index = (..., t) if len(shape) > 3 else ...
        values: np.ndarray = _readable(path, lambda: np.asarray(image.dataobj[index]).T)
        return values

    others = (Path(holder.filename) for holder in image.file_map.values() if holder.filename)
    return RawImage(
        path=path,
        affine=np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine,
        size=size,
        n_frames=n_frames,
        read_frame=read_frame,
        files=tuple(dict.fromkeys((path, *(p for p in others if p.is_file())))),
        metadata={"format": name},
        findings=() if has_sides else (_sides_unknown(path, name),),
    )


def _readable(path: Path, action: Callable[[], Any]) -> Any:
    """What ``action`` returns; whatever nibabel raises as :class:`~MRI2PETLib.core.errors.InputError`."""
    try:
        with np.errstate(all="ignore"):
            return action()
    except InputError:
        raise
    except Exception as error:  # these readers raise what they happen to meet in a damaged file
        name = _NAMES[image_suffix(path)]
        reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        raise InputError(
            f"{path} cannot be read as {name}: it is damaged, cut short or something else ({reason}).",
            f"Copy or export the file again, or convert it to NIfTI ({_CONVERTERS[name]}).",
        ) from error


def _load(path: Path) -> tuple[Any, np.ndarray, np.dtype, bool]:
    """The image, its affine (RAS mm), its type of voxels, and whether the file states where its sides are."""
    import nibabel as nib

    suffix = image_suffix(path)
    if suffix == ".mgz":
        start, _ = read_gzip(path, 0, _GOOD_RAS_FLAG.stop)  # to its checksum; nibabel stops at the last voxel
    else:
        with path.open("rb") as stream:
            start = stream.read(_GOOD_RAS_FLAG.stop)
    if start.startswith(_HDF5) and find_spec("h5py") is None:
        raise InputError(
            f"{path} is MINC 2, which needs the package h5py.", "pip install h5py, or convert it (mnc2nii)."
        )
    image: Any = nib.load(path)
    affine, has_sides = np.asarray(image.affine, float), True
    if _NAMES[suffix] == "MGH":
        has_sides = int.from_bytes(start[_GOOD_RAS_FLAG], "big") == 1
        affine = affine if has_sides else _coronal(image.shape[:3])
    elif _NAMES[suffix] == "Analyze":
        has_sides = path.with_suffix(".mat").exists()
    return image, affine, np.dtype(image.get_data_dtype()), has_sides


def _coronal(shape: tuple[int, ...]) -> np.ndarray:
    """What FreeSurfer takes where goodRASFlag is 0 (its wiki, MghFormat); nibabel turns it upside down."""
    affine = np.eye(4)
    affine[:3, :3] = [[-1, 0, 0], [0, 0, 1], [0, -1, 0]]
    affine[:3, 3] = -affine[:3, :3] @ np.array(shape) / 2
    return affine


def _sides_unknown(path: Path, name: str) -> Finding:
    if name == "MGH":
        message = (
            f"{path.name} does not say where left, front and top are (goodRASFlag). It is taken as coronal "
            f"with voxels of 1 mm, as FreeSurfer does."
        )
    else:
        message = (
            f"{path.name} is Analyze, which does not say where left, front and top are. The first axis is "
            f"taken to run from right to left, as FSL and SPM do."
        )
    hint = "Convert the original images again, to NIfTI (for example with dcm2niix)."
    return Finding("warn", "orientation-unknown", message, hint)
