"""Every family and both directions through the same run: folds, bundles, ensemble, predictions, report."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from MRI2PETLib.cli import main
from MRI2PETLib.models.bundle import read_bundle
from MRI2PETTrainingLib import command
from small_datasets import PRESET, rows_of, write_dataset, write_table

pytestmark = pytest.mark.usefixtures("quick_registration")

torch.set_num_threads(1)
COMMANDS = {"train": command}
NAMES = [f"p{n}_01" for n in range(1, 5)]
DIFFUSION = {
    "family": "diffusion",
    "network": {"objective": "rflow", "channels": [8, 16], "steps": 2},
    "loss": {"laplacian": 0.25, "laplacian_dims": 3, "weighting": "snr"},
}
BACKWARDS = {"model_space": {**PRESET["model_space"], "source": "suvr-half", "target": "mask-p1-p99"}}  # type: ignore[dict-item]


def train(*arguments: object) -> int:
    return main(["train", *map(str, arguments), "--progress", "none", "--device", "cpu"], COMMANDS)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_dataset(tmp_path_factory.mktemp("data"), NAMES)
    write_table(root, [{**row, "mask": f"{row['case']}/brain_mask.nii.gz"} for row in rows_of(root)])
    return root


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    """Runs share the prepared cases: preparing is what takes the time here."""
    return ["--cache", tmp_path_factory.mktemp("cache"), "--workers", 1]


def preset(folder: Path, **changes: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "tiny.json"
    path.write_text(json.dumps({**PRESET, **changes}))
    return path


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.slow
def test_a_diffusion_run_and_its_samples(tmp_path: Path, dataset: Path, cache: list[object]) -> None:
    pytest.importorskip("monai", reason="MONAI is not installed: pip install 'mri2pet[diffusion]'")
    run, out = tmp_path / "run", tmp_path / "out"
    options = ["--family", "diffusion", "--preset", preset(tmp_path, **DIFFUSION), "--folds", 2]
    common = [dataset, "-o", run, *options, *cache]
    assert train(*common, "--fold", 0) == 0
    assert not (run / "report.html").exists()
    assert train(*common, "--resume") == 0
    assert (run / "report.html").is_file()
    assert read_bundle(run / "fold_1" / "bundle").metadata["network"] == DIFFUSION["network"]
    t1, mask = dataset / NAMES[0] / "T1.nii.gz", dataset / NAMES[0] / "brain_mask.nii.gz"
    model = ["--model", run / "fold_0" / "bundle", "--mask", mask, "--device", "cpu", "--progress", "none"]
    arguments = ["synthesize", t1, "-o", out, *model, "--samples", 3, "--steps", 2]
    assert main(list(map(str, arguments))) == 0
    mean, sd = (
        sitk.GetArrayFromImage(sitk.ReadImage(str(next(out.glob(f"*_desc-{kind}_pet.nii.gz")))))
        for kind in ("synthetic", "syntheticSD")
    )
    inside = sitk.GetArrayFromImage(sitk.ReadImage(str(mask))) > 0
    assert mean.shape == sd.shape == inside.shape and (sd[inside] > 0).mean() > 0.9 and not sd[~inside].any()
    about = json.loads(next(out.glob("*_desc-synthetic_pet.json")).read_text())
    own = about["Provenance"]["settings"]
    assert (own["samples"], own["steps"]) == (3, 2)
    # The ensemble of two folds, one sample each, has an SD too.
    single = ["synthesize", t1, "-o", tmp_path / "e", *model]
    single[single.index("--model") + 1] = run / "ensemble"
    assert main(list(map(str, single))) == 0
    assert list((tmp_path / "e").glob("*_desc-syntheticSD_pet.nii.gz"))


@pytest.mark.slow
def test_a_run_from_pet_to_mri(tmp_path: Path, dataset: Path) -> None:
    run = tmp_path / "run"
    assert train(dataset, "-o", run, "--preset", preset(tmp_path, **BACKWARDS), "--folds", 2) == 0
    bundle = read_bundle(run / "fold_0" / "bundle")
    assert bundle.metadata["source"]["modality"] == "PET" and bundle.metadata["target"]["modality"] == "MR"
    assert "synthetic T1-weighted MRI is computed from the PET" in bundle.card()
    for row in table(run / "predictions.csv"):
        synthetic, real = (sitk.ReadImage(str(run / row[name])) for name in ("synthetic", "pet"))
        assert (
            row["synthetic"].endswith("_desc-synthetic_T1w.nii.gz") and synthetic.GetSize() == real.GetSize()
        )
        values = sitk.GetArrayFromImage(real)
        t1 = sitk.GetArrayFromImage(sitk.ReadImage(str(dataset / row["case"] / "T1.nii.gz")))
        inside = sitk.GetArrayFromImage(sitk.ReadImage(str(run / row["mask"]))) > 0
        # The T1, clipped, on the grid of the model and back, which half a voxel of 6 mm parts from it.
        assert np.corrcoef(values[inside], t1[inside])[0, 1] > 0.9
    assert (run / "report.html").is_file()


@pytest.mark.slow
def test_pre_training_and_its_continuation(tmp_path: Path, dataset: Path, cache: list[object]) -> None:
    """MRIs alone, then the pairs from the weights that they gave."""
    preset_file = preset(tmp_path, epochs=1)
    pre, run = tmp_path / "pre", tmp_path / "run"
    mris = tmp_path / "mris"
    mris.mkdir()
    for name in NAMES:
        (mris / f"{name}.nii.gz").write_bytes((dataset / name / "T1.nii.gz").read_bytes())
    common = [dataset, "--preset", preset_file, "--folds", 2, "--fold", 0, *cache]
    assert train(*common, "-o", pre, "--unpaired", mris) == 0
    first = read_bundle(pre / "fold_0" / "bundle")
    assert first.is_demonstration and "SIMULATED" in first.card()
    # The MRIs are the dataset's own T1s: fold 0 has not seen the people whom it tests, fold 1's model has.
    assert train(*common, "-o", run, "--start-from", pre) == 0
    other = [dataset, "--preset", preset_file, "--folds", 2, "--fold", 1, *cache]
    assert train(*other, "-o", tmp_path / "leaky", "--start-from", first.folder) == 3
    metadata = read_bundle(run / "fold_0" / "bundle").metadata
    assert metadata["training"]["start_from"] == first.sha256


def test_family_and_preset_must_agree(tmp_path: Path, dataset: Path) -> None:
    preset_file = preset(tmp_path)
    assert train(dataset, "-o", tmp_path / "run", "--preset", preset_file, "--family", "diffusion") == 3
    assert train(dataset, "-o", tmp_path / "run", "--family", "os") == 5
    wrong = preset(tmp_path / "b", loss={"loss_region": "cortex"})
    assert train(dataset, "-o", tmp_path / "run", "--preset", wrong) == 5
    assert train(dataset, "-o", tmp_path / "run", "--preset", preset_file, "--vgg19", wrong) == 3
    assert not (tmp_path / "run").exists()
