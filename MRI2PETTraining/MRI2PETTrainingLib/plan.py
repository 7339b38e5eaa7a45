"""What a run is to do, and whose a run folder is: one set of settings, one dataset."""

from __future__ import annotations

import json
import os
import platform
import time
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from MRI2PETLib import __version__
from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.files import write_json
from MRI2PETLib.jobs.detached import JOB, JOB_LOG
from MRI2PETTrainingLib.dataset.preflight import DatasetOptions
from MRI2PETTrainingLib.presets import Preset
from MRI2PETTrainingLib.run_folder import FOLDS, RUN, has_begun
from MRI2PETTrainingLib.warm_start import describe


@dataclass(frozen=True)
class Plan:
    """What a run is to do.

    :ivar only: numbers of the folds to train; empty for all.
    :ivar workers: processes that prepare cases.
    :ivar loaders: processes that load batches; ``None``: as many as the device needs.
    :ivar initial: what the weights start from, see :mod:`.warm_start`.
    :ivar folds: file of the folds to use instead of making some.
    :ivar resume: go on with a run folder that exists.
    """

    dataset: Path
    run: Path
    preset: Preset
    options: DatasetOptions = field(default_factory=DatasetOptions)
    n_folds: int = 5
    seed: int = 42
    keep_together: tuple[str, ...] = ()
    leave_one_site_out: bool = False
    initial: str = ""
    folds: Path | None = None
    cache: Path | None = None
    workers: int = 1
    device: str = "auto"
    devices: int = 1
    nodes: int = 1
    loaders: int | None = None
    only: tuple[int, ...] = ()
    resume: bool = False


def settings_of(plan: Plan) -> dict[str, Any]:
    """Everything that decides the result, as JSON keeps it."""
    content = {
        "preset": plan.preset.to_dict(),
        "dataset": str(plan.dataset.resolve()),
        "options": asdict(plan.options),
        "n_folds": plan.n_folds,
        "seed": plan.seed,
        "keep_together": list(plan.keep_together),
        "leave_one_site_out": plan.leave_one_site_out,
        "init_from": describe(plan.initial),
        "processes": plan.devices * plan.nodes,
    }
    return json.loads(json.dumps(content))


def claim(plan: Plan) -> None:
    """Mark a new run folder, or check that the one that is there is of the same run.

    Until the first fold begins, a run (one that was only checked) may get other settings.

    :raises InputError: if it holds something else, or a run and neither ``resume`` nor ``only`` was given.
    """
    path = plan.run / RUN
    settings = settings_of(plan)
    if not path.is_file():
        others = [p.name for p in plan.run.iterdir() if not p.name.startswith(".")]
        if set(others) - {"cache", JOB, JOB_LOG}:
            raise InputError(
                f"{plan.run} is not empty and holds no run ({sorted(others)[0]} is there).",
                "Choose another folder (-o).",
            )
        write_json(path, {"settings": settings, "environment": environment(), "started": time.ctime()})
        return
    try:
        before = json.loads(path.read_text(encoding="utf-8"))["settings"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} cannot be read: {error!r}.", "Choose another folder (-o).") from error
    changed = sorted(_differences(before, settings))
    if not has_begun(plan.run) and not plan.only:
        if changed:
            (plan.run / FOLDS).unlink(missing_ok=True)
            write_json(path, {"settings": settings, "environment": environment(), "started": time.ctime()})
        return
    if changed:
        raise InputError(
            f"{plan.run} holds a run with other settings: {'; '.join(changed[:3])}.",
            "Use the same settings to go on with it, or choose another folder (-o).",
        )
    if not plan.resume and not plan.only:
        raise InputError(
            f"{plan.run} holds a run.", "Add --resume to go on with it, or choose another folder."
        )


def _differences(a: Any, b: Any, name: str = "") -> list[str]:
    if isinstance(a, dict) and isinstance(b, dict):
        keys = sorted(set(a) | set(b))
        return [d for k in keys for d in _differences(a.get(k), b.get(k), f"{name}.{k}" if name else k)]
    return [] if a == b else [f"{name} was {a!r}, is {b!r}"]


def environment() -> dict[str, str]:
    """Versions of what makes the numbers, and the machine."""
    packages = ("torch", "lightning", "scikit-learn", "SimpleITK", "numpy", "scipy", "safetensors")
    return {
        "SlicerMRI2PET": __version__,
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in packages},
        "system": platform.platform(),
        "processors": str(os.cpu_count()),
    }
