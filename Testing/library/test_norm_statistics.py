"""Statistics of a norm against computations that share nothing with them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from MRI2PETLib.images.grid import RAS_AXES, Grid
from MRI2PETLib.normative.calibration import (
    calibration_row,
    explained_variance,
    family_p,
    family_threshold,
)
from MRI2PETLib.normative.clusters import find_clusters, largest_volume_ml
from MRI2PETLib.normative.controls import fit_controls, left_out_scores, normal_score
from MRI2PETLib.normative.shrinkage import MOST_FREEDOM, VariancePrior, fit_prior, shrunk_variance


def people(n: int, units: int, seed: int = 0, columns: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Values of units whose variances differ (d0 = 8, s0^2 = 4), and a design of ``columns``."""
    rng = np.random.default_rng(seed)
    sd = np.sqrt(4 * 8 / rng.chisquare(8, units))
    design = np.column_stack([np.ones(n), rng.standard_normal((n, columns - 1))])
    design[:, 1:] -= design[:, 1:].mean(axis=0)
    slopes = rng.standard_normal((columns, units))
    return design @ slopes + sd * rng.standard_normal((n, units)), design


def test_the_prior_is_that_of_maximum_likelihood() -> None:
    """s^2 / s0^2 is F(d, d0) distributed: scipy fits that by maximum likelihood."""
    rng = np.random.default_rng(1)
    true = 4 * 8 / rng.chisquare(8, 4000)
    variances = true * rng.chisquare(15, 4000) / 15
    prior = fit_prior(variances, 15.0)
    _, d0, _, s0 = stats.f.fit(variances, f0=15, floc=0)
    assert prior.freedom == pytest.approx(d0, rel=0.08)
    assert prior.freedom == pytest.approx(8, rel=0.12)
    assert prior.variance == pytest.approx(s0, rel=0.03)


def test_equal_variances_are_pooled_and_few_are_left_alone() -> None:
    rng = np.random.default_rng(2)
    prior = fit_prior(rng.chisquare(10, 2000) / 10, 10.0)
    assert prior.freedom > 200
    assert prior.variance == pytest.approx(1, rel=0.03)
    assert fit_prior(np.array([1.0, 2.0]), 5.0) == VariancePrior(0.0, 0.0)
    assert shrunk_variance(np.array([3.0]), 6.0, VariancePrior(2.0, 1.0)) == pytest.approx((2 + 18) / 8)
    assert fit_prior(np.full(50, 2.0), 10.0).freedom == MOST_FREEDOM


def test_a_score_is_that_of_the_prediction_interval() -> None:
    """One unit, no shrinkage: the textbook prediction interval, by scipy's t."""
    values, _ = people(12, 1)
    model = fit_controls(values, np.ones((12, 1)))
    y = values[:, 0]
    t = (7.0 - y.mean()) / (y.std(ddof=1) * np.sqrt(1 + 1 / 12))
    assert model.z(np.array([7.0]), np.ones(1))[0] == pytest.approx(stats.norm.isf(stats.t.sf(t, 11)))


def test_covariates_are_those_of_numpys_least_squares() -> None:
    values, design = people(25, 6, columns=3)
    model = fit_controls(values, design)
    expected = np.linalg.lstsq(design, values, rcond=None)
    assert np.allclose(model.coefficients, expected[0])
    sums = expected[1]
    assert np.allclose(model.variance, shrunk_variance(sums / 22, 22.0, model.prior))


@pytest.mark.parametrize("cut", [0, 1, 2])
def test_left_out_controls_score_as_if_the_model_were_fitted_anew(cut: int) -> None:
    """With and without fields of view that cut off other people in every unit."""
    values, design = people(20, 40, columns=3)
    for unit in range(40):
        values[[(3 * unit + n) % 20 for n in range(cut)], unit] = np.nan
    scores = left_out_scores(values, design)
    for person in range(20):
        others = np.arange(20) != person
        model = fit_controls(values[others], design[others])
        expected = model.z(values[person], design[person])
        np.testing.assert_allclose(scores[person], expected, rtol=2e-5, atol=2e-6)
    assert np.isfinite(scores).sum() == 40 * (20 - cut)


def test_the_leverage_is_that_of_the_controls_who_were_measured() -> None:
    """4 of 8 women are cut off: the SD of the prediction by numpy from the 16 others; new women have SD 1."""
    rng = np.random.default_rng(3)
    women = np.repeat([0.0, 1.0], (12, 8)) - 0.4
    design = np.column_stack([np.ones(20), women])
    row, scores = design[-1], []
    for _ in range(300):
        values = rng.standard_normal((20, 60))
        values[12:16, 10:] = np.nan
        model = fit_controls(values, design)
        scores.append(model.z(rng.standard_normal(60), row)[10:])
    own = design[[*range(12), *range(16, 20)]]
    leverage = row @ np.linalg.solve(own.T @ own, row)
    assert leverage == pytest.approx(1 / 4)  # of the mean of 4 women
    expected = np.sqrt(model.variance[10:] * (1 + leverage))
    np.testing.assert_allclose(model.prediction_sd(row)[10:], expected, rtol=1e-12)
    assert np.std(scores) == pytest.approx(1, abs=0.02)


def test_a_unit_needs_four_fifths_of_the_controls() -> None:
    """16 of 20; and they must tell the covariates apart."""
    values, _ = people(20, 3)
    values[:4, 0], values[:5, 1], values[16:, 2] = np.nan, np.nan, np.nan
    design = np.column_stack([np.ones(20), np.repeat([0.0, 1.0], (16, 4)) - 0.2])
    model = fit_controls(values, design)
    assert model.count.tolist() == [16, 15, 16]
    assert np.isfinite(model.z(np.zeros(3), design[0])).tolist() == [True, False, False]
    assert np.isfinite(left_out_scores(values, design)).any(axis=0).tolist() == [True, False, False]


@pytest.mark.parametrize("n", [10, 40])
def test_new_controls_have_mean_0_and_sd_1(n: int) -> None:
    """40 new people of 1,500 independent units: the SD of z is 1 within its standard error, 1.96 is 5 %."""
    values, design = people(n, 1500, seed=4, columns=2)
    model = fit_controls(values, design)
    rng = np.random.default_rng(4)
    sd = np.sqrt(4 * 8 / rng.chisquare(8, 1500))  # the truth behind ``values``
    rng.standard_normal((n, 1))
    slopes = rng.standard_normal((2, 1500))
    new = np.random.default_rng(5)
    scores = []
    for _ in range(40):
        row = np.array([1.0, new.standard_normal()])
        scores.append(model.z(row @ slopes + sd * new.standard_normal(1500), row))
    z = np.array(scores)
    assert z.mean() == pytest.approx(0, abs=0.03)
    assert z.std() == pytest.approx(1, abs=0.03)
    assert (np.abs(z) > 1.96).mean() == pytest.approx(0.05, abs=0.01)
    assert left_out_scores(values, design).std() == pytest.approx(1, abs=0.05)


def test_a_planted_residual_of_two_sd_reads_two() -> None:
    """400 controls are as good as all: z = 2 within 3 standard errors of about 2 / sqrt(800)."""
    values, _ = people(400, 200)
    model = fit_controls(values, np.ones((400, 1)))
    planted = values.mean(axis=0) + 2 * values.std(axis=0, ddof=1)
    z = model.z(planted, np.ones(1))
    assert np.abs(z - 2).max() < 3 * 2 / np.sqrt(800)


def test_units_rest_on_those_who_were_measured_there() -> None:
    values, _ = people(14, 5)
    values[:2, 2] = np.nan
    values[:, 4] = np.nan
    model = fit_controls(values, np.ones((14, 1)))
    assert model.count.tolist() == [14, 14, 12, 14, 0]
    assert model.coefficients[0, 2] == pytest.approx(values[2:, 2].mean())
    z = model.z(np.zeros(5), np.ones(1))
    assert np.isfinite(z[:4]).all()
    assert np.isnan(z[4])
    scores = left_out_scores(values, np.ones((14, 1)))
    assert np.isnan(scores[0, 2])
    assert np.isfinite(scores[5, 2])


def test_far_scores_are_finite() -> None:
    z = normal_score(np.array([1e6, -1e6, 0.0]), np.array([5.0, 1e4, 5.0]))
    assert np.isfinite(z).all()
    assert z[2] == 0


def test_shares_of_controls_have_an_exact_interval() -> None:
    row = calibration_row("a region", np.array([0.0] * 37 + [2.5, -3.5, 2.0]))
    assert row is not None
    assert (row.beyond_196, row.beyond_3) == (3 / 40, 1 / 40)
    assert row.low == pytest.approx(stats.beta.ppf(0.025, 3, 38))
    assert row.high == pytest.approx(stats.beta.ppf(0.975, 4, 37))
    assert calibration_row("nothing", np.array([np.nan])) is None


def test_the_family_threshold_holds_for_new_maxima() -> None:
    """In 4,000 draws of 39 controls and a new one: it exceeds the threshold in 5 % of them."""
    rng = np.random.default_rng(6)
    draws = rng.gumbel(size=(4000, 40))
    beyond = [row[39] > family_threshold(row[:39].tolist()) for row in draws]
    assert np.mean(beyond) == pytest.approx(0.05, abs=0.011)
    below = [family_p(row[:39].tolist(), row[39]) <= 0.05 for row in draws]
    assert np.mean(below) == pytest.approx(0.05, abs=0.011)


def test_what_the_t1_explains() -> None:
    """Real = shared + own, variances 3 and 1, predicted = shared: 75 %; noise explains -100 %."""
    rng = np.random.default_rng(7)
    shared, own = np.sqrt(3) * rng.standard_normal((400, 20)), rng.standard_normal((400, 20))
    design = np.ones((400, 1))
    share = explained_variance(shared + own, own, design)
    assert share.share == pytest.approx(0.75, abs=0.01)
    assert share.low < 0.75 < share.high
    noise = rng.standard_normal((400, 20))
    assert explained_variance(own, own - noise, design).share == pytest.approx(-1, abs=0.1)
    constant = np.ones((10, 3))
    assert "equal" in explained_variance(constant, constant, np.ones((10, 1))).reason


def test_the_interval_of_what_is_explained_holds_the_truth() -> None:
    rng = np.random.default_rng(8)
    hits = 0
    for number in range(150):
        shared, own = rng.standard_normal((40, 1)), rng.standard_normal((40, 1))
        share = explained_variance(shared + own, own, np.ones((40, 1)), seed=number, samples=400)
        hits += share.low <= 0.5 <= share.high
    assert hits / 150 == pytest.approx(0.93, abs=0.06)


def test_clusters_by_hand() -> None:
    """A block of 2 x 2 x 3 voxels of 2 mm, one voxel that touches its corner, and one below zero."""
    grid = Grid((20, 20, 20), (2.0, 2.0, 2.0), (90.0, 126.0, -72.0), RAS_AXES)
    z = np.zeros(grid.shape)
    z[4:6, 5:7, 6:9] = 3.5
    z[6, 7, 9] = 5.0
    z[15, 15, 15] = -4.0
    z[0, 0, 0] = np.nan
    first, second = find_clusters(z, grid, 3.0)
    assert (first.sign, first.n_voxels, first.volume_ml, first.peak) == (1, 13, pytest.approx(0.104), 5.0)
    # LPS x = 90 - 2 * 9, y = 126 - 2 * 7; RAS has the other sign.
    assert (first.x_ras_mm, first.y_ras_mm, first.z_ras_mm) == (-72.0, -112.0, -60.0)
    assert (second.sign, second.n_voxels, second.peak) == (-1, 1, -4.0)
    assert largest_volume_ml([first, second]) == pytest.approx(0.104)
    assert find_clusters(np.zeros(grid.shape), grid, 3.0) == []
