"""What a norm gains where the T1 does show a part of the PET: a study by the commands alone.

Each simulated person has a smooth pattern that changes the signal of the T1 and, more, the uptake. ``train``,
``normative build`` and ``normative score`` know nothing of it. Further people are scored as they are, and
with an increase in three regions and a sphere that the T1 does not show. Registrations look less far than
they would (as in the tests), maps have 4 mm. What is finished is kept in WORK, and the same command goes on.

    python Testing/benchmarks/normative_commands.py WORK [--controls 40] [--people 20]
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from norm_study import MAPS_MM, PET_FWHM_MM, SPACING_MM, run_study, small_preset
from scipy import ndimage, stats

from MRI2PETLib.cli import main as mri2pet
from MRI2PETLib.core.files import make_folder, read_object, write_json
from MRI2PETLib.core.tables import read_table, write_table
from MRI2PETLib.images.grid import FWHM_PER_SIGMA, Grid
from MRI2PETLib.images.io import write_image
from MRI2PETLib.normative.norm_folder import read_norm
from MRI2PETLib.preprocessing import pet_pose, pose_search, template_pose, template_warp
from MRI2PETLib.simulation.deformation import random_deformation
from MRI2PETLib.templates.icbm152 import load_template
from MRI2PETLib.templates.regions import built_in_parcellations

PATTERN_SIGMA_MM, T1_SD, PET_SD = 12.0, 0.12, 0.25  # of the logarithm of the signal and of the uptake
REGIONS = ("right thalamus", "right putamen", "left hippocampus")
SPHERE, SPHERE_RAS_MM, SPHERE_RADIUS_MM = "frontal sphere, 14 mm", (30.0, 40.0, 20.0), 14.0
INCREASES = (20, 40, 10)  # percent
FOLDS = 3
KINDS = ("z", "z_unconditional")


def look_less_far() -> None:
    """Searches of the registrations that end earlier, of the same code."""
    template_warp.WARP_LEVELS, template_warp.INVERSE_SHRINK = ((4, 10),), 4
    template_pose._USUAL, template_pose._LOOKS, template_pose._LAST_LOOKS = (2, 1), 30, 60
    rotations = pose_search.all_rotations()[::48]  # PETs lie on their T1s
    pet_pose.all_rotations = lambda: rotations
    pet_pose._IMPROVED, pet_pose._FINISHED, pet_pose._LOOKS, pet_pose._LAST_LOOKS = 2, 1, 10, 20


def run(*arguments: Any) -> None:
    words = [*map(str, arguments), "--progress", "none"]
    if mri2pet(words) != 0:
        raise SystemExit("mri2pet " + " ".join(words))


def read(path: Path) -> tuple[sitk.Image, np.ndarray]:
    image = sitk.ReadImage(str(path))
    return image, sitk.GetArrayFromImage(image).astype(np.float32)


def write_person(source: Path, folder: Path, number: int) -> None:
    """T1, mask and PET of a simulated person with the pattern in both."""
    if (folder / "PET.json").is_file():
        return
    (image, t1), (_, pet), (_, brain) = (read(source / f"{n}.nii.gz") for n in ("T1", "PET", "brain_mask"))
    noise = np.random.default_rng([19, number]).standard_normal(t1.shape)
    pattern = ndimage.gaussian_filter(noise, PATTERN_SIGMA_MM / SPACING_MM, mode="wrap")
    pattern /= pattern.std()
    grid = Grid.of(image)
    make_folder(folder)
    write_image(grid.image((t1 * np.exp(T1_SD * pattern)).astype(np.float32)), folder / "T1.nii.gz")
    write_image(grid.image(brain.astype(np.uint8)), folder / "brain_mask.nii.gz")
    about = {"Modality": "PT", "TracerName": "PBR28", "Units": "SUV", "Simulated": True}
    write_image(grid.image((pet * np.exp(PET_SD * pattern)).astype(np.float32)), folder / "PET.nii.gz", about)


def in_sphere(image: sitk.Image, radius_mm: float) -> np.ndarray:
    """Which voxels of an image in MNI space lie in the sphere, bool [k, j, i]."""
    points = Grid.of(image).points().T
    near = np.linalg.norm(points - np.array(SPHERE_RAS_MM) * (-1, -1, 1), axis=1) <= radius_mm
    return near.reshape(image.GetSize()[::-1])


def increased(source: Path, folder: Path, percent: int) -> Path:
    """The PET with more uptake at all sites, as a scanner sees it; where they lie is known exactly."""
    path = folder / f"PET_increased_{percent}.nii.gz"
    if path.is_file():
        return path
    seed = read_object(source / "truth.json")["seed"]
    deformation, _ = random_deformation(np.random.default_rng([seed, 0]))
    parcellation = next(p for p in built_in_parcellations() if p.name == "paper21")
    own = [label for label, name in parcellation.names.items() if name in REGIONS]
    sites = np.isin(sitk.GetArrayViewFromImage(parcellation.labels), own)
    sites |= in_sphere(parcellation.labels, SPHERE_RADIUS_MM)
    sites &= sitk.GetArrayViewFromImage(load_template().mask) != 0
    sigma = PET_FWHM_MM / FWHM_PER_SIGMA / parcellation.labels.GetSpacing()[0]
    blurred = Grid.of(parcellation.labels).image(ndimage.gaussian_filter(sites.astype(np.float32), sigma))
    image, pet = read(folder / "PET.nii.gz")
    to_template = deformation.transform().GetInverse()
    share = sitk.GetArrayFromImage(sitk.Resample(blurred, image, to_template, sitk.sitkLinear, 0.0))
    changed = Grid.of(image).image(pet * (1 + percent / 100 * share))
    write_image(changed, path, read_object(folder / "PET.json"))
    return path


def score(work: Path, name: str, percent: int) -> None:
    """The person as they are (0 %), or with an increase, by the same prediction and registration."""
    own, plain = work / "people" / name, work / "scores" / "0" / name
    common = ["--t1", own / "T1.nii.gz", "--mask", own / "brain_mask.nii.gz", "--norm", work / "norm"]
    common += ["--register", "header", "--device", "cpu", "-o", work / "scores" / str(percent) / name]
    if not percent:
        run("normative", "score", own / "PET.nii.gz", *common)
        return
    (prediction,) = plain.glob("predicted/**/*desc-synthetic_pet.nii.gz")
    changed = increased(work / "simulated" / name, own, percent)
    run("normative", "score", changed, *common, "--synthetic", prediction)


def study(work: Path, controls: int, people: int) -> dict[str, Any]:
    look_less_far()
    names = [f"subject_{n + 1:03d}" for n in range(controls + people)]
    simulated = ["-n", len(names), "-o", work / "simulated", "--spacing-mm", SPACING_MM, "--lesion-share", 0]
    run("simulate", *simulated)
    rows = []
    for number, name in enumerate(names):
        write_person(work / "simulated" / name, work / "people" / name, number)
        files = {"t1": "T1", "pet": "PET", "mask": "brain_mask"}
        paths = {column: f"{name}/{file}.nii.gz" for column, file in files.items()}
        rows.append({"case": name, "subject": name, **paths})
    write_table(work / "people" / "manifest.csv", list(rows[0]), rows[:controls])
    preset = small_preset(epochs=14, ema_decay=0.95)
    write_json(work / "preset.json", preset.to_dict())
    training = ["--preset", work / "preset.json", "--folds", FOLDS, "--workers", 1, "--device", "cpu"]
    training += ["--cache", work / "cache", "--register", "header"]
    resume = ["--resume"] * (work / "run").is_dir()
    run("train", work / "people" / "manifest.csv", "-o", work / "run", *training, *resume)
    run("normative", "build", work / "run", "-o", work / "norm", "--register", "header")
    for percent in (0, *INCREASES):
        for name in names[controls:]:
            score(work, name, percent)
    return summary(work, names[controls:])


def scores_of(folder: Path) -> dict[str, dict[str, float]]:
    """The z of each region of ``paper21`` by kind, and the largest in and around the sphere."""
    rows = [row for row in read_table(folder / "regions.csv").rows if row["parcellation"] == "paper21"]
    result = {row["region"]: {kind: float(row[kind]) for kind in KINDS} for row in rows if row["z"]}
    maps = {kind: read(folder / f"{kind}_mni.nii.gz") for kind in KINDS}
    near = in_sphere(maps["z"][0], SPHERE_RADIUS_MM + MAPS_MM)
    return {**result, SPHERE: {kind: float(z[near].max()) for kind, (_, z) in maps.items()}}


def detection(plain: np.ndarray, changed: np.ndarray) -> dict[str, float]:
    """AUC, the share of the changed beyond what 5 % of the unchanged exceed, and by how much z is higher."""
    limit = np.quantile(plain, 0.95, method="lower")
    auc = stats.mannwhitneyu(changed, plain).statistic / (len(changed) * len(plain))
    sensitivity = float(np.mean(changed > limit))
    return {"auc": float(auc), "sensitivity": sensitivity, "higher_by": float(np.mean(changed - plain))}


def normality(folders: list[Path], scores: list[dict[str, dict[str, float]]], kind: str) -> dict[str, Any]:
    """Of people without an increase: their z by region, and how many exceed a threshold of 5 % anywhere."""
    names = set.intersection(*map(set, scores)) - {SPHERE}
    z = np.array([[person[name][kind] for name in sorted(names)] for person in scores])
    beyond = np.mean(np.abs(z) > 1.96, axis=1)
    draws = np.random.default_rng(0).integers(len(z), size=(2000, len(z)))
    key = {"z": "residual", "z_unconditional": "real"}[kind]
    limits = [read_object(folder / "score.json")["thresholds"][key] for folder in folders]
    maxima = [np.abs(read(folder / f"{kind}_mni.nii.gz")[1]).max() for folder in folders]
    anywhere = sum(bool(m > limit) for m, limit in zip(maxima, limits))
    interval = stats.binomtest(anywhere, len(z)).proportion_ci(method="exact")
    return {
        "mean": float(z.mean()),
        "sd": float(z.std()),
        "beyond_196": float(beyond.mean()),
        "beyond_196_interval": np.percentile(beyond[draws].mean(axis=1), (2.5, 97.5)).tolist(),
        "anywhere": anywhere / len(z),
        "anywhere_interval": [float(interval.low), float(interval.high)],
    }


def summary(work: Path, names: list[str]) -> dict[str, Any]:
    about = read_norm(work / "norm").about
    folders = [work / "scores" / "0" / name for name in names]
    plain = [scores_of(folder) for folder in folders]
    lines = []
    for percent in sorted(percent for percent in INCREASES if (work / "scores" / str(percent)).is_dir()):
        changed = [scores_of(work / "scores" / str(percent) / name) for name in names]
        for site in (*REGIONS, SPHERE):
            for kind in KINDS:
                before, after = (np.array([p[site][kind] for p in people]) for people in (plain, changed))
                lines.append({"site": site, "increase": percent, "kind": kind, **detection(before, after)})
    return {
        "controls": about.n_people,
        "people": len(plain),
        "explained": {name: value._asdict() for name, value in about.explained.items()},
        "left_out_controls": {kind: rows[0]._asdict() for kind, rows in about.calibration.items()},
        "people_as_they_are": {kind: normality(folders, plain, kind) for kind in KINDS},
        "detection": lines,
    }


if __name__ == "__main__":
    run_study(__doc__, study)
