"""Claims: who works on which result, for any number of processes and computers that share a folder.

A claim is a hidden file beside the record of a result, made by whoever comes first. It names its process and
is touched again and again; it stands no longer when that process is gone or, on another computer, when it has
not been touched for :data:`LOST_S`.
"""

from __future__ import annotations

import json
import os
import stat
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from MRI2PETLib.core.errors import InputError, OutputError
from MRI2PETLib.core.files import make_folder, output_error, read_json
from MRI2PETLib.core.leftovers import hidden_name, is_there, machine, started_at
from MRI2PETLib.core.progress import ProgressCallback, no_progress

TOUCH_S = 30.0
LOST_S = 300.0  # ten times as long: file servers answer late
_POLL_S = 0.3


class Claims:
    """The claims of this process; what is left at the end of the ``with`` block is given back.

    >>> with Claims() as claims:  # doctest: +SKIP
    ...     if claims.take(result.path):
    ...         make(result)
    """

    def __init__(self) -> None:
        self._own: dict[Path, str] = {}
        self._lock, self._end = threading.Lock(), threading.Event()

    def __enter__(self) -> Claims:
        threading.Thread(target=self._keep_touching, name="claims", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for record in list(self._own):
            self.give_back(record)

    def take(self, record: Path) -> bool:
        """Claim the result of a record; ``False`` while another process has it.

        :raises OutputError: if the folder cannot be written to.
        """
        if record in self._own:
            return True
        path = claim_path(record)
        remove_lost(record)
        text = json.dumps({"machine": machine(), "pid": os.getpid(), "started": started_at(os.getpid())})
        make_folder(path.parent)
        try:
            number = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        except FileExistsError:
            if not _is_plain(path):
                message = f"{path} is not a claim, but lies where one must be written."
                raise OutputError(message, "Remove it.") from None
            return False
        except OSError as error:
            raise output_error(path, error) from error
        with self._lock:
            self._own[record] = text
            try:
                with os.fdopen(number, "w", encoding="utf-8") as stream:
                    stream.write(text)
            except OSError as error:  # a full disk: nobody could tell whose claim it is
                del self._own[record]
                path.unlink(missing_ok=True)
                raise output_error(path, error) from error
        return True

    def wait(self, record: Path, progress: ProgressCallback = no_progress) -> None:
        """Claim a result as soon as nobody else has it.

        :param progress: is told whom it waits for; what it raises ends the waiting.
        """
        while not self.take(record):
            progress(0, 1, f"waiting for {holder(record)}")
            time.sleep(_POLL_S)

    def give_back(self, record: Path) -> None:
        """End a claim of this process, if it has it."""
        with self._lock:
            text = self._own.pop(record, None)
            if text is not None and _text(claim_path(record)) == text:
                with suppress(OSError):
                    claim_path(record).unlink()

    def _keep_touching(self) -> None:
        while not self._end.wait(TOUCH_S):
            with self._lock:
                for record in self._own:
                    with suppress(OSError):
                        os.utime(claim_path(record))


def claim_path(record: Path) -> Path:
    """The claim of the result that ``record`` is of."""
    return record.with_name(f".{record.name}.claim")


def holder(record: Path) -> str:
    """Who has claimed a result, in words; empty if nobody has."""
    path = claim_path(record)
    about = _about(path)
    if not path.exists():
        return ""
    return f"process {about.get('pid', '?')} on {about.get('machine', 'an unknown computer')}"


def remove_lost(record: Path) -> None:
    """Remove a claim that stands no longer. Only one process can, and never a newer claim in its place."""
    path = claim_path(record)
    text = _text(path)
    if not os.path.lexists(path) or not _is_plain(path) or not _is_lost(path):
        return
    aside = path.with_name(hidden_name())
    with suppress(OSError):
        os.rename(path, aside)
        if _text(aside) != text:  # somebody else has removed it and claimed the result meanwhile
            os.link(aside, path)
        aside.unlink()


def _is_lost(path: Path) -> bool:
    about = _about(path)
    if about.get("machine") == machine():
        return not _is_running(about.get("pid"), about.get("started"))
    try:
        return abs(_now(path.parent) - path.lstat().st_mtime) > LOST_S  # a time to come says nothing either
    except OSError:
        return False


def _is_running(pid: Any, started: Any) -> bool:
    if not isinstance(pid, int) or not is_there(pid):
        return False
    now = started_at(pid)
    # To some seconds: the start is counted from that of the computer, by a clock that is set now and then.
    return now is None or not isinstance(started, float) or abs(now - started) < 5


def _now(folder: Path) -> float:
    """The time by the clock of the file system."""
    probe = folder / hidden_name()
    try:
        probe.touch()
        return probe.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)


def _about(path: Path) -> dict[str, Any]:
    with suppress(InputError):
        about = read_json(path, largest=10_000)
        if isinstance(about, dict):
            return about
    return {}


def _text(path: Path) -> str | None:
    if not _is_plain(path):  # a pipe would never end
        return None
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def _is_plain(path: Path) -> bool:
    """Whether it is a file, or is gone."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return not os.path.lexists(path)
