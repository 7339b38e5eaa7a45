"""The examples in docstrings run and print what they say."""

from __future__ import annotations

import doctest
from importlib import import_module
from pathlib import Path

import pytest

import MRI2PETLib

LIBRARY = Path(MRI2PETLib.__file__).parent
WITH_EXAMPLES = sorted(
    ".".join(("MRI2PETLib", *path.relative_to(LIBRARY).with_suffix("").parts)).removesuffix(".__init__")
    for path in LIBRARY.rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8") and "scene" not in path.parts
)


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples(name: str) -> None:
    failed, _ = doctest.testmod(import_module(name))
    assert failed == 0


def test_the_main_job_has_an_example() -> None:
    assert "MRI2PETLib.synthesis.pipeline" in WITH_EXAMPLES
