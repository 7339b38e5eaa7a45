"""NIfTI files with any header, and where other readers see them."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

Change = Callable[[Any], None]
_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def affine(
    degrees: tuple[float, float, float] = (0, 0, 0),
    corner: tuple[float, float, float] = (-90, -110, -80),
    zooms: tuple[float, float, float] = (4, 4, 4),
    axes: tuple[float, float, float] = (1, 1, 1),
) -> np.ndarray:
    """RAS affine of a rotation about x, y, z, voxel sizes and directions of the axes."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix() * zooms * axes
    matrix[:3, 3] = corner
    return matrix


def two_poses(**more: Any) -> tuple[np.ndarray, np.ndarray]:
    """sform and qform that differ by 3 degrees and 3 mm."""
    return affine((10, -5, 3), **more), affine((13, -5, 3), **{**more, "corner": (-87, -110, -80)})


def write_nifti_header(
    path: Path,
    array: np.ndarray,
    *,
    sform: tuple[np.ndarray, int] | None = None,
    qform: tuple[np.ndarray, int] | None = None,
    change: Change | None = None,
) -> Path:
    """Write ``array`` [i, j, k] with these forms and codes; ``change`` then edits the header's raw fields.

    nibabel corrects or refuses some of them, so the bytes are put together here.
    """
    import nibabel as nib

    header = nib.Nifti1Header()
    header.set_data_shape(array.shape)
    header.set_data_dtype(array.dtype)
    header["pixdim"][1:4] = 4
    header["xyzt_units"] = 2
    header["magic"], header["vox_offset"] = b"n+1", 352
    for name, form in (("qform", qform), ("sform", sform)):
        if form is not None:
            getattr(header, f"set_{name}")(form[0], 1)
            header[f"{name}_code"] = form[1]
    if change is not None:
        change(header)
    content = header.binaryblock + bytes(4) + array.tobytes(order="F")
    path.write_bytes(gzip.compress(content, 1) if path.suffix == ".gz" else content)
    return path


def seen_by_nibabel(path: Path) -> np.ndarray:
    """Affine to RAS mm."""
    import nibabel as nib

    return np.asarray(nib.load(path).affine)


def seen_by_itk(path: Path) -> np.ndarray:
    """Affine to RAS mm, as ITK and Slicer place the image."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(reader.GetDirection(), (3, 3)) * reader.GetSpacing()
    matrix[:3, 3] = reader.GetOrigin()
    return np.asarray(_LPS @ matrix)


def corner_distance(a: np.ndarray, b: np.ndarray, size: tuple[int, ...]) -> float:
    """Largest distance in mm between the corners of one grid under two affines."""
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in size])).reshape(3, -1)
    return float(np.linalg.norm((a - b)[:3, :3] @ corners + (a - b)[:3, 3:], axis=0).max())


def apart(a: Path, b: Path, size: tuple[int, ...]) -> tuple[float, float]:
    """Corner distance of two NIfTI files of one size in nibabel and in ITK, in mm."""
    return (
        corner_distance(seen_by_nibabel(a), seen_by_nibabel(b), size),
        corner_distance(seen_by_itk(a), seen_by_itk(b), size),
    )
