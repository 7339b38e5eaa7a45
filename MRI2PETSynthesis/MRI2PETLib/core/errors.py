"""Errors that a user can act on: a message naming the value, a hint naming the remedy, an exit code."""

from __future__ import annotations


class MRI2PETError(Exception):
    """Base of all errors that reach a user without a traceback.

    :param message: what is wrong, naming the file and the value.
    :param hint: what to do about it; may be empty.
    """

    exit_code = 1
    code = "error"

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class InputError(MRI2PETError):
    """An input cannot be used: missing, unreadable, of the wrong kind, or contradicting another input."""

    exit_code = 3
    code = "input"


class QualityError(MRI2PETError):
    """The input was read but its quality verdict is *refuse* (not a T1, no brain, too small a field of
    view).
    """

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


class Cancelled(MRI2PETError):
    """The user cancelled (Ctrl-C, SIGTERM, Cancel button)."""

    exit_code = 130
    code = "cancelled"


# Exit code of a batch in which some cases failed and the others succeeded.
EXIT_PARTIAL = 10
