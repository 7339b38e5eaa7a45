"""Settings as parameters of a module's parameter node: ``batch_size`` is ``batchSize``. Needs neither Slicer
nor Qt.

A parameter has no ``None``: where a setting may be ``None``, the empty text and 0 mean it. That of a path is
a text.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from MRI2PETLib.core.settings import Settings

_Kind = TypeVar("_Kind", bound=Settings)


def settings_of_node(kind: type[_Kind], node: Any, prefix: str = "", **more: Any) -> _Kind:
    """Settings from the parameters of their names; one without a parameter keeps its default.

    :param prefix: with ``suvr``, ``grey_matter`` is ``suvrGreyMatter`` where there is such a parameter.
    :param more: settings that are not the node's.
    """
    for name, about in kind.kinds().items():
        parameter = _parameter(node, name, prefix)
        if name not in more and parameter:
            value = getattr(node, parameter)
            more[name] = None if about.optional and not value else about.read(value)
    return kind(**more)


def show_settings(settings: Settings, node: Any, **more: Any) -> None:
    """Let the parameters of a node be what the settings say.

    :param more: values of parameters, by the names of their settings, instead of those of the settings.
    """
    for name, kind in settings.kinds().items():
        parameter = _parameter(node, name)
        if parameter:
            value = more.get(name, getattr(settings, name))
            if kind.type is Path:
                value = str(value or "")
            setattr(node, parameter, kind.type() if value is None else value)


def _parameter(node: Any, name: str, prefix: str = "") -> str:
    """Name of a setting's parameter; empty where there is none."""
    words = name.split("_")
    own = words[0] + "".join(map(str.capitalize, words[1:]))
    names = [prefix + own[0].upper() + own[1:], own] if prefix else [own]
    return next((one for one in names if hasattr(node, one)), "")
