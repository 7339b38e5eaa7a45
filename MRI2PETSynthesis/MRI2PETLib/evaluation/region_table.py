"""The table of regions: one row a region, a predictor and a scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import SimpleITK as sitk

from MRI2PETLib.core.tables import read_table, typed_rows
from MRI2PETLib.evaluation.baselines import NETWORK, Predictor
from MRI2PETLib.evaluation.compare import measure_region
from MRI2PETLib.evaluation.metrics import AS_IS, SMOOTHED, Metric, region_metrics
from MRI2PETLib.preprocessing.pet_measured import why_left_out
from MRI2PETLib.templates.regions import Parcellation, RegionVoxels


@dataclass(frozen=True)
class RegionRow:
    """One region, one predictor, one scale.

    ``x_ras_mm`` ...: the voxel of the region that is nearest to its centroid, so that it always lies inside,
    in the world of the T1 (RAS); ``mni_x_ras_mm`` ...: the same point in MNI space, by the affine fit. Means
    are in ``unit``; ``mean_t1`` in units of the T1's 1st to 99th percentile.
    ``covered``: share of the region that the real PET measured; ``n_voxels`` and ``volume_ml`` count what was
    measured. ``metrics``: by name, see :func:`~MRI2PETLib.evaluation.metrics.region_metrics`. ``reason``
    explains ``None``.
    """

    parcellation: str
    label: int
    region: str
    predictor: str
    scale: str
    unit: str
    n_voxels: int
    volume_ml: float
    covered: float = 1.0
    x_ras_mm: float | None = None
    y_ras_mm: float | None = None
    z_ras_mm: float | None = None
    mni_x_ras_mm: float | None = None
    mni_y_ras_mm: float | None = None
    mni_z_ras_mm: float | None = None
    mean_real: float | None = None
    mean_real_smoothed: float | None = None
    mean_predicted: float | None = None
    mean_t1: float | None = None
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    reason: str = ""

    def record(self) -> dict[str, Any]:
        """The row as a line of ``regions.csv``, by the names of :func:`record_fields`."""
        values = vars(self) | dict(self.metrics)
        return {name: values.get(name) for name in record_fields()}


def record_fields() -> list[str]:
    """The header of ``regions.csv``."""
    names = [f.name for f in fields(RegionRow)]
    where = names.index("metrics")
    return [*names[:where], *region_metrics(), *names[where + 1 :]]


def read_region_rows(path: Path) -> list[RegionRow]:
    """The rows of a ``regions.csv``.

    :raises InputError: see :func:`~MRI2PETLib.core.tables.read_rows`.
    """
    kinds = {name: kind for name, kind in get_type_hints(RegionRow).items() if name != "metrics"}
    table = read_table(path, list(kinds))
    metrics = dict.fromkeys((name for name in table.columns if name and name not in kinds), float | None)
    return [
        RegionRow(
            **{name: value for name, value in values.items() if name in kinds},
            metrics={name: value for name, value in values.items() if name in metrics},
        )
        for values in typed_rows(table, {**kinds, **metrics})
    ]


def shown_columns(rows: Sequence[RegionRow]) -> dict[str, list[Any]]:
    """The columns that a person sees, by their headings: one row a region, the network beside the baselines.

    :param rows: of one scale, all predictors.
    """
    network = [row for row in rows if row.predictor == NETWORK]
    unit = network[0].unit if network else ""
    columns: dict[str, list[Any]] = {
        "region": [row.region for row in network],
        "parcellation": [row.parcellation for row in network],
        "volume (mL)": [row.volume_ml for row in network],
        **_not_all_measured(network),
        f"real ({unit})": [row.mean_real for row in network],
        f"real, smoothed ({unit})": [row.mean_real_smoothed for row in network],
        f"synthetic ({unit})": [row.mean_predicted for row in network],
    }
    for space, prefix in (("", ""), ("MNI ", "mni_")):
        for letter, axis in zip("RAS", "xyz"):
            columns[f"{space}{letter} (mm)"] = [getattr(row, f"{prefix}{axis}_ras_mm") for row in network]
    for name, metric in region_metrics(in_reports=True).items():
        for predictor in dict.fromkeys(row.predictor for row in rows):
            if predictor != NETWORK and metric.regions != "all":
                continue
            value_of = {
                (r.parcellation, r.label): r.metrics.get(name) for r in rows if r.predictor == predictor
            }
            values = [value_of.get((row.parcellation, row.label)) for row in network]
            if predictor == NETWORK or any(value is not None for value in values):
                columns[region_heading(metric, predictor)] = values
    return columns


def _not_all_measured(rows: Sequence[RegionRow]) -> dict[str, list[Any]]:
    if all(row.covered == 1 for row in rows):
        return {}
    return {"measured (%)": [100 * row.covered for row in rows]}


def region_heading(metric: Metric, predictor: str = NETWORK) -> str:
    """The heading of a metric's column in the table of regions."""
    return f"{metric.heading}, {predictor}" if metric.regions == "all" else metric.heading


def native_part(parcellation: Parcellation, labels: np.ndarray, brain: sitk.Image) -> Parcellation:
    """A parcellation whose ``labels`` ([k, j, i] on the grid of ``brain``) were pulled to a person, as that
    person's own: only named labels, only in the brain.

    uint16, or int32 where a label needs it. A label map holds one label a voxel, so regions of one
    parcellation never overlap; the layers of a segmentation with overlapping segments are parcellations of
    their own.
    """
    is_region = np.isin(labels, list(parcellation.names)) & (sitk.GetArrayViewFromImage(brain) != 0)
    fits = all(0 <= label <= np.iinfo(np.uint16).max for label in parcellation.names)
    kind = np.uint16 if fits else np.int32
    image = sitk.GetImageFromArray(np.where(is_region, labels, 0).astype(kind))
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


def _positions(
    index: np.ndarray, grid: sitk.Image, template_to_native: sitk.Transform | None
) -> dict[str, float]:
    """Where a region lies (RAS mm), also in MNI space where that is known; empty for an empty region."""
    point = central_voxel_mm(index, grid)
    if point is None:
        return {}
    points = {"": point}
    if template_to_native is not None:
        points["mni_"] = template_to_native.GetInverse().TransformPoint(point)
    return {
        f"{space}{axis}_ras_mm": sign * value
        for space, centres in points.items()
        for axis, sign, value in zip("xyz", (-1, -1, 1), centres)
    }


def region_facts(
    regions: Sequence[RegionVoxels],
    grid: sitk.Image,
    t1: np.ndarray | None,
    template_to_native: sitk.Transform | None,
) -> list[dict[str, Any]]:
    """What a row says about its region whatever the predictor: name, size, place, mean of the T1.

    :param t1: normalised T1, [k, j, i] on ``grid``.
    """
    voxel_ml = float(np.prod(grid.GetSpacing())) / 1000
    facts = []
    for region in regions:
        facts.append(
            {
                "parcellation": region.parcellation,
                "label": region.label,
                "region": region.name,
                "n_voxels": region.index.size,
                "volume_ml": region.index.size * voxel_ml,
                "covered": region.covered,
                **_positions(region.index, grid, template_to_native),
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
    for region, about in zip(regions, facts):
        r, r_smoothed = real.ravel()[region.index], smoothed.ravel()[region.index]
        means = {"mean_real": _mean(r), "mean_real_smoothed": _mean(r_smoothed)}
        for rows, (predictor, image) in zip(table, predictors):
            row = about | {"predictor": predictor.name, "scale": scale, "unit": unit}
            reason = why_left_out(region.covered) or predictor.reason
            if image is None or reason:
                row |= {"mean_t1": None, "reason": reason}
            else:
                row |= means | _comparison(image.ravel()[region.index], r, r_smoothed)
            rows.append(RegionRow(**row))
    return [row for rows in table for row in rows]


def _comparison(predicted: np.ndarray, real: np.ndarray, smoothed: np.ndarray) -> dict[str, Any]:
    measures = measure_region(predicted, {AS_IS: real, SMOOTHED: smoothed})
    missing = {m.reason for m in measures.values() if m.value is None}
    return {
        "mean_predicted": _mean(predicted),
        "metrics": {name: measure.value for name, measure in measures.items()},
        "reason": "; ".join(sorted(missing)),
    }


def _mean(values: np.ndarray) -> float | None:
    return float(values.astype(np.float64).mean()) if values.size else None
