"""What the network and every baseline reach on people who were not in the training, in one table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.polynomial import polynomial

from MRI2PETLib.core.progress import ProgressCallback, no_progress
from MRI2PETLib.evaluation.compare import measure
from MRI2PETLib.evaluation.ssim import Windows, similarity
from TSPODemoModel.activity import ActivityModel
from TSPODemoModel.anatomies import Anatomy
from TSPODemoModel.pairs import MEAN_PSF_MM, People, Variation, load_people, make_pairs, on_model_grid

TEST_SEED = 10_000
_REPEATS = 3  # test pairs a person: other activity, other noise
# Real anatomy as it is: no deformation and the person's own T1. Only the PET is drawn.
_AS_IS = Variation(shape=False, contrast=False)
_EXPECTED = Variation(shape=False, contrast=False, activity=False, scanner=False)
NETWORK, ORACLE, FIVE = "network", "anatomy oracle", "5 parameters: mean map, T1"
AFFINE, WARPED = "population map, affine", "population map, affine + demons"
UNWARPED = ("constant", "population mean, unregistered", "cubic of T1", FIVE)
MASK = "brain mask of the T1 on the model's grid"
_LESION_FACTOR, _LESION_RADIUS_MM = 1.5, 12.0


@dataclass(frozen=True)
class Row:
    """Means over test pairs. ``scale_free_mse`` is MSE / mean^2 and ``r`` Pearson's, both with the noisy
    target; ``ssim`` is with the noise-free one (7^3 voxels, range 2 SUVR). ``own_first``: share of the people
    whose PET is closer (r) to the prediction from their own T1 than to the mean of those from other people's;
    ``own_best``: than to every one of them. ``mse`` is on the target's own scale of 0 to 1.
    """

    scale_free_mse: float
    r: float
    ssim: float
    own_first: float
    own_best: float
    mse: float


@dataclass(frozen=True)
class Baselines:
    """Fitted to training pairs on the model's grid: mean of the target in the brain, mean map, coefficients
    of the T1's powers 0 to 3, and of the five terms.
    """

    level: float
    mean_map: np.ndarray
    cubic: np.ndarray
    five: np.ndarray

    def predictions(self, t1: np.ndarray) -> dict[str, np.ndarray]:
        return {
            "constant": np.full_like(t1, self.level),
            UNWARPED[1]: self.mean_map,
            UNWARPED[2]: polynomial.polyval(t1, self.cubic),
            FIVE: (_five(self.mean_map, t1) * self.five[:, None, None, None]).sum(0),
        }


def _five(mean_map: np.ndarray, t1: np.ndarray) -> np.ndarray:
    return np.stack([np.ones_like(t1), mean_map, t1, t1**2, mean_map * t1])


def fit_baselines(people: People, target: str = "suvr-half") -> Baselines:
    """Fit to one pair of every training person; ``people`` on the CPU."""
    pairs = [
        make_pairs(people, [n], TEST_SEED - 1 - n, _AS_IS, target=target) for n in range(len(people.subjects))
    ]
    t1s, targets, masks = (
        np.stack([getattr(p, name)[0, 0].numpy() for p in pairs]) for name in ("source", "target", "mask")
    )
    inside = masks > 0
    count = masks.sum(0)
    mean_map = np.where(count >= len(pairs) / 10, (targets * masks).sum(0) / np.maximum(count, 1), 0)
    level = float(targets[inside].mean())
    mean_map = np.where(mean_map > 0, mean_map, level)
    cubic = polynomial.polyfit(t1s[inside].astype(float), targets[inside].astype(float), 3)
    design = np.concatenate([_five(mean_map, t1)[:, m] for t1, m in zip(t1s, inside)], axis=1)
    five = np.linalg.lstsq(design.T, targets[inside], rcond=None)[0]
    return Baselines(level, mean_map.astype(np.float32), cubic, five.astype(np.float32))


def heldout_table(
    network: torch.nn.Module,
    size: int,
    model: ActivityModel,
    baselines: Baselines,
    test: Sequence[Anatomy],
    *,
    target: str = "suvr-half",
    progress: ProgressCallback = no_progress,
) -> dict[str, Row]:
    """Measure the network (``size`` voxels an axis, on the CPU) and the baselines on two people or more.

    The warped maps and the oracle are brought to the mean of the training targets in the mask.
    """
    cpu = torch.device("cpu")
    people = load_people(test, model, size, cpu)
    population = model.population_map(MEAN_PSF_MM)
    predictions: list[dict[str, np.ndarray]] = []
    truths: list[list[tuple[np.ndarray, np.ndarray]]] = []
    masks: list[np.ndarray] = []
    for n, anatomy in enumerate(test):
        progress(n, len(test), f"held-out people: {anatomy.subject}")
        expected = make_pairs(people, [n], TEST_SEED, _EXPECTED, target="suvr-half")
        mask = expected.mask[0, 0].numpy() > 0
        with torch.inference_mode():
            output = network(expected.source)[0, 0].numpy()
        found = {NETWORK: output, **baselines.predictions(expected.source[0, 0].numpy())}
        found |= {
            AFFINE: on_model_grid(anatomy.from_template(population, demons=False), size),
            WARPED: on_model_grid(anatomy.from_template(population), size),
            ORACLE: expected.target[0, 0].numpy(),
        }
        for name in (AFFINE, WARPED, ORACLE):
            found[name] = found[name] * (baselines.level / found[name][mask].mean())
        predictions.append(found)
        masks.append(mask)
        truths.append([])
        for repeat in range(_REPEATS):
            pair = make_pairs(people, [n], TEST_SEED + _REPEATS * n + repeat, _AS_IS, target=target)
            truths[-1].append((pair.target[0, 0].numpy(), pair.clean[0, 0].numpy()))
    return {name: _row(name, predictions, truths, masks) for name in predictions[0]}


def _row(
    name: str,
    predictions: list[dict[str, np.ndarray]],
    truths: list[list[tuple[np.ndarray, np.ndarray]]],
    masks: list[np.ndarray],
) -> Row:
    errors: list[float] = []
    raw_errors: list[float] = []
    correlations: list[float] = []
    similarities: list[float] = []
    own_first: list[float] = []
    own_best: list[float] = []
    for person, (found, mask) in enumerate(zip(predictions, masks)):
        output, windows = found[name], Windows(mask)
        for noisy, clean in truths[person]:
            truth = noisy[mask].astype(np.float64)
            raw_errors.append(float(np.mean((output[mask] - truth) ** 2)))
            errors.append(raw_errors[-1] / float(truth.mean()) ** 2)
            correlations.append(_r(output, noisy, mask))
            # Range: 2 SUVR; after min-max, whose unit differs, as much of the mean.
            span = 2 * float(clean[mask].mean())
            pair = [windows.moments(image) for image in (output, clean)]
            similarities.append(similarity(pair[0], pair[1], span).value or 0.0)
        gains = [
            np.mean([_r(output, y, m) - _r(other[name], y, m) for y, _ in truths[person]])
            for other, other_mask in zip(predictions, masks)
            if other is not found
            for m in [mask & other_mask]
        ]
        own_first.append(float(np.mean(gains) > 0))
        own_best.append(float(min(gains) > 0))
    columns = (errors, correlations, similarities, own_first, own_best, raw_errors)
    return Row(*(float(np.mean(v)) for v in columns))


def _r(a: np.ndarray, b: np.ndarray, mask: np.ndarray) -> float:
    """Pearson r in the mask; 0 for a constant."""
    return measure(a, b, mask, ("pearson_r",))["pearson_r"].value or 0.0


def lesion_response(network: torch.nn.Module, size: int, model: ActivityModel, person: Anatomy) -> float:
    """Change of the prediction over the true change, in a focus of 1.5 times the activity in the PET alone.

    The focus (12 mm radius) lies at the middle of the left half of the brain; the T1 stays as it is, so a
    network that sees the T1 only cannot follow.
    """
    people = load_people([person], model, size, torch.device("cpu"))
    axes = [np.linspace(-1, 1, n, dtype=np.float32) * 96 for n in people.sharp.shape[2:]]
    distance = np.sqrt(
        axes[0][:, None, None] ** 2 + axes[1][:, None] ** 2 + (axes[2] + 35) ** 2  # i runs from left to right
    )
    focus = torch.from_numpy(distance < _LESION_RADIUS_MM)
    with_lesion = people.sharp.clone()
    with_lesion[0, 2][focus] *= _LESION_FACTOR
    outputs, targets = [], []
    for sharp in (people.sharp, with_lesion):
        changed = People(people.subjects, sharp, people.smooth, size)
        pair = make_pairs(changed, [0], TEST_SEED, _AS_IS)
        with torch.inference_mode():
            outputs.append(network(pair.source)[0, 0].numpy())
        targets.append(pair.clean[0, 0].numpy())
    where = on_model_grid(focus.numpy().astype(np.float32), size) > 0.5
    true_change = float((targets[1] - targets[0])[where].mean())
    return float((outputs[1] - outputs[0])[where].mean()) / true_change
