"""The whole way from a T1 to files on disk: imports, stages, end to end, batches.

Run by ``speed.py``; on its own it is the child that synthesises in a process of its own:

    python Testing/benchmarks/speed_pipeline.py ahead|inline DEVICE MODEL OUT T1 [T1 ...]

Each T1 named is a run of the command line; the answer has the seconds of each and the peak memory.
"""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timing import Times, exponent, in_child, interleaved, peak_memory_mb

from MRI2PETLib import cli
from MRI2PETLib.core import shared_cases
from MRI2PETLib.images.io import write_image
from MRI2PETLib.models import unet
from MRI2PETLib.models.bundle import save_bundle
from MRI2PETLib.models.model_space import ModelSpace
from MRI2PETLib.simulation import simulate_subject

IMPORTS = {
    "python": "pass",
    "import MRI2PETLib": "import MRI2PETLib",
    "mri2pet --version": "from MRI2PETLib.cli import build_parser; build_parser()",
    "all that a synthesis imports": "import MRI2PETLib.reports.synthesis, MRI2PETLib.synthesis.batch, "
    "nibabel, safetensors.torch, PIL.ImageDraw, PIL.ImageFont",
    "import torch": "import torch",
    "import monai (not imported by the U-Net)": "import monai",
}
# Where a stage's function is looked up, and what it is called in the table.
STAGES = {
    "read and check": ("MRI2PETLib.synthesis.batch", "read_source"),
    "brain: stripped already?": ("MRI2PETLib.preprocessing.brain_mask", "stripped_mask"),
    "brain: N4": ("MRI2PETLib.preprocessing.brain_mask", "log_bias_field"),
    "brain: search of the pose": ("MRI2PETLib.preprocessing.template_registration", "search_upright_pose"),
    "brain: affine": ("MRI2PETLib.preprocessing.template_registration", "refine_affine"),
    "brain: quality of the fit": ("MRI2PETLib.preprocessing.template_registration", "measure_fit"),
    "brain: mask from template and tissue": ("MRI2PETLib.preprocessing.brain_mask", "_propagated_mask"),
    "into model space": ("MRI2PETLib.synthesis.pipeline", "encode"),
    "wait for the model": ("MRI2PETLib.synthesis.batch", "open_model"),
    "network": ("MRI2PETLib.synthesis.pipeline", "predict_encoded"),
    "back to the T1's grid": ("MRI2PETLib.synthesis.pipeline", "decode"),
    "write images": ("MRI2PETLib.synthesis.batch", "write_case"),
    "picture": ("MRI2PETLib.reports.comparison_figure", "comparison_figure"),
}


class Inline(shared_cases.OneAhead):
    """The same interface without a thread: an item begins when it is asked for."""

    def __enter__(self) -> Inline:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def take(self, progress: Callable[[float, float, str], None]) -> Any:
        return self._function(next(self._items), progress)


def make_inputs(folder: Path, coarse: bool) -> dict[str, Path]:
    """A simulated whole head of 1 mm and a simulated stripped brain of 0.87 mm; or both of 3 mm."""
    folder.mkdir(parents=True, exist_ok=True)
    inputs = {}
    for name, spacing_mm in (("whole head", 1.0), ("stripped brain", 0.87)):
        spacing_mm = 3.0 if coarse else spacing_mm
        path = folder / f"{name.split()[1]}-{spacing_mm:g}mm_T1w.nii.gz"
        if not path.is_file():
            person = simulate_subject(7, spacing_mm=spacing_mm, head=name == "whole head")
            write_image(person.t1, path)
        inputs[f"{name}, {spacing_mm:g} mm"] = path
    return inputs


def make_model(folder: Path, size: int) -> Path:
    """The U-Net at its published width on a cube of 192 mm (published: 96^3 voxels), with random weights."""
    torch.manual_seed(0)
    metadata = {
        "id": "untrained",
        "name": "Untrained weights",
        "version": "0",
        "description": "random weights, to measure time",
        "family": "unet",
        "network": {},
        "model_space": ModelSpace((size,) * 3, 192.0 / size).to_dict(),
        "source": {"modality": "MR"},
        "target": {"modality": "PET", "tracer": "PBR28", "unit": "SUVR"},
        "intended_use": "demonstration",
        "training_data": "none",
        "license": "Apache-2.0",
    }
    shutil.rmtree(folder, ignore_errors=True)
    save_bundle(folder, unet.build({}), metadata, "# Untrained\n")
    return folder


def command(t1: Path, output: Path, model: str | Path, device: str) -> list[str]:
    return [
        "synthesize",
        str(t1),
        "-o",
        str(output),
        "--model",
        str(model),
        "--device",
        device,
        "--progress",
        "none",
    ]


def run_command(arguments: Sequence[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "MRI2PETLib.cli", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    if done.returncode:
        raise SystemExit(done.stderr.decode(errors="replace"))


def measure_imports(repeats: int) -> dict[str, Any]:
    """Seconds of a Python process that imports and ends, without those of Python itself."""
    available = {
        n: code for n, code in IMPORTS.items() if "monai" not in n or importlib.util.find_spec("monai")
    }
    times = interleaved(
        {
            n: lambda code=code: subprocess.run([sys.executable, "-c", code], check=True)
            for n, code in available.items()
        },
        repeats,
    )
    bare = float(np.median(times["python"].wall))
    return {name: float(np.median(timing.wall)) - bare * (name != "python") for name, timing in times.items()}


@contextmanager
def timed_stages(seconds: dict[str, Times]) -> Iterator[None]:
    """Measure the functions of :data:`STAGES`. Processor seconds are those of all threads of the process."""
    before = []
    for stage, (module_name, function_name) in STAGES.items():
        module = importlib.import_module(module_name)
        function = getattr(module, function_name)
        before.append((module, function_name, function))

        def measured(*args: Any, _stage: str = stage, _function: Callable = function, **kwargs: Any) -> Any:
            wall, cpu = time.perf_counter(), time.process_time()
            try:
                return _function(*args, **kwargs)
            finally:
                times = seconds.setdefault(_stage, Times())
                times.wall.append(time.perf_counter() - wall)
                times.cpu.append(time.process_time() - cpu)

        setattr(module, function_name, wraps(function)(measured))
    try:
        yield
    finally:
        for module, name, function in before:
            setattr(module, name, function)


def measure_stages(t1: Path, model: Path, folder: Path, repeats: int, device: str) -> dict[str, Any]:
    """Wall and processor seconds of each stage in a warm process."""
    arguments = command(t1, folder, model, device)
    shutil.rmtree(folder, ignore_errors=True)
    cli.main(arguments)
    seconds: dict[str, Times] = {}
    with timed_stages(seconds):
        for _ in range(repeats):
            shutil.rmtree(folder)
            cli.main(arguments)
    return {stage: seconds[stage].summary() for stage in STAGES if stage in seconds}


def measure_end_to_end(
    inputs: dict[str, Path], models: dict[str, str | Path], folder: Path, repeats: int, device: str
) -> list[dict[str, Any]]:
    """From the shell prompt to files on disk; a second case in one process; the peak memory."""
    runs = {}
    for case, t1 in inputs.items():
        for name, model in models.items():
            runs[(case, name)] = (t1, model, folder / f"{t1.name}-{Path(str(model)).name}")

    def run(t1: Path, model: str | Path, output: Path) -> None:
        shutil.rmtree(output, ignore_errors=True)
        run_command(command(t1, output, model, device))

    times = interleaved({str(key): lambda args=args: run(*args) for key, args in runs.items()}, repeats)
    rows = []
    for key, (t1, model, output) in runs.items():
        twice = in_child(Path(__file__), "ahead", device, model, output / "twice", t1, t1)
        rows.append(
            {
                "case": key[0],
                "model": key[1],
                **times[str(key)].summary(),
                "second_s": twice["seconds"][1],
                "peak_mb": twice["peak_mb"],
            }
        )
    return rows


def measure_batches(t1: Path, model: Path, folder: Path, counts: list[int], device: str) -> dict[str, Any]:
    """Seconds and memory of batches, with the next case prepared ahead and without."""
    rows = []
    for count in counts:
        images = folder / f"images-{count}"
        shutil.rmtree(images, ignore_errors=True)
        images.mkdir(parents=True)
        for number in range(count):
            shutil.copy(t1, images / f"person{number:03d}_T1w.nii.gz")
        row: dict[str, Any] = {"cases": count}
        for mode in ("inline", "ahead"):
            if mode == "inline" and count > 10:
                continue
            batch = in_child(Path(__file__), mode, device, model, folder / f"{mode}-{count}", images)
            row[f"{mode}_s"], row[f"{mode}_peak_mb"] = batch["seconds"][0], batch["peak_mb"]
        rows.append(row)
        shutil.rmtree(folder)
    measured = {"rows": rows}
    if len(rows) > 1:
        measured["exponent_of_cases"] = exponent(counts, [row["ahead_s"] for row in rows])
    return measured


def main() -> None:
    mode, device, model, output, *images = sys.argv[1:]
    if mode == "inline":
        shared_cases.OneAhead = Inline  # type: ignore[misc]
    seconds = []
    for number, image in enumerate(images):
        began = time.perf_counter()
        if cli.main(command(Path(image), Path(output) / str(number), model, device)):
            sys.exit("a case failed")
        seconds.append(time.perf_counter() - began)
    print(json.dumps({"seconds": seconds, "peak_mb": peak_memory_mb()}))


if __name__ == "__main__":
    main()
