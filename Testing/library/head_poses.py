"""Turned heads for tests and benchmarks: a rigid motion of the header, so that voxels can be compared."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk


def turned(image: sitk.Image, rotation: np.ndarray) -> sitk.Image:
    """The image with its header turned about the origin of the world (a mirror is a matrix too)."""
    moved = sitk.Image(image)
    moved.SetOrigin((rotation @ image.GetOrigin()).tolist())
    moved.SetDirection((rotation @ np.reshape(image.GetDirection(), (3, 3))).ravel().tolist())
    return moved


def rotation_xyz(pitch: float, roll: float, yaw: float) -> np.ndarray:
    """Rotation about x, then y, then z (degrees, LPS): 3 x 3."""
    transform = sitk.Euler3DTransform()
    transform.SetComputeZYX(True)
    transform.SetRotation(*np.radians([pitch, roll, yaw]).tolist())
    return np.reshape(transform.GetMatrix(), (3, 3))


def random_rotation(rng: np.random.Generator) -> np.ndarray:
    """Any rotation, all equally likely (3 x 3)."""
    q = rng.normal(size=4)
    w, x, y, z = q / np.linalg.norm(q)
    versor = sitk.VersorTransform()
    versor.SetParameters([x, y, z] if w >= 0 else [-x, -y, -z])
    return np.reshape(versor.GetMatrix(), (3, 3))


def degrees_between(a: np.ndarray, b: np.ndarray) -> float:
    """Angle of the rotation from one frame (3 x 3) to another."""
    return float(np.degrees(np.arccos(np.clip((np.trace(a @ b.T) - 1) / 2, -1, 1))))
