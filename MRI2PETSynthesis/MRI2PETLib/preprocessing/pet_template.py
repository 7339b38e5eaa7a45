"""Register a PET to a PET template in MNI space: what is left when there is no MRI of the person."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import SimpleITK as sitk

from MRI2PETLib.core.errors import InputError, QualityError
from MRI2PETLib.core.findings import Finding, Verdict
from MRI2PETLib.core.progress import ProgressCallback, no_progress, part_of
from MRI2PETLib.images.grid import Grid, resample
from MRI2PETLib.preprocessing import fit_quality
from MRI2PETLib.preprocessing.brain_mask import BrainExtraction, check_given_mask
from MRI2PETLib.preprocessing.morphology import dilate, filled, largest_component
from MRI2PETLib.preprocessing.pet_measured import judge_pet_coverage
from MRI2PETLib.preprocessing.smoothing import smooth_fwhm
from MRI2PETLib.preprocessing.template_registration import register_to_template
from MRI2PETLib.templates.icbm152 import load_template
from MRI2PETLib.templates.uptake import population_uptake

# Resolution of the built-in template: that of a brain PET.
PET_FWHM_MM = 6.0
# The template's mask lies tight on the brain; PET blurs the brain's edge.
TEMPLATE_MARGIN_MM = 2.0
# A blurred edge lies where half of the uptake is left. On simulated PETs (TSPO): Dice .987 with the truth
# and its volume, where the template's mask alone has .89 and 1.23 times the volume.
EDGE_SHARE = 0.5
# Pearson r with the template in its brain: good fits of simulated PETs reach 0.6 and more, noise has 0.
PET_CORRELATION_REFUSE = 0.2


@dataclass(frozen=True)
class PetTemplateFit:
    """How a PET lies on the PET template.

    :ivar template_to_pet: affine, maps template (MNI, LPS mm) points to points of the PET.
    :ivar mask: brain mask on the grid of the PET (uint8), see :func:`uptake_mask`.
    :ivar around: the template's brain, pulled and widened by 2 mm (the same grid).
    :ivar correlation: Pearson r with the PET template inside the template's brain, where it was measured.
    :ivar coverage: share (0..1) of the template's brain that was measured.
    """

    template_to_pet: sitk.AffineTransform
    mask: sitk.Image
    around: sitk.Image
    correlation: float
    coverage: float
    verdict: Verdict


@dataclass(frozen=True)
class TissueUptake:
    """Uptake of grey matter, white matter and CSF, and of the cerebellum's grey matter; arbitrary unit."""

    gm: float
    wm: float
    csf: float
    cerebellar_gm: float


# Patterns of tracers that follow tissue, for spatial normalisation only: nobody was measured for them.
# FDG: grey to white matter 4 : 1 as in the phantom of Hoffman et al. 1990, IEEE Trans Nucl Sci 37:616.
# Amyloid, negative: weights that fit a real [18F]florbetapir PET with r = .83; the pattern of PBR28 has .17.
# Positive: the cortex rises above white matter, the cerebellum does not (the usual reference).
TISSUE_TEMPLATES = {
    "FDG-like": TissueUptake(1.0, 0.25, 0.0, 1.0),
    "amyloid-like, negative": TissueUptake(0.62, 1.0, 0.25, 0.62),
    "amyloid-like, positive": TissueUptake(1.15, 1.0, 0.25, 0.62),
}
TSPO_TEMPLATE = "TSPO-like ([11C]PBR28)"
# What lies lower and further back than this is cerebellum, or close to it (MNI, RAS mm).
_CEREBELLUM_BELOW_MM, _CEREBELLUM_BEHIND_MM = -16.0, -36.0


@cache
def built_in_pet_templates() -> dict[str, sitk.Image]:
    """Patterns to fit a PET to (MNI, float32) at the resolution of a PET: the mean of [11C]PBR28 by the
    activity model, and mixtures of the template's tissues for other tracers.
    """
    mixtures = {name: _mixture(uptake) for name, uptake in TISSUE_TEMPLATES.items()}
    return {TSPO_TEMPLATE: built_in_pet_template(), **mixtures}


@cache
def built_in_pet_template() -> sitk.Image:
    """Mean [11C]PBR28 pattern of the activity model (MNI, float32) at the resolution of a PET."""
    return smooth_fwhm(population_uptake("PBR28"), PET_FWHM_MM)


def _mixture(uptake: TissueUptake) -> sitk.Image:
    template = load_template()
    gm, wm, csf = (sitk.GetArrayViewFromImage(i) for i in (template.gm, template.wm, template.csf))
    _, y, z = Grid.of(template.t1).coordinates()  # LPS
    below = (z < _CEREBELLUM_BELOW_MM)[:, None, None] & (y > -_CEREBELLUM_BEHIND_MM)[:, None]
    grey = np.where(below, uptake.cerebellar_gm, uptake.gm).astype(np.float32)
    activity = grey * gm + np.float32(uptake.wm) * wm + np.float32(uptake.csf) * csf
    return smooth_fwhm(Grid.of(template.t1).image(activity), PET_FWHM_MM)


def read_pet_template(image: sitk.Image) -> sitk.Image:
    """A PET template of the user (MNI space) on the grid of the shipped template, 0 outside of its brain.

    :raises InputError: if it holds nothing in the brain, so is not in MNI space.
    """
    template = load_template()
    on_grid = resample(sitk.Cast(image, sitk.sitkFloat32), Grid.of(template.t1))
    brain = sitk.GetArrayViewFromImage(template.mask) > 0
    values = sitk.GetArrayViewFromImage(on_grid)[brain]
    if np.count_nonzero(values) < 0.9 * values.size or not values.mean() > 0:
        raise InputError(
            "The PET template does not fill the brain of MNI space.",
            "Give a mean PET in MNI space (mm coordinates), as large as the brain.",
        )
    return on_grid


def register_pet_to_template(
    pet: sitk.Image,
    template: sitk.Image,
    measured: sitk.Image | None = None,
    *,
    progress: ProgressCallback = no_progress,
) -> PetTemplateFit:
    """Affine registration of a PET to a PET template (Mattes MI). Deterministic.

    :param pet: 3-D PET of a head, any grid (LPS mm).
    :param template: on the grid of the shipped template.
    :param measured: on the grid of ``pet``, 0 where it says nothing; default: it was measured everywhere.
    :raises QualityError: if no position was found at all.
    """
    pet = sitk.Cast(pet, sitk.sitkFloat32)
    top = float(np.percentile(sitk.GetArrayViewFromImage(pet), 99.8))
    head = sitk.Clamp(pet, sitk.sitkFloat32, 0.0, top) if top > 0 else pet
    foreground = sitk.OtsuThreshold(head, 0, 1, 128)
    if not np.any(sitk.GetArrayViewFromImage(foreground)):
        raise QualityError("The PET has a single value.", "Choose another image.")
    fit = register_to_template(head, foreground, fixed=template, measured=measured, progress=progress)
    if fit is None:
        raise QualityError("The PET could not be aligned with the PET template.", "Check the image.")
    affine = fit.transform
    brain = dilate(load_template().mask, TEMPLATE_MARGIN_MM)
    around = resample(brain, Grid.of(pet), affine.GetInverse(), interpolator=sitk.sitkNearestNeighbor)
    mask = uptake_mask(pet, around if measured is None else sitk.Mask(around, measured))
    correlation = _correlation(pet, template, affine, measured)
    # The mask is mostly the template's, so only an impossible size says something.
    findings = tuple(f for f in fit_quality.judge_mask(mask) if f.level == "refuse")
    findings += judge_pet_coverage(fit.coverage)
    if correlation < PET_CORRELATION_REFUSE:
        message = f"The PET does not resemble the PET template (r = {correlation:.2f})."
        findings += (Finding("refuse", "pet-template", message, "Check the PET, or give another template."),)
    return PetTemplateFit(affine, mask, around, correlation, fit.coverage, Verdict(findings))


@dataclass(frozen=True)
class BestFit:
    """The PET template that a PET fits best.

    :ivar correlations: Pearson r with every template after its own fit, best first; ``None``: no fit.
    """

    name: str
    fit: PetTemplateFit
    correlations: dict[str, float | None]


def fit_best_template(
    pet: sitk.Image,
    templates: Mapping[str, sitk.Image],
    measured: sitk.Image | None = None,
    *,
    progress: ProgressCallback = no_progress,
) -> BestFit:
    """Fit a PET to each template and choose the one that it correlates with best: the principle of the
    multi-atlas method that Choi & Lee 2018 compare with.

    :raises QualityError: if it fits none of them at all.
    """
    fits: dict[str, PetTemplateFit | None] = {}
    reason = QualityError("There is no PET template.", "Give one.")
    for number, (name, template) in enumerate(templates.items()):
        part = part_of(progress, number / len(templates), (number + 1) / len(templates))
        try:
            fits[name] = register_pet_to_template(pet, template, measured, progress=part)
        except QualityError as error:
            fits[name], reason = None, error
    correlations = {name: None if fit is None else fit.correlation for name, fit in fits.items()}
    ranked = {name: fit for name, fit in fits.items() if fit is not None}
    if not ranked:
        raise reason
    best = max(ranked, key=lambda name: ranked[name].correlation)
    order = sorted(fits, key=lambda name: (name not in ranked, -(correlations[name] or 0.0)))
    return BestFit(best, _with_choice(ranked[best], best, correlations), {n: correlations[n] for n in order})


def _with_choice(fit: PetTemplateFit, name: str, correlations: Mapping[str, float | None]) -> PetTemplateFit:
    """The fit with a remark that says which template was chosen, where there was a choice."""
    if len(correlations) < 2:
        return fit
    others = ", ".join(
        f"{other} {'no fit' if r is None else f'{r:.2f}'}"
        for other, r in correlations.items()
        if other != name
    )
    message = f"The PET template that fits best is {name} (r = {fit.correlation:.2f}; {others})."
    return replace(fit, verdict=fit.verdict + (Finding("ok", "pet-template-choice", message),))


def brain_of_pet(
    pet: sitk.Image, mask: sitk.Image, *, progress: ProgressCallback = no_progress
) -> BrainExtraction:
    """The given brain mask of a PET, and the pose of its head by the fit to the built-in PET templates.

    :raises InputError: if the mask does not fit the PET.
    """
    checked, findings = check_given_mask(mask, pet)
    inside = sitk.Mask(sitk.Cast(pet, sitk.sitkFloat32), checked)
    try:
        fit = fit_best_template(inside, built_in_pet_templates(), progress=progress).fit
        transform, reasons = fit.template_to_pet, fit.verdict.reasons("refuse")
    except QualityError as error:
        transform, reasons = None, [error.message]
    if reasons:
        transform = None
        message = f"{' '.join(reasons)} {fit_quality.HEADER_AXES}"
        findings += (Finding("warn", "no-pose", message, fit_quality.HEADER_AXES_HINT),)
    return BrainExtraction(checked, transform, "given", Verdict(findings), {})


def uptake_mask(pet: sitk.Image, around: sitk.Image) -> sitk.Image:
    """Where a brain takes up its tracer: above half of the mean in ``around``, one piece, without holes.

    :param around: a mask that holds the brain and not much more (uint8, the grid of the PET); what is
        returned where the PET has no uptake there.
    """
    values, inside = sitk.GetArrayViewFromImage(pet), sitk.GetArrayViewFromImage(around) > 0
    if not inside.any() or not values[inside].mean() > 0:
        return around
    brain = filled(largest_component(inside & (values > EDGE_SHARE * values[inside].mean())))
    mask = sitk.GetImageFromArray(brain.view(np.uint8))
    mask.CopyInformation(around)
    return mask


def _correlation(
    pet: sitk.Image, template: sitk.Image, transform: sitk.Transform, measured: sitk.Image | None
) -> float:
    inside = sitk.GetArrayViewFromImage(load_template().mask) > 0
    if measured is not None:
        there = resample(measured, Grid.of(template), transform, interpolator=sitk.sitkNearestNeighbor)
        inside = inside & (sitk.GetArrayViewFromImage(there) > 0)
    warped = sitk.GetArrayFromImage(resample(pet, Grid.of(template), transform))[inside]
    if not warped.std() > 0:
        return 0.0
    return float(np.corrcoef(warped, sitk.GetArrayViewFromImage(template)[inside])[0, 1])
