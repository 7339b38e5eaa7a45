"""The traffic light: each check on images whose answer is known, quick and full."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from MRI2PETLib.cli import main
from MRI2PETLib.core.files import write_json
from MRI2PETLib.core.findings import Finding
from MRI2PETLib.images.io import write_image
from MRI2PETLib.simulation import SimulatedSubject, simulate_subject
from MRI2PETLib.synthesis import checks as lights
from MRI2PETLib.synthesis.checks import Check, refusal, worst_level
from MRI2PETLib.synthesis.input_checks import quick_checks, shared_field_of_view

pytestmark = pytest.mark.usefixtures("quick_registration")

MM = 5.0


def box(
    size: tuple[int, int, int] = (40, 44, 40), origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
) -> sitk.Image:
    """A smooth positive image of 5 mm voxels; its values look like SUV."""
    k, j, i = np.meshgrid(*[np.linspace(-1, 1, n) for n in size[::-1]], indexing="ij")
    image = sitk.GetImageFromArray((0.05 + 3 * np.exp(-3 * (k**2 + j**2 + i**2))).astype(np.float32))
    image.SetSpacing((MM,) * 3)
    image.SetOrigin(origin)
    return image


def by_name(checks: list[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks}


@pytest.fixture(scope="module")
def subject() -> SimulatedSubject:
    return simulate_subject(4, spacing_mm=3.0, head=True)


# --- quick ---------------------------------------------------------------------------------------


def test_good_images_are_green_and_what_needs_the_brain_is_not_checked() -> None:
    checks = quick_checks(box(), box(), pet_unit="SUV")
    assert [check.name for check in checks] == list(lights.CHECK_NAMES)
    levels = {name: check.level for name, check in by_name(checks).items()}
    later = {"T1 contrast", "brain", "skull"}
    assert levels == {name: "not checked" if name in later else "ok" for name in lights.CHECK_NAMES}
    assert worst_level(checks) == "ok" and refusal(checks) is None
    assert "40 x 44 x 40 voxels of 5 x 5 x 5 mm" in by_name(checks)["T1 image"].message


def test_without_a_pet_its_checks_say_so() -> None:
    by_check = by_name(quick_checks(box()))
    for name in ("PET image", "PET unit", "overlap of T1 and PET"):
        assert by_check[name].level == "not checked" and by_check[name].message == "No PET was chosen."


def changed(values: float, voxels: int) -> sitk.Image:
    image = box()
    array = sitk.GetArrayFromImage(image)
    if voxels == array.size:
        array[:] = values
    else:  # away from the border: there it would be background
        n = round(voxels ** (1 / 3))
        array[10 : 10 + n, 10 : 10 + n, 10 : 10 + n] = values
    changed = sitk.GetImageFromArray(array)
    changed.CopyInformation(image)
    return changed


@pytest.mark.parametrize(
    ("image", "check", "level", "words"),
    [
        (changed(np.nan, 8), "T1 image", "warn", "not finite"),
        (changed(np.nan, 3000), "T1 image", "refuse", "not finite"),
        (changed(2.0, 40 * 44 * 40), "T1 image", "refuse", "single value"),
        (box((40, 44, 8)), "field of view", "refuse", "40 mm"),
        (box((40, 44, 14)), "field of view", "refuse", "70 mm"),
    ],
)
def test_an_unusable_t1_is_named(image: sitk.Image, check: str, level: str, words: str) -> None:
    by_check = by_name(quick_checks(image))[check]
    assert by_check.level == level and words in by_check.message


def test_a_header_in_metres_is_recognised() -> None:
    image = box()
    image.SetSpacing((0.005,) * 3)
    by_check = by_name(quick_checks(image))["T1 image"]
    assert by_check.level == "refuse" and "header is in m" in by_check.message and "1000" in by_check.hint


def test_a_unit_is_asked_for_and_a_doubtful_one_questioned() -> None:
    assert by_name(quick_checks(box(), box()))["PET unit"].level == "warn"
    assert "states no unit" in by_name(quick_checks(box(), box()))["PET unit"].message
    loud = by_name(quick_checks(box(), box() * 1e4, pet_unit="SUV"))["PET unit"]
    assert loud.level == "warn" and "looks like Bq/mL" in loud.message


@pytest.mark.parametrize(("t1", "pet", "word"), [(True, False, "T1"), (False, True, "PET")])
def test_a_synthetic_image_is_not_taken_as_real(t1: bool, pet: bool, word: str) -> None:
    checks = quick_checks(box(), box(), t1_synthetic=t1, pet_synthetic=pet, pet_unit="SUV")
    by_check = by_name(checks)["origin"]
    assert by_check.level == "refuse" and f"The {word} was made by a model" in by_check.message
    error = refusal(checks)
    assert error is not None and error.exit_code == 3 and word in error.hint


def test_the_shared_field_of_view_by_hand() -> None:
    """Boxes of 200 x 220 x 200 mm, shifted by half and by more than all of x; turned by 90 degrees."""
    assert shared_field_of_view(box(), box()) == 1
    assert shared_field_of_view(box(), box(origin=(100.0, 0.0, 0.0))) == pytest.approx(0.5)
    assert shared_field_of_view(box(), box(origin=(250.0, 0.0, 0.0))) == 0
    small = box((20, 20, 20), (30.0, 40.0, 50.0))  # inside: all of the smaller one is shared
    assert shared_field_of_view(box(), small) == shared_field_of_view(small, box()) == 1
    turned = box()
    turned.SetDirection((0.0, -1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0))  # x runs along y, y against x
    turned.SetOrigin((43 * MM, 0.0, 0.0))  # back over the first box: x 0..215, y 0..195
    assert shared_field_of_view(box(), turned) == pytest.approx(1 - 20 / 220, abs=1 / 16)
    apart = by_name(quick_checks(box(), box(origin=(250.0, 0.0, 0.0)), pet_unit="SUV"))
    assert apart["overlap of T1 and PET"].level == "warn" and "0 %" in apart["overlap of T1 and PET"].message


def test_the_measured_overlap_is_said_with_a_warning_too() -> None:
    checks = lights.Checks()
    checks.add(lights.OVERLAP, [Finding("warn", "pet-apart", "It was moved.")], measure="Dice 0.66.")
    (light,) = [check for check in checks.in_order() if check.name == lights.OVERLAP]
    assert (light.level, light.message) == ("warn", "Dice 0.66. It was moved.")


# --- full ----------------------------------------------------------------------------------------


def check(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, Check], str, str]:
    """Exit code, checks, level and what the error event says of ``mri2pet check --progress json``."""
    capsys.readouterr()
    code = main(["check", *map(str, arguments), "--progress", "json"])
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    result = next(event for event in events if event["event"] == "result")
    error = next((event for event in events if event["event"] == "error"), None)
    by_check = {one["name"]: Check(**one) for one in result["checks"]}
    return code, by_check, result["level"], "" if error is None else f"{error['code']}: {error['message']}"


def test_a_good_pair(subject: SimulatedSubject, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    t1 = write_image(subject.t1, tmp_path / "T1 ä.nii.gz", {"Simulated": True})
    pet = write_image(subject.pet, tmp_path / "pet.nii.gz", {"Units": "SUV", "Simulated": True})
    code, by_check, level, error = check(capsys, t1, "--pet", pet)
    assert code == 0 and error == "" and level in ("ok", "warn")
    assert list(by_check) == list(lights.CHECK_NAMES)
    assert not [c for c in by_check.values() if c.level in ("refuse", "not checked")]
    assert (
        "with a T1 template" in by_check["T1 contrast"].message and by_check["skull"].message == "Whole head."
    )
    assert " mL (found with a template)" in by_check["brain"].message or by_check["brain"].level == "warn"
    assert "Dice of the brains" in by_check["overlap of T1 and PET"].message
    mask = write_image(subject.brain_mask, tmp_path / "mask.nii.gz")
    code, by_check, _, _ = check(capsys, t1, "--mask", mask, "--pet", pet, "--pet-unit", "normalised")
    assert code == 0 and by_check["PET unit"].level == "warn"
    assert "you say normalised" in by_check["PET unit"].message


def test_a_stripped_brain_and_its_inversion(
    subject: SimulatedSubject, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    brain = sitk.GetArrayViewFromImage(subject.brain_mask) > 0
    values = np.where(brain, sitk.GetArrayFromImage(subject.t1), 0).astype(np.float32)
    for name, array in (("stripped", values), ("inverted", np.where(brain, 1.2 * values.max() - values, 0))):
        image = sitk.GetImageFromArray(array.astype(np.float32))
        image.CopyInformation(subject.t1)
        write_image(image, tmp_path / f"{name}.nii.gz")
    code, by_check, _, _ = check(capsys, tmp_path / "stripped.nii.gz")
    assert code == 0 and "Already stripped" in by_check["skull"].message
    assert by_check["PET image"].level == "not checked"
    code, by_check, level, error = check(capsys, tmp_path / "inverted.nii.gz")
    assert code == 4 and level == "refuse" and error.startswith("quality: The contrast is inverted")
    assert by_check["T1 contrast"].level == "refuse" and "inverted" in by_check["T1 contrast"].message
    mask = write_image(subject.brain_mask, tmp_path / "mask.nii.gz")
    code, by_check, _, _ = check(capsys, tmp_path / "stripped.nii.gz", "--mask", mask)
    assert (
        code == 0 and "given" in by_check["brain"].message and "mask was given" in by_check["skull"].message
    )


def test_unreadable_and_synthetic_files(
    subject: SimulatedSubject, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, by_check, level, error = check(capsys, tmp_path / "nothing.nii.gz", "--pet", tmp_path / "no.nii.gz")
    assert code == 3 and level == "refuse" and "does not exist" in error
    assert by_check["T1 image"].level == by_check["PET image"].level == "refuse"
    assert by_check["brain"].level == by_check["overlap of T1 and PET"].level == "not checked"
    t1 = write_image(subject.t1, tmp_path / "t1.nii.gz")
    pet = write_image(subject.pet, tmp_path / "s.nii.gz", {"Units": "SUVR", "Synthetic": True})
    mask = write_image(subject.brain_mask, tmp_path / "mask.nii.gz")
    code, by_check, _, error = check(capsys, t1, "--mask", mask, "--pet", pet)
    assert code == 3 and "The PET was made by a model" in error and by_check["brain"].level != "not checked"
    write_json(tmp_path / "t1.json", {"Synthetic": True})
    code, by_check, _, error = check(capsys, t1, "--mask", mask, "--pet", tmp_path / "no.nii.gz")
    assert code == 3 and "The T1 was made by a model" in error
    assert "because the PET cannot be used" in by_check["PET unit"].message


def test_the_lines_for_a_person(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    slab = write_image(box((40, 44, 8)), tmp_path / "slab.nii.gz")
    assert main(["check", str(slab), "--progress", "none"]) == 3
    out, err = capsys.readouterr()
    assert out.splitlines()[0].startswith("refuse       T1 image:") and "covers only 40 mm" in err
