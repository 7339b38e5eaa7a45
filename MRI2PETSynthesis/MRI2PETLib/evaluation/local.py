"""Readout of one place: a region that a person drew."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.evaluation.compare import measure_region
from MRI2PETLib.evaluation.measure import Measure, is_constant, measured
from MRI2PETLib.evaluation.metrics import AS_IS
from MRI2PETLib.images.io import same_grid


@dataclass(frozen=True)
class RoiReadout:
    """What two PETs say about one region; means in ``unit``, the rest without one.

    ``n_voxels`` and ``volume_ml`` count the region within the brain, ``outside_ml`` what was left out of it.
    ``metrics``: by name, those of regions in :data:`~MRI2PETLib.evaluation.metrics.METRICS`.
    ``cnr_*``: see :func:`region_cnr`.
    """

    n_voxels: int
    volume_ml: float
    outside_ml: float
    unit: str
    mean_synthetic: float
    mean_real: float
    metrics: dict[str, Measure]
    cnr_synthetic: Measure
    cnr_real: Measure


def roi_readout(
    synthetic: sitk.Image, real: sitk.Image, brain: sitk.Image, roi: sitk.Image, *, unit: str
) -> RoiReadout:
    """Compare both PETs within a region of the brain.

    All images on one grid (LPS mm), both PETs in ``unit``; masks: not 0 is inside. The voxels of the region
    outside the brain, and those where a PET is not finite, are left out.

    :raises InputError: other grids, an empty region, or one without a voxel in the brain.
    """
    for image in (real, brain, roi):
        if not same_grid(image, synthetic):
            raise InputError("The images are not on one grid.", "Resample them to the synthetic PET.")
    region = sitk.GetArrayViewFromImage(roi) != 0
    if not region.any():
        raise InputError("The region is empty.", "Draw it first.")
    s, r = (sitk.GetArrayViewFromImage(image) for image in (synthetic, real))
    usable = (sitk.GetArrayViewFromImage(brain) != 0) & np.isfinite(s) & np.isfinite(r)
    inside = region & usable
    n = int(np.count_nonzero(inside))
    if n == 0:
        raise InputError(
            "The region has no voxel inside the brain.", "Draw it inside the brain mask of the synthetic PET."
        )
    rest = usable & ~region
    voxel_ml = float(np.prod(synthetic.GetSpacing())) / 1000
    in_s, in_r = s[inside].astype(np.float64), r[inside].astype(np.float64)
    return RoiReadout(
        n_voxels=n,
        volume_ml=n * voxel_ml,
        outside_ml=(int(np.count_nonzero(region)) - n) * voxel_ml,
        unit=unit,
        mean_synthetic=float(in_s.mean()),
        mean_real=float(in_r.mean()),
        metrics=measure_region(in_s, {AS_IS: in_r}),
        cnr_synthetic=region_cnr(in_s, s[rest]),
        cnr_real=region_cnr(in_r, r[rest]),
    )


def region_cnr(region: np.ndarray, rest: np.ndarray) -> Measure:
    """Contrast-to-noise ratio of a region against the rest of the brain, ``(mean(region) - mean(rest)) /
    SD(rest)``, population SD; no unit, positive where the region is brighter.

    The difference of two regions over the SD of the reference one, the usual detectability of a region in a
    nuclear medicine image (Cherry, Sorenson & Phelps, Physics in Nuclear Medicine, chapter 15), with the rest
    of the brain as the reference: its SD holds the anatomy's contrast (grey against white matter) beside the
    noise. It judges one image. It is neither Eq. 3 of Ferrante et al. 2025 (random pairs of boxes,
    :mod:`MRI2PETLib.evaluation.cnr`) nor what their Table 4 calls CNR (``roi_cnr_bias``, between images).
    """
    if rest.size < 2:
        return Measure(None, "the region fills the brain")
    reference = rest.astype(np.float64)
    if is_constant(reference):
        return Measure(None, "the rest of the brain is constant")
    return measured((region.astype(np.float64).mean() - reference.mean()) / reference.std(), "not finite")
