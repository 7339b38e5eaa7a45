"""The main job: a T1-weighted MRI goes in, a synthetic PET on its own grid comes out. A model of the other
direction takes a PET and gives an MRI.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import SimpleITK as sitk

from MRI2PETLib import __version__
from MRI2PETLib.core.errors import InputError, QualityError
from MRI2PETLib.core.findings import Finding, Verdict
from MRI2PETLib.core.installed import version_of
from MRI2PETLib.core.progress import ProgressCallback, no_progress, part_of
from MRI2PETLib.core.settings import keywords_of
from MRI2PETLib.images.grid import Grid, affine_matrix
from MRI2PETLib.images.io import LoadedImage, read_image, read_mask
from MRI2PETLib.images.spline import INTERPOLATION
from MRI2PETLib.images.values import value_moments
from MRI2PETLib.models import get_family
from MRI2PETLib.models.bundle import Bundle, ErrorSD
from MRI2PETLib.models.inference import LoadedModel, load_model, predict_encoded
from MRI2PETLib.models.model_space import Encoded, decode, encode, not_predicted
from MRI2PETLib.models.scale_end import at_scale_end
from MRI2PETLib.models.store import find_bundle
from MRI2PETLib.preprocessing.brain_mask import BrainExtraction, extract_brain
from MRI2PETLib.preprocessing.pet_template import brain_of_pet
from MRI2PETLib.synthesis.error_map import error_image
from MRI2PETLib.synthesis.settings import DEFAULT_MODEL, SynthesisSettings

if TYPE_CHECKING:
    import torch

_NEARLY = 0.995  # of the end of a scale: a sigmoid does not reach it
ENCODING = "into model space"  # a stage of the progress, see :func:`prepare`


@dataclass(frozen=True)
class SynthesisResult:
    """What a synthesis gives. All images lie on the grid of the T1.

    ``pet`` is float32 in ``unit``, 0 outside the brain; ``sd`` its voxelwise SD over samples, for models
    that draw some, and over the members of an ensemble where it was asked for; ``error_sd`` the SD of the
    error that the model states, see :mod:`.error_map`; ``unpredicted`` is 1 where the brain lies outside
    the model's field of view (``None``: nowhere).
    """

    pet: sitk.Image
    unit: str
    mask: sitk.Image
    sd: sitk.Image | None
    unpredicted: sitk.Image | None
    extraction: BrainExtraction
    verdict: Verdict
    provenance: dict[str, Any]
    error_sd: sitk.Image | None = None


@dataclass(frozen=True)
class PreparedImage:
    """An image ready for a network: its brain, itself in model space, and the seconds that each took;
    ``moments``: what tells it from other images (:func:`.values.value_moments`).
    """

    extraction: BrainExtraction
    encoded: Encoded
    seconds: dict[str, float]
    moments: dict[str, float] = field(default_factory=dict)


@keywords_of(SynthesisSettings)
def synthesize(
    t1: sitk.Image | Path | str,
    model: Bundle | Path | str = DEFAULT_MODEL,
    *,
    mask: sitk.Image | Path | str | None = None,
    extraction: BrainExtraction | None = None,
    progress: ProgressCallback = no_progress,
    **settings: object,
) -> SynthesisResult:
    """Synthesise a PET from a T1, or whatever else the model translates.

    >>> from MRI2PETLib import synthesize
    >>> from MRI2PETLib.simulation import simulate_subject
    >>> person = simulate_subject(3, spacing_mm=4.0)
    >>> result = synthesize(person.t1, mask=person.brain_mask, device="cpu")
    >>> result.unit, result.pet.GetSize() == person.t1.GetSize()
    ('SUVR', True)

    :param t1: T1-weighted volume of a head or a stripped brain, any grid (LPS mm), or its file or DICOM
        folder. For a model that starts from PET, the PET: then ``mask`` or ``extraction`` is needed, since
        brains are found on T1s.
    :param model: a model's id or folder, or the bundle itself.
    :param mask: brain mask on the grid of the input, or its file, to use instead of extracting one.
    :param extraction: brain of this T1 as it was found before, instead of finding it.
    :settings:
    :raises InputError: if a file cannot be read; for a setting that cannot be used; if the model starts from
        PET and no brain mask was given.
    :raises QualityError: if the T1 cannot be used (no brain, inverted contrast, too small a field of view).
    :raises BundleError: if there is no such model, or its weights are not sound.
    :raises DeviceError: if the device does not exist or the CPU's memory does not suffice either.
    """
    bundle = model if isinstance(model, Bundle) else find_bundle(model)
    own_settings = SynthesisSettings.of_keywords({"model": bundle.id, **settings})
    loaded = None
    if isinstance(t1, (Path, str)):
        loaded = read_source(t1, bundle)
        t1 = loaded.image
    forms = None if loaded is None else loaded.forms
    brain = read_mask(mask, forms) if isinstance(mask, (Path, str)) else mask
    prepared = prepare(
        t1,
        bundle,
        own_settings,
        mask=brain,
        extraction=extraction,
        progress=part_of(progress, 0, 0.65),
    )
    result = complete(
        prepared, lambda: open_model(bundle, own_settings), own_settings, part_of(progress, 0.65, 1)
    )
    return result if loaded is None else replace(result, verdict=loaded.verdict + result.verdict)


def read_source(path: Path | str, bundle: Bundle, series: str | None = None) -> LoadedImage:
    """Read what a model starts from: a T1 or a PET."""
    is_pet = bundle.space.source_modality == "PET"
    return read_image(path, kind="pet" if is_pet else "t1", series_uid=series)


def open_model(
    bundle: Bundle, settings: SynthesisSettings, networks: list[torch.nn.Module] | None = None
) -> LoadedModel:
    """Load a model for the device and the precision that were chosen.

    :param networks: of the bundle, where they were loaded before.
    """
    return load_model(bundle, device=settings.device, precision=settings.precision, networks=networks)


def prepare(
    t1: sitk.Image,
    bundle: Bundle,
    settings: SynthesisSettings,
    *,
    mask: sitk.Image | None = None,
    extraction: BrainExtraction | None = None,
    progress: ProgressCallback = no_progress,
) -> PreparedImage:
    """The first half of :func:`synthesize`, which needs no network."""
    seconds: dict[str, float] = {}
    progress(0, 1, "finding the brain")
    if bundle.space.source_modality == "PET" and extraction is None:
        if mask is None:
            raise InputError(
                f"{bundle.id} starts from PET, and brains are found on T1s only.",
                "Give the brain mask of the PET (--mask).",
            )
        with _timed(seconds, "brain"):
            extraction = brain_of_pet(t1, mask, progress=part_of(progress, 0, 0.9))
    if extraction is None:
        with _timed(seconds, "brain"):
            extraction = extract_brain(
                t1, mask=mask, extractor=settings.brain_extractor, progress=part_of(progress, 0, 0.9)
            )
    if extraction.verdict.level == "refuse":
        verdict = extraction.verdict
        raise QualityError(" ".join(verdict.reasons("refuse")), findings=verdict.findings)
    progress(0.9, 1, ENCODING)
    with _timed(seconds, "encode"):
        encoded = encode(t1, extraction.mask, extraction.axes, bundle.space)
    progress(1, 1, "ready for the network")
    return PreparedImage(extraction, encoded, seconds, value_moments(t1))


def complete(
    prepared: PreparedImage,
    load: Callable[[], LoadedModel],
    settings: SynthesisSettings,
    progress: ProgressCallback = no_progress,
) -> SynthesisResult:
    """The second half of :func:`synthesize`.

    :param load: gives the model that the image was prepared for.
    """
    extraction, encoded = prepared.extraction, prepared.encoded
    seconds = dict(prepared.seconds)
    progress(0, 1, "loading the model")
    with _timed(seconds, "model"):
        model = load()
    progress(0.1, 1, "network")
    with _timed(seconds, "network"):
        prediction = predict_encoded(
            model.bundle,
            model.networks,
            encoded,
            device=model.device,
            precision=model.precision,
            samples=settings.samples,
            steps=settings.steps,
            seed=settings.seed,
            progress=part_of(progress, 0.1, 0.85),
        )
    progress(0.85, 1, "back to the T1 grid")
    with _timed(seconds, "decode"):
        pet = decode(prediction.mean, encoded, extraction.mask)
        sd = _sd_to_write(prediction.sd, model.bundle, settings)
        unpredicted = not_predicted(encoded, extraction.mask)
        error = model.bundle.error_sd
        error_sd = None if error is None else error_image(error, extraction)
    findings = [*encoded.findings, *prediction.findings]
    if encoded.space.target_modality == "PET":
        predicted = prediction.mean[encoded.mask > 0] / _NEARLY
        findings += at_scale_end(predicted, encoded.space.largest_suvr, "The synthetic PET")
    if error is not None and error_sd is None:
        findings.append(_no_regions(error))
    if unpredicted is not None:
        findings.append(_field_of_view(unpredicted, extraction.mask))
    seconds["total"] = round(sum(seconds.values()), 3)
    progress(1, 1, "done")
    return SynthesisResult(
        pet=pet,
        unit=encoded.space.output_unit,
        mask=extraction.mask,
        sd=None if sd is None else decode(sd, encoded, extraction.mask),
        error_sd=error_sd,
        unpredicted=unpredicted,
        extraction=extraction,
        verdict=extraction.verdict + findings,
        provenance={
            **software_versions(),
            "model": model_provenance(model.bundle),
            "unit_meaning": encoded.space.unit_meaning,
            "reference_region": encoded.space.named_reference,
            "settings": settings.to_dict(),
            "device": prediction.device,
            "precision": prediction.precision,
            "seconds": seconds,
            "source_values": prepared.moments,
            "preprocessing": _preprocessing(extraction, encoded),
        },
    )


def _sd_to_write(sd: np.ndarray | None, bundle: Bundle, settings: SynthesisSettings) -> np.ndarray | None:
    """The SD of samples; of an ensemble of networks that draw none only where it was asked for."""
    return sd if settings.member_sd or get_family(bundle.family).STOCHASTIC else None


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    begin = time.perf_counter()
    yield
    seconds[stage] = round(time.perf_counter() - begin, 3)


def _field_of_view(unpredicted: sitk.Image, mask: sitk.Image) -> Finding:
    """What to say when part of the brain was not predicted."""
    missing, brain = (np.count_nonzero(sitk.GetArrayViewFromImage(i)) for i in (unpredicted, mask))
    share = 100.0 * missing / brain
    message = f"{share:.1f} % of the brain mask lies outside the model's field of view and was not predicted."
    return Finding("warn", "not-predicted", message)


def _no_regions(error: ErrorSD) -> Finding:
    message = f"The model states its error in the regions {error.parcellation!r}, which are not built in."
    return Finding("warn", "no-error-map", message, "It is left out.")


@cache
def software_versions() -> dict[str, Any]:
    """Versions of what makes the numbers."""
    packages = ("torch", "SimpleITK", "numpy", "scipy")
    versions = {name: version_of(name) or "not stated" for name in packages}
    return {
        "software": "SlicerMRI2PET",
        "version": __version__,
        "python": platform.python_version(),
        **versions,
    }


def model_provenance(bundle: Bundle) -> dict[str, Any]:
    """What identifies a model and says what it may be used for."""
    keys = ("id", "name", "version", "family", "intended_use", "training_data", "license")
    return {**{key: bundle.metadata[key] for key in keys}, "sha256": bundle.sha256}


def _preprocessing(extraction: BrainExtraction, encoded: Encoded) -> dict[str, Any]:
    """How the T1 came into model space; transforms and positions in LPS mm."""
    grid: Grid = encoded.grid
    fit = extraction.template_to_native
    return {
        "brain_mask": extraction.method,
        "measures": extraction.measures,
        "template_to_t1_lps": None if fit is None else affine_matrix(fit),
        "model_space": encoded.space.to_dict(),
        "model_grid": {
            "size": list(grid.size),
            "spacing_mm": list(grid.spacing_mm),
            "origin_lps": list(grid.origin),
            "direction_lps": list(grid.direction),
        },
        "interpolation_to_t1_grid": INTERPOLATION,
    }
