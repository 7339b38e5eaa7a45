"""Images that can be scrolled through inside a report: what is shown, packed into one page.

:func:`.page.render` puts a :class:`Viewer` into any report, ``templates/viewer.js`` draws it with NiiVue
(https://niivue.com), which ships with its licence in ``Resources/Viewer`` and lies in the page compressed.
All images of a viewer share one grid, that of its first layer, cropped to what is looked at.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import SimpleITK as sitk

from MRI2PETLib.core.errors import MRI2PETError
from MRI2PETLib.core.files import read_object
from MRI2PETLib.core.resources import resources_dir
from MRI2PETLib.images.grid import Grid, crop_to, resample
from MRI2PETLib.images.orientation import RAS_TO_LPS

PAGE_BYTES = 5_900_000
MARGIN_MM = 12.0
_STEPS = (4095, 1023, 255)  # of the largest value; what fits is taken
_COARSEST_MM = 4.0


@dataclass(frozen=True)
class Layer:
    """An image of the viewer.

    ``colors`` [n, 3] (0..1) run from the lower to the upper end of ``window``. Layers of one ``scale`` share
    their window and its controls. ``valid``: where the image has a value; elsewhere it is transparent.
    """

    name: str
    image: sitk.Image
    unit: str
    colors: np.ndarray
    window: tuple[float, float]
    scale: str
    opacity: float = 1.0
    valid: sitk.Image | None = None


@dataclass(frozen=True)
class Viewer:
    """Layers over the first of them, linked by one crosshair.

    ``box``: what lies outside its voxels (and a margin) is cut off; on the grid of the first layer.
    ``point_mm``: where the planes cross first (LPS). ``regions``: label maps whose names are said at the
    crosshair, by parcellation, on any grid. ``note`` is printed above the panes.
    """

    layers: Sequence[Layer]
    box: sitk.Image
    point_mm: Sequence[float]
    regions: Mapping[str, tuple[sitk.Image, Mapping[int, str]]]
    note: str = ""

    def data(self, limit: int = PAGE_BYTES) -> dict[str, Any]:
        """What the page's script needs, as plain values; images as compressed base64 text of ``limit`` bytes.

        Values are kept to a 4095th of the largest one; to less, and at last on a coarser grid, where they
        would need more. The viewer says so.
        """
        grid = Grid.of(crop_to(self.layers[0].image, self.box, MARGIN_MM))
        while True:
            maps = [_regions(grid, *named, name) for name, named in self.regions.items()]
            taken = sum(len(m["codes"]) for m in maps)
            for steps in _STEPS:
                layers = [_layer(layer, grid, steps) for layer in self.layers]
                if taken + sum(len(layer["codes"]) for layer in layers) <= limit:
                    return self._content(grid, layers, maps)
            if min(grid.spacing_mm) >= _COARSEST_MM:
                return self._content(grid, layers, maps)
            grid = _coarser(grid)

    def _content(
        self, grid: Grid, layers: list[dict[str, Any]], maps: list[dict[str, Any]]
    ) -> dict[str, Any]:
        to_world = _affine_ras(grid)
        x, y, z = self.point_mm
        own = Grid.of(self.layers[0].image)
        coarser = "" if grid.spacing_mm == own.spacing_mm else " x ".join(f"{s:.2g}" for s in grid.spacing_mm)
        return {
            "size": grid.size,
            "header": _text(_nifti_header(grid, to_world)),
            "toIndex": np.linalg.inv(to_world)[:3].tolist(),
            "point": [-x, -y, z],
            "layers": layers,
            "regions": maps,
            "coarser": coarser,
        }


def _layer(layer: Layer, grid: Grid, steps: int) -> dict[str, Any]:
    """Whole numbers times ``step``; 0 is drawn as nothing. Without ``valid`` it is also the value 0."""
    # The nearest voxel: what is said at the crosshair is a value of the image.
    image = resample(layer.image, grid, interpolator=sitk.sitkNearestNeighbor)
    values = np.nan_to_num(sitk.GetArrayFromImage(image).astype(np.float64), posinf=0.0, neginf=0.0)
    valid = None
    if layer.valid is not None:
        mask = resample(layer.valid, grid, interpolator=sitk.sitkNearestNeighbor)
        valid = sitk.GetArrayViewFromImage(mask) != 0
        values = np.where(valid, values, 0.0)
    step = float(np.abs(values).max()) / steps or 1.0
    codes = np.rint(values / step).astype(np.int16)
    if valid is not None:
        near_zero = valid & (codes == 0)  # a value, so it is drawn
        codes[near_zero] = np.where(values[near_zero] < 0, -1, 1)
    return {
        "name": layer.name,
        "unit": layer.unit,
        "scale": layer.scale,
        "window": [float(v) for v in layer.window],
        "opacity": layer.opacity,
        "masked": valid is not None,
        "step": step,
        "colors": np.rint(255 * np.asarray(layer.colors)).astype(int).clip(0, 255).tolist(),
        "codes": _packed(codes),
    }


def _regions(grid: Grid, labels: sitk.Image, names: Mapping[int, str], parcellation: str) -> dict[str, Any]:
    """Labels as positions in a list of names, so that they fit 16 bits whatever they are."""
    values = sitk.GetArrayFromImage(resample(labels, grid, interpolator=sitk.sitkNearestNeighbor))
    codes = np.zeros(values.shape, np.int16)
    for position, label in enumerate(names, start=1):
        codes[values == label] = position
    return {"name": parcellation, "names": ["", *names.values()], "codes": _packed(codes)}


def _packed(codes: np.ndarray) -> str:
    """Differences along i, low bytes before high ones, deflated: smaller than the codes deflated."""
    steps = np.diff(codes, axis=-1, prepend=np.int16(0)).astype("<i2")
    halves = np.ascontiguousarray(steps).view(np.uint8).reshape(-1, 2)
    return _text(zlib.compress(halves[:, 0].tobytes() + halves[:, 1].tobytes(), 6))


def _coarser(grid: Grid) -> Grid:
    """Every axis that is finer than 1.25 times the finest one by as much, about the same corner."""
    limit = 1.25 * min(grid.spacing_mm)
    x, y, z = (max(spacing, limit) for spacing in grid.spacing_mm)
    i, j, k = (max(1, int(n * s / t)) for n, s, t in zip(grid.size, grid.spacing_mm, (x, y, z)))
    return Grid((i, j, k), (x, y, z), grid.origin, grid.direction)


def _affine_ras(grid: Grid) -> np.ndarray:
    """From voxel indices (i, j, k) to RAS mm, 4 x 4."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(grid.direction, (3, 3)) * grid.spacing_mm
    matrix[:3, 3] = grid.origin
    return RAS_TO_LPS @ matrix


def _nifti_header(grid: Grid, to_world: np.ndarray) -> bytes:
    """A NIfTI-1 header of 16-bit voxels, with the four bytes that follow it."""
    import nibabel

    header = nibabel.Nifti1Header(endianness="<")
    header.set_data_shape(grid.size)
    header.set_data_dtype(np.int16)
    header.set_sform(to_world, code=1)
    header.set_zooms(grid.spacing_mm)
    header["vox_offset"], header["scl_slope"], header["magic"] = 352, 1.0, b"n+1"
    return bytes(header.binaryblock) + bytes(4)


def nifti_bytes(image: sitk.Image) -> bytes:
    """The image as a NIfTI file (float32) in memory."""
    import nibabel

    values = sitk.GetArrayFromImage(image).astype(np.float32).T  # i, j, k
    content: bytes = nibabel.Nifti1Image(values, _affine_ras(Grid.of(image))).to_bytes()
    return content


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def script_text(content: Any) -> str:
    """Plain values as JSON that can stand inside a ``script`` element, whatever the texts in it say."""
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


@dataclass(frozen=True)
class NiiVue:
    """The script that ships with the program. ``packed``: gzip as base64; ``source_hash``: for the policy."""

    version: str
    packed: str
    source_hash: str
    license: str


@cache
def niivue() -> NiiVue:
    """Read NiiVue.

    :raises MRI2PETError: if it is not the file whose checksum stands beside it.
    """
    folder = resources_dir() / "Viewer"
    about = read_object(folder / "niivue.json")
    packed = (folder / "niivue.umd.js.gz").read_bytes()
    digest = hashlib.sha256(gzip.decompress(packed))
    if digest.hexdigest() != about["sha256"]:
        raise MRI2PETError("Resources/Viewer/niivue.umd.js.gz was changed.", "Reinstall MRI2PET.")
    return NiiVue(
        version=str(about["version"]),
        packed=_text(packed),
        source_hash=f"sha256-{_text(digest.digest())}",
        license=(folder / "LICENSE-NiiVue.txt").read_text(encoding="utf-8"),
    )
