"""The table of regions: one row a region, a predictor and a scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import SimpleITK as sitk

from MRI2PETLib.evaluation.baselines import Predictor
from MRI2PETLib.evaluation.metrics import value_metrics
from MRI2PETLib.templates.regions import Parcellation, RegionVoxels

_REGIONAL = (
    "percent_difference",
    "mse",
    "mse_median",
    "mae",
    "normdiff_mean",
    "normdiff_median",
    "normdiff_excluded_fraction",
    "roi_cnr_bias",
    "pearson_r",
)
_REGIONAL_SMOOTHED = ("percent_difference", "mse_median", "normdiff_median", "roi_cnr_bias")


class RegionRow(NamedTuple):
    """One region, one predictor, one scale. ``smoothed_`` compares with the smoothed real PET.

    ``x_mm``, ``y_mm``, ``z_mm`` (LPS): the voxel of the region that is nearest to its centroid, so that it
    always lies inside. Means are in ``unit``; ``mean_t1`` in units of the T1's 1st to 99th percentile.
    ``reason`` explains ``None``.
    """

    parcellation: str
    label: int
    region: str
    predictor: str
    scale: str
    unit: str
    n_voxels: int
    volume_ml: float
    x_mm: float | None
    y_mm: float | None
    z_mm: float | None
    mean_real: float | None
    mean_real_smoothed: float | None
    mean_predicted: float | None
    mean_t1: float | None
    percent_difference: float | None
    mse: float | None
    mse_median: float | None
    mae: float | None
    normdiff_mean: float | None
    normdiff_median: float | None
    normdiff_excluded_fraction: float | None
    roi_cnr_bias: float | None
    pearson_r: float | None
    smoothed_percent_difference: float | None
    smoothed_mse_median: float | None
    smoothed_normdiff_median: float | None
    smoothed_roi_cnr_bias: float | None
    reason: str


def native_part(parcellation: Parcellation, labels: np.ndarray, brain: sitk.Image) -> Parcellation:
    """A parcellation whose ``labels`` ([k, j, i] on the grid of ``brain``) were pulled to a person, as that
    person's own: only named labels, only in the brain.

    uint16, or int32 where a label needs it. A label map holds one label a voxel, so regions of one
    parcellation never overlap; the layers of a segmentation with overlapping segments are parcellations of
    their own.
    """
    named = np.isin(labels, list(parcellation.names)) & (sitk.GetArrayViewFromImage(brain) != 0)
    fits = all(0 <= label <= np.iinfo(np.uint16).max for label in parcellation.names)
    kind = np.uint16 if fits else np.int32
    image = sitk.GetImageFromArray(np.where(named, labels, 0).astype(kind))
    image.CopyInformation(brain)
    return replace(parcellation, labels=image, space="native")


def central_voxel_mm(index: np.ndarray, grid: sitk.Image) -> tuple[float, float, float] | None:
    """The voxel of a region that is nearest to its centroid (LPS mm), ``None`` for an empty region.

    :param index: flat voxel indices (C order of [k, j, i]) on ``grid``.
    """
    if not index.size:
        return None
    squared = np.zeros(index.size)
    where = np.unravel_index(index, grid.GetSize()[::-1])
    for axis, spacing in zip(where, grid.GetSpacing()[::-1]):
        squared += ((axis - axis.mean()) * spacing) ** 2
    nearest = int(np.argmin(squared))
    x, y, z = grid.TransformIndexToPhysicalPoint([int(axis[nearest]) for axis in where[::-1]])
    return x, y, z


def region_facts(
    regions: Sequence[RegionVoxels], grid: sitk.Image, t1: np.ndarray | None
) -> list[dict[str, Any]]:
    """What a row says about its region whatever the predictor: name, size, place, mean of the T1.

    :param t1: normalised T1, [k, j, i] on ``grid``.
    """
    voxel_ml = float(np.prod(grid.GetSpacing())) / 1000
    facts = []
    for region in regions:
        x, y, z = central_voxel_mm(region.index, grid) or (None, None, None)
        facts.append(
            {
                "parcellation": region.parcellation,
                "label": region.label,
                "region": region.name,
                "n_voxels": region.index.size,
                "volume_ml": region.index.size * voxel_ml,
                "x_mm": x,
                "y_mm": y,
                "z_mm": z,
                "mean_t1": None if t1 is None else _mean(t1.ravel()[region.index]),
            }
        )
    return facts


def region_rows(
    regions: Sequence[RegionVoxels],
    facts: Sequence[dict[str, Any]],
    predictors: Sequence[tuple[Predictor, np.ndarray | None]],
    real: np.ndarray,
    smoothed: np.ndarray,
    *,
    scale: str,
    unit: str,
) -> list[RegionRow]:
    """The rows of one scale, by predictor and then by region; arrays [k, j, i] in ``unit``.

    :param facts: see :func:`region_facts`. ``predictors``: with their image, ``None`` without a prediction.
    """
    table: list[list[RegionRow]] = [[] for _ in predictors]
    for region, known in zip(regions, facts):
        r, r_smoothed = real.ravel()[region.index], smoothed.ravel()[region.index]
        means = {"mean_real": _mean(r), "mean_real_smoothed": _mean(r_smoothed)}
        for rows, (predictor, image) in zip(table, predictors):
            row: dict[str, Any] = dict.fromkeys(RegionRow._fields)
            row |= known | {"predictor": predictor.name, "scale": scale, "unit": unit}
            if image is None:
                row |= {"mean_t1": None, "reason": predictor.reason}
            else:
                row |= means | _comparison(image.ravel()[region.index], r, r_smoothed)
            rows.append(RegionRow(**row))
    return [row for rows in table for row in rows]


def _comparison(predicted: np.ndarray, real: np.ndarray, smoothed: np.ndarray) -> dict[str, Any]:
    measures = value_metrics(*_finite(predicted, real), _REGIONAL)
    against_smoothed = value_metrics(*_finite(predicted, smoothed), _REGIONAL_SMOOTHED)
    return {
        **{name: measure.value for name, measure in measures.items()},
        **{f"smoothed_{name}": measure.value for name, measure in against_smoothed.items()},
        "mean_predicted": _mean(predicted),
        "reason": "; ".join(sorted({m.reason for m in measures.values() if m.value is None})),
    }


def _finite(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    both = np.isfinite(a) & np.isfinite(b)
    return a[both].astype(np.float64), b[both].astype(np.float64)


def _mean(values: np.ndarray) -> float | None:
    return float(values.astype(np.float64).mean()) if values.size else None
