"""Ways to lay a PET on the atlas: by the person's MRI, by an MRI synthesised from the PET, by a PET template,
by the PET's own tissues.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import SimpleITK as sitk

from MRI2PETLib.core.errors import BundleError, QualityError
from MRI2PETLib.core.findings import Verdict
from MRI2PETLib.core.progress import ProgressCallback, no_progress, part_of
from MRI2PETLib.images.axes import head_axes
from MRI2PETLib.images.grid import Grid, resample
from MRI2PETLib.models.bundle import Bundle
from MRI2PETLib.preprocessing.bias_field import log_bias_field, remove_bias, shrink_to
from MRI2PETLib.preprocessing.brain_mask import WORKING_SPACING_MM, BrainExtraction, extract_brain
from MRI2PETLib.preprocessing.pet_alignment import align_pet_to_t1
from MRI2PETLib.preprocessing.pet_segmentation import segment_pet, template_tissues
from MRI2PETLib.preprocessing.pet_template import BestFit, PetTemplateFit
from MRI2PETLib.preprocessing.template_warp import warp_to_template

if TYPE_CHECKING:
    from MRI2PETLib.preprocessing.pet import PetImage

REAL_MR, SYNTHETIC_MR, PET_TEMPLATE = "real MR", "synthetic MR", "PET template"
PET_SEGMENTATION = "PET segmentation"
METHODS = (REAL_MR, SYNTHETIC_MR, PET_TEMPLATE, PET_SEGMENTATION)


@dataclass(frozen=True)
class SpatialNormalisation:
    """How one method lays a PET on MNI space (LPS mm).

    :ivar pet_to_template: maps PET points to template points: pulls the atlas to the PET.
    :ivar template_to_pet: its affine part the other way round.
    :ivar pet_coverage: share (0..1) of the brain that the PET measured.
    :ivar mr: the MRI that was used, on the grid of the PET; ``None`` for the PET template.
    :ivar record: measures and transforms, for the sidecar.
    """

    method: str
    pet_to_template: sitk.Transform
    template_to_pet: sitk.Transform
    mr: sitk.Image | None
    verdict: Verdict
    pet_coverage: float
    record: dict[str, Any] = field(default_factory=dict)


def by_real_mr(
    pet: PetImage,
    t1: sitk.Image,
    *,
    mask: sitk.Image | None = None,
    register: str = "auto",
    progress: ProgressCallback = no_progress,
) -> SpatialNormalisation:
    """Brain of the T1, PET to T1, T1 to the template, nonlinear.

    :param register: see :mod:`MRI2PETLib.preprocessing.pet_alignment`.
    :raises QualityError: if the T1 cannot be used.
    :raises InputError: if PET and T1 do not belong together.
    """
    brain = extract_brain(t1, mask=mask, progress=part_of(progress, 0, 0.4))
    template_to_t1 = _fit_of(brain)
    aligned = align_pet_to_t1(pet, t1, brain.mask, register=register, progress=part_of(progress, 0.4, 0.6))
    t1_to_pet = aligned.t1_to_pet
    t1_to_template = _warp_mr(t1, brain, part_of(progress, 0.6, 1))
    return SpatialNormalisation(
        method=REAL_MR,
        pet_to_template=_chain(t1_to_template, t1_to_pet.GetInverse()),
        template_to_pet=_chain(t1_to_pet, template_to_t1),
        mr=sitk.Resample(t1, pet.image, t1_to_pet.GetInverse(), sitk.sitkLinear, 0.0, sitk.sitkFloat32),
        verdict=brain.verdict + aligned.verdict,
        pet_coverage=aligned.coverage,
        record={"pet_to_t1": aligned.record(), "brain": brain.measures},
    )


def by_synthetic_mr(
    pet: PetImage,
    fit: PetTemplateFit,
    bundle: Bundle,
    *,
    device: str = "auto",
    seed: int = 0,
    progress: ProgressCallback = no_progress,
) -> SpatialNormalisation:
    """An MRI synthesised from the PET, spatially normalised to the T1 template.

    The model sees the PET inside the brain mask of ``fit``, along the axes of the head that ``fit`` found.

    :param bundle: PET -> MR; see :func:`check_pet_to_mr`.
    :raises BundleError: if the model does not make a T1 from a PET.
    :raises QualityError: if the synthetic MRI does not resemble a T1 of a brain.
    """
    from MRI2PETLib.models.model_space import decode, encode
    from MRI2PETLib.synthesis.pipeline import model_provenance, predict_encoded

    check_pet_to_mr(bundle)
    encoded = encode(pet.image, fit.mask, head_axes(fit.template_to_pet), bundle.space)
    prediction = predict_encoded(
        bundle, bundle.networks(), encoded, device=device, seed=seed, progress=part_of(progress, 0, 0.3)
    )
    mr = decode(prediction.mean, encoded, fit.mask)
    brain = extract_brain(mr, mask=fit.mask, progress=part_of(progress, 0.3, 0.6))
    template_to_pet = _fit_of(brain)
    warp = warp_to_template(mr, fit.mask, template_to_pet, progress=part_of(progress, 0.6, 1))
    return SpatialNormalisation(
        method=SYNTHETIC_MR,
        pet_to_template=warp,
        template_to_pet=template_to_pet,
        mr=mr,
        verdict=brain.verdict + [*encoded.findings, *prediction.findings],
        pet_coverage=fit.coverage,
        record={"model": model_provenance(bundle), "device": prediction.device, "brain": brain.measures},
    )


def by_pet_template(
    pet: PetImage,
    best: BestFit,
    templates: Mapping[str, sitk.Image],
    *,
    progress: ProgressCallback = no_progress,
) -> SpatialNormalisation:
    """The PET itself spatially normalised to the PET template that it fits best, affine and nonlinear.

    Where uptake differs from the template's the nonlinear part follows the uptake instead of the anatomy:
    that is the bias that Choi & Lee 2018 report.
    """
    # The wide mask: a PET that is cut at its own edge fits worse (composite of simulated TSPO PETs .021 from
    # the real MRI's instead of .004).
    fit = best.fit
    warp = warp_to_template(
        pet.image,
        fit.around,
        fit.template_to_pet,
        fixed=templates[best.name],
        measured=pet.measured,
        progress=progress,
    )
    return SpatialNormalisation(
        method=PET_TEMPLATE,
        pet_to_template=warp,
        template_to_pet=fit.template_to_pet,
        mr=None,
        verdict=fit.verdict,
        pet_coverage=fit.coverage,
        record={"pet_template": best.name, "correlations_with_templates": best.correlations},
    )


def by_pet_segmentation(
    pet: PetImage, best: BestFit, *, progress: ProgressCallback = no_progress
) -> SpatialNormalisation:
    """The tissues of the PET, segmented by its own values, spatially normalised to the template's tissues.

    Choi & Lee 2018 compare with it; they let SPM8 segment the PET.
    """
    fit = best.fit
    tissues = segment_pet(pet.image, fit.mask, fit.template_to_pet, pet.measured)
    there = None
    if pet.measured is not None:
        grid, nearest = Grid.of(tissues.contrast), sitk.sitkNearestNeighbor
        there = resample(pet.measured, grid, fit.template_to_pet, interpolator=nearest)
    warp = warp_to_template(
        tissues.contrast,
        None,
        sitk.AffineTransform(3),  # the tissues lie where the affine fit has laid them
        fixed=template_tissues(),
        measured=there,
        progress=progress,
    )
    return SpatialNormalisation(
        method=PET_SEGMENTATION,
        pet_to_template=_chain(warp, fit.template_to_pet.GetInverse()),
        template_to_pet=fit.template_to_pet,
        mr=None,
        verdict=Verdict(()),  # of the fit to the template: the method PET template says it
        pet_coverage=fit.coverage,
        record={"pet_template": best.name, "tissue_means": tissues.means},
    )


def check_pet_to_mr(bundle: Bundle) -> None:
    """Refuse a model that does not make an MRI from a PET, with a
    :class:`~MRI2PETLib.core.errors.BundleError`.
    """
    source, target = bundle.space.source_modality, bundle.space.target_modality
    if (source, target) != ("PET", "MR"):
        raise BundleError(
            f"The model {bundle.id} makes {target} from {source}; an MRI from a PET is needed.",
            "Train one: mri2pet train DATASET --preset choilee2018.",
        )


def _fit_of(brain: BrainExtraction) -> sitk.Transform:
    if brain.verdict.level == "refuse" or brain.template_to_native is None:
        reasons = brain.verdict.reasons("refuse") or ["The MRI could not be aligned with the template."]
        raise QualityError(" ".join(reasons), "Look at the MRI.")
    return brain.template_to_native


def _warp_mr(t1: sitk.Image, brain: BrainExtraction, progress: ProgressCallback) -> sitk.Transform:
    """T1 points to template points; the bias field is removed first."""
    coarse = shrink_to(sitk.Cast(t1, sitk.sitkFloat32), WORKING_SPACING_MM)
    mask = sitk.Resample(
        brain.mask, coarse, sitk.Transform(3, sitk.sitkIdentity), sitk.sitkNearestNeighbor, 0, sitk.sitkUInt8
    )
    even = remove_bias(coarse, log_bias_field(coarse, mask))
    return warp_to_template(even, mask, _fit_of(brain), progress=progress)


def _chain(last: sitk.Transform, first: sitk.Transform) -> sitk.Transform:
    """``last(first(point))``."""
    chain = sitk.CompositeTransform(3)
    chain.AddTransform(last)
    chain.AddTransform(first)
    return chain
