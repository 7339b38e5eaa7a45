"""Which inputs become which cases."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import SimpleITK as sitk

from bundles import tiny_bundle
from MRI2PETLib.cli import main
from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.names import file_name
from MRI2PETLib.images.formats import GENERATED_BY
from MRI2PETLib.images.io import write_image
from MRI2PETLib.simulation.dataset import write_dataset
from MRI2PETLib.simulation.settings import DatasetSettings
from MRI2PETLib.synthesis.batch import SYNTHESIS
from MRI2PETLib.synthesis.case_files import case_files
from MRI2PETLib.synthesis.cases import find_cases


def touch(folder: Path, *names: str) -> list[Path]:
    paths = [folder / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return paths


def names(*inputs: Path) -> list[str]:
    return [case.name for case in find_cases(inputs)]


def test_a_file_is_named_by_its_stem(tmp_path: Path) -> None:
    a, b = touch(tmp_path, "sub-01_T1w.nii.gz", "Hans Müller.nrrd")
    assert names(a, b) == ["sub-01", "Hans-Müller"]


def test_bids_root_with_and_without_sessions(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "dataset_description.json",
        "sub-01/anat/sub-01_T1w.nii.gz",
        "sub-01/anat/sub-01_T1w.json",
        "sub-01/anat/sub-01_T2w.nii.gz",
        "sub-02/ses-a/anat/sub-02_ses-a_T1w.nii",
        "derivatives/x/sub-01/anat/sub-01_T1w.nii.gz",
    )
    cases = find_cases([tmp_path])
    assert [c.name for c in cases] == ["sub-01", "sub-02_ses-a"]
    assert [c.folder for c in cases] == [Path("sub-01"), Path("sub-02/ses-a")]


def test_every_part_of_a_bids_dataset_keeps_its_place(tmp_path: Path) -> None:
    paths = touch(
        tmp_path / "data",
        "sub-01/ses-a/anat/sub-01_ses-a_T1w.nii.gz",
        "sub-01/ses-b/anat/sub-01_ses-b_run-2_T1w.nii.gz",
        "sub-02/anat/sub-02_T1w.nii",
    )
    whole = find_cases([tmp_path / "data"])
    assert [str(c.folder) for c in whole] == ["sub-01/ses-a", "sub-01/ses-b", "sub-02"]
    assert {case.dataset for case in whole} == {tmp_path / "data"}
    for part, count in (("sub-01", 2), ("sub-01/ses-b", 1), ("sub-01/ses-a/anat", 1), ("sub-02", 1)):
        cases = find_cases([tmp_path / "data" / part])
        assert len(cases) == count and set(cases) <= set(whole)
    assert set(find_cases(paths)) == set(whole) == set(find_cases([tmp_path / "data", *paths]))
    (elsewhere,) = find_cases(touch(tmp_path, "anat/x_T1w.nii"))
    assert elsewhere.folder == Path(".") and elsewhere.dataset is None


def test_files_of_one_name_are_told_apart_by_their_folder(tmp_path: Path) -> None:
    touch(tmp_path, "anna/T1.nii.gz", "bert/T1.nii.gz", "bert/brain_mask.nii.gz")
    assert names(tmp_path) == ["anna", "bert"]
    assert names(tmp_path / "anna" / "T1.nii.gz") == ["anna"]
    scans = touch(tmp_path, "x/scan.nii", "y/scan.nii")
    assert names(*scans) == ["x_scan", "y_scan"]
    deep = touch(tmp_path, "a/s/scan.nii", "b/s/scan.nii")
    assert names(*deep) == ["s_scan-1", "s_scan-2"]


def test_no_two_cases_of_a_batch_have_one_name(tmp_path: Path) -> None:
    """Not by a number that another file has in its own name, nor where upper and lower case are one."""
    clash = touch(tmp_path, "x/P/a.nii", "y/P/a.nii", "P_a-1.nii", "p_A-2.nii")
    assert names(*clash) == ["P_a-3", "P_a-4", "P_a-1", "p_A-2"]
    assert names(*touch(tmp_path, "one/Anna.nii", "two/anna.nii")) == ["one_Anna", "two_anna"]


def test_a_folder_of_images_and_a_dicom_folder(tmp_path: Path) -> None:
    touch(tmp_path / "images", "a.nii", "b.mha", "notes.txt", ".hidden.nii")
    assert names(tmp_path / "images") == ["a", "b"]
    touch(tmp_path / "DICOM one", "IM0001", "IM0002")
    assert names(tmp_path / "DICOM one") == ["DICOM-one"]


def test_repeats_count_once(tmp_path: Path) -> None:
    (a,) = touch(tmp_path, "a.nii")
    assert names(a, a) == ["a"]


def test_missing_and_empty(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        find_cases([tmp_path / "no"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="is empty"):
        find_cases([tmp_path / "empty"])


def test_derivatives_keep_their_space_and_give_one_of_each_entity(tmp_path: Path) -> None:
    """fMRIPrep: the native T1, and its copy in a template's space, which is not another scan."""
    bundle = tiny_bundle(tmp_path / "model")
    touch(
        tmp_path,
        "sub-01/anat/sub-01_desc-preproc_T1w.nii.gz",
        "sub-01/anat/sub-01_space-MNI152NLin2009cAsym_res-2_desc-preproc_T1w.nii.gz",
        "sub-02/anat/sub-02_acq-x_space-MNI152NLin2009cAsym_desc-preproc_T1w.nii.gz",
    )
    cases = find_cases([tmp_path])
    assert [(c.name, c.space) for c in cases] == [("sub-01", ""), ("sub-02_acq-x", "MNI152NLin2009cAsym")]
    assert [case_files(c, bundle, tmp_path).pet.name for c in cases] == [
        "sub-01_trc-PBR28_space-T1w_desc-synthetic_pet.nii.gz",
        "sub-02_trc-PBR28_rec-acqx_space-MNI152NLin2009cAsym_desc-synthetic_pet.nii.gz",
    ]
    folders = {p.parent.name for c in cases for p in case_files(c, bundle, tmp_path).by_role().values()}
    assert folders == {"pet", "anat"}, "of BIDS"
    assert names(tmp_path / "sub-01/anat/sub-01_desc-preproc_T1w.nii.gz") == ["sub-01"]
    (plain,) = touch(tmp_path, "phantom_space-age_T1w.nii")
    assert names(plain) == ["phantom_space-age"]  # no BIDS name


def test_phase_images_are_no_t1(tmp_path: Path) -> None:
    touch(tmp_path, *(f"sub-01/anat/sub-01_part-{part}_T1w.nii.gz" for part in ("mag", "phase", "imag")))
    (case,) = find_cases([tmp_path])
    assert case.name == "sub-01" and "part-mag" in case.t1.name
    with pytest.raises(InputError, match="phase of a complex image.*Give the magnitude"):
        find_cases([tmp_path / "sub-01/anat/sub-01_part-phase_T1w.nii.gz"])


def test_outputs_in_the_folder_of_the_inputs_are_no_inputs(tmp_path: Path) -> None:
    image = sitk.Image([4, 4, 4], sitk.sitkFloat32)
    write_image(image, tmp_path / "anna_T1w.nii.gz", {"Simulated": True})  # simulated people are inputs
    write_image(image, tmp_path / "anna_space-T1w_desc-brain_mask.nii.gz", dict(GENERATED_BY))
    write_image(image, tmp_path / "anna_desc-synthetic_pet.nii.gz")
    (tmp_path / "anna_desc-synthetic_pet.json").write_text('{"Synthetic": true, "Simulated": true}')
    write_image(image, tmp_path / "bert.nii.gz")
    (tmp_path / "bert.json").write_text('{"GeneratedBy": "fMRIPrep"}')
    assert names(tmp_path) == ["anna", "bert"]
    for name in ("anna_T1w.nii.gz", "bert.nii.gz"):
        (tmp_path / name).unlink()
    with pytest.raises(InputError, match="holds outputs of this program only"):
        find_cases([tmp_path])


def test_simulated_people_are_inputs(tmp_path: Path) -> None:
    write_dataset(tmp_path, 2, DatasetSettings(spacing_mm=6.0))
    assert [case.name for case in find_cases([tmp_path])] == ["subject_001", "subject_002"]
    assert [case.t1.name for case in find_cases([tmp_path / "subject_001"])] == ["T1.nii.gz"]


def test_a_folder_of_one_person_has_one_t1(tmp_path: Path) -> None:
    """What its own name or sidecar calls a PET, a mask or labels is left out, and told in one line."""
    names = ["T1", "PET", "PET_true", "brain_mask", "tissue", "T1_brain_mask", "x", "y"]
    touch(tmp_path, *(f"{name}.nii.gz" for name in names))
    (tmp_path / "tissue.json").write_text('{"Labels": {"1": "grey matter"}}')
    (tmp_path / "y.json").write_text('{"Modality": "PT"}')
    (tmp_path / "x.json").write_text("[")
    messages: list[str] = []
    assert [c.t1.name for c in find_cases([tmp_path], tell=messages.append)] == ["T1.nii.gz", "x.nii.gz"]
    (message,) = messages
    assert "PET.nii.gz (PET)" in message and "T1_brain_mask.nii.gz (mask)" in message and "..." in message
    pets = ["PET.nii.gz", "PET_true.nii.gz", "x.nii.gz", "y.nii.gz"]
    assert sorted(c.t1.name for c in find_cases([tmp_path], "PET")) == pets
    for name in ("T1", "x"):
        (tmp_path / f"{name}.nii.gz").unlink()
    with pytest.raises(InputError, match="holds no T1: .*brain_mask"):
        find_cases([tmp_path])
    assert find_cases([tmp_path / "PET.nii.gz"])[0].t1.name == "PET.nii.gz"  # named itself: taken


def test_a_name_is_no_device_of_windows() -> None:
    assert [file_name(text) for text in ("CON", "aux.nii", "nul", "com1", "con-1", "console", "a/b")] == [
        "CON_",
        "aux.nii_",
        "nul_",
        "com1_",
        "con-1",
        "console",
        "a-b",
    ]


def test_a_long_name_fails_alone_and_at_once(tmp_path: Path) -> None:
    """228 bytes; the names of results are longer than a file system allows. Nothing is computed."""
    tiny_bundle(tmp_path / "model")
    (long,) = touch(tmp_path, "ä" * 110 + "_T1w.nii")
    (other,) = touch(tmp_path, "damaged.nii")
    command = ["synthesize", str(long), str(other), "--model", str(tmp_path / "model")]
    assert main([*command, "-o", str(tmp_path / "out"), "--progress", "none"]) == 1
    with (tmp_path / "out" / SYNTHESIS.file).open(encoding="utf-8-sig", newline="") as stream:
        rows = {row["t1"]: row for row in csv.DictReader(stream)}
    assert "is too long: names of its results would have" in rows[str(long)]["message"]
    assert "Rename" in rows[str(long)]["hint"]
    assert "is empty (0 bytes)" in rows[str(other)]["message"]
