"""Checksums (SHA-256) of files, of voxels and of plain values."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.files import plain
from MRI2PETLib.core.names import check_file


def sha256_of(path: Path | str) -> str:
    """SHA-256 of a file; of a folder, over the sorted digests of all files in it (names do not matter)."""
    path = Path(path)
    files = [f for f in path.rglob("*") if f.is_file()] if path.is_dir() else [path]
    return sha256_of_files(files)


def sha256_of_files(files: Iterable[Path]) -> str:
    """SHA-256 of one file, or of the sorted hex digests of several, whatever their names and order.

    :raises InputError: if one cannot be read.
    """
    digests = []
    for file in files:
        check_file(file)
        try:
            with file.open("rb") as stream:
                digest = hashlib.sha256()
                while block := stream.read(1 << 20):
                    digest.update(block)
        except OSError as error:
            raise InputError(f"{file} cannot be read: {error.strerror}.", "Check the path.") from error
        digests.append(digest.hexdigest())
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256("".join(sorted(digests)).encode()).hexdigest()


def sha256_of_voxels(voxels: np.ndarray) -> str:
    """SHA-256 of an image's values as float32 and of its size: the same for every format and compression."""
    values = np.ascontiguousarray(voxels, dtype=np.float32)
    return hashlib.sha256(repr(values.shape).encode() + values.tobytes()).hexdigest()


def sha256_of_value(value: Any) -> str:
    """SHA-256 of what JSON can hold; the order of keys does not matter."""
    return hashlib.sha256(json.dumps(plain(value), sort_keys=True).encode()).hexdigest()
