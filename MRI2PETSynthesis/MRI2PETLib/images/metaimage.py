"""The header of a MetaImage (``.mha``, ``.mhd``), as far as it says where the voxels are.

Source: https://itk.org/Wiki/MetaIO/Documentation.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.images.stored import StoredVoxels, data_file, header_lines, whole_numbers

_BYTES = {
    "CHAR": 1, "UCHAR": 1, "SHORT": 2, "USHORT": 2, "INT": 4, "UINT": 4, "LONG": 4, "ULONG": 4,
    "LONG_LONG": 8, "ULONG_LONG": 8, "FLOAT": 4, "DOUBLE": 8,
}  # fmt: skip
# Geometry, and how many numbers an image of n axes has of it.
_NUMBERS = {
    "elementspacing": 1, "elementsize": 1, "offset": 1, "position": 1, "origin": 1, "centerofrotation": 1,
    "transformmatrix": 2, "rotation": 2, "orientation": 2,
}  # fmt: skip
_DIRECTIONS = {"transformmatrix", "rotation", "orientation"}
_SCALING = {"elementtointensityfunctionslope": 1.0, "elementtointensityfunctionoffset": 0.0}
_LAST = rb"(?m)^[ \t]*ElementDataFile[ \t]*=[^\r\n]*(\r\n|\r|\n|\Z)"
# MetaIO keeps some texts in buffers of this size.
_TEXT_BYTES = 250


def voxels_of_metaimage(path: Path) -> StoredVoxels:
    """Where the voxels of a MetaImage are.

    :raises InputError: if they are in several files, or in one outside of the folder.
    :raises ValueError: if the header makes no sense.
    """
    fields, offset = _header_fields(path)
    (n_axes,) = whole_numbers(fields.get("ndims", ""), 1, 1)
    if not 2 <= n_axes <= 4:
        raise ValueError(f"it has {n_axes} axes")
    size = whole_numbers(fields.get("dimsize", ""), n_axes, 1)
    (components,) = whole_numbers(fields.get("elementnumberofchannels", "1"), 1, 1)
    for key, power in _NUMBERS.items():
        if key in fields:
            _check_numbers(key, fields[key], n_axes**power)
    for key, plain in _SCALING.items():
        if float(fields.get(key, plain)) != plain:
            raise InputError(
                f"{path} states a scaling of its values, which ITK and Slicer do not apply.",
                "Save it again with the scaled values.",
            )
    kind = fields.get("elementtype", "").removeprefix("MET_").removesuffix("_ARRAY")
    if kind not in _BYTES:
        raise ValueError(f"its voxels are of the type '{fields.get('elementtype', '')[:40]}'")
    compressed = _is_true(fields.get("compresseddata", "False"))
    name = fields["elementdatafile"]
    if not name:
        raise ValueError("it names no data file")
    if name.upper() != "LOCAL":
        file, offset = data_file(path, name), 0
    else:
        file = path
    if "headersize" in fields and not compressed:
        (skipped,) = whole_numbers(fields["headersize"], 1, -1)
        offset = skipped if skipped < 0 else offset + skipped
    if "compresseddatasize" in fields:
        (n_compressed,) = whole_numbers(fields["compresseddatasize"], 1, 0)
        if n_compressed > file.stat().st_size - max(0, offset):
            raise EOFError(f"its compressed data are fewer than {n_compressed} bytes")
    if not _is_true(fields.get("binarydata", "True")):
        raise InputError(f"{path} holds its voxels as text.", "Save it again as binary file.")
    n_values = math.prod(size) * components
    return StoredVoxels(file, offset, n_values * _BYTES[kind], n_values, "zlib" if compressed else "raw")


def metaimage_states_sides(path: Path) -> bool:
    """Whether the header has directions of its axes."""
    return not _DIRECTIONS.isdisjoint(_header_fields(path)[0])


def _header_fields(path: Path) -> tuple[dict[str, str], int]:
    """The fields by their names in lower case, and the bytes before voxels that follow them."""
    lines, offset = header_lines(path, _LAST)
    fields: dict[str, str] = {}
    for line in filter(str.strip, lines):
        match = re.fullmatch(r"\s*([A-Za-z0-9_]+)\s*=\s*(.*?)\s*", line)
        if match is None:
            raise ValueError(f"'{line[:40]}' in its header has no name and value")
        key = match[1].lower()
        if key in fields:
            raise ValueError(f"its header has {match[1]} twice")
        fields[key] = match[2]
        if len(match[2]) > _TEXT_BYTES and key not in (*_NUMBERS, "dimsize", "elementdatafile"):
            raise ValueError(f"{match[1]} in its header is too long")
    return fields, offset


def _is_true(text: str) -> bool:
    """As MetaIO reads it: by the first letter."""
    return text[:1] in ("T", "t", "1")


def _check_numbers(key: str, text: str, count: int) -> None:
    values = [float(word) for word in text.split()]
    if len(values) != count or not all(math.isfinite(value) for value in values):
        raise ValueError(f"{key} in its header is not {count} numbers")
