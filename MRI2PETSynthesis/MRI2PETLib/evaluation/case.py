"""Evaluate one case: global metrics, regions and maps, the network beside its baselines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import SimpleITK as sitk

from MRI2PETLib.core.findings import Verdict
from MRI2PETLib.core.progress import ProgressCallback, no_progress
from MRI2PETLib.evaluation.baselines import NETWORK, Person, Predictor, predictors
from MRI2PETLib.evaluation.case_regions import case_regions, crop_case, largest_difference
from MRI2PETLib.evaluation.cnr import BoxPairs, box_pairs
from MRI2PETLib.evaluation.compare import about, measure_each, values_and_reasons
from MRI2PETLib.evaluation.cubic import Cubic, normalised_source
from MRI2PETLib.evaluation.direction import Direction
from MRI2PETLib.evaluation.error_maps import percent_difference_map, squared_error_map
from MRI2PETLib.evaluation.inputs import CaseImages
from MRI2PETLib.evaluation.metrics import AS_IS, SMOOTHED, unfit_metrics
from MRI2PETLib.evaluation.normdiff import normdiff_map, shared_voxels
from MRI2PETLib.evaluation.region_table import (
    RegionRow,
    region_facts,
    region_rows,
)
from MRI2PETLib.evaluation.scaling import divide_by_mean, smooth_in_mask
from MRI2PETLib.evaluation.settings import FWHM_MM
from MRI2PETLib.evaluation.spaces import MNI_AFFINE, MNI_WARPED, NATIVE, SpaceMetrics, normalised_space
from MRI2PETLib.preprocessing.template_warp import invert_warp
from MRI2PETLib.templates.regions import (
    Parcellation,
    RegionVoxels,
)

STATED_UNIT = "stated"
SCALE_FREE = "scale-free"
SCALE_FREE_UNIT = "PET / in-brain mean"


@dataclass(frozen=True)
class CaseResult:
    """Tables and maps of one case.

    ``scales``: scale -> ``unit``, ``network`` (see :func:`~MRI2PETLib.evaluation.compare.compare`) and
    ``baselines`` (name -> metrics). Maps are on the grid of the case, in the stated unit or scale-free
    (``shown_unit``). ``synthetic`` and ``real`` are the images in ``shown_unit``. ``point_mm`` (LPS) lies in
    the region ``largest``, that of the largest difference. ``pet_coverage``: see
    :class:`~MRI2PETLib.evaluation.inputs.CaseImages`.

    ``spaces``: the metrics in the scale that is shown, in the person's own space and in MNI space;
    ``in_mni``: synthetic and real PET there (2 mm grid of the template, NaN outside), after the warp or else
    the affine.

    On the grid of ``cropped_mask``: ``predictors`` hold their images, in the input's unit; ``smoothed`` is
    the real PET smoothed to ``fwhm_mm``, in ``shown_unit`` ([k, j, i]); ``parcellations`` hold the labels of
    all regions (space ``native``, nothing outside the brain).
    """

    scales: dict[str, dict[str, Any]]
    regions: list[RegionRow]
    parcellations: list[Parcellation]
    predictors: list[Predictor]
    cropped_mask: sitk.Image
    smoothed: np.ndarray
    fwhm_mm: float
    shown_unit: str
    synthetic: sitk.Image
    real: sitk.Image
    normdiff: sitk.Image
    difference: sitk.Image
    percent_difference: sitk.Image
    squared_error: sitk.Image
    valid: sitk.Image
    percent_valid: sitk.Image
    point_mm: tuple[float, float, float]
    largest: str
    verdict: Verdict
    pet_coverage: float
    spaces: list[SpaceMetrics]
    in_mni: tuple[np.ndarray, np.ndarray] | None
    direction: Direction = Direction()


def evaluate_case(
    case: CaseImages,
    *,
    atlases: Sequence[Parcellation] = (),
    cubic: Cubic | None = None,
    training_mean: sitk.Image | None = None,
    seed: int = 0,
    fwhm_mm: float = FWHM_MM,
    progress: ProgressCallback = no_progress,
) -> CaseResult:
    """Compute everything that is shown about one case.

    :param atlases: parcellations of the user, besides the built-in ones.
    :param cubic: of the target over the source, ``training_mean`` the mean target of the training fold (MNI).
    :raises InputError: an atlas in the wrong space, without a transform, or with swapped sides.
    """
    small = crop_case(case)
    mask = sitk.GetArrayViewFromImage(small.mask) != 0
    i_mm, j_mm, k_mm = small.mask.GetSpacing()
    spacing = (k_mm, j_mm, i_mm)
    synthetic, real = (sitk.GetArrayFromImage(i).astype(np.float32) for i in (small.synthetic, small.real))
    parcellations, regions, findings = case_regions(small, atlases)
    person = Person(small.mask, small.source, small.direction, small.template_to_native, small.warp)
    rows = predictors(synthetic, person, cubic=cubic, training_mean=training_mean)
    t1 = None
    if small.t1 is not None:
        t1 = normalised_source(sitk.GetArrayViewFromImage(small.t1), mask)
    facts = region_facts(regions, small.mask, t1, small.template_to_native)
    shared = shared_voxels(synthetic, real, mask)
    comparison = _Comparison(
        predictors=rows,
        real=real,
        mask=mask,
        spacing=spacing,
        shared=shared,
        boxes=box_pairs(shared, spacing, seed=seed),
        regions=regions,
        facts=facts,
        to_pet=small.direction.to_pet,
        fwhm_mm=fwhm_mm,
    )
    scales = []
    for number, (scale, unit) in enumerate(_scales(small)):
        progress(number, 2, "comparing")
        scales.append(comparison.on_scale(scale, unit))
    first = scales[0]
    native = {NETWORK: first.content["network"], **first.content["baselines"]}
    progress(2, 3, "comparing in MNI space")
    spaces, in_mni = _mni_spaces(small, first.images, first.real, seed=seed, fwhm_mm=fwhm_mm)
    largest, point_mm = largest_difference(first.table, regions, small.mask)
    progress(1, 1, "compared")
    return CaseResult(
        scales={one.scale: one.content for one in scales},
        regions=[row for one in scales for row in one.table],
        parcellations=parcellations,
        predictors=rows,
        cropped_mask=small.mask,
        smoothed=first.smoothed,
        fwhm_mm=fwhm_mm,
        shown_unit=first.content["unit"],
        **_maps(case),
        point_mm=point_mm,
        largest=largest,
        verdict=case.verdict + findings,
        pet_coverage=case.pet_coverage,
        spaces=[SpaceMetrics(NATIVE, native), *spaces],
        in_mni=in_mni,
        direction=case.direction,
    )


class _Scale(NamedTuple):
    """The comparison on one scale. ``content``: as in the ``scales`` of a result. ``images``: by predictor,
    ``real`` and ``smoothed``: all [k, j, i] on that scale.
    """

    scale: str
    content: dict[str, Any]
    table: list[RegionRow]
    images: dict[str, np.ndarray]
    real: np.ndarray
    smoothed: np.ndarray


@dataclass(frozen=True)
class _Comparison:
    """What is compared, on the grid of the cropped case; arrays [k, j, i]."""

    predictors: list[Predictor]
    real: np.ndarray
    mask: np.ndarray
    spacing: tuple[float, float, float]
    shared: np.ndarray
    boxes: BoxPairs
    regions: list[RegionVoxels]
    facts: list[dict[str, Any]]
    to_pet: bool
    fwhm_mm: float

    def on_scale(self, scale: str, unit: str) -> _Scale:
        """All predictors against the real image, on one scale."""
        free = scale == SCALE_FREE
        real = divide_by_mean(self.real, self.mask) if free else self.real
        smoothed = smooth_in_mask(real, self.mask, self.spacing, self.fwhm_mm) if self.to_pet else real
        images = [
            None if row.values is None else divide_by_mean(row.values, self.mask) if free else row.values
            for row in self.predictors
        ]
        predicted = list(zip(self.predictors, images))
        usable = {row.name: image for row, image in predicted if image is not None}
        references = {AS_IS: real, SMOOTHED: smoothed}
        unfit = unfit_metrics(to_pet=self.to_pet)
        measures = measure_each(list(usable.values()), references, self.shared, self.boxes)
        numbers = {name: values_and_reasons({**m, **unfit}) for name, m in zip(usable, measures)}
        content = {
            "unit": unit,
            "network": {**about(self.mask, self.shared, self.boxes, self.fwhm_mm), **numbers[NETWORK]},
            "baselines": {
                row.name: numbers.get(row.name, {"not_available": {"all": row.reason}})
                for row in self.predictors
                if row.name != NETWORK
            },
        }
        rows = region_rows(self.regions, self.facts, predicted, real, smoothed, scale=scale, unit=unit)
        table = [
            replace(row, metrics={**row.metrics, **dict.fromkeys(unfit.keys() & row.metrics.keys())})
            for row in rows
        ]
        return _Scale(scale, content, table, usable, real, smoothed)


def _mni_spaces(
    case: CaseImages, predicted: dict[str, np.ndarray], real: np.ndarray, *, seed: int, fwhm_mm: float
) -> tuple[list[SpaceMetrics], tuple[np.ndarray, np.ndarray] | None]:
    """The comparison after an affine and after a warp, and both PETs after the better one."""
    reason = ""
    if case.template_to_native is None:
        reason = "there is no transform between MNI space and this person"
    elif not case.direction.to_pet:
        reason = "the published comparison of spaces is of PET"
    if case.template_to_native is None or reason:
        return [SpaceMetrics(MNI_AFFINE, {}, reason), SpaceMetrics(MNI_WARPED, {}, reason)], None
    arguments = (predicted, real, case.mask)
    affine, *in_mni = normalised_space(
        MNI_AFFINE, *arguments, case.template_to_native, seed=seed, fwhm_mm=fwhm_mm
    )
    if case.warp is None:
        return [affine, SpaceMetrics(MNI_WARPED, {}, "it needs the T1")], (in_mni[0], in_mni[1])
    warp = invert_warp(case.warp)
    warped, *in_mni = normalised_space(MNI_WARPED, *arguments, warp, seed=seed, fwhm_mm=fwhm_mm)
    return [affine, warped], (in_mni[0], in_mni[1])


def _scales(case: CaseImages) -> list[tuple[str, str]]:
    """The scales of a case with their units; the first one is shown."""
    scales = [(STATED_UNIT, case.unit)] if case.unit is not None else []
    return scales + ([(SCALE_FREE, SCALE_FREE_UNIT)] if case.direction.to_pet else [])


def shown_pair(case: CaseImages) -> tuple[sitk.Image, sitk.Image, str]:
    """Synthetic and real PET on the scale that is shown, on the full grid of the case; their unit."""
    (scale, unit), *_ = _scales(case)
    mask = sitk.GetArrayViewFromImage(case.mask) != 0
    images = []
    for image in (case.synthetic, case.real):
        values = sitk.GetArrayFromImage(image).astype(np.float32)
        if scale == SCALE_FREE:
            values = divide_by_mean(values, mask).astype(np.float32)
        images.append(sitk.GetImageFromArray(values))
        images[-1].CopyInformation(case.mask)
    return images[0], images[1], unit


def _maps(case: CaseImages) -> dict[str, sitk.Image]:
    """Both PETs on the scale that is shown, and their maps, on the full grid of the case."""
    mask = sitk.GetArrayViewFromImage(case.mask) != 0
    pair = shown_pair(case)[:2]
    synthetic, real = (sitk.GetArrayViewFromImage(image) for image in pair)
    normdiff, valid = normdiff_map(synthetic, real, mask)
    difference = np.where(mask, synthetic - real, 0).astype(np.float32)
    percent, percent_valid = percent_difference_map(synthetic, real, mask)
    by_name = {
        "normdiff": normdiff,
        "difference": difference,
        "percent_difference": percent,
        "squared_error": squared_error_map(synthetic, real, mask),
        "valid": valid.astype(np.uint8),
        "percent_valid": percent_valid.astype(np.uint8),
    }
    images = {name: sitk.GetImageFromArray(values) for name, values in by_name.items()}
    for image in images.values():
        image.CopyInformation(case.mask)
    return {"synthetic": pair[0], "real": pair[1], **images}
