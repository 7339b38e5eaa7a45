"""The orientations that a NIfTI header states: which is used, and what is odd about them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.findings import Finding, Level
from MRI2PETLib.images.orientation import RAS_TO_LPS, Matrix, NiftiForms, corner_distance

# NIfTI xyzt_units: code -> factor to mm. 0 (unknown) is mm by convention.
_UNITS = {0: ("unknown", 1.0), 1: ("metre", 1e3), 2: ("mm", 1.0), 3: ("micrometre", 1e-3)}
_PLAUSIBLE_EXTENT_MM = (60.0, 3000.0)
# Forms that differ by less are one orientation, written twice with other roundings: a quaternion near half a
# turn, in single precision, is off by up to .0007, which is 0.2 mm at the corner of a head.
_SAME_MM = 0.3
# A unit quaternion in single precision is off by up to 1e-6; more than this is a damaged one.
_QUATERNION_TOLERANCE = 1e-4
# Volume of a voxel over the product of its edges; below this the axes lie in a plane.
_FLAT = 0.1
_CODES = range(6)  # of NIfTI-1, 5 among them ("other template"), which nibabel and ITK know

_EXPORT = "Export or convert the image again."
_CONVERT = "Convert it again with the orientation (for example with dcm2niix)."


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
    codes = int(header["sform_code"]), int(header["qform_code"])
    used = _used(sform, qform, codes, name, findings)
    if used == "none":
        if max(codes) > 0:
            reasons = " ".join(finding.message for finding in findings)
            raise InputError(f"The axes in the header of {name} are degenerate. {reasons}", _EXPORT)
        findings.append(Finding("warn", "orientation-unknown", _no_form(name), _CONVERT))
    if used != "sform":
        _check_pixdim(header, name)
    matrix = {"sform": sform, "qform": qform}.get(used)
    if matrix is None:
        matrix = _right_to_left(header, size)
    findings += _contradictions(header, sform, qform, size, name, used)
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
        qfac=float(header["pixdim"][0]),
        unit_code=unit_code,
        affine=RAS_TO_LPS @ scaled,
        size=size,
    )
    return forms, (*findings, *more), used


def _no_form(name: str) -> str:
    return (
        f"{name} has neither sform nor qform: where left, front and top are is not known. The first axis is "
        f"taken to run from right to left, as nibabel, FSL and SPM do."
    )


def _used(
    sform: Matrix | None, qform: Matrix | None, codes: tuple[int, int], name: str, findings: list[Finding]
) -> str:
    """The sform before the qform, but one whose code is none of NIfTI last: nibabel and ITK pass over it."""
    forms = [n for n, matrix in (("sform", sform), ("qform", qform)) if matrix is not None]
    strange = {n: code for n, code in zip(("sform", "qform"), codes) if code not in _CODES and n in forms}
    for n, code in strange.items():
        message = f"The {n} code of {name} is {code}, which NIfTI does not know."
        findings.append(Finding("warn", "form-code", message, _EXPORT))
    return min(forms, key=lambda n: n in strange, default="none")


def _check_pixdim(header: Any, name: str) -> None:
    """:raises InputError: for a voxel size of 0 or none, where no sform states it."""
    pixdim = np.asarray(header["pixdim"][1:4], float)
    if not (np.isfinite(pixdim) & (pixdim != 0)).all():
        raise InputError(f"The voxel size of {name} is not known: its pixdim is {_sizes(pixdim)}.", _EXPORT)


def _right_to_left(header: Any, size: tuple[int, int, int]) -> Matrix:
    """Centred, i from right to left, as nibabel does; FSL and SPM take i from right to left too."""
    matrix = np.diag([*(np.abs(_pixdim(header)) * (-1, 1, 1)), 1.0])
    matrix[:3, 3] = -matrix[:3, :3] @ (np.array(size) - 1) / 2
    return matrix


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
    if (sign := float(header["pixdim"][0])) not in (-1.0, 0.0, 1.0):
        message = (
            f"The sign of the qform of {name} (pixdim 0) is {sign:g}, not 1 or -1; read as ITK and FSL do."
        )
        findings.append(Finding("warn", "qfac", message, "nibabel takes 1. Check the overlay."))
    if length > 1 + 1e-7:
        level: Level = "warn" if length > 1 + _QUATERNION_TOLERANCE else "ok"
        message = f"The quaternion of the qform of {name} is longer than 1 by {length - 1:.2g}; taken as 1."
        findings.append(Finding(level, "quaternion-length", message))
    return matrix, (b, c, d)


def _contradictions(
    header: Any,
    sform: Matrix | None,
    qform: Matrix | None,
    size: tuple[int, int, int],
    name: str,
    used: str,
) -> list[Finding]:
    findings = []
    if sform is not None and qform is not None:
        apart = corner_distance(sform, qform, size)
        if apart > _SAME_MM:
            readers = "nibabel and FSL" if used == "sform" else "nibabel"
            message = (
                f"sform (code {header['sform_code']}) and qform (code {header['qform_code']}) of {name} "
                f"differ by up to {apart:.1f} mm; the {used} is used, as by {readers}."
            )
            hint = "ITK and Slicer may take the qform. Images made from it carry both. Check the overlay."
            findings.append(Finding("warn", "sform-qform", message, hint))
    pixdim = np.asarray(header["pixdim"][1:4], float)
    if used == "sform" and sform is not None:
        own = np.linalg.norm(sform[:3, :3], axis=0)
        if not np.abs((own - pixdim) * size).max() <= max(_SAME_MM, 1e-3 * float((own * size).max())):
            message = (
                f"The sform of {name} has voxels of {_sizes(own)}, its pixdim {_sizes(pixdim)}; the sform is "
                f"used, as by nibabel, FSL and SPM."
            )
            hint = "ITK and Slicer take the pixdim. Check the size of the head."
            findings.append(Finding("warn", "voxel-size", message, hint))
    elif (pixdim < 0).any():
        message = f"The pixdim of {name} is {_sizes(pixdim)}; taken as above 0, as by nibabel."
        hint = "ITK and Slicer turn these axes round. Check the sides."
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


def _sizes(values: NDArray[np.float64]) -> str:
    return " x ".join(f"{value:.4g}" for value in values)


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
