"""The least that lets a module file be imported without Slicer's application: names, no behaviour of Qt.

``slicer-core`` has neither ``qt`` and ``ctk`` nor the Python files that need them. What a widget does is
tested in a real Slicer; here only what is under it runs.
"""

from __future__ import annotations

import sys
import types
import typing
from pathlib import Path
from typing import Any

import slicer
import slicer.util

REPOSITORY = Path(__file__).resolve().parents[2]


class _Application:
    def connect(self, *_: Any) -> None:
        """Nothing ever starts up here."""


class _Module:
    def __init__(self, parent: Any) -> None:
        self.parent = parent


class _Logic:
    def __init__(self, parent: Any = None) -> None:
        self.moduleName = type(self).__name__.removesuffix("Logic")

    def getParameterNode(self) -> Any:
        node = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
        if node is None:
            node = slicer.vtkMRMLScriptedModuleNode()
            node.SetSingletonTag(self.moduleName)
            node = slicer.mrmlScene.AddNode(node)
        return node


class _Widget:
    def __init__(self, parent: Any = None) -> None:
        self.parent = parent


class Default:
    def __init__(self, value: Any) -> None:
        self.value = value


class _Annotation:
    def __init__(self, *values: Any) -> None:
        self.values = values


def parameter_node_wrapper(cls: type) -> type:
    """Defaults as the real one has them; nothing is written to the node."""
    hints = typing.get_type_hints(cls, include_extras=True)

    def init(self: Any, node: Any) -> None:
        self.parameterNode = node
        for name, kind in hints.items():
            default = getattr(cls, name, None)
            for extra in getattr(kind, "__metadata__", ()):
                default = extra.value if isinstance(extra, Default) else default
            setattr(self, name, default)

    return type(cls.__name__, (), {"__init__": init, "__doc__": cls.__doc__})


def install(scene: Any) -> None:
    """Put the stand-ins where a module file looks for them."""
    slicer.mrmlScene, slicer.app = scene, _Application()
    qt, ctk, i18n, wrapper, scripted = (
        types.ModuleType(name)
        for name in (
            "qt",
            "ctk",
            "slicer.i18n",
            "slicer.parameterNodeWrapper",
            "slicer.ScriptedLoadableModule",
        )
    )
    i18n.__dict__.update(tr=lambda text: text, translate=lambda context, text: text)
    wrapper.__dict__.update(parameterNodeWrapper=parameter_node_wrapper, Default=Default)
    wrapper.__dict__.update({name: _Annotation for name in ("Choice", "WithinRange", "Minimum", "Maximum")})
    scripted.__dict__.update(
        ScriptedLoadableModule=_Module,
        ScriptedLoadableModuleLogic=_Logic,
        ScriptedLoadableModuleWidget=_Widget,
        ScriptedLoadableModuleTest=object,
    )
    for module in (qt, ctk, i18n, wrapper, scripted):
        sys.modules[module.__name__] = module
    for folder in ("MRI2PETSynthesis", "MRI2PETTraining"):
        sys.path.insert(0, str(REPOSITORY / folder))
