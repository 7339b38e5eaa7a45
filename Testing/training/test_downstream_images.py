"""The example with images: measures by hand and by scikit-learn, and what only a tracer knows."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from MRI2PETLib.images.io import write_image
from MRI2PETLib.simulation import simulate_subject

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def example() -> ModuleType:
    path = REPOSITORY / "Docs" / "examples" / "downstream_images.py"
    spec = importlib.util.spec_from_file_location("downstream_images", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    module.FOLDS, module.EPOCHS, module.BOOTSTRAPS = 2, 12, 200  # type: ignore[attr-defined]
    torch.set_num_threads(1)
    return module


def test_areas_equal_those_of_scikit_learn(example: ModuleType) -> None:
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(0)
    group = np.array([0, 1, 2] * 9)
    probability = rng.dirichlet(np.ones(3), 27).round(1) + 1e-3  # with ties
    probability /= probability.sum(1, keepdims=True)
    expected = roc_auc_score(group, probability, multi_class="ovr", average="macro")
    assert example.macro_area(probability, group) == pytest.approx(expected)
    assert example.area(np.array([0.0, 2.0, 1.0, 3.0]), np.array([False, False, True, True])) == 0.75
    assert np.isnan(example.macro_area(probability, np.zeros(27, int)))


def test_measures_by_hand(example: ModuleType) -> None:
    """Four people, one of group 0 taken for 1: recalls 1/2, 1, 1; F1 2/3, 2/3, 1."""
    probability = np.eye(3)[[0, 1, 1, 2]]
    measures = example.classification(probability, np.array([0, 0, 1, 2]))
    assert measures["accuracy"] == 0.75 and measures["balanced accuracy"] == pytest.approx(2.5 / 3)
    assert measures["F1"] == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)
    measures = example.regression(np.array([[1.0], [2.0], [3.0]]), np.array([2.0, 4.0, 6.0]))
    assert measures == {"r": pytest.approx(1.0), "MSE": pytest.approx(14 / 3)}


def test_what_only_the_tracer_knows_no_synthetic_pet_can_tell(example: ModuleType) -> None:
    people = example.simulate(1, paired=30, extra=15, tracer_only=4.0)
    predictions, truth = example.out_of_fold(people, classes=3, seeds=1)
    assert truth.shape == (30,) and predictions["real PETs"].shape == (1, 30, 3)
    assert np.allclose(predictions["real pairs"].sum(axis=2), 1)
    limits = example.intervals(predictions, truth, than="real PETs")
    assert limits["real PETs"][0] > 0.8
    for name in ("synthetic PETs", "T1s of people with a PET"):
        value, low, high, gain, least, most = limits[name]
        assert low <= value <= high and least <= gain <= most < 0, name


def test_a_score_is_predicted_from_real_pets(example: ModuleType) -> None:
    people = example.simulate(2, paired=30, extra=6, tracer_only=4.0)
    people.score[people.subject == "person000"] = np.nan  # who has none is left out
    predictions, truth = example.out_of_fold(people, classes=0, seeds=1)
    assert truth.shape == (29,)
    assert example.regression(predictions["real PETs"][0], truth)["r"] > 0.5


def test_a_constant_score_of_people_moves_no_interval(example: ModuleType) -> None:
    """The interval of a difference of a training from itself is 0."""
    rng = np.random.default_rng(0)
    own = {"real pairs": rng.random((2, 20, 3))}
    value = example.intervals(own, np.arange(20) % 3)["real pairs"]
    assert value[3:] == (0.0, 0.0, 0.0) and value[1] < value[0] < value[2]


def test_a_table_of_cases_is_read(example: ModuleType, tmp_path: Path) -> None:
    subject = simulate_subject(0, spacing_mm=5.0)
    write_image(subject.t1, tmp_path / "t1.nii.gz")
    write_image(subject.pet, tmp_path / "pet.nii.gz", {"Units": "SUV"})
    lines = [
        "case,subject,group,mmse,t1,synthetic,pet",
        "a,a,AD,21,t1.nii.gz,pet.nii.gz,pet.nii.gz",
        "b,b,NC,,t1.nii.gz,pet.nii.gz,",
    ]
    (tmp_path / "cases.csv").write_text("\n".join(lines))
    people, groups = example.read_people(tmp_path / "cases.csv")
    assert groups == ["AD", "NC"] and people.has_pet.tolist() == [True, False]
    assert people.score[0] == 21 and np.isnan(people.score[1])
    inside = people.pet[0] > 0
    assert people.pet[0][inside].mean() == pytest.approx(1.0, abs=0.1)
    assert 0 <= people.t1.min() and people.t1.max() <= 1
    assert np.array_equal(people.pet[0], people.synthetic[0])
