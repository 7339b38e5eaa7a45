"""Body-weight SUV from a BIDS sidecar and the body weight beside it (BIDS: Modality specific files, PET)."""

from __future__ import annotations

import math
from typing import Any

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.findings import Finding
from MRI2PETLib.images.bids import BodyWeight, says_no
from MRI2PETLib.preprocessing.pet_units import activity_bq
from MRI2PETLib.preprocessing.radionuclides import find_radionuclide, radionuclides
from MRI2PETLib.preprocessing.suv import SuvScale, check_weight, no_suv, suv_factor

_SHORTEST_S = 120.0  # of one frame that is all of a PET


def scale_from_bids(sidecar: dict[str, Any], weight: BodyWeight, *, factor: float) -> SuvScale:
    """Scale of a PET in Bq/mL (times ``factor``) by its BIDS sidecar and the body weight.

    Uses InjectedRadioactivity (+ Units), TracerRadionuclide, ImageDecayCorrected, ImageDecayCorrectionTime
    and InjectionStart (both s since TimeZero). Stays at Bq/mL, with a warning that names the fields, when one
    is missing or not sane.

    :raises InputError: when the sidecar says that the image is not decay-corrected.
    """
    if says_no(sidecar, "ImageDecayCorrected"):
        raise InputError("The PET is not decay-corrected.", "Give decay-corrected images.")
    reasons: list[str] = []
    findings: list[Finding] = []
    dose = _dose_bq(sidecar, reasons)
    if weight.kg is None:
        reasons.append(weight.reason)
    half_life = _half_life_s(sidecar, reasons)
    injected = _seconds(sidecar, "InjectionStart", "injection at TimeZero is assumed", reasons, findings)
    corrected = _seconds(
        sidecar,
        "ImageDecayCorrectionTime",
        "decay correction to TimeZero is assumed",
        reasons,
        findings,
    )
    reasons += _other_units(sidecar, corrected, injected)
    if reasons or dose is None or weight.kg is None or half_life is None:
        return no_suv(f"{'; '.join(reasons)}.", factor, weight.findings)
    try:
        suv = suv_factor(weight.kg, dose, decay_s=corrected - injected, half_life_s=half_life)
    except InputError as error:
        return no_suv(f"{error.message[0].lower()}{error.message[1:]}", factor, weight.findings)
    return SuvScale(factor * suv, "SUV", (*weight.findings, *check_weight(weight.kg), *findings))


def _dose_bq(sidecar: dict[str, Any], reasons: list[str]) -> float | None:
    dose = _number(sidecar, "InjectedRadioactivity", reasons)
    if dose is None and not reasons:
        reasons.append("the sidecar has no InjectedRadioactivity")
    unit = sidecar.get("InjectedRadioactivityUnits")
    bq = activity_bq(str(unit)) if unit is not None else None
    if bq is None and dose is not None:
        text = "missing" if unit is None else f"'{unit}'"
        reasons.append(f"InjectedRadioactivityUnits is {text}, not MBq, kBq, GBq, Bq, mCi or uCi")
    return None if dose is None or bq is None else dose * bq


def _half_life_s(sidecar: dict[str, Any], reasons: list[str]) -> float | None:
    nuclide_name = sidecar.get("TracerRadionuclide")
    nuclide = None if nuclide_name is None else find_radionuclide(str(nuclide_name))
    if nuclide is not None:
        return nuclide.half_life_s
    if nuclide_name is None:
        reasons.append("the sidecar has no TracerRadionuclide")
    else:
        reasons.append(f"TracerRadionuclide is '{nuclide_name}', none of {', '.join(radionuclides())}")
    return None


def _seconds(
    sidecar: dict[str, Any], field: str, assumption: str, reasons: list[str], findings: list[Finding]
) -> float:
    """A time in s since TimeZero; 0 with a warning where the sidecar does not state it."""
    value = _number(sidecar, field, reasons)
    if value is None and sidecar.get(field) is None:
        code = "decay-time-assumed" if field.startswith("Image") else "injection-assumed"
        findings.append(Finding("warn", code, f"The sidecar has no {field}; {assumption}."))
    return value or 0.0


def _other_units(sidecar: dict[str, Any], corrected: float, injected: float) -> list[str]:
    """Times that cannot all be in s, which BIDS asks for, where SUV depends on them."""
    start, duration = (_first(sidecar.get(field)) for field in ("FrameTimesStart", "FrameDuration"))
    if start is None or duration is None or corrected == injected:
        return []
    for factor in (60.0, 1000.0):
        for ratio in (factor, 1.0 / factor):
            if corrected and abs(start - ratio * corrected) <= 0.01 * abs(start):
                what = f"ImageDecayCorrectionTime is {corrected:.9g} and FrameTimesStart {start:.9g}"
                return [f"{what}: not both are in s"]
    if start and len(sidecar["FrameTimesStart"]) == 1 and duration < _SHORTEST_S:
        return [f"FrameDuration is {duration:g}: are the times in min, not s?"]
    return []


def _first(times: Any) -> float | None:
    if isinstance(times, list) and times and isinstance(times[0], (int, float)):
        return float(times[0])
    return None


def _number(sidecar: dict[str, Any], field: str, reasons: list[str]) -> float | None:
    value = sidecar.get(field)
    if value is None:
        return None
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(value, bool) or not math.isfinite(number):
        reasons.append(f"{field} is {value!r}, not a number")
        return None
    return number
