"""How fast is it? Everything of ``Docs/explanation/speed.md``, side by side in one run: JSON and tables.

    python Testing/benchmarks/speed.py [-o OUT] [--repeats 5] [--long] [--quick] [--again PART ...]
                                       [--docs Docs/explanation/speed.md]

The published formulation is computed by the same classes (``Testing/library/published_unet.py``). Times are
the medians of interleaved repeats with their quartiles. Nothing else should run: the floor that is measured
beside them (matrix products, copies) shows whether something did. ``--long`` adds 100 cases and 128^3 (46
minutes in all on two cores); ``--again`` measures parts of an earlier run (in OUT) again and keeps the rest;
``--quick`` only tries the benchmark itself.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import SimpleITK as sitk
import speed_network
import speed_pipeline
import torch
from speed_tables import tables

from MRI2PETLib import __version__
from MRI2PETLib.synthesis.settings import DEFAULT_MODEL

PARTS = ("imports", "end_to_end", "batches", "stages", "network_cpu", "network_cuda")
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def machine() -> dict[str, Any]:
    """What was measured on."""
    model = platform.processor()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return {
        "processor": model,
        "capability": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "torch_threads": torch.get_num_threads(),
        "itk_threads": sitk.ProcessObject.GetGlobalDefaultNumberOfThreads(),
        "SimpleITK": sitk.Version().VersionString(),
        "python": platform.python_version(),
        "mri2pet": __version__,
        "load_before": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }


def measure(args: argparse.Namespace) -> dict[str, Any]:
    sizes, size, counts = [64, 96], 96, [1, 10]
    if args.long:
        sizes, counts = [64, 96, 128], [1, 10, 100]
    if args.quick:
        sizes, size, counts, args.repeats = [16, 24], 24, [1, 2], 1
    measurements: dict[str, Any] = {"machine": machine()}
    if args.again:
        measurements |= json.loads((args.output / "speed.json").read_text())

    def keep(name: str, measure_part: Callable[[], Any]) -> None:
        if args.again and name not in args.again:
            return
        measurements[name] = measure_part()
        (args.output / "speed.json").write_text(json.dumps(measurements, indent=2) + "\n")
        (args.output / "speed.md").write_text(tables(measurements))
        print(f"{time.perf_counter() - began:6.0f} s  {name} measured", flush=True)

    began = time.perf_counter()
    inputs = speed_pipeline.make_inputs(args.output / "inputs", args.quick)
    model = speed_pipeline.make_model(args.output / "model", size)
    work = args.output / "work"
    if args.quick:
        inputs = dict(list(inputs.items())[1:])
    # Small things first: children must not inherit a large process.
    keep("imports", lambda: speed_pipeline.measure_imports(args.repeats))
    models: dict[str, str | Path] = {
        f"published, {size}^3": model,
        f"{DEFAULT_MODEL} (shipped)": DEFAULT_MODEL,
    }
    keep("end_to_end", lambda: speed_pipeline.measure_end_to_end(inputs, models, work, args.repeats, "auto"))
    some = list(inputs.values())[-1]
    keep("batches", lambda: speed_pipeline.measure_batches(some, model, work, counts, "auto"))
    keep(
        "stages",
        lambda: {
            case: speed_pipeline.measure_stages(t1, model, work, args.repeats, "auto")
            for case, t1 in inputs.items()
        },
    )
    keep("network_cpu", lambda: speed_network.measure(sizes, size, args.repeats, "cpu"))
    if torch.cuda.is_available():
        keep("network_cuda", lambda: speed_network.measure(sizes, size, args.repeats, "cuda"))
    shutil.rmtree(work, ignore_errors=True)
    return measurements


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("-o", "--output", type=Path, default=Path("build/speed"))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--long", action="store_true", help="100 cases and 128^3, too")
    parser.add_argument(
        "--docs", type=Path, metavar="FILE", help="put the tables between the marks of a document"
    )
    parser.add_argument("--again", nargs="+", choices=PARTS, help="measure these again, keep the rest")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: tries the benchmark")
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    text = tables(measure(args))
    print(text)
    if args.docs:
        before, _, rest = args.docs.read_text(encoding="utf-8").partition(BEGIN)
        after = rest.partition(END)[2]
        args.docs.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
