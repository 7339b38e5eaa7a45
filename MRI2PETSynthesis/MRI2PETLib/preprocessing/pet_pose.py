"""In which pose the brain of a T1 lies in a PET, when nothing is known of it: every rotation is looked at.

A header may be wrong by any angle, or mirror the head. So about a thousand rotations that cover all of them
(18 degrees apart) are ranked by mutual information, the best are improved, and the same is done for the
mirror image of the brain. What comes out are the best pose, the best of all poses that differ from it, and
the best mirrored one: how much better the first is than the others says how far it can be trusted.

Samples are looked up at the nearest voxel, so that a pose costs a tenth of a millisecond. Nothing is random.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from MRI2PETLib.core.progress import ProgressCallback, no_progress, part_of
from MRI2PETLib.images.grid import Grid, resample
from MRI2PETLib.preprocessing.morphology import dilate
from MRI2PETLib.preprocessing.pose_search import (
    all_rotations,
    best_first,
    climb,
    degrees_between,
    distinct,
    far_from,
    mutual_information,
    rotation_about,
)

_log = logging.getLogger(__name__)
# Mutual information as a function of rotation (3 x 3) and position (LPS mm), see Pose.
PoseScore = Callable[[np.ndarray, np.ndarray], float]

BINS = 32
# The brain and this rim around it: the edge of the brain is what PET and T1 share best.
RIM_MM = 10.0
_SAMPLE_MM, _VOXEL_MM, _SIGMA_MM = 8.0, 2.0, 3.0
# Starts that are improved, how many of these to the end, and by how many looks each.
_IMPROVED, _FINISHED = 20, 4
_LOOKS, _LAST_LOOKS = 60, 200
_STEPS = (0.15, 0.15, 0.15, 8.0, 8.0, 8.0)  # rad, mm
# Poses further apart are different ones.
_DISTINCT_START_DEG, DISTINCT_DEG = 17.0, 30.0
# Of a PET that shows more than a head, only this much from one of its ends is used for a centre.
_HEAD_HEIGHT_MM = 180.0
_DISTINCT_CENTRE_MM = 20.0
_BRAIN_SIGMA_MM = 30.0
# Fewer samples inside the field of view say nothing.
_LEAST_SEEN = 0.2
_STAGE = "searching the position of the PET"


@dataclass(frozen=True)
class PetPose:
    """A brain in a PET.

    :ivar rotation: 3 x 3, turns directions of the T1 (LPS) to directions of the PET.
    :ivar position: where the middle of the brain lies in the PET (LPS mm).
    :ivar information: mutual information there in nats, times the share of samples that the PET has.
    """

    rotation: np.ndarray
    position: np.ndarray
    information: float

    def angle_to(self, other: PetPose) -> float:
        """Degrees between two poses."""
        return degrees_between(self, other)

    def transform(self, brain_centre: np.ndarray) -> sitk.Euler3DTransform:
        """Maps T1 points to PET points (LPS mm)."""
        transform = sitk.Euler3DTransform()
        transform.SetCenter(brain_centre.tolist())
        transform.SetMatrix(self.rotation.ravel().tolist(), 1e-6)
        transform.SetTranslation((self.position - brain_centre).tolist())
        return transform


@dataclass(frozen=True)
class FoundPoses:
    """What a search found.

    :ivar other: the best pose that differs from ``best`` by 30 degrees and more.
    :ivar mirrored: the best pose of the mirror image of the brain.
    :ivar as_it_lies: the pose that the headers state.
    :ivar brain_centre: the middle of the brain in the T1 (LPS mm).
    :ivar offsets: points of the brain and its rim from there, [3, n].
    :ivar objective: mutual information as a function of rotation and position, see :class:`PetPose`.
    """

    best: PetPose
    other: PetPose
    mirrored: PetPose
    as_it_lies: PetPose
    brain_centre: np.ndarray
    offsets: np.ndarray
    objective: PoseScore

    def pose_of(self, transform: sitk.Transform) -> PetPose:
        """The pose that a rigid transform (T1 points to PET points) gives the brain."""
        position = np.array(transform.TransformPoint(self.brain_centre.tolist()))
        ends = [transform.TransformPoint((self.brain_centre + axis).tolist()) for axis in np.eye(3)]
        rotation = np.stack([np.subtract(end, position) for end in ends], axis=1)
        return PetPose(rotation, position, self.objective(rotation, position))

    def distance_mm(self, a: PetPose, b: PetPose) -> float:
        """Root mean square distance between where two poses put the brain."""
        apart = (a.rotation - b.rotation) @ self.offsets + (a.position - b.position)[:, None]
        return float(np.sqrt(np.square(apart).sum(axis=0).mean()))


def search_pet_pose(
    pet: sitk.Image,
    t1: sitk.Image,
    mask: sitk.Image,
    measured: sitk.Image | None = None,
    *,
    progress: ProgressCallback = no_progress,
) -> FoundPoses:
    """Search all poses of the brain of a T1 in a PET of the same person.

    :param pet: 3-D, any grid (LPS mm), finite; ``measured``: on its grid, 0 where it says nothing.
    :param mask: brain mask (uint8, 0 and 1) on the grid of ``t1``.
    """
    samples = _samples(t1, mask)
    look_up = _LookUp(pet, measured, samples)
    centres = [samples.centre, *_centres(look_up)]
    heads = _search(look_up, False, centres, part_of(progress, 0, 0.5))
    mirror_images = _search(look_up, True, centres, part_of(progress, 0.5, 1))
    objective = look_up.information(mirror=False)
    poses = FoundPoses(
        best=heads[0],
        other=_best_other(heads),
        mirrored=mirror_images[0],
        as_it_lies=PetPose(np.eye(3), samples.centre, objective(np.eye(3), samples.centre)),
        brain_centre=samples.centre,
        offsets=samples.offsets,
        objective=objective,
    )
    candidates = (poses.best, poses.other, poses.mirrored, poses.as_it_lies)
    _log.debug("best, other, mirrored, as it lies: %s", [round(pose.information, 3) for pose in candidates])
    progress(1, 1, _STAGE)
    return poses


# -- samples of the T1, look-up in the PET ------------------------------------------------------------------


@dataclass(frozen=True)
class _Samples:
    """Points of the brain and its rim: offsets from the middle of the brain [3, n] in mm, histogram bins."""

    offsets: np.ndarray
    bins: np.ndarray
    centre: np.ndarray


def _samples(t1: sitk.Image, mask: sitk.Image) -> _Samples:
    inside = sitk.GetArrayViewFromImage(mask) > 0
    values = sitk.GetArrayViewFromImage(t1)[inside]
    low, high = (float(v) for v in np.percentile(values, (0.1, 99.9)))  # a hot voxel must not take all bins
    brain = sitk.Mask(sitk.Clamp(t1, sitk.sitkFloat32, low, high) - low, mask)
    factors = [max(1, round(_VOXEL_MM / s)) for s in mask.GetSpacing()]
    brain = sitk.BinShrink(brain, factors)
    small = sitk.Cast(sitk.BinShrink(sitk.Cast(mask, sitk.sitkFloat32), factors) >= 0.5, sitk.sitkUInt8)
    room = [math.ceil(RIM_MM / s) + 1 for s in small.GetSpacing()]
    small = sitk.ConstantPad(small, room, room, 0)
    brain = sitk.ConstantPad(sitk.SmoothingRecursiveGaussian(brain, [_SIGMA_MM] * 3), room, room, 0.0)
    near = sitk.GetArrayFromImage(dilate(small, RIM_MM)) > 0
    sampled = np.zeros_like(near)
    sampled[tuple(slice(None, None, max(1, round(_SAMPLE_MM / s))) for s in small.GetSpacing()[::-1])] = True
    index = np.argwhere(near & sampled)
    to_world = np.reshape(small.GetDirection(), (3, 3)) * small.GetSpacing()
    points = index[:, ::-1] @ to_world.T + np.array(small.GetOrigin())
    in_brain = sitk.GetArrayViewFromImage(small)[tuple(index.T)] > 0
    centre = points[in_brain].mean(axis=0)
    level = sitk.GetArrayViewFromImage(brain)[tuple(index.T)] / max(high - low, 1e-12)
    bins = np.clip((level * BINS).astype(np.intp), 0, BINS - 1)
    return _Samples(np.ascontiguousarray((points - centre).T), bins, centre)


class _LookUp:
    """A PET as histogram bins, with a layer of "not measured" around it and wherever it was not measured."""

    def __init__(self, pet: sitk.Image, measured: sitk.Image | None, samples: _Samples) -> None:
        self._samples = samples
        self.image, self.in_view = _coarse(pet, measured)
        values = sitk.GetArrayViewFromImage(self.image)
        bins = np.minimum(values * BINS, BINS - 1).astype(np.uint8)
        bins[~self.in_view] = BINS
        around = np.full(np.add(bins.shape, 2), BINS, np.uint8)
        around[1:-1, 1:-1, 1:-1] = bins
        self._bins, self._last = around.ravel(), np.array(around.shape)[:, None] - 1.0
        self._strides = np.array(around.strides, dtype=float)
        to_world = np.reshape(self.image.GetDirection(), (3, 3)) * self.image.GetSpacing()
        self._to_index = np.linalg.inv(to_world)[::-1]
        self._corner = np.array(self.image.GetOrigin()) - to_world.sum(axis=1)

    def information(self, mirror: bool) -> PoseScore:
        """Mutual information (nats) of the samples of T1 and PET that were measured, times their share, as a
        function of rotation and position.

        Without the share, poses that see only a corner would win.

        :param mirror: of the mirror image of the brain.
        """
        x, y, z = self._samples.offsets * np.array([[-1.0 if mirror else 1.0], [1.0], [1.0]])
        row = self._samples.bins * (BINS + 1)

        def information(rotation: np.ndarray, position: np.ndarray) -> float:
            turn, shift = self._to_index @ rotation, self._to_index @ (position - self._corner)
            # Not "turn @ offsets": its last digits depend on where the arrays lie in memory.
            index = turn[:, :1] * x + turn[:, 1:2] * y + turn[:, 2:] * z + shift[:, None]
            np.rint(index, out=index)
            np.clip(index, 0.0, self._last, out=index)
            pairs = row + self._bins.take((self._strides @ index).astype(np.intp))
            joint = np.bincount(pairs, minlength=BINS * (BINS + 1)).reshape(BINS, BINS + 1)[:, :BINS]
            share = int(joint.sum()) / len(row)
            return share * mutual_information(joint) if share >= _LEAST_SEEN else 0.0

        return information


def _coarse(pet: sitk.Image, measured: sitk.Image | None) -> tuple[sitk.Image, np.ndarray]:
    """A PET on voxels of about 2 mm, smoothed, its square root from 0 to 1; and where it was measured.

    The root keeps bins for a brain beside organs that take up much more.
    """
    values = sitk.GetArrayViewFromImage(pet)
    in_view = None if measured is None else sitk.GetArrayViewFromImage(measured) > 0
    high = float(np.percentile(values if in_view is None else values[in_view], 99.8))
    root = sitk.Sqrt(sitk.Clamp(pet, sitk.sitkFloat32, 0.0, max(high, 1e-12)) / max(high, 1e-12))
    root = _on_2_mm(root if measured is None else sitk.Mask(root, measured))
    smooth = sitk.SmoothingRecursiveGaussian(root, [_SIGMA_MM] * 3)
    if measured is None:
        return smooth, np.ones(smooth.GetSize()[::-1], bool)
    weight = _on_2_mm(sitk.Cast(measured, sitk.sitkFloat32))
    share = sitk.SmoothingRecursiveGaussian(weight, [_SIGMA_MM] * 3)
    return smooth / sitk.Maximum(share, 1e-3), sitk.GetArrayFromImage(weight) >= 0.5


def _on_2_mm(image: sitk.Image) -> sitk.Image:
    """Voxels of about 2 mm: means of smaller ones, larger ones interpolated, as the nearest is looked up."""
    image = sitk.BinShrink(image, [max(1, round(_VOXEL_MM / s)) for s in image.GetSpacing()])
    finer = [max(1, math.ceil(s / _VOXEL_MM - 0.25)) for s in image.GetSpacing()]
    if finer == [1, 1, 1]:
        return image
    own = Grid.of(image)
    i, j, k = ((n - 1) * f + 1 for n, f in zip(own.size, finer))
    x, y, z = (s / f for s, f in zip(own.spacing_mm, finer))
    return resample(image, replace(own, size=(i, j, k), spacing_mm=(x, y, z)))


def _centres(look_up: _LookUp) -> list[np.ndarray]:
    """Where the middle of the brain may lie (LPS mm): that of all uptake, and of what lies within the height
    of a head from each end of the scan, as the head does in a scan of neck, chest or body.
    """
    image = look_up.image
    uptake = sitk.GetArrayFromImage(image) * look_up.in_view
    hot = (sitk.GetArrayFromImage(sitk.OtsuThreshold(image, 0, 1)) > 0) & look_up.in_view
    index = np.argwhere(hot if hot.any() else look_up.in_view)
    parts = [uptake]
    for axis, spacing in enumerate(image.GetSpacing()[::-1]):
        low, high = np.percentile(index[:, axis], (0.2, 99.8))
        height, along = _HEAD_HEIGHT_MM / spacing, np.arange(uptake.shape[axis])
        for near in (along < low + height, along > high - height):
            if not near.all():
                parts.append(uptake * near.reshape([-1 if n == axis else 1 for n in range(3)]))
    centres: list[np.ndarray] = []
    for part in parts:
        k, j, i = _middle(part, image.GetSpacing()[::-1])
        middle = np.array(image.TransformContinuousIndexToPhysicalPoint((i, j, k)))
        if far_from(middle, centres, _DISTINCT_CENTRE_MM):
            centres.append(middle)
    return centres


def _middle(uptake: np.ndarray, spacing_mm: Sequence[float]) -> tuple[float, float, float]:
    """Index (k, j, i) of the middle of what has the size of a brain and takes up most.

    A centre of mass is pulled away by neck and scalp, and by the end of a field of view in the brain: by 25
    to 44 mm in three simulated heads, this one by 2 to 29 mm.
    """
    step = [max(1, round(_SAMPLE_MM / s)) for s in spacing_mm]
    coarse = uptake[:: step[0], :: step[1], :: step[2]]
    sigma = [_BRAIN_SIGMA_MM / (s * n) for s, n in zip(spacing_mm, step)]
    smooth = ndimage.gaussian_filter(coarse, sigma, mode="constant")
    k, j, i = np.multiply(np.unravel_index(int(smooth.argmax()), smooth.shape), step).astype(float).tolist()
    return k, j, i


# -- the search ---------------------------------------------------------------------------------------------


def _search(
    look_up: _LookUp, mirror: bool, centres: Sequence[np.ndarray], progress: ProgressCallback
) -> list[PetPose]:
    """The best poses, best first. The one of the headers (unturned, the first centre) is always improved."""
    # All samples at once: mutual information of fewer is biased by the bins, and ranks wrong poses first.
    information = look_up.information(mirror)
    turns = [np.eye(3), *all_rotations()]
    first, *starts = [
        PetPose(turn, centre, information(turn, centre)) for centre in centres for turn in turns
    ]
    starts = distinct([first, *best_first(starts)], _DISTINCT_START_DEG, _IMPROVED)
    improved = []
    for number, start in enumerate(starts):
        progress(number, len(starts) + _FINISHED, _STAGE)
        improved.append(_improve(information, start, _LOOKS))
    improved = best_first(improved)
    finished = []
    for number, pose in enumerate(distinct(improved, _DISTINCT_START_DEG, _FINISHED)):
        progress(len(starts) + number, len(starts) + _FINISHED, _STAGE)
        finished.append(_improve(information, pose, _LAST_LOOKS))
    return best_first([*finished, *improved])


def _best_other(poses: Sequence[PetPose]) -> PetPose:
    """The best pose that differs from the first one."""
    none = replace(poses[0], information=0.0)
    return next((pose for pose in poses if pose.angle_to(poses[0]) > DISTINCT_DEG), none)


def _improve(information: PoseScore, start: PetPose, looks: int) -> PetPose:
    """Small rotations (about the middle of the brain) and shifts."""

    def moved(change: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return rotation_about(change[:3]) @ start.rotation, start.position + change[3:]

    change, reached = climb(lambda c: information(*moved(c)), _STEPS, looks, step=0.02, gain=1e-5)
    return PetPose(*moved(change), reached)
