"""Digital phantom: T1 + TSPO PET pairs of people who do not exist, with known truth.

The anatomy is the ICBM 152 template deformed at random; the PET is a parametric activity model of [11C]PBR28
seen by a simulated scanner. It serves the demonstration, the tests and the first training; it says nothing
about biology.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["SimulatedSubject", "simulate_subject"]


def __getattr__(name: str) -> Any:
    """What is public is imported when it is first asked for: the command line reads the settings alone."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("MRI2PETLib.simulation.subject"), name)
