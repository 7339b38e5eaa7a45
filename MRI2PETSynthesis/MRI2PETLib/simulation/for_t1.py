"""A simulated TSPO PET for the T1 of a real person: the anatomy is theirs, the activity is drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.files import plain
from MRI2PETLib.images.grid import RAS_AXES, Grid, extent_along
from MRI2PETLib.models.model_space import to_grid
from MRI2PETLib.preprocessing.bias_field import log_bias_field, remove_bias
from MRI2PETLib.preprocessing.brain_mask import extract_brain
from MRI2PETLib.simulation import scanner
from MRI2PETLib.simulation.anatomy import Anatomy, template_maps
from MRI2PETLib.simulation.fields import FloatArray, sample
from MRI2PETLib.simulation.subject import draw_suv_level

PET_SPACING_MM = 2.0  # of the scanner's grid, which is not that of the T1
_MARGIN_MM = 20.0
_EM_ITERATIONS = 8
_STREAMS = ("activity", "level", "pet")


@dataclass(frozen=True)
class SimulatedPet:
    """PET and its noise-free version in SUV (float32), on a 2 mm grid along the axes of the T1's head, and
    what was drawn.
    """

    pet: sitk.Image
    pet_true: sitk.Image
    truth: dict[str, Any]


def simulate_pet(t1: sitk.Image, seed: int) -> SimulatedPet:
    """Simulate the PET of the brain in a T1; the same T1 and seed give the same bytes.

    Tissue is decided by the T1's own intensities (and by the template placed by its affine), so the PET
    follows the person's anatomy; the levels of regions and of the whole brain are drawn as in
    :func:`MRI2PETLib.simulation.subject.simulate_subject`. Outside the brain there is no activity.

    :param t1: head or stripped brain, any grid.
    :raises InputError: if no brain is found in the T1, or ``seed`` is negative.
    """
    if seed < 0:
        raise InputError(f"The seed {seed} is negative.", "Give a whole number of 0 or more.")
    streams = {name: np.random.default_rng([seed, n]) for n, name in enumerate(_STREAMS)}
    anatomy, rotation = _anatomy(t1)
    activity, activity_truth = scanner.brain_activity(streams["activity"], anatomy)
    suv, suv_truth = draw_suv_level(streams["level"])
    volume = anatomy.volume(activity) * np.float32(suv)
    pet, pet_true, pet_truth = scanner.acquire_pet(streams["pet"], volume, anatomy.grid, suv)
    truth = {"simulated": True, "seed": seed, "unit": "SUV", **suv_truth, **pet_truth, **activity_truth}
    scan, scan_true = (_turned(anatomy.grid.image(values), rotation) for values in (pet, pet_true))
    return SimulatedPet(scan, scan_true, plain(truth))


def _anatomy(t1: sitk.Image) -> tuple[Anatomy, NDArray[np.float64]]:
    """Tissue fractions of the brain in a T1 as if the head were upright, and the rotation (LPS) that turns
    them to the T1.
    """
    extraction = extract_brain(t1)
    if extraction.template_to_native is None or extraction.verdict.level == "refuse":
        raise InputError(
            f"No brain was found in the T1: {' '.join(extraction.verdict.reasons('refuse'))}",
            "Look at the image; leave this person out.",
        )
    rotation = np.reshape(extraction.axes, (3, 3)) @ np.reshape(RAS_AXES, (3, 3)).T
    low, high = extent_along(extraction.mask, tuple(rotation.ravel().tolist()))
    middle, extent = (low + high) / 2, high - low + 2 * _MARGIN_MM
    grid = Grid.covering(middle.tolist(), extent.tolist(), PET_SPACING_MM)
    turn = sitk.AffineTransform(rotation.ravel().tolist(), (0.0, 0.0, 0.0))
    values, inside = to_grid(t1, extraction.mask, grid, turn)
    mask = grid.image(inside.astype(np.uint8))
    flat = sitk.GetArrayFromImage(remove_bias(grid.image(values), log_bias_field(grid.image(values), mask)))
    where = inside > 0
    to_template = sitk.CompositeTransform([extraction.template_to_native.GetInverse(), turn])
    points = _moved(to_template, grid.points(where))
    maps, template_grid = template_maps()
    index = template_grid.index(points)
    prior = np.stack([sample(tissue, index) for tissue in maps[:3]])
    # Where the template ends before the brain does, every tissue may be.
    weights = (prior + 0.02) / (prior + 0.02).sum(0)
    gm, wm, csf = tissue_shares(flat[where], weights).astype(np.float32)
    ones = np.ones_like(gm)
    return Anatomy(grid, where, points, gm, wm, csf, ones, 0 * ones), rotation


def _turned(image: sitk.Image, rotation: NDArray[np.float64]) -> sitk.Image:
    """The image turned about the origin of the world."""
    image.SetOrigin((rotation @ image.GetOrigin()).tolist())
    image.SetDirection((rotation @ np.reshape(image.GetDirection(), (3, 3))).ravel().tolist())
    return image


def tissue_shares(values: NDArray, weights: NDArray, say: NDArray | float = 1.0) -> NDArray[np.float64]:
    """Share of every tissue in every voxel: what the atlas says times the likelihood of the intensity.

    Expectation maximisation of one Gaussian a tissue.

    :param values: intensities, one a voxel.
    :param weights: of the atlas, [tissue, voxel], summing to 1 over tissues, above 0.
    :param say: how much the intensity counts, 0..1, one a voxel or one for all.
    """
    values = values.astype(np.float64)
    share = weights
    for _ in range(_EM_ITERATIONS):
        mass = share.sum(1)
        mean = (share * values).sum(1) / mass
        sd = np.sqrt((share * (values - mean[:, None]) ** 2).sum(1) / mass) + 1e-6
        log_likelihood = -0.5 * ((values - mean[:, None]) / sd[:, None]) ** 2 - np.log(sd)[:, None]
        log_share = np.log(weights) + say * log_likelihood
        share = np.exp(log_share - log_share.max(0))
        share /= share.sum(0)
    return share


def _moved(transform: sitk.Transform, points: FloatArray) -> FloatArray:
    """Points (rows x, y, z in LPS mm) after a linear transform."""
    offset = np.array(transform.TransformPoint((0.0, 0.0, 0.0)))
    columns = [np.array(transform.TransformPoint(p)) - offset for p in np.eye(3).tolist()]
    return (np.stack(columns, axis=1) @ points + offset[:, None]).astype(np.float32)
