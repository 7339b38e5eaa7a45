"""What a run found out, on the lights: each finding on its light, the worst level counts, and in words."""

from __future__ import annotations

import json

import pytest

from MRI2PETLib.core.errors import DeviceError, InputError, QualityError
from MRI2PETLib.core.findings import Finding
from MRI2PETLib.core.progress import JsonReporter
from MRI2PETLib.jobs.messages import error_of, read_event
from MRI2PETLib.synthesis.checks import CHECK_NAMES, Check, worst_first
from MRI2PETLib.synthesis.run_checks import (
    checks_after,
    checks_of_comparison,
    checks_of_new_inputs,
    checks_of_refusal,
    checks_of_synthesis,
    in_words,
)

PREPROCESSING = {"brain_mask": "template", "measures": {"volume_ml": 1520.4, "template_correlation": 0.57}}


def levels(checks: list[Check]) -> dict[str, str]:
    return {check.name: check.level for check in checks}


def test_a_good_synthesis_makes_the_lights_of_the_brain_green() -> None:
    checks = checks_of_synthesis([], PREPROCESSING)
    assert levels(checks) == {"T1 contrast": "ok", "brain": "ok", "skull": "ok"}
    assert "1520 mL" in next(c for c in checks if c.name == "brain").message


def test_every_finding_has_its_light_and_the_model_has_one_of_its_own() -> None:
    findings = [
        Finding("warn", "size", "Small."),
        Finding("warn", "coverage", "Cut."),
        Finding("ok", "non-finite-background", "Zeroed."),
        Finding("warn", "hot-voxels", "Bright."),
        Finding("warn", "not-predicted", "3 %."),
    ]
    checks = checks_of_synthesis(findings, PREPROCESSING)
    warned = {name for name, level in levels(checks).items() if level == "warn"}
    assert warned == {"brain", "field of view", "T1 image", "model"}
    assert in_words(checks) == "4 warnings (T1 image, field of view, brain, model)"


def test_a_comparison_tells_of_the_pet_only() -> None:
    findings = [
        Finding("warn", "unit-not-stated", "No unit."),
        Finding("warn", "pet-apart", "9 mm."),
        Finding("warn", "size", "Small."),
    ]
    assert levels(checks_of_comparison(findings)) == {"PET unit": "warn", "overlap of T1 and PET": "warn"}
    assert checks_of_comparison([]) == []


def test_the_reason_of_a_refusal_arrives_through_a_child(capsys: pytest.CaptureFixture[str]) -> None:
    inverted = Finding("refuse", "inverted-contrast", "A T2.", "Use a T1.")
    JsonReporter().error(QualityError("A T2. Use a T1.", findings=[inverted]))
    error = error_of(read_event(capsys.readouterr().out.strip()))
    assert isinstance(error, QualityError) and error.findings == (inverted,)
    assert checks_of_refusal(error) == [Check("T1 contrast", "refuse", "A T2.", "Use a T1.")]
    damaged = {"message": "A T2.", "code": "quality", "findings": [{"level": "worse"}]}
    assert levels(checks_of_refusal(error_of(damaged))) == {"brain": "refuse"}


def test_what_is_not_about_the_inputs_turns_no_light_red() -> None:
    assert checks_of_refusal(DeviceError("No memory.")) == checks_of_refusal(InputError("No atlas.")) == []


def test_new_inputs_keep_what_is_known_of_the_same_brain() -> None:
    before = [Check("T1 image", "ok"), Check("brain", "warn", "Small."), Check("PET unit", "warn")]
    quick = [Check("T1 image", "ok"), Check("brain", "not checked"), Check("PET unit", "ok", "SUV.")]
    same_t1 = levels(checks_of_new_inputs(before, quick, t1_changed=False))
    assert same_t1 == {"T1 image": "ok", "brain": "warn", "PET unit": "ok"}
    assert checks_of_new_inputs(before, quick, t1_changed=True) == quick


def test_the_worst_comes_first_and_is_counted() -> None:
    checks = [Check(name, "ok") for name in CHECK_NAMES]
    checks = checks_after(checks, [Check("brain", "refuse"), Check("skull", "warn")])
    assert [c.name for c in worst_first(checks)][:3] == ["brain", "skull", "T1 image"]
    assert len(checks) == len(CHECK_NAMES)
    assert in_words(checks) == "1 refusal (brain), 1 warning (skull)" and in_words([]) == ""


def test_a_finding_returns_from_what_it_was_written_as() -> None:
    finding = Finding("warn", "size", "Small.", "Look.")
    assert Finding.of(json.loads(json.dumps(finding.to_dict()))) == finding
