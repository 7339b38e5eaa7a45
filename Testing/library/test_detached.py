"""Jobs that outlive the program that started them, and are followed from another one."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from MRI2PETLib.jobs.child_process import Callbacks, Outcome
from MRI2PETLib.jobs.detached import JOB, JOB_LOG, DetachedJob, is_job_running
from MRI2PETLib.jobs.messages import Progress

SAY = """
import json, sys, time
def say(**event): print(json.dumps(event), flush=True)
"""


def command(code: str) -> list[str]:
    return [sys.executable, "-c", SAY + code]


def wait_for(condition, what: str) -> None:
    for _ in range(1200):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError(what)


class Heard:
    """Everything that a job's owner was told."""

    def __init__(self) -> None:
        self.stages: list[str] = []
        self.lines: list[str] = []
        self.outcomes: list[Outcome] = []
        self.callbacks = Callbacks(
            progress=self._progress, log=self.lines.append, finished=self.outcomes.append
        )

    def _progress(self, progress: Progress) -> None:
        self.stages.append(progress.stage)


def test_what_it_says_is_told_and_kept(tmp_path: Path) -> None:
    heard = Heard()
    code = """
say(event="progress", done=1, total=2, stage="half", eta_s=None)
print("a library prints"); print("and complains", file=sys.stderr, flush=True)
say(event="result", report="r.html")
"""
    outcome = DetachedJob(command(code), tmp_path / "Lauf ü 1", heard.callbacks).start().wait()
    assert (outcome.state, outcome.result) == ("done", {"report": "r.html"})
    assert heard.stages == ["half"] and set(heard.lines) == {"a library prints", "and complains"}
    late = Heard()
    job = DetachedJob.attach(tmp_path / "Lauf ü 1", late.callbacks)
    assert job is not None
    assert job.wait().result == {"report": "r.html"}
    assert late.stages == ["half"] and not is_job_running(tmp_path / "Lauf ü 1")


def test_it_goes_on_without_its_parent_and_is_followed_by_another(tmp_path: Path) -> None:
    child = """
say(event="progress", done=1, total=9, stage="one", eta_s=None)
import pathlib
for _ in range(1200):
    if pathlib.Path("go").exists(): break
    time.sleep(0.05)
say(event="result", x=1)
"""
    parent = f"""
import os
os.chdir({str(tmp_path)!r})
from MRI2PETLib.jobs.detached import DetachedJob
job = DetachedJob({command(child)!r}, "run").start()
while not job._queue.qsize(): pass
os._exit(0)
"""
    subprocess.run([sys.executable, "-c", parent], check=True)
    assert is_job_running(tmp_path / "run")
    heard = Heard()
    job = DetachedJob.attach(tmp_path / "run", heard.callbacks)
    assert job is not None
    wait_for(lambda: job.pump() and heard.stages, "the stage")
    (tmp_path / "go").touch()
    assert job.wait().result == {"x": 1}
    assert heard.stages == ["one"]


def test_cancel_from_another_program_ends_its_children_too(tmp_path: Path) -> None:
    code = """
import subprocess
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
say(event="progress", done=1, total=9, stage="one", eta_s=None)
time.sleep(600)
"""
    first = DetachedJob(command(code), tmp_path).start()
    second = DetachedJob.attach(tmp_path)
    assert second is not None
    wait_for(lambda: '"one"' in (tmp_path / JOB_LOG).read_text(), "the stage")
    second.cancel()
    assert second.wait().state == "cancelled"
    assert first.wait().state == "failed"  # nobody cancelled it here
    assert not is_job_running(tmp_path)


def test_a_job_of_before_is_not_mistaken_for_another_process(tmp_path: Path) -> None:
    """Its process number belongs to somebody else by now: to this test."""
    import os

    (tmp_path / JOB).write_text(json.dumps({"name": "job-x", "pid": os.getppid(), "command": ["x"]}))
    (tmp_path / JOB_LOG).write_text('{"event": "log", "message": "working"}\n')
    job = DetachedJob.attach(tmp_path)
    assert job is not None
    outcome = job.wait()
    assert outcome.state == "failed" and outcome.error is not None
    assert "ended unexpectedly" in outcome.error.message
    assert not is_job_running(tmp_path)
    assert DetachedJob.attach(tmp_path / "nothing") is None


def test_leaving_is_no_end(tmp_path: Path) -> None:
    heard = Heard()
    job = DetachedJob(command("time.sleep(600)"), tmp_path, heard.callbacks).start()
    job.leave()
    assert is_job_running(tmp_path)
    job.end()
    wait_for(lambda: not is_job_running(tmp_path), "the end")
    assert heard.outcomes == []


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights on Windows")
def test_a_link_in_the_place_of_the_log_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "run" / JOB_LOG).symlink_to(tmp_path / "mine.txt")
    DetachedJob(command('say(event="result", report="x")'), tmp_path / "run").start().wait()
    assert (tmp_path / "mine.txt").read_text() == "mine"
    assert "result" in (tmp_path / "run" / JOB_LOG).read_text()
