"""PET: frame averaging, SUV from DICOM and BIDS, units, SUVR and smoothing; truths computed by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from pydicom.dataset import Dataset

import dicom_series as dcm
from MRI2PETLib.core.errors import InputError
from MRI2PETLib.images.io import write_image
from MRI2PETLib.preprocessing.pet import read_pet, smooth_fwhm, to_suv, to_suvr
from MRI2PETLib.preprocessing.pet_frames import (
    FrameTimes,
    average_frames,
    frame_times_from_bids,
    frame_weights,
)
from MRI2PETLib.preprocessing.suv import suv_factor

C11, F18 = 1223.4, 6586.2
# 70 kg, 350 MBq: 70000 g / 350e6 Bq.
PLAIN = 70000 / 350e6


def image(value: float = 5000.0, size: tuple[int, int, int] = (40, 44, 38)) -> sitk.Image:
    """A ball of ``value`` in a field of a tenth of it, with a gradient so that it is not constant."""
    k, j, i = np.meshgrid(*[np.linspace(-1, 1, n) for n in size[::-1]], indexing="ij")
    array = np.where(i**2 + j**2 + k**2 < 0.5, value, 0.1 * value) * (1 + 0.01 * i)
    result = sitk.GetImageFromArray(array.astype(np.float32))
    result.SetSpacing([4.0] * 3)
    return result


def dynamic(
    folder: Path, levels: list[float], sidecar: dict[str, Any] | None, name: str = "sub-01_pet"
) -> Path:
    """A 4-D NIfTI whose frames are one image times each level, with its sidecar."""
    frames = sitk.JoinSeries([image(1.0) * level for level in levels])
    path = folder / f"{name}.nii.gz"
    sitk.WriteImage(frames, str(path))
    if sidecar is not None:
        (folder / f"{name}.json").write_text(json.dumps(sidecar))
    return path


def centre(pet: sitk.Image) -> float:
    """The value of the ball, free of its gradient (mean of two voxels symmetric about the centre)."""
    return float(pet[19, 22, 19] + pet[20, 22, 19]) / 2


# --- frames ------------------------------------------------------------


def test_weights_are_the_overlap_with_the_window() -> None:
    """Frames 50-65, 65-80, 80-95 min and the window 60-90: 5, 15 and 10 of 30 min."""
    times = FrameTimes((3000.0, 3900.0, 4800.0), (900.0, 900.0, 900.0))
    np.testing.assert_allclose(frame_weights(times), [5 / 30, 15 / 30, 10 / 30])


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
    assert frame_weights(FrameTimes((3600.0,), (1620.0,))).sum() == pytest.approx(1)
    with pytest.raises(InputError, match="cover only 26.5 of the 30 min from 60 to 90 min"):
        frame_weights(FrameTimes((3600.0,), (1590.0,)))
    # A gap in the middle counts too: 12 + 12 min.
    with pytest.raises(InputError, match="24.0 of the 30 min"):
        frame_weights(FrameTimes((3600.0, 4680.0), (720.0, 720.0)))
    with pytest.raises(InputError, match="seconds: these look like minutes"):
        frame_weights(FrameTimes((0.0, 60.0), (60.0, 30.0)))
    with pytest.raises(InputError, match="seconds: these look like milliseconds"):
        frame_weights(FrameTimes((3.6e6,), (1.8e6,)))


def test_frames_that_make_no_sense() -> None:
    with pytest.raises(InputError, match="overlap by up to 300 s"):
        frame_weights(FrameTimes((3600.0, 4200.0), (900.0, 1200.0)))
    with pytest.raises(InputError, match="no positive duration"):
        frame_weights(FrameTimes((3600.0,), (0.0,)))
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
    pet = read_pet(dynamic(tmp_path, [1, 2, 4, 8], sidecar))
    assert centre(pet.image) == pytest.approx(5, rel=1e-5)
    assert pet.unit == "SUV"
    assert pet.metadata["frames_used"] == [1, 2, 3]
    assert pet.verdict.level == "ok"
    other = read_pet(tmp_path / "sub-01_pet.nii.gz", window_s=(3900.0, 4800.0))
    assert centre(other.image) == pytest.approx(4, rel=1e-5)


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
    assert [f.code for f in pet.verdict.findings] == ["other_window"]
    assert "from 40 min on; it covers only 10.0 of the 30 min" in pet.verdict.reasons()[0]


# --- SUV ------------------------------------------------------------


def test_suv_factor_by_hand() -> None:
    assert suv_factor(70, 350e6, half_life_s=C11) == pytest.approx(PLAIN)
    # One half-life later half the dose is left: twice the SUV for a Bq/mL; two, four times.
    assert suv_factor(70, 350e6, decay_s=C11, half_life_s=C11) == pytest.approx(2 * PLAIN)
    assert suv_factor(70, 350e6, decay_s=2 * F18, half_life_s=F18) == pytest.approx(4 * PLAIN)
    # A body of water-like density with all of the dose spread evenly has SUV 1 everywhere.
    concentration = 350e6 / 70000
    assert centre(
        to_suv(image(concentration), weight_kg=70, dose_bq=350e6, half_life_s=C11)
    ) == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"dose_bq": 350.0}, r"350 Bq \(is it in MBq\?\)"),
        ({"dose_bq": 5e9}, "5e.09 Bq"),
        ({"dose_bq": math.nan}, "nan Bq"),
        ({"weight_kg": 0.0}, "body weight is 0 kg"),
        ({"weight_kg": 70000.0}, "body weight is 70000 kg"),
        ({"half_life_s": 0.0}, "half-life is 0 s"),
        ({"decay_s": 6 * 3600.0}, "6.0 h after the injection"),
        ({"decay_s": -7200.0}, "-2.0 h after the injection"),
    ],
)
def test_suv_ingredients_are_checked(change: dict[str, float], says: str) -> None:
    good = {"weight_kg": 70.0, "dose_bq": 350e6, "half_life_s": C11, "decay_s": 0.0}
    with pytest.raises(InputError, match=says):
        suv_factor(**{**good, **change})


def radiopharmaceutical(**tags: Any) -> Dataset:
    data = Dataset()
    data.RadiopharmaceuticalStartTime = "100000.00"
    data.RadionuclideTotalDose = 350e6
    data.RadionuclideHalfLife = C11
    for name, value in tags.items():
        if value is None:
            delattr(data, name)
        else:
            setattr(data, name, value)
    return data


def pet_tags(info: Dataset | None = None, **tags: Any) -> dict[str, Any]:
    """A static PET of 60-90 min: injected at 10:00, scanned from 11:00, decay-corrected to its start."""
    return {
        "Modality": "PT",
        "SeriesDescription": "PBR28",
        "Units": "BQML",
        "DecayCorrection": "START",
        "SeriesDate": "20200301",
        "SeriesTime": "110000",
        "AcquisitionDate": "20200301",
        "AcquisitionTime": "110000",
        "ActualFrameDuration": 1800000,
        "PatientWeight": 70.0,
        "RadiopharmaceuticalInformationSequence": [info or radiopharmaceutical()],
        **tags,
    }


def check_dicom(folder: Path, factor: float, tags: dict[str, Any], unit: str = "SUV") -> None:
    array = dcm.volume()
    dcm.write_series(folder, array, **tags)
    pet = read_pet(folder)
    assert pet.unit == unit
    assert pet.image.GetPixelID() == sitk.sitkFloat32
    np.testing.assert_allclose(sitk.GetArrayFromImage(pet.image), array * factor, rtol=1e-5)


HOUR = 2 ** (3600 / C11)


def test_dicom_decay_corrected_to_the_start_of_the_scan(tmp_path: Path) -> None:
    check_dicom(tmp_path, PLAIN * HOUR, pet_tags())


def test_dicom_decay_corrected_to_administration(tmp_path: Path) -> None:
    check_dicom(tmp_path, PLAIN, pet_tags(DecayCorrection="ADMIN"))


def test_dicom_series_time_rewritten_after_the_scan(tmp_path: Path) -> None:
    """A SeriesTime after the acquisition is that of a reconstruction: the acquisition is the reference."""
    check_dicom(tmp_path, PLAIN * HOUR, pet_tags(SeriesTime="153000"))


def test_dicom_series_time_before_the_acquisition_is_the_reference(tmp_path: Path) -> None:
    check_dicom(tmp_path, PLAIN * 2 ** (1800 / C11), pet_tags(SeriesTime="103000"))


def test_dicom_past_midnight(tmp_path: Path) -> None:
    """Injected at 23:30 (time only), scanned at 00:30 of the next day."""
    info = radiopharmaceutical(RadiopharmaceuticalStartTime="233000")
    tags = pet_tags(info, SeriesTime="003000", AcquisitionTime="003000")
    check_dicom(tmp_path / "time", PLAIN * HOUR, tags)
    dated = radiopharmaceutical(RadiopharmaceuticalStartDateTime="20200229233000.5")
    later = pet_tags(dated, SeriesTime="003000.5", AcquisitionTime="003000.5")
    check_dicom(tmp_path / "date", PLAIN * HOUR, later)


def test_dicom_half_life_of_fluorine(tmp_path: Path) -> None:
    tags = pet_tags(radiopharmaceutical(RadionuclideHalfLife=F18))
    check_dicom(tmp_path, PLAIN * 2 ** (3600 / F18), tags)


def test_dicom_already_suv(tmp_path: Path) -> None:
    array = dcm.volume() % 7 + 1
    dcm.write_series(tmp_path / "bw", array, **pet_tags(Units="GML", SUVType="BW"))
    pet = read_pet(tmp_path / "bw")
    assert pet.unit == "SUV"
    np.testing.assert_array_equal(sitk.GetArrayFromImage(pet.image), array)
    dcm.write_series(tmp_path / "lbm", array, **pet_tags(Units="GML", SUVType="LBM"))
    with pytest.raises(InputError, match="SUV of type LBM"):
        read_pet(tmp_path / "lbm")


def test_dicom_counts_of_philips(tmp_path: Path) -> None:
    """Private (7053,1000): SUV a count; (7053,1009): Bq/mL a count."""
    for name, element, factor in (("suv", 0x1000, 0.01), ("bq", 0x1009, 2.0)):
        array = dcm.volume()
        dcm.write_series(tmp_path / name, array, **pet_tags(Units="CNTS"))
        import pydicom

        for file in (tmp_path / name).iterdir():
            data = pydicom.dcmread(file)
            data.add_new((0x7053, 0x0010), "LO", "Philips PET Private Group")
            data.add_new((0x7053, element), "DS", str(factor))
            data.save_as(file)
        pet = read_pet(tmp_path / name)
        assert pet.unit == "SUV"
        expected = factor if name == "suv" else factor * PLAIN * HOUR
        np.testing.assert_allclose(sitk.GetArrayFromImage(pet.image), array * expected, rtol=1e-5)
    dcm.write_series(tmp_path / "plain", dcm.volume(), **pet_tags(Units="CNTS"))
    pet = read_pet(tmp_path / "plain")
    assert pet.unit == "unknown"
    assert pet.verdict.level == "warn"


def test_dicom_not_decay_corrected_is_refused(tmp_path: Path) -> None:
    dcm.write_series(tmp_path, dcm.volume(), **pet_tags(DecayCorrection="NONE"))
    with pytest.raises(InputError, match="not decay-corrected"):
        read_pet(tmp_path)


@pytest.mark.parametrize(
    ("tags", "says"),
    [
        (pet_tags(PatientWeight=None), "missing"),
        (pet_tags(PatientWeight=0.0), "weight is 0 kg"),
        (pet_tags(radiopharmaceutical(RadionuclideTotalDose=350.0)), "is it in MBq"),
        (pet_tags(radiopharmaceutical(RadionuclideTotalDose=None)), "missing"),
        (pet_tags(radiopharmaceutical(RadiopharmaceuticalStartTime="040000")), "7.0 h after the injection"),
        (pet_tags(radiopharmaceutical(RadiopharmaceuticalStartTime="170000")), "-6.0 h after"),
        (pet_tags(RadiopharmaceuticalInformationSequence=[]), "missing"),
    ],
)
def test_dicom_without_sane_dose_and_weight_stays_bq_per_ml(
    tmp_path: Path, tags: dict[str, Any], says: str
) -> None:
    dcm.write_series(tmp_path, dcm.volume(), **tags)
    pet = read_pet(tmp_path)
    assert pet.unit == "Bq/mL"
    np.testing.assert_array_equal(sitk.GetArrayFromImage(pet.image), dcm.volume())
    assert [f.code for f in pet.verdict.findings][0] == "no_suv"
    assert says in pet.verdict.reasons()[0]


def test_dicom_dynamic(tmp_path: Path) -> None:
    """Four frames of one series at 50, 65, 80 and 95 min, with 5, 15, 10, 0 min inside 60-90."""
    uid = dcm.generate_uid()
    base = dcm.volume() % 500 + 1
    starts = ["105000", "110500", "112000", "113500"]
    for frame, start in enumerate(starts):
        tags = pet_tags(SeriesTime="105000", AcquisitionTime=start, ActualFrameDuration=900000)
        dcm.write_series(tmp_path, base * (frame + 1), uid=uid, prefix=f"F{frame}", **tags)
    pet = read_pet(tmp_path)
    expected = base * ((1 * 5 + 2 * 15 + 3 * 10) / 30) * PLAIN * 2 ** (3000 / C11)
    assert pet.unit == "SUV"
    assert pet.metadata["frames_used"] == [0, 1, 2]
    np.testing.assert_allclose(sitk.GetArrayFromImage(pet.image), expected, rtol=1e-5)


def bids(folder: Path, *, weight: str | None = "70", level: float = 5000.0, **change: Any) -> Path:
    """A BIDS dataset with one static PET in Bq/mL; a change to None takes a field out."""
    sidecar: dict[str, Any] = {
        "Units": "Bq/mL",
        "TracerRadionuclide": "C11",
        "InjectedRadioactivity": 350,
        "InjectedRadioactivityUnits": "MBq",
        "InjectionStart": 0,
        "FrameTimesStart": [3600],
        "FrameDuration": [1800],
        "ImageDecayCorrected": True,
        "ImageDecayCorrectionTime": 3600,
        **change,
    }
    pet = folder / "sub-01" / "ses-1" / "pet"
    pet.mkdir(parents=True)
    if weight is not None:
        table = f"participant_id\tage\tweight\nsub-02\t30\t99\nsub-01\t40\t{weight}\n"
        (folder / "participants.tsv").write_text(table)
    sidecar = {key: value for key, value in sidecar.items() if value is not None}
    return write_image(image(level), pet / "sub-01_ses-1_pet.nii.gz", sidecar)


@pytest.mark.parametrize(
    ("change", "factor"),
    [
        ({}, PLAIN * HOUR),
        ({"ImageDecayCorrectionTime": 0}, PLAIN),
        ({"ImageDecayCorrectionTime": 3700, "InjectionStart": 100, "FrameTimesStart": [3700]}, PLAIN * HOUR),
        ({"InjectedRadioactivity": 350000, "InjectedRadioactivityUnits": "kBq"}, PLAIN * HOUR),
        ({"InjectedRadioactivity": 350 / 37, "InjectedRadioactivityUnits": "mCi"}, PLAIN * HOUR),
        ({"Units": "kBq/mL"}, 1000 * PLAIN * HOUR),
        ({"TracerRadionuclide": "[18F]", "level": 5000}, None),
        ({"TracerRadionuclide": "F18"}, PLAIN * 2 ** (3600 / F18)),
        ({"TracerRadionuclide": "11C"}, PLAIN * HOUR),
    ],
)
def test_bids_suv(tmp_path: Path, change: dict[str, Any], factor: float | None) -> None:
    pet = read_pet(bids(tmp_path, **change))
    if factor is None:
        assert pet.unit == "Bq/mL"
        assert "radionuclide" in pet.verdict.reasons()[0]
        return
    assert pet.unit == "SUV"
    assert centre(pet.image) == pytest.approx(5000 * factor, rel=1e-5)


@pytest.mark.parametrize(
    ("weight", "change", "says"),
    [
        (None, {}, "no weight"),
        ("n/a", {}, "no weight"),
        ("0", {}, "body weight is 0 kg"),
        ("70", {"InjectedRadioactivity": None}, "no InjectedRadioactivity"),
        ("70", {"InjectedRadioactivityUnits": "n/a"}, "InjectedRadioactivityUnits is 'n/a'"),
        ("70", {"InjectedRadioactivity": "n/a"}, "not a number"),
        ("70", {"InjectedRadioactivity": 350, "InjectedRadioactivityUnits": "Bq"}, "is it in MBq"),
    ],
)
def test_bids_without_dose_or_weight_stays_bq_per_ml(
    tmp_path: Path, weight: str | None, change: dict[str, Any], says: str
) -> None:
    pet = read_pet(bids(tmp_path, weight=weight, **change))
    assert pet.unit == "Bq/mL"
    assert centre(pet.image) == pytest.approx(5000, rel=1e-5)
    assert pet.verdict.level == "warn"
    assert says in pet.verdict.reasons()[0]


def test_bids_odd_sidecars(tmp_path: Path) -> None:
    pet = read_pet(bids(tmp_path / "a", ImageDecayCorrectionTime=None))
    assert centre(pet.image) == pytest.approx(5000 * PLAIN, rel=1e-5)
    assert "decay_time_assumed" in [f.code for f in pet.verdict.findings]
    with pytest.raises(InputError, match="not decay-corrected"):
        read_pet(bids(tmp_path / "b", ImageDecayCorrected=False))
    path = bids(tmp_path / "c")
    path.with_name("sub-01_ses-1_pet.json").write_text("{broken")
    with pytest.raises(InputError, match="sidecar .* cannot be read"):
        read_pet(path)
    path.with_name("sub-01_ses-1_pet.json").write_text("[1]")
    with pytest.raises(InputError, match="not a JSON object"):
        read_pet(path)


# --- units ------------------------------------------------------------


@pytest.mark.parametrize(
    ("level", "looks"), [(5000.0, "looks like Bq/mL"), (1.2, "SUV or SUVR"), (30.0, "neither SUV nor Bq/mL")]
)
def test_unstated_unit_is_unknown_and_told(tmp_path: Path, level: float, looks: str) -> None:
    pet = read_pet(write_image(image(level), tmp_path / "pet.nii.gz"))
    assert pet.unit == "unknown"
    assert [f.code for f in pet.verdict.findings] == ["unit_unknown"]
    assert looks in pet.verdict.reasons()[0]


def test_explicit_unit_wins(tmp_path: Path) -> None:
    path = bids(tmp_path, level=1.5)
    pet = read_pet(path, unit="suv")
    assert pet.unit == "SUV"
    assert centre(pet.image) == pytest.approx(1.5, rel=1e-5)
    assert pet.verdict.level == "ok"
    with pytest.raises(InputError, match="unit 'counts' is not known") as caught:
        read_pet(path, unit="counts")
    assert "SUV, SUVR, Bq/mL, normalised" in caught.value.hint


def test_unit_that_the_values_contradict_is_told(tmp_path: Path) -> None:
    pet = read_pet(write_image(image(5000.0), tmp_path / "pet.nii.gz"), unit="SUV")
    assert [f.code for f in pet.verdict.findings] == ["unit_doubtful"]
    assert "said to be SUV" in pet.verdict.reasons()[0]


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
    # A voxel off the edge of the region: a 10 x 10 x 10 block becomes 8 x 8 x 8.
    block = sitk.Image(pet.GetSize(), sitk.sitkUInt8)
    block.CopyInformation(pet)
    block[12:22, 12:22, 12:22] = 1
    eroded = sitk.GetArrayFromImage(to_suvr(pet, block, erode_voxels=1))[13:21, 13:21, 13:21]
    assert eroded.mean() == pytest.approx(1, abs=1e-5)


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
