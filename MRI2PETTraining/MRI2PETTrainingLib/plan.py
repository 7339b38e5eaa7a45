"""What a run is to do, and whose a run folder is: one set of settings, one dataset."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from MRI2PETLib import __version__
from MRI2PETLib.core.errors import InputError, MRI2PETError, reason_of
from MRI2PETLib.core.files import plain, read_json, write_json
from MRI2PETLib.core.installed import version_of
from MRI2PETLib.images.subjects import read_overrides
from MRI2PETLib.jobs.detached import JOB, JOB_LOG
from MRI2PETTrainingLib.presets import Preset, default_preset, preset_names, preset_of
from MRI2PETTrainingLib.run_folder import FOLDS, RUN, STYLED_MANIFEST, has_begun
from MRI2PETTrainingLib.settings import Task, TrainingSettings, check_run_folder
from MRI2PETTrainingLib.warm_start import describe, in_full


@dataclass(frozen=True)
class Plan:
    """What a run is to do.

    :ivar settings: with nothing left to be chosen, see :func:`plan_of`.
    """

    settings: TrainingSettings
    preset: Preset
    task: Task = Task()

    @property
    def run(self) -> Path:
        return Path(self.settings.output)

    @property
    def cache(self) -> Path:
        return self.settings.cache or self.run / "cache"

    @property
    def pairs(self) -> Path:
        """Folder of the pairs that are made of unpaired MRIs."""
        return self.run / "cache" / "pairs"

    @property
    def data(self) -> TrainingSettings:
        """The settings of the cases that are trained with: the dataset's, or those of the pairs."""
        if self.settings.unpaired is None:
            return self.settings
        dataset = str(self.pairs / STYLED_MANIFEST)
        return replace(self.settings, dataset=dataset, subjects=None, adjust_genotype=False, keep_together=())


def plan_of(settings: TrainingSettings, task: Task) -> Plan:
    """The plan of a command line, with everything chosen that it leaves to the program, and paths in full: it
    is the same in another working folder.

    :raises InputError: if settings contradict each other, or there is no such preset.
    :raises BundleError: if there is no such family.
    """
    if settings.vgg19 is not None and settings.unpaired is None:
        raise InputError("--vgg19 is the style of --unpaired MRIs.", "Give both, or neither.")
    check_run_folder(settings)
    values = {name: getattr(settings, name) for name in settings.options()}
    paths: dict[str, Any] = {n: value.resolve() for n, value in values.items() if isinstance(value, Path)}
    preset = settings.preset or default_preset(settings.family)
    is_own = preset not in preset_names() and Path(preset).is_file()
    settings = replace(
        settings,
        dataset=str(Path(settings.dataset).resolve()),
        preset=str(Path(preset).resolve()) if is_own else preset,
        precision=chosen_precision(settings.precision, settings.device),
        start_from=in_full(settings.start_from),
        **paths,
    )
    return Plan(settings, preset_of(settings), task)


def chosen_precision(precision: str | None, device: str) -> str | None:
    """What ``auto`` means on a device: bf16 where a GPU computes with it, else fp32."""
    if precision != "auto":
        return precision
    import torch

    from MRI2PETLib.core.devices import pick_device

    return "bf16" if pick_device(device).type == "cuda" and torch.cuda.is_bf16_supported() else "fp32"


def record_of(plan: Plan) -> dict[str, Any]:
    """What ``run.json`` says of a plan: its settings, and what decides the result but is no setting."""
    settings = plan.settings
    content = {
        "version": __version__,
        "preset": plan.preset.to_dict(),
        "subjects": None if settings.subjects is None else read_overrides(settings.subjects),
        "start_from": describe(settings.start_from),
        "processes": settings.devices * settings.nodes,
    }
    record: dict[str, Any] = plain({"settings": settings.to_dict(), "content": content})
    return record


def deciding(record: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a record that decides the result.

    :raises KeyError: if it is none, or the program knows other settings now; likewise ``TypeError``,
        ``ValueError``, ``InputError``.
    """
    return TrainingSettings.of_dict(record["settings"]).to_dict(deciding=True) | record["content"]


def claim(plan: Plan) -> None:
    """Mark a new run folder, or check that the one that is there is of the same run.

    Until the first fold begins, a run (one that was only checked) may get other settings.

    :raises InputError: if it holds something else, or a run and the task is neither to resume nor one fold.
    """
    path = plan.run / RUN
    record = record_of(plan)
    if not path.is_file():
        others = [p.name for p in plan.run.iterdir() if not p.name.startswith(".")]
        if set(others) - {"cache", JOB, JOB_LOG}:
            raise InputError(
                f"{plan.run} is not empty and holds no run ({sorted(others)[0]} is there).",
                "Choose another folder (-o).",
            )
        _write(path, record)
        return
    try:
        changed = sorted(_differences(deciding(read_json(path)), deciding(record)))
    except (MRI2PETError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} cannot be read: {reason_of(error)}.", "Choose another folder (-o)."
        ) from error
    if not has_begun(plan.run) and not plan.task.fold:
        if changed:
            (plan.run / FOLDS).unlink(missing_ok=True)
        _write(path, record)
        return
    if changed:
        raise InputError(
            f"{plan.run} holds a run with other settings: {'; '.join(changed[:3])}.",
            "Use the same settings to go on with it, or choose another folder (-o).",
        )
    if not plan.task.resume and not plan.task.fold:
        raise InputError(
            f"{plan.run} holds a run.", "Add --resume to go on with it, or choose another folder."
        )


def _write(path: Path, record: Mapping[str, Any]) -> None:
    write_json(path, {**record, "environment": environment(), "started": time.ctime()})


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
        **{name: version_of(name) or "not stated" for name in packages},
        "system": platform.platform(),
        "processors": str(os.cpu_count()),
    }
