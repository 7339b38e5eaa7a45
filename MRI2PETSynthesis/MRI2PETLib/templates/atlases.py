"""Label maps from files, with their label tables; Harvard-Oxford on request."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from MRI2PETLib.core.checksums import sha256_of_value
from MRI2PETLib.core.errors import DependencyError, InputError
from MRI2PETLib.core.findings import Finding
from MRI2PETLib.images.formats import sidecar_path
from MRI2PETLib.images.io import read_image
from MRI2PETLib.images.sources import image_checksum
from MRI2PETLib.templates.label_tables import LabelTable, read_label_table
from MRI2PETLib.templates.regions import Parcellation, Space

HARVARD_OXFORD = "harvard-oxford"
_TABLE_SUFFIXES = (".csv", ".tsv", ".txt", ".ctbl", ".lut", ".label")
_BACKGROUND = {"background", "unknown", "clear label", "none"}


def read_parcellation(path: Path | str, labels: Path | str | None = None, *, space: Space) -> Parcellation:
    """Read a label map or Slicer segmentation (.seg.nrrd) and the names of its labels.

    Without ``labels``, a table beside the map with the same name is used (``.csv``, ``.tsv``, ``.txt``,
    ``.ctbl``, ``.lut``, ``.label``, or the map's JSON when it names labels), or the names inside a Slicer
    segmentation. Labels of the map without a name keep their number as name.

    :raises InputError: not a label map, no table, a table that names none of the labels.
    """
    path = Path(path)
    loaded = read_image(path, kind="labels")
    values = [int(v) for v in np.unique(sitk.GetArrayViewFromImage(loaded.image)) if v != 0]
    region_names = _segment_names(path) if labels is None else read_label_table(labels)
    table = labels
    if region_names is None:
        table, region_names = _table_beside(path)
        if region_names is None:
            raise InputError(
                f"{path} is a label map without names: there is no label table beside it.",
                "Give one with --labels (CSV, TSV, JSON, or the table of FreeSurfer, Slicer or ITK-SNAP).",
            )
    names, findings = region_names.names, region_names.findings
    if not set(values) & set(names):
        raise InputError(
            f"The label table {table or path} names none of the {len(values)} labels of {path} "
            f"({_listed(values)}).",
            "Give the table that belongs to this map.",
        )
    names_of_labels = {
        v: names.get(v, f"label {v}") for v in values if names.get(v, "").lower() not in _BACKGROUND
    }
    unnamed = [v for v in values if v not in names]
    if unnamed:
        message = (
            f"{len(unnamed)} labels of {path.name} have no name in the label table ({_listed(unnamed)})."
        )
        hint = "Check that the table belongs to the map."
        findings += (Finding("warn", "labels-without-name", message, hint),)
    source = f"{path.name} (sha256 {loaded.sha256[:12]})"
    return Parcellation(_stem(path), loaded.image, names_of_labels, space, source, findings)


def _stem(path: Path) -> str:
    return re.sub(r"\.seg$", "", sidecar_path(path).stem)


def _listed(values: list[int]) -> str:
    return ", ".join(str(v) for v in values[:8]) + (", ..." if len(values) > 8 else "")


def _table_beside(path: Path) -> tuple[Path | None, LabelTable | None]:
    """The table with the name of a map. Its JSON may also be a sidecar that names no label."""
    for suffix in _TABLE_SUFFIXES:
        table = path.with_name(_stem(path) + suffix)
        if table.is_file():
            return table, read_label_table(table)
    try:
        return sidecar_path(path), read_label_table(sidecar_path(path))
    except InputError:
        return None, None


def _segment_names(path: Path) -> LabelTable | None:
    """Names from the header of a Slicer segmentation, ``None`` for other files."""
    if not path.name.endswith((".nrrd", ".nhdr")):
        return None
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    header = {key: reader.GetMetaData(key) for key in reader.GetMetaDataKeys()}
    names = {}
    for key, name in header.items():
        match = re.fullmatch(r"Segment(\d+)_Name", key)
        value = header.get(f"Segment{match[1]}_LabelValue") if match else None
        if value is not None and value.strip().isdigit():
            names[int(value)] = name.strip()
    return LabelTable(names) if names else None


def fetch_harvard_oxford(cache_folder: Path | None = None) -> Parcellation:
    """The Harvard-Oxford subcortical atlas (21 labels, 2 mm, MNI) through nilearn, which caches the download.

    Licence: FSL, non-commercial use only; not part of MRI2PET. The caller shows ``source`` to the user.

    :raises DependencyError: nilearn is not installed.
    :raises InputError: it is not in the cache and cannot be downloaded.
    """
    try:
        from nilearn.datasets import fetch_atlas_harvard_oxford
    except ImportError as error:
        raise DependencyError("The Harvard-Oxford atlas needs nilearn.", "pip install nilearn") from error
    try:
        atlas = fetch_atlas_harvard_oxford(
            "sub-maxprob-thr25-2mm", data_dir=None if cache_folder is None else str(cache_folder), verbose=0
        )
        affine, values = np.asarray(atlas.maps.affine), np.asarray(atlas.maps.dataobj)
    except Exception as error:  # nilearn passes on whatever its download raises
        raise InputError(
            f"The Harvard-Oxford atlas could not be fetched: {error}.",
            "It needs the network once; or give a copy with --atlas FILE --labels TABLE.",
        ) from error
    image = sitk.GetImageFromArray(np.ascontiguousarray(values.T.astype(np.int32)))
    lps = np.diag([-1.0, -1.0, 1.0]) @ affine[:3]
    spacing = np.linalg.norm(lps[:, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:, 3].tolist())
    names = {label: str(name) for label, name in enumerate(atlas.labels) if label > 0}
    licence = "Harvard-Oxford subcortical atlas (Desikan et al. 2006), FSL licence: non-commercial use only."
    return Parcellation(HARVARD_OXFORD, image, names, "mni", licence)


def atlas_checksum(atlas: Parcellation) -> str:
    """Of the labels, their names and what is said about them."""
    about = (atlas.name, sorted(atlas.names.items()), atlas.space, atlas.source)
    return sha256_of_value([image_checksum(atlas.labels), about])
