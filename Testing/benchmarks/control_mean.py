"""Each of some PETs in MNI space against the mean of the controls, by ``mri2pet evaluate``.

    python Testing/benchmarks/control_mean.py MAPS -o OUT

``MAPS`` holds one PET a person in MNI space, all on one grid, with ``control`` in the names of the controls:
the public maps of Lois et al. 2018 (doi:10.5281/zenodo.1174364) are such. The mean of the controls takes the
place of a synthetic PET, the T1 of the template that of the person. So nothing is registered, and the three
spaces of the comparison are one: what is measured is the readout on real maps.
"""

from __future__ import annotations

import argparse
import csv
import re
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from MRI2PETLib.cli import main as mri2pet
from MRI2PETLib.core.files import read_json
from MRI2PETLib.images.grid import Grid, resample
from MRI2PETLib.templates.icbm152 import load_template

_REGIONS, _PAIRS = 4, ("putamen", "pallidum", "caudate", "thalamus")


def write_images(maps: list[Path], out: Path) -> dict[str, Path]:
    """T1, mask and, for everybody else than the controls, PET and their mean; folders by person."""
    images = {re.split(r"[_.]", path.name)[0]: sitk.ReadImage(str(path), sitk.sitkFloat32) for path in maps}
    template, grid = load_template(), Grid.of(next(iter(images.values())))
    values = {name: sitk.GetArrayFromImage(image) for name, image in images.items()}
    brain = sitk.GetArrayFromImage(resample(template.mask, grid, interpolator=sitk.sitkNearestNeighbor)) != 0
    brain &= np.all([v > 0 for v in values.values()], axis=0)
    sitk.WriteImage(resample(template.t1, grid), str(out / "T1.nii.gz"))
    sitk.WriteImage(grid.image(brain.astype(np.uint8)), str(out / "mask.nii.gz"))
    controls = [v for name, v in values.items() if "control" in name]
    folders = {}
    for name, own in ((n, v) for n, v in values.items() if "control" not in n):
        folders[name] = out / name
        folders[name].mkdir(parents=True, exist_ok=True)
        mean = np.where(brain, np.mean(controls, axis=0), 0)
        for file, array in (("mean", mean), ("pet", own)):
            sitk.WriteImage(grid.image(array.astype(np.float32)), str(folders[name] / f"{file}.nii.gz"))
    return folders


def summary(name: str, folder: Path) -> str:
    """The row of a person: figures in all spaces, regions with the largest excess, asymmetry real / mean."""
    spaces = read_json(folder / "metrics.json")["spaces"]
    own = {space: rows["network"] for space, rows in spaces.items()}
    with (folder / "regions.csv").open(encoding="utf-8", newline="") as stream:
        rows = [r for r in csv.DictReader(stream) if (r["predictor"], r["scale"]) == ("network", "stated")]
    levels = [(r["region"], float(r["mean_real"]), float(r["mean_predicted"])) for r in rows]
    levels = sorted({row for row in levels if row[0] != "whole brain"}, key=lambda row: row[2] - row[1])
    excess = ", ".join(f"{region} +{100 * (a / b - 1):.0f} %" for region, a, b in levels[:_REGIONS])
    with (folder / "asymmetry.csv").open(encoding="utf-8", newline="") as stream:
        pairs = {r["region"]: r for r in csv.DictReader(stream) if r["predictor"] == "network"}
    sides = ", ".join(
        f"{p} {float(pairs[p]['real_percent']):+.1f} / {float(pairs[p]['synthetic_percent']):+.1f}"
        for p in _PAIRS
    )
    r = " / ".join(f"{values['pearson_r']:.4f}" for values in own.values())
    mse = " / ".join(f"{values['mse']:.4f}" for values in own.values())
    return f"| {name} | {r} | {mse} | {excess} | {sides} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("maps", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    folders = write_images(sorted(args.maps.glob("*.nii.gz")), args.output)
    print(f"| person | r ({' / '.join(('native', 'affine', 'non-linear'))}) | MSE | excess | asymmetry (%) |")
    for name, folder in folders.items():
        images = {"synthetic": folder / "mean.nii.gz", "pet": folder / "pet.nii.gz"}
        images |= {"t1": args.output / "T1.nii.gz", "mask": args.output / "mask.nii.gz"}
        units = ["--synthetic-unit", "SUVR", "--pet-unit", "SUVR", "--progress", "none"]
        arguments = [f"--{role}={path}" for role, path in images.items()]
        if mri2pet(["evaluate", *arguments, *units, "-o", str(folder / "evaluation")]):
            raise SystemExit(f"{name} could not be evaluated.")
        print(summary(name, folder / "evaluation"))


if __name__ == "__main__":
    main()
