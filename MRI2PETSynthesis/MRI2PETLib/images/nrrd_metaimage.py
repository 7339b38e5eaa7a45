"""Open NRRD and MetaImage files with ITK, once their headers and data have been checked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.findings import Finding
from MRI2PETLib.images import metaimage, nrrd
from MRI2PETLib.images.formats import image_suffix
from MRI2PETLib.images.raw import RawImage, check_memory, split_size, unreadable_as_input_error


def open_with_itk(path: Path) -> RawImage:
    """Open a NRRD or MetaImage file; reads the header, and compressed data to their end, for their checksum.

    :raises InputError: unreadable header, cut short, damaged, not three-dimensional, vector or complex, too
        large.
    """
    is_nrrd = image_suffix(path) in (".nrrd", ".nhdr")
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    with unreadable_as_input_error(path):
        stored = nrrd.voxels_of_nrrd(path) if is_nrrd else metaimage.voxels_of_metaimage(path)
        reader.ReadImageInformation()
    if reader.GetNumberOfComponents() > 1 or "complex" in sitk.GetPixelIDValueAsString(reader.GetPixelID()):
        raise InputError(
            f"{path} is a vector image ({reader.GetNumberOfComponents()} components a voxel).",
            "Give a scalar image; of a sequence, export one volume or NIfTI.",
        )
    dimension = reader.GetDimension()
    size, n_frames = split_size(path, reader.GetSize())
    check_memory(path, size, stored.n_bytes // stored.n_values)
    with unreadable_as_input_error(path):
        stored.check()
        affine = nrrd.affine_of_left_anterior_superior(path) if is_nrrd else None
        states_sides = nrrd.nrrd_states_sides(path) if is_nrrd else metaimage.metaimage_states_sides(path)
    if affine is None:
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
        files=tuple(dict.fromkeys((path, stored.file))),
        metadata={"format": "NRRD" if is_nrrd else "MetaImage"},
        findings=() if states_sides else (_sides_unknown(path),),
    )


def _sides_unknown(path: Path) -> Finding:
    message = (
        f"{path.name} does not say where left, front and top are. Its coordinates are taken to run to left, "
        f"back and top, as ITK and Slicer do."
    )
    hint = "Save it again with directions in an anatomical space (in Slicer: Save)."
    return Finding("warn", "orientation-unknown", message, hint)
