"""A norm in memory: what the controls of a lab are like. Its files: :mod:`.norm_folder`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import SimpleITK as sitk

from MRI2PETLib.images.grid import Grid
from MRI2PETLib.models.bundle import Bundle
from MRI2PETLib.normative.calibration import CalibrationRow, ExplainedShare
from MRI2PETLib.normative.controls import ControlModel
from MRI2PETLib.normative.design import NormCovariate
from MRI2PETLib.normative.person import RegionSet
from MRI2PETLib.templates.regions import Parcellation

PARTS = ("voxels", "regions", "asymmetry")
FAMILIES = ("voxels", "clusters_ml", "regions", "asymmetry")


@dataclass(frozen=True)
class PredictedBy:
    """Which model predicted the controls, as far as their files say it.

    :ivar checksums: of the weights of its folds, and of their ensemble.
    """

    id: str = ""
    name: str = ""
    version: str = ""
    checksums: tuple[str, ...] = ()


@dataclass(frozen=True)
class NormAbout:
    """What a norm says of itself.

    :ivar unit: of the PETs; ``reference_region``: of a SUVR, else empty.
    :ivar demonstration: it is of too few people to be used, or of predictions by a demonstration model.
    :ivar threshold: |z| of a voxel that belongs to a cluster.
    :ivar maxima: by family and kind, the largest |z| (or cluster) of each control by the others, sorted.
    :ivar explained: by region, then ``voxels``: what the prediction adds.
    :ivar source: checksum of the name of the run. ``request``: of all that decides it.
    :ivar window_min: minutes after the injection that the PETs of all controls show; ``None``: not stated, or
        not the same ones.
    """

    unit: str
    reference_region: str
    tracer: str
    group: str
    n_people: int
    n_scans: int
    simulated: bool
    demonstration: bool
    fwhm_mm: float
    threshold: float
    covariates: tuple[NormCovariate, ...]
    maxima: Mapping[str, Mapping[str, list[float]]]
    explained: Mapping[str, ExplainedShare]
    calibration: Mapping[str, tuple[CalibrationRow, ...]]
    predicted_by: PredictedBy
    notes: tuple[str, ...]
    source: str
    request: str
    window_min: tuple[float, float] | None = None

    @property
    def unit_text(self) -> str:
        return f"{self.unit} ({self.reference_region})" if self.reference_region else self.unit


@dataclass(frozen=True)
class Norm:
    """A norm in memory.

    :ivar models: of each part and kind. Units of ``voxels`` are those of ``inside``, [k, j, i] on ``grid``.
    """

    about: NormAbout
    grid: sitk.Image
    inside: np.ndarray
    parcellations: tuple[Parcellation, ...]
    models: Mapping[str, Mapping[str, ControlModel]]
    bundle: Bundle | None = None
    checksum: str = ""

    @cached_property
    def regions(self) -> RegionSet:
        return RegionSet.of(self.parcellations)

    def image(self, values: np.ndarray) -> sitk.Image:
        """An image of values by voxel of ``inside``, 0 elsewhere."""
        whole = np.zeros(self.inside.shape, np.float32)
        whole[self.inside] = np.nan_to_num(values)
        return Grid.of(self.grid).image(whole)
