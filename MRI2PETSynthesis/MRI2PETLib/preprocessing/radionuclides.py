"""Radionuclides: their half-lives, and the ways in which files spell them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from MRI2PETLib.core.resources import resources_dir
from MRI2PETLib.core.tables import read_table

SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")
# Stated and tabulated half-lives differ by rounding (20.4 min) and by edition, not by more than this share.
SAME_HALF_LIFE = 0.02
_SPELLING = re.compile(r"(?:(\d{1,3})([a-z]+)|([a-z]+)(\d{1,3}))")


@dataclass(frozen=True)
class Radionuclide:
    """One row of ``Resources/PET/radionuclides.csv``.

    :ivar name: element symbol and mass number, ``C11``.
    :ivar codes: of DICOM context group 4020 (PS3.16), as ``scheme:value``.
    """

    name: str
    element: str
    half_life_s: float
    codes: tuple[str, ...]


@cache
def radionuclides() -> dict[str, Radionuclide]:
    """All radionuclides by name."""
    return {
        row["nuclide"]: Radionuclide(
            row["nuclide"], row["element"], float(row["half_life_s"]), tuple(row["dicom_codes"].split())
        )
        for row in read_table(resources_dir() / "PET" / "radionuclides.csv").rows
    }


def find_radionuclide(text: str) -> Radionuclide | None:
    """The radionuclide that a text names: ``C11``, ``11C``, ``C-11``, ``[11C]``, ``¹¹C``, ``^11^Carbon``,
    ``carbon 11``; ``None`` when it names none of the table.
    """
    plain = re.sub(r"[\s\[\]()^_-]", "", text.translate(SUPERSCRIPTS)).lower()
    match = _SPELLING.fullmatch(plain)
    if match is None:
        return None
    mass, element = match[1] or match[4], match[2] or match[3]
    for nuclide in radionuclides().values():
        symbol = nuclide.name.rstrip("0123456789")
        if nuclide.name == f"{symbol}{mass}" and element in (symbol.lower(), nuclide.element.lower()):
            return nuclide
    return None


def radionuclide_in_other_unit(value: float) -> tuple[Radionuclide, str] | None:
    """The radionuclide whose half-life a number is, that would be that of none in s, and the unit that it is
    in (``min``, ``h``, ``d``, ``ms``); ``None`` for any other number.
    """
    if radionuclide_of_half_life(value) is not None:
        return None
    for unit, seconds in (("min", 60.0), ("h", 3600.0), ("d", 86400.0), ("ms", 1e-3)):
        if (nuclide := radionuclide_of_half_life(value * seconds)) is not None:
            return nuclide, unit
    return None


def radionuclide_of_half_life(half_life_s: float) -> Radionuclide | None:
    """The radionuclide that has a half-life, as it is rounded in files and editions of tables."""
    near = (n for n in radionuclides().values() if abs(half_life_s / n.half_life_s - 1) <= SAME_HALF_LIFE)
    return next(near, None)


def radionuclide_of_code(scheme: str, code: str) -> Radionuclide | None:
    """The radionuclide of a DICOM code; SNOMED-RT has had several names (SRT, SNM3, 99SDM)."""
    scheme = "SCT" if scheme.upper() == "SCT" else "SRT"
    return next((n for n in radionuclides().values() if f"{scheme}:{code}" in n.codes), None)
