"""One way of a real PET to a T1: the policy, and one answer of all commands that need it."""

from __future__ import annotations

import contextlib
import csv
import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from bundles import tiny_bundle
from evaluation_cases import like, predicted, sidecar
from MRI2PETLib.cli import build_parser, main
from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.findings import Verdict
from MRI2PETLib.core.progress import QuietReporter
from MRI2PETLib.images.grid import affine_matrix
from MRI2PETLib.images.io import write_image
from MRI2PETLib.models.model_space import ModelSpace
from MRI2PETLib.preprocessing import pet_alignment
from MRI2PETLib.preprocessing.pet import PetImage, read_pet
from MRI2PETLib.preprocessing.pet_alignment import align_pet_to_t1, brain_overlap
from MRI2PETLib.preprocessing.pet_registration import find_poses, register_pet_to_t1
from MRI2PETLib.simulation import SimulatedSubject, simulate_subject
from MRI2PETLib.suvr.normalisation import by_real_mr
from MRI2PETLib.synthesis.input_checks import full_checks
from MRI2PETLib.synthesis.settings import CaseInputs
from MRI2PETTrainingLib.dataset.preflight import prepare_dataset
from MRI2PETTrainingLib.settings import TrainingSettings

pytestmark = pytest.mark.usefixtures("quick_warp")


@pytest.fixture(scope="module")
def person() -> SimulatedSubject:
    return simulate_subject(4, spacing_mm=4.0)


def with_uptake_outside(person: SimulatedSubject) -> sitk.Image:
    """The PET with a scalp: a shell 6 to 14 mm outside the brain takes up half as much as the brain."""
    distance = sitk.SignedMaurerDistanceMap(person.brain_mask, squaredDistance=False, useImageSpacing=True)
    shell = sitk.GetArrayFromImage(sitk.And(distance > 6.0, distance < 14.0)) > 0
    values = sitk.GetArrayFromImage(person.pet)
    mean = values[sitk.GetArrayViewFromImage(person.brain_mask) > 0].mean()
    return like(np.where(shell, 0.5 * mean, values).astype(np.float32), person.pet)


def moved(image: sitk.Image) -> sitk.Image:
    """As another scanner sees it: nodded by 8 degrees, shifted, other voxels."""
    motion = sitk.Euler3DTransform()
    motion.SetRotation(0.14, 0.0, 0.05)
    motion.SetTranslation((6.0, -4.0, 9.0))
    grid = sitk.Image([60, 60, 54], sitk.sitkFloat32)
    grid.SetSpacing([4.2] * 3)
    grid.SetOrigin([-124.0, -124.0, -112.0])
    return sitk.Resample(image, grid, motion, sitk.sitkLinear, 0.0)


def as_pet(image: sitk.Image) -> PetImage:
    return PetImage(image, "SUV", Verdict(), "", {})


# --- the policy ----------------------------------------------------------------------------------


def test_auto_keeps_what_lies_on_the_grid_of_the_t1_and_registers_the_rest(person: SimulatedSubject) -> None:
    aligned = align_pet_to_t1(as_pet(person.pet), person.t1, person.brain_mask)
    assert aligned.method == "grid" and aligned.coverage == 1 and aligned.overlap > 0.9
    assert np.array_equal(sitk.GetArrayViewFromImage(aligned.image), sitk.GetArrayViewFromImage(person.pet))
    result = align_pet_to_t1(as_pet(moved(person.pet)), person.t1, person.brain_mask)
    assert result.method == "rigid" and result.overlap > 0.9
    brain = sitk.GetArrayViewFromImage(person.brain_mask) > 0
    pets = [sitk.GetArrayViewFromImage(image)[brain] for image in (aligned.image, result.image)]
    assert np.corrcoef(*pets)[0, 1] > 0.9
    always = align_pet_to_t1(as_pet(person.pet), person.t1, person.brain_mask, register="rigid")
    assert always.method == "rigid" and always.record()["t1_to_pet_lps"] != aligned.record()["t1_to_pet_lps"]


def test_header_never_registers(person: SimulatedSubject) -> None:
    turned = sitk.DICOMOrient(person.pet, "PIR")
    result = align_pet_to_t1(as_pet(turned), person.t1, person.brain_mask, register="header")
    assert result.method == "header"
    assert np.allclose(
        sitk.GetArrayViewFromImage(result.image), sitk.GetArrayViewFromImage(person.pet), atol=1e-5
    )
    far = sitk.Image(person.pet)
    far.SetOrigin([v + 500 for v in far.GetOrigin()])
    with pytest.raises(InputError, match="covers 0 % of the brain"):
        align_pet_to_t1(as_pet(far), person.t1, person.brain_mask, register="header")
    shifted = sitk.Image(person.pet)
    shifted.SetOrigin(np.add(shifted.GetOrigin(), (0, 60, 0)).tolist())
    with pytest.raises(InputError, match=r"Dice of the brains 0\.\d\d, at least 0.7"):
        align_pet_to_t1(as_pet(shifted), person.t1, person.brain_mask, register="header")


def test_a_pet_on_the_grid_that_does_not_lie_on_the_t1_is_registered_and_told(
    person: SimulatedSubject,
) -> None:
    """Resampled to the T1's grid without an alignment: 10 degrees and 13 mm off."""
    motion = sitk.Euler3DTransform()
    motion.SetRotation(0.17, 0.0, 0.05)
    motion.SetTranslation((4.0, 9.0, 8.0))
    off = sitk.Resample(person.pet, person.t1, motion, sitk.sitkLinear, 0.0)
    result = align_pet_to_t1(as_pet(off), person.t1, person.brain_mask)
    assert result.method == "rigid" and [f.code for f in result.verdict.findings] == ["pet-apart"]
    assert np.allclose(affine_matrix(result.t1_to_pet), affine_matrix(motion.GetInverse()), atol=1.0)
    aligned = align_pet_to_t1(as_pet(off), person.t1, person.brain_mask, register="header")
    assert aligned.method == "grid" and [f.code for f in aligned.verdict.findings] == ["pet-apart"]


def test_a_mirrored_pet_is_refused_unless_its_header_is_declared_right(person: SimulatedSubject) -> None:
    mirrored = like(sitk.GetArrayFromImage(person.pet)[:, :, ::-1].copy(), person.pet)
    with pytest.raises(InputError, match="swaps left and right"):
        align_pet_to_t1(as_pet(mirrored), person.t1, person.brain_mask)
    aligned = align_pet_to_t1(as_pet(mirrored), person.t1, person.brain_mask, register="header")
    assert "pet-mirrored" in [f.code for f in aligned.verdict.findings] and aligned.verdict.level == "warn"


def test_uptake_outside_the_brain_does_not_count_as_brain(person: SimulatedSubject) -> None:
    """A scalp with half of the brain's uptake is no misalignment: the Dice stays above 0.9."""
    assert brain_overlap(with_uptake_outside(person), person.brain_mask) > 0.9
    hot = sitk.GetArrayFromImage(with_uptake_outside(person))
    hot[20, 20, 20] = 1e7
    assert brain_overlap(like(hot, person.pet), person.brain_mask) > 0.9


def test_mask_must_fit_the_t1(person: SimulatedSubject) -> None:
    with pytest.raises(InputError, match="not on the grid"):
        align_pet_to_t1(as_pet(person.pet), person.t1, person.brain_mask[1:, :, :])
    with pytest.raises(InputError, match="mask has 0 voxels"):
        align_pet_to_t1(as_pet(person.pet), person.t1, person.brain_mask * 0)


# --- five roads ----------------------------------------------------------------------------------


def test_every_command_offers_the_same_choice() -> None:
    commands = build_parser()._subparsers._group_actions[0].choices
    for name in ("synthesize", "evaluate", "check", "suvr", "train"):
        option = next(a for a in commands[name]._actions if "--register" in a.option_strings)
        assert option.choices == ("auto", "rigid", "header") and option.default == "auto"


@pytest.fixture(scope="module")
def one_search() -> Iterator[None]:
    """The same images are searched and registered once, whichever command asks: that takes seconds."""

    def remembering(work: Callable[..., Any]) -> Callable[..., Any]:
        done: dict[bytes, Any] = {}

        def once(pet: sitk.Image, t1: sitk.Image, *arguments: Any, **more: Any) -> Any:
            images = [image for image in (pet, t1, *arguments) if isinstance(image, sitk.Image)]
            values = [np.round(sitk.GetArrayViewFromImage(image), 3).tobytes() for image in images]
            places = [np.round([*image.GetOrigin(), *image.GetSpacing()], 3).tobytes() for image in images]
            key = b"".join(values + places)
            if key not in done:
                done[key] = work(pet, t1, *arguments, **more)
            return done[key]

        return once

    with pytest.MonkeyPatch.context() as patch:
        for work in (find_poses, register_pet_to_t1):
            patch.setattr(pet_alignment, work.__name__, remembering(work))
        yield


@pytest.fixture(scope="module", params=["on the grid of the T1", "off it"])
def answers(
    request: pytest.FixtureRequest, person: SimulatedSubject, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """What each command says of one case: how the PET got to the T1, and the two measures."""
    request.getfixturevalue("one_search")
    root = tmp_path_factory.mktemp("roads")
    pet = with_uptake_outside(person)
    pet = pet if request.param == "on the grid of the T1" else moved(pet)
    t1 = write_image(person.t1, root / "T1.nii.gz")
    mask = write_image(person.brain_mask, root / "mask.nii.gz")
    real = write_image(pet, root / "PET.nii.gz", {"Units": "SUV"})
    synthetic = write_image(like(predicted(person), person.t1), root / "syn.nii.gz", sidecar(person))
    with (root / "manifest.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("case", "t1", "pet", "mask"), ("s1", t1, real, mask)])
    tiny_bundle(root / "tiny")

    coverage: list[float] = []

    def run(command: str, *arguments: object) -> None:
        events = io.StringIO()
        with contextlib.redirect_stdout(events):
            assert main([command, *map(str, arguments), "-o", str(root / command), "--progress", "json"]) == 0
        event = json.loads(events.getvalue().splitlines()[-1])
        coverage.append(float(event.get("pet_coverage") or event["cases"][0]["pet_coverage"]))

    def read(pattern: str) -> dict[str, Any]:
        return json.loads(next(root.glob(pattern)).read_text())

    result: dict[str, Any] = {}
    run("synthesize", t1, "--mask", mask, "--pet", real, "--model", root / "tiny", "--device", "cpu")
    result["synthesize"] = read("synthesize/**/*_metrics.json")["Alignment"]
    pair = ("--synthetic", synthetic, "--pet", real, "--t1", t1, "--mask", mask)
    run("evaluate", *pair, "--to-synthetic-unit")  # as Slicer's child process does
    result["evaluate"] = read("evaluate/metrics.json")["provenance"]["alignment"]
    loaded = read_pet(real)
    normalisation = by_real_mr(loaded, person.t1, mask=person.brain_mask)
    result["suvr"] = normalisation.record["pet_to_t1"]
    space = ModelSpace(size=(32, 32, 32), spacing_mm=6.0)
    settings = TrainingSettings(str(root / "manifest.csv"), str(root), workers=1)
    prepare_dataset(root, root / "cache", space, settings, reporter=QuietReporter())
    result["train"] = read("cache/*/real.json")["Alignment"]
    checks = {check.name: check for check in full_checks(t1, CaseInputs(mask=mask, pet=real))}
    result["check"] = checks["overlap of T1 and PET"].message
    result["events"] = coverage
    return result


def test_five_roads_give_one_answer(answers: dict[str, Any]) -> None:
    of_check, events = answers.pop("check"), answers.pop("events")
    first = answers["synthesize"]
    assert first["overlap"] > 0.9 and first["coverage"] == 1
    for answer in answers.values():
        assert answer["method"] == first["method"] and answer["coverage"] == first["coverage"]
        assert answer["quality"] == first["quality"]
        assert answer["overlap"] == pytest.approx(first["overlap"], abs=1e-3)
        # Files round positions to float32, and a search that starts from there ends a hair beside.
        assert np.allclose(answer["t1_to_pet_lps"], first["t1_to_pet_lps"], atol=0.05)
    assert f"Dice of the brains {first['overlap']:.2f} ({first['method']})" in of_check
    assert events == [1, 1] and "covers 100 % of the brain" in of_check
