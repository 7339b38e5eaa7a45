"""A person against a norm: z by voxel, region and pair of regions, with and without the T1; clusters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk

from MRI2PETLib.images.grid import Grid
from MRI2PETLib.normative.calibration import family_p, family_threshold
from MRI2PETLib.normative.clusters import Cluster, find_clusters
from MRI2PETLib.normative.controls import least_controls
from MRI2PETLib.normative.norm import Norm
from MRI2PETLib.normative.person import (
    CONDITIONAL,
    KINDS,
    UNCONDITIONAL,
    MniPerson,
    Readout,
    read_out,
    region_label,
)


class RegionScore(NamedTuple):
    """A region of a person against the norm.

    ``real``, ``predicted``, ``expected`` (real PET that the norm expects: predicted + mean residual of
    controls) and ``sd`` (of a new control around it) in ``unit``. ``percentile``: share of controls below, in
    %. ``p_family``: chance that a control has as large a |z| in any region. The unconditional columns are of
    the real PET without the T1; ``explained``: share of the variance that the T1 explains there.
    """

    parcellation: str
    region: str
    unit: str
    controls: int
    real: float | None
    predicted: float | None
    expected: float | None
    sd: float | None
    z: float | None
    percentile: float | None
    p_family: float | None
    z_unconditional: float | None
    percentile_unconditional: float | None
    p_family_unconditional: float | None
    explained: float | None
    remark: str = ""


class AsymmetryScore(NamedTuple):
    """A pair of regions: index 100 (left - right) / mean of both, in %, against the norm."""

    parcellation: str
    region: str
    controls: int
    real_percent: float | None
    predicted_percent: float | None
    z: float | None
    p_family: float | None
    z_unconditional: float | None
    p_family_unconditional: float | None


class ClusterScore(NamedTuple):
    """A :class:`.Cluster` of a map, MNI (RAS mm).

    ``kind``: residual (by the T1) or real (without). ``p_peak`` and ``p_size``: chance that a control has
    anywhere as far a peak, or as large a cluster.
    """

    kind: str
    sign: str
    volume_ml: float
    n_voxels: int
    peak_z: float
    x_ras_mm: float
    y_ras_mm: float
    z_ras_mm: float
    region: str
    p_peak: float
    p_size: float


@dataclass(frozen=True)
class Scores:
    """All about a person. ``z``: by kind, [k, j, i] on the grid of the norm, NaN: no score."""

    z: dict[str, np.ndarray]
    regions: list[RegionScore]
    asymmetry: list[AsymmetryScore]
    clusters: list[ClusterScore]
    thresholds: dict[str, float | None]

    @property
    def peak_mm(self) -> tuple[float, float, float] | None:
        """The farthest |z| by the T1 (LPS mm, MNI), if there is a cluster."""
        first = next((c for c in self.clusters if c.kind == CONDITIONAL), None)
        return None if first is None else (-first.x_ras_mm, -first.y_ras_mm, first.z_ras_mm)


def score_person(norm: Norm, person: MniPerson, row: np.ndarray) -> Scores:
    """Compare a person with a norm.

    :param row: the person's line of the design, see :func:`.design_row`.
    """
    readout = read_out(person, norm.regions, norm.grid, norm.about.fwhm_mm)
    z = {}
    for kind in KINDS:
        z[kind] = np.full(norm.inside.shape, np.nan)
        z[kind][norm.inside] = norm.models["voxels"][kind].z(readout.maps[kind][norm.inside], row)
    clusters = [c for kind in KINDS for c in _clusters(norm, z[kind], kind)]
    thresholds = {kind: family_threshold(norm.about.maxima["voxels"][kind]) for kind in KINDS}
    return Scores(z, _regions(norm, readout, row), _asymmetry(norm, readout, row), clusters, thresholds)


def _clusters(norm: Norm, z: np.ndarray, kind: str) -> list[ClusterScore]:
    peaks, sizes = (norm.about.maxima[family][kind] for family in ("voxels", "clusters_ml"))
    clusters = find_clusters(z, Grid.of(norm.grid), norm.about.threshold)
    return [
        ClusterScore(
            kind=kind,
            sign="higher" if c.sign > 0 else "lower",
            volume_ml=c.volume_ml,
            n_voxels=c.n_voxels,
            peak_z=c.peak,
            x_ras_mm=c.x_ras_mm,
            y_ras_mm=c.y_ras_mm,
            z_ras_mm=c.z_ras_mm,
            region=_region_at(norm, c),
            p_peak=family_p(peaks, abs(c.peak)),
            p_size=family_p(sizes, c.volume_ml),
        )
        for c in clusters
    ]


def _region_at(norm: Norm, cluster: Cluster) -> str:
    """The regions that hold a peak, the finest last; empty for none."""
    point = (-cluster.x_ras_mm, -cluster.y_ras_mm, cluster.z_ras_mm)
    names = []
    for parcellation in norm.parcellations:
        label = parcellation.labels.GetPixel(parcellation.labels.TransformPhysicalPointToIndex(point))
        names += [parcellation.names[label]] if label in parcellation.names else []
    return ", ".join(names)


def _regions(norm: Norm, readout: Readout, row: np.ndarray) -> list[RegionScore]:
    models = norm.models["regions"]
    z = {kind: models[kind].z(readout.regions[kind], row) for kind in KINDS}
    real = readout.regions[UNCONDITIONAL]
    predicted = real - readout.regions[CONDITIONAL]
    expected = predicted + models[CONDITIONAL].expected(row)
    sd = models[CONDITIONAL].prediction_sd(row)
    rows = []
    for n, (parcellation, region) in enumerate(norm.regions.keys):
        share = norm.about.explained.get(region_label(parcellation, region))
        controls = int(models[CONDITIONAL].count[n])
        by_kind = {kind: _number(z[kind][n]) for kind in KINDS}
        remark = _remark(by_kind[CONDITIONAL], controls, norm.about.n_people, real[n])
        rows.append(
            RegionScore(
                parcellation=parcellation,
                region=region,
                unit=norm.about.unit,
                controls=controls,
                real=_number(real[n]),
                predicted=_number(predicted[n]),
                expected=_number(expected[n]),
                sd=_number(sd[n]),
                z=by_kind[CONDITIONAL],
                percentile=_percentile(by_kind[CONDITIONAL]),
                p_family=_family(norm, "regions", CONDITIONAL, by_kind[CONDITIONAL]),
                z_unconditional=by_kind[UNCONDITIONAL],
                percentile_unconditional=_percentile(by_kind[UNCONDITIONAL]),
                p_family_unconditional=_family(norm, "regions", UNCONDITIONAL, by_kind[UNCONDITIONAL]),
                explained=None if share is None else share.share,
                remark=remark,
            )
        )
    return rows


def _remark(z: float | None, controls: int, people: int, real: float) -> str:
    """Why a region has no z, or on how few it rests."""
    if not np.isfinite(real):
        return "the PET measured too little of it"
    if controls < least_controls(people):
        return f"it was measured in {controls} of {people} controls only; {least_controls(people)} are needed"
    if z is None:
        return f"the {controls} controls who were measured there do not tell the covariates apart"
    return "" if controls == people else f"it rests on {controls} of {people} controls"


def _asymmetry(norm: Norm, readout: Readout, row: np.ndarray) -> list[AsymmetryScore]:
    models = norm.models["asymmetry"]
    z = {kind: models[kind].z(readout.asymmetry[kind], row) for kind in KINDS}
    real = readout.asymmetry[UNCONDITIONAL]
    predicted = real - readout.asymmetry[CONDITIONAL]
    rows = []
    for n, side in enumerate(norm.regions.sides):
        own, without = (_number(z[kind][n]) for kind in KINDS)
        rows.append(
            AsymmetryScore(
                parcellation=side.parcellation,
                region=side.region,
                controls=int(models[CONDITIONAL].count[n]),
                real_percent=_number(real[n]),
                predicted_percent=_number(predicted[n]),
                z=own,
                p_family=_family(norm, "asymmetry", CONDITIONAL, own),
                z_unconditional=without,
                p_family_unconditional=_family(norm, "asymmetry", UNCONDITIONAL, without),
            )
        )
    return rows


def _family(norm: Norm, family: str, kind: str, z: float | None) -> float | None:
    maxima = norm.about.maxima[family][kind]
    return None if z is None or not maxima else family_p(maxima, abs(z))


def _percentile(z: float | None) -> float | None:
    from scipy.special import ndtr

    return None if z is None else float(100 * ndtr(z))


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def z_on_t1(norm: Norm, z: np.ndarray, mask: sitk.Image, warp: sitk.Transform) -> sitk.Image:
    """A map of scores on the grid of a brain mask, float32; 0 where there is no score.

    :param warp: from points of the T1 to MNI points (LPS mm).
    """
    there = np.isfinite(z)
    values, weight = (
        sitk.GetArrayFromImage(
            sitk.Resample(Grid.of(norm.grid).image(part.astype(np.float32)), mask, warp, sitk.sitkLinear, 0.0)
        )
        for part in (np.where(there, z, 0), there)
    )
    inside = (sitk.GetArrayViewFromImage(mask) != 0) & (weight > 0.5)
    result = np.zeros(values.shape, np.float32)
    np.divide(values, weight, out=result, where=inside)
    return Grid.of(mask).image(result)
