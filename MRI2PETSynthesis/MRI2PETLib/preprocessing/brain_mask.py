"""Find the brain in a T1: offline, without weights, from a template and the image's own intensities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from MRI2PETLib.core.errors import InputError, QualityError
from MRI2PETLib.core.findings import Finding, Level, Verdict
from MRI2PETLib.core.progress import ProgressCallback, no_progress, part_of
from MRI2PETLib.images.axes import Axes, head_axes
from MRI2PETLib.images.grid import Grid, antialias, resample
from MRI2PETLib.preprocessing import fit_quality
from MRI2PETLib.preprocessing.bias_field import log_bias_field, remove_bias, shrink_to
from MRI2PETLib.preprocessing.brain_extractors import run_extractor
from MRI2PETLib.preprocessing.brain_mask_refinement import refine_mask
from MRI2PETLib.preprocessing.morphology import dilate
from MRI2PETLib.preprocessing.stripped_brain import stripped_mask
from MRI2PETLib.preprocessing.template_registration import TemplateFit, register_to_template
from MRI2PETLib.templates.icbm152 import load_template

WORKING_SPACING_MM = 2.0
REFINE_SPACING_MM = 1.0
# The template's mask lies tight on the brain; the thresholds of the refinement need CSF around it. Dice rose
# in 12 of 12 cases from +0 over +2 to +4 mm.
PRIOR_MARGIN_MM = 4.0
MASK_MARGIN_MM = 6.0


@dataclass(frozen=True)
class BrainExtraction:
    """A brain mask and how it was found.

    :ivar mask: uint8 (0, 1) on the grid of the T1.
    :ivar template_to_native: maps template (MNI, LPS mm) points to T1 points, or ``None`` where no brain was
        recognised.
        ``sitk.Resample(t1, template, template_to_native)`` puts the T1 on the template.
    :ivar method: ``template``, ``stripped``, ``given``, or the name of an extractor.
    :ivar measures: the numbers behind the verdict, see :func:`MRI2PETLib.preprocessing.fit_quality.measures`.
    """

    mask: sitk.Image
    template_to_native: sitk.Transform | None
    method: str
    verdict: Verdict
    measures: dict[str, float]

    @property
    def axes(self) -> Axes:
        """Right, anterior and superior of the head (LPS), those of the header without a fit."""
        return head_axes(self.template_to_native)


def extract_brain(
    t1: sitk.Image,
    *,
    mask: sitk.Image | None = None,
    extractor: str = "template",
    progress: ProgressCallback = no_progress,
) -> BrainExtraction:
    """Find the brain in a T1-weighted volume of a whole head or of a stripped brain.

    A given mask is kept; an already stripped image keeps its own outline; else the template's mask is
    propagated and fitted to the image, or ``extractor`` draws the mask.

    :param t1: 3-D, any grid (LPS mm), finite values.
    :param mask: brain mask in the same world; resampled if its grid differs.
    :param extractor: ``template``, or an installed one of
        :func:`MRI2PETLib.preprocessing.brain_extractors.available_extractors`.
    :return: mask, transform, and a verdict that may be ``refuse``: the caller decides.
    :raises QualityError: if no mask can be made at all.
    :raises InputError: if a given mask is empty or does not fit the T1.
    :raises DependencyError: if the extractor is not installed.
    """
    t1 = sitk.Cast(t1, sitk.sitkFloat32)
    findings = fit_quality.judge_field_of_view(t1)
    progress(0, 1, "looking at the image")
    brain, method, more = _known_mask(t1, mask, extractor, part_of(progress, 0, 0.3))
    findings += more
    coarse = shrink_to(t1, WORKING_SPACING_MM)
    progress(0.3 if method == extractor != "template" else 0.05, 1, "correcting the bias field")
    if brain is not None:
        foreground = _nearest(brain, coarse)
        log_field = None
    else:
        foreground = head_mask(coarse)
        log_field = log_bias_field(coarse, foreground)
        coarse = remove_bias(coarse, log_field)
    fit = register_to_template(coarse, foreground, progress=part_of(progress, 0.4, 0.75))
    if brain is None:
        if fit is None or log_field is None:
            raise QualityError("The image could not be aligned with a brain template.", "Give a brain mask.")
        progress(0.75, 1, "fitting the brain mask")
        brain = _propagated_mask(t1, log_field, fit)
    in_image = method in ("template", "stripped")
    if fit is None:
        findings += (_no_fit("refuse" if in_image else "warn"),)
    else:
        findings += fit_quality.judge_fit(fit, "image" if in_image else "other")
    findings += fit_quality.judge_mask(brain)
    progress(1, 1, "brain mask done")
    return BrainExtraction(
        mask=brain,
        template_to_native=fit.transform if fit is not None and fit_quality.recognised(fit) else None,
        method=method,
        verdict=Verdict(findings),
        measures=fit_quality.measures(fit, brain),
    )


def _no_fit(level: Level) -> Finding:
    message = f"The brain could not be aligned with the template. {fit_quality.HEADER_AXES}"
    return Finding(level, "no-fit", message, fit_quality.HEADER_AXES_HINT)


def head_mask(image: sitk.Image) -> sitk.Image:
    """The head as brighter than the air around it, uint8 on the image's grid."""
    return sitk.OtsuThreshold(image, 0, 1, 128)


def _known_mask(
    t1: sitk.Image, mask: sitk.Image | None, extractor: str, progress: ProgressCallback
) -> tuple[sitk.Image | None, str, tuple[Finding, ...]]:
    """The mask that needs no template (``None`` if there is none), the method's name, and findings."""
    if mask is not None:
        checked, findings = check_given_mask(mask, t1)
        return checked, "given", findings
    if extractor != "template":
        return run_extractor(extractor, t1, progress=progress), extractor, ()
    own = stripped_mask(t1)
    return (own, "stripped", ()) if own is not None else (None, "template", ())


def check_given_mask(mask: sitk.Image, t1: sitk.Image) -> tuple[sitk.Image, tuple[Finding, ...]]:
    """A mask from outside as uint8 on the T1's grid.

    :raises InputError: if it is empty, too small or large for a brain, or lies outside the T1.
    """
    from MRI2PETLib.images.io import same_grid

    binary = sitk.Cast(mask > 0, sitk.sitkUInt8)
    if not np.any(sitk.GetArrayViewFromImage(binary)):
        raise InputError("The given brain mask is empty.", "Give a mask of 0 outside and 1 in the brain.")
    before_ml = fit_quality.mask_volume_ml(binary)
    low, high = fit_quality.VOLUME_REFUSE_ML
    if not low <= before_ml <= high:
        raise InputError(
            f"The given mask holds {before_ml:.0f} mL, which cannot be a brain ({low:.0f} to {high:.0f} mL).",
            "Give a mask of the whole brain, in mm.",
        )
    if same_grid(binary, t1):
        binary.CopyInformation(t1)
        return binary, ()
    resampled = _nearest(binary, t1)
    share = fit_quality.mask_volume_ml(resampled) / before_ml
    if share < 0.5:
        raise InputError(
            f"Only {100 * share:.0f} % of the given brain mask lies inside the T1.",
            "Give a mask that was drawn on this T1.",
        )
    message = "The given brain mask lies on another grid than the T1 and was resampled to it."
    return resampled, (Finding("warn", "mask-grid", message, "Check that it was drawn on this T1."),)


def _nearest(mask: sitk.Image, reference: sitk.Image) -> sitk.Image:
    return resample(mask, Grid.of(reference), interpolator=sitk.sitkNearestNeighbor)


def _propagated_mask(t1: sitk.Image, log_field: sitk.Image, fit: TemplateFit) -> sitk.Image:
    """The template's mask on the T1, fitted to its intensities; on the T1's grid."""
    loose = dilate(load_template().mask, PRIOR_MARGIN_MM)
    on_coarse = resample(
        loose, Grid.of(log_field), fit.transform.GetInverse(), interpolator=sitk.sitkNearestNeighbor
    )
    if not np.any(sitk.GetArrayViewFromImage(on_coarse)):
        raise QualityError("The registered template lies outside the image.", "Give a brain mask.")
    grid = _fine_grid(t1, on_coarse)
    fine = resample(antialias(t1, grid.spacing_mm), grid)
    fine = remove_bias(fine, log_field)
    prior = resample(loose, grid, fit.transform.GetInverse(), interpolator=sitk.sitkNearestNeighbor)
    refined = refine_mask(fine, prior)
    share = resample(sitk.Cast(refined, sitk.sitkFloat32), Grid.of(t1))
    return Grid.of(t1).image((sitk.GetArrayViewFromImage(share) > 0.5).view(np.uint8))


def _fine_grid(t1: sitk.Image, around: sitk.Image) -> Grid:
    """An isotropic grid along the T1's axes over the box around a mask."""
    margin = MASK_MARGIN_MM
    index = np.argwhere(sitk.GetArrayViewFromImage(around))[:, ::-1]
    spacing = np.array(around.GetSpacing())
    low = index.min(axis=0) * spacing - spacing / 2 - margin
    high = index.max(axis=0) * spacing + spacing / 2 + margin
    direction = np.reshape(around.GetDirection(), (3, 3))
    size = np.ceil((high - low) / REFINE_SPACING_MM).astype(int)
    origin = np.array(around.GetOrigin()) + direction @ low
    return Grid(
        tuple(size.tolist()), (REFINE_SPACING_MM,) * 3, tuple(origin.tolist()), tuple(around.GetDirection())
    )
