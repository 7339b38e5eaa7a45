"""Options of one command line of which each of several kinds of work has its own.

An option that several have is one option; it goes to the work that is chosen, and one of another is refused.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.settings import Option, Settings, ValueType, add_option, flag


@dataclass(frozen=True)
class Alternatives:
    """Kinds of work and the settings of each.

    :ivar choice: the option that chooses; its first choice is the default.
    :ivar left_out: options that the command has not.
    """

    choice: str
    help: str
    settings: Mapping[str, Sequence[type[Settings]]]
    left_out: frozenset[str] = frozenset()

    def add_to(self, parser: argparse.ArgumentParser) -> None:
        """Define the options, under a heading that names who has them."""
        names = list(self.settings)
        parser.add_argument(flag(self.choice), choices=names, default=names[0], help=self.help)
        groups: dict[str, argparse._ActionsContainer] = {}
        by_work = {work: self._own(kinds) for work, kinds in self.settings.items()}
        for name in dict.fromkeys(name for own in by_work.values() for name in own):
            owners = {work: own[name] for work, own in by_work.items() if name in own}
            heading = f"{flag(self.choice)} {', '.join(owners)}"
            if heading not in groups:
                groups[heading] = parser.add_argument_group(heading)
            # The form that takes several values, if one of them does: who takes one refuses more.
            widest = min(owners.values(), key=lambda own: own.kind.number or 0)
            # No default: whether it was said decides whether it may be.
            add_option(groups[heading], name, widest.kind, widest.about, help=_help(owners))

    def work_of(self, parsed: argparse.Namespace) -> str:
        """The kind of work."""
        return str(getattr(parsed, self.choice))

    def of(self, parsed: argparse.Namespace) -> list[Settings]:
        """The settings of the work that is chosen.

        :raises InputError: for an option that it has not, naming who has; for one that is missing or given
            twice.
        """
        work = self.work_of(parsed)
        self._check_owners(parsed, work)
        return [self._made(parsed, work, kind) for kind in self.settings[work]]

    def arguments(self, parsed: argparse.Namespace, made: Sequence[Settings]) -> list[str]:
        """The command line of the settings that :meth:`of` gave."""
        absent = tuple(map(flag, self.left_out))
        rendered = [text for settings in made for text in settings.arguments()]
        return [
            f"{flag(self.choice)}={self.work_of(parsed)}",
            *(text for text in rendered if text.partition("=")[0] not in absent),
        ]

    def _check_owners(self, parsed: argparse.Namespace, work: str) -> None:
        mine = self._own(self.settings[work])
        for other, kinds in self.settings.items():
            for name in self._own(kinds).keys() - mine.keys():
                if hasattr(parsed, name):
                    raise InputError(
                        f"{flag(name)} is no option of {flag(self.choice)} {work}.",
                        f"{flag(self.choice)} {other} has it.",
                    )

    def _made(self, parsed: argparse.Namespace, work: str, kind: type[Settings]) -> Settings:
        values = {}
        for name, own in self._own([kind]).items():
            if hasattr(parsed, name):
                values[name] = _as(own.kind, name, getattr(parsed, name))
            elif own.default is MISSING:
                raise InputError(f"{flag(self.choice)} {work} needs {flag(name)}: {own.about.help}.")
        return kind(**values)

    def _own(self, kinds: Sequence[type[Settings]]) -> dict[str, _Own]:
        own = {}
        for kind in kinds:
            defaults = {f.name: f.default for f in fields(kind)}
            types = kind.kinds()
            for name, about in kind.options().items():
                if name not in self.left_out:
                    own[name] = _Own(about, types[name], defaults[name])
        return own


@dataclass(frozen=True)
class _Own:
    """An option as one kind of work has it."""

    about: Option
    kind: ValueType
    default: Any

    @property
    def default_text(self) -> str:
        """The end of its help, as that of other commands has it."""
        if self.default in (MISSING, None, "", ()) or self.default is False:
            return ""
        return f" (default: {self.default})".replace("%", "%%")


def _help(owners: Mapping[str, _Own]) -> str:
    """What each says of an option, said once where they say the same."""
    defaults = {own.default_text for own in owners.values()}
    end = defaults.pop() if len(defaults) == 1 else ""
    texts: dict[str, list[str]] = {}
    for work, own in owners.items():
        texts.setdefault(own.about.help + ("" if end else own.default_text), []).append(work)
    if len(texts) == 1:
        return next(iter(texts)) + end
    return "; ".join(f"{', '.join(works)}: {text}" for text, works in texts.items()) + end


def _as(kind: ValueType, name: str, value: Any) -> Any:
    if not isinstance(value, list):
        return value
    if kind.number == 1:
        if len(value) > 1:
            raise InputError(f"{flag(name)} is given {len(value)} times.", "Give it once.")
        return value[0]
    return tuple(value)
