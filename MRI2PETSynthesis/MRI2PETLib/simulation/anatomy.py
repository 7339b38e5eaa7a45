"""What a simulated person is made of: tissue fractions on the native grid, from the deformed template."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from MRI2PETLib.images.grid import Grid
from MRI2PETLib.simulation.deformation import BRAIN_CENTRE, Deformation
from MRI2PETLib.simulation.fields import FloatArray, sample, smooth_noise
from MRI2PETLib.templates.icbm152 import load_template

# Mean of the template's T1 (0..255) where a tissue is nearly pure, relative to white matter.
TEMPLATE_T1 = {"gm": 0.746, "wm": 1.0, "csf": 0.325}
TEMPLATE_WM = 240.0
# Folding pattern: uncertain voxels of the template are decided by noise of about the width of a gyrus.
FOLDING_GRID = Grid.covering(BRAIN_CENTRE, (170.0, 200.0, 176.0), 3.0)
FOLDING_SIGMA_MM = 2.5


@dataclass(frozen=True)
class Anatomy:
    """One value a voxel of ``where`` (mask on ``grid``: the brain and a rim), in array order.

    ``template_points`` has rows x, y, z in LPS mm. ``gm``, ``wm`` and ``csf`` sum to ``brain``, the share of
    the voxel inside the brain mask. ``detail`` is what the template's T1 adds to its tissue means (white
    matter = 1).
    """

    grid: Grid
    where: NDArray[np.bool_]
    template_points: FloatArray
    gm: FloatArray
    wm: FloatArray
    csf: FloatArray
    brain: FloatArray
    detail: FloatArray

    def volume(self, values: NDArray, dtype: type = np.float32) -> NDArray:
        """``values`` as a volume [k, j, i], zero elsewhere."""
        full: NDArray = np.zeros(self.grid.shape, dtype)
        full[self.where] = values
        return full


def make_anatomy(
    rng: np.random.Generator, grid: Grid, deformation: Deformation
) -> tuple[Anatomy, dict[str, Any]]:
    """Tissue fractions on ``grid``, sharper than the template's average and with a person's own folding."""
    where = _near_brain(grid, deformation)
    points = deformation.to_template(grid.points(where))
    maps, template_grid = template_maps()
    index = template_grid.index(points)
    gm, wm, csf, detail = (sample(array, index) for array in maps)
    brain = gm + wm + csf

    sharpness, folding, atrophy = rng.uniform(1.5, 2.5), rng.uniform(0.5, 1.0), rng.uniform(-0.4, 0.6)
    folds = FOLDING_GRID.index(points)
    odds = []
    for fraction, bias in ((gm, 0.0), (wm, 0.0), (csf, atrophy)):
        noise = sample(smooth_noise(rng, FOLDING_GRID, FOLDING_SIGMA_MM), folds)
        odds.append(
            np.maximum(fraction, 0) ** np.float32(sharpness) * np.exp(np.float32(folding) * noise + bias)
        )
    total = brain / np.maximum(sum(odds), np.float32(1e-6))
    gm, wm, csf = (odd * total for odd in odds)
    truth = {"sharpness": sharpness, "folding": folding, "sulcal_widening": atrophy}
    return Anatomy(grid, where, points, gm, wm, csf, brain, detail), truth


def _near_brain(grid: Grid, deformation: Deformation) -> NDArray[np.bool_]:
    """Voxels that may hold brain: a coarse look at the template's mask, generously widened."""
    stride = max(1, int(6.0 // grid.spacing_mm[0]))
    i, j, k = (-(-n // stride) for n in grid.size)
    x, y, z = (s * stride for s in grid.spacing_mm)
    coarse = Grid((i, j, k), (x, y, z), grid.origin)
    wide, template_grid = _wide_mask()
    points = deformation.to_template(coarse.points())
    near = (sample(wide, template_grid.index(points)) > 0.5).reshape(coarse.shape)
    for axis in range(3):
        near = np.repeat(near, stride, axis)
    # A coarse sample stands for the voxels that follow it, so centre its block.
    near = np.roll(near, -(stride // 2), (0, 1, 2))
    result: NDArray[np.bool_] = near[tuple(slice(n) for n in grid.shape)]
    return result


@cache
def template_maps() -> tuple[tuple[FloatArray, ...], Grid]:
    """Grey matter, white matter, CSF and the T1's detail, on the template grid."""
    template = load_template()
    fractions = {name: sitk.GetArrayFromImage(getattr(template, name)) for name in TEMPLATE_T1}
    means = sum(np.float32(level) * fractions[name] for name, level in TEMPLATE_T1.items())
    detail = sitk.GetArrayFromImage(template.t1) / np.float32(TEMPLATE_WM) - means
    return (*fractions.values(), np.asarray(detail, np.float32)), Grid.of(template.t1)


@cache
def _wide_mask() -> tuple[FloatArray, Grid]:
    """The template's brain mask, 8 mm wider: more than half the diagonal of a coarse block."""
    mask = load_template().mask
    distance = ndimage.distance_transform_edt(
        sitk.GetArrayViewFromImage(mask) == 0, sampling=mask.GetSpacing()
    )
    return (distance <= 8.0).astype(np.float32), Grid.of(mask)
