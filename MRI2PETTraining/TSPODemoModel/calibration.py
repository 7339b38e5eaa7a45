"""How far the simulated PETs of held-out people lie from a prediction, region by region.

The members of an ensemble agree where the T1 says little: their SD is no error. The residuals of people who
were not in the training are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch

from MRI2PETLib.images.grid import resample
from MRI2PETLib.models.bundle import Bundle
from MRI2PETLib.models.bundle_checks import ELSEWHERE
from MRI2PETLib.templates.regions import built_in_parcellations
from TSPODemoModel.activity_model import ActivityModel
from TSPODemoModel.anatomies import PersonAnatomy, cube_over
from TSPODemoModel.held_out_people import PredictFunction
from TSPODemoModel.simulated_pairs import NO_VARIATION, load_people, make_pairs

PARCELLATION = "paper21"
_SEED = 30_000
_DRAWS = 8  # PETs a person
_SUVR = 2.0  # of a target of 1


@dataclass(frozen=True)
class Coverage:
    """Share of the brain's voxels whose true uptake lies within 1 and 2 SD of the prediction; a normal
    distribution has .68 and .95.
    """

    one_sd: float
    two_sd: float


def calibrate(
    predict: PredictFunction, size: int, model: ActivityModel, people: Sequence[PersonAnatomy]
) -> dict[str, Any]:
    """Root mean square of truth minus prediction (SUVR) by region, for a bundle's metadata.

    The truth is the uptake without the scanner's noise. Regions are placed as for a user: by the affine fit
    of the template.
    """
    squares: dict[str, float] = {}
    counts: dict[str, int] = {}
    for residual, labels in _residuals(predict, size, model, people):
        for name, where in labels.items():
            squares[name] = squares.get(name, 0.0) + float(np.square(residual[where]).sum())
            counts[name] = counts.get(name, 0) + int(where.sum())
    return {
        "what": "SD of the uptake without scanner noise around the prediction, simulated PETs of people who "
        "chose the epoch",
        "unit": "SUVR",
        "parcellation": PARCELLATION,
        "people": len(people),
        "sd": {name: (squares[name] / counts[name]) ** 0.5 for name in squares if counts[name]},
    }


def coverage_of(
    bundle: Bundle, predict: PredictFunction, model: ActivityModel, people: Sequence[PersonAnatomy]
) -> Coverage | None:
    """Measure the calibrated SD of a bundle on people who did not make it."""
    if bundle.error_sd is None:
        return None
    sd = bundle.error_sd.sd
    ratios = [
        np.abs(residual[where]) / sd.get(name, sd[ELSEWHERE])
        for residual, labels in _residuals(predict, bundle.space.size[0], model, people)
        for name, where in labels.items()
    ]
    every = np.concatenate(ratios)
    return Coverage(float((every < 1).mean()), float((every < 2).mean()))


def _residuals(
    predict: PredictFunction, size: int, model: ActivityModel, people: Sequence[PersonAnatomy]
) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Truth minus prediction of each PET (SUVR), and where each region lies, [k, j, i]."""
    ready = load_people(people, model, size, torch.device("cpu"))
    for n, person in enumerate(people):
        pairs = [make_pairs(ready, [n], _SEED + _DRAWS * n + draw, NO_VARIATION) for draw in range(_DRAWS)]
        mask = pairs[0].mask[0, 0].numpy() > 0
        regions = _regions(person, size, mask)
        prediction = predict(pairs[0].source)[0, 0].numpy()
        for pair in pairs:
            yield _SUVR * (pair.clean[0, 0].numpy() - prediction), regions


def _regions(person: PersonAnatomy, size: int, mask: np.ndarray) -> dict[str, np.ndarray]:
    """Masks of the regions by name, and of the rest of the brain."""
    parcellation = next(p for p in built_in_parcellations() if p.name == PARCELLATION)
    image = resample(
        parcellation.labels,
        cube_over(person.grid, size),
        person.affine_to_template(),
        interpolator=sitk.sitkNearestNeighbor,
    )
    labels = sitk.GetArrayFromImage(image)
    regions = {name: (labels == label) & mask for label, name in parcellation.names.items()}
    rest = mask & ~np.isin(labels, list(parcellation.names))
    return {**regions, ELSEWHERE: rest}
