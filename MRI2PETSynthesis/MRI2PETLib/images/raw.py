"""An opened image: its header is known, its voxels are read on demand, its axes may be sheared."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.findings import Finding
from MRI2PETLib.core.memory import free_memory
from MRI2PETLib.core.prefetch import as_if_not_installed, imported_objects_stay
from MRI2PETLib.images.orientation import NiftiForms
from MRI2PETLib.images.shear import MAX_VOXELS

# Of all images of a synthesis at its peak: 26 bytes a voxel of the T1 (128^3 to 320^3 voxels, beside 620 MB).
_BYTES_A_VOXEL = 28


@dataclass(frozen=True)
class RawImage:
    """An opened image, before any check of its content.

    :ivar affine: 4 x 4, maps (i, j, k) of voxel centres to LPS mm. Not necessarily orthonormal.
    :ivar size: voxels along i, j, k.
    :ivar read_frame: returns frame t as an array [k, j, i] with its stored scaling applied.
    :ivar files: the files that hold the image.
    :ivar forms: the orientations of a NIfTI file, for the images that are made from it.
    """

    path: Path
    affine: np.ndarray
    size: tuple[int, int, int]
    n_frames: int
    read_frame: Callable[[int], np.ndarray]
    files: tuple[Path, ...]
    metadata: dict[str, Any]
    findings: tuple[Finding, ...] = ()
    forms: NiftiForms | None = None

    @property
    def spacing_mm(self) -> np.ndarray:
        """Distance of voxel centres along i, j, k."""
        return np.linalg.norm(self.affine[:3, :3], axis=0)

    @property
    def extent_mm(self) -> np.ndarray:
        """Field of view along i, j, k."""
        return np.asarray(self.size) * self.spacing_mm


@contextmanager
def unreadable_as_input_error(path: Path) -> Iterator[None]:
    """Turn the errors of the readers into a :class:`~MRI2PETLib.core.errors.InputError` that names it."""
    errors = _errors_of_readers()
    try:
        yield
    except MemoryError as error:
        raise InputError(f"{path} does not fit into memory.", "Resample it to about 1 mm.") from error
    except errors as error:
        reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        raise InputError(
            f"{path} cannot be read: it is damaged, cut short or not what its name says ({reason}).",
            "Copy or export the file again.",
        ) from error


@cache
def _errors_of_readers() -> tuple[type[Exception], ...]:
    # nibabel would import pydicom with all that it can decode and download, for DICOM data within a NIfTI
    # header: two thirds of its time.
    with imported_objects_stay(), as_if_not_installed("pydicom"):
        from nibabel.filebasedimages import ImageFileError
        from nibabel.spatialimages import HeaderDataError

    return OSError, EOFError, zlib.error, ValueError, RuntimeError, ImageFileError, HeaderDataError


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


def check_memory(path: Path, size: tuple[int, int, int], stored_bytes: int) -> None:
    """Refuse an image for which there is not enough memory, before a voxel is read.

    :param stored_bytes: that a voxel takes in the file.
    :raises InputError: with the memory that is needed and what is free.
    """
    free = free_memory()
    needed = math.prod(size) * (_BYTES_A_VOXEL + stored_bytes)
    if free is not None and needed > free:
        raise InputError(
            f"{path} has {' x '.join(map(str, size))} voxels, which take about {needed / 1e9:.1f} GB of "
            f"memory; {free / 1e9:.1f} GB are free.",
            "Close other programs, use a machine with more memory, or resample the image to about 1 mm.",
        )
