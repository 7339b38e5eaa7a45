"""Which inputs become which cases."""

from __future__ import annotations

from pathlib import Path

import pytest

from MRI2PETLib.core.errors import InputError
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
