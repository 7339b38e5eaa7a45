"""Checksums of images as inputs: of all files that reading one takes, and of what is in memory."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import SimpleITK as sitk

from MRI2PETLib.core.checksums import sha256_of, sha256_of_files, sha256_of_value
from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.requests import Source
from MRI2PETLib.images import bids
from MRI2PETLib.images.formats import image_suffix
from MRI2PETLib.images.image_checks import ImageKind
from MRI2PETLib.images.io import open_image

_ALONE = (".nii.gz", ".nii")  # files without another for the voxels


def source_of(path: Path, kind: ImageKind, files: str = "") -> Source:
    """The image at ``path`` as an input: its files, its sidecars and, of a PET, the weight of the person.

    What cannot be read has no checksum.

    :param files: its :func:`files_checksum`, where it is known.
    """
    try:
        content: dict[str, Any] = {"files": files or files_checksum(path, kind)}
        if kind in ("t1", "pet"):
            content["sidecars"] = [sha256_of(file) for file in bids.sidecar_files(path)]
        if kind == "pet":
            content["weight"] = _weight(path)
    except InputError:
        return Source(str(path.resolve()), "")
    return Source(str(path.resolve()), sha256_of_value(content))


def files_checksum(path: Path, kind: ImageKind) -> str:
    """Of the file, and of the data file of a header that stands alone.

    A folder of DICOM files counts with all of its files: one more may change which series is chosen.

    :raises InputError: if one cannot be read.
    """
    if path.is_dir():
        return sha256_of(path)
    files = {path}
    if image_suffix(path) not in _ALONE:
        with suppress(InputError):  # reading it will tell
            files.update(open_image(path, kind=kind).files)
    return sha256_of_files(files)


def _weight(path: Path) -> list[Any]:
    try:
        weight = bids.body_weight(path, bids.read_sidecar(path))
        return [weight.kg, weight.reason]
    except InputError as error:  # the sidecars themselves are in the checksum
        return [None, error.message]


def optional_source(path: Path | None, kind: ImageKind) -> Source | None:
    """:func:`source_of`, or ``None`` for no image."""
    return None if path is None else source_of(path, kind)


def image_checksum(image: sitk.Image) -> str:
    """Of the voxels and the geometry of an image in memory."""
    geometry = (image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection())
    digest = hashlib.sha256(sha256_of_value([image.GetPixelIDTypeAsString(), geometry]).encode())
    digest.update(sitk.GetArrayFromImage(image).tobytes())
    return digest.hexdigest()
