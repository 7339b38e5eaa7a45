"""Write one case: maps, tables, picture and the HTML report, together or not at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from MRI2PETLib import __version__
from MRI2PETLib.core.files import make_folder, write_json, write_text
from MRI2PETLib.core.tables import write_rows, write_table
from MRI2PETLib.evaluation.baselines import ANATOMY_NULL, NETWORK
from MRI2PETLib.evaluation.case import SCALE_FREE, STATED_UNIT, CaseResult, RegionRow
from MRI2PETLib.evaluation.inputs import CaseImages
from MRI2PETLib.evaluation.metrics import Metric, brain_metrics, metric_facts, metric_notes
from MRI2PETLib.evaluation.region_table import record_fields, shown_columns
from MRI2PETLib.evaluation.statistics import MIN_GROUP
from MRI2PETLib.images.formats import GENERATED_BY
from MRI2PETLib.images.io import write_image
from MRI2PETLib.models.store import bundle_of
from MRI2PETLib.reports import charts, texts
from MRI2PETLib.reports.case_files import RegionName
from MRI2PETLib.reports.figures import comparison_figure
from MRI2PETLib.reports.page import Cell, Picture, ReportTable, number_text, percent, render
from MRI2PETLib.templates.regions import Parcellation

REPORT_FILE, PICTURE_FILE, METRICS_FILE, REGIONS_FILE = (
    "report.html",
    "comparison.png",
    "metrics.json",
    "regions.csv",
)


def write_comparison(
    folder: Path, title: str, case: CaseImages, result: CaseResult, atlases: Sequence[Parcellation] = ()
) -> dict[str, Any]:
    """Write ``metrics.json``, ``regions.csv``, the maps, ``comparison.png`` and ``report.html`` into
    ``folder``.

    The maps lie on the grid of the case. ``real.nii.gz`` is the aligned real PET in the unit that is shown;
    ``regions/NAME.nii.gz`` holds the labels of one parcellation (nothing outside the brain), ``NAME.csv``
    their names.

    :return: the content of ``metrics.json``.
    :raises OutputError: if the folder cannot be written to.
    """
    note = texts.case_note(case.model, bool(case.provenance.get("simulated")))
    about = {**GENERATED_BY, "Description": note, "ReadoutOf": case.provenance, "Units": result.shown_unit}
    simulated = bool(case.provenance.get("simulated"))
    real_about = {
        "Description": f"{'Simulated' if simulated else 'Real'} PET on the grid of the synthetic one.",
        "Synthetic": False,
        "Simulated": simulated,
    }
    formula = "(synthetic - real) / (synthetic + real)"
    maps = (
        ("normdiff", result.normdiff, {"Units": "none", "Formula": formula}),
        ("difference", result.difference, {"Formula": "synthetic - real"}),
        ("real", result.real, real_about),
        ("valid_mask", result.valid, {"Units": "none", "Meaning": "1 where NormDiff is defined"}),
    )
    for name, image, more in maps:
        write_image(image, folder / f"{name}.nii.gz", {**about, **more}, forms=case.forms)
    write_table(folder / REGIONS_FILE, record_fields(), [row.record() for row in result.regions])
    _write_regions(make_folder(folder / "regions"), case, result)
    picture = comparison_figure(
        case.t1 if case.t1 is not None else case.synthetic,
        result.synthetic,
        result.real,
        case.mask,
        folder / PICTURE_FILE,
        title=title,
        unit=result.shown_unit,
        note=note,
        point_mm=result.point_mm,
    )
    summary = _summary(title, note, case, result, atlases)
    write_json(folder / METRICS_FILE, summary)
    write_text(folder / REPORT_FILE, _page(title, note, case, result, picture))
    return summary


def _write_regions(folder: Path, case: CaseImages, result: CaseResult) -> None:
    """Label map and names of each parcellation that has a voxel in the brain, on the grid of the case."""
    for parcellation in result.parcellations:
        labels = sitk.GetArrayViewFromImage(parcellation.labels)
        if not labels.any():
            continue
        whole = np.zeros(case.mask.GetSize()[::-1], dtype=labels.dtype)
        i, j, k = case.mask.TransformPhysicalPointToIndex(parcellation.labels.GetOrigin())
        whole[k : k + labels.shape[0], j : j + labels.shape[1], i : i + labels.shape[2]] = labels
        image = sitk.GetImageFromArray(whole)
        image.CopyInformation(case.mask)
        write_image(image, folder / f"{parcellation.name}.nii.gz", forms=case.forms)
        write_rows(
            folder / f"{parcellation.name}.csv", [RegionName(*item) for item in parcellation.names.items()]
        )


def _summary(
    title: str, note: str, case: CaseImages, result: CaseResult, atlases: Sequence[Parcellation]
) -> dict[str, Any]:
    x, y, z = result.point_mm
    point_ras = (-x, -y, z)
    return {
        "title": title,
        "description": note,
        "software": {"name": "MRI2PET", "version": __version__},
        "unit": case.unit,
        "where": "brain mask, within the field of view of the real PET",
        "pet_coverage": round(case.pet_coverage, 4),
        "scales": result.scales,
        "metrics": metric_facts(),
        "predictors": {
            p.name: {"uses": p.uses, "not_available": p.reason or None} for p in result.predictors
        },
        "largest_difference": {"region": result.largest, "point_ras_mm": point_ras},
        "atlases": {atlas.name: atlas.source for atlas in atlases},
        "quality": result.verdict.to_dict(),
        "model": case.model,
        "provenance": case.provenance,
        "cannot_say": texts.CANNOT_SAY,
    }


def _page(title: str, note: str, case: CaseImages, result: CaseResult, picture: Path) -> str:
    main_scale = STATED_UNIT if STATED_UNIT in result.scales else SCALE_FREE
    network = result.scales[main_scale]["network"]
    rows = [row for row in result.regions if row.scale == main_scale]
    names, regions = _region_table(result, rows)
    return render(
        "case.html",
        title,
        about=note,
        side_by_side=_side_by_side(picture, result, network),
        coverage=texts.coverage_sentence(case.pet_coverage),
        brain=[_brain(scale, content) for scale, content in result.scales.items()],
        box=" x ".join(f"{size:.3g}" for size in network["cnr_box_mm"]),
        predictors=[
            f"{p.name}: {p.uses}." + (f" Not available: {p.reason}." if p.reason else "")
            for p in result.predictors
        ],
        regions=regions,
        sources=[f"{p.name}: {p.source}" for p in result.parcellations],
        reasons=[
            f"{name}: {row.reason}."
            for name, row in zip(names, (row for row in rows if row.predictor == NETWORK))
            if row.reason
        ],
        plots=_plots(case, result, rows),
        quality=result.verdict.level,
        remarks=result.verdict.reasons(),
        cannot_say=texts.CANNOT_SAY,
        meanings=metric_notes(),
        card=texts.card_paragraph(bundle_of(case.model)),
        provenance=provenance_lines(case.provenance, case.model),
    )


def _side_by_side(png: Path, result: CaseResult, network: dict[str, Any]) -> Picture:
    caption = (
        f"T1, synthetic and real PET in {result.shown_unit} on one colour scale, and NormDiff, through the "
        f"region of the largest difference ({result.largest})."
    )
    r, normdiff = (
        "not available" if network[name] is None else number_text(network[name])
        for name in ("pearson_r", "normdiff_median")
    )
    alt = f"{caption} In the brain r is {r}, the median NormDiff {normdiff}."
    return Picture(png, alt=alt, caption=caption)


def _brain(scale: str, content: dict[str, Any]) -> dict[str, Any]:
    """The table of one scale, and the baselines that are better than the network at something."""
    columns = brain_metrics(in_reports=True)
    network = content["network"]
    predicted = {NETWORK: network, **content["baselines"]}
    rows: list[list[Cell]] = [
        [name, *(metric_cell(m, values.get(key)) for key, m in columns.items())]
        for name, values in predicted.items()
    ]
    meaning = "in the stated unit" if scale == STATED_UNIT else "each image over its own in-brain mean"
    caption = f"Inside the brain, {meaning} ({content['unit']})"
    header = ["predictor", *(metric.heading for metric in columns.values())]
    return {"table": ReportTable(header, rows, caption), "better": better_than_network(predicted)}


def better_than_network(predicted: Mapping[str, Mapping[str, Any]]) -> str:
    """The baselines that beat the network, each with the metrics that say so.

    What is best near 0 is left out: the level, which baselines have from the network.

    :param predicted: predictor -> metric -> value.
    """
    network = predicted[NETWORK]
    judged = {name: m for name, m in brain_metrics(in_reports=True).items() if m.better != "near 0"}
    remarks = []
    for predictor, values in predicted.items():
        comparable = {n: m for n, m in judged.items() if None not in (values.get(n), network.get(n))}
        wins = [m.label for n, m in comparable.items() if m.is_better(values[n], network[n])]
        remarks += [f"{predictor} ({'; '.join(wins)})"] if wins else []
    return ", ".join(remarks)


def metric_cell(metric: Metric, value: float | None) -> Cell:
    """A value as it stands in a table."""
    return percent(value) if metric.unit == "%" else value


def _region_table(result: CaseResult, rows: Sequence[RegionRow]) -> tuple[list[str], ReportTable]:
    """Names of the regions, and their table."""
    columns = shown_columns(rows)
    names = [
        name if parcellation == "brain" else f"{name} ({parcellation})"
        for name, parcellation in zip(columns.pop("region"), columns.pop("parcellation"))
    ]
    positions = {}
    for space in ("", "MNI "):
        points = zip(*(columns.pop(f"{space}{letter} (mm)") for letter in "RAS"))
        positions[f"{space}R, A, S (mm)"] = [
            None if None in point else ", ".join(f"{v:.0f}" for v in point) for point in points
        ]
    columns |= positions
    cells = [[percent(v) if "(%)" in k else v for v in values] for k, values in columns.items()]
    lines: list[list[Cell]] = [[name, *line] for name, line in zip(names, zip(*cells))]
    caption = f"Region means in {result.shown_unit} and the error of each predictor"
    return names, ReportTable(["region", *columns], lines, caption)


def _plots(case: CaseImages, result: CaseResult, rows: Sequence[RegionRow]) -> list[Picture]:
    last = result.regions[-1].parcellation
    rows = [row for row in rows if row.parcellation == last and row.mean_real is not None]
    of_network = [row for row in rows if row.predictor == NETWORK]
    pictures = (
        _region_plots(last, result.shown_unit, rows, of_network) if len(of_network) >= MIN_GROUP else []
    )
    mask = sitk.GetArrayViewFromImage(case.mask) != 0
    synthetic, real = (sitk.GetArrayViewFromImage(i) for i in (result.synthetic, result.real))
    values = {
        "synthetic PET": synthetic[mask],
        "real PET": real[mask],
        f"real PET, {result.fwhm_mm:g} mm": result.smoothed[
            sitk.GetArrayViewFromImage(result.cropped_mask) != 0
        ],
    }
    text = "Distribution of voxel values in the brain."
    medians = ", ".join(f"{name} {number_text(float(np.median(v)))}" for name, v in values.items())
    png = charts.distribution_png(values, unit=result.shown_unit, title=text)
    caption = f"{text} The synthetic outline is narrower: regression to the mean, and no noise."
    return [*pictures, Picture(png, alt=f"{text} Medians: {medians}", caption=caption)]


def _region_plots(
    name: str, unit: str, rows: Sequence[RegionRow], network: Sequence[RegionRow]
) -> list[Picture]:
    s = np.array([row.mean_predicted for row in network], dtype=float)
    r = np.array([row.mean_real_smoothed for row in network], dtype=float)
    text = f"Region means of {name}: synthetic over real PET with the line of identity, and Bland-Altman."
    agreement = charts.agreement_png(s, r, points="regions", unit=unit, title=f"Regions of {name}")
    series: dict[str, list[float | None]] = {}
    for row in rows:
        if row.predictor in (NETWORK, ANATOMY_NULL):
            series.setdefault(row.predictor, []).append(row.metrics["percent_difference"])
    bars = charts.region_bars_png(
        [row.region for row in network],
        series,
        label="difference of the region mean (%), predicted against real",
        title=f"{name}: network and anatomy null",
    )
    return [
        Picture(
            agreement,
            alt=f"{text} The values are in the table of regions.",
            caption=f"{text} Regions of one brain depend on each other: the limits only describe.",
        ),
        Picture(
            bars,
            alt="Difference of each region's mean in percent, network and anatomy null; as in the table.",
            caption="Where the network and the anatomy null are off.",
        ),
    ]


def provenance_lines(provenance: dict[str, Any], model: dict[str, Any]) -> dict[str, str]:
    """File names, checksums, units and versions, one line each."""
    lines = {"Software": f"MRI2PET {__version__}"}
    if model:
        lines["Model"] = f"{model.get('id')} {model.get('version', '')}, sha256 {model.get('sha256', '')}"
    for name, content in provenance.items():
        if isinstance(content, dict):
            lines[name] = ", ".join(f"{k}: {v}" for k, v in content.items())
        elif content is not None:
            lines[name] = str(content)
    return lines
