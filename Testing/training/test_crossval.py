"""``mri2pet train`` from a dataset to bundles, predictions, ensemble and report; and what it refuses."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import stats

from browser import widths_of_tables
from MRI2PETLib.cli import main
from MRI2PETLib.core.checksums import sha256_of_voxels
from MRI2PETLib.images.formats import is_output
from MRI2PETLib.images.grid import Grid, resample
from MRI2PETLib.images.io import read_image
from MRI2PETLib.models.bundle import read_bundle
from MRI2PETLib.preprocessing.pet import read_pet
from MRI2PETLib.synthesis.pipeline import synthesize
from MRI2PETTrainingLib import command
from MRI2PETTrainingLib.folds import read_folds
from nifti_headers import affine, apart, seen_by_nibabel, write_nifti_header
from small_datasets import PRESET, SIZE, rows_of, write_dataset, write_pair, write_table

pytestmark = pytest.mark.usefixtures("quick_registration")

COMMANDS = {"train": command}
NAMES = ["p1_01", "p1_02", "p2_01", "p3_01", "p4_01", "p5_01", "p6_01"]


def train(*arguments: object) -> int:
    return main(["train", *map(str, arguments), "--progress", "none"], COMMANDS)


@pytest.fixture(scope="module")
def preset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("preset") / "tiny.json"
    path.write_text(json.dumps(PRESET))
    return path


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_dataset(tmp_path_factory.mktemp("Mes données été"), NAMES)
    for name in NAMES:
        sidecar = root / name / "PET.json"
        times = {"FrameTimesStart": [3600], "FrameDuration": [1800]}
        sidecar.write_text(json.dumps(json.loads(sidecar.read_text()) | times))
    rows = rows_of(root)
    for row, genotype in zip(rows, ["HAB", "HAB", "MAB", "HAB", "MAB", "HAB", "MAB"]):
        row["subject"] = str(row["case"])[:2]
        row |= {"mask": f"{row['case']}/brain_mask.nii.gz", "group": "pain" if genotype == "MAB" else "HC"}
        row["genotype"] = genotype
        row["site"] = "Oslo" if row["subject"] in ("p1", "p4") else "Rome"
    write_table(root, rows)
    # One T1 with two orientations: readers differ in which one they take.
    t1 = root / NAMES[-1] / "T1.nii.gz"
    values, array = seen_by_nibabel(t1), sitk.GetArrayFromImage(sitk.ReadImage(str(t1))).T
    turned = affine((3, 0, 0), corner=(3, 0, 0), zooms=(1, 1, 1)) @ values
    write_nifti_header(t1, array, sform=(values, 2), qform=(turned, 1))
    return root


@pytest.fixture(scope="module")
def common(dataset: Path, preset: Path, tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    """Arguments of all runs; they share the prepared cases."""
    cache = tmp_path_factory.mktemp("cache")
    rest: list[object] = ["--preset", preset, "--cache", cache, "--workers", 1, "--device", "cpu"]
    return [dataset, "--folds", 3, *rest]


@pytest.fixture(scope="module")
def run(common: list[object], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "premier essai"
    assert train(*common, "-o", folder) == 0
    return folder


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_run_leaves_everything(run: Path) -> None:
    folds = read_folds(run / "folds.json")
    rows = table(run / "predictions.csv")
    assert [row["case"] for row in rows] == NAMES
    for row in rows:
        assert row["case"] in folds.folds[int(row["fold"])].test
        assert all((run / row[k]).is_file() for k in ("synthetic", "pet", "t1", "mask"))
        assert row["window_min"] == "60-90"  # of the PET, and in the file of what was compared
        assert read_pet(run / row["pet"]).minutes == (60, 90)
    for k in range(3):
        bundle = read_bundle(run / f"fold_{k}" / "bundle")
        assert bundle.metadata["training"]["fold"] == k and bundle.id == f"premier-essai-fold{k}"
        assert len(table(run / f"fold_{k}" / "checkpoints" / "metrics.csv")) == 2
        assert (run / f"fold_{k}" / "mean_pet.nii.gz").is_file()
    assert set(json.loads((run / "baselines.json").read_text())["folds"]) == {"0", "1", "2"}
    assert (run / "evaluation" / "report.html").is_file()
    people = table(run / "subjects.csv")
    assert [row["subject"] for row in people] == ["p1", "p2", "p3", "p4", "p5", "p6"]
    assert people[0]["scans"] == "2" and people[0]["training mean: mse"]
    page = (run / "report.html").read_text(encoding="utf-8")
    for words in (
        "training mean",
        "warped average",
        "learning_rate",
        "torch",
        "s a step",
        "data:image/png",
        "viewer-data",
    ):
        assert words in page


@pytest.mark.parametrize("name", ["report.html", "evaluation/report.html"])
def test_no_table_is_wider_than_the_window_or_the_printed_page(run: Path, name: str, tmp_path: Path) -> None:
    """The evaluation has four baselines side by side, by region."""
    on_screen, on_paper = widths_of_tables(run / name, tmp_path)
    assert 0 < on_screen <= 1200 and 0 < on_paper <= 1047


def test_report_and_card_set_the_network_beside_the_baselines(run: Path) -> None:
    """Means, differences and intervals are those of NumPy and SciPy on subjects.csv."""
    people = table(run / "subjects.csv")
    model = read_bundle(run / "ensemble")
    rows = {row["predictor"]: row for row in model.metadata["baselines"]["out_of_fold"]}
    assert list(rows) == ["network", "constant", "cubic of T1", "training mean", "warped average"]
    network = np.array([float(p["network: mse"]) for p in people])
    page = " ".join((run / "report.html").read_text(encoding="utf-8").split())
    best = min(list(rows)[1:], key=lambda name: rows[name]["means"]["mse"])
    for name, row in rows.items():
        own = np.array([float(p[f"{name}: mse"]) for p in people])
        assert row["means"]["mse"] == pytest.approx(own.mean(), rel=1e-4) and row["n_people"] == 6
        if name != "network":
            difference = network - own
            assert row["difference"] == pytest.approx(difference.mean(), rel=1e-3)
            assert row["n_network_better"] == np.count_nonzero(difference < 0)
            low, high = stats.bootstrap((difference,), np.mean, method="percentile").confidence_interval
            assert [row["low"], row["high"]] == pytest.approx([low, high], abs=0.2 * (high - low))
        assert f"| {name} |" in model.card()
    sides = {True: "is worse than the network", False: "is BETTER than the network"}
    tied = rows[best]["low"] <= 0 <= rows[best]["high"]
    verdict = "cannot be told from the network by these people" if tied else sides[rows[best]["high"] < 0]
    assert f"The best baseline, {best}, {verdict}." in model.card()
    assert f"The best baseline, {best}, {verdict}: mean difference of the MSE" in page


def test_a_split_by_site_tests_its_people_only(
    common: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "sites"
    assert (
        main(["train", *map(str, common), "-o", str(folder), "--test-site", "Oslo", "--check"], COMMANDS) == 0
    )
    assert "7 of 7 cases, one split: tested at Oslo" in capsys.readouterr().out
    assert train(*common, "-o", folder, "--test-site", "Oslo", "--leave-one-site-out") == 3
    assert train(*common, "-o", folder, "--test-site", "Oslo") == 0
    rows = table(folder / "predictions.csv")
    assert [row["case"] for row in rows] == ["p1_01", "p1_02", "p4_01"]
    assert {row["site"] for row in rows} == {"Oslo"}
    tested = {image for row in rows for image in images_in(folder, row["case"])}
    ensemble = read_bundle(folder / "ensemble").metadata
    assert len(tested) == 6 and not tested & set(ensemble["training"]["images"])
    assert (
        len(ensemble["training"]["images"]) == 8 and "4 T1/PET pairs of 4 people" in ensemble["description"]
    )
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "3 scans of 2 people, one split: tested at Oslo." in " ".join(page.split())


def images_in(run: Path, case: str) -> list[str]:
    """Checksums of the voxels of a case's T1 and PET."""
    row = next(row for row in table(run / "cases.csv") if row["case"] == case)
    images = (read_image(Path(row["t1"]), kind="t1").image, sitk.ReadImage(row["pet"]))
    return [sha256_of_voxels(sitk.GetArrayViewFromImage(image)) for image in images]


def test_predictions_lie_on_the_t1_in_every_reader(run: Path) -> None:
    row = table(run / "predictions.csv")[-1]
    for name in ("synthetic", "pet", "mask"):
        assert apart(run / row["t1"], run / row[name], (SIZE,) * 3) == (0, 0), name
        assert is_output(run / row[name])


def test_a_prediction_is_what_the_fold_s_bundle_synthesises(run: Path) -> None:
    row = table(run / "predictions.csv")[0]
    t1 = read_image(run / row["t1"], kind="t1").image
    mask = read_image(run / row["mask"], kind="mask").image
    result = synthesize(t1, read_bundle(run / f"fold_{row['fold']}" / "bundle"), mask=mask, device="cpu")
    prediction = sitk.GetArrayFromImage(sitk.ReadImage(str(run / row["synthetic"])))
    np.testing.assert_allclose(sitk.GetArrayFromImage(result.pet), prediction, atol=1e-5)


def test_the_ensemble_has_an_sd_map_where_it_was_asked_for(run: Path, dataset: Path, tmp_path: Path) -> None:
    case = dataset / NAMES[0]
    arguments = ["synthesize", str(case / "T1.nii.gz"), "--mask", str(case / "brain_mask.nii.gz")]
    arguments += ["--model", str(run / "ensemble"), "-o", str(tmp_path), "--device", "cpu"]
    assert main([*arguments, "--progress", "none"]) == 0
    assert not list(tmp_path.glob("*SD_pet*"))
    assert main([*arguments, "--progress", "none", "--member-sd"]) == 0
    (sd,) = tmp_path.glob("*_desc-syntheticSD_pet.nii.gz")
    values = sitk.GetArrayFromImage(sitk.ReadImage(str(sd)))
    assert values.max() > 0 and np.isfinite(values).all()
    assert read_bundle(run / "ensemble").is_demonstration is False


def test_a_run_is_not_overwritten_and_resume_does_nothing_twice(
    run: Path, common: list[object], capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(*common, "-o", run) == 3
    assert "Add --resume" in capsys.readouterr().err
    assert train(*common, "-o", run, "--resume", "--epochs", 5) == 3
    assert "preset.epochs was 2, is 5" in capsys.readouterr().err
    bundles = [run / f"fold_{k}" / "bundle" / "configs" / "metadata.json" for k in range(3)]
    before = [path.stat().st_mtime_ns for path in bundles]
    assert train(*common, "-o", run, "--resume") == 0
    assert [path.stat().st_mtime_ns for path in bundles] == before


def test_until_a_fold_begins_a_run_may_get_other_settings(common: list[object], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert train(*common, "-o", folder, "--check") == 0
    assert train(*common, "-o", folder, "--check", "--folds", 2) == 0
    assert len(read_folds(folder / "folds.json").folds) == 2
    before = (folder / "folds.json").stat().st_mtime_ns
    assert train(*common, "-o", folder, "--check", "--folds", 2) == 0
    assert (folder / "folds.json").stat().st_mtime_ns == before
    (folder / "fold_0").mkdir()
    assert train(*common, "-o", folder, "--check", "--resume") == 3


def test_folds_one_by_one_equal_all_at_once(
    run: Path, common: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "premier essai"
    for k in range(3):
        assert not (other / "ensemble").exists()
        assert main(["train", *map(str, common), "-o", str(other), "--fold", str(k)], COMMANDS) == 0
        error = capsys.readouterr().err  # no terminal: what is needed to plan is in a job's log file
        assert "s a case to prepare" in error
        assert f"Fold {k}: 2 epochs" in error and "s a step" in error and "s a case and epoch" in error
    for k in range(3):
        ids = [read_bundle(folder / f"fold_{k}" / "bundle").sha256 for folder in (run, other)]
        assert ids[0] == ids[1]
    assert (other / "report.html").is_file()


@pytest.mark.slow
def test_folds_at_once_equal_one_by_one(run: Path, common: list[object], tmp_path: Path) -> None:
    other = tmp_path / "premier essai"
    shutil.copytree(run, other)
    for k in (1, 2):
        shutil.rmtree(other / f"fold_{k}")
    assert train(*common, "-o", other, "--resume", "--folds-at-once", 2) == 0
    for k in range(3):
        ids = [read_bundle(folder / f"fold_{k}" / "bundle").sha256 for folder in (run, other)]
        assert ids[0] == ids[1]
    assert (other / "report.html").is_file()


def test_genotypes_are_adjusted_on_training_people_only(common: list[object], tmp_path: Path) -> None:
    from MRI2PETLib.core.progress import QuietReporter
    from MRI2PETTrainingLib.crossval import prepare_run
    from MRI2PETTrainingLib.dataset.cache import PreparedCase
    from MRI2PETTrainingLib.dataset.genotype import adjust
    from MRI2PETTrainingLib.plan import plan_of
    from MRI2PETTrainingLib.settings import Task, TrainingSettings

    settings = TrainingSettings(
        str(common[0]),
        str(tmp_path / "run"),
        preset=str(common[4]),
        folds=2,
        adjust_genotype=True,
        cache=Path(str(common[6])),
    )
    _, prepared, _ = prepare_run(plan_of(settings, Task()), QuietReporter())
    train_cases = [prepared[name] for name in NAMES[:5]]
    test_cases = [prepared[name] for name in NAMES[5:]]
    a, _, tested = adjust(tmp_path / "a", train_cases, [], test_cases)

    def group_gap(entries: list[PreparedCase]) -> float:
        """Mean absolute difference of the group means, in model space."""
        sides = []
        for genotype in ("HAB", "MAB"):
            own = [e for e in entries if e.case.genotype == genotype]
            people = {e.case.subject: np.array(e.arrays()[1], dtype=float) for e in own}
            sides.append(np.mean(list(people.values()), axis=0))
        return float(np.abs(sides[0] - sides[1]).mean())

    def target_over_pet(entry: PreparedCase) -> float:
        grid = Grid(**{key: tuple(value) for key, value in entry.about["model_grid"].items()})
        pet, measured = (sitk.GetArrayFromImage(resample(image, grid)) for image in entry.real())
        _, target, mask = np.array(entry.arrays(), dtype=float)
        inside = (mask > 0) & (measured > 0.99)
        return float(target[inside].mean() / pet[inside].mean())

    assert group_gap(a) < group_gap(train_cases)
    # The test people's PETs decide nothing: without them the training cases are the same.
    b, _, _ = adjust(tmp_path / "b", train_cases, [], [])
    for x, y in zip(a, b):
        np.testing.assert_array_equal(x.arrays(), y.arrays())
    assert not np.array_equal(tested[0].arrays(), test_cases[0].arrays())

    # The network's target and the PET beside it are scaled again alike: their ratio stays what it was.
    for x, y in zip([*train_cases, *test_cases], [*a, *tested]):
        assert target_over_pet(y) == pytest.approx(target_over_pet(x), rel=2e-3)
    # The baselines are of the adjusted target, too: the cubic's sums by hand, at the width 0.
    before, after = (entries[0].about["cubic"]["0"] for entries in (train_cases, a))
    t1 = sitk.GetArrayFromImage(read_image(a[0].case.t1, kind="t1").image).astype(float)
    y, measured = (sitk.GetArrayFromImage(image).astype(float) for image in a[0].real())
    inside = (sitk.GetArrayFromImage(sitk.ReadImage(str(a[0].folder / "mask.nii.gz"))) > 0) & (measured > 0)
    low, high = np.percentile(t1[inside], (1, 99))
    x = np.clip((t1[inside] - low) / (high - low), 0, 1)
    assert after["x"] == pytest.approx([np.mean(x**n) for n in range(7)], rel=1e-4)
    assert after["xy"] == pytest.approx([np.mean(y[inside] * x**n) for n in range(4)], rel=1e-4)
    assert abs(after["xy"][1] / before["xy"][1] - 1) > 1e-4
    in_mni = [np.array([e.in_mni() for e in entries], dtype=float) for entries in (train_cases, a)]
    hab = np.array([e.case.genotype == "HAB" for e in a])
    there = np.isfinite(in_mni).all(axis=(0, 1))
    gaps = [np.abs(m[hab].mean(axis=0) - m[~hab].mean(axis=0))[there].mean() for m in in_mni]
    assert there.sum() > 1e4 and gaps[1] < gaps[0]


def test_an_adjustment_for_genotype_is_of_pet(
    common: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(common[0], "-o", tmp_path / "run", "--preset", "choilee2018", "--adjust-genotype") == 3
    assert "--adjust-genotype is for a model that makes a PET" in capsys.readouterr().err


def test_a_split_that_cannot_be_made_is_refused_before_anything_is_prepared(
    common: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset, _, _, *rest = common
    rest[rest.index("--cache") + 1] = tmp_path / "cache"
    for wrong, message in ((["--test-site", "Paris"], "Sites: Oslo, Rome"), (["--folds", 7], "6 people")):
        assert train(dataset, "-o", tmp_path / "run", *rest, *wrong) == 3
        assert message in capsys.readouterr().err
        assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("one case", "1 case(s) of 1 person cannot be split"),
        ("one person", "7 case(s) of 1 person cannot be split"),
        ("more folds than people", "6 people cannot be split into 9 folds"),
        ("a file in the way", "Cannot write"),
        ("a read-only folder", "Cannot write"),
        ("another folder's files", "is not empty and holds no run"),
        ("no such fold", "There is no fold 7"),
    ],
)
def test_what_cannot_be_trained_is_said(
    common: list[object],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: str,
    message: str,
) -> None:
    dataset, *rest = common
    more: list[object] = []
    run = tmp_path / "run"
    if change in ("one case", "one person"):
        copy = Path(shutil.copytree(str(dataset), tmp_path / "copy"))
        rows = table(copy / "manifest.csv")
        rows = (
            rows[:1]
            if change == "one case"
            else [{**row, "subject": "p", "group": "", "genotype": ""} for row in rows]
        )
        write_table(copy, rows)
        dataset = copy
    elif change == "more folds than people":
        more = ["--folds", 9]
    elif change == "a file in the way":
        (tmp_path / "file").write_text("")
        run = tmp_path / "file" / "run"
    elif change == "a read-only folder":
        (tmp_path / "locked").mkdir(mode=0o555)
        # Whoever may write to everything cannot write to /proc either.
        locked = not os.access(tmp_path / "locked", os.W_OK)
        run = tmp_path / "locked" / "run" if locked else Path("/proc/run")
    elif change == "another folder's files":
        run.mkdir()
        (run / "thesis.docx").write_text("")
    else:
        more = ["--fold", 7]
    assert train(dataset, *rest, "-o", run, *more) in (3, 7)
    assert message in capsys.readouterr().err


def test_one_person_under_two_ids_is_refused(
    tmp_path: Path, preset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_dataset(tmp_path / "ds", ["a1", "b1", "c1"])
    write_pair(root / "d1", 0)  # the images of a1
    assert train(root, "-o", tmp_path / "run", "--preset", preset, "--folds", 2) == 3
    assert "one person under two ids" in capsys.readouterr().err


def test_the_command_is_registered() -> None:
    from MRI2PETLib.cli import find_commands

    assert find_commands()["train"] is command
