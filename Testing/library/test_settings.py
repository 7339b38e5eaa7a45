"""Settings are named once: the command line, a call in Python and a child process show the same fields."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from pathlib import Path

import pytest

from MRI2PETLib.cli import build_parser
from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.settings import Parser, Settings, option
from MRI2PETLib.synthesis.pipeline import synthesize
from MRI2PETLib.synthesis.settings import CaseInputs, SynthesisSettings


@dataclass(frozen=True)
class Every(Settings):
    """One field of each type."""

    name: str = option("required")
    count: int = option("how many", 2, least=1, most=9)
    fwhm_mm: float = option("width", 4.0)
    window: tuple[float, float] = option("from, to", (60.0, 90.0), metavar=("A", "B"))
    atlas: tuple[str, ...] = option("repeatable", ())
    kind: str = option("which", "a", choices=("a", "b"))
    register: str | None = option("how", None, choices=("rigid", "header"))
    table: Path | None = option("a file", None)
    fast: bool = option("quickly", False)


def parse(*arguments: str) -> Every:
    parser = Parser()
    Every.add_to(parser)
    return Every.of(parser.parse_args(arguments))


@pytest.mark.parametrize(
    "settings",
    [
        Every("x"),
        Every("-x *", 9, 0.5, (0.0, 10.5), ("a b", "--c"), "b", "header", Path("é f.csv"), True),
    ],
)
def test_what_is_rendered_is_parsed_back(settings: Every) -> None:
    assert parse(*settings.arguments()) == settings


def test_the_help_ends_each_option_with_its_default() -> None:
    parser = Parser()
    Every.add_to(parser)
    text = " ".join(parser.format_help().split())
    for line in (
        "--count COUNT how many (default: 2)",
        "--fwhm-mm FWHM_MM width (default: 4.0)",
        "--window A B from, to (default: 60.0 90.0)",
        "--atlas ATLAS repeatable --kind",
        "--fast quickly",
    ):
        assert line in text


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"count": 0}, "--count 0 cannot be used. Give 1 to 9."),
        ({"count": 10}, "--count 10 cannot be used. Give 1 to 9."),
        ({"count": float("nan")}, "--count nan cannot be used"),
        ({"kind": "c"}, "--kind c is not known. Use one of a, b."),
    ],
)
def test_a_value_that_cannot_be_used_is_named(wrong: dict, message: str) -> None:
    with pytest.raises(InputError) as error:
        Every("x", **wrong)
    assert message in str(error.value)


def test_all_commands_show_the_settings_of_a_synthesis() -> None:
    settings = SynthesisSettings(model="other", device="cpu", precision="bf16", samples=3, steps=7, seed=5)
    inputs = CaseInputs(mask=Path("mask.nrrd"), pet=Path("pet.nrrd"), pet_unit="Bq/mL", series="1.2.3")
    rendered = [*settings.arguments(), *inputs.arguments()]
    parsed = build_parser().parse_args(["synthesize", "T1.nii", "-o", "out", *rendered])
    assert SynthesisSettings.of(parsed) == settings and CaseInputs.of(parsed) == inputs
    parameters = inspect.signature(synthesize).parameters
    in_memory = {name for name, about in SynthesisSettings.options().items() if about.in_memory}
    assert in_memory <= set(parameters) and "settings" not in parameters
    assert parameters["samples"].default == 1
    assert ":param steps: sampling steps" in (synthesize.__doc__ or "")
    with pytest.raises(TypeError, match="sampels"):
        synthesize("T1.nii", sampels=3)
    with pytest.raises(TypeError, match="dicom is for the command line"):
        synthesize("T1.nii", dicom=True)


def test_what_decides_a_result_is_not_a_name() -> None:
    assert "model" not in SynthesisSettings().to_dict(deciding=True)
    assert SynthesisSettings().to_dict()["model"] == "tspo-demo"
