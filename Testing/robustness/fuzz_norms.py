"""Norms from strangers: ``norm.json``, maps and labels damaged, with checksums that fit half of the time."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from damage import Rng, damaged, damaged_json, pick

if TYPE_CHECKING:
    from MRI2PETLib.normative.norm import Norm

PEOPLE = 12


def small_norm(**changes: Any) -> Norm:
    """A norm of random people on 12 mm, with a covariate.

    :param changes: of what it says of itself.
    """
    from MRI2PETLib.core.progress import no_progress
    from MRI2PETLib.evaluation.spaces import mni_grid
    from MRI2PETLib.images.grid import Grid, resample
    from MRI2PETLib.normative.build import assemble, fit_norm, regions_on
    from MRI2PETLib.normative.design import NormCovariate, design_row
    from MRI2PETLib.normative.norm import PredictedBy
    from MRI2PETLib.normative.person import RegionSet, read_out
    from MRI2PETLib.normative.settings import NormSettings

    whole = Grid.of(mni_grid())
    grid = Grid.covering((0.0, 17.0, 20.0), tuple(n * s for n, s in zip(whole.size, whole.spacing_mm)), 12.0)
    inside = resample(mni_grid(), grid)
    template = _values(inside) > 0.5
    age = NormCovariate("age", (), (60.0,), 40.0, 80.0)
    parcellations = regions_on(grid.image(template.astype(np.uint8)))
    regions = RegionSet.of(parcellations)
    scans = {
        f"person{n}": [read_out(_person(template, n), regions, inside, 0.0).inside(template)]
        for n in range(PEOPLE)
    }
    ages = np.linspace(40, 80, PEOPLE)
    design = np.array([design_row([age], {"age": value}) for value in ages])
    about: dict[str, Any] = {
        "unit": "SUVR", "reference_region": "brain mask", "tracer": "PBR28", "group": "control",
        "n_people": PEOPLE, "n_scans": PEOPLE, "simulated": True, "demonstration": False, "fwhm_mm": 0.0,
        "threshold": 3.0, "covariates": (age,), "predicted_by": PredictedBy("lab"), "notes": ("few",),
        "source": "x", "request": "y", **changes,
    }  # fmt: skip
    data = assemble(scans, design, template, regions)
    norm = fit_norm(data, parcellations, about, NormSettings(fwhm_mm=0.0), no_progress)
    return replace(norm, grid=grid.image(data.inside.astype(np.uint8)))


def write(folder: Path) -> None:
    """One norm."""
    from MRI2PETLib.normative.card import write_norm_card, write_norm_regions
    from MRI2PETLib.normative.norm_folder import write_norm

    norm = small_norm()
    (folder / "norm").mkdir()
    write_norm_card(folder / "norm", norm)
    write_norm_regions(folder / "norm", norm)
    write_norm(folder / "norm", norm)


def _values(image: Any) -> np.ndarray:
    import SimpleITK as sitk

    return np.asarray(sitk.GetArrayFromImage(image))


def _person(inside: np.ndarray, seed: int) -> Any:
    from MRI2PETLib.normative.person import MniPerson

    rng = np.random.default_rng(seed)
    real, predicted = (
        np.where(inside, 1 + 0.2 * rng.standard_normal(inside.shape), np.nan) for _ in range(2)
    )
    return MniPerson(real, predicted, inside)


def spoil(rng: Rng, sound: Path, work: Path) -> Path:
    """Of the JSON most often."""
    from MRI2PETLib.core.checksums import sha256_of, sha256_of_value

    folder = Path(shutil.copytree(sound / "norm", work / "norm"))
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.nii.gz"))
    path = folder / pick(rng, ["norm.json"] * 3 * len(names) + names)
    content = path.read_bytes()
    path.write_bytes(
        damaged_json(rng, content) if path.suffix == ".json" else damaged(rng, content, path.name)
    )
    if rng.random() < 0.8:  # the checksums of whoever damaged it on purpose
        try:
            norm = json.loads((folder / "norm.json").read_text())
            norm.pop("checksum", None)
            norm["files"] |= {n: sha256_of(folder / n) for n in names if (folder / n).is_file()}
            signed = {**norm, "checksum": sha256_of_value(norm)}
            (folder / "norm.json").write_text(json.dumps(signed))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            pass  # no norm any more
    return folder


def use(path: Path) -> None:
    """Read it, and compare somebody with it: every score is a number or none."""
    from MRI2PETLib.normative.card import write_norm_card, write_norm_regions
    from MRI2PETLib.normative.design import design_row
    from MRI2PETLib.normative.norm_folder import read_norm
    from MRI2PETLib.normative.score import score_person

    norm = read_norm(path)
    values = {c.name: c.names[0] if c.names else c.low for c in norm.about.covariates}
    scores = score_person(norm, _person(norm.inside, 99), design_row(norm.about.covariates, values))
    for z in scores.z.values():
        there = z[np.isfinite(z)]
        assert not np.isinf(z).any() and (not there.size or np.abs(there).max() < 40)
    rows = [row._asdict() for row in (*scores.regions, *scores.asymmetry, *scores.clusters)]
    assert json.dumps(rows, allow_nan=False)
    write_norm_card(path, norm)
    write_norm_regions(path, norm)
