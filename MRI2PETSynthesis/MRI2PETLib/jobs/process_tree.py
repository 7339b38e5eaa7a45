"""Ending processes: a child with everything it started, and a child whose parent has died.

Without psutil: the first job of all is the one that installs it in Slicer.
"""

from __future__ import annotations

import _thread
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from MRI2PETLib.core.leftovers import JOB_VARIABLE

# A child without a parent is in no hurry, and nobody tidies up behind it.
ORPHAN_GRACE_S = 10.0


def ask_to_end(child: subprocess.Popen[str]) -> None:
    if sys.platform == "win32":
        # There is no SIGTERM to a process without a console: the end of stdin says it, see end_with_parent.
        with suppress(OSError):
            assert child.stdin is not None
            child.stdin.close()
    else:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGTERM)


def kill_tree(pid: int, name: str) -> None:
    """Kill a process, its children, and (Linux) whatever they started in sessions of their own."""
    if sys.platform == "win32":
        subprocess.run(
            ["taskkill", "/T", "/F", "/PID", str(pid)],
            capture_output=True,
            creationflags=subprocess.CREATE_NO_WINDOW,
        )
        return
    for member in _strangers(name):
        with suppress(ProcessLookupError, PermissionError):
            os.kill(member, signal.SIGKILL)
    # Last: in an orphan this ends the caller. macOS answers EPERM for a group of zombies.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def ask_group_to_end(pid: int) -> None:
    """Ask a process that leads a group, and its group. Windows knows no such question to a hidden process."""
    if sys.platform != "win32":
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGTERM)


def is_running(pid: int, name: str) -> bool:
    """Whether the process is there and is still that of the job ``name``, whoever started it.

    Numbers are used again, so its environment is looked at; on Windows, which hides it, only its program.
    """
    mark = f"{JOB_VARIABLE}={name}"
    if sys.platform == "win32":
        command = ["tasklist", "/FI", f"PID eq {pid}", "/FO", "CSV", "/NH"]
        tasks = subprocess.run(
            command, capture_output=True, text=True, creationflags=subprocess.CREATE_NO_WINDOW
        )
        return f'"{pid}"' in tasks.stdout and "python" in tasks.stdout.lower()
    if Path("/proc/self/environ").exists():
        try:
            for _ in range(10):  # empty while the program is being loaded, and of one that has ended
                if environment := Path(f"/proc/{pid}/environ").read_bytes():
                    return mark.encode() in environment.split(b"\0")
                time.sleep(0.01)
        except OSError:
            pass
        return False
    listing = subprocess.run(["ps", "-Eww", "-o", "command=", "-p", str(pid)], capture_output=True, text=True)
    return mark in listing.stdout.split()


def _strangers(name: str) -> list[int]:
    """Processes of the job ``name`` but this one, by their environment; empty where there is no /proc.

    A brain extractor runs in a session of its own, so the process group does not hold it.
    """
    mark = f"{JOB_VARIABLE}={name}".encode()
    strangers = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if mark in (folder / "environ").read_bytes().split(b"\0") and int(folder.name) != os.getpid():
                strangers.append(int(folder.name))
    return strangers


def end_with_parent() -> None:
    """In a child: stop when the parent dies. Does nothing in a process that no job started.

    Watches the stdin pipe, and puts an empty stdin in its place so that children of this process neither
    inherit the pipe nor wait on it (Windows blocks them while a read is pending). At its end SIGTERM is
    raised in the main thread; if that has not ended the process after 10 s, the whole group is killed.
    """
    try:
        if JOB_VARIABLE not in os.environ or not stat.S_ISFIFO(os.fstat(0).st_mode):
            return
    except OSError:
        return  # no stdin at all: not started by a job
    pipe, empty = os.dup(0), os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    threading.Thread(target=_watch, args=(pipe,), name="end with parent", daemon=True).start()


def _watch(pipe: int) -> None:
    while os.read(pipe, 4096):
        pass
    if sys.platform == "win32":
        _thread.interrupt_main(signal.SIGTERM)
    else:  # a real signal, which wakes a main thread that sleeps or waits
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
    time.sleep(ORPHAN_GRACE_S)
    # Not always this process: PythonSlicer is a launcher, and leads the group.
    leader = os.getpid() if sys.platform == "win32" else os.getpgrp()
    kill_tree(leader, os.environ[JOB_VARIABLE])
