"""Nothing stale of ``normative build`` and ``score``: a folder holds what a run into an empty one would give.

What takes long is replaced by arithmetic on the same inputs; requests, files and records are real.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import SimpleITK as sitk
from fuzz_norms import PEOPLE, small_norm

from bundles import tiny_bundle
from file_changes import Change, append, contents, delete, image, noise, other, text
from MRI2PETLib.core.checksums import sha256_of
from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.findings import Verdict
from MRI2PETLib.core.progress import Reporter
from MRI2PETLib.evaluation.cohort_cases import CohortCase
from MRI2PETLib.images.io import write_image
from MRI2PETLib.normative import run as run_of_norm
from MRI2PETLib.normative.norm import Norm
from MRI2PETLib.normative.norm_folder import NORM_FILE
from MRI2PETLib.normative.settings import NormSettings, ScorePaths, ScoreSettings
from MRI2PETLib.reports import normative

IMAGES = ("PET", "T1", "synthetic", "mask")


def total(*paths: Path | None) -> str:
    return str([float(sitk.GetArrayFromImage(sitk.ReadImage(str(p))).sum()) for p in paths if p is not None])


@pytest.fixture(scope="module")
def norm() -> Norm:
    return small_norm()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number, name in enumerate(IMAGES):
        write_image(noise(number), tmp_path / f"{name}.nii.gz", {"Units": "SUVR"})
    (tmp_path / "norm").mkdir()
    (tmp_path / "norm" / "norm.json").write_text("{}")
    return tmp_path


# --- score --------------------------------------------------------------------------------------------------


def score(root: Path, folder: str, **changes: Any) -> dict[str, Any]:
    names = {name: changes.pop(name.lower(), f"{name}.nii.gz") for name in IMAGES}
    pet, t1, synthetic, mask = (root / name if name else None for name in names.values())
    assert pet is not None and t1 is not None
    paths = ScorePaths(pet, t1, root / "norm", mask, synthetic)
    settings = ScoreSettings(**changes)
    about = SimpleNamespace(covariates=(), notes=(), n_people=PEOPLE)
    stand_in = SimpleNamespace(about=about, checksum=sha256_of(root / "norm" / "norm.json"), grid=None)

    def write(staging: Path, *_: Any) -> dict[str, Any]:
        words = f"MRI2PET {total(pet, t1, synthetic, mask)} {settings} {stand_in.checksum}"
        for name in ("report.html", "score.json", "regions.csv", "z.nii.gz"):
            (staging / name).write_text(words)
        return {"files": {"report": "report.html"}}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(normative, "read_norm", lambda path: stand_in)
        patch.setattr(normative, "load_person", lambda *_: (None, Verdict()))
        patch.setattr(normative, "person_in_mni", lambda *_: None)
        patch.setattr(normative, "score_person", lambda *_: None)
        patch.setattr(normative, "_write", write)
        return normative.score_into(paths, settings, root / folder, Reporter())


OF_A_SCORE: dict[str, Change] = {
    **{name: image(f"{name}.nii.gz") for name in IMAGES},
    "no mask": other(mask=None),
    "no prediction": other(synthetic=None),
    "unit in the sidecar": text("PET.json", "SUVR", "SUV"),
    "sidecar of the prediction": text("synthetic.json", "}", ', "Simulated": true}'),
    "norm": text("norm/norm.json", "}", '"x": 1}'),
    "unit": other(pet_unit="SUV"),
    "window": other(window=(40.0, 60.0)),
    "realignment": other(realign_frames=True),
    "alignment": other(register="header"),
    "deleted report": delete("out/report.html"),
    "edited score": append("out/score.json"),
    "deleted map": delete("out/z.nii.gz"),
    "edited table": append("out/regions.csv"),
    "deleted record": delete(f"out/{normative.SCORE_RECORD}"),
    "edited record": text(f"out/{normative.SCORE_RECORD}", '"done"', '"odd"'),
}


@pytest.mark.parametrize("name", OF_A_SCORE)
def test_a_score_after_any_change(name: str, root: Path) -> None:
    score(root, "out")
    inputs = OF_A_SCORE[name](root)
    score(root, "out", **inputs)
    score(root, "fresh", **inputs)
    assert contents(root / "out") == contents(root / "fresh")


def test_a_score_is_kept_and_of_one_person(root: Path) -> None:
    score(root, "out")
    there = {path: path.stat().st_mtime_ns for path in (root / "out").iterdir()}
    score(root, "out")
    assert {path: path.stat().st_mtime_ns for path in (root / "out").iterdir()} == there
    with pytest.raises(InputError, match="would replace it"):
        score(root, "out", pet="mask.nii.gz")
    (root / "mine").mkdir()
    (root / "mine" / "score.json").write_text("mine")
    with pytest.raises(InputError, match=r"score\.json was not made by this program"):
        score(root, "mine")


# --- build --------------------------------------------------------------------------------------------------


@pytest.fixture
def build(root: Path, norm: Norm) -> Iterator[Callable[..., Norm]]:
    """Build a norm of one case that stands for all; what it was made from is in its notes."""
    shutil.copytree(tiny_bundle(root / "tiny").folder, root / "run" / "ensemble")

    def build_into(folder: str, **changes: Any) -> Norm:
        pet, t1, synthetic, mask = (root / f"{name}.nii.gz" for name in IMAGES)
        case = CohortCase("c", "p", "0", synthetic, pet, t1, mask, changes.pop("group", "control"))
        cases = [replace(case, pet_unit=changes.pop("case_unit", None))]
        run = root / changes.pop("run", "run")
        settings = NormSettings(allow_few=True, **changes)
        shared = {"unit": "SUVR", "tracer": "PBR28", "n_scans": PEOPLE, "minutes": None}
        shared |= {"simulated": True, "demonstration": False, "mixed": [], "checksums": {"0" * 64}}
        shared["model"] = {"id": "lab-fold0", "name": "lab", "version": "1"}
        words = f"{total(pet, t1, synthetic, mask)} {settings.to_dict()} {cases[0].pet_unit}"

        def fit(data: Any, parcellations: Any, about: dict[str, Any], *_: Any) -> Norm:
            own = {**about, "notes": (words,), "covariates": norm.about.covariates}
            return replace(norm, about=replace(norm.about, **own))

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(run_of_norm, "choose_controls", lambda cases, _: (cases[0].group, list(cases)))
            people = SimpleNamespace(people=[f"p{n}" for n in range(PEOPLE)])
            patch.setattr(run_of_norm, "collect", lambda *_: (people, (), shared, []))
            patch.setattr(run_of_norm, "fit_norm", fit)
            return run_of_norm.build_norm(run, cases, settings, (), root / folder, Reporter())

    yield build_into


def without_model(root: Path) -> dict[str, Any]:
    shutil.rmtree(root / "run" / "ensemble")
    return {}


def other_model(root: Path) -> dict[str, Any]:
    shutil.rmtree(root / "run" / "ensemble")
    shutil.copytree(tiny_bundle(root / "other", description="another").folder, root / "run" / "ensemble")
    return {}


OF_A_NORM: dict[str, Change] = {
    **{name: image(f"{name}.nii.gz") for name in IMAGES},
    "unit in the sidecar": text("PET.json", "SUVR", "SUV"),
    "unit of the case": other(case_unit="SUV"),
    "group": other(group="healthy"),
    "smoothing": other(fwhm_mm=8.0),
    "threshold": other(threshold=4.0),
    "unit": other(pet_unit="SUV"),
    "reference region": other(reference_region="cerebellum"),
    "no model": without_model,
    "another model": other_model,
    "deleted map": delete("out/maps/count.nii.gz"),
    "edited map": append("out/maps/real_sd.nii.gz"),
    "edited card": append("out/card.md"),
    "deleted table": delete("out/regions.csv"),
    "edited model": append("out/model/configs/metadata.json"),
    "edited norm": text(f"out/{NORM_FILE}", '"threshold": 3.0', '"threshold": 3.5'),
}


@pytest.mark.parametrize("name", OF_A_NORM)
def test_a_norm_after_any_change(name: str, root: Path, build: Callable[..., Norm]) -> None:
    build("out")
    inputs = OF_A_NORM[name](root)
    build("out", **inputs)
    build("fresh", **inputs)
    assert contents(root / "out") == contents(root / "fresh")


def test_a_norm_is_kept_and_of_one_run(root: Path, build: Callable[..., Norm]) -> None:
    build("out")
    there = {path: path.stat().st_mtime_ns for path in (root / "out").rglob("*")}
    build("out")
    assert {path: path.stat().st_mtime_ns for path in (root / "out").rglob("*")} == there
    with pytest.raises(InputError, match="the norm of another run"):
        build("out", run="run2")
