"""Settings of a simulated dataset."""

from __future__ import annotations

from dataclasses import dataclass

from MRI2PETLib.core.options import seed
from MRI2PETLib.core.settings import Settings, option

SPACING_LIMITS_MM = (0.7, 6.0)
_LEAST, _MOST = SPACING_LIMITS_MM


@dataclass(frozen=True)
class DatasetSettings(Settings):
    """What a simulated dataset is made with, but for the number of its people."""

    seed: int = seed("the people", least=0)
    spacing_mm: float = option(f"voxel size, {_LEAST:g} to {_MOST:g} mm", 2.0, least=_LEAST, most=_MOST)
    head: bool = option("whole heads instead of skull-stripped brains", False)
    lesion_share: float = option("share (0 to 1) of people with a focal PET lesion", 0.25, least=0, most=1)
