"""All metrics of a predicted PET against the real one, as it is and smoothed.

Arrays are on one grid, axis order [k, j, i], both PETs in one unit; a mask is not 0 inside.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Any

import numpy as np

from MRI2PETLib.evaluation.cnr import BoxPairs, box_pairs
from MRI2PETLib.evaluation.measure import Measure
from MRI2PETLib.evaluation.metrics import AS_IS, METRICS, SMOOTHED, Metric
from MRI2PETLib.evaluation.normdiff import shared_voxels
from MRI2PETLib.evaluation.pair import Pair, Volume, VolumePair
from MRI2PETLib.evaluation.scaling import smooth_in_mask
from MRI2PETLib.evaluation.settings import FWHM_MM
from MRI2PETLib.evaluation.ssim import Windows


def compare(
    synthetic: np.ndarray,
    real: np.ndarray,
    mask: np.ndarray,
    spacing_mm: tuple[float, float, float],
    *,
    seed: int = 0,
    fwhm_mm: float = FWHM_MM,
) -> dict[str, Any]:
    """Every metric of one case, plain numbers ready for JSON.

    :param spacing_mm: in the order of the arrays (k, j, i). ``seed``: of the CNR boxes.
    :param fwhm_mm: smoothing of the real PET inside the mask for the metrics that begin with ``smoothed_``.
    :return: name -> number or ``None``; ``not_available``: name -> reason for every ``None``; and what
        :func:`about` says.
    :raises InputError: if the arrays differ in shape.
    """
    inside = shared_voxels(synthetic, real, mask)
    smoothed = smooth_in_mask(real, inside, spacing_mm, fwhm_mm)
    boxes = box_pairs(inside, spacing_mm, seed=seed)
    measures = measure_each([synthetic], {AS_IS: real, SMOOTHED: smoothed}, inside, boxes)[0]
    return {**about(mask, inside, boxes, fwhm_mm), **values_and_reasons(measures)}


def about(mask: np.ndarray, inside: np.ndarray, boxes: BoxPairs, fwhm_mm: float) -> dict[str, Any]:
    """How a comparison was made: voxels compared and left out, the boxes of the CNR (i, j, k), smoothing."""
    n = int(np.count_nonzero(inside))
    return {
        "seed": boxes.seed,
        "fwhm_mm": fwhm_mm,
        "cnr_box_mm": boxes.box_mm[::-1],
        "n_voxels": n,
        "n_not_finite": int(np.count_nonzero(mask)) - n,
    }


def measure_each(
    predicted: Sequence[np.ndarray],
    real: Mapping[str, np.ndarray],
    mask: np.ndarray,
    boxes: BoxPairs | None = None,
    names: Container[str] | None = None,
) -> list[dict[str, Measure]]:
    """The metrics of each predicted image: those of the first real one, then of the next.

    :param real: prefix of the names (:data:`~MRI2PETLib.evaluation.metrics.AS_IS` or ``SMOOTHED``) -> image.
    :param names: only these metrics.
    """
    inside = np.asarray(mask != 0)
    for image in (*predicted, *real.values()):
        inside = shared_voxels(image, image, inside)
    windows = Windows(inside)
    references = {prefix: Volume(image, inside, windows, boxes) for prefix, image in real.items()}
    result = []
    for image in predicted:
        volume = Volume(image, inside, windows, boxes)
        measures: dict[str, Measure] = {}
        for prefix, reference in references.items():
            metrics = {n: m for n, m in METRICS.items() if names is None or n in names}
            measures |= _numbers(VolumePair(volume, reference), prefix, metrics)
        result.append(measures)
    return result


def measure(
    synthetic: np.ndarray, real: np.ndarray, mask: np.ndarray, names: Container[str] | None = None
) -> dict[str, Measure]:
    """The metrics of two images within a mask by name, or those in ``names``; without boxes no CNR.

    >>> real = np.array([[[1.0, 2.0, 3.0, 4.0]]])
    >>> measure(real + 0.5, real, real > 0, ["mse", "mae"])
    {'mse': Measure(value=0.25, reason=''), 'mae': Measure(value=0.5, reason='')}
    """
    return measure_each([synthetic], {AS_IS: real}, mask, names=names)[0]


def measure_region(synthetic: np.ndarray, real: Mapping[str, np.ndarray]) -> dict[str, Measure]:
    """The metrics of a region, from the values of its voxels (vectors)."""
    measures: dict[str, Measure] = {}
    regional = {name: metric for name, metric in METRICS.items() if metric.regions != "no"}
    for prefix, values in real.items():
        measures |= _numbers(Pair.of_values(synthetic, values), prefix, regional)
    return measures


def _numbers(pair: Pair, prefix: str, metrics: Mapping[str, Metric]) -> dict[str, Measure]:
    return {prefix + n: m.function(pair) for n, m in metrics.items() if prefix in m.against}


def values_and_reasons(measures: Mapping[str, Measure]) -> dict[str, Any]:
    """Numbers by name, ready for JSON, and under ``not_available`` the reasons of those that are missing."""
    return {
        **{name: measure.value for name, measure in measures.items()},
        "not_available": {name: m.reason for name, m in measures.items() if m.value is None},
    }
