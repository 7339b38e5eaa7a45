"""Changes of the files of a folder between two runs of a command, and what it holds afterwards."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from MRI2PETLib.images.grid import Grid
from MRI2PETLib.images.io import write_image

GRID = Grid((12, 12, 12), (4.0, 4.0, 4.0), (0.0, 0.0, 0.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
Change = Callable[[Path], dict[str, Any]]  # returns what the second run is given besides


def noise(seed: int) -> sitk.Image:
    return GRID.image(np.random.default_rng(seed).random(GRID.size).astype(np.float32))


def image(name: str) -> Change:
    def change(root: Path) -> dict[str, Any]:
        write_image(noise(9), root / name)
        return {}

    return change


def text(name: str, old: str, new: str) -> Change:
    def change(root: Path) -> dict[str, Any]:
        content = (root / name).read_text().replace(old, new)
        (root / name).write_text(content)
        return {}

    return change


def append(name: str) -> Change:
    def change(root: Path) -> dict[str, Any]:
        (root / name).write_bytes((root / name).read_bytes() + b" ")
        return {}

    return change


def delete(name: str) -> Change:
    def change(root: Path) -> dict[str, Any]:
        (root / name).unlink()
        return {}

    return change


def other(**changes: Any) -> Change:
    return lambda root: changes


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
