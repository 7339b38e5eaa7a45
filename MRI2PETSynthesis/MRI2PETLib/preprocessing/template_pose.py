"""In which pose the template's brain lies in an image: a search by mutual information, nothing random.

The usual search looks at the poses of a head whose header has it upright, tilted by up to 40 degrees. The
wide one looks at every rotation there is, for headers that turn the head or name their axes wrongly.

Samples are looked up at the nearest voxel, so that a pose costs a tenth of a millisecond.
"""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cache
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from MRI2PETLib.core.progress import ProgressCallback, no_progress
from MRI2PETLib.images.grid import Grid, resample
from MRI2PETLib.preprocessing.morphology import dilate
from MRI2PETLib.preprocessing.pose_search import (
    all_rotations,
    best_first,
    climb,
    distinct,
    far_from,
    mutual_information,
    rotation_about,
)
from MRI2PETLib.templates.icbm152 import load_template

_log = logging.getLogger(__name__)

HISTOGRAM_BINS = 32
# The metric looks at the template's brain and this much around it. More locks the brain onto the scalp:
# with +12 mm 7 of 8 heads came out in the wrong basin, with +2 mm none.
METRIC_MARGIN_MM = 2.0
# The brain lies in the top 150 mm of the head; below it the neck pulls a centre of mass down.
HEAD_HEIGHT_MM = 150.0
_BLUR_SD_MM = 3.0
_POINT_STEP, _VOXEL_MM = 4, 1.0

# The usual search: rotations (pitch, roll, yaw in degrees) times shifts (mm). Shifts front to back are
# needed: a raised chin moves the centre of the head's top by 25 mm from the brain's.
_PITCH = (-40.0, -20.0, 0.0, 20.0, 40.0)
_ROLL = _YAW = (-25.0, 0.0, 25.0)
_SHIFT_Y_MM = _SHIFT_Z_MM = (-22.0, 0.0, 22.0)
# The wide search: centres nearer to each other count as one.
_DISTINCT_CENTRE_MM = 15.0
# Log of the brain's size over the template's, when ranking and when improving. A template that starts too
# large is pulled to the scalp of a head with wide CSF spaces, so one size is clearly smaller than a brain.
_RANKING_SIZE, _SIZES = -0.08, (-0.18, 0.0)
# Rotations nearer than this are one start.
_DISTINCT_DEG = 15.0
# Starts that are improved, and how many of these to the end. With (8, 3) and 200 looks the fits had as much
# mutual information: of 22 upright T1s, 16 that were tilted by up to 40 degrees, and 9 in any pose.
_USUAL, _WIDE = (5, 2), (24, 5)
_LOOKS, _LAST_LOOKS = 60, 120
_STEPS = (0.1, 0.1, 0.1, 8.0, 8.0, 8.0, 0.06)  # rad, mm, log of size
# Poses of which less was measured say nothing.
_LEAST_MEASURED = 0.2
_STAGE = "searching the head's position"


@dataclass(frozen=True)
class TemplatePose:
    """The template's brain in an image.

    :ivar rotation: 3 x 3, turns directions of the template (LPS) to directions of the image.
    :ivar position: where the middle of the template's brain lies in the image (LPS mm).
    :ivar log_size: log of the brain's size over the template's.
    :ivar information: mutual information there (nats).
    """

    rotation: np.ndarray
    position: np.ndarray
    log_size: float
    information: float = 0.0

    def transform(self) -> sitk.Similarity3DTransform:
        """Maps template points to points of the image (LPS mm)."""
        centre = _samples()[2]
        transform = sitk.Similarity3DTransform()
        transform.SetCenter(centre.tolist())
        transform.SetMatrix((math.exp(self.log_size) * self.rotation).ravel().tolist(), 1e-6)
        transform.SetTranslation((self.position - centre).tolist())
        return transform


Information = Callable[[TemplatePose], float]


def search_upright_pose(
    image: sitk.Image,
    centre: np.ndarray,
    turn: np.ndarray,
    *,
    measured: sitk.Image | None = None,
    progress: ProgressCallback = no_progress,
) -> TemplatePose:
    """The best pose near the upright one.

    :param image: 3-D, any grid (LPS mm), :func:`smoothed`.
    :param centre: middle of the upper part of the head, see :func:`head_centre`.
    :param turn: rotation (3 x 3) from upright to how the head lies in the world of the image.
    :param measured: 0 where the image says nothing; any grid.
    """
    starts = (
        TemplatePose(turn @ _rotation(pitch, roll, yaw), centre + turn @ (0.0, y, z), _RANKING_SIZE)
        for pitch, roll, yaw, y, z in itertools.product(_PITCH, _ROLL, _YAW, _SHIFT_Y_MM, _SHIFT_Z_MM)
    )
    return _search(image, measured, starts, _USUAL, progress)[0]


def search_all_poses(
    image: sitk.Image,
    foreground: sitk.Image,
    *,
    measured: sitk.Image | None = None,
) -> list[TemplatePose]:
    """The best poses of all rotations, best first, no two alike.

    :param image: :func:`smoothed`.
    :param foreground: head or brain as uint8 on the grid of the image.
    """
    starts = (
        TemplatePose(rotation, centre, _RANKING_SIZE)
        for centre in _centres(foreground)
        for rotation in all_rotations()
    )
    return distinct(_search(image, measured, starts, _WIDE), _DISTINCT_DEG, _WIDE[1])


class HeadPoints(NamedTuple):
    """Voxels (i, j, k) of a foreground and their height (mm) below its top."""

    voxels: np.ndarray
    below_top: np.ndarray


def points_below_top(foreground: sitk.Image, up: np.ndarray) -> HeadPoints:
    """The points of a head or brain (uint8); ``up`` is a unit vector (LPS)."""
    index = np.argwhere(sitk.GetArrayViewFromImage(foreground))[:, ::-1]
    height = index @ (up @ (np.reshape(foreground.GetDirection(), (3, 3)) * foreground.GetSpacing()))
    # A percentile, because single voxels of noise above the head would count as its top.
    return HeadPoints(index, np.percentile(height, 99.8) - height)


def head_centre(foreground: sitk.Image, points: HeadPoints) -> np.ndarray:
    """Centre of mass (LPS mm) of the top 150 mm of the foreground."""
    centre = points.voxels[points.below_top < HEAD_HEIGHT_MM].mean(axis=0)
    return np.array(foreground.TransformContinuousIndexToPhysicalPoint(centre.tolist()))


def _centres(foreground: sitk.Image) -> list[np.ndarray]:
    """Where the middle of a brain may lie, whichever axis of the grid points up."""
    axes = np.reshape(foreground.GetDirection(), (3, 3)).T
    centres: list[np.ndarray] = []
    for up in (*axes, *-axes):
        centre = head_centre(foreground, points_below_top(foreground, up))
        if far_from(centre, centres, _DISTINCT_CENTRE_MM):
            centres.append(centre)
    return centres


def _rotation(pitch: float, roll: float, yaw: float) -> np.ndarray:
    """About x, then y, then z (degrees): 3 x 3."""
    x, y, z = (rotation_about(math.radians(a) * axis) for a, axis in zip((pitch, roll, yaw), np.eye(3)))
    return z @ y @ x


def _search(
    image: sitk.Image,
    measured: sitk.Image | None,
    starts: Iterable[TemplatePose],
    counts: tuple[int, int],
    progress: ProgressCallback = no_progress,
) -> list[TemplatePose]:
    """All starts are looked at, the best are improved, the best of these to the end: these, best first."""
    information = _mutual_information(image, measured)
    ranked = best_first(replace(start, information=information(start)) for start in starts)
    promising = distinct(ranked, _DISTINCT_DEG, counts[0])
    improved = []
    for number, start in enumerate(promising):
        progress(number, sum(counts), _STAGE)
        improved += [_improve(information, replace(start, log_size=size), _LOOKS) for size in _SIZES]
    finished = []
    for number, pose in enumerate(best_first(improved)[: counts[1]]):
        progress(counts[0] + number, sum(counts), _STAGE)
        finished.append(_improve(information, pose, _LAST_LOOKS))
    finished = best_first(finished)
    _log.debug("pose search: mutual information %s", [round(pose.information, 3) for pose in finished])
    return finished


def _improve(information: Information, start: TemplatePose, looks: int) -> TemplatePose:
    """Small rotations, shifts and sizes."""

    def moved(change: np.ndarray) -> TemplatePose:
        rotation = rotation_about(change[:3]) @ start.rotation
        return TemplatePose(rotation, start.position + change[3:6], start.log_size + float(change[6]))

    change, reached = climb(lambda c: information(moved(c)), _STEPS, looks, step=0.05, gain=1e-4)
    return replace(moved(change), information=reached)


@cache
def metric_mask() -> sitk.Image:
    """Where mutual information is measured: the template's brain and a little around it."""
    return dilate(load_template().mask, METRIC_MARGIN_MM)


def smoothed(image: sitk.Image) -> sitk.Image:
    """An image as the search looks at it: float32, blurred by a Gaussian with an SD of 3 mm."""
    # Not ITK's recursive filter: four times the time, and less exact.
    sigma = _BLUR_SD_MM / np.array(image.GetSpacing())[::-1]
    values = sitk.GetArrayViewFromImage(image)
    return Grid.of(image).image(ndimage.gaussian_filter(values, sigma, output=np.float32, mode="nearest"))


@cache
def smooth_template() -> sitk.Image:
    """The template, :func:`smoothed`. Shared between callers: do not change it in place."""
    return smoothed(load_template().t1)


@cache
def _samples() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """World points (n, 3) of the search, their template histogram bin, and the centre of the brain."""
    smooth = smooth_template()
    step = _POINT_STEP
    inside = sitk.GetArrayViewFromImage(metric_mask())[::step, ::step, ::step]
    values = sitk.GetArrayViewFromImage(smooth)[::step, ::step, ::step][inside > 0]
    index = np.argwhere(inside)[:, ::-1] * step
    mask = load_template().mask
    points = index * mask.GetSpacing() @ np.reshape(mask.GetDirection(), (3, 3)).T + mask.GetOrigin()
    scaled = (values - values.min()) * (HISTOGRAM_BINS / max(float(np.ptp(values)), 1e-12))
    return points, np.clip(scaled.astype(np.intp), 0, HISTOGRAM_BINS - 1), points.mean(axis=0)


def _mutual_information(image: sitk.Image, measured: sitk.Image | None) -> Information:
    """Mutual information (nats) of coarse samples of the template and the image, as a function of the pose,
    times the share of the samples that was measured.

    A sample is the histogram bin of the nearest voxel of 1 mm: the work of thousands of poses is looking up.
    """
    grid, bins = _image_bins(image, measured)
    points, fixed_bins, brain_centre = _samples()
    offsets = np.ascontiguousarray((points - brain_centre).T)
    columns = HISTOGRAM_BINS + 1  # the last one is what was not measured
    first_of_row = fixed_bins * columns
    to_index = np.linalg.inv(np.reshape(grid.direction, (3, 3)) * grid.spacing_mm)[::-1]
    origin = np.array(grid.origin)
    last = np.array(bins.shape)[:, None] - 1.0
    strides = np.array(bins.strides, dtype=float)
    bins = bins.ravel()

    def information(pose: TemplatePose) -> float:
        index = (to_index @ (math.exp(pose.log_size) * pose.rotation)) @ offsets
        index += (to_index @ (pose.position - origin))[:, None]
        np.rint(index, out=index)
        np.clip(index, 0.0, last, out=index)
        pairs = first_of_row + bins.take((strides @ index).astype(np.intp))
        joint = np.bincount(pairs, minlength=HISTOGRAM_BINS * columns)
        joint = joint.reshape(HISTOGRAM_BINS, columns)[:, :-1]
        share = int(joint.sum()) / len(pairs)
        return share * mutual_information(joint) if share >= _LEAST_MEASURED else 0.0

    return information


def _image_bins(image: sitk.Image, measured: sitk.Image | None) -> tuple[Grid, np.ndarray]:
    """A smooth image as histogram bins (uint8 [k, j, i]) on a grid of about 1 mm.

    Around it lies a layer of air, to which all points outside are clipped: ignoring them would favour poses
    that see only a corner.
    """
    coarse = sitk.GetArrayViewFromImage(image)
    low, high = float(coarse.min()), float(np.percentile(coarse, 99.8))
    finer = np.ceil(np.array(image.GetSpacing()) / _VOXEL_MM - 0.5).clip(min=1).astype(int)
    spacing_mm = np.array(image.GetSpacing()) / finer
    size = (np.array(image.GetSize()) - 1) * finer + 1
    grid = Grid(tuple(size.tolist()), tuple(spacing_mm.tolist()), image.GetOrigin(), image.GetDirection())
    fine = (coarse - low) * np.float32((HISTOGRAM_BINS - 1) / max(high - low, 1e-12))
    fine.clip(0, HISTOGRAM_BINS - 1, out=fine)
    for axis, times in enumerate(finer[::-1]):
        fine = _finer(fine, axis, times)
    fine += 0.5
    if measured is not None:
        inside = resample(measured, grid, interpolator=sitk.sitkNearestNeighbor)
        fine[sitk.GetArrayViewFromImage(inside) == 0] = HISTOGRAM_BINS
    bins = np.zeros(np.add(fine.shape, 2), np.uint8)
    bins[1:-1, 1:-1, 1:-1] = fine
    corner = np.array(grid.origin) - np.reshape(grid.direction, (3, 3)) @ spacing_mm
    around = replace(grid, origin=tuple(corner.tolist()), size=tuple((size + 2).tolist()))
    return around, bins


def _finer(values: np.ndarray, axis: int, times: int) -> np.ndarray:
    """Values with ``times`` - 1 more between each two along an axis, by linear interpolation."""
    coarse = np.moveaxis(values, axis, 0)
    shape = ((len(coarse) - 1) * times + 1, *coarse.shape[1:])
    fine = np.moveaxis(np.empty(np.insert(shape[1:], axis, shape[0]), values.dtype), axis, 0)
    fine[::times] = coarse
    for part in range(1, times):
        share = np.float32(part / times)
        fine[part::times] = (1 - share) * coarse[:-1] + share * coarse[1:]
    return np.moveaxis(fine, 0, axis)
