"""Whether a model predicts the same for the same brain in another file, through the whole program."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from MRI2PETLib.images.grid import Grid, resample
from MRI2PETLib.images.io import read_image
from MRI2PETLib.models.bundle import Bundle
from MRI2PETLib.simulation import simulate_subject
from MRI2PETLib.synthesis.pipeline import synthesize
from TSPODemoModel.activity_model import correlation_in

_HEAD_SEED = 20_000  # of the simulated whole head


def path_agreement(bundle: Bundle, t1s: dict[str, Path], subjects: Sequence[str]) -> dict[str, float]:
    """r of the whole path (mask, grid, network, back) from another version of the same T1.

    For people: 1 mm voxels, turned by 15 degrees and stored in the orientation PIR, against the 2 mm file.
    For one simulated person: the whole 1 mm head against the stripped 2 mm T1. In the brain masks' overlap on
    the 2 mm grid.
    """
    agreement: dict[str, float] = {}
    for subject in subjects:
        t1 = read_image(t1s[subject], kind="t1").image
        agreement[subject] = _agreement(bundle, t1, _turned(t1))
    stripped = simulate_subject(_HEAD_SEED, spacing_mm=2.0).t1
    head = simulate_subject(_HEAD_SEED, spacing_mm=1.0, head=True).t1
    agreement["simulated whole head"] = _agreement(bundle, stripped, head)
    return agreement


def _turned(t1: sitk.Image) -> sitk.Image:
    """The same brain at 1 mm on a grid turned by 15 degrees about the left-right axis, in PIR order."""
    spacing, size = np.array(t1.GetSpacing()), np.array(t1.GetSize())
    centre = np.array(t1.TransformContinuousIndexToPhysicalPoint(((size - 1) / 2).tolist()))
    rotation = sitk.Euler3DTransform()
    rotation.SetRotation(np.deg2rad(15), 0, 0)
    direction = np.reshape(rotation.GetMatrix(), (3, 3)) @ np.reshape(t1.GetDirection(), (3, 3))
    fine = np.ceil(size * spacing + 40).astype(int)
    origin = centre - direction @ ((fine - 1) / 2)
    grid = Grid(tuple(fine.tolist()), (1.0,) * 3, tuple(origin.tolist()), tuple(direction.ravel().tolist()))
    turned = sitk.Clamp(resample(t1, grid, interpolator=sitk.sitkBSpline), lowerBound=0.0)
    inside = resample(t1, grid)  # the spline rings around the brain
    return sitk.DICOMOrient(sitk.Mask(turned, inside > 0), "PIR")


def _agreement(bundle: Bundle, t1: sitk.Image, other: sitk.Image) -> float:
    first, second = (synthesize(image, bundle, device="cpu") for image in (t1, other))
    moved = resample(second.pet, Grid.of(t1))
    mask = resample(second.mask, Grid.of(t1), interpolator=sitk.sitkNearestNeighbor)
    a, b, m, n = (sitk.GetArrayViewFromImage(i) for i in (first.pet, moved, first.mask, mask))
    return correlation_in(a, b, (m > 0) & (n > 0))
