"""The traffic light: named checks of the inputs, each ok, warn or refuse with its reason.

The checks before anything is computed: :mod:`MRI2PETLib.synthesis.input_checks`; what a run found out:
:mod:`MRI2PETLib.synthesis.run_checks`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from MRI2PETLib.core.errors import InputError, MRI2PETError, QualityError
from MRI2PETLib.core.findings import Finding, Verdict

CheckLevel = Literal["ok", "warn", "refuse", "not checked"]
LIGHT_LEVELS = ("not checked", "ok", "warn", "refuse")
T1, CONTRAST, FIELD, BRAIN, STRIPPED = "T1 image", "T1 contrast", "field of view", "brain", "skull"
PET_IMAGE, UNIT, OVERLAP, SYNTHETIC = "PET image", "PET unit", "overlap of T1 and PET", "origin"
MODEL_CHECK = "model"  # a light of runs only
TRACER_CHECK = "tracer"  # of a PET and a model together
CHECK_NAMES = (T1, SYNTHETIC, FIELD, CONTRAST, BRAIN, STRIPPED, PET_IMAGE, UNIT, OVERLAP)
_QUALITY = (CONTRAST, FIELD, BRAIN)
_CODES = {
    CONTRAST: ("inverted-contrast",),
    FIELD: ("slab", "coverage"),
    BRAIN: ("no-brain", "no-fit", "weak-fit", "size", "turned-head", "volume", "mask-grid"),
    UNIT: (
        *("unit-not-stated", "unit-overruled", "unit-doubtful", "unit-not-recognised", "counts", "no-suv"),
        "decay-reference",
        *("weight-doubtful", "weights-differ", "half-life-doubtful", "zone-assumed"),
        *("injection-times-differ", "injection-hour-only"),
    ),
    OVERLAP: ("pet-apart", "pet-t1-overlap", "pet-position", "pet-mirrored"),
    SYNTHETIC: ("other-t1", "edited-synthetic"),
    TRACER_CHECK: ("other-tracer", "tracer-not-recognised"),
    MODEL_CHECK: ("wide-grid", "not-predicted", "no-error-map", "out-of-memory", "device-failed"),
}
# What is said of how a brain was found; of an extractor, its name.
_METHODS = {"template": "found with a template", "stripped": "outline of the image", "given": "mask given"}
_CHECK_OF = {code: name for name, codes in _CODES.items() for code in codes}


@dataclass(frozen=True)
class Check:
    """One light. ``message`` says what was found, naming the value; ``hint`` the remedy."""

    name: str
    level: CheckLevel
    message: str = ""
    hint: str = ""

    def to_dict(self) -> dict[str, str]:
        return asdict(self)


def check_of(finding: Finding, otherwise: str) -> str:
    """The check that a finding belongs to; ``otherwise`` for one about the image file."""
    return _CHECK_OF.get(finding.code, otherwise)


def worst_level(checks: Sequence[Check]) -> CheckLevel:
    """The light of all checks together; *not checked* counts as ok."""
    levels = {check.level for check in checks}
    return "refuse" if "refuse" in levels else "warn" if "warn" in levels else "ok"


def worst_first(checks: Sequence[Check]) -> list[Check]:
    """Those that refuse, then those that warn, then the others, each in their order."""
    order = ("refuse", "warn")
    return sorted(checks, key=lambda check: order.index(check.level) if check.level in order else len(order))


def refusal(checks: Sequence[Check]) -> MRI2PETError | None:
    """The error of the first check that refuses, ``None`` when all may go on."""
    refused = next((check for check in checks if check.level == "refuse"), None)
    if refused is None:
        return None
    kind = QualityError if refused.name in _QUALITY else InputError
    return kind(refused.message, refused.hint)


class Checks:
    """The lights while they are being set."""

    def __init__(self) -> None:
        self._by_name: dict[str, Check] = {}

    def set(self, name: str, level: CheckLevel, message: str = "", hint: str = "") -> None:
        self._by_name[name] = Check(name, level, message, hint)

    def level(self, name: str) -> CheckLevel:
        return self._by_name[name].level if name in self._by_name else "not checked"

    def add(self, name: str, findings: Iterable[Finding], message: str = "", *, measure: str = "") -> None:
        """The light of a check that ran; ``message`` when nothing was found, ``measure`` always."""
        verdict = Verdict(tuple(findings))
        worst = [f for f in verdict.findings if f.level == verdict.level]
        text = " ".join(f.message for f in worst) or message
        self.set(
            name,
            verdict.level,
            f"{measure} {text}".strip(),
            " ".join(dict.fromkeys(f.hint for f in worst if f.hint)),
        )

    def set_brain(self, findings: Iterable[Finding], measures: Mapping[str, float], method: str) -> None:
        """The lights of a brain that was looked for.

        :param measures: those of :mod:`MRI2PETLib.preprocessing.fit_quality`.
        :param method: as in :class:`MRI2PETLib.preprocessing.brain_mask.BrainExtraction`.
        """
        by_check: dict[str, list[Finding]] = {CONTRAST: [], FIELD: [], BRAIN: []}
        for finding in findings:
            by_check[check_of(finding, BRAIN)].append(finding)
        correlation = measures.get("template_correlation")
        if correlation is not None and not any(f.level == "refuse" for f in by_check[BRAIN]):
            self.add(CONTRAST, by_check[CONTRAST], f"T1-weighted (r = {correlation:.2f} with a T1 template).")
        elif by_check[CONTRAST]:
            self.add(CONTRAST, by_check[CONTRAST])
        self.merge(FIELD, by_check[FIELD])
        self.add(BRAIN, by_check[BRAIN], f"{measures['volume_ml']:.0f} mL ({_METHODS.get(method, method)}).")
        stripped = method == "stripped"
        self.set(STRIPPED, "ok", "Already stripped: its own outline is used." if stripped else "Whole head.")
        if method == "given":
            self.set(STRIPPED, "not checked", "A brain mask was given.")

    def merge(self, name: str, findings: Iterable[Finding]) -> None:
        """More findings of a check that ran: they count when they are worse than what is known."""
        verdict = Verdict(tuple(findings))
        if verdict.findings and LIGHT_LEVELS.index(verdict.level) > LIGHT_LEVELS.index(self.level(name)):
            self.add(name, verdict.findings)

    def run(self, name: str, check: Any, message: str) -> None:
        """Run a check that returns findings or raises."""
        results = self.read(name, lambda: tuple(check()))
        if results is not None:
            self.add(name, results, message)

    def read(self, name: str, action: Any) -> Any:
        """The result of an action, or ``None`` with the light on *refuse* when it says that it cannot."""
        try:
            return action()
        except (InputError, QualityError) as error:
            self.set(name, "refuse", error.message, error.hint)
            return None

    def take(self, checks: Sequence[Check]) -> None:
        """Checks from elsewhere; what refuses already stays."""
        for check in checks:
            if self.level(check.name) != "refuse":
                self._by_name[check.name] = check

    def lights(self) -> list[Check]:
        """Those that were set, in their order, the light of the model last."""
        return [
            self._by_name[name] for name in (*CHECK_NAMES, TRACER_CHECK, MODEL_CHECK) if name in self._by_name
        ]

    def in_order(self, otherwise: str = "") -> list[Check]:
        """One check for each name."""
        return [self._by_name.get(name, Check(name, "not checked", otherwise)) for name in CHECK_NAMES]
