"""What is shown when something that the user asked for cannot be done."""

from contextlib import contextmanager

import slicer

from MRI2PETLib.core.errors import MRI2PETError
from MRI2PETLib.core.explain import explain


@contextmanager
def errorDisplay(message: str, waitCursor: bool = False):
    """Show what went wrong in the block, after ``message``: what the user can mend in words, anything else as
    Slicer does, with its traceback.
    """
    failure = None
    with slicer.util.tryWithErrorDisplay(message, waitCursor=waitCursor):
        try:
            yield
        except (MRI2PETError, OSError, MemoryError) as error:
            failure = explain(error)
    if failure is not None:
        slicer.util.errorDisplay(f"{message}\n\n{failure}")
