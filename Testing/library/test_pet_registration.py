"""Rigid PET -> T1 on simulated PETs of known pose: target registration error over brain points."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from MRI2PETLib.core.errors import Cancelled, InputError
from MRI2PETLib.images.grid import affine_matrix
from MRI2PETLib.images.io import read_image
from MRI2PETLib.preprocessing import pet_registration
from MRI2PETLib.preprocessing.pet_registration import register_pet_to_t1
from MRI2PETLib.preprocessing.pose_search import all_rotations, angle_deg
from MRI2PETLib.preprocessing.smoothing import smooth_fwhm
from MRI2PETLib.simulation import SimulatedSubject, simulate_subject
from MRI2PETLib.templates.icbm152 import load_template

PET_SPACING = (2.08, 2.08, 2.03)
FWHM_MM = 6.0
MAX_TRE_MM = 1.0


def pose(seed: int, centre: tuple[float, ...]) -> sitk.Euler3DTransform:
    """T1 points -> PET points: rotations of +-8 degrees, shifts of +-15 mm, and 20 mm between the origins."""
    rng = np.random.default_rng(seed)
    transform = sitk.Euler3DTransform()
    transform.SetCenter([float(x) for x in centre])
    transform.SetRotation(*[math.radians(angle) for angle in rng.uniform(-8, 8, 3)])
    transform.SetTranslation((rng.uniform(-15, 15, 3) + 20.0).tolist())
    return transform


def simulate_pet(
    activity: sitk.Image, to_pet: sitk.Transform, *, noise: float, seed: int, slices: int = 100
) -> sitk.Image:
    """Activity moved to the PET's pose, with its grid, resolution and noise (sd relative to grey matter)."""
    size = np.array([128, 128, slices])
    middle = activity.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in activity.GetSize()])
    grid = sitk.Image(size.tolist(), sitk.sitkFloat32)
    grid.SetSpacing(PET_SPACING)
    grid.SetOrigin((np.array(to_pet.TransformPoint(middle)) - (size - 1) / 2 * PET_SPACING).tolist())
    pet = smooth_fwhm(sitk.Resample(activity, grid, to_pet.GetInverse(), sitk.sitkLinear, 0.0), FWHM_MM)
    white = np.random.default_rng(seed).normal(0, 1, size[::-1]).astype(np.float32)
    speckle = sitk.GetImageFromArray(white)
    speckle.CopyInformation(grid)
    speckle = smooth_fwhm(speckle, FWHM_MM)
    sd = float(sitk.GetArrayViewFromImage(speckle).std())
    return pet + speckle * (noise * 2.0 / sd)


def target_error(transform: sitk.Transform, true: sitk.Transform, mask: sitk.Image) -> np.ndarray:
    """Distances in mm between where both transforms put points of the brain."""
    points = [
        mask.TransformIndexToPhysicalPoint(index.tolist()[::-1])
        for index in np.argwhere(sitk.GetArrayViewFromImage(mask) > 0)[::1009]
    ]
    return np.array([math.dist(transform.TransformPoint(p), true.TransformPoint(p)) for p in points])


def template_activity(scalp: float = 0.0) -> sitk.Image:
    """Grey 2.0, white 1.3, fluid 0.5; optionally a shell of uptake 6-14 mm outside the brain."""
    template = load_template()
    activity = template.gm * 2.0 + template.wm * 1.3 + template.csf * 0.5
    distance = sitk.SignedMaurerDistanceMap(template.mask, squaredDistance=False, useImageSpacing=True)
    shell = sitk.Cast(sitk.And(distance > 6.0, distance < 14.0), sitk.sitkFloat32)
    return sitk.Cast(activity, sitk.sitkFloat32) + shell * scalp


@pytest.mark.parametrize(("seed", "noise", "scalp"), [(0, 0.05, 0.0), (2, 0.12, 0.8)])
def test_known_pose_is_found(seed: int, noise: float, scalp: float) -> None:
    template = load_template()
    true = pose(seed, (0.0, 0.0, 0.0))
    pet = simulate_pet(template_activity(scalp), true, noise=noise, seed=seed)
    result = register_pet_to_t1(pet, template.t1, template.mask)
    errors = target_error(result.transform, true, template.mask)
    assert errors.mean() <= MAX_TRE_MM
    assert errors.max() <= 1.5
    # The template is symmetric, so its mirror image fits as well, and that is said.
    assert [f.code for f in result.verdict.findings] == ["pet-sides"]
    # The transform resamples the PET on the T1's grid; the noise alone takes r down to 0.75.
    on_t1 = sitk.GetArrayFromImage(sitk.Resample(pet, template.t1, result.transform))
    mask = sitk.GetArrayFromImage(template.mask) > 0
    truth = sitk.GetArrayFromImage(smooth_fwhm(template_activity(scalp), FWHM_MM))
    assert np.corrcoef(on_t1[mask], truth[mask])[0, 1] > 0.7


def test_the_fine_registration_comes_back_from_afar_or_gives_way(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """From a start 25 degrees and 15 mm off; where it slides off, the pose of the search stands."""
    template = load_template()
    images = (simulate_pet(template_activity(), pose(5, (0.0,) * 3), noise=0.1, seed=5),)
    images += (template.t1, template.mask)
    poses = pet_registration.find_poses(*images)
    near = register_pet_to_t1(*images, poses=poses).transform
    turn = Rotation.from_rotvec(np.radians(25) * np.array([0.6, 0.0, 0.8])).as_matrix()
    start = replace(
        poses.best, rotation=turn @ poses.best.rotation, position=poses.best.position + [9.0, -12.0, 0.0]
    )
    away = replace(start, information=poses.objective(start.rotation, start.position))
    far = register_pet_to_t1(*images, poses=replace(poses, best=away)).transform
    assert target_error(far, near, template.mask).max() < 0.5
    assert not caplog.messages
    slid_off = start.transform(poses.brain_centre)
    monkeypatch.setattr(pet_registration, "_optimise", lambda *arguments: slid_off)
    transform = register_pet_to_t1(*images, poses=poses).transform
    assert target_error(transform, poses.best.transform(poses.brain_centre), template.mask).max() < 1e-6
    assert "fits less well" in caplog.text


def test_same_input_gives_the_same_transform() -> None:
    template = load_template()
    pet = simulate_pet(template_activity(), pose(3, (0.0, 0.0, 0.0)), noise=0.1, seed=3)
    first, second = (register_pet_to_t1(pet, template.t1, template.mask) for _ in range(2))
    assert first.transform.GetParameters() == second.transform.GetParameters()


def test_progress_rises_to_1() -> None:
    template = load_template()
    pet = simulate_pet(template_activity(), pose(4, (0.0, 0.0, 0.0)), noise=0.05, seed=4)
    done: list[float] = []
    register_pet_to_t1(
        pet, template.t1, template.mask, progress=lambda d, total, stage: done.append(d / total)
    )
    assert done == sorted(done)
    assert done[-1] == 1


def test_raising_in_the_progress_callback_cancels() -> None:
    template = load_template()
    pet = simulate_pet(template_activity(), pose(4, (0.0, 0.0, 0.0)), noise=0.05, seed=4)

    def cancel(done: float, total: float, stage: str) -> None:
        raise Cancelled("Cancelled.")

    with pytest.raises(Cancelled):
        register_pet_to_t1(pet, template.t1, template.mask, progress=cancel)


def test_pet_that_shows_no_brain_is_refused() -> None:
    template = load_template()
    k, j, i = np.mgrid[:80, :100, :100]
    ball = ((k - 40) ** 2 + (j - 50) ** 2 + (i - 50) ** 2 < 20**2).astype(np.float32)
    noise = np.random.default_rng(0).normal(0, 1, ball.shape).astype(np.float32)
    for array in (ball, noise):
        pet = sitk.GetImageFromArray(array)
        pet.SetSpacing([2.0] * 3)
        pet.SetOrigin([-100.0, -100.0, -80.0])
        result = register_pet_to_t1(pet, template.t1, template.mask)
        assert result.verdict.level == "refuse"
        assert "fits nearly as well" in result.verdict.reasons()[0]


# --- any pose ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def person() -> SimulatedSubject:
    return simulate_subject(4, spacing_mm=3.0, head=True)


def with_header(image: sitk.Image, matrix: np.ndarray) -> sitk.Image:
    """The same voxels with a header that turns (or mirrors) the head about the origin of the world."""
    turned = sitk.Image(image)
    turned.SetDirection((matrix @ np.reshape(image.GetDirection(), (3, 3))).ravel().tolist())
    turned.SetOrigin((matrix @ image.GetOrigin()).tolist())
    return turned


def error_of(transform: sitk.Transform, matrix: np.ndarray, mask: sitk.Image) -> tuple[float, float]:
    """Degrees, and the largest distance (mm), from the header's own motion over brain points."""
    true = sitk.AffineTransform(matrix.ravel().tolist(), (0.0, 0.0, 0.0))
    rotation = np.reshape(affine_matrix(transform), (4, 4))[:3, :3]
    return angle_deg(rotation @ matrix.T), float(target_error(transform, true, mask).max())


POSES = {
    "upside down": [180.0, 0.0, 0.0],
    "upside down and back to front": [0.0, 180.0, 0.0],
    "a quarter turn about z": [0.0, 0.0, 90.0],
    "a quarter turn about x, where Euler angles fail": [90.0, 0.0, 0.0],
    "40 degrees about z": [0.0, 0.0, 40.0],
    "40 degrees about y": [0.0, 40.0, 0.0],
    "all axes": [100.0, -70.0, 60.0],
}


@pytest.mark.parametrize("name", POSES)
def test_a_pet_in_any_pose_is_found(person: SimulatedSubject, name: str) -> None:
    matrix = Rotation.from_euler("xyz", POSES[name], degrees=True).as_matrix()
    result = register_pet_to_t1(with_header(person.pet, matrix), person.t1, person.brain_mask)
    degrees, mm = error_of(result.transform, matrix, person.brain_mask)
    assert degrees < 1 and mm < 2
    assert [f.code for f in result.verdict.findings] == ["pet-rotation"]


@pytest.mark.parametrize(("axis", "share"), [(2, 0.15), (0, 0.12)], ids=["a side", "below"])
def test_a_part_that_was_not_measured_hides_no_pose(
    person: SimulatedSubject, axis: int, share: float
) -> None:
    brain = np.argwhere(sitk.GetArrayViewFromImage(person.brain_mask))[:, axis]
    view = np.ones(person.pet.GetSize()[::-1], np.uint8)
    view[(slice(None),) * axis + (slice(int(np.quantile(brain, share))),)] = 0
    matrix = Rotation.from_euler("x", 180, degrees=True).as_matrix()
    measured = sitk.GetImageFromArray(view)
    measured.CopyInformation(person.pet)
    pet, measured = (with_header(image, matrix) for image in (sitk.Mask(person.pet, measured), measured))
    result = register_pet_to_t1(pet, person.t1, person.brain_mask, measured)
    degrees, mm = error_of(result.transform, matrix, person.brain_mask)
    assert degrees < 1 and mm < 2
    assert [f.code for f in result.verdict.findings] == ["pet-rotation"]


def test_the_brain_is_found_in_a_scan_of_the_body(person: SimulatedSubject) -> None:
    """Half a metre of trunk below the head, with an organ that takes up three times as much as the brain."""
    below = round(500 / person.pet.GetSpacing()[2])
    body = sitk.ConstantPad(person.pet, [0, 0, below], [0, 0, 0], 0.0)
    values = sitk.GetArrayFromImage(body)
    k, j, i = np.indices(values.shape)
    across = np.hypot(j - values.shape[1] / 2, i - values.shape[2] / 2) * person.pet.GetSpacing()[0]
    level = float(np.median(values[below:][sitk.GetArrayViewFromImage(person.brain_mask) > 0]))
    values[(k < below) & (across < 90)] = 0.3 * level
    values[(abs(k - below / 2) < 20) & (across < 60)] = 3 * level
    image = sitk.GetImageFromArray(values)
    image.CopyInformation(body)
    matrix = Rotation.from_euler("xyz", [0, 90, 0], degrees=True).as_matrix()
    result = register_pet_to_t1(with_header(image, matrix), person.t1, person.brain_mask)
    degrees, mm = error_of(result.transform, matrix, person.brain_mask)
    assert degrees < 1 and mm < 2


@pytest.mark.parametrize("axis", [0, 2])
def test_a_mirrored_pet_is_refused(person: SimulatedSubject, axis: int) -> None:
    """Whatever axis the header mirrors: a rotation makes it a mirror from left to right."""
    mirror = np.diag([-1.0 if n == axis else 1.0 for n in range(3)])
    result = register_pet_to_t1(with_header(person.pet, mirror), person.t1, person.brain_mask)
    assert result.verdict.level == "refuse"
    assert "swaps left and right" in result.verdict.reasons()[0]


def test_rotations_cover_all_poses() -> None:
    """No pose is further than 25 degrees from a start, far less than a registration can make up for."""
    starts = Rotation.from_matrix(all_rotations())
    for rotation in Rotation.random(300, random_state=0):
        assert np.degrees((starts * rotation.inv()).magnitude()).min() < 25


def test_mask_must_fit_the_t1() -> None:
    template = load_template()
    with pytest.raises(InputError, match="not on the grid"):
        register_pet_to_t1(template.t1, template.t1, template.mask[1:, :, :])
    with pytest.raises(InputError, match="single value"):
        register_pet_to_t1(template.t1 * 0, template.t1, template.mask)
    with pytest.raises(InputError, match="mask is empty"):
        register_pet_to_t1(template.t1, template.t1, template.mask * 0)


def _tissue_activity(t1: sitk.Image, mask: sitk.Image) -> sitk.Image:
    """A PET-like image from three intensity classes of a T1: fluid 0.5, grey 2.0, white 1.3."""
    classes = sitk.OtsuMultipleThresholds(sitk.Mask(t1, mask), 3)
    array = sitk.GetArrayViewFromImage(classes)
    activity = sitk.GetImageFromArray(np.array([0.0, 0.5, 2.0, 1.3], np.float32)[array])
    activity.CopyInformation(t1)
    return sitk.Mask(activity, mask)


@pytest.mark.slow
def test_eight_real_heads(shared_data: Path) -> None:
    """PETs simulated from eight real T1s (skull-stripped, 0.87 x 0.87 x 1 mm): mean error <= 1 mm in each."""
    files = sorted((shared_data / "t1").glob("sub-*_T1w.nii.gz"))[:8]
    means = []
    for seed, file in enumerate(files):
        t1 = read_image(file, kind="t1").image
        mask = sitk.BinaryFillhole(sitk.Cast(t1 > 0, sitk.sitkUInt8))
        centre = t1.TransformContinuousIndexToPhysicalPoint([n / 2 for n in t1.GetSize()])
        true = pose(100 + seed, centre)
        pet = simulate_pet(_tissue_activity(t1, mask), true, noise=(0.05, 0.12)[seed % 2], seed=seed)
        result = register_pet_to_t1(pet, t1, mask)
        assert result.verdict.level == "ok"
        means.append(target_error(result.transform, true, mask).mean())
    assert len(means) == 8
    assert max(means) <= MAX_TRE_MM, means


@pytest.mark.slow
def test_real_pet_moved_by_a_known_pose_is_moved_back(shared_data: Path) -> None:
    """PBR28 SUV in MNI space against the template: registrations before and after a known move agree."""
    template = load_template()
    for seed, name in enumerate(("control02", "patient04")):
        path = shared_data / "pbr28" / f"sub-{name}_PBR_SUV_60-90.nl_MNI152_norm_sm6mm.nii.gz"
        pet = read_image(path, kind="pet").image
        move = pose(seed, (0.0, 0.0, 0.0))
        moved = sitk.Resample(pet, pet, move.GetInverse(), sitk.sitkLinear, 0.0)
        before = register_pet_to_t1(pet, template.t1, template.mask)
        after = register_pet_to_t1(moved, template.t1, template.mask)
        expected = sitk.CompositeTransform([move, before.transform])
        assert target_error(after.transform, expected, template.mask).mean() < 0.5
        # Spatially normalised by others: near the template, not exactly on it.
        identity = sitk.Transform(3, sitk.sitkIdentity)
        assert target_error(before.transform, identity, template.mask).mean() < 2.0
