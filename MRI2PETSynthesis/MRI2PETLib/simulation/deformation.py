"""A random person's head shape: elastic deformation of the template, wider ventricles, position and size."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from MRI2PETLib.images.grid import Grid
from MRI2PETLib.simulation.fields import FloatArray, blur, sample, smooth_noise
from MRI2PETLib.templates.icbm152 import load_template

# Centre of the template's brain and the box that fields live on, wide enough for a whole head (LPS mm).
BRAIN_CENTRE = (0.0, 17.0, 5.0)
FIELD_GRID = Grid.covering(BRAIN_CENTRE, (220.0, 260.0, 240.0), 5.0)
# The intracranial space of adults holds 1379 mL on average (men 1469 +- 102, women 1289 +- 111; Matsumae et
# al. 1996, J Neurosurg 84:982). The brain mask of the template holds 1883 mL, a deformed one 4 % more.
ADULT_SIZE = (1379 / (1.04 * 1883)) ** (1 / 3)
SIZE_RANGE, PROPORTION_RANGE = 0.05, 0.025
# Standard deviation of the displacement along an axis, and of the Gaussian that smooths it, in mm.
ELASTIC_SCALES_MM = ((2.6, 22.0), (1.0, 12.0), (0.5, 7.0))
TAPER_MM = 20.0
_INVERSE_STEPS = 5


@dataclass(frozen=True)
class Deformation:
    """Displacements in LPS mm on ``FIELD_GRID``, arrays [component x y z, k, j, i].

    ``forward`` leads from a template (MNI) point to the person's (native) point, ``backward`` leads back.
    """

    forward: FloatArray
    backward: FloatArray

    def to_template(self, points: FloatArray) -> FloatArray:
        """Template points of native ``points`` (rows x, y, z in LPS mm)."""
        index = FIELD_GRID.index(points)
        return np.stack([row + sample(shift, index) for row, shift in zip(points, self.backward)])

    def transform(self) -> sitk.Transform:
        """``template_to_native``: maps template points to native points, and has an inverse.

        One field with the affine part in it: inside a composite transform, SimpleITK loses a field's inverse.
        """
        transform = sitk.DisplacementFieldTransform(_vector_image(self.forward))
        transform.SetInverseDisplacementField(_vector_image(self.backward))
        return transform


def random_deformation(rng: np.random.Generator) -> tuple[Deformation, dict[str, Any]]:
    """Draw a deformation and its truth: +-4 degrees, an adult's size, +-5 mm, elastic at three scales,
    ventricles.
    """
    angles, shift = rng.uniform(-4, 4, 3), rng.uniform(-5, 5, 3)
    size = ADULT_SIZE * (1 + rng.uniform(-SIZE_RANGE, SIZE_RANGE))
    scales = size * (1 + rng.uniform(-PROPORTION_RANGE, PROPORTION_RANGE, 3))
    rotation = sitk.Euler3DTransform()
    rotation.SetRotation(*np.deg2rad(angles).tolist())
    matrix = np.reshape(rotation.GetMatrix(), (3, 3)) @ np.diag(scales)
    push = float(rng.uniform(-1.5, 4.5))
    elastic = push * _ventricle_direction()
    for amplitude, sigma in ELASTIC_SCALES_MM:
        elastic += np.stack([np.float32(amplitude) * smooth_noise(rng, FIELD_GRID, sigma) for _ in range(3)])
    truth = {"rotation_deg": angles, "scale": scales, "shift_mm": shift, "ventricle_push_mm": push}
    return _with_affine(elastic * _taper(), matrix, shift), truth


def _with_affine(elastic: FloatArray, matrix: NDArray[np.float64], shift: NDArray[np.float64]) -> Deformation:
    """The deformation ``y = c + shift + matrix (x + elastic(x) - c)`` around the brain's centre ``c``."""
    nodes = FIELD_GRID.points()
    centre = np.array(BRAIN_CENTRE)[:, None]
    forward = matrix @ (nodes + elastic.reshape(3, -1) - centre) + centre + shift[:, None] - nodes
    start = np.linalg.inv(matrix) @ (nodes - centre - shift[:, None]) + centre - nodes
    fields = (np.asarray(field, np.float32).reshape(3, *FIELD_GRID.shape) for field in (forward, start))
    forward_field, start_field = fields
    return Deformation(forward_field, _inverted(forward_field, start_field))


def _inverted(forward: FloatArray, start: FloatArray) -> FloatArray:
    """The displacement that undoes ``forward``, by fixed-point iteration (gradients are well below 1)."""
    points = FIELD_GRID.points()
    backward = start
    for _ in range(_INVERSE_STEPS):
        index = FIELD_GRID.index(points + backward.reshape(3, -1))
        # Beyond its box the field goes on as at the border, or the affine part would end there.
        values = [ndimage.map_coordinates(part, index, order=1, mode="nearest") for part in forward]
        backward = -np.stack(values).reshape(forward.shape)
    return backward


def _vector_image(field: FloatArray) -> sitk.Image:
    image = sitk.GetImageFromArray(np.moveaxis(field, 0, -1).astype(np.float64), isVector=True)
    image.SetOrigin(FIELD_GRID.origin)
    image.SetSpacing(FIELD_GRID.spacing_mm)
    return image


@cache
def _taper() -> FloatArray:
    """1 inside, falling to 0 at the borders of the field's box."""
    ramps = []
    for n, step in zip(FIELD_GRID.shape, FIELD_GRID.spacing_mm[::-1]):
        depth = np.minimum(np.arange(n), np.arange(n)[::-1]) * step
        ramps.append(np.sin(np.pi / 2 * np.clip(depth / TAPER_MM, 0, 1)) ** 2)
    z, y, x = ramps
    return np.asarray(z[:, None, None] * y[:, None] * x, np.float32)


@cache
def _ventricle_direction() -> FloatArray:
    """Displacement field pointing out of the lateral ventricles, at most 1 long."""
    template = load_template()
    csf = sitk.GetArrayFromImage(template.csf)
    points = Grid.of(template.csf).points().reshape(3, *csf.shape)
    # The lateral ventricles lie in this box (MNI, LPS mm); cisterns and sulci do not.
    low, high = np.array([-36.0, -28.0, -8.0]), np.array([36.0, 48.0, 34.0])
    inside = np.all((points > low[:, None, None, None]) & (points < high[:, None, None, None]), axis=0)
    ventricles = blur((csf * inside > 0.5).astype(np.float32), [5.0] * 3)
    index = Grid.of(template.csf).index(FIELD_GRID.points().reshape(3, -1))
    potential = ndimage.map_coordinates(ventricles, index, order=1).reshape(FIELD_GRID.shape)
    z, y, x = np.gradient(potential)
    outward = -np.stack([x, y, z]).astype(np.float32)
    return outward / np.sqrt((outward**2).sum(0)).max()
