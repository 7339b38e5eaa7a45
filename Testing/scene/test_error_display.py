"""What a user is shown when something cannot be done: words and no traceback, but for what nobody foresaw."""

from __future__ import annotations

import types
from pathlib import Path

import pytest

slicer = pytest.importorskip("slicer", reason="needs slicer-core: pip install -e .[slicer]")

import slicer.util  # noqa: E402, F811

from MRI2PETLib.core.errors import InputError  # noqa: E402
from MRI2PETLib.core.files import write_text  # noqa: E402
from MRI2PETSynthesisUI.error_display import errorDisplay  # noqa: E402

WHAT = "The region cannot be measured."


@pytest.fixture
def dialogs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Text and details of the dialogs that were opened."""
    texts: list[tuple[str, str]] = []
    application = types.SimpleNamespace(testingEnabled=lambda: False)
    monkeypatch.setattr(slicer, "app", application, raising=False)
    monkeypatch.setattr(
        slicer.util, "errorDisplay", lambda text, detailedText="": texts.append((text, detailedText))
    )
    return texts


def test_what_the_user_can_mend_is_said_in_words(dialogs: list[tuple[str, str]], tmp_path: Path) -> None:
    with errorDisplay(WHAT):
        raise InputError("The box has no voxel inside the PET.", "Move it.")
    assert dialogs == [(f"{WHAT}\n\nThe box has no voxel inside the PET. Move it.", "")]
    dialogs.clear()
    (tmp_path / "file").write_text("")
    with errorDisplay(WHAT):
        write_text(tmp_path / "file" / "table.csv", "")
    [(text, details)] = dialogs
    assert text.startswith(WHAT) and str(tmp_path / "file") in text and details == ""


def test_a_fault_of_the_program_keeps_its_traceback(dialogs: list[tuple[str, str]]) -> None:
    with pytest.raises(ZeroDivisionError), errorDisplay(WHAT):
        print(1 / 0)
    assert dialogs[0][0].startswith(WHAT) and "ZeroDivisionError" in dialogs[0][1]


def test_nothing_is_shown_where_all_is_well(dialogs: list[tuple[str, str]]) -> None:
    with errorDisplay(WHAT):
        done = True
    assert done and dialogs == []
