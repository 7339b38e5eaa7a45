"""Voxel metrics against hand-computed values, other implementations and the published code's mistakes."""

from __future__ import annotations

import numpy as np
import pytest

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.evaluation.compare import compare, measure
from MRI2PETLib.evaluation.measure import Measure, correlation, regression_slope
from MRI2PETLib.evaluation.metrics import (
    METRICS,
    PET_SQUARED,
    PET_UNIT,
    brain_metrics,
    metric_facts,
    region_metrics,
    unfit_metrics,
)
from MRI2PETLib.evaluation.normdiff import normdiff_map, summarise_normdiff
from MRI2PETLib.evaluation.scaling import divide_by_mean, smooth_in_mask

REAL = np.array([[[1.0, 2.0, 4.0, 0.0]]])
SYNTHETIC = np.array([[[2.0, 2.0, 1.0, 0.0]]])
ALL = np.ones(REAL.shape, dtype=np.uint8)


def one(name: str, synthetic: np.ndarray, real: np.ndarray, mask: np.ndarray) -> Measure:
    """One metric of two images."""
    return measure(synthetic, real, mask, (name,))[name]


def random_pair(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two positive images of 20 x 22 x 24 voxels and an ellipsoid mask, [k, j, i]."""
    rng = np.random.default_rng(seed)
    k, j, i = np.meshgrid(*[np.linspace(-1, 1, n) for n in (20, 22, 24)], indexing="ij")
    real = 1 + 0.3 * np.sin(3 * k) + 0.2 * i + 0.1 * rng.normal(size=k.shape)
    return real + 0.15 * rng.normal(size=k.shape) + 0.1 * j, real, (k**2 + j**2 + i**2) < 0.8


def test_hand_computed_errors() -> None:
    # differences 1, 0, -3, 0
    assert one("mse", SYNTHETIC, REAL, ALL).value == pytest.approx(10 / 4)
    assert one("mse_median", SYNTHETIC, REAL, ALL).value == pytest.approx((0 + 1) / 2)
    assert one("mae", SYNTHETIC, REAL, ALL).value == pytest.approx(4 / 4)
    assert one("psnr_db", SYNTHETIC, REAL, ALL).value == pytest.approx(10 * np.log10(16 / 2.5))
    # means 1.25 and 1.75
    assert one("percent_difference", SYNTHETIC, REAL, ALL).value == pytest.approx(100 * (1.25 - 1.75) / 1.75)


def test_hand_computed_bias_and_shrinkage() -> None:
    together = np.array([1, 2, 4, 0, 2, 2, 1, 0], dtype=float)
    expected = (1.75 - 1.25) / np.sqrt(np.mean(together**2) - np.mean(together) ** 2)
    assert one("roi_cnr_bias", SYNTHETIC, REAL, ALL).value == pytest.approx(expected)
    # real - mean: -.75, .25, 2.25, -1.75; synthetic - mean: .75, .75, -.25, -1.25
    covariance = -0.75 * 0.75 + 0.25 * 0.75 - 2.25 * 0.25 + 1.75 * 1.25
    sum_real, sum_synthetic = 0.5625 + 0.0625 + 5.0625 + 3.0625, 0.5625 + 0.5625 + 0.0625 + 1.5625
    assert one("slope", SYNTHETIC, REAL, ALL).value == pytest.approx(covariance / sum_real)
    assert one("sd_ratio", SYNTHETIC, REAL, ALL).value == pytest.approx(np.sqrt(sum_synthetic / sum_real))
    assert one("pearson_r", SYNTHETIC, REAL, ALL).value == pytest.approx(
        covariance / np.sqrt(sum_real * sum_synthetic)
    )


def test_normdiff_by_hand_with_the_zero_voxel_left_out_and_counted() -> None:
    values, valid = normdiff_map(SYNTHETIC, REAL, ALL)
    assert values.ravel().tolist() == pytest.approx([1 / 3, 0, -3 / 5, 0])
    assert valid.ravel().tolist() == [True, True, True, False]
    summary = summarise_normdiff(SYNTHETIC.ravel(), REAL.ravel())
    assert summary["mean"].value == pytest.approx((1 / 3 - 3 / 5) / 3)
    assert summary["median"].value == pytest.approx(0)
    assert summary["excluded_fraction"].value == pytest.approx(1 / 4)


def test_the_published_normdiff_turns_one_empty_voxel_into_nan() -> None:
    with np.errstate(invalid="ignore"):
        published = (REAL - SYNTHETIC) / (REAL + SYNTHETIC)
    assert np.isnan(np.median(published))
    summary = summarise_normdiff(SYNTHETIC.ravel(), REAL.ravel())
    assert summary["median"].value is not None
    # The published sign is the opposite of its Eq. 2, which is followed here.
    assert np.nanmean(published) == pytest.approx(-(summary["mean"].value or 0))


def test_normdiff_is_bounded_with_negative_voxels() -> None:
    values, _ = normdiff_map(np.array([[[-0.2, 1.0]]]), np.array([[[0.1, -3.0]]]), np.ones((1, 1, 2)))
    assert values.ravel().tolist() == [-1, 1]


@pytest.mark.parametrize("factor", [1e-4, 37.0])
def test_joint_scaling_changes_only_metrics_with_a_unit(factor: float) -> None:
    s, r, mask = random_pair()
    before, after = (compare(f * s, f * r, mask, (2.0, 2.0, 2.0)) for f in (1.0, factor))
    powers = {PET_UNIT: 1, PET_SQUARED: 2}
    for name, metric in brain_metrics().items():
        scale = factor ** powers.get(metric.unit, 0)  # smoothed images are float32
        assert after[name] == pytest.approx(before[name] * scale, rel=1e-6, abs=1e-5 * scale), name


def test_flips_and_transpositions_change_nothing() -> None:
    s, r, mask = random_pair()
    names = {
        name for name in METRICS if "cnr_real" not in name and "cnr_synthetic" not in name
    }  # random boxes
    before = measure(s, r, mask, names)
    for turn in (lambda a: a[::-1], lambda a: a[:, :, ::-1], lambda a: a.transpose(2, 0, 1)):
        after = measure(turn(s), turn(r), turn(mask), names)
        for name, expected in before.items():
            assert after[name].value == pytest.approx(expected.value, rel=1e-9), name


def test_swapping_the_images_flips_the_sign_of_normdiff() -> None:
    s, r, mask = random_pair()
    forward, back = summarise_normdiff(s[mask], r[mask]), summarise_normdiff(r[mask], s[mask])
    assert forward["mean"].value == pytest.approx(-(back["mean"].value or 0), rel=1e-6)


def test_ssim_equals_scikit_image_where_the_mask_is_everywhere() -> None:
    skimage = pytest.importorskip("skimage.metrics")
    s, r, _ = random_pair()
    span = float(np.ptp(r))
    expected = skimage.structural_similarity(r, s, data_range=span)  # uniform 7^3 window, border cropped
    assert one("ssim", s, r, np.ones(s.shape)).value == pytest.approx(expected, abs=1e-9)


def test_ssim_ignores_what_lies_outside_the_mask() -> None:
    s, r, mask = random_pair()
    before = one("ssim", s, r, mask).value
    assert one("ssim", np.where(mask, s, 99.0), np.where(mask, r, np.nan), mask).value == pytest.approx(
        before
    )
    assert one("ssim", r, r, mask).value == pytest.approx(1)


def test_not_finite_voxels_are_left_out_of_both_images() -> None:
    s, r, mask = random_pair()
    where = tuple(np.argwhere(mask)[7])
    s[where] = np.nan
    smaller = mask.copy()
    smaller[where] = False
    assert one("mse", s, r, mask).value == pytest.approx(one("mse", s, r, smaller).value)
    assert compare(s, r, mask, (2.0, 2.0, 2.0))["n_not_finite"] == 1


@pytest.mark.parametrize(
    ("synthetic", "real", "mask"),
    [
        (REAL, REAL, np.zeros(REAL.shape)),
        (np.zeros(REAL.shape), np.zeros(REAL.shape), ALL),
        (np.full(REAL.shape, 2.0), np.full(REAL.shape, 2.0), ALL),
        (np.full(REAL.shape, np.nan), REAL, ALL),
        (SYNTHETIC, -REAL, ALL),
    ],
    ids=["empty mask", "zero", "constant", "NaN", "negative"],
)
def test_nothing_is_ever_nan_and_every_none_has_a_reason(
    synthetic: np.ndarray, real: np.ndarray, mask: np.ndarray
) -> None:
    with np.errstate(all="raise"):
        result = compare(synthetic, real, mask, (2.0, 2.0, 2.0))
    reasons = result.pop("not_available")
    assert result.pop("cnr_box_mm") == (8, 8, 6)
    for name, value in result.items():
        assert value is None or np.isfinite(value), name
        assert (value is None) == (name in reasons), name
        assert value is not None or len(reasons[name]) > 5


def test_what_is_not_defined_says_why() -> None:
    one_voxel = np.array([[[1, 0, 0, 0]]], np.uint8)
    assert one("psnr_db", REAL, REAL, ALL).reason == "the images are equal: the ratio is infinite"
    assert one("sd_ratio", SYNTHETIC, REAL, one_voxel).reason == "an SD needs 2 values"


def test_numbers_that_no_table_shows_are_in_the_files() -> None:
    hidden = {"mean_synthetic", "mean_real", "cnr_synthetic_median_signed", "cnr_real_median_signed"}
    assert hidden <= brain_metrics().keys() and not hidden & brain_metrics(in_reports=True).keys()


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [("pearson_r", 0.9, 0.8), ("mse", 0.1, 0.2), ("normdiff_mean", -0.1, 0.2), ("slope", 1.2, 0.7)],
)
def test_which_of_two_values_is_better(name: str, good: float, bad: float) -> None:
    metric = METRICS[name]
    assert metric.is_better(good, bad) and not metric.is_better(bad, good)
    assert not metric.is_better(good, good)
    describing = METRICS["normdiff_excluded_fraction"]
    assert not describing.is_better(good, bad) and not describing.is_better(bad, good)


def test_units_of_squares_are_read_as_squares() -> None:
    mse, mae = METRICS["mse"], METRICS["mae"]
    units = ("SUV", "Bq/mL", "kBq per mL")
    assert [mse.unit_of(unit) for unit in units] == ["SUV²", "(Bq/mL)²", "(kBq per mL)²"]
    assert [mae.unit_of(unit) for unit in units] == list(units)
    assert METRICS["psnr_db"].unit_of("SUV") == "dB" and METRICS["ssim"].unit_of("SUV") == ""


def test_what_the_registry_says_of_its_numbers() -> None:
    """Ratios make no sense for an MRI; the paper's names, signs and units are those of its Table 4."""
    assert {m.name for m in METRICS.values() if m.ratio} == {
        *(f"normdiff_{name}" for name in ("mean", "median", "sd", "excluded_fraction")),
        "percent_difference",
    }
    assert {m.paper for m in METRICS.values() if m.paper} == {
        ("MSE", 1.0), ("NormDiff", -1.0), ("PercDiff", -100.0), ("CNR", 1.0)
    }  # fmt: skip
    assert unfit_metrics(to_pet=True) == {}
    unfit = unfit_metrics(to_pet=False)
    assert {"normdiff_sd", "smoothed_mse", "percent_difference"} <= unfit.keys() and "mse" not in unfit
    assert all(one.value is None and one.reason for one in unfit.values())
    facts = metric_facts()
    assert facts.keys() == brain_metrics().keys() and facts["mse"]["better"] == "lower"
    assert "ssim" not in region_metrics() and "mse" in region_metrics()
    with pytest.raises(AttributeError):  # the registry cannot be changed by who reads it
        METRICS["mse"].unit = "SUV"  # type: ignore[misc]


def test_two_values_have_an_sd_and_means_around_zero_no_ratio() -> None:
    two = np.ones((1, 1, 2), np.uint8)
    real, double = np.array([[[1.0, 3.0]]]), np.array([[[2.0, 6.0]]])
    assert one("sd_ratio", double, real, two).value == pytest.approx(2)
    assert one("sd_ratio", double, real, np.array([[[1, 0]]], np.uint8)).reason == "an SD needs 2 values"
    for values in (-real, np.array([[[1.0, -1.0 + 1e-12]]]), np.array([[[-2.0, 1.0]]])):
        assert one("percent_difference", double, values, two).reason.startswith("the mean of the real image")


def test_different_grids_are_refused() -> None:
    with pytest.raises(InputError, match="not on one grid"):
        one("mse", np.zeros((2, 2, 2)), np.zeros((2, 2, 3)), np.ones((2, 2, 2)))


def test_smoothing_keeps_a_constant_and_its_width_is_in_mm() -> None:
    mask = np.zeros((30, 30, 30), dtype=bool)
    mask[4:26, 4:26, 4:26] = True
    flat = smooth_in_mask(np.where(mask, 3.0, 50.0), mask, (2.0, 2.0, 2.0), 4.0)
    assert np.allclose(flat[mask], 3, rtol=1e-5)  # the zeros and fifties outside do not bleed in
    assert not flat[~mask].any()
    point = np.zeros((61, 61, 61))
    point[30, 30, 30] = 1.0
    blurred = smooth_in_mask(point, np.ones(point.shape), (1.0, 1.0, 1.0), 8.0)
    profile = blurred[30, 30] / blurred.max()
    assert profile[34] == pytest.approx(0.5, abs=0.01)  # half the maximum at half the FWHM


def test_smoothing_the_real_pet_is_what_the_prefix_says() -> None:
    s, r, mask = random_pair()
    result = compare(s, r, mask, (2.0, 2.0, 2.0), fwhm_mm=6.0)
    smoothed = smooth_in_mask(r, mask, (2.0, 2.0, 2.0), 6.0)
    assert result["smoothed_mse"] == pytest.approx(one("mse", s, smoothed, mask).value)
    assert result["mse"] == pytest.approx(one("mse", s, r, mask).value)


def test_vector_statistics_agree_with_scipy() -> None:
    from scipy import stats

    rng = np.random.default_rng(1)
    x = rng.normal(size=15)
    y = 0.4 * x + rng.normal(size=15)
    fit = stats.linregress(x, y)
    assert correlation(x, y).value == pytest.approx(fit.rvalue)
    assert regression_slope(x, y).value == pytest.approx(fit.slope)
    assert correlation(x[:2], y[:2]).value is None
    assert correlation(x, np.full(15, 0.1)).value is None


def test_scale_free_images_have_mean_one() -> None:
    _, r, mask = random_pair()
    assert divide_by_mean(r, mask)[mask].mean() == pytest.approx(1)
    with pytest.raises(InputError, match="mean inside the brain mask"):
        divide_by_mean(-r, mask)
