"""Nothing stale of ``evaluate`` and ``suvr``: a folder holds what a run into an empty one would give.

What takes long is replaced by arithmetic on the same inputs; requests, files and records are real.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from MRI2PETLib.cli import main
from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.findings import Verdict
from MRI2PETLib.core.progress import Reporter
from MRI2PETLib.evaluation.settings import CasePaths, EvaluationSettings
from MRI2PETLib.images.grid import Grid
from MRI2PETLib.images.io import write_image
from MRI2PETLib.preprocessing.pet_template import built_in_pet_template
from MRI2PETLib.reports import evaluation
from MRI2PETLib.suvr import files, run
from MRI2PETLib.suvr.case import SuvrSetup
from MRI2PETLib.suvr.regional import RegionPlan
from MRI2PETLib.suvr.settings import SuvrPaths, SuvrSettings
from MRI2PETLib.templates.regions import Parcellation

GRID = Grid((12, 12, 12), (4.0, 4.0, 4.0), (0.0, 0.0, 0.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
Change = Callable[[Path], dict[str, Any]]


def noise(seed: int) -> sitk.Image:
    return GRID.image(np.random.default_rng(seed).random(GRID.size).astype(np.float32))


def atlas(shift: int = 0, name: str = "here") -> Parcellation:
    labels = np.zeros(GRID.size, np.int32)
    labels[shift:6] = 1
    labels[6:] = 2
    return Parcellation("halves", GRID.image(labels), {1: name, 2: "there"}, "mni", "made by code")


def total(*paths: Path | None) -> float:
    return float(sum(sitk.GetArrayFromImage(sitk.ReadImage(str(p))).sum() for p in paths if p is not None))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number, name in enumerate(("PET", "synthetic", "T1", "other")):
        write_image(noise(number), tmp_path / f"{name}.nii.gz", {"Units": "SUVR"})
    return tmp_path


def image(name: str) -> Change:
    def change(root: Path) -> dict[str, Any]:
        write_image(noise(9), root / name)
        return {}

    return change


def text(name: str, old: str, new: str) -> Change:
    def change(root: Path) -> dict[str, Any]:
        content = (root / name).read_text().replace(old, new)
        (root / name).write_text(content)
        return {}

    return change


def delete(name: str) -> Change:
    def change(root: Path) -> dict[str, Any]:
        (root / name).unlink()
        return {}

    return change


def other(**changes: Any) -> Change:
    return lambda root: changes


def contents(folder: Path) -> dict[str, Any]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# --- suvr ---------------------------------------------------------------------------------------------------


def setup(**changes: Any) -> SuvrSetup:
    own = atlas(changes.pop("shift", 0), changes.pop("name", "here"))
    template, plan = changes.pop("template", noise(5)), RegionPlan(own, (1,), changes.pop("composite", (2,)))
    return SuvrSetup(SuvrSettings("file", "here", device="cpu", **changes), plan, template, "given")


class Case:
    verdict = Verdict()


def measure(
    root: Path,
    folder: str,
    t1: str | None = "T1.nii.gz",
    unit: Any = None,
    window: Any = None,
    **changes: Any,
) -> Any:
    """The real request and record around a table that sums up what it was made from."""
    paths = SuvrPaths(root / "PET.nii.gz", None if t1 is None else root / t1, None, unit, window)

    def write(staging: Path, title: str, paths: SuvrPaths, own: SuvrSetup, case: Any) -> None:
        text = [total(paths.pet, paths.t1), own.settings.to_dict(), own.plan.composite, own.plan.atlas.names]
        content = {"Table": [], "said": [*text, total_of(own.template), total_of(own.plan.atlas.labels)]}
        (staging / files.SIDECAR).write_text(json.dumps(content))
        for name in (files.TABLE, files.SUVR_PICTURE, files.SUVR_REPORT, files.SUVR):
            (staging / name).write_text(str(content))
        if paths.t1 is not None:
            (staging / files.labels_file("real MR")).write_text("labels")

    def total_of(image: sitk.Image) -> float:
        return float(sitk.GetArrayFromImage(image).sum())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "measure_suvr", lambda *_, **__: Case())
        return run.measure_case(
            "x", paths, setup(**changes), root / folder, write, Reporter(), lambda *_: None
        )


OF_SUVR: dict[str, Change] = {
    "PET": image("PET.nii.gz"),
    "unit in the sidecar": text("PET.json", "SUVR", "SUV"),
    "sidecar gone": delete("PET.json"),
    "T1": image("T1.nii.gz"),
    "T1 gone": other(t1=None),
    "another T1": other(t1="other.nii.gz"),
    "unit": other(unit="SUV"),
    "window": other(window=(40.0, 60.0)),
    "labels of the atlas": other(shift=2),
    "a name in the atlas": other(name="elsewhere"),
    "composite": other(composite=(1, 2)),
    "grey matter": other(grey_matter=True),
    "template": other(template=noise(6)),
    "seed": other(seed=3),
    "alignment": other(register="header"),
    **{
        f"deleted {n}": delete(f"out/{n}")
        for n in (files.TABLE, files.SUVR_PICTURE, files.SUVR_REPORT, files.SUVR)
    },
    "deleted sidecar": delete(f"out/{files.SIDECAR}"),
    "deleted record": delete(f"out/{files.SUVR_RECORD}"),
    "edited table": text(f"out/{files.TABLE}", "e", "f"),
    "edited picture": text(f"out/{files.SUVR_PICTURE}", "e", "f"),
    "edited record": text(f"out/{files.SUVR_RECORD}", '"done"', '"odd"'),
    "an MR from elsewhere": image(f"out/{files.MR}"),
}


@pytest.mark.parametrize("name", OF_SUVR)
def test_suvr_after_any_change(name: str, root: Path) -> None:
    measure(root, "out")
    inputs = OF_SUVR[name](root)
    measure(root, "out", **inputs)
    measure(root, "fresh", **inputs)
    assert contents(root / "out") == contents(root / "fresh")


def test_suvr_is_kept_and_of_one_pet(root: Path) -> None:
    measure(root, "out")
    written = (root / "out" / files.TABLE).stat().st_mtime_ns
    result = measure(root, "out")
    assert (root / "out" / files.TABLE).stat().st_mtime_ns == written
    assert result.files["labels"]["real MR"]["image"] == root / "out" / files.labels_file("real MR")
    (root / "elsewhere").mkdir()
    for path in root.glob("other.*"):
        shutil.copy(path, root / "elsewhere" / path.name.replace("other", "PET"))
    there = contents(root / "out")
    with pytest.raises(InputError, match="would replace it"):
        measure(root / "elsewhere", "../out", t1=None)
    assert contents(root / "out") == there


def test_a_pet_that_became_unusable_leaves_no_suvr(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measure(root, "out")
    (root / "PET.nii.gz").write_bytes((root / "PET.nii.gz").read_bytes()[:-9])

    def measure_suvr(*_: Any, **__: Any) -> None:
        raise InputError("It is cut short.")

    monkeypatch.setattr(run, "measure_suvr", measure_suvr)
    paths = SuvrPaths(root / "PET.nii.gz", root / "T1.nii.gz")
    with pytest.raises(InputError):
        run.measure_case("x", paths, setup(), root / "out", lambda *_: None, Reporter(), lambda *_: None)
    assert list(contents(root / "out")) == [files.SUVR_RECORD]


def test_the_template_that_is_built_in_has_a_checksum() -> None:
    request = files.suvr_request(SuvrPaths(Path("none.nii")), setup(template=built_in_pet_template()))
    assert request.checksum == request.checksum and not request.whose["pet"].checksum


# --- evaluate -----------------------------------------------------------------------------------------------


def evaluate(root: Path, folder: str, **changes: Any) -> dict[str, Any]:
    paths = CasePaths(root / "synthetic.nii.gz", root / changes.pop("pet", "PET.nii.gz"), root / "T1.nii.gz")
    atlases = [changes.pop("atlas", atlas())]

    def write(staging: Path, title: str, case: Any, result: Any, atlases: Any) -> dict[str, Any]:
        text = str([total(paths.synthetic, paths.pet, paths.t1), changes, atlases[0].names])
        names = ("report.html", "metrics.json", "comparison.png", "regions.csv", "real.nii.gz")
        for name in names:
            (staging / name).write_text(text)
        (staging / "regions").mkdir()
        (staging / "regions" / f"{atlases[0].name}.nii.gz").write_text(text)
        return {"scales": {}}

    class Answer:
        model: dict[str, Any] = {}
        verdict = Verdict()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation, "load_case", lambda *_, **__: Answer())
        patch.setattr(evaluation, "evaluate_case", lambda *_, **__: Answer())
        patch.setattr(evaluation, "write_comparison", write)
        settings = EvaluationSettings(**changes)
        return evaluation.evaluate_pair(paths, settings, atlases, root / folder, Reporter())


OF_EVALUATION: dict[str, Change] = {
    "synthetic PET": image("synthetic.nii.gz"),
    "real PET": image("PET.nii.gz"),
    "T1": image("T1.nii.gz"),
    "unit in the sidecar": text("PET.json", "SUVR", "SUV"),
    "sidecar of the synthetic PET": text("synthetic.json", "}", ', "Simulated": true}'),
    "atlas": other(atlas=atlas(3)),
    "smoothing": other(fwhm_mm=6.0),
    "unit": other(pet_unit="SUV"),
    "window": other(window=(40.0, 60.0)),
    "realignment": other(realign_frames=True),
    "scale": other(scale_free=True),
    "deleted report": delete("out/report.html"),
    "edited metrics": text("out/metrics.json", "h", "i"),
    "deleted labels": delete("out/regions/halves.nii.gz"),
    "edited labels": text("out/regions/halves.nii.gz", "h", "i"),
    "deleted record": delete(f"out/{evaluation.EVALUATION_RECORD}"),
}


@pytest.mark.parametrize("name", OF_EVALUATION)
def test_evaluation_after_any_change(name: str, root: Path) -> None:
    evaluate(root, "out")
    inputs = OF_EVALUATION[name](root)
    evaluate(root, "out", **inputs)
    evaluate(root, "fresh", **inputs)
    assert contents(root / "out") == contents(root / "fresh")


def test_evaluation_is_kept_and_of_one_pair(root: Path) -> None:
    result = evaluate(root, "out")
    written = (root / "out" / "report.html").stat().st_mtime_ns
    assert evaluate(root, "out") == result and (root / "out" / "report.html").stat().st_mtime_ns == written
    assert result["files"]["labels"]["halves"]["image"] == root / "out/regions/halves.nii.gz"
    with pytest.raises(InputError, match="would replace it"):
        evaluate(root, "out", pet="other.nii.gz")


def test_the_command_line_refuses_the_folder_of_another_pair(root: Path, capsys: Any) -> None:
    evaluate(root, "out")
    arguments = ["--synthetic", root / "synthetic.nii.gz", "--pet", root / "other.nii.gz", "-o", root / "out"]
    assert main(["evaluate", *map(str, arguments), "--progress=none"]) == InputError.exit_code
    error = capsys.readouterr().err
    assert str(root / "PET.nii.gz") in error and str(root / "other.nii.gz") in error and "-o" in error
