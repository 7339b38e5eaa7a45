"""The session behind the window of the training, and its logic without Qt: what choosing a folder shows."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

slicer = pytest.importorskip("slicer", reason="needs slicer-core: pip install -e .[slicer]")

from bootstrap import bootstrap  # noqa: E402
from MRI2PETLib.core.errors import DependencyError  # noqa: E402
from MRI2PETLib.jobs.detached import DetachedJob, is_job_running  # noqa: E402
from MRI2PETTrainingLib.presets import read_preset  # noqa: E402
from MRI2PETTrainingLib.scene.session import TrainingSession  # noqa: E402
from MRI2PETTrainingLib.settings import TrainingSettings  # noqa: E402
from small_datasets import write_dataset  # noqa: E402
from test_modules import run  # noqa: E402
from test_run_folder import write_run  # noqa: E402


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Any]:
    application = bootstrap(tmp_path)  # kept alive while the test runs
    yield application.scene


def cases(session: TrainingSession) -> int:
    table = session.nodes.node("cases")
    return table.GetNumberOfRows() if table is not None else 0


def test_choosing_a_dataset_lists_it_and_a_bad_one_says_why(scene: Any, tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "ds", ["p1", "p2", "p3"])
    session = TrainingSession(scene)
    settings = TrainingSettings(str(root), str(tmp_path / "run"))
    assert session.choose(settings) == settings and cases(session) == 3 and session.problem == ""
    session.choose(TrainingSettings(str(tmp_path / "nothing"), ""))
    assert "does not exist" in session.problem and cases(session) == 0
    session.choose(TrainingSettings("", ""))
    assert session.problem == "" and session.view is None


def test_choosing_the_folder_of_a_run_takes_its_settings(scene: Any, tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "ds", ["p1", "p2", "p3"])
    write_run(tmp_path / "run")
    started = TrainingSettings(
        str(root), "elsewhere", preset="smoke", folds=2, seed=7, exclude_bad=True, keep_together=("subject",)
    )
    record = {"settings": started.to_dict(), "content": {"preset": read_preset("smoke").to_dict()}}
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    session = TrainingSession(scene)
    settings = session.choose(TrainingSettings("", str(tmp_path / "run"), device="cpu", workers=3))
    assert settings == replace(started, output=str(tmp_path / "run"), device="cpu", workers=3)
    again = TrainingSettings("", str(tmp_path / "run"), folds_at_once=4)
    assert session.choose(again).folds_at_once == 4  # of the machine, not of the run
    assert session.view is not None and session.view.begun
    assert session.nodes.node("MRI2PETTrainingLoss").GetNumberOfPlotSeriesNodes() == 1
    assert not session.is_active and session.problem == ""
    (tmp_path / "run" / "run.json").write_text("{}")
    session.choose(TrainingSettings("", str(tmp_path / "run")))
    assert "does not say how it was trained" in session.problem


def test_a_training_found_at_work_is_to_go_on(scene: Any, tmp_path: Path) -> None:
    work = DetachedJob([sys.executable, "-c", "import time; time.sleep(600)"], tmp_path).start()
    session = TrainingSession(scene)
    assert not session.keep_running
    session.choose(TrainingSettings("", str(tmp_path)))
    assert session.is_active and session.keep_running
    session.close(keep_running=True)
    assert is_job_running(tmp_path)
    session.choose(TrainingSettings("", str(tmp_path)))
    session.close(keep_running=False)
    assert not is_job_running(tmp_path)
    work.end()


def test_a_child_that_cannot_start_leaves_the_session_idle(scene: Any, tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "ds", ["p1"])
    session = TrainingSession(scene, python=str(tmp_path / "no python"))
    with pytest.raises(DependencyError, match="Cannot start"):
        session.start(TrainingSettings(str(root), str(tmp_path / "run")), check=True)
    assert not session.is_active and session.state.phase == "idle" and not session.pump()


def test_the_logic_asks_for_what_the_parameter_node_says(tmp_path: Path) -> None:
    code = """
import MRI2PETTraining
from MRI2PETTrainingLib.settings import TrainingSettings
logic = MRI2PETTraining.MRI2PETTrainingLogic()
node = logic.getParameterNode()
assert logic.missing(node) == "Choose a dataset."
node.dataset, node.output, node.epochs, node.precision = sys.argv[1], sys.argv[1] + "/run", 3, "bf16"
assert logic.missing(node) == ""
settings = logic.settings(node)
assert (settings.epochs, settings.batch_size, settings.precision) == (3, None, "bf16")
assert (settings.window, settings.unpaired, settings.vgg19, settings.reference_region) == (None,) * 4
node.window = "60"
assert "is not a window of frames" in logic.missing(node)
from pathlib import Path
started = TrainingSettings(
    "/data", "/run", preset="smoke", folds=3, seed=1, exclude_bad=True, device="cpu", window=(50, 70),
    unpaired=Path("/mris"), vgg19=Path("/vgg19.pth"), start_from="other", folds_at_once=2,
    reference_region="cerebellum",
)
logic.showSettings(node, started)
assert logic.settings(node) == started
session = logic.open(onState=print)
assert session.choose(TrainingSettings("", "")) == TrainingSettings("", "")
logic.watch(); logic.close(keepRunning=True)
print("fine")
"""
    assert "fine" in run(code, tmp_path)
