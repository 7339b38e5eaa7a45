"""DICOM dates and times in every legal length.

Source: DICOM PS3.5 section 6.2 (DA, TM, DT) with its notes on ACR-NEMA data: dates ``YYYY.MM.DD`` and times
``HH:MM:SS.FFFFFF`` with colons; PS3.3 C.12.1.1 (Timezone Offset From UTC).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

_TIME = r"(?P<hour>\d\d)(?:(?P<minute>\d\d)(?:(?P<second>\d\d)(?:\.(?P<fraction>\d*))?)?)?"
_OFFSET = r"(?P<sign>[+-])(?P<off_hour>\d\d)(?P<off_minute>\d\d)"
_TM = re.compile(_TIME)
_TM_COLONS = re.compile(r"(?P<hour>\d\d):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:\.(?P<fraction>\d*))?)?")
_DA = re.compile(r"(\d{4})(\.?)(\d\d)\2(\d\d)")
_DT = re.compile(rf"(?P<date>\d{{8}}){_TIME}(?:{_OFFSET})?")
_UTC = re.compile(_OFFSET)
# The furthest zones of the world.
_OFFSETS = (timedelta(hours=-12), timedelta(hours=14))
_DAY_S = 86400.0
NO_DATE = datetime(2000, 1, 1)  # of a moment without a date


@dataclass(frozen=True)
class Moment:
    """A point in time on the clock of the scanner.

    :ivar dated: whether the date is known; without it only the time of day means anything.
    """

    time: datetime
    dated: bool

    def __str__(self) -> str:
        pattern = "%Y-%m-%d %H:%M:%S" if self.dated else "%H:%M:%S"
        return self.time.strftime(pattern)


def time_of_day(text: str) -> timedelta:
    """Time since midnight of a TM: HH, HHMM, HHMMSS, HHMMSS.F to .FFFFFF, or the same with colons.

    :raises ValueError: for anything else.
    """
    match = _TM.fullmatch(text.strip()) or _TM_COLONS.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"'{text}' is not a DICOM time")
    return _since_midnight(match, text)


def date(text: str) -> datetime:
    """Midnight of a DA: YYYYMMDD or YYYY.MM.DD.

    :raises ValueError: for anything else.
    """
    match = _DA.fullmatch(text.strip())
    try:
        assert match is not None
        return datetime(int(match[1]), int(match[3]), int(match[4]))
    except (AssertionError, ValueError):
        raise ValueError(f"'{text}' is not a DICOM date") from None


def date_time(text: str) -> tuple[datetime, timedelta | None]:
    """Local time and UTC offset (or ``None``) of a DT that states at least the hour.

    :raises ValueError: for anything else; a DT without an hour names a day, not a time.
    """
    match = _DT.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"'{text}' is not a DICOM date and time")
    return date(match["date"]) + _since_midnight(match, text), _offset(match) if match["sign"] else None


def utc_offset(text: str) -> timedelta:
    """Timezone Offset From UTC (0008,0201): ``&ZZXX``, for example ``+0100``.

    :raises ValueError: for anything else.
    """
    match = _UTC.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"'{text}' is not a UTC offset")
    return _offset(match)


def moment(date_text: str, time_text: str) -> Moment:
    """A DA and a TM together; an empty DA gives a moment without a date.

    :raises ValueError: when one of them is malformed.
    """
    return Moment((date(date_text) if date_text else NO_DATE) + time_of_day(time_text), bool(date_text))


def seconds_between(earlier: Moment, later: Moment) -> float:
    """Seconds from ``earlier`` to ``later``; without both dates the two lie within half a day of each other.

    So a scan that starts shortly before the injection stays negative, and one after midnight is later.
    """
    seconds = (later.time - earlier.time).total_seconds()
    if earlier.dated and later.dated:
        return seconds
    return (seconds + _DAY_S / 2) % _DAY_S - _DAY_S / 2


def _since_midnight(match: re.Match[str], text: str) -> timedelta:
    hour, minute, second = (int(match[name] or 0) for name in ("hour", "minute", "second"))
    # The second 60 is legal: a leap second.
    if hour > 23 or minute > 59 or second > 60:
        raise ValueError(f"'{text}' is not a time of day")
    fraction = float(f"0.{match['fraction'] or 0}")
    return timedelta(hours=hour, minutes=minute, seconds=second + fraction)


def _offset(match: re.Match[str]) -> timedelta:
    offset = timedelta(hours=int(match["off_hour"]), minutes=int(match["off_minute"]))
    offset = -offset if match["sign"] == "-" else offset
    if int(match["off_minute"]) > 59 or not _OFFSETS[0] <= offset <= _OFFSETS[1]:
        raise ValueError(f"'{match[0]}' has a UTC offset that does not exist")
    return offset
