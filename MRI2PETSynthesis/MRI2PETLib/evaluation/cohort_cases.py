"""Which scans a cohort consists of: a cross-validation run, or a table of pairs.

Layout of a run::

    RUN/predictions.csv             case, subject, fold, synthetic, real, t1, mask[, group, genotype, site]
    RUN/baselines.json              optional: {"folds": {"0": {"cubic_of_t1": {"coefficients": [c0, c1, c2,
    c3]}}}} RUN/fold_<k>/mean_pet.nii.gz    optional: mean PET of the training scans of fold k in MNI space,
    any scale

Paths in the table are relative to its folder; ``t1``, ``mask`` and the columns in brackets may be empty.
``subject`` joins repeated scans of one person.
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.evaluation.settings import CasePaths

PREDICTIONS = "predictions.csv"
_REQUIRED = ("case", "subject", "synthetic", "real")
STRATA = ("group", "genotype", "site")


@dataclass(frozen=True)
class CohortCase:
    """One scan: its images, whose it is, and the training-fold baselines that belong to it."""

    case: str
    subject: str
    fold: str
    synthetic: Path
    real: Path
    t1: Path | None
    mask: Path | None
    group: str = ""
    genotype: str = ""
    site: str = ""
    cubic: tuple[float, ...] | None = None
    training_mean: Path | None = None

    @property
    def paths(self) -> CasePaths:
        """Its images."""
        return CasePaths(self.synthetic, self.real, self.t1, self.mask)


def read_run(run: Path | str) -> list[CohortCase]:
    """The scans of a cross-validation run with the baselines of their folds.

    :raises InputError: no predictions.csv, or see :func:`read_pairs`; an unreadable baselines.json.
    """
    run = Path(run)
    if not (run / PREDICTIONS).is_file():
        raise InputError(
            f"{run} has no {PREDICTIONS}.", "Give the folder of a finished cross-validation run."
        )
    return read_pairs(run / PREDICTIONS, run)


def read_pairs(table: Path | str, run: Path | None = None) -> list[CohortCase]:
    """The scans of a table (CSV); ``run`` is the folder of fold baselines.

    :raises InputError: unreadable table, missing columns or values, a case named twice, no row.
    """
    table = Path(table)
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            rows = [{k: (v or "").strip() for k, v in row.items() if k} for row in reader]
            columns = reader.fieldnames or []
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"The table {table} cannot be read: {error}.", "Give a CSV file in UTF-8."
        ) from error
    missing = [name for name in _REQUIRED if name not in columns]
    if missing:
        raise InputError(
            f"The table {table} lacks the columns {', '.join(missing)}.",
            f"It needs {', '.join(_REQUIRED)}; fold, t1, mask, {', '.join(STRATA)} are optional.",
        )
    if not rows:
        raise InputError(f"The table {table} has no row.", "List at least one scan.")
    coefficients = _cubic_by_fold(run)
    cases: dict[str, CohortCase] = {}
    for number, row in enumerate(rows, start=2):
        empty = [name for name in _REQUIRED if not row.get(name)]
        if empty:
            raise InputError(f"Line {number} of {table} has no {', '.join(empty)}.", "Fill in the value.")
        if row["case"] in cases:
            raise InputError(
                f"{table} lists the case {row['case']!r} twice.", "Give every scan a name of its own."
            )
        cases[row["case"]] = _case(row, table.parent, run, coefficients)
    return list(cases.values())


def _case(
    row: dict[str, str], folder: Path, run: Path | None, coefficients: dict[str, tuple[float, ...]]
) -> CohortCase:
    paths = {
        name: folder / row[name] if row.get(name) else None for name in ("synthetic", "real", "t1", "mask")
    }
    synthetic, real = paths["synthetic"], paths["real"]
    assert synthetic is not None and real is not None
    fold = row.get("fold", "")
    mean = run / f"fold_{fold}" / "mean_pet.nii.gz" if run is not None and fold else None
    return CohortCase(
        case=row["case"],
        subject=row["subject"],
        fold=fold,
        synthetic=synthetic,
        real=real,
        t1=paths["t1"],
        mask=paths["mask"],
        **{name: row.get(name, "") for name in STRATA},
        cubic=coefficients.get(fold),
        training_mean=mean if mean is not None and mean.is_file() else None,
    )


def _cubic_by_fold(run: Path | None) -> dict[str, tuple[float, ...]]:
    path = None if run is None else run / "baselines.json"
    if path is None or not path.is_file():
        return {}
    try:
        folds: Any = json.loads(path.read_text(encoding="utf-8"))["folds"]
        return {
            str(fold): tuple(float(c) for c in content["cubic_of_t1"]["coefficients"])
            for fold, content in folds.items()
            if "cubic_of_t1" in content
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} cannot be used: {error!r}.", "Remove it, or train again.") from error
