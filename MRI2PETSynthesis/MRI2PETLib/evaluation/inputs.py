"""Bring the images of one case onto one grid in one unit, or say why that cannot be done."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.files import read_object
from MRI2PETLib.core.findings import Finding, Verdict
from MRI2PETLib.core.progress import ProgressCallback, no_progress, part_of
from MRI2PETLib.evaluation.cubic import normalised_source
from MRI2PETLib.evaluation.direction import Direction
from MRI2PETLib.evaluation.measure import is_constant
from MRI2PETLib.evaluation.reference_region import (
    check_references,
    divide_by_region,
    named_reference,
    reference_mask,
    stated_reference,
)
from MRI2PETLib.evaluation.settings import CasePaths, EvaluationSettings
from MRI2PETLib.evaluation.units import rescale, shared_unit
from MRI2PETLib.images.dicom import is_synthetic_series
from MRI2PETLib.images.formats import EDITED_KEY, STATES_SD, sidecar_path
from MRI2PETLib.images.grid import Grid, affine_transform, size_text
from MRI2PETLib.images.io import LoadedImage, on_grid_of, read_image, read_mask, same_grid
from MRI2PETLib.images.orientation import NiftiForms
from MRI2PETLib.images.values import differ, value_moments
from MRI2PETLib.models.scale_end import real_at_scale_end
from MRI2PETLib.preprocessing.pet import PetImage, of_frames, read_pet
from MRI2PETLib.preprocessing.pet_alignment import AlignedPet, align_pet_to_t1
from MRI2PETLib.preprocessing.tracers import check_tracer
from MRI2PETLib.preprocessing.warp_file import person_warp

_NAME_OF_SD = re.compile(r"_desc-synthetic(Error)?SD_")


@dataclass(frozen=True)
class CaseImages:
    """One case on the grid of the synthetic image. ``mask``: what the PET measured of the brain;
    ``brain``: the whole brain, ``None`` where that is the same.

    ``real``: the real image of the ``direction``'s target, ``source``: of what the synthetic one was computed
    from. ``t1``: as what a PET is compared with; ``None`` where the target is the T1 itself.

    ``unit`` is that of both images, or ``None`` when only their patterns can be compared.
    ``warp`` leads from points of this case to MNI points by the affine and a non-linear part (with a T1).
    ``template_to_native`` maps MNI points to points of this case (LPS mm). ``model`` is what the synthetic
    PET's sidecar says about its model. ``to_synthetic_unit``: the real PET was scaled by values of its own to
    the unit of the synthetic one, so that their levels say nothing. ``pet_coverage``: share (0..1) of the
    brain that the real PET measured. ``forms``: both orientations of the synthetic PET's file.
    ``minutes``: after the injection, that the measured PET shows, where that is known.
    """

    synthetic: sitk.Image
    real: sitk.Image
    mask: sitk.Image
    t1: sitk.Image | None
    unit: str | None
    template_to_native: sitk.Transform | None
    verdict: Verdict
    model: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    to_synthetic_unit: bool = False
    forms: NiftiForms | None = None
    direction: Direction = Direction()
    source: sitk.Image | None = None
    warp: sitk.Transform | None = None
    brain: sitk.Image | None = None
    pet_coverage: float = 1.0
    minutes: tuple[float, float] | None = None

    @property
    def whole_brain(self) -> sitk.Image:
        return self.mask if self.brain is None else self.brain


def load_case(
    paths: CasePaths, settings: EvaluationSettings | None = None, *, progress: ProgressCallback = no_progress
) -> CaseImages:
    """Read, check and align one case.

    Without a T1 the real PET is aligned to the synthetic one, which has its edges and closer contrast. A
    synthetic MRI (its sidecar says so) is compared with the T1; the PET is then what it was computed from.

    :raises InputError: unreadable or constant images, different grids, different units, no overlap, no brain
        mask; a synthetic MRI without the T1.
    """
    settings = settings or EvaluationSettings()
    progress(0, 1, "reading")
    synthetic = read_pet(paths.synthetic, unit=settings.synthetic_unit)
    real = read_pet(
        paths.pet,
        unit=settings.pet_unit,
        window_min=settings.window,
        realign_frames=settings.realign_frames,
    )
    sidecar = _sidecar(paths.synthetic)
    _check_no_sd(paths.synthetic, sidecar)
    _check_measured(paths.pet, real.metadata)
    direction = Direction.of_sidecar(sidecar)
    unit = shared_unit(synthetic, real, paths, settings, to_pet=direction.to_pet)
    own_reference = named_reference(paths.synthetic)
    references = check_references(stated_reference(paths.synthetic), paths.pet, real.unit, settings)
    tracers = check_tracer(real.metadata["tracer"], direction.tracer, "the synthetic one")
    if direction.to_pet and not direction.tracer:
        direction = replace(direction, tracer=real.metadata["tracer"])
    grid = synthetic.image
    t1 = None if paths.t1 is None else _read_t1(paths.t1, paths.synthetic, grid, direction)
    verdict = synthetic.verdict + real.verdict + (t1.verdict if t1 else Verdict())
    verdict += _check_edited(paths.synthetic, sidecar)
    if t1 is not None and direction.to_pet:
        verdict += _check_source(paths, t1.image, sidecar)
    progress(0.1, 1, "finding the brain")
    mask, transform, findings = _brain(paths, grid, synthetic.forms, t1, sidecar)
    warp = None
    if direction.to_pet and t1 is not None and transform is not None:
        beside = warp_beside(paths.synthetic) if "Provenance" in sidecar else None
        warp = person_warp(t1.image, mask, transform, beside, progress=part_of(progress, 0.2, 0.5))
    progress(0.5, 1, "aligning the real PET")
    _check_values(grid, mask, paths.synthetic)
    placed = _align(real, grid if t1 is None else t1.image, mask, paths, settings.register)
    brain = sitk.Cast(mask != 0, sitk.sitkUInt8)
    aligned, mask = placed.image, sitk.And(brain, placed.measured)
    _check_values(aligned, mask, paths.pet)
    target, source = aligned, None if t1 is None else t1.image
    if not direction.to_pet:
        assert t1 is not None  # or it has been refused
        target, source = scaled_mri(t1.image, mask), aligned
    provenance = {
        "direction": f"{direction.source_name} to {direction.target_name}",
        "tracer": direction.tracer or "not stated",
        **_sources(paths, synthetic, real, t1, "real" if direction.to_pet else "source"),
        "alignment": placed.record(),
        "simulated": bool(sidecar.get("Simulated") or _sidecar(paths.pet).get("Simulated")),
    }
    verdict += findings + placed.verdict + tracers + references
    to_template = warp or (None if transform is None else transform.GetInverse())
    if settings.to_synthetic_unit and own_reference:
        region = reference_mask(own_reference, brain, to_template)
        (target,), provenance["rescaling"], more = divide_by_region([aligned], own_reference, region, mask)
        verdict += more
    elif settings.to_synthetic_unit:
        target, provenance["rescaling"], rescaled = rescale(aligned, mask, real.unit, synthetic.unit)
        verdict += rescaled
    if settings.to_synthetic_unit or real.unit == synthetic.unit:
        verdict += real_at_scale_end(sidecar, target, mask)
    synthetic_image = grid
    if settings.reference_region is not None:
        region = reference_mask(settings.reference_region, brain, to_template)
        (synthetic_image, target), provenance["reference_region"], more = divide_by_region(
            [grid, target], settings.reference_region, region, mask
        )
        verdict += more
    progress(1, 1, "aligned")
    return CaseImages(
        synthetic=synthetic_image,
        real=target,
        mask=mask,
        t1=t1.image if t1 is not None and direction.to_pet else None,
        unit=unit,
        template_to_native=transform,
        verdict=verdict,
        model=_model(sidecar),
        provenance=provenance,
        to_synthetic_unit=settings.to_synthetic_unit,
        forms=synthetic.forms,
        brain=brain,
        pet_coverage=placed.coverage,
        direction=direction,
        source=source,
        warp=warp,
        minutes=real.minutes,
    )


def _read_t1(path: Path, synthetic: Path, grid: sitk.Image, direction: Direction) -> LoadedImage:
    """The T1, which has to lie on the grid of the synthetic image."""
    t1 = read_image(path, kind="t1")
    if not same_grid(t1.image, grid):
        raise InputError(
            f"The T1 {path} ({size_text(t1.image)}) and the synthetic {direction.target_name} "
            f"{synthetic} ({size_text(grid)}) are not on one grid.",
            f"Give the T1 that the synthetic {direction.target_name} was made from."
            if direction.to_pet
            else "Resample the T1 to the grid of the synthetic MRI, on which it has to lie.",
        )
    return replace(t1, image=on_grid_of(t1.image, grid))


def _check_edited(synthetic: Path, sidecar: dict[str, Any]) -> tuple[Finding, ...]:
    """A warning if somebody changed the values after the synthesis, as far as the sidecar says it."""
    if not _provenance(sidecar, EDITED_KEY):
        return ()
    message = f"The values of {synthetic} were edited since the synthesis: these are not those of its model."
    return (Finding("warn", "edited-synthetic", message, "Synthesise it again."),)


def _check_source(paths: CasePaths, t1: sitk.Image, sidecar: dict[str, Any]) -> tuple[Finding, ...]:
    """A warning if the synthetic PET was computed from other values than those of the T1: people who were
    brought into one space share a grid. Checksums of files would tell a T1 from itself saved again.
    """
    if not differ(_provenance(sidecar, "source_values") or {}, value_moments(t1)):
        return ()
    source = sidecar.get("Source")
    name = source.get("path") if isinstance(source, dict) else _provenance(sidecar, "t1_node")
    message = f"The synthetic PET {paths.synthetic} was computed from another image than the T1 {paths.t1}"
    message += f": from {name}." if name else "."
    return (Finding("warn", "other-t1", message, "Check that both are of one person and scan."),)


def _sources(
    paths: CasePaths, synthetic: PetImage, real: PetImage, t1: LoadedImage | None, pet: str
) -> dict[str, Any]:
    """What was read.

    :param pet: what the measured PET is called.
    """
    return {
        "synthetic": {"path": str(paths.synthetic), "sha256": synthetic.sha256, "unit": synthetic.unit},
        pet: {"path": str(paths.pet), "sha256": real.sha256, **of_frames(real), "unit": real.unit},
        "t1": None if t1 is None else {"path": str(paths.t1), "sha256": t1.sha256},
    }


def warp_beside(synthetic: Path) -> Path:
    """Where the warp of the T1 of a synthetic PET is kept, see :func:`.warp_file.person_warp`."""
    return synthetic.with_name(f"{synthetic.name.removesuffix('.gz').removesuffix('.nii')}_warp.npz")


def scaled_mri(image: sitk.Image, mask: sitk.Image) -> sitk.Image:
    """An MRI as the network's target is scaled: percentiles 1 and 99 inside the mask to 0 and 1, clipped, 0
    outside. Both on one grid; float32.
    """
    inside = sitk.GetArrayViewFromImage(mask) != 0
    values = normalised_source(sitk.GetArrayViewFromImage(image), inside) * inside
    return Grid.of(image).image(values.astype(np.float32))


def _sidecar(path: Path) -> dict[str, Any]:
    beside = sidecar_path(path)
    return read_object(beside, nan=lambda name: None) if beside.exists() else {}


def _check_no_sd(path: Path, sidecar: dict[str, Any]) -> None:
    """Refuse a map of SDs, which lies beside the synthetic image and comes first by its name."""
    if STATES_SD.items() <= sidecar.items() or _NAME_OF_SD.search(path.name):
        raise InputError(
            f"{path} is a map of SDs, no synthetic image.", "Give the image beside it: desc-synthetic."
        )


def _check_measured(path: Path, metadata: dict[str, Any]) -> None:
    """Refuse a synthetic PET as the real one: that would compare a model with itself."""
    is_synthetic = bool(path.is_file() and _sidecar(path).get("Synthetic"))
    if is_synthetic or is_synthetic_series(metadata.get("series") or {}):
        raise InputError(f"{path} is a synthetic PET, as it says itself.", "Give a measured PET.")


def _provenance(sidecar: dict[str, Any], *keys: str) -> Any:
    """A value of the provenance that a synthesis writes into its sidecar, or ``None``."""
    value: Any = sidecar.get("Provenance")
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _model(sidecar: dict[str, Any]) -> dict[str, Any]:
    """What a synthesis writes about its model; empty where nobody did."""
    model = _provenance(sidecar, "model")
    return model if isinstance(model, dict) else {}


def _brain(
    paths: CasePaths,
    grid: sitk.Image,
    forms: NiftiForms | None,
    t1: LoadedImage | None,
    sidecar: dict[str, Any],
) -> tuple[sitk.Image, sitk.Transform | None, Verdict]:
    """Brain mask and the transform from MNI; recorded ones before new ones."""
    transform = _recorded_transform(sidecar)
    mask = None
    if paths.mask is not None:
        mask = read_mask(paths.mask, forms)
        if not same_grid(mask, grid):
            raise InputError(
                f"The mask {paths.mask} ({size_text(mask)}) is not on the grid of the synthetic PET "
                f"({size_text(grid)}).",
                "Resample it (nearest neighbour).",
            )
        mask = on_grid_of(mask, grid)
    elif transform is not None:
        # A synthesis leaves 0 outside the brain mask and where the model's field of view ends.
        mask = sitk.Cast(grid != 0, sitk.sitkUInt8)
    if mask is not None and (transform is not None or t1 is None):
        return mask, transform, Verdict()
    if t1 is None:
        raise InputError(
            f"There is no brain mask for {paths.synthetic}.",
            "Give the T1 (--t1) or a mask (--mask); a synthetic PET of this program brings its own in its "
            "sidecar.",
        )
    from MRI2PETLib.preprocessing.brain_mask import extract_brain

    extraction = extract_brain(t1.image, mask=mask)
    if extraction.verdict.level == "refuse":
        raise InputError(
            f"No brain was found in {paths.t1}: {' '.join(extraction.verdict.reasons('refuse'))}",
            "Check the T1, or give a brain mask (--mask).",
        )
    return extraction.mask, extraction.template_to_native, extraction.verdict


def _recorded_transform(sidecar: dict[str, Any]) -> sitk.Transform | None:
    matrix = _provenance(sidecar, "preprocessing", "template_to_t1_lps")
    if matrix is None:
        return None
    try:
        values = np.asarray(matrix, dtype=float)
    except (TypeError, ValueError):
        values = np.empty(0)
    if values.shape != (4, 4) or not np.isfinite(values).all() or abs(np.linalg.det(values[:3, :3])) < 1e-3:
        raise InputError(
            "The transform in the sidecar of the synthetic PET is not valid.", "Synthesise it again."
        )
    return affine_transform(values)


def _align(
    real: PetImage, reference: sitk.Image, mask: sitk.Image, paths: CasePaths, register: str
) -> AlignedPet:
    try:
        return align_pet_to_t1(real, reference, mask, register=register)
    except InputError as error:
        raise InputError(f"The real PET {paths.pet} cannot be used: {error.message}", error.hint) from error


def _check_values(image: sitk.Image, mask: sitk.Image, path: Path) -> None:
    values = sitk.GetArrayViewFromImage(image)[sitk.GetArrayViewFromImage(mask) != 0]
    if not values.size:
        raise InputError("The brain mask is empty.", "Check the mask.")
    if is_constant(values):
        message = f"{path} is constant inside the brain ({values.flat[0]:.4g})."
        raise InputError(message, "Check that it is the right image.")
    if not values.astype(np.float64).mean() > 0:
        raise InputError(f"The mean of {path} inside the brain is not above zero.", "Check the image.")
