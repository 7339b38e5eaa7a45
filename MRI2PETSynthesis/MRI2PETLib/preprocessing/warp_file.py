"""The warp of a person to the template, kept in a file beside what was made from the T1."""

from __future__ import annotations

import logging
import zipfile
import zlib
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from MRI2PETLib.core.checksums import sha256_of_value, sha256_of_voxels
from MRI2PETLib.core.errors import OutputError
from MRI2PETLib.core.files import atomic_path
from MRI2PETLib.core.progress import ProgressCallback, no_progress
from MRI2PETLib.images.grid import affine_matrix
from MRI2PETLib.preprocessing.template_warp import warp_to_template
from MRI2PETLib.templates.icbm152 import load_template

_VERSION = 1  # raise when the same T1 would give another warp
# The displacements are smooth (see template_warp.FIELD_SIGMA_VOXELS): every second voxel holds them, and
# float16 rounds them by .01 mm at most.
_EVERY = 2
_UNSOUND = (
    *(OSError, ValueError, TypeError, KeyError, EOFError, RuntimeError, OverflowError),
    *(MemoryError, zipfile.BadZipFile, zlib.error),
)
_log = logging.getLogger(__name__)


def person_warp(
    t1: sitk.Image,
    mask: sitk.Image,
    template_to_native: sitk.Transform,
    path: Path | None = None,
    *,
    progress: ProgressCallback = no_progress,
) -> sitk.Transform:
    """The transform from the person's points to template points (LPS mm), see :func:`.warp_to_template`.

    :param path: where the warp is kept: read when it is of this T1, mask and affine; written when nothing is
        there. A folder that cannot be written to is no error.
    :raises QualityError: if the T1 and the template do not overlap.
    """
    images = [sha256_of_voxels(sitk.GetArrayViewFromImage(image)) for image in (t1, mask != 0)]
    key = sha256_of_value([_VERSION, *images, np.round(affine_matrix(template_to_native), 4).tolist()])
    field = None if path is None else _read(path, key)
    if field is None:
        warp = sitk.CompositeTransform(
            warp_to_template(t1, mask, template_to_native, progress=progress)
        ).GetNthTransform(0)
        whole = sitk.DisplacementFieldTransform(warp).GetDisplacementField()
        field = sitk.GetArrayFromImage(whole)[::_EVERY, ::_EVERY, ::_EVERY].astype(np.float16)
        if path is not None and not path.exists():
            _write(path, key, field)
    chain = sitk.CompositeTransform(3)  # the last one added comes first
    chain.AddTransform(sitk.DisplacementFieldTransform(_on_template(field)))
    chain.AddTransform(template_to_native.GetInverse())
    return chain


def _on_template(field: np.ndarray) -> sitk.Image:
    """Displacements [k, j, i, xyz] of every second voxel on the whole grid of the template."""
    template = load_template().t1
    coarse = sitk.GetImageFromArray(field.astype(np.float64), isVector=True)
    coarse.SetSpacing([s * _EVERY for s in template.GetSpacing()])
    coarse.SetOrigin(template.GetOrigin())
    coarse.SetDirection(template.GetDirection())
    # Half a voxel beyond the last one of the coarse grid counts as inside of it.
    return sitk.Resample(coarse, template, sitk.Transform(), sitk.sitkLinear)


def _read(path: Path, key: str) -> np.ndarray | None:
    try:
        with np.load(path, allow_pickle=False) as content:
            return _checked(content["field"]) if str(content["key"]) == key else None
    except _UNSOUND:
        return None  # not there, or not sound: it is made again


def _checked(field: np.ndarray) -> np.ndarray:
    """:raises ValueError: for anything but finite displacements of every second voxel of the template."""
    shape = tuple(-(-n // _EVERY) for n in reversed(load_template().t1.GetSize()))
    if field.shape != (*shape, 3) or field.dtype != np.float16 or not np.isfinite(field).all():
        raise ValueError(f"a field of {field.shape} {field.dtype}")
    return field


def _write(path: Path, key: str, field: np.ndarray) -> None:
    try:
        with atomic_path(path) as temporary:
            np.savez_compressed(temporary, key=key, field=field)
    except OutputError as error:
        _log.info("%s is not kept: %s", path, error.message)
