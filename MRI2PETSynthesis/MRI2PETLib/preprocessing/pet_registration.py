"""Rigid registration of a PET to the T1 of the same person.

Mattes mutual information (32 bins) between the masked T1 and the PET, as PETPrep registers to the masked T1;
coarse search over a few starts, then regular-step gradient descent at 8, 4 and 2 mm. Seeded, on one thread:
the same input gives the same transform.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.findings import Finding, Verdict
from MRI2PETLib.core.progress import ProgressCallback, no_progress
from MRI2PETLib.images.grid import FWHM_PER_SIGMA
from MRI2PETLib.images.io import on_grid_of, same_grid

logger = logging.getLogger(__name__)

_GRID_MM = 2.0
# The metric sees the brain and this rim around it: the edge of the brain is what PET and T1 share best.
_RIM_MM = 10.0
_BINS, _SAMPLING, _SEED = 32, 0.25, 20180621
_SHRINK, _SMOOTHING_MM = (4, 2, 1), (4.0, 2.0, 0.0)
_START_MM, _START_SIGMA_MM = 6.0, 3.0
# Nodding is the rotation that differs most between the two scanners' head rests.
_START_PITCH_DEG = (-20.0, -10.0, 0.0, 10.0, 20.0)
# Of a PET with neck and shoulders only this much from the top is used for the centre.
_HEAD_HEIGHT_MM = 180.0
_LARGE_ROTATION_DEG = 30.0


@dataclass(frozen=True)
class PetRegistration:
    """``transform`` is rigid and maps T1 points to PET points (LPS mm): ``Resample(pet, t1, transform)``."""

    transform: sitk.Transform
    verdict: Verdict


def register_pet_to_t1(
    pet: sitk.Image, t1: sitk.Image, t1_mask: sitk.Image, *, progress: ProgressCallback = no_progress
) -> PetRegistration:
    """Find the rigid transform that lays a PET on the T1 of the same person.

    :param t1_mask: brain mask on the grid of ``t1``.
    :raises InputError: for a mask on another grid or an empty one, or a PET without contrast.
    """
    if not same_grid(t1, t1_mask):
        raise InputError("The brain mask is not on the grid of the T1.", "Resample the mask.")
    mask = on_grid_of(sitk.Cast(t1_mask != 0, sitk.sitkUInt8), t1)
    if not sitk.GetArrayViewFromImage(mask).any():
        raise InputError("The brain mask is empty.", "Draw or compute it again.")
    grid = _grid_around(mask)
    brain = sitk.Resample(mask, grid, sitk.Transform(), sitk.sitkNearestNeighbor, 0)
    masked_t1 = sitk.Mask(sitk.Cast(t1, sitk.sitkFloat32), mask)
    fixed = sitk.Resample(_blur(masked_t1, _GRID_MM), grid, sitk.Transform(), sitk.sitkLinear, 0.0)
    moving = _clip_outliers(sitk.Cast(pet, sitk.sitkFloat32))
    if np.ptp(sitk.GetArrayViewFromImage(moving)) == 0:
        raise InputError("The PET has a single value.", "It is empty: choose another image.")
    start = _best_start(fixed, moving, brain)
    method = _method(_dilate(brain, _RIM_MM), sampling=_SAMPLING)
    transform = _optimise(method, fixed, moving, start, progress)
    progress(1, 1, "Register PET to T1")
    return PetRegistration(transform, Verdict(_findings(transform)))


def _optimise(
    method: sitk.ImageRegistrationMethod,
    fixed: sitk.Image,
    moving: sitk.Image,
    start: sitk.Euler3DTransform,
    progress: ProgressCallback,
) -> sitk.Euler3DTransform:
    """Run the optimiser; an exception of the progress callback stops it and is raised again."""
    raised: list[BaseException] = []

    def report() -> None:
        # An exception must not cross ITK: it would come out as an anonymous RuntimeError.
        try:
            progress(method.GetCurrentLevel() + 1, len(_SHRINK) + 1, "Register PET to T1")
        except BaseException as error:
            raised.append(error)
            method.StopRegistration()

    method.SetInitialTransform(start, inPlace=False)
    method.AddCommand(sitk.sitkIterationEvent, report)
    try:
        found = sitk.CompositeTransform(method.Execute(fixed, moving)).GetNthTransform(0)
    except RuntimeError as error:
        if not raised:
            logger.warning("PET to T1: the optimiser lost the overlap (%s)", str(error).splitlines()[-1])
        found = start
    if raised:
        raise raised[0]
    return sitk.Euler3DTransform(found)


def _findings(transform: sitk.Euler3DTransform) -> tuple[Finding, ...]:
    rotation = np.array(transform.GetMatrix()).reshape(3, 3)
    angle = math.degrees(math.acos(float(np.clip((np.trace(rotation) - 1) / 2, -1, 1))))
    if angle > _LARGE_ROTATION_DEG:
        message = f"The PET was rotated by {angle:.0f} degrees to fit the T1."
        return (Finding("warn", "pet_rotation", message, "Check the overlay."),)
    return ()


def _grid_around(mask: sitk.Image) -> sitk.Image:
    """A 2 mm grid along the axes of the mask's image, around the mask with room for its rim."""
    shape = sitk.LabelShapeStatisticsImageFilter()
    shape.ComputePerimeterOff()
    shape.Execute(mask)
    box = np.array(shape.GetBoundingBox(1), dtype=float)
    spacing = np.array(mask.GetSpacing())
    room = _RIM_MM + 2 * _GRID_MM
    first = box[:3] - room / spacing
    size = np.ceil((box[3:] * spacing + 2 * room) / _GRID_MM).astype(int)
    grid = sitk.Image(size.tolist(), sitk.sitkUInt8)
    grid.SetSpacing([_GRID_MM] * 3)
    grid.SetDirection(mask.GetDirection())
    grid.SetOrigin(mask.TransformContinuousIndexToPhysicalPoint(first.tolist()))
    return grid


def _blur(image: sitk.Image, to_mm: float) -> sitk.Image:
    """Anti-alias an image before it is sampled at ``to_mm``."""
    sigma = [math.sqrt(max(0.0, to_mm**2 - s**2)) / FWHM_PER_SIGMA for s in image.GetSpacing()]
    return (
        sitk.SmoothingRecursiveGaussian(image, [max(s, 1e-3) for s in sigma]) if max(sigma) > 0.2 else image
    )


def _clip_outliers(pet: sitk.Image) -> sitk.Image:
    """Limit hot voxels (noise, bladder) so that the bins of the histogram serve the brain."""
    values = sitk.GetArrayViewFromImage(pet)
    high = float(np.percentile(values, 99.8))
    return sitk.Clamp(pet, sitk.sitkFloat32, min(0.0, float(values.min())), high) if high > 0 else pet


def _dilate(mask: sitk.Image, radius_mm: float) -> sitk.Image:
    """All voxels within ``radius_mm`` of the mask."""
    distance = sitk.SignedMaurerDistanceMap(mask, squaredDistance=False, useImageSpacing=True)
    return sitk.Cast(distance <= radius_mm, sitk.sitkUInt8)


def _method(metric_mask: sitk.Image, *, sampling: float) -> sitk.ImageRegistrationMethod:
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(_BINS)
    method.SetMetricFixedMask(metric_mask)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(sampling, _SEED)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=2.0, minStep=0.005, numberOfIterations=120, relaxationFactor=0.6
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel(_SHRINK)
    method.SetSmoothingSigmasPerLevel(_SMOOTHING_MM)
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    # The sum over threads depends on their number; one thread gives the same result everywhere.
    method.SetNumberOfThreads(1)
    return method


def _best_start(fixed: sitk.Image, moving: sitk.Image, brain: sitk.Image) -> sitk.Euler3DTransform:
    """The start with the highest mutual information: header positions, centred on the PET, nodded."""
    # Preparing the metric costs more than evaluating it, and grows with the voxels of both images.
    shrink = _shrink(fixed)
    coarse = sitk.Shrink(sitk.SmoothingRecursiveGaussian(fixed, [_START_SIGMA_MM] * 3), shrink)
    smooth = sitk.Shrink(sitk.SmoothingRecursiveGaussian(moving, [_START_SIGMA_MM] * 3), _shrink(moving))
    method = _method(sitk.Shrink(_dilate(brain, _RIM_MM), shrink), sampling=1.0)

    def cost(start: sitk.Transform) -> float:
        method.SetInitialTransform(start, inPlace=False)
        try:
            return float(method.MetricEvaluate(coarse, smooth))
        except RuntimeError:  # no sample falls into the PET
            return math.inf

    return min(_starts(moving, brain), key=cost)


def _shrink(image: sitk.Image) -> list[int]:
    """Factors that bring an image to about the voxel size of the coarse search."""
    return [max(1, round(_START_MM / spacing)) for spacing in image.GetSpacing()]


def _starts(moving: sitk.Image, brain: sitk.Image) -> Iterator[sitk.Euler3DTransform]:
    centre = np.array(_centroid(brain))
    hot = sitk.OtsuThreshold(moving, 0, 1)
    pet_centres = [_centroid(hot), _centroid(_top(hot))]
    for shift in [np.zeros(3), *(np.array(c) - centre for c in pet_centres)]:
        for pitch in _START_PITCH_DEG:
            start = sitk.Euler3DTransform()
            start.SetCenter(centre.tolist())
            start.SetRotation(math.radians(pitch), 0.0, 0.0)
            start.SetTranslation(shift.tolist())
            yield start


def _top(mask: sitk.Image) -> sitk.Image:
    """The part of a mask within the height of a head from its highest point (LPS z)."""
    array = sitk.GetArrayFromImage(mask)
    k, j, i = np.nonzero(array)
    matrix = np.array(mask.GetDirection()).reshape(3, 3) * mask.GetSpacing()
    height = matrix[2] @ np.stack([i, j, k])
    low = height < height.max() - _HEAD_HEIGHT_MM
    array[k[low], j[low], i[low]] = 0
    top = sitk.GetImageFromArray(array)
    top.CopyInformation(mask)
    return top


def _centroid(mask: sitk.Image) -> tuple[float, ...]:
    shape = sitk.LabelShapeStatisticsImageFilter()
    shape.ComputePerimeterOff()
    shape.Execute(mask)
    return shape.GetCentroid(1)
