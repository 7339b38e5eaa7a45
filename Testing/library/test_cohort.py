"""Statistics over people, own against others, and ``mri2pet evaluate --run`` on simulated people."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from evaluation_cases import like, write_run, write_subject, write_table
from MRI2PETLib.cli import main
from MRI2PETLib.core.errors import EXIT_PARTIAL, InputError
from MRI2PETLib.core.progress import Reporter
from MRI2PETLib.evaluation import cohort_groups, cohort_tables, fid, published_tables, statistics
from MRI2PETLib.evaluation.cohort import Cohort, Scan, model_of_all, notes_on_models, region_numbers
from MRI2PETLib.evaluation.cohort_cases import CohortCase, read_pairs, read_run_scans
from MRI2PETLib.evaluation.cohort_run import evaluate_cohort
from MRI2PETLib.evaluation.inputs import CaseImages, load_case
from MRI2PETLib.evaluation.metrics import brain_metrics
from MRI2PETLib.evaluation.settings import CasePaths, EvaluationSettings
from MRI2PETLib.evaluation.specificity import VectorStore, common_voxels, distances, specificity
from MRI2PETLib.images.io import write_image
from MRI2PETLib.models.bundle import DEMONSTRATION
from MRI2PETLib.simulation import simulate_subject
from MRI2PETLib.templates.icbm152 import load_template
from MRI2PETLib.templates.uptake import population_uptake

pytestmark = pytest.mark.usefixtures("quick_registration")

NUMBERS = region_numbers()

# --- statistics --------------------------------------------------------------------------------


def test_median_split_and_its_p_agree_with_scipy() -> None:
    from scipy import stats

    rng = np.random.default_rng(2)
    real = rng.normal(size=21)
    synthetic = 0.5 * real + rng.normal(size=21)
    low = real <= np.median(real)
    p, reason = statistics.median_split(synthetic, real)
    assert reason == "" and p == pytest.approx(stats.mannwhitneyu(synthetic[low], synthetic[~low]).pvalue)
    p, reason = statistics.median_split(synthetic[:5], real[:5])
    assert p is None and "3 people" in reason


def test_a_regression_by_hand() -> None:
    """x = 0, 1, 2, 3 and y = 1, 1, 3, 3: sums of squares 5 and 4, of products 4; t = r sqrt(2 / (1 - r²))."""
    from scipy import special

    line = statistics.regression(np.arange(4.0), np.array([1.0, 1.0, 3.0, 3.0]))
    r = 4 / np.sqrt(5 * 4)
    assert line.slope == pytest.approx(4 / 5) and line.r == pytest.approx(r)
    # The tail of the t distribution is an incomplete beta function of 1 - r².
    assert line.p == pytest.approx(special.betainc(1, 0.5, 1 - r**2))
    assert statistics.regression(np.arange(4.0), 2 * np.arange(4.0)).p == pytest.approx(0, abs=1e-9)
    assert "3 people" in statistics.regression(np.arange(2.0), np.arange(2.0)).reason
    assert statistics.regression(np.arange(4.0), np.ones(4)).r is None


def test_false_discovery_rate_of_the_published_example() -> None:
    """Benjamini & Hochberg 1995, J R Stat Soc B 57:289, section 3.2: at q = .05 four are rejected."""
    p = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262]
    p += [0.5719, 0.6528, 0.7590, 1.0000]
    adjusted = statistics.false_discovery_rate(p)
    assert [a is not None and a <= 0.05 for a in adjusted] == [True] * 4 + [False] * 11
    assert adjusted[3] == pytest.approx(0.0095 * 15 / 4)
    shuffled = statistics.false_discovery_rate([p[4], None, *p[:4], *p[5:]])
    assert shuffled[0] == pytest.approx(adjusted[4]) and shuffled[1] is None


def test_area_under_the_curve_by_counting() -> None:
    assert statistics.area_under_curve(np.array([1.0]), np.array([2.0, 3.0])) == 1
    assert statistics.area_under_curve(np.array([2.0]), np.array([1.0, 2.0, 3.0])) == pytest.approx(0.5)
    assert statistics.area_under_curve(np.zeros(0), np.zeros(3)) is None


# --- tables from numbers -----------------------------------------------------------------------


def cohort_of(values: np.ndarray, subjects: list[str], groups: list[str], folds: list[str]) -> Cohort:
    """A cohort whose only predictor has ``values`` [scan, region, (real, predicted)] in three regions."""
    scans = []
    for i, (subject, group, fold) in enumerate(zip(subjects, groups, folds)):
        numbers = np.full((1, values.shape[1], len(NUMBERS)), np.nan)
        numbers[0, :, NUMBERS.index("mean_real")] = values[i, :, 0]
        numbers[0, :, NUMBERS.index("mean_real_smoothed")] = values[i, :, 0]
        numbers[0, :, NUMBERS.index("mean_predicted")] = values[i, :, 1]
        numbers[0, :, NUMBERS.index("mse_median")] = (values[i, :, 1] - values[i, :, 0]) ** 2
        numbers[0, :, NUMBERS.index("percent_difference")] = 100 * (values[i, :, 1] / values[i, :, 0] - 1)
        metrics = {("stated", "network"): dict.fromkeys(brain_metrics(), float(i))}
        case = CohortCase(f"c{i}", subject, fold, Path("s"), Path("r"), None, None, group)
        scans.append(Scan(case, metrics, numbers, 0.1, ()))
    regions = [("paper21", f"region {n}") for n in range(values.shape[1])]
    return Cohort(
        scans, [], "SUVR", "stated", ["network"], {"network": ""}, regions, [], [], EvaluationSettings()
    )


def random_cohort(n: int = 24) -> Cohort:
    rng = np.random.default_rng(5)
    real = rng.normal(1.2, 0.1, (n, 3))
    synthetic = 1.2 + 0.4 * (real - 1.2) + rng.normal(0, 0.02, real.shape)
    subjects = [f"s{max(0, i - 2)}" for i in range(n)]  # s0 has three scans
    groups = ["a" if int(s[1:]) % 2 else "b" for s in subjects]
    return cohort_of(np.stack([real, synthetic], axis=-1), subjects, groups, [str(i % 4) for i in range(n)])


def test_people_are_the_unit_and_repeated_scans_are_averaged_first() -> None:
    cohort = random_cohort()
    row = next(r for r in cohort_tables.global_table(cohort) if r.metric == "mse")
    assert row.n_people == 22 and row.n_folds == 4
    assert row.mean == pytest.approx(np.mean([1.0, *range(3, 24)]))  # scans 0, 1, 2 belong to s0
    assert row.sd == pytest.approx(np.std([1.0, *range(3, 24)], ddof=1))
    regions = [r for r in cohort_tables.region_table(cohort) if r.stratum == "all"]
    assert {r.n_people for r in regions} == {22}
    for r in regions:
        assert r.sd_ratio is not None and 0.3 < r.sd_ratio < 0.6
        assert r.proportional_slope is not None and r.proportional_slope < -0.5
        assert (
            r.r is not None and r.r > 0.8 and r.r_fdr is not None and r.r_p is not None and r.r_fdr >= r.r_p
        )


def test_one_scan_by_a_demonstration_model_is_told_of_the_whole_cohort() -> None:
    real, demonstration = {"id": "a", "intended_use": "research"}, {"id": "b", "intended_use": DEMONSTRATION}
    assert model_of_all([real, demonstration, real]) == demonstration
    assert model_of_all([real, {**real, "id": "c"}])["id"] == "c"


def test_predictions_of_several_models_or_versions_are_told() -> None:
    folds = [{"id": f"lab-fold{n}", "version": "1", "sha256": str(n)} for n in range(3)]
    assert notes_on_models([*folds, {}]) == ()
    (note,) = notes_on_models([{"id": "lab-ensemble", "version": "2"}, *folds])
    assert note.endswith("do not compare: 3 by lab 1, 1 by lab 2.")


def test_the_order_of_the_cases_does_not_matter() -> None:
    cohort = random_cohort()
    order = np.random.default_rng(0).permutation(len(cohort.scans))
    shuffled = Cohort(**{**vars(cohort), "scans": [cohort.scans[i] for i in order]})
    for function in (cohort_tables.region_table, cohort_groups.group_table, published_tables.paper_table4):
        for a, b in zip(function(cohort), function(shuffled)):
            for name, x, y in zip(a._fields, a, b):
                assert x == (pytest.approx(y, rel=1e-9) if isinstance(y, float) else y), name


def test_the_published_aggregation_is_over_regions_and_folds() -> None:
    cohort = random_cohort()
    rows = {r.metric: r for r in published_tables.paper_table4(cohort)}
    expected = []
    for fold in "0123":
        blocks = [s.regions[0] for s in cohort.scans if s.case.fold == fold]
        expected += np.mean(blocks, axis=0)[:, NUMBERS.index("mse_median")].tolist()
    assert rows["MSE"].n_rows == 12
    assert rows["MSE"].mean == pytest.approx(np.mean(expected)) and rows["MSE"].sd == pytest.approx(
        np.std(expected)
    )
    # Without a value in any row: counted, not imputed as in the published notebook.
    assert rows["NormDiff"].mean is None and rows["NormDiff"].n_missing == 12
    # The published PercDiff is a fraction with the opposite sign.
    percent = np.mean([s.regions[0][:, NUMBERS.index("percent_difference")] for s in cohort.scans])
    assert rows["PercDiff"].mean == pytest.approx(-percent / 100, rel=0.05)


def test_a_difference_that_only_the_synthetic_pet_shows_is_flagged() -> None:
    rng = np.random.default_rng(1)
    real = rng.normal(1.2, 0.1, (30, 1))
    groups = ["a"] * 15 + ["b"] * 15
    synthetic = np.where(np.array(groups)[:, None] == "a", 1.1, 1.3) + rng.normal(0, 0.02, real.shape)
    real[:15], real[15:] = np.sort(real[::2], axis=0), np.sort(real[1::2], axis=0)
    values = np.stack([real, synthetic], axis=-1)
    cohort = cohort_of(values, [f"s{i}" for i in range(30)], groups, ["0"] * 30)
    (row,) = cohort_groups.group_table(cohort)
    assert row.synthetic_only and row.real_p is not None and row.real_p > 0.05
    assert row.synthetic_p is not None and row.synthetic_p < 1e-5


def test_a_group_of_one_scan_is_not_tested_and_says_why() -> None:
    cohort = random_cohort()
    lone = CohortCase("x", "lone", "0", Path("s"), Path("r"), None, None, "c")
    scan = Scan(lone, cohort.scans[0].metrics, cohort.scans[0].regions, 0.1, ())
    more = Cohort(**{**vars(cohort), "scans": [*cohort.scans, scan]})
    rows = [g for g in cohort_groups.group_table(more) if "c" in (g.first, g.second)]
    assert rows and all(g.real_p is None and "3 people" in g.reason and not g.synthetic_only for g in rows)
    stratum = [r for r in cohort_tables.region_table(more) if r.stratum == "group c"]
    assert stratum and all(
        r.n_people == 1 and r.bias is None and r.r is None and r.real_sd is None for r in stratum
    )


def test_values_that_are_equal_by_their_scaling_get_no_correlation() -> None:
    values = np.ones((10, 1, 2))
    values[:, 0, 0] += 1e-5 * np.random.default_rng(0).normal(size=10)  # whole brain in SUVR
    values[:, 0, 1] += 0.1 * np.random.default_rng(1).normal(size=10)
    cohort = cohort_of(values, [f"s{i}" for i in range(10)], [""] * 10, [""] * 10)
    (row,) = cohort_tables.region_table(cohort)
    assert row.r is None and row.sd_ratio is None and "equal" in row.reason and row.bias is not None


# --- own against others ------------------------------------------------------------------------


def store_of(folder: Path, synthetic: list[np.ndarray], real: list[np.ndarray]) -> VectorStore:
    """Images on the template grid."""
    template, identity = load_template(), sitk.AffineTransform(3)
    store = VectorStore(folder, len(real))
    for i, (s, r) in enumerate(zip(synthetic, real)):
        store.add("network", i, s, template.mask, identity)
        store.add("real", i, r, template.mask, identity)
        store.add(
            "warped average", i, sitk.GetArrayFromImage(population_uptake("PBR28")), template.mask, identity
        )
    return store


def smooth_noise(seed: int) -> np.ndarray:
    from scipy import ndimage

    shape = load_template().mask.GetSize()[::-1]
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 4)
    return 1 + 0.2 * noise / noise.std()


def test_own_pets_are_recognised_and_the_gain_is_over_the_warped_average(tmp_path: Path) -> None:
    real = [smooth_noise(i) for i in range(4)]
    synthetic = [1 + 0.5 * (r - 1) for r in real]
    result = specificity(
        store_of(tmp_path, synthetic, real), list("abcd"), ["network", "cubic of T1", "warped average"]
    )
    network, cubic, null = result
    assert network.top1 == 1 and network.auc == 1 and network.rank == 1 and network.n_ranked == 4
    assert network.gap is not None and network.gap > 0.5
    # One map for everybody is nobody's.
    assert null.gap is not None and abs(null.gap) < 0.2
    assert network.gain_gap == pytest.approx(network.gap - null.gap) and null.gain_gap is None
    assert cubic.auc is None and "not available" in cubic.reason


def test_distances_equal_a_plain_computation_and_ignore_scale(tmp_path: Path) -> None:
    real, synthetic = [smooth_noise(i) for i in range(3)], [7 * smooth_noise(i + 10) for i in range(3)]
    store = store_of(tmp_path, synthetic, real)
    usable, common = common_voxels(store, 3)
    assert usable.all()
    mse, r = distances(store, "network", usable, common)
    s, t = (store.rows(name, slice(0, 3))[:, common] for name in ("network", "real"))
    for i in range(3):
        for j in range(3):
            a, b = s[i] / s[i].mean(), t[j] / t[j].mean()
            assert mse[i, j] == pytest.approx(np.mean((a - b) ** 2), rel=1e-6)
            assert r[i, j] == pytest.approx(np.corrcoef(a, b)[0, 1], abs=1e-9)


def test_other_scans_of_a_person_never_count_as_others(tmp_path: Path) -> None:
    one, two = smooth_noise(0), smooth_noise(1)
    # The second scan of person a is closer to a's prediction than the first: as an "other" it would win.
    real, synthetic = [0.5 + 0.5 * one, one, two], [one, one, two]
    network = specificity(store_of(tmp_path, synthetic, real), ["a", "a", "b"], ["network"])[0]
    assert network.top1 == 1 and network.n_people == 2
    alone = specificity(store_of(tmp_path, synthetic, real), ["a", "a", "a"], ["network"])[0]
    assert alone.auc is None and "two people" in alone.reason


# --- the command -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("run"), range(8))


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_is_evaluated_with_all_tables(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fid, "_SPACING_MM", 4.0)  # what the distance is worth is measured in test_fid
    cut_lowest_slices(run / "case007")
    write_image(population_uptake("PBR28"), make(run / "fold_0") / "mean_pet.nii.gz")
    coefficients = {"cubic_of_t1": {"coefficients": [0.3, 1.5, 0.0, -0.8], "fwhm_mm": 6}}
    (run / "baselines.json").write_text(json.dumps({"folds": {"0": coefficients, "1": coefficients}}))
    command = ["evaluate", "--run", str(run), "--fid", "texture", "-o", str(tmp_path / "out")]
    assert main([*command, "--progress", "bar"]) == 0
    streams = capsys.readouterr()
    assert (
        "s a case" in streams.out + streams.err
        and "Caution: groups are compared on synthetic PET" in streams.out + streams.err
    )
    names = {p.name for p in (tmp_path / "out").iterdir()}
    csvs = "summary region_statistics groups specificity others paper_table4 scans regions".split()
    csvs += ["levels", "spaces", "asymmetry", "fid", "methods"]
    maps = {f"mean_{n}.{e}" for n in ("percent_difference", "squared_error") for e in ("nii.gz", "json")}
    assert names == maps | {f"{n}.csv" for n in csvs} | {
        "errors.png",
        "cohort.json",
        "comparison.png",
        "evaluation_status.json",
        "report.html",
    }
    for name in csvs:
        assert "nan" not in (tmp_path / "out" / f"{name}.csv").read_text().lower().replace("anatomy", ""), (
            name
        )
    summary = {(r["scale"], r["predictor"], r["metric"]): r for r in table(tmp_path / "out" / "summary.csv")}
    assert summary["stated", "network", "pearson_r"]["n_people"] == "7"
    assert (
        float(summary["stated", "network", "smoothed_sd_ratio"]["mean"]) < 0.8
    )  # the pretended network is too flat
    assert ("stated", "cubic of T1", "mse") in summary
    assert summary["stated", "training mean", "mse"]["n_people"] == "4"  # fold 1 has no mean map
    distances = {r["predictor"]: r for r in table(tmp_path / "out" / "fid.csv")}
    assert distances["network"]["n_people"] == "7" and distances["training mean"]["n_people"] == "4"
    assert float(distances["network"]["fid"]) > float(distances["network"]["real_halves"]) > 0
    assert len(table(tmp_path / "out" / "scans.csv")) == 8
    assert {r["metric"] for r in table(tmp_path / "out" / "paper_table4.csv")} >= {"MSE", "CNR smoothed"}


def cut_lowest_slices(case: Path) -> None:
    """The PET of a case as if its field of view had begun two slices inside the brain."""
    mask = sitk.GetArrayFromImage(sitk.ReadImage(str(case / "mask.nii.gz"))) > 0
    real = sitk.ReadImage(str(case / "real.nii.gz"))
    values = sitk.GetArrayFromImage(real)
    values[: int(np.argmax(mask.any(axis=(1, 2)))) + 2] = 0
    write_image(like(values, real), case / "real.nii.gz", {"Units": "SUVR", "Simulated": True})


def make(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


def test_a_distance_of_sets_needs_a_cohort(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--synthetic", "a", "--pet", "b", "--fid", "texture", "-o", "c"]) == 3
    assert "about a set of people" in capsys.readouterr().err


def test_a_broken_case_is_a_row_and_the_rest_is_evaluated(run: Path, tmp_path: Path) -> None:
    rows = table(run / "predictions.csv")[:5]
    for row in rows:
        for name in ("synthetic", "pet", "t1"):
            row[name] = str(run / row[name])
    rows[1]["pet"] = str(tmp_path / "missing.nii.gz")
    subject = simulate_subject(3, spacing_mm=6.0)
    write_image(subject.pet, tmp_path / "suv.nii.gz", {"Units": "SUV"})
    rows[3]["pet"] = str(tmp_path / "suv.nii.gz")
    pairs = write_table(tmp_path / "pairs.csv", rows)
    out = tmp_path / "out"
    assert main(["evaluate", "--pairs", str(pairs), "-o", str(out), "--progress", "none"]) == EXIT_PARTIAL
    status = {r["case"]: r for r in table(out / "scans.csv")}
    assert status["case001"]["status"] == "failed" and "does not exist" in status["case001"]["message"]
    assert status["case003"]["status"] == "failed" and "SUV" in status["case003"]["message"]
    assert sum(r["status"] != "failed" for r in status.values()) == 3


def test_an_error_that_nobody_foresaw_does_not_lose_the_other_cases(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stumble(paths: CasePaths, settings: EvaluationSettings) -> CaseImages:
        if paths.pet.parent.name == "case001":
            raise ValueError("odd")
        return load_case(paths, settings)

    monkeypatch.setattr("MRI2PETLib.evaluation.cohort_run.load_case", stumble)
    cohort = evaluate_cohort(read_run_scans(run, Reporter())[:3], EvaluationSettings(), tmp_path, Reporter())
    assert [scan.case.case for scan in cohort.scans] == ["case000", "case002"]
    assert [f.message for f in cohort.failed] == ["Unexpected ValueError: odd"]
    assert {row["case"] for row in table(tmp_path / "regions.csv")} == {"case000", "case002"}


def test_a_run_that_cannot_be_evaluated_leaves_nothing(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    rows = table(run / "predictions.csv")[:2]
    pairs = write_table(tmp_path / "pairs.csv", rows)  # relative paths that do not exist here
    assert main(["evaluate", "--pairs", str(pairs), "-o", str(out), "--progress", "none"]) == 1
    assert "All 2 cases failed" in capsys.readouterr().err and not list(out.iterdir())
    for name, text, message in (
        ("a.csv", "case,subject\n1,2\n", r"lacks the column\(s\) synthetic, pet"),
        ("b.csv", "case,subject,synthetic,pet\n", "has no row"),
        ("c.csv", "case,subject,synthetic,pet\nx,,a,b\n", "Line 2 .* has no subject"),
        ("d.csv", "case,subject,synthetic,pet\nx,s,a,b\nx,s,a,b\n", "'x' twice"),
        ("e.csv", "case,synthetic,pet,exclude\nx,a,b,moved\n", "All cases of .* are left out"),
    ):
        (tmp_path / name).write_text(text)
        with pytest.raises(InputError, match=message):
            read_pairs(tmp_path / name, Reporter())
    with pytest.raises(InputError, match="no predictions.csv"):
        read_run_scans(tmp_path, Reporter())
    (tmp_path / "predictions.csv").write_text("case,subject,synthetic,pet\nx,s,a,b\n")
    (tmp_path / "baselines.json").write_text('{"folds": []}')
    with pytest.raises(InputError, match="baselines.json cannot be used"):
        read_run_scans(tmp_path, Reporter())


def test_one_person_is_described_without_a_statistic(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [4])
    assert main(["evaluate", "--run", str(run), "-o", str(tmp_path / "out"), "--progress", "none"]) == 0
    own = table(tmp_path / "out" / "specificity.csv")[0]
    assert own["auc"] == "" and "two people" in own["reason"]
    assert not (tmp_path / "out" / "groups.csv").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("quick_registration")
def test_memory_does_not_grow_with_the_number_of_people(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Peak of the allocated memory after 16 scans against after 6, measured by tracemalloc."""
    import tracemalloc

    from MRI2PETLib.evaluation import specificity as module
    from MRI2PETLib.evaluation.cohort_run import evaluate_cohort

    monkeypatch.setattr(module, "_BLOCK", 4)  # scans in memory at a time: full in both runs
    people = [
        write_subject(tmp_path / f"p{seed}", simulate_subject(seed, spacing_mm=6.0)) for seed in range(2)
    ]
    cases = [
        CohortCase(f"c{i}", f"s{i}", str(i % 5), p["synthetic"], p["real"], p["T1"], None, "ab"[i % 2])
        for i in range(16)
        for p in (people[i % 2],)
    ]
    peaks = []
    for count in (6, 16):
        folder = tmp_path / str(count)
        folder.mkdir()
        tracemalloc.start()
        cohort = evaluate_cohort(cases[:count], EvaluationSettings(), folder, Reporter())
        peaks.append(tracemalloc.get_traced_memory()[1] / 1e6)
        tracemalloc.stop()
        assert len(cohort.scans) == count
    # 10 further scans may cost their numbers (about 30 kB each), but not one image more (143 kB each).
    assert peaks[1] - peaks[0] < 10 * 0.07, peaks
