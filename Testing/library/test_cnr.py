"""The image CNR over box pairs, and the mistake of the published box sampling."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from MRI2PETLib.evaluation.cnr import (
    BoxPairs,
    box_in_voxels,
    box_pairs,
    cnr_summary,
    cnr_values,
    valid_origins,
)

MM_2 = (2.0, 2.0, 2.0)


def ellipsoid(shape: tuple[int, int, int] = (40, 48, 40)) -> np.ndarray:
    """A brain-like mask, [k, j, i]."""
    k, j, i = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    return (k**2 + j**2 + i**2) < 0.85


def test_the_box_is_that_of_the_paper_on_its_grid_and_keeps_its_size_in_mm() -> None:
    assert box_in_voxels(MM_2) == (3, 4, 4)  # k, j, i: 4 x 4 x 3 voxels of 2 mm
    assert box_in_voxels((1.0, 1.0, 1.0)) == (6, 8, 8)
    assert box_in_voxels((12.0, 1.0, 20.0)) == (1, 8, 1)


def test_valid_origins_equal_a_plain_search() -> None:
    rng = np.random.default_rng(0)
    mask = ndimage.binary_dilation(rng.random((9, 10, 11)) > 0.9, iterations=2)
    expected = np.zeros(mask.shape, dtype=bool)
    for k, j, i in np.ndindex(7, 7, 8):
        expected[k, j, i] = mask[k : k + 3, j : j + 4, i : i + 4].all()
    assert expected.any()
    assert np.array_equal(valid_origins(mask, (3, 4, 4)), expected)


def test_all_boxes_lie_inside_and_pairs_never_overlap() -> None:
    mask = ellipsoid()
    pairs = box_pairs(mask, MM_2, seed=3)
    assert pairs.first.shape == (1000, 3)
    for corner in np.concatenate([pairs.first, pairs.second]):
        k, j, i = corner
        assert mask[k : k + 3, j : j + 4, i : i + 4].all()
    apart = np.abs(pairs.first - pairs.second) >= np.array(pairs.box)
    assert apart.any(axis=1).all()


def test_pairs_are_drawn_uniformly_among_all_that_do_not_overlap() -> None:
    mask = np.zeros((3, 4, 14), dtype=bool)
    mask[:, :, :] = True  # 11 origins in a row; pairs need a distance of 4
    pairs = box_pairs(mask, MM_2, n=72_000, seed=0)
    distinct, counts = np.unique(np.c_[pairs.first[:, 2], pairs.second[:, 2]], axis=0, return_counts=True)
    expected = [(a, b) for a in range(11) for b in range(11) if abs(a - b) >= 4]
    assert [tuple(row) for row in distinct.tolist()] == expected
    rate = 72_000 / len(expected)
    assert np.all(np.abs(counts - rate) < 5 * np.sqrt(rate))  # five standard deviations


def test_the_same_seed_gives_the_same_pairs() -> None:
    mask = ellipsoid()
    one, two, other = (box_pairs(mask, MM_2, seed=s) for s in (5, 5, 6))
    assert np.array_equal(one.first, two.first) and np.array_equal(one.second, two.second)
    assert not np.array_equal(one.first, other.first)


def test_hand_computed_cnr() -> None:
    image = np.zeros((1, 1, 4))
    image[0, 0] = [1, 3, 5, 7]
    pair = BoxPairs(np.array([[0, 0, 0]]), np.array([[0, 0, 2]]), (1, 1, 2))
    # boxes {1, 3} and {5, 7}: difference of means -4, population SD of all four sqrt(5)
    assert cnr_values(image, pair).tolist() == pytest.approx([-4 / np.sqrt(5)])
    assert cnr_summary(image, pair)["median_abs"].value == pytest.approx(4 / np.sqrt(5))


def test_equal_boxes_have_no_contrast() -> None:
    mask = ellipsoid()
    assert not cnr_values(np.full(mask.shape, 0.1), box_pairs(mask, MM_2)).any()


def test_a_mask_without_two_boxes_has_no_cnr_but_a_reason() -> None:
    mask = np.zeros((10, 10, 10), dtype=bool)
    mask[:4, :5, :5] = True  # several origins, all overlapping
    pairs = box_pairs(mask, MM_2)
    assert not len(pairs.first)
    measure = cnr_summary(np.ones(mask.shape), pairs)["median_abs"]
    assert measure.value is None and "overlap" in measure.reason
    assert cnr_summary(mask * 1.0, box_pairs(np.zeros(mask.shape), MM_2))["median_abs"].value is None


def test_the_signed_median_tends_to_zero_for_any_image() -> None:
    mask = ellipsoid()
    rng = np.random.default_rng(0)
    image = ndimage.gaussian_filter(rng.normal(size=mask.shape), 4)
    summary = cnr_summary(image, box_pairs(mask, MM_2))
    signed, absolute = summary["median_signed"].value, summary["median_abs"].value
    assert signed is not None and absolute is not None
    assert abs(signed) < 0.2 * absolute


def test_the_published_sampling_takes_only_the_rim() -> None:
    """3 x 3 x 5 voxels are cut, yet exactly 3 x 3 x 4 must lie inside: only boxes across the rim pass."""
    mask = ellipsoid()
    depth = ndimage.distance_transform_edt(mask)
    inside = ndimage.uniform_filter(mask.astype(float), (3, 3, 5), mode="constant") * 45
    published = np.argwhere(np.abs(inside - 36) < 1e-6)
    deepest = max(depth[tuple(centre)] for centre in published)
    assert deepest <= 3  # voxels; the middle of the mask is this deep:
    assert depth.max() > 17
    pairs = box_pairs(mask, MM_2)
    ours = depth[tuple((pairs.first + np.array([1, 2, 2])).T)]
    assert np.median(ours) > 5 and ours.max() > 15
