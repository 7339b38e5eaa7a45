"""What a model and every baseline reach on people who were not in the training, in one table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.polynomial import polynomial
from torch import Tensor, nn

from MRI2PETLib.core.progress import ProgressCallback, no_progress
from MRI2PETLib.evaluation.compare import measure
from MRI2PETLib.evaluation.scaling import smooth_in_mask
from MRI2PETLib.evaluation.ssim import Windows, similarity
from TSPODemoModel.activity_model import ActivityModel
from TSPODemoModel.anatomies import PersonAnatomy
from TSPODemoModel.simulated_pairs import (
    EXPECTED,
    FIELD_MM,
    MEAN_PSF_MM,
    NO_VARIATION,
    People,
    load_people,
    make_pairs,
    on_model_grid,
)

TEST_SEED = 10_000
_REPEATS = 3  # pairs a person: other activity, other noise
NETWORK_ROW, ORACLE, FIVE = "network", "anatomy oracle", "5 parameters: mean map, T1"
AFFINE, WARPED = "population map, affine", "population map, affine + demons"
CUBIC = "cubic of T1 at the PET's resolution"
UNWARPED = ("constant", "population mean, unregistered", CUBIC, FIVE)
T1_MASK = "brain mask of the T1 on the model's grid"
_CAVITY_RADIUS_MM = 12.0
_CAVITY_LEFT_MM = 35.0  # of the middle of the brain

# What predicts: source to prediction, [1, 1, k, j, i] in the 0 to 1 of the model space.
PredictFunction = Callable[[Tensor], Tensor]


def mean_of(networks: Sequence[nn.Module]) -> PredictFunction:
    """The prediction of a model: that of its network, or the mean of an ensemble's."""

    def predict(source: Tensor) -> Tensor:
        with torch.inference_mode():
            return torch.stack([network(source) for network in networks]).mean(0)

    return predict


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
    of the powers 0 to 3 of the T1 at the PET's resolution, and of the five terms.
    """

    level: float
    mean_map: np.ndarray
    cubic: np.ndarray
    five: np.ndarray

    def predictions(self, t1: np.ndarray, mask: np.ndarray) -> dict[str, np.ndarray]:
        smooth = at_pet_resolution(t1, mask)
        return {
            "constant": np.full_like(t1, self.level),
            UNWARPED[1]: self.mean_map,
            CUBIC: polynomial.polyval(smooth, self.cubic),
            FIVE: (_five(self.mean_map, smooth) * self.five[:, None, None, None]).sum(0),
        }


def at_pet_resolution(t1: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """A T1 on the model's grid blurred in the brain like a PET of the mean resolution, [k, j, i]."""
    spacing_mm = FIELD_MM / len(t1)
    return smooth_in_mask(t1, mask, (spacing_mm,) * 3, MEAN_PSF_MM)


def _five(mean_map: np.ndarray, t1: np.ndarray) -> np.ndarray:
    return np.stack([np.ones_like(t1), mean_map, t1, t1**2, mean_map * t1])


def fit_baselines(people: People, target: str = "suvr-half") -> Baselines:
    """Fit to one pair of every training person; ``people`` on the CPU."""
    pairs = [
        make_pairs(people, [n], TEST_SEED - 1 - n, NO_VARIATION, target=target)
        for n in range(len(people.subjects))
    ]
    t1s, targets, masks = (
        np.stack([getattr(p, name)[0, 0].numpy() for p in pairs]) for name in ("source", "target", "mask")
    )
    t1s = np.stack([at_pet_resolution(t1, mask) for t1, mask in zip(t1s, masks)])
    inside = masks > 0
    count = masks.sum(0)
    mean_map = np.where(count >= len(pairs) / 10, (targets * masks).sum(0) / np.maximum(count, 1), 0)
    level = float(targets[inside].mean())
    mean_map = np.where(mean_map > 0, mean_map, level)
    cubic = polynomial.polyfit(t1s[inside].astype(float), targets[inside].astype(float), 3)
    design = np.concatenate([_five(mean_map, t1)[:, m] for t1, m in zip(t1s, inside)], axis=1)
    five = np.linalg.lstsq(design.T, targets[inside], rcond=None)[0]
    return Baselines(level, mean_map.astype(np.float32), cubic, five.astype(np.float32))


def table_of(
    predict: PredictFunction,
    size: int,
    model: ActivityModel,
    baselines: Baselines,
    held_out: Sequence[PersonAnatomy],
    *,
    target: str = "suvr-half",
    progress: ProgressCallback = no_progress,
) -> dict[str, Row]:
    """Measure a model (``size`` voxels an axis, on the CPU) and the baselines on two people or more.

    The warped maps and the oracle are brought to the mean of the training targets in the mask.
    """
    cpu = torch.device("cpu")
    people = load_people(held_out, model, size, cpu)
    population = model.population_map(MEAN_PSF_MM)
    predictions: list[dict[str, np.ndarray]] = []
    truths: list[list[tuple[np.ndarray, np.ndarray]]] = []
    masks: list[np.ndarray] = []
    for n, anatomy in enumerate(held_out):
        progress(n, len(held_out), f"held-out people: {anatomy.subject}")
        expected = make_pairs(people, [n], TEST_SEED, EXPECTED)
        mask = expected.mask[0, 0].numpy() > 0
        output = predict(expected.source)[0, 0].numpy()
        rows = {NETWORK_ROW: output, **baselines.predictions(expected.source[0, 0].numpy(), mask)}
        rows |= {
            AFFINE: on_model_grid(anatomy.from_template(population, demons=False), size),
            WARPED: on_model_grid(anatomy.from_template(population), size),
            ORACLE: expected.target[0, 0].numpy(),
        }
        for name in (AFFINE, WARPED, ORACLE):
            rows[name] = rows[name] * (baselines.level / rows[name][mask].mean())
        predictions.append(rows)
        masks.append(mask)
        truths.append([])
        for repeat in range(_REPEATS):
            pair = make_pairs(people, [n], TEST_SEED + _REPEATS * n + repeat, NO_VARIATION, target=target)
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
    for person, (prediction, mask) in enumerate(zip(predictions, masks)):
        output, windows = prediction[name], Windows(mask)
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
            if other is not prediction
            for m in [mask & other_mask]
        ]
        own_first.append(float(np.mean(gains) > 0))
        own_best.append(float(min(gains) > 0))
    columns = (errors, correlations, similarities, own_first, own_best, raw_errors)
    return Row(*(float(np.mean(v)) for v in columns))


def _r(a: np.ndarray, b: np.ndarray, mask: np.ndarray) -> float:
    """Pearson r in the mask; 0 for a constant."""
    return measure(a, b, mask, ("pearson_r",))["pearson_r"].value or 0.0


def cavity_response(
    predict: PredictFunction, size: int, model: ActivityModel, people: Sequence[PersonAnatomy]
) -> float:
    """How much of the missing uptake a model leaves out where the T1 shows a cavity: mean over ``people``.

    The change of the prediction in the cavity over the true change: 0 where the model does not follow the
    T1, 1 where it does so as the truth.
    """
    shares = []
    for person in people:
        changed, where = with_cavity(person)
        both = load_people([person, changed], model, size, torch.device("cpu"))
        pairs = [make_pairs(both, [n], TEST_SEED, EXPECTED) for n in range(2)]
        outputs = [predict(pair.source)[0, 0].numpy() for pair in pairs]
        truths = [pair.clean[0, 0].numpy() for pair in pairs]
        inside = on_model_grid(where.astype(np.float32), size) > 0.5
        change, truth = (float((b - a)[inside].mean()) for a, b in (outputs, truths))
        shares.append(change / truth)
    return float(np.mean(shares))


def with_cavity(person: PersonAnatomy) -> tuple[PersonAnatomy, np.ndarray]:
    """A person with a ball of CSF of 12 mm radius in the left half of the brain, and where it lies.

    T1 and tissue change together, as after an old infarction.
    """
    axis = (np.arange(len(person.mask)) + 0.5) / len(person.mask) * FIELD_MM - FIELD_MM / 2
    distance = np.sqrt(
        axis[:, None, None] ** 2 + axis[:, None] ** 2 + (axis + _CAVITY_LEFT_MM) ** 2  # i runs left to right
    )
    where = (distance < _CAVITY_RADIUS_MM) & person.mask
    fluid = float(np.median(person.t1[person.csf > 0.8]))
    t1, gm, wm, csf = (
        np.where(where, value, getattr(person, name))
        for name, value in (("t1", fluid), ("gm", 0), ("wm", 0), ("csf", 1))
    )
    return replace(person, t1=t1, gm=gm, wm=wm, csf=csf), where
