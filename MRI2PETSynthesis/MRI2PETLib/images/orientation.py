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

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.findings import Finding, Level
from MRI2PETLib.images.grid import Grid

Matrix = NDArray[np.float64]

# NIfTI xyzt_units: code -> factor to mm. 0 (unknown) is mm by convention.
_UNITS = {0: ("unknown", 1.0), 1: ("metre", 1e3), 2: ("mm", 1.0), 3: ("micrometre", 1e-3)}
_PLAUSIBLE_EXTENT_MM = (60.0, 3000.0)
# Forms that differ by less are one orientation, written twice with other roundings: a quaternion near half a
# turn, in single precision, is off by up to .0007, which is 0.2 mm at the corner of a head.
_SAME_MM = 0.3
# An output this close to the grid of its input, at every corner, gets the header of its input unchanged: more
# than making nearly right angles right moves a corner (``raw.SHEAR_TOLERANCE_MM``).
_SAME_GRID_MM = 0.02
# A unit quaternion in single precision is off by up to 1e-6; more than this is a damaged one.
_QUATERNION_TOLERANCE = 1e-4
# Volume of a voxel over the product of its edges; below this the axes lie in a plane.
_FLAT = 0.1
_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class NiftiForms:
    """The orientations of one NIfTI image.

    Matrices are 4 x 4, map voxel indices (i, j, k) to RAS, in the unit of the header.

    :ivar sform, qform: ``None`` where the header states none, or none that can be used.
    :ivar pixdim: voxel sizes as they stand in the header, which some readers take.
    :ivar quaternion: b, c, d of the qform, as they stand in the header; ``qfac`` (1 or -1) belongs to them.
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

    def for_grid(self, grid: Grid) -> NiftiForms:
        """The forms of an image on another grid in the world of this one (its orientation as this program
        reads it): each reader then shows both images where they belong.

        Where that cannot be stated (no orientation, or shear in the qform) the grid itself is both forms.
        """
        target = np.eye(4)
        target[:3, :3] = np.reshape(grid.direction, (3, 3)) * grid.spacing_mm
        target[:3, 3] = grid.origin
        if grid.size == self.size and _apart(target, self.affine, grid.size) < _SAME_GRID_MM:
            return self
        to_own_index = np.linalg.inv(self.affine) @ target
        sform, qform = (None if m is None else m @ to_own_index for m in (self.sform, self.qform))
        if (sform is None and qform is None) or (qform is not None and _shear(qform) > 1e-5):
            sform = qform = _RAS_TO_LPS @ target
            forms = replace(self, sform_code=1, qform_code=1, unit_code=2)
        else:
            forms = self
        sized = qform if qform is not None else sform
        assert sized is not None
        x, y, z = np.linalg.norm(sized[:3, :3], axis=0)
        quaternion, qfac = _quaternion(qform) if qform is not None else (self.quaternion, self.qfac)
        return replace(
            forms,
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


def read_forms(
    header: Any, size: tuple[int, int, int], name: str
) -> tuple[NiftiForms, tuple[Finding, ...], str]:
    """The orientations of a NIfTI header, findings, and the one used: ``sform``, ``qform`` or ``none``.

    :param header: ``nibabel.Nifti1Header`` or ``Nifti2Header``.
    :raises InputError: if orientations are stated, but none of them can be used.
    """
    findings: list[Finding] = []
    sform = _sform(header, name, findings)
    qform, quaternion = _qform(header, name, findings)
    used = "sform" if sform is not None else "qform" if qform is not None else "none"
    codes = int(header["sform_code"]), int(header["qform_code"])
    if used == "none":
        if any(codes):
            reasons = " ".join(finding.message for finding in findings)
            raise InputError(f"The axes in the header of {name} are degenerate. {reasons}", _EXPORT)
        findings.append(Finding("warn", "orientation-unknown", _no_form(name), _CONVERT))
    matrix = sform if sform is not None else qform
    if matrix is None:
        # As nibabel: centred, i from right to left. FSL and SPM take i from right to left too.
        matrix = np.asarray(header.get_base_affine(), float)
    findings += _contradictions(header, sform, qform, size, name)
    unit_code = int(header["xyzt_units"]) & 7
    factor, more = _unit(unit_code, matrix, size, name)
    scaled = matrix.copy()
    scaled[:3] *= factor
    forms = NiftiForms(
        sform=sform,
        qform=qform,
        sform_code=codes[0],
        qform_code=codes[1],
        pixdim=_pixdim(header),
        quaternion=quaternion,
        qfac=-1.0 if header["pixdim"][0] < 0 else 1.0,
        unit_code=unit_code,
        affine=_RAS_TO_LPS @ scaled,
        size=size,
    )
    return forms, (*findings, *more), used


_EXPORT = "Export or convert the image again."
_CONVERT = "Convert it again with the orientation (for example with dcm2niix)."


def _no_form(name: str) -> str:
    return (
        f"{name} has neither sform nor qform: where left, front and top are is not known. The first axis is "
        f"taken to run from right to left, as nibabel, FSL and SPM do."
    )


def _sform(header: Any, name: str, findings: list[Finding]) -> Matrix | None:
    code = int(header["sform_code"])
    if code <= 0:
        return None
    matrix = np.eye(4)
    matrix[:3] = [header["srow_x"], header["srow_y"], header["srow_z"]]
    if _usable(matrix):
        return matrix
    state = "zero" if not matrix[:3].any() else "flat" if np.isfinite(matrix).all() else "not a number"
    message = f"The sform of {name} (code {code}) cannot be used: its matrix is {state}."
    findings.append(Finding("warn", "sform-damaged", message, _EXPORT))
    return None


def _qform(
    header: Any, name: str, findings: list[Finding]
) -> tuple[Matrix | None, tuple[float, float, float]]:
    """The matrix, and the quaternion that it comes from, shortened to 1 if it is longer."""
    from nibabel.quaternions import quat2mat

    code = int(header["qform_code"])
    b, c, d = (float(header[f"quatern_{axis}"]) for axis in "bcd")
    length = float(np.sqrt(b * b + c * c + d * d))
    if length > 1:
        b, c, d = b / length, c / length, d / length
    if code <= 0:
        return None, (b, c, d)
    zooms = np.abs(_pixdim(header))
    zooms[zooms == 0] = 1.0  # as the NIfTI library does
    matrix = np.eye(4)
    with np.errstate(invalid="ignore"):
        matrix[:3, :3] = quat2mat((np.sqrt(max(0.0, 1.0 - min(length, 1.0) ** 2)), b, c, d)) * zooms
    matrix[:3, 2] *= -1.0 if header["pixdim"][0] < 0 else 1.0
    matrix[:3, 3] = [header[f"qoffset_{axis}"] for axis in "xyz"]
    if not _usable(matrix):
        message = f"The qform of {name} (code {code}) cannot be used: it is not a number."
        findings.append(Finding("warn", "qform-damaged", message, _EXPORT))
        return None, (0.0, 0.0, 0.0)
    if length > 1 + 1e-7:
        level: Level = "warn" if length > 1 + _QUATERNION_TOLERANCE else "ok"
        message = f"The quaternion of the qform of {name} is longer than 1 by {length - 1:.2g}; taken as 1."
        findings.append(Finding(level, "quaternion-length", message))
    return matrix, (b, c, d)


def _contradictions(
    header: Any, sform: Matrix | None, qform: Matrix | None, size: tuple[int, int, int], name: str
) -> list[Finding]:
    findings = []
    if sform is not None and qform is not None:
        apart = _apart(sform, qform, size)
        if apart > _SAME_MM:
            message = (
                f"sform (code {header['sform_code']}) and qform (code {header['qform_code']}) of {name} "
                f"differ by up to {apart:.1f} mm; the sform is used, as by nibabel and FSL."
            )
            hint = "ITK and Slicer may take the qform. Images made from it carry both. Check the overlay."
            findings.append(Finding("warn", "sform-qform", message, hint))
    if sform is not None:
        own, pixdim = np.linalg.norm(sform[:3, :3], axis=0), np.abs(np.asarray(header["pixdim"][1:4], float))
        if not np.abs((own - pixdim) * size).max() <= max(_SAME_MM, 1e-3 * float((own * size).max())):
            own_mm, stated_mm = (" x ".join(f"{s:.4g}" for s in sizes) for sizes in (own, pixdim))
            message = (
                f"The sform of {name} has voxels of {own_mm}, its pixdim {stated_mm}; the sform is used, as "
                f"by nibabel, FSL and SPM."
            )
            hint = "ITK and Slicer take the pixdim. Check the size of the head."
            findings.append(Finding("warn", "voxel-size", message, hint))
    return findings


def _unit(
    code: int, matrix: Matrix, size: tuple[int, int, int], name: str
) -> tuple[float, tuple[Finding, ...]]:
    """The factor to mm; a unit that contradicts the numbers is overruled, and told."""
    unit, factor = _UNITS.get(code, ("unknown", 1.0))
    if factor == 1.0:
        return 1.0, ()
    extent = float(np.max(size * np.linalg.norm(matrix[:3, :3], axis=0)))
    low, high = _PLAUSIBLE_EXTENT_MM
    if low <= extent * factor <= high:
        message = f"{name} is in {unit}s; converted to mm."
    else:
        message = f"The header of {name} says {unit}s, but the numbers fit mm; taken as mm."
        factor = 1.0
    hint = "Check the size of the head; write the file again with the unit mm."
    return factor, (Finding("warn", "unit-of-length", message, hint),)


def _pixdim(header: Any) -> tuple[float, float, float]:
    """As it stands; 1 where it is not a number, as the NIfTI library takes it."""
    spacing = np.asarray(header["pixdim"][1:4], float)
    x, y, z = np.where(np.isfinite(spacing), spacing, 1.0).tolist()
    return x, y, z


def _usable(matrix: Matrix) -> bool:
    """Whether the axes span a volume."""
    edges = np.linalg.norm(matrix[:3, :3], axis=0)
    if not np.isfinite(matrix).all() or not edges.min() > 0:
        return False
    return bool(abs(np.linalg.det(matrix[:3, :3] / edges)) >= _FLAT)


def _apart(a: Matrix, b: Matrix, size: tuple[int, int, int]) -> float:
    """Largest distance between the corners of an image under two affines."""
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in size])).reshape(3, -1)
    return float(np.linalg.norm((a - b)[:3, :3] @ corners + (a - b)[:3, 3:], axis=0).max())


def _shear(matrix: Matrix) -> float:
    """Largest cosine between two axes."""
    axes = matrix[:3, :3] / np.linalg.norm(matrix[:3, :3], axis=0)
    return float(np.abs(axes.T @ axes - np.eye(3)).max())


def _quaternion(matrix: Matrix) -> tuple[tuple[float, float, float], float]:
    """b, c, d and qfac of an affine without shear."""
    from nibabel.quaternions import mat2quat

    u, _, vt = np.linalg.svd(matrix[:3, :3] / np.linalg.norm(matrix[:3, :3], axis=0))
    rotation = u @ vt
    qfac = 1.0 if np.linalg.det(rotation) > 0 else -1.0
    rotation[:, 2] *= qfac
    quaternion = mat2quat(rotation)
    _, b, c, d = quaternion if quaternion[0] >= 0 else -quaternion
    return (float(b), float(c), float(d)), qfac
