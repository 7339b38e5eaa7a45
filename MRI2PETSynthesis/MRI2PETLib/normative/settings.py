"""The settings of a norm and of a comparison with it; the only place that names them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from MRI2PETLib.core import options
from MRI2PETLib.core.settings import Settings, option

LEAST_PEOPLE, ENOUGH_PEOPLE = 10, 20
LARGEST_NUMBER = 1e6  # in a norm: SDs from 0, percent, mL, covariates
MOST_COLUMNS = 15  # of the linear model of a norm
NO_COVARIATES = "none"
USUAL_COVARIATES = ("genotype", "age", "sex")


@dataclass(frozen=True)
class NormSettings(Settings):
    """How a norm is made from the people that a cross-validation left out."""

    group: str | None = option(
        "group of the controls; without it the one called control, HC, healthy or the like, or everybody "
        "where the run has no groups",
        None,
        metavar="NAME",
    )
    fwhm_mm: float = option("smoothing of the maps in MNI space", 6.0, least=0, most=30, metavar="MM")
    threshold: float = option("|z| of a voxel that belongs to a cluster", 3.0, least=1, most=10, metavar="Z")
    covariates: tuple[str, ...] = option(
        f"column of the table that the norm allows for; repeatable; without it those of "
        f"{', '.join(USUAL_COVARIATES)} that everybody has; {NO_COVARIATES!r} for none",
        (),
        metavar="COLUMN",
    )
    atlas: tuple[Path, ...] = option(
        "label map in MNI space, besides the built-in regions; repeatable", (), metavar="FILE", decides=False
    )
    reference_region: str | None = options.reference_region()
    pet_unit: str | None = options.pet_unit()
    register: str = options.register()
    seed: int = options.seed("the intervals of what the T1 explains")
    allow_few: bool = option(
        f"make it of fewer than {LEAST_PEOPLE} people; it is then called a demonstration everywhere", False
    )


@dataclass(frozen=True)
class ScoreSettings(Settings):
    """How a person is compared with a norm."""

    covariate: tuple[str, ...] = option(
        "what the norm allows for, of this person: age=67, sex=F, genotype=HAB; repeatable",
        (),
        metavar="NAME=VALUE",
    )
    pet_unit: str | None = options.pet_unit()
    window: tuple[float, float] | None = options.window_option()
    realign_frames: bool = options.realign_frames()
    register: str = options.register()
    device: str = options.device()


@dataclass(frozen=True)
class ScorePaths(Settings):
    """The images of a comparison with a norm."""

    pet: Path = option("real PET", positional=True, metavar="PET")
    t1: Path = option("T1 of the same person", decides=False)
    norm: Path = option("folder of the norm, see build", decides=False)
    mask: Path | None = option("brain mask of the T1", None, decides=False)
    synthetic: Path | None = option(
        "prediction for this T1 by a model that has never seen this person, instead of the norm's own model",
        None,
        decides=False,
    )
