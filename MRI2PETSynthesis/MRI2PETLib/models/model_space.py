"""What a model expects of an image: grid, orientation, normalisation; and the way back to the native grid.

The default grid is 96 x 96 x 96 voxels of 2 mm that follow the head: along the axes of the template as its
fit lies in the head, centred on the brain mask. A header that turns the head changes nothing for the network.
The preset ``reference`` crops and scales as the published code of Ferrante et al. 2025 does: the centre of
the volume, percentiles over the whole crop with its background, no clipping, PET scaled by its own minimum
and maximum.

A model's direction is in its normalisations: each belongs to one modality, and source and target are one MR
and one PET.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from MRI2PETLib.core.errors import BundleError, InputError, QualityError
from MRI2PETLib.core.findings import Finding
from MRI2PETLib.images.axes import Axes
from MRI2PETLib.images.grid import Grid, antialias, crop_to, extent_along, resample
from MRI2PETLib.images.spline import bounded_spline
from MRI2PETLib.models.scale_end import at_scale_end

_MARGIN_MM = 8.0  # brain and field of view: 4 mm on each side
_WIDEST = 1.15  # of the training spacing: 2.3 mm for 2 mm
# Less is not worth a warning. Of a real head and its simulated PET, r of the demonstration model is .778 at
# 3 mm, .777 at 2 % more, .774 at 5 % and .765 at 12 %.
_UNREMARKABLE = 1.05
_LARGEST_GRID = 256**3  # voxels: a network of this kind takes some 20 GB for it
_ROUNDING = 1e-5  # of an image that was resampled: differences below are none
_BORDER_VOXELS = 2  # around the brain: beyond it nothing but zeros takes part in the blur
IntensityScaling = Literal[
    "mask-p1-p99", "crop-p1-p99", "suvr-half", "suvr-cerebellum", "suvr-occipital", "minmax"
]


@dataclass(frozen=True)
class ModelSpace:
    """The contract between an image and a network, as a bundle's metadata states it.

    :param size: voxels along R, A, S.
    :param spacing_mm: spacing of the grid: one number, or three along R, A, S.
    :param placement: ``head`` (axes of the head, centred on the brain mask's bounding box along them) or
        ``volume`` (axes and middle voxel of the volume, as published).
    :param source: normalisation of what goes in, and
    :param target: of what comes out. Of an MR, ``mask-p1-p99``: percentiles 1 and 99 inside the mask go to 0
        and 1, clipped; ``crop-p1-p99``: percentiles over the whole crop, not clipped (published). Of a PET,
        ``suvr-half``: PET / mean in the mask x 0.5, clamped to [0, 1]; ``suvr-cerebellum``,
        ``suvr-occipital`` (of a target only): PET / mean in that region x 0.25, clamped: regions of high
        uptake reach far above 1; ``minmax``: (PET - min) / (max - min) over the masked crop (published; loses
        the scale).
    """

    size: tuple[int, int, int] = (96, 96, 96)
    spacing_mm: float | tuple[float, float, float] = 2.0
    placement: Literal["head", "volume"] = "head"
    source: IntensityScaling = "mask-p1-p99"
    target: IntensityScaling = "suvr-half"

    def __post_init__(self) -> None:
        size_ok = len(self.size) == 3 and all(type(n) is int and 16 <= n <= 512 for n in self.size)
        spacing = self.spacings_mm
        spacing_ok = len(spacing) == 3 and all(type(s) in (int, float) and 0.5 <= s <= 8.0 for s in spacing)
        if not size_ok or not spacing_ok or math.prod(self.size) > _LARGEST_GRID:
            raise BundleError(f"No model can use a grid of {self.size} voxels of {self.spacing_mm} mm.")
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise BundleError(
                    f"{name} cannot be {getattr(self, name)!r}.", f"Allowed: {', '.join(allowed)}."
                )
        if self.source_modality == self.target_modality:
            raise BundleError(
                f"Source ({self.source}) and target ({self.target}) are both {self.source_modality}.",
                "One is normalised as an MR, the other as a PET.",
            )

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> ModelSpace:
        """Read the ``model_space`` object of a bundle's metadata.

        :raises BundleError: for a missing or unknown key or a value out of range.
        """
        expected = set(cls.__dataclass_fields__)
        if set(content) != expected:
            raise BundleError(f"model_space needs exactly {sorted(expected)}, not {sorted(content)}.")
        if not isinstance(content["size"], list):
            raise BundleError(f"The size of a model's grid is a list of three, not {content['size']!r:.80}.")
        spacing = content["spacing_mm"]
        spacing = tuple(spacing) if isinstance(spacing, list) else spacing
        return cls(**{**content, "size": tuple(content["size"]), "spacing_mm": spacing})

    def to_dict(self) -> dict[str, Any]:
        spacing = list(self.spacing_mm) if isinstance(self.spacing_mm, tuple) else self.spacing_mm
        return {**asdict(self), "size": list(self.size), "spacing_mm": spacing}

    @property
    def spacings_mm(self) -> tuple[float, float, float]:
        """Spacing along R, A, S."""
        return self.spacing_mm if isinstance(self.spacing_mm, tuple) else (self.spacing_mm,) * 3

    @property
    def grid_text(self) -> str:
        """Size and spacing for a table or a sentence."""
        spacing = self.spacing_mm if isinstance(self.spacing_mm, tuple) else (self.spacing_mm,)
        return f"{' x '.join(map(str, self.size))} voxels of {' x '.join(f'{s:g}' for s in spacing)} mm"

    @property
    def source_modality(self) -> str:
        """``MR`` or ``PET``: what goes in."""
        return _MODALITIES[self.source]

    @property
    def target_modality(self) -> str:
        """``MR`` or ``PET``: what comes out."""
        return _MODALITIES[self.target]

    @property
    def output_unit(self) -> str:
        """Unit of a decoded prediction: ``SUVR`` by :attr:`reference_region`, or ``normalised``."""
        return "SUVR" if self.target in _FACTORS else "normalised"

    @property
    def reference_region(self) -> str:
        """Of the SUVR of a target: ``brain mask``, or a named region; empty without one."""
        return _NAMED_REGIONS.get(self.target, BRAIN_MASK) if self.target in _FACTORS else ""

    @property
    def named_reference(self) -> str:
        """The reference region where it is another than the brain mask: it has to be found by the T1."""
        return _NAMED_REGIONS.get(self.target, "")

    @property
    def target_factor(self) -> float:
        """The target of a PET over its unit."""
        return _FACTORS.get(self.target, 1.0)

    @property
    def largest_suvr(self) -> float | None:
        """Where the scale of the PET, source or target, ends; ``None``: at the PET's own maximum."""
        factor = _FACTORS.get(self.target if self.target_modality == "PET" else self.source)
        return None if factor is None else 1 / factor

    @property
    def unit_meaning(self) -> str:
        """What :attr:`output_unit` means, in words."""
        if self.output_unit == "SUVR":
            return f"ratio to the mean in the {self.reference_region}"
        return "0 to 1, the original scale is lost"

    def by_region(self, name: str) -> ModelSpace:
        """The same with a target that is SUVR by a region of :data:`.regions.REFERENCE_REGIONS`.

        :raises InputError: if the target is no SUVR.
        """
        if self.output_unit != "SUVR":
            raise InputError(
                f"A reference region is of SUVR; this model's target is {self.target}.",
                "Leave out --reference-region, or take a preset whose target is SUVR.",
            )
        targets: dict[str, IntensityScaling] = {
            "cerebellum": "suvr-cerebellum",
            "occipital": "suvr-occipital",
        }
        return replace(self, target=targets.get(name, "suvr-half"))


BRAIN_MASK = "brain mask"
_MODALITIES = {
    "mask-p1-p99": "MR",
    "crop-p1-p99": "MR",
    "suvr-half": "PET",
    "suvr-cerebellum": "PET",
    "suvr-occipital": "PET",
    "minmax": "PET",
}
_NAMED_REGIONS = {"suvr-cerebellum": "cerebellum", "suvr-occipital": "occipital"}
_FACTORS = {"suvr-half": 0.5, **dict.fromkeys(_NAMED_REGIONS, 0.25)}
_CHOICES = {
    "placement": ("head", "volume"),
    "source": tuple(name for name in _MODALITIES if name not in _NAMED_REGIONS),
    "target": tuple(_MODALITIES),
}
SPACES = {
    "default": ModelSpace(),
    "reference": ModelSpace(placement="volume", source="crop-p1-p99", target="minmax"),
}


@dataclass(frozen=True)
class Encoded:
    """A source image in model space: ``source`` and ``mask`` are float32 arrays [k, j, i] on ``grid``."""

    space: ModelSpace
    grid: Grid
    source: np.ndarray
    mask: np.ndarray
    findings: tuple[Finding, ...]


def model_grid(mask: sitk.Image, axes: Axes, space: ModelSpace) -> tuple[Grid, tuple[Finding, ...]]:
    """Place the model's grid over a brain.

    A brain that does not fit widens the spacing by up to 15 % (2.3 mm for a 2 mm model), with a warning where
    that is more than 5 %.

    :param mask: brain mask on the native T1 grid.
    :param axes: right, anterior and superior of the head, see
        :func:`MRI2PETLib.images.axes.head_axes`.
    :raises QualityError: if the brain does not fit even so.
    """
    if space.placement == "volume":
        return _volume_grid(mask, space), ()
    low, high = extent_along(mask, axes)
    spacing_mm = np.array(space.spacings_mm, dtype=float)
    field_mm = np.array(space.size) * spacing_mm
    stretch = float(np.max((high - low + _MARGIN_MM) / field_mm))
    extent = " x ".join(f"{mm:.0f}" for mm in high - low)
    findings: tuple[Finding, ...] = ()
    if stretch > _WIDEST:
        field = " x ".join(dict.fromkeys(f"{mm:.0f}" for mm in field_mm))
        raise QualityError(
            f"The brain mask measures {extent} mm (R-L, A-P, S-I) and does not fit the model's "
            f"{field} mm field of view.",
            "Check the voxel size in the header and look at the brain mask.",
        )
    spacing_mm = spacing_mm * max(stretch, 1.0)
    if stretch > _UNREMARKABLE:
        message = (
            f"The brain mask measures {extent} mm: the model's voxels were widened from "
            f"{max(space.spacings_mm):g} to {spacing_mm.max():.2f} mm, which it was not trained for."
        )
        findings = (Finding("warn", "wide-grid", message),)
    half_mm = (np.array(space.size) - 1) / 2 * spacing_mm
    origin = np.reshape(axes, (3, 3)) @ ((low + high) / 2 - half_mm)
    return Grid(space.size, tuple(spacing_mm.tolist()), tuple(origin.tolist()), axes), findings


def _volume_grid(image: sitk.Image, space: ModelSpace) -> Grid:
    """The published crop: it begins at ``size // 2 - n // 2`` of the volume (axes turned to R, A, S)."""
    turned = sitk.DICOMOrient(image, "RAS")
    direction = np.array(turned.GetDirection()).reshape(3, 3)
    middle = turned.TransformIndexToPhysicalPoint([n // 2 for n in turned.GetSize()])
    step_mm = np.array([n // 2 for n in space.size]) * np.array(space.spacings_mm)
    origin = np.array(middle) - direction @ step_mm
    return Grid(space.size, space.spacings_mm, tuple(origin.tolist()), turned.GetDirection())


def to_grid(
    image: sitk.Image, mask: sitk.Image, grid: Grid, transform: sitk.Transform | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Resample the masked image and its mask onto the model's grid with a single interpolation.

    The image is blurred against aliasing and resampled as image x mask divided by mask, so that the
    background does not bleed into the rim of the brain.

    :param image: scalar image; ``mask`` lies on its grid.
    :param transform: maps points of the grid's world to points of the image's world.
    :returns: image and mask (0 or 1), float32 [k, j, i] on ``grid``; the image is 0 outside the mask.
    """
    margin_mm = _BORDER_VOXELS * max(image.GetSpacing())
    cropped = sitk.Cast(crop_to(image, mask, margin_mm), sitk.sitkFloat32)
    weight = sitk.Cast(crop_to(mask, mask, margin_mm) != 0, sitk.sitkFloat32)

    def on_grid(values: sitk.Image) -> np.ndarray:
        return sitk.GetArrayFromImage(resample(antialias(values, grid.spacing_mm), grid, transform))

    with ThreadPoolExecutor(2) as both:
        weight_on_grid, product = both.map(on_grid, (weight, cropped * weight))
    inside = weight_on_grid > 0.5
    out = np.divide(product, weight_on_grid, out=np.zeros_like(product), where=inside)
    return out, inside.astype(np.float32)


def encode(image: sitk.Image, mask: sitk.Image, axes: Axes, space: ModelSpace) -> Encoded:
    """Bring a source image into model space.

    :param image: T1-weighted volume, or PET in any linear unit for a model that starts from PET; ``mask`` is
        its brain mask on the same grid (not empty) and ``axes`` the head's, see :func:`model_grid`.
    :raises InputError: if it has a single value inside the mask, or no uptake there.
    """
    grid, findings = model_grid(mask, axes, space)
    values, inside = to_grid(image, mask, grid)
    if not inside.any():
        raise InputError(
            "The model's field of view holds no brain.", "Check the mask, or use the default preset."
        )
    source = _normalised(values, inside, inside, space.source)
    if space.source_modality == "PET":
        findings += at_scale_end(source[inside > 0], space.largest_suvr, "The PET")
    return Encoded(space, grid, source, inside, findings)


def encode_target(
    image: sitk.Image, valid: sitk.Image, encoded: Encoded, transform: sitk.Transform | None = None
) -> np.ndarray:
    """Bring an image to the model's target: the same grid as ``encoded``, normalised.

    :param image: PET in any linear unit (SUVR by the region, where the target is of a named one), or T1;
        ``valid`` lies on its grid and says where it is valid.
    :param transform: maps world points of the source to world points of the image.
    :raises InputError: if it has no contrast or no uptake in the brain.
    """
    values, covered = to_grid(image, valid, encoded.grid, transform)
    return _normalised(values * encoded.mask, encoded.mask, covered, encoded.space.target)


def encode_pair(
    t1: sitk.Image,
    pet: sitk.Image,
    mask: sitk.Image,
    axes: Axes,
    space: ModelSpace,
    transform: sitk.Transform | None = None,
    measured: sitk.Image | None = None,
) -> tuple[Encoded, np.ndarray]:
    """Bring T1 and PET of one person into model space, as source and target or the other way round.

    :param mask: brain mask on the grid of the T1; it and ``axes``, the head's, place the grid in both
        directions.
    :param transform: maps T1 world points to PET world points.
    :param measured: on the grid of the PET, 0 where nothing was measured.
    :raises InputError: see :func:`encode_target`.
    """
    from_pet = space.source_modality == "PET"
    from_t1 = replace(space, source=space.target, target=space.source) if from_pet else space
    encoded = encode(t1, mask, axes, from_t1)
    if measured is None:
        measured = Grid.of(pet).image(np.ones(pet.GetSize()[::-1], np.uint8))
    target = encode_target(pet, measured, encoded, transform)
    if from_pet:
        return replace(encoded, space=space, source=target), encoded.source
    return encoded, target


def _normalised(values: np.ndarray, inside: np.ndarray, covered: np.ndarray, kind: str) -> np.ndarray:
    """Values of one of :class:`ModelSpace`'s normalisations.

    :param inside: 1 in the brain; ``covered`` 1 where the image has values.
    """
    if _MODALITIES[kind] == "MR":
        sample = values if kind == "crop-p1-p99" else values[inside > 0]
        low, high = np.percentile(sample, [1, 99])
        if not high - low > _ROUNDING * max(abs(low), abs(high)):
            raise InputError(
                "The T1 has a single value inside the brain mask.", "Check the image and the mask."
            )
        scaled = (values - low) / (high - low)
        return (np.clip(scaled, 0, 1) * inside if kind == "mask-p1-p99" else scaled).astype(np.float32)
    covered_brain = (inside > 0) & (covered > 0)
    if not covered_brain.any():
        raise InputError("The PET does not cover the brain mask.", "Check that PET and T1 are of one person.")
    if kind in _NAMED_REGIONS:  # divided by its mean there already
        return np.clip(values * _FACTORS[kind], 0, 1).astype(np.float32)
    if kind == "suvr-half":
        mean = float(values[covered_brain].mean())
        if not mean > 0:
            raise InputError(f"The PET's mean in the brain is {mean:g}.", "Check the PET and its unit.")
        return np.clip(values / mean * _FACTORS[kind], 0, 1).astype(np.float32)
    low, high = float(values.min()), float(values.max())
    if not high > low:
        raise InputError("The PET has a single value.", "Check the PET.")
    return ((values - low) / (high - low)).astype(np.float32)


def decode(prediction: np.ndarray, encoded: Encoded, native: sitk.Image) -> sitk.Image:
    """Bring a prediction back to the native grid, in :attr:`ModelSpace.output_unit`.

    A cubic B-spline that stays between the voxels around it (:mod:`MRI2PETLib.images.spline`) keeps detail
    that linear interpolation loses. Values at the rim of the model's mask are continued outwards before, so
    that no voxel of the native mask is mixed with the network's meaningless output outside the brain.

    :param prediction: float array [k, j, i] on ``encoded.grid``, normalised as the target is.
    :param native: image whose grid is wanted; where it is 0 (a brain mask) the result is 0.
    :returns: float32 image on the grid of ``native``.
    """
    scale = 1 / encoded.space.target_factor
    _, nearest = ndimage.distance_transform_edt(encoded.mask == 0, return_indices=True)
    filled = np.asarray(prediction, dtype=np.float32)[tuple(nearest)] * np.float32(scale)
    inside, grid = sitk.GetArrayViewFromImage(native) != 0, Grid.of(native)
    out = np.zeros(grid.shape, np.float32)
    out[inside] = bounded_spline(filled, encoded.grid, grid, inside)
    return grid.image(out)


def not_predicted(encoded: Encoded, native_mask: sitk.Image) -> sitk.Image | None:
    """Where the brain mask lies outside the model's field of view: 1 (uint8); ``None``: nowhere."""
    if _holds(encoded.grid, native_mask):
        return None
    covered = resample(encoded.grid.image(np.ones(encoded.mask.shape, np.float32)), Grid.of(native_mask))
    missing = sitk.And(native_mask != 0, covered < 0.5)
    return missing if np.any(sitk.GetArrayViewFromImage(missing)) else None


def _holds(grid: Grid, mask: sitk.Image) -> bool:
    """Whether all voxels of a mask lie in the grid's voxels."""
    low, high = extent_along(mask, grid.direction)
    first = np.reshape(grid.direction, (3, 3)).T @ grid.origin
    spacing_mm = np.array(grid.spacing_mm)
    begin, end = first - spacing_mm / 2, first + (np.array(grid.size) - 0.5) * spacing_mm
    return bool((low >= begin).all() and (high <= end).all())


def with_grid(space: ModelSpace, size: int, spacing_mm: float) -> ModelSpace:
    """The same normalisation on a cube of ``size`` voxels of ``spacing_mm``."""
    return replace(space, size=(size,) * 3, spacing_mm=spacing_mm)
