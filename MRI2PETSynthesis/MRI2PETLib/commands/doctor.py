"""Say what is installed and whether it works, which device computes, and how fast it is here."""

from __future__ import annotations

import argparse
import os
import platform
import time
from typing import Any

from MRI2PETLib.core.progress import Reporter

HELP = "what is installed, which device, how fast"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="auto", help="device to time")
    parser.add_argument(
        "--need",
        nargs="+",
        choices=("diffusion", "training"),
        default=[],
        help="also require what diffusion models or training need",
    )


def run(args: argparse.Namespace, reporter: Reporter) -> int:
    """Import all that is needed, time the network. The result names versions and devices.

    :raises DependencyError: if something that is needed is missing or does not work.
    """
    from MRI2PETLib import __version__
    from MRI2PETLib.core.errors import DependencyError, MRI2PETError
    from MRI2PETLib.installation.packages import read_packages
    from MRI2PETLib.models.store import list_bundles
    from MRI2PETLib.preprocessing.brain_extractors import available_extractors
    from MRI2PETLib.synthesis.settings import DEFAULT_MODEL

    problems: list[str] = []
    reporter.say(f"SlicerMRI2PET {__version__}, Python {platform.python_version()}, {platform.platform()}")
    needs = read_packages(*args.need)
    names = {package.name for package in needs}
    packages = (*needs, *(p for p in read_packages("diffusion", "training") if p.name not in names))
    for number, package in enumerate(packages):
        reporter.progress(number, len(packages) + 2, f"Importing {package.name}")
        needed = package in needs
        if needed and (problem := _problem(package)):
            problems.append(problem)
        version = package.installed if package.installed is not None else "not installed"
        reporter.say(f"  {package.name:<14} {version}{'' if needed else f' (for {package.group})'}")
    reporter.say("brain extraction:")
    for name, status in available_extractors().items():
        reporter.say(f"  {name:<14} {status}")
    if others := _others_with_our_command():
        reporter.warning(
            f"{', '.join(others)} installs a command mri2pet too, which may take the place of this one: "
            "call this one slicer-mri2pet, or python -m MRI2PETLib."
        )
    bundles, broken = list_bundles()
    for message in broken:
        reporter.warning(message)
    reporter.say("models:        " + (", ".join(bundle.id for bundle in bundles) or "none"))
    if not problems:
        reporter.progress(len(packages), len(packages) + 2, "Timing the network")
        try:
            rows = _devices(args.device, DEFAULT_MODEL)
        except MRI2PETError as error:
            problems.append(str(error))
    if problems:
        raise DependencyError(
            "\n".join(problems), "Install what is missing: section Setup in Slicer, or pip install mri2pet."
        )
    reporter.say(f"device:        {rows['speed']}\nEverything that is needed is there.")
    reporter.result({"packages": {p.name: p.installed for p in packages}, **rows})
    return 0


def _others_with_our_command() -> list[str]:
    """Names of installed packages that bring a command ``mri2pet`` too."""
    from MRI2PETLib.core.installed import entry_points

    scripts = entry_points("console_scripts")
    return sorted({package for package, script in scripts if script.name == "mri2pet"} - {"mri2pet"})


def _problem(package: Any) -> str:
    """Why a package cannot be used; empty when it can. Only an import tells whether its files are whole."""
    from importlib import import_module

    import numpy as np

    if package.state != "ok":
        return f"{package.name} is {package.state} ({package.version_range} is needed)."
    try:
        module = import_module(package.module)
        if package.name == "torch":
            np.from_dlpack(module.zeros(1))  # both must be whole to exchange an array
    except Exception as error:  # noqa: BLE001  whatever a broken package raises
        return f"{package.name} {package.installed} is installed but does not work: {error}"
    return ""


def _devices(device: str, model: str) -> dict[str, Any]:
    """The devices, the one that computes, and the seconds that the model's networks take on it."""
    import torch

    from MRI2PETLib.core.devices import available_devices, describe_device, pick_device
    from MRI2PETLib.core.progress import no_progress
    from MRI2PETLib.models import get_family
    from MRI2PETLib.models.store import find_bundle

    torch_device = pick_device(device)
    bundle = find_bundle(model)
    networks = [network.to(torch_device) for network in bundle.networks()]
    source = torch.rand(1, 1, *bundle.space.size[::-1], device=torch_device)
    predict = get_family(bundle.family).predict
    seconds = 0.0
    for _ in range(2):  # the first run warms up
        begin = time.perf_counter()
        for network in networks:
            predict(network, source, samples=1, steps=0, seed=0, progress=no_progress)[0].cpu()
        seconds = time.perf_counter() - begin
    cores = (
        f", {os.cpu_count()} cores, {torch.get_num_threads()} threads" if torch_device.type == "cpu" else ""
    )
    speed = f"{describe_device(torch_device)}{cores}: {model} takes {seconds:.2f} s"
    return {"devices": available_devices(), "device": str(torch_device), "seconds": seconds, "speed": speed}
