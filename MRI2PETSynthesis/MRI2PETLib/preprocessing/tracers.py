"""Tracers by their many names: one name for each, and what to say where two that should be one differ.

A text is read word by word. The nuclide (``[11C]``, ``F-18``, ``^18^F``, ``18F`` in front of a name) and
words that name nothing are put aside; what is left is one name of ``Resources/PET/tracers.csv``, or several
of the same tracer, or a name that is not known. A part of a name is never taken for it: ``FE-PE2I`` is not
``PE2I``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from MRI2PETLib.core.findings import Finding
from MRI2PETLib.core.names import LONGEST_LABEL
from MRI2PETLib.core.resources import resources_dir
from MRI2PETLib.core.tables import read_table
from MRI2PETLib.preprocessing.radionuclides import SUPERSCRIPTS, find_radionuclide, radionuclides

_NOT_STATED = {"", "na", "nan", "none", "null", "unknown", "unspecified", "notavailable", "notstated"}
_NAMES_NOTHING = {"trc", "tracer", "radiotracer", "radiopharmaceutical", "pet", "injection", "solution"}


@dataclass(frozen=True)
class Tracer:
    """One row of the table.

    :ivar window_min: minutes after the injection of its published protocol, ``source``; ``None`` without one.
    """

    name: str
    window_min: tuple[float, float] | None = None
    source: str = ""


def find_tracer(text: str) -> Tracer | None:
    """The tracer of the table that a text names, by whichever of its names, else ``None``."""
    words = _words(text)
    names = _names()
    # With its nuclide first: 18F-DOPA is FDOPA, [11C]DOPA is not.
    for candidate in (words, _without_nuclides(words)):
        if "".join(candidate) in names:
            return names["".join(candidate)]
    several = _tracers(_without_nuclides(words))
    return several.pop() if len(several) == 1 else None


def tracer_name(text: str) -> str:
    """One spelling of a tracer, for comparisons: ``[11C]PBR28``, ``trc-PBR28`` and ``PBR28`` are ``pbr28``.

    Empty where a text names none: ``n/a``, or a nuclide alone.
    """
    listed = find_tracer(text)
    if listed is not None:
        return re.sub(r"[^a-z0-9]", "", listed.name.lower())
    words = _without_nuclides(_words(text))
    half = len(words) // 2
    name = "".join(words[:half] if words[:half] == words[half:] else words)  # DICOM: tag and code, both it
    return "" if name in _NOT_STATED else name


def tracer_label(text: str) -> str:
    """A tracer in letters and digits, as BIDS writes it behind ``trc-``; empty where a text names none."""
    listed = find_tracer(text)
    if listed is not None:
        return re.sub(r"[^A-Za-z0-9]", "", listed.name)
    name, letters = tracer_name(text), re.sub(r"[^A-Za-z0-9]", "", text)
    at = letters.lower().rfind(name)
    return (letters[at : at + len(name)] if at >= 0 else name)[:LONGEST_LABEL]


def stated_tracer(text: object) -> str:
    """A text as it is where it names a tracer, known or not; else empty."""
    return str(text) if text and tracer_name(str(text)) else ""


def tracer_of_file(sidecar: Mapping[str, object], file_name: str) -> str:
    """The tracer that a sidecar names, else the file's own name (``trc-``); empty where none does."""
    name = sidecar.get("TracerName") or sidecar.get("Radiopharmaceutical")
    return stated_tracer(name) or stated_tracer(" ".join(re.findall(r"trc-[A-Za-z0-9]+", file_name)))


def check_tracer(pet: str, expected: str, whose: str) -> tuple[Finding, ...]:
    """A warning where a PET shows another tracer than the one that ``whose`` (``the model``) is of.

    Nothing is said where one of the two is not stated.
    """
    one, other = tracer_name(pet), tracer_name(expected)
    if not one or not other or one == other:
        return ()
    message = f"The PET is of {pet}, {whose} of {expected}"
    unknown = [text for text in (pet, expected) if find_tracer(text) is None]
    if unknown:
        names = " and ".join(f"'{text}'" for text in unknown)
        return (
            Finding(
                "warn",
                "tracer-not-recognised",
                f"{message}: {names} is in no list of this program, which cannot tell whether they are one.",
                "If they differ, so do their patterns, whatever the brain: compare PETs of one tracer.",
            ),
        )
    return (
        Finding(
            "warn",
            "other-tracer",
            f"{message}: their patterns differ whatever the brain.",
            "Compare PETs of one tracer, or take another model.",
        ),
    )


@cache
def _names() -> dict[str, Tracer]:
    """The tracers by all of their names, plain."""
    names: dict[str, Tracer] = {}
    for row in read_table(resources_dir() / "PET" / "tracers.csv").rows:
        window = (float(row["start_min"]), float(row["end_min"])) if row["start_min"] else None
        tracer = Tracer(row["tracer"], window, row["source"])
        for name in (row["tracer"], *filter(None, map(str.strip, row["aliases"].split("|")))):
            names["".join(_words(name))] = tracer
    return names


def _words(text: str) -> list[str]:
    """Lower-case words, without those that name nothing; a nuclide is a word of its own (``18f``)."""
    words = re.findall(r"[a-z0-9]+", text.translate(SUPERSCRIPTS).lower())
    words = [word for word in words if word not in _NAMES_NOTHING]
    result: list[str] = []
    while words:
        word = words.pop(0)
        if words and _is_nuclide(word + words[0]) and not _is_nuclide(word):
            result.append(_nuclide(word + words.pop(0)))
        else:
            result += [_nuclide(word)] if _is_nuclide(word) else _parted(word)
    return result


def _parted(word: str) -> list[str]:
    """``18ffdg`` and ``c11pbr28`` in two."""
    for nuclide in _spellings():
        rest = word.removeprefix(nuclide)
        if rest != word and not (nuclide[-1].isdigit() and rest[0].isdigit()):
            return [_nuclide(nuclide), rest]
    return [word]


def _is_nuclide(word: str) -> bool:
    return find_radionuclide(word) is not None


def _nuclide(word: str) -> str:
    """``18f`` of any spelling of F18."""
    nuclide = find_radionuclide(word)
    assert nuclide is not None
    return re.sub(r"([a-z]+)(\d+)", r"\2\1", nuclide.name.lower())


@cache
def _spellings() -> tuple[str, ...]:
    names = [nuclide.lower() for nuclide in radionuclides()]
    return tuple(spelt for name in names for spelt in (re.sub(r"([a-z]+)(\d+)", r"\2\1", name), name))


def _without_nuclides(words: Sequence[str]) -> list[str]:
    elements = {nuclide.element.lower() for nuclide in radionuclides().values()}
    return [word for word in words if not _is_nuclide(word) and word not in elements]


def _tracers(words: Sequence[str]) -> set[Tracer]:
    """The tracers that words name one after the other; empty unless every word is part of a name."""
    if not words:
        return set()
    for end in range(len(words), 0, -1):
        tracer = _names().get("".join(words[:end]))
        if tracer is not None and end == len(words):
            return {tracer}
        rest = _tracers(words[end:]) if tracer is not None else set()
        if tracer is not None and rest:
            return {tracer, *rest}
    return set()
