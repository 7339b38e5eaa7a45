"""The images of one comparison for the viewer of a report, in the colours and windows of its picture."""

from __future__ import annotations

from collections.abc import Sequence

import SimpleITK as sitk

from MRI2PETLib.evaluation.case import shown_pair
from MRI2PETLib.evaluation.inputs import CaseImages
from MRI2PETLib.reports import figures
from MRI2PETLib.reports.colors import gray_colors, normdiff_colors, pet_colors
from MRI2PETLib.reports.viewer import Layer, Viewer
from MRI2PETLib.templates.regions import Parcellation


def case_viewer(
    case: CaseImages,
    parcellations: Sequence[Parcellation],
    point_mm: tuple[float, float, float] | None,
    note: str,
) -> Viewer:
    """The source, synthetic and real image on one window, and NormDiff (of an MRI the difference).

    :param parcellations: see :func:`.case_parcellations`.
    :param point_mm: where the planes cross first (LPS); default: the centre of the mask.
    :param note: what every picture of the comparison says.
    """
    way, to_pet, mask = case.direction, case.direction.to_pet, case.mask
    synthetic, real, unit = shown_pair(case)
    brain = sitk.GetArrayViewFromImage(mask) != 0
    source = case.source if case.source is not None else case.synthetic
    gray = figures.source_window(source, brain)
    layers = [Layer(way.source_name, source, "", gray_colors(), gray, way.source_name)]
    colors, opacity = (pet_colors(), figures.PET_OPACITY) if to_pet else (gray_colors(), 1.0)
    window = figures.target_window([synthetic, real], brain)
    for whose, image in (("Synthetic", synthetic), ("Real", real)):
        name = f"{whose} {way.target_name}"
        layers.append(Layer(name, image, unit, colors, window, way.target_name, opacity, mask))
    name, last, valid = "Difference", sitk.Subtract(synthetic, real), mask
    if to_pet:
        unit, name = "", "NormDiff"
        last, valid = figures.normdiff_images(synthetic, real, mask)
    limit = figures.symmetric_limit((last, valid))
    layers.append(Layer(name, last, unit, normdiff_colors(), (-limit, limit), name, 0.9, valid))
    point = point_mm or figures.mask_centre_mm(mask)
    return Viewer(layers, mask, point, {p.name: (p.labels, p.names) for p in parcellations}, note)
