"""Write files whole or not at all."""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from MRI2PETLib.core.errors import OutputError

# Set by the parent of a child process (jobs.child_process): names the job in every temporary file of it.
JOB_VARIABLE = "MRI2PET_JOB"


def make_folder(folder: Path | str) -> Path:
    """Create ``folder`` with its parents and check that it can be written to.

    :raises OutputError: if it cannot be created or is read-only.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise _output_error(folder, error) from error
    return folder


def temporary_mark() -> str:
    """What temporary names hold: the job's name in a child process, else the process number.

    So the parent of a killed child can remove what that child left, and nothing else.
    """
    return os.environ.get(JOB_VARIABLE) or str(os.getpid())


def remove_temporary(folder: Path | str, mark: str) -> None:
    """Remove the temporary files and folders that the ended process ``mark`` left below ``folder``."""
    for parent, folders, files in os.walk(folder):
        for name in [n for n in folders if n.startswith((f".staging-{mark}-", f".{mark}-"))]:
            shutil.rmtree(Path(parent, name), ignore_errors=True)
            folders.remove(name)
        for name in [n for n in files if n.startswith(f".{mark}-")]:
            with suppress(OSError):
                Path(parent, name).unlink()


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that replaces it when the block ends without an error.

    The temporary name keeps the suffix (writers choose the format by it) and starts with a dot. It is
    removed on any exception, Ctrl-C included.

    :raises OutputError: if the file cannot be written (read-only, full disk).
    """
    path = Path(path)
    temporary = path.with_name(f".{temporary_mark()}-{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise _output_error(path, error) from error
    finally:
        # A parent that is a file makes unlink fail too, which must not hide the reason.
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def staged_folder(folder: Path | str, last: str) -> Iterator[Path]:
    """Yield an empty folder inside ``folder``; when the block ends without an error its files move up,
    ``last`` last.

    So a set of files appears together, and whoever finds ``last`` finds the others too. A folder replaces one
    of its name.

    :raises OutputError: if the folder cannot be written to.
    """
    folder = make_folder(folder)
    staging = Path(tempfile.mkdtemp(prefix=f".staging-{temporary_mark()}-", dir=folder))
    try:
        yield staging
        for path in sorted(staging.iterdir(), key=lambda p: p.name == last):
            if path.is_dir() and (folder / path.name).is_dir():
                os.replace(folder / path.name, staging / f".replaced-{path.name}")
            os.replace(path, folder / path.name)
    except OSError as error:
        raise _output_error(folder, error) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def write_text(path: Path | str, text: str) -> Path:
    """Write UTF-8 text atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return Path(path)


def write_json(path: Path | str, content: Any) -> Path:
    """Write JSON atomically. Non-finite numbers become ``null``: JSON has no NaN."""
    return write_text(path, json.dumps(plain(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def plain(value: Any) -> Any:
    """Turn numpy scalars, arrays, paths and tuples into what JSON can hold; NaN and infinity into
    ``None``.
    """
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [plain(v) for v in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _output_error(path: Path, error: OSError) -> OutputError:
    if error.errno == errno.ENOSPC:
        hint = "The disk is full: free some space and run again; finished files are kept."
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        hint = "The folder is read-only: choose another output folder."
    else:
        hint = "Choose another output folder."
    return OutputError(f"Cannot write {path}: {error.strerror or error}.", hint)
