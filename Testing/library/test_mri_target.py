"""A synthetic MRI is compared with the T1, in words, baselines and metrics that fit it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from evaluation_cases import like, sidecar, write_table
from MRI2PETLib.cli import main
from MRI2PETLib.evaluation.region_table import read_region_rows
from MRI2PETLib.images.io import write_image
from MRI2PETLib.simulation import SimulatedSubject, simulate_subject


def scaled(subject: SimulatedSubject) -> np.ndarray:
    """The T1 with its 1st and 99th percentile in the brain at 0 and 1, 0 outside, by NumPy."""
    t1, inside = (sitk.GetArrayFromImage(i) for i in (subject.t1, subject.brain_mask))
    low, high = np.percentile(t1[inside > 0], (1, 99))
    return (np.clip((t1 - low) / (high - low), 0, 1) * inside).astype(np.float32)


def write_person(folder: Path, seed: int) -> dict[str, str]:
    """T1, PET and a pretended synthetic MRI: the scaled T1 pulled halfway to its mean."""
    subject = simulate_subject(seed, spacing_mm=6.0)
    inside = sitk.GetArrayFromImage(subject.brain_mask) > 0
    t1 = scaled(subject)
    made = np.where(inside, t1[inside].mean() + 0.5 * (t1 - t1[inside].mean()), 0).astype(np.float32)
    about = {**sidecar(subject, "normalised"), "Modality": "MR", "TracerName": ""}
    folder.mkdir(parents=True)
    write_image(subject.t1, folder / "T1.nii.gz")
    write_image(subject.pet, folder / "PET.nii.gz", {"Units": "SUV", "TracerName": "PBR28"})
    write_image(subject.brain_mask, folder / "mask.nii.gz")
    write_image(like(made, subject.t1), folder / "synthetic.nii.gz", about)
    return {"synthetic": "synthetic", "pet": "PET", "t1": "T1", "mask": "mask"}


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("people")
    rows = []
    for n in range(3):
        names = write_person(folder / f"p{n}", n)
        files = {role: f"p{n}/{name}.nii.gz" for role, name in names.items()}
        rows.append({"case": f"p{n}", "subject": f"p{n}", **files})
    write_table(folder / "pairs.csv", rows)
    return folder


def test_one_case(people: Path, tmp_path: Path) -> None:
    """r = 1 and MSE by hand against the T1; what is a ratio to zero is left out with the reason."""
    files = {name: people / "p0" / f"{name}.nii.gz" for name in ("synthetic", "PET", "T1", "mask")}
    arguments = ["--synthetic", files["synthetic"], "--pet", files["PET"], "--mask", files["mask"]]
    command = [str(a) for a in ("evaluate", *arguments, "-o", tmp_path / "out", "--progress", "none")]
    assert main(command) == 3  # the T1 is what it is compared with
    assert main([*command, "--t1", str(files["T1"])]) == 0
    content = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert content["direction"]["target"] == "MR" and content["scales"].keys() == {"stated"}
    network = content["scales"]["stated"]["network"]
    subject = simulate_subject(0, spacing_mm=6.0)
    inside = sitk.GetArrayFromImage(subject.brain_mask) > 0
    t1 = scaled(subject)[inside]
    assert network["pearson_r"] == pytest.approx(1, abs=1e-5)
    assert network["mse"] == pytest.approx(0.25 * t1.var(), rel=1e-4)
    for name in ("normdiff_median", "percent_difference", "smoothed_mse"):
        assert network[name] is None and network["not_available"][name]
    names = list(content["scales"]["stated"]["baselines"])
    assert names == ["constant", "cubic of PET", "training mean", "warped average"]
    null = content["scales"]["stated"]["baselines"]["warped average"]
    assert 0.4 < null["pearson_r"] < 0.95
    rows = read_region_rows(tmp_path / "out" / "regions.csv")
    assert all(row.mean_t1 is None and row.metrics["normdiff_median"] is None for row in rows)
    page = (tmp_path / "out" / "report.html").read_text()
    for words in ("Synthetic MRI, computed from the PET", "the T1 template (ICBM 152), placed by an affine"):
        assert words in page
    for words in ("computed from the T1", "synthetic PET", "against real PET", "real PET in", "NormDiff ="):
        assert words not in page, words
    assert page.count("Left out:") == 3 and "both PETs" not in page and "regions of two sides" not in page
    assert "PSNR = 10 log10" in page.split('id="definitions"')[1]
    assert not (tmp_path / "out" / "normdiff.nii.gz").exists()


def test_a_cohort(people: Path, tmp_path: Path) -> None:
    arguments = ["evaluate", "--pairs", people / "pairs.csv", "-o", tmp_path / "out", "--progress", "none"]
    assert main([str(a) for a in arguments]) == 0
    content = json.loads((tmp_path / "out" / "cohort.json").read_text())
    assert content["direction"] == {"source": "PET", "target": "MR", "tracer": ""}
    assert content["specificity"] == [] and content["paper_table4"] == []
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("Left out:") >= 4 and "Synthetic MRI, computed from the PET" in page
    assert not (tmp_path / "out" / "specificity.csv").exists()
