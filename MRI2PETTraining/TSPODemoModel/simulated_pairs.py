"""T1 + PET pairs made on the training device, from real anatomies and the activity model.

Nothing is stored: a pair is a function of (people, seed). Volumes are [batch, channel, k, j, i]; positions
are in the cube -1..1 that every grid of a person's field of view shares, so that a model of any number of
voxels is sampled from the 2 mm source without a second interpolation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from MRI2PETLib.images.grid import FWHM_PER_SIGMA
from MRI2PETLib.simulation.scanner import NOISE_FWHM_MM
from MRI2PETLib.templates.icbm152 import load_template
from TSPODemoModel.activity_model import ActivityModel
from TSPODemoModel.anatomies import SOURCE_SPACE, PersonAnatomy
from TSPODemoModel.average_anatomies import tissue_of

_SMOOTH_SIZE = 48  # voxels an axis of the smooth fields (4 mm)
_SOURCE_MM = SOURCE_SPACE.spacings_mm[0]
FIELD_MM = SOURCE_SPACE.size[0] * _SOURCE_MM
MEAN_PSF_MM = 5.4  # of the draws below: what the anatomy oracle is blurred by
# Mean and SD of the in-brain mean after min-max scaling in Table 2 of Ferrante et al. 2025: hot vessels and
# sinuses, which this simulation has not, set that scale.
_MINMAX_LEVEL, _MINMAX_SD = 0.14, 0.04


@dataclass(frozen=True)
class Variation:
    """Which random parts a pair has; all by default (training)."""

    shape: bool = True  # deformation, position, left-right flip
    contrast: bool = True  # T1 contrast, bias field, noise
    activity: bool = True  # how people differ in their TSPO
    scanner: bool = True  # resolution and noise of the PET; without it, the mean resolution and no noise


# Real anatomy and the person's own T1 as they are: only the PET is drawn, or nothing at all.
NO_VARIATION = Variation(shape=False, contrast=False)
EXPECTED = Variation(shape=False, contrast=False, activity=False, scanner=False)


@dataclass(frozen=True)
class People:
    """Anatomies ready for sampling, float16 on the training device.

    ``sharp`` [person, 3, 96, 96, 96]: T1 x mask, mask, activity, blurred against aliasing on the model's
    grid. ``smooth`` [person, n + 2, 48, 48, 48]: the activity model's logarithmic fields at the person's
    voxels: components, focal, thalamus.
    """

    subjects: tuple[str, ...]
    sharp: Tensor
    smooth: Tensor
    size: int

    @property
    def spacing_mm(self) -> float:
        return FIELD_MM / self.size


@dataclass(frozen=True)
class PairBatch:
    """``source``, ``mask``, ``target`` as a model sees them, ``clean`` (the target without noise): float32
    [batch, 1, k, j, i].
    """

    source: Tensor
    target: Tensor
    mask: Tensor
    clean: Tensor


def load_people(
    anatomies: Sequence[PersonAnatomy], model: ActivityModel, size: int, device: torch.device
) -> People:
    """Put people on the device for a model of ``size`` voxels an axis."""
    spacing_mm = FIELD_MM / size
    logs = np.concatenate([model.components, model.focal[None], model.thalamus[None]])
    fields = torch.from_numpy(logs)[None].to(device)
    correction = torch.from_numpy(model.correction)[None, None].to(device)
    sharp, smooth = [], []
    for anatomy in anatomies:
        factor = F.grid_sample(
            correction, template_positions(anatomy, 96).to(device), padding_mode="border", align_corners=False
        )[0, 0]
        top = np.percentile(anatomy.t1[anatomy.mask], 99)
        volumes = [anatomy.t1 * anatomy.mask / top, anatomy.mask.astype(np.float32)]
        volumes.append(tissue_of(anatomy) * factor.cpu().numpy())
        blurred = [antialiased(v, spacing_mm) for v in volumes]
        sharp.append(torch.from_numpy(np.stack(blurred).astype(np.float16)).to(device))
        where = template_positions(anatomy, _SMOOTH_SIZE).to(device)
        smooth.append(F.grid_sample(fields, where, padding_mode="border", align_corners=False)[0].half())
    return People(tuple(a.subject for a in anatomies), torch.stack(sharp), torch.stack(smooth), size)


def antialiased(volume: np.ndarray, spacing_mm: float) -> np.ndarray:
    """A volume of 2 mm voxels blurred as :func:`MRI2PETLib.images.grid.antialias` does for ``spacing_mm``."""
    sigma = math.sqrt(max(0.0, spacing_mm**2 - _SOURCE_MM**2)) / FWHM_PER_SIGMA / _SOURCE_MM
    return np.asarray(ndimage.gaussian_filter(volume, sigma, mode="constant", truncate=3.0))


def on_model_grid(volume: np.ndarray, size: int) -> np.ndarray:
    """A 96^3 volume of a person on the model's grid of ``size`` voxels an axis, float32."""
    blurred = torch.from_numpy(antialiased(volume, FIELD_MM / size).astype(np.float32))[None, None]
    where = F.affine_grid(torch.eye(3, 4)[None], [1, 1, size, size, size], align_corners=False)
    return F.grid_sample(blurred, where, align_corners=False)[0, 0].numpy()


def template_positions(anatomy: PersonAnatomy, size: int) -> Tensor:
    """Where the person's voxels lie in the template's volume: [1, k, j, i, 3] (x y z, -1..1)."""
    spacing = anatomy.grid.spacing_mm[0] * anatomy.grid.size[0] / size
    shift = (spacing - anatomy.grid.spacing_mm[0]) / 2
    steps = torch.arange(size, dtype=torch.float64)
    k, j, i = torch.meshgrid(steps, steps, steps, indexing="ij")
    index = torch.stack([i, j, k], -1) * spacing + shift
    direction = torch.tensor(anatomy.grid.direction, dtype=torch.float64).reshape(3, 3)
    points = index @ direction.T + torch.tensor(anatomy.grid.origin, dtype=torch.float64)
    moved = F.interpolate(
        torch.from_numpy(anatomy.displacement)[None].double(), size=(size,) * 3, mode="trilinear"
    )[0]
    points = points + moved.permute(1, 2, 3, 0)
    affine = torch.from_numpy(anatomy.affine)
    mni = points @ affine[:3, :3].T + affine[:3, 3]
    return _template_position(mni, load_template().mask)[None].float()


def _template_position(points: Tensor, image: sitk.Image) -> Tensor:
    direction = torch.tensor(image.GetDirection(), dtype=torch.float64).reshape(3, 3)
    spacing = torch.tensor(image.GetSpacing(), dtype=torch.float64)
    size = torch.tensor(image.GetSize(), dtype=torch.float64)
    index = (points - torch.tensor(image.GetOrigin(), dtype=torch.float64)) @ direction / spacing
    return (2 * index + 1) / size - 1


def make_pairs(
    people: People,
    indices: Sequence[int],
    seed: int,
    variation: Variation | None = None,
    *,
    target: str = "suvr-half",
) -> PairBatch:
    """Pairs of the people with these ``indices``. The same arguments give the same pairs on a device.

    :param target: ``suvr-half`` or ``minmax``, see :class:`MRI2PETLib.models.model_space.ModelSpace`.
    """
    variation = variation or Variation()
    device, size, batch = people.sharp.device, people.size, len(indices)
    draw = _Draw(seed, batch, device)
    index = torch.as_tensor(list(indices), device=device)
    logs = _log_variation(draw, people.smooth[index].float(), variation)
    where = _positions(draw, size, variation)
    options = {"mode": "bilinear", "padding_mode": "zeros", "align_corners": False}
    sharp = F.grid_sample(people.sharp[index].float(), where, **options)  # type: ignore[arg-type]
    log_activity = F.grid_sample(logs, where, mode="bilinear", padding_mode="border", align_corners=False)
    mask = (sharp[:, 1:2] > 0.5).float()
    t1 = torch.where(mask > 0, sharp[:, 0:1] / sharp[:, 1:2].clamp(min=0.5), 0)
    source = _normalised(_contrast(draw, t1, mask, people.spacing_mm, variation), mask)
    clean, noisy = _scan(draw, sharp[:, 2:3] * log_activity.exp(), people.spacing_mm, variation)
    return PairBatch(source, *_scaled(draw, noisy, clean, mask, target))


class _Draw:
    """Random numbers of one batch, all of one generator on the device."""

    def __init__(self, seed: int, batch: int, device: torch.device) -> None:
        self._generator = torch.Generator(device).manual_seed(seed)
        self._batch, self._device = batch, device

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        values = torch.rand((self._batch, *shape), generator=self._generator, device=self._device)
        return low + (high - low) * values

    def normal(self, *shape: int) -> Tensor:
        return torch.randn((self._batch, *shape), generator=self._generator, device=self._device)

    def field(self, channels: int, nodes: int, size: int) -> Tensor:
        """A smooth field of SD 1 with independent values about every ``192 / nodes`` mm."""
        coarse = self.normal(channels, nodes, nodes, nodes)
        fine = F.interpolate(coarse, size=(size,) * 3, mode="trilinear", align_corners=False)
        return fine / 0.54  # linear interpolation between independent nodes: (2 / 3) ** 1.5


def _column(values: Tensor) -> Tensor:
    return values.reshape(-1, 1, 1, 1, 1)


def _log_variation(draw: _Draw, smooth: Tensor, variation: Variation) -> Tensor:
    """Logarithm of a person's deviation from the average activity, on the smooth grid [batch, 1, k, j, i].

    Components with their own SD; the patients' focal pattern, 0 to 1.5 times, in 25 %; a thalamus up to 20 %
    higher in 30 %; a smooth field of SD .07.
    """
    n = smooth.shape[1] - 2
    scores = draw.normal(n + 2)
    focal = torch.where(draw.uniform(0, 1) < 0.25, draw.uniform(0, 1.5), 0)
    thalamus = torch.where(draw.uniform(0, 1) < 0.3, draw.uniform(0, 0.2), 0)
    scores = torch.cat([scores[:, :n], focal[:, None], torch.log1p(thalamus)[:, None]], 1)
    logs = (scores[:, :, None, None, None] * smooth).sum(1, keepdim=True)
    logs = logs + 0.07 * draw.field(1, 5, smooth.shape[-1])
    return logs if variation.activity else torch.zeros_like(logs)


def _positions(draw: _Draw, size: int, variation: Variation) -> Tensor:
    """Where a pair's voxels come from: a random affine, elastic displacement at three scales, a flip."""
    degrees = torch.stack([draw.uniform(-9, 9), draw.uniform(-5, 5), draw.uniform(-5, 5)], 1)
    scale, shift = draw.uniform(0.95, 1.05, 3), draw.uniform(-2, 2, 3) / (FIELD_MM / 2)
    flip = torch.where(draw.uniform(0, 1) < 0.5, -1.0, 1.0)
    elastic = torch.zeros((len(flip), 3, size, size, size), device=flip.device)
    for amplitude_mm, nodes in ((2.6, 4), (1.0, 7), (0.5, 12)):
        elastic += amplitude_mm / (FIELD_MM / 2) * draw.field(3, nodes, size)
    if not variation.shape:
        degrees, scale, shift, flip = degrees * 0, torch.ones_like(scale), shift * 0, torch.ones_like(flip)
        elastic = elastic * 0
    matrix = _rotation(torch.deg2rad(degrees)) * scale[:, None, :]
    matrix = torch.cat([matrix[:, :, :1] * flip[:, None, None], matrix[:, :, 1:]], 2)
    theta = torch.cat([matrix, shift[:, :, None]], 2)
    grid = F.affine_grid(theta, [len(scale), 1, size, size, size], align_corners=False)
    return grid + elastic.permute(0, 2, 3, 4, 1)


def _rotation(angles: Tensor) -> Tensor:
    """Rotations about x, y, z (radians) as [batch, 3, 3]."""
    result = torch.eye(3, device=angles.device).expand(len(angles), 3, 3)
    for axis in range(3):
        a, b = [n for n in range(3) if n != axis]
        turn = torch.eye(3, device=angles.device).repeat(len(angles), 1, 1)
        cosine, sine = angles[:, axis].cos(), angles[:, axis].sin()
        turn[:, a, a], turn[:, b, b], turn[:, a, b], turn[:, b, a] = cosine, cosine, -sine, sine
        result = result @ turn
    return result


def _contrast(draw: _Draw, t1: Tensor, mask: Tensor, spacing_mm: float, variation: Variation) -> Tensor:
    """Another scanner's T1: gamma, a bias field of SD .1, Rician noise of .5 to 3 % at 2 mm."""
    gamma, level = draw.uniform(-0.6, 0.6).exp(), draw.uniform(0.005, 0.03) * (2 / spacing_mm) ** 1.5
    bias = (0.1 * draw.field(1, 3, t1.shape[-1])).exp()
    noise = draw.normal(2, *t1.shape[2:]) * _column(level)
    if not variation.contrast:
        return t1
    out = t1.clamp(min=0) ** _column(gamma) * bias
    return ((out + noise[:, :1]).square() + noise[:, 1:].square()).sqrt() * mask


def _normalised(t1: Tensor, mask: Tensor) -> Tensor:
    """Percentiles 1 and 99 inside the mask to 0 and 1, clipped: as a user's T1 is encoded."""
    out = []
    for values, inside in zip(t1, mask):
        low, high = torch.quantile(values[inside > 0], torch.tensor([0.01, 0.99], device=t1.device))
        out.append(((values - low) / (high - low)).clamp(0, 1) * inside)
    return torch.stack(out)


def _scan(draw: _Draw, activity: Tensor, spacing_mm: float, variation: Variation) -> tuple[Tensor, Tensor]:
    """PET without and with noise.

    FWHM 4.3 to 6 mm, after-smoothing 0 to 3 mm; noise of 6 to 14 % with a correlation of 3.5 mm that goes
    with the square root of the activity, more where the whole brain takes up less (genotype: 46 % of the
    people bind 21 % less; log-normal of SD .28 on top).
    """
    psf_mm = torch.hypot(draw.uniform(4.3, 6.0), draw.uniform(0, 3))
    genotype = torch.where(draw.uniform(0, 1) < 0.46, 0.79, 1.0)
    uptake = genotype * (0.28 * draw.normal()).exp()
    level = draw.uniform(0.06, 0.14) / uptake.sqrt()
    white = draw.normal(1, *activity.shape[2:])
    if not variation.scanner:
        clean = _blur(activity, torch.full_like(psf_mm, MEAN_PSF_MM) / spacing_mm)
        return clean, clean
    clean = _blur(activity, psf_mm / spacing_mm)
    # The noise passes the same blur against aliasing as the image, and loses amplitude there.
    kernel_mm = math.sqrt(NOISE_FWHM_MM**2 + max(0.0, spacing_mm**2 - _SOURCE_MM**2))
    width = torch.full_like(psf_mm, kernel_mm / spacing_mm)
    noise = _blur(white, width) / _column(_blur_norm(width))
    amplitude = _column(level) * (NOISE_FWHM_MM / kernel_mm) ** 1.5
    return clean, (clean + noise * amplitude * clean.clamp(min=0).sqrt()).clamp(min=0)


def _kernels(fwhm: Tensor) -> Tensor:
    """Gaussian kernels [batch, n] of ``fwhm`` voxels, sum 1; cut at 3 standard deviations of 8 mm / 2 mm."""
    reach = torch.arange(-5, 6, device=fwhm.device)
    kernels = torch.exp(-0.5 * (reach * FWHM_PER_SIGMA / fwhm[:, None]) ** 2)
    return kernels / kernels.sum(1, keepdim=True)


def _blur(volume: Tensor, fwhm: Tensor) -> Tensor:
    """Gaussian blur of [batch, 1, k, j, i] by ``fwhm`` voxels, one value a volume."""
    kernels, batch = _kernels(fwhm), len(fwhm)
    out = volume.transpose(0, 1)
    for axis in range(3):
        shape = [batch, 1, 1, 1, 1]
        shape[2 + axis] = kernels.shape[1]
        padding = [kernels.shape[1] // 2 if a == axis else 0 for a in range(3)]
        out = F.conv3d(out, kernels.reshape(shape), padding=padding, groups=batch)
    return out.transpose(0, 1)


def _blur_norm(fwhm: Tensor) -> Tensor:
    """What the blur leaves of the SD of white noise."""
    return _kernels(fwhm).square().sum(1) ** 1.5


def _scaled(
    draw: _Draw, noisy: Tensor, clean: Tensor, mask: Tensor, target: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Target, mask and noise-free target on the target's scale."""
    mean = (noisy * mask).sum((2, 3, 4), keepdim=True) / mask.sum((2, 3, 4), keepdim=True)
    level = _column((_MINMAX_LEVEL + _MINMAX_SD * draw.normal()).clamp(0.05, 0.3))
    scale = mask / mean * (0.5 if target == "suvr-half" else level)
    return (noisy * scale).clamp(0, 1), mask, (clean * scale).clamp(0, 1)
