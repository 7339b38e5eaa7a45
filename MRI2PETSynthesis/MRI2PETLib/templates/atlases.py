"""Label maps from files, with their label tables; Harvard-Oxford on request."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from MRI2PETLib.core.errors import DependencyError, InputError
from MRI2PETLib.core.findings import Finding
from MRI2PETLib.images.formats import sidecar_path
from MRI2PETLib.images.io import read_image
from MRI2PETLib.templates.regions import Parcellation, Space

HARVARD_OXFORD = "harvard-oxford"
_TABLE_SUFFIXES = (".csv", ".tsv", ".json", ".txt", ".ctbl", ".lut")
_LABEL_COLUMNS = ("label", "labelvalue", "index", "value", "id", "no", "number", "key")
_NAME_COLUMNS = ("name", "region", "structure", "labelname", "abbreviation")
_BACKGROUND = {"background", "unknown", "clear label", "none"}


def read_parcellation(path: Path | str, labels: Path | str | None = None, *, space: Space) -> Parcellation:
    """Read a label map or Slicer segmentation (.seg.nrrd) and the names of its labels.

    Without ``labels``, a table beside the map with the same name is used (``.csv``, ``.tsv``, ``.json``,
    ``.txt``, ``.ctbl``), or the names inside a Slicer segmentation. Labels of the map without a name keep
    their number as name.

    :raises InputError: not a label map, no table, a table that names none of the labels.
    """
    path = Path(path)
    loaded = read_image(path, kind="labels")
    values = [int(v) for v in np.unique(sitk.GetArrayViewFromImage(loaded.image)) if v != 0]
    names = _segment_names(path) if labels is None else read_label_table(labels)
    table = labels
    if names is None:
        table = _table_beside(path)
        if table is None:
            raise InputError(
                f"{path} is a label map without names: there is no label table beside it.",
                "Give one with --labels (CSV, TSV, JSON, FreeSurfer or Slicer colour table).",
            )
        names = read_label_table(table)
    if not set(values) & set(names):
        raise InputError(
            f"The label table {table or path} names none of the {len(values)} labels of {path} "
            f"({_listed(values)}).",
            "Give the table that belongs to this map.",
        )
    chosen = {v: names.get(v, f"label {v}") for v in values if names.get(v, "").lower() not in _BACKGROUND}
    unnamed = [v for v in values if v not in names]
    findings: tuple[Finding, ...] = ()
    if unnamed:
        message = (
            f"{len(unnamed)} labels of {path.name} have no name in the label table ({_listed(unnamed)})."
        )
        findings = (
            Finding("warn", "labels_without_name", message, "Check that the table belongs to the map."),
        )
    source = f"{path.name} (sha256 {loaded.sha256[:12]})"
    return Parcellation(_stem(path), loaded.image, chosen, space, source, findings)


def _stem(path: Path) -> str:
    return re.sub(r"\.seg$", "", sidecar_path(path).stem)


def _listed(values: list[int]) -> str:
    return ", ".join(str(v) for v in values[:8]) + (", ..." if len(values) > 8 else "")


def _table_beside(path: Path) -> Path | None:
    candidates = (path.with_name(_stem(path) + suffix) for suffix in _TABLE_SUFFIXES)
    return next((c for c in candidates if c.is_file()), None)


def _segment_names(path: Path) -> dict[int, str] | None:
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
    return names or None


def read_label_table(path: Path | str) -> dict[int, str]:
    """Read label -> name from CSV or TSV (with or without a header), JSON, a FreeSurfer LUT or a Slicer
    colour table.

    :raises InputError: missing, unreadable, without a single label, or naming a label twice.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(
            f"The label table {path} cannot be read: {error.strerror}.", "Check the path."
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(f"The label table {path} is not a text file.", "Save it as UTF-8 text.") from error
    if path.suffix.lower() == ".json":
        pairs = _from_json(text, path)
    elif path.suffix.lower() in (".csv", ".tsv"):
        pairs = _from_csv(text, path)
    else:
        pairs = _from_lut(text)
    names: dict[int, str] = {}
    for label, name in pairs:
        if label in names and names[label] != name:
            raise InputError(
                f"The label table {path} names label {label} twice: {names[label]!r} and {name!r}.",
                "Keep one row for each label.",
            )
        if label != 0:
            names[label] = name
    if not names:
        raise InputError(
            f"The label table {path} holds no label.", "Expected rows such as: 10, Left-Thalamus."
        )
    return names


def _from_json(text: str, path: Path) -> list[tuple[int, str]]:
    """``{"10": "Left-Thalamus"}``, ``{"Left-Thalamus": 10}``, or a list of objects with both."""
    try:
        content: Any = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"{path} is not valid JSON: {error}.", "Check the file.") from error
    if isinstance(content, dict):
        if len(content) == 1 and isinstance(next(iter(content.values())), dict):
            content = next(iter(content.values()))
        items = [(str(k), str(v)) for k, v in content.items() if isinstance(v, (str, int))]
        return [(int(a), b) if _whole(a) else (int(b), a) for a, b in items if _whole(a) or _whole(b)]
    rows = [row for row in content if isinstance(row, dict)] if isinstance(content, list) else []
    return _from_rows([{str(k): str(v) for k, v in row.items()} for row in rows])


def _whole(text: str) -> bool:
    return bool(re.fullmatch(r"\s*\d{1,9}(\.0*)?\s*", text))


def _from_csv(text: str, path: Path) -> list[tuple[int, str]]:
    delimiter = (
        "\t"
        if path.suffix.lower() == ".tsv"
        else (";" if text[:200].count(";") > text[:200].count(",") else ",")
    )
    rows = [row for row in csv.reader(io.StringIO(text), delimiter=delimiter) if len(row) > 1]
    if rows and _whole(rows[0][0]):
        return [(int(float(row[0])), row[1].strip()) for row in rows if _whole(row[0])]
    return _from_rows([dict(zip(rows[0], row)) for row in rows[1:]]) if rows else []


def _from_rows(rows: list[dict[str, str]]) -> list[tuple[int, str]]:
    pairs = []
    for row in rows:
        plain = {re.sub(r"[^a-z]", "", key.lower()): value for key, value in row.items()}
        label = next((plain[c] for c in _LABEL_COLUMNS if c in plain), "")
        name = next((plain[c] for c in _NAME_COLUMNS if c in plain), "")
        if _whole(label) and name:
            pairs.append((int(float(label)), name.strip()))
    return pairs


def _from_lut(text: str) -> list[tuple[int, str]]:
    """FreeSurfer's ``No. Label Name: R G B A`` and Slicer's colour table: number, name, colours."""
    pairs = []
    for line in text.splitlines():
        match = re.match(r"\s*(\d{1,9})\s+(\S+)", line)
        if match:
            pairs.append((int(match[1]), match[2]))
    return pairs


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
