"""The documentation as a static site: ``make docs``, then open ``build/docs/index.html``.

Written pages are in ``how_to`` and ``explanation``. Made at each build, so that nothing is written twice: the
README, the model cards (from the bundles), the command line (from its parsers) and the API (from docstrings).
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
REPOSITORY = DOCS.parent
RAW = "https://raw.githubusercontent.com/SlicerMRI2PET/SlicerMRI2PET/main/"
PACKAGES = {
    "MRI2PETLib": REPOSITORY / "MRI2PETSynthesis" / "MRI2PETLib",
    "MRI2PETTrainingLib": REPOSITORY / "MRI2PETTraining" / "MRI2PETTrainingLib",
}
sys.path[:0] = [str(folder.parent) for folder in PACKAGES.values()]

from MRI2PETLib import __version__  # noqa: E402
from MRI2PETLib.cli import build_parser, find_commands  # noqa: E402

project, version, release = "SlicerMRI2PET", __version__, __version__
copyright = "the SlicerMRI2PET contributors, Apache-2.0"  # noqa: A001  the name that Sphinx reads
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode", "sphinx_copybutton"]
html_theme = "furo"
exclude_patterns = ["examples"]
myst_heading_anchors = 3
autodoc_mock_imports = ["slicer", "vtk", "qt", "ctk"]
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_typehints = "description"
# Fields of dataclasses are described twice, by :ivar: and by their annotation.
suppress_warnings = ["myst.xref_missing", "ref.python", "docutils"]
# Every reference leads somewhere, but for what has no page here: other packages (their index is on the
# network), names that a signature shortens, type variables and private names, constants and attributes.
# What docstrings name of those is checked by Testing/library/test_docs.py.
nitpicky = True
nitpick_ignore_regex = [
    (r"py:.*", r"(?!MRI2PET|TSPODemoModel)([a-z]\w*|SimpleITK)\..*"),
    (r"py:class", r"Axes|Cell|Environment|Figure|Module|Nodes|PackageGroup|Path|ProgressCallback"),
    (r"py:.*", r"(.*\.)?(_\w+|Function|Nodes|RunRequest)"),
    (r"py:(data|attr)", r".*"),
]


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def _links_from(text: str, folder: str) -> str:
    """Markdown of ``folder`` with its relative links made to work from a page one folder below Docs."""

    def absolute(match: re.Match[str]) -> str:
        target = match.group(1)
        if re.match(r"[a-z]+:|#", target):
            return match.group(0)
        path = (REPOSITORY / folder / target).resolve().relative_to(REPOSITORY).as_posix()
        return f"]({path.removeprefix('Docs/') if path.startswith('Docs/') else '../' + path})"

    return re.sub(r"\]\(([^)\s]+)\)", absolute, text).replace("](", "](../")


def _model_cards() -> None:
    for card in sorted((REPOSITORY / "Resources" / "Models").glob("*/docs/README.md")):
        _write(DOCS / "models" / f"{card.parts[-3]}.md", card.read_text(encoding="utf-8"))


def _command_line() -> None:
    commands = find_commands()
    text = ["# Command line\n"]
    parser = build_parser(commands)
    subparsers = next(a for a in parser._actions if getattr(a, "choices", None) and a.dest == "command")
    for name, command in subparsers.choices.items():
        text.append(f"## mri2pet {name}\n\n```text\n{command.format_help()}```\n")
    _write(DOCS / "reference" / "command_line.md", "\n".join(text))


def _api() -> None:
    """A page for each room of the library, and one for the training library."""
    for package, folder in PACKAGES.items():
        rooms: dict[str, list[str]] = {}
        for path in sorted(folder.rglob("*.py")):
            parts = [package, *path.relative_to(folder).with_suffix("").parts]
            if parts[-1] in ("__main__", "cli") or "commands" in parts:
                continue
            module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            room = ".".join(module.split(".")[:2]) if len(parts) > 2 else package
            rooms.setdefault(room, []).append(module)
        for name, modules in rooms.items():
            blocks = [f"```{{eval-rst}}\n.. automodule:: {module}\n```\n" for module in modules]
            heads = [f"## {module}\n\n{block}" for module, block in zip(modules, blocks)]
            _write(DOCS / "reference" / "api" / f"{name}.md", f"# {name}\n\n" + "\n".join(heads))


def _readme() -> None:
    """The README shows its pictures by address, for PyPI; this site shows those of the tree."""
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8").replace(RAW, "")
    _write(DOCS / "start" / "readme.md", _links_from(text, "."))


_readme()
_model_cards()
_command_line()
_api()
