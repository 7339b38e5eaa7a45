"""A dataset and a preset so small that a training ends in a minute: for the self tests."""

import json
import time
from pathlib import Path

import slicer

from MRI2PETLib.simulation.dataset import DatasetSettings, write_dataset


def trialDataset(folder: str, people: int = 4) -> str:
    """Simulated people with voxels of 6 mm below ``folder``; the path of the dataset."""
    dataset = Path(folder) / "people"
    write_dataset(dataset, people, DatasetSettings(seed=1, spacing_mm=6.0))
    return str(dataset)


def trialPreset(folder: str, epochs: int = 8) -> str:
    """The preset *smoke* with fewer epochs; the path of its file."""
    from MRI2PETTrainingLib.presets import read_preset

    path = Path(folder) / "trial.json"
    content = {**read_preset("smoke").to_dict(), "epochs": epochs}
    path.write_text(json.dumps(content), encoding="utf-8")
    return str(path)


def wait(session, until=lambda: False, seconds: float = 900) -> None:
    """Let a session work until its job ends, or ``until()``."""
    end = time.monotonic() + seconds
    while session.pump() and not until():
        if time.monotonic() > end:
            raise TimeoutError(session.state.stage)
        slicer.app.processEvents()
        time.sleep(0.05)
