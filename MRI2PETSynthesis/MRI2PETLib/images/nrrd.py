"""The header of a NRRD (``.nrrd``, ``.nhdr``), as far as it says where the voxels are.

Source: https://teem.sourceforge.net/nrrd/format.html.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.images.stored import Encoding, StoredVoxels, data_file, header_lines, whole_numbers

_TYPES = {
    1: "signed char|int8|int8_t|uchar|unsigned char|uint8|uint8_t",
    2: "short|short int|signed short|signed short int|int16|int16_t|ushort|unsigned short|unsigned short int"
    "|uint16|uint16_t",
    4: "int|signed int|int32|int32_t|uint|unsigned int|uint32|uint32_t|float",
    8: "longlong|long long|long long int|signed long long|signed long long int|int64|int64_t|ulonglong"
    "|unsigned long long|unsigned long long int|uint64|uint64_t|double",
}
_BYTES = {name: n for n, names in _TYPES.items() for name in names.split("|")}
_ENCODINGS: dict[str, Encoding] = {
    "raw": "raw", "gzip": "zlib", "gz": "zlib",
    "txt": "text", "text": "text", "ascii": "text",
}  # fmt: skip
_AXES_OF_AN_IMAGE = ("domain", "space")
_NUMBER = r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d{1,3})?"
_VECTOR = rf"\(\s*{_NUMBER}(\s*,\s*{_NUMBER})*\s*\)"
# What a field's value is made of, and how often: "axes" or a number. teem, ITK's reader, crashes on others.
_GRAMMAR: dict[str, tuple[str, str | int]] = {
    "space directions": (rf"(none|{_VECTOR})", "axes"),
    "space origin": (_VECTOR, 1),
    "measurement frame": (rf"(none|{_VECTOR})", "space"),
    **dict.fromkeys(("spacings", "thicknesses", "axis mins", "axis maxs", "axismins", "axismaxs"),
                    (rf"({_NUMBER}|[-+]?(nan|inf))", "axes")),
    **dict.fromkeys(("kinds", "centers", "centerings"), (r"[\w?/-]{1,40}", "axes")),
    **dict.fromkeys(("labels", "units"), (r'"[^"\\]{0,100}"', "axes")),
    "space units": (r'"[^"\\]{0,100}"', "space"),
    **dict.fromkeys(("endian", "encoding", "type", "space", "content", "sample units", "sampleunits",
                     "data file", "number", "old min", "old max", "oldmin", "oldmax", "min", "max",
                     "block size", "blocksize"), (r".{0,250}", 1)),
}  # fmt: skip
_SPACES = re.compile(r"(?:right-anterior|left-anterior|left-posterior)-superior(?:-time)?|(?:ras|las|lps)t?")
_WHOLE_NUMBERS = (
    "dimension", "sizes", "line skip", "lineskip", "byte skip", "byteskip", "space dimension",
)  # fmt: skip
_EMPTY_LINE = rb"\r?\n\r?\n"


def header_fields(path: Path) -> tuple[dict[str, str], int]:
    """The fields of the header by their names in lower case, and the bytes before the voxels.

    :raises ValueError: if the file is no NRRD.
    """
    detached = path.suffix.lower() == ".nhdr"
    lines, offset = header_lines(path, rb"\r?\n\r?\n|\Z" if detached else _EMPTY_LINE)
    if not re.fullmatch(r"NRRD000[1-6]", lines[0]):
        raise ValueError("it does not begin as a NRRD")
    fields: dict[str, str] = {}
    for line in lines[1:]:
        if not line or line.startswith("#") or re.match("[^:]*:=", line):
            continue
        name, colon, value = line.partition(":")
        key = name.strip().lower().replace("datafile", "data file")
        if not colon or key in fields:
            raise ValueError(f"'{line[:40]}' in its header is not a field, or occurs twice")
        fields[key] = value.strip()
    return fields, offset


def _check_fields(fields: dict[str, str], n_axes: int) -> None:
    """:raises ValueError: for a field that is not of NRRD, or whose value is not as it has to be."""
    for key, value in fields.items():
        if key in _WHOLE_NUMBERS:
            continue
        if key not in _GRAMMAR:
            raise ValueError(f"its header has the unknown field '{key[:40]}'")
        part, count = _GRAMMAR[key]
        n = {"axes": n_axes, "space": r"1,16"}.get(str(count), count)
        if not re.fullmatch(rf"\s*({part}\s*){{{n}}}", value):
            raise ValueError(f"the field '{key}' in its header is '{value[:40]}'")


def voxels_of_nrrd(path: Path) -> StoredVoxels:
    """Where the voxels of a NRRD are.

    :raises InputError: if they are in several files, in one outside of the folder, or of several volumes.
    :raises ValueError: if the header makes no sense.
    """
    fields, offset = header_fields(path)
    (n_axes,) = whole_numbers(fields.get("dimension", ""), 1, 1)
    if n_axes > 16:
        raise ValueError(f"it has {n_axes} axes")
    size = whole_numbers(fields.get("sizes", ""), n_axes, 1)
    _check_fields(fields, n_axes)
    _check_kinds(path, fields.get("kinds", ""), size)
    kind = fields.get("type", "").lower()
    if kind not in _BYTES:
        raise ValueError(f"its voxels are of the type '{kind[:40]}'")
    encoding = _ENCODINGS.get(fields.get("encoding", "").lower())
    if encoding is None:
        raise InputError(
            f"{path} has the encoding '{fields.get('encoding', '')[:40]}', which is not read.",
            "Save it again as raw or gzip.",
        )
    file = path
    if "data file" in fields:
        file, offset = data_file(path, fields["data file"] or "LIST"), 0
    (n_lines,) = whole_numbers(fields.get("line skip", fields.get("lineskip", "0")), 1, 0)
    (skipped,) = whole_numbers(fields.get("byte skip", fields.get("byteskip", "0")), 1, -1)
    if n_lines:
        raise InputError(f"{path} skips {n_lines} lines of its data.", "Save it again as one file.")
    if encoding == "raw":
        offset = -1 if skipped < 0 else offset + skipped
    elif skipped:
        raise InputError(f"{path} skips {skipped} bytes of compressed data.", "Save it again as one file.")
    n_values = math.prod(size)
    return StoredVoxels(file, offset, n_values * _BYTES[kind], n_values, encoding)


def _check_kinds(path: Path, kinds: str, size: tuple[int, ...]) -> None:
    """Refuse several volumes or components a voxel, with their number."""
    for kind, n in zip(kinds.lower().split(), size):
        if kind not in (*_AXES_OF_AN_IMAGE, "time", "???", "none") and n > 1:
            raise InputError(
                f"{path} holds {n} values a voxel (axis of the kind '{kind[:20]}'): a sequence or vectors.",
                "Give one volume (in Slicer, take it out with Sequences or MultiVolumeExplorer); of "
                "a dynamic PET, a 4-D NIfTI with its JSON sidecar.",
            )


def nrrd_states_sides(path: Path) -> bool:
    """Whether the header says where left, front and top are."""
    fields, _ = header_fields(path)
    return "space directions" in fields and _SPACES.fullmatch(fields.get("space", "").lower()) is not None


def affine_of_left_anterior_superior(path: Path) -> np.ndarray | None:
    """The affine (LPS mm) of a NRRD in the space left-anterior-superior; ``None`` for other spaces.

    ITK before SimpleITK 2.5.6, which Slicer 5.12 does not have, turns these by 180 degrees.
    """
    fields, _ = header_fields(path)
    if fields.get("space", "").lower() not in ("left-anterior-superior", "las"):
        return None
    words = fields.get("space directions", "").replace("none", "") + " " + fields.get("space origin", "")
    vectors = [[float(x) for x in v.split(",")] for v in re.findall(r"\(([^)]*)\)", words)]
    if [len(v) for v in vectors] != [3, 3, 3, 3]:
        return None
    affine = np.eye(4)
    affine[:3] = np.array(vectors).T
    return np.asarray(np.diag([1.0, -1.0, 1.0, 1.0]) @ affine)
