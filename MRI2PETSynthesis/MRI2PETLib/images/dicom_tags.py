"""Values of DICOM tags with errors that name the tag."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pydicom


class TagError(ValueError):
    """A tag that is missing or malformed; the message names keyword, number and value."""


def tag_name(keyword: str) -> str:
    """``PatientWeight (0010,1030)``."""
    from pydicom.datadict import tag_for_keyword

    tag = tag_for_keyword(keyword) or 0
    return f"{keyword} ({tag >> 16:04X},{tag & 0xFFFF:04X})"


def value(data: pydicom.Dataset, keyword: str) -> Any:
    """The value of a tag; ``None`` when it is missing, empty or cannot be decoded."""
    try:
        element = data.get(keyword)
    except (ValueError, TypeError, OverflowError, NotImplementedError):  # pydicom's for a malformed value
        return None
    return None if element is None or str(element).strip() == "" else element


def text(data: pydicom.Dataset, keyword: str) -> str:
    """A tag as text without blanks around it; empty when it is missing."""
    content = value(data, keyword)
    return "" if content is None else str(content).strip()


def number(data: pydicom.Dataset, keyword: str) -> float:
    """A tag as a finite number.

    :raises TagError: when it is missing or no number.
    """
    content = value(data, keyword)
    if content is None:
        raise TagError(f"{tag_name(keyword)} is missing")
    try:
        result = float(content)
    except (TypeError, ValueError):
        result = math.nan
    if not math.isfinite(result):
        raise TagError(f"{tag_name(keyword)} is {content}")
    return result


def first_item(data: pydicom.Dataset, keyword: str) -> pydicom.Dataset:
    """The first item of a sequence.

    :raises TagError: when the sequence is missing or empty.
    """
    items = value(data, keyword)
    try:
        return items[0]
    except (TypeError, IndexError, KeyError):
        raise TagError(f"{tag_name(keyword)} is missing") from None
