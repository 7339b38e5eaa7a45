"""Options that several commands have, each worded once; see :mod:`MRI2PETLib.core.settings`."""

from __future__ import annotations

from typing import Any

from MRI2PETLib.core.settings import option

PET_UNITS = ("SUV", "SUVR", "Bq/mL", "normalised")
PRECISIONS = ("fp32", "bf16", "auto")
REGISTER = ("auto", "rigid", "header")
REGISTER_HELP = (
    "how the real PET gets to the T1: auto (as it lies when it is on the grid of the T1, else a rigid "
    "registration), rigid (always), header (never: the positions in the headers are right)"
)
DEVICE = "auto (the fastest), cpu, cuda, cuda:N or mps"


def device() -> Any:
    return option(DEVICE, "auto")


def precision() -> Any:
    return option(
        "arithmetic of the network: bf16 is fast where the processor has it and changes a PET by "
        "about .001 SUVR; "
        "auto tries both and takes the faster one",
        "fp32",
        choices=PRECISIONS,
    )


def pet_unit(units: tuple[str, ...] = PET_UNITS) -> Any:
    return option("unit of the real PET, when its files do not say", None, choices=units)


def register() -> Any:
    """See :mod:`MRI2PETLib.preprocessing.pet_alignment`."""
    return option(REGISTER_HELP, "auto", choices=REGISTER)


def seed(of: str) -> Any:
    """:param of: what is drawn by it."""
    return option(f"seed of {of}", 0)
