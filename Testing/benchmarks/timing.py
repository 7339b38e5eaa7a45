"""Measure several variants side by side: interleaved, so that a busy moment meets all of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np


@dataclass
class Times:
    """Wall and processor seconds of each repeat."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def summary(self) -> dict[str, float]:
        """Median and quartiles of the wall time, median of the processor time; in seconds."""
        low, middle, high = np.percentile(self.wall, (25, 50, 75))
        return {
            "median_s": float(middle),
            "q1_s": float(low),
            "q3_s": float(high),
            "cpu_s": float(np.median(self.cpu)),
            "repeats": len(self.wall),
        }


def interleaved(
    variants: Mapping[str, Callable[[], Any]], repeats: int, *, warm_up: bool = True
) -> dict[str, Times]:
    """Run every variant in turn, ``repeats`` times; the first round warms up and does not count."""
    times = {name: Times() for name in variants}
    for number in range(repeats + warm_up):
        for name, function in variants.items():
            wall, cpu = time.perf_counter(), time.process_time()
            function()
            if number >= warm_up:
                times[name].wall.append(time.perf_counter() - wall)
                times[name].cpu.append(time.process_time() - cpu)
    return times


def ratio(slow: Times, fast: Times) -> dict[str, float]:
    """How many times faster, over the repeats: median and quartiles; of the processor time the median."""
    low, middle, high = np.percentile(np.divide(slow.wall, fast.wall), (25, 50, 75))
    cpu = float(np.median(np.divide(slow.cpu, fast.cpu)))
    return {"median": float(middle), "q1": float(low), "q3": float(high), "cpu": cpu}


def exponent(counts: list[float], seconds: list[float]) -> float:
    """``e`` of seconds ~ count^e by least squares on logarithms."""
    return float(np.polyfit(np.log(counts), np.log(seconds), 1)[0])


def peak_memory_mb() -> float:
    """The largest resident memory of this process so far.

    Linux hands ``ru_maxrss`` of a parent down to its children, so there the kernel's own mark is read.
    """
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)


def in_child(script: Path, *arguments: object, **environment: str) -> dict[str, Any]:
    """Run a script in a process of its own; it answers with one line of JSON, its last one."""
    command = [sys.executable, str(script), *map(str, arguments)]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=True, env={**os.environ, **environment}
    )
    return json.loads(done.stdout.splitlines()[-1])
