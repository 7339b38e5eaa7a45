"""Errors that a user can act on: a message naming the value, a hint naming the remedy, an exit code."""

from __future__ import annotations

from collections.abc import Iterable

from MRI2PETLib.core.findings import Finding


class Explained(BaseException):
    """What ends a command and is shown without a traceback.

    :param message: what is wrong, naming the file and the value.
    :param hint: what to do about it; may be empty.
    :param findings: the observations behind it, where there are any.
    """

    exit_code = 1
    code = "error"

    def __init__(self, message: str, hint: str = "", findings: Iterable[Finding] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.findings = tuple(findings)

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class MRI2PETError(Explained, Exception):
    """Base of all errors that reach a user without a traceback."""


class InputError(MRI2PETError):
    """An input cannot be used: missing, unreadable, of the wrong kind, or contradicting another input."""

    exit_code = 3
    code = "input"


class QualityError(MRI2PETError):
    """The quality verdict of an input is *refuse*: not a T1, no brain, too small a field of view."""

    exit_code = 4
    code = "quality"


class BundleError(MRI2PETError):
    """A model bundle is incomplete, altered, of an unknown family, or not safe to load."""

    exit_code = 5
    code = "bundle"


class DependencyError(MRI2PETError):
    """An optional package is needed and not installed."""

    exit_code = 6
    code = "dependency"


class OutputError(MRI2PETError):
    """A result cannot be written (read-only folder, full disk)."""

    exit_code = 7
    code = "output"


class DeviceError(MRI2PETError):
    """The requested compute device does not exist or ran out of memory with no fallback left."""

    exit_code = 8
    code = "device"


class TrainingError(MRI2PETError):
    """Training cannot go on: the loss is not finite, or the device's memory does not suffice."""

    exit_code = 9
    code = "training"


class Cancelled(Explained):
    """The user cancelled (Ctrl-C, SIGTERM, Cancel button).

    Like ``KeyboardInterrupt`` not an ``Exception``: what copes with any error of a case must not go on with
    the next one.
    """

    exit_code = 130
    code = "cancelled"


def reason_of(error: Exception) -> str:
    """What is wrong with content that was read, to be put into a sentence: no name of a Python class."""
    if isinstance(error, MRI2PETError):
        return error.message.rstrip(".")
    if isinstance(error, KeyError):
        return f"{error.args[0] if error.args else 'something'} is missing"
    return str(error) or "something is missing"


# Some of several cases failed, the others are done: see case_loop.exit_code.
EXIT_PARTIAL = 10

# Every exit code of the command line and what it means; argparse gives 2.
EXIT_CODES = {
    0: "done",
    MRI2PETError.exit_code: "unexpected, or all of several cases failed (one case alone: its own code)",
    2: "wrong command line",
    InputError.exit_code: "an input cannot be used",
    QualityError.exit_code: "the quality verdict is refuse",
    BundleError.exit_code: "model bundle",
    DependencyError.exit_code: "an optional package is missing",
    OutputError.exit_code: "output cannot be written",
    DeviceError.exit_code: "device, or not enough memory",
    TrainingError.exit_code: "a training cannot go on",
    EXIT_PARTIAL: "some of several cases failed",
    Cancelled.exit_code: "cancelled",
}
