"""One case that fails does not stop the others; cancelling and a full disk do."""

from __future__ import annotations

import errno
import logging
from pathlib import Path

import pytest

from MRI2PETLib.cli import main
from MRI2PETLib.core.case_loop import CaseOutcome, each_case, exit_code
from MRI2PETLib.core.errors import (
    EXIT_PARTIAL,
    Cancelled,
    DependencyError,
    DeviceError,
    Explained,
    InputError,
    MRI2PETError,
    OutputError,
)
from MRI2PETLib.core.explain import explain
from MRI2PETLib.core.progress import ProgressCallback, Reporter


class Listener(Reporter):
    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.heard: list[tuple[float, float, str]] = []

    def warning(self, message: str) -> None:
        self.warnings.append(message)

    def progress(self, done: float, total: float, stage: str) -> None:
        self.heard.append((done, total, stage))


UNEXPECTED = (
    "Unexpected ValueError: odd This is a bug: please report it with the output of the same command and -v."
)


def outcomes(cases: list[object], reporter: Reporter) -> list[CaseOutcome]:
    """A case is its result, or what its work raises."""

    def work(case: object, progress: ProgressCallback) -> str:
        progress(1, 2, "half")
        if isinstance(case, BaseException):
            raise case
        return f"did {case}"

    return list(each_case(cases, work, name=lambda case: f"<{case}>", reporter=reporter))


def test_the_rest_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    listener = Listener()
    with caplog.at_level(logging.INFO):
        result = outcomes(["a", InputError("no T1.", "Give one."), ValueError("odd"), "d"], listener)
    assert [done.result for done in result] == ["did a", None, None, "did d"]
    assert [None if d.error is None else str(d.error) for d in result] == [
        None,
        "no T1. Give one.",
        UNEXPECTED,
        None,
    ]
    assert listener.warnings == [
        "<no T1. Give one.> failed: no T1. Give one.",
        f"<odd> failed: {UNEXPECTED}",
    ]
    # Only what nobody foresaw has a traceback in the log.
    assert [record.exc_info is not None for record in caplog.records] == [True]
    assert listener.heard[0] == (0.5, 4, "<a>: half") and listener.heard[-1] == (3.5, 4, "<d>: half")
    assert all(done.seconds >= 0 for done in result)


@pytest.mark.parametrize(
    "stop",
    [Cancelled("stop"), OutputError("disk full"), KeyboardInterrupt(), OSError(errno.ENOSPC, "full", "/x")],
)
def test_what_concerns_all_cases_stops_them(stop: BaseException) -> None:
    with pytest.raises(OutputError if isinstance(stop, OSError) else type(stop)):
        outcomes(["a", stop, "c"], Listener())


@pytest.mark.parametrize(
    ("error", "kind", "says"),
    [
        (
            PermissionError(errno.EACCES, "Permission denied", "/x/T1.nii"),
            InputError,
            "/x/T1.nii cannot be used",
        ),
        (OSError(errno.ELOOP, "Too many levels", "/x"), InputError, "Check the path and its rights"),
        (OSError(errno.ENOSPC, "No space left on device", "/tmp/x"), OutputError, "The disk is full"),
        (OSError(errno.EROFS, "Read-only", "/x/y"), OutputError, "read-only"),
        (MemoryError(), DeviceError, "Not enough memory"),
        (ModuleNotFoundError("m", name="m"), DependencyError, "The package m is not installed"),
        (OSError("odd"), MRI2PETError, "Unexpected OSError: odd This is a bug"),
        (InputError("no T1."), InputError, "no T1."),
    ],
)
def test_what_nobody_explained_is_explained_in_one_place(
    error: Exception, kind: type[Explained], says: str
) -> None:
    """Also in a batch: the message of a case says the same as that of a command."""
    result = explain(error)
    assert type(result) is kind and says in str(result)


@pytest.mark.parametrize("error", [InputError("no T1."), ValueError("odd")])
def test_the_only_case_is_told_of_and_then_raises(error: Exception) -> None:
    listener, calls = Listener(), []

    def work(case: str, progress: ProgressCallback) -> None:
        progress(0, 1, "reading")
        raise error

    with pytest.raises(type(error)):
        for done in each_case(["a"], work, name=str, reporter=listener):
            calls.append(done)
    assert len(calls) == 1 and isinstance(calls[0].error, MRI2PETError)
    assert not listener.warnings and listener.heard == [(0, 1, "reading")]


def test_the_exit_code_of_several_cases() -> None:
    assert exit_code([], 0) == exit_code([], 3) == 0
    assert exit_code(["no T1.", "no PET."], 3) == EXIT_PARTIAL
    with pytest.raises(MRI2PETError, match=r"^All 2 cases failed\. The first: no T1\.$") as error:
        exit_code(["no T1.", "no PET."], 2)
    assert error.value.exit_code == 1


def test_all_commands_end_alike_when_all_cases_fail(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two cases, of which no image can be read: nothing to go on with, in any command."""
    for name in ("a", "b"):
        (tmp_path / "in" / name).mkdir(parents=True)
        for image in ("T1.nii.gz", "PET.nii.gz"):
            (tmp_path / "in" / name / image).write_bytes(b"no image")
    lines = [f"{c},{c},{c}/T1.nii.gz,{c}/PET.nii.gz,{c}/T1.nii.gz" for c in ("a", "b")]
    table = tmp_path / "in" / "manifest.csv"
    table.write_text("\n".join(["case,subject,synthetic,pet,t1", *lines]) + "\n")
    suvr = ["--atlas", "cortical-spheres", "--reference", "*cerebellum*"]
    commands = {
        "synthesize": [f"{tmp_path}/in/a/T1.nii.gz", f"{tmp_path}/in/b/T1.nii.gz"],
        "evaluate": ["--pairs", str(table)],
        "suvr": ["--cases", str(table), *suvr],
        "train": [str(table), "--exclude-bad", "--preset", "smoke", "--check"],
    }
    for name, arguments in commands.items():
        assert main([name, *arguments, "-o", str(tmp_path / name), "--progress", "none"]) == 1, name
        message = capsys.readouterr().err
        assert "All 2 cases failed. The first: " in message and "Unexpected" not in message
