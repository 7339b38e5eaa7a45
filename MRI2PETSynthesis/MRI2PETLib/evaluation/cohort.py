"""A cohort that was evaluated: what is kept of each scan, and of all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from MRI2PETLib.evaluation.cohort_cases import CohortCase
from MRI2PETLib.evaluation.cohort_maps import CohortMaps
from MRI2PETLib.evaluation.covariates import Covariate
from MRI2PETLib.evaluation.direction import Direction
from MRI2PETLib.evaluation.error_maps import MeanMaps
from MRI2PETLib.evaluation.fid import FidRow
from MRI2PETLib.evaluation.metrics import AS_IS, METRICS, SMOOTHED
from MRI2PETLib.evaluation.settings import EvaluationSettings
from MRI2PETLib.evaluation.specificity import (
    OtherDifference,
    Specificity,
)
from MRI2PETLib.models.bundle import DEMONSTRATION
from MRI2PETLib.models.store import model_text
from MRI2PETLib.templates.regions import Parcellation

_MOST_NAMED = 4
MEANS = ("mean_real", "mean_real_smoothed", "mean_predicted", "mean_t1")


def region_numbers() -> list[str]:
    """What is kept of each region of each scan, in this order: means, and what the published table needs."""
    paper = [prefix + name for prefix in (AS_IS, SMOOTHED) for name, m in METRICS.items() if m.paper]
    return [*MEANS, *paper]


@dataclass(frozen=True)
class Scan:
    """What is kept of one scan. ``regions``: [predictor, region, number] as in the cohort, NaN = none.
    ``pet_coverage``: share (0..1) of the brain that the real PET measured.

    ``metrics``: by scale and predictor. ``spaces``: by space and predictor, in the scale that is shown.
    ``point_mm`` (LPS): in the region of the largest difference.
    """

    case: CohortCase
    metrics: dict[tuple[str, str], dict[str, float | None]]
    regions: np.ndarray
    seconds: float
    warnings: tuple[str, ...]
    pet_coverage: float = 1.0
    spaces: dict[tuple[str, str], dict[str, float | None]] = field(default_factory=dict)
    point_mm: tuple[float, float, float] | None = None


@dataclass(frozen=True)
class Failure:
    """A scan that could not be evaluated, and why."""

    case: CohortCase
    message: str
    hint: str

    @property
    def reason(self) -> str:
        return f"{self.message} {self.hint}".strip()


def model_of_all(models: Sequence[dict]) -> dict:
    """What a cohort says of its model, from the provenance of the model of each scan: where any was a
    demonstration, that one.
    """
    return next((m for m in models if m.get("intended_use") == DEMONSTRATION), models[-1])


def notes_on_models(models: Sequence[dict]) -> tuple[str, ...]:
    """What to tell of a cohort whose predictions are by several models, or versions of one; the folds of a
    run are one model.
    """
    counts = Counter(filter(None, map(model_text, models)))
    if len(counts) < 2:
        return ()
    text = ", ".join(f"{n} by {name}" for name, n in counts.most_common(_MOST_NAMED))
    return (f"The predictions are by different models and do not compare: {text}.",)


@dataclass(frozen=True)
class Cohort:
    """All scans of a cohort. Region statistics are in ``unit`` (that of ``scale``); ``regions`` are
    (parcellation, name). ``mean_maps``: of the network's errors over people, in ``unit``.
    """

    scans: list[Scan]
    failed: list[Failure]
    unit: str
    scale: str
    predictors: list[str]
    uses: dict[str, str]
    regions: list[tuple[str, str]]
    specificity: list[Specificity]
    others: list[OtherDifference]
    settings: EvaluationSettings
    atlases: Sequence[Parcellation] = ()
    model: dict = field(default_factory=dict)
    notes: Sequence[str] = ()
    simulated: bool = False
    covariates: Sequence[Covariate] = ()
    mean_maps: MeanMaps | None = None
    maps: CohortMaps | None = None
    fid: Sequence[FidRow] = ()
    direction: Direction = Direction()

    @property
    def n_people(self) -> int:
        return len({scan.case.subject for scan in self.scans})
