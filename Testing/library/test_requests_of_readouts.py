"""Nothing stale of ``evaluate`` and ``suvr``: a folder holds what a run into an empty one would give.

What takes long is replaced by arithmetic on the same inputs; requests, files and records are real.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from file_changes import GRID, Change, append, contents, delete, image, noise, other, text
from MRI2PETLib.cli import main
from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.findings import Verdict
from MRI2PETLib.core.progress import Reporter
from MRI2PETLib.evaluation.direction import Direction
from MRI2PETLib.evaluation.settings import CasePaths, EvaluationSettings
from MRI2PETLib.images.io import write_image
from MRI2PETLib.preprocessing.pet_template import built_in_pet_template
from MRI2PETLib.reports import charts, evaluation, suvr_files
from MRI2PETLib.suvr import files, run
from MRI2PETLib.suvr import setup as suvr_setup
from MRI2PETLib.suvr.case import SuvrSetup
from MRI2PETLib.suvr.normalisation import PET_TEMPLATE, REAL_MR
from MRI2PETLib.suvr.regional import RegionPlan, SuvrRow
from MRI2PETLib.suvr.settings import SuvrPaths, SuvrSettings
from MRI2PETLib.templates.regions import Parcellation

pytestmark = pytest.mark.usefixtures("quick_registration")


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


# --- suvr ---------------------------------------------------------------------------------------------------


def setup(**changes: Any) -> SuvrSetup:
    own = atlas(changes.pop("shift", 0), changes.pop("name", "here"))
    template, plan = changes.pop("template", noise(5)), RegionPlan(own, (1,), changes.pop("composite", (2,)))
    return SuvrSetup(SuvrSettings("file", "here", device="cpu", **changes), plan, {"template": template})


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
        images = (*own.templates.values(), own.plan.atlas.labels)
        content = {"by": "MRI2PET", "Table": [], "said": [*text, *map(total_of, images)]}
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


# --- suvr of a table ----------------------------------------------------------------------------------------

CASES = "case,subject,group,pet,t1\none,a,AD,PET.nii.gz,T1.nii.gz\ntwo,b,HC,other.nii.gz,T1.nii.gz\n"


def measure_table(root: Path, folder: str, table: str = "cases.csv", **changes: Any) -> int:
    """``suvr --cases`` with arithmetic in place of the measurement."""
    if "cases" in changes:
        (root / table).write_text(changes.pop("cases"))

    def write(staging: Path, title: str, paths: SuvrPaths, own: SuvrSetup, case: Any) -> None:
        mean = total(paths.pet) / 12**3
        rows = [
            SuvrRow(method, "here", 1, role, 9, 1.0, mean, mean + shift, 1.0)._asdict()
            for method, shift in ((REAL_MR, 0.0), (PET_TEMPLATE, 0.1))
            if paths.t1 or shift
            for role in ("reference", "region", "composite")
        ]
        content = {"Table": rows, "Composite": {REAL_MR: mean}, "PetCoverage": {REAL_MR: 1.0}}
        (staging / files.SIDECAR).write_text(json.dumps(content))
        for name in (files.TABLE, files.SUVR_PICTURE, files.SUVR_REPORT):
            (staging / name).write_text(str(mean))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "measure_suvr", lambda *_, **__: Case())
        patch.setattr(suvr_files, "write_suvr", write)
        patch.setattr(charts, "agreement_png", lambda own, real, **_: str([own, real]).encode())
        patch.setattr(suvr_setup, "read_setup", lambda settings: (setup(**changes), ()))
        arguments = ["--cases", root / table, "-o", root / folder]
        arguments += ["--atlas=cortical-spheres", "--reference=here", "--progress=none"]
        return main(["suvr", *map(str, arguments)])


TOP = (files.TABLE, files.LEVELS, files.AGREEMENT, files.COHORT, files.SUVR_REPORT)
BELOW = ("one/suvr.csv", "two/suvr.json")
OF_A_TABLE: dict[str, Change] = {
    "a PET": image("other.nii.gz"),
    "a sidecar": text("PET.json", "SUVR", "SUV"),
    "another group": text("cases.csv", "AD", "MCI"),
    "another subject": text("cases.csv", ",b,", ",c,"),
    "a row less": text("cases.csv", "two,b,HC,other.nii.gz,T1.nii.gz\n", ""),
    "a row left out": other(cases="case,pet,exclude\none,PET.nii.gz,\ntwo,other.nii.gz,moved\n"),
    "a row more": text("cases.csv", "two,", "three,c,HC,synthetic.nii.gz,T1.nii.gz\ntwo,"),
    "no T1": text("cases.csv", "T1.nii.gz", ""),
    "a name in the atlas": other(name="elsewhere"),
    "template": other(template=noise(6)),
    **{f"deleted {n}": delete(f"out/{n}") for n in (*TOP, *BELOW, files.SUVR_RECORD)},
    **{f"edited {n}": append(f"out/{n}") for n in (*TOP, *BELOW)},
    "a table from elsewhere": lambda root: {"cases": CASES.replace(",T1.nii.gz", ",")},
}  # fmt: skip


@pytest.mark.parametrize("name", OF_A_TABLE)
def test_a_table_of_pets_after_any_change(name: str, root: Path) -> None:
    (root / "cases.csv").write_text(CASES)
    assert measure_table(root, "out") == 0
    changes = OF_A_TABLE[name](root)
    assert measure_table(root, "out", **changes) == 0
    (root / "x").mkdir()
    assert measure_table(root, "x/out", **changes) == 0
    new, old = contents(root / "x" / "out"), contents(root / "out")
    assert {key: old[key] for key in new} == new  # the folder of a PET that is no longer listed stays
    assert {key for key in old.keys() - new.keys() if "/" not in key} == set()


def test_a_table_of_pets_is_kept_and_its_folder_is_its_own(root: Path, capsys: Any) -> None:
    (root / "cases.csv").write_text(CASES)
    assert measure_table(root, "out") == measure_table(root, "out") == 0
    there = {path: path.stat().st_mtime_ns for path in (root / "out").rglob("*")}
    assert measure_table(root, "out") == 0
    assert {path: path.stat().st_mtime_ns for path in (root / "out").rglob("*")} == there
    with pytest.raises(InputError, match="would replace it"):
        measure(root, "out")
    capsys.readouterr()
    others = CASES.replace("one", "first")
    assert measure_table(root, "out", "others.csv", cases=others) == InputError.exit_code
    assert "cases.csv" in capsys.readouterr().err and not (root / "out" / "first").exists()
    swapped = CASES.replace("PET.", "X.").replace("other.", "PET.").replace("X.", "other.")
    assert measure_table(root, "out", cases=swapped) != 0
    assert "would replace it" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in (root / "out").rglob("*")} == there


def test_the_template_that_is_built_in_has_a_checksum() -> None:
    request = files.suvr_request(SuvrPaths(Path("none.nii")), setup(template=built_in_pet_template()))
    assert request.checksum == request.checksum and not request.whose["pet"].checksum


# --- evaluate -----------------------------------------------------------------------------------------------


def evaluate(root: Path, folder: str, **changes: Any) -> dict[str, Any]:
    paths = CasePaths(root / "synthetic.nii.gz", root / changes.pop("pet", "PET.nii.gz"), root / "T1.nii.gz")
    atlases = [changes.pop("atlas", atlas())]

    def write(staging: Path, title: str, case: Any, result: Any, atlases: Any) -> dict[str, Any]:
        text = str(["MRI2PET", total(paths.synthetic, paths.pet, paths.t1), changes, atlases[0].names])
        names = ("report.html", "metrics.json", "comparison.png", "regions.csv", "real.nii.gz")
        for name in names:
            (staging / name).write_text(text)
        (staging / "regions").mkdir()
        (staging / "regions" / f"{atlases[0].name}.nii.gz").write_text(text)
        return {"scales": {}, "pet_coverage": 1.0}

    class Answer:
        model: dict[str, Any] = {}
        verdict = Verdict()
        direction = Direction()

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


@pytest.mark.parametrize("name", ["report.html", "comparison.png", "regions/halves.nii.gz", "suvr.csv"])
def test_files_of_somebody_are_not_replaced(name: str, root: Path) -> None:
    mine = root / "out" / name
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    for run_into in (measure, evaluate):
        names = {path.name for path in (root / "fresh").rglob("*")} if (root / "fresh").is_dir() else set()
        shutil.rmtree(root / "fresh", ignore_errors=True)
        run_into(root, "fresh")
        names = {path.name for path in (root / "fresh").rglob("*")}
        if mine.name in names:
            with pytest.raises(InputError, match=f"{mine.name} was not made by this program"):
                run_into(root, "out")
            assert [p for p in (root / "out").rglob("*") if p.is_file()] == [mine]
    assert mine.read_text() == "mine"


def test_two_commands_do_not_share_a_folder(root: Path) -> None:
    """The report of one is not that of the other."""
    evaluate(root, "out")
    there = contents(root / "out")
    with pytest.raises(InputError, match=r"report\.html belongs to evaluation_status\.json"):
        measure(root, "out")
    assert contents(root / "out") == there


def test_the_command_line_refuses_the_folder_of_another_pair(root: Path, capsys: Any) -> None:
    evaluate(root, "out")
    arguments = ["--synthetic", root / "synthetic.nii.gz", "--pet", root / "other.nii.gz", "-o", root / "out"]
    assert main(["evaluate", *map(str, arguments), "--progress=none"]) == InputError.exit_code
    error = capsys.readouterr().err
    assert str(root / "PET.nii.gz") in error and str(root / "other.nii.gz") in error and "-o" in error
