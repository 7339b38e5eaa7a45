"""Register a T1 to the brain-only MNI template: multi-start search, similarity, affine (Mattes MI)."""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import SimpleITK as sitk

from MRI2PETLib.core.progress import ProgressCallback, no_progress, part_of
from MRI2PETLib.images.grid import Grid, resample
from MRI2PETLib.preprocessing.morphology import dilate, erode
from MRI2PETLib.templates.icbm152 import load_template

ALIGNING = "aligning with the template"  # stage of the progress during which ITK works, and Python rests
_log = logging.getLogger(__name__)

# The metric looks at the template's brain and this much around it. More locks the brain onto the scalp:
# with +12 mm 7 of 8 heads came out in the wrong basin, with +2 mm none.
METRIC_MARGIN_MM = 2.0
INNER_MARGIN_MM = 4.0  # of the correlation's region inside the template's brain
HISTOGRAM_BINS = 32
SAMPLING_SEED = 20250101
# The brain lies in the top 150 mm of the head; below it the neck pulls a centre of mass down.
HEAD_HEIGHT_MM = 150.0
# What the registration looks at: no brain reaches further down, even with the chin raised.
CROP_HEIGHT_MM, CROP_MARGIN_MM = 230.0, 15.0

# The search: rotations about the head's centre (pitch, roll, yaw in degrees) times shifts (mm). Shifts front
# to back are needed: a raised chin moves the centre of the head's top by 25 mm from the brain's.
SEARCH_PITCH = (-40.0, -20.0, 0.0, 20.0, 40.0)
SEARCH_ROLL = SEARCH_YAW = (-25.0, 0.0, 25.0)
SEARCH_SHIFT_Y_MM = SEARCH_SHIFT_Z_MM = (-22.0, 0.0, 22.0)
SEARCH_POINT_STEP, SEARCH_VOXEL_MM = 4, 1.0
# Fat may be three times as bright as white matter: it takes the histogram's bins and, where the skull is
# thin, pulls the template to the scalp (seen in a child's head). What is brighter than this times the 90th
# percentile of a ball in the brain is set to air.
BRIGHT_LIMIT, CENTRAL_RADIUS_MM = 1.35, 45.0
# Sizes (log scale) from which a promising start is improved. A template that starts too large is pulled to
# the scalp of a head with wide CSF spaces, so one size is clearly smaller than a brain.
SEARCH_RANKING_SIZE, SEARCH_SIZES = -0.08, (-0.18, 0.0)
# How many starts are improved briefly, and how many of these to the end.
SEARCH_IMPROVED, SEARCH_FINISHED = 8, 3


@dataclass(frozen=True)
class TemplateFit:
    """How a T1 lies on the template.

    :ivar transform: maps template (MNI, LPS mm) points to points of the T1.
    :ivar mutual_information: Mattes MI (32 bins, nats) in the template's brain dilated by 2 mm; noise has 0.
    :ivar correlation: Pearson r with the template inside its brain eroded by 4 mm.
    :ivar scales: singular values of the affine, largest first (T1's brain relative to the template's).
    :ivar coverage: share of the template's brain that lies inside the T1's field of view.
    """

    transform: sitk.AffineTransform
    mutual_information: float
    correlation: float
    scales: tuple[float, float, float]
    coverage: float


def register_to_template(
    t1: sitk.Image, foreground: sitk.Image, *, progress: ProgressCallback = no_progress
) -> TemplateFit:
    """Affine registration of a T1 to the template. Deterministic.

    :param t1: about 2 mm, float32, bias corrected, any orientation and position (LPS mm).
    :param foreground: head or brain as uint8 on the same grid; its top gives the first position.
    """
    centre = head_centre(foreground)
    head = crop_to_head(darken_fat(t1, centre), foreground)
    similarity = search_pose(head, centre, progress=part_of(progress, 0, 0.3))
    progress(0.3, 1, ALIGNING)
    affine = refine_affine(head, similarity, fixed=load_template().t1)
    progress(1, 1, ALIGNING)
    return measure_fit(t1, affine)


def refine_affine(
    head: sitk.Image, pose: sitk.Similarity3DTransform, *, fixed: sitk.Image
) -> sitk.AffineTransform:
    """The affine transform (template to image) that maximises MI with ``fixed``, from a pose.

    :param fixed: an image on the grid of the template, such as its T1.
    """
    affine = sitk.AffineTransform(3)
    affine.SetCenter(pose.GetCenter())
    affine.SetMatrix(pose.GetMatrix())
    affine.SetTranslation(pose.GetTranslation())
    return _optimise(head, affine, fixed, levels=((2, 3.0), (1, 0.0)), fraction=0.15, iterations=60)


def _head_points(foreground: sitk.Image) -> tuple[np.ndarray, np.ndarray]:
    """Index (i, j, k) and height (mm) below the top of every voxel of the foreground."""
    index = np.argwhere(sitk.GetArrayViewFromImage(foreground))[:, ::-1]
    up = np.reshape(foreground.GetDirection(), (3, 3))[2] * foreground.GetSpacing()
    height = index @ up
    # A percentile, because single voxels of noise above the head would count as its top.
    return index, np.percentile(height, 99.8) - height


def head_centre(foreground: sitk.Image) -> np.ndarray:
    """Centre of mass (LPS mm) of the top 150 mm of the foreground."""
    index, below_top = _head_points(foreground)
    centre = index[below_top < HEAD_HEIGHT_MM].mean(axis=0)
    return np.array(foreground.TransformContinuousIndexToPhysicalPoint(centre.tolist()))


def crop_to_head(t1: sitk.Image, foreground: sitk.Image) -> sitk.Image:
    """Cut away air and neck: the optimiser takes the gradient of every voxel of the moving image."""
    index, below_top = _head_points(foreground)
    kept = index[below_top < CROP_HEIGHT_MM]
    margin = CROP_MARGIN_MM / np.array(t1.GetSpacing())
    low = np.floor(np.percentile(kept, 0.05, axis=0) - margin).astype(int)
    high = np.ceil(np.percentile(kept, 99.95, axis=0) + margin).astype(int)
    low, high = np.maximum(low, 0), np.minimum(high, np.array(t1.GetSize()) - 1)
    return sitk.RegionOfInterest(t1, (high - low + 1).tolist(), low.tolist())


def darken_fat(t1: sitk.Image, centre: np.ndarray) -> sitk.Image:
    """Set to air what is much brighter than white matter, as estimated in a ball around ``centre``."""
    white = float(np.percentile(_ball(t1, centre, CENTRAL_RADIUS_MM), 90.0))
    lowest = float(sitk.GetArrayViewFromImage(t1).min())
    return sitk.Threshold(t1, lowest, max(BRIGHT_LIMIT * white, lowest), lowest)


def _ball(image: sitk.Image, centre: np.ndarray, radius_mm: float) -> np.ndarray:
    """The values within ``radius_mm`` of a world point; of the whole image if there are none."""
    index = np.array(image.TransformPhysicalPointToContinuousIndex(centre.tolist()))[::-1]
    spacing = np.array(image.GetSpacing())[::-1]
    values = sitk.GetArrayViewFromImage(image)
    axes = np.ogrid[tuple(slice(0, n) for n in values.shape)]
    distance = sum(np.square((a - c) * s) for a, c, s in zip(axes, index, spacing))
    inside = distance <= radius_mm**2
    return values[inside] if inside.any() else values.ravel()


@cache
def _metric_mask() -> sitk.Image:
    return dilate(load_template().mask, METRIC_MARGIN_MM)


@cache
def _inner_brain() -> np.ndarray:
    """Where the template's brain is 4 mm and more from its rim."""
    return sitk.GetArrayFromImage(erode(load_template().mask, INNER_MARGIN_MM)) > 0


@cache
def _search_points() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """World points (n, 3) of the search, their template histogram bin, and the centre of the brain."""
    smooth = sitk.SmoothingRecursiveGaussian(load_template().t1, 3.0)
    step = SEARCH_POINT_STEP
    inside = sitk.GetArrayViewFromImage(_metric_mask())[::step, ::step, ::step]
    values = sitk.GetArrayViewFromImage(smooth)[::step, ::step, ::step][inside > 0]
    index = np.argwhere(inside)[:, ::-1] * step
    mask = load_template().mask
    points = index * mask.GetSpacing() @ np.reshape(mask.GetDirection(), (3, 3)).T + mask.GetOrigin()
    return points, _bins(values, float(values.min()), float(values.max())), points.mean(axis=0)


def _bins(values: np.ndarray, low: float, high: float) -> np.ndarray:
    scaled = (values - low) * (HISTOGRAM_BINS / max(high - low, 1e-12))
    return np.clip(scaled.astype(np.intp), 0, HISTOGRAM_BINS - 1)


def _similarity_matrix(parameters: np.ndarray) -> np.ndarray:
    """Rotation (pitch, roll, yaw in radians) times exp(log scale): 3 x 3."""
    a, b, c = parameters[:3].tolist()
    rx = np.array([[1, 0, 0], [0, math.cos(a), -math.sin(a)], [0, math.sin(a), math.cos(a)]])
    ry = np.array([[math.cos(b), 0, math.sin(b)], [0, 1, 0], [-math.sin(b), 0, math.cos(b)]])
    rz = np.array([[math.cos(c), -math.sin(c), 0], [math.sin(c), math.cos(c), 0], [0, 0, 1]])
    return np.asarray(math.exp(parameters[6]) * rz @ ry @ rx)


def search_objective(t1: sitk.Image, centre: np.ndarray) -> Callable[[np.ndarray], float]:
    """Negative mutual information of coarse samples as a function of pitch, roll, yaw (rad), x, y, z shift
    (mm) and log scale about ``centre``.

    A sample is the histogram bin of the nearest voxel of 1 mm: the work of thousands of poses is looking up.
    """
    grid, bins = _image_bins(t1)
    points, fixed_bins, brain_centre = _search_points()
    offsets = np.ascontiguousarray((points - brain_centre).T)
    first_of_row = fixed_bins * HISTOGRAM_BINS
    to_index = np.linalg.inv(np.reshape(grid.direction, (3, 3)) * grid.spacing_mm)[::-1]
    origin = np.array(grid.origin)
    last = np.array(bins.shape)[:, None] - 1.0
    strides = np.array(bins.strides, dtype=float)
    bins = bins.ravel()

    def negative_mi(parameters: np.ndarray) -> float:
        index = (to_index @ _similarity_matrix(parameters)) @ offsets
        index += (to_index @ (centre + parameters[3:6] - origin))[:, None]
        np.rint(index, out=index)
        np.clip(index, 0.0, last, out=index)
        pairs = first_of_row + bins.take((strides @ index).astype(np.intp))
        joint = np.bincount(pairs, minlength=HISTOGRAM_BINS**2) / len(pairs)
        joint = joint.reshape(HISTOGRAM_BINS, HISTOGRAM_BINS)
        independent = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
        present = joint > 0
        return -float(np.sum(joint[present] * np.log(joint[present] / independent[present])))

    return negative_mi


def _image_bins(t1: sitk.Image) -> tuple[Grid, np.ndarray]:
    """A smoothed image as histogram bins (uint8 [k, j, i]) on a grid of about 1 mm.

    Around it lies a layer of air, to which all points outside are clipped: ignoring them would favour poses
    that see only a corner.
    """
    smooth = sitk.SmoothingRecursiveGaussian(t1, 3.0)
    coarse = sitk.GetArrayViewFromImage(smooth)
    low, high = float(coarse.min()), float(np.percentile(coarse, 99.8))
    finer = np.ceil(np.array(t1.GetSpacing()) / SEARCH_VOXEL_MM - 0.5).clip(min=1)
    spacing_mm = np.array(t1.GetSpacing()) / finer
    size = ((np.array(t1.GetSize()) - 1) * finer + 1).astype(int)
    grid = Grid(tuple(size.tolist()), tuple(spacing_mm.tolist()), t1.GetOrigin(), t1.GetDirection())
    fine = sitk.GetArrayFromImage(resample(smooth, grid))
    fine -= low
    fine *= (HISTOGRAM_BINS - 1) / max(high - low, 1e-12)
    fine += 0.5
    bins = np.zeros(np.add(fine.shape, 2), np.uint8)
    bins[1:-1, 1:-1, 1:-1] = fine.clip(0, HISTOGRAM_BINS - 1, out=fine)
    corner = np.array(grid.origin) - np.reshape(grid.direction, (3, 3)) @ spacing_mm
    around = replace(grid, origin=tuple(corner.tolist()), size=tuple((size + 2).tolist()))
    return around, bins


def search_pose(
    t1: sitk.Image, centre: np.ndarray, *, progress: ProgressCallback = no_progress
) -> sitk.Similarity3DTransform:
    """The best of 405 starts: all are looked at, the best are improved, the best of these to the end."""
    negative_mi = search_objective(t1, centre)
    starts = [
        np.array([*np.radians([pitch, roll, yaw]), 0.0, y, z, SEARCH_RANKING_SIZE])
        for pitch, roll, yaw, y, z in itertools.product(
            SEARCH_PITCH, SEARCH_ROLL, SEARCH_YAW, SEARCH_SHIFT_Y_MM, SEARCH_SHIFT_Z_MM
        )
    ]
    total = SEARCH_IMPROVED + SEARCH_FINISHED
    improved = []
    for number, start in enumerate(_distinct(sorted(starts, key=negative_mi))):
        progress(number, total, "searching the head's position")
        for size in SEARCH_SIZES:
            improved.append(_improve(negative_mi, np.array([*start[:6], size]), evaluations=60))
    improved.sort(key=lambda found: found[0])
    finished = []
    for number, (_, start) in enumerate(improved[:SEARCH_FINISHED]):
        progress(SEARCH_IMPROVED + number, total, "searching the head's position")
        finished.append(_improve(negative_mi, start, evaluations=200))
    value, best = min(finished, key=lambda found: found[0])
    _log.debug("pose search: mutual information %.3f at %s", -value, best)
    brain_centre = _search_points()[2]
    matrix = _similarity_matrix(best)
    transform = sitk.Similarity3DTransform()
    transform.SetCenter(brain_centre.tolist())
    transform.SetMatrix(matrix.ravel().tolist(), 1e-6)
    transform.SetTranslation((centre + best[3:6] - brain_centre).tolist())
    return transform


def _improve(
    negative_mi: Callable[[np.ndarray], float], start: np.ndarray, *, evaluations: int
) -> tuple[float, np.ndarray]:
    """Nelder-Mead from ``start``: value and position."""
    from scipy.optimize import minimize

    units = np.array([0.1, 0.1, 0.1, 8.0, 8.0, 8.0, 0.06])
    found = minimize(
        lambda p: negative_mi(start + p * units),
        np.zeros(7),
        method="Nelder-Mead",
        options={
            "initial_simplex": np.vstack([np.zeros(7), np.eye(7)]),
            "maxfev": evaluations,
            "xatol": 0.05,
            "fatol": 1e-4,
        },
    )
    return float(found.fun), start + found.x * units


def _distinct(ranked: list[np.ndarray]) -> list[np.ndarray]:
    """The best starts, no two with the same rotation."""
    chosen: list[np.ndarray] = []
    for start in ranked:
        if all(np.abs(start[:3] - other[:3]).max() > 0.1 for other in chosen):
            chosen.append(start)
        if len(chosen) == SEARCH_IMPROVED:
            break
    return chosen


def _metric(fraction: float) -> sitk.ImageRegistrationMethod:
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(HISTOGRAM_BINS)
    method.SetMetricFixedMask(_metric_mask())
    method.SetInterpolator(sitk.sitkLinear)
    if fraction < 1:
        method.SetMetricSamplingStrategy(method.REGULAR)
        method.SetMetricSamplingPercentage(fraction, SAMPLING_SEED)
    return method


def _optimise(
    image: sitk.Image,
    transform: sitk.AffineTransform,
    fixed: sitk.Image,
    *,
    levels: tuple[tuple[int, float], ...],
    fraction: float,
    iterations: int,
) -> sitk.AffineTransform:
    """Maximise MI with ``fixed`` over the parameters of ``transform`` by gradient ascent, until the steps are
    below 0.05 mm.

    :param levels: shrink factor and smoothing sigma in mm of each resolution, coarse to fine.
    """
    method = _metric(fraction)
    method.SetShrinkFactorsPerLevel([f for f, _ in levels])
    method.SetSmoothingSigmasPerLevel([s for _, s in levels])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=2.0, minStep=0.05, numberOfIterations=iterations, relaxationFactor=0.6
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetInitialTransform(transform, inPlace=True)
    method.Execute(fixed, image)
    _log.debug(
        "%d iterations, %s", method.GetOptimizerIteration(), method.GetOptimizerStopConditionDescription()
    )
    return transform


def measure_fit(t1: sitk.Image, transform: sitk.AffineTransform) -> TemplateFit:
    """Measure how well ``transform`` puts the T1 on the template."""
    template = load_template()
    metric = _metric(1.0)
    metric.MetricUseMovingImageGradientFilterOff()  # a value needs no gradient
    metric.SetInitialTransform(transform, inPlace=True)
    mutual_information = -metric.MetricEvaluate(template.t1, t1)
    # Both in one grid; a value below all of the image's marks what lies outside its field of view.
    lowest = float(sitk.GetArrayViewFromImage(t1).min())
    warped = sitk.GetArrayFromImage(resample(t1, Grid.of(template.t1), transform, outside=lowest - 1.0))
    seen = warped >= lowest - 0.5
    brain = sitk.GetArrayViewFromImage(template.mask) > 0
    use = _inner_brain() & seen
    correlation = 0.0
    if use.sum() > 1000 and warped[use].std() > 0:
        correlation = float(np.corrcoef(warped[use], sitk.GetArrayViewFromImage(template.t1)[use])[0, 1])
    scales = np.linalg.svd(np.reshape(transform.GetMatrix(), (3, 3)), compute_uv=False)
    return TemplateFit(
        transform=transform,
        mutual_information=float(mutual_information),
        correlation=correlation,
        scales=(float(scales[0]), float(scales[1]), float(scales[2])),
        coverage=float(seen[brain].mean()),
    )
