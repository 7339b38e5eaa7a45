"""Write one case: maps, tables, picture and the HTML report, together or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from MRI2PETLib import __version__
from MRI2PETLib.core.files import make_folder, staged_folder, write_json, write_text
from MRI2PETLib.core.tables import write_rows, write_table
from MRI2PETLib.evaluation.baselines import ANATOMY_NULL, NETWORK
from MRI2PETLib.evaluation.case import SCALE_FREE, STATED, CaseResult
from MRI2PETLib.evaluation.inputs import CaseImages
from MRI2PETLib.evaluation.metrics import Metric, brain_metrics, metric_notes
from MRI2PETLib.evaluation.region_table import record_fields, shown_columns
from MRI2PETLib.images.io import write_image
from MRI2PETLib.models.store import bundle_of
from MRI2PETLib.reports import charts, markup
from MRI2PETLib.reports import texts as wording
from MRI2PETLib.reports.case_files import RegionName
from MRI2PETLib.reports.figures import comparison_figure
from MRI2PETLib.templates.regions import Parcellation

REPORT = "report.html"


def write_case(
    folder: Path, title: str, case: CaseImages, result: CaseResult, atlases: Sequence[Parcellation] = ()
) -> dict[str, Any]:
    """Write ``metrics.json``, ``regions.csv``, the maps, ``comparison.png`` and ``report.html`` into
    ``folder``.

    The maps lie on the grid of the case. ``real.nii.gz`` is the aligned real PET in the unit that is shown;
    ``regions/NAME.nii.gz`` holds the labels of one parcellation (nothing outside the brain), ``NAME.csv``
    their names.

    :return: the content of ``metrics.json``.
    :raises OutputError: if the folder cannot be written to; then nothing is left in it.
    """
    note = wording.case_note(case.model, bool(case.provenance.get("simulated")))
    about = {"Description": note, "ReadoutOf": case.provenance, "Units": result.shown_unit}
    simulated = bool(case.provenance.get("simulated"))
    real_about = {
        "Description": f"{'Simulated' if simulated else 'Real'} PET on the grid of the synthetic one.",
        "Synthetic": False,
        "Simulated": simulated,
    }
    with staged_folder(folder, last=REPORT) as staging:
        maps = (
            (
                "normdiff",
                result.normdiff,
                {"Units": "none", "Formula": "(synthetic - real) / (synthetic + real)"},
            ),
            ("difference", result.difference, {"Formula": "synthetic - real"}),
            (
                "real",
                result.real,
                real_about,
            ),
            ("valid_mask", result.valid, {"Units": "none", "Meaning": "1 where NormDiff is defined"}),
        )
        for name, image, more in maps:
            write_image(image, staging / f"{name}.nii.gz", {**about, **more}, forms=case.forms)
        write_table(staging / "regions.csv", record_fields(), [row.record() for row in result.regions])
        _write_regions(make_folder(staging / "regions"), case, result)
        picture = comparison_figure(
            case.t1 if case.t1 is not None else case.synthetic,
            result.synthetic,
            result.real,
            case.mask,
            staging / "comparison.png",
            title=title,
            unit=result.shown_unit,
            note=note,
            point_mm=result.point_mm,
        )
        summary = _summary(title, note, case, result, atlases)
        write_json(staging / "metrics.json", summary)
        write_text(staging / REPORT, _page(title, note, case, result, atlases, picture))
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
    return {
        "title": title,
        "description": note,
        "software": {"name": "MRI2PET", "version": __version__},
        "unit": case.unit,
        "where": "brain mask, within the field of view of the real PET",
        "scales": result.scales,
        "metrics": {
            name: {"label": m.label, "unit": m.unit, "better": m.better, "note": m.note}
            for name, m in brain_metrics().items()
        },
        "predictors": {
            p.name: {"uses": p.uses, "not_available": p.reason or None} for p in result.predictors
        },
        "largest_difference": {"region": result.largest, "point_lps_mm": result.point_mm},
        "atlases": {atlas.name: atlas.source for atlas in atlases},
        "quality": result.verdict.to_dict(),
        "model": case.model,
        "provenance": case.provenance,
        "cannot_say": wording.CANNOT_SAY,
    }


def _page(
    title: str,
    note: str,
    case: CaseImages,
    result: CaseResult,
    atlases: Sequence[Parcellation],
    picture: Path,
) -> str:
    unit = result.shown_unit
    shown = STATED if STATED in result.scales else SCALE_FREE
    caption = (
        f"T1, synthetic and real PET in {unit} on one colour scale, and NormDiff, through the region of the "
        f"largest "
        f"difference ({result.largest})."
    )
    network = result.scales[shown]["network"]
    alt = (
        f"{caption} In the brain r is {_said(network['pearson_r'])}, the median NormDiff "
        f"{_said(network['normdiff_median'])}."
    )
    sections = [
        ("picture", "Side by side", markup.picture(picture, alt=alt, caption=caption)),
        ("brain", "Whole brain, beside the baselines", _brain_section(result)),
        ("regions", "Regions", _region_section(result, shown, atlases)),
        ("plots", "Agreement and distribution", _plot_section(case, result, shown)),
        ("quality", "Quality of the inputs", _quality_section(result)),
        ("limits", "What these numbers cannot say", markup.bullets(wording.CANNOT_SAY)),
        ("definitions", "Definitions", markup.bullets(metric_notes())),
        ("model", "Model", markup.paragraph(wording.card_paragraph(bundle_of(case.model)))),
        ("provenance", "Provenance", markup.definitions(provenance_lines(case.provenance, case.model))),
    ]
    return markup.page(title, sections, intro=markup.note(note))


def _said(value: float | None) -> str:
    return "not available" if value is None else markup.number(value)


def _brain_section(result: CaseResult) -> str:
    parts = []
    columns = brain_metrics(shown=True)
    for scale, content in result.scales.items():
        predicted = {NETWORK: content["network"], **content["baselines"]}
        rows = [
            [name, *(_cell(m, values.get(key)) for key, m in columns.items())]
            for name, values in predicted.items()
        ]
        meaning = "in the stated unit" if scale == STATED else "each image over its own in-brain mean"
        caption = f"Inside the brain, {meaning} ({content['unit']})"
        header = ["predictor", *(metric.heading for metric in columns.values())]
        parts.append(markup.table(header, rows, caption=caption, lead=(0,)) + _who_is_better(predicted))
    known = [
        f"{p.name}: {p.uses}." + (f" Not available: {p.reason}." if p.reason else "")
        for p in result.predictors
    ]
    box = next(iter(result.scales.values()))["network"]["cnr_box_mm"]
    intro = markup.paragraph(
        "All baselines have the in-brain mean of the synthetic PET, so that rows differ in their pattern "
        f"only. |CNR|: boxes of {' x '.join(f'{size:.3g}' for size in box)} mm."
    )
    return intro + "".join(parts) + markup.bullets(known)


def _who_is_better(predicted: dict[str, dict[str, Any]]) -> str:
    """A remark that names the baselines that beat the network, if any does."""
    network = predicted[NETWORK]
    beaten = []
    for name, values in predicted.items():
        better = [
            metric.label
            for key, metric in brain_metrics(shown=True).items()
            if None not in (values.get(key), network[key]) and metric.is_better(values[key], network[key])
        ]
        beaten += [f"{name} ({'; '.join(better)})"] if better else []
    return markup.note(f"Better than the network: {', '.join(beaten)}.") if beaten else ""


def _cell(metric: Metric, value: float | None) -> markup.Cell:
    return markup.percent(value) if metric.unit == "%" else value


def _region_section(result: CaseResult, shown: str, atlases: Sequence[Parcellation]) -> str:
    chosen = [row for row in result.regions if row.scale == shown]
    columns = shown_columns(chosen)
    names = [
        name if parcellation == "brain" else f"{name} ({parcellation})"
        for name, parcellation in zip(columns.pop("region"), columns.pop("parcellation"))
    ]
    cells = [[markup.percent(v) if "(%)" in k else v for v in values] for k, values in columns.items()]
    rows: list[list[markup.Cell]] = [[name, *line] for name, line in zip(names, zip(*cells))]
    network = [row for row in chosen if row.predictor == NETWORK]
    reasons = [f"{name}: {row.reason}." for name, row in zip(names, network) if row.reason]
    sources = {row.parcellation for row in result.regions}
    origin = [f"{a.name}: {a.source}" for a in atlases]
    if "paper21" in sources:
        origin.append(
            "paper21: spheres at MNI coordinates named after the 21 structures of the published evaluation; "
            "tissue and "
            "hemispheres: the template's, by affine registration."
        )
    return (
        markup.table(
            ["region", *columns],
            rows,
            caption=f"Region means in {result.shown_unit} and the error of each predictor",
            lead=(0,),
        )
        + markup.bullets(origin)
        + (markup.bullets(reasons) if reasons else "")
    )


def _plot_section(case: CaseImages, result: CaseResult, shown: str) -> str:
    last = result.regions[-1].parcellation
    chosen = [
        row
        for row in result.regions
        if (row.parcellation, row.predictor, row.scale) == (last, NETWORK, shown)
        and row.mean_real is not None
    ]
    mask = sitk.GetArrayViewFromImage(case.mask) != 0
    synthetic, real = (sitk.GetArrayViewFromImage(i) for i in (result.synthetic, result.real))
    small = sitk.GetArrayViewFromImage(result.cropped_mask) != 0
    values = {
        "synthetic PET": synthetic[mask],
        "real PET": real[mask],
        f"real PET, {result.fwhm_mm:g} mm": result.smoothed[small],
    }
    parts = []
    if len(chosen) >= 3:
        s = np.array([row.mean_predicted for row in chosen], dtype=float)
        r = np.array([row.mean_real_smoothed for row in chosen], dtype=float)
        text = f"Region means of {last}: synthetic over real PET with the line of identity, and Bland-Altman."
        parts.append(
            markup.picture(
                charts.agreement_png(
                    s, r, points="regions", unit=result.shown_unit, title=f"Regions of {last}"
                ),
                alt=f"{text} The values are in the table of regions.",
                caption=f"{text} Regions of one brain depend on each other: the limits only describe.",
            )
        )
        parts.append(
            markup.picture(
                charts.region_bars_png(
                    [row.region for row in chosen],
                    _by_predictor(result, last, shown),
                    label="difference of the region mean (%), predicted against real",
                    title=f"{last}: network and anatomy null",
                ),
                alt="Difference of each region's mean in percent, network and anatomy null; as in the table.",
                caption="Where the network and the anatomy null are off.",
            )
        )
    text = "Distribution of voxel values in the brain."
    parts.append(
        markup.picture(
            charts.distribution_png(values, unit=result.shown_unit, title=text),
            alt=f"{text} Medians: "
            + ", ".join(f"{k} {markup.number(float(np.median(v)))}" for k, v in values.items()),
            caption=f"{text} A narrower synthetic outline is regression to the mean, and absence of noise.",
        )
    )
    return "".join(parts)


def _by_predictor(result: CaseResult, parcellation: str, scale: str) -> dict[str, list[float | None]]:
    series: dict[str, list[float | None]] = {}
    usable = {p.name for p in result.predictors if p.values is not None and p.name in (NETWORK, ANATOMY_NULL)}
    for row in result.regions:
        chosen = (row.parcellation, row.scale) == (parcellation, scale) and row.predictor in usable
        if chosen and row.mean_real is not None:
            series.setdefault(row.predictor, []).append(row.metrics["percent_difference"])
    return series


def _quality_section(result: CaseResult) -> str:
    level = result.verdict.level
    said = {"ok": "ok.", "warn": "usable, with remarks:", "refuse": "not usable:"}[level]
    kind = {"ok": "ok", "warn": "", "refuse": "refuse"}[level]
    return markup.note(f"Verdict: {said}", kind) + markup.bullets(result.verdict.reasons())


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
