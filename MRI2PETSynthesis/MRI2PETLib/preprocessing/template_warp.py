"""Nonlinear registration of a brain to a template by symmetric demons, after an affine fit.

Atlas regions pulled by an affine alone are off by several millimetres. On simulated people with a known
deformation demons cut the error of regional SUVRs to about a third.
"""

from __future__ import annotations

import logging

import SimpleITK as sitk

from MRI2PETLib.core.errors import QualityError
from MRI2PETLib.core.progress import ProgressCallback, no_progress
from MRI2PETLib.images.grid import Grid, antialias, resample
from MRI2PETLib.templates.icbm152 import load_template

_log = logging.getLogger(__name__)

# Coarse to fine: how much coarser than the template's 2 mm, and iterations of the demons.
WARP_LEVELS = ((4, 40), (2, 30), (1, 8))
# SD of the Gaussian that smooths the displacements, in voxels of a level.
FIELD_SIGMA_VOXELS = 1.5
INVERSE_SHRINK = 2  # displacements are inverted at 4 mm
_HISTOGRAM_BINS, _MATCH_POINTS = 256, 16


def warp_to_template(
    image: sitk.Image,
    mask: sitk.Image | None,
    template_to_native: sitk.Transform,
    *,
    fixed: sitk.Image | None = None,
    measured: sitk.Image | None = None,
    progress: ProgressCallback = no_progress,
) -> sitk.Transform:
    """Refine an affine fit by demons; returns the transform from the image's points to template points.

    That is the direction that pulls an atlas: ``sitk.Resample(labels, image, transform)``.

    :param image: 3-D, float32, of the contrast of the template; any grid (LPS mm).
    :param mask: brain mask on the grid of ``image``; outside of it the image counts as 0. ``None``: as it is.
    :param template_to_native: affine fit, maps template points to points of the image.
    :param fixed: template image on the grid of the shipped template; default: the shipped T1.
    :param measured: on the grid of ``image``, 0 where it says nothing; there nothing pulls.
    :raises QualityError: if the image and the template do not overlap.
    """
    fixed = load_template().t1 if fixed is None else fixed
    person = sitk.Cast(image, sitk.sitkFloat32)
    if mask is not None:
        person = sitk.Mask(person, sitk.Cast(mask != 0, sitk.sitkUInt8))
    person = resample(antialias(person, fixed.GetSpacing()), Grid.of(fixed), template_to_native)
    statistics = sitk.StatisticsImageFilter()
    statistics.Execute(person)
    if not statistics.GetMaximum() > statistics.GetMinimum():
        raise QualityError("The image does not overlap the template.", "Check the image and its header.")
    # Demons compare intensities, so both have to be on one scale.
    if measured is None:
        person = sitk.HistogramMatching(person, fixed, _HISTOGRAM_BINS, _MATCH_POINTS, True)
    else:
        nearest = sitk.sitkNearestNeighbor
        there = resample(measured, Grid.of(fixed), template_to_native, interpolator=nearest)
        both = (sitk.Mask(person, there), sitk.Mask(fixed, there))
        person = sitk.HistogramMatching(*both, _HISTOGRAM_BINS, _MATCH_POINTS, True)
        person = sitk.Mask(person, there) + sitk.Mask(fixed, there == 0)
    field = sitk.Image(fixed.GetSize(), sitk.sitkVectorFloat64)
    field.CopyInformation(fixed)
    # Detail much finer than the image's own voxels is not in it.
    finest_mm = min(image.GetSpacing()) / 1.5
    steps = [WARP_LEVELS[0], *(s for s in WARP_LEVELS[1:] if s[0] * fixed.GetSpacing()[0] >= finest_mm)]
    total = sum(iterations for _, iterations in steps)
    done = 0
    for shrink, iterations in steps:
        progress(done, total, "nonlinear registration")
        here, there = _coarse(person, shrink), _coarse(fixed, shrink)
        demons = sitk.FastSymmetricForcesDemonsRegistrationFilter()
        demons.SetNumberOfIterations(iterations)
        demons.SetStandardDeviations(FIELD_SIGMA_VOXELS)
        field = demons.Execute(here, there, sitk.Resample(field, here))
        _log.debug("demons at %d: %d iterations, metric %.4g", shrink, iterations, demons.GetMetric())
        done += iterations
    progress(1, 1, "nonlinear registration")
    field = sitk.Resample(field, fixed)
    chain = sitk.CompositeTransform(3)  # the last one added comes first
    chain.AddTransform(sitk.DisplacementFieldTransform(sitk.Cast(field, sitk.sitkVectorFloat64)))
    chain.AddTransform(template_to_native.GetInverse())
    return chain


def _coarse(image: sitk.Image, shrink: int) -> sitk.Image:
    if shrink == 1:
        return image
    return sitk.Shrink(
        sitk.SmoothingRecursiveGaussian(image, 0.5 * shrink * image.GetSpacing()[0]), [shrink] * 3
    )


def invert_warp(warp: sitk.Transform) -> sitk.Transform:
    """The way back of :func:`warp_to_template`: from template points to the image's points.

    That is the direction that brings the image to the template. The displacements are inverted at 4 mm; on
    simulated people the two ways together miss a point by .12 mm (median; at most .5 mm).
    """
    chain = sitk.CompositeTransform(warp)
    field = sitk.DisplacementFieldTransform(chain.GetNthTransform(0)).GetDisplacementField()
    inverse = sitk.InvertDisplacementField(
        sitk.Shrink(field, [INVERSE_SHRINK] * 3),
        maximumNumberOfIterations=20,
        maxErrorToleranceThreshold=0.1,
        meanErrorToleranceThreshold=0.001,
        enforceBoundaryCondition=True,
    )
    back = sitk.CompositeTransform(3)
    back.AddTransform(chain.GetNthTransform(1).GetInverse())
    back.AddTransform(sitk.DisplacementFieldTransform(sitk.Cast(inverse, sitk.sitkVectorFloat64)))
    return back
