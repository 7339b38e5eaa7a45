"""PET: frame averaging, the formula of SUV, units, SUVR and smoothing; truths computed by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.images.io import write_image
from MRI2PETLib.preprocessing.frame_window import FrameWindow, frame_window, parse_window
from MRI2PETLib.preprocessing.pet import read_pet, to_suvr
from MRI2PETLib.preprocessing.pet_frames import (
    FrameTimes,
    average_frames,
    frame_times_from_bids,
    frame_weights,
)
from MRI2PETLib.preprocessing.pet_units import check_overruled
from MRI2PETLib.preprocessing.smoothing import smooth_fwhm
from MRI2PETLib.preprocessing.suv import suv_factor
from pet_images import PLAIN, bids, centre, dynamic, image

WINDOW = FrameWindow(60.0, 90.0)
C11, F18 = 1221.8, 6586.2


# --- frames ------------------------------------------------------------


def test_weights_are_the_overlap_with_the_window() -> None:
    """Frames 50-65, 65-80, 80-95 min and the window 60-90: 5, 15 and 10 of 30 min."""
    times = FrameTimes((3000.0, 3900.0, 4800.0), (900.0, 900.0, 900.0))
    np.testing.assert_allclose(frame_weights(times, WINDOW), [5 / 30, 15 / 30, 10 / 30])


def test_average_reads_only_frames_in_the_window() -> None:
    read: list[int] = []

    def read_frame(t: int) -> np.ndarray:
        read.append(t)
        return np.full((2, 2, 2), 10.0 * t)

    mean = average_frames(read_frame, [0.0, 0.25, 0.75, 0.0])
    np.testing.assert_allclose(mean, 0.25 * 10 + 0.75 * 20)
    assert read == [1, 2]
    assert mean.dtype == np.float32


def test_window_must_be_covered_to_90_percent() -> None:
    assert frame_weights(FrameTimes((3600.0,), (1620.0,)), WINDOW).sum() == pytest.approx(1)
    with pytest.raises(InputError, match="cover only 26.5 of the 30 min from 60 to 90 min"):
        frame_weights(FrameTimes((3600.0,), (1590.0,)), WINDOW)
    # A gap in the middle counts too: 12 + 12 min.
    with pytest.raises(InputError, match="24.0 of the 30 min"):
        frame_weights(FrameTimes((3600.0, 4680.0), (720.0, 720.0)), WINDOW)
    with pytest.raises(InputError, match="seconds: these look like minutes"):
        frame_weights(FrameTimes((0.0, 60.0), (60.0, 30.0)), WINDOW)
    with pytest.raises(InputError, match="seconds: these look like milliseconds"):
        frame_weights(FrameTimes((3.6e6,), (1.8e6,)), WINDOW)


def test_frames_that_make_no_sense() -> None:
    with pytest.raises(InputError, match="overlap by up to 300 s"):
        frame_weights(FrameTimes((3600.0, 4200.0), (900.0, 1200.0)), WINDOW)
    with pytest.raises(InputError, match="no positive duration"):
        frame_weights(FrameTimes((3600.0,), (0.0,)), WINDOW)
    with pytest.raises(InputError, match="3 frames, but its sidecar lists 2 starts and 3 durations"):
        frame_times_from_bids({"FrameTimesStart": [0, 1], "FrameDuration": [1, 1, 1]}, 3)
    with pytest.raises(InputError, match="no FrameDuration"):
        frame_times_from_bids({"FrameTimesStart": [0, 1]}, 2)
    with pytest.raises(InputError, match="not numbers"):
        frame_times_from_bids({"FrameTimesStart": ["a"], "FrameDuration": [1]}, 1)


def test_injection_start_is_subtracted() -> None:
    """TimeZero is 100 s before it: frames at 3700 s since TimeZero start 60 min after the injection."""
    sidecar = {"FrameTimesStart": [3700], "FrameDuration": [1800], "InjectionStart": 100}
    assert frame_times_from_bids(sidecar, 1).start_s == (3600.0,)


def test_dynamic_file_is_averaged(tmp_path: Path) -> None:
    """Levels 1, 2, 4, 8 with 0, 5, 15, 10 min inside: (2 * 5 + 4 * 15 + 8 * 10) / 30 = 5."""
    sidecar = {
        "Units": "SUV",
        "FrameTimesStart": [0, 3000, 3900, 4800],
        "FrameDuration": [3000, 900, 900, 900],
        "ImageDecayCorrected": True,
    }
    pet = read_pet(dynamic(tmp_path, [1, 2, 4, 8], sidecar), window_min=(60, 90))
    assert centre(pet.image) == pytest.approx(5, rel=1e-5)
    assert pet.unit == "SUV"
    assert pet.metadata["frames_used"] == [1, 2, 3]
    assert (pet.metadata["window_min"], pet.metadata["window_from"]) == ([60, 90], "stated")
    # Two frames lie partly inside: 10 min of the first and 5 of the last stick out.
    assert [f.code for f in pet.verdict.findings] == ["partial-frames"]
    assert "50 to 65, 80 to 95 min" in pet.verdict.reasons()[0]
    other = read_pet(tmp_path / "sub-01_pet.nii.gz", window_min=(65, 80))
    assert centre(other.image) == pytest.approx(4, rel=1e-5)
    assert other.verdict.level == "ok"


@pytest.mark.parametrize(
    ("tracer", "window"),
    [
        ("[11C]PBR28", (60, 90)),
        ("PBR-28", (60, 90)),
        ("[11C]PiB", (50, 70)),
        ("C11 Pittsburgh Compound-B", (50, 70)),
        ("Florbetapir F^18^", (50, 70)),
        ("18F-AV-45", (50, 70)),
        ("AV-1451", (80, 100)),
        ("[18F]florbetaben", (90, 110)),
        ("Fluorodeoxyglucose F^18^", (30, 60)),
        ("trc-FDG", (30, 60)),
    ],
)
def test_window_of_the_tracer(tracer: str, window: tuple[float, float]) -> None:
    result = frame_window(None, tracer)
    assert (result.start_min, result.end_min) == window
    assert result.tracer and "20" in result.why and not result.is_stated
    assert frame_window((10, 20), tracer) == FrameWindow(10, 20)


def test_default_window_is_told_with_its_reason(tmp_path: Path) -> None:
    """Amyloid: frames of 50, 60 and 70 min with levels 1, 3, 9; the window of the tracer is 50 to 70."""
    sidecar = {"Units": "SUVR", "FrameTimesStart": [3000, 3600, 4200], "FrameDuration": [600, 600, 600]}
    pet = read_pet(dynamic(tmp_path, [1, 3, 9], {**sidecar, "TracerName": "[11C]PiB"}))
    assert centre(pet.image) == pytest.approx(2, rel=1e-5)
    assert pet.metadata["window_min"] == [50, 70]
    assert "Klunk" in pet.metadata["window_from"]
    assert [(f.level, f.code) for f in pet.verdict.findings] == [("ok", "window-default")]
    named = read_pet(dynamic(tmp_path, [1, 3, 9], sidecar, "sub-01_trc-AV45_pet"))
    assert named.metadata["window_min"] == [50, 70]
    # A tracer that is not known: 60 to 90 min, with a warning.
    late = {**sidecar, "FrameTimesStart": [3600, 4200, 4800], "TracerName": "new one"}
    unknown = read_pet(dynamic(tmp_path, [1, 3, 9], late, "other"))
    assert [(f.level, f.code) for f in unknown.verdict.findings] == [("warn", "window-default")]
    assert "60 to 90 min" in unknown.verdict.reasons()[0]


def test_window_that_frames_do_not_cover_names_the_option(tmp_path: Path) -> None:
    sidecar = {"Units": "SUVR", "FrameTimesStart": [3000, 3600], "FrameDuration": [600, 600]}
    with pytest.raises(InputError, match="only 10.0 of the 30 min from 60 to 90 min") as caught:
        read_pet(dynamic(tmp_path, [1, 3], sidecar))
    assert "run from 50 to 70 min" in caught.value.hint and "--window START END" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "window"),
    [
        ("60-90", (60, 90)),
        ("60 90", (60, 90)),
        ("60 - 90 min", (60, 90)),
        ("60–90", (60, 90)),
        ("60;90", (60, 90)),
        ("7.5 to 12.5", (7.5, 12.5)),
        ("", None),
    ],
)
def test_spellings_of_a_window(text: str, window: tuple[float, float] | None) -> None:
    assert parse_window(text) == window


def test_windows_that_are_none() -> None:
    for text in ("60", "sixty", "60-90-120", "1.2.3-4"):
        with pytest.raises(InputError, match="not a window of frames"):
            parse_window(text)
    for window in ((90, 60), (60, 60), (-5, 60), (math.nan, 60)):
        with pytest.raises(InputError, match="has no length"):
            frame_window(window)


def test_dynamic_file_without_what_it_needs(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="2 frames, but its JSON sidecar has no FrameTimesStart"):
        read_pet(dynamic(tmp_path, [1, 2], None))
    times = {"Units": "SUV", "FrameTimesStart": [3600, 4500], "FrameDuration": [900, 900]}
    path = dynamic(tmp_path, [1, 2], {**times, "ImageDecayCorrected": False}, "raw")
    with pytest.raises(InputError, match="not decay-corrected"):
        read_pet(path)
    with pytest.raises(InputError, match="not decay-corrected"):
        read_pet(path, unit="SUV")


def test_static_file_of_another_window_is_told(tmp_path: Path) -> None:
    sidecar = {"Units": "SUV", "FrameTimesStart": [2400], "FrameDuration": [1800]}
    path = write_image(image(2.0), tmp_path / "pet.nii.gz", sidecar)
    pet = read_pet(path)
    assert [f.code for f in pet.verdict.findings] == ["other-window"]
    assert "from 40 to 70 min; it covers only 10.0 of the 30 min" in pet.verdict.reasons()[0]
    assert pet.metadata["frame_min"] == [40, 70]
    assert read_pet(path, window_min=(40, 70)).verdict.level == "ok"
    # It covers the window, but half of it lies outside.
    assert [f.code for f in read_pet(path, window_min=(50, 65)).verdict.findings] == ["other-window"]


def test_static_file_without_times_cannot_be_checked(tmp_path: Path) -> None:
    path = write_image(image(2.0), tmp_path / "pet.nii.gz", {"Units": "SUV"})
    assert read_pet(path).verdict.level == "ok"
    assert [f.code for f in read_pet(path, window_min=(60, 90)).verdict.findings] == ["window-not-checked"]


# --- SUV ------------------------------------------------------------


def test_suv_factor_by_hand() -> None:
    assert suv_factor(70, 350e6, half_life_s=C11) == pytest.approx(PLAIN)
    # One half-life later half the dose is left: twice the SUV for a Bq/mL; two, four times.
    assert suv_factor(70, 350e6, decay_s=C11, half_life_s=C11) == pytest.approx(2 * PLAIN)
    assert suv_factor(70, 350e6, decay_s=2 * F18, half_life_s=F18) == pytest.approx(4 * PLAIN)
    # A body of water-like density with all of the dose spread evenly has SUV 1 everywhere.
    assert 350e6 / 70000 * suv_factor(70, 350e6, half_life_s=C11) == pytest.approx(1)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"dose_bq": 350.0}, r"350 Bq \(is it in MBq\?\)"),
        ({"dose_bq": 1.5}, r"1.5 Bq \(is it in MBq\?\)"),
        ({"dose_bq": 1.0}, r"1 Bq\."),  # nobody injects 1 MBq
        ({"dose_bq": 2000.0}, r"2000 Bq\."),
        ({"half_life_s": 1.0}, r"half-life is 1 s\."),
        ({"dose_bq": 5e9}, "5e.09 Bq"),
        ({"dose_bq": math.nan}, "nan Bq"),
        ({"weight_kg": 0.0}, "body weight is 0 kg"),
        ({"weight_kg": 70000.0}, "body weight is 70000 kg"),
        ({"half_life_s": 1.5}, r"\(is it in min\?\)"),
        ({"half_life_s": 0.0}, "half-life is 0 s"),
        ({"half_life_s": 20.4}, r"half-life is 20.4 s \(is it in min\?\)"),
        ({"decay_s": 6 * 3600.0}, "6.0 h after the injection"),
        ({"decay_s": -7200.0}, "-2.0 h after the injection"),
    ],
)
def test_suv_ingredients_are_checked(change: dict[str, float], says: str) -> None:
    good = {"weight_kg": 70.0, "dose_bq": 350e6, "half_life_s": C11, "decay_s": 0.0}
    with pytest.raises(InputError, match=says):
        suv_factor(**{**good, **change})


@pytest.mark.parametrize(
    ("name", "fine", "refused", "more"),
    [
        ("dose_bq", 1.001e6, 1e6, {}),
        ("dose_bq", 1.999e9, 2e9, {}),
        ("weight_kg", 2.01, 2.0, {}),
        ("weight_kg", 299.9, 300.0, {}),
        ("half_life_s", 60.0, 59.9, {}),
        ("half_life_s", 1e9, math.inf, {}),
        ("decay_s", -1800.0, -1801.0, {}),
        ("decay_s", 15 * C11, 15 * C11 + 1, {}),  # 15 half-lives, where they are shorter than 12 h
        ("decay_s", 12 * 3600.0, 12 * 3600.0 + 1, {"half_life_s": F18}),
        ("decay_s", 5 * 86400.0, 5 * 86400.0 + 1, {"half_life_s": 86400.0}),  # 5 half-lives of days
    ],
)
def test_the_limits_of_suv_ingredients(
    name: str, fine: float, refused: float, more: dict[str, float]
) -> None:
    good = {"weight_kg": 70.0, "dose_bq": 350e6, "half_life_s": C11, "decay_s": 0.0, **more}
    assert suv_factor(**{**good, name: fine}) > 0
    with pytest.raises(InputError):
        suv_factor(**{**good, name: refused})


# --- units ------------------------------------------------------------


@pytest.mark.parametrize(
    ("level", "looks"), [(5000.0, "looks like Bq/mL"), (1.2, "SUV or SUVR"), (30.0, "neither SUV nor Bq/mL")]
)
def test_unstated_unit_is_unknown_and_told(tmp_path: Path, level: float, looks: str) -> None:
    pet = read_pet(write_image(image(level), tmp_path / "pet.nii.gz"))
    assert pet.unit == "unknown"
    assert [f.code for f in pet.verdict.findings] == ["unit-not-stated"]
    assert looks in pet.verdict.reasons()[0]


def test_explicit_unit_wins(tmp_path: Path) -> None:
    path = bids(tmp_path, level=1.5)
    pet = read_pet(path, unit="suv")
    assert pet.unit == "SUV"
    assert centre(pet.image) == pytest.approx(1.5, rel=1e-5)
    assert [f.code for f in pet.verdict.findings] == ["unit-overruled"]
    with pytest.raises(InputError, match="unit 'counts' is not known") as caught:
        read_pet(path, unit="counts")
    assert "SUV, SUVR, Bq/mL, VT, DVR, BP" in caught.value.hint


def test_unit_that_the_values_contradict_is_told(tmp_path: Path) -> None:
    pet = read_pet(write_image(image(5000.0), tmp_path / "pet.nii.gz"), unit="SUV")
    assert [f.code for f in pet.verdict.findings] == ["unit-doubtful"]
    assert "said to be SUV" in pet.verdict.reasons()[0]


def test_a_unit_that_the_file_contradicts_is_used_with_a_warning(tmp_path: Path) -> None:
    """Also a factor of 1000; another spelling is none."""
    path = write_image(image(2.0), tmp_path / "pet.nii.gz", {"Units": "kBq/mL"})
    pet = read_pet(path, unit="SUV")
    assert pet.unit == "SUV" and [f.code for f in pet.about_unit] == ["unit-overruled"]
    assert pet.about_unit[0].message == "The file says kBq/mL, you say SUV, which is used."
    assert check_overruled("Bq/mL", "kBq/mL") and check_overruled("unknown", "SUV")
    assert not check_overruled("SUV", "g/ml") and not check_overruled("SUV", "n/a")
    assert not check_overruled(None, "SUV")


def test_real_suv_images_keep_their_values(shared_data: Path) -> None:
    path = shared_data / "pbr28" / "sub-control01_PBR_SUV_60-90.nl_MNI152_norm_sm6mm.nii.gz"
    pet = read_pet(path, unit="SUV")
    assert pet.unit == "SUV"
    assert pet.image.GetPixelID() == sitk.sitkFloat32
    assert pet.verdict.level == "ok"
    assert read_pet(path).unit == "unknown"


# --- SUVR and smoothing ------------------------------------------------------------


def test_suvr_has_mean_1_in_its_reference() -> None:
    pet = image(3.0)
    reference = pet > 1.0
    suvr = to_suvr(pet, reference)
    values = sitk.GetArrayFromImage(suvr)[sitk.GetArrayFromImage(reference) > 0]
    assert values.mean() == pytest.approx(1, abs=1e-5)
    assert suvr.GetPixelID() == sitk.sitkFloat32


def test_suvr_refuses_what_it_cannot_divide_by() -> None:
    pet = image(3.0)
    with pytest.raises(InputError, match="not on the grid"):
        to_suvr(pet, (pet > 1.0)[:-1, :, :])
    few = sitk.Image(pet.GetSize(), sitk.sitkUInt8)
    few.CopyInformation(pet)
    few[10:15, 10:15, 10:15] = 1
    with pytest.raises(InputError, match="125 voxels; at least 200"):
        to_suvr(pet, few)
    with pytest.raises(InputError, match="mean of the PET in the reference region is -3"):
        to_suvr(pet * 0 - 3.0, pet > 1.0)


def test_point_source_gets_the_stated_width() -> None:
    """A Gaussian of 8 mm FWHM has half its peak 4 mm away, on every axis, whatever the voxel size."""
    point = sitk.Image([81, 61, 41], sitk.sitkFloat32)
    point.SetSpacing([0.5, 1.0, 2.0])
    point[40, 30, 20] = 1.0
    smooth = smooth_fwhm(point, 8.0)
    peak = smooth[40, 30, 20]
    for index in ((48, 30, 20), (40, 34, 20), (40, 30, 22)):
        assert smooth[index] / peak == pytest.approx(0.5, abs=0.005)
    # Height of the peak: 1 / (2 pi)^1.5 sigma^3 for 1 mm3 of unit activity.
    sigma = 8.0 / 2.35482
    assert peak == pytest.approx((2 * math.pi) ** -1.5 / sigma**3, rel=0.01)
    np.testing.assert_array_equal(
        sitk.GetArrayFromImage(smooth_fwhm(point, 0.0)), sitk.GetArrayFromImage(point)
    )


def test_smoothing_in_a_mask_loses_and_gains_nothing() -> None:
    """Uniform 5 inside the mask and 1000 outside: still 5 inside, 0 outside."""
    mask = image(1.0) > 0.5
    pet = sitk.Cast(mask, sitk.sitkFloat32) * (5.0 - 1000.0) + 1000.0
    smooth = sitk.GetArrayFromImage(smooth_fwhm(pet, 12.0, mask))
    inside = sitk.GetArrayFromImage(mask) > 0
    np.testing.assert_allclose(smooth[inside], 5.0, rtol=1e-4)
    assert (smooth[~inside] == 0).all()
    with pytest.raises(InputError, match="not on the grid"):
        smooth_fwhm(pet, 4.0, mask[1:, :, :])
    for width in (-1.0, math.nan):
        with pytest.raises(InputError, match="smoothing width"):
            smooth_fwhm(pet, width)
