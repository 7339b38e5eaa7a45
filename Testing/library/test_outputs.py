"""Files appear whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from MRI2PETLib.core import leftovers
from MRI2PETLib.core.errors import BundleError, Cancelled, InputError, OutputError
from MRI2PETLib.core.files import (
    atomic_path,
    make_folder,
    output_folder,
    read_json,
    read_object,
    replace_folder,
    restore_replaced,
    staged_folder,
    write_json,
)


def test_a_failed_write_keeps_the_old_file_and_leaves_no_other(tmp_path: Path) -> None:
    path = write_json(tmp_path / "à b.json", {"x": 1})
    with pytest.raises(Cancelled), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise Cancelled("now")
    assert json.loads(path.read_text()) == {"x": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["à b.json"]


def test_sets_tuples_and_paths_inside_them_become_lists(tmp_path: Path) -> None:
    path = write_json(tmp_path / "x.json", {"a": (Path("b"), [{1.0, float("inf")}]), "c": {"d"}})
    content = json.loads(path.read_text())
    assert (content["a"][0], sorted(content["a"][1][0], key=str), content["c"]) == ("b", [1.0, None], ["d"])


def test_what_is_no_object_is_refused(tmp_path: Path) -> None:
    path = write_json(tmp_path / "x.json", [1])
    with pytest.raises(BundleError, match="is not a JSON object"):
        read_object(path, BundleError)


@pytest.mark.skipif(sys.platform == "win32", reason="names of Windows are always text")
def test_a_folder_whose_name_is_no_text_is_refused_before_it_is_made(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="is not UTF-8. Choose another output folder"):
        make_folder(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    assert list(tmp_path.iterdir()) == []


def test_json_has_no_nan(tmp_path: Path) -> None:
    path = write_json(
        tmp_path / "x.json", {"a": np.float32("nan"), "b": np.arange(2), "c": float("inf"), "d": tmp_path}
    )
    assert json.loads(path.read_text()) == {"a": None, "b": [0, 1], "c": None, "d": str(tmp_path)}


def test_staged_files_appear_together(tmp_path: Path) -> None:
    with staged_folder(tmp_path / "new", last="a.json") as staging:
        (staging / "a.json").write_text("1")
        (staging / "b.txt").write_text("2")
        assert not (tmp_path / "new" / "b.txt").exists()
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == ["a.json", "b.txt"]


def test_nothing_is_left_of_an_interrupted_set(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), staged_folder(tmp_path, last="a") as staging:
        (staging / "b").write_text("2")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError) as error:
        make_folder(tmp_path / "file" / "sub")
    assert str(tmp_path / "file") in error.value.message and error.value.hint


@pytest.mark.parametrize(
    ("number", "hint"),
    [
        (errno.ENOSPC, "The disk is full"),
        (errno.EACCES, "The folder is read-only"),
        (errno.EROFS, "The folder is read-only"),
        (errno.EIO, "Choose another output folder"),
    ],
)
def test_the_hint_follows_the_reason(tmp_path: Path, number: int, hint: str) -> None:
    for write in (lambda: atomic_path(tmp_path / "x.json"), lambda: staged_folder(tmp_path, last="a")):
        with pytest.raises(OutputError, match=re.escape(os.strerror(number))) as error, write():
            raise OSError(number, os.strerror(number))
        assert error.value.hint.startswith(hint)
    with pytest.raises(OutputError, match="9 requested and 4 written. The disk is full"):
        with atomic_path(tmp_path / "x.npy"):
            raise OSError("9 requested and 4 written")  # as numpy says it
    assert list(tmp_path.iterdir()) == []


def test_json_is_read_whole_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert read_json(path, largest=11) == {"a": 1}
    refused = {
        b"{}": "larger than",
        b"[NaN]": "NaN",
        b"{": "not valid JSON",
        b"\xff": "not valid",
        b"[1e999]": "1e999 is not a number",
        b"[-1" + 400 * b"0" + b"]": "too large for one",
        b"[" + 9000 * b"9" + b"]": "too large for one",
    }
    for content, reason in refused.items():
        path.write_bytes(content)
        with pytest.raises(BundleError, match=reason):
            read_json(path, BundleError, largest=1 if reason == "larger than" else 10_000)
    path.write_text("[1e999, NaN, 12345678901234567890, 1.5]")
    assert read_json(path, nan=lambda text: text) == ["1e999", "NaN", 12345678901234567890, 1.5]
    with pytest.raises(InputError, match="is a folder"):
        read_json(tmp_path)


def test_a_staged_folder_replaces_that_of_its_name(tmp_path: Path) -> None:
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps" / "old").write_text("1")
    with staged_folder(tmp_path, last="a") as staging:
        (staging / "maps").mkdir()
        (staging / "maps" / "new").write_text("2")
    assert [str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")] == [
        "maps",
        os.path.join("maps", "new"),
    ]


def test_an_interrupted_replacement_is_put_back_unless_the_new_one_is_there(tmp_path: Path) -> None:
    for name in (".a.replaced-1", ".b.replaced-2/full", "b", "elsewhere/file"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / ".b.replaced-3").symlink_to(tmp_path / "elsewhere")
    restore_replaced(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "elsewhere"]
    assert (tmp_path / "elsewhere" / "file").is_dir()


def test_a_link_in_the_place_of_a_folder_goes_and_what_it_leads_to_stays(tmp_path: Path) -> None:
    for name in ("new", "elsewhere/file"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "model").symlink_to(tmp_path / "elsewhere")
    replace_folder(tmp_path / "new", tmp_path / "model")
    assert sorted(os.listdir(tmp_path)) == ["elsewhere", "model"] and not (tmp_path / "model").is_symlink()
    assert (tmp_path / "elsewhere" / "file").is_dir()


def left_by(pid: int, machine: str | None = None, job: str = "") -> str:
    """The name of what a process of this machine would leave."""
    own = leftovers.hidden_name(".nii.gz").split("+")
    return "+".join((own[0], job, machine or own[2], str(pid), *own[4:]))


def left_by_dead_process() -> str:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return left_by(ended.pid)


def test_what_a_dead_process_left_goes_and_nothing_else(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    dead = [left_by(ended.pid), left_by(ended.pid, job="job-1")]
    alive = [left_by(os.getpid()), left_by(ended.pid, "elsewhere"), f".{ended.pid}-mine", "mine.nii.gz"]
    old = left_by(1, "elsewhere")
    for number, name in enumerate((*dead, *alive, old)):
        (tmp_path / name).mkdir() if number % 2 else (tmp_path / name).write_text("x")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / dead[0]).write_text("x")
    os.utime(tmp_path / old, (0, 0))
    output_folder(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted([*alive, "sub"])
    assert os.listdir(tmp_path / "sub") == [dead[0]], "folders below may be of others"
    leftovers.sweep(tmp_path, below=True)
    assert os.listdir(tmp_path / "sub") == []


def test_a_link_that_is_left_is_removed_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_text("x")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / left_by(2**22 + 1)).symlink_to(tmp_path / "kept", target_is_directory=True)
    output_folder(tmp_path / "out")
    assert os.listdir(tmp_path / "out") == [] and (tmp_path / "kept" / "file").is_file()
