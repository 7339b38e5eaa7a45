"""The one way a real PET gets to a T1, the same for synthesis, evaluation, checks, SUVR and training.

When a registration runs is a word of the user, ``--register``:

``auto``
    (default) A PET on the grid of the T1 was brought there by somebody: it is used as it lies, unless another
    position fits clearly better; then it is registered, with a warning. Every other PET is registered.
``rigid``
    Registered in any case.
``header``
    Never registered: the positions in both headers are right. It warns where another position fits better.

In all three the positions of the brain in the PET are searched over all rotations and for the mirror image. A
registration is refused where another position fits nearly as well, a PET whose mirror image fits better is
refused unless its header was declared right. Then one measure of :func:`brain_overlap` decides whether the
two belong together, and one share of the brain that the PET must have measured.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import SimpleITK as sitk

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.findings import Finding, Verdict
from MRI2PETLib.core.progress import ProgressCallback, no_progress, part_of
from MRI2PETLib.images.grid import Grid, affine_matrix, crop_to, resample
from MRI2PETLib.images.io import on_grid_of, same_grid
from MRI2PETLib.preprocessing.pet import PetImage
from MRI2PETLib.preprocessing.pet_measured import judge_pet_coverage
from MRI2PETLib.preprocessing.pet_pose import FoundPoses
from MRI2PETLib.preprocessing.pet_registration import find_poses, judge_sides, register_pet_to_t1

# Dice of brain and uptake. Fits of simulated and real PETs reach 0.9 and more.
MIN_BRAIN_OVERLAP = 0.7
# Beyond this rim, uptake (neck, salivary glands) says nothing about the fit of the brain.
_OVERLAP_RIM_MM, _OVERLAP_SPACING_MM = 20.0, 2.0
# A PET that lies as close to where it fits best (root mean square over the brain), or fits nearly as well, is
# left in its place.
_APART_MM, _AS_GOOD = 3.0, 0.95
_MIN_BRAIN_VOXELS = 100


@dataclass(frozen=True)
class AlignedPet:
    """A PET on the grid of a T1.

    :ivar image: float32 in the unit of the PET, 0 where nothing was measured.
    :ivar measured: uint8, 1 where the PET was measured. Nothing else may enter a number.
    :ivar t1_to_pet: maps T1 points to points of the PET (LPS mm); the identity unless it was registered.
    :ivar method: ``rigid``, ``grid`` (it lies on the grid of the T1) or ``header``.
    :ivar overlap: see :func:`brain_overlap`.
    :ivar coverage: share (0..1) of the brain that was measured.
    :ivar verdict: ok or warn.
    """

    image: sitk.Image
    measured: sitk.Image
    t1_to_pet: sitk.Transform
    method: Literal["rigid", "grid", "header"]
    overlap: float
    coverage: float
    verdict: Verdict

    def summary(self) -> str:
        """One sentence with the measures."""
        return (
            f"Dice of the brains {self.overlap:.2f} ({_METHODS[self.method]}); the PET covers "
            f"{100 * self.coverage:.3g} % of the brain."
        )

    def record(self) -> dict[str, Any]:
        """For sidecars."""
        return {
            "method": _METHODS[self.method],
            "t1_to_pet_lps": affine_matrix(self.t1_to_pet),
            "overlap": round(self.overlap, 4),
            "coverage": round(self.coverage, 4),
            "quality": self.verdict.to_dict(),
        }


_METHODS = {"rigid": "rigid registration", "grid": "as it lies on the grid of the T1", "header": "by header"}


def align_pet_to_t1(
    pet: PetImage,
    t1: sitk.Image,
    mask: sitk.Image,
    *,
    register: str = "auto",
    progress: ProgressCallback = no_progress,
) -> AlignedPet:
    """Lay a PET on the T1 of the same person, with one interpolation at most.

    >>> from MRI2PETLib.core.findings import Verdict
    >>> from MRI2PETLib.simulation import simulate_subject
    >>> person = simulate_subject(3, spacing_mm=4.0)
    >>> pet = PetImage(person.pet, "SUV", Verdict(), "", {})
    >>> aligned = align_pet_to_t1(pet, person.t1, person.brain_mask)
    >>> aligned.method, aligned.coverage, aligned.overlap > 0.9
    ('grid', 1.0, True)

    :param t1: grid of the result (LPS mm). Another image of the same brain can stand in for a missing T1.
    :param mask: brain mask on the grid of ``t1`` (not 0 is inside).
    :param register: see the head of this module.
    :raises InputError: if brain and uptake overlap with a Dice below 0.7, the PET covers less than half of
        the brain, shows nothing, or the mask is empty or on another grid. The message says which.
    """
    if not same_grid(t1, mask):
        raise InputError("The brain mask is not on the grid of the T1.", "Resample the mask.")
    brain = on_grid_of(sitk.Cast(mask != 0, sitk.sitkUInt8), t1)
    n_voxels = int(np.count_nonzero(sitk.GetArrayViewFromImage(brain)))
    if n_voxels < _MIN_BRAIN_VOXELS:
        raise InputError(f"The brain mask has {n_voxels} voxels.", "Check the mask.")
    on_grid = same_grid(pet.image, t1)
    poses = find_poses(pet.image, t1, brain, pet.measured, progress=part_of(progress, 0, 0.4))
    apart = _judge_as_it_lies(poses)
    transform: sitk.Transform = sitk.Transform(3, sitk.sitkIdentity)
    method: Literal["rigid", "grid", "header"] = "grid" if on_grid else "header"
    if register == "header":
        # The user's word stands against what the images say: told, but not refused.
        findings = tuple(replace(f, level="warn") for f in apart + judge_sides(poses.best, poses))
    elif register == "auto" and on_grid and not apart:
        findings = judge_sides(poses.best, poses)
    else:
        registration = register_pet_to_t1(
            pet.image, t1, brain, pet.measured, poses=poses, progress=part_of(progress, 0.4, 1)
        )
        method, transform = "rigid", registration.transform
        findings = registration.verdict.findings + (apart if on_grid else ())
    image, measured = _on_t1(pet, t1, transform)
    coverage = float(sitk.GetArrayViewFromImage(measured)[sitk.GetArrayViewFromImage(brain) > 0].mean())
    findings += judge_pet_coverage(coverage)
    overlap = brain_overlap(image, brain, measured)
    findings += _judge_overlap(overlap)
    refused = next((f for f in findings if f.level == "refuse"), None)
    if refused is not None:
        raise InputError(refused.message, refused.hint, findings)
    progress(1, 1, "PET on the T1")
    return AlignedPet(image, measured, transform, method, overlap, coverage, Verdict(findings))


def _on_t1(pet: PetImage, t1: sitk.Image, transform: sitk.Transform) -> tuple[sitk.Image, sitk.Image]:
    """The PET on the grid of the T1, and where it was measured: voxels that were not take no part."""
    image = sitk.Cast(pet.image, sitk.sitkFloat32)
    measured = pet.measured
    if measured is None:
        measured = Grid.of(image).image(np.ones(image.GetSize()[::-1], np.uint8))
    if same_grid(image, t1) and _is_identity(transform):
        return on_grid_of(image, t1), on_grid_of(measured, t1)
    grid = Grid.of(t1)
    share = resample(sitk.Cast(measured, sitk.sitkFloat32), grid, transform)
    covered = share >= 0.5
    on_t1 = resample(sitk.Mask(image, measured), grid, transform) / sitk.Maximum(share, 0.5)
    return sitk.Mask(on_t1, covered), sitk.Cast(covered, sitk.sitkUInt8)


def _is_identity(transform: sitk.Transform) -> bool:
    return bool(np.array_equal(affine_matrix(transform), np.eye(4)))


def _judge_as_it_lies(poses: FoundPoses) -> tuple[Finding, ...]:
    """Whether the PET lies on the T1 by the positions that the headers state."""
    lies, best = poses.as_it_lies, poses.best
    apart_mm = poses.distance_mm(lies, best)
    if apart_mm <= _APART_MM or lies.information >= _AS_GOOD * best.information:
        return ()
    message = (
        f"By the headers the PET lies {apart_mm:.0f} mm off the T1 and is turned by "
        f"{lies.angle_to(best):.0f} degrees (mutual information {lies.information:.2f} there, "
        f"{best.information:.2f} where it fits best)."
    )
    return (Finding("warn", "pet-apart", message, "Look at the overlay of PET and T1."),)


def _judge_overlap(overlap: float) -> tuple[Finding, ...]:
    if overlap >= MIN_BRAIN_OVERLAP:
        return ()
    message = (
        f"PET and T1 do not overlap (Dice of the brains {overlap:.2f}, at least {MIN_BRAIN_OVERLAP} needed)."
    )
    hint = "Check that both are of the same person and that the PET shows the brain."
    return (Finding("refuse", "pet-t1-overlap", message, hint),)


def mark_unmeasured(image: sitk.Image, measured: sitk.Image) -> sitk.Image:
    """An image as it is written: NaN where the PET was not measured (0 in ``measured``, on the same grid)."""
    in_view = sitk.Cast(measured > 0, sitk.sitkUInt8)
    return sitk.Mask(sitk.Cast(image, sitk.sitkFloat32), in_view, outsideValue=float("nan"))


def brain_overlap(pet: sitk.Image, mask: sitk.Image, measured: sitk.Image | None = None) -> float:
    """Dice of the brain and the PET's uptake within 20 mm of the brain, where the PET was measured.

    The threshold of the uptake (Otsu) is found there too: over the whole field of view it would separate the
    head from the air, and count uptake of the scalp as brain.

    :param pet: on the grid of ``mask``, as ``measured``.
    """
    brain = sitk.Cast(mask != 0, sitk.sitkUInt8)
    images = [sitk.Cast(pet, sitk.sitkFloat32), brain]
    images += [] if measured is None else [measured]
    shrink = [max(1, round(_OVERLAP_SPACING_MM / s)) for s in mask.GetSpacing()]
    small, inside, *rest = (
        sitk.Shrink(crop_to(i, brain, _OVERLAP_RIM_MM + 2 * _OVERLAP_SPACING_MM), shrink) for i in images
    )
    distance = sitk.SignedMaurerDistanceMap(inside, squaredDistance=False, useImageSpacing=True)
    near = sitk.Cast(distance <= _OVERLAP_RIM_MM, sitk.sitkUInt8)
    for area in rest:
        near, inside = near * area, inside * area
    values = sitk.GetArrayViewFromImage(small)[sitk.GetArrayViewFromImage(near) > 0]
    if not values.size or values.min() == values.max():
        return 0.0
    # A hot voxel would take all bins of the histogram.
    small = sitk.Clamp(small, sitk.sitkFloat32, float(values.min()), float(np.percentile(values, 99.8)))
    otsu = sitk.OtsuThresholdImageFilter()
    otsu.SetInsideValue(0)
    otsu.SetOutsideValue(1)
    otsu.SetMaskValue(1)
    otsu.MaskOutputOn()
    hot = sitk.GetArrayFromImage(otsu.Execute(small, near)) > 0
    brain_here = sitk.GetArrayViewFromImage(inside) > 0
    return float(2 * (hot & brain_here).sum() / max(1, hot.sum() + brain_here.sum()))
