"""One run of a command in a forked child, interrupted at a moment, and what it left: see ``kills.py``."""

from __future__ import annotations

import csv
import dataclasses
import gzip
import hashlib
import io
import json
import os
import pickle
import pkgutil
import re
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import SimpleITK as sitk

CHANGES = frozenset({"os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.link", "os.truncate"})
# What takes long and writes nothing.
REMEMBERED = (
    "MRI2PETLib.preprocessing.brain_mask.extract_brain",
    "MRI2PETLib.preprocessing.pet_alignment.align_pet_to_t1",
    "MRI2PETLib.preprocessing.pet_template.register_pet_to_template",
    "MRI2PETLib.suvr.normalisation.by_real_mr",
    "MRI2PETLib.suvr.normalisation.by_pet_template",
    "MRI2PETLib.simulation.subject.simulate_subject",
    "MRI2PETLib.preprocessing.template_warp.warp_to_template",
    "MRI2PETLib.preprocessing.template_warp.invert_warp",
)
_LONGEST_S = 900.0
_WITH_SECONDS = (".json", ".html", ".csv", "sum")  # whose checksums differ each time
_SECONDS = re.compile(rb"[\d.]+ s (?=a case)|[\d.]+ s a step|(?<=>)[\d.]+ s(?=<)")  # in reports


@dataclasses.dataclass(frozen=True)
class Moment:
    """When a signal is sent: after so much processor time, or before the nth change of a file."""

    number: signal.Signals
    at_cpu_s: float | None = None
    at_change: int | None = None

    def is_due(self, cpu_s: Callable[[], float]) -> bool:
        """Whether it has come, if it is one of processor time."""
        return self.at_cpu_s is not None and cpu_s() >= self.at_cpu_s

    def __str__(self) -> str:
        return f"change {self.at_change}" if self.at_cpu_s is None else f"{self.at_cpu_s:.2f} s"


class Watched:
    """A run of the command line in a child of its own session.

    :ivar changes: how many files it made, opened to write, moved or removed in the output folder.
    :ivar sent: whether the moment came before its end.
    """

    def __init__(self, line: Sequence[str], output: Path, scratch: Path, moment: Moment | None) -> None:
        self._output, self._moment = output, moment
        self._log, self._marks = scratch / "messages.txt", os.pipe()
        self._environment = {"MRI2PET_MODELS": str(output), "TMPDIR": str(scratch)}
        self.code: int | None = None
        self.cpu_s = self.seconds_to_end = 0.0
        self.changes, self.sent, self.changed_afterwards = 0, False, False
        self._pid = os.fork()
        if not self._pid:
            self._be_the_child(list(line))
        os.close(self._marks[1])

    def _be_the_child(self, line: list[str]) -> None:
        code = 1
        try:
            os.setsid()
            signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it is ignored, and stays so
            os.environ.update(self._environment)
            with self._log.open("wb") as stream:
                for number in (1, 2):
                    os.dup2(stream.fileno(), number)
            os.close(self._marks[0])
            self._count_changes(self._marks[1])
            from MRI2PETLib.cli import main

            sys.argv = ["mri2pet", *line]
            code = main(line)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        except BaseException:
            traceback.print_exc()
        finally:
            leave(code)

    def _count_changes(self, marks: int) -> None:
        """Tell the parent of every change of a file in the output folder, before it happens."""
        folder, moment = str(self._output), self._moment
        me, count = os.getpid(), 0

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal count
            is_write = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wxa+")
            if not (is_write or event in CHANGES) or not arguments or os.getpid() != me:
                return
            path = arguments[0]
            if isinstance(path, (str, os.PathLike)) and os.fspath(path).startswith(folder):
                count += 1
                os.write(marks, b".")
                if moment is not None and count == moment.at_change:
                    os.write(marks, b"!")
                    os.kill(me, moment.number)

        sys.addaudithook(hook)

    def wait(self) -> None:
        """Send the signal when its moment has come, and wait for the end."""
        started, sent_at = time.monotonic(), 0.0
        moment, marks = self._moment, b""
        os.set_blocking(self._marks[0], False)
        while True:
            with suppress(BlockingIOError):
                marks += os.read(self._marks[0], 65536)
            if not sent_at and b"!" in marks:
                sent_at = time.monotonic()
            elif not sent_at and moment is not None and moment.is_due(self._cpu_s):
                os.kill(self._pid, moment.number)
                sent_at, marks = time.monotonic(), marks + b"!"
            ended, status, usage = os.wait4(self._pid, os.WNOHANG)
            if ended:
                break
            if time.monotonic() - started > _LONGEST_S:
                os.kill(self._pid, signal.SIGKILL)
            time.sleep(0.02 if moment is None or moment.at_cpu_s is None else 0.004)
        with suppress(BlockingIOError):
            marks += os.read(self._marks[0], 65536)
        os.close(self._marks[0])
        self.sent, self.code = b"!" in marks, os.waitstatus_to_exitcode(status)
        self.changes, self.changed_afterwards = marks.count(b"."), b"." in marks.partition(b"!")[2]
        self.cpu_s = usage.ru_utime + usage.ru_stime
        self.seconds_to_end = time.monotonic() - sent_at if self.sent and sent_at else 0.0

    def _cpu_s(self) -> float:
        with suppress(psutil.Error):
            times = psutil.Process(self._pid).cpu_times()
            return float(times.user + times.system)
        return 0.0

    @property
    def messages(self) -> str:
        return self._log.read_text(errors="replace")

    def left_processes(self) -> list[str]:
        """Processes of its session that do not end within some seconds; they are killed."""
        alive: list[psutil.Process] = []
        for _ in range(100):
            alive = [process for process in psutil.process_iter() if _session(process.pid) == self._pid]
            if not alive:
                return []
            time.sleep(0.1)
        names = []
        for process in alive:
            with suppress(psutil.Error):
                names.append(f"process: {' '.join(process.cmdline())[:120]}")
                process.kill()
        return names


def leave(code: int) -> None:
    """What the interpreter does at its end, without what the parent had registered."""
    import threading

    with suppress(BaseException):
        threading._shutdown()  # type: ignore[attr-defined]
    for stream in (sys.stdout, sys.stderr):
        with suppress(BaseException):
            stream.flush()
    os._exit(code)


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return -1


def import_all() -> None:
    """Import both libraries with all that they import in functions."""
    import lightning  # noqa: F401
    import matplotlib.pyplot  # noqa: F401
    import nibabel  # noqa: F401
    import scipy.stats  # noqa: F401
    import torch

    import MRI2PETLib
    import MRI2PETTrainingLib

    torch.set_num_threads(1)
    sitk.ProcessObject.SetGlobalDefaultThreader("Platform")
    for package in (MRI2PETLib, MRI2PETTrainingLib):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if ".scene" not in module.name and "__main__" not in module.name:
                import_module(module.name)


def remember_in(folder: Path) -> None:
    """Replace the functions of :data:`REMEMBERED`, wherever they were imported, by ones with a memory."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in REMEMBERED:
        module, _, function = name.rpartition(".")
        original = getattr(import_module(module), function)
        remembering = _remembering(original, folder)
        for place in list(sys.modules.values()):
            if place is not None and getattr(place, function, None) is original:
                setattr(place, function, remembering)


def _remembering(function: Callable[..., Any], folder: Path) -> Callable[..., Any]:
    @wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        digest = hashlib.sha256(function.__name__.encode())
        for part in _parts((arguments, named)):
            digest.update(part + b"\0")
        path = folder / f"{digest.hexdigest()}.pickle"
        if path.is_file():
            return pickle.loads(path.read_bytes())
        result = function(*arguments, **named)
        unfinished = path.with_suffix(f".{os.getpid()}")
        unfinished.write_bytes(pickle.dumps(result))
        os.replace(unfinished, path)
        return pickle.loads(path.read_bytes())

    return call


def _parts(value: Any) -> Iterator[bytes]:
    """What tells one value from another; functions (progress) do not count."""
    if isinstance(value, sitk.Image):
        yield repr((value.GetSize(), value.GetSpacing(), value.GetOrigin(), value.GetDirection())).encode()
        yield repr((value.GetPixelIDTypeAsString(), sitk.Hash(value))).encode()
    elif isinstance(value, sitk.Transform):
        yield pickle.dumps(value)
    elif isinstance(value, np.ndarray):
        yield repr((value.shape, value.dtype)).encode() + np.ascontiguousarray(value).tobytes()
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for entry in dataclasses.fields(value):
            yield from _parts(getattr(value, entry.name))
    elif isinstance(value, Mapping):
        for name, part in value.items():
            yield repr(name).encode()
            yield from _parts(part)
    elif isinstance(value, (list, tuple)):
        yield repr(len(value)).encode()
        for part in value:
            yield from _parts(part)
    elif not callable(value):
        yield repr(value).encode()


def contents(folder: Path) -> dict[str, bytes]:
    """All files below ``folder``, hidden ones too, by their names in it; empty folders with ``/``."""
    files = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    empty = [p for p in folder.rglob("*") if p.is_dir() and not any(p.iterdir())]
    return files | {f"{p.relative_to(folder)}/": b"" for p in empty}


def not_twice_the_same(first: Mapping[str, bytes], second: Mapping[str, bytes]) -> set[str]:
    """Files of two undisturbed runs that differ in more than the seconds that things took."""
    return {name for name in first if timeless(name, first[name]) != timeless(name, second.get(name, b""))}


def differences(files: Mapping[str, bytes], after: Mapping[str, bytes], volatile: set[str]) -> list[str]:
    """Files of ``after`` that are missing or differ; of ``volatile`` ones those that are not whole."""
    problems = []
    for name, content in after.items():
        if name not in files:
            problems.append(f"{name} is missing")
        elif name in volatile:
            if not _is_whole(name, files[name]):
                problems.append(f"{name} is not whole")
        elif timeless(name, files[name]) != timeless(name, content):
            problems.append(f"{name} differs")
    return problems


def timeless(name: str, content: bytes) -> Any:
    """The content of a file without the seconds in JSON and tables, and without checksums of such files."""
    try:
        if name.endswith(".json"):
            return _without_seconds(json.loads(content))
        if name.endswith(".csv"):
            rows = list(csv.DictReader(io.StringIO(content.decode())))
            return [{k: v for k, v in row.items() if not _is_time(k)} for row in rows]
        if name.endswith((".html", ".md")):
            return _SECONDS.sub(b"", content)
    except ValueError:
        pass
    return content


def _without_seconds(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            k: _without_seconds(v)
            for k, v in value.items()
            if not _is_time(k) and not (isinstance(v, str) and len(v) == 64 and k.endswith(_WITH_SECONDS))
        }
    return [_without_seconds(v) for v in value] if isinstance(value, list) else value


def _is_time(name: Any) -> bool:
    return isinstance(name, str) and ("seconds" in name or name == "started")


def partial_files(folder: Path, versions: Sequence[Mapping[str, bytes]], volatile: set[str]) -> list[str]:
    """Files that are not whole, and images and pictures that are neither as before nor as after.

    Tables and records may be those of a part of the cases.
    """
    problems = []
    for name, content in contents(folder).items():
        if any(part.startswith(".") for part in Path(name).parts) or name.endswith("/"):
            continue
        expected = [version[name] for version in versions if name in version]
        is_fixed = bool(expected) and name not in volatile and name.endswith((".gz", ".png"))
        if not _is_whole(name, content) or (is_fixed and content not in expected):
            problems.append(name)
    return problems


def _is_whole(name: str, content: bytes) -> bool:
    try:
        if name.endswith(".json"):
            json.loads(content)
        elif name.endswith(".gz"):
            gzip.decompress(content)
        elif name.endswith((".csv", ".txt", ".md")):
            return content.endswith(b"\n")
        elif name.endswith(".html"):
            return content.rstrip().endswith(b"</html>")
        elif name.endswith(".png"):
            return content.endswith(b"IEND\xaeB`\x82")
        elif name.endswith(".ckpt"):
            return b"PK\x05\x06" in content[-100:]
    except (ValueError, OSError, EOFError):
        return False
    return bool(content)
