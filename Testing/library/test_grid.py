"""The grid of an image: its points and indices against ITK, in any orientation."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from MRI2PETLib.images.grid import RAS_AXES, Grid


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
