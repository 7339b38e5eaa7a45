"""How long presets took where they were measured, and what that means for a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from MRI2PETLib.core.tables import read_rows
from MRI2PETLib.jobs.run_state import duration
from MRI2PETTrainingLib.presets import Preset

_FILE = Path(__file__).resolve().parent / "presets" / "measured_times.csv"


class MeasuredTime(NamedTuple):
    """A row of ``presets/measured_times.csv``: what ``machine`` takes with nothing else at work.

    ``case_s``: seconds a case for everything but the epochs (preparing, predicting, evaluating);
    ``epoch_s``: seconds a case and epoch, training and validation cases alike.
    """

    preset: str
    case_s: float
    epoch_s: float
    machine: str


def time_text(preset: Preset, cases: int, folds: int) -> str:
    """What was measured of a preset, and about how long it takes for so many cases; empty where nothing was.

    :param cases: 0 where they are not known yet.
    """
    row = next((r for r in read_rows(_FILE, MeasuredTime) if r.preset == preset.name), None)
    if row is None:
        return ""
    text = f"Measured on {row.machine}: {row.epoch_s:.2g} s a case and epoch"
    if not cases:
        return f"{text}."
    # A case trains or validates in every fold but the one that tests it.
    seconds = cases * (row.case_s + (folds - 1) * preset.epochs * row.epoch_s)
    return f"{text}; {cases} cases in {folds} folds take about {duration(seconds)} there."
