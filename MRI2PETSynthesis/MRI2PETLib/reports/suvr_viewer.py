"""The images of a measurement of SUVR for the viewer of its report."""

from __future__ import annotations

import numpy as np

from MRI2PETLib.reports.colors import gray_colors, pet_colors
from MRI2PETLib.reports.figures import PET_OPACITY
from MRI2PETLib.reports.suvr_figure import SuvrImages, mri_top
from MRI2PETLib.reports.viewer import Layer, Viewer
from MRI2PETLib.suvr.regional import RegionPlan


def suvr_viewer(images: SuvrImages, plan: RegionPlan, note: str) -> Viewer:
    """The MRI of each method that has one, and the PET over the first; the regions of every method."""
    mris = [
        Layer(name, mri, "", gray_colors(), (0.0, mri_top(mri)), name) for name, mri in images.mris.items()
    ]
    opacity = PET_OPACITY if mris else 1.0
    pet = Layer("PET", images.pet, "SUVR", pet_colors(), (0.0, images.top), "PET", opacity)
    regions = {name: (labels, plan.atlas.names) for name, labels in images.labels.items()}
    x, y, z = np.asarray(images.point_mm, float).tolist()
    return Viewer([*mris, pet], images.brain, (x, y, z), regions, note)
