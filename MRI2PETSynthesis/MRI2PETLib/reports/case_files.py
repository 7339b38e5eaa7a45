"""Read back what ``mri2pet evaluate`` wrote about one case."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import SimpleITK as sitk

from MRI2PETLib.core.errors import InputError, reason_of
from MRI2PETLib.core.files import read_object
from MRI2PETLib.core.findings import Finding, Verdict
from MRI2PETLib.core.tables import read_rows
from MRI2PETLib.evaluation.region_table import RegionRow, read_region_rows
from MRI2PETLib.images.io import read_image


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
    verdict: Verdict


def read_comparison(files: Mapping[str, Any]) -> Comparison:
    """Read what ``mri2pet evaluate --synthetic ... --pet ...`` wrote.

    :param files: by role, as its result event or its record names them.
    :raises InputError: if files are missing or not those of an evaluation.
    """
    try:
        about = read_object(files["metrics"])
        scales = about["scales"]
        scale = next(iter(scales))  # the stated unit, where there is one, comes first
        return Comparison(
            real=read_image(files["real"], kind="pet").image,
            unit=str(scales[scale]["unit"]),
            scale=scale,
            scales=scales,
            regions=read_region_rows(Path(files["regions"])),
            labels={name: _labels(own) for name, own in files["labels"].items()},
            report=Path(files["report"]).read_text(encoding="utf-8"),
            is_simulated=bool(about["provenance"].get("simulated")),
            largest=about["largest_difference"],
            verdict=Verdict(tuple(Finding.of(one) for one in about["quality"]["findings"])),
        )
    except (InputError, OSError, ValueError, KeyError, TypeError, StopIteration) as error:
        raise InputError(
            f"These are not the files of an evaluation: {reason_of(error)}.", "Compare again."
        ) from error


def _labels(files: Mapping[str, Any]) -> tuple[sitk.Image, dict[int, str]]:
    names = {row.label: row.region for row in read_rows(files["names"], RegionName)}
    return read_image(files["image"], kind="labels").image, names
