"""Write the tables, the picture and the HTML report of a cohort."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import SimpleITK as sitk

from MRI2PETLib import __version__
from MRI2PETLib.core.files import write_json, write_text
from MRI2PETLib.core.tables import record, write_rows, write_table
from MRI2PETLib.evaluation.baselines import NETWORK
from MRI2PETLib.evaluation.case import shown_pair
from MRI2PETLib.evaluation.case_regions import case_parcellations
from MRI2PETLib.evaluation.cohort import Cohort, Scan
from MRI2PETLib.evaluation.cohort_cases import STRATA, CohortCase
from MRI2PETLib.evaluation.cohort_results import CohortTables, all_tables
from MRI2PETLib.evaluation.inputs import load_case
from MRI2PETLib.evaluation.metrics import METRICS, brain_metrics, metric_facts, metric_notes
from MRI2PETLib.evaluation.paired import HOW_PAIRED, PairedRow
from MRI2PETLib.evaluation.spaces import mni_grid
from MRI2PETLib.images.formats import GENERATED_BY
from MRI2PETLib.images.io import write_image
from MRI2PETLib.models.store import bundle_of
from MRI2PETLib.reports import cohort_sections, group_sections, paired_sections, space_sections, texts
from MRI2PETLib.reports.case_report import ERRORS_FILE, PICTURE_FILE, REPORT_FILE, provenance_lines
from MRI2PETLib.reports.case_viewer import case_viewer
from MRI2PETLib.reports.comparison_figure import comparison_figure
from MRI2PETLib.reports.error_figure import SCALES, ErrorImages, error_figure
from MRI2PETLib.reports.page import Picture, how_many, number_text, render
from MRI2PETLib.reports.summary import cohort_summary
from MRI2PETLib.reports.viewer import Viewer
from MRI2PETLib.templates.icbm152 import load_template

_NAMED = 5  # failed cases whose names the command line shows


class TypicalCase(NamedTuple):
    """The scan with the median correlation: its picture, and its images to scroll through."""

    picture: Picture
    viewer: Viewer


def write_cohort(folder: Path, title: str, cohort: Cohort, compared: Sequence[PairedRow] = ()) -> TypicalCase:
    """Write everything about a cohort into ``folder``, which holds ``regions.csv`` already.

    ``scans.csv`` (one row a scan, failed ones included), ``summary.csv``, ``region_statistics.csv``,
    ``groups.csv``, ``levels.csv`` (Table 2), ``spaces.csv``, ``asymmetry.csv``, ``specificity.csv``,
    ``others.csv`` (Table 5), ``paper_table4.csv``, ``fid.csv`` and ``against.csv`` (where they were asked
    for), ``methods.csv`` (the network against the baselines, person by person), ``cohort.json``, mean maps of
    the errors in MNI space with their picture, a picture of the scan with the median correlation,
    ``report.html``.

    :param compared: with another model, see :func:`.against.against_table`.
    :return: the typical case, for other reports of the same cohort.
    """
    tables = all_tables(cohort, compared)
    for name, rows in tables._asdict().items():
        if rows:
            write_rows(folder / f"{name}.csv", rows)
    _write_scans(folder / "scans.csv", cohort)
    note = texts.case_note(cohort.model, cohort.simulated, cohort.direction)
    typical_case = _draw(folder / PICTURE_FILE, cohort, _median_scan(cohort), note)
    errors = _write_mean_maps(folder, cohort, note)
    write_json(folder / "cohort.json", _content(title, note, cohort, tables))
    write_text(folder / REPORT_FILE, _page(title, note, cohort, tables, typical_case, errors))
    return typical_case


def _seconds_per_case(cohort: Cohort) -> float:
    return float(np.mean([scan.seconds for scan in cohort.scans]))


def _content(title: str, note: str, cohort: Cohort, tables: CohortTables) -> dict[str, Any]:
    """What ``cohort.json`` holds."""
    return {
        "title": title,
        "description": note,
        "software": {"name": "MRI2PET", "version": __version__},
        "unit": cohort.unit,
        "scale": cohort.scale,
        "n_scans": len(cohort.scans),
        "n_people": cohort.n_people,
        "seconds_per_case": _seconds_per_case(cohort),
        "failed": [{"case": f.case.case, "message": f.message, "hint": f.hint} for f in cohort.failed],
        "metrics": metric_facts(),
        "predictors": cohort.uses,
        "settings": cohort.settings.to_dict(),
        "cautions": [*cohort.notes, *([texts.GROUP_CAUTION] if tables.groups else [])],
        "direction": asdict(cohort.direction),
        "cannot_say": texts.cannot_say(cohort.direction),
        "model": cohort.model,
        "summary": [row._asdict() for row in tables.summary],
        "specificity": [row._asdict() for row in tables.specificity],
        "paper_table4": [row._asdict() for row in tables.paper_table4],
        "fid": [row._asdict() for row in tables.fid],
        "methods": [record(row) for row in tables.methods],
        "against": [record(row) for row in tables.against],
    }


def _page(
    title: str,
    note: str,
    cohort: Cohort,
    tables: CohortTables,
    typical_case: TypicalCase,
    errors: Picture | None,
) -> str:
    to_pet = cohort.direction.to_pet
    group_tables, group_reasons = group_sections.group_tables(tables.groups)
    present = {row.predictor for row in tables.summary}
    return render(
        "cohort.html",
        title,
        viewer=typical_case.viewer,
        about=note,
        summary=cohort_summary(tables.methods, cohort.scale, cohort.unit),
        settings=cohort.settings.to_dict(),
        cohort=cohort,
        n_folds=len({scan.case.fold for scan in cohort.scans} - {""}),
        seconds=_seconds_per_case(cohort),
        remarks=[f"{scan.case.case}: {' '.join(scan.warnings)}" for scan in cohort.scans if scan.warnings],
        coverage=texts.least_coverage_sentence({scan.case.case: scan.pet_coverage for scan in cohort.scans}),
        brain=cohort_sections.brain_tables(cohort, tables.summary),
        predictors=[
            f"{name}: {uses}." + ("" if name in present else " Not available for this cohort.")
            for name, uses in cohort.uses.items()
        ],
        typical=typical_case.picture,
        errors=errors,
        levels=cohort_sections.uptake_levels(tables.levels) if to_pet else None,
        spaces=space_sections.cohort_spaces(tables.spaces, cohort.unit) if to_pet else [],
        asymmetry=space_sections.cohort_asymmetry(tables.asymmetry),
        regions=cohort_sections.region_tables(cohort, tables.region_statistics),
        within=cohort_sections.within_groups(cohort, tables.region_statistics) if to_pet else [],
        plots=cohort_sections.plots(cohort, tables.region_statistics),
        t1=cohort_sections.t1_section(tables.region_statistics),
        specificity=cohort_sections.specificity_table(cohort) if to_pet else None,
        specificity_reasons=[f"{s.predictor}: {s.reason}." for s in cohort.specificity if s.reason],
        others=cohort_sections.others_table(cohort),
        groups=group_tables,
        group_reasons=group_reasons,
        group_test=group_sections.how_tested(tables.groups, cohort.covariates),
        group_caution=texts.GROUP_CAUTION,
        synthetic_only=[row for row in tables.groups if row.synthetic_only],
        paper=cohort_sections.paper_table(cohort, tables.paper_table4),
        fid=paired_sections.fid_table(cohort),
        how_paired=HOW_PAIRED,
        methods=paired_sections.paired_tables(tables.methods, cohort.scale),
        against=paired_sections.paired_tables(tables.against, cohort.scale),
        against_regions=paired_sections.paired_region_tables(tables.against),
        cannot_say=texts.cannot_say(cohort.direction),
        unfit=texts.left_out(cohort.direction),
        meanings=metric_notes(to_pet=cohort.direction.to_pet),
        card=texts.card_paragraph(bundle_of(cohort.model)),
        provenance=provenance_lines({}, cohort.model),
    )


def _typical_picture(cohort: Cohort, scan: Scan, png: Path) -> Picture:
    r = scan.metrics[cohort.scale, NETWORK]["pearson_r"]
    caption = f"{scan.case.case}, the case with the median correlation in the brain"
    caption += "." if r is None else f" (r = {number_text(r)})."
    way = cohort.direction
    what = f"{way.source_name}, synthetic {way.target_name}, real {way.target_name}"
    alt = f"{what} and {'NormDiff' if way.to_pet else 'their difference'} in three planes: {caption}"
    return Picture(png, alt=alt, caption=caption)


def _write_mean_maps(folder: Path, cohort: Cohort, note: str) -> Picture | None:
    """The mean errors over people in MNI space, as files and as a picture; nothing without a transform."""
    maps = cohort.mean_maps
    if maps is None:
        return None
    t1 = sitk.Resample(load_template().t1, mni_grid())
    squared = METRICS["mse"].unit_of(cohort.unit)
    percent, error, valid = (
        _on_template(values.astype(kind))
        for values, kind in (
            (maps.percent_difference, np.float32),
            (maps.squared_error, np.float32),
            (maps.valid, np.uint8),
        )
    )
    about = {**GENERATED_BY, "Description": f"{note} Mean over people in MNI space.".strip()}
    write_image(percent, folder / "mean_percent_difference.nii.gz", {**about, "Units": "%"})
    write_image(error, folder / "mean_squared_error.nii.gz", {**about, "Units": squared})
    png = error_figure(
        ErrorImages(t1, valid, percent, valid, error, squared),
        folder / ERRORS_FILE,
        title="Mean errors over people in MNI space, over the ICBM 152 template",
        note=note,
    )
    caption = (
        "Percentage difference and squared error of the network, mean over people in MNI space (after the "
        "non-linear normalisation, or the affine one without a T1), where at least half have a value. "
        f"{SCALES} Files: mean_percent_difference.nii.gz, mean_squared_error.nii.gz."
    )
    return Picture(png, alt=caption, caption=caption)


def _on_template(values: np.ndarray) -> sitk.Image:
    image = sitk.GetImageFromArray(values)
    image.CopyInformation(mni_grid())
    return image


def _write_scans(path: Path, cohort: Cohort) -> None:
    """One row a scan, failed ones included; without a value what a failed one lacks."""
    rows: list[dict[str, Any]] = [
        {
            **_whose(scan.case),
            "status": "warn" if scan.warnings else "ok",
            "seconds": scan.seconds,
            "scale": cohort.scale,
            "unit": cohort.unit,
            "pet_coverage": round(scan.pet_coverage, 4),
            **{name: scan.metrics[cohort.scale, NETWORK][name] for name in brain_metrics()},
            "message": " ".join(scan.warnings),
        }
        for scan in cohort.scans
    ]
    columns = list(rows[0])
    rows += [
        {**_whose(failure.case), "status": "failed", "message": f"{failure.message} {failure.hint}"}
        for failure in cohort.failed
    ]
    write_table(path, columns, rows)


def _whose(case: CohortCase) -> dict[str, str]:
    names = ("case", "subject", "fold", *STRATA)
    return {name: getattr(case, name) for name in names}


def _median_scan(cohort: Cohort) -> Scan:
    """The scan whose correlation is the median of the cohort (the lower one of two)."""
    r = [scan.metrics[cohort.scale, NETWORK]["pearson_r"] for scan in cohort.scans]
    order = sorted(range(len(r)), key=lambda i: -1.0 if r[i] is None else float(r[i] or 0.0))
    return cohort.scans[order[(len(order) - 1) // 2]]


def _draw(path: Path, cohort: Cohort, scan: Scan, note: str) -> TypicalCase:
    """The picture of one scan and its images: they are read again, none is kept during the run."""
    images = load_case(scan.case.paths, scan.case.own(cohort.settings))
    synthetic, real, unit = shown_pair(images)
    picture = comparison_figure(
        images.source if images.source is not None else images.synthetic,
        synthetic,
        real,
        images.mask,
        path,
        title=f"{scan.case.case}: the case with the median correlation",
        unit=unit,
        note=note,
        direction=images.direction,
        point_mm=scan.point_mm,
    )
    regions = case_parcellations(images, cohort.atlases)
    viewer = case_viewer(images, regions, scan.point_mm, note)
    return TypicalCase(_typical_picture(cohort, scan, picture), viewer)


def summary_lines(cohort: Cohort) -> list[str]:
    """The outcome for the command line, with the time a case."""
    seconds = _seconds_per_case(cohort)
    who = f"{how_many(len(cohort.scans), 'scan')} of {how_many(cohort.n_people, 'person')}"
    lines = [f"{who}, {seconds:.1f} s a case."]
    if cohort.failed:
        names = [failure.case.case for failure in cohort.failed]
        cut = ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
        lines.append(f"{how_many(len(names), 'case')} could not be evaluated: {cut}.")
    if cohort.direction.to_pet and len({scan.case.group for scan in cohort.scans} - {""}) > 1:
        lines.append(texts.GROUP_CAUTION)
    return lines
