"""Rigid registration of a PET to the T1 of the same person, in whatever pose its header puts it.

The pose comes from a search over all rotations (:mod:`.pet_pose`). From there mutual information (Mattes,
32 bins) between the masked T1 and the PET is improved, as PETPrep registers to the masked T1: regular-step
gradient descent at 8, 4 and 2 mm. Seeded, on one thread: the same input gives the same transform.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.findings import Finding, Verdict
from MRI2PETLib.core.progress import ProgressCallback, no_progress, part_of
from MRI2PETLib.images.grid import Grid, antialias, resample
from MRI2PETLib.images.io import on_grid_of, same_grid
from MRI2PETLib.preprocessing.morphology import dilate
from MRI2PETLib.preprocessing.pet_pose import RIM_MM, FoundPoses, PetPose, search_pet_pose

_log = logging.getLogger(__name__)

_GRID_MM = 2.0
_BINS, _SAMPLING, _SEED = 32, 0.25, 20180621
_SHRINK, _SMOOTHING_MM = (4, 2, 1), (4.0, 2.0, 0.0)
_STAGE = "Register PET to T1"
# Around the brain, what the optimiser sees of the PET: more is gradients of voxels that no sample reaches.
_ROOM_MM = 30.0
# Mutual information of another pose over that of the best one. Right poses: .44-.83 (noise of .6 of the mean,
# flat contrast, blur of 10 mm, a tenth of the brain not scanned); wrong ones .86 and more.
MAX_OTHER = 0.85
# Of the mirror image. Own PETs of simulated and real anatomies: .56-.96; mirrored ones 1.08 and more; PETs of
# other people on a symmetric template .97-1.01.
MIRRORED, UNDECIDED = 1.03, 0.97
# What a fine registration may lose of the mutual information that the search saw. From 36 starts up to 25
# degrees and 15 mm off it kept .976 and more. The true pose keeps .94-.99, as the search follows the noise
# too: where noise is .6 of the mean and a third of the brain was not measured, either may be the better one
# (2 degrees and 2.4 mm apart).
_LEAST_KEPT = 0.95
_LARGE_ROTATION_DEG = 30.0


@dataclass(frozen=True)
class PetRegistration:
    """``transform`` is rigid and maps T1 points to PET points (LPS mm): ``Resample(pet, t1, transform)``."""

    transform: sitk.Euler3DTransform
    verdict: Verdict


def register_pet_to_t1(
    pet: sitk.Image,
    t1: sitk.Image,
    t1_mask: sitk.Image,
    measured: sitk.Image | None = None,
    *,
    poses: FoundPoses | None = None,
    progress: ProgressCallback = no_progress,
) -> PetRegistration:
    """Find the rigid transform that lays a PET on the T1 of the same person.

    The verdict is *refuse* where another pose fits nearly as well, or the mirror image better.

    :param t1_mask: brain mask on the grid of ``t1``.
    :param measured: on the grid of ``pet``, 0 where it says nothing; default: it was measured everywhere.
    :param poses: what :func:`find_poses` found for these images.
    :raises InputError: for a mask on another grid or an empty one, or a PET without contrast.
    """
    if poses is None:
        poses = find_poses(pet, t1, t1_mask, measured, progress=part_of(progress, 0, 0.4))
    brain = _checked(t1, t1_mask)
    grid = _grid_around(brain)
    masked_t1 = sitk.Mask(sitk.Cast(t1, sitk.sitkFloat32), brain)
    fixed = resample(antialias(masked_t1, (_GRID_MM,) * 3), grid)
    rim = dilate(resample(brain, grid, interpolator=sitk.sitkNearestNeighbor), RIM_MM)
    start = poses.best.transform(poses.brain_centre)
    moving, view = _around_brain(pet, measured, grid, start)
    method = _method(rim, view)
    transform = _optimise(method, fixed, moving, start, part_of(progress, 0.4, 1))
    pose = poses.pose_of(transform)
    if pose.information < _LEAST_KEPT * poses.best.information:
        share = pose.information / poses.best.information
        _log.warning(
            "PET to T1: the fine registration fits less well (%.2f) than the search, which is used", share
        )
        transform, pose = start, poses.best
    progress(1, 1, _STAGE)
    return PetRegistration(transform, Verdict(judge_pose(pose, poses)))


def find_poses(
    pet: sitk.Image,
    t1: sitk.Image,
    t1_mask: sitk.Image,
    measured: sitk.Image | None = None,
    *,
    progress: ProgressCallback = no_progress,
) -> FoundPoses:
    """All poses of a PET, see :func:`.pet_pose.search_pet_pose`.

    :raises InputError: as :func:`register_pet_to_t1`.
    """
    brain = _checked(t1, t1_mask)
    values = sitk.GetArrayViewFromImage(pet)
    values = values if measured is None else values[sitk.GetArrayViewFromImage(measured) > 0]
    if not values.size or values.min() == values.max():
        raise InputError("The PET has a single value.", "It is empty: choose another image.")
    return search_pet_pose(sitk.Cast(pet, sitk.sitkFloat32), t1, brain, measured, progress=progress)


def judge_pose(pose: PetPose, poses: FoundPoses) -> tuple[Finding, ...]:
    """What speaks against a pose: another one fits nearly as well, the mirror image better, a large turn."""
    if poses.other.information > MAX_OTHER * pose.information:
        message = (
            f"The position of the PET on the T1 is not certain: another one, turned by "
            f"{pose.angle_to(poses.other):.0f} degrees, fits nearly as well (mutual information "
            f"{pose.information:.2f} and {poses.other.information:.2f})."
        )
        hint = "Check that both are of one person and that the PET shows the brain, or align them by hand."
        return (Finding("refuse", "pet-position", message, f"{hint} Then --register header."),)
    angle = pose.angle_to(poses.as_it_lies)
    findings = judge_sides(pose, poses)
    if angle > _LARGE_ROTATION_DEG:
        message = f"The PET was rotated by {angle:.0f} degrees to fit the T1."
        findings += (Finding("warn", "pet-rotation", message, "Check the overlay."),)
    return findings


def judge_sides(pose: PetPose, poses: FoundPoses) -> tuple[Finding, ...]:
    """Whether the mirror image of the PET would fit better, or as well."""
    share = poses.mirrored.information / max(pose.information, 1e-12)
    if share > MIRRORED:
        message = (
            f"The mirror image of the PET fits the T1 better (mutual information {pose.information:.2f}, "
            f"mirrored {poses.mirrored.information:.2f}): the header of one of them swaps left and right."
        )
        hint = "Convert both again from the scanner's files. If you know the sides: --register header."
        return (Finding("refuse", "pet-mirrored", message, hint),)
    if share > UNDECIDED:
        message = "The mirror image of the PET fits the T1 as well: the images do not tell left from right."
        return (Finding("warn", "pet-sides", message, "Check the sides in the overlay."),)
    return ()


def _checked(t1: sitk.Image, mask: sitk.Image) -> sitk.Image:
    """The brain mask as 0 and 1 with the geometry of the T1."""
    if not same_grid(t1, mask):
        raise InputError("The brain mask is not on the grid of the T1.", "Resample the mask.")
    brain = on_grid_of(sitk.Cast(mask != 0, sitk.sitkUInt8), t1)
    if not sitk.GetArrayViewFromImage(brain).any():
        raise InputError("The brain mask is empty.", "Draw or compute it again.")
    return brain


def _grid_around(mask: sitk.Image) -> Grid:
    """A 2 mm grid along the axes of the mask's image, around the mask with room for its rim."""
    shape = sitk.LabelShapeStatisticsImageFilter()
    shape.ComputePerimeterOff()
    shape.Execute(mask)
    box = np.array(shape.GetBoundingBox(1), dtype=float)
    spacing = np.array(mask.GetSpacing())
    room = RIM_MM + 2 * _GRID_MM
    origin = mask.TransformContinuousIndexToPhysicalPoint((box[:3] - room / spacing).tolist())
    i, j, k = np.ceil((box[3:] * spacing + 2 * room) / _GRID_MM).astype(int).tolist()
    return Grid((i, j, k), (_GRID_MM,) * 3, origin, mask.GetDirection())


def _around_brain(
    pet: sitk.Image, measured: sitk.Image | None, grid: Grid, to_pet: sitk.Transform
) -> tuple[sitk.Image, sitk.Image | None]:
    """The PET around the brain without its hot voxels (noise, vessels), and where it was measured."""
    ends = np.array(np.meshgrid(*[(0, n - 1) for n in grid.size])).reshape(3, -1).T.tolist()
    corners = [to_pet.TransformPoint(grid.image().TransformIndexToPhysicalPoint(end)) for end in ends]
    index = np.array([pet.TransformPhysicalPointToContinuousIndex(corner) for corner in corners])
    room = _ROOM_MM / np.array(pet.GetSpacing())
    last = np.array(pet.GetSize()) - 1
    low = np.clip(np.floor(index.min(axis=0) - room), 0, last).astype(int)
    high = np.clip(np.ceil(index.max(axis=0) + room), 0, last).astype(int)
    box = (high - low + 1).tolist(), low.tolist()
    around = sitk.RegionOfInterest(sitk.Cast(pet, sitk.sitkFloat32), *box)
    view = None if measured is None else sitk.RegionOfInterest(measured, *box)
    values = sitk.GetArrayViewFromImage(around)
    high_value = float(np.percentile(values, 99.8))
    if high_value > 0:
        around = sitk.Clamp(around, sitk.sitkFloat32, min(0.0, float(values.min())), high_value)
    return around, view


def _method(rim: sitk.Image, view: sitk.Image | None) -> sitk.ImageRegistrationMethod:
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(_BINS)
    method.SetMetricFixedMask(rim)
    if view is not None:
        method.SetMetricMovingMask(view)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(_SAMPLING, _SEED)
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
            progress(method.GetCurrentLevel() + 1, len(_SHRINK) + 1, _STAGE)
        except BaseException as error:
            raised.append(error)
            method.StopRegistration()

    # A small rotation before the start, not the start itself: Euler angles fail near a quarter turn.
    small = sitk.Euler3DTransform()
    small.SetCenter(start.GetCenter())
    method.SetMovingInitialTransform(start)
    method.SetInitialTransform(small, inPlace=True)
    method.AddCommand(sitk.sitkIterationEvent, report)
    try:
        method.Execute(fixed, moving)
    except RuntimeError as error:
        if not raised:
            _log.warning("PET to T1: the optimiser lost the overlap (%s)", str(error).splitlines()[-1])
        small.SetIdentity()
    if raised:
        raise raised[0]
    return _joined(start, small)


def _joined(last: sitk.Euler3DTransform, first: sitk.Euler3DTransform) -> sitk.Euler3DTransform:
    """``last(first(point))`` as one transform."""
    rotation = np.reshape(last.GetMatrix(), (3, 3)) @ np.reshape(first.GetMatrix(), (3, 3))
    centre = first.GetCenter()
    joined = sitk.Euler3DTransform()
    joined.SetCenter(centre)
    joined.SetMatrix(rotation.ravel().tolist(), 1e-6)
    moved = last.TransformPoint(first.TransformPoint(centre))
    joined.SetTranslation(np.subtract(moved, centre).tolist())
    return joined
