"""HTML reports of SUVR: one PET, and the methods against the real MR over people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from MRI2PETLib.core.files import write_text
from MRI2PETLib.reports import charts, markup
from MRI2PETLib.reports.case_report import REPORT, provenance_lines
from MRI2PETLib.suvr import files
from MRI2PETLib.suvr.agreement import AgreementRow, PersonRow, agreement_table, level_table, paired_composites
from MRI2PETLib.suvr.case import SuvrSetup
from MRI2PETLib.suvr.normalisation import METHODS, REAL_MR
from MRI2PETLib.suvr.regional import COMPOSITE, SuvrRow

CANNOT_SAY = (
    "SUVR depends on the reference region, the time window and the resolution of the scanner: values by "
    "other pipelines do not compare.",
    "Regions come from an atlas by registration, not from the person's own cortex. Atrophy and lesions move "
    "them.",
    "The synthetic MR shows where the brain lies as far as the PET tells it; it is no anatomy to read.",
    "The PET template follows the uptake: where uptake differs from the template's, regions shift and the "
    "SUVR is biased.",
    "Real MR is the standard here by convention, not the truth.",
    "Nothing here supports a diagnosis or a treatment. Research use only.",
)
_DEFINITIONS = (
    "SUVR of a region = mean of its voxels on the PET over the mean of the reference region.",
    "Composite: the mean over the voxels of all its regions together.",
    "MAE: mean absolute difference from the real MR over people. Limits: bias ± 1.96 SD. p: paired t test.",
)


def write_case_report(folder: Path, title: str, content: Mapping[str, Any], rows: Sequence[SuvrRow]) -> Path:
    """Write ``report.html`` of one PET beside its files."""
    quality = content["Quality"]
    reasons = [f"{f['message']} {f['hint']}".strip() for f in quality["findings"]]
    said = {"ok": "ok: nothing was noticed.", "warn": "usable, with remarks:"}.get(
        quality["level"], "not usable:"
    )
    methods = ", ".join(content["Composite"])
    parts = [
        ("suvr", "SUVR", _case_table(rows) + markup.bullets(_regions(content))),
        (
            "picture",
            "Where the regions lie",
            markup.picture(
                folder / files.PICTURE,
                alt=f"PET with outlines of the composite and the reference region by {methods}.",
                caption="Outlines that miss the cortex or the cerebellum make the numbers above wrong.",
            ),
        ),
        ("quality", "Quality", markup.note(f"Verdict: {said}") + markup.bullets(reasons)),
        ("limits", "What these numbers cannot say", markup.bullets(CANNOT_SAY)),
        ("definitions", "Definitions", markup.bullets(_DEFINITIONS)),
        ("provenance", "Provenance", markup.definitions(_provenance(content))),
    ]
    return write_text(folder / REPORT, markup.page(title, parts, intro=_intro(content)))


def _intro(content: Mapping[str, Any]) -> str:
    said = "The person is SIMULATED: nobody was scanned. " if content.get("Simulated") else ""
    text = f"{said}{content.get('Description', '')}".strip()
    return markup.note(text) if text else ""


def _regions(content: Mapping[str, Any]) -> list[str]:
    regions = content["Regions"]
    lines = [
        f"Reference region: {', '.join(regions['reference'])}.",
        f"Composite: {', '.join(regions['composite'])}.",
        f"Atlas: {regions['atlas']}",
        f"PET template: {content['PetTemplate']}.",
    ]
    return lines + [f"{method} could not be used: {why}" for method, why in content["Failed"].items()]


def _case_table(rows: Sequence[SuvrRow]) -> str:
    methods = [m for m in METHODS if any(row.method == m for row in rows)]
    by_region: dict[tuple[str, str], dict[str, SuvrRow]] = {}
    for row in rows:
        by_region.setdefault((row.role, row.region), {})[row.method] = row
    header = ["region", "mL", *methods]
    header += [f"{m} \N{MINUS SIGN} {REAL_MR}" for m in methods[1:] if REAL_MR in methods]
    lines: list[list[markup.Cell]] = []
    for (role, region), found in by_region.items():
        first = found.get(methods[0])
        name = f"{region} (reference)" if role == "reference" else region
        line: list[markup.Cell] = [name, None if first is None else first.volume_ml]
        line += [found[m].suvr if m in found else None for m in methods]
        if REAL_MR in methods:
            gold = found[REAL_MR].suvr
            for method in methods[1:]:
                own = found[method].suvr if method in found else None
                line.append(None if own is None or gold is None else own - gold)
        lines.append(line)
    reasons = sorted({f"{row.region}: {row.reason}" for row in rows if row.reason})
    table = markup.table(header, lines, caption="SUVR by region and method", lead=(0,))
    return table + (markup.bullets(reasons) if reasons else "")


def _provenance(content: Mapping[str, Any]) -> dict[str, str]:
    model: dict[str, Any] = next((n["model"] for n in content["Normalisation"].values() if "model" in n), {})
    sources = {name: about for name, about in content["Source"].items() if about is not None}
    return provenance_lines(sources, model)


def write_cohort_report(
    folder: Path,
    title: str,
    setup: SuvrSetup,
    first: Mapping[str, Any],
    rows: Sequence[PersonRow],
    failed: Mapping[str, str],
) -> Path:
    """Write ``report.html`` of a cohort: the tables and plots of Choi & Lee 2018."""
    table = agreement_table(rows)
    parts = [
        ("people", "What was measured", _people_section(setup, rows, failed)),
        ("errors", "Errors of the methods without an MRI", _error_section(table)),
        ("agreement", "Agreement with the real MR", _agreement_section(table)),
        ("plots", "Composite region, over people", _plot_section(rows)),
        ("levels", "SUVR by group and method", _level_section(rows)),
        ("limits", "What these numbers cannot say", markup.bullets(CANNOT_SAY)),
        ("definitions", "Definitions", markup.bullets(_DEFINITIONS)),
        ("provenance", "Provenance", markup.definitions(provenance_lines({}, {}))),
    ]
    return write_text(folder / REPORT, markup.page(title, parts, intro=_intro(first)))


def _people_section(setup: SuvrSetup, rows: Sequence[PersonRow], failed: Mapping[str, str]) -> str:
    count = {m: len({r.subject for r in rows if r.method == m}) for m in METHODS}
    plan = files.describe_plan(setup.plan)
    lines = [f"{method}: {n} people." for method, n in count.items()]
    lines += [
        f"Reference region: {', '.join(plan['reference'])}.",
        f"Composite: {', '.join(plan['composite'])}.",
        f"Atlas: {plan['atlas']}",
        f"PET template: {setup.template_name}.",
        "Repeated scans of a person are averaged.",
    ]
    text = markup.bullets(lines)
    if failed:
        text += markup.note(f"{len(failed)} PETs could not be measured.", "refuse")
        text += markup.bullets([f"{case}: {why}" for case, why in failed.items()])
    return text


def _error_section(table: Sequence[AgreementRow]) -> str:
    """Table 2 of the paper: regions by method, mean and SD of the absolute error."""
    if not table:
        return markup.paragraph("There is no MRI of anyone: nothing to compare with.")
    methods = [m for m in METHODS[1:] if any(row.method == m for row in table)]
    regions = list(dict.fromkeys(row.region for row in table))
    cells = {(row.region, row.method): markup.spread(row.mae, row.mae_sd) for row in table}
    lines: list[list[markup.Cell]] = [[r, *(cells.get((r, m)) for m in methods)] for r in regions]
    caption = "Mean absolute error of the SUVR against the real MR, mean ± SD over people"
    return markup.table(["region", *methods], lines, caption=caption, lead=(0,))


def _agreement_section(table: Sequence[AgreementRow]) -> str:
    if not table:
        return markup.paragraph("There is no MRI of anyone: nothing to compare with.")
    header = ["method", "region", "people", "MAE", "bias", "lower limit", "upper limit", "r", "p"]
    lines: list[list[markup.Cell]] = [
        [r.method, r.region, r.n_people, r.mae, r.bias, r.lower, r.upper, r.pearson_r, markup.p_value(r.p)]
        for r in table
    ]
    lead = [n for n, row in enumerate(table) if row.role == COMPOSITE]
    return markup.table(header, lines, caption="Bland-Altman agreement with the real MR", lead=lead)


def _plot_section(rows: Sequence[PersonRow]) -> str:
    parts = []
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
        parts.append(markup.picture(png, alt=f"{text} The values are in the table above.", caption=text))
    return "".join(parts) or markup.paragraph("Needs two people with an MRI.")


def _level_section(rows: Sequence[PersonRow]) -> str:
    """Table 3 of the paper."""
    levels = level_table(rows)
    methods = [m for m in METHODS if any(row.method == m for row in levels)]
    cells = {(r.group, r.region, r.method): markup.spread(r.mean, r.sd) for r in levels}
    keys = list(dict.fromkeys((row.group, row.region, row.role) for row in levels))
    lines: list[list[markup.Cell]] = [
        [group or "all", region, *(cells.get((group, region, m)) for m in methods)]
        for group, region, _ in keys
    ]
    lead = [n for n, key in enumerate(keys) if key[2] == COMPOSITE]
    return markup.table(
        ["group", "region", *methods], lines, caption="SUVR, mean ± SD over people", lead=lead
    )
