"""The tables of the report on a person against a norm."""

from __future__ import annotations

from collections.abc import Sequence

from MRI2PETLib.normative.build import ALL_VOXELS
from MRI2PETLib.normative.calibration import FAMILY_LEVEL
from MRI2PETLib.normative.card import KIND_NAMES
from MRI2PETLib.normative.headings import CLUSTER_HEADINGS, REGION_HEADINGS
from MRI2PETLib.normative.norm import Norm, NormAbout
from MRI2PETLib.normative.person import CONDITIONAL, KINDS
from MRI2PETLib.normative.score import RegionScore, Scores
from MRI2PETLib.reports.page import Cell, ReportTable, interval, p_value, percent, spread
from MRI2PETLib.templates.regions import parcellation_title

_MOST_CLUSTERS = 20


def cluster_tables(scores: Scores) -> tuple[list[ReportTable], list[str]]:
    """A table for each kind that has clusters, and a sentence for each that has none."""
    tables, sentences = [], []
    for kind in KINDS:
        own = [c for c in scores.clusters if c.kind == kind]
        if not own:
            sentences.append(f"{KIND_NAMES[kind]}: no cluster.")
            continue
        header = [title for name, title in CLUSTER_HEADINGS.items() if name != "kind"]
        rows: list[list[Cell]] = [
            [
                c.sign,
                f"{c.peak_z:.1f}",
                c.volume_ml,
                *(f"{round(v) + 0}" for v in (c.x_ras_mm, c.y_ras_mm, c.z_ras_mm)),
                c.region or "none",
                p_value(c.p_peak),
                p_value(c.p_size),
            ]
            for c in own[:_MOST_CLUSTERS]
        ]
        more = f", the first {_MOST_CLUSTERS} of {len(own)}" if len(own) > _MOST_CLUSTERS else ""
        lead = [n for n, c in enumerate(own[:_MOST_CLUSTERS]) if min(c.p_peak, c.p_size) <= FAMILY_LEVEL]
        tables.append(ReportTable(header, rows, f"Clusters, {KIND_NAMES[kind]}{more}", lead))
    return tables, sentences


def region_table_of_scores(scores: Scores) -> ReportTable:
    """All regions that have a z, the largest |z| first."""
    rows = sorted((r for r in scores.regions if r.z is not None), key=lambda r: -abs(r.z or 0.0))
    unit = scores.regions[0].unit
    header = [title.format(unit=unit) for title in REGION_HEADINGS.values()]
    lines = [_region_line(row) for row in rows]
    lead = [n for n, row in enumerate(rows) if row.p_family is not None and row.p_family <= FAMILY_LEVEL]
    return ReportTable(header, lines, "Regions against the norm", lead)


def _region_line(row: RegionScore) -> list[Cell]:
    return [
        row.region,
        _z(row.z),
        percent(row.percentile),
        p_value(row.p_family),
        _z(row.z_unconditional),
        percent(row.percentile_unconditional),
        p_value(row.p_family_unconditional),
        row.real,
        row.predicted,
        spread(row.expected, row.sd),
        parcellation_title(row.parcellation),
    ]


def asymmetry_table_of_scores(scores: Scores) -> ReportTable | None:
    """All pairs of regions, the largest |z| first."""
    rows = sorted((r for r in scores.asymmetry if r.z is not None), key=lambda r: -abs(r.z or 0.0))
    names = ["region", "parcellation", "real", "predicted", "z", "p_family"]
    names += ["z_unconditional", "p_family_unconditional"]
    header = [REGION_HEADINGS[name].format(unit="%") for name in names]
    lines: list[list[Cell]] = [
        [
            row.region,
            parcellation_title(row.parcellation),
            percent(row.real_percent),
            percent(row.predicted_percent),
            _z(row.z),
            p_value(row.p_family),
            _z(row.z_unconditional),
            p_value(row.p_family_unconditional),
        ]
        for row in rows
    ]
    lead = [n for n, row in enumerate(rows) if row.p_family is not None and row.p_family <= FAMILY_LEVEL]
    return ReportTable(header, lines, "Asymmetry against the norm", lead) if rows else None


def explained_table(about: NormAbout) -> ReportTable:
    """What the T1 explains of the variance between controls, all voxels and then by region."""
    names = [ALL_VOXELS, *(name for name in about.explained if name != ALL_VOXELS)]
    rows: list[list[Cell]] = []
    for name in names:
        share = about.explained[name]
        scaled = (None if v is None else 100 * v for v in (share.share, share.low, share.high))
        rows.append([name, interval(*scaled), share.reason])
    header = ["where", "variance explained (%), 95 % interval", "remark"]
    return ReportTable(header, rows, "Variance between controls that the T1 explains")


def calibration_table(norm: Norm) -> ReportTable:
    """Shares of left-out controls beyond 1.96 and 3."""
    unconditional = {row.unit: row for row in norm.about.calibration[KINDS[1]]}
    rows: list[list[Cell]] = []
    for row in norm.about.calibration[CONDITIONAL]:
        other = unconditional.get(row.unit)
        share = interval(*(None if v is None else 100 * v for v in (row.beyond_196, row.low, row.high)))
        cells: Sequence[Cell] = (row.unit, spread(row.mean, row.sd), share, percent(100 * row.beyond_3))
        rows.append([*cells, None if other is None else percent(100 * other.beyond_196)])
    header = ["where", "z of controls, mean ± SD", "beyond 1.96 (%), 95 % interval", "beyond 3 (%)"]
    return ReportTable([*header, "beyond 1.96 without T1 (%)"], rows, "Controls scored by the others")


def _z(value: float | None) -> Cell:
    return None if value is None else f"{value:.2f}".replace("-", "\N{MINUS SIGN}")
