"""Cancelling this process: requested by a signal, raised at once, and again at every step of the progress.

An exception that a signal handler raises can be lost: Python drops it in a destructor or in a callback of a C
library. So the request is kept, and every report of progress checks for it.
"""

from __future__ import annotations

import signal
from types import FrameType

from MRI2PETLib.core.errors import Cancelled

SAME_COMMAND = "Finished results are kept; run the same command again to go on."
_requested, _go_on = False, SAME_COMMAND


def watch_signals() -> None:
    """Cancel at SIGINT, SIGTERM, and SIGHUP unless that is ignored (as ``nohup`` asks). Main thread only."""
    global _requested
    _requested = False
    say_how_to_go_on(SAME_COMMAND)
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and (name != "SIGHUP" or signal.getsignal(number) != signal.SIG_IGN):
            signal.signal(number, _on_signal)


def say_how_to_go_on(hint: str) -> None:
    """What a user is told who cancels from now on."""
    global _go_on
    _go_on = hint


def is_requested() -> bool:
    """Whether a signal has asked to cancel."""
    return _requested


def check() -> None:
    """A step at which the process can be cancelled.

    :raises Cancelled: if that was asked for.
    """
    if _requested:
        raise cancel_error()


def cancel_error() -> Cancelled:
    """The error that a user sees."""
    return Cancelled("Cancelled.", _go_on)


def _on_signal(number: int, frame: FrameType | None) -> None:
    global _requested
    _requested = True
    check()
