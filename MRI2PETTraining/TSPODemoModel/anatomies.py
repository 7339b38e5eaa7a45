"""Real T1s with tissue maps and their way to MNI space, computed once and cached.

A T1 is masked and aligned by an affine as the program does it for its users; demons then take the ICBM
152 template to the person, and its tissue maps are decided voxel by voxel by the person's own intensities.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from MRI2PETLib.core.errors import InputError, MRI2PETError
from MRI2PETLib.core.files import atomic_path, make_folder
from MRI2PETLib.core.progress import ProgressCallback, no_progress
from MRI2PETLib.images.grid import FWHM_PER_SIGMA, Grid, affine_transform, resample
from MRI2PETLib.images.io import read_image
from MRI2PETLib.models.model_space import ModelSpace, model_grid, to_grid
from MRI2PETLib.preprocessing.bias_field import log_bias_field, remove_bias
from MRI2PETLib.preprocessing.brain_mask import extract_brain
from MRI2PETLib.simulation.for_t1 import tissue_shares
from MRI2PETLib.templates.icbm152 import load_template
from MRI2PETLib.templates.uptake import uptake_regions

VERSION = 3  # of the cached files: raise it when their content changes
SOURCE_SPACE = ModelSpace()  # 96^3 voxels of 2 mm: any model grid is sampled from this one
FIELD_SIZE = 32  # nodes of a displacement an axis over the same 192 mm
_DEMONS = ((32, 40, 1.5), (64, 30, 1.5))  # size an axis, iterations, smoothing of the field in voxels
# Nuclei whose T1 lies between grey and white matter: there the template decides, not the intensity.
_DEEP = ("thalamus", "caudate", "putamen", "pallidum", "accumbens", "hypothalamus", "pons", "medulla")
_TISSUES = ("gm", "wm", "csf")


@dataclass(frozen=True)
class PersonAnatomy:
    """A person on the 96^3 grid of 2 mm (arrays [k, j, i], see :data:`SOURCE_SPACE`).

    ``t1`` is float32 in the scanner's units, 0 outside ``mask`` (bool); ``gm``, ``wm``, ``csf`` are fractions
    (float32, 0..1) that sum to at most 1 in the mask: what is missing is no brain (neck, meninges).
    ``displacement`` [3, k, j, i] (float32, x y z in LPS mm, 6 mm nodes over the same field of view) leads
    from a native point to the point of the affine's image of the template; ``affine`` is the 4 x 4 matrix
    from native to MNI (LPS mm).
    """

    subject: str
    grid: Grid
    t1: np.ndarray
    mask: np.ndarray
    gm: np.ndarray
    wm: np.ndarray
    csf: np.ndarray
    displacement: np.ndarray
    affine: np.ndarray

    def affine_to_template(self) -> sitk.AffineTransform:
        """Maps native points to MNI points (LPS mm), by the affine alone."""
        return affine_transform(self.affine)

    def to_template(self) -> sitk.Transform:
        """Maps native points to MNI points (LPS mm), by demons and affine."""
        field = sitk.DisplacementFieldTransform(self._field())
        return sitk.CompositeTransform([self.affine_to_template(), field])

    def _field(self) -> sitk.Image:
        field = np.moveaxis(self.displacement, 0, -1).astype(np.float64)
        image = sitk.GetImageFromArray(field, isVector=True)
        image.CopyInformation(cube_over(self.grid, self.displacement.shape[-1]).image())
        return image

    def from_mni_points(self) -> sitk.Transform:
        """Maps MNI points to native points (LPS mm): the numerical inverse of :meth:`to_template`."""
        inverse = sitk.InvertDisplacementField(self._field(), maximumNumberOfIterations=20)
        return sitk.CompositeTransform(
            [sitk.DisplacementFieldTransform(inverse), self.affine_to_template().GetInverse()]
        )

    def onto(self, grid: Grid, *volumes: np.ndarray) -> list[np.ndarray]:
        """Volumes of any cubic size over this person's field of view, on a grid in MNI space (linear)."""
        way = self.from_mni_points()
        images = (cube_over(self.grid, len(v)).image(v.astype(np.float32)) for v in volumes)
        return [sitk.GetArrayFromImage(resample(image, grid, way)) for image in images]

    def from_template(self, image: sitk.Image, *, demons: bool = True) -> np.ndarray:
        """An MNI image on this person's grid: float32 [k, j, i], linear, 0 beyond the image's border."""
        transform = self.to_template() if demons else self.affine_to_template()
        return sitk.GetArrayFromImage(resample(sitk.Cast(image, sitk.sitkFloat32), self.grid, transform))


def find_t1s(folder: Path) -> dict[str, Path]:
    """T1s of a folder by subject: the first ``sub-<label>*_T1w*.nii[.gz]`` of each, searched in subfolders.

    :raises InputError: if there is none.
    """
    t1s: dict[str, Path] = {}
    for path in sorted(folder.rglob("sub-*_T1w*.nii*")):
        subject = re.match(r"sub-[A-Za-z0-9]+", path.name)
        if subject is not None:
            t1s.setdefault(subject.group(), path)
    if not t1s:
        raise InputError(
            f"{folder} holds no sub-*_T1w*.nii.gz.", "Give the folder of the T1-weighted volumes (ds002748)."
        )
    return t1s


def prepare_anatomies(
    t1s: dict[str, Path], cache: Path, workers: int, progress: ProgressCallback = no_progress
) -> dict[str, Path]:
    """Make what is missing in ``cache``: one file a person, whose path is returned for those that worked.

    A T1 that cannot be used is left out and its reason written beside, ``<subject>.txt``.
    """
    make_folder(cache)
    jobs = [(subject, path, cache) for subject, path in t1s.items()]
    outcomes: dict[str, Path] = {}
    with ProcessPoolExecutor(workers) as pool:
        for done, (subject, path) in enumerate(pool.map(_prepare_one, jobs), 1):
            progress(done, len(jobs), f"tissue maps: {subject}")
            if path is not None:
                outcomes[subject] = path
    return outcomes


def anatomy_file(cache: Path, subject: str) -> Path:
    """Where :func:`prepare_anatomies` keeps a person."""
    return cache / f"{subject}.v{VERSION}.npz"


def _prepare_one(job: tuple[str, Path, Path]) -> tuple[str, Path | None]:
    subject, source, cache = job
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    path = anatomy_file(cache, subject)
    if not path.is_file():
        try:
            save_anatomy(make_person_anatomy(subject, source), path)
        except MRI2PETError as error:
            (cache / f"{subject}.txt").write_text(f"{source}: {error}\n", encoding="utf-8")
            return subject, None
    return subject, path


def make_person_anatomy(subject: str, path: Path) -> PersonAnatomy:
    """Mask, align and segment one T1."""
    t1 = read_image(path, kind="t1").image
    extraction = extract_brain(t1)
    if extraction.template_to_native is None or extraction.verdict.level == "refuse":
        raise InputError(f"{path} could not be aligned with the template.", "Leave this person out.")
    grid, _ = model_grid(extraction.mask, extraction.axes, SOURCE_SPACE)
    values, inside = to_grid(t1, extraction.mask, grid)
    mask = grid.image(inside.astype(np.uint8))
    flat = remove_bias(grid.image(values), log_bias_field(grid.image(values), mask))
    affine = _matrix(extraction.template_to_native.GetInverse())
    corrected = sitk.GetArrayFromImage(flat) * inside
    displacement = _demons(corrected, inside, grid, affine)
    nothing = np.zeros(0, np.float32)
    warp = PersonAnatomy(subject, grid, values, inside > 0, nothing, nothing, nothing, displacement, affine)
    gm, wm, csf = _segment(corrected, warp)
    return PersonAnatomy(subject, grid, values, inside > 0, gm, wm, csf, displacement, affine)


def _matrix(transform: sitk.Transform) -> np.ndarray:
    """The 4 x 4 matrix of a linear transform (LPS mm)."""
    offset = np.array(transform.TransformPoint((0.0, 0.0, 0.0)))
    matrix = np.eye(4)
    matrix[:3, :3] = np.stack(
        [np.array(transform.TransformPoint(p)) - offset for p in np.eye(3).tolist()], axis=1
    )
    matrix[:3, 3] = offset
    return matrix


def cube_over(grid: Grid, size: int) -> Grid:
    """The cube of ``grid`` divided into ``size`` voxels an axis."""
    spacing = grid.spacing_mm[0] * grid.size[0] / size
    direction = np.reshape(grid.direction, (3, 3))
    shift = direction @ np.full(3, (spacing - grid.spacing_mm[0]) / 2)
    return Grid(
        (size,) * 3, (spacing,) * 3, tuple((np.array(grid.origin) + shift).tolist()), tuple(grid.direction)
    )


def _demons(t1: np.ndarray, inside: np.ndarray, grid: Grid, affine: np.ndarray) -> np.ndarray:
    """Symmetric forces demons from the person to the affinely placed template, on 6 mm nodes."""
    template = load_template()
    to_template = sitk.AffineTransform(affine[:3, :3].ravel().tolist(), affine[:3, 3].tolist())
    moving_t1 = template.t1 * sitk.Cast(template.mask, sitk.sitkFloat32)
    field: sitk.Image | None = None
    for size, iterations, smoothing in _DEMONS:
        level = cube_over(grid, size)
        sigma = level.spacing_mm[0] / FWHM_PER_SIGMA
        fixed = resample(sitk.SmoothingRecursiveGaussian(grid.image(t1 * inside), sigma), level)
        moving = resample(sitk.SmoothingRecursiveGaussian(moving_t1, sigma), level, to_template)
        moving = sitk.HistogramMatching(moving, fixed, 256, 15, True)
        demons = sitk.FastSymmetricForcesDemonsRegistrationFilter()
        demons.SetNumberOfIterations(iterations)
        demons.SetSmoothDisplacementField(True)
        demons.SetStandardDeviations(smoothing)
        if field is None:
            field = demons.Execute(fixed, moving)
        else:
            field = demons.Execute(fixed, moving, sitk.Resample(field, fixed))
    assert field is not None
    smooth = sitk.SmoothingRecursiveGaussian(
        field, cube_over(grid, FIELD_SIZE).spacing_mm[0] / FWHM_PER_SIGMA
    )
    nodes = sitk.Resample(smooth, cube_over(grid, FIELD_SIZE).image())
    return np.moveaxis(sitk.GetArrayFromImage(nodes), -1, 0).astype(np.float32)


def _segment(t1: np.ndarray, warp: PersonAnatomy) -> np.ndarray:
    """Tissue fractions [gm wm csf, k, j, i]: warped template maps times the likelihood of the intensity.

    Expectation maximisation of three Gaussians; in the deep nuclei (see :data:`_DEEP`) the likelihood has no
    say.
    """
    template = load_template()
    maps = np.stack([warp.from_template(getattr(template, name)) for name in _TISSUES])
    covered = maps.sum(0)
    # Where the template ends before the brain does: cortex and CSF near it, no brain farther away.
    distance = ndimage.distance_transform_edt(covered < 0.5, sampling=warp.grid.spacing_mm)
    near = np.clip(1 - distance / 8, 0, 1)
    prior = maps + np.clip(1 - covered, 0, 1) * near * np.array([0.4, 0.1, 0.5])[:, None, None, None]
    inside = warp.mask & (prior.sum(0) > 0.05)
    total = np.minimum(prior.sum(0), 1)[inside]
    weights = prior[:, inside] / prior.sum(0)[inside] * 0.97 + 0.01
    say = 1 - np.clip(warp.from_template(_deep_nuclei())[inside], 0, 1)
    share = tissue_shares(t1[inside], weights, say)
    fractions = np.zeros((3, *t1.shape), np.float32)
    fractions[:, inside] = share * total
    return fractions


def _deep_nuclei() -> sitk.Image:
    """1 in the deep nuclei of the template, falling off around them."""
    image = load_template().mask
    grid = Grid.of(image)
    weight = np.zeros(grid.shape)
    for region in uptake_regions("PBR28"):
        if region.name.split()[-1] in _DEEP or region.name.split()[0] in _DEEP:
            x, y, z = (
                np.exp(-0.5 * ((axis - centre) / region.radius_mm) ** 2)
                for axis, centre in zip(grid.coordinates(), region.centre_lps)
            )
            weight = np.maximum(weight, z[:, None, None] * y[:, None] * x)
    return grid.image(np.clip(1.6 * weight, 0, 1).astype(np.float32))


def save_anatomy(anatomy: PersonAnatomy, path: Path) -> None:
    """Write a compact file (about .6 MB): T1 in 16 bits, fractions in 8, displacement in .01 mm."""
    top = float(anatomy.t1.max())
    with atomic_path(path) as temporary:
        np.savez_compressed(
            temporary,
            subject=np.array(anatomy.subject),
            origin=np.array(anatomy.grid.origin),
            direction=np.array(anatomy.grid.direction),
            spacing=np.array(anatomy.grid.spacing_mm),
            t1=np.round(np.clip(anatomy.t1, 0, None) * (65535 / top)).astype(np.uint16),
            mask=np.packbits(anatomy.mask),
            displacement=np.round(anatomy.displacement * 100).astype(np.int16),
            affine=anatomy.affine,
            **{name: np.round(getattr(anatomy, name) * 255).astype(np.uint8) for name in _TISSUES},
        )


def load_anatomy(path: Path) -> PersonAnatomy:
    """Read a file of :func:`save_anatomy`; the T1's units are arbitrary from then on."""
    with np.load(path, allow_pickle=False) as file:
        t1 = file["t1"].astype(np.float32)
        spacing, origin, direction = (tuple(file[n].tolist()) for n in ("spacing", "origin", "direction"))
        grid = Grid(t1.shape[::-1], spacing, origin, direction)
        mask = np.unpackbits(file["mask"], count=t1.size).reshape(t1.shape) > 0
        gm, wm, csf = (file[name].astype(np.float32) / 255 for name in _TISSUES)
        displacement = file["displacement"].astype(np.float32) / 100
        return PersonAnatomy(str(file["subject"]), grid, t1, mask, gm, wm, csf, displacement, file["affine"])


@dataclass(frozen=True)
class PeopleSplit:
    """Who is used for what: sorted subject labels; no person is in two lists."""

    train: list[str]
    validation: list[str]
    test: list[str]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def split_people(subjects: Iterable[str], seed: int) -> PeopleSplit:
    """At least 12 people, or a quarter, for the test, 4 for validation, the rest for training.

    :raises InputError: for fewer than 24 people.
    """
    people = sorted(set(subjects))
    if len(people) < 24:
        raise InputError(f"{len(people)} people are too few to hold 12 out.", "Give the whole dataset.")
    # Sorted by a hash, so that a person's place does not depend on who else is there.
    people.sort(key=lambda s: hashlib.sha256(f"{seed}:{s}".encode()).hexdigest())
    n_test = max(12, len(people) // 4)
    test, validation, train = people[:n_test], people[n_test : n_test + 4], people[n_test + 4 :]
    return PeopleSplit(sorted(train), sorted(validation), sorted(test))
