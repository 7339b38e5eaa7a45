"""Grey matter, white matter and CSF of a PET by its own values and the template's tissue maps."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from MRI2PETLib.core.errors import QualityError
from MRI2PETLib.images.grid import Grid, resample
from MRI2PETLib.preprocessing.smoothing import smooth_fwhm
from MRI2PETLib.templates.icbm152 import load_template

# A Gaussian is never narrower than this share of the spread of all values; no tissue is impossible.
_LEAST_SD, _LEAST_PRIOR = 0.02, 1e-3
_MOST_STEPS, _SMALL_GAIN = 60, 1e-6
_TOP_PERCENT = 99.8  # hot voxels count as this percentile
GAUSSIANS = 2  # of each tissue, as in SPM8
# Contrast in which segmented tissues are compared with the template's: that of a T1-weighted MRI.
T1_CONTRAST = {"gm": 0.7, "wm": 1.0, "csf": 0.25}
CONTRAST_FWHM_MM = 4.0


@dataclass(frozen=True)
class Mixture:
    """Gaussian classes of values, see :func:`fit_mixture`.

    :ivar means: array [class, Gaussian]; ``sds`` and ``shares`` likewise.
    :ivar posteriors: array [class, value], sum 1 for each value.
    :ivar log_likelihood: mean over the values.
    """

    means: NDArray[np.float64]
    sds: NDArray[np.float64]
    shares: NDArray[np.float64]
    posteriors: NDArray[np.float64]
    log_likelihood: float


def fit_mixture(
    values: NDArray[np.float64], priors: NDArray[np.float64], gaussians: int = GAUSSIANS
) -> Mixture:
    """Gaussian mixture whose class probabilities are known for each value, by expectation maximisation: the
    intensity part of Ashburner & Friston 2005, NeuroImage 26:839.

    :param values: 1-D; ``priors``: array [class, value], sum 1 for each value.
    :param gaussians: of each class, whose shares are fitted too.
    """
    means, sds = _start(values, priors, gaussians)
    shares = np.full((len(priors), gaussians), 1 / gaussians)
    floor = max(_LEAST_SD * float(values.std()), np.finfo(np.float64).tiny)
    before = -np.inf
    for _ in range(_MOST_STEPS):
        joint = priors[:, None] * shares[..., None] * _density(values, means, sds)
        evidence = np.maximum(joint.sum((0, 1)), np.finfo(np.float64).tiny)
        weights = joint / evidence
        log_likelihood = float(np.log(evidence).mean())
        if log_likelihood - before < _SMALL_GAIN:
            break
        before = log_likelihood
        total = np.maximum(weights.sum(2), np.finfo(np.float64).tiny)
        means = weights @ values / total
        squares = (weights * (values - means[..., None]) ** 2).sum(2)
        sds = np.maximum(np.sqrt(squares / total), floor)
        shares = total / total.sum(1, keepdims=True)
    return Mixture(means, sds, shares, weights.sum(1), log_likelihood)


def _start(
    values: NDArray[np.float64], priors: NDArray[np.float64], gaussians: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Gaussians side by side about the mean of each class as its prior has it."""
    total = priors.sum(1)
    mean = priors @ values / total
    sd = np.sqrt(priors @ values**2 / total - mean**2)
    steps = np.linspace(-0.5, 0.5, gaussians) if gaussians > 1 else np.zeros(1)
    return mean[:, None] + steps * sd[:, None], np.repeat(sd[:, None], gaussians, 1)


def _density(
    values: NDArray[np.float64], means: NDArray[np.float64], sds: NDArray[np.float64]
) -> NDArray[np.float64]:
    away = (values - means[..., None]) / sds[..., None]
    return np.asarray(np.exp(-0.5 * away**2) / (sds[..., None] * np.sqrt(2 * np.pi)))


@dataclass(frozen=True)
class PetTissues:
    """Tissues of a PET on the template's grid, as an affine fit lays them there.

    :ivar contrast: float32, the tissues in the contrast of a T1-weighted MRI, 0 outside of the brain.
    :ivar means: uptake of each tissue, in the unit of the PET.
    """

    contrast: sitk.Image
    means: dict[str, float]


def segment_pet(
    pet: sitk.Image, brain: sitk.Image, template_to_pet: sitk.Transform, measured: sitk.Image | None = None
) -> PetTissues:
    """Segment a PET: the template's tissue maps say what is likely where, the PET's values what is there.

    :param brain: mask on the grid of the PET (uint8).
    :param measured: on the grid of the PET, 0 where it says nothing.
    :raises QualityError: if nothing is left to segment.
    """
    template = load_template()
    grid, nearest = Grid.of(template.t1), sitk.sitkNearestNeighbor
    inside_of = brain if measured is None else sitk.Mask(brain, sitk.Cast(measured != 0, sitk.sitkUInt8))
    inside = sitk.GetArrayFromImage(resample(inside_of, grid, template_to_pet, interpolator=nearest)) > 0
    values = sitk.GetArrayFromImage(resample(sitk.Cast(pet, sitk.sitkFloat32), grid, template_to_pet))
    own = values[inside].astype(np.float64)
    if not own.size or not own.std() > 0:
        raise QualityError("The PET has no contrast in the brain.", "Check the PET.")
    maps = [sitk.GetArrayViewFromImage(getattr(template, name))[inside] for name in T1_CONTRAST]
    priors = np.clip(np.array(maps, np.float64), _LEAST_PRIOR, None)
    mixture = fit_mixture(np.minimum(own, np.percentile(own, _TOP_PERCENT)), priors / priors.sum(0))
    contrast = np.zeros(grid.shape, np.float32)
    contrast[inside] = np.array(list(T1_CONTRAST.values())) @ mixture.posteriors
    means = (mixture.means * mixture.shares).sum(1).tolist()
    return PetTissues(grid.image(contrast), dict(zip(T1_CONTRAST, means)))


@cache
def template_tissues() -> sitk.Image:
    """The template's tissues in the contrast and about the resolution of a segmented PET's."""
    template = load_template()
    maps = np.stack([sitk.GetArrayViewFromImage(getattr(template, name)) for name in T1_CONTRAST])
    weights = np.array(list(T1_CONTRAST.values()), np.float32)
    weighted = np.asarray(np.tensordot(weights, maps, 1), np.float32)
    blurred = smooth_fwhm(Grid.of(template.t1).image(weighted), CONTRAST_FWHM_MM)
    return sitk.Mask(blurred, template.mask)
