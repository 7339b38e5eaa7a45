"""What a child process says: one JSON object a line, or how it ended without a word."""

from __future__ import annotations

import json
import math
import signal
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from MRI2PETLib.core.errors import Cancelled, Explained, MRI2PETError
from MRI2PETLib.core.findings import Finding


@dataclass(frozen=True)
class Progress:
    """``done`` of ``total`` in ``stage``; ``eta_s`` seconds left, ``None`` while unknown."""

    done: float
    total: float
    stage: str
    eta_s: float | None


def read_event(line: str) -> dict[str, Any]:
    """The event of a line of stdout; whatever is not one (a library that prints) becomes a log."""
    with suppress(ValueError, TypeError, KeyError, RecursionError):
        event = json.loads(line)
        kind = event["event"]
        if kind == "progress":
            eta = event.get("eta_s")
            done, total = float(event["done"]), float(event["total"])
            if not (math.isfinite(done) and math.isfinite(total) and total > 0):
                raise ValueError(line)
            return {
                "event": kind,
                "done": done,
                "total": total,
                "stage": str(event["stage"]),
                "eta_s": None if eta is None else float(eta),
            }
        if kind == "result" or (kind in ("log", "warning", "error") and isinstance(event["message"], str)):
            return dict(event)
    return {"event": "log", "message": line}


def error_of(event: dict[str, Any]) -> Explained:
    """The error class of the child's ``code``, with its message and hint."""
    kinds: list[type[Explained]] = [*MRI2PETError.__subclasses__(), Cancelled]
    classes = {cls.code: cls for cls in kinds}
    cls = classes.get(str(event.get("code")), MRI2PETError)
    findings: list[Finding] = []
    with suppress(ValueError, TypeError, KeyError):  # the message says it, too
        findings = [Finding.of(one) for one in event.get("findings", ())]
    return cls(event["message"], str(event.get("hint") or ""), findings)


def crash_error(command: Sequence[str], code: int, stderr: Sequence[str]) -> MRI2PETError:
    """The error of a child that ended without saying why."""
    name = str(code)
    if code < 0:
        with suppress(ValueError):
            name = signal.Signals(-code).name
    hint = "Its last messages: " + " | ".join(stderr[-5:]) if stderr else "It left no message."
    if name == "SIGKILL":
        hint = f"Most often the computer ran out of memory: close other programs. {hint}"
    return MRI2PETError(f"{Path(command[0]).name} ended unexpectedly ({name}).", hint)
