"""Grid, normalisation, and the way to model space and back."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from head_poses import random_rotation, turned
from MRI2PETLib.core.errors import BundleError, InputError, QualityError
from MRI2PETLib.images.axes import Axes, head_axes
from MRI2PETLib.images.grid import RAS_AXES, Grid, antialias, extent_along, resample
from MRI2PETLib.images.spline import bounded_spline
from MRI2PETLib.models.model_space import (
    SPACES,
    ModelSpace,
    decode,
    encode,
    encode_pair,
    encode_target,
    model_grid,
    not_predicted,
    with_grid,
)
from MRI2PETLib.models.scale_end import at_scale_end
from MRI2PETLib.simulation import simulate_subject

FLIPS = list(itertools.product((1, -1), repeat=3))


def random_grid(seed: int) -> Grid:
    """A grid that holds a brain: turned, flipped, anisotropic, far from the origin."""
    rng = np.random.default_rng(seed)
    direction = random_rotation(rng) * FLIPS[seed % 8]
    spacing = rng.uniform([1.5, 1.5, 1.8], [2.5, 2.5, 4.0])
    size = np.ceil(230 / spacing).astype(int)
    origin = rng.uniform(-100, 100, 3) - direction @ (spacing * size / 2)
    return Grid(
        tuple(size.tolist()), tuple(spacing.tolist()), tuple(origin.tolist()), tuple(direction.ravel())
    )


def random_axes(seed: int) -> Axes:
    return tuple(random_rotation(np.random.default_rng(seed)).ravel().tolist())


def world(grid: Grid) -> np.ndarray:
    """LPS coordinates of every voxel centre, [3, k, j, i]."""
    index = np.indices(grid.size[::-1])[::-1].reshape(3, -1)
    matrix = np.array(grid.direction).reshape(3, 3) * np.array(grid.spacing_mm)
    return (matrix @ index + np.array(grid.origin)[:, None]).reshape(3, *grid.size[::-1])


def ball(grid: Grid, radius_mm: float = 60.0) -> sitk.Image:
    """A ball in the middle of the grid's field of view."""
    points = world(grid)
    centre = points.reshape(3, -1).mean(1)
    distance = np.linalg.norm(points - centre[:, None, None, None], axis=0)
    return grid.image((distance < radius_mm).astype(np.uint8))


@pytest.mark.parametrize("seed", range(10))
def test_world_ramp_survives_the_round_trip(seed: int) -> None:
    """World coordinates resampled native -> model -> native stay what they are, to 1e-6 mm (float64), on
    oblique, flipped and anisotropic images of turned heads.
    """
    native = random_grid(seed)
    size, spacing_mm = (tuple(n // 3 for n in native.size), tuple(3 * s for s in native.spacing_mm))
    coarse = Grid(size, spacing_mm, native.origin, native.direction)
    mask = ball(coarse)
    grid, _ = model_grid(mask, random_axes(seed + 50), ModelSpace())
    inside = sitk.GetArrayFromImage(mask) > 0
    inside_model = sitk.GetArrayFromImage(resample(mask, grid, interpolator=sitk.sitkNearestNeighbor)) > 0
    for axis in range(3):
        there = resample(native.image(world(native)[axis]), grid)
        error = np.abs(sitk.GetArrayFromImage(there) - world(grid)[axis])
        assert error[inside_model].max() < 1e-6
        truth = world(coarse)[axis][inside]
        assert np.abs(sitk.GetArrayFromImage(resample(there, coarse))[inside] - truth).max() < 1e-6
        spline = bounded_spline(sitk.GetArrayFromImage(there), grid, coarse, inside)
        assert np.abs(spline - truth).max() < 1e-6


def test_the_spline_is_that_of_scipy_held_between_its_neighbours() -> None:
    """Against SciPy's own interpolation on a smooth field; on noise and at an edge nothing overshoots."""
    rng = np.random.default_rng(5)
    grid = Grid((20, 22, 24), (4.0, 4.0, 4.0), (-40.0, 10.0, 5.0))
    fine = Grid((60, 66, 72), (4 / 3,) * 3, grid.origin)
    index = np.moveaxis(np.indices(fine.shape) / 3, 0, -1)
    noise = rng.random(grid.shape)
    smooth = ndimage.gaussian_filter(noise, 2)
    step = np.where(np.arange(24)[:, None, None] < 12, 0.0, np.ones(grid.shape))
    everywhere = np.ones(fine.shape, bool)
    for values, tolerance in ((smooth, 2e-3), (noise, None), (step, None)):
        values_there = bounded_spline(values, grid, fine, everywhere).reshape(fine.shape)
        inner = (index < np.array(grid.shape) - 1).all(-1)
        expected = ndimage.map_coordinates(values, np.moveaxis(index, -1, 0), order=3, mode="mirror")
        near = tuple(
            np.rint(np.moveaxis(index, -1, 0))
            .astype(int)
            .clip(0, np.array(grid.shape)[:, None, None, None] - 1)
        )
        low, high = ndimage.minimum_filter(values, 3)[near], ndimage.maximum_filter(values, 3)[near]
        assert ((values_there >= low) & (values_there <= high))[inner].all()
        assert np.abs(values_there - expected.clip(low, high))[inner].max() < 1e-12
        if tolerance:  # of a smooth field next to nothing is cut off
            assert np.abs(values_there - expected)[inner].max() < tolerance
    outside = (index > np.array(grid.shape) - 0.5 + 1e-9).any(-1)
    assert outside.any() and not values_there[outside].any()


def test_detail_survives_a_coarse_model_better_than_by_linear_interpolation() -> None:
    """A person's noise-free PET through a 4 mm model and back, in units of its mean."""
    person = simulate_subject(3, spacing_mm=2.0)
    mask = sitk.GetArrayFromImage(person.brain_mask) > 0
    truth = sitk.GetArrayFromImage(person.pet_true) / sitk.GetArrayFromImage(person.pet_true)[mask].mean()
    encoded, target = encode_pair(
        person.t1, person.pet_true, person.brain_mask, RAS_AXES, with_grid(ModelSpace(), 48, 4.0)
    )
    spline = sitk.GetArrayFromImage(decode(target, encoded, person.brain_mask))
    _, nearest = ndimage.distance_transform_edt(encoded.mask == 0, return_indices=True)
    continued = encoded.grid.image(2 * target[tuple(nearest)])
    linear = sitk.GetArrayFromImage(resample(continued, Grid.of(person.t1)))
    errors = [float(np.square(image - truth)[mask].mean()) for image in (spline, linear)]
    assert errors[0] < 0.85 * errors[1] and errors[0] < 0.006
    assert not spline[~mask].any() and spline.min() >= 0
    assert spline[mask].mean() == pytest.approx(1, abs=0.01)
    tissue = sitk.GetArrayFromImage(person.tissue)
    for label in (1, 2, 3):
        here = [
            abs(image[tissue == label].mean() - truth[tissue == label].mean()) for image in (spline, linear)
        ]
        assert here[0] < max(here[1], 0.01)


def test_antialiasing_does_not_move_a_ramp() -> None:
    """The blur is symmetric: away from the border a ramp stays a ramp (tolerance: the filter's recursion)."""
    grid = Grid((40, 40, 40), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    ramp = world(grid)[0]
    blurred = sitk.GetArrayFromImage(antialias(grid.image(ramp), (2.0, 2.0, 2.0)))
    assert np.abs((blurred - ramp)[10:-10, 10:-10, 10:-10]).max() < 1e-4


@pytest.mark.parametrize("seed", range(4))
def test_extent_of_a_ball_is_its_diameter_on_any_grid(seed: int) -> None:
    """An oblique grid must not make a brain look larger (tolerance: one voxel's diagonal)."""
    grid = random_grid(seed)
    low, high = extent_along(ball(grid), random_axes(seed))
    diagonal = float(np.linalg.norm(grid.spacing_mm))
    assert np.all(np.abs((high - low) - 120) < diagonal)


def test_grid_is_centred_on_the_mask_along_the_axes_of_the_head() -> None:
    mask = ball(random_grid(3))
    axes = random_axes(7)
    grid, findings = model_grid(mask, axes, ModelSpace())
    assert findings == ()
    assert grid.direction == axes
    low, high = extent_along(mask, axes)
    middle = np.array(grid.image().TransformContinuousIndexToPhysicalPoint([47.5] * 3))
    assert np.abs(np.reshape(axes, (3, 3)).T @ middle - (low + high) / 2).max() < 1e-6


@pytest.mark.parametrize("seed", range(4))
def test_a_turned_head_gives_the_network_the_same_arrays(seed: int) -> None:
    """Header and axes turned together by any rotation: source and mask stay what they are."""
    rng = np.random.default_rng(seed)
    native = random_grid(seed)
    points = world(native).reshape(3, -1)
    index = (points - points.mean(1, keepdims=True)).reshape(3, *native.size[::-1])
    inside = ((index / np.array([55, 70, 50])[:, None, None, None]) ** 2).sum(0) < 1
    t1 = (200 + 50 * np.sin(index / 9).sum(0)).astype(np.float32)
    turn = random_rotation(rng)
    head, mask = native.image(t1), native.image(inside.astype(np.uint8))
    axes = tuple((turn @ np.reshape(RAS_AXES, (3, 3))).ravel().tolist())
    upright = encode(head, mask, RAS_AXES, ModelSpace())
    again = encode(turned(head, turn), turned(mask, turn), axes, ModelSpace())
    assert np.mean(again.mask != upright.mask) < 1e-5
    both = (again.mask > 0) & (upright.mask > 0)
    assert np.abs(again.source - upright.source)[both].max() < 1e-4


def test_axes_of_the_head_are_the_rotation_of_the_fit() -> None:
    """Size and shear do not turn the head; of a mirrored fit the nearest rotation is taken."""
    rng = np.random.default_rng(0)
    for mirror in (1, -1):
        turn = random_rotation(rng)
        stretch = np.diag([1.1 * mirror, 1.3, 1.2])  # left-right is the shortest axis
        fit = sitk.AffineTransform((turn @ stretch).ravel().tolist(), [10.0, -20.0, 5.0])
        axes = np.reshape(head_axes(fit), (3, 3))
        assert np.abs(axes - turn @ np.reshape(RAS_AXES, (3, 3))).max() < 1e-12
    assert head_axes(None) == RAS_AXES


def test_a_large_brain_widens_the_voxels_and_a_larger_one_is_refused() -> None:
    grid = Grid((130, 130, 130), (2.0, 2.0, 2.0), (0.0, 0.0, 0.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    placed, findings = model_grid(ball(grid, radius_mm=100), RAS_AXES, ModelSpace())
    assert findings[0].level == "warn" and "widened" in findings[0].message
    assert placed.spacing_mm[0] == pytest.approx((200 + 8) / 96, rel=0.02)
    placed, findings = model_grid(ball(grid, radius_mm=95), RAS_AXES, ModelSpace())  # by 3 %
    assert not findings and 2.03 < placed.spacing_mm[0] < 2.09
    with pytest.raises(QualityError, match="does not fit"):
        model_grid(ball(grid, radius_mm=115), random_axes(1), ModelSpace())


def test_default_normalisation_ends_at_the_percentiles_inside_the_mask() -> None:
    native = Grid((90, 90, 90), (2.0, 2.0, 2.0), (-90.0, -90.0, -90.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    mask = ball(native)
    rng = np.random.default_rng(0)
    t1 = native.image(rng.uniform(100, 300, (90, 90, 90)).astype(np.float32))
    encoded = encode(t1, mask, RAS_AXES, ModelSpace())
    inside = encoded.source[encoded.mask > 0]
    assert encoded.source.min() == 0 and encoded.source.max() == 1
    assert (inside == 0).mean() == pytest.approx(0.01, abs=0.002)
    assert (inside == 1).mean() == pytest.approx(0.01, abs=0.002)
    assert np.all(encoded.source[encoded.mask == 0] == 0)
    scaled = encode(t1 * 17.0 + 5.0, mask, RAS_AXES, ModelSpace())
    assert np.abs(scaled.source - encoded.source).max() < 1e-4


def test_reference_preset_is_the_published_crop() -> None:
    """A 2 mm volume: voxels s // 2 - 48 and on, unclipped percentiles over crop and background, no
    resampling.
    """
    rng = np.random.default_rng(1)
    size = (110, 128, 104)
    direction = (-1, 0, 0, 0, -1, 0, 0, 0, 1)
    grid = Grid(size, (2.0, 2.0, 2.0), (70.0, 60.0, -90.0), direction)
    values = np.zeros(size[::-1], np.float32)
    values[20:80, 30:100, 20:90] = rng.uniform(50, 400, (60, 70, 70))
    t1 = grid.image(values)
    encoded = encode(t1, t1 > 0, random_axes(2), SPACES["reference"])
    start = [n // 2 - 48 for n in values.shape]
    crop = values[tuple(slice(s, s + 96) for s in start)]
    low, high = np.percentile(crop, [1, 99])
    assert np.abs(encoded.source - (crop - low) / (high - low)).max() < 1e-4
    assert encoded.source.max() > 1


def test_published_crop_is_saved_where_it_was() -> None:
    """The published code keeps the affine of the uncropped volume, which shifts its output by 2 mm x the
    crop.
    """
    grid = Grid((128, 128, 128), (2.0, 2.0, 2.0), (0.0, 0.0, 0.0), (-1, 0, 0, 0, -1, 0, 0, 0, 1))
    placed, _ = model_grid(ball(grid), random_axes(2), SPACES["reference"])
    shift = np.array(placed.origin) - np.array(grid.origin)
    assert np.abs(np.abs(shift) - 32.0).max() < 1e-6


def test_suvr_target_keeps_the_scale_and_decodes_to_suvr() -> None:
    native = random_grid(2)
    mask = ball(native)
    smooth = (2 + np.sin(world(native)[0] / 40)).astype(np.float32)
    encoded = encode(native.image(smooth), mask, random_axes(2), ModelSpace())
    target = encode_target(native.image(smooth * 700), mask, encoded)
    assert target[encoded.mask > 0].mean() == pytest.approx(0.5, abs=1e-4)
    back = decode(target, encoded, mask)
    inside = sitk.GetArrayFromImage(mask) > 0
    expected = smooth / smooth[inside].mean()
    error = np.abs(sitk.GetArrayFromImage(back) - expected)[inside]
    # The ramp changes by .013 a mm and the rim is continued over at most two voxels; mixing it with the
    # background would halve it.
    assert error.max() < 0.05
    assert error.mean() < 0.005
    assert np.all(sitk.GetArrayFromImage(back)[~inside] == 0)
    assert Grid.of(back) == Grid.of(mask)


def test_the_share_of_voxels_at_the_end_of_the_scale_is_told() -> None:
    """A twentieth of a brain at SUVR 3: a model of SUVR by the brain ends at 2, one by a region at 4."""
    spaces = (ModelSpace(), ModelSpace().by_region("cerebellum"), ModelSpace(target="minmax"))
    assert [space.largest_suvr for space in spaces] == [2, 4, None]
    assert ModelSpace(source="suvr-half", target="mask-p1-p99").largest_suvr == 2
    suvr = np.where(np.arange(1000) < 50, 3.0, 0.9)
    (finding,) = at_scale_end(suvr / 2, 2.0, "The PET")
    assert finding.level == "warn" and "SUVR 2 in 5.0 % of the brain" in finding.message
    assert "--reference-region" in finding.hint
    assert at_scale_end(suvr / 4, 4.0, "The PET") == () == at_scale_end(suvr, None, "The PET")
    assert at_scale_end(np.where(np.arange(2000) < 1, 3.0, 0.9) / 2, 2.0, "The PET") == ()  # a noisy voxel


def test_a_pet_that_goes_in_is_told_of_where_its_scale_ends() -> None:
    native = random_grid(2)
    mask = ball(native)
    low, high = (np.percentile(world(native)[0][sitk.GetArrayViewFromImage(mask) > 0], q) for q in (0, 90))
    pet = np.where(world(native)[0] > high, 4.0, 0.7 + 0.1 * (world(native)[0] - low) / (high - low))
    space = ModelSpace(source="suvr-half", target="mask-p1-p99")
    findings = encode(native.image(pet.astype(np.float32)), mask, random_axes(2), space).findings
    assert [f.code for f in findings if f.code == "scale-end"] == ["scale-end"]


def test_minmax_target_spans_0_to_1() -> None:
    native = random_grid(4)
    mask = ball(native)
    pet = native.image((1 + np.abs(world(native)[1])).astype(np.float32))
    encoded = encode(pet, mask, RAS_AXES, SPACES["reference"])
    target = encode_target(pet, mask, encoded)
    assert target.min() == 0 and target.max() == 1


def test_brain_outside_the_field_of_view_is_marked() -> None:
    grid = Grid((140, 100, 100), (2.0, 2.0, 2.0), (0.0, 0.0, 0.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    values = np.zeros((100, 100, 140), np.uint8)
    values[30:70, 30:70, 5:60] = 1
    mask = grid.image(values)
    t1 = grid.image(np.random.default_rng(0).uniform(1, 2, values.shape).astype(np.float32))
    encoded = encode(t1, mask, RAS_AXES, SPACES["reference"])
    missing = not_predicted(encoded, mask)
    assert missing is not None
    marked = sitk.GetArrayFromImage(missing)
    assert marked[50, 50, 10] == 1 and marked[50, 50, 50] == 0
    assert np.all(marked <= values)


@pytest.mark.parametrize("seed", range(4))
def test_nothing_is_marked_where_the_model_sees_the_whole_brain(seed: int) -> None:
    """The box of an oblique mask's indices leaves the field of view, its voxels do not."""
    native = random_grid(seed)
    mask = ball(native)
    t1 = native.image(np.random.default_rng(0).uniform(1, 2, native.shape).astype(np.float32))
    encoded = encode(t1, mask, random_axes(seed), ModelSpace())
    assert not_predicted(encoded, mask) is None
    points = encoded.grid.index(Grid.of(mask).points(sitk.GetArrayViewFromImage(mask) != 0))
    cut = int(points[2].max()) - 1  # one plane too few
    short = replace(encoded.grid, size=(cut, *encoded.grid.size[1:]))
    missing = not_predicted(replace(encoded, grid=short, mask=encoded.mask[:, :, :cut]), mask)
    assert missing is not None
    beyond = np.count_nonzero(points[2] > cut - 0.5)
    assert 0 < beyond == pytest.approx(np.count_nonzero(sitk.GetArrayViewFromImage(missing)), abs=2)


def test_space_round_trips_through_json_and_refuses_nonsense() -> None:
    space = with_grid(ModelSpace(), 48, 4.0)
    assert ModelSpace.from_dict(space.to_dict()) == space
    nonsense: tuple[dict[str, Any], ...] = (
        {"size": [0, 1, 2]},
        {"size": [15, 16, 16]},
        {"spacing_mm": 0},
        {"spacing_mm": 0.49},
        {"spacing_mm": 8.1},
        {"spacing_mm": [2, 2, "2"]},
        {"target": "$eval"},
        {"extra": 1},
    )
    for change in nonsense:
        with pytest.raises(BundleError):
            ModelSpace.from_dict({**space.to_dict(), **change})
    for change in ({"size": [16, 16, 16]}, {"spacing_mm": 0.5}, {"spacing_mm": [8, 8.0, 0.5]}):
        ModelSpace.from_dict({**space.to_dict(), **change})


def test_an_image_of_one_value_is_refused() -> None:
    """Its percentiles are equal: nothing could be divided by their difference."""
    native = Grid((32, 32, 32), (6.0, 6.0, 6.0), (-93.0, -93.0, -93.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    mask = ball(native, radius_mm=60)
    with pytest.raises(InputError, match="a single value inside the brain mask"):
        encode(native.image(np.full((32, 32, 32), 7, np.float32)), mask, RAS_AXES, ModelSpace())
