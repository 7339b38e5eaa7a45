"""The voxels of NRRD and MetaImage files as bytes: where they are, whether all of them are there and sound.

ITK fills what is missing with whatever is in memory, does not compare checksums, and hands the names in a
header to ``printf``: so headers are looked at before it sees them.
"""

from __future__ import annotations

import os
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.images.gzipped import inflated

Encoding = Literal["raw", "zlib", "text"]
_HEADER_BYTES = 1 << 18
_LINE_BYTES = 4096


@dataclass(frozen=True)
class StoredVoxels:
    """Where the voxels of a header are.

    :ivar offset: bytes before them in ``file``; -1: they are its end.
    :ivar n_bytes: of all voxels, not compressed.
    :ivar n_values: of all voxels and components.
    """

    file: Path
    offset: int
    n_bytes: int
    n_values: int
    encoding: Encoding

    def check(self) -> None:
        """Compare what is there with what the header says, and the checksum of compressed data.

        :raises EOFError: if there is less.
        :raises zlib.error, OSError: if the data are damaged.
        """
        size = self.file.stat().st_size
        if self.encoding == "raw":
            present = size - max(0, self.offset)
        else:
            with self.file.open("rb") as stream:
                stream.seek(max(0, self.offset))
                if self.encoding == "text":
                    values = sum(len(line.split()) for line in stream)
                    present = self.n_bytes if values >= self.n_values else 0
                else:
                    present = sum(len(block) for block in inflated(stream, zlib.MAX_WBITS | 32))
        if present < self.n_bytes:
            raise EOFError(f"its voxels are {max(0, present)} of {self.n_bytes} bytes")


def header_lines(path: Path, end: bytes) -> tuple[list[str], int]:
    """The lines of a text header, up to and without what follows ``end``, and how many bytes that was.

    :param end: the regular expression of the bytes that the header ends with.
    :raises ValueError: if there is no such end, a line is too long, or it is not text.
    """
    with path.open("rb") as stream:
        start = stream.read(_HEADER_BYTES)
    match = re.search(end, start)
    if match is None:
        raise ValueError("its header has no end")
    text = start[: match.end()]
    if re.search(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", text):
        raise ValueError("its header is not text")
    lines = re.split(r"\r\n|\r|\n", text.decode("latin-1"))
    if max(len(line) for line in lines) > _LINE_BYTES:
        raise ValueError("a line of its header is too long")
    return lines, match.end()


def data_file(header: Path, name: str) -> Path:
    """The file of voxels that a header names.

    :raises InputError: if it names several files or a pattern, or one outside of the folder of the header.
    """
    inside = os.path.normpath(name.replace("\\", "/"))
    if "%" in name or name.split(maxsplit=1)[0] == "LIST":
        raise InputError(
            f"{header} spreads its voxels over several files ({name[:60]}).",
            "Save it again as one file (.nrrd, .mha or .nii.gz).",
        )
    if os.path.isabs(name) or inside.startswith("..") or ":" in name:
        raise InputError(
            f"{header} names a data file outside of its folder ({name[:60]}).",
            "Put both files into one folder, or save the image as one file (.nrrd, .mha or .nii.gz).",
        )
    file = header.parent / inside
    if not file.is_file():
        raise InputError(
            f"{header} cannot be read: its data file {file} is missing.", "Copy both files of the image."
        )
    return file


def whole_numbers(text: str, count: int, least: int) -> tuple[int, ...]:
    """``count`` whole numbers of at least ``least`` from a header.

    :raises ValueError: for anything else.
    """
    words = text.split()
    if len(words) != count or not all(word.lstrip("-").isdigit() and len(word) < 12 for word in words):
        raise ValueError(f"'{text[:40]}' is not {count} whole numbers")
    numbers = tuple(int(word) for word in words)
    if min(numbers) < least:
        raise ValueError(f"'{text[:40]}' is below {least}")
    return numbers
