"""A cohort evaluated from Slicer with a real child process: report, cancel, refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

slicer = pytest.importorskip("slicer", reason="needs slicer-core: pip install -e .[slicer]")

from bootstrap import bootstrap  # noqa: E402
from evaluation_cases import write_run  # noqa: E402
from MRI2PETLib.scene.cohort import (  # noqa: E402
    CohortRequest,
    CohortRun,
    cohort_folder,
    cohort_report,
    missing_for_cohort,
)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return bootstrap(tmp_path_factory.mktemp("slicer")).scene


def test_what_is_missing_is_said_before_anything_runs(tmp_path: Path) -> None:
    assert "Choose the folder" in missing_for_cohort(None)
    assert "no predictions.csv" in missing_for_cohort(tmp_path)
    assert "does not exist" in missing_for_cohort(tmp_path / "pairs.csv")
    (tmp_path / "pairs.csv").write_text("case,synthetic,pet\n")
    assert missing_for_cohort(tmp_path / "pairs.csv") == "" and cohort_report(tmp_path / "pairs.csv") is None
    assert cohort_folder(tmp_path / "pairs.csv") == tmp_path / "pairs-cohort"
    assert cohort_folder(tmp_path) == tmp_path / "cohort" and cohort_report(None) is None


def test_a_run_is_evaluated_into_its_folder_and_the_scene_stays_as_it_is(scene: Any, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", range(3))
    (run / "case002" / "synthetic.nii.gz").unlink()
    before = scene.GetNumberOfNodes()
    job = CohortRun(scene, CohortRequest(run)).start()
    finished = job.wait()
    assert finished.state == "done", finished.error
    assert finished.nodes is not None and finished.nodes.report == cohort_report(run)
    assert (finished.nodes.people, finished.nodes.scans, finished.nodes.failed) == (1, 2, 1)
    assert "1 case could not be evaluated" in job.state.message
    assert (run / "cohort" / "region_statistics.csv").is_file()
    assert scene.GetNumberOfNodes() == before and "Maps" not in job.state.message
    again = CohortRun(scene, CohortRequest(run)).start()
    again.cancel()
    assert again.wait().state == "cancelled" and cohort_report(run) is not None


def test_the_reason_of_a_refusal_arrives(scene: Any, tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text("case,synthetic,pet\na,nowhere.nii.gz,nowhere2.nii.gz\n")
    finished = CohortRun(scene, CohortRequest(tmp_path / "pairs.csv")).start().wait()
    assert finished.state == "failed" and "does not exist" in str(finished.error)
    assert cohort_report(tmp_path / "pairs.csv") is None
