"""Open NRRD and MetaImage files with ITK."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.images.formats import image_suffix
from MRI2PETLib.images.raw import RawImage, split_size, unreadable_as_input_error


def open_with_itk(path: Path) -> RawImage:
    """Open a NRRD or MetaImage file; reads the header only.

    :raises InputError: unreadable header, not three-dimensional, vector or complex, too large.
    """
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
