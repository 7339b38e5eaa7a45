"""The error of a model, region by region, as an image of one person."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from MRI2PETLib.images.grid import Grid, bounding_box, crop_to
from MRI2PETLib.models.bundle import ErrorSD
from MRI2PETLib.models.bundle_checks import ELSEWHERE
from MRI2PETLib.preprocessing.brain_mask import BrainExtraction
from MRI2PETLib.templates.regions import BUILT_IN, pull_labels


def error_image(error: ErrorSD, extraction: BrainExtraction) -> sitk.Image | None:
    """The SD of the model's error on the grid of the T1, float32 in the unit of the prediction, 0 outside the
    brain.

    It is that of the region which a voxel belongs to: the same for everybody. Regions come by the fit of the
    template; outside them all, and without a fit, stands that of the rest of the brain.

    :returns: ``None`` if the model measured it in regions that are not built in.
    """
    if error.parcellation not in BUILT_IN:
        return None
    parcellation = BUILT_IN[error.parcellation]()
    inside = sitk.GetArrayViewFromImage(extraction.mask) != 0
    first, last = bounding_box(inside)
    box = tuple(slice(a, b + 1) for a, b in zip(first, last))
    brain, elsewhere = inside[box], error.sd[ELSEWHERE]
    values = np.zeros(inside.shape, np.float32)
    values[box][brain] = elsewhere
    if extraction.template_to_native is not None:
        table = np.full(max(parcellation.names) + 1, elsewhere, np.float32)
        for label, name in parcellation.names.items():
            table[label] = error.sd.get(name, elsewhere)
        around = crop_to(extraction.mask, extraction.mask, 0.0)
        labels = pull_labels(parcellation, around, extraction.template_to_native)
        values[box][brain] = table[labels[brain]]
    return Grid.of(extraction.mask).image(values)
