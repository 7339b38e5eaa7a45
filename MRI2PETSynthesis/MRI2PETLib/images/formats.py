"""Image files by their names: which can be read, which can be written, and where their sidecars are."""

from __future__ import annotations

from pathlib import Path

SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
WRITABLE_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha")


def image_suffix(path: Path) -> str:
    """The suffix as one of :data:`SUFFIXES`, or the plain last suffix."""
    name = path.name.lower()
    return next((s for s in SUFFIXES if name.endswith(s)), Path(name).suffix)


def image_stem(path: Path | str) -> str:
    """The file's name without :func:`image_suffix`; the name of a folder."""
    path = Path(path)
    return path.name[: len(path.name) - len(image_suffix(path))] if is_image(path) else path.name


def is_image(path: Path) -> bool:
    """Whether the name is that of an image file this program reads."""
    return path.name.lower().endswith(SUFFIXES) and not path.name.startswith(".")


def sidecar_path(path: Path | str) -> Path:
    """``PET.nii.gz`` -> ``PET.json``."""
    path = Path(path)
    return path.with_name(path.name[: len(path.name) - len(image_suffix(path))] + ".json")
