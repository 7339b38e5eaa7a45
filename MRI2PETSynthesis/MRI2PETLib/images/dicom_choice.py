"""Which DICOM series of a folder is the T1 or the PET, by what its tags say."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.findings import Finding
from MRI2PETLib.images.dicom import DicomSeries, image_component, normal, number_or_zero
from MRI2PETLib.images.image_checks import MIN_EXTENT_MM, MIN_SLICES

_T1_WORDS = re.compile(
    r"(?<![a-z0-9])t1(?!\d)|mp-?rage|mp2rage|bravo|spgr|\btfl|\btfe|fl3d|flash|vibe|mdeft|3d[ _-]?tfe", re.I
)
_OTHER_WORDS = re.compile(
    r"t2|flair|dwi|dti|diff|adc|swi\b|swan|bold|fmri|\basl|pcasl|tof|angio|\bmra|field|fmap|phase|scout|local"
    r"|survey|aahead|\bmip\b|\bpd\b|perf|trace|inv-?[12]|t1[ _-]?map|\br1\b|mask|resting|epi\b",
    re.I,
)


@dataclass(frozen=True)
class ChosenSeries:
    """A series and what to tell about the choice."""

    series: DicomSeries
    findings: tuple[Finding, ...]


def choose_series(
    series: list[DicomSeries], folder: Path | str, *, kind: str, series_uid: str | None = None
) -> ChosenSeries:
    """Choose the T1 (``kind="t1"``) or the PET (``kind="pet"``) of a folder.

    A T1 is an MR volume that its description and its contrast (short TE; inversion recovery gradient echo,
    spoiled gradient echo, or short-TR spin echo) agree upon. Of equals, clearly smaller voxels win.

    :param series_uid: take the series with this SeriesInstanceUID, or :attr:`.DicomSeries.key`.
    :raises InputError: when none fits, or several fit equally well; the message lists them.
    """
    modality, name = ("PT", "PET") if kind == "pet" else ("MR", "T1")
    if series_uid is not None:
        candidates = [s for s in series if s.key == series_uid] or [s for s in series if s.uid == series_uid]
        if not candidates:
            raise InputError(f"{folder} has no series {series_uid}.", _list(series))
        if len(candidates) == 1:
            return ChosenSeries(candidates[0], ())
    else:
        candidates = [s for s in series if s.modality == modality]
    if not candidates:
        raise InputError(f"{folder} has no {name} series (modality {modality}).", _list(series))
    candidates = [s for s in candidates if _is_volume(s)] or candidates
    if len({s.patient for s in candidates}) > 1:
        raise InputError(f"{folder} holds images of several patients.", "Give one folder for each person.")
    scores = [_pet_score(s) if kind == "pet" else _t1_score(s) for s in candidates]
    best = max(scores)
    equals = [s for s, score in zip(candidates, scores) if score == best]
    if len(equals) > 1:
        equals.sort(key=lambda s: float(np.prod(s.spacing_mm)))
        if np.prod(equals[0].spacing_mm) > 0.8 * np.prod(equals[1].spacing_mm) or best < 1:
            how = "Choose one with --series" if kind == "t1" else "Give a folder that holds one of them"
            hint = f"{how}. {_list(equals)}"
            raise InputError(f"{folder} holds {len(equals)} series that could be the {name}.", hint)
    selection = equals[0]
    findings = []
    if best < 1:
        message = f"'{selection.description}' is the only volume in {folder}, but its tags do not say {name}."
        findings.append(Finding("warn", "series-not-recognised", message, f"Check that it is a {name}."))
    elif len(series) > 1:
        message = (
            f"Of {len(series)} series in {folder}, this one was taken as the {name}: {selection.label()}."
        )
        findings.append(Finding("ok", "series-chosen", message))
    return ChosenSeries(selection, tuple(findings))


def _is_volume(series: DicomSeries) -> bool:
    extent = np.array(series.size) * series.spacing_mm
    return min(series.size) >= MIN_SLICES and float(extent.min()) >= MIN_EXTENT_MM


def _t1_score(series: DicomSeries) -> float:
    """How much the tags look like a T1-weighted volume: from 1 it is recognised, higher is surer."""
    tags, text = series.tags, f"{series.description} {series.tags.get('ProtocolName', '')}"
    score = 2.0 * bool(_T1_WORDS.search(text)) - 3.0 * bool(_OTHER_WORDS.search(text))
    score += _t1_contrast(tags) + (tags.get("MRAcquisitionType") == "3D")
    image_type = [str(part).upper() for part in tags.get("ImageType") or []]
    score -= 5.0 * (image_component(tags) in ("P", "R", "I"))
    score -= 1.0 * ("DERIVED" in image_type) + 1.0 * bool(tags.get("ContrastBolusAgent"))
    # Siemens stores a series with and without correction for coil sensitivity; prefer the corrected.
    return score + 0.5 * ("NORM" in image_type)


def _t1_contrast(tags: dict[str, Any]) -> float:
    """+2 for T1 weighting, -2 for another one, 0 when the tags do not tell. Times in ms, angle in degrees."""
    te, tr, ti, flip = (
        number_or_zero(tags, name) for name in ("EchoTime", "RepetitionTime", "InversionTime", "FlipAngle")
    )
    sequence = {str(s) for s in np.atleast_1d(tags.get("ScanningSequence") or [])}
    if te > 25 or ti > 1500:
        return -2.0
    if not te or not tr:
        return 0.0
    inversion = 400 <= ti <= 1500 and te < 10
    spoiled = "GR" in sequence and tr < 60 and te < 10 and flip >= 5
    spin_echo = "SE" in sequence and tr < 1000
    return 2.0 if inversion or spoiled or spin_echo else 0.0


def _pet_score(series: DicomSeries) -> float:
    """1 for a PET, more when it is corrected for attenuation (the uncorrected copy is often beside it)."""
    corrections = {str(c) for c in np.atleast_1d(series.tags.get("CorrectedImage") or [])}
    return 1.0 + ("ATTN" in corrections)


def _list(series: Iterable[DicomSeries]) -> str:
    """All series in one line, each with what tells it apart from the others."""
    series = list(series)
    details = [_details(s) for s in series]
    differ = [name for name in details[0] if len({d[name] for d in details}) > 1] if details else []
    labels = []
    for one, own in zip(series, details):
        more = ", ".join(f"{name} {own[name]}" for name in differ if own[name])
        labels.append(f"{one.label()} ({more})" if more else one.label())
    return "Series: " + "; ".join(labels)


def _details(series: DicomSeries) -> dict[str, str]:
    tags = series.tags
    time = str(tags.get("AcquisitionTime") or "")
    return {
        "image type": " ".join(str(part) for part in np.atleast_1d(tags.get("ImageType") or [])),
        "acquisition": str(tags.get("AcquisitionNumber") or ""),
        "acquired": f"{time[:2]}:{time[2:4]}:{time[4:6]}" if time[:6].isdigit() else time,
        "slices along": " ".join(f"{v:.2f}" for v in normal(tags)),
    }
