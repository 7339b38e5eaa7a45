"""The documents: links that lead somewhere, cards that are those of the bundles, the README's commands."""

from __future__ import annotations

import ast
import re
import runpy
import shlex
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from MRI2PETLib.cli import build_parser
from MRI2PETLib.commands.bids import ANALYSES

REPOSITORY = Path(__file__).resolve().parents[2]


def pages() -> list[Path]:
    done = subprocess.run(["git", "ls-files", "-z", "*.md"], capture_output=True, text=True, cwd=REPOSITORY)
    if done.returncode:
        pytest.skip("not a git checkout")
    return [REPOSITORY / name for name in done.stdout.split("\0") if name and (REPOSITORY / name).is_file()]


def test_every_link_to_a_file_leads_to_one() -> None:
    """Links inside a bundle's card may also lead to the repository."""
    broken = []
    for page in pages():
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
            if not re.match(r"[a-z]+:|#", target) and not (page.parent / target.split("#")[0]).exists():
                broken.append(f"{page.relative_to(REPOSITORY)}: {target}")
    assert broken == []


def test_pictures_of_the_readme_have_an_address_and_are_in_the_tree() -> None:
    """PyPI shows the README too, where a relative path leads nowhere."""
    raw = "https://raw.githubusercontent.com/SlicerMRI2PET/SlicerMRI2PET/main/"
    pictures = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", (REPOSITORY / "README.md").read_text(encoding="utf-8"))
    assert pictures and all(picture.startswith(raw) for picture in pictures)
    assert all((REPOSITORY / picture.removeprefix(raw)).is_file() for picture in pictures)


def test_every_file_that_a_page_names_exists() -> None:
    """A path in back ticks that begins with one of the repository's folders."""
    pattern = re.compile(r"`((?:Docs|Testing|Resources|MRI2PET\w+)/[\w./-]+)`")
    missing = [
        f"{page.relative_to(REPOSITORY)}: {path}"
        for page in pages()
        if page.name != "CHANGELOG.md"
        for path in pattern.findall(page.read_text(encoding="utf-8"))
        if not (REPOSITORY / path).exists() and not (REPOSITORY / "MRI2PETSynthesis" / path).exists()
    ]
    assert missing == []


def test_make_targets_that_pages_name_exist() -> None:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z0-9-]+):", makefile, re.M))
    for page in pages():
        for target in re.findall(r"(?:`|^)make ([a-z0-9-]+)", page.read_text(encoding="utf-8"), re.M):
            assert target in targets, f"{page}: make {target}"


def test_every_command_that_a_page_shows_is_one() -> None:
    """Lines of pages and of the files for clusters that begin with the command: its options are there, and
    `bids` has them together.
    """
    parser, lines = build_parser(), []
    for page in (*pages(), *sorted((REPOSITORY / "Cluster").iterdir())):
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        for line in re.findall(r"^(?:#\s+)?(?:\S+/)?(mri2pet \w+ .*)$", text, re.M):
            lines.append((page.name, shlex.split(re.sub(r"[\[\]]", "", line), comments=True)))
    assert len(lines) > 30
    for page_name, words in lines:
        try:
            args = parser.parse_args(words[1:])
        except SystemExit:
            pytest.fail(f"{page_name}: {shlex.join(words)}")
        if words[1] == "bids" and args.level == "participant":
            ANALYSES.of(args)


REFERENCE = re.compile(r":(?:func|class|data|mod|meth|attr|exc):`[~]?([^`]+)`")
PACKAGES = {
    "MRI2PETLib": "MRI2PETSynthesis",
    "MRI2PETTrainingLib": "MRI2PETTraining",
    "TSPODemoModel": "MRI2PETTraining",
}


def definitions(body: list[ast.stmt]) -> set[str]:
    """Dotted names that a module or class defines."""
    names: set[str] = set()
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        targets = [node.target] if isinstance(node, ast.AnnAssign) else getattr(node, "targets", [])
        names |= {t.id for target in targets for t in ast.walk(target) if isinstance(t, ast.Name)}
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{name}" for name in definitions(node.body)}
    return names


def test_the_guide_of_training_has_a_column_for_every_preset() -> None:
    page = (REPOSITORY / "Docs" / "how_to" / "training.md").read_text(encoding="utf-8")
    heads = {name for line in page.splitlines() if line.startswith("| | `") for name in line.split("`")[1::2]}
    presets = REPOSITORY / "MRI2PETTraining" / "MRI2PETTrainingLib" / "presets"
    assert heads >= {path.stem for path in presets.glob("*.json")} != set()


def test_every_reference_in_a_docstring_leads_somewhere() -> None:
    """To a dotted name, to the end of one (``.module.name``), or to a name of the same module or class."""
    trees: dict[str, ast.Module] = {}
    for package, folder in PACKAGES.items():
        for path in (REPOSITORY / folder / package).rglob("*.py"):
            module = ".".join(path.relative_to(REPOSITORY / folder).with_suffix("").parts)
            trees[module.removesuffix(".__init__")] = ast.parse(path.read_text(encoding="utf-8"))
    names = {f"{module}.{name}" for module, tree in trees.items() for name in definitions(tree.body)} | set(
        trees
    )
    broken = []
    for module, tree in trees.items():
        homes = ["", f"{module}.", *(f"{module}.{n.name}." for n in tree.body if isinstance(n, ast.ClassDef))]
        for node in ast.walk(tree):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
                for reference in REFERENCE.findall(ast.get_docstring(node) or ""):
                    if reference.startswith("."):
                        is_there = any(name.endswith(reference) for name in names)
                    else:
                        is_there = any(home + reference in names for home in homes)
                    broken += [] if is_there else [f"{module}: {reference}"]
    assert broken == []


def test_pre_commit_runs_the_versions_of_the_constraints() -> None:
    pins = set((REPOSITORY / "constraints.txt").read_text(encoding="utf-8").split())
    hooks = (REPOSITORY / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    used = re.findall(r'"([\w-]+==[\w.]+)"', hooks)
    assert used and set(used) <= pins


EXAMPLES = sorted((REPOSITORY / "Docs" / "examples").glob("0*.py"))
# Slicer runs the last one, five minutes the training; the second and the third take half a minute and more.
RUNS = [pytest.param(p, marks=[] if p.name.startswith("01") else [pytest.mark.slow]) for p in EXAMPLES[:3]]


@pytest.mark.parametrize("script", RUNS, ids=lambda p: p.name)
def test_an_example_runs_as_it_is(script: Path, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and "error:" not in done.stderr, done.stderr
    assert any(tmp_path.iterdir())


def test_the_example_of_a_training_gives_lines_that_the_commands_know(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A first run, and the second one, which goes on."""
    lines: list[list[str]] = []
    monkeypatch.setattr("MRI2PETLib.cli.main", lines.append)
    monkeypatch.setattr(sys, "argv", ["04_train.py"])
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(EXAMPLES[3]), run_name="__main__")
    (tmp_path / "example" / "run").mkdir(parents=True)
    (tmp_path / "example" / "run" / "run.json").touch()
    runpy.run_path(str(EXAMPLES[3]), run_name="__main__")
    parsed = [build_parser().parse_args(line) for line in lines]
    assert [args.command for args in parsed] == ["simulate", "train"] * 2
    assert [args.resume for args in parsed[1::2]] == [False, True]


def test_what_an_example_imports_is_there() -> None:
    for script in EXAMPLES:
        for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("MRI2PETLib"):
                module = import_module(str(node.module))
                missing = [alias.name for alias in node.names if not hasattr(module, alias.name)]
                assert missing == [], f"{script.name}: {node.module} has no {missing}"


def test_examples_are_numbered_and_short() -> None:
    assert len(EXAMPLES) == 5
    for number, script in enumerate(EXAMPLES, 1):
        text = script.read_text(encoding="utf-8")
        assert script.name.startswith(f"{number:02d}_") and text.count("\n") <= 50
        assert str(ast.get_docstring(ast.parse(text))).startswith(f"{number}. ")


def test_what_the_table_of_published_work_names_is_there() -> None:
    """Files, options and outputs in Docs/explanation/published_work.md exist in the code."""
    text = (REPOSITORY / "Docs" / "explanation" / "published_work.md").read_text(encoding="utf-8")
    folders = [REPOSITORY / "MRI2PETSynthesis" / "MRI2PETLib", REPOSITORY / "MRI2PETTraining"]
    folders = [*folders, folders[1] / "MRI2PETTrainingLib", REPOSITORY]
    code = "\n".join(
        path.read_text(encoding="utf-8") for folder in folders[:2] for path in folder.rglob("*.py")
    )
    names = re.findall(r"`([^`]+)`", text)
    paths = [name for name in names if re.fullmatch(r"[\w/]+\.py", name)]
    assert len(paths) > 10
    missing = [n for n in paths if not any((f / n).is_file() for f in folders)]
    options = {option for name in names for option in re.findall(r"--[a-z][a-z-]*", name)}
    missing += [o for o in options if o not in code and o[2:].replace("-", "_") not in code]
    outputs = {n for n in names if re.fullmatch(r"[a-z_0-9]+\.(csv|json|png)", n)}
    missing += [o for o in outputs if o not in code and f'"{o.rsplit(".", 1)[0]}"' not in code]
    assert missing == []
