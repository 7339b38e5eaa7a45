"""Fréchet distance between the sets of synthetic and of real PETs: FID, where the features are Inception's.

It compares the distributions of features of axial slices (Heusel et al. 2017, NeurIPS; as Theodorou et al.
2025 use it). It needs no pairs, says nothing about a person, and is far from 0 for few slices of one and the
same distribution: so the distance between two halves of the real people stands beside it, and there is none
where the covariance of the features cannot be estimated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.evaluation.slice_features import SliceFeatures
from MRI2PETLib.evaluation.spaces import resample_inside, template_grid
from MRI2PETLib.evaluation.specificity import REAL_PET

_SPACING_MM = 2.0
_PERCENTILE = 99.5
_MIN_VOXELS = 400  # 16 cm² of brain: a slice with less is rim
_SPLITS = 5


class FidRow(NamedTuple):
    """Distance of one predictor's slices from the real ones, no unit, 0 is best.

    ``real_halves``: mean distance between two random halves of the real people; what is not well above it
    cannot be told from the real PETs with so few people. It is of half as many people, so rather too large.
    ``reason`` explains ``None``.
    """

    predictor: str
    features: str
    fid: float | None
    real_halves: float | None
    n_people: int
    n_slices: int
    reason: str = ""


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """``|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2))`` of two sets of features, no unit.

    :param first: features, array [n, features].
    :raises InputError: if a set has no more rows than features: its covariance would be singular.
    """
    for features in (first, second):
        n, width = features.shape
        if n <= width:
            raise InputError(
                f"FID needs more slices than features: there are {n} slices and {width} features.",
                "Use more volumes, or read SSIM and PSNR instead.",
            )
    means = first.mean(axis=0), second.mean(axis=0)
    covariances = [np.atleast_2d(np.cov(f.astype(np.float64), rowvar=False)) for f in (first, second)]
    root = _root(covariances[0])
    # (C1 C2) has the eigenvalues of the symmetric C1^(1/2) C2 C1^(1/2).
    shared = np.linalg.eigvalsh(root @ covariances[1] @ root)
    apart = float(np.sum((means[0] - means[1]) ** 2))
    return apart + float(sum(np.trace(c) for c in covariances) - 2 * np.sqrt(np.clip(shared, 0, None)).sum())


def _root(symmetric: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(symmetric)
    return (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T


class SliceSets:
    """Features of the axial slices of many people, by predictor; images are not kept."""

    def __init__(self, features: SliceFeatures) -> None:
        self.features = features
        self._sets: dict[str, list[tuple[str, np.ndarray]]] = {}

    def add(
        self,
        subject: str,
        images: Mapping[str, np.ndarray],
        mask: sitk.Image,
        template_to_native: sitk.Transform,
    ) -> None:
        """Add a person's images ([k, j, i], on the grid of ``mask``, one unit); one of them is ``real``.

        All are shown as the real one is, from 0 to its 99.5th percentile in the brain: so a wrong level
        counts. (Published values scale every volume by its own minimum and maximum; they do not compare.)

        :raises InputError: if the real PET holds nothing above zero.
        """
        volumes = resample_inside(list(images.values()), mask, template_grid(_SPACING_MM), template_to_native)
        moved = dict(zip(images, volumes))
        inside = np.isfinite(np.sum(list(moved.values()), axis=0))
        levels = moved[REAL_PET][inside]
        top = float(np.percentile(levels, _PERCENTILE)) if levels.size else 0.0
        if not top > 0:
            raise InputError("The real PET holds nothing above zero in the brain.", "Check the image.")
        enough = np.count_nonzero(inside, axis=(1, 2)) >= _MIN_VOXELS
        for name, values in moved.items():
            slices = np.where(inside, np.clip(values / top, 0, 1), 0)[enough]
            self._sets.setdefault(name, []).append((subject, self._computed(slices, inside[enough])))

    def _computed(self, slices: np.ndarray, inside: np.ndarray) -> np.ndarray:
        return self.features.compute(slices, inside).astype(np.float32)

    def table(self, *, seed: int = 0) -> list[FidRow]:
        """Every predictor against the real PETs. Empty if nothing was added."""
        if REAL_PET not in self._sets:
            return []
        real = self._rows(REAL_PET)
        scale = np.ones(real.shape[1])
        if self.features.standardise:
            sd = real.std(axis=0)
            np.copyto(scale, sd, where=sd > 0)
        people = list(dict.fromkeys(subject for subject, _ in self._sets[REAL_PET]))
        halves = self._halves(people, scale, seed)
        rows = []
        for name in self._sets:
            if name == REAL_PET:
                continue
            own = self._rows(name)
            try:
                value: float | None = frechet_distance(own / scale, real / scale)
                reason = ""
            except InputError as error:
                value, reason = None, error.message
            n_people = len({subject for subject, _ in self._sets[name]})
            rows.append(FidRow(name, self.features.name, value, halves, n_people, len(own), reason))
        return rows

    def _rows(self, name: str, people: Sequence[str] | None = None) -> np.ndarray:
        members = [rows for subject, rows in self._sets[name] if people is None or subject in people]
        return np.concatenate(members).astype(np.float64)

    def _halves(self, people: Sequence[str], scale: np.ndarray, seed: int) -> float | None:
        """Mean distance between the real PETs of two random halves of the people."""
        generator = np.random.default_rng(seed)
        half = len(people) // 2
        distances = []
        for _ in range(_SPLITS if half else 0):
            order = generator.permutation(len(people))
            first, second = (
                self._rows(REAL_PET, [people[i] for i in part]) / scale
                for part in (order[:half], order[half : 2 * half])
            )
            try:
                distances.append(frechet_distance(first, second))
            except InputError:
                return None
        return float(np.mean(distances)) if distances else None
