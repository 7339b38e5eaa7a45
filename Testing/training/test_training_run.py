"""A training as a window runs it: arguments, states, stop and resume, following from another program."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from MRI2PETLib.core.errors import BundleError, InputError
from MRI2PETLib.jobs.child_process import Outcome
from MRI2PETLib.models.bundle import read_bundle
from MRI2PETTrainingLib.plan import plan_of
from MRI2PETTrainingLib.run_folder import read_run, settings_of_run
from MRI2PETTrainingLib.settings import Task, TrainingSettings
from MRI2PETTrainingLib.training_run import (
    TrainingRun,
    default_run,
    list_cases,
    missing,
    register_model,
    run_for,
)
from small_datasets import PRESET, write_dataset

pytestmark = pytest.mark.usefixtures("quick_registration")

NAMES = ["p1", "p2", "p3", "p4"]


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    assert missing(TrainingSettings("", "")) == "Choose a dataset."
    assert "does not exist" in missing(TrainingSettings(str(tmp_path / "no"), "run"))
    assert missing(TrainingSettings(str(tmp_path), "")) == "Choose a folder for the run."
    assert missing(TrainingSettings(str(tmp_path), str(tmp_path / "run"))) == ""
    within = TrainingSettings(str(tmp_path), str(tmp_path / "run" / ".."))
    assert "is the folder of the dataset. Choose another" in missing(within)
    with pytest.raises(InputError, match="folder of the dataset"):
        plan_of(within, Task())
    assert default_run("/data/pbr28") == "/data/pbr28-training"
    assert default_run("/data/pbr28/manifest.csv") == "/data/pbr28-training"
    assert default_run("/data/a.csv") == "/data/a-training" and default_run("") == ""


def test_another_dataset_gets_a_run_folder_of_its_own(tmp_path: Path) -> None:
    """A run belongs to one dataset, so the folder follows the dataset unless the user has named one."""
    one, two, own = (str(tmp_path / name) for name in ("one", "two", "own"))
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    assert run_for("", "") == "" and run_for(one, "") == f"{one}-training"
    assert run_for(two, f"{one}-training", (one, f"{one}-training")) == f"{two}-training"
    assert run_for(two, own, (one, own)) == own  # named, and empty
    assert run_for(one, own, (one, f"{one}-training")) == own
    begun = tmp_path / "own" / "fold_0"
    begun.mkdir(parents=True)
    assert run_for(two, own, (one, own)) == f"{two}-training" and run_for("", own, (one, own)) == ""
    assert run_for(one, own, (one, f"{one}-training")) == own  # the folder was chosen, to see its run
    (tmp_path / "two-training" / "fold_0").mkdir(parents=True)
    record = tmp_path / "two-training" / "run.json"
    record.write_text(json.dumps({"settings": {"dataset": one}}))
    assert run_for(two, own, (one, own)) == f"{two}-training-2"  # somebody else's run is there
    record.write_text(json.dumps({"settings": {"dataset": two}}))
    assert run_for(two, own, (one, own)) == f"{two}-training"


def test_a_listing_opens_no_image(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "ds", ["p1_01", "p1_02", "p2_01"])
    (root / "p2_01" / "PET.nii.gz").unlink()
    (root / "p1_01" / "T1.nii.gz").write_bytes(b"no image")
    rows = list_cases(TrainingSettings(str(root), "run")).cases
    assert [row["subject"] for row in rows] == ["p1", "p1", "p2"]
    assert [row.get("findings", "") for row in rows] == ["", "", "There is no PET."]
    with pytest.raises(InputError, match="holds no case"):
        list_cases(TrainingSettings(str(tmp_path), "run"))


class Window:
    """Stands for the window: keeps what it was told."""

    opened: list[Window] = []

    def __init__(self, run: Path) -> None:
        self.opened.append(self)
        self.phases: list[str] = []
        self.lines: list[str] = []
        self.outcomes: list[Outcome] = []
        self.run = TrainingRun(
            run,
            on_state=lambda state: self.phases.append(state.phase),
            on_log=self.lines.append,
            on_finished=self.outcomes.append,
        )

    def wait(self, until: Callable[[], bool] = lambda: False) -> None:
        for _ in range(20_000):
            if not self.run.pump() or until():
                return
            time.sleep(0.05)
        raise AssertionError("it does not end")


@pytest.fixture(autouse=True)
def no_child_is_left() -> Iterator[None]:
    """A training outlives its window, and a failed test too."""
    yield
    for one in Window.opened:
        one.run.end()
    Window.opened.clear()


@pytest.mark.slow
def test_check_start_stop_follow_resume_and_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MRI2PET_MODELS", str(tmp_path / "models"))
    preset = tmp_path / "tiny.json"
    preset.write_text(json.dumps({**PRESET, "epochs": 20}))
    folder = tmp_path / "Lauf ü"
    dataset = str(write_dataset(tmp_path / "ds", NAMES))
    settings = TrainingSettings(dataset, str(folder), preset=str(preset), folds=2, device="cpu")

    first = Window(folder)
    first.run.start(settings, Task(check=True))
    first.wait()
    assert first.outcomes[0].state == "done" and not read_run(folder).begun
    assert first.run.state.message == "Checked: 4 cases can be used, 2 folds."

    first.run.start(settings, Task())
    with pytest.raises(InputError, match="already"):
        TrainingRun(folder).start(settings, Task())
    first.wait(lambda: bool(read_run(folder).folds) and len(read_run(folder).folds[0].curves) > 1)
    first.run.leave()  # the window closes, the training goes on
    assert first.phases[-1] == "idle" and len(first.outcomes) == 1

    second = Window(folder)
    assert second.run.attach()
    second.wait(lambda: "running" in second.phases)
    second.run.cancel()
    second.wait()
    assert second.outcomes[0].state == "cancelled" and second.phases[-2:] == ["cancelling", "idle"]
    reached = len(read_run(folder).folds[0].curves)
    assert 1 < reached < 20 and not Window(folder).run.attach()

    again = settings_of_run(read_run(folder))
    assert again == replace(settings, preset=str(preset))
    third = Window(folder)
    third.run.start(again, Task(resume=True))
    third.wait()
    assert third.outcomes[0].state == "done", third.lines
    view = read_run(folder)
    assert view.report is not None and view.ensemble is not None
    assert any("s a case and epoch" in line for line in third.lines)

    name = register_model(view.ensemble)
    assert register_model(view.ensemble) == name == "Lauf-ensemble"
    assert read_bundle(tmp_path / "models" / name).sha256 == read_bundle(view.ensemble).sha256
    with pytest.raises(BundleError):
        register_model(tmp_path / "models")


def test_what_cannot_be_trained_is_the_state_s_message(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "ds", ["p1", "p2", "p3", "p4"])
    (root / "p2" / "PET.nii.gz").unlink()
    window = Window(tmp_path / "run")
    settings = TrainingSettings(str(root), str(tmp_path / "run"), preset="smoke", folds=2)
    window.run.start(settings, Task(check=True))
    window.wait()
    assert window.run.state.phase == "failed"
    assert "1 of 4 cases cannot be used" in window.run.state.message
    assert [row["level"] for row in read_run(tmp_path / "run").cases][1] == "refuse"
