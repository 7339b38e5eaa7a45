"""Body-weight SUV from activity concentration: the formula, its ingredients from DICOM and BIDS.

SUVbw = C [Bq/mL] * weight [g] / D_eff [Bq], D_eff the injected activity decayed to the time that the image is
decay-corrected to. Source: QIBA FDG-PET profile (vendor-neutral SUV pseudocode), DICOM PS3.3 C.8.9, BIDS PET.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import SimpleITK as sitk

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.findings import Finding

if TYPE_CHECKING:
    import pydicom

HALF_LIFE_S = {"C11": 1223.4, "F18": 6586.2}
_DOSE_BQ = (1e6, 2e9)
_WEIGHT_KG = (2.0, 300.0)
_ACTIVITY_UNITS = {"bq": 1.0, "kbq": 1e3, "mbq": 1e6, "gbq": 1e9, "uci": 37e3, "mci": 37e6}
# A PET this much later than the injection has nothing left to measure: a wrong clock or date.
_MAX_HALF_LIVES, _MAX_DELAY_S = 15.0, 12 * 3600.0
_DAY_S = 86400.0


@dataclass(frozen=True)
class SuvScale:
    """What turns stored values into ``unit``: a factor, and why it is (or is not) SUV."""

    factor: float
    unit: str
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
    if not 0 < half_life_s < math.inf:
        raise InputError(f"The half-life is {half_life_s:g} s.", "Give that of the radionuclide.")
    if not -3600 <= decay_s <= min(_MAX_HALF_LIVES * half_life_s, _MAX_DELAY_S):
        raise InputError(
            f"The image is decay-corrected to {decay_s / 3600:.1f} h after the injection.",
            "Check the injection time and the dates.",
        )
    return weight_kg * 1000.0 / (dose_bq * 2.0 ** (-decay_s / half_life_s))


def to_suv(
    image: sitk.Image, *, weight_kg: float, dose_bq: float, decay_s: float = 0.0, half_life_s: float
) -> sitk.Image:
    """Turn Bq/mL into SUV (body weight); see :func:`suv_factor`."""
    factor = suv_factor(weight_kg, dose_bq, decay_s=decay_s, half_life_s=half_life_s)
    return sitk.Cast(image, sitk.sitkFloat32) * factor


def no_suv(reason: str, factor: float = 1.0) -> SuvScale:
    """Stay at Bq/mL, and tell why."""
    hint = "Give dose and body weight, or use SUVR."
    return SuvScale(factor, "Bq/mL", (Finding("warn", "no_suv", f"Left in Bq/mL: {reason}", hint),))


def scale_from_bids(sidecar: dict[str, Any], weight_kg: float | None, *, factor: float = 1.0) -> SuvScale:
    """Scale of a PET in Bq/mL (times ``factor``) by its BIDS sidecar and the weight in ``participants.tsv``.

    Uses InjectedRadioactivity (+ Units), TracerRadionuclide, ImageDecayCorrected, ImageDecayCorrectionTime
    and InjectionStart (both s since TimeZero).

    :raises InputError: when the sidecar says that the image is not decay-corrected.
    """
    if sidecar.get("ImageDecayCorrected") is False:
        raise InputError("The PET is not decay-corrected.", "Give decay-corrected images.")
    try:
        dose = sidecar.get("InjectedRadioactivity")
        if dose is None:
            return no_suv("the sidecar has no InjectedRadioactivity.", factor)
        if weight_kg is None:
            return no_suv("participants.tsv has no weight for this subject.", factor)
        unit = str(sidecar.get("InjectedRadioactivityUnits", "")).strip().lower()
        if unit not in _ACTIVITY_UNITS:
            return no_suv(f"InjectedRadioactivityUnits is '{unit}'.", factor)
        nuclide = str(sidecar.get("TracerRadionuclide", "")).replace("-", "").upper()
        half_life = HALF_LIFE_S.get(nuclide) or HALF_LIFE_S.get(f"{nuclide[-1:]}{nuclide[:-1]}")
        if half_life is None:
            return no_suv(f"the radionuclide '{nuclide}' is not one of {', '.join(HALF_LIFE_S)}.", factor)
        corrected_to = sidecar.get("ImageDecayCorrectionTime")
        decay_s = float(corrected_to or 0.0) - float(sidecar.get("InjectionStart") or 0.0)
        bq = float(dose) * _ACTIVITY_UNITS[unit]
        suv = suv_factor(float(weight_kg), bq, decay_s=decay_s, half_life_s=half_life)
    except (TypeError, ValueError) as error:
        return no_suv(f"a field of the sidecar is not a number ({error}).", factor)
    except InputError as error:
        return no_suv(f"{error.message[0].lower()}{error.message[1:]}", factor)
    if corrected_to is None:
        message = "The sidecar has no ImageDecayCorrectionTime; decay correction to TimeZero is assumed."
        return SuvScale(factor * suv, "SUV", (Finding("warn", "decay_time_assumed", message),))
    return SuvScale(factor * suv, "SUV")


def scale_from_dicom(slices: Sequence[pydicom.Dataset]) -> SuvScale:
    """Scale of a PET by the tags of its images (all of them, pixel data not needed).

    Units (0054,1001) BQML, GML or CNTS (Philips, by its private factors); DecayCorrection (0054,1102) START
    or ADMIN. Stays at Bq/mL, with a warning, when dose, weight or times are missing or not sane.

    :raises InputError: for an image that is not decay-corrected, or SUV by something else than body weight.
    """
    data = slices[0]
    unit = str(data.get("Units", "")).upper()
    if unit == "GML":
        suv_type = str(data.get("SUVType", "BW") or "BW").upper()
        if suv_type != "BW":
            raise InputError(f"The PET holds SUV of type {suv_type}.", "Export SUV by body weight, or Bq/mL.")
        return SuvScale(1.0, "SUV")
    factor = 1.0
    if unit == "CNTS":
        to_suv_factor, to_bq_factor = (_private_number(data, 0x7053, e) for e in (0x1000, 0x1009))
        if to_suv_factor:
            return SuvScale(to_suv_factor, "SUV")
        if not to_bq_factor:
            message = "The PET is in counts, without the factor to Bq/mL."
            hint = "Use SUVR, or export in Bq/mL."
            return SuvScale(1.0, "unknown", (Finding("warn", "counts", message, hint),))
        factor = to_bq_factor
    elif unit != "BQML":
        return SuvScale(1.0, "unknown")
    correction = str(data.get("DecayCorrection", "")).upper()
    if correction == "NONE":
        raise InputError("The PET is not decay-corrected (DecayCorrection NONE).", "Export corrected images.")
    if correction not in ("START", "ADMIN"):
        return no_suv(f"DecayCorrection is '{correction}', not START or ADMIN.", factor)
    try:
        info = data.RadiopharmaceuticalInformationSequence[0]
        dose, weight = float(info.RadionuclideTotalDose), float(data.PatientWeight)
        half_life = float(info.RadionuclideHalfLife)
        decay_s = 0.0
        if correction == "START":
            decay_s = seconds_between(injection_time(data), _decay_reference(slices))
        suv = suv_factor(weight, dose, decay_s=decay_s, half_life_s=half_life)
    except (AttributeError, IndexError, TypeError, ValueError):
        return no_suv("dose, body weight, half-life or injection time is missing in the DICOM tags.", factor)
    except InputError as error:
        return no_suv(f"{error.message[0].lower()}{error.message[1:]}", factor)
    return SuvScale(factor * suv, "SUV")


def injection_time(data: pydicom.Dataset) -> datetime:
    """Start of the injection: (0018,1078) with its date, else (0018,1072) on the day of the series.

    :raises AttributeError, ValueError: when it is missing or malformed.
    """
    info = data.RadiopharmaceuticalInformationSequence[0]
    whole = str(info.get("RadiopharmaceuticalStartDateTime", "") or "")
    if len(whole) >= 14:
        return _when(whole[:8], whole[8:])
    return _when(str(data.SeriesDate), str(info.RadiopharmaceuticalStartTime))


def acquisition_time(data: pydicom.Dataset) -> datetime:
    """Start of the acquisition of one image."""
    date = data.get("AcquisitionDate") or data.SeriesDate
    return _when(str(date), str(data.AcquisitionTime))


def seconds_between(injection: datetime, later: datetime) -> float:
    """Seconds from the injection on; a day is added where the scan passed midnight.

    The injection often has a time without a date, so a scan after midnight seems to precede it by hours. One
    that starts shortly before the injection stays negative.
    """
    seconds = (later - injection).total_seconds()
    return seconds + _DAY_S if seconds < -_DAY_S / 2 else seconds


def _decay_reference(slices: Sequence[pydicom.Dataset]) -> datetime:
    """The time that DecayCorrection START refers to: SeriesTime, unless it was rewritten after the scan."""
    data = slices[0]
    first = min(acquisition_time(one) for one in slices)
    series = _when(str(data.SeriesDate), str(data.SeriesTime))
    if series <= first:
        return series
    scan = data.get((0x0009, 0x100D))  # GE: PET scan_datetime
    text = str(scan.value) if scan is not None else ""
    return _when(text[:8], text[8:]) if len(text) >= 14 else first


def _when(date: str, time: str) -> datetime:
    time = time.replace(":", "")
    start = datetime.strptime(date + time[:6], "%Y%m%d%H%M%S")
    return start + timedelta(seconds=float(f"0{time[6:13]}")) if time[6:7] == "." else start


def _private_number(data: pydicom.Dataset, group: int, element: int) -> float | None:
    found = data.get((group, element))
    try:
        return float(found.value) if found is not None and float(found.value) > 0 else None
    except (TypeError, ValueError):
        return None
