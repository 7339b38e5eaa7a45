"""Contrast-to-noise ratio of an image over random pairs of boxes (Ferrante et al. 2025, Eq. 3)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import ndimage

from MRI2PETLib.evaluation.measure import Measure

BOX_MM = (6.0, 8.0, 8.0)  # k, j, i: the 4 x 4 x 3 voxels of the paper's 2 mm grid
N_PAIRS = 1000


class BoxPairs(NamedTuple):
    """Origins (lowest corner, [k, j, i], shape (n, 3)) of both boxes of each pair, and the size of a box:
    ``box`` in voxels, ``box_mm`` its true size (k, j, i). ``reason`` says why there is no pair."""

    first: np.ndarray
    second: np.ndarray
    box: tuple[int, int, int]
    box_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    seed: int = 0
    reason: str = ""


def box_in_voxels(spacing_mm: tuple[float, float, float]) -> tuple[int, int, int]:
    """The 6 x 8 x 8 mm box (k, j, i) in whole voxels: 3 x 4 x 4 at 2 mm. At least one voxel a side."""
    k, j, i = (max(1, round(size / spacing)) for size, spacing in zip(BOX_MM, spacing_mm))
    return k, j, i


def valid_origins(mask: np.ndarray, box: tuple[int, int, int]) -> np.ndarray:
    """Where a box may start: True where all of its voxels are inside the mask (same shape as the mask)."""
    inside = np.asarray(mask != 0)
    # A minimum filter whose window starts at the voxel itself; beyond the border counts as outside.
    origin = [-(size // 2) for size in box]
    return np.asarray(ndimage.minimum_filter(inside, size=box, origin=origin, mode="constant", cval=0))


def box_pairs(
    mask: np.ndarray, spacing_mm: tuple[float, float, float], *, n: int = N_PAIRS, seed: int = 0
) -> BoxPairs:
    """Draw ``n`` pairs of boxes, uniformly among all ordered pairs inside the mask that do not overlap.

    The same pairs serve every image of a case, so that their CNRs are paired. Nothing is drawn and thrown
    away: the first box is drawn with weight = number of partners it has, the second among those partners by
    rank. The published code draws boxes of 3 x 3 x 5 voxels and keeps those with exactly 36 of the 45 inside
    the mask, which leaves only boxes across the rim of the brain.

    :return: no pairs, with the reason, when the mask has no two such boxes.
    """
    box = box_in_voxels(spacing_mm)
    k_mm, j_mm, i_mm = (size * spacing for size, spacing in zip(box, spacing_mm))
    empty = np.zeros((0, 3), dtype=np.intp)
    pairs = BoxPairs(empty, empty, box, (k_mm, j_mm, i_mm), seed)
    valid = valid_origins(mask, box)
    origins = np.argwhere(valid)
    if len(origins) < 2:
        return pairs._replace(reason=f"fewer than two boxes of {box} voxels fit inside the mask")
    # Two boxes overlap when their origins are closer than a box in all three axes.
    reach = tuple(2 * size - 1 for size in box)
    in_reach = _window_sum(valid, reach)[valid]
    partners = len(origins) - in_reach
    if not partners.any():
        return pairs._replace(reason=f"no two boxes of {box} voxels fit inside the mask without overlap")
    generator = np.random.default_rng(seed)
    first_boxes = generator.choice(len(origins), size=n, p=partners / partners.sum())
    rank_among_partners = generator.integers(partners[first_boxes])
    second = _skip_overlapping(valid, origins, first_boxes, rank_among_partners, box)
    return pairs._replace(first=origins[first_boxes], second=origins[second])


def _window_sum(valid: np.ndarray, window: tuple[int, ...]) -> np.ndarray:
    """Number of True voxels in the centred window (odd sizes) around each voxel, exactly."""
    total = valid.astype(np.int64)
    for axis, size in enumerate(window):
        half = size // 2
        padding = [(0, 0)] * valid.ndim
        padding[axis] = (half + 1, half)
        running = np.cumsum(np.pad(total, padding), axis=axis)
        upper = np.take(running, range(size, running.shape[axis]), axis=axis)
        lower = np.take(running, range(running.shape[axis] - size), axis=axis)
        total = upper - lower
    return total


def _skip_overlapping(
    valid: np.ndarray,
    origins: np.ndarray,
    first_boxes: np.ndarray,
    rank: np.ndarray,
    box: tuple[int, int, int],
) -> np.ndarray:
    """Index into ``origins`` of the ``rank``-th origin that does not overlap the chosen one, a pair each."""
    index = np.full(valid.shape, -1, dtype=np.int64)
    index[valid] = np.arange(len(origins))
    padded = np.pad(index, [(size - 1, size - 1) for size in box], constant_values=-1)
    windows = np.lib.stride_tricks.sliding_window_view(padded, [2 * size - 1 for size in box])
    result = np.empty(len(first_boxes), dtype=np.int64)
    for row, (first, r) in enumerate(zip(first_boxes, rank)):
        near = windows[tuple(origins[first])].ravel()
        excluded = near[near >= 0]  # ascending: the window is walked in the order of the origins
        result[row] = r + np.count_nonzero(excluded - np.arange(len(excluded)) <= r)
    return result


def cnr_values(image: np.ndarray, pairs: BoxPairs) -> np.ndarray:
    """CNR of each pair, ``(mean1 - mean2) / std(both boxes together)``, population SD; shape (n,), no unit.

    Eq. 3. Where both boxes hold one and the same value, the contrast is 0 and so is the CNR.
    """
    if not len(pairs.first):
        return np.zeros(0)
    windows = np.lib.stride_tricks.sliding_window_view(image, pairs.box)
    first, second = (
        windows[tuple(corner.T)].reshape(len(corner), -1).astype(np.float64)
        for corner in (pairs.first, pairs.second)
    )
    contrast = first.mean(axis=1) - second.mean(axis=1)
    spread = np.concatenate([first, second], axis=1).std(axis=1)
    # Rounding of equal values leaves a spread of about 1e-17 of their size, which is no noise.
    flat = spread <= 1e-12 * np.abs(first).max(axis=1)
    return np.where(flat, 0.0, contrast / np.where(flat, 1.0, spread))


def cnr_summary(image: np.ndarray, pairs: BoxPairs | None) -> dict[str, Measure]:
    """Median of the absolute CNR over the pairs, and the signed median that Eq. 3 asks for.

    Which box of a random pair comes first is arbitrary, so the signed median tends to 0 for any image and
    says nothing about it; the median of the absolute value does.
    """
    values = np.zeros(0) if pairs is None else cnr_values(image, pairs)
    if not len(values):
        nothing = Measure(None, "no boxes were drawn" if pairs is None else pairs.reason)
        return {"median_abs": nothing, "median_signed": nothing}
    return {
        "median_abs": Measure(float(np.median(np.abs(values)))),
        "median_signed": Measure(float(np.median(values))),
    }
