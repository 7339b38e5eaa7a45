"""How a tracer distributes in the brain of the population: three tissue weights times a table of regional
levels, in MNI space.

Levels are relative to grey matter. [11C]PBR28: the table (``Resources/Templates/tspo_regions.csv``) was
fitted by ridge regression to the mean of four public control maps, SUV 60-90 min in MNI space (Lois et al.
2018, doi:10.5281/zenodo.1174364, public domain), after blurring to their resolution of 7.8 mm. A level
multiplies the tissue weight under a Gaussian, so it differs from the ratio of region means that an atlas
would give: blurred thin cortex is already dimmer than a compact nucleus of the same uptake, and neighbours
add up.

Pearson r with that mean at 7.8 mm, in the template's (nilearn's) brain mask where it exceeds .2: .891; tissue
weights alone .839. With the levels fitted to three controls, r with the fourth is .797 to .858 (mean .823).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.resources import resources_dir
from MRI2PETLib.core.tables import read_table
from MRI2PETLib.images.grid import Grid
from MRI2PETLib.templates.icbm152 import load_template

# Tracer, as BIDS names it -> uptake of the tissues, and the table of its regional levels.
# PBR28: white matter after a regression on the same maps. CSF stands for dura, vessels and choroid plexus
# too, which the tissue maps do not separate.
TISSUE_UPTAKE = {"PBR28": {"gm": 1.0, "wm": 0.65, "csf": 0.15}}
_TABLES = {"PBR28": "tspo_regions.csv"}


@dataclass(frozen=True)
class UptakeRegion:
    """A Gaussian of standard deviation ``radius_mm`` at ``centre_lps`` (MNI, LPS mm); level 1 is none."""

    name: str
    centre_lps: tuple[float, float, float]
    radius_mm: float
    level: float


@cache
def uptake_regions(tracer: str) -> tuple[UptakeRegion, ...]:
    """The regional levels of a tracer; the table's coordinates are MNI in RAS mm.

    :raises InputError: for a tracer without a table.
    """
    if tracer not in _TABLES:
        raise InputError(
            f"The uptake of the tracer {tracer} in the population is not known.",
            f"Known are: {', '.join(_TABLES)}.",
        )
    return tuple(
        UptakeRegion(
            row["name"],
            (-float(row["x_mm"]), -float(row["y_mm"]), float(row["z_mm"])),
            float(row["radius_mm"]),
            float(row["level"]),
        )
        for row in read_table(resources_dir() / "Templates" / _TABLES[tracer]).rows
    )


@cache
def region_weights(grid: Grid, tracer: str) -> NDArray[np.float32]:
    """The regions' Gaussians (0..1) on ``grid`` in template space: array [region, k, j, i]. Read only."""
    regions = uptake_regions(tracer)
    weights = np.empty((len(regions), *grid.shape), np.float32)
    for weight, region in zip(weights, regions):
        x, y, z = (
            np.exp(-0.5 * ((axis - centre) / region.radius_mm) ** 2)
            for axis, centre in zip(grid.coordinates(), region.centre_lps)
        )
        weight[:] = z[:, None, None] * y[:, None] * x
    return weights


def regional_levels(
    grid: Grid, tracer: str, log_factors: NDArray[np.float64] | None = None
) -> NDArray[np.float32]:
    """What multiplies the tissue uptake on ``grid`` (template space), 1 where there is no region.

    :param log_factors: natural logarithm of one person's deviation from each region's level.
    """
    weights = region_weights(grid, tracer)
    excess = np.array([region.level - 1 for region in uptake_regions(tracer)], np.float32)
    levels = 1 + np.tensordot(excess, weights, 1)
    if log_factors is not None:
        levels *= np.exp(np.tensordot(log_factors.astype(np.float32), weights, 1))
    return levels.astype(np.float32)


@cache
def population_mean(tracer: str) -> float:
    """Mean uptake in the template's brain mask, relative to grey matter."""
    return float(_template_uptake(tracer)[sitk.GetArrayViewFromImage(load_template().mask) > 0].mean())


def population_uptake(tracer: str) -> sitk.Image:
    """The population's mean uptake on the template grid (float32, MNI), relative to its in-brain mean = 1.

    It has the template's resolution, without a scanner's blur: smooth it before comparing it with a PET.

    :raises InputError: for a tracer whose uptake is not known.
    """
    return Grid.of(load_template().t1).image(_template_uptake(tracer) / np.float32(population_mean(tracer)))


def _template_uptake(tracer: str) -> NDArray[np.float32]:
    template = load_template()
    levels = regional_levels(Grid.of(template.t1), tracer)
    tissue = sum(
        np.float32(weight) * sitk.GetArrayViewFromImage(getattr(template, name))
        for name, weight in TISSUE_UPTAKE[tracer].items()
    )
    return np.asarray(tissue * levels, np.float32)
