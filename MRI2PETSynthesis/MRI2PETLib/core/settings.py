"""Settings as frozen dataclasses: a field says once what the command line, a call in Python, a child
process, a window and a sidecar say of it.

>>> @dataclass(frozen=True)
... class Example(Settings):
...     samples: int = option("samples to draw", 1, least=1)
>>> Example(samples=3).arguments()
['--samples=3']
"""

from __future__ import annotations

import argparse
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

from MRI2PETLib.core.errors import InputError

if TYPE_CHECKING:
    from typing import Self

_KEY = "option"
_Function = TypeVar("_Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class Option:
    """What is known of a setting besides its name, type and default.

    :ivar least: smallest value, ``most`` the largest one.
    :ivar decides: whether its value decides the result. That of a name (of a model, of an atlas) does not:
        the content does. Nor does that of what only shares out the work (processes, a cache).
    :ivar group: heading under which the help lists it.
    :ivar short: another spelling, as in ``-o``.
    :ivar positional: given without its name.
    :ivar listed: several values may follow one name, as in ``--participant-label 01 02``.
    :ivar in_memory: whether a call in Python, which writes no files, has it too.
    """

    help: str
    choices: tuple[str, ...] = ()
    metavar: str | tuple[str, ...] | None = None
    least: float | None = None
    most: float | None = None
    decides: bool = True
    group: str = ""
    short: str = ""
    positional: bool = False
    in_memory: bool = True
    listed: bool = False


def option(help: str, default: Any = MISSING, **about: Any) -> Any:
    """A field of a :class:`Settings`.

    :param default: without one the setting is required.
    :param about: the other fields of :class:`Option`.
    """
    return field(default=default, metadata={_KEY: Option(help, **about)})


class ValueType(NamedTuple):
    """The type of a setting: of one value, how many there are, and whether it may be ``None``."""

    type: type
    number: int | None  # None: any number
    optional: bool

    def read(self, plain: Any) -> Any:
        """A value as JSON holds it."""
        if plain is None:
            return None
        return self.type(plain) if self.number == 1 else tuple(map(self.type, plain))


@dataclass(frozen=True)
class Settings:
    """Base of all settings; a field that is made by :func:`option` is an option of the command line.

    ``fwhm_mm`` is ``--fwhm-mm``. Types: str, int, float, bool, Path, one of them or ``None``, a tuple of a
    fixed number of them, or of any number (an option to repeat).

    :raises InputError: when made with a value that is out of range or not among the choices.
    """

    def __post_init__(self) -> None:
        for name, about in self.options().items():
            _check(name, getattr(self, name), about)

    @classmethod
    def options(cls) -> dict[str, Option]:
        """What is known of each setting, by its name."""
        return {f.name: f.metadata[_KEY] for f in fields(cls) if _KEY in f.metadata}

    @classmethod
    def kinds(cls) -> dict[str, ValueType]:
        """The type of each setting, by its name."""
        hints = typing.get_type_hints(cls)
        return {name: _kind(hints[name]) for name in cls.options()}

    @classmethod
    def choices(cls, name: str) -> tuple[str, ...]:
        """The values that a setting can have, for a list to choose from."""
        return cls.options()[name].choices

    @classmethod
    def add_to(cls, parser: argparse._ActionsContainer, *, required: bool = True) -> None:
        """Define the options of a command.

        :param required: insist on settings without a default.
        """
        defaults = {f.name: f.default for f in fields(cls)}
        kinds = cls.kinds()
        groups: dict[str, argparse._ActionsContainer] = {"": parser}
        for name, about in cls.options().items():
            missing = defaults[name] is MISSING
            if about.group not in groups:
                groups[about.group] = parser.add_argument_group(about.group)
            add_option(
                groups[about.group],
                name,
                kinds[name],
                about,
                default=None if missing else defaults[name],
                required=required and missing,
            )

    @classmethod
    def of(cls, parsed: argparse.Namespace, **more: Any) -> Self:
        """The settings of a command line.

        :param more: fields that are no options.
        """
        values = {name: getattr(parsed, name) for name in cls.options()}
        return cls(**{name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}, **more)

    @classmethod
    def of_keywords(cls, keywords: Mapping[str, object]) -> Self:
        """The settings of a call.

        :raises TypeError: if there is no setting of that name, or it is only about files.
        """
        for name in keywords:
            if name in cls.options() and not cls.options()[name].in_memory:
                raise TypeError(f"{name} is for the command line: a call in Python does not take it")
        return cls(**cast("dict[str, Any]", keywords))

    def arguments(self) -> list[str]:
        """The command line of these settings."""
        rendered = []
        for name, kind in self.kinds().items():
            value = getattr(self, name)
            if self.options()[name].positional:
                rendered.append(str(value))
            elif kind.type is bool:
                rendered += [flag(name)] if value else []
            elif kind.number is None:
                rendered += [f"{flag(name)}={one}" for one in value]
            elif value is not None:
                rendered += [f"{flag(name)}={value}"] if kind.number == 1 else [flag(name), *map(str, value)]
        return rendered

    def to_dict(self, *, deciding: bool = False) -> dict[str, Any]:
        """The settings by name, for JSON.

        :param deciding: only those whose value decides the result, see :class:`Option`.
        """
        names = (n for n, about in self.options().items() if about.decides or not deciding)
        return {name: _plain(getattr(self, name)) for name in names}

    @classmethod
    def of_dict(cls, content: Mapping[str, Any]) -> Self:
        """The settings that ``to_dict`` gave; a missing one that decides nothing has its default.

        :raises InputError: if one that decides the result is missing, as in the record of another version.
        """
        missing = [n for n, about in cls.options().items() if about.decides and n not in content]
        if missing:
            raise InputError(
                f"Settings ({', '.join(map(flag, missing))}) are missing: the record is of another version.",
                "Start again in another folder, or use the version that wrote it.",
            )
        return cls(
            **{name: kind.read(content[name]) for name, kind in cls.kinds().items() if name in content}
        )


def flag(name: str) -> str:
    """``fwhm_mm`` -> ``--fwhm-mm``."""
    return "--" + name.replace("_", "-")


def add_option(
    container: argparse._ActionsContainer,
    name: str,
    kind: ValueType,
    about: Option,
    *,
    default: Any = argparse.SUPPRESS,
    required: bool = False,
    help: str = "",
) -> None:
    """Define one option of a command.

    :param default: without one the parsed arguments have the option only where it is given.
    :param help: instead of its own.
    """
    common: dict[str, Any] = {"help": help or about.help}
    spellings = [name]
    if not about.positional:
        common |= {"dest": name, "required": required, "default": default}
        spellings = [about.short, flag(name)] if about.short else [flag(name)]
    if kind.type is bool:
        container.add_argument(*spellings, action="store_true", **common)
        return
    common |= {"type": kind.type, "metavar": about.metavar, "choices": about.choices or None}
    if kind.number is None:
        if default is not argparse.SUPPRESS:
            common["default"] = list(default)
        common |= {"action": "extend" if about.listed else "append"}
        common |= {"nargs": "+"} if about.listed else {}
    elif kind.number != 1:
        common |= {"nargs": kind.number}
    container.add_argument(*spellings, **common)


def keywords_of(settings: type[Settings]) -> Callable[[_Function], _Function]:
    """Let a function that takes ``**settings`` show them in its signature, and in its docstring where that
    says ``:settings:``.
    """

    def decorate(function: _Function) -> _Function:
        own = inspect.signature(function)
        parameters = [p for p in own.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
        about = settings.options()
        more = [f for f in fields(settings) if f.name not in own.parameters and about[f.name].in_memory]
        kind = inspect.Parameter.KEYWORD_ONLY
        parameters += [inspect.Parameter(f.name, kind, default=f.default, annotation=f.type) for f in more]
        function.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
        lines = [f":param {f.name}: {about[f.name].help}." for f in more]
        function.__doc__ = inspect.cleandoc(function.__doc__ or "").replace(":settings:", "\n".join(lines))
        return function

    return decorate


class Parser(argparse.ArgumentParser):
    """A parser whose help ends each option with its default, where it has one. Options are written out: the
    beginning of one may be another one's in the next version.
    """

    def __init__(self, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, **{"formatter_class": _Help, "allow_abbrev": False, **keywords})


class _Help(argparse.HelpFormatter):
    def _get_help_string(self, action: argparse.Action) -> str | None:
        default = action.default
        if default is None or default is False or default in ("", [], argparse.SUPPRESS):
            return action.help
        text = " ".join(map(str, default)) if isinstance(default, (tuple, list)) else str(default)
        return f"{action.help} (default: {text.replace('%', '%%')})"


def _kind(hint: Any) -> ValueType:
    inner = typing.get_args(hint)
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        (own,) = (one for one in inner if one is not type(None))
        return _kind(own)._replace(optional=True)
    if origin is tuple:
        return ValueType(inner[0], None if inner[-1] is Ellipsis else len(inner), False)
    return ValueType(type(inner[0]) if origin is typing.Literal else hint, 1, False)


def _check(name: str, value: Any, about: Option) -> None:
    for one in value if isinstance(value, tuple) else (value,):
        if one is None:
            continue
        if about.choices and one not in about.choices:
            raise InputError(f"{flag(name)} {one} is not known.", f"Use one of {', '.join(about.choices)}.")
        below = about.least is not None and not one >= about.least
        if below or (about.most is not None and not one <= about.most):
            limits = (
                f"{about.least:g} or more" if about.most is None else f"{about.least:g} to {about.most:g}"
            )
            raise InputError(f"{flag(name)} {one} cannot be used.", f"Give {limits}.")


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return str(value) if isinstance(value, Path) else value
