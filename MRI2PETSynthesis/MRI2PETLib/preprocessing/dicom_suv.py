"""Body-weight SUV from the tags of a DICOM PET.

Sources: DICOM PS3.3 C.8.9.1 (PET Series), C.8.9.2 (PET Isotope) and C.8.9.4 (PET Image); the vendor-neutral
SUV pseudocode of the QIBA FDG-PET profile.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.findings import Finding
from MRI2PETLib.images.dicom_tags import TagError, first_item, number, tag_name, text, value
from MRI2PETLib.preprocessing.dicom_clock import acquisition, decay_reference_s, injection
from MRI2PETLib.preprocessing.radionuclides import (
    SAME_HALF_LIFE,
    Radionuclide,
    find_radionuclide,
    radionuclide_in_other_unit,
    radionuclide_of_code,
    radionuclide_of_half_life,
)
from MRI2PETLib.preprocessing.suv import SuvScale, check_weight, no_suv, suv_factor

if TYPE_CHECKING:
    import pydicom

_T = TypeVar("_T")
# A scan may follow the injection of such a nuclide by days: a time without a date says nothing.
_LONG_LIVED_S = 6 * 3600.0


def scale_from_dicom(slices: Sequence[pydicom.Dataset]) -> SuvScale:
    """Scale of a PET by the tags of its images (all of them, pixel data not needed).

    Units (0054,1001) BQML, GML or CNTS (Philips, by its private factors); DecayCorrection (0054,1102) START
    or ADMIN. Stays at Bq/mL, with a warning that names the tags, when dose, weight, half-life or times are
    missing or not sane.

    :raises InputError: for an image that is not decay-corrected, or SUV by something else than body weight.
    """
    data = slices[0]
    unit = text(data, "Units").upper()
    if unit in ("GML", "CM2ML"):
        own_kind = "BW" if unit == "GML" else "BSA"
        kind = text(data, "SUVType").upper() or own_kind
        if kind != "BW":
            raise InputError(f"The PET holds SUV of type {kind}.", "Export SUV by body weight, or Bq/mL.")
        if kind != own_kind:
            raise InputError(
                f"{tag_name('Units')} is {unit}, SUV by body surface, but {tag_name('SUVType')} is {kind}.",
                "Export SUV by body weight in g/mL, or Bq/mL.",
            )
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
        message = f"{tag_name('Units')} is '{unit}': no concentration that this program knows."
        return SuvScale(1.0, "unknown", (Finding("warn", "unit-not-recognised", message),) if unit else ())
    correction = text(data, "DecayCorrection").upper()
    if correction == "NONE":
        raise InputError("The PET is not decay-corrected (DecayCorrection NONE).", "Export corrected images.")
    return _suv(slices, factor, correction)


def tracer_of(data: pydicom.Dataset) -> str:
    """What the tags call the tracer: Radiopharmaceutical (0018,0031) and the meaning of its code."""
    names: list[str] = []
    try:
        info = first_item(data, "RadiopharmaceuticalInformationSequence")
        names += [text(info, "Radiopharmaceutical")]
        names += [text(first_item(info, "RadiopharmaceuticalCodeSequence"), "CodeMeaning")]
    except TagError:
        pass  # what is missing names nothing
    return " ".join(names)


def _suv(slices: Sequence[pydicom.Dataset], factor: float, correction: str) -> SuvScale:
    """SUV of a PET in Bq/mL, or the reasons why not, all at once."""
    data = slices[0]
    reasons: list[str] = []
    findings: list[Finding] = []

    def ask(question: Callable[[], _T]) -> _T | None:
        try:
            return question()
        except ValueError as error:
            reasons.append(str(error))
            return None

    if correction not in ("START", "ADMIN"):
        words = f"'{correction}', not START or ADMIN" if correction else "missing"
        reasons.append(f"{tag_name('DecayCorrection')} is {words}")
    weight = ask(lambda: number(data, "PatientWeight"))
    n_injections = len(value(data, "RadiopharmaceuticalInformationSequence") or ())
    if n_injections > 1:
        reasons.append(f"{tag_name('RadiopharmaceuticalInformationSequence')} has {n_injections} items")
    info = ask(lambda: first_item(data, "RadiopharmaceuticalInformationSequence"))
    dose = half_life = None
    if info is not None:
        dose = ask(lambda: number(info, "RadionuclideTotalDose"))
        half_life = ask(lambda: _half_life_s(info, findings))
    decay_s: float | None = 0.0
    if correction == "START" and info is not None and half_life is not None:
        decay_s = ask(lambda: _decay_s(slices, half_life, findings))
    if reasons or weight is None or dose is None or half_life is None or decay_s is None:
        return no_suv(f"{'; '.join(reasons)}.", factor)
    try:
        suv = suv_factor(weight, dose, decay_s=decay_s, half_life_s=half_life)
    except InputError as error:
        return no_suv(f"{error.message[0].lower()}{error.message[1:]}", factor, tuple(findings))
    return SuvScale(factor * suv, "SUV", (*check_weight(weight), *findings))


def _half_life_s(info: pydicom.Dataset, findings: list[Finding]) -> float:
    """RadionuclideHalfLife (0018,1075), else that of the nuclide in RadionuclideCodeSequence (0054,0300)."""
    nuclide = _nuclide(info)
    try:
        from_header = number(info, "RadionuclideHalfLife")
    except TagError as error:
        if nuclide is None:
            raise TagError(f"{error} and {tag_name('RadionuclideCodeSequence')} names no nuclide") from None
        message = f"{error}; that of {nuclide.name} is used ({nuclide.half_life_s:g} s)."
        findings.append(Finding("ok", "half-life-of-nuclide", message))
        return nuclide.half_life_s
    if nuclide is not None and abs(from_header / nuclide.half_life_s - 1) <= SAME_HALF_LIFE:
        return from_header
    what, half_life = f"{tag_name('RadionuclideHalfLife')} is {from_header:g} s", from_header
    other = radionuclide_in_other_unit(from_header)
    if nuclide is not None and other is not None and other[0] == nuclide:
        half_life = nuclide.half_life_s
        message = f"{what}, which is that of {nuclide.name} in {other[1]}; {half_life:g} s is used."
    elif nuclide is not None:
        message = f"{what}, but the nuclide is {nuclide.name} ({nuclide.half_life_s:g} s); the stated one is "
        message += "used."
    elif other is not None:
        raise TagError(f"{what}, that of no nuclide; {from_header:g} {other[1]} is that of {other[0].name}")
    elif radionuclide_of_half_life(from_header) is None:
        message = f"{what}, that of no nuclide that this program knows."
    else:
        return from_header
    findings.append(Finding("warn", "half-life-doubtful", message, "Check the tags of the tracer."))
    return half_life


def _nuclide(info: pydicom.Dataset) -> Radionuclide | None:
    try:
        code = first_item(info, "RadionuclideCodeSequence")
    except TagError:
        return None
    nuclide = radionuclide_of_code(text(code, "CodingSchemeDesignator"), text(code, "CodeValue"))
    return nuclide or find_radionuclide(text(code, "CodeMeaning"))


def _decay_s(slices: Sequence[pydicom.Dataset], half_life_s: float, findings: list[Finding]) -> float:
    """Seconds from the injection to the time that DecayCorrection START refers to."""
    start, notes = injection(slices[0])
    dated = start.dated and acquisition(slices[0]).dated
    if half_life_s > _LONG_LIVED_S and not dated:
        missing = "AcquisitionDate" if start.dated else "RadiopharmaceuticalStartDateTime"
        raise TagError(f"{tag_name(missing)} is missing, so the days since the injection are not known")
    reference, more = decay_reference_s(slices, start, half_life_s)
    findings += [*notes, *more]
    return reference


def _private_number(data: pydicom.Dataset, group: int, element: int) -> float | None:
    content: Any = data.get((group, element))
    try:
        return float(content.value) if content is not None and float(content.value) > 0 else None
    except (TypeError, ValueError):
        return None
