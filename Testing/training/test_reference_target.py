"""A model whose target is SUVR by a named region: cache, network, predictions, comparison and norm alike."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from MRI2PETLib.cli import main
from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.progress import Reporter
from MRI2PETLib.evaluation.cohort_cases import read_run_scans
from MRI2PETLib.evaluation.inputs import load_case
from MRI2PETLib.evaluation.reference_region import reference_mask
from MRI2PETLib.evaluation.settings import CasePaths, EvaluationSettings
from MRI2PETLib.images.formats import sidecar_path
from MRI2PETLib.images.io import read_image
from MRI2PETLib.models.bundle import read_bundle
from MRI2PETLib.models.model_space import ModelSpace
from MRI2PETLib.normative.norm_folder import read_norm
from MRI2PETLib.normative.run import _reference_of
from MRI2PETLib.preprocessing.warp_file import person_warp
from MRI2PETTrainingLib import command
from MRI2PETTrainingLib.dataset.cache import PreparedCase
from MRI2PETTrainingLib.dataset.genotype import adjust
from MRI2PETTrainingLib.dataset.manifest import TrainingCase
from small_datasets import PRESET, rows_of, write_dataset, write_table

pytestmark = pytest.mark.usefixtures("quick_registration")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four people, SUVR by the cerebellum; their PETs are in SUV."""
    folder = tmp_path_factory.mktemp("run")
    root = write_dataset(folder / "data", ["p1", "p2", "p3", "p4"])
    write_table(root, [{**row, "mask": f"{row['case']}/brain_mask.nii.gz"} for row in rows_of(root)])
    (folder / "tiny.json").write_text(json.dumps(PRESET))
    arguments = ["train", root, "-o", folder / "run", "--preset", folder / "tiny.json", "--folds", 2]
    arguments += ["--reference-region", "cerebellum", "--device", "cpu", "--workers", 1, "--progress", "none"]
    assert main([str(a) for a in arguments], {"train": command}) == 0
    return folder / "run"


def test_a_target_of_a_region_keeps_what_is_far_above_one() -> None:
    space = ModelSpace().by_region("cerebellum")
    assert (space.output_unit, space.reference_region, space.named_reference) == (
        "SUVR",
        "cerebellum",
        "cerebellum",
    )
    assert ModelSpace.from_dict(space.to_dict()) == space
    assert "cerebellum" in space.unit_meaning and "brain mask" in ModelSpace().unit_meaning
    assert ModelSpace().by_region("whole brain") == ModelSpace()
    with pytest.raises(InputError, match="A reference region is of SUVR"):
        ModelSpace(target="minmax").by_region("cerebellum")


def test_the_mean_in_the_region_is_one_in_every_file(run: Path) -> None:
    """Target of the network (a quarter of it), the real PET of the predictions; the brain's mean is not 1."""
    cases = {case.case: case for case in read_run_scans(run, Reporter())}
    assert _reference_of(list(cases.values())) == "cerebellum"  # a norm of this run is by it
    for case in cases.values():
        for path in (case.synthetic, case.real):
            about = json.loads(sidecar_path(path).read_text())
            assert (about["Units"], about["ReferenceRegion"]) == ("SUVR", "cerebellum")
            assert about["UnitsMeaning"] == "ratio to the mean in the cerebellum"
        loaded = load_case(case.paths, EvaluationSettings())
        region = reference_mask("cerebellum", loaded.mask, loaded.warp)
        inside, brain = (sitk.GetArrayViewFromImage(image) != 0 for image in (region, loaded.mask))
        real = sitk.GetArrayViewFromImage(loaded.real)
        assert real[inside].mean() == pytest.approx(1, abs=2e-3)
        assert abs(real[brain].mean() - 1) > 0.005
    for path in (run / "cache").glob("*/arrays.npy"):
        _, target, mask = np.load(path).astype(float)
        entry = json.loads((path.parent / "entry.json").read_text())["about"]
        real, brain = (
            sitk.GetArrayFromImage(sitk.ReadImage(str(path.parent / name)))
            for name in ("real.nii.gz", "mask.nii.gz")
        )
        # The network's voxels have 8 mm, so the rim of the brain differs.
        assert target[mask > 0].mean() == pytest.approx(0.25 * real[brain > 0].mean(), rel=0.06)
        assert (entry["reference_region"], entry["target_factor"]) == ("cerebellum", 0.25)


def test_model_evaluation_and_comparison_say_and_use_the_region(run: Path) -> None:
    bundle = read_bundle(run / "ensemble")
    assert bundle.metadata["target"]["reference_region"] == "cerebellum"
    assert "ratio to the mean in the cerebellum" in bundle.card()
    with (run / "evaluation" / "scans.csv").open(encoding="utf-8", newline="") as stream:
        assert {row["case"] for row in csv.DictReader(stream)} == {"p1", "p2", "p3", "p4"}
    case = read_run_scans(run, Reporter())[0]
    source = run.parent / "data" / case.case
    paths = CasePaths(case.synthetic, source / "PET.nii.gz", source / "T1.nii.gz", case.mask)
    with pytest.raises(InputError, match="cannot be compared"):
        load_case(paths, EvaluationSettings())
    # The measured PET in SUV becomes SUVR by the region of the model; the prediction stays as it is.
    rescaled = load_case(paths, EvaluationSettings(to_synthetic_unit=True))
    saved = sitk.GetArrayFromImage(sitk.ReadImage(str(case.real)))
    inside = sitk.GetArrayViewFromImage(rescaled.mask) != 0
    assert sitk.GetArrayViewFromImage(rescaled.real)[inside] == pytest.approx(saved[inside], rel=1e-3)
    predicted = sitk.GetArrayFromImage(sitk.ReadImage(str(case.synthetic)))
    assert sitk.GetArrayViewFromImage(rescaled.synthetic) == pytest.approx(predicted)
    assert rescaled.provenance["rescaling"]["name"] == "cerebellum"


def test_two_suvr_of_different_regions_are_not_compared(run: Path, tmp_path: Path) -> None:
    case = read_run_scans(run, Reporter())[0]
    other = tmp_path / "real.nii.gz"
    other.write_bytes(case.real.read_bytes())
    about = json.loads(sidecar_path(case.real).read_text())
    sidecar_path(other).write_text(json.dumps({**about, "ReferenceRegion": "pons"}))
    paths = CasePaths(case.synthetic, other, case.t1, case.mask)
    with pytest.raises(InputError, match="SUVR by the cerebellum, .* by pons"):
        load_case(paths, EvaluationSettings())
    del about["ReferenceRegion"]
    sidecar_path(other).write_text(json.dumps(about))
    findings = load_case(paths, EvaluationSettings()).verdict.findings
    assert "reference-not-stated" in [f.code for f in findings]


def test_an_adjusted_pet_is_divided_by_its_region_again(run: Path, tmp_path: Path) -> None:
    """Two people of each genotype: without it the cerebellum's mean is off by the difference there."""
    entries = []
    for path, genotype in zip(sorted((run / "cache").glob("*/entry.json")), ("HAB", "MAB", "HAB", "MAB")):
        about = json.loads(path.read_text())["about"]
        name, source = about["case"], run.parent / "data" / about["case"]
        case = TrainingCase(name, name, source / "T1.nii.gz", source / "PET.nii.gz", genotype=genotype)
        entries.append(PreparedCase(case, path.parent, about))
    adjusted, _, _ = adjust(tmp_path, entries, [], [])
    for before, after in zip(entries, adjusted):
        whole = sitk.ReadImage(str(after.folder / "mask.nii.gz"))
        t1 = read_image(after.case.t1, kind="t1").image
        warp = person_warp(t1, whole, after.template_to_t1, after.folder / "warp.npz")
        real, measured = (sitk.GetArrayFromImage(image) for image in after.real())
        region = sitk.GetArrayFromImage(reference_mask("cerebellum", whole, warp)) != 0
        assert real[region & (measured > 0)].mean() == pytest.approx(1, abs=1e-6)
        old = sitk.GetArrayFromImage(before.real()[0])
        assert np.abs(real - old).max() > 0.01
        # The network's target moves with it.
        ratios = [e.arrays()[1].astype(float).sum() / r.sum() for e, r in ((before, old), (after, real))]
        assert ratios[0] == pytest.approx(ratios[1], rel=0.01)


def test_a_norm_and_a_score_are_by_the_region(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Built and scored by the commands, without a word about the region; another one is refused."""
    norm = tmp_path / "norm"
    arguments = ["normative", "build", run, "-o", norm, "--allow-few", "--progress", "none"]
    assert main([str(a) for a in arguments]) == 0
    about = read_norm(norm).about
    assert (about.unit, about.reference_region) == ("SUVR", "cerebellum")
    case = read_run_scans(run, Reporter())[0]
    source, out = run.parent / "data" / case.case, tmp_path / "out"
    rest = ["--t1", source / "T1.nii.gz", "--mask", source / "brain_mask.nii.gz", "--norm", norm]
    rest += ["--synthetic", case.synthetic, "--progress", "none"]
    assert main(["normative", "score", *map(str, [source / "PET.nii.gz", *rest, "-o", out])]) == 0
    real, saved = (sitk.GetArrayFromImage(sitk.ReadImage(str(p))) for p in (out / "real.nii.gz", case.real))
    inside = sitk.GetArrayFromImage(sitk.ReadImage(str(source / "brain_mask.nii.gz"))) > 0
    assert real[inside] == pytest.approx(saved[inside], rel=1e-3)  # the PET in SUV came to the norm's unit
    other = tmp_path / "pons.nii.gz"
    other.write_bytes(case.real.read_bytes())
    sidecar_path(other).write_text('{"Units": "SUVR", "ReferenceRegion": "pons"}')
    capsys.readouterr()
    assert (
        main(["normative", "score", *map(str, [other, *rest, "-o", tmp_path / "other"])])
        == InputError.exit_code
    )
    assert "SUVR by pons, the norm is of SUVR by cerebellum" in capsys.readouterr().err
