"""Run a model's networks: load them once, choose the arithmetic, fall back to the CPU."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from MRI2PETLib.core.errors import DeviceError
from MRI2PETLib.core.findings import Finding
from MRI2PETLib.core.progress import ProgressCallback, no_progress, part_of
from MRI2PETLib.models.bundle import Bundle
from MRI2PETLib.models.model_space import Encoded

if TYPE_CHECKING:
    import torch

# bf16 has to win clearly, because it rounds. The trial is on a third of each axis: a seventh of one run.
# Without hardware for bf16 that would be long (12 times fp32 and more), which a sixth shows before.
_GAIN, _SHARE = 1.2, 3
_HOPELESS, _FIRST_SHARE = 1 / 3, 6
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadedModel:
    """The networks of a bundle and how to run them.

    :ivar precision: ``fp32`` or ``bf16``.
    """

    bundle: Bundle
    networks: list[torch.nn.Module]
    device: str
    precision: str


def load_model(
    bundle: Bundle,
    *,
    device: str = "auto",
    precision: str = "fp32",
    networks: list[torch.nn.Module] | None = None,
) -> LoadedModel:
    """Load a bundle's networks, and settle what ``auto`` means.

    :param device: ``auto``, ``cpu``, ``cuda[:N]`` or ``mps``.
    :param precision: ``fp32``, ``bf16``, or ``auto`` for whichever is faster on the device.
    :param networks: of the bundle, where they were loaded before.
    :raises BundleError: if the weights are not sound.
    :raises DeviceError: if the device does not exist.
    """
    networks = bundle.networks() if networks is None else networks
    if precision == "auto":
        precision = faster_precision(bundle, networks[0], device)
    return LoadedModel(bundle, networks, device, precision)


def faster_precision(bundle: Bundle, network: torch.nn.Module, device: str) -> str:
    """``bf16`` if a trial on a part of the model's grid shows that it is clearly faster, else ``fp32``."""
    import torch

    from MRI2PETLib.core.devices import pick_device
    from MRI2PETLib.models import get_family

    torch_device = pick_device(device)
    family = get_family(bundle.family)
    candidates = {
        dtype: copy.deepcopy(network).to(torch_device, dtype) for dtype in (torch.float32, torch.bfloat16)
    }

    def times_faster(share: int) -> float:
        shape = [max(16, n // share) for n in reversed(bundle.space.size)]
        part = torch.rand(1, 1, *shape, generator=torch.Generator().manual_seed(0))
        seconds = {}
        for dtype in [*candidates] * 2:  # the first run of each sets things up, the second one counts
            begin = time.perf_counter()
            mean, _ = family.predict(
                candidates[dtype],
                part.to(torch_device, dtype),
                samples=1,
                steps=1,
                seed=0,
                progress=no_progress,
            )
            mean.cpu()  # waits for the device
            seconds[dtype] = time.perf_counter() - begin
        _log.info("trial of %s on %s, %s voxels: %s", bundle.id, torch_device, shape, seconds)
        return seconds[torch.float32] / seconds[torch.bfloat16]

    try:
        if times_faster(_FIRST_SHARE) < _HOPELESS:
            return "fp32"
        return "bf16" if times_faster(_SHARE) > _GAIN else "fp32"
    except (RuntimeError, MemoryError) as error:  # a device without bf16, or without memory: see the real run
        _log.info("trial of %s on %s: %s", bundle.id, torch_device, error)
        return "fp32"


@dataclass(frozen=True)
class Prediction:
    """What the networks of a model make of an encoded image: ``mean`` and ``sd`` [k, j, i] in model space.

    :ivar device: that computed; ``precision`` of its arithmetic.
    """

    mean: np.ndarray
    sd: np.ndarray | None
    device: str
    precision: str
    findings: tuple[Finding, ...] = ()


def predict_encoded(
    bundle: Bundle,
    networks: Sequence[torch.nn.Module],
    encoded: Encoded,
    *,
    device: str,
    precision: str = "fp32",
    samples: int = 1,
    steps: int = 0,
    seed: int = 0,
    progress: ProgressCallback = no_progress,
) -> Prediction:
    """Run the family's prediction on the device, or in fp32 on the CPU when the device fails.

    :param networks: of the bundle; several are an ensemble.
    :raises DeviceError: if the CPU's memory does not suffice, or the result is not finite.
    """
    import torch

    from MRI2PETLib.core.devices import describe_device, is_out_of_memory, pick_device
    from MRI2PETLib.models import get_family

    torch_device = pick_device(device)
    # DLPack: a torch that was built for NumPy 1 (the newest one for Intel Macs) has no other way to NumPy 2.
    source = torch.from_dlpack(encoded.source)[None, None]

    def run(on: torch.device, members: Sequence[torch.nn.Module], precision: str) -> Prediction:
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        results = []
        for number, network in enumerate(members):
            mean, sd = get_family(bundle.family).predict(
                network.to(on, dtype),
                source.to(on, dtype),
                samples=samples,
                steps=steps,
                seed=seed,
                progress=part_of(progress, number / len(members), (number + 1) / len(members)),
            )
            results.append([None if t is None else np.from_dlpack(t[0, 0].float().cpu()) for t in (mean, sd)])
        mean_of_all, sd_of_all = _combine([m for m, _ in results], [s for _, s in results])
        if not np.isfinite(mean_of_all).all():
            raise DeviceError(f"The network returned non-finite values on {on}.", "Use --precision fp32.")
        return Prediction(mean_of_all, sd_of_all, describe_device(on), precision)

    try:
        return run(torch_device, networks, precision)
    except (RuntimeError, MemoryError) as error:
        exhausted = is_out_of_memory(error)
        if torch_device.type == "cpu":
            if not exhausted:
                raise
            raise DeviceError(
                f"Not enough memory for {bundle.id} on {bundle.space.grid_text}.",
                "Close other programs, or use a model with fewer voxels.",
            ) from error
        why = "ran out of memory" if exhausted else f"failed ({_first_line(error)})"
    # Left the except block first: the exception's traceback would keep the device's tensors alive.
    message = f"{describe_device(torch_device)} {why}: the network ran on the CPU instead."
    _log.warning(message)
    if torch_device.type == "cuda":
        torch.cuda.empty_cache()
    # The weights again, which may have been rounded to bf16, and the arithmetic that every CPU is quick in.
    prediction = run(torch.device("cpu"), bundle.networks(), "fp32")
    code = "out-of-memory" if exhausted else "device-failed"
    return replace(prediction, findings=(Finding("warn", code, message),))


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _combine(
    means: Sequence[np.ndarray | None], sds: Sequence[np.ndarray | None]
) -> tuple[np.ndarray, np.ndarray | None]:
    """Mean and SD over the networks of an ensemble: variance between them (n - 1) and, on average, within."""
    mean_of = np.stack([m for m in means if m is not None])
    within = [s for s in sds if s is not None]
    if len(mean_of) == 1:
        return mean_of[0], within[0] if within else None
    variance = mean_of.var(axis=0, ddof=1)
    if within:
        variance = variance + np.square(within).mean(axis=0)
    return mean_of.mean(axis=0), np.sqrt(variance)
