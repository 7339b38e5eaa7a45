"""Agreement of two measurements over people, against published examples and SciPy's own tests."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from MRI2PETLib.evaluation.agreement import bland_altman, equivalence, intraclass_correlation
from MRI2PETLib.reports.page import interval

# Shrout & Fleiss 1979, Psychol Bull 86:420, Table 2: six targets rated by four judges.
SHROUT_FLEISS = np.array(
    [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
)


def people(n: int = 14, offset: float = 0.05) -> tuple[np.ndarray, np.ndarray]:
    """Synthetic and real values of people, correlated, with a constant offset."""
    rng = np.random.default_rng(3)
    real = rng.normal(1.2, 0.1, n)
    return real + offset + rng.normal(0, 0.04, n), real


def test_bland_altman_by_hand() -> None:
    real, synthetic = np.array([1.0, 2.0, 3.0, 4.0]), np.array([2.0, 2.0, 3.0, 3.0])
    result = bland_altman(synthetic, real)  # differences 1, 0, 0, -1
    sd = np.sqrt(2 / 3)
    assert result.bias == pytest.approx(0) and result.sd == pytest.approx(sd)
    assert result.lower == pytest.approx(-1.96 * sd) and result.upper == pytest.approx(1.96 * sd)
    averages = np.array([1.5, 2.0, 3.0, 3.5])
    slope = np.polyfit(averages, [1.0, 0, 0, -1.0], 1)[0]
    assert result.proportional_slope == pytest.approx(slope) and slope < 0  # regression to the mean
    assert bland_altman(synthetic[:2], real[:2]).bias is None


def test_intervals_of_bias_and_limits() -> None:
    """Bias: SciPy's paired t test. Limits: t(13, .975) = 2.160 times s sqrt(1 / 14 + 1.96² / 26)."""
    synthetic, real = people()
    result = bland_altman(synthetic, real)
    test = stats.ttest_rel(synthetic, real)
    interval = test.confidence_interval(0.95)
    assert (result.bias_low, result.bias_high) == pytest.approx((interval.low, interval.high))
    assert result.bias_p == pytest.approx(test.pvalue)
    sd = np.std(synthetic - real, ddof=1)
    half = 2.160369 * sd * np.sqrt(1 / 14 + 1.96**2 / 26)
    for limit, low, high in (
        (result.lower, result.lower_low, result.lower_high),
        (result.upper, result.upper_low, result.upper_high),
    ):
        assert (
            limit is not None and low == pytest.approx(limit - half) and high == pytest.approx(limit + half)
        )
    # Bland & Altman's rounded standard error, s sqrt(3 / n), for as many people as they had in mind.
    n = 200
    assert np.sqrt(1 / n + 1.96**2 / (2 * (n - 1))) == pytest.approx(np.sqrt(3 / n), rel=0.02)


def test_intraclass_correlation_of_the_published_example() -> None:
    """Value of Shrout & Fleiss; ends as R's package psych gives them for these data (.019, .76)."""
    result = intraclass_correlation(SHROUT_FLEISS.astype(float))
    assert result.value == pytest.approx(0.29, abs=0.005)
    assert result.low == pytest.approx(0.019, abs=0.001) and result.high == pytest.approx(0.761, abs=0.001)


def test_intraclass_correlation_sees_an_offset_that_r_does_not() -> None:
    real = np.arange(8.0)
    equal = intraclass_correlation(np.column_stack([real, real]))
    moved = intraclass_correlation(np.column_stack([real + 3, real]))
    assert equal.value == 1 and np.corrcoef(real + 3, real)[0, 1] == pytest.approx(1)
    # People: 2 x variance 6; methods: 8 x 9 / 2; no error. 12 / (12 + 2 x 36 / 8).
    assert moved.value == pytest.approx(12 / 21)
    assert moved.low is not None and moved.low < 12 / 21
    assert intraclass_correlation(np.ones((5, 2))).value is None
    assert "3 people" in intraclass_correlation(np.ones((2, 2))).reason


def test_equivalence_is_the_larger_of_two_one_sided_tests() -> None:
    synthetic, real = people()
    difference, margin = synthetic - real, 0.08
    above = stats.ttest_1samp(difference, -margin, alternative="greater").pvalue
    below = stats.ttest_1samp(difference, margin, alternative="less").pvalue
    assert equivalence(synthetic, real, margin) == pytest.approx(max(above, below))
    # The same as asking whether the interval of 90 % lies within the margin.
    interval = stats.ttest_1samp(difference, 0).confidence_interval(0.9)
    edge = max(-interval.low, interval.high)
    assert equivalence(synthetic, real, edge) == pytest.approx(0.05)
    assert equivalence(real, real, margin) is None  # no spread, no test


def test_an_interval_reads_with_two_digits_of_its_half_width() -> None:
    assert interval(-0.02391, -0.02604, -0.02178) == "−0.0239 (−0.0260 to −0.0218)"
    assert interval(12.34, -3.21, 27.9) == "12 (−3 to 28)"
    assert interval(0.5, None, None) == "0.5" and interval(None, None, None) is None
    assert interval(1.0, 1.0, 1.0) == "1"


def test_an_icc_of_people_who_do_not_differ_has_no_interval() -> None:
    """Opposite values, equal people, few people: an interval that is there is finite and holds the value."""
    rng = np.random.default_rng(0)
    first = rng.normal(0, 1, 12)
    tables = [np.column_stack([first, -first]), np.tile([1.0, 2.0], (3, 1))]
    tables += [np.column_stack([first, -first + s * rng.normal(0, 1, 12)]) for s in (0.01, 0.1, 0.5)]
    tables += list(rng.normal(1, 0.1, (300, 3, 2)))
    without = 0
    for table in tables:
        icc = intraclass_correlation(table)
        assert icc.value is not None
        if icc.low is None or icc.high is None:
            without += 1
            assert "differ too little" in icc.reason
        else:
            assert np.isfinite([icc.low, icc.high]).all() and icc.low <= icc.value <= icc.high
    assert 0 < without < 100
