"""What a simulated MRI and PET scanner make of a person."""

from __future__ import annotations

from typing import Any

import numpy as np

from MRI2PETLib.images.grid import FWHM_PER_SIGMA, Grid
from MRI2PETLib.simulation.anatomy import Anatomy
from MRI2PETLib.simulation.deformation import FIELD_GRID
from MRI2PETLib.simulation.fields import FloatArray, blur, coarser, sample, smooth_noise, upsampled
from MRI2PETLib.templates.uptake import TISSUE_UPTAKE, population_mean, regional_levels, uptake_regions

TRACER = "PBR28"
# Uptake of high- and mixed-affinity binders (rs6971 polymorphism), [11C]PBR28 60-93 min: .262 / .330 in ten
# people of the public kinfitr data.
GENOTYPE_SCALE = {"HAB": 1.0, "MAB": 0.79}
BIAS_SD = 0.1
# Ten digits: with more, the same seed would give PETs that differ in the last bit of some voxels.
_FWHM_PER_SIGMA = round(FWHM_PER_SIGMA, 9)
NOISE_FWHM_MM = 3.5


def tissue_contrast(rng: np.random.Generator, anatomy: Anatomy) -> tuple[FloatArray, dict[str, Any]]:
    """T1 of the brain without artefacts, white matter about 1, one value a voxel of ``anatomy.where``."""
    means = {"gm": rng.uniform(0.62, 0.76), "wm": 1.0, "csf": rng.uniform(0.15, 0.30)}
    gamma, detail = rng.uniform(0.85, 1.15), rng.uniform(0.5, 1.0)
    t1 = sum(np.float32(mean) * getattr(anatomy, name) for name, mean in means.items())
    t1 = np.clip(t1 + np.float32(detail) * anatomy.detail, 0, None) ** np.float32(gamma)
    return np.asarray(t1, np.float32), {"t1_means": means, "t1_gamma": gamma, "t1_detail": detail}


def acquire_t1(rng: np.random.Generator, t1: FloatArray, grid: Grid) -> tuple[FloatArray, dict[str, Any]]:
    """Multiply the volume ``t1`` by a smooth bias field, add Rician noise and give it arbitrary units."""
    level, scale = rng.uniform(0.005, 0.03), 600 * 2 ** rng.uniform(-1, 1)
    coarse = coarser(grid, 12.0)
    bias = upsampled(np.exp(np.float32(BIAS_SD) * smooth_noise(rng, coarse, 40.0)), coarse, grid)
    noisy = np.square(t1 * bias + np.float32(level) * rng.standard_normal(t1.shape, dtype=np.float32))
    noisy += np.square(np.float32(level) * rng.standard_normal(t1.shape, dtype=np.float32))
    return np.float32(scale) * np.sqrt(noisy), {"t1_noise": level, "t1_scale": scale, "t1_bias_sd": BIAS_SD}


def brain_activity(rng: np.random.Generator, anatomy: Anatomy) -> tuple[FloatArray, dict[str, Any]]:
    """The person's activity (population mean 1 in the brain), one value a voxel of ``anatomy.where``."""
    regional_sd, field_sd, field_sigma = 0.08, 0.07, 18.0
    factors = regional_sd * rng.standard_normal(len(uptake_regions(TRACER)))
    levels = regional_levels(FIELD_GRID, TRACER, factors)
    levels = levels * np.exp(np.float32(field_sd) * smooth_noise(rng, FIELD_GRID, field_sigma))
    tissue = sum(
        np.float32(weight) * getattr(anatomy, name) for name, weight in TISSUE_UPTAKE[TRACER].items()
    )
    activity = (
        tissue
        * sample(levels, FIELD_GRID.index(anatomy.template_points))
        / np.float32(population_mean(TRACER))
    )
    by_name = {region.name: float(np.exp(f)) for region, f in zip(uptake_regions(TRACER), factors)}
    return np.asarray(activity, np.float32), {"regional_factors": by_name, "field_sd": field_sd}


def acquire_pet(
    rng: np.random.Generator, activity: FloatArray, grid: Grid, mean: float
) -> tuple[FloatArray, FloatArray, dict[str, Any]]:
    """Blur the volume ``activity`` by the scanner's point spread and add noise.

    Noise has a correlation of 3.5 mm (FWHM) and grows with the square root of the activity; its relative
    standard deviation is 6 to 14 % where the activity equals ``mean``.

    :return: the noisy and the noise-free image, in the unit of ``activity``, and the truth.
    """
    fwhm_mm, level = rng.uniform(4.3, 6.0), rng.uniform(0.06, 0.14)
    clean = blur(activity, [fwhm_mm / _FWHM_PER_SIGMA / grid.spacing_mm[0]] * 3)
    noise = smooth_noise(rng, grid, NOISE_FWHM_MM / _FWHM_PER_SIGMA)
    noise *= np.float32(level) * np.sqrt(clean * np.float32(mean))
    truth = {"fwhm_mm": fwhm_mm, "pet_noise": level, "pet_noise_fwhm_mm": NOISE_FWHM_MM}
    return np.clip(clean + noise, 0, None), clean, truth
