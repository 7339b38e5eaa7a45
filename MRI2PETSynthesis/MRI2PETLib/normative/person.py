"""A person as a norm sees them: real PET and residual in MNI space by voxel, region and pair of regions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import SimpleITK as sitk

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.evaluation.asymmetry import SidePair, index_percent, side_pairs
from MRI2PETLib.evaluation.inputs import CaseImages
from MRI2PETLib.evaluation.scaling import smooth_in_mask
from MRI2PETLib.evaluation.spaces import resample_inside
from MRI2PETLib.images.grid import crop_to
from MRI2PETLib.preprocessing.pet_measured import why_left_out
from MRI2PETLib.preprocessing.template_warp import invert_warp
from MRI2PETLib.templates.regions import Parcellation

# What a norm holds: what the T1 does not explain, and the PET as it is (no T1).
CONDITIONAL, UNCONDITIONAL = "residual", "real"
KINDS = (CONDITIONAL, UNCONDITIONAL)
_LEAST_OF_REGION = 0.5  # that lies in the person's brain after the registration


@dataclass(frozen=True)
class RegionSet:
    """The regions of a norm on its grid.

    :ivar keys: (parcellation, name) of each region, ``index`` its flat voxel indices; ``pairs``: those that
        mirror each other, as numbers of regions.
    """

    keys: tuple[tuple[str, str], ...]
    index: tuple[np.ndarray, ...]
    sides: tuple[SidePair, ...]
    pairs: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, parcellations: Sequence[Parcellation]) -> RegionSet:
        """Those that have a voxel; all label maps lie on one grid."""
        keys, index = [], []
        for parcellation in parcellations:
            flat = sitk.GetArrayViewFromImage(parcellation.labels).ravel()
            for label, name in parcellation.names.items():
                voxels = np.flatnonzero(flat == label)
                if voxels.size:
                    keys.append((parcellation.name, name))
                    index.append(voxels)
        sides = side_pairs(keys)
        number = {key: n for n, key in enumerate(keys)}
        pairs = [(number[s.parcellation, s.left], number[s.parcellation, s.right]) for s in sides]
        return cls(tuple(keys), tuple(index), tuple(sides), tuple(pairs))

    def means(self, image: np.ndarray, brain: np.ndarray) -> np.ndarray:
        """Mean of each region in the person's brain; NaN where too little of it was measured.

        :param image: NaN where nothing was measured; ``brain``: bool.
        """
        flat, result = image.ravel(), np.full(len(self.keys), np.nan)
        for number, voxels in enumerate(self.index):
            values = flat[voxels][brain.ravel()[voxels]]
            there = np.isfinite(values)
            if values.size >= _LEAST_OF_REGION * voxels.size and not why_left_out(float(there.mean())):
                result[number] = values[there].astype(np.float64).mean()
        return result


@dataclass(frozen=True)
class MniPerson:
    """Real and predicted PET in MNI space, [k, j, i], NaN where nothing was measured. ``brain``: bool."""

    real: np.ndarray
    predicted: np.ndarray
    brain: np.ndarray


@dataclass(frozen=True)
class Readout:
    """Values by kind: ``maps`` [k, j, i] smoothed, ``regions`` [region], ``asymmetry`` [pair] in %.

    The asymmetry of the residual is that of the real PET minus that of the predicted one.
    """

    maps: dict[str, np.ndarray]
    regions: dict[str, np.ndarray]
    asymmetry: dict[str, np.ndarray]

    def inside(self, mask: np.ndarray) -> Readout:
        """With maps of the voxels of a mask (bool) only: a sixth of the memory."""
        return replace(self, maps={kind: image[mask] for kind, image in self.maps.items()})


def person_in_mni(case: CaseImages, grid: sitk.Image) -> MniPerson:
    """Both PETs of a case on a grid in MNI space, by the non-linear registration of its T1.

    :raises InputError: if there is no T1, or it could not be registered.
    """
    if case.warp is None:
        raise InputError("There is no registration to MNI space.", "Give the T1.")
    back, whole = invert_warp(case.warp), case.whole_brain
    real, synthetic, mask, brain = (
        crop_to(image, whole, 0.0) for image in (case.real, case.synthetic, case.mask, whole)
    )
    arrays = [sitk.GetArrayViewFromImage(image) for image in (real, synthetic)]
    moved = resample_inside(arrays, mask, grid, back)
    inside = np.isfinite(moved[0])
    if case.brain is not None and case.pet_coverage < 1:
        inside = np.isfinite(resample_inside(arrays[1:], brain, grid, back)[0])
    return MniPerson(moved[0], moved[1], inside)


def read_out(person: MniPerson, regions: RegionSet, grid: sitk.Image, fwhm_mm: float) -> Readout:
    """Smooth the maps and average them over regions; regions are of the maps as they are."""
    inside = np.isfinite(person.real) & np.isfinite(person.predicted)
    real, predicted = (np.where(inside, i, np.nan) for i in (person.real, person.predicted))
    k_mm, j_mm, i_mm = grid.GetSpacing()[::-1]

    def smooth(values: np.ndarray) -> np.ndarray:
        smoothed = smooth_in_mask(values, inside, (k_mm, j_mm, i_mm), fwhm_mm)
        return np.where(inside, smoothed, np.nan).astype(np.float32)

    means = {UNCONDITIONAL: regions.means(real, person.brain)}
    means["predicted"] = regions.means(predicted, person.brain)
    indices = {name: _indices(values, regions.pairs) for name, values in means.items()}
    return Readout(
        maps={CONDITIONAL: smooth(real - predicted), UNCONDITIONAL: smooth(real)},
        regions={CONDITIONAL: means[UNCONDITIONAL] - means["predicted"], UNCONDITIONAL: means[UNCONDITIONAL]},
        asymmetry={
            CONDITIONAL: indices[UNCONDITIONAL] - indices["predicted"],
            UNCONDITIONAL: indices[UNCONDITIONAL],
        },
    )


def _indices(means: np.ndarray, pairs: Sequence[tuple[int, int]]) -> np.ndarray:
    if not pairs:
        return np.zeros(0)
    left, right = (means[[pair[side] for pair in pairs]] for side in (0, 1))
    return index_percent(left, right)


def region_label(parcellation: str, region: str) -> str:
    """The name of a region in the norm's figures."""
    return f"{parcellation} / {region}"


def pair_label(parcellation: str, region: str) -> str:
    """The name of a pair of regions in the norm's figures."""
    return f"{parcellation} / {region} (left - right)"
