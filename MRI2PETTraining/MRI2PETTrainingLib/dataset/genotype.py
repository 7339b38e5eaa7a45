"""Remove the difference between high- and mixed-affinity binders (rs6971), fitted on training people only.

TSPO tracers bind differently in HAB and MAB. The targets are ratios to the brain's mean (or scaled to 0..1),
which removes a global factor already; what is left is a difference of pattern. It is fitted voxelwise in MNI
space on the people of the training split: y = b0 + b1 g with g = 1 for HAB, so that b1 is the difference of
the two group means. Every case, whatever its split, becomes y - b1 (g - mean training g): the mean over the
training people stays. A PET is brought to its unit again (a ratio is divided by its reference region), and
the network's target with it. The published work regressed all cases together, test cases included.
"""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.files import make_folder, read_object, staged_folder
from MRI2PETLib.evaluation.cubic import cubic_sums
from MRI2PETLib.evaluation.reference_region import divide_by_region, reference_mask
from MRI2PETLib.images.formats import sidecar_path
from MRI2PETLib.images.grid import Grid, resample
from MRI2PETLib.images.io import read_image, write_image
from MRI2PETLib.models.model_space import BRAIN_MASK
from MRI2PETLib.preprocessing.pet import to_unit
from MRI2PETLib.preprocessing.pet_alignment import mark_unmeasured
from MRI2PETLib.preprocessing.smoothing import smooth_fwhm
from MRI2PETLib.preprocessing.template_warp import invert_warp
from MRI2PETLib.preprocessing.warp_file import person_warp
from MRI2PETLib.templates.icbm152 import load_template
from MRI2PETTrainingLib.dataset.cache import ARRAYS, MASK, MNI, REAL, WARP, PreparedCase, target_in_mni

_FWHM_MM = 8.0  # the difference of two small groups is noisy
_LEAST = 2  # people of each genotype


def adjust(
    folder: Path,
    train: Sequence[PreparedCase],
    validation: Sequence[PreparedCase],
    test: Sequence[PreparedCase],
) -> tuple[list[PreparedCase], list[PreparedCase], list[PreparedCase]]:
    """Fit the difference on ``train`` and write adjusted copies of all cases below ``folder``.

    :raises InputError: with fewer than two people of a genotype in training, or a case without MNI fit.
    """
    difference, share = genotype_difference(train)
    return tuple(  # type: ignore[return-value]
        [_adjusted(folder, entry, difference, share) for entry in side] for side in (train, validation, test)
    )


def genotype_difference(train: Sequence[PreparedCase]) -> tuple[sitk.Image, float]:
    """Mean PET of HAB minus that of MAB in MNI space (in the PETs' unit, smoothed), and the share of HAB.

    Scans of a person are averaged first.
    """
    people: dict[tuple[str, str], list[np.ndarray]] = defaultdict(list)
    grid = Grid.of(load_template().t1)
    for entry in train:
        values, inside = (sitk.GetArrayFromImage(resample(i, grid, _transform(entry))) for i in entry.real())
        values = np.where(inside >= 0.5, values / np.maximum(inside, 0.5), np.nan)
        people[entry.case.genotype.upper(), entry.case.subject].append(values)
    means = {}
    for genotype in ("HAB", "MAB"):
        own = [np.mean(scans, axis=0) for (g, _), scans in people.items() if g == genotype]
        if len(own) < _LEAST:
            raise InputError(
                f"Only {len(own)} of a fold's training people are {genotype}; at least {_LEAST} are needed.",
                "Use fewer folds, or train without --adjust-genotype.",
            )
        means[genotype] = np.mean(own, axis=0)
    share = sum(g == "HAB" for g, _ in people) / len(people)
    # NaN: somebody was not measured there, so nothing is adjusted.
    difference = grid.image(np.nan_to_num(means["HAB"] - means["MAB"]).astype(np.float32))
    return smooth_fwhm(difference, _FWHM_MM, load_template().mask), share


def _adjusted(folder: Path, entry: PreparedCase, difference: sitk.Image, share: float) -> PreparedCase:
    weight = float(entry.case.genotype.upper() == "HAB") - share
    to_mni = _transform(entry).GetInverse()
    model_grid = Grid(**{k: tuple(v) for k, v in entry.about["model_grid"].items()})
    source, target, mask = np.array(entry.arrays(), dtype=np.float32)
    change = sitk.GetArrayFromImage(resample(difference, model_grid, to_mni))
    target = target - entry.about["target_factor"] * weight * change
    whole = sitk.ReadImage(str(entry.folder / MASK))
    real, measured = entry.real()
    brain = whole * sitk.Cast(measured > 0, whole.GetPixelID())
    t1 = read_image(entry.case.t1, kind="t1").image
    t1.CopyInformation(brain)
    warp = person_warp(t1, whole, _transform(entry), entry.folder / WARP)
    real = real - resample(difference, Grid.of(real), to_mni) * weight
    adjusted = sitk.Clamp(real, sitk.sitkFloat32, 0.0)
    reference = entry.about["reference_region"]
    if reference in ("", BRAIN_MASK):
        real = to_unit(adjusted, brain, entry.about["model_unit"])
    else:
        (real,), _, _ = divide_by_region([adjusted], reference, reference_mask(reference, whole, warp), brain)
    slope, level = _line(adjusted, real, brain)
    target = slope * target + level * entry.about["target_factor"]
    about = read_object(sidecar_path(entry.folder / REAL))
    about["GenotypeAdjusted"] = {"genotype": entry.case.genotype, "share_of_HAB": share}
    out = make_folder(folder / entry.folder.name)
    with staged_folder(out, last=ARRAYS) as staging:
        arrays = np.stack([source, np.clip(target, 0, 1) * mask, mask])
        np.save(staging / ARRAYS, arrays.astype(np.float16))
        shutil.copyfile(entry.folder / MASK, staging / MASK)
        write_image(mark_unmeasured(real, measured), staging / REAL, about)
        shutil.copyfile(entry.folder / WARP, staging / WARP)
        np.save(staging / MNI, target_in_mni(real, brain, invert_warp(warp)))
    # The baselines are fitted to the same target as the network, and compared with it.
    return PreparedCase(entry.case, out, {**entry.about, "cubic": cubic_sums(t1, real, brain)})


def _line(before: sitk.Image, after: sitk.Image, mask: sitk.Image) -> tuple[float, float]:
    """Slope and level with which ``after`` was made from ``before``, from the voxels of the mask."""
    inside = sitk.GetArrayViewFromImage(mask) > 0
    x, y = (sitk.GetArrayViewFromImage(image)[inside].astype(float) for image in (before, after))
    slope, level = np.polyfit(x, y, 1)
    return float(slope), float(level)


def _transform(entry: PreparedCase) -> sitk.Transform:
    transform = entry.template_to_t1
    if transform is None:
        raise InputError(
            f"{entry.case.case} could not be fitted to MNI space.",
            "Exclude it, or train without --adjust-genotype.",
        )
    return transform
