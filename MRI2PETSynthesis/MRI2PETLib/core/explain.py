"""What a user is told of an exception that nobody nearer to its cause has explained."""

from __future__ import annotations

import errno
import logging

from MRI2PETLib.core.errors import DependencyError, DeviceError, InputError, MRI2PETError
from MRI2PETLib.core.files import output_error

_log = logging.getLogger(__name__)
_CANNOT_WRITE = (errno.ENOSPC, errno.EROFS, getattr(errno, "EDQUOT", errno.ENOSPC))


def explain(raised: Exception) -> MRI2PETError:
    """The error that a user sees; the traceback of one that nobody foresaw is logged (``-v``)."""
    if isinstance(raised, MRI2PETError):
        return raised
    if isinstance(raised, ModuleNotFoundError):
        hint = (
            'Install what training needs with pip install ".[train]"; `mri2pet doctor` lists what is there.'
        )
        return DependencyError(f"The package {raised.name} is not installed.", hint)
    if isinstance(raised, MemoryError):
        return DeviceError("Not enough memory.", "Close other programs or use a smaller image.")
    _log.info("Traceback", exc_info=raised)
    if isinstance(raised, OSError) and raised.filename:  # a file that somebody named, or one beside it
        if raised.errno in _CANNOT_WRITE:
            return output_error(raised.filename, raised)
        reason = raised.strerror or type(raised).__name__
        return InputError(f"{raised.filename} cannot be used: {reason}.", "Check the path and its rights.")
    return MRI2PETError(
        f"Unexpected {type(raised).__name__}: {raised}",
        "This is a bug: please report it with the output of the same command and -v.",
    )
