"""Options that several commands have, each worded once; see :mod:`MRI2PETLib.core.settings`."""

from __future__ import annotations

from typing import Any

from MRI2PETLib.core.settings import option

PET_UNITS = ("SUV", "SUVR", "Bq/mL", "normalised")
PRECISIONS = ("fp32", "bf16", "auto")
DEVICE = "auto (the fastest), cpu, cuda, cuda:N or mps"


def device(**about: Any) -> Any:
    return option(DEVICE, "auto", **about)


def precision() -> Any:
    return option(
        "arithmetic of the network: bf16 is fast where the processor has it and changes a PET by about "
        ".001 SUVR; auto tries both and takes the faster one",
        "fp32",
        choices=PRECISIONS,
    )


def pet_unit(which: str = "real") -> Any:
    """Any spelling of a unit, see :func:`MRI2PETLib.preprocessing.pet_units.parse_unit`."""
    return option(
        f"unit of the {which} PET, when its files do not say: {', '.join(PET_UNITS)}, kBq/mL, VT, ...",
        None,
        metavar="UNIT",
    )


def window_option(more: str = "", **about: Any) -> Any:
    """See :func:`MRI2PETLib.preprocessing.frame_window.frame_window`.

    :param more: the end of its help.
    """
    help_ = (
        "minutes after the injection over which the frames of a dynamic PET are averaged; by default those "
        "of its tracer's published protocol, else 60 to 90"
    )
    return option(help_ + more, None, metavar=("START", "END"), **about)


def realign_frames(**about: Any) -> Any:
    """See :mod:`MRI2PETLib.preprocessing.frame_realignment`."""
    help_ = "undo the motion between the frames of a dynamic PET before they are averaged"
    return option(help_, False, **about)


def register(**about: Any) -> Any:
    """See :mod:`MRI2PETLib.preprocessing.pet_alignment`."""
    help_ = (
        "how the real PET is aligned with the T1: auto (left as it is on the grid of the T1, else a rigid "
        "registration), rigid (always), header (never: the headers are trusted)"
    )
    return option(help_, "auto", choices=("auto", "rigid", "header"), **about)


def reference_region(otherwise: str = "the unit is that of the images", **about: Any) -> Any:
    """See :mod:`MRI2PETLib.evaluation.reference_region`.

    :param otherwise: what happens without it.
    """
    return option(
        f"SUVR by this region, for real and synthetic PET alike; without it {otherwise}",
        None,
        choices=("whole brain", "cerebellum", "occipital"),
        **about,
    )


def seed(of: str, **about: Any) -> Any:
    """:param of: what is drawn by it."""
    return option(f"seed of {of}", 0, **about)
