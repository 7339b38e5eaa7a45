"""Hidden names that say which process they belong to, and the removal of what a dead process left."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import socket
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

# Set by the parent of a child process (jobs.child_process): names the job in every temporary file of it.
JOB_VARIABLE = "MRI2PET_JOB"
_NAME = re.compile(r"\.mri2pet\+(?P<job>[\w-]*)\+(?P<machine>[\w-]+)\+(?P<pid>\d+)\+[0-9a-f]+")
# Another one after each start; in a container that of the host.
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
# Of another machine or container nobody here can say whether its process lives.
_FORGOTTEN_S = 7 * 24 * 3600.0


def hidden_name(suffix: str = "") -> str:
    """A new name for a temporary file or folder of this process; it starts with a dot and cannot be guessed.

    :param suffix: its end, for writers that choose the format by it.
    """
    job = re.sub(r"[^\w-]", "", os.environ.get(JOB_VARIABLE, ""))
    return f".mri2pet+{job}+{machine()}+{os.getpid()}+{secrets.token_hex(8)}{suffix}"


def remove_of_job(folder: Path | str, job: str) -> None:
    """Remove what the ended job ``job`` and its children left in ``folder`` and below."""
    _remove(Path(folder), lambda path, name: name["job"] == job)


def sweep(folder: Path | str, *, below: bool = False) -> None:
    """Remove what processes that are gone left in ``folder``; what others are working on stays.

    :param below: look into all of its folders too: only where all of them are ours.
    """
    _remove(Path(folder), _is_left, below=below)


def _is_left(path: Path, name: re.Match[str]) -> bool:
    if name["machine"] == machine():
        return not is_there(int(name["pid"]))
    return time.time() - path.lstat().st_mtime > _FORGOTTEN_S


def _remove(folder: Path, is_meant: Callable[[Path, re.Match[str]], bool], *, below: bool = True) -> None:
    for parent, folders, files in os.walk(folder):
        for match in [name for name in map(_NAME.match, (*folders, *files)) if name is not None]:
            path = Path(parent, match.string)
            with suppress(OSError):  # gone meanwhile, or not ours to remove
                if not is_meant(path, match):
                    continue
                if path.is_dir() and not path.is_symlink():
                    folders.remove(path.name)
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink()
        if not below:
            return


def is_there(pid: int) -> bool:
    """Whether a process of this computer lives; assumed where nothing can tell."""
    try:
        import psutil
    except ImportError:  # `mri2pet doctor` is there to say so
        return True
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:  # not ours to ask
        return True


def started_at(pid: int) -> float | None:
    """When a process began (seconds): its number may have been another's before. ``None`` if unknown."""
    with suppress(Exception):  # psutil is missing, or the process is gone
        import psutil

        return round(psutil.Process(pid).create_time(), 1)
    return None


@cache
def machine() -> str:
    """Name of this computer, which no other one has.

    The start of its host name, and a digest of that name and of what tells apart computers of one name: the
    boot of Linux and the name space of processes (of a container), elsewhere the number of a network card.
    """
    host = socket.gethostname()
    name = re.sub(r"[^A-Za-z0-9-]", "", host.split(".")[0])[:40] or "computer"
    return f"{name}-{hashlib.sha256(repr((host, *_identity())).encode()).hexdigest()[:12]}"


def _identity() -> list[str]:
    with suppress(OSError):
        return [_BOOT_ID.read_text(encoding="ascii").strip(), os.readlink("/proc/self/ns/pid")]
    card = uuid.getnode()
    return [] if card >> 40 & 1 else [f"{card:x}"]  # without a card each process is given another number
