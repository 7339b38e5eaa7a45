"""Digital phantom: T1 + TSPO PET pairs of people who do not exist, with known truth.

The anatomy is the ICBM 152 template deformed at random; the PET is a parametric activity model of [11C]PBR28
seen by a simulated scanner. It serves the demonstration, the tests and the first training; it says nothing
about biology.
"""

from __future__ import annotations

from MRI2PETLib.simulation.subject import SimulatedSubject, simulate_subject

__all__ = ["SimulatedSubject", "simulate_subject"]
