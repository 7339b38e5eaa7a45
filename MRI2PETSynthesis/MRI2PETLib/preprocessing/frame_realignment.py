"""Motion between the frames of a dynamic PET: each frame laid rigidly on the longest one, then averaged.

Late frames of a tracer look alike but for noise and a slow change of level, so least squares of the
blurred images measure their fit. Frames of the first minutes show blood, not tissue: they are not what this
is for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK as sitk

from MRI2PETLib.core.findings import Finding
from MRI2PETLib.preprocessing.smoothing import smooth_fwhm

# Wide first, to find a motion of centimetres, then as narrow as the noise of frames of some minutes allows.
_FWHMS_MM, _GRID_MM = (16.0, 8.0), 4.0
_STEPS, _STILL_MM, _HEAD_RADIUS_MM = 30, 0.005, 70.0
# The fit sees the head and this rim around it.
_RIM_MM = 10.0
_MEASURED = 0.999
# People do not move further between two frames of one scan.
_FAR_MM, _FAR_DEG = 30.0, 30.0
_TOLD_MM = 3.0


@dataclass(frozen=True)
class FrameMotion:
    """How a frame had moved against the reference frame.

    :ivar frame: its number, from 0.
    :ivar transform: from points of the reference to points of the frame, in mm along i, j, k.
    :ivar displacement_mm: mean over the head.
    """

    frame: int
    transform: sitk.Euler3DTransform
    translation_mm: float
    rotation_deg: float
    displacement_mm: float
    used: bool = True

    def to_dict(self) -> dict[str, Any]:
        return {
            "frame": self.frame,
            "translation_mm": round(self.translation_mm, 3),
            "rotation_deg": round(self.rotation_deg, 3),
            "mean_displacement_mm": round(self.displacement_mm, 3),
            **({} if self.used else {"left_where_it_was": True}),
        }


@dataclass(frozen=True)
class RealignedMean:
    """Average of realigned frames.

    :ivar values: float32 [k, j, i]; NaN where no frame was measured.
    :ivar reference: number of the frame that did not move.
    """

    values: np.ndarray
    reference: int
    motions: tuple[FrameMotion, ...]

    def record(self) -> dict[str, Any]:
        """For sidecars."""
        return {
            "reference_frame": self.reference,
            "mean_displacement_mm": round(
                float(np.mean([m.displacement_mm for m in self.motions] or [0.0])), 3
            ),
            "frames": [motion.to_dict() for motion in self.motions],
        }

    def findings(self) -> tuple[Finding, ...]:
        """What to tell about the motion."""
        if not self.motions:
            return (Finding("ok", "frames-realigned", "One frame lies in the window: nothing to realign."),)
        worst = max(self.motions, key=lambda m: m.displacement_mm if m.used else 0.0)
        message = f"{len(self.motions)} frames were realigned to frame {self.reference}; the largest mean "
        message += f"displacement of the head was {worst.displacement_mm:.1f} mm (frame {worst.frame})."
        level = "warn" if worst.displacement_mm > _TOLD_MM else "ok"
        hint = "Attenuation correction does not follow the head: look at the PET." if level == "warn" else ""
        items = [Finding(level, "frames-realigned", message, hint)]  # type: ignore[arg-type]
        for motion in (m for m in self.motions if not m.used):
            message = f"Frame {motion.frame} did not fit the others ({motion.translation_mm:.0f} mm, "
            message += f"{motion.rotation_deg:.0f} degrees): it is averaged where it was."
            items.append(Finding("warn", "frame-not-realigned", message, "Check that frame."))
        return tuple(items)


def realigned_mean(
    read_frame: Callable[[int], np.ndarray],
    weights: Sequence[float] | np.ndarray,
    durations_s: Sequence[float],
    spacing_mm: Sequence[float],
) -> RealignedMean:
    """Weighted mean of the frames of non-zero weight after each was registered to the longest of them.

    Voxels that a moved frame did not measure are averaged over the other frames.

    :param read_frame: frame t as an array [k, j, i]; NaN was not measured.
    :param weights: one for each frame, see :func:`.pet_frames.frame_weights`.
    :param spacing_mm: of the voxels along i, j, k, which are taken as orthogonal.
    """
    used = [int(t) for t in np.flatnonzero(np.asarray(weights))]
    middle = used[len(used) // 2]
    reference = max(used, key=lambda t: (durations_s[t], -abs(t - middle)))
    fixed = _Frame.read(read_frame(reference), spacing_mm)
    head = _head(fixed.blurred(_FWHMS_MM[-1])[0])
    total = np.where(fixed.in_view, fixed.values, 0.0) * weights[reference]
    weight = fixed.in_view * float(weights[reference])
    motions = []
    for t in used:
        if t == reference:
            continue
        frame = _Frame.read(read_frame(t), spacing_mm)
        transform = _register(fixed, frame, head)
        motion = _motion(t, transform, head)
        motions.append(motion)
        values, inside = frame.moved(transform if motion.used else sitk.Transform(3, sitk.sitkIdentity))
        total += np.where(inside, values, 0.0) * weights[t]
        weight += inside * float(weights[t])
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(weight > 0, total / weight, np.nan)
    return RealignedMean(mean.astype(np.float32), reference, tuple(motions))


@dataclass(frozen=True)
class _Frame:
    """A frame in mm along its own axes. ``in_view`` is where it was measured."""

    values: np.ndarray
    in_view: np.ndarray
    image: sitk.Image

    @staticmethod
    def read(values: np.ndarray, spacing_mm: Sequence[float]) -> _Frame:
        inside = np.isfinite(values)
        image = sitk.GetImageFromArray(np.where(inside, values, 0.0).astype(np.float32))
        image.SetSpacing([float(s) for s in spacing_mm])
        return _Frame(values, inside, image)

    def mask(self) -> sitk.Image:
        """Where it was measured, uint8."""
        image = sitk.GetImageFromArray(self.in_view.astype(np.uint8))
        image.CopyInformation(self.image)
        return image

    def blurred(self, fwhm_mm: float) -> tuple[sitk.Image, sitk.Image]:
        """Coarse and without hot voxels, for the fit, and where it and its gradient were measured (1.0)."""
        high = float(np.percentile(self.values[self.in_view], 99.8)) if self.in_view.any() else 0.0
        clipped = sitk.Clamp(self.image, sitk.sitkFloat32, 0.0, high) if high > 0 else self.image
        bins = [max(1, int(_GRID_MM / s)) for s in self.image.GetSpacing()]
        # Not Shrink: it takes a voxel for the middle of two.
        smooth = sitk.BinShrink(smooth_fwhm(clipped, fwhm_mm, self.mask()), bins)
        mask = sitk.BinShrink(sitk.Cast(self.mask(), sitk.sitkFloat32), bins) > _MEASURED
        return smooth, sitk.Cast(sitk.BinaryErode(mask, [1] * 3, sitk.sitkBox), sitk.sitkFloat32)

    def moved(self, transform: sitk.Transform) -> tuple[np.ndarray, np.ndarray]:
        """The frame on the grid of the reference, by one cubic interpolation, and where it was measured."""
        values = sitk.Resample(self.image, self.image, transform, sitk.sitkBSpline, 0.0)
        inside = sitk.Resample(self.mask(), self.image, transform, sitk.sitkNearestNeighbor, 0)
        return sitk.GetArrayFromImage(values), sitk.GetArrayFromImage(inside) > 0


def _head(blurred: sitk.Image) -> sitk.Image:
    """Where there is uptake, and a rim."""
    hot = sitk.OtsuThreshold(blurred, 0, 1)
    distance = sitk.SignedMaurerDistanceMap(hot, squaredDistance=False, useImageSpacing=True)
    return sitk.Cast(distance <= _RIM_MM, sitk.sitkUInt8)


def _register(fixed: _Frame, moving: _Frame, head: sitk.Image) -> sitk.Euler3DTransform:
    """The rigid transform from points of the reference to points of the frame.

    Least squares over six parameters and the level of the frame, by Gauss-Newton steps with the mean of both
    gradients (Malis 2004). A round head says little about its rotation: first-order optimisers stop degrees
    away from the minimum that this finds in about ten steps.
    """
    points = _points(head)
    centre = points.mean(axis=0)
    inside = sitk.GetArrayViewFromImage(head) > 0
    transform = sitk.Euler3DTransform()
    transform.SetCenter(centre.tolist())
    for fwhm_mm in _FWHMS_MM:
        reference, image = fixed.blurred(fwhm_mm), moving.blurred(fwhm_mm)
        truth, slope = (
            part[inside] for part in (sitk.GetArrayViewFromImage(reference[0]), _gradient(reference[0]))
        )
        own = sitk.GetArrayViewFromImage(reference[1])[inside] > _MEASURED
        for _ in range(_STEPS):
            moved, in_view = (sitk.Resample(i, head, transform, sitk.sitkLinear, 0.0) for i in image)
            use = own & (sitk.GetArrayViewFromImage(in_view)[inside] > _MEASURED)
            values = sitk.GetArrayViewFromImage(moved)[inside][use]
            level = float(truth[use] @ values) / max(float(values @ values), 1e-30)
            both = (slope[use] + level * _gradient(moved)[inside][use]) / 2
            columns = [np.cross(points[use] - centre, both), both, values[:, None]]
            step = np.linalg.lstsq(np.hstack(columns), truth[use] - level * values, rcond=None)[0]
            transform = _before(transform, step[:3], step[3:6])
            if np.linalg.norm(step[3:6]) + np.linalg.norm(step[:3]) * _HEAD_RADIUS_MM < _STILL_MM:
                break
    return transform


def _before(
    transform: sitk.Euler3DTransform, turn: np.ndarray, shift_mm: np.ndarray
) -> sitk.Euler3DTransform:
    """The transform after a turn (rotation vector, rad) about its centre and a shift."""
    from scipy.spatial.transform import Rotation

    matrix = np.array(transform.GetMatrix()).reshape(3, 3)
    moved = sitk.Euler3DTransform(transform)
    # Rounding adds up over the steps; Rotation makes the product orthonormal again.
    product = Rotation.from_matrix(matrix @ Rotation.from_rotvec(turn).as_matrix()).as_matrix()
    moved.SetMatrix(product.ravel().tolist(), tolerance=1e-6)
    moved.SetTranslation((np.array(transform.GetTranslation()) + matrix @ shift_mm).tolist())
    return moved


def _gradient(image: sitk.Image) -> np.ndarray:
    """Gradient in mm along x, y, z, [k, j, i, 3]."""
    slopes = np.gradient(sitk.GetArrayViewFromImage(image), *image.GetSpacing()[::-1])
    return np.stack(slopes[::-1], axis=-1)


def _motion(frame: int, transform: sitk.Euler3DTransform, head: sitk.Image) -> FrameMotion:
    points = _points(head)
    rotation = np.array(transform.GetMatrix()).reshape(3, 3)
    centre = np.array(transform.GetCenter())
    shift = np.array(transform.GetTranslation())
    angle = math.degrees(math.acos(float(np.clip((np.trace(rotation) - 1) / 2, -1, 1))))
    moved = (points - centre) @ rotation.T + centre + shift
    displacement = float(np.linalg.norm(moved - points, axis=1).mean())
    distance = float(np.linalg.norm(shift))
    near = distance <= _FAR_MM and angle <= _FAR_DEG
    return FrameMotion(frame, transform, distance, angle, displacement, used=near)


def _points(mask: sitk.Image) -> np.ndarray:
    """Centres of the voxels of a mask in mm, [n, 3] as x, y, z."""
    index = np.argwhere(sitk.GetArrayViewFromImage(mask) > 0)[:, ::-1]
    return index * np.array(mask.GetSpacing()) + np.array(mask.GetOrigin())
