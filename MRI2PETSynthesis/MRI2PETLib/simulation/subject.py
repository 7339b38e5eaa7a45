"""One simulated person: T1, TSPO PET and the truth behind them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage, special

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.files import plain
from MRI2PETLib.images.grid import Grid
from MRI2PETLib.simulation import scanner
from MRI2PETLib.simulation.anatomy import Anatomy, make_anatomy
from MRI2PETLib.simulation.deformation import BRAIN_CENTRE, random_deformation
from MRI2PETLib.simulation.fields import FloatArray, finer
from MRI2PETLib.simulation.head import HEAD_CENTRE, HEAD_EXTENT_MM, surround
from MRI2PETLib.simulation.settings import DatasetSettings
from MRI2PETLib.templates.icbm152 import load_template

Genotype = Literal["HAB", "MAB"]

# Share of high-affinity among high- and mixed-affinity binders: Hardy-Weinberg, minor allele frequency .3.
HAB_SHARE = 0.54
SUV_SD = 0.28
LESION_FACTOR = 1.5
LESION_EDGE_MM = 1.5
BRAIN_EXTENT_MM = (180.0, 216.0, 192.0)
# Beyond this spacing the person is simulated at half of it and averaged, as voxels average tissue.
DIRECT_SPACING_MM = 2.5


@dataclass(frozen=True)
class SimulatedSubject:
    """A T1 and a PET on one grid with their truth.

    ``t1`` is float32 in arbitrary units, ``pet`` and ``pet_true`` (same blur, no noise) float32 in SUV;
    ``brain_mask``, ``tissue`` (1 grey matter, 2 white matter, 3 CSF) and ``lesion_mask`` are uint8.
    ``template_to_native`` maps template (MNI) points to points of the T1 (LPS mm) and has an inverse.
    ``truth`` holds what was drawn, ready for JSON.
    """

    t1: sitk.Image
    pet: sitk.Image
    pet_true: sitk.Image
    brain_mask: sitk.Image
    tissue: sitk.Image
    lesion_mask: sitk.Image
    template_to_native: sitk.Transform
    truth: dict[str, Any]


def simulate_subject(
    seed: int,
    *,
    spacing_mm: float = 1.0,
    head: bool = False,
    genotype: Genotype | None = None,
    lesion: bool = False,
) -> SimulatedSubject:
    """Simulate one person. The same arguments give the same bytes, whatever was drawn before.

    The anatomy and the activity depend on ``seed`` alone, not on ``spacing_mm`` or ``head``. All else equal,
    ``genotype`` scales the PET, and ``lesion`` changes it in one focus, while the T1 stays as it is.

    :param seed: not negative.
    :param spacing_mm: isotropic voxel size, .7 to 6 mm.
    :param head: a whole head with skull, scalp and noise in the air; else the T1 is 0 outside the brain mask.
    :param genotype: high- or mixed-affinity binder; drawn when not given.
    :param lesion: add a focus of 1.5 times the activity, of 6 to 12 mm radius, somewhere inside the brain.
    :raises InputError: if ``seed``, ``spacing_mm`` or ``genotype`` is out of range.
    """
    DatasetSettings(seed, spacing_mm)  # refuses what is out of range
    if genotype is not None and genotype not in scanner.GENOTYPE_SCALE:
        raise InputError(
            f"Unknown genotype {genotype!r}.", f"Choose one of {', '.join(scanner.GENOTYPE_SCALE)}."
        )
    bins = 2 if spacing_mm > DIRECT_SPACING_MM else 1
    grid = Grid.covering(
        *((HEAD_CENTRE, HEAD_EXTENT_MM) if head else (BRAIN_CENTRE, BRAIN_EXTENT_MM)), spacing_mm
    )
    fine = finer(grid, bins)

    # One stream a purpose, so that an option does not shift the draws of the others.
    streams = {name: np.random.default_rng([seed, n]) for n, name in enumerate(_STREAMS)}
    deformation, shape_truth = random_deformation(streams["shape"])
    anatomy, tissue_truth = make_anatomy(streams["tissue"], fine, deformation)
    contrast, contrast_truth = scanner.tissue_contrast(streams["contrast"], anatomy)
    activity, activity_truth = scanner.brain_activity(streams["activity"], anatomy)
    suv, suv_truth = draw_suv_level(streams["level"], genotype)
    transform = deformation.transform()
    focus, lesion_truth = _focus(streams["lesion"], anatomy, transform) if lesion else (None, None)
    if focus is not None:
        activity = activity * (1 + np.float32(LESION_FACTOR - 1) * focus)
    t1_volume, activity_volume = anatomy.volume(contrast), anatomy.volume(activity)
    if head:
        t1_around, activity_around = surround(
            streams["head"], fine, deformation, anatomy.volume(anatomy.brain)
        )
        t1_volume += t1_around
        activity_volume += activity_around
    t1, t1_truth = scanner.acquire_t1(streams["mri"], t1_volume, fine)
    activity_volume *= np.float32(suv)
    pet, pet_true, pet_truth = scanner.acquire_pet(streams["pet"], activity_volume, fine, suv)

    brain = anatomy.volume(anatomy.brain > 0.5, bool)
    lesion_mask = np.zeros(fine.shape, bool) if focus is None else anatomy.volume(focus > 0.5, bool) & brain
    tissue = [_binned(anatomy.volume(getattr(anatomy, name)), bins) for name in ("gm", "wm", "csf")]
    brain_mask = _binned(brain, bins) >= 0.5
    labels = np.where(brain_mask, 1 + np.argmax(tissue, axis=0), 0)
    truth = {
        "simulated": True,
        "seed": seed,
        "spacing_mm": spacing_mm,
        "head": head,
        "unit": "SUV",
        **suv_truth,
        **pet_truth,
        **activity_truth,
        **contrast_truth,
        **t1_truth,
        **tissue_truth,
        **shape_truth,
        "lesion": lesion_truth,
    }
    return SimulatedSubject(
        t1=grid.image(_binned(t1, bins) if head else _binned(t1 * brain, bins) * brain_mask),
        pet=grid.image(_binned(pet, bins)),
        pet_true=grid.image(_binned(pet_true, bins)),
        brain_mask=grid.image(brain_mask.astype(np.uint8)),
        tissue=grid.image(labels.astype(np.uint8)),
        lesion_mask=grid.image((_binned(lesion_mask, bins) >= 0.5).astype(np.uint8)),
        template_to_native=transform,
        truth=plain(truth),
    )


_STREAMS = ("shape", "tissue", "contrast", "mri", "activity", "level", "lesion", "pet", "head")


def draw_suv_level(
    rng: np.random.Generator, genotype: Genotype | None = None
) -> tuple[float, dict[str, Any]]:
    """Whole-brain SUV of the person: genotype times a log-normal factor."""
    common: Genotype = "HAB" if rng.random() < HAB_SHARE else "MAB"
    factor = float(np.exp(SUV_SD * rng.standard_normal()))
    own_genotype = genotype or common
    suv = scanner.GENOTYPE_SCALE[own_genotype] * factor
    return suv, {"genotype": own_genotype, "global_factor": factor, "suv_level": suv}


def _focus(
    rng: np.random.Generator, anatomy: Anatomy, transform: sitk.Transform
) -> tuple[FloatArray, dict[str, Any]]:
    """Weight 0..1 of a ball with a soft edge, one value a voxel of ``anatomy.where``, and its truth."""
    radius_mm = float(rng.uniform(6, 12))
    depth, places = _depth_of_tissue()
    allowed = places[:, depth >= radius_mm]
    centre = np.array(transform.TransformPoint(allowed[:, rng.integers(allowed.shape[1])].tolist()))
    points = anatomy.grid.points(anatomy.where)
    distance = np.sqrt(((points - centre.astype(np.float32)[:, None]) ** 2).sum(0))
    weight = 0.5 * special.erfc((distance - np.float32(radius_mm)) / np.float32(np.sqrt(2) * LESION_EDGE_MM))
    return weight.astype(np.float32), {
        "centre_lps_mm": centre,
        "centre_ras_mm": centre * [-1, -1, 1],
        "radius_mm": radius_mm,
        "factor": LESION_FACTOR,
        "edge_sigma_mm": LESION_EDGE_MM,
    }


@cache
def _depth_of_tissue() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Tissue voxels of the template: distance in mm to the outside of the brain, points (rows x, y, z)."""
    template = load_template()
    depth = 2.0 * ndimage.distance_transform_edt(sitk.GetArrayViewFromImage(template.mask) > 0)
    tissue = sitk.GetArrayViewFromImage(template.csf) < 0.1
    places = tissue & (depth > 6)
    return depth[places], Grid.of(template.mask).points(places).astype(np.float64)


def _binned(volume: NDArray, bins: int) -> FloatArray:
    """Mean of blocks of ``bins`` voxels along every axis."""
    if bins == 1:
        return np.asarray(volume, np.float32)
    k, j, i = (n // bins for n in volume.shape)
    mean: FloatArray = volume.reshape(k, bins, j, bins, i, bins).mean((1, 3, 5), dtype=np.float32)
    return mean
