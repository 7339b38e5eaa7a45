"""What BIDS says about a PET: units, dose, body weight, inheritance, encodings; truths computed by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.images.bids import body_weight, read_sidecar, sidecar_files
from MRI2PETLib.images.io import write_image
from MRI2PETLib.preprocessing.pet import read_pet
from MRI2PETLib.preprocessing.pet_units import activity_bq, parse_unit
from pet_images import PLAIN, bids, centre, dynamic, image

C11, F18 = 1221.8, 6586.2
HOUR = 2 ** (3600 / C11)


@pytest.mark.parametrize(
    ("change", "factor"),
    [
        ({}, PLAIN * HOUR),
        ({"ImageDecayCorrectionTime": 0}, PLAIN),
        ({"ImageDecayCorrectionTime": 3700, "InjectionStart": 100, "FrameTimesStart": [3700]}, PLAIN * HOUR),
        ({"InjectedRadioactivity": 350000, "InjectedRadioactivityUnits": "kBq"}, PLAIN * HOUR),
        ({"InjectedRadioactivity": 350 / 37, "InjectedRadioactivityUnits": "mCi"}, PLAIN * HOUR),
        ({"Units": "kBq/mL"}, 1000 * PLAIN * HOUR),
        ({"TracerRadionuclide": "[18F]"}, PLAIN * 2 ** (3600 / F18)),
        ({"TracerRadionuclide": "[C-11]"}, PLAIN * HOUR),
        ({"TracerRadionuclide": "Tc99m"}, None),
        ({"InjectedRadioactivity": 0.35, "InjectedRadioactivityUnits": "GBq"}, PLAIN * HOUR),
        ({"InjectedRadioactivityUnits": "MegaBq"}, PLAIN * HOUR),
        ({"Units": "BQML"}, PLAIN * HOUR),
        ({"Units": "nCi/cc"}, 37 * PLAIN * HOUR),
        ({"TracerRadionuclide": "F18"}, PLAIN * 2 ** (3600 / F18)),
        ({"TracerRadionuclide": "11C"}, PLAIN * HOUR),
    ],
)
def test_bids_suv(tmp_path: Path, change: dict[str, Any], factor: float | None) -> None:
    pet = read_pet(bids(tmp_path, **change))
    if factor is None:
        assert pet.unit == "Bq/mL"
        assert "TracerRadionuclide is 'Tc99m'" in pet.verdict.reasons()[0]
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
        ("70", {"InjectedRadioactivityUnits": None}, "InjectedRadioactivityUnits is missing"),
        ("70", {"InjectedRadioactivityUnits": "mBq"}, "InjectedRadioactivityUnits is 'mBq'"),
        ("70", {"TracerRadionuclide": None}, "no TracerRadionuclide"),
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
    assert "decay-time-assumed" in [f.code for f in pet.verdict.findings]
    for n, no in enumerate((False, "false", "No", 0)):
        with pytest.raises(InputError, match="not decay-corrected"):
            read_pet(bids(tmp_path / f"b{n}", ImageDecayCorrected=no))
    attenuated = read_pet(bids(tmp_path / "d", AttenuationCorrection="none", InjectionStart=[0]))
    assert [f.code for f in attenuated.verdict.findings] == ["attenuation"]
    path = bids(tmp_path / "c")
    path.with_name("sub-01_ses-1_pet.json").write_text("{broken")
    with pytest.raises(InputError, match=r"_pet\.json is not valid JSON"):
        read_pet(path)
    path.with_name("sub-01_ses-1_pet.json").write_text("[1]")
    with pytest.raises(InputError, match="not a JSON object"):
        read_pet(path)


def test_missing_injection_start_is_told(tmp_path: Path) -> None:
    pet = read_pet(bids(tmp_path, InjectionStart=None))
    assert centre(pet.image) == pytest.approx(5000 * PLAIN * HOUR, rel=1e-5)
    assert [f.code for f in pet.verdict.findings] == ["injection-assumed"]


# --- spellings of units ------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "unit", "factor"),
    [
        ("Bq/mL", "Bq/mL", 1),
        ("Bq/ml", "Bq/mL", 1),
        ("BQML", "Bq/mL", 1),
        ("Bq/cc", "Bq/mL", 1),
        ("Bq/cm3", "Bq/mL", 1),
        ("Bq/cm^3", "Bq/mL", 1),
        ("Bq/cm³", "Bq/mL", 1),
        ("Bq mL^-1", "Bq/mL", 1),
        ("Bq·mL⁻¹", "Bq/mL", 1),
        ("Bq.cm-3", "Bq/mL", 1),
        ("becquerel/milliliter", "Bq/mL", 1),
        ("kBq/mL", "Bq/mL", 1e3),
        ("KBQ/ML", "Bq/mL", 1e3),
        ("kBq/cc", "Bq/mL", 1e3),
        ("kBqml", "Bq/mL", 1e3),
        ("MBq/mL", "Bq/mL", 1e6),
        ("mbq/ml", "Bq/mL", 1e6),
        ("kBq/L", "Bq/mL", 1),
        ("nCi/mL", "Bq/mL", 37),
        ("nCi/cc", "Bq/mL", 37),
        ("uCi/mL", "Bq/mL", 37e3),
        ("µCi/mL", "Bq/mL", 37e3),
        ("μCi/cc", "Bq/mL", 37e3),
        ("microCi/mL", "Bq/mL", 37e3),
        ("mCi/mL", "Bq/mL", 37e6),
        ("SUV", "SUV", 1),
        ("SUVbw", "SUV", 1),
        ("SUV_bw", "SUV", 1),
        ("SUV (bw)", "SUV", 1),
        ("SUVbw (g/mL)", "SUV", 1),
        ("g/mL", "SUV", 1),
        ("GML", "SUV", 1),
        ("g/cc", "SUV", 1),
        ("SUVR", "SUVR", 1),
        ("suvr", "SUVR", 1),
        ("VT", "VT", 1),
        ("V_T", "VT", 1),
        ("DVR", "DVR", 1),
        ("BPND", "BPND", 1),
        ("BP_ND", "BPND", 1),
        ("BP", "BP", 1),
        ("normalized", "normalised", 1),
        ("", "unknown", 1),
        ("n/a", "unknown", 1),
        ("mBq/mL", "unknown", 1),
        ("mL/cm3", "unknown", 1),
        ("arbitrary", "unknown", 1),
    ],
)
def test_spellings_of_the_unit(text: str, unit: str, factor: float) -> None:
    result = parse_unit(text)
    assert (result.unit, result.factor) == (unit, pytest.approx(factor, rel=1e-12))
    assert bool(result.note) == (text in ("mBq/mL", "mL/cm3", "arbitrary"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("MBq", "an activity, not a concentration"),
        ("kBq", "an activity, not a concentration"),
        ("mCi", "an activity, not a concentration"),
        ("CM2ML", "by body surface"),
        ("cm2/mL", "by body surface"),
        ("SUVbsa", "by body surface"),
        ("SUVlbm", "by lean body mass"),
        ("SUL", "by lean body mass"),
    ],
)
def test_units_that_a_pet_cannot_be_read_in(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        read_pet(bids(tmp_path, Units=text))
    assert f"'{text}'" in caught.value.message


@pytest.mark.parametrize(
    ("text", "bq"),
    [
        ("MBq", 1e6),
        ("MBQ", 1e6),
        ("MegaBq", 1e6),
        ("megabecquerel", 1e6),
        ("GBq", 1e9),
        ("kBq", 1e3),
        ("Bq", 1),
        ("mCi", 3.7e7),
        ("millicurie", 3.7e7),
        ("uCi", 3.7e4),
        ("Ci", 3.7e10),
        ("mBq", None),
        ("milliBq", None),
        ("MBq/kg", None),
        ("n/a", None),
    ],
)
def test_spellings_of_activity(text: str, bq: float | None) -> None:
    assert activity_bq(text) == (None if bq is None else pytest.approx(bq, rel=1e-12))


def test_unit_that_is_not_known_is_named(tmp_path: Path) -> None:
    pet = read_pet(bids(tmp_path, Units="furlong"))
    assert pet.unit == "unknown"
    assert "'furlong'" in pet.verdict.reasons()[0]


@pytest.mark.parametrize("unit", ["VT", "DVR", "BPND"])
def test_kinetic_quantities_are_what_they_are(tmp_path: Path, unit: str) -> None:
    pet = read_pet(bids(tmp_path, Units=unit, level=3.0))
    assert pet.unit == unit
    assert centre(pet.image) == pytest.approx(3.0, rel=1e-5)
    assert pet.verdict.level == "ok"


# --- body weight ------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "value", "units", "kg"),
    [
        ("weight", "70", None, 70),
        ("weight", "70", "kg", 70),
        ("weight", "154.3", "lb", 69.98927),
        ("weight", "154.3", "pounds", 69.98927),
        ("weight", "70000", "g", 70),
        ("weight", "70,5", None, 70.5),
        ("weight", "154.3 lbs", None, 69.98927),
        ("Weight", "70", None, 70),
        ("weight_kg", "70", None, 70),
        ("weight_lb", "154.3", None, 69.98927),
        ("weight (lb)", "154.3", None, 69.98927),
        ("body_weight", "70", None, 70),
        ("weight", "11", "st", 69.85322),
        ("weight", "11", "stone", 69.85322),
        ("weight_st", "11", None, 69.85322),
        ("weight", "70", "talents", None),
        ("weight_change", "-3", None, None),
        ("weight", "heavy", None, None),
        ("weight", "n/a", None, None),
        ("height", "180", None, None),
    ],
)
def test_units_of_body_weight(
    tmp_path: Path, column: str, value: str, units: str | None, kg: float | None
) -> None:
    path = bids(tmp_path, weight=None)
    (tmp_path / "participants.tsv").write_text(f"participant_id\t{column}\nsub-01\t{value}\n")
    if units is not None:
        (tmp_path / "participants.json").write_text(json.dumps({column: {"Units": units}}))
    result = body_weight(path, {})
    assert result.kg == (None if kg is None else pytest.approx(kg, rel=1e-6))
    assert bool(result.reason) == (kg is None)
    if kg is not None:
        assert centre(read_pet(path).image) == pytest.approx(5000 * PLAIN * HOUR * kg / 70, rel=1e-5)
    else:
        assert result.reason in read_pet(path).verdict.reasons()[0]


@pytest.mark.parametrize(
    ("columns", "values", "kg"),
    [
        ("weight_change weight", "-3 70", 70),
        ("weight_loss weight_kg", "3 70", 70),
        ("weight_lb weight_kg", "154.3 70", 69.98927),
        ("weight weight_lb", "n/a 154.3", 69.98927),
        ("weight body_weight", "70 n/a", 70),
        ("weight body_weight", "70 85", None),
        ("weight_kg weight_lb", "70 70", None),
    ],
)
def test_several_columns_of_weight(tmp_path: Path, columns: str, values: str, kg: float | None) -> None:
    """Those of one weight agree, or none is taken; changes of weight are none."""
    path = bids(tmp_path, weight=None)
    lines = [["participant_id", *columns.split()], ["sub-01", *values.split()]]
    (tmp_path / "participants.tsv").write_text("".join("\t".join(line) + "\n" for line in lines))
    weight = body_weight(path, {})
    if kg is None:
        first, second = columns.split()
        assert weight.kg is None and "participants.tsv contradicts itself for sub-01" in weight.reason
        assert first in weight.reason and second in weight.reason
        assert read_pet(path).unit == "Bq/mL"
    else:
        assert weight.kg == pytest.approx(kg, rel=1e-6)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"ImageDecayCorrectionTime": 60}, "ImageDecayCorrectionTime is 60 and FrameTimesStart 3600"),
        ({"FrameTimesStart": [60], "FrameDuration": [30]}, "not both are in s"),
        (
            {"ImageDecayCorrectionTime": 3600000},
            "ImageDecayCorrectionTime is 3600000 and FrameTimesStart 3600",
        ),
        ({"FrameTimesStart": [3600000], "FrameDuration": [1800000]}, "not both are in s"),
        (
            {"FrameTimesStart": [60], "FrameDuration": [30], "ImageDecayCorrectionTime": 60},
            "FrameDuration is 30: are the times in min",
        ),
    ],
)
def test_times_that_are_not_in_seconds(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    pet = read_pet(bids(tmp_path, **change))
    assert pet.unit == "Bq/mL" and says in " ".join(pet.verdict.reasons())


@pytest.mark.parametrize(
    ("about", "kg"),
    [
        ({"units": "lb"}, 69.98927),
        ({"Description": "Body weight in pounds"}, 69.98927),
        ({"LongName": "Body weight (lbs)"}, 69.98927),
        ({"Description": "weight at the 1st visit"}, 154.3),
        ({"Units": "pounds (lb)"}, 69.98927),
        ({"Units": "kilogram (kg)"}, 154.3),
        ({"Description": "weight, e.g. of the day of the scan"}, 154.3),
        ({"Description": "weight in kg, was lb before 2019"}, 154.3),
        ({"Units": "kg", "Description": "converted from lb"}, 154.3),
    ],
)
def test_unit_of_body_weight_that_is_only_described(tmp_path: Path, about: dict[str, str], kg: float) -> None:
    path = bids(tmp_path, weight=None)
    (tmp_path / "participants.tsv").write_text("participant_id\tweight\nsub-01\t154.3\n")
    (tmp_path / "participants.json").write_text(json.dumps({"weight": about}))
    assert body_weight(path, {}).kg == pytest.approx(kg, rel=1e-6)


def test_weight_of_the_sidecar_wins(tmp_path: Path) -> None:
    pet = read_pet(bids(tmp_path, weight="99", PatientWeight=70))
    assert centre(pet.image) == pytest.approx(5000 * PLAIN * HOUR, rel=1e-5)
    assert [f.code for f in pet.verdict.findings] == ["weights-differ"]
    assert "70 kg, that of the tables 99 kg; the sidecar is used" in pet.verdict.reasons()[0]
    pounds = bids(tmp_path / "lb", weight=None, PatientWeight=154.3, PatientWeightUnits="lb")
    assert centre(read_pet(pounds).image) == pytest.approx(5000 * PLAIN * HOUR * 69.98927 / 70, rel=1e-5)


def test_participants_without_prefix_and_not_in_utf_8(tmp_path: Path) -> None:
    path = bids(tmp_path, weight=None)
    table = "participant_id\tweight\tsite\n01\t70\tMünchen\n"
    (tmp_path / "participants.tsv").write_bytes(table.encode("latin-1"))
    pet = read_pet(path)
    assert centre(pet.image) == pytest.approx(5000 * PLAIN * HOUR, rel=1e-5)
    assert [f.code for f in pet.verdict.findings] == ["table-encoding"]


def test_weight_of_the_session_comes_before_that_of_the_person(tmp_path: Path) -> None:
    folder = tmp_path / "sub-01" / "ses-02" / "pet"
    folder.mkdir(parents=True)
    pet = folder / "sub-01_ses-02_pet.nii.gz"
    (tmp_path / "participants.tsv").write_text("participant_id\tweight\nsub-01\t60\n")
    sessions = tmp_path / "sub-01" / "sub-01_sessions.tsv"
    sessions.write_text("session_id\tweight\nses-01\t61\nses-02\t154.3\nses-03\tn/a\n")
    (tmp_path / "sessions.json").write_text(json.dumps({"weight": {"Units": "lb"}}))
    assert body_weight(pet, {}).kg == pytest.approx(69.98927)
    assert body_weight(folder / "sub-01_ses-03_pet.nii.gz", {}).kg == 60  # it says nothing of this one
    assert body_weight(folder / "sub-01_ses-04_pet.nii.gz", {}).kg == 60
    sessions.with_suffix(".json").write_text(json.dumps({"weight": {"Units": "talents"}}))
    assert "'talents', not kg" in body_weight(pet, {}).reason


# --- inheritance ------------------------------------------------------------


def test_sidecars_further_up_are_inherited(tmp_path: Path) -> None:
    """Units from the dataset, times from the subject; the nearest wins, other sessions say nothing."""
    pet = tmp_path / "sub-01" / "ses-01" / "pet"
    pet.mkdir(parents=True)
    path = dynamic(pet, [1, 3], None, "sub-01_ses-01_trc-PBR28_pet")
    write = lambda name, content: (tmp_path / name).write_text(json.dumps(content))  # noqa: E731
    write("pet.json", {"Units": "Bq/mL", "TracerName": "dataset"})
    write("trc-PBR28_pet.json", {"Units": "SUV"})
    write("trc-FDG_pet.json", {"Units": "kBq/mL"})
    write(
        "sub-01/sub-01_pet.json", {"FrameTimesStart": [0, 60], "FrameDuration": [60, 60], "TracerName": "x"}
    )
    write(
        "sub-01/ses-01/pet/sub-01_ses-01_pet.json",
        {"FrameTimesStart": [3600, 4500], "FrameDuration": [900, 900]},
    )
    write("sub-01/sub-01_ses-02_pet.json", {"Units": "kBq/mL"})
    write("sub-01/sub-01_T1w.json", {"Units": "kBq/mL"})
    assert [f.name for f in sidecar_files(path)] == [
        "pet.json",
        "trc-PBR28_pet.json",
        "sub-01_pet.json",
        "sub-01_ses-01_pet.json",
    ]
    assert read_sidecar(path) == {
        "Units": "SUV",
        "TracerName": "x",
        "FrameTimesStart": [3600, 4500],
        "FrameDuration": [900, 900],
    }
    result = read_pet(path)
    assert result.unit == "SUV"
    assert centre(result.image) == pytest.approx(2, rel=1e-5)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("FrameDuration", [[1800]]),
        ("FrameTimesStart", [[3600]]),
        ("FrameDuration", "x"),
        ("InjectionStart", []),
    ],
)
def test_times_of_another_shape_are_refused_or_nothing(tmp_path: Path, field: str, value: object) -> None:
    path = bids(tmp_path, **{field: value})
    if value:
        with pytest.raises(InputError, match="are not numbers"):
            read_pet(path)
    else:
        assert read_pet(path).unit == "Bq/mL"


def test_two_sidecars_of_one_level_must_agree(tmp_path: Path) -> None:
    path = bids(tmp_path)
    for entity, unit in (("sub-01", "SUV"), ("ses-1", "SUV")):
        (tmp_path / f"{entity}_pet.json").write_text(json.dumps({"Units": unit}))
    assert read_sidecar(path)["Units"] == "Bq/mL"
    (tmp_path / "ses-1_pet.json").write_text(json.dumps({"Units": "kBq/mL"}))
    with pytest.raises(InputError, match="contradict each other in Units"):
        read_sidecar(path)


def test_names_outside_bids_have_their_own_sidecar_only(tmp_path: Path) -> None:
    write_image(image(2.0), tmp_path / "My PET.nii.gz", {"Units": "SUV"})
    (tmp_path / "pet.json").write_text(json.dumps({"Units": "Bq/mL"}))
    assert read_pet(tmp_path / "My PET.nii.gz").unit == "SUV"


def test_broken_inherited_sidecar_is_named(tmp_path: Path) -> None:
    path = bids(tmp_path)
    (tmp_path / "pet.json").write_text("{broken")
    with pytest.raises(InputError, match=r"pet\.json is not valid JSON"):
        read_pet(path)
    (tmp_path / "pet.json").write_bytes('{"Note": "München"}'.encode("latin-1"))
    with pytest.raises(InputError, match=r"pet\.json is not valid JSON: it is not UTF-8"):
        read_pet(path)
    (tmp_path / "pet.json").write_bytes('{"Note": "München"}'.encode("utf-16"))
    assert read_sidecar(path)["Note"] == "München"
