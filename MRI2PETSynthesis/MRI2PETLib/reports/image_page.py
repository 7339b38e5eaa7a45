"""One image, and a map over it, as a page that can be scrolled through; or in a notebook."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import SimpleITK as sitk

from MRI2PETLib.core.errors import DependencyError, InputError
from MRI2PETLib.images.bids import read_sidecar
from MRI2PETLib.images.grid import Grid, resample
from MRI2PETLib.images.io import read_image
from MRI2PETLib.preprocessing.pet_units import parse_unit
from MRI2PETLib.reports.colors import gray_colors, normdiff_colors, pet_colors
from MRI2PETLib.reports.figures import PET_OPACITY, source_window, target_window
from MRI2PETLib.reports.page import render
from MRI2PETLib.reports.viewer import Layer, Viewer, nifti_bytes

if TYPE_CHECKING:
    from ipyniivue import NiiVue

    from MRI2PETLib.synthesis.pipeline import SynthesisResult


def image_page(path: Path, over: Path | None = None) -> str:
    """A page with an image in three planes; ``over`` lies on it by their worlds, voxel for nearest voxel.

    An image whose sidecar has a unit of PETs, and ``over``, have the colours of PETs; a map with values below
    0 has those of NormDiff, symmetric around 0.

    :raises InputError: what :func:`.read_image` says of either.
    """
    image, about = read_image(path, kind="t1").image, _sidecar(path)
    inside = _foreground(image)
    box = _like(inside.astype(np.uint8), image)
    if _is_pet(about):
        layers = [_map_layer(path.name, image, about, inside, opacity=1.0)]
    else:
        layers = [Layer(path.name, image, "", gray_colors(), source_window(image, inside), path.name)]
    notes = [about]
    if over is not None:
        notes.append(_sidecar(over))
        values = read_image(over, kind="pet").image
        placed = resample(values, Grid.of(image), interpolator=sitk.sitkNearestNeighbor)
        layers.append(_map_layer(over.name, placed, notes[-1], inside, opacity=PET_OPACITY))
    middle = image.TransformContinuousIndexToPhysicalPoint(np.argwhere(inside).mean(axis=0)[::-1].tolist())
    viewer = Viewer(layers, box, middle, {}, " ".join(str(n.get("Description", "")) for n in notes).strip())
    files = {"Image": str(path)} | ({} if over is None else {"Over it": str(over)})
    return render("view.html", path.name, viewer=viewer, provenance=files)


def show(result: SynthesisResult, t1: sitk.Image) -> NiiVue:
    """The synthetic PET over its T1 as the last line of a notebook's cell.

    :param t1: the image that ``result`` was computed from.
    :raises DependencyError: without ipyniivue (extra ``notebook``).
    """
    try:
        from ipyniivue import NiiVue, Volume
    except ModuleNotFoundError as error:
        raise DependencyError(
            "The package ipyniivue is not installed.", "Install it: pip install 'mri2pet[notebook]'."
        ) from error
    inside = sitk.GetArrayViewFromImage(result.mask) != 0
    view = NiiVue(is_radiological_convention=True, is_nearest_interpolation=True, is_slice_mm=True)
    volumes: list[Any] = []
    for name, image, colormap, opacity, (low, high) in (
        ("T1", t1, "gray", 1.0, source_window(t1, inside)),
        (
            f"Synthetic PET ({result.unit})",
            result.pet,
            "inferno",
            PET_OPACITY,
            target_window([result.pet], inside),
        ),
    ):
        content = nifti_bytes(image)
        volumes.append(
            Volume(
                name=f"{name}.nii",
                data=content,
                colormap=colormap,
                opacity=opacity,
                cal_min=low,
                cal_max=high,
            )
        )
    view.load_volumes(volumes)
    return view


def _map_layer(
    name: str, image: sitk.Image, about: dict[str, Any], inside: np.ndarray, *, opacity: float
) -> Layer:
    values = sitk.GetArrayViewFromImage(image)
    finite = np.isfinite(values)
    unit = str(about.get("Units", ""))
    if (values[finite] < 0).any():
        limit = float(np.percentile(np.abs(values[finite & (values != 0)]), 99))
        valid = _like((finite & (values != 0)).astype(np.uint8), image)
        return Layer(name, image, unit, normdiff_colors(), (-limit, limit), name, opacity, valid)
    valid = _like((finite & (values > 0)).astype(np.uint8), image)
    where = inside & (values > 0) if (inside & (values > 0)).any() else finite
    return Layer(name, image, unit, pet_colors(), target_window([image], where), name, opacity, valid)


def _is_pet(about: dict[str, Any]) -> bool:
    try:
        return parse_unit(str(about.get("Units", ""))).unit != "unknown"
    except InputError:  # of a PET, in a unit that only measurements need
        return True


def _sidecar(path: Path) -> dict[str, Any]:
    return {} if path.is_dir() else read_sidecar(path)


def _foreground(image: sitk.Image) -> np.ndarray:
    """What is brighter than the background, [k, j, i]; all of an image of one value."""
    threshold = sitk.OtsuThreshold(sitk.Cast(image, sitk.sitkFloat32), 0, 1)
    inside: np.ndarray = sitk.GetArrayFromImage(threshold) != 0
    return inside if inside.any() else np.ones_like(inside)


def _like(values: np.ndarray, image: sitk.Image) -> sitk.Image:
    return Grid.of(image).image(values)
