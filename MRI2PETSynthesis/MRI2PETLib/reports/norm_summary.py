"""The first screen of the report on a person against a norm: both z beside each other, and what they say."""

from __future__ import annotations

from collections.abc import Sequence

from MRI2PETLib.normative.build import ALL_VOXELS
from MRI2PETLib.normative.calibration import FAMILY_LEVEL
from MRI2PETLib.normative.card import KIND_NAMES, what_the_t1_adds
from MRI2PETLib.normative.norm import Norm
from MRI2PETLib.normative.person import CONDITIONAL, KINDS
from MRI2PETLib.normative.score import Scores
from MRI2PETLib.reports.page import Cell, ReportTable, interval, p_value
from MRI2PETLib.reports.summary import Summary


def summary_of_score(norm: Norm, scores: Scores) -> Summary:
    """What is beyond the controls, by the T1 and without it, and how far the z can be believed."""
    lines, beyond = [], []
    for kind in KINDS:
        line, unusual = _line(norm, scores, kind)
        lines.append(line)
        beyond += [KIND_NAMES[kind]] * unusual
    header = [
        "z",
        "farthest peak",
        "where (MNI, RAS mm)",
        "p over the brain",
        "regions with p of .05 or less",
        "left-out controls beyond 1.96 (%)",
    ]
    table = ReportTable(header, lines, f"Against {norm.about.n_people} controls", lead=())
    if 1 / (norm.about.n_people + 1) > FAMILY_LEVEL:
        verdict, kind = "Too few controls for a p of .05 (19 are needed): no verdict.", ""
    elif beyond:
        verdict = f"Farther from the controls than 95 % of them are from each other: {' and '.join(beyond)}."
        kind = "refuse"
    else:
        verdict, kind = "Nowhere farther from the controls than 5 % of them are from the others.", "ok"
    return Summary(f"{verdict} {what_the_t1_adds(norm.about.explained[ALL_VOXELS])}", kind, table)


def _line(norm: Norm, scores: Scores, kind: str) -> tuple[Sequence[Cell], bool]:
    """A line of the table, and whether anything is beyond the controls."""
    peak = next((c for c in scores.clusters if c.kind == kind), None)
    name = "p_family" if kind == CONDITIONAL else "p_family_unconditional"
    values = [getattr(row, name) for row in scores.regions]
    few = [p for p in values if p is not None and p <= FAMILY_LEVEL]
    calibration = norm.about.calibration[kind][0]
    shares = (calibration.beyond_196, calibration.low, calibration.high)
    where = "no voxel beyond the threshold"
    if peak is not None:
        point = ", ".join(f"{round(v) + 0}" for v in (peak.x_ras_mm, peak.y_ras_mm, peak.z_ras_mm))
        finest = peak.region.rpartition(", ")[2]
        where = f"{finest} ({point})" if finest else point
    line: list[Cell] = [
        KIND_NAMES[kind],
        None if peak is None else f"{peak.peak_z:.1f}".replace("-", "\N{MINUS SIGN}"),
        where,
        None if peak is None else p_value(peak.p_peak),
        f"{len(few)} of {len(values)}",
        interval(*(None if v is None else 100 * v for v in shares)),
    ]
    clusters = [c for c in scores.clusters if c.kind == kind]
    return line, bool(few) or any(min(c.p_peak, c.p_size) <= FAMILY_LEVEL for c in clusters)
