"""Say what is installed, which device computes, and how fast it is here."""

from __future__ import annotations

import argparse
import os
import platform
import time

from MRI2PETLib.progress import Reporter

HELP = "what is installed, which device, how fast"
PACKAGES = (
    "torch",
    "SimpleITK",
    "numpy",
    "scipy",
    "nibabel",
    "pydicom",
    "safetensors",
    "matplotlib",
    "pandas",
    "tqdm",
    "lightning",
    "scikit-learn",
    "slicer-core",
)
OPTIONAL = ("lightning", "scikit-learn", "slicer-core")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="auto", help="device to time (default: %(default)s)")


def run(args: argparse.Namespace, reporter: Reporter) -> int:
    from importlib import metadata

    from MRI2PETLib import __version__
    from MRI2PETLib.errors import MRI2PETError
    from MRI2PETLib.model_store import DEFAULT_MODEL, find_bundle, list_bundles
    from MRI2PETLib.preprocessing.extractors import available_backends

    problems: list[str] = []
    reporter.say(f"SlicerMRI2PET {__version__}, Python {platform.python_version()}, {platform.platform()}")
    for name in PACKAGES:
        try:
            reporter.say(f"  {name:<14} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            reporter.say(f"  {name:<14} not installed{' (optional)' if name in OPTIONAL else ''}")
            if name not in OPTIONAL:
                problems.append(f"{name} is not installed: run pip install mri2pet.")
    reporter.say("brain extraction:")
    for name, status in available_backends().items():
        reporter.say(f"  {name:<14} {status}")
    bundles, broken = list_bundles()
    problems += broken
    reporter.say("models:        " + (", ".join(bundle.id for bundle in bundles) or "none"))
    try:
        reporter.say(f"device:        {_device_speed(args.device, DEFAULT_MODEL)}")
        find_bundle(DEFAULT_MODEL)
    except MRI2PETError as error:
        problems.append(str(error))
    for problem in problems:
        reporter.warning(problem)
    reporter.say(
        "Everything that is needed is there." if not problems else f"{len(problems)} problem(s), see above."
    )
    return 1 if problems else 0


def _device_speed(device: str, model: str) -> str:
    """Name of the device and the seconds that the default model's network takes on it."""
    import torch

    from MRI2PETLib.devices import describe_device, pick_device
    from MRI2PETLib.model_store import find_bundle
    from MRI2PETLib.models import get_family
    from MRI2PETLib.progress import no_progress

    chosen = pick_device(device)
    bundle = find_bundle(model)
    network = bundle.networks()[0].to(chosen)
    source = torch.rand(1, 1, *bundle.space.size[::-1], device=chosen)
    predict = get_family(bundle.family).predict
    seconds = []
    for _ in range(2):  # the first run warms up
        begin = time.perf_counter()
        predict(network, source, samples=1, steps=0, seed=0, progress=no_progress)[0].cpu()
        seconds.append(time.perf_counter() - begin)
    cores = f", {os.cpu_count()} cores, {torch.get_num_threads()} threads" if chosen.type == "cpu" else ""
    return f"{describe_device(chosen)}{cores}: the network of {model} takes {seconds[-1]:.2f} s"
