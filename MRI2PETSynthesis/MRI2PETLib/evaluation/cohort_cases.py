"""Which scans a cohort consists of: a cross-validation run, or a table of pairs.

Layout of a run::

    RUN/predictions.csv             case, subject, fold, synthetic, pet, t1, mask, group, genotype, site,
                                    age, sex, window_min
    RUN/baselines.json              optional, the cubic of the source of each fold, see :mod:`.cubic`:
                                    {"folds": {"0": {"cubic_of_t1": {"coefficients": [...], "fwhm_mm": 6}}}}
    RUN/fold_<k>/mean_pet.nii.gz    optional: mean PET of the training scans of fold k in MNI space, any scale

The table is one of :mod:`MRI2PETLib.images.case_table`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from MRI2PETLib.core.errors import InputError, reason_of
from MRI2PETLib.core.files import read_object
from MRI2PETLib.core.progress import Reporter
from MRI2PETLib.evaluation.cubic import Cubic
from MRI2PETLib.evaluation.settings import CasePaths, EvaluationSettings
from MRI2PETLib.images.case_table import CaseRow, check_people, read_case_table
from MRI2PETLib.preprocessing.frame_window import parse_window
from MRI2PETLib.preprocessing.pet_units import plain_unit

PREDICTIONS = "predictions.csv"
STRATA = ("group", "genotype", "site")  # numbers in these columns are names


@dataclass(frozen=True)
class CohortCase:
    """One scan: its images, whose it is, and the training-fold baselines that belong to it.

    ``pet_unit``: of the real PET, when the table states it. ``others``: what further columns say.
    """

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
    pet_unit: str | None = None
    window: tuple[float, float] | None = None
    cubic: Cubic | None = None
    training_mean: Path | None = None
    others: Mapping[str, str] = field(default_factory=dict)

    @property
    def paths(self) -> CasePaths:
        """Its images."""
        return CasePaths(self.synthetic, self.real, self.t1, self.mask)

    def entry(self, column: str) -> str:
        """What the table says under a column, empty for nothing."""
        name = column.strip().lower()
        return str(getattr(self, name)) if name in STRATA else self.others.get(name, "")

    def own(self, settings: EvaluationSettings) -> EvaluationSettings:
        """The settings for this case: a unit in its table wins."""
        return replace(
            settings, pet_unit=self.pet_unit or settings.pet_unit, window=self.window or settings.window
        )


def read_run_scans(run: Path | str, reporter: Reporter) -> list[CohortCase]:
    """The scans of a cross-validation run with the baselines of their folds.

    :raises InputError: no predictions.csv, or see :func:`read_pairs`; an unreadable baselines.json.
    """
    run = Path(run)
    if not (run / PREDICTIONS).is_file():
        raise InputError(
            f"{run} has no {PREDICTIONS}.", "Give the folder of a finished cross-validation run."
        )
    return read_pairs(run / PREDICTIONS, reporter, run)


def read_pairs(table: Path | str, reporter: Reporter, run: Path | None = None) -> list[CohortCase]:
    """The scans of a table of cases (columns ``case``, ``synthetic`` and ``pet``).

    :param reporter: is told what was noticed and who is left out.
    :param run: the folder of fold baselines.
    :raises InputError: see :func:`.case_table.read_case_table`, :func:`.check_people`; all cases excluded.
    """
    case_table = read_case_table(table, ("case", "synthetic", "pet"))
    check_people(case_table.used)
    for note in case_table.notes():
        reporter.warning(note)
    coefficients = _cubic_by_fold(run)
    cases = [_case(row, run, coefficients) for row in case_table.used]
    if not cases:
        raise InputError(
            f"All cases of {table} are left out.", "Clear the column exclude of at least one case."
        )
    return cases


def _case(row: CaseRow, run: Path | None, coefficients: dict[str, Cubic]) -> CohortCase:
    assert row.synthetic is not None and row.pet is not None
    mean = run / f"fold_{row.fold}" / "mean_pet.nii.gz" if run is not None and row.fold else None
    return CohortCase(
        case=row.case,
        subject=row.subject,
        fold=row.fold,
        synthetic=row.synthetic,
        real=row.pet,
        t1=row.t1,
        mask=row.mask,
        pet_unit=plain_unit(row.unit),
        window=parse_window(row.window_min),
        **{name: getattr(row, name) for name in STRATA},
        cubic=coefficients.get(row.fold),
        others={**row.others, "age": row.age, "sex": row.sex},
        training_mean=mean if mean is not None and mean.is_file() else None,
    )


def _cubic_by_fold(run: Path | None) -> dict[str, Cubic]:
    path = None if run is None else run / "baselines.json"
    if path is None or not path.is_file():
        return {}
    try:
        folds: Any = read_object(path)["folds"]
        cubics = {str(fold): Cubic.of(content.get("cubic_of_t1")) for fold, content in folds.items()}
        return {fold: cubic for fold, cubic in cubics.items() if cubic is not None}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path} cannot be used: {reason_of(error)}.", "Remove it, or train again."
        ) from error
