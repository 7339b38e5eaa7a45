"""Units of a PET and of activity in the spellings that scanners, converters and people write."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.findings import Finding

Unit = Literal["SUV", "SUVR", "Bq/mL", "VT", "DVR", "BP", "BPND", "BPP", "BPF", "normalised", "unknown"]
KNOWN_UNITS: tuple[Unit, ...] = tuple(u for u in get_args(Unit) if u != "unknown")
# Distribution volume, its ratio, binding potentials: other quantities than uptake, by a kinetic model.
KINETIC_UNITS: tuple[Unit, ...] = ("VT", "DVR", "BP", "BPND", "BPP", "BPF")

_ACTIVITY = r"(giga|mega|kilo|milli|micro|nano|[gmkun]?)(bq|becquerels?|ci|curies?)"
_VOLUME = r"(ml|cc|ccm|cm3|milliliters?|millilitres?|l|liters?|litres?)(?:-1)?|(cm-3)"
_CONCENTRATION = re.compile(rf"{_ACTIVITY}(?:/|per)?(?:{_VOLUME})")
_FACTORS = {"g": 1e9, "k": 1e3, "u": 1e-6, "n": 1e-9, "": 1.0}
_CI_BQ = 3.7e10
_SUV = {"suv", "suvbw", "suvbodyweight", "g/ml", "gml", "g/cc", "gcc", "g/cm3", "suvg/ml", "suvbwg/ml"}
_OTHER_SUV = {
    "suvlbm": "by lean body mass",
    "sul": "by lean body mass",
    "suvlbmg/ml": "by lean body mass",
    "suvibw": "by ideal body weight",
    "suvbsa": "by body surface",
    "suvbsacm2/ml": "by body surface",
    "cm2/ml": "by body surface",
    "cm2ml": "by body surface",
}
_NAMES: dict[str, Unit] = {
    **{name: "SUV" for name in _SUV},
    **{name: "SUVR" for name in ("suvr", "suvratio")},
    **{name.lower(): name for name in KINETIC_UNITS},
    **{name: "normalised" for name in ("normalised", "normalized")},
}
_NOT_STATED = {"", "na", "n/a", "none", "unknown"}


@dataclass(frozen=True)
class StatedUnit:
    """A unit as it is stated: which one, the factor to it, and a note when it is not understood."""

    unit: Unit
    factor: float = 1.0
    note: str = ""


def parse_unit(text: str) -> StatedUnit:
    """The unit that a text states: ``Bq/mL``, ``BQML``, ``kBq/cc``, ``nCi mL^-1``, ``SUVbw``, ``VT``.

    :raises InputError: for a unit that is understood and is none of a PET that this program can use.
    """
    plain = _plain(text)
    if plain in _NAMES:
        return StatedUnit(_NAMES[plain])
    concentration = _CONCENTRATION.fullmatch(plain)
    activity = None if concentration is None else _bq(concentration[1], concentration[2], text)
    if concentration is not None and activity is not None:
        per_litre = (concentration[3] or "").startswith(("l", "lit"))
        return StatedUnit("Bq/mL", activity * (1e-3 if per_litre else 1.0))
    if plain in _OTHER_SUV:
        raise InputError(
            f"The PET holds SUV {_OTHER_SUV[plain]} ('{text.strip()}').",
            "Give SUV by body weight, or Bq/mL.",
        )
    if activity_bq(text) is not None:
        raise InputError(
            f"The unit of the PET is stated as '{text.strip()}': an activity, not a concentration.",
            "Correct Units, or state the unit of the values (for example --pet-unit Bq/mL).",
        )
    if plain in _NOT_STATED:
        return StatedUnit("unknown")
    return StatedUnit("unknown", note=f"'{text.strip()}' is stated, which this program does not know")


def plain_unit(text: str) -> str | None:
    """A unit as the settings name it (``SUVbw`` is ``SUV``), or as it is; ``None`` when none is stated."""
    reading = parse_unit(text)
    if reading.unit == "unknown" and not reading.note:
        return None
    return reading.unit if reading.unit != "unknown" and reading.factor == 1 else text


def check_overruled(unit: str | None, file_unit: str) -> tuple[Finding, ...]:
    """A warning where the unit that the user states is another one than the file does.

    :param unit: of the user, ``None`` for none. ``file_unit``: of the file, empty for none.
    """
    try:
        own, of_file = parse_unit(unit or ""), parse_unit(file_unit)
    except InputError:  # one of them is none of a PET: what reads it says so
        return ()
    if unit is None or of_file.unit == "unknown" or (own.unit, own.factor) == (of_file.unit, of_file.factor):
        return ()
    message = f"The file says {file_unit}, you say {unit}, which is used."
    return (Finding("warn", "unit-overruled", message, "Where the file is right, leave the unit to it."),)


def activity_bq(text: str) -> float | None:
    """Becquerels of one unit of activity: ``MBq``, ``MegaBq``, ``mCi``; ``None`` when it is none.

    ``mBq`` is none: it says milli and nearly always means mega.
    """
    match = re.fullmatch(_ACTIVITY, _plain(text))
    return None if match is None else _bq(match[1], match[2], text)


def _bq(prefix: str, base: str, text: str) -> float | None:
    is_curie = base.startswith("c")
    factor = _FACTORS.get(prefix if len(prefix) < 2 or prefix.startswith("m") else prefix[0], 0.0)
    if prefix in ("m", "mega", "milli", "micro"):
        milli = prefix == "milli" or (prefix == "m" and is_curie)
        factor = 1e-6 if prefix == "micro" else 1e-3 if milli else 1e6
    if not is_curie and (prefix == "milli" or text.strip().startswith("mB")):
        return None
    return factor * (_CI_BQ if is_curie else 1.0)


def _plain(text: str) -> str:
    """Lower case without blanks, brackets and marks between letters; one spelling of micro and of powers."""
    text = text.replace("µ", "u").replace("μ", "u").replace("³", "3").replace("⁻¹", "-1").replace("²", "2")
    plain = re.sub(r"[\s_^()\[\]{}·*.]", "", text).lower()
    return re.sub(r"^suv-", "suv", plain)
