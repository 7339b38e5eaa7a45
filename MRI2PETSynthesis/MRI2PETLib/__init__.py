"""SlicerMRI2PET library: T1-weighted MRI to synthetic PET, and how close it comes to the real one.

Research use only. Importing this package loads neither torch nor SimpleITK.

>>> from MRI2PETLib import synthesize
>>> result = synthesize("T1.nii.gz", device="cpu")  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"
__all__ = ["__version__", "synthesize"]

_LAZY = {"synthesize": "MRI2PETLib.synthesis.pipeline"}


def __getattr__(name: str) -> Any:
    """What is public is imported when it is first asked for."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    """What a console completes: what is public, whether it was asked for already or not."""
    return sorted({*globals(), *_LAZY})
