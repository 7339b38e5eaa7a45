"""A setting of a training is named once: whatever shows it shows all of them, whoever goes on loses none."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bundles import tiny_bundle
from MRI2PETLib.cli import build_parser
from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.settings import Settings
from MRI2PETLib.scene.parameters import settings_of_node, show_settings
from MRI2PETTrainingLib.plan import chosen_precision, claim, plan_of, record_of
from MRI2PETTrainingLib.presets import preset_of
from MRI2PETTrainingLib.run_folder import RUN, read_run, settings_of_run
from MRI2PETTrainingLib.settings import Task, TrainingSettings
from small_datasets import write_dataset

# Texts that mean something, so that no made-up one will do.
MEANINGFUL: dict[str, Any] = {"family": "unet", "preset": "smoke", "device": "cpu", "learning_rate": 0.25}


def other(kind: type[Settings], meaningful: Mapping[str, Any] | None = None) -> Any:
    """Settings of which no field has its default."""
    values: dict[str, Any] = {}
    defaults = {field.name: field.default for field in fields(kind)}
    for name, about in kind.kinds().items():
        choices = [c for c in kind.choices(name) if c != defaults[name]]
        default = defaults[name]
        if about.type is bool:
            one: Any = not default
        elif about.type in (int, float):
            one = about.type((default if isinstance(default, int) else 0) + 2)
        else:
            one = about.type(choices[0] if choices else f"é {name}")
        count = 1 if about.number == 1 else about.number or 2
        value = one if about.number == 1 else tuple(one for _ in range(count))
        values[name] = (meaningful or {}).get(name, value)
        assert values[name] != default, name
    return kind(**values)


def parsed(*arguments: str) -> Any:
    return build_parser().parse_args(["train", *arguments])


@pytest.mark.parametrize(
    "settings", [TrainingSettings("/data/é", "run 1"), other(TrainingSettings, MEANINGFUL)]
)
def test_settings_are_what_the_command_reads_and_what_a_record_keeps(settings: TrainingSettings) -> None:
    assert TrainingSettings.of(parsed(*settings.arguments())) == settings
    assert TrainingSettings.of_dict(json.loads(json.dumps(settings.to_dict()))) == settings


def test_a_task_is_what_the_command_reads() -> None:
    for task in (Task(), other(Task)):
        assert Task.of(parsed("data", "-o", "run", *task.arguments())) == task


def test_every_option_of_the_command_is_a_setting_or_a_task() -> None:
    own = {"progress", "verbose", "command", "run", "go_on"}
    assert set(vars(parsed("data", "-o", "run"))) - own == {f.name for f in fields(TrainingSettings)} | {
        f.name for f in fields(Task)
    }


def test_a_node_shows_the_settings_that_it_has_parameters_for() -> None:
    settings = other(TrainingSettings, MEANINGFUL)
    node = SimpleNamespace(dataset="", batchSize=0, startFrom="", leaveOneSiteOut=False, keepRunning=True)
    show_settings(settings, node)
    assert (node.dataset, node.batchSize, node.leaveOneSiteOut) == (settings.dataset, 2, True)
    read = settings_of_node(TrainingSettings, node, output="run")
    assert read == TrainingSettings(
        settings.dataset, "run", batch_size=2, start_from=settings.start_from, leave_one_site_out=True
    )
    show_settings(TrainingSettings("", ""), node)
    assert (node.batchSize, node.startFrom) == (0, "")


@pytest.fixture
def begun(tmp_path: Path) -> tuple[TrainingSettings, Path]:
    """A run of the command line, no setting as it is by default, whose first fold has begun."""
    dataset, run = write_dataset(tmp_path / "ds", ["p1", "p2"]), tmp_path / "run"
    (tmp_path / "subjects.csv").write_text("case,subject\np1,one\n")
    model = str(tiny_bundle(tmp_path / "model").folder)
    files = {"subjects": tmp_path / "subjects.csv", "start_from": model}
    values = {**MEANINGFUL, **files, "dataset": str(dataset), "output": str(run)}
    settings = other(TrainingSettings, values)
    run.mkdir()
    claim(plan_of(settings, Task()))
    (run / "fold_0").mkdir()
    return settings, run


def test_going_on_in_a_window_loses_no_setting(begun: tuple[TrainingSettings, Path]) -> None:
    """What the window hands to the child is the run that the command line began."""
    settings, run = begun
    again = settings_of_run(read_run(run))
    changed = {f.name for f in fields(settings) if getattr(settings, f.name) != getattr(again, f.name)}
    assert changed <= {"cache", "unpaired", "vgg19"}  # in full now
    child = parsed(*again.arguments(), *Task(resume=True).arguments())
    plan = plan_of(TrainingSettings.of(child), Task.of(child))
    assert plan.settings == again and record_of(plan)["settings"] == read_run(run).record["settings"]
    claim(plan)
    with pytest.raises(InputError, match="Add --resume"):
        claim(replace(plan, task=Task()))


DECIDING = [name for name, about in TrainingSettings.options().items() if about.decides]
IN_PRESET = ["epochs", "batch_size", "learning_rate", "precision", "gradient_checkpointing"]


@pytest.mark.parametrize("name", [*DECIDING, *IN_PRESET, "subjects", "start_from", "devices", "nodes"])
def test_a_run_has_one_value_of_what_decides_its_result(
    begun: tuple[TrainingSettings, Path], name: str
) -> None:
    settings, run = begun
    changed: Any = {"dataset": str(run.parent), "learning_rate": 0.5, "precision": "bf16"}.get(
        name, getattr(TrainingSettings, name, None)
    )
    more = {"vgg19": None} if name == "unpaired" else {}
    plan = plan_of(replace(settings, **{name: changed}, **more), Task(resume=True))
    with pytest.raises(InputError, match="holds a run with other settings"):
        claim(plan)


def test_a_preset_that_is_another_one_by_now_is_copied(
    begun: tuple[TrainingSettings, Path], tmp_path: Path
) -> None:
    settings, run = begun
    record = json.loads((run / RUN).read_text())
    record["settings"]["preset"] = str(tmp_path / "gone.json")
    (run / RUN).write_text(json.dumps(record))
    again = settings_of_run(read_run(run))
    assert again.epochs is None and Path(str(again.preset)).is_relative_to(run)
    assert preset_of(again) == preset_of(settings)
    claim(plan_of(again, Task(resume=True)))


@pytest.mark.parametrize(
    ("option", "precision"), [(None, None), ("fp32", "fp32"), ("bf16", "bf16"), ("auto", "fp32")]
)
def test_precision_has_the_words_of_the_other_commands(option: str | None, precision: str | None) -> None:
    """What ``auto`` means is settled before the run folder is claimed: on a CPU it is fp32."""
    assert chosen_precision(option, "cpu") == precision
