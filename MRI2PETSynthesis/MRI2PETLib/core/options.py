"""Options that several commands have, each worded once; see :mod:`MRI2PETLib.core.settings`."""

from __future__ import annotations

from typing import Any

from MRI2PETLib.core.settings import option

PET_UNITS = ("SUV", "SUVR", "Bq/mL", "normalised")
PRECISIONS = ("fp32", "bf16", "auto")
DEVICE = "auto (the fastest), cpu, cuda, cuda:N or mps"


def device() -> Any:
    return option(DEVICE, "auto")


def precision() -> Any:
    return option(
        "arithmetic of the network: bf16 is fast where the processor has it and keeps about three decimals; "
        "auto tries both and takes the faster one",
        "fp32",
        choices=PRECISIONS,
    )


def pet_unit(units: tuple[str, ...] = PET_UNITS) -> Any:
    return option("unit of the real PET, when its files do not say", None, choices=units)


def seed(of: str) -> Any:
    """:param of: what is drawn by it."""
    return option(f"seed of {of}", 0)
