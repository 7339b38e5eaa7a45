"""Who may be one person is said before anything is trained: on the command line and in the window."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.progress import Reporter
from MRI2PETLib.core.tables import read_table
from MRI2PETLib.models.model_space import ModelSpace
from MRI2PETTrainingLib.dataset.cache import ARRAYS
from MRI2PETTrainingLib.dataset.preflight import CASES, check_copies, prepare_dataset
from MRI2PETTrainingLib.run_folder import case_columns, summary
from MRI2PETTrainingLib.settings import TrainingSettings
from MRI2PETTrainingLib.training_run import list_cases
from small_datasets import prepared_cases, rows_of, write_table

SPACE = ModelSpace(size=(24, 24, 24), spacing_mm=8.0)
VISITS = ["P01_d0129", "P01_d2430", "P02_d0100"]


class Listener(Reporter):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warning(self, message: str) -> None:
        self.warnings.append(message)


def names(root: Path, *cases: str) -> Path:
    """A dataset of names alone: its files are no images."""
    for case in cases:
        (root / case).mkdir(parents=True)
        for name in ("T1.nii.gz", "PET.nii.gz"):
            (root / case / name).touch()
    return root


def prepare(root: Path, run: Path) -> list[str]:
    """The warnings of a preparation that ends with its first unusable case."""
    listener = Listener()
    run.mkdir()
    with pytest.raises(InputError, match="cases cannot be used"):
        prepare_dataset(run, run / "cache", SPACE, TrainingSettings(str(root), str(run)), reporter=listener)
    return listener.warnings


def test_a_person_under_two_names_is_a_warning_before_any_training(tmp_path: Path) -> None:
    warnings = prepare(names(tmp_path / "ds", *VISITS), tmp_path / "run")
    (line,) = [w for w in warnings if "differ in their last part" in w]
    assert "'P01_d0129' and 'P01_d2430'" in line and "--subject-pattern" in line
    findings = [row["findings"] for row in read_table(tmp_path / "run" / CASES).rows]
    assert ["differ in their last part" in text for text in findings] == [True, True, False]


@pytest.mark.parametrize("table", [False, True])
def test_cases_that_their_names_join_are_told(tmp_path: Path, table: bool) -> None:
    root = names(tmp_path / "ds", "2019_01", "2019_02", "2020_01", "P1")
    if table:
        write_table(root, [{k: v for k, v in row.items() if k != "subject"} for row in rows_of(root)])
    (line,) = [w for w in prepare(root, tmp_path / "run") if w.startswith("By their names")]
    assert "2 cases are scans of 1 person: '2019_01' and '2019_02' are '2019'." in line
    assert "--subject-pattern" in line
    whole = list_cases(TrainingSettings(str(root), "", subject_pattern="(?P<subject>.+)"))
    assert "4 cases of 4 people" in summary(whole) and "By their names" not in summary(whole)


def test_many_such_warnings_are_few_lines(tmp_path: Path) -> None:
    cases = [f"P{n:02d}_{visit}" for n in range(8) for visit in ("pre", "post")]
    warnings = prepare(names(tmp_path / "ds", *cases), tmp_path / "run")
    assert len(warnings) == 6 and "3 more such warnings are in cases.csv" in warnings[-1]


def test_the_window_shows_it_before_any_check(tmp_path: Path) -> None:
    root = names(tmp_path / "ds", *VISITS)
    view = list_cases(TrainingSettings(str(root), str(tmp_path / "run")))
    assert case_columns(view)["problem"] == ["noticed", "noticed", ""]
    assert "differ in their last part" in case_columns(view)["what was noticed"][1]
    assert "2 with remarks" in summary(view)
    joined = list_cases(TrainingSettings(str(root), "", subject_pattern=r"(?P<subject>P\d+)_d\d+"))
    assert case_columns(joined)["problem"] == ["", "", ""] and "3 cases of 2 people" in summary(joined)


def test_what_concerns_the_whole_table_is_told_too(tmp_path: Path) -> None:
    root = names(tmp_path / "ds", "a", "b", "c")
    write_table(root, [{**row, "Diagnosis": "AD"} for row in rows_of(root)])
    message = "The column diagnosis of"
    assert message in summary(list_cases(TrainingSettings(str(root), "")))
    assert any(message in line for line in prepare(root, tmp_path / "run"))


def test_a_copy_of_an_image_in_another_file_is_noticed(tmp_path: Path) -> None:
    """Two subjects with one T1 whose files differ (compressed anew, renamed): what was prepared is equal."""
    a, b, c = prepared_cases(tmp_path, ["a", "b", "c"])
    check_copies([a, b, c])
    arrays = np.load(c.folder / ARRAYS)
    arrays[0] = a.arrays()[0]
    np.save(c.folder / ARRAYS, arrays)
    with pytest.raises(InputError, match=r"'c' \(subject 'c'\) and 'a' \(subject 'a'\) hold the same T1"):
        check_copies([a, b, c])
    check_copies([a, b, replace(c, case=replace(c.case, subject="a"))])
