"""Small inputs for every command of ``mri2pet``, and the commands: what ``kills.py`` interrupts."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

TESTING = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTING / "library"), str(TESTING / "training")]

SPHERES = ("--atlas", "cortical-spheres", "--reference", "*cerebellum*")
PARTICIPANT = ("bids", "{}/bids", "{out}", "participant")
SUVR = (*PARTICIPANT, "--analysis", "suvr", *SPHERES, "--composite", "*frontal*")
SYNTHESISED = (*PARTICIPANT, "--model", "{}/a")
SCORE = (
    *("normative", "score", "{}/controls/case3/real.nii.gz", "--t1", "{}/controls/case3/T1.nii.gz"),
    *("--synthetic", "{}/controls/case3/synthetic.nii.gz", "--norm", "{}/norm"),
)
TRAIN = ("train", "{}/people", "--resume", "--preset", "{}/preset.json", "--folds", "2", "--device", "cpu")


@dataclass(frozen=True)
class Command:
    """A command line on a folder of its own.

    :ivar arguments: ``{}`` stands for the folder of the inputs, ``{out}`` for that of the outputs; where that
        is not among them, ``-o`` is put behind them.
    :ivar other: what an earlier run was given instead of the last arguments, or ``None``: each run starts in
        an empty folder or in that of an earlier result.
    :ivar before: arguments of a command that each run goes on from.
    :ivar weight: how many of the kills and signals it gets, relative to the others.
    """

    arguments: tuple[str, ...]
    other: tuple[str, ...] | None = None
    before: tuple[str, ...] = ()
    weight: float = 1.0
    is_import: bool = False

    def line(self, inputs: Path, output: Path, *, earlier: bool = False) -> list[str]:
        arguments = self.arguments
        if earlier and self.other is not None:
            arguments = (*arguments[: len(arguments) - len(self.other)], *self.other)
        return self._filled(arguments, inputs, output)

    def line_before(self, inputs: Path, output: Path) -> list[str]:
        """The command line of ``before``; empty for none."""
        return self._filled(self.before, inputs, output) if self.before else []

    def _filled(self, arguments: tuple[str, ...], inputs: Path, output: Path) -> list[str]:
        line = [text.replace("{out}", str(output)).replace("{}", str(inputs)) for text in arguments]
        if self.is_import:  # into $MRI2PET_MODELS, and without --progress
            return line
        target = [] if "{out}" in arguments else ["-o", str(output)]
        return [*line, *target, "--progress", "none"]


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
    "bids participant": Command(SYNTHESISED, ("--model", "{}/b")),
    "bids group": Command(("bids", "{}/bids", "{out}", "group"), before=SYNTHESISED, weight=0.3),
    "bids, suvr": Command(SUVR, ("--composite", "*parietal*"), weight=0.3),
    "bids, evaluate": Command(
        (*PARTICIPANT, "--analysis", "evaluate", "--to-synthetic-unit", "--fwhm-mm", "4"),
        ("--fwhm-mm", "6"),
        before=SYNTHESISED,
        weight=0.3,
    ),
    "bids, score": Command(
        (*PARTICIPANT, "--analysis", "score", "--norm", "{}/norm", "--with-synthetic", "--register", "auto"),
        ("--register", "header"),
        before=SYNTHESISED,
        weight=0.3,
    ),
    "bids group, suvr": Command(
        ("bids", "{}/bids", "{out}", "group", "--analysis", "suvr"), before=SUVR, weight=0.3
    ),
    "normative build": Command(
        ("normative", "build", "{}/controls", "--allow-few", "--fwhm-mm", "6"), ("--fwhm-mm", "8"), weight=0.3
    ),
    "normative score": Command((*SCORE, "--register", "auto"), ("--register", "header"), weight=0.3),
    "simulate": Command(("simulate", "-n", "2", "--spacing-mm", "6")),
    "train": Command((*TRAIN, "--workers", "1")),
    "train, 2 workers": Command((*TRAIN, "--workers", "2"), weight=0.1),
    "models import": Command(("models", "import", "--replace", "{}/a"), ("{}/b",), is_import=True),
    "demo": Command(("demo",), weight=0.1),
}


def write_controls(folder: Path, person: Path) -> None:
    """A run of four people of one anatomy, whose registration is remembered; their PETs differ by noise."""
    import numpy as np
    import SimpleITK as sitk

    from evaluation_cases import like, write_table
    from MRI2PETLib.images.io import write_image

    rows = []
    for number in range(4):
        own = Path(shutil.copytree(person, folder / f"case{number}"))
        real = sitk.ReadImage(str(own / "real.nii.gz"))
        noise = np.random.default_rng(number).normal(1, 0.2, real.GetSize()[::-1])
        values = (sitk.GetArrayFromImage(real) * noise).astype(np.float32)
        write_image(like(values, real), own / "real.nii.gz", {"Units": "SUVR", "Simulated": True})
        names = {"synthetic": "synthetic", "pet": "real", "t1": "T1"}
        files = {role: f"case{number}/{name}.nii.gz" for role, name in names.items()}
        rows.append(
            {"case": f"case{number}", "subject": f"p{number}", "fold": 0, **files, "group": "control"}
        )
    write_table(folder / "predictions.csv", rows)


def write_inputs(folder: Path) -> None:
    """Simulated people on 6 mm, two models with random weights, a preset and a table of cases."""
    import torch

    from bundles import tiny_metadata
    from evaluation_cases import write_run
    from MRI2PETLib.cli import main
    from MRI2PETLib.models import unet
    from MRI2PETLib.models.bundle import save_bundle
    from small_datasets import PRESET, write_dataset

    write_run(folder / "run", [1, 2])
    write_dataset(folder / "people", ["p1", "p2", "p3", "p4"])
    for number, name in enumerate("ab"):
        torch.manual_seed(number)
        metadata = tiny_metadata()
        save_bundle(folder / name, unet.build(metadata["network"]), metadata, f"# {name}\n")
    for name in ("case000", "case001"):
        target = folder / "bids" / f"sub-{name}" / "anat" / f"sub-{name}_T1w.nii.gz"
        target.parent.mkdir(parents=True)
        shutil.copy(folder / "run" / name / "T1.nii.gz", target)
        pet = folder / "bids" / f"sub-{name}" / "pet" / f"sub-{name}_trc-PBR28_pet"
        pet.parent.mkdir()
        for end in (".nii.gz", ".json"):
            shutil.copy(folder / "run" / name / f"suv{end}", f"{pet}{end}")
    about = {"Name": "simulated", "BIDSVersion": "1.10.0"}
    (folder / "bids" / "dataset_description.json").write_text(json.dumps(about))
    write_controls(folder / "controls", folder / "run" / "case000")
    norm = ["normative", "build", str(folder / "controls"), "-o", str(folder / "norm"), "--allow-few"]
    assert main([*norm, "--progress", "none"]) == 0
    (folder / "preset.json").write_text(json.dumps({**PRESET, "epochs": 3}))
    with (folder / "cases.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["case", "pet", "t1"])
        for name in ("case000", "case001"):
            person = folder / "run" / name
            writer.writerow([name, person / "suv.nii.gz", person / "T1.nii.gz"])
