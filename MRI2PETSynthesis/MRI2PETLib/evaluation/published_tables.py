"""What Ferrante et al. 2025 report of a cohort: levels (Table 2), Table 4, and the metrics in three spaces.

Table 5 is in :mod:`MRI2PETLib.evaluation.specificity`, Figure 3 in
:mod:`MRI2PETLib.evaluation.cohort_tables`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from MRI2PETLib.evaluation.agreement import bland_altman
from MRI2PETLib.evaluation.cohort import Cohort, region_numbers
from MRI2PETLib.evaluation.cohort_tables import average, person_numbers, scans_by_person
from MRI2PETLib.evaluation.metrics import AS_IS, METRICS, SMOOTHED, brain_metrics
from MRI2PETLib.evaluation.spaces import NATIVE
from MRI2PETLib.evaluation.statistics import mean_sd

_PARCELLATIONS = ("harvard-oxford", "paper21")
_LEVEL_PARCELLATIONS = ("brain", "tissue")
_IMAGES = {
    "real PET": "mean_real",
    "real PET, smoothed": "mean_real_smoothed",
    "synthetic PET": "mean_predicted",
}


class UptakeRow(NamedTuple):
    """Mean uptake of a region in one kind of image, mean and SD over people, in ``unit`` (Table 2)."""

    image: str
    parcellation: str
    region: str
    unit: str
    n_people: int
    mean: float | None
    sd: float | None


class SpaceRow(NamedTuple):
    """A metric of a predictor in one space, over people, and how much it differs from that in native space.

    ``change``: mean over people of the metric in this space minus that in native space, with its interval of
    95 %. Both in ``unit``.
    """

    space: str
    predictor: str
    metric: str
    unit: str
    n_people: int
    mean: float | None
    sd: float | None
    change: float | None
    change_low: float | None
    change_high: float | None


class PaperRow(NamedTuple):
    """A line of the published Table 4: mean and population SD over (region, fold) rows."""

    metric: str
    mean: float | None
    sd: float | None
    n_rows: int
    n_missing: int


def uptake_table(cohort: Cohort) -> list[UptakeRow]:
    """Levels of the real, the smoothed and the synthetic PET in the whole brain and its tissues (Table 2)."""
    numbers, names = person_numbers(cohort.scans)[:, 0], region_numbers()
    rows = []
    for r, (parcellation, region) in enumerate(cohort.regions):
        if parcellation not in _LEVEL_PARCELLATIONS:
            continue
        for image, number in _IMAGES.items():
            values = numbers[:, r, names.index(number)]
            over_people = mean_sd(values[np.isfinite(values)])
            rows.append(
                UptakeRow(
                    image, parcellation, region, cohort.unit, over_people.n, over_people.mean, over_people.sd
                )
            )
    return rows


def space_table(cohort: Cohort) -> list[SpaceRow]:
    """Every global metric of every predictor in native space and in MNI space after an affine and a warp."""
    persons = list(scans_by_person(cohort.scans).values())
    keys = dict.fromkeys(key for scan in cohort.scans for key in scan.spaces)
    rows = []
    for space, predictor in keys:
        for name, metric in brain_metrics().items():
            own = _by_person(cohort, persons, (space, predictor), name)
            over_people = mean_sd(own)
            if not over_people.n:
                continue
            change = bland_altman(*_in_both(cohort, persons, ((space, predictor), (NATIVE, predictor)), name))
            shift = (change.bias, change.bias_low, change.bias_high) if space != NATIVE else (None,) * 3
            unit = metric.unit_of(cohort.unit)
            rows.append(
                SpaceRow(
                    space, predictor, name, unit, over_people.n, over_people.mean, over_people.sd, *shift
                )
            )
    return rows


def _by_person(
    cohort: Cohort, persons: Sequence[Sequence[int]], key: tuple[str, str], metric: str
) -> list[float | None]:
    return [average(cohort.scans[i].spaces.get(key, {}).get(metric) for i in index) for index in persons]


def _in_both(
    cohort: Cohort, persons: Sequence[Sequence[int]], keys: Sequence[tuple[str, str]], metric: str
) -> np.ndarray:
    """The metric in two spaces, [space, person], over the scans of each person that have it in both."""
    means = []
    for index in persons:
        pairs = [[cohort.scans[i].spaces.get(key, {}).get(metric) for key in keys] for i in index]
        numbers = [pair for pair in pairs if None not in pair]
        if numbers:
            means.append(np.mean(np.array(numbers, float), axis=0))
    return np.array(means, float).reshape(-1, 2).T


def paper_table4(cohort: Cohort) -> list[PaperRow]:
    """The aggregation behind Table 4 of Ferrante et al. 2025, for comparison with it and for nothing else.

    Each row = one region in one fold: mean over scans of the *median* over voxels (MSE, NormDiff) or of a
    ratio of region means (CNR, PercDiff as a fraction). Mean and SD run over these rows, so the SD is between
    regions, not people. NormDiff and PercDiff have the sign of the published code (real - synthetic); its
    "CNR smoothed", which repeats CNR by mistake, is computed here. Regions without a value are counted, not
    imputed.
    """
    names = {parcellation for parcellation, _ in cohort.regions}
    source = next((name for name in _PARCELLATIONS if name in names), None)
    if source is None:
        return []
    folds: dict[str, list[np.ndarray]] = {}
    for scan in cohort.scans:
        folds.setdefault(scan.case.fold, []).append(scan.regions[0])
    index = [i for i, key in enumerate(cohort.regions) if key[0] == source]
    rows = []
    for metric in (metric for metric in METRICS.values() if metric.paper):
        title, divisor = metric.paper or ("", 1.0)
        for prefix in (AS_IS, SMOOTHED):
            column = region_numbers().index(prefix + metric.name)
            values: list[float | None] = []
            for scans in folds.values():
                block = np.stack(scans)[:, index, column]
                values += [average(v for v in region if np.isfinite(v)) for region in block.T]
            present = np.array([v for v in values if v is not None]) / divisor
            mean, sd = (float(present.mean()), float(present.std())) if present.size else (None, None)
            about = f"{title} smoothed" if prefix else title
            rows.append(PaperRow(about, mean, sd, present.size, len(values) - present.size))
    return rows
