"""The rooms of the library and who may use whom: arrows point one way, and there is no cycle."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
LIBRARY, TRAINING, RECIPE = "MRI2PETLib", "MRI2PETTrainingLib", "TSPODemoModel"
PACKAGES = {
    LIBRARY: REPOSITORY / "MRI2PETSynthesis" / LIBRARY,
    TRAINING: REPOSITORY / "MRI2PETTraining" / TRAINING,
    RECIPE: REPOSITORY / "MRI2PETTraining" / RECIPE,
}

# room -> rooms it may import. "scene" and "commands" stand on top; nothing imports them but what starts them.
_GROUND = {"core"}
_IMAGES = _GROUND | {"images"}
_TEMPLATES = _IMAGES | {"templates"}
_WORK = _TEMPLATES | {"models", "preprocessing"}
ALLOWED: dict[str, set[str]] = {
    "core": set(),
    "images": _GROUND,
    "templates": _IMAGES,
    "preprocessing": _TEMPLATES,
    "models": _TEMPLATES,
    "simulation": _WORK,
    "synthesis": _WORK,
    "evaluation": _WORK,
    "suvr": _WORK | {"synthesis", "evaluation"},
    "normative": _WORK | {"synthesis", "evaluation"},
    "reports": _WORK | {"synthesis", "evaluation", "suvr", "normative"},
    "jobs": _GROUND,
    "installation": _GROUND | {"jobs"},
    "commands": _WORK
    | {"synthesis", "evaluation", "suvr", "normative", "simulation", "reports", "jobs", "installation"},
    "scene": _WORK | {"synthesis", "evaluation", "suvr", "normative", "simulation", "reports", "jobs"},
    "cli": _GROUND | {"commands", "jobs"},
    "__main__": {"cli"},
    "__init__": {"synthesis"},
}


def modules() -> dict[str, Path]:
    """Every module of the three packages by its dotted name."""
    result = {}
    for package, folder in PACKAGES.items():
        for path in folder.rglob("*.py"):
            parts = [package, *path.relative_to(folder).with_suffix("").parts]
            result[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return result


MODULES = modules()


def imported(path: Path, nodes: list[ast.stmt] | None = None) -> Iterator[str]:
    """Modules of the three packages that a file names in an import; all of them, or those in ``nodes``."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree) if nodes is None else nodes:
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in MODULES else str(node.module) for name in names]
        yield from (name for name in names if name.split(".")[0] in PACKAGES)


def room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def test_nothing_is_flat_in_the_library() -> None:
    assert {p.name for p in PACKAGES[LIBRARY].glob("*.py")} == {"__init__.py", "__main__.py", "cli.py"}


def test_every_arrow_is_allowed() -> None:
    arrows = {
        (room(module), room(other))
        for module, path in MODULES.items()
        if module.split(".")[0] == LIBRARY
        for other in imported(path)
        if room(other) not in (room(module), "__init__")
    }
    assert {(a, b) for a, b in arrows if b not in ALLOWED[a]} == set()


def test_packages_point_one_way() -> None:
    """The recipe uses the training library, which uses the library; never the other way round."""
    order = [LIBRARY, TRAINING, RECIPE]
    for module, path in MODULES.items():
        own = order.index(module.split(".")[0])
        for other in imported(path):
            assert order.index(other.split(".")[0]) <= own, f"{module} imports {other}"


@pytest.mark.parametrize("scope", ["anywhere", "file scope"])
def test_no_module_is_part_of_a_cycle(scope: str) -> None:
    graph = {}
    for module, path in MODULES.items():
        nodes = None if scope == "anywhere" else ast.parse(path.read_text(encoding="utf-8")).body
        graph[module] = {other for other in imported(path, nodes) if other in MODULES and other != module}
    list(TopologicalSorter(graph).static_order())  # raises CycleError, which names the cycle
