"""What a training runs on, and whether this machine has it."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from MRI2PETLib.core.devices import pick_device
from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.threads import cores
from MRI2PETTrainingLib.presets import Preset

_MOST_LOADERS = 8


@dataclass(frozen=True)
class Hardware:
    """What computes. It decides speed and rounding, nothing else.

    :ivar device: ``auto``, ``cpu``, ``cuda[:N]`` or ``mps``.
    :ivar devices: processes on this machine, one a device; ``nodes`` machines (Lightning's DDP).
    :ivar workers: processes that load batches.
    """

    device: str = "auto"
    devices: int = 1
    nodes: int = 1
    workers: int = 0

    @property
    def processes(self) -> int:
        return self.devices * self.nodes


def enough_loaders(device: str, devices: int = 1) -> int:
    """Processes a device that keep it from waiting for batches.

    None beside a CPU: a step takes a hundred times as long as its batch (``Docs/explanation/speed.md``).
    An accelerator steps faster than one core changes volumes at random.
    """
    if pick_device(device).type == "cpu":
        return 0
    return max(1, min(_MOST_LOADERS, cores() // devices - 1))


def check_hardware(hardware: Hardware, preset: Preset) -> None:
    """Raise before anything is prepared if this machine cannot train so.

    :raises DeviceError: if there is no such device.
    :raises InputError: if there are fewer devices than were asked for.
    """
    device = pick_device(hardware.device)
    available = torch.cuda.device_count() if device.type == "cuda" else hardware.devices
    if hardware.devices > available:
        raise InputError(
            f"{hardware.devices} devices were asked for, {available} found.", f"Use --devices {available}."
        )
