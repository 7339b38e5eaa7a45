"""The traffic light as it is read: signs beside the colours, and no line for each thing that is not known."""

from __future__ import annotations

import pytest

pytest.importorskip("slicer", reason="needs slicer-core: pip install -e .[slicer]")

from MRI2PETLib.scene.inputs import lights_html  # noqa: E402
from MRI2PETLib.synthesis.input_checks import Check  # noqa: E402


def test_every_level_has_its_own_sign_and_markup_in_a_message_is_shown_as_it_is() -> None:
    checks = [
        Check("T1 image", "ok", "2 x 2 voxels."),
        Check("PET unit", "warn", "a < b", "Say it."),
        Check("brain", "refuse", "None."),
    ]
    lines = lights_html(checks).split("<br>")
    assert [line.split(">")[1].split("<")[0] for line in lines] == ["&#10003;", "&#9650;", "&#10007;"]
    assert "<b>PET unit</b>: a &lt; b Say it." in lines[1]


def test_what_was_not_checked_for_one_reason_shares_a_line() -> None:
    checks = [Check("skull", "not checked", "Later."), Check("brain", "not checked", "Later.")]
    checks.append(Check("PET unit", "not checked", "No PET."))
    lines = lights_html(checks).split("<br>")
    assert len(lines) == 2 and "skull, brain: Later." in lines[0] and "PET unit: No PET." in lines[1]
