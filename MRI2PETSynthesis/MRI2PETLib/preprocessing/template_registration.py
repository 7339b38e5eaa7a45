"""Register a T1 to the brain-only MNI template: search of the pose, similarity, affine (Mattes MI)."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cache

import numpy as np
import SimpleITK as sitk

from MRI2PETLib.core.progress import ProgressCallback, no_progress, part_of
from MRI2PETLib.images.grid import Grid, crop_to, resample
from MRI2PETLib.preprocessing.morphology import erode
from MRI2PETLib.preprocessing.template_pose import (
    HISTOGRAM_BINS,
    HeadPoints,
    head_centre,
    metric_mask,
    points_below_top,
    search_all_poses,
    search_upright_pose,
    smooth_template,
    smoothed,
)
from MRI2PETLib.templates.icbm152 import load_template

ALIGNING = "aligning with the template"  # stage of the progress during which ITK works, and Python rests
_log = logging.getLogger(__name__)

# Of the smooth image on every other voxel of the template, then of the image itself: the first and the last
# step (mm). With .05 mm as the very last, a head whose header turns it came out up to .9 degrees from the
# upright one.
SMOOTH_STEPS_MM, FINE_STEPS_MM = (2.0, 0.05), (0.5, 0.01)
METRIC_BOX_MARGIN_MM = 4.0  # around the metric's mask
SAMPLED, ITERATIONS = 0.15, 200  # share of the template's voxels, and steps at most
INNER_MARGIN_MM = 4.0  # of the correlation's region inside the template's brain
SAMPLING_SEED = 20250101
# What the registration looks at: no brain reaches further down, even with the chin raised.
CROP_HEIGHT_MM, CROP_MARGIN_MM = 230.0, 15.0
# Fat may be three times as bright as white matter: it takes the histogram's bins and, where the skull is
# thin, pulls the template to the scalp (seen in a child's head). What is brighter than this times the 90th
# percentile of a ball in the brain is set to air.
BRIGHT_LIMIT, CENTRAL_RADIUS_MM = 1.35, 45.0
# A fit whose Pearson r is below is looked at in all rotations. Brains in a wrong pose reached .20, brains in
# their pose .49 and more, see :mod:`.fit_quality`.
CONVINCING_CORRELATION = 0.35
_OTHER_POSES = 2  # how many of them are registered


@dataclass(frozen=True)
class TemplateFit:
    """How an image lies on the template.

    :ivar transform: maps template (MNI, LPS mm) points to points of the image.
    :ivar mutual_information: Mattes MI (32 bins, nats) in the template's brain dilated by 2 mm; noise has 0.
    :ivar correlation: Pearson r with the template inside its brain eroded by 4 mm, of what is not a quadratic
        trend in space: a bias field does not count.
    :ivar scales: singular values of the affine, largest first (the image's brain relative to the template's).
    :ivar coverage: share of the template's brain that lies inside the image's field of view.
    """

    transform: sitk.AffineTransform
    mutual_information: float
    correlation: float
    scales: tuple[float, float, float]
    coverage: float


def register_to_template(
    image: sitk.Image,
    foreground: sitk.Image,
    *,
    fixed: sitk.Image | None = None,
    measured: sitk.Image | None = None,
    progress: ProgressCallback = no_progress,
) -> TemplateFit | None:
    """Affine registration of a head or a brain to the template, in any pose. Deterministic.

    The pose is searched near the upright one; only where the fit found there does not convince, all rotations
    are looked at and the fit with the most mutual information is taken. A mirror image is not told from the
    head itself, since the template is symmetric.

    :param image: a T1 of about 2 mm, float32, bias corrected, any orientation and position (LPS mm).
    :param foreground: head or brain as uint8 on the same grid; its top gives the first position.
    :param fixed: image on the grid of the template to fit to, for another contrast than T1. The pose is
        searched on the T1 template: mutual information does not mind the contrast.
    :param measured: uint8, 0 where the image says nothing; default: it says something everywhere.
    :return: ``None`` where no overlap was found at all.
    """
    fit = _register_near(image, foreground, np.eye(3), fixed, measured, part_of(progress, 0, 0.8))
    if fit is None or fit.correlation < CONVINCING_CORRELATION:
        _log.debug("not convincing: %s; all rotations are looked at", fit)
        for pose in search_all_poses(smoothed(image), foreground, measured=measured)[:_OTHER_POSES]:
            part = part_of(progress, 0.8, 0.8)
            other = _register_near(image, foreground, pose.rotation, fixed, measured, part)
            if other is not None and (fit is None or other.mutual_information > fit.mutual_information):
                fit = other
            if fit is not None and fit.correlation >= CONVINCING_CORRELATION:
                break
    progress(1, 1, ALIGNING)
    return fit


def _register_near(
    image: sitk.Image,
    foreground: sitk.Image,
    turn: np.ndarray,
    fixed: sitk.Image | None,
    measured: sitk.Image | None,
    progress: ProgressCallback,
) -> TemplateFit | None:
    """The fit near the pose ``turn`` (rotation from upright), ``None`` where there is no overlap."""
    up = turn[:, 2]
    points = points_below_top(foreground, up)
    centre = head_centre(foreground, points)
    head = crop_to_head(darken_fat(image, centre) if fixed is None else image, points)
    del points  # 30 MB
    try:
        part = part_of(progress, 0, 0.3)
        smooth = smoothed(head)
        pose = search_upright_pose(smooth, centre, turn, measured=measured, progress=part)
        progress(0.3, 1, ALIGNING)
        affine = refine_affine(head, smooth, pose.transform(), fixed=fixed, measured=measured)
        return measure_fit(image, affine, fixed=fixed, measured=measured)
    except RuntimeError as error:
        _log.debug("registration failed: %s", error)
        return None


def refine_affine(
    head: sitk.Image,
    smooth: sitk.Image,
    pose: sitk.Similarity3DTransform,
    *,
    fixed: sitk.Image | None = None,
    measured: sitk.Image | None = None,
) -> sitk.AffineTransform:
    """The affine transform (template to image) that maximises MI with the template, from a pose.

    :param smooth: the head, :func:`.template_pose.smoothed`.
    :param fixed: image on the grid of the template to use instead of its T1.
    """
    affine = sitk.AffineTransform(3)
    affine.SetCenter(pose.GetCenter())
    affine.SetMatrix(pose.GetMatrix())
    affine.SetTranslation(pose.GetTranslation())
    smooth_fixed = smooth_template() if fixed is None else smoothed(fixed)
    fixed = load_template().t1 if fixed is None else fixed
    _climb(_around_brain(smooth_fixed), smooth, affine, measured, SMOOTH_STEPS_MM, every=2)
    _climb(_around_brain(fixed), head, affine, measured, FINE_STEPS_MM, every=1)
    return affine


def _around_brain(image: sitk.Image) -> sitk.Image:
    """What the metric looks at of an image on the template's grid: elsewhere it would look in vain."""
    return crop_to(image, metric_mask(), METRIC_BOX_MARGIN_MM)


def crop_to_head(t1: sitk.Image, points: HeadPoints) -> sitk.Image:
    """Cut away air and neck, which every level of the registration would smooth."""
    rows = points.voxels[points.below_top < CROP_HEIGHT_MM]
    margin = CROP_MARGIN_MM / np.array(t1.GetSpacing())
    first, last = np.percentile(rows, (0.05, 99.95), axis=0)
    low, high = np.floor(first - margin).astype(int), np.ceil(last + margin).astype(int)
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
def _inner_brain() -> tuple[np.ndarray, np.ndarray]:
    """Every other voxel of the template's brain 4 mm and more from its rim, and the terms of a quadratic
    trend in space there [voxel, term].
    """
    inside = sitk.GetArrayFromImage(erode(load_template().mask, INNER_MARGIN_MM)) > 0
    every_other = np.zeros_like(inside)
    every_other[::2, ::2, ::2] = True
    where = inside & every_other
    z, y, x = (np.argwhere(where) / inside.shape - 0.5).T
    terms = (np.ones_like(x), x, y, z, x * x, y * y, z * z, x * y, x * z, y * z)
    return where, np.stack(terms, axis=1)


def _correlation(a: np.ndarray, b: np.ndarray, trend: np.ndarray) -> float:
    """Pearson r of what a linear combination of the columns of ``trend`` does not explain; 0 for a constant.

    A bias field is such a trend: it took r of a brain in its pose from .56 to .12.
    """
    values = np.stack([a, b], axis=1).astype(float)
    # The normal equations: the terms are of the size of 1. A QR decomposition takes thirty times as long.
    values -= trend @ np.linalg.lstsq(trend.T @ trend, trend.T @ values)[0]
    a, b = values.T
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size > 0 else 0.0


def _metric(fraction: float, measured: sitk.Image | None) -> sitk.ImageRegistrationMethod:
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(HISTOGRAM_BINS)
    method.SetMetricFixedMask(_around_brain(metric_mask()))
    if measured is not None:
        method.SetMetricMovingMask(measured)
    method.SetInterpolator(sitk.sitkLinear)
    # Differences of neighbours at the samples. ITK's default, the smoothed gradient of the whole image, took
    # a quarter longer and ended at less mutual information: .3458 for .3487 (mean of 16 T1s).
    method.MetricUseMovingImageGradientFilterOff()
    if fraction < 1:
        method.SetMetricSamplingStrategy(method.REGULAR)
        method.SetMetricSamplingPercentage(fraction, SAMPLING_SEED)
    return method


def _climb(
    fixed: sitk.Image,
    image: sitk.Image,
    transform: sitk.AffineTransform,
    measured: sitk.Image | None,
    steps_mm: tuple[float, float],
    *,
    every: int,
) -> None:
    """Maximise MI with ``fixed`` over the parameters of ``transform`` by gradient ascent, in place.

    Steps that shrink faster, by .6, end too early: the template came out .4 mm from itself, not .01.

    :param steps_mm: the first step, and the one at which it ends. ``every``: voxels of ``fixed`` from one
        that may be looked at to the next.
    """
    method = _metric(SAMPLED, measured)
    method.SetShrinkFactorsPerLevel([every])
    method.SetSmoothingSigmasPerLevel([0.0])
    first, last = steps_mm
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=first, minStep=last, numberOfIterations=ITERATIONS, relaxationFactor=0.8
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetInitialTransform(transform, inPlace=True)
    method.Execute(fixed, image)
    _log.debug(
        "%d iterations, %s", method.GetOptimizerIteration(), method.GetOptimizerStopConditionDescription()
    )


def measure_fit(
    image: sitk.Image,
    transform: sitk.AffineTransform,
    *,
    fixed: sitk.Image | None = None,
    measured: sitk.Image | None = None,
) -> TemplateFit:
    """Measure how well ``transform`` puts an image on the template.

    :param fixed: image on the grid of the template to compare with instead of its T1.
    """
    template = load_template()
    fixed = template.t1 if fixed is None else fixed
    metric = _metric(1.0, measured)
    metric.SetInitialTransform(transform, inPlace=True)
    mutual_information = -metric.MetricEvaluate(_around_brain(fixed), image)
    # Both in one grid; a value below all of the image's marks what lies outside its field of view.
    lowest = float(sitk.GetArrayViewFromImage(image).min())
    warped = sitk.GetArrayFromImage(resample(image, Grid.of(fixed), transform, outside=lowest - 1.0))
    in_view = warped >= lowest - 0.5
    if measured is not None:
        inside = resample(measured, Grid.of(fixed), transform, interpolator=sitk.sitkNearestNeighbor)
        in_view &= sitk.GetArrayViewFromImage(inside) > 0
    brain = sitk.GetArrayViewFromImage(template.mask) > 0
    inner, trend = _inner_brain()
    use, trend = inner & in_view, trend[in_view[inner]]
    correlation = 0.0
    if len(trend) > 1000 and warped[use].std() > 0:
        correlation = _correlation(warped[use], sitk.GetArrayViewFromImage(fixed)[use], trend)
    scales = np.linalg.svd(np.reshape(transform.GetMatrix(), (3, 3)), compute_uv=False)
    return TemplateFit(
        transform=transform,
        mutual_information=float(mutual_information),
        correlation=correlation,
        scales=(float(scales[0]), float(scales[1]), float(scales[2])),
        coverage=float(in_view[brain].mean()),
    )
