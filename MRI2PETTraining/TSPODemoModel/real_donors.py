"""A check against what the simulation did not make: the real maps of the donors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
import torch
from scipy import ndimage

from MRI2PETLib.images.grid import RAS_AXES, Grid
from MRI2PETLib.models.model_space import ModelSpace, decode, encode
from MRI2PETLib.preprocessing.smoothing import smooth_fwhm
from MRI2PETLib.templates.icbm152 import load_template
from MRI2PETLib.templates.regions import built_in_parcellations
from TSPODemoModel.activity_model import (
    MAP_FWHM_MM,
    ActivityModel,
    Donor,
    correlation_in,
    mean_map,
    template_brain,
    template_image,
    template_tissue,
)
from TSPODemoModel.anatomies import PersonAnatomy
from TSPODemoModel.held_out_people import PredictFunction
from TSPODemoModel.simulated_pairs import EXPECTED, load_people, make_pairs

OUTPUT_FWHM_MM = 6.0
TEMPLATE_MASK = "template (nilearn MNI) brain mask where the real mean exceeds .2 of its brain mean"
# How fast an image falls off at the brain's edge makes much of an r in the whole mask.
INNER_MASK = "the same, 8 mm and more from its edge"
_INNER_VOXELS = 4
DONOR_REGIONS = {
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


def predict_template(predict: PredictFunction, space: ModelSpace) -> tuple[np.ndarray, np.ndarray]:
    """A model's prediction for the ICBM 152 T1, smoothed by 6 mm: [k, j, i] on its grid.

    With zeros around the brain, as the real maps were smoothed, and with nothing but the brain.
    """
    template = load_template()
    encoded = encode(template.t1, template.mask, RAS_AXES, space)
    output = predict(torch.from_numpy(encoded.source)[None, None])[0, 0].numpy()
    return _smoothed(decode(output, encoded, template.mask))


def predict_people(
    predict: PredictFunction | None, size: int, people: Sequence[PersonAnatomy], model: ActivityModel
) -> tuple[np.ndarray, np.ndarray]:
    """As :func:`predict_template`, for people's own T1s: predictions brought to MNI by demons, averaged.

    :param predict: ``None`` for the simulated uptake itself, which no prediction from the T1 can better.
    """
    ready = load_people(people, model, size, torch.device("cpu"))
    total = np.zeros(template_brain().shape, np.float32)
    for n, person in enumerate(people):
        pair = make_pairs(ready, [n], 0, EXPECTED)
        uptake = pair.target if predict is None else predict(pair.source)
        output = (uptake * pair.mask)[0, 0].numpy()
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
        return float(np.mean([correlation_in(a, b, mask) for a, b in pairs]))

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
        own_labels = [label for label, name in parcellation.names.items() if name.endswith(region)]
        return float(values[np.isin(labels, own_labels) & template_brain()].mean())

    cortex = mean(_CORTEX)
    return {name: mean(region) / cortex for name, region in DONOR_REGIONS.items()}
