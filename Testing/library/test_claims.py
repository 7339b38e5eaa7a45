"""Claims: a result is made by one process at a time, and that of a dead one is free."""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from MRI2PETLib.core import claims as module
from MRI2PETLib.core import leftovers
from MRI2PETLib.core.claims import LOST_S, Claims, claim_path, holder
from MRI2PETLib.core.errors import OutputError
from MRI2PETLib.core.leftovers import machine, started_at


def write_claim(record: Path, age_s: float = 0.0, **changes: Any) -> Path:
    """That of this process, which lives, but for what ``changes`` say."""
    about = {"machine": machine(), "pid": os.getpid(), "started": started_at(os.getpid()), **changes}
    path = claim_path(record)
    path.write_text(json.dumps(about))
    os.utime(path, (path.stat().st_mtime - age_s,) * 2)
    return path


def test_one_of_many_gets_it(tmp_path: Path) -> None:
    record = tmp_path / "sub-01" / "status.json"
    start = threading.Barrier(8)

    def compete(claims: Claims) -> bool:
        start.wait()
        return claims.take(record)

    for _ in range(20):
        everybody = [Claims() for _ in range(8)]
        with ThreadPoolExecutor(8) as threads:
            taken = list(threads.map(compete, everybody))
        assert sum(taken) == 1
        everybody[taken.index(True)].give_back(record)
        assert holder(record) == "" and os.listdir(record.parent) == []


def test_who_has_it_may_take_it_again_and_what_is_left_goes_at_the_end(tmp_path: Path) -> None:
    record = tmp_path / "status.json"
    with Claims() as mine, Claims() as others:
        assert mine.take(record) and mine.take(record) and not others.take(record)
        others.give_back(record)
        assert holder(record) == f"process {os.getpid()} on {machine()}"
    assert os.listdir(tmp_path) == []


def test_the_claim_of_a_process_that_is_gone_is_free(tmp_path: Path) -> None:
    record = tmp_path / "status.json"
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    number_of_another = {"started": 1.0}  # the number is this process's now
    for changes in ({"pid": ended.pid}, number_of_another, {"pid": None}, {"pid": "7"}):
        write_claim(record, **changes)
        with Claims() as claims:
            assert claims.take(record)


def test_of_another_computer_only_its_silence_is_known(tmp_path: Path) -> None:
    record, elsewhere = tmp_path / "status.json", {"machine": "node-7", "pid": 1, "started": 1.0}
    with Claims() as claims:
        path = write_claim(record, age_s=LOST_S - 60, **elsewhere)
        assert not claims.take(record) and "node-7" in holder(record)
        path.write_text("")  # in the moment between its making and its content
        assert not claims.take(record)
        write_claim(record, age_s=LOST_S + 60, **elsewhere)
        assert claims.take(record)


@pytest.mark.parametrize("system", ["Linux", "macOS, Windows"])
def test_two_computers_of_one_name_do_not_take_each_other_s_claims_for_dead(
    system: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nodes of a cluster may be images of one disk: one host name, each its own boot and network card."""
    boot, record = tmp_path / "boot_id", tmp_path / "status.json"
    monkeypatch.setattr(leftovers.socket, "gethostname", lambda: "node.cluster.org")
    monkeypatch.setattr(leftovers.os, "readlink", lambda path: "pid:[4026531836]")
    monkeypatch.setattr(leftovers, "_BOOT_ID", boot)

    def name_on(node: int, host: str = "node.cluster.org") -> str:
        monkeypatch.setattr(leftovers.socket, "gethostname", lambda: host)
        if system == "Linux":
            boot.write_text(f"19882042-9892-4d65-afcb-62753646{node:04x}\n")
        monkeypatch.setattr(leftovers.uuid, "getnode", lambda: 0x0242AC110000 + node)
        return leftovers.machine.__wrapped__()

    one, two = name_on(1), name_on(2)
    assert one != two and one == name_on(1) and one != name_on(1, "node.elsewhere.org")
    assert re.fullmatch(r"node-[0-9a-f]{12}", one)
    monkeypatch.setattr(module, "machine", lambda: two)
    write_claim(record, machine=one, pid=2**30)  # no process of the second node
    with Claims() as claims:
        assert not claims.take(record)
        monkeypatch.setattr(module, "machine", lambda: one)
        assert claims.take(record)


def test_without_a_network_card_processes_of_one_computer_agree_on_its_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(leftovers, "_BOOT_ID", tmp_path / "none")
    monkeypatch.setattr(leftovers.uuid, "getnode", lambda: secrets.randbits(48) | 1 << 40)  # as RFC 4122 says
    assert leftovers.machine.__wrapped__() == leftovers.machine.__wrapped__()


def test_what_is_no_claim_is_named_and_what_nobody_can_read_ends(tmp_path: Path) -> None:
    record = tmp_path / "status.json"
    path = claim_path(record)
    with Claims() as claims:
        pipe = [lambda: os.mkfifo(path)] if hasattr(os, "mkfifo") else []  # type: ignore[attr-defined,unused-ignore]
        for make in (path.mkdir, lambda: path.symlink_to(tmp_path / "nowhere"), *pipe):
            make()
            with pytest.raises(OutputError, match="is not a claim, but lies where one"):
                claims.wait(record)
            path.rmdir() if path.is_dir() else path.unlink()
        write_claim(record, age_s=-2 * LOST_S, machine="node-7")  # a clock that is wrong
        assert claims.take(record)
    assert list(tmp_path.iterdir()) == []


def test_a_claim_that_is_worked_on_is_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TOUCH_S", 0.01)
    record, touched = tmp_path / "status.json", threading.Event()
    monkeypatch.setattr(module.os, "utime", lambda path: path == claim_path(record) and touched.set())
    with Claims() as claims:
        claims.take(record)
        assert touched.wait(10)


def test_a_newer_claim_is_not_removed_in_the_place_of_a_lost_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process removes the lost claim and makes its own between our look and our removal."""
    record = tmp_path / "status.json"
    path, rename = write_claim(record, started=1.0), os.rename

    def slow_rename(source: Path, target: Path) -> None:
        write_claim(record)
        rename(source, target)

    monkeypatch.setattr(module.os, "rename", slow_rename)
    with Claims() as claims:
        assert not claims.take(record)
    assert json.loads(path.read_text())["started"] == started_at(os.getpid())
    assert os.listdir(tmp_path) == [path.name]


def test_waiting_tells_for_whom_and_ends_with_the_claim(tmp_path: Path) -> None:
    record, stages = tmp_path / "status.json", []
    with Claims() as mine, Claims() as others:
        others.take(record)

        def progress(done: float, total: float, stage: str) -> None:
            stages.append(stage)
            others.give_back(record)

        mine.wait(record, progress)
        assert stages == [f"waiting for process {os.getpid()} on {machine()}"] and not others.take(record)
        with pytest.raises(KeyboardInterrupt):
            others.wait(record, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))


def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with Claims() as claims, pytest.raises(OutputError, match="Cannot write.*file"):
        claims.take(tmp_path / "file" / "status.json")


@pytest.mark.skipif(sys.platform == "win32", reason="no limit of the size of files")
def test_a_claim_that_does_not_fit_on_the_disk_leaves_nothing(tmp_path: Path) -> None:
    """An empty one would be nobody's, and waited for."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Claims() as claims:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
        try:
            with pytest.raises(OutputError, match="Cannot write"):
                claims.take(tmp_path / "status.json")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert list(tmp_path.iterdir()) == []
        assert claims.take(tmp_path / "status.json")
