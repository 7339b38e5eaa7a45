"""What a run folder tells to a window: at its beginning, in the middle, at its end; damaged files too."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from MRI2PETLib.core.errors import InputError
from MRI2PETTrainingLib.folds import Fold, Folds, write_folds
from MRI2PETTrainingLib.presets import read_preset
from MRI2PETTrainingLib.run_folder import case_columns, fold_columns, read_run, settings_of_run, summary
from MRI2PETTrainingLib.settings import TrainingSettings

FOLDS = Folds(
    "grouped",
    42,
    ("subject",),
    (
        Fold(0, ("a1", "a2"), ("b1",), ("c1",)),
        Fold(1, ("b1", "c1"), ("a1", "a2"), ()),
    ),
)
CASES = """case,subject,t1,pet,group,site,exclude,level,findings,pet_unit
a1,a,/x/a1.nii,/x/a1p.nii,HC,,,ok,,SUV
a2,a,/x/a2.nii,/x/a2p.nii,HC,,,warn,The brain measures 900 mL.
b1,b,/x/b1.nii,/x/b1p.nii,pain,,,refuse,No PET.
c1,c,/x/c1.nii,/x/c1p.nii,,,no consent,ok,
"""


def write_run(run: Path) -> None:
    run.mkdir()
    settings = TrainingSettings("/data", str(run), preset="smoke").to_dict()
    record = {"settings": settings, "content": {"preset": read_preset("smoke").to_dict()}}
    (run / "run.json").write_text(json.dumps(record))
    (run / "cases.csv").write_text(CASES)
    write_folds(run / "folds.json", FOLDS)
    checkpoints = run / "fold_0" / "checkpoints"
    checkpoints.mkdir(parents=True)
    (checkpoints / "metrics.csv").write_text(
        "epoch,step,train_loss,val_nmse,val_r,seconds\n0,2,0.9,0.80,0.5,1\n1,4,0.7,0.55,0.7,1\n2,6,0.6,,,1\n"
    )


def test_a_folder_without_a_run(tmp_path: Path) -> None:
    view = read_run(tmp_path / "not there")
    assert (view.begun, view.cases, view.folds, view.report, summary(view)) == (False, (), (), None, "")


def test_a_run_in_the_middle(tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    view = read_run(tmp_path / "run")
    assert view.begun and view.epochs == 30 and view.report is None
    assert [row["train_loss"] for row in view.folds[0].curves] == [0.9, 0.7, 0.6]
    folds = fold_columns(view)
    assert folds["training"][0] == "1 person, 2 scans (2 HC)"
    assert folds["state"] == ["begun", "waiting"]
    assert folds["epochs"] == ["3 of 30", "0 of 30"]
    assert (folds["best epoch"][0], folds["validation 1 - R²"][0], folds["validation r"][0]) == (
        "2",
        "0.550",
        "0.700",
    )
    assert summary(view) == (
        "3 cases of 2 people; 2 HC, 1 pain; 1 left out; 1 with remarks; 1 cannot be used."
    )


def test_the_table_of_cases(tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    columns = case_columns(read_run(tmp_path / "run"))
    assert columns["subject"] == ["a", "a", "b", "c"] and "site" not in columns
    assert columns["unit"] == [""] * 4  # can be filled in
    assert columns["unit found"] == ["SUV", "", "", ""]
    assert columns["test fold"] == ["", "", "", "0"]
    assert columns["problem"] == ["", "noticed", "cannot be used", ""]
    assert columns["exclude"][3] == "no consent"


def test_a_finished_run(tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    for k in range(2):
        (tmp_path / "run" / f"fold_{k}").mkdir(exist_ok=True)
        (tmp_path / "run" / f"fold_{k}" / "fold.json").write_text("{}")
    (tmp_path / "run" / "report.html").write_text("")
    (tmp_path / "run" / "ensemble").mkdir()
    view = read_run(tmp_path / "run")
    assert fold_columns(view)["state"] == ["finished", "finished"]
    assert view.report == tmp_path / "run" / "report.html" and view.ensemble == tmp_path / "run" / "ensemble"


def test_half_written_files_are_left_out(tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    (tmp_path / "run" / "run.json").write_text('{"settings"')
    (tmp_path / "run" / "folds.json").write_text("")
    (tmp_path / "run" / "cases.csv").write_bytes(b"\xff\xfe")
    view = read_run(tmp_path / "run")
    assert (view.record, view.folds, view.cases) == ({}, (), ())


@pytest.mark.parametrize(
    "content", [{"content": 1}, {"content": {"preset": []}, "settings": "x"}, {"settings": 3}]
)
def test_an_edited_record_says_nothing(tmp_path: Path, content: object) -> None:
    write_run(tmp_path / "run")
    (tmp_path / "run" / "run.json").write_text(json.dumps(content))
    view = read_run(tmp_path / "run")
    assert (view.epochs, view.dataset) == (0, "")
    assert fold_columns(view)["epochs"] == ["3", "0"]
    with pytest.raises(InputError, match="does not say how it was trained"):
        settings_of_run(view)


def test_a_record_of_another_version(tmp_path: Path) -> None:
    """What decides no result may be missing; what does is named, with the remedy."""
    write_run(tmp_path / "run")
    path = tmp_path / "run" / "run.json"
    content = json.loads(path.read_text())
    del content["settings"]["folds_at_once"], content["settings"]["workers"]
    path.write_text(json.dumps(content))
    assert settings_of_run(read_run(tmp_path / "run")).folds_at_once == 1
    del content["settings"]["seed"]
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"trained: Settings \(--seed\) are missing: .* another version"):
        settings_of_run(read_run(tmp_path / "run"))
    path.write_text(json.dumps({"content": content["content"]}))
    with pytest.raises(InputError, match="trained: settings is missing"):
        settings_of_run(read_run(tmp_path / "run"))


def test_going_on_takes_the_same_preset(tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    assert settings_of_run(read_run(tmp_path / "run")).preset == "smoke"
    content = json.loads((tmp_path / "run" / "run.json").read_text())
    content["content"]["preset"]["epochs"] = 7
    for name in ("smoke", None):  # None: somebody edited it
        content["settings"]["preset"] = name
        (tmp_path / "run" / "run.json").write_text(json.dumps(content))
        path = settings_of_run(read_run(tmp_path / "run")).preset
        assert path is not None and Path(path).is_relative_to(tmp_path / "run")
        assert json.loads(json.dumps(read_preset(path).to_dict())) == content["content"]["preset"]
