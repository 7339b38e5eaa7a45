"""What a PET did not measure enters no number: NaN, planes of zeros at an end, outside of the volume."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from evaluation_cases import like, predicted, sidecar
from MRI2PETLib.core.errors import InputError
from MRI2PETLib.evaluation.case import evaluate_case
from MRI2PETLib.evaluation.inputs import CasePaths, load_case
from MRI2PETLib.images.grid import FWHM_PER_SIGMA
from MRI2PETLib.images.io import read_image, write_image
from MRI2PETLib.preprocessing.pet import read_pet
from MRI2PETLib.preprocessing.pet_alignment import align_pet_to_t1
from MRI2PETLib.preprocessing.pet_measured import measured_voxels
from MRI2PETLib.preprocessing.pet_template import built_in_pet_template, register_pet_to_template
from MRI2PETLib.preprocessing.template_warp import warp_to_template
from MRI2PETLib.simulation import SimulatedSubject, simulate_subject

CUT = 16  # slices at the bottom: about a tenth of the brain


@pytest.fixture(scope="module")
def person() -> SimulatedSubject:
    return simulate_subject(4, spacing_mm=3.0, head=True)


def cut(person: SimulatedSubject, fill: float, slices: int = CUT + 4) -> sitk.Image:
    """The PET without its lowest slices, which hold ``fill``."""
    values = sitk.GetArrayFromImage(person.pet)
    values[:slices] = fill
    return like(values, person.pet)


def first_slice_of_brain(person: SimulatedSubject) -> int:
    inside = sitk.GetArrayViewFromImage(person.brain_mask).any(axis=(1, 2))
    return int(np.flatnonzero(inside)[0])


def test_planes_of_zeros_that_cut_through_the_uptake_were_not_measured() -> None:
    ball = sum(np.square(axis - 20.0) for axis in np.indices((41, 41, 41))) < 15**2
    values = np.where(ball, 1.0, 0.0)
    assert measured_voxels(values).all(), "air around a ball is air"
    for axis in range(3):
        for end in (slice(0, 14), slice(27, None)):
            planes = [slice(None)] * 3
            planes[axis] = end
            expected = np.ones(values.shape, bool)
            expected[tuple(planes)] = False
            for fill in (0.0, -1.0, 1e-6):
                filled = values.copy()
                filled[tuple(planes)] = fill
                assert np.array_equal(measured_voxels(filled), expected)
        gap = values.copy()
        planes[axis] = slice(18, 20)
        gap[tuple(planes)] = 0
        expected = np.ones(values.shape, bool)
        expected[tuple(planes)] = False
        assert np.array_equal(measured_voxels(gap), expected), "slices that are missing"
    hole = values.copy()
    hole[18:22, 18:22, 18:22] = 0
    assert measured_voxels(hole).all(), "a cold spot is a measurement"
    hole[18:22] = np.nan
    assert np.array_equal(measured_voxels(hole), np.isfinite(hole))


@pytest.mark.parametrize("parametric", [False, True])
def test_a_tracer_of_the_striatum_was_measured_in_the_whole_brain(parametric: bool) -> None:
    """A brain of a twentieth of the striatum, as of a dopamine transporter, is weak, not outside."""
    k, j, i = np.indices((60, 72, 60)) - np.array([30.0, 36.0, 30.0]).reshape(3, 1, 1, 1)
    brain = (k / 22) ** 2 + (j / 29) ** 2 + (i / 23) ** 2 < 1
    striatum = (k / 5) ** 2 + (j / 8) ** 2 + ((np.abs(i) - 8) / 3) ** 2 < 1
    values = ndimage.gaussian_filter(np.where(striatum, 20.0, 1.0) * brain, 1.0) * brain
    if parametric:
        noise = np.random.default_rng(1).normal(scale=0.5, size=values.shape)
        values = (values - 1 + ndimage.gaussian_filter(noise, 0.5)) * brain
    assert measured_voxels(values)[brain].all()
    values[:22] = 0
    assert not measured_voxels(values)[:22].any(), "its field of view ends as that of any other"


def test_the_edge_of_a_resampled_field_of_view_is_found(person: SimulatedSubject) -> None:
    """Oblique to the array: what lies behind it was not measured, and hardly anything else is lost."""
    turn = sitk.Euler3DTransform((0.0, 0.0, 0.0), 0.2, -0.12, 0.3)
    turned = lambda image: sitk.GetArrayFromImage(sitk.Resample(image, turn, sitk.sitkLinear))  # noqa: E731
    slices = first_slice_of_brain(person) + 12
    view = sitk.GetArrayFromImage(person.brain_mask) * 0.0 + 1
    view[:slices] = 0
    share = turned(like(view.astype(np.float32), person.pet))
    brain = turned(sitk.Cast(person.brain_mask, sitk.sitkFloat32)) > 0.5
    stripped = sitk.Mask(person.pet, person.brain_mask)
    for pet in (person.pet, stripped):
        assert measured_voxels(turned(pet))[brain].all(), "a head that ends in air, a stripped brain"
        values = sitk.GetArrayFromImage(pet)
        values[:slices] = 0
        measured = measured_voxels(turned(like(values, pet)))
        outside = brain & (share < 0.999)
        assert outside.sum() > 0.05 * brain.sum()
        assert not measured[outside].mean() > 0.01
        assert measured[brain & ~outside].mean() > 0.97
        hole = turned(like(values, pet))
        k, j, i = (int(n) for n in np.argwhere(brain & ~outside).mean(axis=0))
        hole[k - 2 : k + 3, j - 2 : j + 3, i - 2 : i + 3] = 0
        assert measured_voxels(hole)[k, j, i], "a cold spot is a measurement"


@pytest.mark.parametrize("traces", ["cubic", "noise", "residue"])
def test_traces_behind_the_end_of_a_scan_are_no_uptake(person: SimulatedSubject, traces: str) -> None:
    """A cubic spline (how images are resliced) rings behind the end; some programs leave weak noise there."""
    values = sitk.GetArrayFromImage(person.pet)
    brain = sitk.GetArrayViewFromImage(person.brain_mask) > 0
    filled = np.flatnonzero(brain.any(axis=(1, 2)))
    end = int(np.quantile(filled, 0.3))
    high = float(np.percentile(values[brain], 98))

    def changed(image: np.ndarray, noise: float) -> np.ndarray:
        if traces == "cubic":
            return ndimage.shift(image, (0.5, 0, 0), order=3)
        return image + noise * np.abs(np.random.default_rng(0).normal(size=image.shape))

    behind = np.zeros_like(values) if traces != "residue" else 0.02 * values
    cut = np.where(np.arange(len(values))[:, None, None] < end, behind, values)
    measured = measured_voxels(changed(cut, 0.01 * high))
    assert not measured[:end].any()
    assert measured[end + 1 :].all()
    assert measured_voxels(changed(values, 0.01 * high))[brain].all()


@pytest.mark.parametrize("fwhm_mm", [0.0, 6.0, 12.0])
@pytest.mark.parametrize("stripped", [False, True])
def test_a_scan_that_was_cut_and_then_smoothed_was_not_measured_where_it_fades(
    person: SimulatedSubject, fwhm_mm: float, stripped: bool
) -> None:
    """The share of each voxel that zeros make up is known: what is left has at most a tenth of them."""
    brain = sitk.GetArrayViewFromImage(person.brain_mask) > 0
    values = sitk.GetArrayFromImage(sitk.Mask(person.pet, person.brain_mask) if stripped else person.pet)
    sigma = fwhm_mm / FWHM_PER_SIGMA / 3.0
    assert measured_voxels(ndimage.gaussian_filter(values, sigma))[brain].all(), "a whole scan"
    for axis, at_start, quantile in ((0, True, 0.25), (0, False, 0.85), (1, False, 0.8)):
        along = np.flatnonzero(brain.any(axis=tuple({0, 1, 2} - {axis})))
        end = int(np.quantile(along, quantile))
        view = np.ones_like(values)
        np.moveaxis(view, axis, 0)[slice(0, end) if at_start else slice(end, None)] = 0
        measured = measured_voxels(ndimage.gaussian_filter(values * view, sigma))
        share = ndimage.gaussian_filter(view, sigma)
        assert not measured[brain & (share < 0.9)].any()
        assert measured[brain & (share > 0.995)].mean() > 0.999


@pytest.mark.parametrize("stripped", [False, True])
def test_a_scan_that_was_cut_resliced_and_smoothed_was_not_measured_where_it_fades(
    person: SimulatedSubject, stripped: bool
) -> None:
    """The plane of the cut is oblique to the array: as a PET is prepared for statistics."""
    turn = sitk.Euler3DTransform((0.0, 0.0, 0.0), 0.2, -0.12, 0.3)

    def prepared(values: np.ndarray) -> np.ndarray:
        turned = sitk.Resample(like(values.astype(np.float32), person.pet), turn, sitk.sitkLinear)
        return ndimage.gaussian_filter(sitk.GetArrayFromImage(turned), 6.0 / FWHM_PER_SIGMA / 3.0)

    brain = sitk.GetArrayFromImage(person.brain_mask)
    values = sitk.GetArrayFromImage(sitk.Mask(person.pet, person.brain_mask) if stripped else person.pet)
    view = np.ones_like(values)
    view[: int(np.quantile(np.flatnonzero(brain.any(axis=(1, 2))), 0.3))] = 0
    inside, share = prepared(brain) > 0.5, prepared(view)
    assert measured_voxels(prepared(values))[inside].all()
    measured = measured_voxels(prepared(values * view))
    assert measured[inside & (share < 0.9)].mean() < 0.01
    assert measured[inside & (share > 0.995)].mean() > 0.98


@pytest.mark.parametrize("change", ["none", "linear", "cubic", "smoothed"])
@pytest.mark.parametrize("off_mm", [0.0, 15.0])
@pytest.mark.parametrize("stripped", [False, True])
def test_outside_of_a_round_field_of_view_nothing_was_measured(
    person: SimulatedSubject, change: str, off_mm: float, stripped: bool
) -> None:
    """A cylinder of 126 mm about the axis of the scanner, zeros outside of it."""
    brain = sitk.GetArrayViewFromImage(person.brain_mask) > 0
    values = sitk.GetArrayFromImage(sitk.Mask(person.pet, person.brain_mask) if stripped else person.pet)
    middle = np.argwhere(brain).mean(axis=0)[1:] + (off_mm / 3.0, 0)
    rows, columns = np.ogrid[: values.shape[1], : values.shape[2]]
    view = np.zeros_like(values) + (np.hypot(rows - middle[0], columns - middle[1]) < 21)
    changed = {
        "none": lambda image: image,
        "linear": lambda image: ndimage.shift(image, (0.5, 0.5, 0.5), order=1),
        "cubic": lambda image: ndimage.shift(image, (0.5, 0.5, 0.5), order=3),
        "smoothed": lambda image: ndimage.gaussian_filter(image, 0.8),
    }[change]
    assert measured_voxels(changed(values))[brain].all()
    for fill in (0.0, np.nan):
        if np.isnan(fill) and change != "none":
            continue
        measured = measured_voxels(np.where(changed(view) > 0, changed(values * view), fill))
        outside = brain & (changed(view) < 0.9)
        assert outside.sum() > 0.15 * brain.sum()
        assert measured[outside].mean() < 0.02
        assert measured[brain & (changed(view) > 0.99)].mean() > 0.9


@pytest.mark.parametrize("sigma", [0.0, 0.7, 1.0])
def test_a_round_field_of_view_that_is_cut_and_smoothed(person: SimulatedSubject, sigma: float) -> None:
    brain = sitk.GetArrayViewFromImage(person.brain_mask) > 0
    middle = np.argwhere(brain).mean(axis=0)
    rows, columns = np.ogrid[: brain.shape[1], : brain.shape[2]]
    view = np.zeros(brain.shape, np.float32) + (np.hypot(rows - middle[1], columns - middle[2]) < 21)
    view[: int(np.quantile(np.flatnonzero(brain.any(axis=(1, 2))), 0.3))] = 0
    measured = measured_voxels(ndimage.gaussian_filter(sitk.GetArrayFromImage(person.pet) * view, sigma))
    share = ndimage.gaussian_filter(view, sigma)
    assert measured[brain & (share < 0.9)].mean() < 0.02
    assert measured[brain & (share > 0.99)].mean() > 0.9


@pytest.mark.parametrize("fill", [0.0, np.nan, -1.0])
def test_the_metrics_are_those_of_what_was_measured(
    person: SimulatedSubject, tmp_path: Path, fill: float
) -> None:
    slices = first_slice_of_brain(person) + 12
    synthetic = like(predicted(person), person.t1)
    paths = {
        "synthetic": write_image(synthetic, tmp_path / "syn.nii.gz", sidecar(person)),
        "mask": write_image(person.brain_mask, tmp_path / "mask.nii.gz"),
    }
    pet = write_image(cut(person, fill, slices), tmp_path / "pet.nii.gz", {"Units": "SUVR"})
    case = load_case(CasePaths(pet=pet, **paths))
    brain = sitk.GetArrayFromImage(person.brain_mask) > 0
    share = brain[slices:].sum() / brain.sum()
    assert 0.7 < share < 0.97
    assert case.provenance["alignment"]["coverage"] == pytest.approx(share, abs=1e-3)
    assert "pet-field-of-view" in [f.code for f in case.verdict.findings]
    brain[:slices] = False
    real, made = (sitk.GetArrayFromImage(i)[brain].astype(float) for i in (person.pet, synthetic))
    result = evaluate_case(case)
    network = result.scales["stated"]["network"]
    assert network["mse"] == pytest.approx(np.square(real - made).mean(), rel=1e-4)
    rows = {row.region: row for row in result.regions if (row.predictor, row.scale) == ("network", "stated")}
    whole = rows["whole brain"]
    assert whole.covered == pytest.approx(share, abs=1e-3) and whole.n_voxels == brain.sum()
    stem, thalamus = rows["brainstem"], rows["left thalamus"]
    assert stem.covered < 0.9 and stem.mean_real is None and stem.metrics == {}
    assert stem.reason in (
        "outside the field of view of the PET",
        f"only {100 * stem.covered:.0f} % of it is inside the field of view of the PET",
    )
    assert thalamus.covered == 1 and thalamus.mean_real is not None and not thalamus.reason
    messages = [f.message for f in result.verdict.findings if f.code == "region-not-measured"]
    assert len(messages) == 1 and "brainstem" in messages[0]


def test_the_fit_to_a_pet_template_looks_at_what_was_measured(person: SimulatedSubject) -> None:
    """Regions of a PET without its lowest part lie where they lie in the whole PET. With its zeros taken for
    uptake they were 2.5 mm off (root mean square).
    """
    template = built_in_pet_template()
    end = first_slice_of_brain(person) + 12
    in_view = np.ones(sitk.GetArrayViewFromImage(person.pet).shape, np.uint8)
    in_view[:end] = 0
    measured = like(in_view, person.pet)
    whole = register_pet_to_template(person.pet, template)
    part = register_pet_to_template(sitk.Mask(person.pet, measured), template, measured)
    assert part.correlation > 0.9 * whole.correlation
    brain = sitk.GetArrayViewFromImage(person.brain_mask) > 0
    share = brain[end:].sum() / brain.sum()
    assert part.coverage == pytest.approx(share, abs=0.02) and whole.coverage > 0.99
    assert [f.code for f in part.verdict.findings] == ["pet-field-of-view"]
    warps = [
        warp_to_template(image, fit.around, fit.template_to_pet, fixed=template, measured=inside)
        for image, fit, inside in ((person.pet, whole, None), (cut(person, 0.0, end), part, measured))
    ]
    points = [
        person.pet.TransformIndexToPhysicalPoint(index[::-1].tolist())
        for index in np.argwhere(brain & (in_view > 0))[::99]
    ]
    away = [np.subtract(*(warp.TransformPoint(point) for warp in warps)) for point in points]
    assert np.sqrt(np.square(away).sum(axis=1).mean()) < 1.0


def test_unmeasured_voxels_do_not_leak_into_others(person: SimulatedSubject, tmp_path: Path) -> None:
    """Resampled by half a voxel along the scan, the first measured slice keeps its level."""
    slices = first_slice_of_brain(person) + 12
    image = cut(person, np.nan, slices)
    pet = read_pet(write_image(image, tmp_path / "pet.nii.gz", {"Units": "SUV"}))
    assert np.isfinite(sitk.GetArrayViewFromImage(pet.image)).all()
    assert pet.measured is not None and not sitk.GetArrayViewFromImage(pet.measured)[:slices].any()
    shifted = sitk.Image(person.t1)
    shifted.SetOrigin(np.add(person.t1.GetOrigin(), (0, 0, 0.75)).tolist())
    mask = sitk.Image(person.brain_mask)
    mask.CopyInformation(shifted)
    aligned = align_pet_to_t1(pet, shifted, mask, register="header")
    result, inside = sitk.GetArrayFromImage(aligned.image), sitk.GetArrayFromImage(aligned.measured) > 0
    whole = sitk.GetArrayFromImage(person.pet)
    brain = sitk.GetArrayViewFromImage(person.brain_mask) > 0
    edge = brain[slices] & inside[slices]
    assert edge.any() and result[slices][edge].mean() > 0.9 * whole[slices][edge].mean()
    assert not result[~inside].any()


def test_nan_around_a_t1_is_background_and_inside_it_is_damage(
    person: SimulatedSubject, tmp_path: Path
) -> None:
    brain = sitk.GetArrayViewFromImage(person.brain_mask) > 0
    values = np.where(brain, sitk.GetArrayFromImage(person.t1), np.nan).astype(np.float32)
    t1 = read_image(write_image(like(values, person.t1), tmp_path / "spm.nii.gz"), kind="t1")
    assert np.array_equal(sitk.GetArrayFromImage(t1.image), np.nan_to_num(values))
    assert t1.verdict.level == "ok"
    k, j, i = (int(n) for n in np.argwhere(brain).mean(axis=0))
    values[k - 5 : k + 5, j - 5 : j + 5, i - 5 : i + 5] = np.nan
    write_image(like(values, person.t1), tmp_path / "hole.nii.gz")
    with pytest.raises(InputError, match="not finite"):
        read_image(tmp_path / "hole.nii.gz", kind="t1")


@pytest.mark.parametrize("radius", [6.0, 9.0, 12.0])
def test_large_voxels_do_not_cut_a_head(radius: float) -> None:
    """An ellipsoid of few voxels has flat faces, which are no edges of a field of view."""
    rng = np.random.default_rng(int(radius))
    for _ in range(20):
        radii, centre = radius * rng.uniform(0.8, 1.2, 3), 15 + rng.uniform(-0.5, 0.5, 3)
        index = np.indices((31, 31, 31)) - centre[:, None, None, None]
        inside = (np.square(index / radii[:, None, None, None]).sum(axis=0) < 1).astype(float)
        assert measured_voxels(inside).all()
