"""Partial-volume correction of a PET: what spills over between regions by the scanner's resolution.

The scanner is taken for a Gaussian of a stated full width at half maximum (PSF). Two published methods:

``gtm``
    Geometric transfer matrix (Rousset et al. 1998, J Nucl Med 39:904): every region has one activity, and
    the means that are measured are a known mixture of them.
``mueller-gaertner``
    Voxel by voxel (Mueller-Gaertner et al. 1992, J Cereb Blood Flow Metab 12:571): what white matter and CSF
    spill into grey matter is taken away, the rest divided by the share of grey matter that the scanner sees.

Both know only what the maps of regions or tissues say: an error of registration or segmentation becomes one
of activity, and noise is amplified.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.images.grid import FWHM_PER_SIGMA, Grid, bounding_box
from MRI2PETLib.images.io import same_grid
from MRI2PETLib.templates.icbm152 import load_template

GTM, MUELLER_GAERTNER = "gtm", "mueller-gaertner"
CORRECTIONS = ("none", GTM, MUELLER_GAERTNER)
# Where the scanner sees less grey matter, the division makes noise of it.
LEAST_GREY_MATTER = 0.5
_REACH = 3.0  # standard deviations after which the Gaussian is cut
_WORST_CONDITION = 1e4
_TISSUES = ("grey matter", "white matter", "CSF")


@dataclass(frozen=True)
class CorrectedPet:
    """A PET after the correction.

    :ivar image: float32, on the grid of the PET; by ``gtm`` one value a region.
    :ivar valid: uint8, 1 where it has a value.
    :ivar about: for tables and sidecars.
    """

    image: sitk.Image
    valid: sitk.Image
    about: str


def tissue_maps(grid: sitk.Image, to_template: sitk.Transform) -> dict[str, np.ndarray]:
    """Shares (0..1) of grey matter, white matter and CSF of the template, [k, j, i] on a person's grid.

    :param to_template: maps points of the grid to MNI points (LPS mm), non-linear.
    """
    template = load_template()
    images = (template.gm, template.wm, template.csf)
    return {
        name: sitk.GetArrayFromImage(sitk.Resample(image, grid, to_template, sitk.sitkLinear, 0.0))
        for name, image in zip(_TISSUES, images)
    }


def correct_partial_volume(
    method: str,
    pet: sitk.Image,
    labels: sitk.Image,
    tissues: Mapping[str, np.ndarray],
    psf_mm: float,
    measured: sitk.Image | None = None,
) -> CorrectedPet:
    """Correct a PET by one of :data:`CORRECTIONS` but ``none``.

    :param labels: regions on the grid of the PET, 0 for none. ``gtm`` has further regions: what of each
        tissue lies outside of them.
    :param tissues: see :func:`tissue_maps`. What they leave (1 - their sum) counts as without activity.
    :param psf_mm: FWHM of the scanner.
    :param measured: 0 where the PET measured nothing.
    :raises InputError: if the regions are too small or too many for that resolution.
    """
    if not same_grid(pet, labels):
        raise InputError("The regions are not on the grid of the PET.", "Resample them.")
    values = sitk.GetArrayFromImage(pet).astype(np.float64)
    there = np.ones(values.shape, bool) if measured is None else sitk.GetArrayFromImage(measured) > 0
    spacing = pet.GetSpacing()[::-1]
    if method == MUELLER_GAERTNER:
        image, valid = mueller_gaertner(values, tissues, spacing, psf_mm, there)
    else:
        image, valid = _by_regions(values, sitk.GetArrayFromImage(labels), tissues, spacing, psf_mm, there)
    grid = Grid.of(pet)
    name = {GTM: "geometric transfer matrix", MUELLER_GAERTNER: "Mueller-Gaertner"}[method]
    return CorrectedPet(
        grid.image(image.astype(np.float32)), grid.image(valid.astype(np.uint8)), f"{name}, PSF {psf_mm:g} mm"
    )


def _by_regions(
    values: np.ndarray,
    labels: np.ndarray,
    tissues: Mapping[str, np.ndarray],
    spacing_mm: tuple[float, ...],
    psf_mm: float,
    there: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    regions = {int(label): labels == label for label in np.unique(labels) if label}
    shares: dict[int, np.ndarray] = {label: mask.astype(np.float32) for label, mask in regions.items()}
    for number, share in enumerate(tissues.values(), 1):
        shares[-number] = np.where(labels == 0, share, 0).astype(np.float32)
    activity = gtm_means(values, shares, spacing_mm, psf_mm, there)
    image = np.zeros(values.shape)
    for label, mask in regions.items():
        if label in activity:
            image[mask] = activity[label]
    return image, there & np.isin(labels, [label for label in regions if label in activity])


def gtm_means(
    values: np.ndarray,
    shares: Mapping[int, np.ndarray],
    spacing_mm: tuple[float, ...],
    psf_mm: float,
    there: np.ndarray | None = None,
) -> dict[int, float]:
    """The activity of each region, by what the scanner spills between them.

    With the shares p_i and the PSF h: mean_i = sum_j activity_j sum(p_i (p_j * h)) / sum(p_i).

    :param values: [k, j, i]; ``shares``: of each region in each voxel (0..1), masks or probabilities.
    :param there: where the PET was measured. A region without such a voxel has no activity.
    :raises InputError: if the regions cannot be told apart at this resolution.
    """
    weight = np.ones(values.shape, bool) if there is None else there
    names = [name for name, share in shares.items() if (share * weight).sum() > 0]
    boxes = {name: _box(shares[name] > 0, spacing_mm, psf_mm) for name in names}
    totals = {name: float((shares[name] * weight).sum()) for name in names}
    measured = np.array([float((values * shares[name] * weight).sum()) / totals[name] for name in names])
    matrix = np.zeros((len(names), len(names)))
    for j, other in enumerate(names):
        part = boxes[other]
        spread = _blur(shares[other][part], spacing_mm, psf_mm)
        for i, name in enumerate(names):
            own = (shares[name] * weight)[part]
            matrix[i, j] = float((own * spread).sum()) / totals[name]
    if names and np.linalg.cond(matrix) > _WORST_CONDITION:
        raise InputError(
            f"At {psf_mm:g} mm the {len(names)} regions cannot be told apart.",
            "Use larger regions, a smaller --psf-mm, or no correction.",
        )
    return dict(zip(names, np.linalg.solve(matrix, measured).tolist())) if names else {}


def mueller_gaertner(
    values: np.ndarray,
    tissues: Mapping[str, np.ndarray],
    spacing_mm: tuple[float, ...],
    psf_mm: float,
    there: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Activity of grey matter by voxel, and where the scanner sees at least half of it.

    The activity of white matter and CSF is that of :func:`gtm_means` of the three tissues.
    """
    names = list(tissues)
    activity = gtm_means(values, dict(enumerate(tissues.values())), spacing_mm, psf_mm, there)
    blurred = [_blur(tissues[name].astype(np.float64), spacing_mm, psf_mm) for name in names]
    spill = sum(activity.get(n, 0.0) * blurred[n] for n in range(1, len(names)))
    valid = there & (blurred[0] >= LEAST_GREY_MATTER)
    image = np.zeros(values.shape)
    np.divide(values - spill, blurred[0], out=image, where=valid)
    return image, valid


def _blur(share: np.ndarray, spacing_mm: tuple[float, ...], psf_mm: float) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    sigma = [psf_mm / FWHM_PER_SIGMA / s for s in spacing_mm]
    return np.asarray(gaussian_filter(share, sigma, mode="constant", truncate=_REACH) if psf_mm else share)


def _box(mask: np.ndarray, spacing_mm: tuple[float, ...], psf_mm: float) -> tuple[slice, ...]:
    """Where the Gaussian of a region is not 0."""
    low, high = bounding_box(mask)
    reach = [int(_REACH * psf_mm / FWHM_PER_SIGMA / s + 0.5) + 1 for s in spacing_mm]
    return tuple(slice(max(0, int(a) - r), int(b) + r + 1) for a, b, r in zip(low, high, reach))
