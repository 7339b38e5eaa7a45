"""FID: the closed form of Gaussians, refused for few slices, weights only from a file that runs nothing."""

from __future__ import annotations

import importlib.util
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from MRI2PETLib.core.errors import DependencyError, InputError
from MRI2PETLib.evaluation.fid import fid, frechet_distance, load_inception


def with_moments(mean: list[float], covariance: list[list[float]], n: int = 50) -> np.ndarray:
    """Features whose sample mean and covariance are exactly these."""
    x = np.random.default_rng(0).standard_normal((n, len(mean)))
    x -= x.mean(axis=0)
    x = x @ np.linalg.inv(np.linalg.cholesky(np.cov(x, rowvar=False))).T
    return x @ np.linalg.cholesky(np.array(covariance)).T + mean


def test_the_distance_of_gaussians_in_closed_form() -> None:
    """Commuting covariances: |m|^2 + sum (sqrt a - sqrt b)^2 = 3^2 + 4^2 + (2 - 1)^2 + (3 - 5)^2 = 30."""
    first = with_moments([0, 0], [[4, 0], [0, 9]])
    second = with_moments([3, 4], [[1, 0], [0, 25]])
    assert frechet_distance(first, second) == pytest.approx(30.0)
    assert frechet_distance(first, first) == pytest.approx(0.0, abs=1e-9)


def test_a_rotation_of_both_changes_nothing() -> None:
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    first, second = with_moments([0, 0], [[2, 0.5], [0.5, 1]]), with_moments([1, 0], [[1, -0.3], [-0.3, 3]])
    assert frechet_distance(first @ turn, second @ turn) == pytest.approx(frechet_distance(first, second))


def test_few_slices_are_refused() -> None:
    features = np.random.default_rng(0).standard_normal((8, 32))
    with pytest.raises(InputError, match="8 slices and 32 features"):
        frechet_distance(features, features)


class Small(torch.nn.Module):
    """Two features of a slice: mean and mean square."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([x.mean(dim=(1, 2, 3)), x.square().mean(dim=(1, 2, 3))], dim=1)


def test_a_wrong_level_counts() -> None:
    rng = np.random.default_rng(1)
    real = [np.pad(rng.uniform(0.5, 1.5, (6, 8, 8)), 1) for _ in range(3)]
    assert fid(real, real, Small()) == pytest.approx(0, abs=1e-6)
    assert fid([0.7 * v for v in real], real, Small()) > 0.01
    with pytest.raises(InputError, match="nothing above zero"):
        fid(real, [np.zeros((4, 4, 4))], Small())


def test_weights_come_from_a_file_and_nothing_in_it_is_run(tmp_path: Path) -> None:
    marker = tmp_path / "ran"

    class Evil:
        def __reduce__(self) -> tuple:
            return Path.touch, (marker,)

    path = tmp_path / "inception.pth"
    path.write_bytes(pickle.dumps(Evil()))
    usable = importlib.util.find_spec("torchvision") is not None
    with pytest.raises((InputError, DependencyError) if usable else DependencyError):
        load_inception(path)
    assert not marker.exists()
