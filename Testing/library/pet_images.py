"""Small PETs for tests: a ball of known uptake, static or dynamic, alone or in a BIDS dataset."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from MRI2PETLib.images.io import write_image

# 70 kg, 350 MBq: 70000 g / 350e6 Bq.
PLAIN = 70000 / 350e6


def image(value: float = 5000.0, size: tuple[int, int, int] = (40, 44, 38)) -> sitk.Image:
    """A ball of ``value`` in a field of a tenth of it, with a gradient so that it is not constant."""
    k, j, i = np.meshgrid(*[np.linspace(-1, 1, n) for n in size[::-1]], indexing="ij")
    array = np.where(i**2 + j**2 + k**2 < 0.5, value, 0.1 * value) * (1 + 0.01 * i)
    result = sitk.GetImageFromArray(array.astype(np.float32))
    result.SetSpacing([4.0] * 3)
    return result


def dynamic(
    folder: Path, levels: list[float], sidecar: dict[str, Any] | None, name: str = "sub-01_pet"
) -> Path:
    """A 4-D NIfTI whose frames are one image times each level, with its sidecar."""
    frames = sitk.JoinSeries([image(1.0) * level for level in levels])
    path = folder / f"{name}.nii.gz"
    sitk.WriteImage(frames, str(path))
    if sidecar is not None:
        (folder / f"{name}.json").write_text(json.dumps(sidecar))
    return path


def centre(pet: sitk.Image) -> float:
    """The value of the ball, free of its gradient (mean of two voxels symmetric about the centre)."""
    return float(pet[19, 22, 19] + pet[20, 22, 19]) / 2


# A static PET in Bq/mL as BIDS describes it.
STATIC_PET: dict[str, Any] = {
    "Units": "Bq/mL",
    "TracerRadionuclide": "C11",
    "InjectedRadioactivity": 350,
    "InjectedRadioactivityUnits": "MBq",
    "InjectionStart": 0,
    "FrameTimesStart": [3600],
    "FrameDuration": [1800],
    "ImageDecayCorrected": True,
    "ImageDecayCorrectionTime": 3600,
}


def bids(folder: Path, *, weight: str | None = "70", level: float = 5000.0, **change: Any) -> Path:
    """A BIDS dataset with one static PET in Bq/mL; a change to None takes a field out."""
    sidecar = {**STATIC_PET, **change}
    pet = folder / "sub-01" / "ses-1" / "pet"
    pet.mkdir(parents=True)
    if weight is not None:
        table = f"participant_id\tage\tweight\nsub-02\t30\t99\nsub-01\t40\t{weight}\n"
        (folder / "participants.tsv").write_text(table)
    sidecar = {key: value for key, value in sidecar.items() if value is not None}
    return write_image(image(level), pet / "sub-01_ses-1_pet.nii.gz", sidecar)
