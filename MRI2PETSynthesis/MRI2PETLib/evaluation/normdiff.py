"""The normalised difference (Ferrante et al. 2025, Eq. 2), and which voxels two images share."""

from __future__ import annotations

import numpy as np

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.evaluation.measure import Measure

EMPTY = "no voxel inside the mask with both images finite"
RELATIVE_EPS = 1e-6  # of the mean real PET: below it, a denominator counts as zero


def shared_voxels(synthetic: np.ndarray, real: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Boolean array of M: inside the mask and finite in both images.

    :raises InputError: if the three arrays differ in shape.
    """
    if not synthetic.shape == real.shape == mask.shape:
        raise InputError(
            f"Synthetic {synthetic.shape}, real {real.shape} and mask {mask.shape} are not on one grid.",
            "Bring them onto one grid first (mri2pet evaluate).",
        )
    return (mask != 0) & np.isfinite(synthetic) & np.isfinite(real)


def normdiff_map(synthetic: np.ndarray, real: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """NormDiff = (s - r) / (s + r) a voxel, in [-1, 1], no unit; and where it is defined.

    >>> values, defined = normdiff_map(np.array([[[3.0, 1.0]]]), np.array([[[1.0, 1.0]]]), np.ones((1, 1, 2)))
    >>> values.tolist(), defined.tolist()
    ([[[0.5, 0.0]]], [[[True, True]]])

    Ferrante et al. 2025, Eq. 2; positive where the synthetic PET is higher (the published code has the
    opposite sign). Negative values, which interpolation makes, count as 0. Voxels of M with ``s + r`` at or
    below 1e-6 of the mean real PET have no NormDiff: they are 0 in the map and False in the validity array,
    and are never filled with anything (the published code turns the NaN of a whole region into the median of
    the other regions).

    :return: map (float32, 0 outside), validity (bool).
    """
    inside = shared_voxels(synthetic, real, mask)
    values, defined = _of_values(synthetic[inside], real[inside])
    result = np.zeros(inside.shape, dtype=np.float32)
    valid = np.zeros(inside.shape, dtype=bool)
    result[inside], valid[inside] = values, defined
    return result, valid


def _of_values(synthetic: np.ndarray, real: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """NormDiff (float32) of two vectors of finite values, and where it is defined."""
    s = np.clip(synthetic, 0, None).astype(np.float64)
    r = np.clip(real, 0, None).astype(np.float64)
    total = s + r
    defined = total > RELATIVE_EPS * (float(r.mean()) if r.size else 0.0)
    result = np.zeros(total.shape, dtype=np.float32)
    np.divide(s - r, total, out=result, where=defined, casting="same_kind")
    return result, defined


def summarise_normdiff(synthetic: np.ndarray, real: np.ndarray) -> dict[str, Measure]:
    """Mean, median and SD (population) of NormDiff over its defined voxels, and the share that has none.

    :param synthetic: vectors of finite values, voxel by voxel, as is ``real``.
    """
    values, defined = _of_values(synthetic, real)
    if not defined.size:
        return dict.fromkeys(("mean", "median", "sd", "excluded_fraction"), Measure(None, EMPTY))
    excluded = Measure(float(1 - np.count_nonzero(defined) / defined.size))
    if not defined.any():
        nothing = Measure(None, "both images are zero everywhere inside the mask")
        return {"mean": nothing, "median": nothing, "sd": nothing, "excluded_fraction": excluded}
    inside = values[defined].astype(np.float64)
    return {
        "mean": Measure(float(inside.mean())),
        "median": Measure(float(np.median(inside))),
        "sd": Measure(float(inside.std())),
        "excluded_fraction": excluded,
    }
