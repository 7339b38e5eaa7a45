"""Every case is prepared once; what changed or is damaged is prepared again; what cannot be is said."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.progress import QuietReporter
from MRI2PETLib.models.model_space import ModelSpace
from MRI2PETTrainingLib.dataset.cache import ARRAYS, ENTRY, REAL, PreparedCase, prepare_cases
from MRI2PETTrainingLib.dataset.checks import check_manifest
from MRI2PETTrainingLib.dataset.manifest import read_dataset
from MRI2PETTrainingLib.dataset.preflight import CASES, prepare_dataset
from MRI2PETTrainingLib.settings import TrainingSettings
from small_datasets import as_image, brain, rows_of, write_dataset, write_pair, write_table

pytestmark = pytest.mark.usefixtures("quick_registration")

SPACE = ModelSpace(size=(24, 24, 24), spacing_mm=8.0)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("Daten für uns") / "ds", ["s1", "s2", "s3"])


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def prepare(root: Path, cache: Path, space: ModelSpace = SPACE) -> dict[str, PreparedCase]:
    manifest, hashes = check_manifest(read_dataset(root))
    prepared, failed = prepare_cases(manifest.used, hashes, space, cache, workers=1)
    assert not failed
    return prepared


def times(prepared: dict[str, PreparedCase]) -> dict[str, int]:
    return {name: (entry.folder / ENTRY).stat().st_mtime_ns for name, entry in prepared.items()}


def test_a_case_is_prepared_once_and_a_damaged_entry_again(dataset: Path, cache: Path) -> None:
    first = prepare(dataset, cache)
    made = times(first)
    assert times(prepare(dataset, cache)) == made
    before = np.array(first["s2"].arrays())
    path = first["s2"].folder / ARRAYS
    content = bytearray(path.read_bytes())
    content[-100] ^= 0xFF
    path.write_bytes(content)
    (first["s3"].folder / REAL).unlink()
    again = prepare(dataset, cache)
    assert times(again)["s1"] == made["s1"]
    assert times(again)["s2"] != made["s2"] and times(again)["s3"] != made["s3"]
    np.testing.assert_array_equal(again["s2"].arrays(), before)


def test_an_entry_holds_what_the_model_sees(dataset: Path, cache: Path) -> None:
    entry = prepare(dataset, cache)["s1"]
    source, target, mask = np.array(entry.arrays(), dtype=np.float64)
    assert set(np.unique(mask)) == {0, 1} and source.min() >= 0 and source.max() <= 1
    assert target[mask > 0].mean() == pytest.approx(0.5, abs=0.02)  # SUVR / 2
    real = sitk.GetArrayFromImage(sitk.ReadImage(str(entry.folder / REAL)))
    inside = brain(0)[2] > 0
    assert real[inside].mean() == pytest.approx(1, abs=1e-4)
    assert entry.about["unit"] == "SUV" and entry.about["model_unit"] == "SUVR"
    assert entry.about["tracer"] == "PBR28"


def test_where_the_scale_of_the_target_ends_is_told(dataset: Path, cache: Path, tmp_path: Path) -> None:
    """A slab of one person at 2.5 times the uptake: beyond SUVR 2, where the target ends."""
    root = tmp_path / "ds"
    shutil.copytree(dataset / "s1", root / "s1")
    image = sitk.ReadImage(str(root / "s1" / "PET.nii.gz"))
    values = sitk.GetArrayFromImage(image)
    values[:, 10:13] *= 2.5
    hot = sitk.GetImageFromArray(values)
    hot.CopyInformation(image)
    sitk.WriteImage(hot, str(root / "s1" / "PET.nii.gz"))
    entry = prepare(root, cache)["s1"]
    _, target, mask = entry.arrays()
    share = 100 * np.mean(target[mask > 0] >= 1)
    (finding,) = [f for f in entry.findings if f.code == "scale-end"]
    assert share > 2 and f"SUVR 2 in {share:.1f} % of the brain" in finding.message


def test_other_settings_are_another_entry(dataset: Path, cache: Path, tmp_path: Path) -> None:
    other = ModelSpace(size=(24, 24, 24), spacing_mm=7.5)
    one = write_dataset(tmp_path, ["s1"])
    a, b = prepare(dataset, cache)["s1"], prepare(one, cache, other)["s1"]
    assert a.folder != b.folder


def bad_dataset(root: Path, kind: str) -> tuple[Path, str]:
    """A dataset of one good and one bad case, and what must be said about it."""
    write_dataset(root, ["good"])
    write_pair(root / "bad", 7)
    t1, pet, _ = brain(7)
    path = root / "bad" / "PET.nii.gz"
    if kind == "missing PET":
        path.unlink()
        return root, "PET.nii.gz does not exist"
    if kind == "4D without times":
        frames = sitk.JoinSeries([as_image(pet), as_image(pet * 2)])
        sitk.WriteImage(frames, str(path))
        return root, "has 2 frames, but its JSON sidecar has no FrameTimesStart"
    if kind == "cut short":
        path.write_bytes(path.read_bytes()[:5000])
        return root, "PET.nii.gz"
    if kind == "not an image":
        (root / "bad" / "T1.nii.gz").write_bytes(b"\x1f\x8bnonsense")
        return root, "T1.nii.gz"
    if kind == "no brain in the PET":
        noise = np.random.default_rng(0).random(pet.shape, np.float32)
        sitk.WriteImage(as_image(noise), str(path))
        return root, "fits nearly as well"
    if kind == "constant":
        sitk.WriteImage(as_image(np.full_like(t1, 3.0)), str(root / "bad" / "T1.nii.gz"))
        return root, "has a single value"
    raise AssertionError(kind)


@pytest.mark.parametrize(
    "kind",
    ["missing PET", "4D without times", "cut short", "not an image", "no brain in the PET", "constant"],
)
def test_bad_cases_stop_the_run_or_are_left_out(tmp_path: Path, cache: Path, kind: str) -> None:
    root, message = bad_dataset(tmp_path / "Schöne Daten", kind)
    run = tmp_path / "run"
    run.mkdir()
    arguments = (run, cache, SPACE)
    settings = TrainingSettings(str(root), str(run), workers=1)
    with pytest.raises(InputError, match="1 of 2 cases cannot be used. bad: ") as caught:
        prepare_dataset(*arguments, settings, reporter=QuietReporter())
    assert message in caught.value.message and "--exclude-bad" in caught.value.hint
    assert message in (run / CASES).read_text(encoding="utf-8")
    settings = replace(settings, exclude_bad=True)
    manifest, prepared = prepare_dataset(*arguments, settings, reporter=QuietReporter())
    assert list(prepared) == ["good"]
    assert message in next(case.exclude for case in manifest.cases if case.case == "bad")


def test_mixed_units_are_refused(tmp_path: Path, cache: Path) -> None:
    root = write_dataset(tmp_path / "ds", ["s1", "s2"])
    (root / "s2" / "PET.json").write_text(json.dumps({"Units": "SUVR"}))
    settings = TrainingSettings(str(root), str(tmp_path), workers=1)
    with pytest.raises(InputError, match="different units: 1 in SUV, 1 in SUVR"):
        prepare_dataset(tmp_path, cache, SPACE, settings, reporter=QuietReporter())


def test_scans_of_one_subject_with_brains_of_other_sizes_are_told(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "ds", ["s1", "s2"])
    t1, pet, mask = brain(1)
    for name, array in (("T1", t1), ("PET", pet), ("brain_mask", mask)):
        sitk.WriteImage(as_image(array, 6.6), str(root / "s2" / f"{name}.nii.gz"))
    rows = rows_of(root)
    for row in rows:
        row |= {"subject": "one", "mask": f"{row['case']}/brain_mask.nii.gz"}
    write_table(root, rows)
    settings = TrainingSettings(str(root), str(tmp_path), workers=1)
    manifest, _ = prepare_dataset(tmp_path, tmp_path / "cache", SPACE, settings, reporter=QuietReporter())
    assert any("two people under one id" in f.message for f in manifest.findings["s2"])


def test_a_dynamic_pet_is_averaged_over_60_to_90_minutes(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "ds", ["s1"])
    _, pet, _ = brain(0)
    frames = sitk.JoinSeries([as_image(pet * f) for f in (50.0, 1.0, 3.0)])
    sitk.WriteImage(frames, str(root / "s1" / "PET.nii.gz"))
    about = {"Units": "SUV", "FrameTimesStart": [0, 3600, 4500], "FrameDuration": [3600, 900, 900]}
    (root / "s1" / "PET.json").write_text(json.dumps(about))
    entry = prepare(root, tmp_path / "cache")["s1"]
    real = sitk.GetArrayFromImage(sitk.ReadImage(str(entry.folder / REAL)))
    inside = brain(0)[2] > 0
    np.testing.assert_allclose(real[inside], pet[inside] / pet[inside].mean(), rtol=1e-3)


def test_another_sidecar_is_another_entry(tmp_path: Path, cache: Path) -> None:
    """Units and frame times decide the target as the images do."""
    root = write_dataset(tmp_path / "ds", ["s1"])
    first = prepare(root, cache)["s1"]
    (root / "s1" / "PET.json").write_text("{}")
    second = prepare(root, cache)["s1"]
    assert (first.about["unit"], second.about["unit"]) == ("SUV", "unknown")
    assert first.folder != second.folder


@pytest.mark.parametrize(
    ("genotypes", "message"),
    [(["HAB", ""], "'s2' has no genotype"), (["HAB", "GG"], "'s2' has the genotype 'GG'")],
)
def test_a_missing_genotype_is_never_assumed(tmp_path: Path, genotypes: list[str], message: str) -> None:
    root = write_dataset(tmp_path / "ds", ["s1", "s2"])
    write_table(root, [{**row, "genotype": g} for row, g in zip(rows_of(root), genotypes)])
    settings = TrainingSettings(str(root), str(tmp_path), adjust_genotype=True, workers=1)
    with pytest.raises(InputError, match=message):
        prepare_dataset(tmp_path, tmp_path / "cache", SPACE, settings, reporter=QuietReporter())


def test_window_of_the_manifest_and_of_the_run(tmp_path: Path) -> None:
    """A dynamic PET whose frames are the PET and its square; the window says which one is prepared."""
    root = write_dataset(tmp_path / "ds", ["s1", "s2"])
    for name in ("s1", "s2"):
        pet = sitk.ReadImage(str(root / name / "PET.nii.gz"))
        frames = sitk.JoinSeries([pet, pet * pet])
        sitk.WriteImage(frames, str(root / name / "PET.nii.gz"))
        times = {"FrameTimesStart": [3000, 4200], "FrameDuration": [1200, 1200]}
        (root / name / "PET.json").write_text(json.dumps({"Units": "SUV", **times}))
    rows = [
        {
            "case": n,
            "subject": n,
            "t1": f"{n}/T1.nii.gz",
            "pet": f"{n}/PET.nii.gz",
            "mask": f"{n}/brain_mask.nii.gz",
        }
        for n in ("s1", "s2")
    ]
    write_table(root, [{**rows[0], "window_min": "70-90"}, {**rows[1], "window_min": ""}])
    made, heard = {}, []
    for window in ((50.0, 70.0), (70.0, 90.0)):
        settings = TrainingSettings(str(root), str(tmp_path), window=window, workers=1)
        reporter = QuietReporter()
        heard.append([])
        reporter.warning = heard[-1].append  # type: ignore[method-assign]
        _, made[window] = prepare_dataset(tmp_path, tmp_path / "cache", SPACE, settings, reporter=reporter)
    first, second = made.values()
    assert first["s1"].about["window_min"] == [70, 90] and first["s2"].about["window_min"] == [50, 70]
    assert first["s1"].folder == second["s1"].folder and first["s2"].folder != second["s2"].folder
    assert any("different minutes after the injection: 1 of 70 to 90 min" in w for w in heard[0])
    assert not any("different minutes" in w for w in heard[1])
    early, late = (np.array(m["s2"].arrays())[1] for m in (first, second))
    assert np.abs(early - late).max() > 0.05
