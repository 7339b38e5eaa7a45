"""What the sections of a cohort's report show: numbers turned into tables and pictures."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from MRI2PETLib.evaluation import cohort_tables
from MRI2PETLib.evaluation.baselines import NETWORK, WARPED_AVERAGE
from MRI2PETLib.evaluation.case import SCALE_FREE, STATED_UNIT
from MRI2PETLib.evaluation.cohort import Cohort, region_numbers
from MRI2PETLib.evaluation.cohort_tables import EVERYONE, GlobalRow, RegionStatistics
from MRI2PETLib.evaluation.headings import heading
from MRI2PETLib.evaluation.metrics import Metric, brain_metrics
from MRI2PETLib.evaluation.published_tables import PaperRow, UptakeRow
from MRI2PETLib.evaluation.specificity import OTHERS_SPACING_MM
from MRI2PETLib.evaluation.statistics import ALPHA, MIN_GROUP
from MRI2PETLib.reports import charts
from MRI2PETLib.reports.case_report import better_than_network
from MRI2PETLib.reports.columns import Column, columns, side_by_side
from MRI2PETLib.reports.page import Cell, Picture, ReportTable, percent, spread

_ALIKE = "Numbers are in the table of regions."


def brain_tables(cohort: Cohort, summary: Sequence[GlobalRow]) -> list[dict[str, Any]]:
    """Whole brain by scale: over people and, where there are folds, over the means of the folds; and what is
    better than the network.
    """
    metrics = brain_metrics(in_reports=True)
    by_key = {(row.scale, row.predictor, row.metric): row for row in summary}
    tables = []
    for scale in dict.fromkeys(row.scale for row in summary):
        for folds in (False, True):
            if folds and all(row.n_folds < 2 for row in summary):
                continue
            rows: list[list[Cell]] = [
                [
                    m.heading,
                    *(_cell(m, by_key.get((scale, name, key)), folds) for name in cohort.predictors),
                ]
                for key, m in metrics.items()
            ]
            meaning = cohort.unit if scale == STATED_UNIT else "each image over its own in-brain mean"
            over = "mean \N{PLUS-MINUS SIGN} SD over the means of the folds" if folds else "over people"
            caption = f"Inside the brain, {meaning}, {over}"
            table = ReportTable(["number", *cohort.predictors], rows, caption, lead=(), lead_column=1)
            means = {
                name: {r.metric: r.mean for r in summary if (r.scale, r.predictor) == (scale, name)}
                for name in cohort.predictors
            }
            better = "" if folds else better_than_network(means)
            tables.append({"table": table, "better": better})
    return tables


def _cell(metric: Metric, row: GlobalRow | None, folds: bool) -> Cell:
    if row is None:
        return None
    mean, sd = (row.fold_mean, row.fold_sd) if folds else (row.mean, row.sd)
    # Scale-free, the difference of the means is 0 but for rounding.
    return percent(mean) if metric.unit == "%" and row.scale == SCALE_FREE else spread(mean, sd)


def rows_of(
    regions: Sequence[RegionStatistics], predictor: str, stratum: str = EVERYONE
) -> list[RegionStatistics]:
    """The rows of one predictor in one stratum."""
    return [row for row in regions if (row.stratum, row.predictor) == (stratum, predictor)]


def region_tables(cohort: Cohort, regions: Sequence[RegionStatistics]) -> dict[str, list[ReportTable]]:
    """Stratum -> agreement, its limits, and order of people."""
    tables = {}
    for stratum in dict.fromkeys(row.stratum for row in regions):
        rows = rows_of(regions, NETWORK, stratum)
        who = "everyone" if stratum == EVERYONE else stratum
        agreement = [_agreement(cohort, rows, who), _limits(cohort, rows, who)]
        tables[stratum] = [*agreement, _order(cohort, regions, rows, stratum, who)]
    return tables


def _percent(cohort: Cohort, rows: Sequence[RegionStatistics]) -> Column:
    """The difference in % of a PET; an MRI has no zero that it could be relative to."""
    (name, cells) = columns(rows, "percent_difference")[0]
    return name, cells if cohort.direction.to_pet else [None] * len(cells)


def _names(rows: Sequence[RegionStatistics]) -> Column:
    names = [r.region if r.parcellation == "brain" else f"{r.region} ({r.parcellation})" for r in rows]
    return heading("region"), names


def _agreement(cohort: Cohort, rows: Sequence[RegionStatistics], who: str) -> ReportTable:
    """Figure 3 of the published analysis, where ``who`` is a group."""
    unit, margin = cohort.unit, cohort.settings.equivalence_margin
    content = [_names(rows), *columns(rows, "n_people")]
    content += [*columns(rows, "real_mean", "predicted_mean", unit=unit), _percent(cohort, rows)]
    content += columns(rows, "bias", unit=unit) + columns(rows, "bias_p", "bias_fdr")
    if margin is not None:
        equivalence, adjusted = columns(rows, "equivalence_p", "equivalence_fdr")
        content += [(f"equivalent within ± {margin:g} {unit}: {equivalence[0]}", equivalence[1]), adjusted]
    return side_by_side(content, f"Agreement of region means in {unit}, {who}")


def _limits(cohort: Cohort, rows: Sequence[RegionStatistics], who: str) -> ReportTable:
    content = [_names(rows), *columns(rows, "lower_limit", "upper_limit", unit=cohort.unit)]
    content += columns(rows, "proportional_slope", "proportional_p", "icc")
    caption = f"Limits of agreement and intraclass correlation of region means in {cohort.unit}, {who}"
    return side_by_side(content, caption)


def _order(
    cohort: Cohort,
    regions: Sequence[RegionStatistics],
    rows: Sequence[RegionStatistics],
    stratum: str,
    who: str,
) -> ReportTable:
    """Does the synthetic PET order people as the real one does, and do the baselines?"""
    content = [_names(rows), *columns(rows, "r", "r_fdr", "sd_ratio")]
    content += [(f"low/high, {name}", cells) for name, cells in columns(rows, "low_high_fdr")]
    for other in (name for name in cohort.predictors if name != NETWORK):
        by_region = {(r.parcellation, r.region): r for r in rows_of(regions, other, stratum)}
        if by_region:
            own = [by_region[row.parcellation, row.region] for row in rows]
            numbers = [_percent(cohort, own), *columns(own, "r")]
            content += [(f"{other}: {name}", cells) for name, cells in numbers]
    return side_by_side(content, f"Order of people by region means, {who}")


def plots(cohort: Cohort, regions: Sequence[RegionStatistics]) -> list[Picture]:
    """Scatter and Bland-Altman of the whole brain and of the two regions that are most off, then all r."""
    last = cohort.regions[-1][0]
    rows = rows_of(regions, NETWORK)
    pictures = [
        plot for key in _most_off(rows, last) if (plot := _people_plot(cohort, cohort.regions.index(key)))
    ]
    of_last = {
        name: [row for row in rows_of(regions, name) if row.parcellation == last]
        for name in (NETWORK, WARPED_AVERAGE)
    }
    png = charts.region_bars_png(
        [row.region for row in of_last[NETWORK]],
        {name: [row.r for row in own_rows] for name, own_rows in of_last.items() if own_rows},
        label="r over people, predicted against real",
        title=last,
    )
    text = (
        f"Correlation over people of the region means, predicted against real {cohort.direction.target_name}."
    )
    return [*pictures, Picture(png, alt=f"{text} {_ALIKE}", caption=text)]


def _most_off(rows: Sequence[RegionStatistics], parcellation: str) -> list[tuple[str, str]]:
    """The first region, and the two of a parcellation with the largest difference, one a side."""
    own_rows = [row for row in rows if row.parcellation == parcellation and row.bias is not None]
    own_rows.sort(key=lambda row: -abs(row.percent_difference or 0.0))
    one_side = {re.sub(r"^(left|right) ", "", row.region): row for row in reversed(own_rows)}
    examples = [row for row in rows[:1] if row.r is not None]
    examples += [row for row in own_rows if row in one_side.values()][:2]
    return [(row.parcellation, row.region) for row in examples]


def _people_plot(cohort: Cohort, region: int) -> Picture | None:
    by_name = dict(zip(region_numbers(), np.moveaxis(cohort_tables.person_numbers(cohort.scans), -1, 0)))
    real, predicted = (by_name[name][:, 0, region] for name in ("mean_real_smoothed", "mean_predicted"))
    usable = np.isfinite(real) & np.isfinite(predicted)
    if np.count_nonzero(usable) < MIN_GROUP:
        return None
    groups = [cohort.scans[i[0]].case.group for i in cohort_tables.scans_by_person(cohort.scans).values()]
    name = cohort.regions[region][1]
    png = charts.agreement_png(
        predicted[usable],
        real[usable],
        points="people",
        unit=cohort.unit,
        title=name,
        names=charts.AXIS_NAMES if cohort.direction.to_pet else charts.MRI_AXIS_NAMES,
        groups=[g for g, use in zip(groups, usable) if use] if any(groups) else None,
    )
    target = cohort.direction.target_name
    text = f"{name}: each point is one person; synthetic over real {target}, and Bland-Altman."
    return Picture(png, alt=f"{text} {_ALIKE}", caption=text)


def t1_section(regions: Sequence[RegionStatistics]) -> dict[str, Any] | None:
    """Correlations with the T1 over people (Figure 6 of the published analysis), if there are any."""
    rows = rows_of(regions, NETWORK)
    if all(row.real_t1_r is None for row in rows):
        return None
    own_rows = [row for row in rows if row.parcellation == rows[-1].parcellation]
    png = charts.region_bars_png(
        [row.region for row in own_rows],
        {
            "synthetic and real PET": [row.r for row in own_rows],
            "synthetic PET and T1": [row.predicted_t1_r for row in own_rows],
            "real PET and T1": [row.real_t1_r for row in own_rows],
        },
        label="Pearson r over people, region means",
        title="Synthetic PET, real PET and T1",
    )
    text = (
        "Region means over people: where the synthetic PET follows the T1 more closely than the real PET "
        "does, it shows anatomy (Figure 6 of the published analysis)."
    )
    content = columns(own_rows, "region")
    content += [(f"synthetic-real {name}", cells) for name, cells in columns(own_rows, "r")]
    content += columns(own_rows, "r_p", "predicted_t1_r", "predicted_t1_p", "real_t1_r", "real_t1_p")
    return {
        "picture": Picture(png, alt=f"{text} Numbers are in the table below.", caption=text),
        "table": side_by_side(content, "Correlations over people (p not corrected)", lead=()),
    }


def specificity_table(cohort: Cohort) -> ReportTable:
    """Own real PET against those of other people, by predictor."""
    fields = ("predictor", "n_people", "own_mse", "other_mse", "gap", "gain_gap", "own_r", "other_r", "rank")
    content = columns(cohort.specificity, *fields, "n_ranked")
    closest = [None if row.top1 is None else percent(100 * row.top1) for row in cohort.specificity]
    content += [(heading("top1", "%"), closest), *columns(cohort.specificity, "auc", "gain_auc")]
    where = f"MNI space, {OTHERS_SPACING_MM:g} mm, scale-free"
    caption = f"The person's own real PET against those of other people ({where})"
    return side_by_side(content, caption)


def others_table(cohort: Cohort) -> ReportTable | None:
    """The published Table 5, with its smoothed rows."""
    metrics, rows = brain_metrics(), cohort.others
    names: Column = (heading("metric"), [metrics[row.metric].heading for row in rows])
    caption = f"The network as in the published Table 5 ({cohort.unit}); without baselines it proves nothing"
    return side_by_side([names, *columns(rows, "own_mean", "other_mean")], caption, lead=()) if rows else None


def uptake_levels(levels: Sequence[UptakeRow]) -> ReportTable:
    """The published Table 2: images by regions."""
    regions = list(dict.fromkeys((row.parcellation, row.region) for row in levels))
    by_key = {(row.image, row.parcellation, row.region): row for row in levels}
    rows: list[list[Cell]] = []
    for image in dict.fromkeys(row.image for row in levels):
        cells = [by_key[image, parcellation, region] for parcellation, region in regions]
        rows.append([image, cells[0].n_people, *(spread(row.mean, row.sd) for row in cells)])
    header = [heading("image"), heading("n_people"), *(region for _, region in regions)]
    return ReportTable(header, rows, f"Mean uptake ({levels[0].unit}), mean and SD over people", lead=())


def within_groups(cohort: Cohort, regions: Sequence[RegionStatistics]) -> list[Picture]:
    """Figure 3 of the published analysis: real and synthetic PET by region, a picture a group."""
    last = cohort.regions[-1][0]
    pictures = []
    for stratum in dict.fromkeys(row.stratum for row in regions if row.stratum != EVERYONE):
        rows = [row for row in rows_of(regions, NETWORK, stratum) if row.parcellation == last]
        if all(row.bias_p is None for row in rows):
            continue
        off = [row.region for row in rows if row.bias_fdr is not None and row.bias_fdr < ALPHA]
        n = max(row.n_people for row in rows)
        png = charts.within_group_png(
            [row.region for row in rows],
            [(row.real_mean, row.real_sd) for row in rows],
            [(row.predicted_mean, row.predicted_sd) for row in rows],
            [row.region in off for row in rows],
            unit=cohort.unit,
            title=f"{stratum}, {n} people: {last}",
        )
        outcome = f"{len(off)} of {len(rows)} regions differ, starred"
        text = (
            f"{stratum}: mean and SD over people of the real (smoothed) and the synthetic PET. {outcome} "
            "(paired t test, FDR over the regions)."
        )
        pictures.append(Picture(png, alt=f"{text} {_ALIKE}", caption=text))
    return pictures


def paper_table(cohort: Cohort, paper: Sequence[PaperRow]) -> ReportTable | None:
    """The published Table 4."""
    caption = f"Aggregated as Table 4 of Ferrante et al. 2025 ({cohort.unit}), mean ± SD over rows"
    fields = ("metric", "mean", "n_rows", "n_missing")
    return side_by_side(columns(paper, *fields), caption, lead=()) if paper else None
