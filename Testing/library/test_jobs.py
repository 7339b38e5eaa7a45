"""Child processes: progress, result, cancel of the whole tree, crashes, garbage, a parent that dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from bundles import tiny_bundle
from MRI2PETLib.core.errors import Cancelled, DependencyError, InputError, QualityError
from MRI2PETLib.core.leftovers import JOB_VARIABLE
from MRI2PETLib.jobs.child_process import Callbacks, Job, Outcome, child_environment, mri2pet_command
from MRI2PETLib.jobs.messages import Progress

ENDED_WITHIN_S = 2.0  # what the interface promises for Cancel
posix = pytest.mark.skipif(os.name != "posix", reason="signals and process groups are POSIX")


class Messages:
    """Everything a job told, in order."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Any]] = []
        self.callbacks = Callbacks(
            **{name: self._keep(name) for name in Callbacks.__dataclass_fields__}  # type: ignore[arg-type]
        )

    def _keep(self, name: str) -> Callable[[Any], None]:
        return lambda value: self.events.append((name, value))

    def all(self, name: str) -> list[Any]:
        return [value for kind, value in self.events if kind == name]


def script(folder: Path, code: str, name: str = "child.py") -> list[str]:
    """The command of a small child that has a JSON reporter ``say`` and is watched like ``mri2pet``."""
    start = """
    import os, signal, subprocess, sys, time
    from pathlib import Path
    from MRI2PETLib.jobs.process_tree import end_with_parent
    from MRI2PETLib.core.progress import JsonReporter
    end_with_parent()
    say = JsonReporter()
    """
    path = folder / name
    path.write_text(textwrap.dedent(start) + textwrap.dedent(code), encoding="utf-8")
    return [sys.executable, str(path)]


def until(condition: Callable[[], bool], seconds: float = 120.0) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


def pump_until(job: Job, condition: Callable[[], bool]) -> None:
    assert until(lambda: bool(not job.pump() or condition())) and condition()


def members(job: Job) -> list[psutil.Process]:
    """All processes that carry the job's name, zombies aside."""
    processes = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(JOB_VARIABLE) == job.name and process.is_running():
                processes.append(process)
        except psutil.Error:
            pass
    return processes


def test_progress_and_messages_arrive_in_order(tmp_path: Path) -> None:
    messages = Messages()
    code = """
    for n in range(200):
        say.progress(n, 200, "stage é")
    say.log("a log"); say.warning("a warning")
    say.result({"pet": "ä b.nii.gz"})
    """
    outcome = Job(script(tmp_path, code), messages.callbacks).start().wait()
    assert outcome.state == "done" and outcome.exit_code == 0 and outcome.error is None
    assert [p.done for p in messages.all("progress")] == list(range(200))
    assert (
        isinstance(messages.all("progress")[0], Progress) and messages.all("progress")[0].stage == "stage é"
    )
    assert messages.all("progress")[0].eta_s is None and messages.all("progress")[9].eta_s >= 0
    assert [kind for kind, _ in messages.events[200:]] == ["log", "warning", "result", "finished"]
    assert outcome.result == {"pet": "ä b.nii.gz"} == messages.all("result")[0]


def test_what_some_cases_gave_is_a_result(tmp_path: Path) -> None:
    """Exit code 10: the others are done, and the result says which. Without a result it is a failure."""
    code = 'say.result({"failed": {"a": "no image"}}); sys.exit(10)'
    outcome = Job(script(tmp_path, code)).start().wait()
    assert (outcome.state, outcome.exit_code, outcome.error) == ("done", 10, None)
    assert outcome.result == {"failed": {"a": "no image"}}
    assert Job(script(tmp_path, "sys.exit(10)")).start().wait().state == "failed"


def test_callbacks_come_only_from_pump(tmp_path: Path) -> None:
    """A Qt owner may touch widgets in them: they run in the thread that pumps, never in a reader's."""
    threads = []
    keep = Callbacks(log=lambda _: threads.append(threading.get_ident()))
    job = Job(script(tmp_path, "say.log('x')"), keep).start()
    time.sleep(0.5)
    assert threads == [] and job.state == "running"
    job.wait()
    assert threads == [threading.get_ident()]


def test_an_error_of_the_child_keeps_its_class_message_and_hint(tmp_path: Path) -> None:
    messages = Messages()
    code = """
    from MRI2PETLib.core.errors import QualityError
    say.error(QualityError("No brain.", "Check the contrast."))
    sys.exit(4)
    """
    outcome = Job(script(tmp_path, code), messages.callbacks).start().wait()
    assert outcome.state == "failed" and outcome.exit_code == 4
    assert isinstance(outcome.error, QualityError) and outcome.error.hint == "Check the contrast."
    assert [kind for kind, _ in messages.events] == ["error", "finished"]


def test_garbage_on_stdout_becomes_a_log(tmp_path: Path) -> None:
    messages = Messages()
    code = r"""
    lines = [b"\xff\xfe not text", b"[1, 2]", b'"text"', b'{"event": "?"}', b'{"event": "progress"}',
             b'{"event": "progress", "done": "x", "total": 0, "stage": ""}', b"[" * 20000, b"null",
             b'{"event": "progress", "done": NaN, "total": 1, "stage": ""}', b'{"event": "error"}',
             b'{"event": ["log"], "message": "x"}', b'{"event": "log", "message": 5}']
    sys.stdout.buffer.write(b"\n".join(lines) + b"\n")
    say.progress(1, 2, "fine")
    sys.stdout.buffer.write(b"no end of line")
    """
    outcome = Job(script(tmp_path, code), messages.callbacks).start().wait()
    assert outcome.state == "done"
    assert len(messages.all("log")) == 13 and "\N{REPLACEMENT CHARACTER}" in messages.all("log")[0]
    assert [p.stage for p in messages.all("progress")] == ["fine"]


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("os._exit(7)", "(7)"),
        ("import ctypes; ctypes.string_at(0)", "(SIGSEGV)"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "(SIGKILL)"),
    ],
)
@posix
def test_a_crash_is_an_error_with_the_last_words(tmp_path: Path, code: str, names: str) -> None:
    code = f"print('x' * 10, 'the last words', file=sys.stderr, flush=True)\n{code}"
    outcome = Job(script(tmp_path, code)).start().wait()
    assert outcome.state == "failed" and outcome.error is not None
    assert names in outcome.error.message and any("the last words" in line for line in outcome.stderr)
    assert ("memory" in outcome.error.hint) == (names == "(SIGKILL)")
    assert "the last words" in outcome.error.hint or names == "(SIGSEGV)"


def test_stderr_is_bounded_and_cannot_block_the_child(tmp_path: Path) -> None:
    outcome = Job(script(tmp_path, "sys.stderr.write('line\\n' * 100_000)")).start().wait()
    assert outcome.state == "done" and len(outcome.stderr) <= 40


STUBBORN = """
from MRI2PETLib.core.files import atomic_path, staged_folder
signal.signal(signal.SIGTERM, signal.SIG_IGN)
out = Path(sys.argv[1])
sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
helper = subprocess.Popen(sleep)
away = subprocess.Popen(sleep, start_new_session=sys.platform == "linux")
with staged_folder(out / "sub-1", last="x") as staging, atomic_path(out / "big.nii.gz") as temporary:
    (staging / "half.nii.gz").write_bytes(b"x" * 1000)
    temporary.write_bytes(b"x")
    say.progress(1, 2, "writing")
    time.sleep(60)
"""


def test_cancel_ends_a_deaf_child_its_children_and_removes_its_temporary_files(tmp_path: Path) -> None:
    """The child ignores SIGTERM, and one of its children sits in a session of its own."""
    messages, out = Messages(), tmp_path / "out put é"
    others = [f".mri2pet+{job}+here+1+ab" for job in ("job-000", "other")]
    for name in others:
        (out / "sub-1" / name).mkdir(parents=True)
    job = Job([*script(tmp_path, STUBBORN), str(out)], messages.callbacks, output=out).start()
    pump_until(job, lambda: bool(messages.all("progress")))
    assert len(members(job)) == 3
    assert any(name.startswith(f".mri2pet+{job.name}+") for name in os.listdir(out / "sub-1"))
    started = time.monotonic()
    job.cancel()
    assert time.monotonic() - started < 0.1  # the window stays alive
    outcome = job.wait()
    assert time.monotonic() - started < ENDED_WITHIN_S
    assert outcome.state == "cancelled" and isinstance(outcome.error, Cancelled)
    assert until(lambda: not members(job), 1.0)
    left = sorted(str(p.relative_to(out)) for p in out.rglob("*"))
    assert left == ["sub-1", *(f"sub-1/{name}" for name in others)]  # of others: untouched
    assert messages.all("error") == [] and len(messages.all("finished")) == 1


def test_what_a_child_leaves_running_ends_with_it(tmp_path: Path) -> None:
    """It holds the pipe of stdout open too, which must not keep the job from ending."""
    code = "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])"
    job = Job(script(tmp_path, code)).start()
    started = time.monotonic()
    assert job.wait().state == "done" and time.monotonic() - started < 20
    assert until(lambda: not members(job), 1.0)


def test_cancel_from_a_callback_pump_inside_pump_and_a_second_cancel(tmp_path: Path) -> None:
    nested = []

    def stop(_: Progress) -> None:
        nested.append(job.pump())
        job.cancel()
        job.cancel()

    job = Job(script(tmp_path, "say.progress(1, 2, 'x'); time.sleep(60)"), Callbacks(progress=stop))
    outcome = job.start().wait()
    assert outcome.state == "cancelled" == job.state and nested == [True]
    job.cancel()
    assert job.state == "cancelled" and not job.pump()


def test_an_exception_while_waiting_cancels_the_child(tmp_path: Path) -> None:
    def interrupt(_: Progress) -> None:
        raise KeyboardInterrupt

    job = Job(script(tmp_path, "say.progress(1, 2, 'x'); time.sleep(60)"), Callbacks(progress=interrupt))
    with pytest.raises(KeyboardInterrupt):
        job.start().wait()
    assert job.state == "cancelling" and until(lambda: not members(job), ENDED_WITHIN_S)
    assert job.wait().state == "cancelled"


def test_a_program_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(DependencyError, match="no such"):
        Job([str(tmp_path / "no such python")]).start()


def test_the_environment_is_copied_and_finds_the_library(tmp_path: Path) -> None:
    before = dict(os.environ)
    base = {"PYTHONPATH": "/somewhere", "X": "é"}
    child = child_environment(base, "job-1")
    assert base == {"PYTHONPATH": "/somewhere", "X": "é"} and child["X"] == "é"
    assert child["PYTHONPATH"].endswith(os.pathsep + "/somewhere")
    code = "import MRI2PETLib; say.result({'x': os.environ['X'], 'file': MRI2PETLib.__file__})"
    result = Job(script(tmp_path, code), env={**before, "X": "ä b"}).start().wait().result
    assert result is not None and result["x"] == "ä b"
    assert str(Path(child["PYTHONPATH"].split(os.pathsep)[0])) in result["file"]
    assert dict(os.environ) == before


PARENT = """
from MRI2PETLib.jobs.child_process import Job
job = Job([sys.executable, sys.argv[1], sys.argv[2]], output=sys.argv[2]).start()
print(job.pid, flush=True)
while job.pump():
    time.sleep(0.05)
"""


ORPHAN = """
import MRI2PETLib.jobs.process_tree
from MRI2PETLib.core.files import staged_folder
MRI2PETLib.jobs.process_tree.ORPHAN_GRACE_S = 0.5
def stop(number, frame):
    raise SystemExit
signal.signal(signal.SIGTERM, HANDLER)
with staged_folder(sys.argv[1], last="x") as staging:
    (staging / "ready").write_text("")
    time.sleep(60)
"""


@posix
@pytest.mark.parametrize("handler", ["stop", "signal.SIG_IGN"])
def test_a_parent_that_is_killed_takes_its_child_along(tmp_path: Path, handler: str) -> None:
    """At once when the child listens; a child that is stuck in native code is killed after a while."""
    child, out = script(tmp_path, ORPHAN.replace("HANDLER", handler), "a child.py"), tmp_path / "out"
    parent = subprocess.Popen(
        [*script(tmp_path, PARENT, "parent.py"), child[1], str(out)], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    process = psutil.Process(int(parent.stdout.readline()))
    parent.stdout.close()
    assert until(lambda: bool(list(out.glob(".mri2pet+*/ready"))))
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert until(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE, 5.0)
    if handler == "stop":
        assert list(out.iterdir()) == []


@pytest.fixture(scope="module")
def t1_and_model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    from MRI2PETLib.images.io import write_image
    from MRI2PETLib.simulation import simulate_subject

    folder = tmp_path_factory.mktemp("in put é")
    tiny_bundle(folder / "tiny")
    person = simulate_subject(3, spacing_mm=2.0)
    write_image(person.brain_mask, folder / "mask.nii.gz")
    return write_image(person.t1, folder / "anna ß_T1w.nii.gz"), folder / "tiny"


def run_synthesis(t1: Path, model: Path, out: Path, messages: Messages) -> Job:
    settings = ["--model", model, "--mask", t1.parent / "mask.nii.gz", "--device", "cpu"]
    command = mri2pet_command(["synthesize", t1, "-o", out, *settings])
    env = {**os.environ, "OMP_NUM_THREADS": "1", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1"}
    return Job(command, messages.callbacks, output=out, env=env).start()


def test_a_synthesis_in_a_child(t1_and_model: tuple[Path, Path], tmp_path: Path) -> None:
    messages, out = Messages(), tmp_path / "out put é"
    outcome: Outcome = run_synthesis(*t1_and_model, out, messages).wait()
    assert outcome.state == "done", outcome
    assert outcome.result is not None and Path(outcome.result["cases"][0]["pet"]).is_file()
    done = [p.done / p.total for p in messages.all("progress")]
    assert len(done) > 5 and done == sorted(done) and done[0] == 0
    assert {"reading", "network", "writing"} <= {p.stage for p in messages.all("progress")}


@pytest.mark.parametrize("stage", ["reading", "writing"])
def test_a_synthesis_is_cancelled_in_time(
    t1_and_model: tuple[Path, Path], tmp_path: Path, stage: str
) -> None:
    messages, out = Messages(), tmp_path / "out put é"
    job = run_synthesis(*t1_and_model, out, messages)
    pump_until(job, lambda: any(p.stage == stage for p in messages.all("progress")))
    started = time.monotonic()
    job.cancel()
    outcome = job.wait()
    assert time.monotonic() - started < ENDED_WITHIN_S
    assert outcome.state == "cancelled"
    assert until(lambda: not members(job), 1.0)
    assert not [p for p in out.rglob("*") if p.name.startswith(".")]


def test_a_bad_input_of_the_real_command(tmp_path: Path) -> None:
    outcome = Job(mri2pet_command(["synthesize", tmp_path / "no.nii", "-o", tmp_path / "out"])).start().wait()
    assert outcome.exit_code == 3 and isinstance(outcome.error, InputError)
    assert "no.nii" in outcome.error.message
