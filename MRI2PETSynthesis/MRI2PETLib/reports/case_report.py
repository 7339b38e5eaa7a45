"""Write one case: maps, tables, picture and the HTML report, together or not at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from MRI2PETLib import __version__
from MRI2PETLib.core.files import make_folder, write_json, write_text
from MRI2PETLib.core.tables import write_rows, write_table
from MRI2PETLib.evaluation.asymmetry import case_asymmetry
from MRI2PETLib.evaluation.baselines import NETWORK
from MRI2PETLib.evaluation.case import SCALE_FREE, STATED_UNIT, CaseResult, RegionRow
from MRI2PETLib.evaluation.error_maps import LEAST_SHARE
from MRI2PETLib.evaluation.inputs import CaseImages
from MRI2PETLib.evaluation.metrics import METRICS, brain_metrics, metric_facts, metric_notes
from MRI2PETLib.evaluation.region_table import record_fields, shown_columns
from MRI2PETLib.images.formats import GENERATED_BY
from MRI2PETLib.images.io import write_image
from MRI2PETLib.models.store import bundle_of
from MRI2PETLib.reports import space_sections, texts
from MRI2PETLib.reports.case_files import RegionName
from MRI2PETLib.reports.case_plots import case_plots
from MRI2PETLib.reports.case_viewer import case_viewer
from MRI2PETLib.reports.comparison_figure import comparison_figure
from MRI2PETLib.reports.error_figure import SCALES, ErrorImages, error_figure
from MRI2PETLib.reports.page import Cell, Picture, ReportTable, metric_cell, number_text, percent, render
from MRI2PETLib.reports.summary import case_summary
from MRI2PETLib.templates.regions import Parcellation

REPORT_FILE, PICTURE_FILE, METRICS_FILE, REGIONS_FILE = (
    "report.html",
    "comparison.png",
    "metrics.json",
    "regions.csv",
)
ERRORS_FILE, ASYMMETRY_FILE = "errors.png", "asymmetry.csv"
_PERCENT = {
    "Formula": "100 (synthetic - real) / real",
    "Meaning": f"0 where the real PET is below {LEAST_SHARE:g} of its mean in the brain, and outside",
}


def write_comparison(
    folder: Path, title: str, case: CaseImages, result: CaseResult, atlases: Sequence[Parcellation] = ()
) -> dict[str, Any]:
    """Write ``metrics.json``, ``regions.csv``, ``asymmetry.csv``, the maps, ``comparison.png``,
    ``errors.png`` and ``report.html`` into ``folder``.

    The maps lie on the grid of the case. ``real.nii.gz`` is the aligned real PET in the unit that is shown;
    ``regions/NAME.nii.gz`` holds the labels of one parcellation (nothing outside the brain), ``NAME.csv``
    their names.

    :return: the content of ``metrics.json``.
    :raises OutputError: if the folder cannot be written to.
    """
    make_folder(folder)
    target, to_pet = case.direction.target_name, case.direction.to_pet
    note = texts.case_note(case.model, bool(case.provenance.get("simulated")), case.direction)
    about = {**GENERATED_BY, "Description": note, "ReadoutOf": case.provenance, "Units": result.shown_unit}
    simulated = bool(case.provenance.get("simulated"))
    real_about = {
        "Description": f"{'Simulated' if simulated else 'Real'} {target} on the grid of the synthetic one.",
        "Synthetic": False,
        "Simulated": simulated,
    }
    squared = METRICS["mse"].unit_of(result.shown_unit)
    formula = "(synthetic - real) / (synthetic + real)"
    maps = (
        ("normdiff", result.normdiff, {"Units": "none", "Formula": formula}),
        ("difference", result.difference, {"Formula": "synthetic - real"}),
        ("percent_difference", result.percent_difference, {"Units": "%", **_PERCENT}),
        ("squared_error", result.squared_error, {"Units": squared, "Formula": "(synthetic - real)^2"}),
        ("real", result.real, real_about),
        ("valid_mask", result.valid, {"Units": "none", "Meaning": "1 where NormDiff is defined"}),
    )
    for name, image, more in maps:
        if to_pet or name not in ("normdiff", "valid_mask", "percent_difference"):
            write_image(image, folder / f"{name}.nii.gz", {**about, **more}, forms=case.forms)
    write_table(folder / REGIONS_FILE, record_fields(), [row.record() for row in result.regions])
    _write_regions(make_folder(folder / "regions"), case, result)
    picture = comparison_figure(
        case.source if case.source is not None else case.synthetic,
        result.synthetic,
        result.real,
        case.mask,
        folder / PICTURE_FILE,
        title=title,
        unit=result.shown_unit,
        note=note,
        direction=case.direction,
        point_mm=result.point_mm,
    )
    errors = _draw_errors(folder / ERRORS_FILE, title, note, case, result) if to_pet else None
    asymmetry = case_asymmetry(_main_rows(result)) if to_pet else []
    if asymmetry:
        write_rows(folder / ASYMMETRY_FILE, asymmetry)
    summary = _summary(title, note, case, result, atlases)
    write_json(folder / METRICS_FILE, summary)
    write_text(folder / REPORT_FILE, _page(title, note, case, result, (picture, errors)))
    return summary


def _draw_errors(path: Path, title: str, note: str, case: CaseImages, result: CaseResult) -> Path:
    return error_figure(
        ErrorImages(
            t1=case.t1 if case.t1 is not None else case.synthetic,
            mask=case.mask,
            percent=result.percent_difference,
            percent_valid=result.percent_valid,
            squared=result.squared_error,
            squared_unit=METRICS["mse"].unit_of(result.shown_unit),
        ),
        path,
        title=f"{title}: errors",
        note=note,
        point_mm=result.point_mm,
    )


def _main_rows(result: CaseResult) -> list[RegionRow]:
    """The rows of the scale that is shown."""
    main_scale = STATED_UNIT if STATED_UNIT in result.scales else SCALE_FREE
    return [row for row in result.regions if row.scale == main_scale]


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
        "spaces": {
            space.name: {"not_available": space.reason} if space.reason else space.metrics
            for space in result.spaces
        },
        "metrics": metric_facts(),
        "predictors": {
            p.name: {"uses": p.uses, "not_available": p.reason or None} for p in result.predictors
        },
        "largest_difference": {"region": result.largest, "point_ras_mm": point_ras},
        "atlases": {atlas.name: atlas.source for atlas in atlases},
        "quality": result.verdict.to_dict(),
        "model": case.model,
        "provenance": case.provenance,
        "direction": asdict(case.direction),
        "cannot_say": texts.cannot_say(case.direction),
    }


def _page(
    title: str, note: str, case: CaseImages, result: CaseResult, pictures: tuple[Path, Path | None]
) -> str:
    main_scale = STATED_UNIT if STATED_UNIT in result.scales else SCALE_FREE
    network = result.scales[main_scale]["network"]
    rows = _main_rows(result)
    picture, errors = pictures
    names, regions, details = _region_tables(result, rows)
    return render(
        "case.html",
        title,
        viewer=case_viewer(case, result.parcellations, result.point_mm, note),
        about=note,
        summary=case_summary(network, result.scales[main_scale]["baselines"], result.shown_unit),
        side_by_side=_side_by_side(picture, result, network),
        coverage=texts.coverage_sentence(case.pet_coverage),
        errors=None if errors is None else _errors(errors, result, network),
        brain=[_brain(scale, content) for scale, content in result.scales.items()],
        box=" x ".join(f"{size:.3g}" for size in network["cnr_box_mm"]),
        predictors=[
            f"{p.name}: {p.uses}." + (f" Not available: {p.reason}." if p.reason else "")
            for p in result.predictors
        ],
        regions=regions,
        region_details=details,
        sources=[f"{p.name}: {p.source}" for p in result.parcellations],
        reasons=[
            f"{name}: {row.reason}."
            for name, row in zip(names, (row for row in rows if row.predictor == NETWORK))
            if row.reason
        ],
        plots=case_plots(case, result, rows),
        spaces=space_sections.case_spaces(result.spaces, result.shown_unit),
        space_reasons=space_sections.missing_spaces(result.spaces),
        asymmetry=space_sections.asymmetry_of_case(case_asymmetry(rows) if case.direction.to_pet else []),
        quality=result.verdict.level,
        remarks=result.verdict.reasons(),
        cannot_say=texts.cannot_say(case.direction),
        direction=case.direction,
        unfit=texts.left_out(case.direction),
        meanings=metric_notes(to_pet=case.direction.to_pet),
        card=texts.card_paragraph(bundle_of(case.model)),
        provenance=provenance_lines(case.provenance, case.model),
    )


def _side_by_side(png: Path, result: CaseResult, network: dict[str, Any]) -> Picture:
    way = result.direction
    caption = (
        f"{way.source_name}, synthetic and real {way.target_name} in {result.shown_unit} on one colour "
        f"scale, and {'NormDiff' if way.to_pet else 'their difference'}, through the region of the largest "
        f"difference ({result.largest})."
    )
    r, normdiff = (
        "not available" if network[name] is None else number_text(network[name])
        for name in ("pearson_r", "normdiff_median")
    )
    alt = f"{caption} In the brain r is {r}, the median NormDiff {normdiff}."
    return Picture(png, alt=alt, caption=caption)


def _errors(png: Path, result: CaseResult, network: dict[str, Any]) -> Picture:
    caption = (
        f"Percentage difference and squared error in {result.shown_unit} by voxel, through the same place. "
        f"{SCALES} Where the real PET is below {100 * LEAST_SHARE:g} % of its mean in the brain a percentage "
        "says nothing, and none is shown. Files: percent_difference.nii.gz, squared_error.nii.gz."
    )
    mean = "not available" if network["mse"] is None else number_text(network["mse"])
    return Picture(png, alt=f"{caption} The mean squared error is {mean}.", caption=caption)


def _brain(scale: str, content: dict[str, Any]) -> dict[str, Any]:
    """The table of one scale, and the baselines that are better than the network at something."""
    columns = brain_metrics(in_reports=True)
    network = content["network"]
    predicted = {NETWORK: network, **content["baselines"]}
    rows: list[list[Cell]] = [
        [m.heading, *(metric_cell(m, values.get(key)) for values in predicted.values())]
        for key, m in columns.items()
    ]
    meaning = "in the stated unit" if scale == STATED_UNIT else "each image over its own in-brain mean"
    caption = f"Inside the brain, {meaning} ({content['unit']})"
    table = ReportTable(["number", *predicted], rows, caption, lead=(), lead_column=1)
    return {"table": table, "better": better_than_network(predicted)}


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


def _region_tables(
    result: CaseResult, rows: Sequence[RegionRow]
) -> tuple[list[str], ReportTable, ReportTable]:
    """Names of the regions; the network's numbers; where the regions are and what the baselines reach."""
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
    cells = {k: [percent(v) if "(%)" in k else v for v in values] for k, values in columns.items()}
    of_baselines = tuple(f", {p.name}" for p in result.predictors if p.name != NETWORK)
    folded = [key for key in cells if key in (*positions, "volume (mL)") or key.endswith(of_baselines)]
    first, second = (
        ReportTable(["region", *keys], list(zip(names, *(cells[key] for key in keys))), caption)
        for keys, caption in (
            (
                [key for key in cells if key not in folded],
                f"Region means in {result.shown_unit}, and the network's error",
            ),
            (folded, "Where the regions are, and the errors of the baselines"),
        )
    )
    return names, first, second


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
