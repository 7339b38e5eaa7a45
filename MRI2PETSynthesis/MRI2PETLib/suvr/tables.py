"""Tables of one measured PET: columns by title, with ``None`` where there is no value."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from MRI2PETLib.evaluation.agreement import bland_altman
from MRI2PETLib.evaluation.headings import heading
from MRI2PETLib.suvr.normalisation import METHODS, REAL_MR
from MRI2PETLib.suvr.regional import COMPOSITE, REFERENCE, REGION, SuvrRow

_AGREEMENT = (
    "difference from real MR",
    "regions",
    *(heading(field) for field in ("mae", "bias", "lower_limit", "upper_limit")),
)


def suvr_columns(rows: Sequence[SuvrRow]) -> dict[str, list[Any]]:
    """One row a region, composite and reference first; methods, then differences from the real MR."""
    methods = [m for m in METHODS if any(row.method == m for row in rows)]
    by_place = {(row.method, (row.role, row.region)): row for row in rows}
    keys = list(dict.fromkeys((row.role, row.region) for row in rows))
    columns: dict[str, list[Any]] = {
        "region": [f"{region} (reference)" if role == REFERENCE else region for role, region in keys],
        "volume (mL)": [by_place[methods[0], key].volume_ml for key in keys],
    }
    values = {m: [by_place[m, key].suvr for key in keys] for m in methods}
    columns |= {f"SUVR, {m}": values[m] for m in methods}
    if REAL_MR in methods:
        for method in methods[1:]:
            columns[f"{method} \N{MINUS SIGN} {REAL_MR}"] = [
                None if own is None or gold is None else own - gold
                for own, gold in zip(values[method], values[REAL_MR])
            ]
    reasons = [
        "; ".join(dict.fromkeys(row.reason for m in methods if (row := by_place[m, key]).reason))
        for key in keys
    ]
    return columns | ({"remark": reasons} if any(reasons) else {})


def method_columns(
    rows: Sequence[SuvrRow], failed: Mapping[str, str], reference: Collection[str]
) -> dict[str, list[Any]]:
    """One row a method: composite SUVR and, where there is a real MR, the agreement with it over regions.

    :param failed: method -> why it could not be used; ``reference``: regions of the reference region.
    """
    composite = {row.method: row.suvr for row in rows if row.role == COMPOSITE}
    methods = [m for m in METHODS if m in failed or m in composite]
    columns: dict[str, list[Any]] = {"method": methods, "composite SUVR": [composite.get(m) for m in methods]}
    if REAL_MR in composite:
        lines = [_agreement(rows, method, composite, reference) for method in methods]
        columns |= {title: [line[n] for line in lines] for n, title in enumerate(_AGREEMENT)}
    return columns | ({"remark": [failed.get(m, "") for m in methods]} if failed else {})


def _agreement(
    rows: Sequence[SuvrRow], method: str, composite: Mapping[str, float | None], reference: Collection[str]
) -> tuple[Any, ...]:
    own, real, names = paired_regions(rows, method, reference)
    if method == REAL_MR or not names:
        return (None,) * len(_AGREEMENT)
    mine, gold = composite.get(method), composite[REAL_MR]
    away = None if mine is None or gold is None else mine - gold
    limits = bland_altman(own, real)
    return away, len(names), float(np.abs(own - real).mean()), limits.bias, limits.lower, limits.upper


def paired_regions(
    rows: Sequence[SuvrRow], method: str, reference: Collection[str]
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """SUVRs by a method and by the real MR of the regions that have both, and the regions' names.

    The regions of the reference region are left out: theirs is 1 by definition.
    """
    own, real = (
        {
            row.region: row.suvr
            for row in rows
            if row.method == m and row.role == REGION and row.suvr is not None
        }
        for m in (method, REAL_MR)
    )
    both = [name for name in own if name in real and name not in reference]
    return np.array([own[n] for n in both]), np.array([real[n] for n in both]), both
