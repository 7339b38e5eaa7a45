"""Write files whole or not at all."""

from __future__ import annotations

import errno
import json
import math
import os
import re
import secrets
import shutil
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from MRI2PETLib.core.errors import InputError, MRI2PETError, OutputError
from MRI2PETLib.core.leftovers import hidden_name, sweep
from MRI2PETLib.core.names import check_file, check_path

_REPLACED = ".replaced-"
_LONGEST_NUMBER = 1000  # characters
_HALF_CHARACTER = re.compile(r"\\u[dD][89a-fA-F]")


def make_folder(folder: Path | str) -> Path:
    """Create ``folder`` with its parents and check that it can be written to.

    :raises OutputError: if it cannot be created or is read-only.
    """
    folder = Path(folder)
    try:
        check_path(folder)
    except InputError as error:
        raise OutputError(error.message, "Choose another output folder.") from error
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise output_error(folder, error) from error
    return folder


def output_folder(folder: Path | str) -> Path:
    """:func:`make_folder`, and remove what processes that were killed left in it."""
    folder = make_folder(folder)
    sweep(folder)
    return folder


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that replaces it when the block ends without an error.

    The temporary name keeps the suffix (writers choose the format by it) and cannot be guessed: nobody else
    can put a link there first. It is removed on any exception, Ctrl-C included.

    :raises OutputError: if the file cannot be written (read-only, full disk).
    """
    path = Path(path)
    suffix = "".join(path.suffixes[-2:]) if path.suffix == ".gz" else path.suffix
    temporary = path.with_name(hidden_name(suffix))
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise output_error(path, error) from error
    finally:
        # A parent that is a file makes unlink fail too, which must not hide the reason.
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def replace_folder(new: Path, folder: Path) -> None:
    """Put the folder ``new`` in the place of ``folder``, of which nothing is removed before ``new`` is there.

    A process killed between the two renames leaves both folders beside that place;
    :func:`restore_replaced` puts the old one back.
    """
    old = folder.with_name(f".{folder.name}{_REPLACED}{secrets.token_hex(8)}")
    had_one = folder.exists()
    if had_one:
        os.replace(folder, old)
    try:
        os.replace(new, folder)
    except BaseException:
        if had_one and not folder.exists():
            os.replace(old, folder)
        raise
    if had_one:
        _remove_folder(old)


def _remove_folder(folder: Path) -> None:
    """Of a link only that: what it leads to may be anything."""
    if folder.is_symlink():
        folder.unlink()
    else:
        shutil.rmtree(folder, ignore_errors=True)


def restore_replaced(parent: Path) -> None:
    """Put back the folders below ``parent`` whose replacement was interrupted between its two renames, and
    remove those whose replacement is there.
    """
    for old in parent.glob(f".*{_REPLACED}*"):
        folder = parent / old.name[1:].rpartition(_REPLACED)[0]
        with suppress(OSError):
            if folder.exists():
                _remove_folder(old)
            else:
                os.replace(old, folder)


@contextmanager
def new_folder(parent: Path) -> Iterator[Path]:
    """Yield a new hidden folder in ``parent``, with the rights that any folder has.

    What is still there at the end of the block is removed.
    """
    folder = make_folder(parent) / hidden_name()
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def staged_folder(folder: Path | str, last: str, shared: Collection[str] = ()) -> Iterator[Path]:
    """Yield an empty folder inside ``folder``; when the block ends without an error its files move up,
    ``last`` last.

    So a set of files appears together, and whoever finds ``last`` finds the others too. A folder replaces one
    of its name.

    :param shared: folders in which other sets lie too: their files move one by one.

    :raises OutputError: if the folder cannot be written to.
    """
    folder = Path(folder)
    with new_folder(folder) as staging:
        try:
            yield staging
            for path in sorted(staging.iterdir(), key=lambda p: p.name == last):
                target = folder / path.name
                if path.name in shared and target.is_dir() and not target.is_symlink():
                    for inner in sorted(path.iterdir()):
                        _move(inner, target / inner.name, staging)
                else:
                    _move(path, target, staging)
        except OSError as error:
            raise output_error(folder, error) from error


def _move(path: Path, target: Path, staging: Path) -> None:
    """A folder in its place is moved aside first."""
    if path.is_dir() and target.is_dir():
        os.replace(target, staging / f".replaced-{path.name}")
    os.replace(path, target)


def write_text(path: Path | str, text: str) -> Path:
    """Write UTF-8 text atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return Path(path)


def write_json(path: Path | str, content: Any) -> Path:
    """Write JSON atomically. Non-finite numbers become ``null``: JSON has no NaN."""
    return write_text(path, json.dumps(plain(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _no_number(text: str) -> None:
    raise ValueError(f"{text[:40]} is not a number, or too large for one")


def _number(kind: type[int] | type[float], nan: Callable[[str], Any]) -> Callable[[str], Any]:
    """What reads a number of JSON. It sets no limit, but every user of it computes with 64 bits."""

    def read(text: str) -> Any:
        number = kind(text) if len(text) < _LONGEST_NUMBER else math.inf
        return number if abs(number) <= sys.float_info.max else nan(text)

    return read


def read_json(
    path: Path | str,
    error: type[MRI2PETError] = InputError,
    *,
    largest: int = 100_000_000,
    nan: Callable[[str], Any] = _no_number,
) -> Any:
    """Read a JSON file (UTF-8 or UTF-16, with or without a byte order mark).

    :param error: what to raise, naming the file and the reason, if it is missing, no file, damaged or too
        large.
    :param largest: bytes.
    :param nan: what stands for NaN and infinity, which JSON does not have, and for numbers as large; refused
        by default.
    """
    path = Path(path)
    try:
        check_file(path)
        with path.open("rb") as file:
            content = file.read(largest + 1)
        if len(content) > largest:
            raise error(f"{path} is larger than {largest / 1e6:g} MB.", "Is it the right file?")
        text = content.decode(json.detect_encoding(content))
        read = json.loads(
            text, parse_constant=nan, parse_float=_number(float, nan), parse_int=_number(int, nan)
        )
        if _HALF_CHARACTER.search(text):  # in an escape: no text file could hold it afterwards
            json.dumps(read, ensure_ascii=False).encode()
        return read
    except InputError as reason:
        raise error(reason.message, reason.hint) from reason
    except OSError as reason:
        raise error(f"{path} cannot be read: {reason.strerror or reason}.", "Check the path.") from reason
    except UnicodeDecodeError as reason:
        raise error(f"{path} is not valid JSON: it is not UTF-8.", "Save it as UTF-8.") from reason
    except (ValueError, RecursionError) as reason:
        raise error(f"{path} is not valid JSON: {reason}.", "Repair or remove it.") from reason


def read_object(
    path: Path | str, error: type[MRI2PETError] = InputError, *, nan: Callable[[str], Any] = _no_number
) -> dict[str, Any]:
    """:func:`read_json` of a file that holds an object, not a list or a number."""
    content = read_json(path, error, nan=nan)
    if not isinstance(content, dict):
        raise error(f"{path} is not a JSON object.", "Correct or remove it.")
    return content


def plain(value: Any) -> Any:
    """Turn numpy values, paths and tuples into what JSON can hold; NaN and infinity become ``None``."""
    if isinstance(value, dict):
        return {plain(str(k)): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [plain(v) for v in value]
    if isinstance(value, (str, Path)):  # a file name that is not UTF-8 has no other way into a text file
        return str(value).encode("utf-8", "backslashreplace").decode("utf-8")
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def output_error(path: Path, error: OSError) -> OutputError:
    """What a user is told of a file that could not be written."""
    # numpy gives no number when less was written than it asked for.
    if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), None):
        hint = "The disk is full: free some space and run again; finished files are kept."
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        hint = "The folder is read-only: choose another output folder."
    else:
        hint = "Choose another output folder."
    return OutputError(f"Cannot write {path}: {error.strerror or error}.", hint)
