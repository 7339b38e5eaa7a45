"""The grid of an image: its points and indices against ITK, in any orientation."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st

from MRI2PETLib.images.grid import RAS_AXES, Grid, crop_to, extent_along, resample
from properties import quick


def oblique() -> Grid:
    rotation = sitk.Euler3DTransform()
    rotation.SetRotation(0.3, -0.2, 1.1)
    return Grid((4, 5, 6), (1.0, 2.0, 3.5), (-7.0, 31.5, 12.0), rotation.GetMatrix())


@pytest.mark.parametrize("grid", [oblique(), Grid((4, 5, 6), (1.0, 2.0, 3.5), (1.0, 2.0, 3.0), RAS_AXES)])
def test_points_and_indices_are_those_of_itk(grid: Grid) -> None:
    image = grid.image()
    points = grid.points()
    for row, (k, j, i) in zip(points.T, np.ndindex(grid.shape)):
        np.testing.assert_allclose(row, image.TransformIndexToPhysicalPoint((i, j, k)), atol=2e-5)
    np.testing.assert_allclose(grid.index(points), np.indices(grid.shape).reshape(3, -1), atol=2e-5)
    where = np.zeros(grid.shape, bool)
    where[5, 4, 3] = where[0, 1, 2] = True
    np.testing.assert_array_equal(grid.points(where), points[:, where.ravel()])
    assert Grid.of(image) == grid


def test_coordinates_follow_the_axes() -> None:
    x, y, z = Grid((2, 3, 2), (1.0, 2.0, 4.0), (10.0, 20.0, 30.0), RAS_AXES).coordinates()
    assert [x.tolist(), y.tolist(), z.tolist()] == [[10, 9], [20, 18, 16], [30, 34]]
    with pytest.raises(ValueError, match="not those of the world"):
        oblique().coordinates()


def test_a_covering_grid_is_centred_and_large_enough() -> None:
    grid = Grid.covering((1.0, 2.0, 3.0), (10.0, 12.0, 11.0), 3.0)
    assert grid.size == (4, 4, 4)
    assert grid.points().mean(axis=1) == pytest.approx((1, 2, 3))


def of_three(low: float, high: float) -> st.SearchStrategy[tuple[float, ...]]:
    return st.tuples(*[st.floats(low, high, width=32)] * 3)


@st.composite
def any_grid(draw: st.DrawFn) -> Grid:
    """Turned, mirrored and stretched in any way."""
    rotation = sitk.Euler3DTransform()
    rotation.SetRotation(*draw(of_three(-3.125, 3.125)))
    mirror = np.diag(draw(st.tuples(*[st.sampled_from((-1.0, 1.0))] * 3)))
    axes = np.reshape(rotation.GetMatrix(), (3, 3)) @ mirror
    size = draw(st.tuples(*[st.integers(2, 6)] * 3))
    return Grid(size, draw(of_three(0.25, 6)), draw(of_three(-500, 500)), tuple(axes.ravel().tolist()))


@quick
@given(any_grid(), of_three(0, 1))
def test_any_grid_is_that_of_itk_and_there_and_back_is_the_same(
    grid: Grid, share: tuple[float, float, float]
) -> None:
    image, points = grid.image(), grid.points()
    assert Grid.of(image) == grid
    last = tuple(n - 1 for n in grid.size)
    for number, index in ((0, (0, 0, 0)), (-1, last)):
        np.testing.assert_allclose(points[:, number], image.TransformIndexToPhysicalPoint(index), atol=2e-3)
    np.testing.assert_allclose(grid.index(points), np.indices(grid.shape).reshape(3, -1), atol=2e-3)
    # A linear function of the world is the same wherever it is looked at.
    ramp = grid.image((points.T @ (0.5, -1.0, 2.0)).reshape(grid.shape).astype(np.float64))
    inner = [0.02 + 0.96 * s * (n - 1) for s, n in zip(share, grid.size)]
    where = image.TransformContinuousIndexToPhysicalPoint(
        [min(x, n - 1.02) for x, n in zip(inner, grid.size)]
    )
    value = resample(ramp, Grid((1, 1, 1), (1.0, 1.0, 1.0), where, (1, 0, 0, 0, 1, 0, 0, 0, 1)))
    assert value[0, 0, 0] == pytest.approx(np.dot(where, (0.5, -1.0, 2.0)), abs=5e-3)


@quick
@given(any_grid(), st.data())
def test_the_box_of_a_mask_holds_its_voxels_and_no_more(grid: Grid, data: st.DataObject) -> None:
    inside = np.zeros(grid.shape, np.uint8)
    for _ in range(data.draw(st.integers(1, 4))):
        inside[tuple(data.draw(st.integers(0, n - 1)) for n in grid.shape)] = 1
    mask = grid.image(inside)
    low, high = extent_along(mask, grid.direction)
    indices = np.argwhere(inside)[:, ::-1]
    assert (high - low) / grid.spacing_mm == pytest.approx(
        indices.max(axis=0) - indices.min(axis=0) + 1, abs=1e-4
    )
    cropped = crop_to(mask, mask, 0.0)
    assert cropped.GetSize() == tuple(indices.max(axis=0) - indices.min(axis=0) + 1)
    assert sitk.GetArrayViewFromImage(cropped).sum() == inside.sum()
    np.testing.assert_allclose(
        cropped.GetOrigin(), mask.TransformIndexToPhysicalPoint(indices.min(axis=0).tolist()), atol=1e-6
    )
