"""Whose a file is that lies where an output would go: what this program did not make is never replaced."""

from __future__ import annotations

import os
from pathlib import Path

from MRI2PETLib.core.errors import InputError

# In the sidecars, reports and archives of this program.
MARK = b"MRI2PET"
_ENDS = 1 << 16  # bytes of the beginning and the end in which the mark is looked for
_REMEDY = "Choose another place for the output (-o), or move the file."


def is_ours(path: Path) -> bool:
    """Whether a file bears the mark of this program."""
    try:
        with path.open("rb") as file:
            start = file.read(_ENDS)
            file.seek(max(0, os.fstat(file.fileno()).st_size - _ENDS))
            return MARK in start or MARK in file.read(_ENDS)
    except (OSError, ValueError):
        return False


def not_ours(path: Path) -> InputError:
    """Why an output cannot go to ``path``."""
    return InputError(f"{path} was not made by this program, and an output would replace it.", _REMEDY)


def check_replaceable(path: Path) -> None:
    """Refuse an output in the place of a file that this program did not make.

    :raises InputError: naming it.
    """
    if os.path.lexists(path) and not is_ours(path):
        raise not_ours(path)
