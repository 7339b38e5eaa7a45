"""``mri2pet bids --analysis``: the real PETs of a dataset, each as its own command reads it out."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from bundles import tiny_bundle
from MRI2PETLib.cli import build_parser, main
from MRI2PETLib.commands.bids import ANALYSES
from MRI2PETLib.core.errors import EXIT_PARTIAL, InputError
from MRI2PETLib.core.progress import Reporter, no_progress
from MRI2PETLib.evaluation.cohort_cases import read_pairs
from MRI2PETLib.evaluation.settings import EvaluationSettings
from MRI2PETLib.evaluation.spaces import mni_grid
from MRI2PETLib.images.formats import sidecar_path
from MRI2PETLib.images.io import write_image
from MRI2PETLib.models.bundle import DEMONSTRATION_NOTE
from MRI2PETLib.normative.build import assemble, fit_norm
from MRI2PETLib.normative.design import NormCovariate, design_row
from MRI2PETLib.normative.person import RegionSet
from MRI2PETLib.normative.settings import NormSettings
from MRI2PETLib.reports.bids_analysis_kinds import SUVR_TABLE
from MRI2PETLib.simulation.subject import SimulatedSubject, simulate_subject
from MRI2PETLib.suvr.settings import SuvrSettings
from MRI2PETLib.synthesis.bids_selection import BidsNorm
from MRI2PETLib.templates.icbm152 import load_template
from test_bids_validator import issues, validator
from test_norm import FWHM_MM, about, readouts, regions_on, written

pytestmark = pytest.mark.usefixtures("quick_registration")
assert validator  # a fixture
PLACE = "sub-01/ses-a/pet/sub-01_ses-a_trc-PBR28_desc-suvr"
EVALUATED = "sub-01/ses-a/pet/sub-01_ses-a_trc-PBR28_desc-evaluation_report"


def parsed(*options: str) -> Any:
    return build_parser().parse_args(["bids", "in", "out", "participant", *options])


def refused(*options: str) -> str:
    with pytest.raises(InputError) as caught:
        ANALYSES.of(parsed(*options))
    return f"{caught.value.message} {caught.value.hint}"


def test_each_analysis_has_the_options_of_its_command() -> None:
    own = SuvrSettings("a.nii", "x", "y", Path("l.csv"), True, "m", (Path("p"), Path("q")), True, "gtm", 5.0)
    line = ["--analysis=suvr", *own.arguments(), "--window", "60", "90", "--realign-frames"]
    settings, reading = ANALYSES.of(parsed(*line))
    assert settings == own
    assert (reading.window, reading.realign_frames) == ((60.0, 90.0), True)  # type: ignore[attr-defined]
    evaluation = EvaluationSettings(atlas=("a", "b"), pet_unit="SUV", to_synthetic_unit=True, seed=4)
    args = parsed("--analysis=evaluate", *ANALYSES.arguments(parsed("--analysis=evaluate"), [evaluation])[1:])
    assert ANALYSES.of(args) == [evaluation]
    norm, score = ANALYSES.of(
        parsed("--analysis=score", "--norm=n", "--covariate=age=67", "--with-synthetic")
    )
    assert norm == BidsNorm(Path("n"), True)
    assert score.covariate == ("age=67",)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--analysis=suvr", "--reference=x"], "--analysis suvr needs --atlas"),
        (["--analysis=suvr", "--atlas=a", "--atlas=b", "--reference=x"], "--atlas is given 2 times"),
        (["--analysis=score"], "needs --norm"),
        (["--samples=3", "--analysis=evaluate"], "--samples is no option of --analysis evaluate.*synthesize"),
        (["--norm=n"], "--norm is no option of --analysis synthesize.*--analysis score has it"),
    ],
)
def test_an_option_of_another_analysis_is_refused(options: Sequence[str], message: str) -> None:
    assert re.search(message, refused(*options))


@pytest.fixture(scope="module")
def person() -> SimulatedSubject:
    return simulate_subject(5, spacing_mm=6.0)


@pytest.fixture(scope="module")
def dataset(person: SimulatedSubject, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A session with a PET, one whose PET is broken, one without."""
    root = tmp_path_factory.mktemp("analyses") / "raw"
    for session in "abc":
        name = root / f"sub-01/ses-{session}/anat/sub-01_ses-{session}_T1w.nii.gz"
        name.parent.mkdir(parents=True)
        write_image(person.t1, name)
    pet = root / f"{PLACE.removesuffix('_desc-suvr')}_pet.nii.gz"
    pet.parent.mkdir(parents=True)
    write_image(person.pet, pet, {"Units": "SUV"})
    broken = root / "sub-01/ses-b/pet/sub-01_ses-b_pet.nii.gz"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"broken")
    (root / "dataset_description.json").write_text(json.dumps({"Name": "raw", "BIDSVersion": "1.10.0"}))
    (root / "participants.tsv").write_text("participant_id\tdiagnosis\tage\nsub-01\tcontrol\t61\n")
    return root


def bids(dataset: Path, level: str, *options: str) -> int:
    return main(["bids", str(dataset), str(dataset.parent / "out"), level, "--progress=none", *options])


@pytest.fixture(scope="module")
def options(dataset: Path) -> list[str]:
    """An atlas of front and back of the brain in MNI space."""
    mask = load_template().mask
    labels = sitk.GetArrayFromImage(mask).astype(np.uint8)
    labels[:, labels.shape[1] // 2 :] *= 2
    image = sitk.GetImageFromArray(labels)
    image.CopyInformation(mask)
    names = {"Labels": {"1": "front", "2": "back"}}
    atlas = write_image(image, dataset.parent / "atlas.nii.gz", names)
    return [f"--atlas={atlas}", "--reference=front", "--device=cpu"]


@pytest.fixture(scope="module")
def measured(dataset: Path, options: list[str]) -> Path:
    assert bids(dataset, "participant", "--analysis=suvr", *options) == EXIT_PARTIAL
    return dataset.parent / "out"


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_suvr_of_a_dataset_is_that_of_the_command(dataset: Path, measured: Path, options: list[str]) -> None:
    """Byte for byte, the record among them."""
    pet = dataset / f"{PLACE.removesuffix('_desc-suvr')}_pet.nii.gz"
    t1 = dataset / "sub-01/ses-a/anat/sub-01_ses-a_T1w.nii.gz"
    alone = dataset.parent / "alone"
    line = ["suvr", str(pet), f"--t1={t1}", "-o", str(alone), "--progress=none", *options]
    assert main(line) == 0
    names = {path.name for path in alone.iterdir()}
    own = measured / f"{PLACE}_report"
    assert {path.name for path in own.iterdir()} == names and "suvr_pet.nii.gz" in names
    assert all((own / name).read_bytes() == (alone / name).read_bytes() for name in names)
    derivative = measured / f"{PLACE}_pet.nii.gz"
    assert derivative.read_bytes() == (alone / "suvr_pet.nii.gz").read_bytes()
    about = json.loads(sidecar_path(derivative).read_text())
    assert about["Sources"] == [f"bids:raw:{pet.relative_to(dataset).as_posix()}"]
    assert about["Units"] == "SUVR"


def test_the_table_says_who_failed_and_a_second_run_does_nothing(
    dataset: Path, measured: Path, options: list[str]
) -> None:
    first, second = rows(measured / "suvr_status.csv")
    assert (first["case"], first["status"], first["method"]) == ("sub-01_ses-a", "done", "real MR")
    assert first["pet"].endswith("_trc-PBR28_pet.nii.gz") and float(first["composite"]) > 0
    assert (second["case"], second["status"]) == ("sub-01_ses-b", "failed")
    record = measured / f"{PLACE}_status.json"
    before = record.stat().st_mtime_ns
    assert bids(dataset, "participant", "--analysis=suvr", *options) == EXIT_PARTIAL
    assert record.stat().st_mtime_ns == before
    assert [row.status for row in SUVR_TABLE.read(measured)] == ["done", "failed"]
    assert not list(measured.rglob(".*claim"))


def test_the_group_has_the_tables_and_the_page_of_all(dataset: Path, measured: Path) -> None:
    assert bids(dataset, "group", "--analysis=suvr") == 0
    table = rows(measured / "group_suvr.csv")
    assert {row["case"] for row in table} == {"sub-01_ses-a"}
    assert {row["method"] for row in table} == {"real MR", "PET template"}
    assert {row["group"] for row in rows(measured / "group_suvr_levels.csv")} == {"control"}
    text = (measured / "group_suvr.html").read_text(encoding="utf-8")
    assert "DEMONSTRATION" not in text, "no model was used"
    content = json.loads(re.findall(r'id="data">(.*?)</script>', text, re.DOTALL)[0])
    assert [(c["case"], c["verdict"]) for c in content["cases"]][0] == ("sub-01_ses-b", "failed")
    good = content["cases"][1]
    assert good["picture"] == f"./{PLACE}_report/report.html" and good["composite"] > 0
    assert "composite" in content["numeric"]


def test_the_group_of_some_people_is_of_them_only(dataset: Path, measured: Path) -> None:
    assert bids(dataset, "group", "--analysis=suvr", "--session-label=b") == 0
    assert not (measured / "group_suvr.csv").exists(), "of that session no PET could be measured"
    assert bids(dataset, "group", "--analysis=suvr", "--session-label=a") == 0
    assert {row["case"] for row in rows(measured / "group_suvr.csv")} == {"sub-01_ses-a"}


def test_no_session_with_a_pet(dataset: Path, options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert bids(dataset, "participant", "--analysis=suvr", "--session-label=c", *options) == 3
    assert "No session" in capsys.readouterr().err


@pytest.fixture(scope="module")
def synthesised(dataset: Path) -> Path:
    """The session with a PET, by a model that knows nothing."""
    tiny_bundle(dataset.parent / "model")
    assert bids(dataset, "participant", *synthesis_options(dataset)) == 0
    return dataset.parent / "out"


def synthesis_options(dataset: Path) -> list[str]:
    return [f"--model={dataset.parent / 'model'}", "--session-label=a", "--device=cpu"]


def test_without_a_synthetic_pet_there_is_nothing_to_evaluate(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["bids", str(dataset), str(tmp_path / "out"), "participant", "--analysis=evaluate"]
    assert main([*line, "--session-label=a", "--progress=none"]) == 3
    assert "holds no synthetic PET of sub-01_ses-a" in capsys.readouterr().err
    assert rows(tmp_path / "out/evaluation_status.csv")[0]["status"] == "failed"


def test_evaluation_of_what_was_synthesised(
    dataset: Path, synthesised: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And what an evaluation leaves beside the synthetic PET is no reason to make that again."""
    more = ["--analysis=evaluate", "--session-label=a", "--scale-free"]
    assert bids(dataset, "participant", *more) == 0
    row = rows(synthesised / "evaluation_status.csv")[0]
    content = json.loads((synthesised / f"{EVALUATED}/metrics.json").read_text())
    own = content["scales"]["scale-free"]["network"]
    assert float(row["pearson_r"]) == pytest.approx(own["pearson_r"], rel=1e-3)
    assert bids(dataset, "group", "--analysis=evaluate") == 0
    assert DEMONSTRATION_NOTE in (synthesised / "group_evaluation.html").read_text(encoding="utf-8")
    table = rows(synthesised / "group_evaluation.csv")
    network = next(line for line in table if line["predictor"] == "network")
    assert float(network["mae"]) == own["mae"]
    pairs = read_pairs(synthesised / "group_evaluation_pairs.csv", Reporter())
    assert pairs[0].paths.pet.samefile(dataset / f"{PLACE.removesuffix('_desc-suvr')}_pet.nii.gz")
    assert (pairs[0].subject, pairs[0].group) == ("sub-01", "control")
    assert list(synthesised.rglob("*_warp.npz"))
    capsys.readouterr()
    assert bids(dataset, "participant", *synthesis_options(dataset)) == 0
    assert capsys.readouterr().out.startswith("sub-01_ses-a: kept")


def test_score_by_a_norm_with_the_age_that_the_dataset_states(dataset: Path, synthesised: Path) -> None:
    age = NormCovariate("age", (), (50.0,), 40.0, 80.0)
    mask, parcellations = sitk.GetArrayFromImage(mni_grid()) != 0, regions_on(mni_grid())
    design = np.array([design_row((age,), {"age": years}) for years in (41.0, 45.0, 52.0, 58.0, 66.0)])
    data = assemble(readouts(mask, range(5)), design, mask, RegionSet.of(parcellations))
    own = about((age,), n_people=5, n_scans=5, demonstration=True)
    norm = fit_norm(data, parcellations, own, NormSettings(fwhm_mm=FWHM_MM), no_progress)
    folder = written(norm, dataset.parent / "norm")
    more = ["--analysis=score", f"--norm={folder}", "--with-synthetic", "--session-label=a", "--device=cpu"]
    assert bids(dataset, "participant", *more) == 0
    record = json.loads(next(synthesised.rglob("*_desc-score_status.json")).read_text())
    assert record["settings"]["covariate"] == ["age=61"]
    assert bids(dataset, "group", "--analysis=score") == 0
    regions = rows(synthesised / "group_score.csv")
    assert {line["case"] for line in regions} == {"sub-01_ses-a"} and any(line["z"] for line in regions)
    report = next(synthesised.rglob("*_desc-score_report/report.html")).read_text(encoding="utf-8")
    for page in (report, (synthesised / "group_score.html").read_text(encoding="utf-8")):
        assert "DEMONSTRATION NORM." in page and DEMONSTRATION_NOTE in page, "of norm and prediction"


def test_the_page_of_all_cases_says_that_the_model_is_a_demonstration(
    dataset: Path, synthesised: Path
) -> None:
    assert bids(dataset, "group") == 0
    assert DEMONSTRATION_NOTE in (synthesised / "group.html").read_text(encoding="utf-8")
    assert DEMONSTRATION_NOTE in rows(synthesised / "synthesis_status.csv")[0]["note"]


def test_the_read_outs_are_bids_derivatives(validator: str, measured: Path, synthesised: Path) -> None:
    """With SUVR, evaluation and score in one folder."""
    assert len(list(measured.rglob("report.html"))) == 3
    assert issues(validator, measured) == []
