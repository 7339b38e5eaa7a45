"""The same comparison in the person's own space and in MNI space, after an affine and after a warp.

Ferrante et al. 2025 report that the accuracy is maintained after spatial normalisation: the transforms are
found on the T1 and applied to both PETs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import SimpleITK as sitk

from MRI2PETLib.evaluation.cnr import box_pairs
from MRI2PETLib.evaluation.compare import measure_each, values_and_reasons
from MRI2PETLib.evaluation.metrics import AS_IS, SMOOTHED
from MRI2PETLib.evaluation.normdiff import shared_voxels
from MRI2PETLib.evaluation.scaling import smooth_in_mask
from MRI2PETLib.images.grid import antialias
from MRI2PETLib.templates.icbm152 import load_template

MNI_SPACING_MM = 2.0
NATIVE, MNI_AFFINE, MNI_WARPED = "native", "MNI, affine", "MNI, non-linear"


@dataclass(frozen=True)
class SpaceMetrics:
    """Metrics of each predictor in one space; empty with the ``reason``."""

    name: str
    metrics: Mapping[str, Mapping[str, Any]]
    reason: str = ""


@cache
def template_grid(spacing_mm: float) -> sitk.Image:
    """The template's brain mask on a grid of ``spacing_mm`` over it; at 2 mm the template's own."""
    mask = load_template().mask
    if spacing_mm == mask.GetSpacing()[0]:
        return mask
    size = [int(np.ceil(n * s / spacing_mm)) for n, s in zip(mask.GetSize(), mask.GetSpacing())]
    grid = sitk.Image(size, mask.GetPixelID())
    grid.SetSpacing([spacing_mm] * 3)
    grid.SetOrigin(mask.GetOrigin())
    grid.SetDirection(mask.GetDirection())
    return sitk.Resample(mask, grid, sitk.Transform(3, sitk.sitkIdentity), sitk.sitkNearestNeighbor, 0)


def mni_grid() -> sitk.Image:
    """The grid of the comparison in MNI space."""
    return template_grid(MNI_SPACING_MM)


def resample_inside(
    images: Sequence[np.ndarray], mask: sitk.Image, grid: sitk.Image, grid_to_mask: sitk.Transform
) -> list[np.ndarray]:
    """Images [k, j, i] on the grid of ``mask`` brought to another grid, float32; NaN outside the mask.

    Only voxels inside the mask take part, m + G((x - m) w) / G(w) with the mask w and the mean m, so that
    nothing leaks over its edge and a constant image stays exactly constant; blurred first where the new grid
    is coarser.

    :param grid_to_mask: maps points of ``grid`` to points of ``mask`` (LPS mm).
    """
    brain = sitk.GetArrayViewFromImage(mask) != 0

    def moved(values: np.ndarray) -> np.ndarray:
        image = sitk.GetImageFromArray(values.astype(np.float32))
        image.CopyInformation(mask)
        image = antialias(image, grid.GetSpacing())
        return sitk.GetArrayFromImage(sitk.Resample(image, grid, grid_to_mask, sitk.sitkLinear, 0.0))

    weight = moved(brain)
    result = []
    for image in images:
        mean = float(image[brain].astype(np.float64).mean()) if brain.any() else 0.0
        total = moved(np.where(brain, image - mean, 0))
        values = np.full(total.shape, np.nan, dtype=np.float32)
        np.divide(total, weight, out=values, where=weight > 0.5)
        result.append(values + np.float32(mean))
    return result


def normalised_space(
    name: str,
    predicted: Mapping[str, np.ndarray],
    real: np.ndarray,
    mask: sitk.Image,
    template_to_native: sitk.Transform,
    *,
    seed: int,
    fwhm_mm: float,
) -> tuple[SpaceMetrics, np.ndarray, np.ndarray]:
    """The metrics in MNI space at 2 mm, and the first prediction and the real PET there (NaN outside).

    The real PET is smoothed in MNI space, and the boxes of the CNR lie there.

    :param predicted: images by predictor, as ``real`` [k, j, i] on the grid of ``mask``, in one unit.
    """
    grid = mni_grid()
    moved = resample_inside([*predicted.values(), real], mask, grid, template_to_native)
    in_mni, target = moved[:-1], moved[-1]
    inside = shared_voxels(in_mni[0], target, np.isfinite(target))
    spacing = grid.GetSpacing()[::-1]
    order = (spacing[0], spacing[1], spacing[2])
    smoothed = smooth_in_mask(target, inside, order, fwhm_mm)
    boxes = box_pairs(inside, order, seed=seed)
    measures = measure_each(in_mni, {AS_IS: target, SMOOTHED: smoothed}, inside, boxes)
    metrics = {predictor: values_and_reasons(m) for predictor, m in zip(predicted, measures)}
    return SpaceMetrics(name, metrics), in_mni[0], target
