"""Colours of PET and NormDiff, in the reports and in Slicer."""

from __future__ import annotations

from functools import cache

import numpy as np

from MRI2PETLib.core.resources import resources_dir
from MRI2PETLib.core.tables import read_table

# Safe for the common colour vision deficiencies.
PET_IN_REPORTS = "inferno"  # matplotlib
# PET-Heat is yellow to white above a third of its range: where a brain is, it shows no pattern.
PET_IN_SLICER = "vtkMRMLPETProceduralColorNodePET-HotMetalBlue"
# Not the colours of a PET, so that nobody takes one for the other.
SD_IN_SLICER = "vtkMRMLColorTableNodeOcean"
# (s - r) / (s + r) of this size means that one PET is twice the other: there Slicer's colours end.
NORMDIFF_LIMIT = 1 / 3
_SD = ((0.0, 0.14, 0.31), (0.48, 0.48, 0.47), (1.0, 0.91, 0.27))
_SYNTHETIC_LOWER, _EQUAL, _SYNTHETIC_HIGHER = (0.05, 0.20, 0.65), (0.97, 0.97, 0.97), (0.70, 0.05, 0.10)


def normdiff_colors(count: int = 255) -> np.ndarray:
    """The colours of NormDiff from its lowest to its highest value: blue, white in the middle, red.

    :param count: odd, so that the middle colour is 0.
    :return: float [count, 3], red, green and blue from 0 to 1.
    """
    position = np.linspace(-1, 1, count)
    return np.transpose(
        [np.interp(position, (-1, 0, 1), ends) for ends in zip(_SYNTHETIC_LOWER, _EQUAL, _SYNTHETIC_HIGHER)]
    )


@cache
def pet_colors() -> np.ndarray:
    """The colours of a PET in reports from the lower to the upper end of its window, float [256, 3].

    They are :data:`PET_IN_REPORTS` (van der Walt and Smith, CC0), without the import of matplotlib.
    """
    rows = read_table(resources_dir() / "PET" / "colors.csv").rows
    return np.array([[int(row[name]) for name in ("red", "green", "blue")] for row in rows]) / 255


def sd_colors(count: int = 256) -> np.ndarray:
    """From dark blue over grey to yellow, for all colour visions: float [count, 3]."""
    position = np.linspace(0, 1, count)
    return np.transpose([np.interp(position, (0, 0.5, 1), ends) for ends in zip(*_SD)])


def gray_colors() -> np.ndarray:
    """From black to white, float [256, 3]."""
    return np.repeat(np.linspace(0, 1, 256)[:, None], 3, axis=1)
