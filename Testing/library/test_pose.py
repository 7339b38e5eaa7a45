"""A header that turns the head does not change what the network makes of it."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import SimpleITK as sitk

from head_poses import degrees_between, rotation_xyz, turned
from MRI2PETLib.models.store import find_bundle
from MRI2PETLib.preprocessing import template_registration
from MRI2PETLib.preprocessing.brain_mask import extract_brain
from MRI2PETLib.preprocessing.pet_template import brain_of_pet
from MRI2PETLib.simulation import SimulatedSubject, simulate_subject
from MRI2PETLib.synthesis.pipeline import SynthesisResult, synthesize
from MRI2PETLib.templates.icbm152 import load_template


@cache
def _person() -> SimulatedSubject:
    return simulate_subject(3, spacing_mm=2.0)


@cache
def _upright() -> SynthesisResult:
    return synthesize(_person().t1, find_bundle("tspo-demo"), device="cpu")


def _agreement(first: SynthesisResult, second: SynthesisResult) -> float:
    """Pearson r in both masks; the voxels are the same, only the headers differ."""
    images = (first.mask, second.mask, first.pet, second.pet)
    m, n, a, b = (sitk.GetArrayViewFromImage(image) for image in images)
    both = (m > 0) & (n > 0)
    return float(np.corrcoef(a[both], b[both])[0, 1])


@pytest.mark.parametrize("angles", [(30.0, 0.0, 0.0), (-10.0, 20.0, 15.0)])
def test_a_tilted_head_gives_the_pet_of_the_upright_one(angles: tuple[float, float, float]) -> None:
    rotation = rotation_xyz(*angles)
    result = synthesize(turned(_person().t1, rotation), find_bundle("tspo-demo"), device="cpu")
    assert _agreement(result, _upright()) >= 0.99
    assert "turned-head" not in [f.code for f in result.extraction.verdict.findings]
    axes, upright = (np.reshape(r.extraction.axes, (3, 3)) for r in (result, _upright()))
    assert degrees_between(axes, rotation @ upright) < 1.5


def test_the_template_fits_itself() -> None:
    template = load_template()
    fit = template_registration.register_to_template(template.t1, template.mask)
    assert fit is not None
    assert fit.scales == pytest.approx((1.0, 1.0, 1.0), abs=5e-4)
    corners = [(-60.0, -60.0, -40.0), (60.0, 80.0, 70.0)]
    moved = [fit.transform.TransformPoint(corner) for corner in corners]
    assert np.linalg.norm(np.subtract(moved, corners), axis=1).max() < 0.1  # mm


MIRROR = np.diag([1.0, -1.0, 1.0])  # front and back exchanged


@pytest.mark.parametrize(
    "rotation",
    [rotation_xyz(180.0, 0.0, 0.0), rotation_xyz(-100.0, 40.0, 130.0), MIRROR],
    ids=["upside down", "any", "mirrored"],
)
def test_a_turned_head_gives_the_pet_of_the_upright_one(rotation: np.ndarray) -> None:
    """A mirror is not seen: left and right stay those of the header, and the PET is that of a person who is
    the mirror image.
    """
    result = synthesize(turned(_person().t1, rotation), find_bundle("tspo-demo"), device="cpu")
    mirrored = np.linalg.det(rotation) < 0
    assert _agreement(result, _upright()) >= (0.95 if mirrored else 0.99)
    axes, upright = (np.reshape(r.extraction.axes, (3, 3)) for r in (result, _upright()))
    left_right = np.diag([-1.0, 1.0, 1.0]) if mirrored else np.eye(3)
    assert degrees_between(axes, rotation @ upright @ left_right) < 1.5


def test_a_turned_whole_head_is_found() -> None:
    head = simulate_subject(5, spacing_mm=2.5, head=True).t1
    rotation = rotation_xyz(0.0, 90.0, 0.0)
    upright, result = extract_brain(head), extract_brain(turned(head, rotation))
    assert [f.code for f in result.verdict.findings] == ["turned-head"]
    assert "degrees from upright" in result.verdict.findings[0].message
    axes = [np.reshape(brain.axes, (3, 3)) for brain in (upright, result)]
    assert degrees_between(axes[1], rotation @ axes[0]) < 1.5
    m, n = (sitk.GetArrayViewFromImage(brain.mask) > 0 for brain in (upright, result))
    assert 2 * (m & n).sum() / (m.sum() + n.sum()) > 0.99


def test_an_upright_brain_needs_no_search_of_all_rotations(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("all rotations were looked at")

    monkeypatch.setattr(template_registration, "search_all_poses", refuse)
    assert extract_brain(_person().t1).verdict.level == "ok"


def test_a_strong_bias_field_does_not_hide_a_stripped_brain() -> None:
    t1 = _person().t1
    k, _, _ = np.meshgrid(*(np.linspace(-1, 1, n) for n in t1.GetSize()[::-1]), indexing="ij")
    field = sitk.GetImageFromArray(np.exp(-0.8 * k).astype(np.float32))  # a factor of 5 from end to end
    field.CopyInformation(t1)
    brain = extract_brain(t1 * field)
    assert brain.method == "stripped" and brain.verdict.level == "ok", brain.verdict.reasons()


def test_a_pet_without_an_mri_has_the_pose_of_its_head() -> None:
    rotation = rotation_xyz(25.0, -15.0, 10.0)
    person = _person()
    axes = [
        np.reshape(brain_of_pet(turned(person.pet, turn), turned(person.brain_mask, turn)).axes, (3, 3))
        for turn in (np.eye(3), rotation)
    ]
    assert degrees_between(axes[1], rotation @ axes[0]) < 2.0


def test_a_pet_without_a_pose_says_that_the_header_is_used() -> None:
    """A tube, as it is scanned to calibrate."""
    pet = _person().pet * 0 + 1
    _, j, i = np.indices(pet.GetSize()[::-1])
    tube = np.hypot(j - j.mean(), i - i.mean()) < 18
    mask = sitk.GetImageFromArray(tube.astype(np.uint8))
    mask.CopyInformation(pet)
    brain = brain_of_pet(pet, mask)
    assert brain.template_to_native is None
    assert [f.code for f in brain.verdict.findings] == ["no-pose"]
