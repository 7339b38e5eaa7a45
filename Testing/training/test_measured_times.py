"""What a window says of the time that a preset takes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from MRI2PETTrainingLib import measured_times
from MRI2PETTrainingLib.presets import preset_names, read_preset


def test_the_time_of_a_dataset_is_that_of_its_cases_epochs_and_folds(monkeypatch: pytest.MonkeyPatch) -> None:
    row = measured_times.MeasuredTime("smoke", 30, 0.5, "one core")
    monkeypatch.setattr(measured_times, "read_rows", lambda *_: [row])
    smoke = replace(read_preset("smoke"), epochs=20)
    assert measured_times.time_text(smoke, 0, 5) == "Measured on one core: 0.5 s a case and epoch."
    # 12 cases x (30 s + 2 of 3 folds x 20 epochs x .5 s) = 600 s
    assert measured_times.time_text(smoke, 12, 3).endswith("12 cases in 3 folds take about 10 min there.")
    assert measured_times.time_text(read_preset("rflow"), 12, 3) == ""


def test_every_row_is_of_a_preset() -> None:
    rows = measured_times.read_rows(measured_times._FILE, measured_times.MeasuredTime)
    assert {row.preset for row in rows} <= set(preset_names())
    assert all(row.case_s > 0 and row.epoch_s > 0 and row.machine for row in rows)
