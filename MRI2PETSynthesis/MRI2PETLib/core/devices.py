"""Which device computes, and what to do when it runs out of memory."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from MRI2PETLib.core.errors import DeviceError

if TYPE_CHECKING:
    import torch

# CUDA and MPS; PyTorch's CPU allocator on Linux and macOS, and on Windows; cuDNN, cuBLAS and their like.
_EXHAUSTED = re.compile(
    r"out of memory|DefaultCPUAllocator: (can't allocate|not enough) memory|STATUS_ALLOC_FAILED",
    re.IGNORECASE,
)


def pick_device(name: str = "auto") -> torch.device:
    """Turn ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps`` into a device that exists.

    ``auto`` is the first CUDA device, else Apple's MPS, else the CPU.

    :raises DeviceError: if the named device does not exist here.
    """
    import torch

    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", name):
        raise DeviceError(f"Unknown device {name!r}.", "Use auto, cpu, cuda, cuda:N or mps.")
    cuda = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        name = "cuda:0" if cuda else "mps" if torch.backends.mps.is_available() else "cpu"
    if name.startswith("cuda"):
        index = int(name.partition(":")[2] or 0)
        if index >= cuda:
            raise DeviceError(f"There is no device {name}: {cuda} CUDA device(s) found.", "Use --device cpu.")
    if name == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("There is no MPS device here.", "Use --device cpu.")
    return torch.device(name)


def available_devices() -> dict[str, str]:
    """The devices that can be chosen here and what they are called, fastest first; the CPU is always one."""
    import torch

    devices = {}
    if torch.cuda.is_available():
        devices = {f"cuda:{n}": torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())}
    if torch.backends.mps.is_available():
        devices["mps"] = "Apple MPS"
    return {**devices, "cpu": "CPU"}


def describe_device(device: torch.device) -> str:
    """A name for the provenance, for example ``cuda:0 (NVIDIA L4)``."""
    import torch

    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return str(device)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that the device's memory is exhausted."""
    import torch

    # torch 2.2 has the name in torch.cuda only.
    return isinstance(error, (torch.cuda.OutOfMemoryError, MemoryError)) or (
        isinstance(error, RuntimeError) and _EXHAUSTED.search(str(error)) is not None
    )
