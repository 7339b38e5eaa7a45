"""Checks against what the simulation did not make: real maps of donors, and the program's whole path."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from scipy import ndimage

from MRI2PETLib.images.grid import RAS_AXES, Grid, resample
from MRI2PETLib.images.io import read_image
from MRI2PETLib.models.bundle import Bundle
from MRI2PETLib.models.model_space import ModelSpace, decode, encode
from MRI2PETLib.preprocessing.smoothing import smooth_fwhm
from MRI2PETLib.simulation import simulate_subject
from MRI2PETLib.synthesis.pipeline import synthesize
from MRI2PETLib.templates.icbm152 import load_template
from MRI2PETLib.templates.regions import built_in_parcellations
from TSPODemoModel.activity import (
    MAP_FWHM_MM,
    ActivityModel,
    Donor,
    correlation,
    mean_map,
    template_brain,
    template_image,
    template_tissue,
)
from TSPODemoModel.anatomies import Anatomy
from TSPODemoModel.pairs import Variation, load_people, make_pairs

OUTPUT_FWHM_MM = 6.0
MASK = "template (nilearn MNI) brain mask where the real mean exceeds .2 of its brain mean"
# How fast an image falls off at the brain's edge makes much of an r in the whole mask.
INNER_MASK = "the same, 8 mm and more from its edge"
_INNER_VOXELS = 4
REGIONS = {
    "thalamus": "thalamus",
    "caudate": "caudate",
    "putamen": "putamen",
    "pallidum": "pallidum",
    "brainstem": "brainstem",
    "hippocampus": "hippocampus",
    "amygdala": "amygdala",
    "white matter": "cerebral white matter",
    "ventricle": "lateral ventricle",
}
_CORTEX = "cerebral cortex"
_HEAD_SEED = 20_000  # of the simulated whole head


@dataclass(frozen=True)
class RealCheck:
    """The prediction for the template's T1 against the mean of real controls.

    ``r_tissue``: tissue weights alone; ``r_donors``: the mean map of the controls that trained the model;
    ``share``: how far the network got from the one to the other. ``inner_*``: the same r without the rim, see
    :data:`INNER_MASK`; ``r_normalised``: of the prediction smoothed inside the mask only. Ratios are region
    over cortex.
    """

    r: float
    r_tissue: float
    r_donors: float
    share: float
    inner_r: float
    inner_tissue: float
    inner_donors: float
    r_normalised: float
    ratios: dict[str, float]
    real_ratios: dict[str, float]

    @property
    def largest_ratio_error(self) -> float:
        return max(abs(self.ratios[name] - self.real_ratios[name]) for name in self.ratios)


def predict_template(network: torch.nn.Module, space: ModelSpace) -> tuple[np.ndarray, np.ndarray]:
    """The network's output for the ICBM 152 T1, smoothed by 6 mm: [k, j, i] on its grid.

    With zeros around the brain, as the real maps were smoothed, and with nothing but the brain.
    """
    template = load_template()
    encoded = encode(template.t1, template.mask, RAS_AXES, space)
    with torch.inference_mode():
        output = network(torch.from_numpy(encoded.source)[None, None])[0, 0].numpy()
    return _smoothed(decode(output, encoded, template.mask))


def predict_people(
    network: torch.nn.Module, size: int, people: Sequence[Anatomy], model: ActivityModel
) -> tuple[np.ndarray, np.ndarray]:
    """As :func:`predict_template`, for people's own T1s: predictions brought to MNI by demons, averaged."""
    ready = load_people(people, model, size, torch.device("cpu"))
    as_is = Variation(shape=False, contrast=False, activity=False, scanner=False)
    total = np.zeros(template_brain().shape, np.float32)
    for n, person in enumerate(people):
        pair = make_pairs(ready, [n], 0, as_is)
        with torch.inference_mode():
            output = (network(pair.source) * pair.mask)[0, 0].numpy()
        total += person.onto(Grid.of(load_template().mask), output)[0]
    return _smoothed(sitk.Mask(template_image(total), load_template().mask))


def _smoothed(image: sitk.Image) -> tuple[np.ndarray, np.ndarray]:
    smoothed = (smooth_fwhm(image, OUTPUT_FWHM_MM, mask) for mask in (None, load_template().mask))
    padded, normalised = (sitk.GetArrayFromImage(i) for i in smoothed)
    return padded, normalised


def check_real(
    predicted: np.ndarray,
    normalised: np.ndarray,
    compared: Sequence[Donor],
    training: Sequence[Donor] | None,
) -> RealCheck:
    """Compare both maps of :func:`predict_template` with the mean of the controls in ``compared``.

    :param training: donors that the model has seen, whose controls' mean is ``r_donors``; ``None`` if it has
        seen ``compared``: then every r is the mean over these controls, each taken alone, and ``r_donors`` is
        that of the others' mean map.
    """
    controls = [donor for donor in compared if donor.is_control]
    real = mean_map(controls)
    # (target, what the mean map of the other donors predicts for it)
    if training is None:
        targets = [(donor.values, mean_map([o for o in controls if o is not donor])) for donor in controls]
    else:
        targets = [(real, mean_map([donor for donor in training if donor.is_control]))]
    tissue = sitk.GetArrayFromImage(smooth_fwhm(template_image(template_tissue()), MAP_FWHM_MM))
    where = template_brain() & (real > 0.2)
    inner = where & ndimage.binary_erosion(template_brain(), iterations=_INNER_VOXELS)

    def r_of(values: np.ndarray | None, mask: np.ndarray) -> float:
        """Mean r over the targets; ``None`` stands for the donors' mean."""
        pairs = [(others if values is None else values, target) for target, others in targets]
        return float(np.mean([correlation(a, b, mask) for a, b in pairs]))

    r, r_tissue, r_donors = r_of(predicted, where), r_of(tissue, where), r_of(None, where)
    return RealCheck(
        r=r,
        r_tissue=r_tissue,
        r_donors=r_donors,
        share=(r - r_tissue) / max(r_donors - r_tissue, 1e-6),
        inner_r=r_of(predicted, inner),
        inner_tissue=r_of(tissue, inner),
        inner_donors=r_of(None, inner),
        r_normalised=r_of(normalised, where),
        ratios=region_ratios(predicted),
        real_ratios=region_ratios(real),
    )


def region_ratios(values: np.ndarray) -> dict[str, float]:
    """Region mean over cortex of a map on the template's grid; the program's coordinate regions, both sides
    together.
    """
    parcellation = next(p for p in built_in_parcellations() if p.name == "paper21")
    labels = sitk.GetArrayViewFromImage(parcellation.labels)

    def mean(region: str) -> float:
        chosen = [label for label, name in parcellation.names.items() if name.endswith(region)]
        return float(values[np.isin(labels, chosen) & template_brain()].mean())

    cortex = mean(_CORTEX)
    return {name: mean(region) / cortex for name, region in REGIONS.items()}


def path_agreement(bundle: Bundle, t1s: dict[str, Path], subjects: Sequence[str]) -> dict[str, float]:
    """r of the whole path (mask, grid, network, back) from another version of the same T1.

    For people: 1 mm voxels, turned by 15 degrees and stored in the orientation PIR, against the 2 mm file.
    For one simulated person: the whole 1 mm head against the stripped 2 mm T1. In the brain masks' overlap on
    the 2 mm grid.
    """
    found: dict[str, float] = {}
    for subject in subjects:
        t1 = read_image(t1s[subject], kind="t1").image
        found[subject] = _agreement(bundle, t1, _turned(t1))
    stripped = simulate_subject(_HEAD_SEED, spacing_mm=2.0).t1
    head = simulate_subject(_HEAD_SEED, spacing_mm=1.0, head=True).t1
    found["simulated whole head"] = _agreement(bundle, stripped, head)
    return found


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
    return correlation(a, b, (m > 0) & (n > 0))
