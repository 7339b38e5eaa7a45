"""Images between sheared axes, which ITK and MRML cannot hold, and axes at right angles."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from MRI2PETLib.core.errors import InputError

# 1 GB as float32; the pipeline holds a handful of copies. 0.5 mm isotropic over 300 mm is 216 million voxels.
MAX_VOXELS = 256_000_000
# An affine this close to orthonormal (largest displacement of a corner) is rounding of the header, not shear.
SHEAR_TOLERANCE_MM = 0.01


def right_angles(affine: np.ndarray, size: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, float]:
    """The nearest orthonormal axes of a 4 x 4 affine, its voxel sizes (mm), and how far (mm) a corner of an
    image of ``size`` (i, j, k) moves if its axes are taken to be those.
    """
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    u, _, vt = np.linalg.svd(affine[:3, :3] / spacing)
    direction = u @ vt
    moved = (affine[:3, :3] - direction * spacing) @ _corners(size)
    return direction, spacing, float(np.linalg.norm(moved, axis=0).max())


def to_image(array: np.ndarray, affine: np.ndarray, *, nearest: bool = False) -> tuple[sitk.Image, float]:
    """Make an image with orthonormal axes from an array [k, j, i] and an affine (ijk to LPS mm).

    ITK and MRML cannot hold shear, so a sheared array is resampled (linear, or nearest for labels; 0
    outside) to the nearest orthonormal axes, with the same voxel size, covering all of it.

    :returns: the image, and the largest displacement in mm that ignoring the shear would have caused.
    """
    direction, spacing, shear_mm = right_angles(affine, array.shape[::-1])
    image = sitk.GetImageFromArray(array)
    if shear_mm > SHEAR_TOLERANCE_MM:
        corners = _corners(array.shape[::-1])
        along_axes = direction.T @ (affine[:3, :3] @ corners + affine[:3, 3:])
        low, high = along_axes.min(axis=1), along_axes.max(axis=1)
        size = np.ceil((high - low) / spacing - 1e-6).astype(int) + 1
        if np.prod(size.astype(float)) > MAX_VOXELS:
            raise InputError(f"The axes of the image are sheared by {shear_mm:.0f} mm.", "Check its header.")
        interpolator = sitk.sitkNearestNeighbor if nearest else sitk.sitkLinear
        image = sitk.Resample(
            image, size.tolist(), _transform(np.linalg.inv(affine)), interpolator,
            (direction @ low).tolist(), spacing.tolist(), direction.ravel().tolist(), 0.0, image.GetPixelID(),
        )  # fmt: skip
        return image, shear_mm
    image.SetSpacing(spacing.tolist())
    image.SetDirection(direction.ravel().tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    return image, shear_mm


def to_voxels(image: sitk.Image, affine: np.ndarray, size: tuple[int, int, int]) -> sitk.Image:
    """An image resampled onto the voxels of an affine (ijk to LPS mm) that may be sheared: linear, nearest
    for whole numbers, 0 outside. The result says nothing of where it lies.
    """
    is_float = image.GetPixelID() in (sitk.sitkFloat32, sitk.sitkFloat64)
    interpolator = sitk.sitkLinear if is_float else sitk.sitkNearestNeighbor
    return sitk.Resample(
        image, size, _transform(affine), interpolator, (0.0,) * 3, (1.0,) * 3, np.eye(3).ravel().tolist(),
        0.0, image.GetPixelID(),
    )  # fmt: skip


def _corners(size: tuple[int, ...]) -> np.ndarray:
    return np.array(np.meshgrid(*[(0.0, n - 1.0) for n in size])).reshape(3, -1)


def _transform(matrix: np.ndarray) -> sitk.Transform:
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(matrix[:3, :3].ravel().tolist())
    transform.SetTranslation(matrix[:3, 3].tolist())
    return transform
