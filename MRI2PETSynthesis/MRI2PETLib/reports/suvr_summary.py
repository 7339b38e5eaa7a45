"""The first screen of reports on SUVR: the composite region by each method against the first of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from MRI2PETLib.reports.page import Cell, ReportTable, how_many, interval, number_text, percent, spread
from MRI2PETLib.reports.summary import Summary
from MRI2PETLib.suvr.agreement import AgreementRow
from MRI2PETLib.suvr.normalisation import REAL_MR
from MRI2PETLib.suvr.regional import COMPOSITE


def summary_of_suvr(composite: Mapping[str, float | None]) -> Summary:
    """Of one PET; a single one has no interval.

    :param composite: by method, the standard first.
    """
    (first, standard), *others = composite.items()
    lines: list[list[Cell]] = []
    for method, value in composite.items():
        both = method != first and value is not None and standard
        change = 100 * (value / standard - 1) if both and value is not None and standard else None
        lines.append([method, value, percent(change)])
    if standard is None:
        verdict = f"By the {first} there is no composite SUVR: see the remarks on the regions."
    else:
        verdict = f"Composite SUVR {number_text(standard)} by the {first}."
        if others:
            verdict += " How far the other methods are off in general, a table of PETs tells (--cases)."
    table = ReportTable(["method", "composite SUVR", f"against the {first} (%)"], lines, "Composite region")
    return Summary(verdict, "", table)


def summary_of_suvr_cohort(agreement: Sequence[AgreementRow]) -> Summary:
    """Over people: agreement of each method with the real MR, with intervals of 95 %.

    :param agreement: see :func:`.suvr.agreement.agreement_table`.
    """
    own = [row for row in agreement if row.role == COMPOSITE and row.mae is not None]
    if not own:
        return Summary(
            "Nobody has an MRI: there is no standard that a method could be compared with.", "", None
        )
    lines: list[list[Cell]] = [
        [
            row.method,
            row.n_people,
            spread(row.mae, row.mae_sd),
            interval(row.bias, row.bias_low, row.bias_high),
            _limits(row),
            interval(row.icc, row.icc_low, row.icc_high),
        ]
        for row in own
    ]
    best = min(own, key=lambda row: row.mae or 0.0)
    verdict = f"Closest to the {REAL_MR}: {best.method}, bias {lines[own.index(best)][3]}."
    low, high = best.bias_low, best.bias_high
    if low is None or high is None:
        verb = "is" if best.n_people == 1 else "are"
        verdict += f" {how_many(best.n_people, 'person')} {verb} too few for an interval: no verdict."
        kind = ""
    elif low <= 0 <= high:
        verdict += " A bias of 0 lies in the interval; single people differ by the limits of agreement."
        kind = "ok"
    else:
        verdict += f" It measures too {'much' if low > 0 else 'little'}: its interval leaves out 0."
        kind = "refuse"
    header = ["method", "people", "MAE ± SD", "bias (95 %)", "limits of agreement", "ICC (95 %)"]
    caption = f"Composite SUVR against the {REAL_MR}"
    return Summary(verdict, kind, ReportTable(header, lines, caption, [own.index(best)]))


def _limits(row: AgreementRow) -> Cell:
    if row.lower_limit is None or row.upper_limit is None:
        return None
    return f"{number_text(row.lower_limit)} to {number_text(row.upper_limit)}"
