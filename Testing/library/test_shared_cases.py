"""Cases that runs share: what another run of other settings has made is told of, and never fought over."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from MRI2PETLib.core.errors import OutputError
from MRI2PETLib.core.progress import ProgressCallback, Reporter
from MRI2PETLib.core.requests import Request, Result, Source
from MRI2PETLib.core.shared_cases import each_shared_case


class Listener(Reporter):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warning(self, message: str) -> None:
        self.warnings.append(message)


@dataclass(frozen=True)
class Naming:
    """The work: write the name of the model into a file a case."""

    output: Path
    model: str
    reads_ahead: bool = False

    def about(self, case: str) -> dict[str, Any]:
        return {"case": case}

    def record(self, case: str) -> Path:
        return self.output / case / "status.json"

    def result(self, case: str) -> Result:
        return Result(self.output / case, "status.json")

    def request(self, case: str) -> Request:
        return Request({"t1": Source(f"/data/{case}", case)}, {}, {"model": self.model, "seed": 0})

    def read(self, case: str, request: Request, progress: ProgressCallback) -> None:
        return None

    def make(self, case: str, request: Request, ready: None, progress: ProgressCallback) -> dict[str, Any]:
        about = {**self.about(case), "status": "done"}
        with self.result(case).make(request, about) as staging:
            (staging / "model").write_text(self.model)
        return about


def run(work: Naming, since: float, cases: str = "abc") -> tuple[list[str], list[str]]:
    """What became of each case, and what was told."""
    listener = Listener()
    ends = each_shared_case(list(cases), work, reporter=listener, since=since)
    return [str(end.about["status"]) for end in ends], listener.warnings


@pytest.mark.parametrize("reads_ahead", [False, True])
def test_results_of_other_settings_are_made_again_and_told_of_once(reads_ahead: bool, tmp_path: Path) -> None:
    assert run(Naming(tmp_path, "one", reads_ahead), time.time()) == (["done"] * 3, [])
    assert run(Naming(tmp_path, "one", reads_ahead), time.time()) == (["kept"] * 3, [])
    statuses, warnings = run(Naming(tmp_path, "two", reads_ahead), time.time(), "abcd")
    assert statuses == ["done"] * 4
    assert warnings == ["Results of other settings (model) are made again, a first."]


@pytest.mark.parametrize("reads_ahead", [False, True])
def test_two_runs_of_different_settings_at_a_time_do_not_replace_each_other_s(
    reads_ahead: bool, tmp_path: Path
) -> None:
    began = time.time()
    run(Naming(tmp_path, "one"), began, "b")  # while the other is at its first case
    with pytest.raises(OutputError, match=r"Another run, with other settings \(model\)") as caught:
        run(Naming(tmp_path, "two", reads_ahead), began)
    assert "another output folder" in caught.value.hint
    assert (tmp_path / "b/model").read_text() == "one"
    assert not list(tmp_path.rglob(".*claim"))
    assert run(Naming(tmp_path, "one"), began, "b") == (["done"], []), "that of the other is whole"


class Alike(Naming):
    """Whose results of ``a`` and ``A`` lie at one place."""

    def record(self, case: str) -> Path:
        return self.output / case.lower() / "status.json"

    def result(self, case: str) -> Result:
        return Result(self.output / case.lower(), "status.json")


@pytest.mark.parametrize("reads_ahead", [False, True])
def test_of_two_cases_with_one_place_the_second_does_not_replace_the_first(
    reads_ahead: bool, tmp_path: Path
) -> None:
    """Not even one that was read before the first was made."""
    statuses, warnings = run(Alike(tmp_path, "one", reads_ahead), time.time(), "aA")
    assert statuses == ["done", "failed"]
    assert len(warnings) == 1 and "is the result of /data/a: that of /data/A would replace it" in warnings[0]
    assert run(Alike(tmp_path, "one", reads_ahead), time.time(), "a") == (["kept"], [])
