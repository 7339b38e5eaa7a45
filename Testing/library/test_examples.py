"""The examples in docstrings run and print what they say."""

from __future__ import annotations

import doctest
from importlib import import_module
from pathlib import Path

import pytest

import MRI2PETLib
import MRI2PETTrainingLib

WITH_EXAMPLES = sorted(
    ".".join(path.relative_to(library.parent).with_suffix("").parts).removesuffix(".__init__")
    for library in (Path(package.__file__).parent for package in (MRI2PETLib, MRI2PETTrainingLib))
    for path in library.rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8") and "scene" not in path.parts
)


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples(name: str) -> None:
    failed, _ = doctest.testmod(import_module(name))
    assert failed == 0


def test_the_main_job_has_an_example() -> None:
    assert "MRI2PETLib.synthesis.pipeline" in WITH_EXAMPLES
