"""What the searches of poses are made of, against SciPy and formulas."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from MRI2PETLib.preprocessing.pose_search import climb, mutual_information, rotation_about
from MRI2PETLib.preprocessing.template_pose import _finer, _rotation


@pytest.mark.parametrize("axis", [(0.0, 0.0, 0.0), (0.3, 0.0, 0.0), (1.0, -2.0, 0.5), (0.0, 3.0, -1e-9)])
def test_a_rotation_is_that_of_scipy(axis: tuple[float, float, float]) -> None:
    assert rotation_about(axis) == pytest.approx(Rotation.from_rotvec(axis).as_matrix(), abs=1e-14)


def test_angles_turn_about_x_then_y_then_z() -> None:
    expected = Rotation.from_euler("xyz", (-40, 25, 10), degrees=True).as_matrix()
    assert _rotation(-40, 25, 10) == pytest.approx(expected, abs=1e-14)


def test_mutual_information_of_counts() -> None:
    """Of independent images 0, of an image with itself its entropy, and the sum of the definition."""
    assert mutual_information(np.outer([1, 2, 3], [4, 0, 5])) == pytest.approx(0, abs=1e-14)
    assert mutual_information(np.diag([1, 1, 2, 0])) == pytest.approx(0.5 * np.log(4) + 0.5 * np.log(2))
    joint = np.array([[3, 0, 2], [1, 7, 0]])
    p = joint / joint.sum()
    expected = sum(
        p[i, j] * np.log(p[i, j] / (p[i].sum() * p[:, j].sum())) for i, j in zip(*np.nonzero(joint))
    )
    assert mutual_information(joint) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(3))
def test_the_climb_ends_at_the_top(seed: int) -> None:
    rng = np.random.default_rng(seed)
    units, top = rng.uniform(0.1, 5, 7), rng.normal(size=7)

    def height(change: np.ndarray) -> float:
        return 3.0 - float(np.square(change / units - top).sum())

    there, reached = climb(height, units.tolist(), 3000, step=1e-4, gain=1e-9)
    assert there == pytest.approx(top * units, abs=2e-3 * units.max())
    assert reached == pytest.approx(3.0, abs=1e-5)


@pytest.mark.parametrize("times", [1, 2, 3])
@pytest.mark.parametrize("axis", range(3))
def test_values_between_others_are_on_the_line_between_them(axis: int, times: int) -> None:
    values = np.random.default_rng(0).normal(size=(4, 5, 6)).astype(np.float32)
    finer = _finer(values, axis, times)
    n = values.shape[axis]
    at = np.arange((n - 1) * times + 1) / times
    expected = np.apply_along_axis(lambda line: np.interp(at, np.arange(n), line), axis, values)
    assert finer.shape == expected.shape and finer == pytest.approx(expected, abs=1e-6)
