"""Options of all commands: written out, with their default said once, one name for one thing."""

from __future__ import annotations

import argparse
import re
import subprocess
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from MRI2PETLib.cli import build_parser, main
from TSPODemoModel.__main__ import RECIPE_COMMANDS

REPOSITORY = Path(__file__).resolve().parents[2]
RECIPE = {name: import_module(f"TSPODemoModel.commands.{name}") for name in RECIPE_COMMANDS}


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from parsers(inner)


ALL = [*parsers(build_parser()), *parsers(build_parser(RECIPE, "recipe"))]


@pytest.mark.parametrize("parser", ALL, ids=lambda parser: parser.prog)
def test_a_default_is_said_once_and_options_are_written_out(parser: argparse.ArgumentParser) -> None:
    assert not parser.allow_abbrev
    for action in parser._actions:
        help_ = parser._get_formatter()._expand_help(action) if action.help else ""
        assert help_.count("default") <= 1, help_
        assert not re.search(r"\(default: \[|None\)", help_), help_


def test_common_options_stand_before_and_behind_an_action() -> None:
    for words in ("models info a --progress none -v", "models --progress none -v info a"):
        options = build_parser().parse_args(words.split())
        assert (options.progress, options.verbose, options.model) == ("none", True, "a"), words
    options = build_parser().parse_args(["models", "list"])
    assert (options.progress, options.verbose) == ("bar", False)


def test_the_beginning_of_an_option_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["synthesize", "T1.nii", "-o", "out", "--sam", "2"])
    assert ended.value.code == 2 and "--sam" in capsys.readouterr().err


def test_no_parser_of_a_script_takes_beginnings_either() -> None:
    listed = subprocess.run(["git", "ls-files", "*.py"], cwd=REPOSITORY, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a checkout")
    for name in listed.stdout.split():
        code = (REPOSITORY / name).read_text(encoding="utf-8")
        for call in re.findall(r"argparse\.ArgumentParser\((?!\))[^()]*\)", code):
            assert "allow_abbrev=False" in call, name
