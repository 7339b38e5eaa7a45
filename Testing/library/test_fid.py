"""FID: the closed form of Gaussians, refused for few slices, weights only from a file that runs nothing."""

from __future__ import annotations

import importlib.util
import pickle
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import SimpleITK as sitk
import torch
from scipy import linalg, ndimage

from MRI2PETLib.core.errors import DependencyError, InputError
from MRI2PETLib.evaluation.fid import SliceSets, frechet_distance
from MRI2PETLib.evaluation.slice_features import (
    TEXTURE_NAMES,
    SliceFeatures,
    features_named,
    load_inception,
    network_features,
    texture,
)
from MRI2PETLib.templates.icbm152 import load_template


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


@cache
def slab() -> sitk.Image:
    """12 slices of the template's brain."""
    mask = load_template().mask
    low = mask.GetSize()[2] // 2
    return mask[:, :, low : low + 12]


def noise(seed: int) -> np.ndarray:
    """A PET of noise."""
    return np.random.default_rng(seed).uniform(0.5, 1.5, slab().GetSize()[::-1])


def sets_of(
    features: SliceFeatures, change: Callable[[np.ndarray], np.ndarray], people: int = 4
) -> SliceSets:
    sets = SliceSets(features)
    for number in range(people):
        real = noise(number)
        images = {"real": real, "network": change(real)}
        sets.add(f"person{number}", images, slab(), sitk.Transform(3, sitk.sitkIdentity))
    return sets


@pytest.mark.parametrize(
    "features",
    [
        features_named("texture"),
        SliceFeatures("small", lambda slices, inside: network_features(slices * inside, Small()), False),
    ],
    ids=["texture", "network"],
)
def test_a_wrong_level_counts(features: SliceFeatures) -> None:
    (same,) = sets_of(features, lambda real: real).table()
    (low,) = sets_of(features, lambda real: 0.7 * real).table()
    assert same.fid == pytest.approx(0, abs=1e-6)
    assert low.fid is not None and low.real_halves is not None and low.fid > max(low.real_halves, 0.01)
    assert low.n_people == 4 and low.n_slices == 48


def test_real_pets_of_other_people_are_as_near_as_halves_and_smooth_ones_are_far() -> None:
    features = features_named("texture")
    others = iter(range(100, 200))
    (row,) = sets_of(features, lambda real: noise(next(others))).table()
    (smooth,) = sets_of(features, lambda real: ndimage.gaussian_filter(real, 1.0)).table()
    assert row.fid is not None and smooth.fid is not None and row.real_halves is not None
    assert row.fid < 2 * row.real_halves < smooth.fid / 10


def test_the_distance_is_that_of_scipy_on_standardised_features() -> None:
    sets = sets_of(features_named("texture"), lambda real: 0.8 * real + 0.1)
    (row,) = sets.table()
    real, synthetic = (sets._rows(name) for name in ("real", "network"))
    real, synthetic = real / (sd := real.std(axis=0)), synthetic / sd
    c1, c2 = np.cov(real.T), np.cov(synthetic.T)
    root = linalg.sqrtm(c1 @ c2).real
    apart = np.sum((real.mean(axis=0) - synthetic.mean(axis=0)) ** 2)
    assert row.fid == pytest.approx(apart + np.trace(c1 + c2 - 2 * root), rel=1e-4)


def test_texture_of_a_slice_by_hand() -> None:
    """A checkerboard of 0 and 1 in a square: mean 1/2, steps of 1 both ways, no pattern above 8 mm."""
    board = np.indices((12, 12)).sum(axis=0) % 2
    (row,) = texture(board[None].astype(float), np.ones((1, 12, 12), bool))
    named = dict(zip(TEXTURE_NAMES, row))
    assert [named[n] for n in ("mean", "5th percentile", "median", "95th percentile")] == [0.5, 0, 0.5, 1]
    assert named["steps left to right"] == named["steps front to back"] == 1
    assert named["detail below 2 mm"] == pytest.approx(0.5, rel=0.02)
    assert named["pattern above 8 mm"] < 0.02


def test_what_is_outside_of_the_brain_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    slices, inside = rng.random((2, 20, 20)), np.zeros((2, 20, 20), bool)
    inside[:, 5:15, 5:15] = True
    first = texture(slices, inside)
    slices[~inside] = 99.0
    assert np.array_equal(texture(slices, inside), first)


def test_a_real_pet_of_nothing_is_refused() -> None:
    zeros = np.zeros(slab().GetSize()[::-1])
    with pytest.raises(InputError, match="nothing above zero"):
        SliceSets(features_named("texture")).add(
            "a", {"real": zeros, "network": zeros}, slab(), sitk.Transform(3, sitk.sitkIdentity)
        )


def test_features_are_named_or_a_file() -> None:
    with pytest.raises(InputError, match="'inception' is neither the name of features nor a file"):
        features_named("inception")


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_inception_of_a_file_with_random_weights(tmp_path: Path, suffix: str) -> None:
    """The features are those of torchvision's network on slices as photographs, by SciPy's zoom; trained
    weights are not at hand.
    """
    models = pytest.importorskip(
        "torchvision.models", exc_type=(ImportError, RuntimeError), reason="no torchvision for this torch"
    )
    torch.manual_seed(0)
    network = models.inception_v3(weights=None, aux_logits=True, init_weights=False).eval()
    path = tmp_path / f"inception.{suffix}"
    if suffix == "pth":
        torch.save(network.state_dict(), path)
    else:
        safetensors.torch.save_file(network.state_dict(), path)
    slices = ndimage.gaussian_filter(np.random.default_rng(0).random((3, 60, 50)), (0, 2, 2))
    features = features_named(str(path))
    rows = features.compute(slices, slices > 0)
    assert features.name == f"Inception v3 (weights inception.{suffix})" and rows.shape == (3, 2048)
    zoom = (1, 299 / 60, 299 / 50)
    large = ndimage.zoom(slices, zoom, order=1, mode="nearest", grid_mode=True)
    photographs = np.stack([(large - m) / s for m, s in zip((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))], 1)
    network.fc = torch.nn.Identity()
    with torch.inference_mode():
        expected = network(torch.from_numpy(photographs.astype(np.float32))).numpy()
    np.testing.assert_allclose(rows, expected, atol=1e-3 * np.abs(expected).max())
    with pytest.raises(InputError, match="holds no weights of Inception v3"):
        state = {name: value for name, value in network.state_dict().items() if "Mixed_7c" not in name}
        torch.save(state, tmp_path / "half.pth")
        load_inception(tmp_path / "half.pth")


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
