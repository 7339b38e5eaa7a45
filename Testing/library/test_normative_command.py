"""``mri2pet normative`` from a run folder to a report: four simulated controls, a norm with its own model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from browser import widths_of_tables
from bundles import tiny_bundle
from evaluation_cases import like, predicted, real_suvr, sidecar, write_table
from MRI2PETLib.cli import main
from MRI2PETLib.core.errors import Cancelled
from MRI2PETLib.evaluation.inputs import load_case, warp_beside
from MRI2PETLib.evaluation.settings import CasePaths
from MRI2PETLib.images.io import write_image
from MRI2PETLib.models.bundle import DEMONSTRATION_NOTE, read_bundle
from MRI2PETLib.normative import build
from MRI2PETLib.normative.norm_folder import read_norm
from MRI2PETLib.preprocessing.pet_frames import frame_times_to_bids
from MRI2PETLib.simulation import simulate_subject

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("quick_registration")]
CASES = [f"case{number}" for number in range(4)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four people of one anatomy, so that one registration serves all; the model knows nothing."""
    run = tmp_path_factory.mktemp("norms") / "run"
    subject = simulate_subject(7, spacing_mm=6.0)
    rows = []
    for number, case in enumerate(CASES):
        folder = run / case
        folder.mkdir(parents=True)
        noise = ndimage.gaussian_filter(np.random.default_rng(number).standard_normal((32, 36, 30)), 1.5)
        real = real_suvr(subject)
        real = real * (1 + 0.3 * noise[tuple(slice(n) for n in real.shape)])
        write_image(subject.t1, folder / "T1.nii.gz")
        write_image(like(predicted(subject), subject.t1), folder / "synthetic.nii.gz", sidecar(subject))
        about = {"Units": "SUVR", "Simulated": True, **frame_times_to_bids(60, 90)}
        write_image(like(real.astype(np.float32), subject.t1), folder / "real.nii.gz", about)
        if number:
            first = warp_beside(run / CASES[0] / "synthetic.nii.gz")
            shutil.copyfile(first, warp_beside(folder / "synthetic.nii.gz"))
        else:
            images = (folder / f"{name}.nii.gz" for name in ("synthetic", "real", "T1"))
            load_case(CasePaths(*images))
        names = {"synthetic": "synthetic", "pet": "real", "t1": "T1"}
        files = {role: f"{case}/{name}.nii.gz" for role, name in names.items()}
        rows.append({"case": case, "subject": case, "fold": "0", **files, "group": "control"})
    write_table(run / "predictions.csv", rows)
    shutil.copytree(tiny_bundle(run / "tiny").folder, run / "ensemble")
    write_image(subject.brain_mask, run / "mask.nii.gz")
    return run


@pytest.fixture(scope="module")
def norm(run: Path) -> Path:
    output = run.parent / "norm"
    assert main(["normative", "build", str(run), "-o", str(output), "--allow-few", "--progress", "none"]) == 0
    return output


def test_few_people_need_a_word(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["normative", "build", str(run), "-o", str(run.parent / "few")]) == 3
    assert "4 controls; a norm needs 10 or more" in capsys.readouterr().err
    assert not (run.parent / "few").exists()


def test_a_norm_holds_nobody(run: Path, norm: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither image nor name nor place of a person is in it, and it is called a demonstration."""
    about = read_norm(norm).about
    assert (about.n_people, about.demonstration, about.unit_text) == (4, True, "SUVR (brain mask)")
    assert about.window_min == (60, 90) and set(read_bundle(run / "ensemble").weights.values()) <= set(
        about.predicted_by.checksums
    )
    texts = "".join(path.read_text() for path in (norm / "norm.json", norm / "card.md", norm / "regions.csv"))
    assert not any(name in texts for name in (*CASES, str(run)))
    card = (norm / "card.md").read_text()
    assert "DEMONSTRATION" in card and f"Controls were predicted by a {DEMONSTRATION_NOTE}" in card
    before = (norm / "norm.json").stat().st_mtime_ns
    assert main(["normative", "build", str(run), "-o", str(norm), "--allow-few", "-v"]) == 0
    assert "already there, kept" in capsys.readouterr().err
    assert (norm / "norm.json").stat().st_mtime_ns == before
    (norm.parent / "other").mkdir()
    (norm.parent / "other" / "notes.txt").write_text("mine")
    other = str(norm.parent / "other")
    assert main(["normative", "build", str(run), "-o", other, "--allow-few"]) == 3
    assert "holds no norm (notes.txt is there)" in capsys.readouterr().err


def test_no_table_of_a_score_is_wider_than_the_window_or_the_printed_page(
    run: Path, norm: Path, tmp_path: Path
) -> None:
    assert score(run, norm, run / CASES[1] / "real.nii.gz", "own") == 0
    on_screen, on_paper = widths_of_tables(run.parent / "own" / "report.html", tmp_path)
    assert 0 < on_screen <= 1200 and 0 < on_paper <= 1047


def test_a_build_that_was_stopped_goes_on(run: Path, norm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The controls that were read are not read again, the norm is the same, and no readout stays."""
    read: list[Path] = []

    def stop_at_third(paths: CasePaths, *arguments: object, **more: object) -> object:
        read.append(paths.pet)
        if len(read) == 3:
            raise Cancelled("stopped")
        return load_case(paths, *arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(build, "load_case", stop_at_third)
    arguments = ["normative", "build", str(run), "-o", str(run.parent / "twice"), "--allow-few"]
    assert main(arguments) == Cancelled.exit_code
    assert len(list((run / "cache" / "normative").glob("*/readout.npz"))) == 2
    (damaged, _) = sorted((run / "cache" / "normative").glob("*/readout.npz"))
    damaged.write_bytes(damaged.read_bytes()[:-9])  # as a full disk leaves it: it is made again
    assert main(arguments) == 0
    assert len(read) == 3 + 3 and not (run / "cache" / "normative").exists()
    one, two = (read_norm(folder) for folder in (norm, run.parent / "twice"))
    for part, kinds in one.models.items():
        for kind, model in kinds.items():
            np.testing.assert_array_equal(model.variance, two.models[part][kind].variance)
            np.testing.assert_array_equal(model.coefficients, two.models[part][kind].coefficients)


def score(run: Path, norm: Path, pet: Path, output: str, *more: str) -> int:
    t1, mask = run / CASES[0] / "T1.nii.gz", run / "mask.nii.gz"
    arguments = ["normative", "score", str(pet), f"--t1={t1}", f"--mask={mask}", f"--norm={norm}"]
    return main([*arguments, "-o", str(run.parent / output), "--progress", "json", *more])


def test_a_person_is_scored_by_the_norms_own_model(
    run: Path, norm: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pet = run / CASES[1] / "real.nii.gz"
    assert score(run, norm, pet, "own") == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    result = events[-1]
    assert result["event"] == "result" and result["demonstration"]
    assert all(Path(path).is_file() for path in result["files"].values())
    folder = run.parent / "own"
    assert "DEMONSTRATION" in (folder / "report.html").read_text()
    z, t1 = (sitk.ReadImage(str(p)) for p in (folder / "z.nii.gz", run / CASES[0] / "T1.nii.gz"))
    assert z.GetSize() == t1.GetSize() and np.isfinite(sitk.GetArrayViewFromImage(z)).all()
    assert list((folder / "predicted").rglob("*desc-synthetic_pet.nii.gz"))
    before = (folder / "report.html").stat().st_mtime_ns
    assert score(run, norm, pet, "own") == 0
    assert "already there, kept" in capsys.readouterr().out
    assert (folder / "report.html").stat().st_mtime_ns == before


def test_a_pet_of_other_minutes_and_another_model_are_told(
    run: Path, norm: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its weights are none of the norm's run, and the PET was measured at 40 to 60 min."""
    pet, synthetic = run.parent / "early.nii.gz", run.parent / "other_prediction.nii.gz"
    image = sitk.ReadImage(str(run / CASES[1] / "real.nii.gz"))
    write_image(image, pet, {"Units": "SUVR", **frame_times_to_bids(40, 60)})
    about = json.loads((run / CASES[1] / "synthetic.json").read_text())
    about["Provenance"]["model"] |= {"sha256": "c" * 64}
    write_image(sitk.ReadImage(str(run / CASES[1] / "synthetic.nii.gz")), synthetic, about)
    assert score(run, norm, pet, "early", f"--synthetic={synthetic}") == 0
    output = capsys.readouterr().out
    assert "covers only 0.0 of the 30 min from 60 to 90 min" in output
    assert "those of the controls were by" in output


@pytest.mark.parametrize(
    ("about", "words"),
    [
        ({"Units": "SUVR", "ReferenceRegion": "cerebellum"}, "SUVR by cerebellum, the norm is of SUVR by"),
        ({"Units": "normalised"}, "its zero is lost"),
        ({"Units": "VT"}, "is in VT"),
    ],
)
def test_another_unit_is_refused(
    run: Path, norm: Path, about: dict[str, str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pet = run.parent / "other.nii.gz"
    image = sitk.ReadImage(str(run / CASES[1] / "real.nii.gz"))
    write_image(image, pet, about)
    synthetic = run / CASES[1] / "synthetic.nii.gz"
    assert score(run, norm, pet, "refused", f"--synthetic={synthetic}") == 3
    error = [json.loads(line) for line in capsys.readouterr().out.splitlines()][-1]
    assert error["event"] == "error" and words in error["message"]
