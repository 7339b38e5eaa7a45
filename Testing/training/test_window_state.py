"""What the window shows for each state of a run and of its folder."""

from __future__ import annotations

from pathlib import Path

from MRI2PETLib.jobs.run_state import RunState
from MRI2PETTrainingLib.folds import Fold
from MRI2PETTrainingLib.run_folder import FoldStatus, RunView
from MRI2PETTrainingLib.window_state import window

FOLDS = (FoldStatus(Fold(0, (), (), ()), (), True), FoldStatus(Fold(1, (), (), ()), (), False))
NEW = RunView(Path("run"), {}, (), (), False, None, None)
BEGUN = RunView(Path("run"), {}, (), FOLDS, True, None, None)
FINISHED = RunView(Path("run"), {}, (), FOLDS, True, Path("report.html"), Path("ensemble"))


def test_nothing_chosen() -> None:
    shown = window(RunState(), None, "Choose a dataset.")
    assert (shown.primary, shown.primary_enabled, shown.primary_tip) == ("Start", False, "Choose a dataset.")
    assert not shown.may_check and shown.inputs_enabled and not shown.may_use
    assert shown.common.status == "Choose a dataset."


def test_ready() -> None:
    shown = window(RunState(), NEW, "")
    assert shown.primary == "Start" and shown.primary_enabled and shown.may_check and shown.folder_enabled


def test_training() -> None:
    state = RunState("running", "fold 0, epoch 3/30", 0.25, 600)
    shown = window(state, BEGUN, "")
    assert shown.primary == "Stop" and shown.primary_enabled
    assert not shown.inputs_enabled and not shown.folder_enabled and not shown.may_check
    assert shown.common.percent == 25 and shown.common.status == "Fold 0, epoch 3/30, 10 min left"
    assert not window(state.cancelling(), BEGUN, "").primary_enabled


def test_a_stopped_run() -> None:
    shown = window(RunState(), BEGUN, "")
    assert shown.primary == "Resume" and shown.primary_enabled and not shown.may_check
    assert not shown.inputs_enabled and shown.folder_enabled
    assert shown.common.status == "This folder holds a run that was stopped: 1 of 2 folds are finished."
    failed = RunState("failed", message="The disk is full.")
    assert window(failed, BEGUN, "").common.status == "The disk is full."
    assert window(failed, BEGUN, "").primary == "Resume"


def test_a_finished_run() -> None:
    shown = window(RunState(message="Finished."), FINISHED, "")
    assert not shown.primary_enabled and "finished" in shown.primary_tip
    assert shown.has_report and shown.may_use and shown.common.status == "Finished."
    assert "finished" in window(RunState(), FINISHED, "").common.status
