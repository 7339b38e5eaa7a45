"""Body-weight SUV from activity concentration: the formula.

SUVbw = C [Bq/mL] * weight [g] / D_eff [Bq], D_eff the injected activity decayed to the time that the image is
decay-corrected to.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.findings import Finding
from MRI2PETLib.preprocessing.pet_units import Unit

_DOSE_BQ = (1e6, 2e9)
_WEIGHT_KG = (2.0, 300.0)
_USUAL_WEIGHT_KG = (25.0, 140.0)  # of who is scanned; pounds or stones taken for kg lie outside of it, mostly
_SHORTEST_S = 60.0  # of nuclides for PET: rubidium-82, 76 s
_MAX_BEFORE_S = 1800.0  # scanners start some minutes before the injection, a wrong clock by an hour
# A PET this much later than the injection has nothing left to measure: a wrong clock or date. Tracers of
# nuclides that live for days are scanned after days.
_MAX_HALF_LIVES, _MAX_DELAY_S, _MAX_DELAY_HALF_LIVES = 15.0, 12 * 3600.0, 5.0


@dataclass(frozen=True)
class SuvScale:
    """What turns stored values into ``unit``: a factor, and why it is (or is not) SUV."""

    factor: float
    unit: Unit
    findings: tuple[Finding, ...] = ()


def suv_factor(weight_kg: float, dose_bq: float, *, decay_s: float = 0.0, half_life_s: float) -> float:
    """SUV per Bq/mL. ``decay_s``: from injection to the time that decay is corrected to.

    :raises InputError: naming the value that is out of its sane range (dose in Bq, weight in kg, times in s).
    """
    low, high = _DOSE_BQ
    if not low < dose_bq < high:
        unit = " (is it in MBq?)" if 1 < dose_bq < 2000 else ""
        raise InputError(f"The injected dose is {dose_bq:g} Bq{unit}.", f"It must be {low:g} to {high:g} Bq.")
    low, high = _WEIGHT_KG
    if not low < weight_kg < high:
        raise InputError(f"The body weight is {weight_kg:g} kg.", f"It must be {low:g} to {high:g} kg.")
    if not _SHORTEST_S <= half_life_s < math.inf:
        unit = " (is it in min?)" if 1 < half_life_s < _SHORTEST_S else ""
        raise InputError(f"The half-life is {half_life_s:g} s{unit}.", "Give that of the radionuclide.")
    latest = min(_MAX_HALF_LIVES * half_life_s, max(_MAX_DELAY_S, _MAX_DELAY_HALF_LIVES * half_life_s))
    if not -_MAX_BEFORE_S <= decay_s <= latest:
        raise InputError(
            f"The image is decay-corrected to {decay_s / 3600:.1f} h after the injection.",
            "Check the injection time and the dates.",
        )
    return weight_kg * 1000.0 / (dose_bq * 2.0 ** (-decay_s / half_life_s))


def check_weight(weight_kg: float) -> tuple[Finding, ...]:
    """A warning for a weight that few people have: it may be in another unit than is said."""
    low, high = _USUAL_WEIGHT_KG
    if low <= weight_kg <= high:
        return ()
    unit = "lb" if weight_kg > high else "stones"
    message = f"The body weight is {weight_kg:g} kg; SUV is as wrong as it is. Is it in {unit}?"
    return (Finding("warn", "weight-doubtful", message, "Check the weight and its unit."),)


def no_suv(reason: str, factor: float = 1.0, findings: tuple[Finding, ...] = ()) -> SuvScale:
    """Leave the PET in Bq/mL: the reason first, then the other findings."""
    hint = "Correct it where it is stated, or use SUVR."
    finding = Finding("warn", "no-suv", f"Left in Bq/mL: {reason}", hint)
    return SuvScale(factor, "Bq/mL", (finding, *findings))
