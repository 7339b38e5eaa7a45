"""Read, check and write images. World coordinates are LPS mm (SimpleITK); arrays are numpy [k, j, i]."""

from __future__ import annotations

import errno
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from MRI2PETLib.core.checksums import sha256_of_files
from MRI2PETLib.core.errors import InputError, OutputError
from MRI2PETLib.core.files import atomic_path, write_json
from MRI2PETLib.core.findings import Finding, Verdict
from MRI2PETLib.images import image_checks
from MRI2PETLib.images.formats import (
    WRITABLE_SUFFIXES,
    check_image_file,
    image_suffix,
    sidecar_path,
)
from MRI2PETLib.images.gzipped import read_gzip
from MRI2PETLib.images.hot_voxels import mend_hot_voxels
from MRI2PETLib.images.image_checks import ImageKind
from MRI2PETLib.images.nifti import is_nifti_pair, open_nifti, write_nifti
from MRI2PETLib.images.nrrd_metaimage import open_with_itk
from MRI2PETLib.images.orientation import NiftiForms
from MRI2PETLib.images.other_formats import open_with_nibabel
from MRI2PETLib.images.raw import RawImage
from MRI2PETLib.images.shear import SHEAR_TOLERANCE_MM, to_image


@dataclass(frozen=True)
class LoadedImage:
    """A 3-D image in memory and what was noticed while reading it.

    :ivar image: float32 for ``t1`` and ``pet``, uint8 (0, 1) for ``mask``, int32 for ``labels``.
    :ivar path: the file, or the DICOM folder; ``files``: all that was read, of a DICOM folder the slices.
    :ivar sha256: of the file, or of the DICOM files of the series (see
        :func:`~MRI2PETLib.core.checksums.sha256_of_files`).
    :ivar forms: both orientations of a NIfTI file, to be written with what is made from it.
    """

    image: sitk.Image
    path: Path
    files: tuple[Path, ...]
    verdict: Verdict
    sha256: str
    metadata: dict[str, Any]
    forms: NiftiForms | None = None


def open_image(path: Path | str, *, kind: ImageKind, series_uid: str | None = None) -> RawImage:
    """Open a file or DICOM folder and check its header for what ``kind`` needs; no voxel is read.

    :raises InputError: see :func:`read_image`.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        from MRI2PETLib.images.dicom import list_series
        from MRI2PETLib.images.dicom_choice import choose_series
        from MRI2PETLib.images.dicom_volume import open_series

        if kind in ("mask", "labels"):
            raise InputError(f"{path} is a folder.", f"Give the {kind} as a NIfTI, NRRD or MHA file.")
        choice = choose_series(list_series(path), path, kind=kind, series_uid=series_uid)
        raw = open_series(choice.series, path, findings=choice.findings)
    else:
        raw = _open_file(path)
    findings = image_checks.check_geometry(raw, kind)
    return RawImage(**{**vars(raw), "findings": raw.findings + findings})


def _open_file(path: Path) -> RawImage:
    """Open an image file; see the readers for what of it is read.

    :raises InputError: missing file, wrong suffix, unreadable header, not three-dimensional, too large.
    """
    path = check_image_file(path)
    suffix = image_suffix(path)
    if suffix in (".nii", ".nii.gz") or (suffix == ".hdr" and is_nifti_pair(path)):
        return open_nifti(path)
    if suffix in (".nrrd", ".nhdr", ".mha", ".mhd"):
        return open_with_itk(path)
    return open_with_nibabel(path)


def read_image(path: Path | str, *, kind: ImageKind, series_uid: str | None = None) -> LoadedImage:
    """Read an image file or a DICOM folder as a 3-D image, checked for what ``kind`` needs.

    The grid is that of the file; only sheared axes, which ITK cannot hold, are resampled, with a finding.

    >>> import tempfile
    >>> cube = {"size": [40] * 3, "sigma": [40] * 3, "mean": [80] * 3, "spacing": [4] * 3}
    >>> image = sitk.GaussianSource(sitk.sitkFloat32, **cube)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     loaded = read_image(write_image(image, f"{folder}/T1.nii.gz"), kind="t1")
    >>> loaded.image.GetSize(), loaded.image.GetSpacing(), loaded.verdict.level
    ((40, 40, 40), (4.0, 4.0, 4.0), 'ok')

    :param series_uid: SeriesInstanceUID to use when a DICOM folder holds several candidates.
    :raises InputError: missing, damaged, 2-D or 4-D, vector, too large, not in mm, a slab, constant.
    """
    raw = open_image(path, kind=kind, series_uid=series_uid)
    if raw.n_frames > 1:
        what = (
            "average its frames (a PET is read with its frame times)" if kind == "pet" else "pick one volume"
        )
        raise InputError(f"{raw.path} is 4-D: it has {raw.n_frames} frames.", f"Give a 3-D image: {what}.")
    image, findings = read_frame_image(raw, 0, kind=kind)
    return LoadedImage(
        image=image,
        path=raw.path,
        files=tuple(raw.files),
        verdict=Verdict(raw.findings + findings),
        sha256=sha256_of_files(raw.files),
        metadata={**raw.metadata, **grid_metadata(image)},
        forms=raw.forms,
    )


def read_mask(path: Path | str, forms: NiftiForms | None) -> sitk.Image:
    """A brain mask as uint8 (0, 1), where it lies on the image that it was drawn on.

    :param forms: of that image: a mask that ITK or Slicer wrote lies where those show the image.
    :raises InputError: see :func:`read_image`.
    """
    mask = read_image(path, kind="mask").image
    return mask if forms is None else forms.from_itk(mask)


def read_frame_image(raw: RawImage, frame: int, *, kind: ImageKind) -> tuple[sitk.Image, tuple[Finding, ...]]:
    """Read one frame of an opened image, check its values and give it orthonormal axes.

    :raises InputError: for values that ``kind`` cannot have.
    """
    values, findings = image_checks.clean_values(raw.read_frame(frame), raw)
    if kind == "mask":
        values, more = image_checks.to_mask(values, raw)
        findings += more
    elif kind == "labels":
        values = image_checks.to_labels(values, raw)
    else:
        values, more = mend_hot_voxels(values, raw.path.name)
        findings += more
        contrast = image_checks.check_contrast(values, raw)
        if kind == "t1":
            findings += image_checks.check_t1_values(values, contrast, raw)
    image, shear_mm = to_image(values, raw.affine, nearest=kind in ("mask", "labels"))
    if shear_mm > SHEAR_TOLERANCE_MM:
        message = (
            f"The axes of {raw.path.name} are sheared by up to {shear_mm:.1f} mm; resampled to right angles."
        )
        hint = "Results are made on the resampled grid."
        findings += (Finding("warn", "shear", message, hint),)
    return image, findings


def grid_metadata(image: sitk.Image) -> dict[str, Any]:
    """Size, voxel size and orientation for sidecars. The letters say where i, j, k point to."""
    orientation = sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(image.GetDirection())
    return {
        "size": list(image.GetSize()),
        "spacing_mm": [round(s, 6) for s in image.GetSpacing()],
        "orientation": orientation,
    }


def same_grid(a: sitk.Image, b: sitk.Image, tolerance_mm: float = 1e-3) -> bool:
    """Whether both images have the same size and every voxel centre agrees to ``tolerance_mm``."""
    if a.GetSize() != b.GetSize():
        return False
    corners = (
        np.array(np.meshgrid(*[(0, n - 1) for n in a.GetSize()])).reshape(len(a.GetSize()), -1).T.tolist()
    )
    apart = [
        np.subtract(a.TransformIndexToPhysicalPoint(c), b.TransformIndexToPhysicalPoint(c)) for c in corners
    ]
    return float(np.abs(apart).max()) <= tolerance_mm


def on_grid_of(image: sitk.Image, reference: sitk.Image) -> sitk.Image:
    """The image with exactly the geometry of another one on the :func:`same_grid`.

    File formats round geometry differently (NIfTI to float32), and ITK's filters refuse grids that differ by
    more than 1e-6 of a voxel.
    """
    exact = sitk.Image(image)
    exact.CopyInformation(reference)
    return exact


def write_image(
    image: sitk.Image,
    path: Path | str,
    sidecar: dict[str, Any] | None = None,
    *,
    forms: NiftiForms | None = None,
) -> Path:
    """Write an image (compressed) and its JSON sidecar, whole or not at all.

    :param forms: orientations of the NIfTI image that this one belongs to, in whose world it lies: the two
        then lie together in every reader, whichever orientation that takes. Where no header says that (axes
        that one orientation shears and the other does not), the values are resampled onto its voxels.
    :raises OutputError: unknown suffix, missing or read-only folder, full disk.
    """
    path = Path(path)
    if image_suffix(path) not in WRITABLE_SUFFIXES:
        raise OutputError(f"Cannot write {path}.", f"Use a name that ends in {', '.join(WRITABLE_SUFFIXES)}.")
    if not path.parent.is_dir():
        raise OutputError(f"Cannot write {path}: {path.parent} is not a folder.", "Create the folder first.")
    with atomic_path(path) as temporary:
        # Opening it ourselves reports a read-only folder as such; ITK only says "not written".
        temporary.touch()
        try:
            own = None if forms is None else forms.of_output(image)
            if own is not None and image_suffix(path).startswith(".nii"):
                write_nifti(*own, temporary)
            else:
                placed = image if own is None else _as_itk_shows(*own)
                sitk.WriteImage(placed, str(temporary), useCompression=True)
                _check_written(placed, temporary)
        except RuntimeError as error:
            raise OutputError(
                f"Cannot write {path}.", "Is the disk full? Free some space, run again."
            ) from error
        if sidecar is not None:
            write_json(sidecar_path(path), sidecar)
    return path


def _as_itk_shows(image: sitk.Image, forms: NiftiForms) -> sitk.Image:
    """An image of these orientations where ITK shows it: only ITK reads the other formats."""
    grid = forms.as_itk_reads()
    placed = sitk.Image(image)
    placed.SetSpacing(grid.spacing_mm)
    placed.SetOrigin(grid.origin)
    placed.SetDirection(grid.direction)
    return placed


def _check_written(image: sitk.Image, path: Path) -> None:
    """Raise OSError when a NIfTI file is cut short.

    ITK neither notices that the disk runs full under a NIfTI file nor, later, that it is cut short; for NRRD
    and MetaImage it does.
    """
    if not image_suffix(path).startswith(".nii"):
        return
    voxel_bytes = image.GetSizeOfPixelComponent() * image.GetNumberOfComponentsPerPixel()
    expected = image.GetNumberOfPixels() * voxel_bytes
    try:
        is_whole = (
            path.stat().st_size >= expected if path.suffix != ".gz" else bool(read_gzip(path, expected, 0))
        )
    except (EOFError, zlib.error):
        is_whole = False
    if not is_whole:
        raise OSError(errno.ENOSPC, "the file is cut short")
