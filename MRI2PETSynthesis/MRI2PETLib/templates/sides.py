"""The side that the name of a region states, in the spellings of atlases and segmentations."""

from __future__ import annotations

import re
from typing import Literal

Side = Literal["left", "right"]
# Between the words of LeftCaudate, lhCortex, LThalamus, V1L, ctx-lh-insula, Precuneus_R.
_GAP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|[_\W]+")
_SIDES: dict[Side, re.Pattern[str]] = {
    "left": re.compile(r"left\d*|lh\d*|l", re.IGNORECASE),
    "right": re.compile(r"right\d*|rh\d*|r", re.IGNORECASE),
}
_IN_ONE_WORD = re.compile(r"(left|right)(?=[a-z]{3})|(?<=[a-z]{3})(left|right)$")


def side_of(name: str) -> Side | None:
    """The side that a label's name states (``Left-``, ``lh.``, ``_R``, ``L Thalamus``, ``LeftCaudate``), or
    ``None``: it states none, or both.
    """
    sides = {_side_of_word(word) for word in _words(name)} - {None}
    return sides.pop() if len(sides) == 1 else None


def without_side(name: str) -> str:
    """The words of a name but those that state a side."""
    return " ".join(word for word in _words(name) if _side_of_word(word) is None)


def _words(name: str) -> list[str]:
    words = " ".join(_GAP.split(name)).split()
    return [part for word in words for part in _IN_ONE_WORD.sub(r" \1\2 ", word).split()]


def _side_of_word(word: str) -> Side | None:
    return next((side for side, pattern in _SIDES.items() if pattern.fullmatch(word)), None)
