"""What a norm finds: simulated controls, and people with an increase that the T1 does not show.

Networks are cross-validated on controls, a norm is built from the people that each had not seen, and other
people are scored as they are and with an increase planted into their real PET. Where everybody lies in MNI
space is known here: errors of registration are not part of the study. Prints a table; what is finished is
kept in WORK.

    python Testing/benchmarks/normative.py WORK [--controls 40] [--people 20]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import SimpleITK as sitk
import torch
from norm_study import PET_FWHM_MM, SPACE, SPACING_MM, run_study, small_preset
from scipy import ndimage, stats

from MRI2PETLib.core.files import make_folder
from MRI2PETLib.core.progress import no_progress
from MRI2PETLib.evaluation import spaces
from MRI2PETLib.images.axes import head_axes
from MRI2PETLib.images.grid import FWHM_PER_SIGMA
from MRI2PETLib.models.model_space import Encoded, decode, encode_pair
from MRI2PETLib.normative.build import assemble, fit_norm, regions_on
from MRI2PETLib.normative.norm import Norm, PredictedBy
from MRI2PETLib.normative.person import KINDS, MniPerson, RegionSet, read_out
from MRI2PETLib.normative.score import Scores, score_person
from MRI2PETLib.normative.settings import NormSettings
from MRI2PETLib.preprocessing.pet import to_suvr
from MRI2PETLib.simulation import SimulatedSubject, simulate_subject
from MRI2PETTrainingLib.dataset.cache import ARRAYS, PreparedCase
from MRI2PETTrainingLib.dataset.manifest import TrainingCase
from MRI2PETTrainingLib.fit import fit_fold

FWHM_MM = 6.0
FOLDS, FIRST_SEED = 2, 1900
CONTRASTS = (0.1, 0.2, 0.4)


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


def subject(number: int) -> SimulatedSubject:
    return simulate_subject(FIRST_SEED + number, spacing_mm=SPACING_MM)


def encoded_pair(person: SimulatedSubject) -> tuple[Encoded, np.ndarray]:
    return encode_pair(person.t1, person.pet, person.brain_mask, head_axes(None), SPACE)


def prepared_case(work: Path, number: int) -> PreparedCase:
    folder = work / "cases" / f"{number:03d}"
    if not (folder / ARRAYS).is_file():
        encoded, target = encoded_pair(subject(number))
        arrays = np.stack([encoded.source, target, encoded.mask]).astype(np.float16)
        np.save(make_folder(folder) / ARRAYS, arrays)
    name = f"{number:03d}"
    case = TrainingCase(name, name, folder / "T1.nii.gz", folder / "PET.nii.gz")
    return PreparedCase(case, folder, {"findings": [], "template_to_t1_lps": None})


def networks(work: Path, controls: int) -> list[torch.nn.Module]:
    """One a fold, each trained without every :data:`FOLDS`-th control."""
    cases = [prepared_case(work, n) for n in range(controls)]
    preset = small_preset(epochs=10, batch_size=2, ema_decay=0.9)
    result = []
    for fold in range(FOLDS):
        others = [case for n, case in enumerate(cases) if n % FOLDS != fold]
        validation, train = others[:4], others[4:]
        fitted = fit_fold(work / f"fold_{fold}", train, validation, preset, seed=fold)
        result.append(fitted.network.eval())
        print(f"fold {fold}: validation r {fitted.history[-1]['val_r']:.3f}", flush=True)
    return result


def in_mni(work: Path, number: int, predictors: Sequence[torch.nn.Module], name: str) -> MniPerson:
    """Real and predicted PET of a person in MNI space; kept."""
    path = make_folder(work / "people") / f"{name}_{number:03d}.npz"
    if not path.is_file():
        person = subject(number)
        encoded, _ = encoded_pair(person)
        with torch.no_grad():
            source = torch.from_numpy(encoded.source)[None, None]
            prediction = torch.stack([net(source) for net in predictors]).mean(0)[0, 0].numpy()
        images = [to_suvr(person.pet, person.brain_mask), decode(prediction, encoded, person.brain_mask)]
        arrays = [sitk.GetArrayFromImage(image) for image in images]
        grid, transform = spaces.mni_grid(), person.template_to_native
        real, predicted = spaces.resample_inside(arrays, person.brain_mask, grid, transform)
        np.savez_compressed(path, real=real, predicted=predicted, brain=np.isfinite(real))
    with np.load(path) as content:
        return MniPerson(**{key: content[key] for key in ("real", "predicted", "brain")})


def build(work: Path, controls: int, nets: Sequence[torch.nn.Module]) -> Norm:
    """The norm of the people that each network had not seen."""
    grid = spaces.mni_grid()
    parcellations = regions_on(grid)
    regions, template = RegionSet.of(parcellations), sitk.GetArrayFromImage(grid) != 0
    scans = {}
    for number in range(controls):
        person = in_mni(work, number, [nets[number % FOLDS]], "control")
        scans[str(number)] = [read_out(person, regions, grid, FWHM_MM).inside(template)]
    data = assemble(scans, np.ones((controls, 1)), template, regions)
    names = ("reference_region", "tracer", "group", "source", "request")
    about: dict[str, Any] = {"unit": "SUVR", **dict.fromkeys(names, ""), "simulated": True}
    about |= {"n_people": controls, "n_scans": controls, "demonstration": False, "fwhm_mm": FWHM_MM}
    about |= {"threshold": 3.0, "covariates": (), "predicted_by": PredictedBy(), "notes": ()}
    return fit_norm(data, parcellations, about, NormSettings(), no_progress)


def interval(hits: int, n: int) -> str:
    low, high = stats.binomtest(hits, n).proportion_ci(method="exact")
    return f"{100 * hits / n:.1f} % ({100 * low:.1f} to {100 * high:.1f})"


def study(work: Path, controls: int, others: int) -> dict[str, Any]:
    nets = networks(work, controls)
    norm = build(work, controls, nets)
    normal = [in_mni(work, n, nets, "other") for n in range(controls, controls + others)]
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


if __name__ == "__main__":
    run_study(__doc__, study)
