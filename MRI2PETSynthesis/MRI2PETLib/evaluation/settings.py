"""The settings of a comparison: the only place that names them, see :mod:`MRI2PETLib.core.settings`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from MRI2PETLib.core import options
from MRI2PETLib.core.settings import Settings, option

FWHM_MM = 4.0  # smoothing of the real PET: Ferrante et al. 2025, Fig. 2


@dataclass(frozen=True)
class EvaluationSettings(Settings):
    """How synthetic PETs are compared with real ones; the same for every case of a cohort."""

    register: str = options.register()
    atlas: tuple[str, ...] = option(
        "label map, or harvard-oxford; repeatable", (), metavar="FILE", decides=False
    )
    labels: Path | None = option("table of labels of the (single) atlas file", None, decides=False)
    atlas_space: Literal["mni", "native"] = option("space of the atlas", "mni", choices=("mni", "native"))
    synthetic_unit: str | None = options.pet_unit("synthetic")
    pet_unit: str | None = options.pet_unit()
    window: tuple[float, float] | None = options.window_option()
    realign_frames: bool = options.realign_frames()
    scale_free: bool = option(
        "compare patterns only: each image is divided by its own mean, so the units need not match", False
    )
    to_synthetic_unit: bool = option(
        "convert the real PET to the unit of the synthetic one by its own values in the brain: "
        "divided by their mean (SUVR), or scaled from minimum to maximum (normalised)",
        False,
    )
    reference_region: str | None = options.reference_region()
    fwhm_mm: float = option("smoothing of the real PET", FWHM_MM, least=0.1, most=30, metavar="MM")
    seed: int = options.seed("the CNR boxes")
    covariates: tuple[str, ...] = option(
        "cohort: column of the table (genotype, site, age, ...) that comparisons of groups are adjusted for "
        "by a linear model; repeatable",
        (),
        metavar="COLUMN",
    )
    equivalence_margin: float | None = option(
        "cohort: the largest mean difference of synthetic and real PET that does not matter, in the unit of "
        "the PETs; two one-sided tests say whether that of a region lies within",
        None,
        least=0,
        metavar="DIFFERENCE",
    )
    mni: bool = option(
        "of a cohort: maps of every scan in MNI space (real, synthetic, residual, z) with a design table",
        False,
    )
    mni_fwhm_mm: float = option("smoothing of the maps of --mni", 8.0, least=0, most=30, metavar="MM")
    fid: str | None = option(
        "of a cohort: Frechet distance between the sets of synthetic and real slices, by the features "
        "'texture' (built in, no network) or by Inception v3 with torchvision's weights in FILE",
        None,
        metavar="texture|FILE",
        decides=False,
    )


@dataclass(frozen=True)
class CasePaths(Settings):
    """The images of one comparison."""

    synthetic: Path = option("synthetic PET")
    pet: Path = option("real PET of the same person")
    t1: Path | None = option("the T1 that the synthetic PET was made from", None)
    mask: Path | None = option("brain mask on the grid of the synthetic PET", None)
