"""Is a synthetic PET closer to the person's own real PET than to other people's, and more so than anatomy?

Compared in MNI space (affine) at 6 mm, so that the shape of the head does not identify anybody. The published
analysis (Ferrante et al. 2025, Table 5) compares own and other in the same way but has no baseline; a cubic
of T1 or a warped mean image "identifies" people too, so what counts is the gain over the warped average.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk

from MRI2PETLib.evaluation.baselines import NETWORK, WARPED_AVERAGE
from MRI2PETLib.evaluation.metrics import AS_IS, METRICS, SMOOTHED
from MRI2PETLib.evaluation.pair import Pair
from MRI2PETLib.evaluation.spaces import resample_inside, template_grid
from MRI2PETLib.evaluation.statistics import area_under_curve, mean_sd

OTHERS_SPACING_MM = 6.0
_BLOCK = 32  # scans in memory at a time
_MIN_SHARED = 200
_MIN_COVERAGE = 0.8  # of the template brain, for a scan to be compared with others
_FLAT = 1e-5
_TABLE_5 = ("mse", "normdiff_mean", "percent_difference")
REAL_PET, SMOOTHED_PET = "real", "real, smoothed"


class Specificity(NamedTuple):
    """Own and other distances of one predictor, averaged over people.

    ``mse`` is scale-free (each image over its mean), ``gap`` = 1 - own / other MSE; 0 is no specificity.
    ``rank`` 1 is the own PET as the closest of all; ``auc`` .5 is chance; ``gain_*`` over the warped average.
    """

    predictor: str
    n_people: int
    own_mse: float | None = None
    other_mse: float | None = None
    gap: float | None = None
    own_r: float | None = None
    other_r: float | None = None
    rank: float | None = None
    n_ranked: float | None = None
    top1: float | None = None
    auc: float | None = None
    gain_gap: float | None = None
    gain_auc: float | None = None
    reason: str = ""


class OtherDifference(NamedTuple):
    """Table 5 of the paper: the network's PET against the real PET of all others, mean and SD over people.

    ``metric``: against the real PET or, with its prefix, the smoothed one.
    """

    metric: str
    own_mean: float | None
    own_sd: float | None
    other_mean: float | None
    other_sd: float | None
    n_people: int


@cache
def _grid() -> tuple[sitk.Image, np.ndarray]:
    """A 6 mm grid over the template and the brain on it (flat indices)."""
    grid = template_grid(OTHERS_SPACING_MM)
    return grid, np.flatnonzero(sitk.GetArrayViewFromImage(grid))


class VectorStore:
    """Images of many scans as short vectors in MNI space, in files, so that memory does not grow."""

    def __init__(self, folder: Path, n_scans: int) -> None:
        self._folder, self._n = folder, n_scans
        self._files: dict[str, np.memmap] = {}

    def add(
        self, name: str, row: int, values: np.ndarray, mask: sitk.Image, template_to_native: sitk.Transform
    ) -> None:
        """Store the image ``values`` [k, j, i] on the grid of ``mask``; NaN outside the mask."""
        grid, brain = _grid()
        (moved,) = resample_inside([values], mask, grid, template_to_native)
        self._matrix(name)[row] = moved.ravel()[brain]

    def _matrix(self, name: str) -> np.memmap:
        if name not in self._files:
            shape = (self._n, len(_grid()[1]))
            path = self._folder / f"{len(self._files)}.dat"
            self._files[name] = np.memmap(path, dtype=np.float32, mode="w+", shape=shape)
            self._files[name][:] = np.nan
        return self._files[name]

    def rows(self, name: str, part: slice) -> np.ndarray:
        """Vectors of some scans as float64, shape (scans, voxels)."""
        return np.asarray(self._matrix(name)[part], dtype=np.float64)

    def names(self) -> list[str]:
        return list(self._files)

    def close(self) -> None:
        """Forget all vectors and unmap their files, which can be removed then."""
        self._files.clear()


def common_voxels(store: VectorStore, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Which scans can be compared (bool, n), and the voxels that all of those have (bool).

    One set of voxels for all pairs: with the overlap of each pair instead, a scan would be compared with
    itself on more of its rim than with others. A scan that misses much of the brain is left out rather than
    shrinking the set.
    """
    usable = np.zeros(n, dtype=bool)
    common = np.ones(len(_grid()[1]), dtype=bool)
    for start in range(0, n, _BLOCK):
        block = slice(start, min(start + _BLOCK, n))
        finite = np.isfinite(store.rows(REAL_PET, block)) & np.isfinite(store.rows(NETWORK, block))
        usable[block] = finite.mean(axis=1) >= _MIN_COVERAGE
        common &= finite[usable[block]].all(axis=0)
    if np.count_nonzero(common) < _MIN_SHARED:
        usable[:] = False
    return usable, common


def distances(
    store: VectorStore, predictor: str, usable: np.ndarray, common: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Scale-free MSE and correlation of every prediction (row) with every real PET (column); NaN = none."""
    n = len(usable)
    mse, r = np.full((n, n), np.nan), np.full((n, n), np.nan)
    blocks = [slice(start, min(start + _BLOCK, n)) for start in range(0, n, _BLOCK)]
    for rows in blocks:
        s, spread_s = _relative(store.rows(predictor, rows)[:, common])
        for columns in blocks:
            real, spread_real = _relative(store.rows(REAL_PET, columns)[:, common])
            # Means are 1, so mean((s - r)^2) = var(s) + var(r) - 2 cov(s, r).
            covariance = (s - 1) @ (real - 1).T / np.count_nonzero(common)
            pair = usable[rows, None] & usable[None, columns]
            squares = spread_s[:, None] ** 2 + spread_real[None] ** 2 - 2 * covariance
            mse[rows, columns] = np.where(pair, squares, np.nan)
            product = spread_s[:, None] * spread_real[None]
            # The vectors are float32: a smaller spread is rounding.
            flat = (spread_s[:, None] < _FLAT) | (spread_real[None] < _FLAT)
            with np.errstate(divide="ignore", invalid="ignore"):
                r[rows, columns] = np.where(pair & ~flat, covariance / product, np.nan)
    return mse, r


def _relative(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each vector over its mean, and its population SD; NaN where the mean is not above zero."""
    mean = vectors.mean(axis=1, keepdims=True)
    relative = vectors / np.where(mean > 0, mean, np.nan)
    return relative, relative.std(axis=1)


def specificity(store: VectorStore, subjects: Sequence[str], predictors: Sequence[str]) -> list[Specificity]:
    """Own against other for each predictor; ``subjects[i]``: whose scan i is. Own repeats never count."""
    people = np.array(subjects)
    if len(set(subjects)) < 2:
        reason = "own against other needs at least two people"
        return [_empty(name, len(set(subjects)), reason) for name in predictors]
    results = []
    available = store.names()
    usable, common = common_voxels(store, len(people)) if REAL_PET in available else (None, None)
    for name in predictors:
        if name not in available or usable is None or common is None:
            results.append(_empty(name, 0, "not available for this cohort"))
        else:
            results.append(_one(name, people, *distances(store, name, usable, common)))
    null = next((s for s in results if s.predictor == WARPED_AVERAGE), None)
    return [_with_gain(s, null) for s in results]


def _empty(name: str, n: int, reason: str) -> Specificity:
    return Specificity(name, n, reason=reason)


def _one(name: str, people: np.ndarray, mse: np.ndarray, r: np.ndarray) -> Specificity:
    columns: dict[str, list[tuple[str, float]]] = {}
    for i, person in enumerate(people):
        other = mse[i, people != person]
        other = other[np.isfinite(other)]
        own = mse[i, i]
        if not np.isfinite(own) or not other.size:
            continue
        auc = area_under_curve(np.array([own]), other)
        rank = 1 + np.count_nonzero(other < own) + 0.5 * np.count_nonzero(other == own)
        result = {
            "own": own,
            "other": other.mean(),
            "rank": rank,
            "n": len(other) + 1,
            "top": float(rank == 1),
        }
        other_r = r[i, people != person]
        if np.isfinite(r[i, i]) and np.isfinite(other_r).any():
            result |= {"own_r": r[i, i], "other_r": np.nanmean(other_r)}
        for key, value in (result | {"auc": auc if auc is not None else np.nan}).items():
            columns.setdefault(key, []).append((person, float(value)))
    if not columns:
        return _empty(name, 0, "no scan could be compared with another person's")
    mean = {key: mean_sd(over_people(pairs)).mean for key, pairs in columns.items()}
    own, other = mean["own"], mean["other"]
    gap = 1 - own / other if own is not None and other else None
    return Specificity(
        name,
        len({person for person, _ in columns["own"]}),
        own,
        other,
        gap,
        mean.get("own_r"),
        mean.get("other_r"),
        mean["rank"],
        mean["n"],
        mean["top"],
        mean["auc"],
    )


def over_people(pairs: Sequence[tuple[str, float]]) -> list[float]:
    """Average the scans of each person."""
    by_person: dict[str, list[float]] = {}
    for person, value in pairs:
        by_person.setdefault(person, []).append(value)
    return [float(np.mean(values)) for values in by_person.values()]


def _with_gain(one: Specificity, null: Specificity | None) -> Specificity:
    if null is None or one.predictor == WARPED_AVERAGE or one.gap is None or null.gap is None:
        return one
    auc = None if one.auc is None or null.auc is None else one.auc - null.auc
    return one._replace(gain_gap=one.gap - null.gap, gain_auc=auc)


def other_differences(store: VectorStore, subjects: Sequence[str]) -> list[OtherDifference]:
    """MSE, NormDiff and percentage difference of the network's PET to the own and to others' real PET.

    Against the real PETs as they are, then against the smoothed ones.
    """
    people = np.array(subjects)
    if NETWORK not in store.names() or len(set(subjects)) < 2:
        return []
    usable, common = common_voxels(store, len(people))
    reals = {AS_IS: REAL_PET, SMOOTHED: SMOOTHED_PET}
    return [
        row
        for prefix, real in reals.items()
        if real in store.names()
        for row in _other_differences(store, real, people, usable, common, prefix)
    ]


def _other_differences(
    store: VectorStore, real: str, people: np.ndarray, usable: np.ndarray, common: np.ndarray, prefix: str
) -> list[OtherDifference]:
    collected: dict[str, tuple[list[tuple[str, float]], list[tuple[str, float]]]] = {}
    for i, person in enumerate(people):
        if not usable[i]:
            continue
        s = store.rows(NETWORK, slice(i, i + 1))[0, common]
        sums: dict[str, list[float]] = {}
        for start in range(0, len(people), _BLOCK):
            block = store.rows(real, slice(start, start + _BLOCK))[:, common]
            for offset, other in enumerate(people[start : start + _BLOCK]):
                j = start + offset
                if not usable[j] or (j != i and other == person):
                    continue
                for name, value in _pair(s, block[offset]).items():
                    own_list, _ = collected.setdefault(name, ([], []))
                    if j == i:
                        own_list.append((person, value))
                    else:
                        sums.setdefault(name, []).append(value)
        for name, values in sums.items():
            collected.setdefault(name, ([], []))[1].append((person, float(np.mean(values))))
    rows = []
    for name, (own, other) in collected.items():
        a, b = mean_sd(over_people(own)), mean_sd(over_people(other))
        rows.append(OtherDifference(prefix + name, a.mean, a.sd, b.mean, b.sd, b.n))
    return rows


def _pair(s: np.ndarray, real: np.ndarray) -> dict[str, float]:
    pair = Pair(s, real)
    measures = {name: METRICS[name].function(pair) for name in _TABLE_5}
    return {name: measure.value for name, measure in measures.items() if measure.value is not None}
