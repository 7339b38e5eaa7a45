"""What the searches for the pose of a head and of a PET share: rotations, mutual information, improvement.

Nothing here is random.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

_ROTATIONS = 1000  # neighbours are 18 degrees apart


class Posed(Protocol):
    """A pose: what it is ranked by, and what tells it from others.

    :ivar rotation: 3 x 3.
    :ivar information: mutual information (nats) there.
    """

    @property
    def rotation(self) -> np.ndarray: ...
    @property
    def information(self) -> float: ...


_Pose = TypeVar("_Pose", bound=Posed)


def angle_deg(rotation: np.ndarray) -> float:
    """The angle of a rotation (3 x 3) in degrees."""
    return math.degrees(math.acos(float(np.clip((np.trace(rotation) - 1) / 2, -1, 1))))


def degrees_between(a: Posed, b: Posed) -> float:
    """The angle between the rotations of two poses."""
    return angle_deg(a.rotation @ b.rotation.T)


@cache
def all_rotations() -> np.ndarray:
    """1000 rotations [n, 3, 3] that cover all of them evenly: super-Fibonacci spirals (Alexa 2022)."""
    from scipy.spatial.transform import Rotation

    s = np.arange(_ROTATIONS) + 0.5
    inner, outer = np.sqrt(s / _ROTATIONS), np.sqrt(1 - s / _ROTATIONS)
    # The two constants of the paper: sqrt(2), and the positive root of psi^4 = psi + 4.
    a, b = 2 * np.pi * s / math.sqrt(2.0), 2 * np.pi * s / 1.533751168755204288118041
    quaternions = [inner * np.sin(a), inner * np.cos(a), outer * np.sin(b), outer * np.cos(b)]
    return Rotation.from_quat(np.stack(quaternions, axis=1)).as_matrix()


def rotation_about(axis: Sequence[float] | np.ndarray) -> np.ndarray:
    """The rotation (3 x 3) about an axis by its length in rad: Rodrigues' formula.

    A search makes thousands, one at a time: SciPy's ``Rotation`` takes ten times as long for one.
    """
    angle = math.hypot(*axis)
    x, y, z = (float(a) / (angle or 1.0) for a in axis)
    sine, cosine, rest = math.sin(angle), math.cos(angle), 1.0 - math.cos(angle)
    return np.array(
        (
            (cosine + rest * x * x, rest * x * y - sine * z, rest * x * z + sine * y),
            (rest * x * y + sine * z, cosine + rest * y * y, rest * y * z - sine * x),
            (rest * x * z - sine * y, rest * y * z + sine * x, cosine + rest * z * z),
        )
    )


def mutual_information(joint: NDArray[np.integer]) -> float:
    """Mutual information (nats) of a joint histogram, whose counts are not all 0."""

    def times_log(counts: NDArray[np.integer]) -> float:
        return float(np.dot(counts, np.log(np.maximum(counts, 1))))

    total = int(joint.sum())
    apart = times_log(joint.sum(axis=0)) + times_log(joint.sum(axis=1))
    return (times_log(joint.ravel()) - apart) / total + math.log(total)


def best_first(poses: Iterable[_Pose]) -> list[_Pose]:
    """Sorted by mutual information."""
    return sorted(poses, key=lambda pose: -pose.information)


def distinct(ranked: Sequence[_Pose], apart_deg: float, count: int) -> list[_Pose]:
    """The first poses, no two within some degrees of each other."""
    poses_apart: list[_Pose] = []
    for pose in ranked:
        if all(degrees_between(pose, other) > apart_deg for other in poses_apart):
            poses_apart.append(pose)
        if len(poses_apart) == count:
            break
    return poses_apart


def far_from(centre: np.ndarray, others: Sequence[np.ndarray], apart_mm: float) -> bool:
    """Whether a point (mm) is far from all others."""
    return all(np.linalg.norm(centre - other) > apart_mm for other in others)


def climb(
    information: Callable[[np.ndarray], float],
    units: Sequence[float],
    looks: int,
    *,
    step: float,
    gain: float,
) -> tuple[np.ndarray, float]:
    """Nelder-Mead from no change at all.

    :param information: of a change of the start, an array like ``units``.
    :param units: size of the first step along each parameter.
    :param looks: calls of ``information`` at most.
    :param step: smallest step, in units, and ``gain``: smallest gain worth going on for.
    :returns: the best change, and the information there.
    """
    from scipy.optimize import minimize

    n, scale = len(units), np.array(units, dtype=float)
    best = minimize(
        lambda parameters: -information(parameters * scale),
        np.zeros(n),
        method="Nelder-Mead",
        options={
            "initial_simplex": np.vstack([np.zeros(n), np.eye(n)]),
            "maxfev": looks,
            "xatol": step,
            "fatol": gain,
        },
    )
    return best.x * scale, -float(best.fun)
