"""The main job: a T1-weighted MRI goes in, a synthetic PET on its own grid comes out. A model of the other
direction takes a PET and gives an MRI.
"""

from __future__ import annotations

import logging
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import SimpleITK as sitk

from MRI2PETLib import __version__
from MRI2PETLib.bundle import Bundle
from MRI2PETLib.errors import DeviceError, InputError, QualityError
from MRI2PETLib.grids import Grid
from MRI2PETLib.model_space import Encoded, decode, encode, not_predicted
from MRI2PETLib.preprocessing.brain_mask import BrainExtraction, extract_brain
from MRI2PETLib.progress import ProgressCallback, no_progress, part_of
from MRI2PETLib.verdict import Finding, Verdict

if TYPE_CHECKING:
    import torch

PRECISIONS = ("fp32", "bf16")
_log = logging.getLogger(__name__)
_T = TypeVar("_T")


@dataclass(frozen=True)
class SynthesisResult:
    """What a synthesis gives. All images lie on the grid of the T1.

    ``pet`` is float32 in ``unit``, 0 outside the brain; ``sd`` its voxelwise SD over samples, for models
    that draw some, and over the members of an ensemble; ``unpredicted`` is 1 where the brain lies outside
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


def synthesize(
    t1: sitk.Image,
    bundle: Bundle,
    *,
    mask: sitk.Image | None = None,
    extraction: BrainExtraction | None = None,
    brain_extractor: str = "template",
    device: str = "auto",
    precision: str = "fp32",
    samples: int = 1,
    steps: int = 0,
    seed: int = 0,
    progress: ProgressCallback = no_progress,
) -> SynthesisResult:
    """Synthesise a PET from a T1, or whatever else the model translates.

    :param t1: T1-weighted volume of a head or a stripped brain, any grid (LPS mm). For a model that starts
        from PET, the PET: then ``mask`` or ``extraction`` is needed, since brains are found on T1s.
    :param bundle: the model, see :func:`MRI2PETLib.model_store.find_bundle`.
    :param mask: brain mask on the grid of the input, to use instead of extracting one.
    :param extraction: brain of this T1 as it was found before, instead of finding it.
    :param brain_extractor: ``template`` or an installed backend.
    :param device: ``auto``, ``cpu``, ``cuda[:N]`` or ``mps``; out of memory falls back to the CPU.
    :param precision: ``fp32``, or ``bf16`` (about three decimals; fast where the processor has it).
    :param samples: number of samples of a stochastic family; a deterministic one runs once.
    :param steps: sampling steps of a diffusion family, 0 for the model's own.
    :raises QualityError: if the T1 cannot be used (no brain, inverted contrast, too small a field of view).
    :raises InputError: if the model starts from PET and no brain mask was given.
    :raises BundleError: if the weights are not sound.
    :raises DeviceError: if the device does not exist or the CPU's memory does not suffice either.
    """
    seconds: dict[str, float] = {}
    started = time.perf_counter()

    def timed(stage: str, function: Callable[[], _T]) -> _T:
        begin = time.perf_counter()
        result = function()
        seconds[stage] = round(time.perf_counter() - begin, 3)
        return result

    progress(0, 1, "finding the brain")
    if bundle.space.source_modality == "PET" and extraction is None:
        if mask is None:
            raise InputError(
                f"{bundle.id} starts from PET, and brains are found on T1s only.",
                "Give the brain mask of the PET (--mask).",
            )
        extraction = BrainExtraction(mask, None, "given", Verdict(), {})
    if extraction is None:
        extraction = timed(
            "brain",
            lambda: extract_brain(t1, mask=mask, backend=brain_extractor, progress=part_of(progress, 0, 0.6)),
        )
    if extraction.verdict.level == "refuse":
        raise QualityError(" ".join(extraction.verdict.reasons("refuse")))
    progress(0.6, 1, "loading the model")
    networks = timed("model", bundle.networks)
    progress(0.65, 1, "into model space")
    encoded = timed("encode", lambda: encode(t1, extraction.mask, bundle.space))
    progress(0.7, 1, "network")
    (mean, sd, ran_on), fallback = timed(
        "network",
        lambda: predict_encoded(
            bundle,
            networks,
            encoded,
            device=device,
            precision=precision,
            samples=samples,
            steps=steps,
            seed=seed,
            progress=part_of(progress, 0.7, 0.95),
        ),
    )
    progress(0.95, 1, "back to the T1 grid")
    pet = timed("decode", lambda: decode(mean, encoded, extraction.mask))
    unpredicted = not_predicted(encoded, extraction.mask)
    missing = int(np.count_nonzero(sitk.GetArrayViewFromImage(unpredicted)))
    findings = list(encoded.findings) + fallback
    if missing:
        findings.append(_field_of_view(missing, extraction.mask))
    verdict = extraction.verdict + findings
    seconds["total"] = round(time.perf_counter() - started, 3)
    progress(1, 1, "done")
    return SynthesisResult(
        pet=pet,
        unit=bundle.space.output_unit,
        mask=extraction.mask,
        sd=None if sd is None else decode(sd, encoded, extraction.mask),
        unpredicted=unpredicted if missing else None,
        extraction=extraction,
        verdict=verdict,
        provenance={
            **software_versions(),
            "model": model_provenance(bundle),
            "device": ran_on,
            "precision": precision,
            "samples": samples,
            "steps": steps,
            "seed": seed,
            "seconds": seconds,
            "preprocessing": _preprocessing(extraction, encoded),
        },
    )


def predict_encoded(
    bundle: Bundle,
    networks: Sequence[torch.nn.Module],
    encoded: Encoded,
    *,
    device: str,
    precision: str = "fp32",
    samples: int = 1,
    steps: int = 0,
    seed: int = 0,
    progress: ProgressCallback = no_progress,
) -> tuple[tuple[np.ndarray, np.ndarray | None, str], list[Finding]]:
    """Run the family's prediction on the device, or on the CPU when its memory does not suffice.

    :param networks: of the bundle; several are an ensemble.
    :returns: mean and SD [k, j, i] in model space, the device's name; and what was noticed.
    """
    import torch

    from MRI2PETLib.devices import describe_device, is_out_of_memory, pick_device
    from MRI2PETLib.models import get_family

    chosen = pick_device(device)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    source = torch.from_numpy(encoded.source)[None, None]

    def run(on: torch.device) -> tuple[np.ndarray, np.ndarray | None, str]:
        found = []
        for number, network in enumerate(networks):
            mean, sd = get_family(bundle.family).predict(
                network.to(on, dtype),
                source.to(on, dtype),
                samples=samples,
                steps=steps,
                seed=seed,
                progress=part_of(progress, number / len(networks), (number + 1) / len(networks)),
            )
            found.append([None if t is None else t[0, 0].float().cpu().numpy() for t in (mean, sd)])
        mean_of_all, sd_of_all = _combine([m for m, _ in found], [s for _, s in found])
        if not np.isfinite(mean_of_all).all():
            raise DeviceError(f"The network returned non-finite values on {on}.", "Use --precision fp32.")
        return mean_of_all, sd_of_all, describe_device(on)

    try:
        return run(chosen), []
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        if chosen.type == "cpu":
            raise DeviceError("Not enough memory for the network.", "Close other programs.") from error
    # Left the except block first: the exception's traceback would keep the device's tensors alive.
    message = f"{describe_device(chosen)} ran out of memory: the network ran on the CPU instead."
    _log.warning(message)
    if chosen.type == "cuda":
        torch.cuda.empty_cache()
    return run(torch.device("cpu")), [Finding("warn", "out-of-memory", message)]


def _combine(
    means: Sequence[np.ndarray | None], sds: Sequence[np.ndarray | None]
) -> tuple[np.ndarray, np.ndarray | None]:
    """Mean and SD over the networks of an ensemble: variance between them (n - 1) and, on average, within."""
    mean_of = np.stack([m for m in means if m is not None])
    within = [s for s in sds if s is not None]
    if len(mean_of) == 1:
        return mean_of[0], within[0] if within else None
    variance = mean_of.var(axis=0, ddof=1)
    if within:
        variance = variance + np.square(within).mean(axis=0)
    return mean_of.mean(axis=0), np.sqrt(variance)


def _field_of_view(missing: int, mask: sitk.Image) -> Finding:
    """What to say when part of the brain was not predicted."""
    share = 100.0 * missing / int(np.count_nonzero(sitk.GetArrayViewFromImage(mask)))
    message = f"{share:.1f} % of the brain mask lies outside the model's field of view and was not predicted."
    return Finding("warn", "not-predicted", message)


def software_versions() -> dict[str, Any]:
    """Versions of what makes the numbers."""
    packages = ("torch", "SimpleITK", "numpy", "scipy")
    versions = {name: metadata.version(name) for name in packages}
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
    return {
        "brain_mask": extraction.method,
        "measures": extraction.measures,
        "template_to_t1_lps": affine_matrix(extraction.template_to_native),
        "model_space": encoded.space.to_dict(),
        "model_grid": {
            "size": list(grid.size),
            "spacing_mm": list(grid.spacing_mm),
            "origin_lps": list(grid.origin),
            "direction_lps": list(grid.direction),
        },
    }


def affine_matrix(transform: sitk.Transform | None) -> list[list[float]] | None:
    """The 4 x 4 matrix (LPS mm) of a linear transform, or ``None`` for none."""
    if transform is None:
        return None
    offset = np.array(transform.TransformPoint((0.0, 0.0, 0.0)))
    columns = [np.array(transform.TransformPoint(p)) - offset for p in np.eye(3).tolist()]
    return [[*(c[row] for c in columns), offset[row]] for row in range(3)] + [[0.0, 0.0, 0.0, 1.0]]
