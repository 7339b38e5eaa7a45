"""The GAN learns a tiny known mapping, uses its source, and its presets are what they say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from MRI2PETLib.core.progress import no_progress
from MRI2PETLib.models import get_family
from MRI2PETLib.models.pix2pix import Critic
from MRI2PETTrainingLib.fit import fit_fold
from MRI2PETTrainingLib.hardware import Hardware
from MRI2PETTrainingLib.learner import nmse_and_r
from MRI2PETTrainingLib.presets import Augmentation, read_preset
from small_datasets import prepared_cases, tiny_preset

CPU = Hardware("cpu")
PAIRS = 4


def gan_preset(**overrides: Any) -> Any:
    settings: dict[str, Any] = {
        "family": "pix2pix",
        "network": {"channels": 8, "levels": 2},
        "loss": {"critic_channels": 8, "critic_layers": 1, "critic_rate": 0.1},
        "learning_rate": 0.005,
        "beta1": 0.5,
        "batch_size": 1,
        "ema_decay": 0.0,
        "augmentation": Augmentation(),
    }
    return tiny_preset(**{**settings, **overrides})


@pytest.mark.parametrize(
    ("network", "loss"),
    [({}, {}), ({"dims": 2}, {"dims": 2, "adversarial": "bce", "slices": 8})],
    ids=["3d", "2d"],
)
def test_pairs_are_learnt_and_the_own_one_is_never_beaten(
    tmp_path: Path, network: dict[str, Any], loss: dict[str, Any]
) -> None:
    """Normalised MSE below .10 (noise alone leaves .01), and below half of that against another's target."""
    pairs = prepared_cases(tmp_path / "cache", [f"p{i}" for i in range(PAIRS)])
    base = gan_preset()
    preset = gan_preset(epochs=3, network={**base.network, **network}, loss={**base.loss, **loss})
    fitted = fit_fold(tmp_path, pairs * 20, pairs, preset, seed=1, hardware=CPU)
    assert fitted.history[fitted.epoch]["val_nmse"] < 0.10
    predicted, errors = [], np.zeros((PAIRS, PAIRS))
    for pair in pairs:
        source = torch.from_numpy(np.array(pair.arrays()[0], dtype=np.float32))[None, None]
        mean, _ = get_family("pix2pix").predict(
            fitted.network.eval(), source, samples=1, steps=0, seed=0, progress=no_progress
        )
        predicted.append(mean[0, 0])
    for a, prediction in enumerate(predicted):
        for b, other in enumerate(pairs):
            _, target, mask = torch.from_numpy(np.array(other.arrays(), dtype=np.float32))
            errors[a, b] = nmse_and_r(prediction[mask > 0], target[mask > 0])[0]
    others = errors[~np.eye(PAIRS, dtype=bool)].reshape(PAIRS, -1)
    assert (errors.diagonal() < 0.5 * others.min(axis=1)).all()


def test_the_published_preset() -> None:
    """Axial slices of 192 x 256 voxels of 1.2 x 1 mm, patches of 70, L1 100, from PET to MR."""
    preset = read_preset("choilee2018")
    assert preset.space.size[:2] == (192, 256) and preset.space.spacings_mm == (1.2, 1.0, 1.0)
    assert (preset.space.source_modality, preset.space.target_modality) == ("PET", "MR")
    family = get_family(preset.family)
    network, objective = family.build(dict(preset.network)), family.objective(dict(preset.loss))
    assert network.dims == 2 and objective.lambda_l1 == 100
    (critic,) = (m for m in objective.modules() if isinstance(m, Critic))
    assert [m.out_channels for m in critic if isinstance(m, torch.nn.Conv2d)] == [64, 128, 256, 512, 1]
    with torch.inference_mode():
        assert network.eval()(torch.rand(1, 1, 1, 256, 192)).shape == (1, 1, 1, 256, 192)


def test_the_3d_preset() -> None:
    preset = read_preset("pix2pix-3d")
    assert (preset.space.source_modality, preset.space.target_modality) == ("PET", "MR")
    family = get_family(preset.family)
    network, objective = family.build(dict(preset.network)), family.objective(dict(preset.loss))
    assert network.dims == objective.dims == 3
