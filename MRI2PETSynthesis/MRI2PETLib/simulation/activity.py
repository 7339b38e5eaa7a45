"""Parametric [11C]PBR28 activity: three tissue weights times a small table of regional levels.

Levels are relative to grey matter. The table (``Resources/Templates/tspo_regions.csv``) was fitted by ridge
regression to the mean of four public control maps, SUV 60-90 min in MNI space (Lois et al. 2018,
doi:10.5281/zenodo.1174364, public domain), after blurring to their resolution of 7.8 mm. A level multiplies
the tissue weight under a Gaussian, so it differs from the ratio of region means that an atlas would give:
blurred thin cortex is already dimmer than a compact nucleus of the same activity, and neighbours add up.

Pearson r with that mean at 7.8 mm, in the template's (nilearn's) brain mask where it exceeds .2: .891; tissue
weights alone .839. With the levels fitted to three controls, r with the fourth is .797 to .858 (mean .823).
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from MRI2PETLib.core.resources import resources_dir
from MRI2PETLib.simulation.fields import FloatArray, Grid
from MRI2PETLib.templates.icbm152 import load_template

# White matter after a regression on the same maps. CSF stands for dura, vessels and choroid plexus too, which
# the tissue maps do not separate.
TISSUE_ACTIVITY = {"gm": 1.0, "wm": 0.65, "csf": 0.15}


@dataclass(frozen=True)
class Region:
    """A Gaussian of standard deviation ``radius_mm`` at ``centre_lps`` (MNI, LPS mm); level 1 is none."""

    name: str
    centre_lps: tuple[float, float, float]
    radius_mm: float
    level: float


@cache
def load_regions() -> tuple[Region, ...]:
    """The regional levels; the table's coordinates are MNI in RAS mm."""
    with (resources_dir() / "Templates" / "tspo_regions.csv").open(encoding="utf-8", newline="") as file:
        return tuple(
            Region(
                row["name"],
                (-float(row["x_mm"]), -float(row["y_mm"]), float(row["z_mm"])),
                float(row["radius_mm"]),
                float(row["level"]),
            )
            for row in csv.DictReader(file)
        )


@cache
def region_weights(grid: Grid) -> FloatArray:
    """The regions' Gaussians (0..1) on ``grid`` in template space: array [region, k, j, i]. Read only."""
    axes = [o + s * np.arange(n) for o, s, n in zip(grid.origin, grid.step, grid.shape[::-1])]
    weights = np.empty((len(load_regions()), *grid.shape), np.float32)
    for weight, region in zip(weights, load_regions()):
        x, y, z = (
            np.exp(-0.5 * ((axis - centre) / region.radius_mm) ** 2)
            for axis, centre in zip(axes, region.centre_lps)
        )
        weight[:] = z[:, None, None] * y[:, None] * x
    return weights


def regional_levels(grid: Grid, log_factors: NDArray[np.float64] | None = None) -> FloatArray:
    """What multiplies the tissue activity on ``grid`` (template space), 1 where there is no region.

    :param log_factors: natural logarithm of one person's deviation from each region's level.
    """
    weights = region_weights(grid)
    excess = np.array([region.level - 1 for region in load_regions()], np.float32)
    levels = 1 + np.tensordot(excess, weights, 1)
    if log_factors is not None:
        levels *= np.exp(np.tensordot(log_factors.astype(np.float32), weights, 1))
    return levels.astype(np.float32)


@cache
def population_mean() -> float:
    """Mean of the activity model in the template's brain mask, relative to grey matter."""
    return float(_template_activity()[sitk.GetArrayViewFromImage(load_template().mask) > 0].mean())


def population_activity() -> sitk.Image:
    """The population's mean activity on the template grid (float32, MNI), relative to its in-brain mean = 1.

    It has the template's resolution, without a scanner's blur: smooth it before comparing it with a PET.
    """
    template = load_template()
    image = sitk.GetImageFromArray(_template_activity() / np.float32(population_mean()))
    image.CopyInformation(template.t1)
    return image


def _template_activity() -> FloatArray:
    template = load_template()
    tissue = sum(
        np.float32(weight) * sitk.GetArrayViewFromImage(getattr(template, name))
        for name, weight in TISSUE_ACTIVITY.items()
    )
    return np.asarray(tissue * regional_levels(Grid.of(template.t1)), np.float32)
