"""HTML reports of SUVR: one PET, and the methods against the real MR over people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from MRI2PETLib.core.files import write_json, write_text
from MRI2PETLib.core.progress import Reporter
from MRI2PETLib.core.requests import Request, Source
from MRI2PETLib.core.tables import record, write_rows, write_table
from MRI2PETLib.evaluation.paired import HOW_PAIRED
from MRI2PETLib.reports import charts
from MRI2PETLib.reports.case_report import REPORT_FILE, provenance_lines
from MRI2PETLib.reports.columns import columns, side_by_side
from MRI2PETLib.reports.page import Cell, Picture, ReportTable, render, spread
from MRI2PETLib.reports.suvr_figure import read_suvr_images
from MRI2PETLib.reports.suvr_summary import summary_of_suvr, summary_of_suvr_cohort
from MRI2PETLib.reports.suvr_viewer import suvr_viewer
from MRI2PETLib.reports.texts import least_coverage_sentence, notes_of_cases
from MRI2PETLib.reports.viewer import Viewer
from MRI2PETLib.suvr import files
from MRI2PETLib.suvr.agreement import (
    AgreementRow,
    MethodsRow,
    PersonRow,
    agreement_table,
    level_table,
    method_errors_table,
    paired_composites,
    person_rows,
)
from MRI2PETLib.suvr.case import SuvrSetup
from MRI2PETLib.suvr.normalisation import METHODS, REAL_MR
from MRI2PETLib.suvr.regional import COMPOSITE, RegionPlan, SuvrRow
from MRI2PETLib.suvr.run import CaseMeasurement, SuvrCase
from MRI2PETLib.suvr.tables import suvr_columns
from MRI2PETLib.synthesis.case_files import SIMULATED_PERSON


def write_suvr_report(
    folder: Path, title: str, content: Mapping[str, Any], rows: Sequence[SuvrRow], viewer: Viewer
) -> Path:
    """Write ``report.html`` of one PET beside its files."""
    quality, regions = content["Quality"], content["Regions"]
    table = suvr_columns(rows)
    methods = ", ".join(content["Composite"])
    figure_text = f"PET with outlines of the composite and the reference region by {methods}."
    caption = "Outlines that miss the cortex or the cerebellum make the numbers above wrong."
    page = render(
        "suvr.html",
        title,
        viewer=viewer,
        about=[note_of(content)] if note_of(content) else [],
        summary=summary_of_suvr(content["Composite"]),
        suvr=side_by_side(list(table.items()), "SUVR by region and method" + corrected_words(rows)),
        regions=regions,
        pet_template=content["PetTemplate"],
        failed=content["Failed"],
        coverage=least_coverage_sentence(content["PetCoverage"]),
        outlines=Picture(folder / files.SUVR_PICTURE, alt=figure_text, caption=caption),
        quality=quality["level"],
        remarks=[f"{f['message']} {f['hint']}".strip() for f in quality["findings"]],
        settings=content["Settings"],
        provenance=_provenance(content),
    )
    return write_text(folder / REPORT_FILE, page)


def corrected_words(rows: Sequence[SuvrRow]) -> str:
    """What headings of tables say of a partial-volume correction; empty without one."""
    corrections = sorted({row.correction for row in rows} - {"none"})
    return f", partial-volume corrected ({', '.join(corrections)})" if corrections else ""


def _template_names(setup: SuvrSetup) -> str:
    names = "; ".join(setup.templates)
    return names if len(setup.templates) == 1 else f"for each PET the one that fits best of: {names}"


def note_of(content: Mapping[str, Any]) -> str:
    """What the report of a measurement says first.

    :param content: of ``suvr.json``.
    """
    text = SIMULATED_PERSON if content.get("Simulated") else ""
    return f"{text} {content.get('Description', '')}".strip()


def _provenance(content: Mapping[str, Any]) -> dict[str, str]:
    model: dict[str, Any] = next((n["model"] for n in content["Normalisation"].values() if "model" in n), {})
    sources = {name: about for name, about in content["Source"].items() if about is not None}
    return provenance_lines(sources, model)


def write_suvr_cohort(
    folder: Path,
    table: Path,
    setup: SuvrSetup,
    measured: Sequence[tuple[SuvrCase, CaseMeasurement]],
    failed: Mapping[str, str],
    reporter: Reporter,
) -> list[AgreementRow]:
    """Write the tables, ``cohort.json`` and ``report.html`` of a cohort: those of Choi & Lee 2018; keep them
    where they are there.

    :param table: of the cases.
    :return: the agreement of the methods with the real MR over people, every region.
    :raises OutputError: if the folder cannot be written to; then nothing is left in it.
    """
    rows = person_rows([(case.subject, case.group, result.rows) for case, result in measured])
    agreement, levels, methods = agreement_table(rows), level_table(rows), method_errors_table(rows)
    content = {
        "regions": files.describe_plan(setup.plan),
        "pet_template": _template_names(setup),
        "model": None if setup.bundle is None else setup.bundle.id,
        "n_scans": len(measured),
        "n_people": len({case.subject for case, _ in measured}),
        "failed": failed,
        "agreement": [row._asdict() for row in agreement],
        "levels": [row._asdict() for row in levels],
        "methods": [record(row) for row in methods],
    }
    words = corrected_words([row for _, result in measured for row in result.rows])
    title = f"SUVR of {folder.resolve().name}{words}"
    request, result = _request_of_cohort(table, title, content, measured), files.cohort_in(folder)
    if result.finished(request) is not None:
        reporter.log(f"{folder}: already there, kept")
        return agreement
    typical, viewer, picture = _typical(measured, setup.plan)
    page = render(
        "suvr_cohort.html",
        title,
        viewer=viewer,
        about=notes_of_cases([note_of(one.content) for _, one in measured], "PET"),
        summary=summary_of_suvr_cohort(agreement),
        n_people=content["n_people"],
        n_scans=len(measured),
        typical=typical,
        outlines=picture,
        people={m: len({r.subject for r in rows if r.method == m}) for m in METHODS},
        regions=content["regions"],
        pet_template=_template_names(setup),
        failed=failed,
        errors=_errors(agreement),
        agreement=_agreement(agreement),
        methods=_methods(methods),
        how_paired=HOW_PAIRED,
        plots=_plots(rows),
        levels=_levels(rows),
        settings=setup.settings.to_dict(),
        provenance=provenance_lines({}, {}),
    )
    scans = ((case.case, case.subject, case.group, *row) for case, result in measured for row in result.rows)
    with result.make(request, {}) as staging:
        write_table(staging / files.TABLE, ("case", "subject", "group", *SuvrRow._fields), scans)
        write_rows(staging / files.LEVELS, levels)
        if agreement:
            write_rows(staging / files.AGREEMENT, agreement)
        if methods:
            write_rows(staging / files.METHODS_TABLE, methods)
        write_json(staging / files.COHORT, content)
        write_text(staging / REPORT_FILE, page)
    return agreement


def _typical(
    measured: Sequence[tuple[SuvrCase, CaseMeasurement]], plan: RegionPlan
) -> tuple[str, Viewer | None, Picture | None]:
    """The PET with the median composite by its first method: its name, its images, its picture."""
    composites = [next(iter(one.content["Composite"].values())) or 0.0 for _, one in measured]
    case, one = measured[sorted(range(len(measured)), key=composites.__getitem__)[len(measured) // 2]]
    if "suvr" not in one.files:
        return case.case, None, None
    images = read_suvr_images(one.files, case.paths.t1, one.content, plan)
    text = f"{case.case}: PET with outlines of the composite and the reference region."
    picture = Picture(one.files["picture"], alt=text, caption=f"{text} Its own report says more.")
    return case.case, suvr_viewer(images, plan, note_of(one.content)), picture


def _request_of_cohort(
    table: Path, title: str, content: Mapping[str, Any], measured: Sequence[tuple[SuvrCase, CaseMeasurement]]
) -> Request:
    """What decides the tables of a cohort: those of its PETs, and what the table of cases says of each."""
    own = {case.case: Source(str(case.paths.pet), one.request.checksum) for case, one in measured}
    people = [[case.case, case.subject, case.group] for case, _ in measured]
    return Request(files.owner_of_cohort(table), own, {"title": title, "people": people, "content": content})


def _errors(table: Sequence[AgreementRow]) -> ReportTable | None:
    """Table 2 of the paper: regions by method, mean and SD of the absolute error."""
    methods = [m for m in METHODS[1:] if any(row.method == m for row in table)]
    cells = {(row.region, row.method): spread(row.mae, row.mae_sd) for row in table}
    rows: list[list[Cell]] = [
        [region, *(cells.get((region, m)) for m in methods)]
        for region in dict.fromkeys(row.region for row in table)
    ]
    caption = "Mean absolute error of the SUVR against the real MR, mean ± SD over people"
    return ReportTable(["region", *methods], rows, caption) if rows else None


def _agreement(table: Sequence[AgreementRow]) -> ReportTable | None:
    fields = ("method", "region", "n_people", "mae", "bias", "lower_limit", "upper_limit", "p", "r", "icc")
    caption = "Bland-Altman agreement with the real MR, MAE with its SD over people"
    return side_by_side(columns(table, *fields), caption, _composites(table)) if table else None


def _methods(table: Sequence[MethodsRow]) -> ReportTable | None:
    errors = ("first_mae", "second_mae", "difference", "effect", "p", "fdr", "reason")
    fields = ("region", "n_people", "first", "second", *errors)
    caption = "Absolute errors of two methods on the same people"
    return side_by_side(columns(table, *fields), caption, _composites(table)) if table else None


def _composites(table: Sequence[AgreementRow | MethodsRow]) -> list[int]:
    return [n for n, row in enumerate(table) if row.role == COMPOSITE]


def _plots(rows: Sequence[PersonRow]) -> list[Picture]:
    pictures = []
    for method in METHODS[1:]:
        own, real, groups = paired_composites(rows, method, COMPOSITE)
        if len(own) < 2:
            continue
        text = f"Composite SUVR by {method} against the real MR, and Bland-Altman."
        png = charts.agreement_png(
            own,
            real,
            points="people",
            unit="SUVR",
            title=f"Composite SUVR: {method}",
            groups=groups if any(groups) else None,
            names=(method, REAL_MR),
        )
        pictures.append(Picture(png, alt=f"{text} The values are in the table above.", caption=text))
    return pictures


def _levels(rows: Sequence[PersonRow]) -> ReportTable:
    """Table 3 of the paper."""
    levels = level_table(rows)
    methods = [m for m in METHODS if any(row.method == m for row in levels)]
    cells = {(r.group, r.region, r.method): spread(r.mean, r.sd) for r in levels}
    keys = list(dict.fromkeys((row.group, row.region, row.role) for row in levels))
    lines: list[list[Cell]] = [
        [group or "all", region, *(cells.get((group, region, m)) for m in methods)]
        for group, region, _ in keys
    ]
    lead = [n for n, key in enumerate(keys) if key[2] == COMPOSITE]
    return ReportTable(["group", "region", *methods], lines, "SUVR, mean ± SD over people", lead)
