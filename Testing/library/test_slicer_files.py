"""What can be checked of the Slicer modules without Slicer: .ui files, CMake lists, file-scope imports."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from xml.etree import ElementTree

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
MODULES = [p.parent.name for p in sorted(REPOSITORY.glob("MRI2PET*/MRI2PET*.py")) if p.stem == p.parent.name]
LIBRARIES = {"MRI2PETSynthesis": "MRI2PETLib", "MRI2PETTraining": "MRI2PETTrainingLib"}
# Which types a widget can be bound to, by Slicer's parameterNodeWrapper (guiConnectors.py).
BINDINGS = {
    "QCheckBox": {"bool"},
    "QComboBox": {"Annotated"},
    "QSpinBox": {"int", "Annotated"},
    "QLineEdit": {"str"},
    "ctkSliderWidget": {"float", "Annotated"},
    "ctkPathLineEdit": {"str", "Path", "pathlib"},
    "ctkDirectoryButton": {"str", "Path", "pathlib"},
    "qMRMLNodeComboBox": {"slicer", "LabelsNode", "RegionNode"},  # names of unions of node classes
}
LIGHT = set(sys.stdlib_module_names) | set("slicer vtk qt ctk numpy scipy SimpleITK MRI2PETLib".split())


def folder(module: str) -> Path:
    return REPOSITORY / module


def python_files(module: str) -> list[Path]:
    return [folder(module) / f"{module}.py", *sorted((folder(module) / f"{module}UI").glob("*.py"))]


def ui_files(module: str) -> list[Path]:
    return sorted((folder(module) / "Resources" / "UI").glob("*.ui"))


def widgets(path: Path) -> dict[str, ElementTree.Element]:
    return {w.get("name", ""): w for w in ElementTree.parse(path).iter("widget")}


def all_widgets(module: str) -> dict[str, ElementTree.Element]:
    every: dict[str, ElementTree.Element] = {}
    for path in ui_files(module):
        every |= widgets(path)
    return every


def test_there_is_a_module() -> None:
    assert "MRI2PETSynthesis" in MODULES


@pytest.mark.parametrize("module", MODULES)
def test_every_widget_that_is_used_exists(module: str) -> None:
    """Widgets only: Slicer's ``childWidgetVariables`` leaves out empty layouts."""
    names = set(all_widgets(module))
    for path in python_files(module):
        used = set(re.findall(r"\b_?ui\.(\w+)", path.read_text(encoding="utf-8")))
        assert used <= names, (path.name, used - names)


@pytest.mark.parametrize("module", MODULES)
def test_names_are_unique_and_connections_have_ends(module: str) -> None:
    for path in ui_files(module):
        tree = ElementTree.parse(path)
        names = [w.get("name") for kind in ("widget", "layout", "spacer") for w in tree.iter(kind)]
        assert len(names) == len(set(names)), path.name
        for end in [*tree.iter("sender"), *tree.iter("receiver")]:
            assert end.text in names, (path.name, end.text)


def parameters(module: str) -> dict[str, str]:
    """Parameter -> the head of its type, of the module's parameter node."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in python_files(module)]
    classes = [n for tree in trees for n in tree.body if isinstance(n, ast.ClassDef)]
    node = next(n for n in classes if n.name == f"{module}ParameterNode")
    return {
        s.target.id: re.split(r"[\[.]", ast.unparse(s.annotation))[0]
        for s in node.body
        if isinstance(s, ast.AnnAssign) and isinstance(s.target, ast.Name)
    }


@pytest.mark.parametrize("module", MODULES)
def test_every_binding_names_a_parameter_of_a_fitting_type(module: str) -> None:
    types, bound = parameters(module), 0
    for name, widget in all_widgets(module).items():
        for entry in widget.findall("property[@name='SlicerParameterName']"):
            parameter = "".join(entry.itertext()).strip()
            assert parameter in types, (name, parameter)
            assert types[parameter] in BINDINGS[widget.get("class", "")], (name, types[parameter])
            bound += 1
    assert bound


@pytest.mark.parametrize("module", MODULES)
def test_node_selectors_get_the_scene(module: str) -> None:
    for path in ui_files(module):
        tree = ElementTree.parse(path)
        receivers = {r.text for r in tree.iter("receiver")}
        selectors = {n for n, w in widgets(path).items() if w.get("class") == "qMRMLNodeComboBox"}
        assert selectors <= receivers, selectors - receivers


@pytest.mark.parametrize("module", MODULES)
def test_texts_of_several_lines_do_not_widen_the_panel(module: str) -> None:
    """The width that Qt proposes for a text that wraps grows with the text."""
    labels = [w for w in all_widgets(module).values() if w.find("property[@name='wordWrap']") is not None]
    takes_its_room = "property[@name='sizePolicy']/sizepolicy[@hsizetype='Ignored']"
    wide = [w.get("name") for w in labels if w.find(takes_its_room) is None]
    assert labels
    assert not wide


@pytest.mark.parametrize("module", MODULES)
def test_nothing_heavy_at_file_scope(module: str) -> None:
    own = {f"{m}UI" for m in MODULES} | set(LIBRARIES.values())
    for path in python_files(module):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert {n.split(".")[0] for n in names} <= LIGHT | own, path.name


def listed(module: str, name: str) -> set[str]:
    text = (REPOSITORY / module / "CMakeLists.txt").read_text(encoding="utf-8")
    block = re.search(rf"set\({name}\n(.*?)\)", text, re.S)
    assert block is not None, name
    return set(block[1].split())


def tracked(*paths: str) -> set[str]:
    """Files that are in the repository, or will be: not ignored."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *paths]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)
    if done.returncode:
        pytest.skip("not a git checkout")
    return {p for p in done.stdout.split("\0") if p and (REPOSITORY / p).is_file()}


@pytest.mark.parametrize("module", MODULES)
def test_cmake_lists_every_file(module: str) -> None:
    """The demonstration model's recipe (TSPODemoModel) is not shipped in the Slicer module."""
    library = LIBRARIES[module]
    start = f"{module}/"
    folders = [f"{start}{library}", f"{start}{module}UI", f"{start}Resources"]
    files = {p.removeprefix(start) for p in tracked(*folders)}
    scripts = {p for p in files if p.endswith(".py")} | {f"{module}.py"}
    assert listed(module, "MODULE_PYTHON_SCRIPTS") == scripts
    assert listed(module, "MODULE_PYTHON_RESOURCES") == files - scripts


def test_every_panel_has_its_half_in_the_library_by_name() -> None:
    """``display_panel.py`` shows what ``scene/display.py`` does, so the other half is found at once."""
    library = folder("MRI2PETSynthesis") / "MRI2PETLib"
    panels = [p.stem for p in (folder("MRI2PETSynthesis") / "MRI2PETSynthesisUI").glob("*_panel.py")]
    for name in (*(panel.removesuffix("_panel") for panel in panels), "sample_data"):
        assert any((library / room / f"{name}.py").is_file() for room in ("scene", "installation")), name


def test_cmake_lists_every_shared_resource() -> None:
    files = {
        p
        for p in tracked("Resources/Models", "Resources/PET", "Resources/Templates", "Resources/Viewer")
        if not p.endswith(".py")
    }
    assert listed(".", "SHARED_RESOURCES") == files


def test_the_wheel_has_what_the_extension_has() -> None:
    """Every folder of shared resources, and every licence in them."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    shared = listed(".", "SHARED_RESOURCES")
    assert {str(Path(p).parent).split("/")[1] for p in shared} == {Path(p).name for p in wheel}
    licences = {p for p in shared if Path(p).name.startswith("LICENSE")}
    assert len(licences) == 2 and licences < set(project["project"]["license-files"])


def test_cmake_knows_every_module() -> None:
    text = (REPOSITORY / "CMakeLists.txt").read_text(encoding="utf-8")
    assert set(re.findall(r"add_subdirectory\((\w+)\)", text)) == set(MODULES)
