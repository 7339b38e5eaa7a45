"""Streams, signals and names around a command: quiet where nobody listens, no wish to cancel is lost."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lost_cancellation import cancelled_run
from MRI2PETLib import cli
from MRI2PETLib.core import cancellation, errors
from MRI2PETLib.core.errors import EXIT_CODES, Cancelled, Explained
from MRI2PETLib.core.names import printable
from MRI2PETLib.core.progress import QuietReporter, Reporter, make_reporter

REPOSITORY = Path(__file__).resolve().parents[2]
MRI2PET = [sys.executable, "-m", "MRI2PETLib.cli"]
posix = pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")


def shell(line: str) -> subprocess.CompletedProcess:
    program = " ".join(f"'{part}'" for part in MRI2PET)
    return subprocess.run(
        ["bash", "-c", line.replace("mri2pet", program)], capture_output=True, text=True, timeout=120
    )


@posix
@pytest.mark.parametrize("command", ["models info tspo-demo", "--help"])
@pytest.mark.parametrize(
    "end", ["| head -1 >/dev/null; exit ${PIPESTATUS[0]}", "| true; exit 0", "2>&-", ">&-", "<&- >&- 2>&-"]
)
def test_nobody_listens(command: str, end: str) -> None:
    done = shell(f"mri2pet {command} {end}")
    assert done.returncode == 0 and "bug" not in done.stderr and "Traceback" not in done.stderr, done.stderr


@posix
def test_a_full_disk_under_standard_output_is_told() -> None:
    done = shell("mri2pet models info tspo-demo > /dev/full")
    assert done.returncode == errors.OutputError.exit_code
    assert done.stderr.startswith("error: Cannot write to standard output")


@posix
def test_standard_error_that_takes_nothing_changes_no_exit_code() -> None:
    assert shell("mri2pet models info no-such-model 2>/dev/full").returncode == errors.BundleError.exit_code


def test_what_a_terminal_would_obey_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert printable("a\x1b[2Jb\tc\nd\u202e\x07") == "a\\x1b[2Jb\tc\nd\\u202e\\x07"
    assert printable(os.fsdecode(b"caf\xe9.nii")) == "caf\\udce9.nii"
    reporter = make_reporter("none")
    reporter.say("\x1b]0;title\x07card")
    reporter.warning("\x1b[31mred")
    reporter.error(errors.InputError("\x1b[2J", "\x1b[3J"))
    streams = capsys.readouterr()
    assert "\x1b" not in streams.out + streams.err and "card" in streams.out


@pytest.fixture
def signals() -> object:
    available = [s for s in (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", None)) if s is not None]
    before = {number: signal.getsignal(number) for number in available}
    for number in available:
        signal.signal(number, signal.SIG_DFL)  # under nohup SIGHUP is ignored, and stays so
    yield available
    for number, handler in before.items():
        signal.signal(number, handler)
    cancellation._requested = False


def test_a_swallowed_signal_is_heeded_at_the_next_step(signals: list[signal.Signals]) -> None:
    for number in signals:
        cancellation.watch_signals()
        try:
            signal.raise_signal(number)
        except BaseException as raised:  # what a library's destructor or callback does
            assert isinstance(raised, Cancelled) and not isinstance(raised, Exception)
        with pytest.raises(Cancelled):
            Reporter().progress(1, 2, "a step")


@pytest.mark.parametrize("swallow", [True, False])
def test_a_cancelled_command_never_ends_as_done(
    signals: list[signal.Signals], monkeypatch: pytest.MonkeyPatch, swallow: bool
) -> None:
    """Neither when the exception was lost for good, nor when a library made another one of it."""
    from MRI2PETLib.commands import doctor

    monkeypatch.setattr(doctor, "run", cancelled_run(swallow))
    assert cli.main(["doctor"]) == Cancelled.exit_code


def test_a_signal_while_the_command_line_is_read_and_one_more_while_the_reason_is_told(
    signals: list[signal.Signals], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(QuietReporter, "error", lambda *_: signal.raise_signal(signal.SIGINT))
    assert cli.main(["models", "--progress", "none", "info", "no-such-model"]) == Cancelled.exit_code
    monkeypatch.setattr(cli, "build_parser", lambda *_: signal.raise_signal(signal.SIGTERM))
    assert cli.main(["doctor"]) == Cancelled.exit_code
    assert capsys.readouterr().err.count("error: Cancelled.") == 2


@posix
def test_nohup_is_respected(signals: list[signal.Signals]) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    cancellation.watch_signals()
    signal.raise_signal(signal.SIGHUP)
    assert not cancellation.is_requested()


def test_the_table_of_exit_codes_is_complete() -> None:
    def kinds(base: type[Explained]) -> set[type[Explained]]:
        return {base}.union(*map(kinds, base.__subclasses__()))

    assert {kind.exit_code for kind in kinds(Explained)} <= set(EXIT_CODES)
    codes = [kind.exit_code for kind in kinds(Explained) - {Explained}]
    assert len(codes) == len(set(codes)), "two kinds of error share an exit code"
    guide = (REPOSITORY / "Docs" / "explanation" / "developer_guide.md").read_text(encoding="utf-8")
    assert {int(c): m for c, m in re.findall(r"^\| (\d+) \| (.+?) \|$", guide, re.M)} == EXIT_CODES
    assert max(EXIT_CODES) == 128 + signal.SIGINT and "| 128 + n |" in guide
