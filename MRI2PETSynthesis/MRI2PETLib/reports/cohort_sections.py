"""The sections of a cohort's report: each turns numbers into a piece of HTML."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from MRI2PETLib.evaluation import cohort_tables
from MRI2PETLib.evaluation.baselines import ANATOMY_NULL, NETWORK
from MRI2PETLib.evaluation.case import SCALE_FREE, STATED
from MRI2PETLib.evaluation.cohort import Cohort, Scan, region_numbers
from MRI2PETLib.evaluation.cohort_tables import EVERYONE, GlobalRow, RegionStatistics
from MRI2PETLib.evaluation.metrics import METRICS, brain_metrics
from MRI2PETLib.reports import charts, markup
from MRI2PETLib.reports import texts as wording


def people_section(cohort: Cohort) -> str:
    scans, n = cohort.scans, cohort.n_people
    folds = {scan.case.fold for scan in scans} - {""}
    lines = [
        f"{len(scans)} scans of {n} people"
        + (f" in {len(folds)} folds" if folds else "")
        + "; repeated scans of a person are averaged before any statistic.",
        f"Regions and agreement are in {cohort.unit}; real means the real PET smoothed to "
        f"{cohort.settings.fwhm_mm:g} mm inside the brain.",
        f"{np.mean([scan.seconds for scan in scans]):.1f} s a case.",
    ]
    content = markup.bullets(lines)
    remarks = [f"{scan.case.case}: {' '.join(scan.warnings)}" for scan in scans if scan.warnings]
    if cohort.failed:
        content += markup.note(
            f"{len(cohort.failed)} cases could not be evaluated and are left out.", "refuse"
        )
        content += markup.bullets([f"{f.case.case}: {f.message} {f.hint}" for f in cohort.failed])
    verdict = "nothing was noticed." if not remarks else f"{len(remarks)} scans with remarks:"
    content += markup.note(f"Quality of the inputs: {verdict}", "" if remarks else "ok")
    return content + (markup.bullets(remarks[:20]) if remarks else "")


def brain_section(cohort: Cohort, summary: Sequence[GlobalRow]) -> str:
    parts = [
        markup.paragraph(
            "Mean and SD over people. All baselines have the in-brain mean of the synthetic PET, so that "
            "rows differ in "
            "their pattern only."
        )
    ]
    columns = brain_metrics(shown=True)
    by_key = {(row.scale, row.predictor, row.metric): row for row in summary}
    for scale in dict.fromkeys(row.scale for row in summary):
        for folds in (False, True):
            rows: list[list[markup.Cell]] = []
            for predictor in cohort.predictors:
                found = [by_key.get((scale, predictor, name)) for name in columns]
                rows.append([predictor, *(_global_cell(row, folds) for row in found)])
            if folds and all(row.n_folds < 2 for row in summary):
                continue
            meaning = cohort.unit if scale == STATED else "each image over its own in-brain mean"
            over = "mean \N{PLUS-MINUS SIGN} SD over the means of the folds" if folds else "over people"
            parts.append(
                markup.table(
                    ["predictor", *(metric.heading for metric in columns.values())],
                    rows,
                    caption=f"Inside the brain, {meaning}, {over}",
                    lead=(0,),
                )
            )
    present = {row.predictor for row in summary}
    known = [
        f"{name}: {uses}." + ("" if name in present else " Not available for this cohort.")
        for name, uses in cohort.uses.items()
    ]
    return "".join(parts) + markup.bullets(known)


def _global_cell(row: GlobalRow | None, folds: bool) -> markup.Cell:
    if row is None:
        return None
    mean, sd = (row.fold_mean, row.fold_sd) if folds else (row.mean, row.sd)
    if row.metric == "percent_difference" and row.scale == SCALE_FREE:
        return markup.percent(mean)
    return markup.spread(mean, sd)


def picture_section(cohort: Cohort, scan: Scan, picture: Path) -> str:
    r = scan.metrics[cohort.scale, NETWORK]["pearson_r"]
    caption = f"{scan.case.case}, the case with the median correlation in the brain" + (
        f" (r = {markup.number(r)})." if r is not None else "."
    )
    return markup.picture(
        picture, alt=f"T1, synthetic PET, real PET and NormDiff in three planes: {caption}", caption=caption
    )


def _rows_of(
    regions: Sequence[RegionStatistics], predictor: str, stratum: str = EVERYONE
) -> list[RegionStatistics]:
    return [row for row in regions if (row.stratum, row.predictor) == (stratum, predictor)]


def region_section(cohort: Cohort, regions: Sequence[RegionStatistics]) -> str:
    content = ""
    for stratum in dict.fromkeys(row.stratum for row in regions):
        rows = _rows_of(regions, NETWORK, stratum)
        who = "everyone" if stratum == EVERYONE else stratum
        tables = _agreement_table(cohort, rows, who) + _order_table(cohort, regions, rows, stratum, who)
        if stratum != EVERYONE:
            tables = f"<details><summary>{markup.text(who)}</summary>{tables}</details>"
        content += tables
    return content + markup.paragraph(
        "Bias = synthetic \N{MINUS SIGN} real, limits = bias \N{PLUS-MINUS SIGN} 1.96 SD. A small p of the "
        "slope: the bias "
        "depends on the level. Low/high: do the synthetic values of people below and above the median of the "
        "real PET "
        "differ (Mann-Whitney)? FDR: Benjamini-Hochberg over the regions of a parcellation. Everything, for "
        "all "
        "predictors and strata, is in region_statistics.csv."
    )


def _label(row: RegionStatistics) -> str:
    return row.region if row.parcellation == "brain" else f"{row.region} ({row.parcellation})"


def _agreement_table(cohort: Cohort, rows: Sequence[RegionStatistics], who: str) -> str:
    header = ["region", "people", "real", "synthetic", "difference (%)", "bias", "limits of agreement"]
    cells: list[list[markup.Cell]] = []
    for row in rows:
        limits = None
        if row.lower_limit is not None and row.upper_limit is not None:
            limits = f"{markup.number(row.lower_limit)} to {markup.number(row.upper_limit)}"
        means = (
            markup.spread(row.real_mean, row.real_sd),
            markup.spread(row.predicted_mean, row.predicted_sd),
        )
        percent = markup.percent(row.percent_difference)
        line: list[markup.Cell] = [_label(row), row.n_people, *means, percent, row.bias, limits]
        cells.append([*line, row.proportional_slope, markup.p_value(row.proportional_p)])
    header += ["slope of the bias", "p"]
    return markup.table(
        header, cells, caption=f"Agreement of region means in {cohort.unit}, {who}", lead=(0,)
    )


def _order_table(
    cohort: Cohort,
    regions: Sequence[RegionStatistics],
    rows: Sequence[RegionStatistics],
    stratum: str,
    who: str,
) -> str:
    """Does the synthetic PET order people as the real one does, and do the baselines?"""
    others = [name for name in cohort.predictors if name != NETWORK and _rows_of(regions, name, stratum)]
    found = {(r.predictor, r.parcellation, r.region): r for r in regions if r.stratum == stratum}
    header = ["region", "r", "FDR p", "SD ratio", "low/high, FDR p"]
    header += [f"{name}: {what}" for name in others for what in ("difference (%)", "r")]
    cells: list[list[markup.Cell]] = []
    for row in rows:
        line: list[markup.Cell] = [_label(row), row.r, markup.p_value(row.r_fdr), row.sd_ratio]
        line.append(markup.p_value(row.low_high_fdr))
        for name in others:
            baseline = found[name, row.parcellation, row.region]
            line += [markup.percent(baseline.percent_difference), baseline.r]
        cells.append(line)
    return markup.table(header, cells, caption=f"Order of people by region means, {who}", lead=(0,))


def plot_section(cohort: Cohort, regions: Sequence[RegionStatistics]) -> str:
    numbers = cohort_tables.person_numbers(cohort.scans)[:, 0]
    real, predicted = (
        numbers[:, :, region_numbers().index(n)] for n in ("mean_real_smoothed", "mean_predicted")
    )
    groups = [cohort.scans[i[0]].case.group for i in cohort_tables.people(cohort.scans).values()]
    rows = _rows_of(regions, NETWORK)
    last = cohort.regions[-1][0]
    chosen = [row for row in rows if row.parcellation == last and row.bias is not None]
    chosen.sort(key=lambda row: -abs(row.percent_difference or 0.0))
    one_side = {re.sub(r"^(left|right) ", "", row.region): row for row in reversed(chosen)}
    first = [row for row in rows[:1] if row.r is not None]
    shown = [
        cohort.regions.index((row.parcellation, row.region))
        for row in first + [row for row in chosen if row in one_side.values()][:2]
    ]
    content = ""
    for r in shown:
        name = cohort.regions[r][1]
        usable = np.isfinite(real[:, r]) & np.isfinite(predicted[:, r])
        if np.count_nonzero(usable) < 3:
            content += markup.paragraph(f"{name}: a plot needs three people.")
            continue
        labels = [g for g, use in zip(groups, usable) if use] if any(groups) else None
        text = f"{name}: each point is one person; synthetic over real PET, and Bland-Altman."
        png = charts.agreement_png(
            predicted[usable, r],
            real[usable, r],
            points="people",
            unit=cohort.unit,
            title=name,
            groups=labels,
        )
        content += markup.picture(png, alt=f"{text} Numbers are in the table of regions.", caption=text)
    series = {
        name: [row.r for row in _rows_of(regions, name) if row.parcellation == last]
        for name in (NETWORK, ANATOMY_NULL)
        if _rows_of(regions, name)
    }
    names = [row.region for row in rows if row.parcellation == last]
    png = charts.region_bars_png(names, series, label="r over people, predicted against real", title=last)
    text = "Correlation over people of the region means, predicted against real PET."
    return content + markup.picture(png, alt=f"{text} Numbers are in the table of regions.", caption=text)


def t1_section(regions: Sequence[RegionStatistics]) -> str:
    rows = _rows_of(regions, NETWORK)
    if all(row.real_t1_r is None for row in rows):
        return markup.paragraph(
            "Not available: the T1s were not given, or there are fewer than three people."
        )
    last = rows[-1].parcellation
    chosen = [row for row in rows if row.parcellation == last]
    png = charts.region_bars_png(
        [row.region for row in chosen],
        {
            "synthetic and real PET": [row.r for row in chosen],
            "synthetic PET and T1": [row.predicted_t1_r for row in chosen],
            "real PET and T1": [row.real_t1_r for row in chosen],
        },
        label="Pearson r over people, region means",
        title="Synthetic PET, real PET and T1",
    )
    text = (
        "Region means over people: where the synthetic PET follows the T1 more closely than the real PET "
        "does, it shows "
        "anatomy (Figure 6 of the published analysis)."
    )
    table = markup.table(
        ["region", "synthetic-real r", "p", "synthetic-T1 r", "p", "real-T1 r", "p"],
        [
            [
                row.region,
                *(row.r, markup.p_value(row.r_p)),
                *(row.predicted_t1_r, markup.p_value(row.predicted_t1_p)),
                *(row.real_t1_r, markup.p_value(row.real_t1_p)),
            ]
            for row in chosen
        ],
        caption="Correlations over people (p not corrected)",
    )
    return markup.picture(png, alt=f"{text} Numbers are in the table below.", caption=text) + table


def specificity_section(cohort: Cohort) -> str:
    header = [
        "predictor",
        "people",
        "own MSE",
        "others' MSE",
        "gap",
        "gain over the anatomy null",
        "own r",
        "others' r",
    ]
    header += ["rank of own", "of", "own is closest (%)", "AUC", "gain in AUC"]
    rows: list[list[markup.Cell]] = []
    for s in cohort.specificity:
        top = None if s.top1 is None else markup.percent(100 * s.top1)
        cells: list[markup.Cell] = [
            s.predictor,
            s.n_people,
            s.own_mse,
            s.other_mse,
            s.gap,
            s.gain_gap,
            s.own_r,
        ]
        rows.append(cells + [s.other_r, s.rank, s.n_ranked, top, s.auc, s.gain_auc])
    table = markup.table(
        header,
        rows,
        caption="The person's own real PET against those of other people (MNI space, 6 mm, scale-free)",
        lead=(0,),
    )
    reasons = [f"{s.predictor}: {s.reason}." for s in cohort.specificity if s.reason]
    published = markup.table(
        ["metric", "own", "others"],
        [
            [
                METRICS[o.metric].heading,
                markup.spread(o.own_mean, o.own_sd),
                markup.spread(o.other_mean, o.other_sd),
            ]
            for o in cohort.others
        ],
        caption=f"The network as in the published Table 5 ({cohort.unit}); no baseline, so no proof",
    )
    return (
        table
        + markup.paragraph(
            "Gap = 1 \N{MINUS SIGN} own MSE / others' MSE; AUC = chance that the own PET is closer than "
            "another's, .5 is "
            "chance. Brains differ in their anatomy: a predictor that knows nothing of the tracer can "
            "identify people. Only "
            "the gain over the anatomy null, and over the cubic of T1, speaks for the network. Other scans "
            "of the same "
            "person are not counted."
        )
        + (markup.bullets(reasons) if reasons else "")
        + (published if cohort.others else "")
    )


def group_section(cohort: Cohort, groups: Sequence[cohort_tables.GroupRow]) -> str:
    if not groups:
        return markup.paragraph("No groups were given.")
    content = markup.note(wording.GROUP_CAUTION, "refuse")
    flagged = [g for g in groups if g.synthetic_only]
    for g in flagged:
        content += markup.note(
            f"{g.region}: {g.first} and {g.second} differ on the synthetic PET only. Do not report it as a "
            f"finding."
        )
    for pair in dict.fromkeys((g.stratum, g.first, g.second) for g in groups):
        chosen = [g for g in groups if (g.stratum, g.first, g.second) == pair]
        tested = [g for g in chosen if g.real_p is not None]
        label = f"{pair[0]}: {pair[1]} ({chosen[0].n_first}) against {pair[2]} ({chosen[0].n_second})"
        if not tested:
            content += markup.paragraph(f"{label}: not tested, {chosen[0].reason}.")
            continue
        content += markup.table(
            ["region", "real, p", "real, FDR p", "synthetic, p", "synthetic, FDR p", "synthetic only"],
            [
                [
                    g.region,
                    *(markup.p_value(p) for p in (g.real_p, g.real_fdr, g.synthetic_p, g.synthetic_fdr)),
                    "yes" if g.synthetic_only else "no",
                ]
                for g in tested
            ],
            caption=f"Mann-Whitney, {label}",
        )
    return content


def paper_section(cohort: Cohort, paper: Sequence[cohort_tables.PaperRow]) -> str:
    if not paper:
        return markup.paragraph("Not available: it needs the built-in regions or the Harvard-Oxford atlas.")
    rows: list[list[markup.Cell]] = [[p.metric, p.mean, p.sd, p.n_rows, p.n_missing] for p in paper]
    return markup.table(
        ["metric", "mean", "SD over rows", "rows", "without a value"],
        rows,
        caption=f"Aggregated as Table 4 of Ferrante et al. 2025 ({cohort.unit})",
    ) + markup.paragraph(
        "Rows are regions by folds; MSE and NormDiff are medians over voxels; the SD is between regions, not "
        "people; the "
        "signs of NormDiff and PercDiff are those of the published code (real \N{MINUS SIGN} synthetic). The "
        "published "
        "values are on PETs scaled to 0 to 1 with folds that share people: no agreement with them is to be "
        "expected."
    )
