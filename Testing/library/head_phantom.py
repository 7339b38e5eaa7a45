"""Whole-head T1s with a known brain mask, made from label maps (after Billot et al. 2023, SynthSeg)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

# Tissue levels of a T1 relative to white matter: mean and how far a case may differ from it. Cerebral, deep
# and cerebellar labels are FreeSurfer's, 502 and above are the head's (eyes, mucosa, skin, bone ...).
LEVELS: dict[tuple[int, ...], tuple[float, float]] = {
    (2, 41, 77, 7, 46): (1.00, 0.02),
    (16, 28, 60, 85, 530, 512): (0.92, 0.04),
    (3, 42, 8, 47): (0.70, 0.06),
    (17, 18, 26, 53, 54, 58, 11, 50, 25, 57): (0.73, 0.05),
    (12, 51): (0.80, 0.04),
    (10, 49, 136, 137, 163, 164, 13, 52): (0.88, 0.04),
    (4, 5, 14, 15, 43, 44, 72, 24): (0.25, 0.08),
    (30, 62, 514): (0.45, 0.30),
    (502,): (0.03, 0.02),
    (506,): (0.20, 0.08),
    (507,): (0.75, 0.15),
    (508,): (0.55, 0.10),
    (509,): (0.60, 0.20),
    (511,): (0.65, 0.20),
    (515,): (0.12, 0.06),
    (516,): (0.75, 0.35),
}
SOFT_TISSUE = 507  # muscle and fat are one label: a coarse pattern tells them apart
NOT_BRAIN = (0, 24, 85)
SULCUS_CLOSING_MM = 5


@dataclass(frozen=True)
class Head:
    """A T1 and the brain mask that hugs its cortex, on one grid (LPS mm)."""

    t1: sitk.Image
    brain: sitk.Image


@cache
def _labels(path: Path) -> tuple[sitk.Image, sitk.Image, sitk.Image]:
    """Labels and closed, filled brain (LPS axes), and the smoothed signed inside of it."""
    labels = sitk.DICOMOrient(sitk.ReadImage(str(path), sitk.sitkInt32), "LPS")
    array = sitk.GetArrayViewFromImage(labels)
    brain = sitk.GetImageFromArray(((array < 500) & ~np.isin(array, NOT_BRAIN)).astype(np.uint8))
    brain.CopyInformation(labels)
    brain = sitk.BinaryMorphologicalClosing(brain, [SULCUS_CLOSING_MM] * 3, sitk.sitkBall)
    brain = sitk.BinaryFillhole(brain)
    return labels, brain, sitk.Cast(brain, sitk.sitkFloat32)


def head_from_labels(
    path: Path,
    seed: int,
    *,
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0),
    orientation: str = "LPS",
    rotation_deg: float = 15.0,
    bias: float = 0.3,
    noise: float = 0.04,
    inverted: bool = False,
) -> Head:
    """A head of random contrast, pose, size, bias and noise.

    :param rotation_deg: largest rotation on each axis.
    :param bias: the field varies between 1 - bias and 1 + bias.
    :param noise: SD of the Rician noise relative to white matter.
    :param inverted: make it look like a T2.
    """
    rng = np.random.default_rng(seed)
    labels, brain, soft_brain = _labels(path)
    intensity = _paint(sitk.GetArrayViewFromImage(labels), rng, inverted)
    image = sitk.GetImageFromArray(intensity)
    image.CopyInformation(labels)
    pose = _pose(rng, brain, rotation_deg)
    reference = _grid(labels, spacing_mm, orientation)
    # A voxel of the scanner is an average, so blur to the target spacing before resampling.
    sigma = [max(0.35, 0.42 * s) for s in spacing_mm]
    order = [_axis_of(reference, axis) for axis in range(3)]
    image = sitk.SmoothingRecursiveGaussian(image, [sigma[order.index(axis)] for axis in range(3)])
    t1 = sitk.GetArrayFromImage(sitk.Resample(image, reference, pose, sitk.sitkLinear, 0.0))
    truth = sitk.Resample(soft_brain, reference, pose, sitk.sitkLinear, 0.0) > 0.5
    t1 = t1 * _bias(rng, t1.shape, bias)
    t1 = np.hypot(t1 + noise * rng.standard_normal(t1.shape), noise * rng.standard_normal(t1.shape))
    result = sitk.GetImageFromArray((t1 * 600.0).astype(np.float32))
    result.CopyInformation(reference)
    shift = rng.uniform(-60, 60, 3)
    for moved in (result, truth):
        moved.SetOrigin((np.array(moved.GetOrigin()) + shift).tolist())
    return Head(result, sitk.Cast(truth, sitk.sitkUInt8))


def _paint(labels: np.ndarray, rng: np.random.Generator, inverted: bool) -> np.ndarray:
    table = np.zeros(int(labels.max()) + 1, dtype=np.float32)
    for names, (mean, spread) in LEVELS.items():
        level = max(0.0, mean + rng.uniform(-spread, spread))
        present = [n for n in names if n < len(table)]
        table[present] = (1.25 - level if level > 0.15 else level) if inverted else level
    volume = table[labels]
    coarse = rng.standard_normal([n // 6 + 2 for n in labels.shape])
    pattern = ndimage.zoom(ndimage.gaussian_filter(coarse, 0.7), 6.0, order=1)
    pattern = pattern[tuple(slice(0, n) for n in labels.shape)]
    soft = labels == SOFT_TISSUE
    # Muscle is darker than grey matter, fat brighter than white matter.
    volume[soft] = np.where(pattern[soft] > 0.15, rng.uniform(0.9, 1.5), rng.uniform(0.4, 0.6))
    return volume


def _pose(rng: np.random.Generator, brain: sitk.Image, rotation_deg: float) -> sitk.AffineTransform:
    angles = np.radians(rng.uniform(-rotation_deg, rotation_deg, 3))
    euler = sitk.Euler3DTransform()
    euler.SetRotation(*angles.tolist())
    rotation = np.reshape(euler.GetMatrix(), (3, 3))
    scale = np.diag(rng.uniform(0.92, 1.08) * rng.uniform(0.96, 1.04, 3))
    transform = sitk.AffineTransform(3)
    centre = [brain.TransformIndexToPhysicalPoint([n // 2 for n in brain.GetSize()])[a] for a in range(3)]
    transform.SetCenter(centre)
    transform.SetMatrix((rotation @ scale).ravel().tolist())
    return transform


def _axis_of(image: sitk.Image, world_axis: int) -> int:
    return int(np.argmax(np.abs(np.reshape(image.GetDirection(), (3, 3))[world_axis])))


def _grid(labels: sitk.Image, spacing_mm: tuple[float, ...], orientation: str) -> sitk.Image:
    """An empty image over the labels' box with the orientation's axes."""
    empty = sitk.DICOMOrient(labels, orientation)
    size = [max(16, round(n * s / t)) for n, s, t in zip(empty.GetSize(), empty.GetSpacing(), spacing_mm)]
    grid = sitk.Image(size, sitk.sitkFloat32)
    grid.SetSpacing(spacing_mm)
    grid.SetDirection(empty.GetDirection())
    grid.SetOrigin(empty.GetOrigin())
    return grid


def _bias(rng: np.random.Generator, shape: tuple[int, ...], strength: float) -> np.ndarray:
    axes = np.meshgrid(*[np.linspace(-1, 1, n, dtype=np.float32) for n in shape], indexing="ij", sparse=True)
    field = sum(rng.uniform(-1, 1) * a for a in axes)
    field = field + sum(rng.uniform(-1, 1) * np.cos(1.5 * np.pi * a + rng.uniform(0, 6)) for a in axes)
    return 1 + strength * field / np.abs(field).max()


def dice(a: sitk.Image, b: sitk.Image) -> float:
    """2 |a and b| / (|a| + |b|)."""
    x, y = (sitk.GetArrayViewFromImage(m) > 0 for m in (a, b))
    return float(2 * (x & y).sum() / (x.sum() + y.sum()))
