"""What can be wrong with an image before any registration: geometry, unit of length, voxel values."""

from __future__ import annotations

from typing import Literal

import numpy as np

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.findings import Finding
from MRI2PETLib.images.raw import RawImage

ImageKind = Literal["t1", "pet", "mask", "labels"]

# A brain is about 130-180 mm long on every axis, so a shorter field of view cuts it.
MIN_EXTENT_MM = 120.0
MIN_SLICES = 16
# The largest axis of a head image; used to recognise a wrong unit of length.
_HEAD_EXTENT_MM = (MIN_EXTENT_MM, 400.0)
# Above this no scanner has a field of view: whole-body PET reaches 2 m.
_MAX_EXTENT_MM = {"t1": 1000.0, "pet": 2500.0, "mask": 2500.0, "labels": 2500.0}
# What the numbers would be if one of these had been meant: unit, factor to mm.
_OTHER_UNITS = (("cm", 10.0), ("m", 1000.0), ("um", 0.001), ("0.1 mm", 0.1))
# Largest axis of a rodent's or a small primate's head, and of a human one whose header is in cm.
_ANIMAL_EXTENT_MM = (5.0, 60.0)
# Of the corners of a volume, the middle half of the values over the range of the image: air in T1s 0 to .02,
# in an MP2RAGE image whose noise was not removed .7.
_NOISY_AIR = 0.25
# Of the voxels that differ from the background, the share below it that no T1 has: its background is dark.
_BELOW_BACKGROUND = 0.15
# Share of the contrast within which a voxel is background: wider than the noise of air, and than ringing.
_BACKGROUND_BAND = 0.1
# Above this share of non-finite voxels the file is broken, not merely blemished.
_MAX_NON_FINITE_SHARE = 1e-3


def check_geometry(raw: RawImage, kind: ImageKind) -> tuple[Finding, ...]:
    """Check the header: degenerate axes, unit of length, slab, field of view. Reads no voxel.

    :raises InputError: if the image cannot be used; the message names the size and the remedy.
    """
    check_axes(raw, kind)
    return check_field_of_view(raw, kind)


def check_axes(raw: RawImage, kind: ImageKind) -> None:
    """Check that the axes span a volume, and that its size in mm is one.

    :raises InputError: for degenerate axes or another unit of length.
    """
    name, spacing = raw.path, raw.spacing_mm
    degenerate = not np.isfinite(raw.affine).all() or spacing.min() <= 0
    if degenerate or abs(np.linalg.det(raw.affine[:3, :3] / spacing)) < 0.1:
        raise InputError(f"The axes in the header of {name} are degenerate.", "Export the image again.")
    _check_unit(raw, kind)


def check_field_of_view(raw: RawImage, kind: ImageKind) -> tuple[Finding, ...]:
    """Check that a brain can be in the image; masks and labels may be of any size.

    :raises InputError: for a slab.
    """
    if kind in ("mask", "labels"):
        return ()
    name, extent = raw.path, raw.extent_mm
    axis = int(np.argmin(extent))
    letters = _anatomical_axis(raw.affine, axis)
    covers = f"{name} covers only {extent[axis]:.0f} mm in {letters} ({raw.size[axis]} voxels)"
    if kind == "t1":
        if extent[axis] < MIN_EXTENT_MM or min(raw.size) < MIN_SLICES:
            raise InputError(
                f"{covers}; at least {MIN_EXTENT_MM:.0f} mm and {MIN_SLICES} voxels are needed on each axis.",
                "Choose the 3-D T1 of the session, not a slab or a localiser.",
            )
    elif min(raw.size) < MIN_SLICES // 2:
        raise InputError(f"{covers}.", "Give a PET that covers the brain.")
    elif extent[axis] < MIN_EXTENT_MM:
        return (Finding("warn", "small-field-of-view", f"{covers}.", "Check that the brain is inside."),)
    return ()


def _check_unit(raw: RawImage, kind: ImageKind) -> None:
    extent = raw.extent_mm
    low, high = _HEAD_EXTENT_MM
    if extent.max() >= low / 2 and extent.max() <= _MAX_EXTENT_MM[kind]:
        return
    size = " x ".join(f"{value:.4g}" for value in extent)
    smallest, largest = _ANIMAL_EXTENT_MM
    if smallest <= float(extent.max()) < largest:
        raise InputError(
            f"{raw.path} is {size} mm large: an animal's brain? Only human heads are read.",
            "If it is a human head, its header is in cm: multiply its spacing and origin by 10 and write it "
            "again in mm.",
        )
    for unit, factor in _OTHER_UNITS:
        if low <= extent.max() * factor <= high:
            raise InputError(
                f"{raw.path} is {size} mm large; it looks like the header is in {unit}.",
                f"Multiply its spacing and origin by {factor:g} and write it again in mm.",
            )
    raise InputError(f"{raw.path} is {size} mm large, not a head.", "Check the voxel size in its header.")


def _anatomical_axis(affine: np.ndarray, axis: int) -> str:
    return ("left-right", "front-back", "head-foot")[int(np.argmax(np.abs(affine[:3, axis])))]


def clean_values(array: np.ndarray, raw: RawImage) -> tuple[np.ndarray, tuple[Finding, ...]]:
    """Return the voxels as float32 with the non-finite ones set to 0, and a finding that counts them.

    NaN that reaches the border of the volume is background, as SPM writes it, and may be as much as it likes.
    ITK's NIfTI reader turns NaN and infinity into 0 without a word, so this must see what nibabel read.

    :raises InputError: when 0.1 % or more of the voxels are not finite inside of what has values.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        values = np.ascontiguousarray(array, dtype=np.float32)
    bad = ~np.isfinite(values)
    n_bad = int(bad.sum())
    if not n_bad:
        return values, ()
    n_inside = n_bad - int(_reaching_border(np.isnan(values)).sum())
    share = n_bad / values.size
    message = f"{n_bad} voxels ({100 * share:.2g} %) of {raw.path.name} are not finite (NaN or infinite)"
    if n_inside / values.size >= _MAX_NON_FINITE_SHARE:
        raise InputError(f"{message}.", "Find the step that made them, or replace them with 0 on purpose.")
    values = np.where(bad, np.float32(0), values)
    if not n_inside:
        return values, (Finding("ok", "non-finite-background", f"{message}, all of them background."),)
    return values, (Finding("warn", "non-finite", f"{message}; set to 0."),)


def check_t1_values(values: np.ndarray, contrast: float, raw: RawImage) -> tuple[Finding, ...]:
    """Recognise by its values what is no T1: a statistical map is refused, noise in the air is a remark.

    :param values: finite, [k, j, i]; ``contrast``: theirs, see :func:`check_contrast`.
    :raises InputError: for a map of statistics, or a T1 scaled to a mean of 0 inside the brain.
    """
    hint = "Give the T1-weighted image itself."
    if statistic := raw.metadata.get("statistic"):
        raise InputError(f"{raw.path} is a statistical map: its header says {statistic}.", hint)
    below = _share_below_background(values, contrast)
    if below > _BELOW_BACKGROUND:
        raise InputError(
            f"{raw.path} has values above and below its background ({100 * below:.0f} % below it): a "
            f"statistical map, or a T1 scaled to a mean of 0.",
            hint,
        )
    if _air_noise(values, contrast) <= _NOISY_AIR:
        return ()
    message = (
        f"The air around the head in {raw.path.name} is as bright as tissue, as in an MP2RAGE image (UNI) "
        f"whose noise was not removed: the brain may not be recognised."
    )
    hint = "Give the denoised image (UNI-DEN), or UNI multiplied by the second inversion image."
    return (Finding("warn", "noisy-air", message, hint),)


def _share_below_background(values: np.ndarray, contrast: float) -> float:
    """Of the voxels that are not background, the share below it; 0 without an even background."""
    faces = [values[0], values[-1], values[:, 0], values[:, -1], values[:, :, 0], values[:, :, -1]]
    border = np.concatenate([face.ravel() for face in faces])
    background, tolerance = float(np.median(border)), _BACKGROUND_BAND * contrast
    if np.mean(np.abs(border - background) <= tolerance) < 0.6:
        return 0.0
    difference = values[::2, ::2, ::2] - background
    other = np.abs(difference) > tolerance
    return int(np.count_nonzero(difference[other] < 0)) / max(1, int(np.count_nonzero(other)))


def _air_noise(values: np.ndarray, contrast: float) -> float:
    """The spread of the values in the corners of a volume (the middle one of the eight) over its contrast; 0
    unless they are noisier than its middle.
    """
    ends = [(slice(0, max(4, n // 10)), slice(-max(4, n // 10), None)) for n in values.shape]
    corners = [values[k, j, i] for k in ends[0] for j in ends[1] for i in ends[2]]
    middle = values[tuple(slice(n // 2 - n // 8, n // 2 + n // 8) for n in values.shape)]
    rough = float(np.median([_spread(np.diff(corner)) for corner in corners]))
    if rough <= 2 * _spread(np.diff(middle)):
        return 0.0
    return float(np.median([_spread(corner) for corner in corners])) / contrast


def _spread(values: np.ndarray) -> float:
    """From the first to the third quartile."""
    low, high = np.percentile(values, (25, 75))
    return float(high - low)


def _reaching_border(mask: np.ndarray) -> np.ndarray:
    """The parts of a mask (connected by faces) that touch the border of the volume."""
    from scipy import ndimage

    padded = np.pad(mask, 1, constant_values=True)
    labels, _ = ndimage.label(padded)
    return np.asarray(labels == labels[0, 0, 0])[1:-1, 1:-1, 1:-1]


def check_contrast(values: np.ndarray, raw: RawImage) -> float:
    """Refuse a volume without contrast (one value, or one value in 98 % of the voxels and more).

    :returns: the contrast, from the 1st to the 99th percentile.
    :raises InputError: naming the value.
    """
    low, high = float(values.min()), float(values.max())
    if low == high:
        raise InputError(f"{raw.path} has a single value ({low:g}).", "It is empty: choose another image.")
    p1, p99 = np.percentile(values[::2, ::2, ::2], (1, 99))
    if p99 <= p1:
        raise InputError(
            f"{raw.path} has almost a single value ({p1:g} from the 1st to the 99th percentile).",
            "Choose an image of the whole head; this looks like a mask or a damaged file.",
        )
    return float(p99) - float(p1)


def to_mask(values: np.ndarray, raw: RawImage) -> tuple[np.ndarray, tuple[Finding, ...]]:
    """Return a uint8 mask of 0 and 1 from a two-valued, label or probability image.

    Whole numbers: everything but 0 is inside. Probabilities (0..1 with fractions): inside from 0.5, and told.

    :raises InputError: for an empty or full mask, negative or fractional values beyond 1.
    """
    fractional = bool((values != np.rint(values)).any())
    if values.min() < 0 or (fractional and values.max() > 1.0):
        raise InputError(
            f"{raw.path} is not a mask: its values go from {values.min():g} to {values.max():g}.",
            "Give an image of 0 outside and 1 inside.",
        )
    mask = (values >= 0.5).astype(np.uint8) if fractional else (values > 0).astype(np.uint8)
    if not mask.any() or mask.all():
        state = "all voxels are inside" if mask.any() else "no voxel is inside"
        raise InputError(f"The mask {raw.path} is not usable: {state}.", "Draw or compute it again.")
    if not fractional:
        return mask, ()
    message = f"{raw.path.name} holds probabilities; voxels of at least 0.5 are taken as inside."
    return mask, (Finding("warn", "mask-thresholded", message),)


def to_labels(values: np.ndarray, raw: RawImage) -> np.ndarray:
    """Return int32 labels.

    :raises InputError: for fractional values or no label but 0.
    """
    if (values != np.rint(values)).any():
        raise InputError(
            f"{raw.path} is not a label map: it has fractional values.",
            "Give the labels themselves, resampled with nearest neighbour.",
        )
    if not values.any():
        raise InputError(f"{raw.path} has no label (all voxels are 0).", "Give a label map.")
    return values.astype(np.int32)
