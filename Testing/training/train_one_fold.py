"""Trains one fold in a process of its own, to be killed: FOLDER EPOCHS [STEP_SLEEP_S [DIE_AT_REPLACE]].

With DIE_AT_REPLACE = n it kills itself at the n-th moving of a finished file to its place: just before it
(n even) or just after it (n odd).
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import torch

from MRI2PETTrainingLib.fit import Fitted, fit_fold
from MRI2PETTrainingLib.hardware import Hardware
from small_datasets import prepared_cases, tiny_preset


def train(folder: Path, epochs: int, sleep_s: float = 0.0) -> Fitted:
    torch.set_num_threads(1)
    cases = prepared_cases(folder / f"cache-{time.time_ns()}", [f"case{i}" for i in range(5)])
    preset = tiny_preset(epochs=epochs)
    return fit_fold(
        folder,
        cases[:4],
        cases[4:],
        preset,
        seed=7,
        hardware=Hardware("cpu"),
        progress=lambda done, total, stage: time.sleep(sleep_s),
    )


def die_at(count: int) -> None:
    """Make the ``count``-th os.replace the last thing this process does."""
    replace, left = os.replace, [count]

    def dying(source: str, target: str) -> None:
        left[0] -= 1
        if left[0] == 0 and count % 2 == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    os.replace = dying  # type: ignore[assignment]


if __name__ == "__main__":
    if len(sys.argv) > 4:
        die_at(int(sys.argv[4]))
    print("ready", flush=True)
    train(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]) if len(sys.argv) > 3 else 0.0)
