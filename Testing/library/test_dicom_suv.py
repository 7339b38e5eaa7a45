"""SUV and times from the tags of a DICOM PET; truths computed by hand."""

from __future__ import annotations

import math
import string
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.dataset import Dataset

import dicom_series as dcm
from dicom_series import pet_tags, radiopharmaceutical
from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.resources import resources_dir
from MRI2PETLib.core.tables import read_table
from MRI2PETLib.images.dicom_times import Moment, date_time, moment, seconds_between, time_of_day, utc_offset
from MRI2PETLib.preprocessing.dicom_clock import frame_times_from_dicom
from MRI2PETLib.preprocessing.dicom_suv import scale_from_dicom
from MRI2PETLib.preprocessing.pet import read_pet
from MRI2PETLib.preprocessing.radionuclides import find_radionuclide, radionuclides
from pet_images import PLAIN

C11, F18 = 1223.4, 6586.2  # as scanners write them


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


@pytest.mark.parametrize("confirmed", [True, False])
def test_a_series_that_began_before_its_frames_is_told_unless_they_confirm_it(confirmed: bool) -> None:
    reference_s = 1800 + mean_activity_s(1800, C11)
    tags = {"SeriesTime": "103000", "FrameReferenceTime": 1000 * reference_s if confirmed else None}
    scale = scale_from_dicom(slices(**tags))
    assert scale.factor == pytest.approx(PLAIN * 2 ** (1800 / C11), rel=1e-9)
    assert [f.code for f in scale.findings] == ([] if confirmed else ["decay-reference"])


def test_two_injections_have_no_suv() -> None:
    twice = [dcm.radiopharmaceutical(), dcm.radiopharmaceutical(RadiopharmaceuticalStartTime="0900")]
    scale = scale_from_dicom(slices(RadiopharmaceuticalInformationSequence=twice))
    assert scale.unit == "Bq/mL" and "(0054,0016) has 2 items" in scale.findings[0].message


def test_a_pet_without_attenuation_correction_is_told(tmp_path: Path) -> None:
    for name, corrections in (("with", ["DECY", "ATTN", "SCAT"]), ("without", ["DECY", "NORM"])):
        dcm.write_series(tmp_path / name, dcm.volume(), **pet_tags(CorrectedImage=corrections))
        findings = [f.code for f in read_pet(tmp_path / name).verdict.findings]
        assert ("attenuation" in findings) == (name == "without")


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


def slices(*, drop: str = "", info: dict[str, Any] | None = None, **tags: Any) -> list[Dataset]:
    """One image of the static PET; ``drop`` takes a tag out, of the images or of the tracer."""
    data = Dataset()
    for name, value in pet_tags(radiopharmaceutical(**(info or {})), **tags).items():
        if value is not None:
            setattr(data, name, value)
    for where in (data, data.RadiopharmaceuticalInformationSequence[0]):
        if drop in where:
            delattr(where, drop)
    return [data]


def factor(**tags: Any) -> float:
    scale = scale_from_dicom(slices(**tags))
    assert scale.unit == "SUV", scale.findings
    return scale.factor


def codes(**tags: Any) -> list[str]:
    return [f.code for f in scale_from_dicom(slices(**tags)).findings]


# --- spellings of times ------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10", 36000.0),
        ("1030", 37800.0),
        ("103059", 37859.0),
        ("103059.5", 37859.5),
        ("103059.000001", 37859.000001),
        ("103059.", 37859.0),
        ("1030 ", 37800.0),
        ("235960", 86400.0),
        ("10:30", 37800.0),
        ("10:30:59", 37859.0),
        ("10:30:59.25", 37859.25),
    ],
)
def test_times_of_every_legal_length(text: str, seconds: float) -> None:
    assert time_of_day(text).total_seconds() == pytest.approx(seconds, abs=1e-7)


@pytest.mark.parametrize(
    "text",
    ["", "1", "103", "10305", "24", "1060", "103061", "10.5", "10:3", "-10", "ten", "10:3000", "1030:59"],
)
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match="not a DICOM time|not a time of day"):
        time_of_day(text)


def test_dates_and_offsets() -> None:
    assert moment("2020.03.01", "10") == moment("20200301", "100000")
    local, offset = date_time("202003011030+0530")
    assert (str(local), offset.total_seconds() if offset else None) == ("2020-03-01 10:30:00", 19800)
    assert date_time("2020030110")[1] is None
    assert utc_offset("-0330").total_seconds() == -12600
    for text in ("20200301", "202003011", "20201301100000", "20200301100000+01", "20200301100000+1500"):
        with pytest.raises(ValueError, match="not a DICOM date|UTC offset|not a time"):
            date_time(text)
    for text in ("0100", "+1", "+1460", "+1500", "Z"):
        with pytest.raises(ValueError, match="UTC offset"):
            utc_offset(text)


def test_midnight_without_dates() -> None:
    """Without both dates two times lie within half a day: 23:30 to 00:30 is an hour on, and not 23 back."""
    late, early = moment("", "2330"), moment("", "0030")
    assert seconds_between(late, early) == 3600
    assert seconds_between(early, late) == -3600
    assert seconds_between(moment("20200229", "2330"), early) == 3600
    # Both dates known: they decide.
    assert seconds_between(moment("20200301", "2330"), moment("20200301", "0030")) == -23 * 3600
    assert isinstance(late, Moment)


# --- the injection ------------------------------------------------------------


@pytest.mark.parametrize("time", ["10", "1000", "100000", "100000.0", "100000.000000", "10:00:00"])
def test_every_spelling_of_the_injection_gives_one_suv(time: str) -> None:
    assert factor(info={"RadiopharmaceuticalStartTime": time}) == pytest.approx(PLAIN * HOUR, rel=1e-9)
    dated = {"RadiopharmaceuticalStartTime": None, "RadiopharmaceuticalStartDateTime": f"20200301{time}"}
    if ":" not in time:
        assert factor(info=dated) == pytest.approx(PLAIN * HOUR, rel=1e-9)


def test_time_without_seconds_is_not_read_as_seconds() -> None:
    """1030 is 10:30: half an hour before the scan."""
    half = PLAIN * 2 ** (1800 / C11)
    assert factor(info={"RadiopharmaceuticalStartTime": "1030"}) == pytest.approx(half, rel=1e-9)


def test_hour_alone_is_told() -> None:
    assert codes(info={"RadiopharmaceuticalStartTime": "10"}) == ["injection-hour-only"]
    assert codes(info={"RadiopharmaceuticalStartTime": "1000"}) == []


NO_TIME = {"RadiopharmaceuticalStartTime": None}


def test_utc_offset_of_the_injection() -> None:
    """09:00 UTC is 10:00 in the zone of the images: an hour before the scan, not two."""
    start = {**NO_TIME, "RadiopharmaceuticalStartDateTime": "20200301090000.000000+0000"}
    assert factor(info=start, TimezoneOffsetFromUTC="+0100") == pytest.approx(PLAIN * HOUR, rel=1e-9)
    # Without an offset it is in the zone of the images.
    plain = {**NO_TIME, "RadiopharmaceuticalStartDateTime": "20200301100000"}
    assert factor(info=plain, TimezoneOffsetFromUTC="+0100") == pytest.approx(PLAIN * HOUR, rel=1e-9)
    assert codes(info=plain, TimezoneOffsetFromUTC="+0100") == []


def test_offset_without_the_zone_of_the_images() -> None:
    """The time that is stated beside it tells the zone; else the same zone is assumed, and told."""
    start = {"RadiopharmaceuticalStartDateTime": "20200301090000+0000"}
    assert factor(info=start) == pytest.approx(PLAIN * HOUR, rel=1e-9)
    assert codes(info=start) == []
    alone = {**NO_TIME, "RadiopharmaceuticalStartDateTime": "20200301100000+0100"}
    assert factor(info=alone) == pytest.approx(PLAIN * HOUR, rel=1e-9)
    assert codes(info=alone) == ["zone-assumed"]


def test_zone_east_of_midnight() -> None:
    """20:30 UTC of the day before is 05:30 in +0900; the scan follows at 06:30."""
    start = {**NO_TIME, "RadiopharmaceuticalStartDateTime": "20200229203000+0000"}
    times = {"SeriesTime": "0630", "AcquisitionTime": "0630", "TimezoneOffsetFromUTC": "+0900"}
    assert factor(info=start, **times) == pytest.approx(PLAIN * HOUR, rel=1e-9)


def test_two_times_of_the_injection_that_differ_are_told() -> None:
    start = {"RadiopharmaceuticalStartDateTime": "20200301103000"}
    assert factor(info=start) == pytest.approx(PLAIN * 2 ** (1800 / C11), rel=1e-9)
    scale = scale_from_dicom(slices(info=start))
    assert [f.code for f in scale.findings] == ["injection-times-differ"]
    assert "2020-03-01 10:30:00" in scale.findings[0].message and "10:00:00" in scale.findings[0].message


def test_malformed_date_time_leaves_the_time() -> None:
    for text in ("20200301", "2020-03-01 10:00"):
        data = slices(info={})[0]
        info = data.RadiopharmaceuticalInformationSequence[0]
        info.add_new("RadiopharmaceuticalStartDateTime", "LO", text)
        assert scale_from_dicom([data]).factor == pytest.approx(PLAIN * HOUR, rel=1e-9)


def test_past_midnight_without_any_date() -> None:
    times = {
        "SeriesTime": "0030",
        "AcquisitionTime": "003000.00",
        "SeriesDate": None,
        "AcquisitionDate": None,
    }
    start = {"RadiopharmaceuticalStartTime": "2330"}
    assert factor(info=start, **times) == pytest.approx(PLAIN * HOUR, rel=1e-9)


def test_dynamic_past_midnight_without_dates() -> None:
    """Injected at 23:50; frames at 23:50, 00:00 and 00:20, the series date is that of the start."""
    frames = []
    for time in ("2350", "0000", "0020"):
        tags = {"AcquisitionTime": time, "AcquisitionDate": None, "SeriesTime": "2350"}
        frames += slices(info={"RadiopharmaceuticalStartTime": "2350"}, ActualFrameDuration=600000, **tags)
    assert frame_times_from_dicom(frames).start_s == (0.0, 600.0, 1800.0)
    assert scale_from_dicom(frames).factor == pytest.approx(PLAIN, rel=1e-9)


def test_acquisition_date_time_stands_in_for_the_time() -> None:
    tags = {"AcquisitionTime": None, "AcquisitionDate": None, "TimezoneOffsetFromUTC": "+0100"}
    whole = {"AcquisitionDateTime": "20200301100000+0000"}
    assert factor(**tags, **whole) == pytest.approx(PLAIN * HOUR, rel=1e-9)


# --- the decay reference ------------------------------------------------------------


def mean_activity_s(duration_s: float, half_life_s: float) -> float:
    """Where in a frame a decaying activity has its mean: numerically, by its integral."""
    t = np.linspace(0, duration_s, 200001)
    rate = 2.0 ** (-t / half_life_s)
    mean = np.trapezoid(rate, t) / duration_s
    return float(-half_life_s * math.log2(mean))


@pytest.mark.parametrize("place", ["mean activity", "middle"])
def test_series_time_rewritten_and_frames_that_tell_the_reference(place: str) -> None:
    """Fluorine, decay-corrected to 11:00; the frame of 300 s starts at 11:02:30, the series says 15:30.

    The acquisition alone would be 1.6 % wrong (4.064 for an SUV of 4).
    """
    inside = mean_activity_s(300, F18) if place == "mean activity" else 150.0
    times = {"SeriesTime": "153000", "AcquisitionTime": "110230", "ActualFrameDuration": 300000}
    tags = {**times, "FrameReferenceTime": 1000 * (150 + inside)}
    right = PLAIN * 2 ** (3600 / F18)
    assert factor(info={"RadionuclideHalfLife": F18}, **tags) == pytest.approx(right, rel=1e-4)
    assert codes(info={"RadionuclideHalfLife": F18}, **tags) == ["decay-reference"]
    by_acquisition = PLAIN * 2 ** (3750 / F18)
    assert by_acquisition / right == pytest.approx(1.016, abs=1e-3)


@pytest.mark.parametrize("place", ["mean activity", "middle", "start"])
def test_rewritten_series_of_several_frames(place: str) -> None:
    """Carbon, decay-corrected to the injection at 10:00; frames of 5 and 20 min: only one place fits both."""
    frames = []
    for start, minutes in (("1100", 5), ("1105", 20)):
        duration = 60.0 * minutes
        offset = 3600.0 if start == "1100" else 3900.0
        inside = {"mean activity": mean_activity_s(duration, C11), "middle": duration / 2, "start": 0.0}[
            place
        ]
        tags = {"AcquisitionTime": start, "ActualFrameDuration": 1000 * duration, "SeriesTime": "2300"}
        frames += slices(FrameReferenceTime=round(1000 * (offset + inside), 3), **tags)
    scale = scale_from_dicom(frames)
    assert scale.factor == pytest.approx(PLAIN, rel=1e-4)
    assert [f.level for f in scale.findings] == ["ok"]


@pytest.mark.parametrize(("reference_s", "level"), [(823.5, "ok"), (900, "ok"), (820, "warn"), (600, "warn")])
def test_a_reference_that_one_frame_does_not_confirm_is_told(reference_s: float, level: str) -> None:
    """Of one frame of 30 min (carbon) every way to place FrameReferenceTime gives some reference: 820 s are
    3 s short of its mean activity, and would be 820 s before its start. Only 824 and 900 s give its start.
    """
    scale = scale_from_dicom(slices(SeriesTime="153000", FrameReferenceTime=1000 * reference_s))
    assert [(f.level, f.code) for f in scale.findings] == [(level, "decay-reference")]
    if level == "ok":
        assert scale.factor == pytest.approx(PLAIN * HOUR, rel=1e-3)


def test_rewritten_series_without_help_of_the_frames() -> None:
    for reference in (None, 0):
        tags = {"SeriesTime": "153000", "FrameReferenceTime": reference}
        assert factor(**tags) == pytest.approx(PLAIN * HOUR, rel=1e-9)
        scale = scale_from_dicom(slices(**tags))
        assert [(f.level, f.code) for f in scale.findings] == [("warn", "decay-reference")]
        assert "SeriesTime (0008,0031) is later than the acquisition" in scale.findings[0].message


def test_processed_on_the_next_day_at_an_earlier_hour() -> None:
    tags = {"SeriesDate": "20200302", "SeriesTime": "0900"}
    assert factor(**tags) == pytest.approx(PLAIN * HOUR, rel=1e-9)


def test_frames_that_contradict_the_series_are_told() -> None:
    """By its FrameReferenceTime the frame began 600 s after the reference, by the series at once."""
    inside = mean_activity_s(1800, C11)
    tags = {"FrameReferenceTime": 1000 * (600 + inside)}
    assert factor(**tags) == pytest.approx(PLAIN * HOUR, rel=1e-9)
    finding = scale_from_dicom(slices(**tags)).findings[0]
    assert finding.level == "warn" and "decay reference" in finding.message
    assert codes(FrameReferenceTime=1000 * inside) == []


def test_scan_time_of_ge_wins_over_a_rewritten_series() -> None:
    data = slices(SeriesTime="153000")[0]
    data.add_new((0x0009, 0x0010), "LO", "GEMS_PETD_01")
    data.add_new((0x0009, 0x100D), "DT", "20200301103000.00")
    assert scale_from_dicom([data]).factor == pytest.approx(PLAIN * 2 ** (1800 / C11), rel=1e-9)


# --- half-life ------------------------------------------------------------


def nuclide(value: str, scheme: str = "SRT", meaning: str = "") -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
    return code


@pytest.mark.parametrize(
    ("code", "half_life"),
    [
        (("C-105A1", "SRT", ""), 1221.8),
        (("C-105A1", "99SDM", ""), 1221.8),
        (("40565003", "SCT", ""), 1221.8),
        (("C-111A1", "SRT", "^18^Fluorine"), 6586.2),
        (("x", "99LAB", "^11^Carbon"), 1221.8),
    ],
)
def test_half_life_of_the_nuclide_code(code: tuple[str, str, str], half_life: float) -> None:
    info = {"RadionuclideHalfLife": None, "RadionuclideCodeSequence": [nuclide(*code)]}
    assert factor(info=info) == pytest.approx(PLAIN * 2 ** (3600 / half_life), rel=1e-9)
    assert codes(info=info) == ["half-life-of-nuclide"]


def test_half_life_that_contradicts_the_nuclide_is_told() -> None:
    code = [nuclide("C-111A1")]
    assert codes(info={"RadionuclideHalfLife": 6588.0, "RadionuclideCodeSequence": code}) == []
    scale = scale_from_dicom(slices(info={"RadionuclideCodeSequence": code}))
    assert [f.code for f in scale.findings] == ["half-life-doubtful"]
    assert "1223.4 s, but the nuclide is F18 (6586.2 s)" in scale.findings[0].message


@pytest.mark.parametrize(
    ("half_life", "words"),
    [
        (109.8, "109.8 min is that of F18"),
        (67.7, "67.7 min is that of Ga68"),
        (20.4, "20.4 min is that of C11"),
        (12.7, "12.7 h is that of Cu64"),
        (78.4, "78.4 h is that of Zr89"),
        (6586200.0, "ms is that of F18"),
    ],
)
def test_half_life_that_is_not_in_seconds(half_life: float, words: str) -> None:
    """The nuclide code says which; without it the unit is not guessed."""
    scale = scale_from_dicom(slices(info={"RadionuclideHalfLife": half_life}))
    assert scale.unit == "Bq/mL" and words in scale.findings[0].message
    name, seconds = words.rpartition(" ")[2], radionuclides()[words.rpartition(" ")[2]].half_life_s
    code = radionuclides()[name].codes[0].partition(":")[2]
    info = {"RadionuclideHalfLife": half_life, "RadionuclideCodeSequence": [nuclide(code)]}
    scale = scale_from_dicom(slices(info=info, AcquisitionDate="20210304", SeriesDate="20210304"))
    if scale.unit == "SUV":  # nuclides of days need the day of the injection
        assert scale.factor == pytest.approx(PLAIN * 2 ** (3600 / seconds), rel=1e-6)
        assert [f.code for f in scale.findings] == ["half-life-doubtful"]
        assert f"that of {name} in" in scale.findings[0].message


def test_half_life_of_no_nuclide_is_told() -> None:
    assert codes(info={"RadionuclideHalfLife": 5000.0}) == ["half-life-doubtful"]
    for seconds in (1223.4, 1224, 6588, 6586.2, 6582, 597.9, 4080):
        assert codes(info={"RadionuclideHalfLife": seconds}) == []


@pytest.mark.parametrize(("weight", "unit"), [(154.3, "lb"), (11.0, "stones")])
def test_a_weight_that_few_people_have_is_told(weight: float, unit: str) -> None:
    scale = scale_from_dicom(slices(PatientWeight=weight))
    assert scale.factor == pytest.approx(PLAIN * HOUR * weight / 70, rel=1e-6)
    assert [f.code for f in scale.findings] == ["weight-doubtful"]
    assert f"{weight:g} kg" in scale.findings[0].message and unit in scale.findings[0].message


def test_times_of_frames_that_are_in_seconds() -> None:
    """FrameReferenceTime and ActualFrameDuration are in ms; in s they say nothing, least of all silently."""
    expected = factor()
    for tags in ({"FrameReferenceTime": 1800}, {"ActualFrameDuration": 1800}):
        rewritten = {"SeriesTime": "153000", "FrameReferenceTime": 900000, **tags}
        scale = scale_from_dicom(slices(**rewritten))
        assert scale.factor == pytest.approx(expected, rel=1e-6)
        assert [f.code for f in scale.findings] == ["decay-reference"]
        assert "was rewritten; the first acquisition is taken" in scale.findings[0].message
    with pytest.raises(
        ValueError, match=r"ActualFrameDuration .* is 1800 ms, which is too short: is it in s"
    ):
        frame_times_from_dicom(slices(ActualFrameDuration=1800))


def test_table_of_nuclides() -> None:
    """The codes against pydicom's dictionary of context group 4020; half-lives against published ones."""
    from pydicom.sr.codedict import codes as dictionary

    published = {
        code.value: code.meaning
        for code in (getattr(dictionary.CID4020, n) for n in dictionary.CID4020.dir())
    }
    for one in radionuclides().values():
        mass = one.name.lstrip(string.ascii_letters)
        sct = next(code for code in one.codes if code.startswith("SCT:"))[4:]
        assert published[sct] == f"^{mass}^{one.element}"
    minutes = {"C11": 20.4, "N13": 9.97, "O15": 2.04, "F18": 109.8, "Ga68": 67.7, "Cu64": 762, "Zr89": 4705}
    for name, expected in minutes.items():
        assert radionuclides()[name].half_life_s / 60 == pytest.approx(expected, rel=2e-3)


@pytest.mark.parametrize(
    "text",
    [
        "C11",
        "11C",
        "C-11",
        "11-C",
        "[11C]",
        "[C-11]",
        "c 11",
        "¹¹C",
        "^11^Carbon",
        "Carbon-11",
        "carbon 11",
        "11Carbon",
    ],
)
def test_spellings_of_a_nuclide(text: str) -> None:
    result = find_radionuclide(text)
    assert result is not None and result.name == "C11"


@pytest.mark.parametrize("text", ["", "C", "11", "C12", "18C", "FDG", "C11C", "n/a", "Tc99m"])
def test_what_is_no_nuclide(text: str) -> None:
    assert find_radionuclide(text) is None


def test_nuclide_of_days_needs_the_day_of_the_injection() -> None:
    """Zirconium: scanned three days after the injection at the same hour."""
    zirconium = 282276.0
    info = {"RadionuclideHalfLife": zirconium, "RadiopharmaceuticalStartTime": "1100"}
    scale = scale_from_dicom(slices(info=info))
    assert scale.unit == "Bq/mL"
    assert "RadiopharmaceuticalStartDateTime (0018,1078) is missing" in scale.findings[0].message
    dated = {**info, "RadiopharmaceuticalStartDateTime": "20200227110000"}
    assert factor(info=dated) == pytest.approx(PLAIN * 2 ** (3 * 86400 / zirconium), rel=1e-9)


# --- what is missing ------------------------------------------------------------


@pytest.mark.parametrize(
    ("drop", "says"),
    [
        ("PatientWeight", "PatientWeight (0010,1030) is missing"),
        ("RadionuclideTotalDose", "RadionuclideTotalDose (0018,1074) is missing"),
        (
            "RadionuclideHalfLife",
            "RadionuclideHalfLife (0018,1075) is missing and RadionuclideCodeSequence (0054,0300)",
        ),
        ("RadiopharmaceuticalStartTime", "RadiopharmaceuticalStartTime (0018,1072) are missing"),
        (
            "RadiopharmaceuticalInformationSequence",
            "RadiopharmaceuticalInformationSequence (0054,0016) is missing",
        ),
        ("AcquisitionTime", "AcquisitionTime (0008,0032) is missing"),
        ("SeriesTime", "SeriesTime (0008,0031) is missing, and FrameReferenceTime (0054,1300)"),
        ("DecayCorrection", "DecayCorrection (0054,1102) is missing"),
    ],
)
def test_missing_tag_is_named(drop: str, says: str) -> None:
    data = slices()
    for where in (data[0].RadiopharmaceuticalInformationSequence[0], data[0]):
        if drop in where:
            delattr(where, drop)
    scale = scale_from_dicom(data)
    assert (scale.unit, scale.factor) == ("Bq/mL", 1.0)
    assert scale.findings[0].code == "no-suv"
    assert says in scale.findings[0].message


def test_all_that_is_missing_is_named_at_once() -> None:
    scale = scale_from_dicom(slices(PatientWeight=None, info={"RadionuclideTotalDose": None}))
    assert "(0010,1030)" in scale.findings[0].message and "(0018,1074)" in scale.findings[0].message


@pytest.mark.parametrize("drop", ["SeriesDate", "AcquisitionDate"])
def test_dates_are_not_needed(drop: str) -> None:
    assert factor(**{drop: None}) == pytest.approx(PLAIN * HOUR, rel=1e-9)


def test_series_time_missing_but_told_by_the_frames() -> None:
    tags = {"SeriesTime": None, "FrameReferenceTime": 1000 * mean_activity_s(1800, C11)}
    assert factor(**tags) == pytest.approx(PLAIN * HOUR, rel=1e-4)


@pytest.mark.parametrize(
    ("info", "tags", "says"),
    [
        ({}, {"PatientWeight": 0.0}, "weight is 0 kg"),
        ({"RadionuclideTotalDose": 350.0}, {}, "is it in MBq"),
        ({"RadiopharmaceuticalStartTime": "040000"}, {}, "7.0 h after the injection"),
        ({"RadiopharmaceuticalStartTime": "1200"}, {}, "-1.0 h after"),
        ({"RadiopharmaceuticalStartTime": "2530"}, {}, "'2530' is not a time of day"),
        ({"RadiopharmaceuticalStartDateTime": "20210301100000"}, {}, "h after the injection"),
    ],
)
def test_values_that_are_not_sane_are_named(info: dict[str, Any], tags: dict[str, Any], says: str) -> None:
    scale = scale_from_dicom(slices(info=info, **tags))
    assert (scale.unit, scale.factor) == ("Bq/mL", 1.0)
    assert says in scale.findings[0].message


def test_without_sane_dose_the_values_stay(tmp_path: Path) -> None:
    dcm.write_series(tmp_path, dcm.volume(), **pet_tags(PatientWeight=None))
    pet = read_pet(tmp_path)
    assert pet.unit == "Bq/mL"
    np.testing.assert_array_equal(sitk.GetArrayFromImage(pet.image), dcm.volume())
    assert [f.code for f in pet.verdict.findings][0] == "no-suv"


def test_dynamic_without_times_names_the_tag(tmp_path: Path) -> None:
    uid = dcm.generate_uid()
    for frame in range(2):
        tags = pet_tags(AcquisitionTime=f"11{frame}000", ActualFrameDuration=None)
        dcm.write_series(tmp_path, dcm.volume(), uid=uid, prefix=f"F{frame}", **tags)
    with pytest.raises(InputError, match=r"ActualFrameDuration \(0018,1242\) is missing"):
        read_pet(tmp_path)


def test_suv_by_body_surface_is_refused() -> None:
    with pytest.raises(InputError, match="SUV of type BSA"):
        scale_from_dicom(slices(Units="CM2ML"))
    for kind, message in (("BW", "by body surface, but SUVType .* is BW"), ("LBM", "of type LBM")):
        with pytest.raises(InputError, match=message):
            scale_from_dicom(slices(Units="CM2ML", SUVType=kind))
    scale = scale_from_dicom(slices(Units="MLML"))
    assert scale.unit == "unknown"
    assert "Units (0054,1001) is 'MLML'" in scale.findings[0].message


def test_codes_of_nuclides_are_those_of_dicom() -> None:
    """DICOM PS3.16 CID 4020 and its retired SNOMED-RT codes, as pydicom lists them."""
    from pydicom.sr._snomed_dict import mapping
    from pydicom.sr.codedict import codes

    listed = {getattr(codes.cid4020, name).value: name for name in codes.cid4020.dir()}
    for row in read_table(resources_dir() / "PET" / "radionuclides.csv").rows:
        by_scheme = dict(code.split(":") for code in row["dicom_codes"].split())
        mass = "".join(c for c in row["nuclide"] if c.isdigit())
        assert listed[by_scheme["SCT"]] == f"_{mass}{row['element']}"
        assert mapping["SRT"][by_scheme["SRT"]] == by_scheme["SCT"]
