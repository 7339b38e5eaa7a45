"""The comparison in MNI space, the maps of the errors, and the asymmetry of the brain."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import stats

from MRI2PETLib.evaluation import spaces
from MRI2PETLib.evaluation.asymmetry import asymmetry_table, index_percent, side_pairs
from MRI2PETLib.evaluation.cohort import Cohort, Scan, region_numbers
from MRI2PETLib.evaluation.cohort_cases import CohortCase
from MRI2PETLib.evaluation.compare import compare
from MRI2PETLib.evaluation.error_maps import MeanMapSums, percent_difference_map, squared_error_map
from MRI2PETLib.evaluation.metrics import brain_metrics
from MRI2PETLib.evaluation.published_tables import space_table, uptake_table
from MRI2PETLib.evaluation.settings import EvaluationSettings
from MRI2PETLib.evaluation.spaces import MNI_AFFINE, NATIVE, normalised_space, resample_inside
from MRI2PETLib.evaluation.specificity import VectorStore, common_voxels, other_differences
from MRI2PETLib.preprocessing.template_warp import invert_warp
from MRI2PETLib.templates.icbm152 import load_template

# --- normalisation -----------------------------------------------------------------------------


def blob_mask(size: int = 24) -> sitk.Image:
    """A ball on an oblique 4 mm grid around the origin."""
    k, j, i = np.indices((size,) * 3) - (size - 1) / 2
    mask = sitk.GetImageFromArray((k**2 + j**2 + i**2 < (0.4 * size) ** 2).astype(np.uint8))
    mask.SetSpacing([4.0] * 3)
    turn = sitk.Euler3DTransform()
    turn.SetRotation(0.2, -0.1, 0.3)
    mask.SetDirection(turn.GetMatrix())
    middle = np.array(turn.TransformPoint([-(size - 1) * 2.0] * 3))
    mask.SetOrigin(middle.tolist())
    return mask


def world_ramp(image: sitk.Image) -> np.ndarray:
    """x + 2 y + 3 z (LPS mm) of every voxel, [k, j, i]."""
    k, j, i = np.indices(image.GetSize()[::-1])
    direction = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    points = np.stack([i, j, k], axis=-1) @ direction.T + image.GetOrigin()
    return np.asarray(points @ [1.0, 2.0, 3.0])


def test_nothing_leaks_over_the_edge_and_places_are_kept() -> None:
    mask, shift = blob_mask(), sitk.TranslationTransform(3, (3.0, -2.0, 5.0))
    grid = sitk.Image(40, 40, 40, sitk.sitkUInt8)
    grid.SetSpacing([3.0] * 3)
    grid.SetOrigin([-60.0] * 3)
    ramp = np.where(sitk.GetArrayViewFromImage(mask) != 0, world_ramp(mask), np.nan)  # not measured outside
    moved, constant = resample_inside([ramp, np.ones(ramp.shape)], mask, grid, shift)
    inside = np.isfinite(constant)
    assert np.ptp(constant[inside]) == 0 and constant[inside][0] == 1 and 0 < inside.sum() < inside.size
    assert np.array_equal(np.isfinite(moved), inside)
    # Deep inside, where no voxel of the rim takes part.
    deep = (
        resample_inside([sitk.GetArrayFromImage(sitk.BinaryErode(mask, [2] * 3))], mask, grid, shift)[0] == 1
    )
    expected = world_ramp(grid) + 1 * 3 + 2 * -2 + 3 * 5
    assert deep.sum() > 500
    np.testing.assert_allclose(moved[deep], expected[deep], rtol=0, atol=1e-3)


def test_a_brain_that_lies_in_mni_space_has_the_same_metrics_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spaces, "MNI_SPACING_MM", 2.0)  # as it is outside of the tests
    template = load_template().mask
    inside = sitk.GetArrayViewFromImage(template) != 0
    rng = np.random.default_rng(0)
    real = np.where(inside, rng.normal(1, 0.2, inside.shape), 0).astype(np.float32)
    synthetic = (0.9 * real + 0.05 * inside).astype(np.float32)
    space, own, target = normalised_space(
        MNI_AFFINE, {"network": synthetic}, real, template, sitk.AffineTransform(3), seed=0, fwhm_mm=4.0
    )
    native = compare(synthetic, real, inside, (2.0, 2.0, 2.0))
    for name in ("pearson_r", "mse", "smoothed_slope", "ssim", "cnr_synthetic_median_abs"):
        assert space.metrics["network"][name] == pytest.approx(native[name], rel=1e-5), name
    assert np.array_equal(np.isfinite(own), inside) and np.array_equal(np.isfinite(target), inside)


def test_a_warp_and_its_inverse_meet() -> None:
    """Smooth displacements of 6 mm after an affine; the inverse is computed at 4 mm."""
    grid = load_template().mask
    k, j, i = (np.indices(grid.GetSize()[::-1]).T * 2.0).T
    wave = [6 * np.sin(j / 25), 5 * np.sin(k / 30), 4 * np.cos(i / 28)]
    field = sitk.GetImageFromArray(np.stack(wave, axis=-1), isVector=True)
    field.CopyInformation(grid)
    affine = sitk.AffineTransform(3)
    affine.SetMatrix((1.05, 0.02, 0, -0.03, 0.97, 0.01, 0, 0.02, 1.02))
    affine.SetTranslation((4.0, -7.0, 2.0))
    warp = sitk.CompositeTransform(3)
    warp.AddTransform(sitk.DisplacementFieldTransform(field))
    warp.AddTransform(affine.GetInverse())
    back = invert_warp(warp)
    points = np.random.default_rng(1).uniform(-50, 50, (200, 3)) + [0, 17, 5]
    missed = [
        np.linalg.norm(np.subtract(warp.TransformPoint(back.TransformPoint(p)), p)) for p in points.tolist()
    ]
    assert np.median(missed) < 0.2 and max(missed) < 0.5


# --- maps --------------------------------------------------------------------------------------


def test_maps_by_hand() -> None:
    real = np.array([[[1.0, 2.0, 0.0, 5.0, np.nan]]])
    synthetic = np.array([[[1.5, 1.0, 1.0, 9.0, 1.0]]])
    mask = np.array([[[1, 1, 1, 0, 1]]])
    percent, valid = percent_difference_map(synthetic, real, mask)
    assert percent.ravel().tolist() == [50, -50, 0, 0, 0]
    assert valid.ravel().tolist() == [True, True, False, False, False]  # 0 is below 5 % of the mean
    squared = squared_error_map(synthetic, real, mask)
    assert squared.ravel().tolist() == [0.25, 1, 1, 0, 0]
    assert squared[0, 0, :3].mean() == pytest.approx(
        compare(synthetic[..., :3], real[..., :3], mask[..., :3], (1, 1, 1))["mse"]
    )


def test_people_count_alike_in_the_mean_maps() -> None:
    """One person with two scans (errors 10 % and 30 %), one with a single scan (40 %): (20 + 40) / 2."""
    brain = sitk.GetArrayViewFromImage(spaces.mni_grid()) != 0
    real = np.where(brain, 2.0, np.nan)
    sums = MeanMapSums()
    assert sums.mean() is None
    for factor, weight in ((1.1, 0.5), (1.3, 0.5), (1.4, 1.0)):
        sums.add(real * factor, real, weight)
    maps = sums.mean()
    assert maps is not None and np.array_equal(maps.valid, brain)
    np.testing.assert_allclose(maps.percent_difference[brain], 30, rtol=1e-5)
    np.testing.assert_allclose(maps.squared_error[brain], ((0.04 + 0.36) / 2 + 0.64) / 2, rtol=1e-5)
    assert not maps.percent_difference[~brain].any()


# --- asymmetry ---------------------------------------------------------------------------------


def test_pairs_of_regions_in_the_spellings_of_atlases() -> None:
    names = ["left thalamus", "right thalamus", "brain stem", "Left-Caudate", "Right-Caudate"]
    names += ["ctx-lh-insula", "ctx-rh-insula", "Precuneus_L", "Precuneus_R", "left orphan"]
    names += ["LeftPutamen", "RightPutamen", "lh.cuneus", "rh.cuneus", "lhCortex", "rhCortex", "LGN", "RGN"]
    names += ["leftamygdala", "rightAmygdala", "V1L", "V1R", "bankssts.left", "bankssts.right"]
    names += ["Left Fornix", "LeftFornix", "Right Fornix"]  # which of the two is meant?
    pairs = side_pairs([("atlas", name) for name in names])
    assert [(p.region, p.left, p.right) for p in pairs] == [
        ("thalamus", "left thalamus", "right thalamus"),
        ("Caudate", "Left-Caudate", "Right-Caudate"),
        ("ctx insula", "ctx-lh-insula", "ctx-rh-insula"),
        ("Precuneus", "Precuneus_L", "Precuneus_R"),
        ("Putamen", "LeftPutamen", "RightPutamen"),
        ("cuneus", "lh.cuneus", "rh.cuneus"),
        ("Cortex", "lhCortex", "rhCortex"),
        ("amygdala", "leftamygdala", "rightAmygdala"),
        ("V1", "V1L", "V1R"),
        ("bankssts", "bankssts.left", "bankssts.right"),
    ]


def test_the_index_is_in_percent_of_the_mean_and_turns_its_sign_with_the_sides() -> None:
    assert index_percent(np.array(1.1), np.array(0.9)) == pytest.approx(20)
    assert index_percent(np.array(0.9), np.array(1.1)) == pytest.approx(-20)
    assert index_percent(np.array(11.0), np.array(9.0)) == pytest.approx(20)  # whatever the unit
    assert np.isnan(index_percent(np.array(0.0), np.array(0.0)))
    # 1 against -0.9 would be 3800 %, 1 against -1.1 of the other sign.
    assert np.isnan(index_percent(np.array([1.0, 1.0, -1.0]), np.array([-0.9, -1.1, -1.0]))).all()


def test_a_pair_with_a_side_below_zero_is_left_out_with_the_reason() -> None:
    people, real, synthetic = cohort()
    column = region_numbers().index("mean_predicted")
    people.scans[0].regions[0, 1, column] = -0.3
    (row,) = asymmetry_table(people)
    index = 200 * (synthetic[1:, 0] - synthetic[1:, 1]) / synthetic[1:].sum(axis=1)
    assert row.n_people == 11 and row.predicted_mean == pytest.approx(index.mean())
    assert "1 of 12 people left out: a side is not above zero" in row.reason
    for scan in people.scans:
        scan.regions[0, 1, column] = 0.0
    (row,) = asymmetry_table(people)
    assert (row.n_people, row.predicted_mean, row.r) == (0, None, None) and "12 of 12" in row.reason


def cohort(n: int = 12) -> tuple[Cohort, np.ndarray, np.ndarray]:
    """A cohort with a left and a right region, half of the asymmetry in the synthetic PET, and two spaces."""
    rng = np.random.default_rng(6)
    real, names = rng.normal(1.2, 0.1, (n, 2)), region_numbers()
    asymmetry = real[:, 0] - real[:, 1]
    synthetic = 1.1 + 0.25 * np.column_stack([asymmetry, -asymmetry]) + rng.normal(0, 0.01, (n, 2))
    scans = []
    for i in range(n):
        numbers = np.full((1, 3, len(names)), np.nan)
        for name, values in (
            ("mean_real_smoothed", real),
            ("mean_real", real + 0.01),
            ("mean_predicted", synthetic),
        ):
            numbers[0, :, names.index(name)] = *values[i], values[i].mean()
        case = CohortCase(f"c{i}", f"s{i}", "0", Path("s"), Path("r"), None, None)
        by_space = {
            (space, "network"): dict.fromkeys(brain_metrics(), float(real[i, column]))
            for column, space in enumerate((NATIVE, MNI_AFFINE))
        }
        metrics = {("stated", "network"): dict.fromkeys(brain_metrics())}
        scans.append(Scan(case, metrics, numbers, 0.1, (), spaces=by_space))  # type: ignore[arg-type]
    regions = [("paper21", "left thalamus"), ("paper21", "right thalamus"), ("brain", "whole brain")]
    settings = EvaluationSettings()
    made = Cohort(scans, [], "SUVR", "stated", ["network"], {"network": ""}, regions, [], [], settings)
    return made, real, synthetic


def test_agreement_of_the_asymmetry_over_people() -> None:
    people, real, synthetic = cohort()
    (row,) = asymmetry_table(people)
    of_real, own = (200 * (v[:, 0] - v[:, 1]) / (v[:, 0] + v[:, 1]) for v in (real, synthetic))
    assert row.region == "thalamus" and row.n_people == 12
    assert row.real_mean == pytest.approx(of_real.mean()) and row.predicted_sd == pytest.approx(
        own.std(ddof=1)
    )
    line = stats.pearsonr(of_real, own)
    assert row.r == pytest.approx(line.statistic) and row.r_p == pytest.approx(line.pvalue)
    interval = stats.ttest_rel(own, of_real).confidence_interval(0.95)
    assert (row.bias_low, row.bias_high) == pytest.approx((interval.low, interval.high))
    assert row.icc is not None and row.icc < row.r  # half of the asymmetry: in order, but too small


# --- published tables --------------------------------------------------------------------------


def test_levels_of_the_three_images() -> None:
    people, real, synthetic = cohort()
    rows = {row.image: row for row in uptake_table(people)}
    assert list(rows) == ["real PET", "real PET, smoothed", "synthetic PET"]
    assert rows["real PET"].mean == pytest.approx(real.mean() + 0.01)
    assert rows["synthetic PET"].sd == pytest.approx(synthetic.mean(axis=1).std(ddof=1))
    assert {row.unit for row in rows.values()} == {"SUVR"}


def test_the_change_from_native_space_is_a_paired_one() -> None:
    people, real, _ = cohort()
    rows = {(row.space, row.metric): row for row in space_table(people)}
    native, affine = rows[NATIVE, "mse"], rows[MNI_AFFINE, "mse"]
    assert native.change is None and native.mean == pytest.approx(real[:, 0].mean())
    interval = stats.ttest_rel(real[:, 1], real[:, 0]).confidence_interval(0.95)
    assert affine.change == pytest.approx((real[:, 1] - real[:, 0]).mean())
    assert (affine.change_low, affine.change_high) == pytest.approx((interval.low, interval.high))
    assert affine.unit == "SUVR²"


def test_a_scan_without_mni_is_left_out_of_the_change() -> None:
    """A harder second scan of everyone, not fitted to MNI, changes no difference of the spaces."""
    people, _, _ = cohort()
    (before,) = (row for row in space_table(people) if (row.space, row.metric) == (MNI_AFFINE, "mse"))
    harder = []
    for scan in people.scans:
        own = {key: {**values, "mse": 9.0} for key, values in scan.spaces.items() if key[0] == NATIVE}
        case = replace(scan.case, case=f"{scan.case.case} again")
        harder.append(replace(scan, case=case, spaces=own))
    people = replace(people, scans=[*people.scans, *harder])
    (after,) = (row for row in space_table(people) if (row.space, row.metric) == (MNI_AFFINE, "mse"))
    assert (after.change, after.change_low) == pytest.approx((before.change, before.change_low))


def test_own_and_others_against_the_smoothed_real_pet(tmp_path: Path) -> None:
    """Table 5: the smoothed rows are those of the smoothed images."""
    mask, store = load_template().mask, VectorStore(tmp_path, 3)
    rng = np.random.default_rng(0)
    images = rng.normal(1.0, 0.3, (2, 3, *mask.GetSize()[::-1])) + np.arange(3)[None, :, None, None, None]
    for row in range(3):
        store.add("network", row, images[0, row], mask, sitk.AffineTransform(3))
        store.add("real", row, images[0, row] + 0.5, mask, sitk.AffineTransform(3))
        store.add("real, smoothed", row, images[1, row], mask, sitk.AffineTransform(3))
    rows = {row.metric: row for row in other_differences(store, list("abc"))}
    assert list(rows)[:3] == ["mse", "normdiff_mean", "percent_difference"]
    assert rows["mse"].own_mean == pytest.approx(0.25, rel=1e-4)
    _, common = common_voxels(store, 3)
    own, real = (store.rows(name, slice(0, 3))[:, common] for name in ("network", "real, smoothed"))
    errors = ((own[:, None] - real[None]) ** 2).mean(axis=-1)
    assert rows["smoothed_mse"].own_mean == pytest.approx(np.diag(errors).mean())
    others = [np.delete(errors[i], i).mean() for i in range(3)]
    assert rows["smoothed_mse"].other_mean == pytest.approx(np.mean(others))
