"""What importing costs, what the rooms may import, and that the installed package is whole."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import MRI2PETLib
from MRI2PETLib.core.resources import resources_dir

REPOSITORY = Path(__file__).resolve().parents[2]
LIBRARY = Path(MRI2PETLib.__file__).parent


def run_python(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=REPOSITORY
    ).stdout


def test_importing_the_package_loads_nothing_heavy() -> None:
    heavy = "torch monai lightning nibabel SimpleITK numpy pandas matplotlib scipy".split()
    code = f"import MRI2PETLib, sys; print([m for m in {heavy} if m in sys.modules])"
    assert run_python(code).strip() == "[]"


def test_a_console_completes_what_is_imported_late() -> None:
    code = "import MRI2PETLib, sys; print('synthesize' in dir(MRI2PETLib), 'torch' in sys.modules)"
    assert run_python(code).split() == ["True", "False"]


def test_the_command_line_parses_without_heavy_packages() -> None:
    heavy = "torch monai lightning nibabel pandas matplotlib".split()
    code = "from MRI2PETLib.cli import build_parser; build_parser(); import sys; "
    code += f"print([m for m in {heavy} if m in sys.modules])"
    assert run_python(code).strip() == "[]"


def test_a_command_imports_no_other() -> None:
    code = "import sys; from MRI2PETLib.cli import main; main(['models', 'list', '--progress=none']); "
    code += "print(*[m for m in sys.modules if m.startswith('MRI2PETLib.commands.')])"
    assert run_python(code).split()[-1:] == ["MRI2PETLib.commands.models"]


def test_inference_imports_no_monai(tmp_path: Path) -> None:
    code = f"""
import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
import numpy as np, torch
from bundles import tiny_bundle
from MRI2PETLib.models import get_family
from MRI2PETLib.core.progress import no_progress
import MRI2PETLib.synthesis.pipeline
bundle = tiny_bundle(Path({str(tmp_path)!r}) / "tiny")
get_family(bundle.family).predict(bundle.network(), torch.rand(1, 1, 16, 16, 16), samples=1, steps=0, seed=0,
                                  progress=no_progress)
print([m for m in ("monai", "lightning", "qt", "slicer", "vtk") if m in sys.modules])
"""
    assert run_python(code).strip() == "[]"


def imports(path: Path, *, file_scope_only: bool = False) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if file_scope_only else list(ast.walk(tree))
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").split(".")[0])
    return names


def test_rooms() -> None:
    """The library knows nothing of Qt, Slicer or the training library; only models import torch at file
    scope.
    """
    for path in LIBRARY.rglob("*.py"):
        assert not imports(path) & {"qt", "ctk", "MRI2PETTrainingLib"}, path
        if "scene" not in path.parts:
            assert not imports(path) & {"slicer", "vtk"}, path
        light = {"monai", "lightning", "nibabel", "pandas", "matplotlib", "pydicom"}
        light |= set() if path.parent.name == "models" else {"torch"}
        assert not imports(path, file_scope_only=True) & light, path


def test_rooms_of_the_training() -> None:
    """No Qt; Slicer in the room scene only; and what a window imports of it costs nothing heavy."""
    training = REPOSITORY / "MRI2PETTraining" / "MRI2PETTrainingLib"
    for path in training.rglob("*.py"):
        assert not imports(path) & {"qt", "ctk", "MRI2PETTrainingUI"}, path
        if "scene" not in path.parts:
            assert not imports(path) & {"slicer", "vtk"}, path
    heavy = "torch monai lightning nibabel sklearn pandas matplotlib".split()
    code = "import MRI2PETTrainingLib.training_run, MRI2PETTrainingLib.window_state, sys; "
    code += f"print([m for m in {heavy} if m in sys.modules])"
    assert run_python(code).strip() == "[]"


def finding_codes(path: Path) -> set[str]:
    """The codes of all findings in a file, also those that a name stands for."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    codes: list[ast.expr] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Finding":
            codes += node.args[1:2] + [keyword.value for keyword in node.keywords if keyword.arg == "code"]
    names = {code.id for code in codes if isinstance(code, ast.Name)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            targets = {t.id for target in node.targets for t in ast.walk(target) if isinstance(t, ast.Name)}
            codes += [node.value] if targets & names else []
    parts: list[ast.expr] = []
    for code in codes:
        parts += [code.body, code.orelse] if isinstance(code, ast.IfExp) else [code]
    constants = (part for one in parts for part in ast.walk(one) if isinstance(part, ast.Constant))
    return {part.value for part in constants if isinstance(part.value, str)}


def test_codes_of_findings_have_one_spelling() -> None:
    """Words in lower case, joined by hyphens: ``no-fit``."""
    codes = set().union(*map(finding_codes, REPOSITORY.glob("MRI2PET*/**/*.py")))
    assert len(codes) > 40 and {"no-fit", "decay-time-assumed", "two-spellings"} <= codes
    assert [code for code in codes if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", code)] == []


def bound_names(path: Path) -> set[str]:
    """All names that a file binds: of variables, parameters, attributes, functions and classes."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.Name, ast.Attribute)) and isinstance(node.ctx, ast.Store):
            names.add(node.id if isinstance(node, ast.Name) else node.attr)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.alias) and node.asname:
            names.add(node.asname)
    return names


def test_names_say_what_a_thing_is_not_what_was_done_to_it() -> None:
    """``findings`` or ``messages``, not ``told``; ``unit``, not ``stated``."""
    participles = set("asked chosen found given kept known said seen shown stated told wanted".split())
    tracked = subprocess.run(
        ["git", "ls-files", "-z", "*.py"], capture_output=True, text=True, cwd=REPOSITORY
    )
    paths = [REPOSITORY / name for name in tracked.stdout.split("\0") if name]
    names = {(path.name, name) for path in paths if path.is_file() for name in bound_names(path)}
    assert [use for use in sorted(names) if use[1].strip("_").lower() in participles] == []


def public_names(path: Path) -> set[str]:
    """What a file defines at its top level and does not begin with an underscore."""
    names: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        targets = [node.target] if isinstance(node, ast.AnnAssign) else getattr(node, "targets", [])
        names |= {t.id for target in targets for t in ast.walk(target) if isinstance(t, ast.Name)}
    return {name for name in names if not name.startswith("_")}


def test_a_public_name_means_one_thing() -> None:
    """Exceptions: what each command and each model family has, by contract."""
    contract = {"commands": {"HELP", "add_arguments", "run"}}
    contract["models"] = {"PRESET", "STOCHASTIC", "build", "objective", "predict"}
    files: dict[str, set[str]] = {}
    for package in ("MRI2PETLib", "MRI2PETTrainingLib", "TSPODemoModel"):
        for path in REPOSITORY.glob(f"MRI2PET*/{package}/**/*.py"):
            of_command = contract["commands"] if path.name == "command.py" else set()
            for name in public_names(path) - contract.get(path.parent.name, set()) - of_command:
                files.setdefault(name, set()).add(f"{package}/{path.name}")
    assert len(files) > 800
    assert {name: sorted(where) for name, where in files.items() if len(where) > 1} == {}


def test_json_from_outside_is_read_in_one_place() -> None:
    """``core.files.read_json`` knows pipes, encodings, depth and what JSON has not; elsewhere are lines of a
    child process, attributes of nodes and two settings of Slicer.
    """
    paths = {
        p for folder in ("MRI2PETSynthesis", "MRI2PETTraining") for p in (REPOSITORY / folder).rglob("*.py")
    }
    readers = {
        p.name for p in paths if "Testing" not in p.parts and "json.load" in p.read_text(encoding="utf-8")
    }
    own = {"messages.py", "detached.py", "nodes.py", "device_choice.py", "running.py"}
    assert readers == {"files.py", *own}


def test_resources_are_found_and_licensed() -> None:
    folder = resources_dir() / "Templates"
    assert (folder / "LICENSE-ICBM152.txt").is_file()
    for name in ("T1", "mask", "gm", "wm", "csf"):
        assert (folder / f"icbm152_2009a_{name}.nii.gz").is_file()


def test_no_tracked_file_is_over_3_mb() -> None:
    tracked = subprocess.run(["git", "ls-files", "-z"], capture_output=True, text=True, cwd=REPOSITORY)
    paths = [REPOSITORY / p for p in tracked.stdout.split("\0") if p]
    assert [p for p in paths if p.is_file() and p.stat().st_size > 3_000_000] == []


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    from MRI2PETLib import cli
    from MRI2PETLib.commands import doctor
    from MRI2PETLib.core.errors import DependencyError

    def run(*_: object) -> int:
        raise ModuleNotFoundError("No module named 'lightning'", name="lightning")

    monkeypatch.setattr(doctor, "run", run)
    assert cli.main(["doctor"]) == DependencyError.exit_code
    assert "The package lightning is not installed." in capsys.readouterr().err


def test_no_view_of_an_image_that_nobody_holds() -> None:
    """The array view of SimpleITK does not keep its image: of a temporary one it reads freed memory."""
    cached = {"load_template", "metric_mask", "mni_grid", "balls", "getattr"}
    for folder in ("MRI2PETSynthesis", "MRI2PETTraining", "Testing", "Docs"):
        for path in (REPOSITORY / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and ast.unparse(node.func) == "sitk.GetArrayViewFromImage":
                    image: ast.AST = node.args[0]
                    while isinstance(image, (ast.Attribute, ast.Subscript)):
                        image = image.value
                    held = isinstance(image, ast.Name) or (
                        isinstance(image, ast.Call) and ast.unparse(image.func).split(".")[-1] in cached
                    )
                    assert held, f"{path}:{node.lineno}: {ast.unparse(node)}"
