"""What an average TSPO scan looks like, and how people differ, from real [11C]PBR28 maps.

The maps are public (Lois et al. 2018, doi:10.5281/zenodo.1174364): SUV 60 to 90 min in MNI space, divided by
their global mean and smoothed by 6 mm, without the T1s of the same people.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.images.grid import FWHM_PER_SIGMA, Grid, resample
from MRI2PETLib.images.io import read_image
from MRI2PETLib.preprocessing.smoothing import smooth_fwhm
from MRI2PETLib.templates.icbm152 import load_template

# Regression of the control mean on blurred tissue maps (grey matter = 1); CSF takes what vessels and choroid
# plexus leave. "Other" is what a brain mask holds beside brain: remnants of neck and meninges.
TISSUE_WEIGHTS = {"gm": 1.0, "wm": 0.65, "csf": 0.05}
OTHER_WEIGHT = 0.3
# 5 mm of the scanner and 6 mm of smoothing.
MAP_FWHM_MM = 7.8
_ITERATIONS = 3
_LEVEL = 0.2  # of the brain's mean: below it a map is no brain
_COMPONENT_FWHM_MM = 8.0


@dataclass(frozen=True)
class Donor:
    """A real map on the template's grid, float32 [k, j, i], divided by its mean in the template's brain."""

    name: str
    is_control: bool
    values: np.ndarray


@dataclass(frozen=True)
class ActivityModel:
    """Everything the pair synthesis knows of real PET. Arrays float32 [k, j, i] on the template's grid.

    ``tissue`` is the activity of the average person's tissue, before the ``correction`` that multiplies it
    and any person's (:data:`TISSUE_WEIGHTS`). ``components`` [n, k, j, i] are logarithms, each as large as
    one standard deviation of its score over the donors; ``focal`` is the logarithm of patients over controls;
    ``thalamus`` is 1 there and falls off around it.
    """

    tissue: np.ndarray
    correction: np.ndarray
    components: np.ndarray
    focal: np.ndarray
    thalamus: np.ndarray
    donors: tuple[str, ...]

    def population_map(self, fwhm_mm: float) -> sitk.Image:
        """The average scan in MNI space, mean 1 in the template's brain, at a resolution of ``fwhm_mm``."""
        return smooth_fwhm(template_image(self.tissue * self.correction), fwhm_mm)


def tissue_activity(gm: np.ndarray, wm: np.ndarray, csf: np.ndarray) -> np.ndarray:
    """Activity of tissue fractions before any correction, grey matter = 1."""
    weights = TISSUE_WEIGHTS
    return np.asarray(weights["gm"] * gm + weights["wm"] * wm + weights["csf"] * csf, np.float32)


def template_image(array: np.ndarray) -> sitk.Image:
    """An array on the template's grid as an image, mean 1 in its brain."""
    inside = template_brain()
    image = sitk.GetImageFromArray((array / array[inside].mean()).astype(np.float32))
    image.CopyInformation(load_template().mask)
    return image


def template_brain() -> np.ndarray:
    """The template's brain mask, which is nilearn's MNI brain mask (bool [k, j, i])."""
    return sitk.GetArrayViewFromImage(load_template().mask) > 0


def template_tissue() -> np.ndarray:
    """Tissue weights on the template, without any map of PET."""
    template = load_template()
    return tissue_activity(**{n: sitk.GetArrayFromImage(getattr(template, n)) for n in TISSUE_WEIGHTS})


def read_donors(folder: Path) -> list[Donor]:
    """The ``sub-<label>_*.nii.gz`` maps of a folder; a label with ``control`` makes a control.

    :raises InputError: if there is none, or one does not cover the template's brain.
    """
    grid = Grid.of(load_template().mask)
    donors = []
    for path in sorted(folder.glob("sub-*.nii*")):
        match = re.match(r"sub-[A-Za-z0-9]+", path.name)
        assert match is not None
        values = sitk.GetArrayFromImage(resample(read_image(path, kind="pet").image, grid))
        inside = values[template_brain()]
        if (inside > 0).mean() < 0.9:
            raise InputError(f"{path} does not cover the brain in MNI space.", "Use the maps in MNI space.")
        donors.append(
            Donor(match.group(), "control" in match.group(), (values / inside.mean()).astype(np.float32))
        )
    if not donors:
        raise InputError(f"{folder} holds no sub-*.nii.gz.", "Give the folder of the PBR28 maps.")
    return donors


def mean_map(donors: Sequence[Donor]) -> np.ndarray:
    """Mean of the donors' maps."""
    return np.asarray(np.mean([donor.values for donor in donors], axis=0), np.float32)


def build_activity(donors: Sequence[Donor], tissue: np.ndarray) -> ActivityModel:
    """The activity model of these donors and no others.

    :param tissue: activity of the average person's tissue on the template's grid [k, j, i]: of the people
        that the model is for (:func:`.average_anatomies.mean_tissue`), so that their mean PET looks like the
        donors'.
    :raises InputError: without two controls and two patients.
    """
    controls = [donor for donor in donors if donor.is_control]
    patients = [donor for donor in donors if not donor.is_control]
    if len(controls) < 2 or len(patients) < 2:
        raise InputError(
            f"{len(controls)} controls and {len(patients)} patients are too few.", "Two of each are needed."
        )
    control_mean = mean_map(controls)
    logs = np.stack([_log_ratio(donor.values, mean_map(donors)) for donor in donors])
    logs -= logs.mean(0)
    left, size, components = np.linalg.svd(logs.reshape(len(donors), -1), full_matrices=False)
    keep = len(donors) - 1
    scaled = components[:keep] * (size[:keep] / np.sqrt(keep))[:, None]
    return ActivityModel(
        tissue=tissue,
        correction=tissue_correction(control_mean, tissue),
        components=scaled.reshape(keep, *control_mean.shape).astype(np.float32),
        focal=_log_ratio(mean_map(patients), control_mean),
        thalamus=_thalamus(),
        donors=tuple(donor.name for donor in donors),
    )


def tissue_correction(target: np.ndarray, tissue: np.ndarray) -> np.ndarray:
    """What ``tissue`` must be multiplied by to look like ``target`` at its resolution.

    Three multiplicative iterations of the Richardson-Lucy kind; outside the brain the nearest value.
    """
    tissue = tissue / tissue[template_brain()].mean()
    valid = template_brain() & (target > _LEVEL)
    correction = np.ones_like(tissue)
    for _ in range(_ITERATIONS):
        estimate = _blur(tissue * correction, MAP_FWHM_MM)
        ratio = np.divide(target, estimate, out=np.ones_like(target), where=valid & (estimate > 0.05))
        correction *= _within(ratio, valid, MAP_FWHM_MM)
    return np.clip(_continued(correction, valid), 0.2, 5.0)


def _log_ratio(values: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """log(values / reference), smoothed in the brain and continued beyond it."""
    valid = template_brain() & (reference > _LEVEL) & (values > 0.25 * _LEVEL)
    ratio = np.divide(values, reference, out=np.ones_like(values), where=valid)
    return _continued(_within(np.log(np.clip(ratio, 0.25, 4)), valid, _COMPONENT_FWHM_MM), valid)


def _thalamus() -> np.ndarray:
    from MRI2PETLib.templates.uptake import region_weights, uptake_regions

    is_thalamus = [region.name.endswith(" thalamus") for region in uptake_regions("PBR28")]
    weights = region_weights(Grid.of(load_template().mask), "PBR28")
    return np.asarray(np.clip(1.6 * weights[is_thalamus].max(0), 0, 1), np.float32)


def _blur(values: np.ndarray, fwhm_mm: float) -> np.ndarray:
    sigma = fwhm_mm / FWHM_PER_SIGMA / load_template().mask.GetSpacing()[0]
    return np.asarray(ndimage.gaussian_filter(values, sigma, mode="constant"))


def _within(values: np.ndarray, valid: np.ndarray, fwhm_mm: float) -> np.ndarray:
    weight = _blur(valid.astype(np.float32), fwhm_mm)
    product = _blur(values * valid, fwhm_mm)
    return np.divide(product, weight, out=np.ones_like(product), where=valid)


def _continued(values: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Values of the nearest valid voxel elsewhere."""
    nearest = ndimage.distance_transform_edt(~valid, return_distances=False, return_indices=True)
    return np.asarray(values[tuple(nearest)], np.float32)


def correlation_in(a: np.ndarray, b: np.ndarray, where: np.ndarray) -> float:
    """Pearson r over ``where``."""
    return float(np.corrcoef(a[where], b[where])[0, 1])


def leave_one_out(donors: Sequence[Donor], tissue: np.ndarray) -> list[dict[str, float | str]]:
    """How well maps made without a donor predict this donor, in the brain where the donor exceeds .2.

    ``activity``: ``tissue`` corrected by the other controls; ``mean``: their mean map; ``tissue``: tissue
    weights on the template alone. All at the resolution of the real maps.
    """
    rows: list[dict[str, float | str]] = []
    alone = _blur(template_tissue(), MAP_FWHM_MM)
    for donor in donors:
        others = [other for other in donors if other.is_control and other.name != donor.name]
        mean = mean_map(others)
        model = _blur(tissue * tissue_correction(mean, tissue), MAP_FWHM_MM)
        where = template_brain() & (donor.values > _LEVEL)
        predictions = {"activity": model, "mean": mean, "tissue": alone}
        r = {name: correlation_in(values, donor.values, where) for name, values in predictions.items()}
        rows.append({"donor": donor.name, **r})
    return rows


def training_donors(donors: Sequence[Donor], seed: int) -> list[Donor]:
    """The donors that the out-of-sample model may see: all but two controls and two patients.

    :raises InputError: if fewer than two of each would be left.
    """
    donors_in: list[Donor] = []
    for is_control in (True, False):
        group = [donor for donor in donors if donor.is_control == is_control]
        if len(group) < 4:
            raise InputError(f"{len(group)} donors of a group are too few to hold two out.", "Give all maps.")
        out = np.random.default_rng(seed).permutation(len(group))[:2]
        donors_in += [donor for n, donor in enumerate(group) if n not in out]
    return donors_in
