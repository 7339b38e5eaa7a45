"""Judge whether a T1 is usable, from how it fits the template and from its mask."""

from __future__ import annotations

from typing import Literal

import numpy as np
import SimpleITK as sitk

from MRI2PETLib.core.findings import Finding, Level
from MRI2PETLib.images.axes import head_axes
from MRI2PETLib.images.grid import RAS_AXES, extent_along
from MRI2PETLib.images.image_checks import MIN_EXTENT_MM
from MRI2PETLib.preprocessing.pose_search import angle_deg
from MRI2PETLib.preprocessing.template_registration import TemplateFit

# Pearson r with the template, a quadratic trend (bias field) taken from both. The trend is what set stripped
# brains apart, whose fit N4 does not precede: with it in, r was .34 and more, heads .39 and more. Without it
# one threshold serves both. Usable: two real heads .55 and .59, 12 heads from label maps .57-.62 and 6 of
# them stripped .56-.59, 74 real stripped brains .49 and more but for one (.28: strong bias field, neck left
# on). Wrong poses (94 fits, upside down, back to front, any rotation): at most .20. Synthetic T2 heads -.60
# to -.03, noise -.01.
CORRELATION_WARN, CORRELATION_REFUSE, CORRELATION_INVERTED = 0.40, 0.25, -0.25
CORRELATION_NO_T1 = -0.10
# Mattes MI, 32 bins, brain dilated by 2 mm. Usable: 0.278-0.53; a small child whose mask reaches the scalp
# in places 0.249; a stripped brain with neck 0.21; wrong pose of a head 0.04-0.13, of a stripped brain
# 0.10-0.23; T2 head 0.10; noise 0.001. Does not tell a slab (0.35-0.49), a T2 brain (0.43) or a synthetic T2
# head (0.26).
INFORMATION_WARN, INFORMATION_REFUSE = 0.265, 0.15
# Singular values of the affine; 0.77-1.11 in adults.
SCALES_WARN, SCALES_REFUSE = (0.75, 1.35), (0.55, 1.60)
# 1121-1917 mL in adults.
VOLUME_WARN_ML, VOLUME_REFUSE_ML = (900.0, 2100.0), (400.0, 3000.0)
COVERAGE_WARN, COVERAGE_REFUSE = 0.97, 0.85
TILT_WARN_DEG = 60.0  # a scanned head is tilted by less
_SMALL_OR_LARGE = "A child, or a wrong voxel size or mask? Look at the mask."
# What is said where the pose of a head was not found but the run goes on.
HEADER_AXES = "The head is taken to lie as the header states."
HEADER_AXES_HINT = "Check in a viewer that the head is upright."

# Whether the mask was found in the image, or comes from the user or another tool: what a bad fit to the
# template means depends on it.
MaskSource = Literal["image", "other"]


def judge_field_of_view(image: sitk.Image) -> tuple[Finding, ...]:
    """Refuse an image that is too short on any axis to hold a brain."""
    extents = [n * s for n, s in zip(image.GetSize(), image.GetSpacing())]
    shortest = min(extents)
    if shortest >= MIN_EXTENT_MM:
        return ()
    axis = _world_axis(image, int(np.argmin(extents)))
    message = f"The image covers only {shortest:.0f} mm {axis}; a brain needs {MIN_EXTENT_MM:.0f} mm."
    return (Finding("refuse", "slab", message, "Use a whole-brain T1."),)


def _world_axis(image: sitk.Image, axis: int) -> str:
    direction = np.reshape(image.GetDirection(), (3, 3))[:, axis]
    return ("left to right", "front to back", "top to bottom")[int(np.argmax(np.abs(direction)))]


def judge_fit(fit: TemplateFit, source: MaskSource) -> tuple[Finding, ...]:
    """Findings about the fit to the template.

    With a mask from elsewhere a bad fit warns: the pose is that of the header then, and there are no
    template-space read-outs. Contrast against that of a T1 is refused always, because the model needs one.
    """
    bad: Level = "refuse" if source == "image" else "warn"
    findings: list[Finding] = []
    r, information = fit.correlation, fit.mutual_information
    if r < CORRELATION_INVERTED:
        message = f"The contrast is inverted (r = {r:.2f} with a T1 template): this looks like a T2 or FLAIR."
        findings.append(Finding("refuse", "inverted-contrast", message, "Use a T1-weighted image."))
    elif not recognised(fit):
        message = (
            f"No T1-weighted brain was recognised in any pose (with the template: r = {r:.2f}, mutual "
            f"information {information:.2f})."
        )
        if r < CORRELATION_NO_T1:
            findings.append(Finding("refuse", "no-brain", message, "Use a T1-weighted image of the brain."))
        elif source == "other":
            findings.append(Finding("warn", "no-brain", f"{message} {HEADER_AXES}", HEADER_AXES_HINT))
        else:
            findings.append(Finding("refuse", "no-brain", message, "Check the image, or give a brain mask."))
    elif information < INFORMATION_WARN or r < CORRELATION_WARN:
        message = (
            f"The image resembles the template less than most (r = {r:.2f}, mutual information "
            f"{information:.2f})."
        )
        hint = "A child, a strong bias field, another contrast? Look at the brain mask."
        findings.append(Finding("warn", "weak-fit", message, hint))
    findings += judge_tilt(fit)
    low, high = min(fit.scales), max(fit.scales)
    described = ", ".join(f"{s:.2f}" for s in fit.scales)
    if low < SCALES_REFUSE[0] or high > SCALES_REFUSE[1]:
        message = f"The brain would be {described} times the size of an adult's."
        findings.append(Finding(bad, "size", message, "Check the voxel size (mm?) and the image."))
    elif low < SCALES_WARN[0] or high > SCALES_WARN[1]:
        message = f"The brain is {described} times the size of an average adult's."
        findings.append(Finding("warn", "size", message, _SMALL_OR_LARGE))
    return (*findings, *judge_coverage(fit, bad))


def judge_tilt(fit: TemplateFit) -> tuple[Finding, ...]:
    """A finding where the header turns the head by more than 60 degrees: further than a head is tilted."""
    axes, upright = (np.reshape(a, (3, 3)) for a in (head_axes(fit.transform), RAS_AXES))
    angle = angle_deg(axes @ upright.T)
    if not recognised(fit) or angle <= TILT_WARN_DEG:
        return ()
    message = (
        f"The head lies {angle:.0f} degrees from upright: its top, front and sides are not where the header "
        "states them. The result follows the head."
    )
    hint = "Look at left and right in the picture: a brain does not tell whether the header mirrors it."
    return (Finding("warn", "turned-head", message, hint),)


def recognised(fit: TemplateFit | None) -> bool:
    """Whether a fit is good enough to say how the head lies."""
    return (
        fit is not None
        and fit.mutual_information >= INFORMATION_REFUSE
        and fit.correlation >= CORRELATION_REFUSE
    )


def judge_coverage(fit: TemplateFit, bad: Level) -> tuple[Finding, ...]:
    """Findings about brain that lies outside the field of view."""
    if fit.coverage >= COVERAGE_WARN:
        return ()
    message = f"About {100 * (1 - fit.coverage):.0f} % of the brain lies outside the image."
    if fit.coverage < COVERAGE_REFUSE:
        return (Finding(bad, "coverage", message, "Use a whole-brain T1."),)
    return (Finding("warn", "coverage", message, "What is not imaged cannot be predicted."),)


def judge_mask(mask: sitk.Image) -> tuple[Finding, ...]:
    """Findings about the brain mask's volume and extent."""
    volume_ml = mask_volume_ml(mask)
    message = f"The brain mask holds {volume_ml:.0f} mL"
    low, high = VOLUME_WARN_ML
    if not VOLUME_REFUSE_ML[0] <= volume_ml <= VOLUME_REFUSE_ML[1]:
        return (Finding("refuse", "volume", f"{message}: not a brain.", "Look at the mask, or give one."),)
    if not low <= volume_ml <= high:
        message = f"{message}; adults have {low:.0f} to {high:.0f}."
        return (Finding("warn", "volume", message, _SMALL_OR_LARGE),)
    return ()


def mask_volume_ml(mask: sitk.Image) -> float:
    """Volume of a mask in mL."""
    return float(np.count_nonzero(sitk.GetArrayViewFromImage(mask)) * np.prod(mask.GetSpacing()) / 1000.0)


def measures(fit: TemplateFit | None, mask: sitk.Image) -> dict[str, float]:
    """The numbers behind the verdict. Extents are along x, y, z of the head: R-L, A-P, S-I."""
    low, high = extent_along(mask, head_axes(None if fit is None else fit.transform))
    numbers = {"volume_ml": mask_volume_ml(mask)}
    numbers |= {f"extent_{axis}_mm": float(e) for axis, e in zip("xyz", high - low)}
    if fit is not None:
        numbers |= {
            "template_correlation": fit.correlation,
            "template_mutual_information": fit.mutual_information,
            "template_coverage": fit.coverage,
        }
        numbers |= {f"template_scale_{n}": s for n, s in enumerate(fit.scales, start=1)}
    return numbers
