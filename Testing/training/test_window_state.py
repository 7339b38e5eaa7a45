"""What the window shows for each state of a run and of its folder."""

from __future__ import annotations

from pathlib import Path

from MRI2PETLib.jobs.run_state import RunState
from MRI2PETTrainingLib.folds import Fold
from MRI2PETTrainingLib.run_folder import FoldStatus, RunView
from MRI2PETTrainingLib.window_state import training_window

FOLDS = (FoldStatus(Fold(0, (), (), ()), (), True), FoldStatus(Fold(1, (), (), ()), (), False))
NEW = RunView(Path("run"), {}, (), (), False, None, None)
BEGUN = RunView(Path("run"), {}, (), FOLDS, True, None, None)
FINISHED = RunView(Path("run"), {}, (), FOLDS, True, Path("report.html"), Path("ensemble"))


def test_nothing_chosen() -> None:
    view = training_window(RunState(), None, "Choose a dataset.")
    assert (view.primary, view.primary_enabled, view.primary_tip) == ("Start", False, "Choose a dataset.")
    assert not view.may_check and view.inputs_enabled and not view.may_use
    assert view.common.status == "Choose a dataset."


def test_ready() -> None:
    view = training_window(RunState(), NEW, "")
    assert view.primary == "Start" and view.primary_enabled and view.may_check and view.folder_enabled


def test_training() -> None:
    state = RunState("running", "fold 0, epoch 3/30", 0.25, 600)
    view = training_window(state, BEGUN, "")
    assert view.primary == "Stop" and view.primary_enabled
    assert not view.inputs_enabled and not view.folder_enabled and not view.may_check
    assert "Stop the training" in view.inputs_tip and view.inputs_tip == view.folder_tip
    assert view.common.percent == 25 and view.common.status == "Fold 0, epoch 3/30, 10 min left"
    assert not training_window(state.cancelling(), BEGUN, "").primary_enabled


def test_a_stopped_run() -> None:
    view = training_window(RunState(), BEGUN, "")
    assert view.primary == "Resume" and view.primary_enabled and not view.may_check
    assert not view.inputs_enabled and view.folder_enabled
    assert "Choose another run folder" in view.inputs_tip and view.folder_tip == ""
    assert view.common.status == "This folder holds a run that was stopped: 1 of 2 folds are finished."
    failed = RunState("failed", message="The disk is full.")
    assert training_window(failed, BEGUN, "").common.status == "The disk is full."
    assert training_window(failed, BEGUN, "").primary == "Resume"


def test_a_finished_run() -> None:
    view = training_window(RunState(message="Finished."), FINISHED, "")
    assert not view.primary_enabled and "finished" in view.primary_tip
    assert view.folder_enabled  # another dataset, too
    assert view.has_report and view.may_use and view.common.status == "Finished."
    assert "finished" in training_window(RunState(), FINISHED, "").common.status
