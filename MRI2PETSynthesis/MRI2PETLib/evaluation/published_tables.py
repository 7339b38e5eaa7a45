"""The tables of Ferrante et al. 2025 as the published analysis aggregates them (Table 5: see
:mod:`MRI2PETLib.evaluation.specificity`).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from MRI2PETLib.evaluation.cohort import Cohort, region_numbers
from MRI2PETLib.evaluation.cohort_tables import average
from MRI2PETLib.evaluation.metrics import AS_IS, METRICS, SMOOTHED

_PARCELLATIONS = ("harvard-oxford", "paper21")


class PaperRow(NamedTuple):
    """A line of the published Table 4: mean and population SD over (region, fold) rows."""

    metric: str
    mean: float | None
    sd: float | None
    n_rows: int
    n_missing: int


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
