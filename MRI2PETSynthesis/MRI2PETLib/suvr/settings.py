"""The settings of a SUVR measurement: the only place that names them, see :mod:`MRI2PETLib.core.settings`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from MRI2PETLib.core import options
from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.settings import Settings, option
from MRI2PETLib.preprocessing.partial_volume import CORRECTIONS
from MRI2PETLib.templates import CORTICAL_SPHERES


@dataclass(frozen=True)
class SuvrSettings(Settings):
    """How SUVRs are measured; the same for every PET of a cohort."""

    atlas: str = option(
        f"label map in MNI space, or {CORTICAL_SPHERES} (built in)", metavar="FILE", decides=False
    )
    reference: str = option("reference region: names or patterns, such as '*cerebellum*'", metavar="REGIONS")
    composite: str | None = option(
        "regions of the composite; without it: all but the reference", None, metavar="REGIONS"
    )
    labels: Path | None = option("table of labels of the atlas file", None, decides=False)
    grey_matter: bool = option("cut the regions to the template's grey matter", False)
    model: str | None = option(
        "PET -> MR model, for SUVR without an MRI", None, metavar="ID|DIR", decides=False
    )
    pet_template: tuple[Path, ...] = option(
        "mean PET in MNI space; repeatable: the one that fits best is used; left out: the best of those that "
        "are built in (TSPO-, FDG- and amyloid-like)",
        (),
        metavar="FILE",
        decides=False,
    )
    pet_segmentation: bool = option(
        "also without an MRI: by a segmentation of the PET, which Choi & Lee 2018 compare with", False
    )
    pvc: str = option(
        "partial-volume correction: gtm (by region), or mueller-gaertner (grey matter, by voxel)",
        "none",
        choices=CORRECTIONS,
    )
    psf_mm: float | None = option(
        "resolution of the PET as full width at half maximum, for --pvc",
        None,
        least=0.5,
        most=20,
        metavar="MM",
    )
    register: str = options.register()
    device: str = options.device()
    seed: int = options.seed("a stochastic model")

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.pvc == "none") != (self.psf_mm is None):
            raise InputError(
                "--pvc and --psf-mm belong together.", "State the resolution of the PET, or leave both out."
            )


@dataclass(frozen=True)
class SuvrPaths(Settings):
    """The images of one measurement, and how the PET is read."""

    pet: Path
    t1: Path | None = option("T1 of the same person: its result is the standard", None, decides=False)
    mask: Path | None = option("brain mask of the T1", None, decides=False)
    pet_unit: str | None = options.pet_unit()
    window: tuple[float, float] | None = options.window_option()
    realign_frames: bool = options.realign_frames()
