"""Groups compared with covariates: the linear model against independent computations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.progress import Reporter
from MRI2PETLib.core.settings import flag
from MRI2PETLib.evaluation.cohort import Cohort, Scan, region_numbers
from MRI2PETLib.evaluation.cohort_cases import CohortCase, read_pairs
from MRI2PETLib.evaluation.cohort_groups import group_table
from MRI2PETLib.evaluation.covariates import adjusted_difference, read_covariate
from MRI2PETLib.evaluation.metrics import brain_metrics
from MRI2PETLib.evaluation.settings import EvaluationSettings
from MRI2PETLib.reports.group_sections import how_tested

N = 40
LABELS = np.array(["patient", "control"] * (N // 2))


def confounded() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Real and synthetic values that follow the genotype alone; more patients than controls have HAB."""
    rng = np.random.default_rng(8)
    hab = np.where(LABELS == "patient", rng.random(N) < 0.8, rng.random(N) < 0.25)
    age = rng.uniform(30, 70, N)
    real = 1.0 + 0.3 * hab + 0.004 * (age - 50) + rng.normal(0, 0.03, N)
    return real, hab, age


def cohort(values: np.ndarray, hab: np.ndarray, age: np.ndarray, covariates: tuple[str, ...]) -> Cohort:
    """One region of ``values`` and a whole brain that scaling has made equal; real and synthetic alike."""
    scans = []
    for i in range(N):
        numbers = np.full((1, 2, len(region_numbers())), np.nan)
        for name in ("mean_real", "mean_real_smoothed", "mean_predicted"):
            numbers[0, :, region_numbers().index(name)] = 1.0, values[i]
        case = CohortCase(f"c{i}", f"s{i}", "0", Path("s"), Path("r"), None, None, LABELS[i])
        case = CohortCase(
            **{**vars(case), "genotype": "HAB" if hab[i] else "MAB", "others": {"age": str(age[i])}}
        )
        scans.append(Scan(case, {("stated", "network"): dict.fromkeys(brain_metrics())}, numbers, 0.1, ()))
    columns = [
        read_covariate(name, [(s.case.subject, s.case.entry(name)) for s in scans]) for name in covariates
    ]
    regions = [("brain", "whole brain"), ("paper21", "left thalamus")]
    settings = EvaluationSettings(covariates=covariates)
    return Cohort(
        *(scans, [], "SUVR", "stated", ["network"], {"network": ""}, regions, [], [], settings),
        covariates=columns,
    )


def test_without_covariates_the_model_is_the_t_test() -> None:
    real, _, _ = confounded()
    effect = adjusted_difference(real, LABELS, ("patient", "control"), np.zeros((N, 0)))
    test = stats.ttest_ind(real[LABELS == "patient"], real[LABELS == "control"])
    interval = test.confidence_interval(0.95)
    assert effect.p == pytest.approx(test.pvalue)
    assert (effect.low, effect.high) == pytest.approx((interval.low, interval.high))


def test_with_a_covariate_it_is_the_regression_of_what_the_covariate_leaves() -> None:
    """Frisch, Waugh & Lovell: regress both on the covariate, then the residuals on each other."""
    real, _, age = confounded()
    effect = adjusted_difference(real, LABELS, ("patient", "control"), age[:, None])
    group = (LABELS == "patient").astype(float)
    left = []
    for y in (real, group):
        line = stats.linregress(age, y)
        left.append(y - line.intercept - line.slope * age)
    slope = float(left[0] @ left[1] / (left[1] @ left[1]))
    residual = left[0] - slope * left[1]
    error = np.sqrt(residual @ residual / (N - 3) / (left[1] @ left[1]))
    assert effect.difference == pytest.approx(slope)
    assert effect.p == pytest.approx(2 * stats.t.sf(abs(slope) / error, N - 3))


def test_a_difference_of_genotypes_is_no_difference_of_groups() -> None:
    values = confounded()
    rows = {r.region: r for r in group_table(cohort(*values, ())) if r.stratum == "group"}
    plain = rows["left thalamus"]
    assert plain.model == "Mann-Whitney" and plain.real_p is not None and plain.real_p < 0.05
    rows = {r.region: r for r in group_table(cohort(*values, ("genotype", "age"))) if r.stratum == "group"}
    adjusted = rows["left thalamus"]
    assert adjusted.model == "region mean ~ group + genotype + age"
    assert adjusted.real_p is not None and adjusted.real_p > 0.05
    assert adjusted.real_difference_low is not None and adjusted.real_difference_high is not None
    assert adjusted.real_difference_low < 0 < adjusted.real_difference_high
    # Genotypes are not adjusted for themselves.
    genotypes = [r for r in group_table(cohort(*values, ("genotype", "age"))) if r.stratum == "genotype"]
    assert {r.model for r in genotypes} == {"region mean ~ genotype + age"}
    assert genotypes[1].real_difference == pytest.approx(0.3, abs=0.05)


@pytest.mark.parametrize("covariates", [(), ("age",)])
def test_a_region_that_scaling_makes_equal_is_not_tested(covariates: tuple[str, ...]) -> None:
    for row in group_table(cohort(*confounded(), covariates)):
        if row.region == "whole brain":
            assert row.real_p is None and row.synthetic_p is None and "scaling" in row.reason
        else:  # and it is none of the tests that the others are corrected for
            assert row.real_fdr == row.real_p is not None


def test_covariates_that_tell_the_groups_apart_leave_nothing_to_compare() -> None:
    real, _, _ = confounded()
    effect = adjusted_difference(
        real, LABELS, ("control", "patient"), (LABELS == "patient").astype(float)[:, None]
    )
    assert effect.p is None and "apart" in effect.reason
    few = adjusted_difference(real[:5], LABELS[:5], ("control", "patient"), np.zeros((5, 0)))
    assert few.p is None and "3 people" in few.reason


def test_people_without_a_value_are_left_out() -> None:
    real, _, age = confounded()
    gaps = age.copy()
    gaps[:6] = np.nan
    some = adjusted_difference(real, LABELS, ("patient", "control"), gaps[:, None])
    rest = adjusted_difference(real[6:], LABELS[6:], ("patient", "control"), age[6:, None])
    assert some[:4] == pytest.approx(rest[:4])


def test_columns_of_a_table_as_covariates() -> None:
    age = read_covariate("age", [("a", "30"), ("a", "32"), ("b", "50"), ("c", "")])
    assert age.values == {"a": 31.0, "b": 50.0, "c": None} and age.about() == "age (number, 31 to 50)"
    columns = age.columns(["a", "b", "c"])
    assert columns[:2, 0] == pytest.approx([-9.5, 9.5]) and np.isnan(columns[2, 0])
    assert age.left_out() == "No age is stated of c (1 of 3 people): tests that allow for it leave them out."
    site = read_covariate("site", [("a", "1"), ("b", "2"), ("c", "3")])  # names, though they are numbers
    assert site.columns(["a", "b", "c"]).shape == (3, 2) and site.about() == "site (1, 2, 3)"
    with pytest.raises(InputError, match="scans of a have the sex F and M"):
        read_covariate("sex", [("a", "F"), ("a", "M")])
    with pytest.raises(InputError, match="nothing under 'weight'") as error:
        read_covariate("weight", [("a", ""), ("b", "")])
    assert flag("covariates") in error.value.hint


def test_numbers_with_a_slip_of_the_pen_are_not_taken_for_names() -> None:
    ages = [("a", "61"), ("b", "62,5"), ("c", "70"), ("d", "")]
    with pytest.raises(InputError, match="age is a number for most people, but not '62,5'"):
        read_covariate("age", ages)
    assert not read_covariate("batch", [("a", "1"), ("b", "2a"), ("c", "2b")]).is_number


def test_people_with_n_a_are_left_out_of_the_test_and_named(tmp_path: Path) -> None:
    """BIDS writes n/a; the sixth of a table of twelve has no age."""
    lines = ["case,subject,synthetic,pet,group,age"]
    for i in range(12):
        age = "n/a" if i == 5 else f"{50 + i}"
        lines.append(f"c{i},p{i},s{i}.nii.gz,r{i}.nii.gz,{LABELS[i]},{age}")
    (tmp_path / "pairs.csv").write_text("\n".join(lines))
    cases = read_pairs(tmp_path / "pairs.csv", Reporter())
    age = read_covariate("age", [(case.subject, case.entry("age")) for case in cases])
    assert age.is_number and age.values["p5"] is None
    columns = age.columns([case.subject for case in cases])
    values = np.arange(12.0) ** 2
    effect = adjusted_difference(values, LABELS[:12], ("patient", "control"), columns)
    rest = np.arange(12) != 5
    others = adjusted_difference(values[rest], LABELS[:12][rest], ("patient", "control"), columns[rest])
    assert effect[:4] == pytest.approx(others[:4])
    words = how_tested(group_table(cohort(*confounded(), ("age",))), [age])
    assert "No age is stated of p5 (1 of 12 people)" in words
