"""Both orientations of a NIfTI header, as the file states them.

A NIfTI header holds two affines, sform and qform, each with a code (0: not stated), and readers differ in
which one they take. nibabel and FSL take the sform unless its code is 0, and so does this program. ITK, so
Slicer, takes the qform unless its code is 0 or that of the sform is 1, and the voxel size from a third place,
``pixdim``. So an image shows where its input is in every reader only if it holds both forms, codes and sizes
of its input.

Source: https://nifti.nimh.nih.gov/nifti-1/documentation/nifti1fields; ITK's way was tried (SimpleITK 2.5).
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from MRI2PETLib.images.grid import Grid
from MRI2PETLib.images.shear import right_angles, to_image, to_voxels

Matrix = NDArray[np.float64]

# An output this close to the grid of its input, at every corner, gets the header of its input unchanged: more
# than making nearly right angles right moves a corner (``shear.SHEAR_TOLERANCE_MM``).
_SAME_GRID_MM = 0.02
_SHEAR = 1e-4  # cosine between axes: that moves the corner of a head by the same
_AS_ITK_MM = 0.1  # ITK writes its own orientation with fewer digits
RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])  # and back


@dataclass(frozen=True)
class NiftiForms:
    """The orientations of one NIfTI image.

    Matrices are 4 x 4, map voxel indices (i, j, k) to RAS, in the unit of the header.

    :ivar sform: ``None``, as ``qform``, where the header states none, or none that can be used.
    :ivar pixdim: voxel sizes as they stand in the header, which some readers take.
    :ivar quaternion: b, c, d of the qform, as they stand in the header; ``qfac`` (below 0: the third axis is
        turned round) belongs to them.
    :ivar unit_code: of the unit of length (``xyzt_units``).
    :ivar affine: the orientation that this program uses, in LPS mm.
    :ivar size: voxels along i, j, k.
    """

    sform: Matrix | None
    qform: Matrix | None
    sform_code: int
    qform_code: int
    pixdim: tuple[float, float, float]
    quaternion: tuple[float, float, float]
    qfac: float
    unit_code: int
    affine: Matrix
    size: tuple[int, int, int]

    def of_output(self, image: sitk.Image) -> tuple[sitk.Image, NiftiForms]:
        """An image in the world of this one (its orientation as this program reads it), and its forms: each
        reader then shows both where they belong.

        On this image's own voxels these are its own forms. On another grid each form is moved by what lies
        between the two grids. Where that is no orientation (none is stated, or it shears the qform) the image
        comes back resampled onto the voxels of this one.
        """
        grid = Grid.of(image)
        target = _affine(grid)
        if grid.size == self.size and corner_distance(target, self.affine, grid.size) < _SAME_GRID_MM:
            return image, self
        to_own_index = np.linalg.inv(self.affine) @ target
        sform, qform = (None if m is None else m @ to_own_index for m in (self.sform, self.qform))
        sized = sform if qform is None else qform
        if sized is None or _shear(sized) > _SHEAR:
            return to_voxels(image, self.affine, self.size), self
        x, y, z = np.linalg.norm(sized[:3, :3], axis=0)
        quaternion, qfac = _quaternion(qform) if qform is not None else (self.quaternion, self.qfac)
        return image, replace(
            self,
            sform=sform,
            qform=qform,
            pixdim=(x, y, z),
            quaternion=quaternion,
            qfac=qfac,
            affine=target,
            size=grid.size,
        )

    def header(self, dtype: np.dtype) -> Any:
        """A NIfTI-1 header (``nibabel.Nifti1Header``) of an image of this size and these orientations."""
        import nibabel as nib

        header = nib.Nifti1Header()
        header.set_data_shape(self.size)
        header.set_data_dtype(dtype)
        header["magic"] = b"n+1"
        header["vox_offset"] = 352
        header["xyzt_units"] = self.unit_code
        header["pixdim"][:4] = (self.qfac, *self.pixdim)
        header["sform_code"] = self.sform_code if self.sform is not None else 0
        header["qform_code"] = self.qform_code if self.qform is not None else 0
        if self.sform is not None:
            header["srow_x"], header["srow_y"], header["srow_z"] = self.sform[:3]
        if self.qform is not None:
            header["quatern_b"], header["quatern_c"], header["quatern_d"] = self.quaternion
            header["qoffset_x"], header["qoffset_y"], header["qoffset_z"] = self.qform[:3, 3]
        return header

    def as_itk_reads(self) -> Grid:
        """The grid (LPS mm) that ITK makes of this header. Files that only ITK reads are written there.

        :raises RuntimeError: if ITK refuses the header.
        """
        reader = sitk.ImageFileReader()
        with tempfile.TemporaryDirectory(prefix="mri2pet-") as folder:
            path = Path(folder) / "header.nii"
            path.write_bytes(self.header(np.dtype(np.uint8)).binaryblock + bytes(4))
            reader.SetFileName(str(path))
            reader.ReadImageInformation()
        return Grid(self.size, reader.GetSpacing(), reader.GetOrigin(), reader.GetDirection())

    def from_itk(self, image: sitk.Image) -> sitk.Image:
        """An image that ITK, so Slicer, wrote on these voxels, put where this program reads them.

        Any other image comes back as it is, and so do all where both ways of reading agree.
        """
        if image.GetSize() != self.size:
            return image
        try:
            itk = _affine(self.as_itk_reads())
        except RuntimeError:
            return image
        apart = (corner_distance(itk, m, self.size) for m in (self.affine, _affine(Grid.of(image))))
        if next(apart) < _SAME_GRID_MM or next(apart) > _AS_ITK_MM:
            return image
        return to_image(sitk.GetArrayViewFromImage(image), self.affine, nearest=True)[0]


def corner_distance(a: Matrix, b: Matrix, size: tuple[int, int, int]) -> float:
    """Largest distance between the corners of an image under two affines."""
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in size])).reshape(3, -1)
    return float(np.linalg.norm((a - b)[:3, :3] @ corners + (a - b)[:3, 3:], axis=0).max())


def _affine(grid: Grid) -> Matrix:
    """Voxel indices to LPS mm, 4 x 4."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(grid.direction, (3, 3)) * grid.spacing_mm
    matrix[:3, 3] = grid.origin
    return matrix


def _shear(matrix: Matrix) -> float:
    """Largest cosine between two axes."""
    axes = matrix[:3, :3] / np.linalg.norm(matrix[:3, :3], axis=0)
    return float(np.abs(axes.T @ axes - np.eye(3)).max())


def _quaternion(matrix: Matrix) -> tuple[tuple[float, float, float], float]:
    """b, c, d and qfac of an affine without shear."""
    from nibabel.quaternions import mat2quat

    rotation = right_angles(matrix, (1, 1, 1))[0]
    qfac = 1.0 if np.linalg.det(rotation) > 0 else -1.0
    rotation[:, 2] *= qfac
    quaternion = mat2quat(rotation)
    _, b, c, d = quaternion if quaternion[0] >= 0 else -quaternion
    return (float(b), float(c), float(d)), qfac
