"""Each of some PETs in MNI space against a norm of the controls: which regions come first.

    python Testing/benchmarks/control_norm.py MAPS

``MAPS`` holds one PET a person in MNI space, all on one grid, with ``control`` in the names of the controls:
the public maps of Lois et al. 2018 (doi:10.5281/zenodo.1174364) are such, of four controls and four people
with Huntington's disease. They are over their mean in the brain. There is no T1: the mean of the other
controls takes the place of a prediction, and nothing is registered. Prints the regions with the highest z.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from MRI2PETLib.core.progress import no_progress
from MRI2PETLib.evaluation.spaces import mni_grid
from MRI2PETLib.images.grid import Grid, resample
from MRI2PETLib.normative.build import ALL_VOXELS, assemble, fit_norm, regions_on
from MRI2PETLib.normative.norm import Norm, PredictedBy
from MRI2PETLib.normative.person import MniPerson, RegionSet, read_out
from MRI2PETLib.normative.score import score_person
from MRI2PETLib.normative.settings import NormSettings

LEAST = 0.05  # SUV: below it nothing was measured


def over_mean(path: Path) -> np.ndarray:
    """The map of a person over its mean in the brain, [k, j, i]; NaN where nothing was measured."""
    grid = mni_grid()
    values = sitk.GetArrayFromImage(resample(sitk.ReadImage(str(path), sitk.sitkFloat32), Grid.of(grid)))
    values[(sitk.GetArrayViewFromImage(grid) == 0) | (values < LEAST)] = np.nan
    return values / np.nanmean(values)


def person(name: str, maps: dict[str, np.ndarray], controls: list[str]) -> MniPerson:
    """Beside the mean of the other controls."""
    predicted = np.mean([maps[control] for control in controls if control != name], axis=0)
    return MniPerson(maps[name], predicted, sitk.GetArrayFromImage(mni_grid()) != 0)


def norm_of(people: dict[str, MniPerson]) -> Norm:
    grid, settings = mni_grid(), NormSettings(allow_few=True)
    parcellations = regions_on(grid)
    regions, template = RegionSet.of(parcellations), sitk.GetArrayFromImage(grid) != 0
    scans = {
        name: [read_out(own, regions, grid, settings.fwhm_mm).inside(template)]
        for name, own in people.items()
    }
    names = ("tracer", "group", "source", "request")
    about: dict[str, Any] = {"unit": "SUVR", "reference_region": "brain mask", **dict.fromkeys(names, "")}
    about |= {"n_people": len(people), "n_scans": len(people), "demonstration": True, "simulated": False}
    about |= {"fwhm_mm": settings.fwhm_mm, "threshold": settings.threshold, "covariates": ()}
    about |= {"predicted_by": PredictedBy(), "notes": ()}
    design = np.ones((len(people), 1))
    return fit_norm(assemble(scans, design, template, regions), parcellations, about, settings, no_progress)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("maps", type=Path)
    folder = parser.parse_args().maps
    maps = {path.name.split("_")[0]: over_mean(path) for path in sorted(folder.glob("*.nii.gz"))}
    controls = [name for name in maps if "control" in name]
    people = {name: person(name, maps, controls) for name in maps}
    norm = norm_of({name: people[name] for name in controls})
    print(f"{len(controls)} controls; explained: {norm.about.explained[ALL_VOXELS].share:.2f}")
    for name in maps:
        if name in controls:
            continue
        rows = [row for row in score_person(norm, people[name], np.ones(1)).regions if row.z_unconditional]
        own = sorted(
            (r for r in rows if r.parcellation == "paper21"), key=lambda r: -(r.z_unconditional or 0)
        )
        print(f"{name}:", ", ".join(f"{row.region} {row.z_unconditional:.1f}" for row in own[:4]))


if __name__ == "__main__":
    main()
