"""Nothing stale of ``train``: after any change a run folder holds what a run into an empty one would give.

What takes long (brains, networks, metrics) is replaced by arithmetic on the same inputs; requests, files,
folds and records are real.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from MRI2PETLib.cli import main
from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.findings import Verdict
from MRI2PETLib.core.tables import write_table
from MRI2PETLib.evaluation import cohort_run
from MRI2PETLib.images.grid import Grid
from MRI2PETLib.images.io import write_image
from MRI2PETLib.models import get_family
from MRI2PETLib.reports import cohort_report
from MRI2PETLib.synthesis.pipeline import SynthesisResult
from MRI2PETTrainingLib import command, crossval, fit, outcome, report
from MRI2PETTrainingLib.checkpoints import write_curves
from MRI2PETTrainingLib.dataset import cache
from MRI2PETTrainingLib.fit import Fitted
from small_datasets import PRESET

pytestmark = pytest.mark.usefixtures("quick_registration")

GRID = Grid((16, 16, 16), (8.0, 8.0, 8.0), (0.0, 0.0, 0.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
PEOPLE = ("01", "02", "03", "04")
Change = Callable[[Path], object]  # a list is that of more arguments of the second run


def noise(seed: int) -> sitk.Image:
    return GRID.image(np.random.default_rng(seed).random(GRID.size).astype(np.float32))


def mean_of(path: Path) -> float:
    return float(sitk.GetArrayFromImage(sitk.ReadImage(str(path), sitk.sitkFloat32)).mean())


@pytest.fixture(scope="module", autouse=True)
def fast() -> Any:
    """The work of minutes becomes arithmetic on what it would have used."""
    inside = GRID.image(np.pad(np.ones((14, 14, 14), np.uint8), 1))

    def prepare(work: Any, space: Any, how: Any) -> Any:
        t1, pet = (sitk.ReadImage(str(p), sitk.sitkFloat32) for p in (work.case.t1, work.case.pet))
        words = [str(work.case.unit), str(work.case.window_min), str(how), str(work.case.mask)]
        about: dict[str, Any] = {
            "unit": work.case.unit or "SUV", "model_unit": "SUVR", "images": [str(mean_of(work.case.t1))],
            "simulated": False, "tracer": cache._sidecar(work.case.pet).get("TracerName", ""),
            "cubic": {"0": {"x": [1, 0.5, 0.3, 0.2, 0.1, 0.1, 0.1], "xy": [mean_of(work.case.pet), 0, 0, 0]}},
            "overlap": 1.0, "coverage": 1.0, "brain_ml": 9.0, "brain_mask": "given", "measures": {},
            "template_to_t1_lps": None, "findings": [], "seconds": 1.0, "words": words,
        }  # fmt: skip
        with cache.entry_in(work.folder).make(work.request, about) as staging:
            arrays = [sitk.GetArrayFromImage(image) for image in (t1, pet, inside)]
            np.save(staging / cache.ARRAYS, np.stack(arrays).astype(np.float16))
            write_image(inside, staging / cache.MASK)
            write_image(pet, staging / cache.REAL, {"Units": "SUVR"})
        return cache.PreparedCase(work.case, work.folder, about)

    def fit_fold(folder: Path, train: Any, validation: Any, preset: Any, **how: Any) -> Fitted:
        (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
        network = get_family("unet").build(dict(preset.network))
        total = sum(float(entry.arrays().astype(float).mean()) for entry in (*train, *validation))
        for parameter in network.parameters():
            parameter.data.fill_(total / 1000 + how["seed"] + preset.learning_rate)
        history = [dict.fromkeys(("epoch", "step", "learning_rate", "val_nmse", "val_r", "seconds"), 0.0)]
        history[0] |= {"epoch": 0, "train_loss": total}
        write_curves(folder / "checkpoints" / "metrics.csv", history)
        cost = dict.fromkeys(("seconds", "seconds_per_step", "seconds_per_case"), 1.0)
        return Fitted(network, history, 0, {**cost, "epochs": 1, "peak_memory_gb": None, "device": "none"})

    def synthesize(image: sitk.Image, bundle: Any, *, extraction: Any, device: str) -> SynthesisResult:
        weight = float(next(iter(bundle.network().parameters())).detach().mean())
        about = {"model": bundle.checksum}
        return SynthesisResult(image * weight, "SUVR", inside, None, None, extraction, Verdict(), about)

    def evaluate(cases: Any, settings: Any, folder: Path, reporter: Any, *_: Any) -> Any:
        words = [
            [c.case, c.subject, c.fold, c.group, c.genotype, c.cubic, mean_of(c.synthetic)] for c in cases
        ]
        return SimpleNamespace(words=json.dumps([words, settings.seed], default=str), n_people=0)

    def write_cohort(folder: Path, title: str, result: Any) -> None:
        (folder / "report.html").write_text(title + result.words)

    def write_report(path: Path, title: str, run: Any, manifest: Any, folds: Any, *more: Any) -> None:
        *_, result, ensemble = more
        words = [title, run["content"], [c.exclude for c in manifest.cases], ensemble.checksum, result.words]
        path.write_text(str(words))
        write_table(path.with_name("subjects.csv"), ["words"], [{"words": result.words}])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache, "_prepare", prepare)
        patch.setattr(fit, "fit_fold", fit_fold)
        patch.setattr(outcome, "synthesize", synthesize)
        patch.setattr(cohort_run, "evaluate_cohort", evaluate)
        patch.setattr(cohort_report, "write_cohort", write_cohort)
        patch.setattr(report, "write_report", write_report)
        patch.setattr(outcome, "baseline_rows", lambda result: [])
        patch.setattr(outcome, "card_section", lambda *about: "")
        patch.setattr(outcome, "scale_words", lambda result: "")
        yield


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Where a dataset, a preset and a finished run are, and a copy of them."""
    root = tmp_path_factory.mktemp("before") / "root"
    for number, person in enumerate(PEOPLE):
        for kind, name in (("anat", "T1w"), ("pet", "pet")):
            folder = root / f"data/sub-{person}/{kind}"
            folder.mkdir(parents=True)
            sidecar = {"Units": "SUV"} if name == "pet" else {"Modality": "MR"}
            write_image(noise(10 * number + len(kind)), folder / f"sub-{person}_{name}.nii.gz", sidecar)
    people = "".join(f"sub-{p}\t70\tHAB\t{'AD' if p < '03' else 'HC'}\n" for p in PEOPLE)
    (root / "data/participants.tsv").write_text("participant_id\tweight\tgenotype\tgroup\n" + people)
    (root / "preset.json").write_text(json.dumps(PRESET))
    assert train(root) == 0
    return root, shutil.copytree(root, root.with_name("copy"))


@pytest.fixture
def root(before: tuple[Path, Path]) -> Path:
    """As it was after the first run."""
    shutil.rmtree(before[0])
    return shutil.copytree(before[1], before[0])


def train(root: Path, *more: str, run: str = "run") -> int:
    arguments = [root / "data", "-o", root / run, "--preset", root / "preset.json", "--folds", 2, "--resume"]
    arguments += ["--workers", 1, "--device", "cpu", "--progress", "none", *more]
    return main(["train", *map(str, arguments)], {"train": command})


def contents(run: Path) -> dict[str, Any]:
    """Every file but records and what is known before any training."""
    result: dict[str, Any] = {}
    for path in sorted(p for p in run.rglob("*") if p.is_file()):
        name = path.relative_to(run).as_posix()
        if name.startswith("cache") or name in ("run.json", "ready.json", crossval.RUN_RECORD):
            continue
        if name.endswith("fold.json"):
            result[name] = json.loads(path.read_text())["about"]
        else:
            result[name] = path.read_bytes()
    return result


def text(name: str, old: str, new: str) -> Change:
    def change(root: Path) -> None:
        content = (root / name).read_text()
        assert old in content, (old, content)
        (root / name).write_text(content.replace(old, new, 1))

    return change


def image(name: str, seed: int = 99) -> Change:
    return lambda root: sitk.WriteImage(noise(seed), str(root / name)) and None


def header(name: str) -> Change:
    def change(root: Path) -> None:
        moved = sitk.ReadImage(str(root / name))
        moved.SetOrigin((1.0, 2.0, 3.0))
        sitk.WriteImage(moved, str(root / name))

    return change


def write(name: str, content: str) -> Change:
    return lambda root: (root / name).write_text(content) and None


def delete(name: str) -> Change:
    def change(root: Path) -> None:
        path = root / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return change


def append(name: str) -> Change:
    return lambda root: (root / name).write_bytes((root / name).read_bytes() + b" ") and None


def cut(name: str) -> Change:
    return lambda root: (root / name).write_bytes((root / name).read_bytes()[:-9]) and None


def swap(a: str, b: str) -> Change:
    def change(root: Path) -> None:
        (root / a).rename(root / "third")
        (root / b).rename(root / a)
        (root / "third").rename(root / b)

    return change


def predictions(run: Path, fold: int) -> list[str]:
    folder = run / f"fold_{fold}" / "predictions"
    return sorted(p.relative_to(run.parent).as_posix() for p in folder.rglob("*_desc-synthetic_pet.nii.gz"))


def of_a_prediction(change: Callable[[str], Change]) -> Change:
    return lambda root: change(predictions(root / "run", 0)[0])(root)


def another_model(root: Path) -> None:
    """A sound model, but that of another fold."""
    shutil.rmtree(root / "run/fold_0/bundle")
    shutil.copytree(root / "run/fold_1/bundle", root / "run/fold_0/bundle")


def a_pipe(root: Path) -> None:
    import os

    path = root / predictions(root / "run", 1)[0]
    path.unlink()
    os.mkfifo(path)


T1, PET = "data/sub-01/anat/sub-01_T1w", "data/sub-02/pet/sub-02_pet"
OF_INPUTS: dict[str, Change] = {
    "T1": image(f"{T1}.nii.gz"),
    "T1 header": header(f"{T1}.nii.gz"),
    "T1 sidecar": text(f"{T1}.json", "{", '{"EchoTime": 1, '),
    "PET": image(f"{PET}.nii.gz"),
    "PET header": header(f"{PET}.nii.gz"),
    "PET sidecar": text(f"{PET}.json", "{", '{"TracerName": "PBR28", '),
    "PET sidecar of the dataset": write("data/pet.json", '{"TracerName": "PBR28"}'),
    "PET sidecar of the person": write("data/sub-02/sub-02_pet.json", '{"InjectedRadioactivity": 1}'),
    "weight of a person": text("data/participants.tsv", "sub-02\t70", "sub-02\t71"),
    "genotype of a person": text("data/participants.tsv", "sub-02\t70\tHAB", "sub-02\t70\tMAB"),
    "group of a person": text("data/participants.tsv", "HC", "MCI"),
    "swapped PETs": swap(f"{PET}.nii.gz", "data/sub-03/pet/sub-03_pet.nii.gz"),
}
OF_OUTPUTS: dict[str, Change] = {
    "deleted prediction": of_a_prediction(delete),
    "edited prediction": of_a_prediction(append),
    "truncated prediction": of_a_prediction(cut),
    "prediction of another": lambda root: swap(
        predictions(root / "run", 0)[0], predictions(root / "run", 1)[0]
    )(root),
    "a pipe as prediction": a_pipe,
    "edited sidecar of a prediction": lambda root: append(
        predictions(root / "run", 1)[0].replace(".nii.gz", ".json")
    )(root),
    "deleted model": delete("run/fold_0/bundle"),
    "another model": another_model,
    "edited weights": append("run/fold_1/bundle/models/model.safetensors"),
    "edited card": append("run/fold_1/bundle/docs/README.md"),
    "another mean PET": image("run/fold_0/mean_pet.nii.gz"),
    "deleted record": delete("run/fold_1/fold.json"),
    "edited record": text("run/fold_1/fold.json", '"epoch": 0', '"epoch": 1'),
    "swapped records": swap("run/fold_0/fold.json", "run/fold_1/fold.json"),
    "record of nothing": write("run/fold_0/fold.json", "{}"),
    "edited curves": text("run/fold_0/checkpoints/metrics.csv", "0", "7"),
    "edited table": append("run/predictions.csv"),
    "deleted table": delete("run/predictions.csv"),
    "edited baselines": text("run/baselines.json", "[", "[3, "),
    "deleted ensemble": delete("run/ensemble"),
    "edited ensemble": append("run/ensemble/configs/metadata.json"),
    "deleted report": delete("run/report.html"),
    "edited report": append("run/report.html"),
    "edited people": append("run/subjects.csv"),
    "deleted evaluation": delete("run/evaluation"),
    "edited evaluation": append("run/evaluation/report.html"),
    "deleted last record": delete(f"run/{crossval.RUN_RECORD}"),
    "edited last record": append(f"run/{crossval.RUN_RECORD}"),
    "edited table of cases": append("run/cases.csv"),
}
OF_THE_CACHE: dict[str, Change] = {
    name: lambda root, what=what: what(next((root / "run/cache").glob("*/entry.json")).parent)  # type: ignore[misc]
    for name, what in {
        "deleted arrays": delete("arrays.npy"),
        "edited arrays": append("arrays.npy"),
        "edited entry": text("entry.json", '"brain_ml": 9.0', '"brain_ml": 8.0'),
        "another sidecar": write("real.json", "{}"),
        "a mask from elsewhere": image("mask.nii.gz"),
    }.items()
}


@pytest.mark.parametrize("name", OF_INPUTS)
def test_after_any_change_of_the_dataset(name: str, root: Path) -> None:
    OF_INPUTS[name](root)
    assert train(root) == 0
    assert train(root, run="fresh/run") == 0
    assert contents(root / "run") == contents(root / "fresh/run")


@pytest.mark.parametrize("name", {**OF_OUTPUTS, **OF_THE_CACHE})
def test_after_any_change_of_the_run(name: str, root: Path) -> None:
    there = contents(root / "run")
    {**OF_OUTPUTS, **OF_THE_CACHE}[name](root)
    assert train(root) == 0
    assert contents(root / "run") == there


def test_what_is_there_is_kept_and_said(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = {path: path.stat().st_mtime_ns for path in (root / "run").rglob("*") if path.is_file()}
    words: list[str] = []
    monkeypatch.setattr(crossval._Part, "log", lambda self, message: words.append(message))
    assert train(root) == 0
    again = {path: path.stat().st_mtime_ns for path in (root / "run").rglob("*") if path.is_file()}
    made = {path.name for path in again if again[path] != there.get(path)}
    assert made <= {"cases.csv", "ready.json", "predictions.csv", "baselines.json", "metrics.csv"}
    assert words == [f"{root / 'run'}: ensemble, evaluation and report are there, kept."]


@pytest.mark.parametrize(
    "more", [["--seed=7"], ["--epochs=9"], ["--register=header"], ["--window", "40", "60"], ["--folds=3"]]
)
def test_other_options_are_another_run(more: list[str], root: Path, capsys: Any) -> None:
    there = contents(root / "run")
    assert train(root, *more) == InputError.exit_code
    assert "another folder" in capsys.readouterr().err and contents(root / "run") == there


def test_another_version_is_another_run(root: Path, monkeypatch: Any, capsys: Any) -> None:
    """Days of training are not thrown away because the program was updated."""
    monkeypatch.setattr("MRI2PETTrainingLib.plan.__version__", "9.9")
    assert train(root) == InputError.exit_code and "version was" in capsys.readouterr().err
