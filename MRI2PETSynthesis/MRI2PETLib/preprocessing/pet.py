"""Read a PET, static or dynamic, in a stated unit: frames averaged over the window, Bq/mL turned into SUV."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import SimpleITK as sitk

from MRI2PETLib.core.checksums import sha256_of_files
from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.findings import Finding, Verdict
from MRI2PETLib.images import bids
from MRI2PETLib.images.io import grid_metadata, open_image, read_frame_image, same_grid
from MRI2PETLib.images.orientation import NiftiForms
from MRI2PETLib.images.raw import RawImage
from MRI2PETLib.images.shear import to_image
from MRI2PETLib.preprocessing.bids_suv import scale_from_bids
from MRI2PETLib.preprocessing.dicom_clock import frame_times_from_dicom
from MRI2PETLib.preprocessing.dicom_suv import scale_from_dicom, tracer_of
from MRI2PETLib.preprocessing.frame_realignment import realigned_mean
from MRI2PETLib.preprocessing.frame_window import frame_window
from MRI2PETLib.preprocessing.pet_frames import (
    FrameTimes,
    average_frames,
    check_static_window,
    frame_times_from_bids,
    frame_weights,
    window_findings,
)
from MRI2PETLib.preprocessing.pet_measured import measured_voxels
from MRI2PETLib.preprocessing.pet_units import KINETIC_UNITS, KNOWN_UNITS, Unit, check_overruled, parse_unit
from MRI2PETLib.preprocessing.suv import SuvScale
from MRI2PETLib.preprocessing.tracers import stated_tracer, tracer_of_file

# A mean over fewer voxels is too noisy to divide by.
MIN_REFERENCE_VOXELS = 200
UNIT_NOT_STATED = "unit-not-stated"  # the code of that finding
# Typical medians of the brain (notes of QIBA and TSPO studies: SUV 0.5-3, Bq/mL thousands).
_LOOKS_LIKE_BQ, _LOOKS_LIKE_SUV = 100.0, (0.2, 10.0)


@dataclass(frozen=True)
class PetImage:
    """A 3-D PET (float32, on the grid of its file) in ``unit``, and what was noticed while reading it.

    ``measured``: uint8 on the grid of ``image``, 0 where nothing was measured (there the image is 0 too);
    ``None``: it was measured everywhere. ``forms``: both orientations of a NIfTI file, to be written with
    what is made from it. ``about_unit``: those of the findings that are about the unit.
    """

    image: sitk.Image
    unit: Unit
    verdict: Verdict
    sha256: str
    metadata: dict[str, Any]
    forms: NiftiForms | None = None
    measured: sitk.Image | None = None
    about_unit: tuple[Finding, ...] = ()

    @property
    def minutes(self) -> tuple[float, float] | None:
        """The minutes after the injection that it shows, ``None`` where nothing says it."""
        window = self.metadata.get("window_min") or self.metadata.get("frame_min")
        return None if window is None else (float(window[0]), float(window[1]))


class _Description(NamedTuple):
    """What the files of a PET say beside its voxels. ``tracer`` is a text that names one;
    ``has_attenuation``: they say that it was not corrected for it.
    """

    times: FrameTimes | None
    scale: SuvScale
    tracer: str
    has_attenuation: bool


_ATTENUATED = (
    Finding(
        "warn",
        "attenuation",
        "The PET is not corrected for attenuation: its middle is too dark.",
        "Give the corrected reconstruction.",
    ),
)


def read_pet(
    path: Path | str,
    *,
    unit: str | None = None,
    window_min: tuple[float, float] | None = None,
    realign_frames: bool = False,
) -> PetImage:
    """Read a PET from a file (with its BIDS JSON sidecars) or a DICOM folder.

    A dynamic PET is averaged over a window of minutes after the injection. Bq/mL becomes SUV when dose and
    body weight are known (DICOM tags; sidecars and ``participants.tsv``), else it stays Bq/mL with a warning.
    A unit stated nowhere is ``unknown``, with a warning of what the values look like; it is never guessed.

    ``metadata`` holds ``window_min`` and ``window_from`` of a dynamic PET, ``frame_min`` of a static one that
    states when it was measured, all in minutes after the injection, and ``tracer``: a text that names one,
    known or not, else empty.

    :param unit: unit of the values in the file, see :func:`.pet_units.parse_unit`; wins over the files.
    :param window_min: start and end of the window; default: see :func:`.frame_window.frame_window`.
    :param realign_frames: undo the motion between the frames of a dynamic PET before they are averaged; what
        was found is in ``metadata["realignment"]``.
    :raises InputError: see :func:`MRI2PETLib.images.io.read_image`; frames that miss the window or are not
        decay-corrected; an unknown ``unit``.
    """
    if unit is not None and parse_unit(unit).unit == "unknown":
        raise InputError(f"The PET unit '{unit}' is not known.", f"Use one of {', '.join(KNOWN_UNITS)}.")
    raw = open_image(path, kind="pet")
    read_statements = _from_dicom if raw.metadata["format"] == "DICOM" else _from_sidecar
    times, scale, tracer, has_attenuation = read_statements(raw, unit)
    window = frame_window(window_min, tracer)
    findings: tuple[Finding, ...] = _ATTENUATED if has_attenuation else ()
    metadata = dict(raw.metadata)
    if raw.n_frames > 1:
        assert times is not None  # or it has been refused
        weights = frame_weights(times, window)
        metadata |= {
            "window_min": [window.start_min, window.end_min],
            "window_from": window.why,
            "frames_used": [int(t) for t in np.flatnonzero(weights)],
            "frames": raw.n_frames,
        }
        findings += window_findings(times, window)
        if realign_frames:
            mean = realigned_mean(raw.read_frame, weights, times.duration_s, raw.spacing_mm.tolist())
            averaged = mean.values
            findings += mean.findings()
            metadata["realignment"] = mean.record()
        else:
            averaged = average_frames(raw.read_frame, weights)
        raw = replace(raw, n_frames=1, read_frame=lambda t: averaged)
    elif scale.unit not in KINETIC_UNITS:
        findings += check_static_window(times, window)
        metadata |= {} if times is None else {"frame_min": [round(t, 3) for t in times.range_min]}
    values = np.asarray(raw.read_frame(0))
    raw = replace(raw, read_frame=lambda t: values)
    image, more = read_frame_image(raw, 0, kind="pet")
    inside = measured_voxels(values)
    measured = None if inside.all() else to_image(inside.astype(np.uint8), raw.affine, nearest=True)[0]
    metadata["measured_share"] = round(float(inside.mean()), 4)
    image = (image if measured is None else sitk.Mask(image, measured)) * scale.factor
    about_unit = scale.findings + check_unit(image, scale.unit)
    metadata |= {"unit": scale.unit, "factor": scale.factor, "tracer": tracer, **grid_metadata(image)}
    return PetImage(
        image=image,
        unit=scale.unit,
        verdict=Verdict(raw.findings + findings + more + about_unit),
        sha256=sha256_of_files(raw.files),
        metadata=metadata,
        forms=raw.forms,
        measured=measured,
        about_unit=about_unit,
    )


def _from_sidecar(raw: RawImage, unit: str | None) -> _Description:
    sidecar = bids.read_sidecar(raw.path)
    times = None
    if raw.n_frames > 1 or {"FrameTimesStart", "FrameDuration"} <= sidecar.keys():
        times = frame_times_from_bids(sidecar, raw.n_frames)
    if raw.n_frames > 1 and bids.says_no(sidecar, "ImageDecayCorrected"):
        raise InputError(f"The frames of {raw.path} are not decay-corrected.", "Give decay-corrected frames.")
    tracer = tracer_of_file(sidecar, raw.path.name)
    has_attenuation = bids.says_no(sidecar, "AttenuationCorrection")
    of_file = str(sidecar.get("Units", ""))
    stated_unit, overruled = parse_unit(of_file if unit is None else unit), check_overruled(unit, of_file)
    if stated_unit.unit == "Bq/mL":
        weight = bids.body_weight(raw.path, sidecar)
        scale = scale_from_bids(sidecar, weight, factor=stated_unit.factor)
        scale = replace(scale, findings=overruled + scale.findings)
        return _Description(times, scale, tracer, has_attenuation)
    findings = (
        (Finding("warn", "unit-not-recognised", f"In Units {stated_unit.note}."),) if stated_unit.note else ()
    )
    scale = SuvScale(stated_unit.factor, stated_unit.unit, overruled + findings)
    return _Description(times, scale, tracer, has_attenuation)


def _from_dicom(raw: RawImage, unit: str | None) -> _Description:
    import pydicom

    slices = [pydicom.dcmread(file, stop_before_pixels=True, force=True) for file in raw.files]
    if raw.n_frames > 1 and str(slices[0].get("DecayCorrection", "")).upper() == "NONE":
        raise InputError(f"The frames of {raw.path} are not decay-corrected.", "Export corrected images.")
    times = None
    try:
        times = frame_times_from_dicom(slices[:: raw.size[2]])
    except ValueError as error:
        if raw.n_frames > 1:
            message = f"{raw.path} has {raw.n_frames} frames without times: {error}."
            raise InputError(message, "Give the averaged PET, or export the series with its times.") from None
    own_unit = None if unit is None else parse_unit(unit)
    if own_unit is not None and own_unit.unit != "Bq/mL":
        overruled = check_overruled(unit, str(slices[0].get("Units") or ""))
        scale = SuvScale(own_unit.factor, own_unit.unit, overruled)
    else:
        scale = scale_from_dicom(slices)
    corrections = str(slices[0].get("CorrectedImage") or "ATTN").upper()
    return _Description(times, scale, stated_tracer(tracer_of(slices[0])), "ATTN" not in corrections)


def check_unit(image: sitk.Image, unit: Unit) -> tuple[Finding, ...]:
    """Warn when the unit is unknown, or when the values contradict it."""
    values = sitk.GetArrayViewFromImage(image)
    head = values[sitk.GetArrayFromImage(sitk.OtsuThreshold(image, 0, 1)) > 0]
    median = float(np.median(head)) if head.size else 0.0
    low, high = _LOOKS_LIKE_SUV
    if median > _LOOKS_LIKE_BQ:
        looks = "Bq/mL"
    elif low <= median <= high:
        looks = "SUV or SUVR"
    else:
        looks = "neither SUV nor Bq/mL"
    if unit == "unknown":
        message = (
            f"The PET states no unit that this program knows. A median of {median:.4g} in the head looks "
            f"like {looks}."
        )
        return (
            Finding(
                "warn",
                UNIT_NOT_STATED,
                message,
                "State the unit (SUV, SUVR, Bq/mL or normalised); without it only patterns can be compared.",
            ),
        )
    contradiction = median <= high if unit == "Bq/mL" else median > _LOOKS_LIKE_BQ
    if contradiction:
        message = (
            f"The unit of the PET is said to be {unit}, but a median of {median:.4g} looks like {looks}."
        )
        return (Finding("warn", "unit-doubtful", message, "Check the unit."),)
    return ()


def of_frames(pet: PetImage) -> dict[str, Any]:
    """Of the metadata, what tells which minutes the image shows: window, frames, motion between them."""
    names = ("window_min", "window_from", "frames_used", "frames", "frame_min", "realignment")
    return {name: pet.metadata[name] for name in names if name in pet.metadata}


def check_uptake(pet: PetImage) -> None:
    """Refuse what is not uptake: a quantity of a kinetic model over a mean is no SUVR.

    :raises InputError: naming the unit.
    """
    if pet.unit in KINETIC_UNITS:
        raise InputError(
            f"The PET is in {pet.unit}, a quantity of a kinetic model: its ratio to a mean is no SUVR.",
            "Give the uptake (SUV, SUVR or Bq/mL). Images that are both in that unit can be compared "
            "(mri2pet evaluate).",
        )


def to_suvr(image: sitk.Image, reference_mask: sitk.Image) -> sitk.Image:
    """Divide a PET by its mean in a reference region on the same grid (float32).

    :raises InputError: for another grid, a region under 200 voxels or a mean that is not positive.
    """
    if not same_grid(image, reference_mask):
        raise InputError("The reference region is not on the grid of the PET.", "Resample the region to it.")
    inside = sitk.GetArrayViewFromImage(reference_mask) != 0
    n_voxels = int(inside.sum())
    if n_voxels < MIN_REFERENCE_VOXELS:
        raise InputError(
            f"The reference region has {n_voxels} voxels; at least {MIN_REFERENCE_VOXELS} are needed.",
            "Choose a larger region.",
        )
    mean = float(sitk.GetArrayViewFromImage(image)[inside].mean(dtype=np.float64))
    if not mean > 0:
        raise InputError(f"The mean of the PET in the reference region is {mean:g}.", "Check the overlay.")
    return sitk.Cast(image, sitk.sitkFloat32) * (1.0 / mean)


def to_unit(image: sitk.Image, mask: sitk.Image, unit: str) -> sitk.Image:
    """Scale a PET to ``SUVR`` (by its mean in the mask) or ``normalised`` (its minimum and maximum there)."""
    if unit == "SUVR":
        return to_suvr(image, mask)
    inside = sitk.GetArrayViewFromImage(image)[sitk.GetArrayViewFromImage(mask) > 0]
    low, high = float(inside.min()), float(inside.max())
    if not high > low:
        raise InputError("The PET has a single value in the brain mask.", "Check the overlay of PET and T1.")
    return sitk.Clamp((image - low) / (high - low), sitk.sitkFloat32, 0.0, 1.0)
