"""Read back what ``mri2pet evaluate`` wrote about one case."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import SimpleITK as sitk

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.tables import read_rows
from MRI2PETLib.evaluation.region_table import RegionRow, read_region_rows
from MRI2PETLib.images.io import read_image

REPORT = "report.html"


class RegionName(NamedTuple):
    """A row of ``regions/NAME.csv``."""

    label: int
    region: str


@dataclass(frozen=True)
class Comparison:
    """A synthetic PET against the real one.

    ``real`` lies on the grid and is in the unit (``unit``) of the synthetic PET. ``scale`` names the rows of
    ``regions`` and the entry of ``scales`` that belong to that unit. ``labels``: parcellation -> label map
    and names of its labels. ``report`` is a whole HTML page.
    """

    real: sitk.Image
    unit: str
    scale: str
    scales: Mapping[str, Any]
    regions: list[RegionRow]
    labels: Mapping[str, tuple[sitk.Image, Mapping[int, str]]]
    report: str
    is_simulated: bool
    largest: Mapping[str, Any]
    notes: list[str]


def read_comparison(folder: Path | str) -> Comparison:
    """Read the output folder of ``mri2pet evaluate --synthetic ... --pet ...``.

    :raises InputError: if files are missing or not those of an evaluation.
    """
    folder = Path(folder)
    try:
        about = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        scales = about["scales"]
        scale = next(iter(scales))  # the stated unit, where there is one, comes first
        return Comparison(
            real=read_image(folder / "real.nii.gz", kind="pet").image,
            unit=str(scales[scale]["unit"]),
            scale=scale,
            scales=scales,
            regions=read_region_rows(folder / "regions.csv"),
            labels={p.name.removesuffix(".nii.gz"): _labels(p) for p in _label_maps(folder)},
            report=(folder / REPORT).read_text(encoding="utf-8"),
            is_simulated=bool(about["provenance"].get("simulated")),
            largest=about["largest_difference"],
            notes=[str(f["message"]) for f in about["quality"]["findings"]],
        )
    except (OSError, ValueError, KeyError, TypeError, StopIteration) as error:
        raise InputError(f"{folder} does not hold an evaluation: {error}.", "Compare again.") from error


def _label_maps(folder: Path) -> list[Path]:
    return sorted((folder / "regions").glob("*.nii.gz"))


def _labels(path: Path) -> tuple[sitk.Image, dict[int, str]]:
    table = path.with_name(path.name.removesuffix(".nii.gz") + ".csv")
    names = {row.label: row.region for row in read_rows(table, RegionName)}
    return read_image(path, kind="labels").image, names
