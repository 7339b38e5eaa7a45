"""Small datasets for the training tests: the template's brain on a 6 mm grid, PET related to the T1."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from MRI2PETLib.images.grid import LPS_AXES, Grid, antialias, extent_along, resample
from MRI2PETLib.templates.icbm152 import load_template

SIZE, SPACING_MM = 32, 6.0
# A network of seconds, see MRI2PETTrainingLib/presets.
PRESET = {
    "description": "for tests",
    "family": "unet",
    "network": {"n_channels": 8, "n_levels": 2},
    "model_space": {
        "size": [24, 24, 24],
        "spacing_mm": 8.0,
        "placement": "head",
        "source": "mask-p1-p99",
        "target": "suvr-half",
    },
    "loss": {"loss_region": "brain"},
    "learning_rate": 0.01,
    "schedule": "cosine",
    "epochs": 2,
    "batch_size": 2,
    "gradient_clip": 1.0,
    "ema_decay": 0.5,
    "patience": 0,
    "select": "best",
    "precision": "fp32",
    "gradient_checkpointing": False,
    "augmentation": {"flip": 0.5},
}


def as_image(array: np.ndarray, spacing_mm: float = SPACING_MM) -> sitk.Image:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing([spacing_mm] * 3)
    image.SetOrigin([-(n - 1) / 2 * spacing_mm for n in array.shape[::-1]])
    return image


@cache
def _template_brain() -> tuple[sitk.Image, sitk.Image]:
    """T1 and mask of the template for voxels of 6 mm, about the middle of its brain."""
    template = load_template()
    low, high = extent_along(template.mask, LPS_AXES)
    images = [sitk.Image(template.t1), sitk.Cast(template.mask, sitk.sitkFloat32)]
    for image in images:
        image.SetOrigin((np.array(image.GetOrigin()) - (low + high) / 2).tolist())
    return antialias(images[0], (SPACING_MM,) * 3), antialias(images[1], (SPACING_MM,) * 3)


def brain(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """T1, PET (SUV about 1) and mask [k, j, i] of a brain with blobs; the PET follows the T1 in part."""
    from scipy import ndimage

    rng = np.random.default_rng(seed)
    grid = Grid.of(as_image(np.zeros((SIZE,) * 3, np.uint8)))
    size = sitk.AffineTransform(np.diag(1 / rng.uniform(0.86, 0.94, 3)).ravel().tolist(), (0.0, 0.0, 0.0))
    values, share = (sitk.GetArrayFromImage(resample(image, grid, size)) for image in _template_brain())
    mask = share > 0.5
    blobs = ndimage.gaussian_filter(rng.standard_normal((SIZE,) * 3), 1.5)
    anatomy = (values - values[mask].mean()) / values[mask].std()
    pattern = np.clip(0.8 * anatomy + 0.6 * blobs / blobs.std(), -3.5, None)
    t1 = (100 + 25 * pattern + 3 * rng.standard_normal(blobs.shape)) * mask
    pet = (1 + 0.3 * np.tanh(pattern) + 0.05 * rng.standard_normal(blobs.shape)) * mask
    return t1.astype(np.float32), (pet * rng.uniform(0.7, 1.4)).astype(np.float32), mask.astype(np.uint8)


def write_pair(folder: Path, seed: int, **sidecar: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    t1, pet, mask = brain(seed)
    for name, array in (("T1", t1), ("PET", pet), ("brain_mask", mask)):
        sitk.WriteImage(as_image(array), str(folder / f"{name}.nii.gz"))
    (folder / "PET.json").write_text(json.dumps({"Units": "SUV", "TracerName": "PBR28", **sidecar}))


def write_dataset(root: Path, names: Sequence[str], first_seed: int = 0) -> Path:
    """A folder a case."""
    for number, name in enumerate(names):
        write_pair(root / name, first_seed + number)
    return root


def write_table(root: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """A manifest.csv in ``root``."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with (root / "manifest.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, columns)
        writer.writeheader()
        writer.writerows(rows)
    return root / "manifest.csv"


def rows_of(root: Path) -> list[dict[str, Any]]:
    """Manifest rows of a dataset of folders, one subject each."""
    return [
        {"case": p.name, "subject": p.name, "t1": f"{p.name}/T1.nii.gz", "pet": f"{p.name}/PET.nii.gz"}
        for p in sorted(root.iterdir())
        if p.is_dir()
    ]


def prepared_cases(folder: Path, names: Sequence[str], size: int = 16) -> list[Any]:
    """Entries of the cache with made-up volumes of ``size`` voxels: PET is a smooth function of the T1."""
    from scipy import ndimage

    from MRI2PETTrainingLib.dataset.cache import ARRAYS, PreparedCase
    from MRI2PETTrainingLib.dataset.manifest import TrainingCase

    cases = []
    for name in names:
        rng = np.random.default_rng(abs(hash_of(name)))
        t1 = ndimage.gaussian_filter(rng.standard_normal((size,) * 3), 1.2)
        t1 = (t1 - t1.min()) / (t1.max() - t1.min())
        mask = np.linalg.norm(np.indices((size,) * 3) - (size - 1) / 2, axis=0) < 0.45 * size
        pet = np.clip(0.5 + 0.3 * np.sin(6 * t1) + 0.02 * rng.standard_normal(t1.shape), 0, 1)
        entry = folder / name
        entry.mkdir(parents=True)
        np.save(entry / ARRAYS, np.stack([t1 * mask, pet * mask, mask]).astype(np.float16))
        case = TrainingCase(name, name, entry / "T1.nii.gz", entry / "PET.nii.gz")
        cases.append(PreparedCase(case, entry, {"findings": [], "template_to_t1_lps": None}))
    return cases


def hash_of(name: str) -> int:
    """The same number for a name in every process."""
    import zlib

    return zlib.crc32(name.encode())


def tiny_preset(**overrides: Any) -> Any:
    """A U-Net of 8 channels and 2 levels on 16 voxels; everything that draws random numbers is on."""
    from dataclasses import replace

    from MRI2PETLib.models.model_space import ModelSpace
    from MRI2PETTrainingLib.presets import Augmentation, read_preset

    settings: dict[str, Any] = {
        "network": {"n_channels": 8, "n_levels": 2},
        "space": ModelSpace(size=(16, 16, 16), spacing_mm=8.0),
        "epochs": 6,
        "batch_size": 2,
        "patience": 0,
        "ema_decay": 0.9,
        "augmentation": Augmentation(0.5, 5.0, 0.05, 1.0, 0.1, 0.02),
    }
    return replace(read_preset("tspo-unet"), **{**settings, **overrides})
