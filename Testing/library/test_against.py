"""Two models on the same people: numbers by hand and by SciPy, and what cannot be compared."""

from __future__ import annotations

import csv
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import stats

from evaluation_cases import write_run, write_table
from MRI2PETLib.cli import main
from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.files import write_json
from MRI2PETLib.core.progress import Reporter
from MRI2PETLib.evaluation.against import against_table, check_same_people
from MRI2PETLib.evaluation.cohort import Cohort, Scan, region_numbers
from MRI2PETLib.evaluation.cohort_cases import CohortCase, read_run_scans
from MRI2PETLib.evaluation.metrics import brain_metrics
from MRI2PETLib.evaluation.paired import REGION_ERROR, methods_table, paired_difference
from MRI2PETLib.evaluation.settings import EvaluationSettings

pytestmark = pytest.mark.usefixtures("quick_registration")

NAMES = ("this", "other")


def test_a_difference_is_that_of_scipy() -> None:
    rng = np.random.default_rng(3)
    first, second = rng.normal(1.0, 0.5, 30), rng.normal(1.1, 0.5, 30)
    outcome = paired_difference(first, second)
    difference = first - second
    assert outcome.difference == pytest.approx(difference.mean())
    assert outcome.effect == pytest.approx(difference.mean() / np.std(difference, ddof=1))
    assert outcome.p == pytest.approx(stats.wilcoxon(first, second).pvalue)
    interval = stats.bootstrap((difference,), np.mean, method="percentile", n_resamples=4000)
    width = interval.confidence_interval.high - interval.confidence_interval.low
    assert outcome.difference_low == pytest.approx(interval.confidence_interval.low, abs=0.08 * width)
    assert outcome.difference_high == pytest.approx(interval.confidence_interval.high, abs=0.08 * width)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    """100 samples of 40 people with a true difference of .3: 95 of 100, within 3 SE (and percentile bias)."""
    rng = np.random.default_rng(0)
    hits = 0
    for seed in range(100):
        difference = rng.normal(0.3, 1, 40)
        outcome = paired_difference(difference, np.zeros(40), seed=seed)
        assert outcome.difference_low is not None and outcome.difference_high is not None
        hits += outcome.difference_low <= 0.3 <= outcome.difference_high
    assert 87 <= hits <= 100


@pytest.mark.parametrize(
    ("difference", "reason"),
    [
        ([1.0, 2.0, 3.0, 4.0, 5.0], "needs 6 people, there are 5"),
        ([0.0] * 8, "the two are equal"),
        ([0.25] * 8, "the same for all"),
        ([], "no people"),
    ],
)
def test_what_cannot_be_tested_says_why(difference: list[float], reason: str) -> None:
    outcome = paired_difference(np.array(difference), np.zeros(len(difference)))
    assert (
        outcome.p is outcome.difference_low is outcome.difference_high is outcome.effect is None
        and reason in outcome.reason
    )
    assert outcome.difference == (np.mean(difference) if difference else None)


def cohort_of(errors: np.ndarray, *, unit: str = "SUVR", slope: float = 0.9) -> Cohort:
    """A cohort in which scan i has the MSE ``errors[i]``; person 0 was scanned twice. Two regions."""
    scans = []
    for i, error in enumerate(errors):
        metrics: dict[str, float | None] = dict.fromkeys(brain_metrics(), 0.5)
        metrics |= {"mse": float(error), "smoothed_slope": slope, "pearson_r": 1 - float(error)}
        baseline = dict(metrics) | {"mse": 2.0 * float(error)}
        regions = np.full((2, 2, len(region_numbers())), np.nan)
        regions[:, :, region_numbers().index("mean_real_smoothed")] = 1.0
        regions[0, :, region_numbers().index("mean_predicted")] = 1 - error, 1 + error
        regions[1, :, region_numbers().index("mean_predicted")] = 1.0
        case = CohortCase(f"c{i}", f"p{max(0, i - 1)}", "0", Path("s"), Path("r"), None, None)
        by_predictor = {("stated", "network"): metrics, ("stated", "constant"): baseline}
        scans.append(Scan(case, by_predictor, regions, 0.1, ()))
    names = ["network", "constant"]
    keys = [("paper21", "one"), ("paper21", "two")]
    uses = dict.fromkeys(names, "")
    return Cohort(scans, [], unit, "stated", names, uses, keys, [], [], EvaluationSettings())


ERRORS = np.linspace(0.1, 0.3, 9)


def test_people_are_compared_and_their_scans_averaged_first() -> None:
    other = ERRORS + np.linspace(0.01, 0.05, 9)
    rows = {(r.metric, r.region): r for r in against_table(cohort_of(ERRORS), cohort_of(other), NAMES)}
    row = rows["MSE", "whole brain"]
    first, second = (np.r_[v[:2].mean(), v[2:]] for v in (ERRORS, other))
    assert (row.n_people, row.first, row.second) == (8, *NAMES)
    assert row.first_mean == pytest.approx(first.mean()) and row.second_mean == pytest.approx(second.mean())
    assert row.paired.p == pytest.approx(stats.wilcoxon(first, second).pvalue) and row.better == "this"
    assert (
        row.n_first_better == 8
        and row.paired.difference_low is not None
        and row.paired.difference_high is not None
        and row.paired.difference_high < 0
    )
    # r is 1 - MSE: higher is better, the same people are better, the difference has the other sign.
    r = rows["r", "whole brain"]
    assert (
        r.paired.difference == pytest.approx(-(row.paired.difference or 0))
        and r.better == "this"
        and r.n_first_better == 8
    )
    # Five of the numbers are the same for all: they have no p, and are not counted in the FDR.
    assert rows["SSIM", "whole brain"].paired.reason == "the two are equal"
    tested = [x.paired.p for x in rows.values() if x.region == "whole brain" and x.paired.p is not None]
    assert row.paired.fdr == pytest.approx(min(stats.false_discovery_control(tested)))
    region = rows[REGION_ERROR, "two"]
    assert region.first_mean == pytest.approx(first.mean()) and region.better == "this"


def test_what_is_best_near_one_is_compared_by_its_distance() -> None:
    rows = against_table(cohort_of(ERRORS, slope=1.2), cohort_of(ERRORS, slope=0.9), NAMES)
    row = next(r for r in rows if r.metric.startswith("slope"))
    assert row.compared == "distance from 1" and row.better == "other"
    assert (row.first_mean, row.second_mean) == (pytest.approx(0.2), pytest.approx(0.1))


def test_scans_that_failed_in_one_are_left_out_of_both() -> None:
    whole, part = cohort_of(ERRORS), cohort_of(ERRORS)
    part = replace(part, scans=part.scans[:-1])
    rows = against_table(whole, part, NAMES)
    assert {r.n_people for r in rows} == {7} and {r.paired.difference for r in rows} == {0.0}


def test_the_network_is_compared_with_each_baseline() -> None:
    rows = methods_table(cohort_of(ERRORS))
    (row,) = (r for r in rows if r.metric == "MSE")
    assert (row.first, row.second, row.better) == ("network", "constant", "network")
    assert row.second_mean == pytest.approx(2 * (row.first_mean or 0))
    assert {r.better for r in rows if r.metric == REGION_ERROR} == {"constant"}


def test_scans_without_a_baseline_are_left_out_of_the_network_too() -> None:
    """The hard second scan of every person has no baseline: equal errors in the first are no difference."""
    scans = []
    for scan in cohort_of(ERRORS).scans:
        network = scan.metrics["stated", "network"]
        scans.append(replace(scan, metrics={("stated", name): network for name in ("network", "constant")}))
        regions = scan.regions.copy()
        regions[1] = regions[0]
        scans[-1] = replace(scans[-1], regions=regions)
        hard = {"mse": 0.9 + scan.metrics["stated", "network"]["mse"]}  # type: ignore[operator]
        lacking: dict[str, float | None] = dict.fromkeys(network)
        both = {("stated", "network"): {**network, **hard}, ("stated", "constant"): lacking}
        numbers = scan.regions + 0.5
        numbers[1] = np.nan
        case = replace(scan.case, case=f"{scan.case.case} again")
        scans.append(replace(scan, case=case, metrics=both, regions=numbers))
    rows = methods_table(replace(cohort_of(ERRORS), scans=scans))
    assert {row.n_people for row in rows} == {8} and {row.paired.difference for row in rows} == {0.0}


def test_other_units_are_refused() -> None:
    with pytest.raises(InputError, match="this is in SUVR, other in SUV"):
        against_table(cohort_of(ERRORS), cohort_of(ERRORS, unit="SUV"), NAMES)


# --- the command -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two runs of the same three people; the second one's PETs are flatter."""
    folder = tmp_path_factory.mktemp("runs")
    write_run(folder / "one", range(3))
    shutil.copytree(folder / "one", folder / "two")
    for path in (folder / "two").glob("*/synthetic.nii.gz"):
        image = sitk.ReadImage(str(path))
        flat = sitk.Cast(image != 0, sitk.sitkFloat32) * 0.5 + image * 0.5
        sitk.WriteImage(flat, str(path))
    return folder / "one", folder / "two"


def test_two_runs_are_compared(runs: tuple[Path, Path], tmp_path: Path) -> None:
    command = ["evaluate", "--run", str(runs[0]), "--against", str(runs[1]), "--progress", "none"]
    assert main([*command, "-o", str(tmp_path / "out")]) == 0
    with (tmp_path / "out" / "against.csv").open(newline="") as stream:
        rows = {(r["scale"], r["metric"], r["region"]): r for r in csv.DictReader(stream)}
    row = rows["stated", "SD ratio, smoothed", "whole brain"]
    assert (row["first"], row["second"], row["better"], row["n_people"]) == ("one", "two", "one", "2")
    assert "needs 6 people" in row["reason"] and row["p"] == "" and float(row["difference"]) < 0
    assert "Against another model" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"case": "other"}, "1 cases that b lacks: case000"),
        ({"subject": "somebody"}, "another subject"),
        ({"fold": "7"}, "another fold"),
        ({"pet": "case001/real.nii.gz"}, "another real PET"),
    ],
)
def test_other_people_folds_and_pets_are_refused(
    runs: tuple[Path, Path], change: dict[str, str], reason: str
) -> None:
    with (runs[1] / "predictions.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    changed = runs[1].parent / "changed"
    shutil.copytree(runs[1], changed, dirs_exist_ok=True)
    rows[0] |= change
    write_table(changed / "predictions.csv", rows)
    first, second = (read_run_scans(run, Reporter()) for run in (runs[0], changed))
    check_same_people(first, first, ("a", "b"))
    check_same_people(
        first, read_run_scans(runs[1], Reporter()), ("a", "b")
    )  # copies of the images are the same
    with pytest.raises(InputError, match=reason):
        check_same_people(first, second, ("a", "b"))


def test_runs_with_other_targets_share_the_real_pet(runs: tuple[Path, Path], tmp_path: Path) -> None:
    """Each has a copy on the scale of its own target; the sidecars say what both were made from."""
    for run in runs:
        shutil.copytree(run, tmp_path / run.name)
    for real in (tmp_path / "two").glob("*/real.nii.gz"):
        sitk.WriteImage(sitk.ReadImage(str(real)) * 2.0, str(real))
    first, second = (read_run_scans(tmp_path / name, Reporter()) for name in ("one", "two"))
    sidecars = [case.real.with_name("real.json") for case in (*first, *second)]
    with pytest.raises(InputError, match="3 cases have another real PET"):
        check_same_people(first, second, ("a", "b"))
    for path in sidecars:
        write_json(path, {"Source": {"sha256": path.parent.name}})
    check_same_people(first, second, ("a", "b"))
    write_json(sidecars[-1], {"Source": {"sha256": "of another"}})
    with pytest.raises(InputError, match="1 cases have another real PET"):
        check_same_people(first, second, ("a", "b"))


def test_another_unit_is_refused_before_anything_is_computed(
    runs: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "two"
    shutil.copytree(runs[1], other)
    for sidecar in other.glob("*/synthetic.json"):
        sidecar.write_text(sidecar.read_text().replace('"SUVR"', '"SUV"'))
    command = ["evaluate", "--run", str(runs[0]), "--against", str(other), "-o", str(tmp_path / "out")]
    assert main([*command, "--progress", "none"]) == InputError.exit_code
    assert "one is in SUVR, two in SUV" in capsys.readouterr().err
    assert not (tmp_path / "out" / "report.html").exists()
