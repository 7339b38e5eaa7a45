"""Evaluate one case: global metrics, regions and maps, the network beside its baselines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import SimpleITK as sitk

from MRI2PETLib.errors import InputError
from MRI2PETLib.evaluation.baselines import NETWORK, Predictor, normalised_t1, predictors
from MRI2PETLib.evaluation.inputs import CaseImages
from MRI2PETLib.evaluation.metrics import (
    FWHM_MM,
    compare,
    divide_by_mean,
    normdiff_map,
    smooth_in_mask,
    voxel_metrics,
)
from MRI2PETLib.evaluation.regions import (
    WHOLE_BRAIN,
    Parcellation,
    RegionVoxels,
    built_in_parcellations,
    check_overlap,
    check_sides,
    pull_labels,
    region_voxels,
)
from MRI2PETLib.grids import crop_to
from MRI2PETLib.progress import ProgressCallback, no_progress
from MRI2PETLib.verdict import Finding, Verdict

STATED = "stated"
SCALE_FREE = "scale-free"
SCALE_FREE_UNIT = "PET / in-brain mean"
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
# A region this small says little and a single voxel of it could lead the eye.
_MIN_VOXELS_SHOWN = 10


class RegionRow(NamedTuple):
    """One region, one predictor, one scale. ``smoothed_`` compares with the smoothed real PET.

    Means are in ``unit``; ``mean_t1`` in units of the T1's 1st to 99th percentile. ``reason`` explains
    ``None``.
    """

    parcellation: str
    label: int
    region: str
    predictor: str
    scale: str
    unit: str
    n_voxels: int
    volume_ml: float
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


@dataclass(frozen=True)
class CaseResult:
    """Tables and maps of one case.

    ``scales``: scale -> ``unit``, ``network`` (see :func:`~MRI2PETLib.evaluation.metrics.compare`) and
    ``baselines`` (name -> metrics). Maps are on the grid of the case, in the stated unit or scale-free
    (``shown_unit``). ``synthetic`` and ``real`` are the images in ``shown_unit``. ``point_mm`` (LPS) lies in
    the region ``largest``, that of the largest difference. ``predictors`` hold their images on the grid of
    ``cropped_mask``, in the input's unit.
    """

    scales: dict[str, dict[str, Any]]
    regions: list[RegionRow]
    predictors: list[Predictor]
    cropped_mask: sitk.Image
    shown_unit: str
    synthetic: sitk.Image
    real: sitk.Image
    normdiff: sitk.Image
    difference: sitk.Image
    valid: sitk.Image
    point_mm: tuple[float, float, float]
    largest: str
    verdict: Verdict


def evaluate_case(
    case: CaseImages,
    *,
    atlases: Sequence[Parcellation] = (),
    cubic: Sequence[float] | None = None,
    training_mean: sitk.Image | None = None,
    seed: int = 0,
    fwhm_mm: float = FWHM_MM,
    progress: ProgressCallback = no_progress,
) -> CaseResult:
    """Compute everything that is shown about one case.

    :param atlases: parcellations of the user, besides the built-in ones.
    :param cubic: coefficients of the T1 baseline, ``training_mean`` the mean PET of the training fold (MNI).
    :raises InputError: an atlas in the wrong space, without a transform, or with swapped sides.
    """
    small = _cropped(case)
    mask = sitk.GetArrayViewFromImage(small.mask) != 0
    i_mm, j_mm, k_mm = small.mask.GetSpacing()
    spacing, voxel_ml = (k_mm, j_mm, i_mm), i_mm * j_mm * k_mm / 1000
    synthetic, real = (sitk.GetArrayFromImage(i).astype(np.float32) for i in (small.synthetic, small.real))
    regions, findings = _regions(small, atlases)
    rows = predictors(
        synthetic,
        small.mask,
        small.t1,
        small.template_to_native,
        cubic=cubic,
        training_mean=training_mean,
    )
    t1 = None
    if small.t1 is not None:
        t1 = normalised_t1(sitk.GetArrayViewFromImage(small.t1), mask)
    scales: dict[str, dict[str, Any]] = {}
    table: list[RegionRow] = []
    steps = [(STATED, small.unit)] if small.unit is not None else []
    steps += [(SCALE_FREE, SCALE_FREE_UNIT)]
    for number, (scale, unit) in enumerate(steps):
        progress(number, len(steps), "comparing")
        free = scale == SCALE_FREE
        real_scaled = divide_by_mean(real, mask) if free else real
        smoothed = smooth_in_mask(real_scaled, mask, spacing, fwhm_mm)
        result: dict[str, Any] = {"unit": unit, "network": {}, "baselines": {}}
        for row in rows:
            images = None
            if row.values is None:
                result["baselines"][row.name] = {"not_available": {"all": row.reason}}
            else:
                values = divide_by_mean(row.values, mask) if free else row.values
                images = (values, real_scaled, smoothed)
                if row.name == NETWORK:
                    result["network"] = compare(
                        values, real_scaled, mask, spacing, seed=seed, fwhm_mm=fwhm_mm
                    )
                else:
                    result["baselines"][row.name] = _baseline_metrics(*images, mask)
            table += [_row(region, row, scale, str(unit), images, t1, voxel_ml) for region in regions]
        scales[scale] = result
    shown = steps[0][0]
    largest, point_mm = _largest_difference(table, regions, shown, small.mask)
    progress(1, 1, "compared")
    return CaseResult(
        scales=scales,
        regions=table,
        predictors=rows,
        cropped_mask=small.mask,
        shown_unit=str(steps[0][1]),
        **_maps(case, free=shown == SCALE_FREE),
        point_mm=point_mm,
        largest=largest,
        verdict=case.verdict + findings,
    )


def _cropped(case: CaseImages) -> CaseImages:
    """The case cut to its brain: most of a T1 is air."""
    cut = {name: crop_to(getattr(case, name), case.mask, 0.0) for name in ("synthetic", "real", "mask")}
    t1 = None if case.t1 is None else crop_to(case.t1, case.mask, 0.0)
    return CaseImages(**{**vars(case), **cut, "t1": t1})


def _regions(
    case: CaseImages, atlases: Sequence[Parcellation]
) -> tuple[list[RegionVoxels], tuple[Finding, ...]]:
    brain = sitk.GetArrayViewFromImage(case.mask) != 0
    found = [RegionVoxels("brain", 1, WHOLE_BRAIN, np.flatnonzero(brain))]
    findings: tuple[Finding, ...] = ()
    if case.template_to_native is None:
        message = "There is no transform between MNI space and this person: built-in regions are left out."
        findings += (Finding("warn", "no_mni_transform", message, "Give the T1 (--t1)."),)
    else:
        for parcellation in built_in_parcellations():
            labels = pull_labels(parcellation, case.mask, case.template_to_native)
            found += region_voxels(parcellation, labels, brain)
    for parcellation in atlases:
        findings += parcellation.findings + check_sides(parcellation)
        labels = pull_labels(parcellation, case.mask, case.template_to_native)
        check_overlap(parcellation, labels, brain)
        found += region_voxels(parcellation, labels, brain)
    empty = [f"{r.name} ({r.parcellation})" for r in found if not r.index.size]
    if empty:
        message = f"{len(empty)} regions have no voxel inside the brain: {', '.join(empty[:5])}"
        findings += (Finding("warn", "empty_region", message + ("." if len(empty) <= 5 else ", ...")),)
    if not any(r.index.size for r in found[1:]) and atlases:
        raise InputError("No region of the atlas has a voxel inside the brain.", "Check the atlas.")
    return found, findings


def _baseline_metrics(
    values: np.ndarray, real: np.ndarray, smoothed: np.ndarray, mask: np.ndarray
) -> dict[str, Any]:
    measures = voxel_metrics(values, real, mask)
    measures |= {f"smoothed_{k}": v for k, v in voxel_metrics(values, smoothed, mask).items()}
    return {
        **{name: measure.value for name, measure in measures.items()},
        "not_available": {name: m.reason for name, m in measures.items() if m.value is None},
    }


def _row(
    region: RegionVoxels,
    predictor: Predictor,
    scale: str,
    unit: str,
    images: tuple[np.ndarray, np.ndarray, np.ndarray] | None,
    t1: np.ndarray | None,
    voxel_ml: float,
) -> RegionRow:
    """One row; ``images``: predicted, real and smoothed real PET, or ``None`` without a prediction."""
    row: dict[str, Any] = dict.fromkeys(RegionRow._fields)
    row |= {
        "parcellation": region.parcellation,
        "label": region.label,
        "region": region.name,
        "predictor": predictor.name,
        "scale": scale,
        "unit": unit,
        "n_voxels": region.index.size,
        "volume_ml": region.index.size * voxel_ml,
        "reason": predictor.reason,
    }
    if images is None:
        return RegionRow(**row)
    s, r, smoothed = (image.ravel()[region.index] for image in images)
    inside = np.ones(s.shape, dtype=bool)
    measures = voxel_metrics(s, r, inside, _REGIONAL)
    against_smoothed = voxel_metrics(s, smoothed, inside, _REGIONAL_SMOOTHED)
    row |= {name: measure.value for name, measure in measures.items()}
    row |= {f"smoothed_{name}": measure.value for name, measure in against_smoothed.items()}
    row |= {"mean_real": _mean(r), "mean_real_smoothed": _mean(smoothed), "mean_predicted": _mean(s)}
    row["mean_t1"] = None if t1 is None else _mean(t1.ravel()[region.index])
    row["reason"] = "; ".join(sorted({m.reason for m in measures.values() if m.value is None}))
    return RegionRow(**row)


def _mean(values: np.ndarray) -> float | None:
    return float(values.astype(np.float64).mean()) if values.size else None


def _largest_difference(
    table: list[RegionRow], regions: list[RegionVoxels], scale: str, mask: sitk.Image
) -> tuple[str, tuple[float, float, float]]:
    """Name of the small region with the largest |NormDiff| of the network, and a voxel near its middle (LPS
    mm).

    The last parcellation is taken: that of the user, or else the coordinate regions.
    """
    last = regions[-1].parcellation
    rows = [
        row
        for row in table
        if (row.parcellation, row.predictor, row.scale) == (last, NETWORK, scale)
        and row.n_voxels >= _MIN_VOXELS_SHOWN
        and row.normdiff_mean is not None
    ]
    chosen = regions[0]
    if rows:
        label = max(rows, key=lambda row: abs(row.normdiff_mean or 0.0)).label
        chosen = next(r for r in regions if (r.parcellation, r.label) == (last, label))
    where = np.array(np.unravel_index(chosen.index, mask.GetSize()[::-1]))
    nearest = np.argmin(((where - where.mean(axis=1, keepdims=True)) ** 2).sum(axis=0))
    x, y, z = mask.TransformIndexToPhysicalPoint([int(v) for v in where[::-1, nearest]])
    return chosen.name, (x, y, z)


def _maps(case: CaseImages, *, free: bool) -> dict[str, sitk.Image]:
    """Both PETs on the scale that is shown, and their maps, on the full grid of the case."""
    mask = sitk.GetArrayViewFromImage(case.mask) != 0
    arrays = [sitk.GetArrayFromImage(image).astype(np.float32) for image in (case.synthetic, case.real)]
    if free:
        arrays = [divide_by_mean(a, mask).astype(np.float32) for a in arrays]
    synthetic, real = arrays
    normdiff, valid = normdiff_map(synthetic, real, mask)
    difference = np.where(mask, synthetic - real, 0).astype(np.float32)
    named = {
        "synthetic": synthetic,
        "real": real,
        "normdiff": normdiff,
        "difference": difference,
        "valid": valid.astype(np.uint8),
    }
    images = {name: sitk.GetImageFromArray(values) for name, values in named.items()}
    for image in images.values():
        image.CopyInformation(case.mask)
    return images
