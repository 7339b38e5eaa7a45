"""The output of a BIDS dataset is a BIDS derivative: the field's validator has no error and no warning."""

from __future__ import annotations

import json
import shutil
import subprocess
import sysconfig
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from bundles import tiny_bundle
from MRI2PETLib.cli import main
from MRI2PETLib.core.progress import Reporter
from MRI2PETLib.images.io import write_image
from MRI2PETLib.simulation.subject import SimulatedSubject, simulate_subject
from MRI2PETLib.synthesis.batch import run_batch
from MRI2PETLib.synthesis.cases import find_cases
from MRI2PETLib.synthesis.dataset_description import describe_dataset
from MRI2PETLib.synthesis.settings import CaseInputs, SynthesisSettings

LAYOUTS = {
    "sessions": ["sub-01/ses-a/anat/sub-01_ses-a_T1w", "sub-01/ses-b/anat/sub-01_ses-b_T1w"],
    "runs": ["sub-01/anat/sub-01_run-1_T1w", "sub-01/anat/sub-01_run-2_T1w"],
    "acquisitions": [
        "sub-01/ses-1/anat/sub-01_ses-1_acq-hires_rec-norm_run-1_T1w",
        "sub-02/anat/sub-02_acq-fast_ce-none_T1w",
    ],
}


@pytest.fixture(scope="module")
def validator() -> str:
    """The command of the wheel ``bids-validator-deno``."""
    command = shutil.which("bids-validator-deno", path=sysconfig.get_path("scripts"))
    if command is None:
        pytest.skip("bids-validator-deno is not installed here (there are no wheels for some systems)")
    if subprocess.run([command, "--version"], capture_output=True).returncode:
        pytest.skip("bids-validator-deno does not run on this system")
    return command


@pytest.fixture(scope="module")
def person() -> SimulatedSubject:
    return simulate_subject(5, spacing_mm=4.0)


def issues(validator: str, folder: Path) -> list[str]:
    ended = subprocess.run([validator, str(folder), "--json"], capture_output=True, text=True)
    found_issues = json.loads(ended.stdout)["issues"]["issues"]
    return [f"{one['severity']}: {one['code']} {one.get('location', '')}" for one in found_issues]


def write_dataset(root: Path, names: Sequence[str], person: SimulatedSubject, **about: object) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        write_image(person.t1, root / f"{name}.nii.gz")
    description = {"Name": "raw", "BIDSVersion": "1.10.0", **about}
    (root / "dataset_description.json").write_text(json.dumps(description))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_no_error_and_no_warning(
    layout: str, validator: str, person: SimulatedSubject, tmp_path: Path
) -> None:
    write_dataset(tmp_path / "raw", LAYOUTS[layout], person)
    bundle = tiny_bundle(tmp_path / "model")
    mask = write_image(person.brain_mask, tmp_path / "mask.nii.gz")
    cases = [replace(case, inputs=CaseInputs(mask=mask)) for case in find_cases([tmp_path / "raw"])]
    settings = SynthesisSettings(device="cpu")
    run_batch(cases, bundle, tmp_path / "out", settings, reporter=Reporter())
    assert len(list((tmp_path / "out").rglob("*_desc-synthetic_pet.nii.gz"))) == 2
    assert issues(validator, tmp_path / "out") == []


def test_a_subject_folder_and_a_file_keep_their_place(
    validator: str, person: SimulatedSubject, tmp_path: Path
) -> None:
    """With the files that belong to a real PET, and to a model that states its error."""
    names = LAYOUTS["acquisitions"]
    write_dataset(tmp_path / "raw", names, person, License="CC0", Authors=["A. Author"])
    write_image(person.pet, tmp_path / "pet.nii.gz", {"Units": "SUV"})
    error = {
        "what": "Error in two people",
        "unit": "SUVR",
        "parcellation": "paper21",
        "sd": {"elsewhere": 0.1},
    }
    bundle = tiny_bundle(tmp_path / "model", uncertainty=error)
    more = [f"--model={bundle.folder}", "--device=cpu", "--progress=none", "-o", str(tmp_path / "out")]
    pet = [f"--pet={tmp_path / 'pet.nii.gz'}", "--register=header"]
    assert main(["synthesize", str(tmp_path / "raw/sub-01"), *pet, *more]) == 0
    assert main(["synthesize", str(tmp_path / f"raw/{names[1]}.nii.gz"), *more]) == 0
    first = "sub-01/ses-1/pet/sub-01_ses-1_trc-PBR28_rec-acqhiresrecnorm_run-1_space-T1w_desc-"
    made = {p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.nii.gz")}
    assert made == {
        f"{first}synthetic_pet.nii.gz",
        f"{first}syntheticErrorSD_pet.nii.gz",
        f"{first}real_pet.nii.gz",
        "sub-01/ses-1/anat/sub-01_ses-1_acq-hires_rec-norm_run-1_space-T1w_desc-brain_mask.nii.gz",
        "sub-02/pet/sub-02_trc-PBR28_rec-acqfastcenone_space-T1w_desc-synthetic_pet.nii.gz",
        "sub-02/pet/sub-02_trc-PBR28_rec-acqfastcenone_space-T1w_desc-syntheticErrorSD_pet.nii.gz",
        "sub-02/anat/sub-02_acq-fast_ce-none_space-T1w_desc-brain_mask.nii.gz",
    }
    sidecar = json.loads((tmp_path / "out" / f"{first}synthetic_pet.json").read_text())
    assert sidecar["Sources"] == [f"bids:raw:{names[0]}.nii.gz"]
    description = json.loads((tmp_path / "out/dataset_description.json").read_text())
    assert description["DatasetLinks"] == {"raw": "../raw"} and description["License"] == "CC0"
    assert description["Authors"][0] == "A. Author"
    assert issues(validator, tmp_path / "out") == []


def test_two_datasets_have_two_names(tmp_path: Path) -> None:
    one, two, three, out = (tmp_path / name for name in ("one", "two", "three", "out"))
    out.mkdir()
    assert describe_dataset(out, [one, two, one]) == {one: "raw", two: "raw2"}
    assert describe_dataset(out, [three, two]) == {three: "raw3", two: "raw2"}
    assert describe_dataset(out, []) == {}
    path = out / "dataset_description.json"
    content = json.loads(path.read_text())
    content["GeneratedBy"][0]["Version"] = "0.0.1"  # sidecars of that version name the datasets, too
    path.write_text(json.dumps(content))
    assert describe_dataset(out, [three]) == {three: "raw3"}
    assert list(json.loads(path.read_text())["DatasetLinks"]) == ["raw", "raw2", "raw3"]
    path.write_text('{"GeneratedBy": [{"Name": "SlicerMRI2PET"}], "DatasetLinks": []}')
    assert describe_dataset(out, [two]) == {two: "raw"}
