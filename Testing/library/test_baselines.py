"""Baselines as good as they can be: cubic at the PET's resolution, warped average, directions."""

from __future__ import annotations

import io
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from MRI2PETLib.core.names import is_label
from MRI2PETLib.evaluation.baselines import TRAINING_MEAN, WARPED_AVERAGE, Person, predictors
from MRI2PETLib.evaluation.cubic import WIDTHS_MM, Cubic, cubic_sums, fit_cubic
from MRI2PETLib.evaluation.direction import Direction
from MRI2PETLib.preprocessing import warp_file
from MRI2PETLib.preprocessing.brain_mask import extract_brain
from MRI2PETLib.preprocessing.tracers import check_tracer, tracer_label, tracer_name
from MRI2PETLib.preprocessing.warp_file import person_warp
from MRI2PETLib.simulation import SimulatedSubject, simulate_subject
from MRI2PETLib.templates.uptake import population_uptake

PBR28 = Direction(tracer="PBR28")


@pytest.fixture(scope="module")
def subject() -> SimulatedSubject:
    return simulate_subject(31, spacing_mm=3.0)


@pytest.fixture(scope="module")
def affine(subject: SimulatedSubject) -> sitk.Transform:
    fit = extract_brain(subject.t1, mask=subject.brain_mask).template_to_native
    assert fit is not None
    return fit


def array(image: sitk.Image) -> np.ndarray:
    return sitk.GetArrayFromImage(image)


def smoothed_by_hand(image: np.ndarray, inside: np.ndarray, fwhm_mm: float, spacing_mm: float) -> np.ndarray:
    """G(x m) / G(m) by SciPy, of the image with its 1st to 99th percentile at 0 and 1."""
    low, high = np.percentile(image[inside], (1, 99))
    x = np.clip((image - low) / (high - low), 0, 1) * inside
    sigma = fwhm_mm / np.sqrt(8 * np.log(2)) / spacing_mm
    weight = ndimage.gaussian_filter(inside.astype(float), sigma, mode="constant")
    return ndimage.gaussian_filter(x, sigma, mode="constant") / np.maximum(weight, 1e-9)


def correlation(predicted: np.ndarray | None, real: sitk.Image, mask: np.ndarray) -> float:
    assert predicted is not None
    return float(np.corrcoef(predicted[mask], array(real)[mask])[0, 1])


def test_the_cubic_is_the_least_squares_fit_of_the_smoothed_t1() -> None:
    """Against NumPy's polyfit on all voxels, each brain with equal weight, at the width that fits best."""
    people = [simulate_subject(seed, spacing_mm=2.0) for seed in (32, 33)]
    x: dict[float, list[np.ndarray]] = {width: [] for width in WIDTHS_MM}
    y, weights = [], []
    for person in people:
        mask = array(person.brain_mask) > 0
        y.append(array(person.pet)[mask] / array(person.pet)[mask].mean())
        weights.append(np.full(mask.sum(), mask.sum() ** -0.5))
        for width, values in x.items():
            values.append(smoothed_by_hand(array(person.t1).astype(float), mask, width, 2.0)[mask])
    fits, errors = {}, {}
    for width, values in x.items():
        every, target, weight = np.concatenate(values), np.concatenate(y), np.concatenate(weights)
        fits[width] = np.polynomial.polynomial.polyfit(every, target, 3, w=weight)
        errors[width] = np.square(
            (np.polynomial.polynomial.polyval(every, fits[width]) - target) * weight
        ).sum()
    suvr = [p.pet / float(array(p.pet)[array(p.brain_mask) > 0].mean()) for p in people]
    result = fit_cubic([cubic_sums(p.t1, pet, p.brain_mask) for p, pet in zip(people, suvr)])
    best = min(errors, key=lambda width: errors[width])
    assert result.fwhm_mm == best > 0  # a PET is not as sharp as a T1
    probe = np.linspace(0.05, 0.95, 10)
    polyval = np.polynomial.polynomial.polyval
    np.testing.assert_allclose(polyval(probe, result.coefficients), polyval(probe, fits[best]), rtol=2e-3)
    assert errors[best] < errors[0.0]


def test_the_cubic_is_used_as_it_was_fitted(subject: SimulatedSubject) -> None:
    mask = array(subject.brain_mask) > 0
    cubic = Cubic((0.2, 1.0, 0.5, -0.9), 6.0)
    x = smoothed_by_hand(array(subject.t1).astype(float), mask, 6.0, 3.0)
    expected = 0.2 + x + 0.5 * x**2 - 0.9 * x**3
    result = cubic.predict(subject.t1, subject.brain_mask)
    np.testing.assert_allclose(result[mask], expected[mask], atol=2e-3)
    assert Cubic.of(cubic.to_dict()) == cubic
    for broken in (None, {}, {"coefficients": [1, 2]}, {"coefficients": "x", "fwhm_mm": 1}):
        assert Cubic.of(broken) is None


def test_the_null_is_warped_and_the_warp_is_kept(
    subject: SimulatedSubject, affine: sitk.Transform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The warped population map lies better on a person's anatomy than the map placed by the affine."""
    path = tmp_path / "person_warp.npz"
    warp = person_warp(subject.t1, subject.brain_mask, affine, path)
    mask = array(subject.brain_mask) > 0
    synthetic = np.where(mask, 1.0, 0).astype(np.float32)
    by_affine = predictors(synthetic, Person(subject.brain_mask, subject.t1, PBR28, affine))[-1]
    warped = predictors(synthetic, Person(subject.brain_mask, subject.t1, PBR28, affine, warp))[-1]
    assert warped.name == WARPED_AVERAGE and "non-linear" in warped.uses and "affine" in by_affine.uses
    truth = subject.pet_true
    assert correlation(warped.values, truth, mask) > correlation(by_affine.values, truth, mask) + 0.02

    def never(*_: object, **__: object) -> sitk.Transform:
        raise AssertionError("computed again")

    monkeypatch.setattr(warp_file, "warp_to_template", never)
    again = person_warp(subject.t1, subject.brain_mask, affine, path)
    for point in np.random.default_rng(0).uniform(-50, 50, (20, 3)).tolist():
        assert again.TransformPoint(point) == warp.TransformPoint(point)
    with pytest.raises(AssertionError, match="again"):  # of another T1
        person_warp(subject.t1 * 2, subject.brain_mask, affine, path)
    whole = path.read_bytes()
    for damaged in (whole[:100], whole[: len(whole) // 2] + b"\xff" * 100 + whole[len(whole) // 2 + 100 :]):
        path.write_bytes(damaged)
        with pytest.raises(AssertionError, match="again"):
            person_warp(subject.t1, subject.brain_mask, affine, path)
    path.write_bytes(whole)
    with np.load(path) as content:
        key, field = content["key"], content["field"]
    unsound = [
        field[:-1],
        field[..., :2],
        field.astype(np.float64),
        field[None],
        np.array("x"),
        field * np.nan,
    ]
    for other in unsound:
        np.savez_compressed(path, key=key, field=other)
        with pytest.raises(AssertionError, match="again"):
            person_warp(subject.t1, subject.brain_mask, affine, path)
    header = io.BytesIO()  # 6 TB that are not there
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f2", "fortran_order": False, "shape": (10**12, 3)}
    )
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("field.npy", header.getvalue())
    with pytest.raises(AssertionError, match="again"):
        person_warp(subject.t1, subject.brain_mask, affine, path)


def test_a_tracer_without_a_map_has_the_training_mean_as_its_null(
    subject: SimulatedSubject, affine: sitk.Transform
) -> None:
    mask = array(subject.brain_mask) > 0
    synthetic = np.where(mask, 1.0, 0).astype(np.float32)
    mean = population_uptake("PBR28")
    person = Person(subject.brain_mask, subject.t1, Direction(tracer="florbetapir"), affine)
    rows = {row.name: row for row in predictors(synthetic, person, training_mean=mean)}
    assert "no map of florbetapir" in rows[TRAINING_MEAN].reason and rows[TRAINING_MEAN].values is None
    expected = sitk.Resample(mean, subject.t1, affine.GetInverse(), sitk.sitkLinear, 0.0)
    assert correlation(rows[WARPED_AVERAGE].values, expected, mask) > 0.9999
    without = {row.name: row for row in predictors(synthetic, person)}
    assert without[WARPED_AVERAGE].values is None and "florbetapir" in without[WARPED_AVERAGE].reason
    unknown = predictors(synthetic, replace(person, direction=Direction()))[-1]
    assert unknown.values is None and "not stated" in unknown.reason


def test_an_mri_has_baselines_of_its_own(subject: SimulatedSubject, affine: sitk.Transform) -> None:
    """No PET pattern, nothing that has seen the T1: the template's T1 by the affine, a cubic of the PET."""
    mask = array(subject.brain_mask) > 0
    t1 = array(subject.t1)
    person = Person(subject.brain_mask, subject.pet, Direction("PET", "MR"), affine)
    rows = predictors(t1, person, cubic=Cubic((0.0, 1.0, 0.0, 0.0), 0.0))
    assert [row.name for row in rows] == [
        "network",
        "constant",
        "cubic of PET",
        TRAINING_MEAN,
        WARPED_AVERAGE,
    ]
    assert rows[0].uses.startswith("the PET") and "T1 template" in rows[-1].uses and "affine" in rows[-1].uses
    assert correlation(rows[-1].values, subject.t1, mask) > 0.5
    assert correlation(rows[2].values, subject.pet, mask) > 0.95


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("[11C]PBR28", "pbr28"),
        ("trc-PBR28", "pbr28"),
        ("PBR28", "pbr28"),
        ("F-18 DPA-714", "dpa714"),
        ("[18F]DPA714", "dpa714"),
        ("PK11195", "pk11195"),
        ("Florbetapir F^18^", "florbetapir"),
        ("AV-45", "florbetapir"),
        ("PE2I", "pe2i"),
        ("[18F]FE-PE2I", "fepe2i"),
        ("18FFEPE2I", "fepe2i"),
        ("PBR-28", "pbr28"),
        ("11C-PBR28", "pbr28"),
        ("trc-C11PBR28", "pbr28"),
        ("11CPBR28", "pbr28"),
        ("¹¹C-PBR28", "pbr28"),
        ("PBR280", "pbr280"),
        ("F18 FDG", "fdg"),
        ("18FDG", "fdg"),
        ("[18F]FDG", "fdg"),
        ("2-[18F]fluoro-2-deoxy-D-glucose", "fdg"),
        ("FDG Fluorodeoxyglucose F^18^", "fdg"),  # DICOM: the tag, and the meaning of its code
        ("Solution Fluorodeoxyglucose F^18^", "fdg"),
        ("[18F]DOPA", "fdopa"),
        ("[11C]DOPA", "dopa"),
        ("PiB Carbon^11^", "pib"),
        ("(R)-[11C]PK11195", "pk11195"),
        ("[18F]New-One New-One", "newone"),
        ("PBR28 FDG", "pbr28fdg"),  # two tracers are neither
        ("18F", ""),
        ("F-18", ""),
        ("n/a", ""),
        ("Unknown", ""),
        ("", ""),
    ],
)
def test_a_tracer_has_one_name(text: str, name: str) -> None:
    assert tracer_name(text) == name


def test_another_tracer_is_warned_about() -> None:
    (finding,) = check_tracer("[18F]DPA-714", "PBR28", "the model")
    assert finding.level == "warn" and "DPA-714" in finding.message and "PBR28" in finding.message
    assert not check_tracer("[11C]PBR28", "PBR28", "the model")
    assert not check_tracer("", "PBR28", "the model") and not check_tracer("FDG", "", "the model")
    assert not check_tracer("n/a", "PBR28", "the model") and not check_tracer("18F", "PBR28", "the model")
    (finding,) = check_tracer("[11C]PE2I", "FE-PE2I", "the model")
    assert finding.code == "other-tracer"
    (finding,) = check_tracer("New-One", "PBR28", "the model")
    assert finding.code == "tracer-not-recognised" and "'New-One'" in finding.message
    assert not check_tracer("[18F]New-One", "newone", "the model")


@pytest.mark.parametrize(
    "tracer", ["PBR28", "[18F]DPA-714", "[11C]New-One 7", "n/a", "x" * 40, "[18F]XYZ XYZ"]
)
def test_the_label_of_a_tracer_names_it_and_can_stand_in_a_file_name(tracer: str) -> None:
    label = tracer_label(tracer)
    assert label == "" if tracer == "n/a" else is_label(label)
    assert len(tracer) == 40 or tracer_name(label) == tracer_name(tracer)
