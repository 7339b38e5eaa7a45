"""The regions of a case: parcellations on its grid, what is in the brain and measured, the most different."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import SimpleITK as sitk

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.findings import Finding
from MRI2PETLib.evaluation.baselines import NETWORK
from MRI2PETLib.evaluation.inputs import CaseImages
from MRI2PETLib.evaluation.region_table import RegionRow, central_voxel_mm, native_part
from MRI2PETLib.images.grid import crop_to
from MRI2PETLib.preprocessing.pet_measured import why_left_out
from MRI2PETLib.templates.regions import (
    WHOLE_BRAIN,
    Parcellation,
    RegionVoxels,
    built_in_parcellations,
    check_overlap,
    check_sides,
    pull_labels,
    region_voxels,
)

# A region this small says little and a single voxel of it could lead the eye.
_MIN_VOXELS_SHOWN = 10
_MOST_NAMES = 5  # of regions, in a warning


def crop_case(case: CaseImages) -> CaseImages:
    """The case cut to its brain: most of a T1 is air."""
    names = ("synthetic", "real", "mask", "brain", "t1", "source")
    present = {name: getattr(case, name) for name in names if getattr(case, name) is not None}
    cut: dict[str, Any] = {name: crop_to(image, case.whole_brain, 0.0) for name, image in present.items()}
    return replace(case, **cut)


def case_parcellations(case: CaseImages, atlases: Sequence[Parcellation]) -> list[Parcellation]:
    """The built-in and the user's labels on the grid of the case, cut to the brain; nothing outside it.

    :raises InputError: an atlas in the wrong space, without a transform, or with swapped sides.
    """
    return case_regions(crop_case(case), atlases)[0]


def case_regions(
    case: CaseImages, atlases: Sequence[Parcellation]
) -> tuple[list[Parcellation], list[RegionVoxels], tuple[Finding, ...]]:
    """The parcellations on the grid of the case, only what is named and in the brain; and their regions."""
    names = ["brain", *(p.name for p in (*built_in_parcellations(), *atlases))]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"Two sets of regions are called {twice!r}.", "Give the atlas file another name.")
    brain, measured = (sitk.GetArrayViewFromImage(i) != 0 for i in (case.whole_brain, case.mask))
    whole = Parcellation("brain", case.mask, {1: WHOLE_BRAIN}, "native", "The brain mask.")
    parcellations = [native_part(whole, brain.astype(np.uint8), case.whole_brain)]
    regions = list(region_voxels(whole, brain.astype(np.uint8), brain, measured))
    findings: tuple[Finding, ...] = ()
    sources = list(atlases)
    own = {atlas.name for atlas in atlases}
    if case.template_to_native is None:
        message = "There is no transform between MNI space and this person: built-in regions are left out."
        findings += (Finding("warn", "no-mni-transform", message, "Give the T1 (--t1)."),)
    else:
        sources = [*built_in_parcellations(), *atlases]
    for parcellation in sources:
        if parcellation.space == "native" and case.forms is not None:
            parcellation = replace(parcellation, labels=case.forms.from_itk(parcellation.labels))
        labels = pull_labels(parcellation, case.mask, case.template_to_native)
        if parcellation.name in own:
            findings += parcellation.findings + check_sides(parcellation)
            check_overlap(parcellation, labels, brain)
        regions += region_voxels(parcellation, labels, brain, measured)
        parcellations.append(native_part(parcellation, labels, case.whole_brain))
    empty = [r for r in regions if not r.index.size and r.covered == 1]
    findings += _naming("empty-region", "regions have no voxel inside the brain", empty)
    unmeasured = [r for r in regions if why_left_out(r.covered)]
    findings += _naming(
        "region-not-measured", "regions are left out, the PET measured too little of", unmeasured
    )
    if not any(r.index.size for r in regions[1:]) and atlases:
        raise InputError("No region of the atlas has a voxel inside the brain.", "Check the atlas.")
    return parcellations, regions, findings


def _naming(code: str, what: str, regions: Sequence[RegionVoxels]) -> tuple[Finding, ...]:
    names = [f"{region.name} ({region.parcellation})" for region in regions]
    if not names:
        return ()
    some = ", ".join(names[:_MOST_NAMES]) + (", ..." if len(names) > _MOST_NAMES else ".")
    return (Finding("warn", code, f"{len(names)} {what}: {some}"),)


def largest_difference(
    table: list[RegionRow], regions: list[RegionVoxels], mask: sitk.Image
) -> tuple[str, tuple[float, float, float]]:
    """Name of the region with the largest |median NormDiff| of the network, and its central voxel (LPS mm).

    The last parcellation is taken: that of the user, or else the coordinate regions.

    :param table: of the scale that is shown.
    """
    last = regions[-1].parcellation
    rows = [
        row
        for row in table
        if (row.parcellation, row.predictor) == (last, NETWORK)
        and row.n_voxels >= _MIN_VOXELS_SHOWN
        and row.metrics.get("normdiff_median") is not None
    ]
    region = regions[0]
    if rows:
        label = max(rows, key=lambda row: abs(row.metrics["normdiff_median"] or 0.0)).label
        region = next(r for r in regions if (r.parcellation, r.label) == (last, label))
    point_mm = central_voxel_mm(region.index, mask)
    assert point_mm is not None  # the whole brain is never empty, and a small region was left out
    return region.name, point_mm
