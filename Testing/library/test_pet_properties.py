"""Properties of DICOM times, SUV and units that hold for any input: one instant, one SUV."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from dicom_series import pet_tags, radiopharmaceutical
from MRI2PETLib.core.errors import InputError
from MRI2PETLib.images.dicom_times import Moment, date_time, moment, seconds_between, time_of_day
from MRI2PETLib.preprocessing.dicom_suv import scale_from_dicom
from MRI2PETLib.preprocessing.frame_window import FrameWindow
from MRI2PETLib.preprocessing.pet_frames import FrameTimes, frame_weights
from MRI2PETLib.preprocessing.pet_units import activity_bq, parse_unit
from MRI2PETLib.preprocessing.radionuclides import find_radionuclide, radionuclides
from pet_images import PLAIN
from properties import quick

C11 = 1223.4
MICROSECONDS = st.integers(0, 86_400_000_000 - 1)
OFFSETS_MIN = st.integers(-48, 56).map(lambda quarters: 15 * quarters)
DAYS = st.datetimes(datetime(1995, 1, 1), datetime(2035, 1, 1)).map(lambda d: d.replace(hour=0, minute=0))


def spellings(time: datetime) -> list[str]:
    """Every legal TM of a time of day: what is zero at its end may be left out, colons are of old data."""
    whole, fraction = time.strftime("%H%M%S"), f"{time.microsecond:06d}"
    texts = [f"{whole}.{fraction}", f"{whole}.{fraction}".ljust(16)]
    short = fraction.rstrip("0")
    texts += [f"{whole}.{short}"] if short else [whole]
    if not short and time.second == 0:
        texts += [whole[:4]] + ([whole[:2]] if time.minute == 0 else [])
    colons = f"{whole[:2]}:{whole[2:4]}:{whole[4:]}"
    return [*texts, f"{colons}.{fraction}" if short else colons]


def offset_text(minutes: int) -> str:
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}{abs(minutes) % 60:02d}"


def scale(start: dict[str, Any], **tags: Any) -> float:
    """SUV of a unit of Bq/mL; the times of the tracer by ``start``."""
    data = Dataset()
    info = radiopharmaceutical(**{"RadiopharmaceuticalStartTime": None, **start})
    for name, value in pet_tags(info, **tags).items():
        if value is not None:
            setattr(data, name, value)
    result = scale_from_dicom([data])
    assert result.unit == "SUV", result.findings
    return result.factor


@pytest.mark.parametrize(
    ("start", "tags", "missing"),
    [
        ({"RadiopharmaceuticalStartDateTime": "20200301100000"}, {"AcquisitionDate": ""}, "AcquisitionDate"),
        ({}, {}, "RadiopharmaceuticalStartDateTime"),
    ],
)
def test_the_day_that_a_nuclide_of_days_needs_is_named(
    start: dict[str, Any], tags: dict[str, Any], missing: str
) -> None:
    data = Dataset()
    info = radiopharmaceutical(RadionuclideHalfLife=78.4 * 3600, **start)
    data.update(pet_tags(info, **tags))
    result = scale_from_dicom([data])
    assert result.unit == "Bq/mL" and missing in result.findings[0].message
    assert "the days since the injection are not known" in result.findings[0].message


# Whole hours and minutes are rare among all microseconds, and have the shortest spellings.
times = st.one_of(
    MICROSECONDS,
    st.integers(0, 86399).map(lambda s: s * 10**6),
    st.integers(0, 23).map(lambda h: h * 3600 * 10**6),
).map(lambda us: datetime(2000, 1, 1) + timedelta(microseconds=us))


@quick
@given(time=times)
@example(time=datetime(2000, 1, 1))
def test_every_spelling_of_a_time_is_that_time(time: datetime) -> None:
    for text in spellings(time):
        assert time_of_day(text) == time - datetime(2000, 1, 1)


@quick
@given(text=st.text(alphabet="0123456789:.+- ", max_size=12))
def test_a_time_is_read_or_refused(text: str) -> None:
    """Whatever is read lies within the day, and is what its longest spelling says."""
    try:
        result = time_of_day(text)
    except ValueError:
        return
    assert timedelta(0) <= result <= timedelta(days=1)
    digits = text.strip().replace(":", "")
    assert len(digits.split(".")[0]) in (2, 4, 6)
    if len(text.strip()) >= 6 and ":" not in text and not digits.startswith("2359"):
        assert (datetime(2000, 1, 1) + result).strftime("%H%M") == digits[:4]


@quick
@given(day=DAYS, us=MICROSECONDS, offset=OFFSETS_MIN)
def test_date_time_with_any_offset(day: datetime, us: int, offset: int) -> None:
    local = day + timedelta(microseconds=us)
    text = local.strftime("%Y%m%d%H%M%S") + f".{local.microsecond:06d}"
    assert date_time(text) == (local, None)
    assert date_time(text + offset_text(offset)) == (local, timedelta(minutes=offset))


@quick
@given(start=times, seconds=st.integers(-1800, 10 * 3600), pick=st.integers(0, 99))
def test_one_suv_for_every_spelling_with_and_without_midnight(
    start: datetime, seconds: int, pick: int
) -> None:
    """The time between injection and scan alone decides, dated or not, however they are spelled."""
    half_life = 6586.2
    scan = start + timedelta(seconds=seconds)
    expected = PLAIN * 2 ** (seconds / half_life)
    starts, scans = spellings(start), spellings(scan)
    first, second = starts[pick % len(starts)], scans[pick % len(scans)]
    result = []
    for date in (scan.strftime("%Y%m%d"), None):
        tags = {"SeriesDate": date, "AcquisitionDate": date, "SeriesTime": second, "AcquisitionTime": second}
        info = {"RadionuclideHalfLife": half_life}
        result.append(scale({**info, "RadiopharmaceuticalStartTime": first}, **tags))
        dated = start.strftime("%Y%m%d") + starts[0]
        result.append(scale({**info, "RadiopharmaceuticalStartDateTime": dated}, **tags))
    assert result == pytest.approx([expected] * 4, rel=1e-6)


@quick
@given(us=times, minutes=st.integers(0, 300), zone=OFFSETS_MIN, offset=OFFSETS_MIN)
def test_one_suv_in_every_zone(us: datetime, minutes: int, zone: int, offset: int) -> None:
    """An injection written in any zone, images in any other: the instants decide."""
    injected = datetime(2020, 3, 1) + (us - datetime(2000, 1, 1))  # UTC
    there = injected + timedelta(minutes=offset)
    scan = injected + timedelta(minutes=minutes + zone)
    tags = {
        "TimezoneOffsetFromUTC": offset_text(zone),
        "SeriesDate": scan.strftime("%Y%m%d"),
        "AcquisitionDate": scan.strftime("%Y%m%d"),
        "SeriesTime": scan.strftime("%H%M%S.%f"),
        "AcquisitionTime": scan.strftime("%H%M%S.%f"),
    }
    start = {"RadiopharmaceuticalStartDateTime": there.strftime("%Y%m%d%H%M%S.%f") + offset_text(offset)}
    assert scale(start, **tags) == pytest.approx(PLAIN * 2 ** (minutes * 60 / C11), rel=1e-6)


@quick
@given(a=DAYS, us=MICROSECONDS, seconds=st.integers(-43199, 43199))
def test_times_without_dates_lie_within_half_a_day(a: datetime, us: int, seconds: int) -> None:
    first = a + timedelta(microseconds=us)
    later = first + timedelta(seconds=seconds)
    whole = seconds_between(Moment(first, True), Moment(later, True))
    undated = seconds_between(
        moment("", first.strftime("%H%M%S.%f")), moment("", later.strftime("%H%M%S.%f"))
    )
    assert whole == seconds
    assert undated == pytest.approx(seconds, abs=1e-5)


@quick
@given(
    starts=st.lists(st.floats(0, 200), min_size=1, max_size=20, unique=True),
    share=st.floats(0.05, 1.0),
    window=st.tuples(st.floats(0, 150), st.floats(5, 60)),
)
def test_weights_of_frames(starts: list[float], share: float, window: tuple[float, float]) -> None:
    """They sum to 1, are none outside the window, and do not depend on the order of the frames."""
    starts = sorted(starts)
    gaps = [b - a for a, b in zip(starts, [*starts[1:], starts[-1] + 20.0])]
    assume(min(gaps) > 0.01)
    times = FrameTimes(tuple(60 * s for s in starts), tuple(60 * share * g for g in gaps))
    requested_window = FrameWindow(window[0], window[0] + window[1])
    try:
        weights = frame_weights(times, requested_window)
    except InputError:
        return
    assert weights.sum() == pytest.approx(1)
    for start, gap, weight in zip(starts, gaps, weights):
        outside = start >= requested_window.end_min or start + share * gap <= requested_window.start_min
        assert weight >= 0 and (weight == 0) == outside or math.isclose(weight, 0, abs_tol=1e-9)
    turned = FrameTimes(times.start_s[::-1], times.duration_s[::-1])
    assert frame_weights(turned, requested_window)[::-1] == pytest.approx(weights)


@quick
@given(
    prefix=st.sampled_from(["", "k", "M", "G"]),
    volume=st.sampled_from(["mL", "ml", "ML", "cc", "cm3", "cm^3", "cm³"]),
    between=st.sampled_from(["/", " / ", " per ", ""]),
)
def test_concentrations_in_any_spelling(prefix: str, volume: str, between: str) -> None:
    factor = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}[prefix]
    result = parse_unit(f"{prefix}Bq{between}{volume}")
    assert (result.unit, result.factor) == ("Bq/mL", pytest.approx(factor))
    assert activity_bq(f"{prefix}Bq") == pytest.approx(factor)


@quick
@given(text=st.text(max_size=20))
def test_any_text_is_a_unit_a_refusal_or_unknown(text: str) -> None:
    try:
        result = parse_unit(text)
    except InputError as error:
        assert text.strip() in error.message
        return
    assert result.factor > 0
    activity_bq(text)
    find_radionuclide(text)


@quick
@given(
    name=st.sampled_from(sorted(radionuclides())),
    form=st.sampled_from(["{e}{m}", "{m}{e}", "[{m}{e}]", "{e}-{m}", "^{m}^{n}", "{n} {m}"]),
)
def test_nuclides_in_any_spelling(name: str, form: str) -> None:
    element, mass = (
        name.rstrip("0123456789"),
        name.lstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"),
    )
    text = form.format(e=element, m=mass, n=radionuclides()[name].element)
    for variant in (text, text.upper(), text.lower()):
        result = find_radionuclide(variant)
        assert result is not None and result.name == name
