"""The settings of a synthesis: the only place that names them, see :mod:`MRI2PETLib.core.settings`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from MRI2PETLib.core import options
from MRI2PETLib.core.settings import Settings, option

DEFAULT_MODEL = "tspo-demo"


@dataclass(frozen=True)
class SynthesisSettings(Settings):
    """How a PET is synthesised; the same for every case of a batch."""

    model: str = option("model: an id, or a bundle's folder", DEFAULT_MODEL, metavar="ID|DIR", decides=False)
    brain_extractor: str = option(
        "how the brain is found: template, or hd-bet or synthstrip where installed",
        "template",
        metavar="NAME",
    )
    device: str = options.device()
    precision: str = options.precision()
    samples: int = option(
        "samples of a stochastic model; their mean and SD are written", 1, least=1, metavar="N"
    )
    steps: int = option(
        "sampling steps of a diffusion model; 0: as the model states", 0, least=0, metavar="N"
    )
    seed: int = options.seed("a stochastic model")
    member_sd: bool = option(
        "write the SD between the networks of an ensemble, too: it is no measure of the error", False
    )
    dicom: bool = option(
        "write the PET as a DICOM series, too, in patient and study of a T1 that is DICOM",
        False,
        in_memory=False,
    )


@dataclass(frozen=True)
class PetReading(Settings):
    """How real PETs are read and aligned; may be the same for every case of a batch."""

    pet_unit: str | None = options.pet_unit()
    window: tuple[float, float] | None = options.window_option()
    realign_frames: bool = options.realign_frames()
    register: str = options.register()


@dataclass(frozen=True)
class CaseInputs(PetReading):
    """What belongs to one T1 beside the T1."""

    mask: Path | None = option("brain mask of the T1, instead of finding the brain", None, decides=False)
    pet: Path | None = option("real PET of the same person, to compare with", None, decides=False)
    series: str | None = option(
        "SeriesInstanceUID, when a DICOM folder holds several T1s; UID#N for the Nth part of one UID",
        None,
        metavar="UID",
    )
    dicom_study: Path | None = option(
        "DICOM folder or file of the person's study, for --dicom of a T1 that is not DICOM",
        None,
        metavar="PATH",
        decides=False,
    )
