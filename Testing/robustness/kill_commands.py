"""Small inputs for every command of ``mri2pet``, and the commands: what ``kills.py`` interrupts."""

from __future__ import annotations

import csv
import json
import sys
from dataclasses import dataclass
from pathlib import Path

TESTING = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTING / "library"), str(TESTING / "training")]

SPHERES = ("--atlas", "cortical-spheres", "--reference", "*cerebellum*")
TRAIN = ("train", "{}/people", "--resume", "--preset", "{}/preset.json", "--folds", "2", "--device", "cpu")


@dataclass(frozen=True)
class Command:
    """A command line on a folder of its own.

    :ivar arguments: without ``-o``; ``{}`` stands for the folder of the inputs.
    :ivar other: what an earlier run was given instead of the last arguments, or ``None``: each run starts in
        an empty folder or in that of an earlier result.
    :ivar weight: how many of the kills and signals it gets, relative to the others.
    """

    arguments: tuple[str, ...]
    other: tuple[str, ...] | None = None
    weight: float = 1.0
    is_import: bool = False

    def line(self, inputs: Path, output: Path, *, earlier: bool = False) -> list[str]:
        arguments = self.arguments
        if earlier and self.other is not None:
            arguments = (*arguments[: len(arguments) - len(self.other)], *self.other)
        line = [argument.replace("{}", str(inputs)) for argument in arguments]
        if self.is_import:  # into $MRI2PET_MODELS, and without --progress
            return line
        return [*line, "-o", str(output), "--progress", "none"]


COMMANDS = {
    "synthesize": Command(
        ("synthesize", "{}/run/case000/T1.nii.gz", "--pet", "{}/run/case000/real.nii.gz", "--model", "{}/a"),
        ("--model", "{}/b"),
    ),
    "synthesize, batch": Command(
        ("synthesize", "{}/run/case000/T1.nii.gz", "{}/run/case001/T1.nii.gz", "--model", "{}/a"),
        ("--model", "{}/b"),
    ),
    "evaluate": Command(
        (
            *("evaluate", "--synthetic", "{}/run/case000/synthetic.nii.gz"),
            *("--pet", "{}/run/case000/real.nii.gz", "--t1", "{}/run/case000/T1.nii.gz", "--fwhm-mm", "4"),
        ),
        ("--fwhm-mm", "6"),
    ),
    "evaluate --run": Command(("evaluate", "--run", "{}/run", "--fwhm-mm", "4"), ("--fwhm-mm", "6")),
    "suvr --t1": Command(
        (
            *("suvr", "{}/run/case000/suv.nii.gz", "--t1", "{}/run/case000/T1.nii.gz", *SPHERES),
            *("--composite", "*frontal*"),
        ),
        ("--composite", "*parietal*"),
    ),
    "suvr": Command(
        ("suvr", "{}/run/case000/suv.nii.gz", *SPHERES, "--composite", "*frontal*"),
        ("--composite", "*parietal*"),
    ),
    "suvr --cases": Command(
        ("suvr", "--cases", "{}/cases.csv", *SPHERES, "--composite", "*frontal*"),
        ("--composite", "*parietal*"),
    ),
    "simulate": Command(("simulate", "-n", "2", "--spacing-mm", "6")),
    "train": Command((*TRAIN, "--workers", "1")),
    "train, 2 workers": Command((*TRAIN, "--workers", "2"), weight=0.1),
    "models import": Command(("models", "import", "--replace", "{}/a"), ("{}/b",), is_import=True),
    "demo": Command(("demo",), weight=0.1),
}


def write_inputs(folder: Path) -> None:
    """Simulated people on 6 mm, two models with random weights, a preset and a table of cases."""
    import torch

    from bundles import tiny_metadata
    from evaluation_cases import write_run
    from MRI2PETLib.models import unet
    from MRI2PETLib.models.bundle import save_bundle
    from small_datasets import PRESET, write_dataset

    write_run(folder / "run", [1, 2])
    write_dataset(folder / "people", ["p1", "p2", "p3", "p4"])
    for number, name in enumerate("ab"):
        torch.manual_seed(number)
        metadata = tiny_metadata()
        save_bundle(folder / name, unet.build(metadata["network"]), metadata, f"# {name}\n")
    (folder / "preset.json").write_text(json.dumps({**PRESET, "epochs": 3}))
    with (folder / "cases.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["case", "pet", "t1"])
        for name in ("case000", "case001"):
            person = folder / "run" / name
            writer.writerow([name, person / "suv.nii.gz", person / "T1.nii.gz"])
