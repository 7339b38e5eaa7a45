"""The traffic light after a run: what a synthesis or a comparison found out about its inputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from MRI2PETLib.core.errors import Explained, QualityError
from MRI2PETLib.core.findings import Finding
from MRI2PETLib.synthesis.checks import (
    BRAIN,
    CONTRAST,
    FIELD,
    OVERLAP,
    PET_IMAGE,
    SYNTHETIC,
    T1,
    TRACER_CHECK,
    UNIT,
    Check,
    Checks,
    check_of,
)

_OF_BRAIN = (CONTRAST, FIELD, BRAIN)
_OF_PET = (SYNTHETIC, PET_IMAGE, UNIT, OVERLAP, TRACER_CHECK)


def checks_of_synthesis(findings: Iterable[Finding], preprocessing: Mapping[str, Any]) -> list[Check]:
    """What a synthesis says of the T1 and of the model.

    :param preprocessing: of its provenance: how the brain was found.
    """
    by_check = _by_check(findings, T1)
    checks = Checks()
    of_brain = [f for name in _OF_BRAIN for f in by_check.pop(name, [])]
    checks.set_brain(of_brain, preprocessing["measures"], preprocessing["brain_mask"])
    return _merged(checks, by_check)


def checks_of_comparison(findings: Iterable[Finding]) -> list[Check]:
    """What a comparison says of the real PET (unit, overlap, image), and of what the synthetic one is of."""
    by_check = _by_check(findings, PET_IMAGE)
    own = {name: by_check[name] for name in _OF_PET if name in by_check}
    return _merged(Checks(), own)


def checks_of_refusal(error: Explained) -> list[Check]:
    """What a run that was refused says of its inputs; nothing if they were not the reason."""
    findings = error.findings
    if not findings and isinstance(error, QualityError):
        findings = (Finding("refuse", "no-brain", error.message, error.hint),)
    return _merged(Checks(), _by_check(findings, T1))


def checks_after(before: Sequence[Check], after: Iterable[Check]) -> list[Check]:
    """All lights after a run: what it found out stands in the place of what was known before."""
    by_name = {check.name: check for check in before}
    by_name |= {check.name: check for check in after}
    return list(by_name.values())


def checks_of_new_inputs(before: Sequence[Check], quick: Sequence[Check], *, t1_changed: bool) -> list[Check]:
    """All lights after other inputs were chosen: of the same T1, what is known of its brain stays."""
    if t1_changed:
        return list(quick)
    return checks_after(before, [check for check in quick if check.name in _OF_PET])


def in_words(checks: Iterable[Check]) -> str:
    """How many lights warn or refuse and which, for a status line; empty if none does."""
    parts = []
    levels = [(check.level, check.name) for check in checks]
    for level, one, many in (("refuse", "refusal", "refusals"), ("warn", "warning", "warnings")):
        names = [name for own, name in levels if own == level]
        if names:
            parts.append(f"{len(names)} {one if len(names) == 1 else many} ({', '.join(names)})")
    return ", ".join(parts)


def _by_check(findings: Iterable[Finding], otherwise: str) -> dict[str, list[Finding]]:
    by_check: dict[str, list[Finding]] = {}
    for finding in findings:
        by_check.setdefault(check_of(finding, otherwise), []).append(finding)
    return by_check


def _merged(checks: Checks, by_check: Mapping[str, list[Finding]]) -> list[Check]:
    for name, findings in by_check.items():
        checks.merge(name, findings)
    return checks.lights()
