"""What was noticed about an input, and what follows: ok, warn or refuse, each with its reason."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Level = Literal["ok", "warn", "refuse"]
_ORDER = ("ok", "warn", "refuse")


@dataclass(frozen=True)
class Finding:
    """One observation.

    ``code`` is stable and machine readable, words with hyphens (``no-fit``); ``message`` names the value,
    ``hint`` the remedy.
    """

    level: Level
    code: str
    message: str
    hint: str = ""

    def to_dict(self) -> dict[str, str]:
        return {"level": self.level, "code": self.code, "message": self.message, "hint": self.hint}

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Finding:
        """A finding from what ``to_dict`` gave."""
        level = content["level"]
        if level not in _ORDER:
            raise ValueError(f"no level: {level!r}")
        return cls(level, *(str(content[name]) for name in ("code", "message", "hint")))


@dataclass(frozen=True)
class Verdict:
    """The worst level of its findings; ``ok`` when there are none."""

    findings: tuple[Finding, ...] = ()

    @property
    def level(self) -> Level:
        return max((f.level for f in self.findings), key=_ORDER.index, default="ok")

    def reasons(self, level: Level | None = None) -> list[str]:
        """Messages of all findings, or of those at ``level``."""
        return [f"{f.message} {f.hint}".strip() for f in self.findings if level is None or f.level == level]

    def __add__(self, other: Verdict | Iterable[Finding]) -> Verdict:
        more = other.findings if isinstance(other, Verdict) else tuple(other)
        return Verdict(self.findings + more)

    def to_dict(self) -> dict[str, Any]:
        return {"level": self.level, "findings": [f.to_dict() for f in self.findings]}
