"""The network: published formulation against ours, forward and in training, and the machine's floor.

Run by ``speed.py``; on its own it measures the memory of one variant in a process that did nothing else:

    python Testing/benchmarks/speed_network.py VARIANT forward|training SIZE DEVICE
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from timing import Times, exponent, in_child, interleaved, peak_memory_mb, ratio
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "library"))
from MRI2PETLib.models import unet  # noqa: E402
from published_unet import published_forward  # noqa: E402

PUBLISHED, OURS = "published fp32", "ours fp32"
VARIANTS = {
    PUBLISHED: torch.float32,
    OURS: torch.float32,
    "published bf16": torch.bfloat16,
    "ours bf16": torch.bfloat16,
}
GEMM_SIZE, COPY_FLOATS = 2048, 1 << 26
SMALL, HOPELESS = 24, 3.0


class Published(nn.Module):
    """The published formulation on the same parameters, in the contiguous layout."""

    def __init__(self, network: unet.TSPOUNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return published_forward(self.network, x)


def make_network(variant: str, device: str) -> nn.Module:
    torch.manual_seed(0)
    network = unet.build({"attention": "reference"})
    if variant.startswith("published"):
        network = Published(network.to(memory_format=torch.contiguous_format))
    return network.to(device, VARIANTS[variant])


def source(size: int, variant: str, device: str) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(1, 1, size, size, size, generator=generator).to(device, VARIANTS[variant])


def wait_for(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def forward(variant: str, size: int, device: str) -> Callable[[], Tensor]:
    """A function that predicts once."""
    network, x = make_network(variant, device).eval(), source(size, variant, device)

    def run() -> Tensor:
        with torch.inference_mode():
            prediction = network(x)
        wait_for(device)
        return prediction

    return run


def training(variant: str, size: int, device: str) -> Callable[[], None]:
    """A function that makes one step of training in fp32: forward, backward, Adam."""
    network, x = make_network(variant, device).train(), source(size, variant, device)
    optimiser = torch.optim.Adam(network.parameters(), 1e-4)
    target, mask = torch.flip(x, (2,)), torch.ones_like(x)

    def run() -> None:
        optimiser.zero_grad()
        unet.loss(network, x, target, mask, {}).backward()
        optimiser.step()
        wait_for(device)

    return run


def loading(size: int, folder: Path) -> Callable[[], None]:
    """A function that makes one training batch of one volume, as a training with the default preset does:
    read from the cache, turned, scaled, shifted, noise added."""
    from MRI2PETTrainingLib.batches import CasePairs, loader
    from MRI2PETTrainingLib.dataset.cache import ARRAYS, PreparedCase
    from MRI2PETTrainingLib.presets import default_preset, read_preset

    generator = np.random.default_rng(0)
    np.save(folder / ARRAYS, generator.random((3, size, size, size), dtype=np.float32).astype(np.float16))
    augmentation = read_preset(default_preset("unet")).augmentation
    cases = [PreparedCase(None, folder, {})]  # type: ignore[arg-type]
    batches = loader(CasePairs(cases, augmentation, 0), seed=0, batch_size=1, shuffle=True)

    def run() -> None:
        for _ in batches:
            pass

    return run


def floor(device: str, repeats: int, precisions: list[str]) -> dict[str, float]:
    """What the machine can do at best: matrix products in GFLOP/s, copies in GB/s (read and written)."""
    seconds = {"threads": float(torch.get_num_threads())}
    for name in precisions:
        a = torch.rand(GEMM_SIZE, GEMM_SIZE).to(device, VARIANTS[f"ours {name}"])

        def multiply(a: Tensor = a) -> None:
            _ = a @ a
            wait_for(device)

        times = interleaved({name: multiply}, repeats)[name]
        seconds[f"gemm_{name}_gflops"] = 2 * GEMM_SIZE**3 / min(times.wall) / 1e9
    block = torch.rand(COPY_FLOATS, device=device)
    other = torch.empty_like(block)

    def copy() -> None:
        other.copy_(block)
        wait_for(device)

    seconds["copy_gb_per_s"] = 8 * COPY_FLOATS / min(interleaved({"copy": copy}, repeats)["copy"].wall) / 1e9
    return seconds


def gigaflops(size: int) -> float:
    """Operations of one prediction (2 a multiply-add)."""
    with FlopCounterMode(display=False) as counter:
        forward(PUBLISHED, size, "cpu")()
    return counter.get_total_flops() / 1e9


def compare(times: dict[str, Times], reference: str = PUBLISHED) -> list[dict[str, Any]]:
    """One row a variant, with how many times faster than the reference it is."""
    return [
        {"variant": name, **samples.summary(), "times_faster": ratio(times[reference], samples)}
        for name, samples in times.items()
    ]


def with_memory(rows: list[dict[str, Any]], kind: str, size: int, device: str) -> list[dict[str, Any]]:
    """The rows with the peak memory, and the time with huge pages, which ``mri2pet`` asks for."""

    def alone(variant: str, huge_pages: str) -> dict[str, Any]:
        return in_child(Path(__file__), variant, kind, size, device, THP_MEM_ALLOC_ENABLE=huge_pages)

    return [
        {
            **row,
            "peak_mb": alone(row["variant"], "0")["peak_mb"],
            "huge_pages_s": alone(row["variant"], "1")["second_s"],
        }
        for row in rows
    ]


def too_slow(device: str) -> dict[str, float]:
    """Variants in bf16 that take several times as long as in fp32 on a small volume (no hardware for it), and
    how many times."""
    runs = {name: forward(name, SMALL, device) for name in VARIANTS}
    times = interleaved(runs, 3)
    slower = {n: 1 / ratio(times[n.replace("bf16", "fp32")], times[n])["median"] for n in VARIANTS}
    return {name: factor for name, factor in slower.items() if factor > HOPELESS}


def measure(sizes: list[int], main_size: int, repeats: int, device: str) -> dict[str, Any]:
    """Everything about the network on one device."""
    hopeless = too_slow(device)
    runs = {name: forward(name, main_size, device) for name in VARIANTS if name not in hopeless}
    difference = {
        name: float((runs[name]().float() - runs[PUBLISHED]().float()).abs().max()) for name in runs
    }
    rows = with_memory(compare(interleaved(runs, repeats)), "forward", main_size, device)
    for row in rows:
        row["max_abs_difference"] = difference[row["variant"]]
    steps = {name: training(name, main_size, device) for name in (PUBLISHED, OURS)}
    trained = with_memory(compare(interleaved(steps, repeats)), "training", main_size, device)
    del steps
    with TemporaryDirectory() as folder:
        batch = interleaved({"batch": loading(main_size, Path(folder))}, repeats)["batch"].summary()
    growth: dict[str, Any] = {}
    for name in (PUBLISHED, OURS):
        summaries = [interleaved({name: forward(name, n, device)}, repeats)[name].summary() for n in sizes]
        seconds = [row["median_s"] for row in summaries]
        memory = [in_child(Path(__file__), name, "forward", n, device)["peak_mb"] for n in sizes]
        growth[name] = {
            "sizes": sizes,
            "median_s": seconds,
            "peak_mb": memory,
            "exponent_of_voxels": exponent([float(n) ** 3 for n in sizes], seconds),
        }
    limits = floor(device, repeats, ["fp32"] if "ours bf16" in hopeless else ["fp32", "bf16"])
    work = gigaflops(main_size)
    return {
        "device": torch.cuda.get_device_name() if device.startswith("cuda") else "cpu",
        "size": main_size,
        "floor": {**limits, "gflop": work, "floor_fp32_s": work / limits["gemm_fp32_gflops"]},
        "forward": rows,
        "left_out": hopeless,
        "training": trained,
        "batch": batch,
        "growth": growth,
    }


def main() -> None:
    variant, kind, size, device = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
    run = {"forward": forward, "training": training}[kind](variant, size, device)
    before = peak_memory_mb()
    run()
    began = time.perf_counter()
    run()
    second_s = time.perf_counter() - began
    peak = torch.cuda.max_memory_allocated() / 1e6 if device.startswith("cuda") else peak_memory_mb()
    print(json.dumps({"peak_mb": peak, "before_mb": before, "second_s": second_s}))


if __name__ == "__main__":
    main()
