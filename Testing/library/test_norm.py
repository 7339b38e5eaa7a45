"""A norm of people whose truth is known: shared pattern, own noise, planted changes."""

from __future__ import annotations

import gzip
import json
import shutil
import struct
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from MRI2PETLib.core.checksums import sha256_of, sha256_of_value
from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.progress import Reporter, no_progress
from MRI2PETLib.evaluation.cohort_cases import CohortCase
from MRI2PETLib.evaluation.spaces import mni_grid
from MRI2PETLib.normative import run as run_of_norm
from MRI2PETLib.normative.build import (
    ALL_VOXELS,
    assemble,
    choose_controls,
    fit_norm,
    norm_covariates,
    notes_on_repeated,
    partly_stated,
    regions_on,
    shared_tracer,
    shared_window,
    source_of_run,
)
from MRI2PETLib.normative.card import KIND_NAMES, what_the_t1_adds, write_norm_card, write_norm_regions
from MRI2PETLib.normative.case import check_model, check_reference, check_window
from MRI2PETLib.normative.design import NormCovariate, design_row, parse_covariates
from MRI2PETLib.normative.norm import Norm, PredictedBy
from MRI2PETLib.normative.norm_folder import CARD_FILE, NORM_FILE, read_norm, write_norm
from MRI2PETLib.normative.person import CONDITIONAL, KINDS, UNCONDITIONAL, MniPerson, RegionSet, read_out
from MRI2PETLib.normative.score import score_person, z_on_t1
from MRI2PETLib.normative.settings import NormSettings
from MRI2PETLib.reports.norm_summary import summary_of_score
from MRI2PETLib.reports.norm_tables import cluster_tables
from MRI2PETLib.reports.page import number_text

FWHM_MM = 8.0
ROW = np.ones(1)


@pytest.fixture(scope="module")
def template() -> np.ndarray:
    return sitk.GetArrayFromImage(mni_grid()) != 0


def person(template: np.ndarray, seed: int, added: np.ndarray | float = 0.0) -> MniPerson:
    """Real = predicted + own noise; what is predicted varies three times as much over people."""
    rng = np.random.default_rng(seed)
    shared, own = (ndimage.gaussian_filter(rng.standard_normal(template.shape), 2) for _ in range(2))
    predicted = 1.2 + 1.5 * shared
    real = predicted + 0.05 + 0.5 * own + added
    return MniPerson(*(np.where(template, i, np.nan) for i in (real, predicted)), template)


def about(covariates: Sequence[NormCovariate] = (), **more: Any) -> dict[str, Any]:
    return {
        "unit": "SUVR",
        "reference_region": "brain mask",
        "tracer": "PBR28",
        "group": "control",
        "n_people": 24,
        "n_scans": 24,
        "simulated": True,
        "demonstration": False,
        "fwhm_mm": FWHM_MM,
        "threshold": 3.0,
        "covariates": tuple(covariates),
        "predicted_by": PredictedBy("lab-fold0", "lab", "1", ("a" * 64, "b" * 64)),
        "window_min": (60.0, 90.0),
        "notes": (),
        "source": "",
        "request": "",
        **more,
    }


def readouts(template: np.ndarray, seeds: Sequence[int]) -> dict[str, list[Any]]:
    grid, regions = mni_grid(), RegionSet.of(regions_on(mni_grid()))
    return {
        f"person{seed}": [read_out(person(template, seed), regions, grid, FWHM_MM).inside(template)]
        for seed in seeds
    }


@pytest.fixture(scope="module")
def norm(template: np.ndarray) -> Norm:
    parcellations = regions_on(mni_grid())
    scans = readouts(template, range(24))
    data = assemble(scans, np.ones((24, 1)), template, RegionSet.of(parcellations))
    return fit_norm(data, parcellations, about(), NormSettings(fwhm_mm=FWHM_MM), no_progress)


def test_controls_who_are_not_in_it_have_mean_0_and_sd_1(norm: Norm, template: np.ndarray) -> None:
    """20 new people: z of regions over all of them, and of voxels."""
    scores = [score_person(norm, person(template, 1000 + n), ROW) for n in range(20)]
    for kind in KINDS:
        z = np.array([score.z[kind][norm.inside] for score in scores])
        assert z.mean() == pytest.approx(0, abs=0.1)
        assert z.std() == pytest.approx(1, abs=0.06)
    regional = np.array([[row.z for row in score.regions] for score in scores], dtype=float)
    assert regional.std() == pytest.approx(1, abs=0.12)
    assert np.array([s.asymmetry[0].z for s in scores]).std() == pytest.approx(1, abs=0.35)


def test_the_t1_explains_what_it_explains(norm: Norm) -> None:
    """Variances: shared 2.25, own .25 of one kind: nine tenths; by the T1 changes are seen better."""
    share = norm.about.explained[ALL_VOXELS]
    assert share.share == pytest.approx(0.9, abs=0.02)
    assert share.low < 0.9 < share.high
    assert what_the_t1_adds(share).endswith("it adds.")
    assert "not shown to add" in what_the_t1_adds(share._replace(low=-0.1))
    assert "noise" in what_the_t1_adds(share._replace(low=-0.3, high=-0.1))


def test_a_prediction_of_another_model_is_told() -> None:
    """By the checksum of the weights where both have one, else by names and versions."""
    lab = PredictedBy("lab-fold3", "lab", "2.1.0")
    assert check_model({"id": "lab-ensemble", "version": "2.1.0"}, lab) == ()
    assert check_model({}, lab) == check_model({"id": "lab"}, PredictedBy()) == ()
    (finding,) = check_model({"id": "tspo-demo"}, lab)
    assert finding.code == "norm-other-model" and "model tspo-demo, those" in finding.message
    (finding,) = check_model({"id": "lab-fold3", "version": "2.0.0"}, lab)
    assert "by the model lab 2.0.0, those of the controls were by lab 2.1.0." in finding.message
    weights = replace(lab, checksums=("a" * 64, "b" * 64))
    own = {"id": "lab-ensemble", "version": "2.1.0"}
    assert check_model({**own, "sha256": "b" * 64}, weights) == ()
    assert check_model({"id": "renamed", "sha256": "b" * 64}, weights) == ()
    (finding,) = check_model({**own, "sha256": "c" * 64}, weights)
    assert "lab 2.1.0 with other weights (cccccccccccc), those" in finding.message


def test_pets_of_other_minutes_than_those_of_the_controls_are_told() -> None:
    """Scans of one protocol differ by a few minutes; what nobody states is not compared."""
    norm = (60.0, 90.0)
    assert (
        check_window(None, norm) == check_window((40.0, 60.0), None) == check_window((58.0, 91.0), norm) == ()
    )
    (finding,) = check_window((40.0, 60.0), norm)
    assert finding.code == "norm-other-window" and "40 to 60 min" in finding.message
    assert shared_window({"a": [60, 90], "b": (61, 91)}) == ((60, 90), [])
    assert shared_window({"a": (60, 90), "b": None}) == shared_window({}) == (None, [])
    window, (note,) = shared_window({"a": (60, 90), "b": (40, 60), "c": (60, 90), "d": None})
    assert window is None and note.endswith("different minutes: 2 of 60 to 90 min, 1 of 40 to 60 min.")


def test_controls_of_several_tracers_are_told() -> None:
    """Whatever the spelling; those that state none are not counted."""
    assert shared_tracer(["PBR28", "", "[11C]PBR28"]) == ("[11C]PBR28", [])
    assert shared_tracer(["", ""]) == ("", [])
    tracer, (note,) = shared_tracer(["PBR28", "FDG"])
    assert tracer == "" and note.endswith("different tracers: PBR28, FDG.")


def test_a_planted_residual_of_two_sd_reads_two(norm: Norm, template: np.ndarray) -> None:
    """In a region and in every voxel: the score of the person without it, and 2 more, by the normal scores of
    t; within the standard error of the SD, 2 / sqrt(2 * 23), and of the shrunk ones less.
    """
    own = person(template, 50)
    regions = norm.regions
    number = regions.keys.index(("paper21", "right putamen"))
    model = norm.models["regions"][CONDITIONAL]
    planted = np.zeros(template.size)
    expected = model.expected(ROW)[number]
    base = read_out(own, regions, norm.grid, 0.0).regions[CONDITIONAL][number]
    planted[regions.index[number]] = expected + 2 * model.prediction_sd(ROW)[number] - base
    real = own.real + planted.reshape(template.shape)
    row = score_person(norm, replace(own, real=real), ROW).regions[number]
    assert row.z == pytest.approx(2, abs=2 * 2 / np.sqrt(2 * 23))
    assert row.percentile == pytest.approx(97.7, abs=2.5)
    voxels = norm.models["voxels"][CONDITIONAL]
    z = voxels.z(voxels.expected(ROW) + 2 * voxels.prediction_sd(ROW), ROW)
    assert z.mean() == pytest.approx(2, abs=0.15)


def test_a_focus_is_where_it_was_planted(norm: Norm, template: np.ndarray) -> None:
    """A focus at MNI (30, -60, 40): peak within a voxel of 6 mm, seen by the T1 and not without it."""
    grid = norm.grid
    points = np.array([grid.TransformIndexToPhysicalPoint(p[::-1].tolist()) for p in np.argwhere(template)])
    near = np.linalg.norm(points - np.array([-30.0, 60.0, 40.0]), axis=1) < 15
    added = np.zeros(template.shape)
    added[template] = 0.35 * near
    scores = score_person(norm, person(template, 77, added), ROW)
    first = scores.clusters[0]
    assert (first.kind, first.sign) == (CONDITIONAL, "higher")
    assert np.linalg.norm(np.array([first.x_ras_mm, first.y_ras_mm, first.z_ras_mm]) - (30, -60, 40)) < 13
    assert first.p_peak == pytest.approx(1 / 25)
    summary = summary_of_score(norm, scores)
    assert summary.kind == "refuse" and summary.table is not None
    assert "Farther from the controls than 95 % of them are from each other: z (real" in summary.verdict
    by_t1, without = summary.table.rows
    finest = first.region.split(", ")[-1]
    assert by_t1[:2] == [KIND_NAMES[CONDITIONAL], f"{first.peak_z:.1f}"] and finest in str(by_t1[2])
    assert by_t1[3] == "0.040" and without[0] == KIND_NAMES[KINDS[1]]
    share = norm.about.calibration[CONDITIONAL][0]
    assert by_t1[5] == number_text(100 * share.beyond_196)  # voxels depend on each other: no interval
    calm = summary_of_score(norm, score_person(norm, person(template, 1003), ROW))
    assert calm.kind == "ok" and "Nowhere farther" in calm.verdict
    assert "right" in first.region
    assert abs(first.peak_z) > scores.thresholds[CONDITIONAL]
    assert max([abs(c.peak_z) for c in scores.clusters if c.kind == UNCONDITIONAL], default=0) < first.peak_z


def test_nineteen_controls_are_enough_for_a_verdict(norm: Norm, template: np.ndarray) -> None:
    """Farther than all 19 is a p of 1 / 20, and beyond the threshold of 5 % that the report states."""
    maxima = {family: {k: v[-19:] for k, v in own.items()} for family, own in norm.about.maxima.items()}
    few = replace(norm, about=replace(norm.about, n_people=19, n_scans=19, maxima=maxima))
    scores = score_person(few, person(template, 77, 0.5), ROW)
    first = scores.clusters[0]
    limit = scores.thresholds[CONDITIONAL]
    assert limit is not None and abs(first.peak_z) > limit and first.p_peak == 1 / 20
    summary = summary_of_score(few, scores)
    assert summary.kind == "refuse" and cluster_tables(scores)[0][0].lead
    fewer = replace(few, about=replace(few.about, n_people=18, n_scans=18))
    assert "19 are needed" in summary_of_score(fewer, scores).verdict


def written(norm: Norm, folder: Path) -> Path:
    folder.mkdir()
    write_norm_card(folder, norm)
    write_norm_regions(folder, norm)
    write_norm(folder, norm)
    return folder


def test_what_is_written_is_what_is_read(norm: Norm, template: np.ndarray, tmp_path: Path) -> None:
    folder = written(norm, tmp_path / "norm")
    again = read_norm(folder)
    assert again.about == norm.about
    own = person(template, 60)
    before, after = (score_person(n, own, ROW) for n in (norm, again))
    for kind in KINDS:
        assert np.allclose(before.z[kind], after.z[kind], atol=1e-3, equal_nan=True)
    assert [r.z for r in before.regions] == pytest.approx([r.z for r in after.regions])
    assert "control" in (folder / CARD_FILE).read_text()
    assert "person" not in (folder / NORM_FILE).read_text().lower().replace("people", "")


def test_a_norm_of_another_version_says_so(norm_folder: Path) -> None:
    with pytest.raises(InputError, match="'mri2pet-norm-1', this version reads") as error:
        read_norm(resigned(norm_folder, lambda c: c.update(format="mri2pet-norm-1")))
    assert "Build the norm again" in error.value.hint


def test_a_region_that_some_controls_do_not_cover_says_on_how_many_it_rests(
    norm: Norm, template: np.ndarray, tmp_path: Path
) -> None:
    """Of 24 controls, 3 and 6 are cut off in two regions: 20 are needed."""
    regions = norm.regions
    scans = readouts(template, range(24))
    few, none = (regions.keys.index(("paper21", f"{side} putamen")) for side in ("left", "right"))
    for number, (scan,) in enumerate(scans.values()):
        for region, cut in ((few, 3), (none, 6)):
            for kind in KINDS:
                scan.regions[kind][region] *= np.nan if number < cut else 1
    data = assemble(scans, np.ones((24, 1)), template, regions)
    uneven = fit_norm(data, norm.parcellations, about(), NormSettings(fwhm_mm=FWHM_MM), no_progress)
    again = read_norm(written(uneven, tmp_path / "norm"))
    rows = score_person(again, person(template, 60), ROW).regions
    assert [(rows[n].controls, rows[n].z is None) for n in (few, none)] == [(21, False), (18, True)]
    assert rows[few].remark == "it rests on 21 of 24 controls"
    assert rows[none].remark == "it was measured in 18 of 24 controls only; 20 are needed"
    card = (tmp_path / "norm" / CARD_FILE).read_text()
    assert "regions: paper21 / left putamen (21). Without a z: paper21 / right putamen (18)." in card


@pytest.mark.parametrize("damage", ["map", "value", "missing", "link", "format"])
def test_an_altered_norm_is_refused(damage: str, norm: Norm, tmp_path: Path) -> None:
    folder = written(norm, tmp_path / "norm")
    target = folder / "maps" / "residual_sd.nii.gz"
    content = json.loads((folder / NORM_FILE).read_text())
    if damage == "map":
        shutil.copyfile(folder / "maps" / "residual_mean.nii.gz", target)
    elif damage == "value":
        content["n_people"] = 400
    elif damage == "missing":
        target.unlink()
    elif damage == "link":
        target.rename(tmp_path / "elsewhere.nii.gz")
        target.symlink_to(tmp_path / "elsewhere.nii.gz")
    else:
        content["models"]["regions"]["real"]["variance"].pop()
        content.pop("checksum")
        content["checksum"] = sha256_of_value(content)
    (folder / NORM_FILE).write_text(json.dumps(content))
    with pytest.raises(InputError, match="altered|lacks|link|not a norm"):
        read_norm(folder)


def resigned(folder: Path, edit: Callable[[dict[str, Any]], object]) -> Path:
    """A norm whose maker edited it and made the checksums fit."""
    content = json.loads((folder / NORM_FILE).read_text())
    content.pop("checksum")
    edit(content)
    for name in content["files"]:
        if (folder / name).is_file():
            content["files"][name] = sha256_of(folder / name)
    (folder / NORM_FILE).write_text(json.dumps({**content, "checksum": sha256_of_value(content)}))
    return folder


def regional(name: str, value: Any) -> Callable[[dict[str, Any]], object]:
    return lambda c: c["models"]["regions"]["residual"][name].__setitem__(0, value)


OF_A_STRANGER: dict[str, Callable[[dict[str, Any]], object]] = {
    "threshold nan": lambda c: c.update(threshold="nan"),
    "threshold 0": lambda c: c.update(threshold=0.0),
    "no threshold": lambda c: c.update(threshold=None),
    "window of no length": lambda c: c.update(window_min=[90, 60]),
    "window nan": lambda c: c.update(window_min=["nan", 60]),
    "model": lambda c: c["predicted_by"].update(id={"x": 1}),
    "checksums of a model": lambda c: c["predicted_by"].update(checksums=[1]),
    "fwhm inf": lambda c: c.update(fwhm_mm="inf"),
    "fwhm": lambda c: c.update(fwhm_mm=1e9),
    "tracer of a shell": lambda c: c.update(tracer="$(x)"),
    "tracer of a path": lambda c: c.update(tracer="<script>"),
    "tracer": lambda c: c.update(tracer=["PBR28"]),
    "few people": lambda c: c.update(n_people=3, n_scans=3),
    "no people": lambda c: c.update(n_people=0),
    "true people": lambda c: c.update(n_people=True),
    "more people": lambda c: c.update(n_people=10**7, n_scans=10**7),
    "SD 0": regional("variance", 0.0),
    "SD below 0": regional("variance", -1.0),
    "SD nan": regional("variance", "nan"),
    "SD inf": regional("variance", "inf"),
    "mean missing": lambda c: c["models"]["regions"]["residual"]["coefficients"][0].__setitem__(0, None),
    "count of nobody": regional("count", -1),
    "count of too many": regional("count", 10**6),
    "count missing": regional("count", None),
    "inverse": lambda c: c["models"]["regions"]["residual"].update(inverse=[[-1.0]]),
    "inverse below 0": lambda c: c["models"]["regions"]["residual"]["inverse"][0].__setitem__(0, -1.0),
    "inverse missing": lambda c: c["models"]["regions"]["residual"]["inverse"][0].__setitem__(0, None),
    "prior": lambda c: c["models"]["voxels"]["real"].update(prior=["nan", 1.0]),
    "maxima nan": lambda c: c["maxima"]["voxels"]["real"].__setitem__(0, "nan"),
    "maxima below 0": lambda c: c["maxima"]["voxels"]["real"].__setitem__(0, -1),
    "maxima of too many": lambda c: c["maxima"]["voxels"].update(real=[1.0] * 99),
    "explained": lambda c: c["explained"].update(voxels=["nan", 0, 1, ""]),
    "calibration": lambda c: c["calibration"].update(x=[["x", 1, "inf", 1, 1, 1, 1, 1]]),
    "escape": lambda c: c.update(notes=["\x1b[2J"]),
    "long text": lambda c: c.update(group="x" * 10**6),
    "covariates": lambda c: c.update(covariates=[c_age := {"name": "age", "names": [], "centre": []}, c_age]),
    "nothing explained": lambda c: c["explained"].pop(ALL_VOXELS),
    "no calibration": lambda c: c["calibration"].pop(CONDITIONAL),
    "no dictionary": lambda c: c.update(models=[]),
    "label": lambda c: c["parcellations"][0].__setitem__(1, {"nan": "x"}),
    "another file": lambda c: c["files"].update({"../x": "0"}),
    "a program": lambda c: c["files"].update({"model/run.py": "0"}),
    "many files": lambda c: c["files"].update({f"labels/{n}.json": "0" for n in range(1000)} | {"x": "0"}),
}


@pytest.mark.parametrize("name", OF_A_STRANGER)
def test_a_norm_of_a_stranger_makes_sense_or_is_refused(name: str, norm_folder: Path) -> None:
    with pytest.raises(InputError, match="not a norm of this version|--fwhm-mm|--threshold"):
        read_norm(resigned(norm_folder, OF_A_STRANGER[name]))


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf])
@pytest.mark.parametrize("name", ["residual_sd", "real_mean", "inverse0"])
def test_maps_of_a_stranger_are_numbers(name: str, value: float, norm_folder: Path, norm: Norm) -> None:
    """An SD of 0 stands for none in an image: no score there, not a score without limit."""
    import nibabel as nib

    path = norm_folder / "maps" / f"{name}.nii.gz"
    image = nib.load(path)
    values = np.asarray(image.dataobj).copy()
    inside = np.argwhere(values != 0)[0]
    values[tuple(inside)] = value
    nib.save(nib.Nifti1Image(values, image.affine, image.header), path)
    resigned(norm_folder, lambda c: None)
    if (value == 0 and name != "inverse0") or (value < 0 and name == "real_mean"):
        again = read_norm(norm_folder)
        sd = again.models["voxels"][CONDITIONAL].prediction_sd(ROW)
        assert np.count_nonzero(~np.isfinite(sd)) == (name == "residual_sd")
        z = again.models["voxels"][CONDITIONAL].z(np.ones(sd.size), ROW)
        assert np.count_nonzero(~np.isfinite(z)) == (name == "residual_sd")
    else:
        with pytest.raises(InputError, match="not a norm of this version"):
            read_norm(norm_folder)


@pytest.mark.parametrize("change", ["size", "spacing", "format"])
def test_headers_of_a_norm_are_checked_first(change: str, norm_folder: Path) -> None:
    path = norm_folder / "maps" / "count.nii.gz"
    header = bytearray(gzip.decompress(path.read_bytes())[:352])
    if change == "size":
        header[40:56] = struct.pack("<8h", 3, 30000, 30000, 30000, 1, 1, 1, 1)
    elif change == "spacing":
        header[80:92] = struct.pack("<3f", 1e30, 1e30, 1e30)
    else:
        header[70:72] = struct.pack("<h", 999)
    path.write_bytes(gzip.compress(bytes(header)))
    resigned(norm_folder, lambda c: None)
    with pytest.raises(InputError, match="count"):
        read_norm(norm_folder)


@pytest.fixture
def norm_folder(norm_once: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(norm_once, tmp_path / "norm"))


@pytest.fixture(scope="module")
def norm_once(norm: Norm, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(norm, tmp_path_factory.mktemp("once") / "norm")


def test_a_damaged_norm_of_another_run_is_not_replaced(norm: Norm, norm_folder: Path, tmp_path: Path) -> None:
    """One of the same run is built again, one that says nothing is somebody's."""
    resigned(norm_folder, lambda c: c.update(source=source_of_run(tmp_path)))
    assert run_of_norm._norm_in(norm_folder, tmp_path) is not None
    with pytest.raises(InputError, match="the norm of another run"):
        run_of_norm._norm_in(norm_folder, tmp_path / "other")
    (norm_folder / "maps" / "count.nii.gz").unlink()
    assert run_of_norm._norm_in(norm_folder, tmp_path) is None
    with pytest.raises(InputError, match="the norm of another run"):
        run_of_norm._norm_in(norm_folder, tmp_path / "other")
    (norm_folder / NORM_FILE).write_text("{")
    with pytest.raises(InputError, match="the norm of another run"):
        run_of_norm._norm_in(norm_folder, tmp_path)


def test_age_and_sex_are_allowed_for(template: np.ndarray) -> None:
    """Residuals that grow with age: old controls who are not in the norm are normal all the same."""
    rng = np.random.default_rng(0)
    ages, sexes = rng.uniform(20, 80, 24), ["F", "M"] * 12
    values = [{"age": float(a), "sex": s} for a, s in zip(ages, sexes)]
    age = NormCovariate("age", (), (float(ages.mean()),), float(ages.min()), float(ages.max()))
    sex = NormCovariate("sex", ("F", "M"), (0.5,))
    design = np.array([design_row((age, sex), v) for v in values])
    parcellations = regions_on(mni_grid())
    regions = RegionSet.of(parcellations)
    scans = {
        str(n): [
            read_out(person(template, n, 0.01 * v["age"]), regions, mni_grid(), FWHM_MM).inside(template)
        ]
        for n, v in enumerate(values)
    }
    data = assemble(scans, design, template, regions)
    settings = NormSettings(fwhm_mm=FWHM_MM)
    norm = fit_norm(data, parcellations, about((age, sex)), settings, no_progress)
    model = norm.models["voxels"][CONDITIONAL]
    assert np.median(model.coefficients[1]) == pytest.approx(0.01, abs=0.002)
    old, findings = parse_covariates((age, sex), ["age=85", "sex=M"])
    assert [f.code for f in findings] == ["norm-range"]
    z = score_person(norm, person(template, 91, 0.85), design_row((age, sex), old)).z[CONDITIONAL]
    assert np.nanmean(z) == pytest.approx(0, abs=0.6)


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["age=60"], "allows for sex"),
        (["age=60", "sex=X"], "No control"),
        (["age=60", "sex=unknown"], "says nothing"),
        (["age=999", "sex=F"], "no person's"),
        (["age=-9", "sex=F"], "no person's"),
        (["age=1e9", "sex=F"], "no person's"),
        (["age=inf", "sex=F"], "no person's"),
        (["age=old", "sex=F"], "no number"),
        (["age=nan", "sex=F"], "says nothing"),
        (["age=60", "sex=F", "site=A"], "does not allow for site"),
        (["age", "sex=F"], "cannot be used"),
        (["age=60", "age=61", "sex=F"], "cannot be used"),
    ],
)
def test_what_a_norm_allows_for_must_be_stated(texts: list[str], words: str) -> None:
    age, sex = NormCovariate("age", (), (50.0,), 20.0, 80.0), NormCovariate("sex", ("F", "M"), (0.5,))
    with pytest.raises(InputError, match=words):
        parse_covariates((age, sex), texts)


def test_a_person_is_described_in_any_spelling() -> None:
    age, sex = NormCovariate("age", (), (50.0,), 20.0, 80.0), NormCovariate("sex", ("F", "M"), (0.5,))
    (status,) = norm_covariates(cases(12, amyloid=["A+", "a+", "A-"]), ("amyloid",))
    covariate = NormCovariate.of(status, list(status.values))
    assert covariate.names == ("A+", "A-") and covariate.read("a-")[0] == "A-"
    for text in ("F", "f", "Female"):
        assert parse_covariates((age, sex), ["age=60 years", f"sex={text}"])[0] == {"age": 60.0, "sex": "F"}
    assert parse_covariates((age, sex), ["age=62,5", "sex=F"])[0]["age"] == 62.5


def cases(n: int, **columns: Sequence[str]) -> list[CohortCase]:
    result = []
    for number in range(n):
        own = {name: values[number % len(values)] for name, values in columns.items()}
        group = own.pop("group", "")
        paths = (Path("synthetic.nii.gz"), Path("pet.nii.gz"), Path("T1.nii.gz"))
        name = f"case{number}"
        result.append(CohortCase(name, name, "0", *paths, None, group=group, others=own))
    return result


def test_who_the_controls_are() -> None:
    mixed = cases(24, group=["Control", "patient"])
    group, controls = choose_controls(mixed, NormSettings())
    assert (group, len(controls)) == ("Control", 12)
    assert choose_controls(mixed, NormSettings(group="PATIENT"))[0] == "patient"
    assert choose_controls(cases(10), NormSettings())[0] == ""
    with pytest.raises(InputError, match="9 controls; a norm needs 10"):
        choose_controls(cases(9), NormSettings())
    assert len(choose_controls(cases(9), NormSettings(allow_few=True))[1]) == 9
    with pytest.raises(InputError, match="3 controls; a norm needs 4"):
        choose_controls(cases(3), NormSettings(allow_few=True))
    for name in ("HC", "healthy controls", "CN"):
        assert choose_controls(cases(24, group=["AD", name]), NormSettings())[0] == name
    with pytest.raises(InputError, match="groups HC, control, not one of them called control"):
        choose_controls(cases(24, group=["control", "HC"]), NormSettings())
    with pytest.raises(InputError, match="not one of them called control"):
        choose_controls(cases(24, group=["a", "b"]), NormSettings())
    with pytest.raises(InputError, match="no group 'c'"):
        choose_controls(cases(24, group=["a", "b"]), NormSettings(group="c"))


def test_which_covariates_a_norm_has() -> None:
    own = cases(12, age=["50", "60", "70"], sex=["F"], genotype=[""])
    assert [c.name for c in norm_covariates(own, ())] == ["age"]
    assert norm_covariates(own, ("none",)) == []
    with pytest.raises(InputError, match="same sex"):
        norm_covariates(own, ("sex",))
    with pytest.raises(InputError, match="dose has numbers beyond 1e\\+06"):  # a norm of it could not be read
        norm_covariates(cases(12, dose=["1.8e8", "1.9e8"]), ("dose",))
    with pytest.raises(InputError, match="dose has 999 beside 290 to 310: a code for what is missing"):
        norm_covariates(cases(12, dose=["290", "310", "999"]), ("dose",))
    (coded,) = norm_covariates(cases(12, sex=["0", "1"]), ("sex",))  # names, not numbers
    assert set(coded.values.values()) == {"0", "1"}
    some = cases(12, age=["50", "", "70"], sex=["F"], genotype=[""])
    assert norm_covariates(some, ()) == [] and partly_stated(some, ("age",)) == []
    assert [note.split(".")[0] for note in partly_stated(some, ())] == [
        "The norm does not allow for age: 4 of 12 controls have none"
    ]
    some = cases(12, age=["50", "", "70"], sex=["F", "M"])  # sex is not lost by what the hint says
    assert "--covariates sex --covariates age allows for it" in partly_stated(some, ())[0]


def test_controls_of_two_reference_regions_are_refused(tmp_path: Path) -> None:
    """They have no common mean; a region by name brings them together."""
    own = [replace(case, synthetic=tmp_path / f"{case.case}.nii.gz") for case in cases(12)]
    for number, case in enumerate(own):
        region = ("cerebellum", "whole brain")[number % 2]
        case.synthetic.with_name(f"{case.case}.json").write_text(json.dumps({"ReferenceRegion": region}))

    def build(settings: NormSettings) -> None:
        run_of_norm.build_norm(tmp_path, own, settings, (), tmp_path / "norm", Reporter())

    with pytest.raises(InputError, match="different regions: brain mask, cerebellum"):
        build(NormSettings())
    assert not (tmp_path / "norm").exists()
    with pytest.raises(InputError) as error:  # of the images, which are not there
        build(NormSettings(reference_region="cerebellum"))
    assert "different regions" not in str(error.value)


def test_a_norm_says_that_a_mean_of_scans_varies_less_than_one() -> None:
    assert notes_on_repeated(20, 20) == []
    assert "31 scans of 20 controls" in notes_on_repeated(20, 31)[0]


def test_another_reference_region_is_refused(norm: Norm, tmp_path: Path) -> None:
    pet = tmp_path / "pet.nii.gz"
    (tmp_path / "pet.json").write_text('{"Units": "SUVR", "ReferenceRegion": "cerebellum"}')
    with pytest.raises(InputError, match="SUVR by cerebellum, the norm is of SUVR by brain mask"):
        check_reference(pet, norm)
    (tmp_path / "pet.json").write_text('{"Units": "SUVR", "ReferenceRegion": "Brain mask"}')
    check_reference(pet, norm)
    for region in ("pons", ""):
        unmeasured = replace(norm, about=replace(norm.about, reference_region=region))
        with pytest.raises(InputError, match="cannot be measured here"):
            check_reference(pet, unmeasured)


def test_a_map_lies_on_the_t1_as_it_lies_in_mni_space(norm: Norm) -> None:
    """z = MNI x / 30 and a T1 that is shifted by 12 mm: world positions agree."""
    grid = norm.grid
    z = np.full(norm.inside.shape, np.nan)
    index = np.argwhere(norm.inside)
    points = np.array([grid.TransformIndexToPhysicalPoint(p[::-1].tolist()) for p in index])
    z[norm.inside] = points[:, 0] / 30
    mask = sitk.Image(grid)
    mask.SetOrigin((np.array(grid.GetOrigin()) + (12, 0, 0)).tolist())
    image = z_on_t1(norm, z, mask, sitk.TranslationTransform(3, (-12.0, 0.0, 0.0)))
    point = (-30.0, 20.0, 10.0)
    where = mask.TransformPhysicalPointToIndex(point)
    x = mask.TransformIndexToPhysicalPoint(where)[0]
    assert image[where] == pytest.approx((x - 12) / 30, abs=1e-4)
