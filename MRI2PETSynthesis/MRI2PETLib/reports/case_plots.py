"""The plots of a case's report: regions, and the distribution of voxel values."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk

from MRI2PETLib.evaluation.baselines import NETWORK, WARPED_AVERAGE
from MRI2PETLib.evaluation.case import CaseResult, RegionRow
from MRI2PETLib.evaluation.direction import Direction
from MRI2PETLib.evaluation.inputs import CaseImages
from MRI2PETLib.evaluation.statistics import MIN_GROUP
from MRI2PETLib.reports import charts
from MRI2PETLib.reports.page import Picture, number_text


def case_plots(case: CaseImages, result: CaseResult, rows: Sequence[RegionRow]) -> list[Picture]:
    """Scatter, Bland-Altman and differences of the last parcellation, and the distributions."""
    last = result.regions[-1].parcellation
    rows = [row for row in rows if row.parcellation == last and row.mean_real is not None]
    of_network = [row for row in rows if row.predictor == NETWORK]
    pictures = []
    if len(of_network) >= MIN_GROUP:
        pictures = _region_plots(last, result.shown_unit, rows, of_network, case.direction)
    target = case.direction.target_name
    mask = sitk.GetArrayViewFromImage(case.mask) != 0
    synthetic, real = (sitk.GetArrayViewFromImage(i) for i in (result.synthetic, result.real))
    values = {
        f"synthetic {target}": synthetic[mask],
        f"real {target}": real[mask],
    }
    if case.direction.to_pet:
        cropped = sitk.GetArrayViewFromImage(result.cropped_mask) != 0
        values[f"real PET, {result.fwhm_mm:g} mm"] = result.smoothed[cropped]
    text = "Distribution of voxel values in the brain."
    medians = ", ".join(f"{name} {number_text(float(np.median(v)))}" for name, v in values.items())
    png = charts.distribution_png(values, unit=result.shown_unit, title=text)
    caption = f"{text} The synthetic outline is narrower: regression to the mean, and no noise."
    return [*pictures, Picture(png, alt=f"{text} Medians: {medians}", caption=caption)]


def _region_plots(
    name: str, unit: str, rows: Sequence[RegionRow], network: Sequence[RegionRow], direction: Direction
) -> list[Picture]:
    s = np.array([row.mean_predicted for row in network], dtype=float)
    r = np.array([row.mean_real_smoothed for row in network], dtype=float)
    target = direction.target_name
    text = f"Region means of {name}: synthetic over real {target}, line of identity, and Bland-Altman."
    names = charts.AXIS_NAMES if direction.to_pet else charts.MRI_AXIS_NAMES
    agreement = charts.agreement_png(
        s, r, points="regions", unit=unit, title=f"Regions of {name}", names=names
    )
    scatter = Picture(
        agreement,
        alt=f"{text} The values are in the table of regions.",
        caption=f"{text} Regions of one brain depend on each other: the limits only describe.",
    )
    if not direction.to_pet:
        return [scatter]
    series: dict[str, list[float | None]] = {}
    for row in rows:
        if row.predictor in (NETWORK, WARPED_AVERAGE):
            series.setdefault(row.predictor, []).append(row.metrics["percent_difference"])
    bars = charts.region_bars_png(
        [row.region for row in network],
        series,
        label="difference of the region mean (%), predicted against real",
        title=f"{name}: network and warped average",
    )
    return [
        scatter,
        Picture(
            bars,
            alt="Difference of each region's mean in percent, network and warped average; as in the table.",
            caption="Where the network and the warped average are off.",
        ),
    ]
