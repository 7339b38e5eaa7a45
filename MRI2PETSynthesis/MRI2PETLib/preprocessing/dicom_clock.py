"""When a DICOM PET was injected, measured and decay-corrected to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np

from MRI2PETLib.core.findings import Finding
from MRI2PETLib.images.dicom_tags import TagError, first_item, number, tag_name, text
from MRI2PETLib.images.dicom_times import Moment, date_time, moment, seconds_between, time_of_day, utc_offset
from MRI2PETLib.preprocessing.pet_frames import FrameTimes

if TYPE_CHECKING:
    import pydicom

# Times that are said twice differ by rounding; zones differ by quarters of an hour.
_SAME_S, _QUARTER_S = 60.0, 900.0
# References of one series that are computed from its frames agree to this.
_STEADY_S = 2.0
_CONTRADICTION_S = 5.0
_SHORTEST_S = 10.0  # the longest frame of a PET is longer
_CHECK_SUV = "Check the SUV against the scanner's."


def injection(data: pydicom.Dataset) -> tuple[Moment, tuple[Finding, ...]]:
    """Start of the injection on the scanner's clock, and what was assumed for it.

    RadiopharmaceuticalStartDateTime (0018,1078), else RadiopharmaceuticalStartTime (0018,1072). The zone of
    the other times is TimezoneOffsetFromUTC (0008,0201), else that which makes both of these agree.

    :raises TagError, ValueError: when both are missing or malformed.
    """
    info = first_item(data, "RadiopharmaceuticalInformationSequence")
    whole, clock = (text(info, f"RadiopharmaceuticalStart{kind}") for kind in ("DateTime", "Time"))
    names = {kind: tag_name(f"RadiopharmaceuticalStart{kind}") for kind in ("DateTime", "Time")}
    if not whole and not clock:
        raise TagError(f"{names['DateTime']} and {names['Time']} are missing")
    try:
        of_day = moment("", clock) if clock else None
    except ValueError as error:
        if not whole:
            raise TagError(f"{names['Time']}: {error}") from None
        of_day = None
    try:
        local, offset = date_time(whole) if whole else (None, None)
    except ValueError as error:
        if of_day is None:
            raise TagError(f"{names['DateTime']}: {error}") from None
        local = None
    if local is None:
        assert of_day is not None
        return of_day, _coarse(names["Time"], clock)
    zone = _zone(data)
    if offset is not None and zone is not None:
        local += zone - offset
    start = Moment(local, dated=True)
    apart = 0.0 if of_day is None else seconds_between(start, of_day)
    if offset is not None and zone is None:
        if of_day is None:
            message = (
                f"{names['DateTime']} has the UTC offset {whole[-5:]}, the other times have none: taken "
            )
            message += "as the same zone."
            hint = f"Check it. {tag_name('TimezoneOffsetFromUTC')} would state the zone."
            return start, (Finding("warn", "zone-assumed", message, hint),)
        if abs(apart - _QUARTER_S * round(apart / _QUARTER_S)) <= _SAME_S:
            return Moment(local + timedelta(seconds=apart), dated=True), ()
    if abs(apart) <= _SAME_S:
        return start, ()
    message = f"{names['DateTime']} says {start}, {names['Time']} {of_day}: the first is used."
    return start, (Finding("warn", "injection-times-differ", message, "Check the time of the injection."),)


def acquisition(data: pydicom.Dataset) -> Moment:
    """Start of the acquisition of one image: AcquisitionDate and AcquisitionTime, else AcquisitionDateTime.

    :raises TagError: when the time is missing or malformed.
    """
    if text(data, "AcquisitionTime"):
        return _moment(data, "Acquisition")
    whole = text(data, "AcquisitionDateTime")
    if not whole:
        raise TagError(f"{tag_name('AcquisitionTime')} is missing")
    try:
        local, offset = date_time(whole)
    except ValueError as error:
        raise TagError(f"{tag_name('AcquisitionDateTime')}: {error}") from None
    zone = _zone(data)
    return Moment(local + (zone - offset) if offset is not None and zone is not None else local, dated=True)


def frame_times_from_dicom(first_of_frame: Sequence[pydicom.Dataset]) -> FrameTimes:
    """Start since the injection and duration of each frame, from one image of each.

    :raises TagError, ValueError: naming the tag that is missing or malformed.
    """
    start, _ = injection(first_of_frame[0])
    starts = tuple(seconds_between(start, acquisition(one)) for one in first_of_frame)
    durations = tuple(number(one, "ActualFrameDuration") / 1000.0 for one in first_of_frame)
    if 0 < max(durations) < _SHORTEST_S:
        name = tag_name("ActualFrameDuration")
        raise TagError(f"{name} is {1000 * max(durations):g} ms, which is too short: is it in s?")
    return FrameTimes(starts, durations)


def decay_reference_s(
    slices: Sequence[pydicom.Dataset], start: Moment, half_life_s: float
) -> tuple[float, tuple[Finding, ...]]:
    """The time that DecayCorrection START refers to, in s since the injection ``start``.

    That is the time of the series. Later processing rewrites it: then it lies after the first acquisition,
    and the frames tell it (FrameReferenceTime (0054,1300) counts from it), else it is the first acquisition.

    :raises TagError: naming the tags that are missing.
    """
    moments = [acquisition(one) for one in slices]
    starts = np.array([seconds_between(start, one) for one in moments])
    first = float(starts.min())
    by_frames = _by_frames(slices, starts, half_life_s)
    series = None
    if text(slices[0], "SeriesTime"):
        series_time = _moment(slices[0], "Series")
        series = first - seconds_between(series_time, moments[int(starts.argmin())])
    if series is not None and series <= first + 1.0:
        return series, _contradiction(series, by_frames) or _early(series, first, by_frames)
    scan = slices[0].get((0x0009, 0x100D))  # GE: PET scan_datetime
    if scan is not None:
        try:
            return seconds_between(start, Moment(date_time(str(scan.value))[0], dated=True)), ()
        except ValueError:
            pass  # private, so anything may stand there
    what = f"{tag_name('SeriesTime')} is {'missing' if series is None else 'later than the acquisition'}"
    reference, is_certain = _decay_reference(by_frames, first)
    if reference is not None:
        message = f"{what}; the decay reference follows from {tag_name('FrameReferenceTime')}"
        if is_certain:
            return reference, (Finding("ok", "decay-reference", f"{message}."),)
        message += f": {first - reference:.0f} s before the acquisition, unless it was placed in another way."
        return reference, (Finding("warn", "decay-reference", message, _CHECK_SUV),)
    if series is None:
        raise TagError(f"{what}, and {tag_name('FrameReferenceTime')} does not tell the decay reference")
    message = f"{what}, so it was rewritten; the first acquisition is taken as the decay reference."
    return first, (Finding("warn", "decay-reference", message, _CHECK_SUV),)


def _by_frames(slices: Sequence[pydicom.Dataset], starts: np.ndarray, half_life_s: float) -> list[np.ndarray]:
    """The decay reference by each image, in s since the injection, for each way to place FrameReferenceTime.

    Scanners place it where the mean activity of a decaying frame lies (as PS3.3 C.8.9.4.1.5, example 2), in
    its middle (example 1), or at its start.
    """
    try:
        reference = np.array([number(one, "FrameReferenceTime") for one in slices]) / 1000.0
        duration = np.array([number(one, "ActualFrameDuration") for one in slices]) / 1000.0
    except TagError:
        return []
    in_s = np.abs(reference).max() < _SHORTEST_S or duration.max() < _SHORTEST_S  # not in ms, as they should
    if not reference.any() or duration.min() <= 0 or in_s:
        return []
    decay = math.log(2.0) / half_life_s
    mean_activity = np.log(decay * duration / -np.expm1(-decay * duration)) / decay
    return [starts + inside - reference for inside in (mean_activity, duration / 2.0, 0.0)]


def _decay_reference(by_frames: list[np.ndarray], first: float) -> tuple[float | None, bool]:
    """The way that gives all images one reference, not after the scan began; one at its start is likelier.

    Second: whether it is certain. Frames of one duration agree in every way, so that only a reference at the
    start of the scan confirms one of them.
    """
    steady = [float(np.median(r)) for r in by_frames if np.ptp(r) <= _STEADY_S]
    possible = [r for r in steady if r <= first + _STEADY_S]
    at_start = [r for r in possible if abs(r - first) <= _STEADY_S]
    return next(iter(at_start + possible), None), bool(at_start) or len(steady) == 1


def _contradiction(series: float, by_frames: list[np.ndarray]) -> tuple[Finding, ...]:
    apart = [abs(float(np.median(r)) - series) for r in by_frames]
    if not apart or min(apart) <= _CONTRADICTION_S:
        return ()
    message = f"{tag_name('FrameReferenceTime')} and {tag_name('AcquisitionTime')} put the decay reference "
    message += f"{min(apart):.0f} s from {tag_name('SeriesTime')}, which is used."
    return (Finding("warn", "decay-reference", message, _CHECK_SUV),)


def _early(series: float, first: float, by_frames: list[np.ndarray]) -> tuple[Finding, ...]:
    """A series may begin before its frames (of which only some are here), or have been opened beforehand."""
    if by_frames or first - series <= _SAME_S:
        return ()
    message = (
        f"{tag_name('SeriesTime')} is {(first - series) / 60:.3g} min before the first acquisition. It is "
        f"taken as the decay reference; {tag_name('FrameReferenceTime')} does not confirm it."
    )
    return (Finding("warn", "decay-reference", message, _CHECK_SUV),)


def _moment(data: pydicom.Dataset, what: str) -> Moment:
    day, clock = text(data, f"{what}Date"), text(data, f"{what}Time")
    try:
        return moment(day, clock)
    except ValueError as error:
        raise TagError(f"{tag_name(f'{what}Time')}: {error}") from None


def _zone(data: pydicom.Dataset) -> timedelta | None:
    offset = text(data, "TimezoneOffsetFromUTC")
    try:
        return utc_offset(offset) if offset else None
    except ValueError as error:
        raise TagError(f"{tag_name('TimezoneOffsetFromUTC')}: {error}") from None


def _coarse(name: str, clock: str) -> tuple[Finding, ...]:
    if time_of_day(clock).total_seconds() % 3600 or len(clock) > 2:
        return ()
    message = f"{name} is '{clock}': only the hour of the injection is known."
    return (Finding("warn", "injection-hour-only", message, "SUV may be far off; check it."),)
