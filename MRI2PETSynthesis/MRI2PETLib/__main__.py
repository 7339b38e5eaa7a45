"""``python -m MRI2PETLib`` is ``mri2pet``."""

from MRI2PETLib.cli import entry_point

entry_point()
