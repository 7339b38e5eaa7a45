"""What a norm finds: simulated controls, and people with an increase that the T1 does not show.

A small network is cross-validated on controls, a norm is built from the people that it had not seen, and
other people are scored as they are and with an increase planted into their real PET. Prints the tables; what
is finished is kept in WORK.

    python Testing/benchmarks/normative.py WORK [--controls 40] [--people 20]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import SimpleITK as sitk
from scipy import ndimage, stats

from MRI2PETLib.cli import main as mri2pet
from MRI2PETLib.core.files import make_folder, write_json
from MRI2PETLib.core.progress import Reporter
from MRI2PETLib.evaluation import spaces
from MRI2PETLib.images.grid import FWHM_PER_SIGMA
from MRI2PETLib.normative.case import load_person
from MRI2PETLib.normative.norm import Norm
from MRI2PETLib.normative.norm_folder import read_norm
from MRI2PETLib.normative.person import KINDS, MniPerson, person_in_mni
from MRI2PETLib.normative.score import Scores, score_person
from MRI2PETLib.normative.settings import ScorePaths, ScoreSettings
from MRI2PETLib.simulation.dataset import DatasetSettings, write_dataset

SPACING_MM, MAPS_MM, PET_FWHM_MM = 6.0, 4.0, 6.0
CONTRASTS = (0.1, 0.2, 0.4)
PRESET = {
    "description": "Small, for the study of norms",
    "family": "unet",
    "network": {"n_channels": 8, "n_levels": 2},
    "model_space": {
        "size": [24, 24, 24],
        "spacing_mm": 8.0,
        "placement": "head",
        "source": "mask-p1-p99",
        "target": "suvr-half",
    },
    "loss": {"loss_region": "brain"},
    "learning_rate": 0.01,
    "schedule": "cosine",
    "epochs": 16,
    "batch_size": 2,
    "gradient_clip": 1.0,
    "ema_decay": 0.9,
    "patience": 0,
    "select": "best",
    "precision": "fp32",
    "gradient_checkpointing": False,
    "augmentation": {"flip": 0.5},
}


class Site(NamedTuple):
    """Where an increase is planted: a region of the norm, or a sphere about an MNI point (RAS mm)."""

    name: str
    region: str = ""
    centre: tuple[float, float, float] = (0.0, 0.0, 0.0)
    radius_mm: float = 0.0


SITES = (
    Site("right thalamus", "right thalamus"),
    Site("right putamen", "right putamen"),
    Site("left hippocampus", "left hippocampus"),
    Site("frontal focus, 8 mm", "", (30.0, 40.0, 20.0), 8.0),
    Site("frontal focus, 14 mm", "", (30.0, 40.0, 20.0), 14.0),
)


def site_voxels(site: Site, norm: Norm) -> np.ndarray:
    """The voxels of a site, bool [k, j, i] on the grid of the norm."""
    result = np.zeros(norm.inside.shape, bool)
    if site.region:
        result.ravel()[norm.regions.index[norm.regions.keys.index(("paper21", site.region))]] = True
        return result
    index = np.argwhere(norm.inside)
    points = np.array([norm.grid.TransformIndexToPhysicalPoint(p[::-1].tolist()) for p in index])
    near = np.linalg.norm(points - np.array(site.centre) * (-1, -1, 1), axis=1) <= site.radius_mm
    result[tuple(index[near].T)] = True
    return result


def with_increase(person: MniPerson, voxels: np.ndarray, contrast: float, spacing_mm: float) -> MniPerson:
    """The real PET with more uptake in some voxels, as a scanner sees it, over its new mean in the brain."""
    blurred = ndimage.gaussian_filter(voxels.astype(float), PET_FWHM_MM / FWHM_PER_SIGMA / spacing_mm)
    real = person.real * (1 + contrast * blurred)
    return replace(person, real=real * float(np.nanmean(person.real) / np.nanmean(real)))


def statistic(scores: Scores, site: Site, voxels: np.ndarray, kind: str) -> float:
    """What detects: the z of the region, or the largest z in and around the sphere."""
    if site.region:
        row = next(r for r in scores.regions if (r.parcellation, r.region) == ("paper21", site.region))
        return float((row.z if kind == KINDS[0] else row.z_unconditional) or 0.0)
    return float(np.nanmax(np.where(ndimage.binary_dilation(voxels), scores.z[kind], np.nan)))


def people(work: Path, norm: Norm, names: list[str]) -> Iterator[MniPerson]:
    """People who are not in the norm, in MNI space; kept in WORK/people."""
    folder = make_folder(work / "people")
    for name in names:
        path = folder / f"{name}.npz"
        if not path.is_file():
            own = work / "data" / name
            paths = ScorePaths(
                own / "PET.nii.gz", own / "T1.nii.gz", work / "norm", own / "brain_mask.nii.gz"
            )
            scratch = make_folder(folder / name)
            case, _ = load_person(paths, ScoreSettings(device="cpu"), norm, scratch, Reporter().progress)
            np.savez_compressed(path, **vars(person_in_mni(case, norm.grid)))
        with np.load(path) as content:
            yield MniPerson(**{key: content[key] for key in ("real", "predicted", "brain")})


def interval(hits: int, n: int) -> str:
    low, high = stats.binomtest(hits, n).proportion_ci(method="exact")
    return f"{100 * hits / n:.1f} % ({100 * low:.1f} to {100 * high:.1f})"


def study(work: Path, controls: int, others: int) -> dict[str, Any]:
    norm = read_norm(work / "norm")
    names = [f"subject_{n:03d}" for n in range(controls + 1, controls + others + 1)]
    normal = list(people(work, norm, names))
    row = np.ones(1)
    spacing = norm.grid.GetSpacing()[0]
    plain = [score_person(norm, person, row) for person in normal]
    lines = []
    for site in SITES:
        voxels = site_voxels(site, norm)
        base = {kind: [statistic(s, site, voxels, kind) for s in plain] for kind in KINDS}
        for contrast in CONTRASTS:
            changed = [score_person(norm, with_increase(p, voxels, contrast, spacing), row) for p in normal]
            for kind in KINDS:
                own = [statistic(s, site, voxels, kind) for s in changed]
                auc = stats.mannwhitneyu(own, base[kind]).statistic / (len(own) * len(base[kind]))
                limit = np.quantile(base[kind], 0.95, method="higher")
                family = norm.about.maxima["regions" if site.region else "voxels"][kind]
                whole = np.quantile(family, 0.95, method="higher")
                lines.append(
                    {
                        "site": site.name,
                        "ml": float(voxels.sum() * spacing**3 / 1000),
                        "contrast": contrast,
                        "kind": kind,
                        "auc": float(auc),
                        "sensitivity": float(np.mean(np.array(own) > limit)),
                        "sensitivity_family": float(np.mean(np.array(own) > whole)),
                        "median_z": float(np.median(own)),
                    }
                )
    false = {}
    for kind in KINDS:
        z = np.array([s.z[kind][norm.inside] for s in plain])
        name = "z" if kind == KINDS[0] else "z_unconditional"
        regional = np.array([[getattr(r, name) for r in s.regions] for s in plain], float)
        limit = plain[0].thresholds[kind]
        beyond = sum(float(np.nanmax(np.abs(row))) > limit for row in z)
        many = (z[np.isfinite(z)], regional[np.isfinite(regional)])
        voxels, regions = (
            f"mean {v.mean():.2f}, SD {v.std():.2f}, {100 * np.mean(np.abs(v) > 1.96):.1f} % beyond 1.96"
            for v in many
        )
        false[kind] = {"voxels": voxels, "regions": regions, "anywhere": interval(beyond, len(z))}
    about = norm.about
    return {
        "controls": about.n_people,
        "people": others,
        "explained": {name: about.explained[name]._asdict() for name in about.explained},
        "prior_people": norm.models["voxels"][KINDS[0]].prior.freedom,
        "left_out": {kind: about.calibration[kind][0]._asdict() for kind in KINDS},
        "false": false,
        "detection": lines,
    }


def prepare(work: Path, controls: int, others: int) -> None:
    """Simulate, cross-validate and build; what is finished is kept."""
    spaces.MNI_SPACING_MM = MAPS_MM
    settings = DatasetSettings(seed=19, spacing_mm=SPACING_MM, lesion_share=0.0)
    write_dataset(work / "data", controls + others, settings)
    rows = ["case,subject,t1,pet,mask,group"]
    for n in range(1, controls + 1):
        own = f"data/subject_{n:03d}"
        rows.append(
            f"subject_{n:03d},subject_{n:03d},{own}/T1.nii.gz,{own}/PET.nii.gz,{own}/brain_mask.nii.gz,control"
        )
    (work / "controls.csv").write_text("\n".join(rows) + "\n")
    (work / "preset.json").write_text(json.dumps(PRESET))
    run = work / "run"
    arguments = ["train", str(work / "controls.csv"), "-o", str(run), "--preset", str(work / "preset.json")]
    arguments += ["--folds", "4", "--device", "cpu", "--threads", "1", "--workers", "1", "--progress", "none"]
    if not (run / "report.html").is_file():
        assert mri2pet(arguments + (["--resume"] if (run / "run.json").is_file() else [])) == 0
    assert mri2pet(["normative", "build", str(run), "-o", str(work / "norm"), "--progress", "none"]) == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("work", type=Path)
    parser.add_argument("--controls", type=int, default=40)
    parser.add_argument("--people", type=int, default=20)
    args = parser.parse_args()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    make_folder(args.work)
    prepare(args.work, args.controls, args.people)
    results = study(args.work, args.controls, args.people)
    write_json(args.work / "results.json", results)
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
