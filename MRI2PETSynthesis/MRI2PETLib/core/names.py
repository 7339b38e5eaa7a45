"""Names that come from outside: what may be a file or become its name, and what a terminal may show."""

from __future__ import annotations

import re
import stat
from pathlib import Path

from MRI2PETLib.core.errors import InputError

LONGEST_NAME = 255  # bytes of a file name, on the file systems of Linux, Windows and macOS
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# Devices of Windows, whatever suffix stands behind them.
_DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
LONGEST_LABEL = 32  # characters of the value of a BIDS entity
_LABEL = re.compile(rf"[A-Za-z0-9]{{1,{LONGEST_LABEL}}}")
# Of Unicode's control characters line feed and tab are harmless; the marks that turn the direction of writing
# around can make a name look like another.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def is_safe_name(name: object) -> bool:
    """Whether ``name`` can name a model and its folder.

    Up to 64 ASCII letters, digits, ``-``, ``_`` and ``.``, beginning with a letter or digit: so it is neither
    hidden nor an option. It does not end with a dot, which Windows drops, and is no device of Windows.
    """
    if not isinstance(name, str) or _WORD.fullmatch(name) is None:
        return False
    return not name.endswith(".") and _DEVICE.fullmatch(name) is None


def is_label(value: object) -> bool:
    """Whether ``value`` can be that of a BIDS entity, such as ``trc-PBR28``: 1 to 32 letters and digits."""
    return isinstance(value, str) and _LABEL.fullmatch(value) is not None


def file_name(text: str) -> str:
    """``text`` as part of a file name.

    Letters and digits of any script, ``-``, ``_`` and ``.`` are kept; what is between them becomes one ``-``.
    A device of Windows gets a ``_``.
    """
    name = re.sub(r"[^\w.-]+", "-", text).strip("-.") or "case"
    return f"{name}_" if _DEVICE.fullmatch(name) else name


def check_path(path: Path | str) -> None:
    """Refuse a path that the image libraries and UTF-8 tables cannot hold.

    :raises InputError: for a name that is not UTF-8 or too long.
    """
    name = str(path)
    try:
        name.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(f"The name of {printable(name)} is not UTF-8.", "Rename it.") from error
    if "\0" in name:
        raise InputError(f"{printable(name)} holds a zero character.", "Give the path of a file.")
    if len(Path(name).name.encode("utf-8")) > LONGEST_NAME:
        raise InputError(f"The name {printable(Path(name).name[:60])}... is too long.", "Rename the file.")


def check_file(path: Path) -> None:
    """Check that a path is a file, without opening it: a pipe would never end.

    :raises InputError: missing, or a pipe, device, socket or folder.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist.", "Check the path.") from error
    except (OSError, ValueError) as error:  # ValueError: a zero character
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{printable(str(path))} cannot be read: {reason}.", "Check the path.") from error
    if not stat.S_ISREG(mode):
        kinds = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFDIR: "a folder"}
        raise InputError(f"{path} is {kinds.get(stat.S_IFMT(mode), 'a device')}, not a file.", "Give a file.")


def printable(text: str) -> str:
    """``text`` without what a terminal would obey: control characters, and what is no text, as escapes."""
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return _CONTROLS.sub(lambda match: ascii(match.group())[1:-1], text)
