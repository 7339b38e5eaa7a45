"""The state of a run, read from its folder during and after the run, without any heavy package."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from MRI2PETLib.core.errors import InputError, MRI2PETError, reason_of
from MRI2PETLib.core.files import plain, read_object, write_json
from MRI2PETLib.core.tables import read_table
from MRI2PETTrainingLib.folds import SIDES, Fold, Folds, read_folds
from MRI2PETTrainingLib.headings import training_heading
from MRI2PETTrainingLib.presets import preset_of
from MRI2PETTrainingLib.settings import TrainingSettings

RUN, CASES, FOLDS, FOLD = "run.json", "cases.csv", "folds.json", "fold.json"
STYLED_MANIFEST = "manifest.csv"  # of pairs for pre-training
CURVES, RUN_REPORT, SUBJECTS, ENSEMBLE = "metrics.csv", "report.html", "subjects.csv", "ensemble"
CHECKPOINTS, PRESET_FOLDER, BUNDLE = "checkpoints", "preset", "bundle"


def fold_folder(run: Path, number: int) -> Path:
    """Where a fold keeps its checkpoints, its model and its ``fold.json``."""
    return run / f"fold_{number}"


def has_begun(run: Path) -> bool:
    """Whether the training of any fold has begun."""
    return any(run.glob("fold_*"))


@dataclass(frozen=True)
class FoldStatus:
    """How far a fold is.

    :ivar curves: one row an epoch (``epoch`` counts from 0); see :data:`CURVES`.
    :ivar finished: its model and its predictions are there.
    """

    fold: Fold
    curves: tuple[Mapping[str, float], ...]
    finished: bool

    @property
    def best(self) -> Mapping[str, float] | None:
        """The epoch with the lowest validation error so far."""
        validated = [row for row in self.curves if "val_nmse" in row]
        return min(validated, key=lambda row: row["val_nmse"], default=None)


@dataclass(frozen=True)
class FoldResult:
    """What the ``fold.json`` of a finished fold says.

    :ivar cubic_sums: of the training cases, see :func:`.outcome.cubic_sums_of`.
    :ivar predictions: files of each test case, relative to the folder of the fold: synthetic, pet, mask.
    """

    fold: Fold
    epoch: int
    history: list[dict[str, float]]
    cost: Mapping[str, Any]
    cubic: Mapping[str, Any]
    cubic_sums: Mapping[str, Any]
    predictions: Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class RunView:
    """A run as its folder shows it.

    :ivar record: ``run.json``, empty before it is there.
    :ivar cases: rows of ``cases.csv``.
    :ivar notes: what was noticed about the dataset as a whole.
    :ivar report: of the finished run, else ``None``; the same for ``ensemble``, the folder of its model.
    """

    run: Path
    record: Mapping[str, Any]
    cases: tuple[Mapping[str, str], ...]
    folds: tuple[FoldStatus, ...]
    begun: bool
    report: Path | None
    ensemble: Path | None
    notes: tuple[str, ...] = ()

    @property
    def epochs(self) -> int:
        """Of a fold, as planned; 0 before it is known."""
        epochs = _inside(self.record, "content", "preset", "epochs")
        return epochs if isinstance(epochs, int) else 0

    @property
    def dataset(self) -> str:
        """Full path of the dataset; empty before it is known."""
        return str(_inside(self.record, "settings", "dataset") or "")


def _inside(record: Any, *keys: str) -> Any:
    """What a record holds below names, ``None`` where it holds none of them: somebody may have edited it."""
    for key in keys:
        record = record.get(key) if isinstance(record, Mapping) else None
    return record


def read_run(run: Path) -> RunView:
    """Look at a run folder. What is not there (yet), or is just being written, is left out."""
    record: dict[str, Any] = {}
    with suppress(InputError):
        record = read_object(run / RUN)
    try:
        folds: Folds | None = read_folds(run / FOLDS)
    except InputError:
        folds = None
    statuses = tuple(_status(run, fold) for fold in (folds.folds if folds else ()))
    finished = bool(statuses) and all(status.finished for status in statuses)
    report, ensemble = run / RUN_REPORT, run / ENSEMBLE
    return RunView(
        run,
        record,
        tuple(_read_table(run / CASES)),
        statuses,
        has_begun(run),
        report if finished and report.is_file() else None,
        ensemble if finished and ensemble.is_dir() else None,
    )


def _status(run: Path, fold: Fold) -> FoldStatus:
    folder = fold_folder(run, fold.number)
    rows = _read_table(folder / CHECKPOINTS / CURVES)
    curves = tuple({k: float(v) for k, v in row.items() if _is_number(v)} for row in rows)
    return FoldStatus(fold, tuple(row for row in curves if "epoch" in row), (folder / FOLD).is_file())


def _read_table(path: Path) -> list[dict[str, str]]:
    try:
        return list(read_table(path).rows)
    except InputError:
        return []


def _is_number(text: str | None) -> bool:
    try:
        return text is not None and float(text) == float(text)
    except ValueError:
        return False


# -- tables --------------------------------------------------------------------------------------------------

RunColumns = dict[str, list[Any]]
# Columns of the table of cases that may be edited; the others follow from the files.
EDITABLE = ("subject", "group", "genotype", "site", "age", "sex", "donor", "exclude", "unit")
_LISTED = ("case", "subject", "group", "genotype", "site", "age", "sex", "donor", "unit", "exclude")
_WORDS = {"ok": "", "warn": "noticed", "refuse": "cannot be used"}


def case_columns(view: RunView) -> RunColumns:
    """The table of cases: whose they are, what was noticed, in which fold each is tested, and its files.

    ``site`` and ``donor`` are left out where nobody has any.
    """
    tested = {name: status.fold.number for status in view.folds for name in status.fold.test}
    rows = view.cases
    columns: RunColumns = {}
    for name in _LISTED:
        values = [row.get(name, "") for row in rows]
        if name not in ("site", "age", "sex", "donor") or any(values):
            columns[name] = values
    units = [row.get("pet_unit", "") for row in rows]
    if any(units):
        columns["unit found"] = units
    columns["test fold"] = [str(tested.get(row.get("case", ""), "")) for row in rows]
    columns["problem"] = [_WORDS.get(row.get("level", ""), row.get("level", "")) for row in rows]
    columns["what was noticed"] = [row.get("findings", "") for row in rows]
    columns["t1"] = [row.get("t1", "") for row in rows]
    columns["pet"] = [row.get("pet", "") for row in rows]
    return columns


def people_and_scans(names: Sequence[str], subjects: Mapping[str, str], groups: Mapping[str, str]) -> str:
    """``3 people, 4 scans (1 AD, 3 HC)``: those of some cases, by the subject and group of each."""
    people = len({subjects.get(name, name) for name in names})
    first = "1 person" if people == 1 else f"{people} people"
    counts = Counter(groups.get(name, "") for name in names)
    split = ", ".join(f"{n} {group}" for group, n in sorted(counts.items()) if group)
    return f"{first}, {len(names)} scan{'' if len(names) == 1 else 's'}" + (f" ({split})" if split else "")


def fold_columns(view: RunView) -> RunColumns:
    """The table of folds: how far each is, its best validation, and who is where."""
    columns: RunColumns = {"fold": [str(s.fold.number) for s in view.folds]}
    states, epochs, bests, errors, correlations = [], [], [], [], []
    for status in view.folds:
        best, done = status.best, len(status.curves)
        states.append("finished" if status.finished else "begun" if done else "waiting")
        epochs.append(f"{done} of {view.epochs}" if view.epochs else str(done))
        bests.append("" if best is None else f"{best['epoch'] + 1:.0f}")
        errors.append("" if best is None else f"{best['val_nmse']:.3f}")
        correlations.append("" if best is None or "val_r" not in best else f"{best['val_r']:.3f}")
    columns |= {"state": states, "epochs": epochs, "best epoch": bests}
    columns |= {training_heading("val_nmse"): errors, training_heading("val_r"): correlations}
    subjects, groups = (
        {row["case"]: row[name] for row in view.cases if name in row} for name in ("subject", "group")
    )
    for side in SIDES:
        cases = (getattr(status.fold, side) for status in view.folds)
        columns[training_heading(side)] = [people_and_scans(names, subjects, groups) for names in cases]
    return columns


def summary(view: RunView) -> str:
    """One line about a dataset: cases, people, groups, problems."""
    used = [row for row in view.cases if not row.get("exclude")]
    if not view.cases:
        return ""
    people = {row.get("subject", "") for row in used}
    groups = Counter(row.get("group", "") for row in used)
    bad = sum(row.get("level") == "refuse" for row in used)
    noticed = sum(row.get("level") == "warn" for row in used)
    parts = [f"{len(used)} cases of {len(people)} people"]
    if any(groups):
        parts.append(", ".join(f"{n} {group or 'without group'}" for group, n in groups.most_common()))
    if len(view.cases) > len(used):
        parts.append(f"{len(view.cases) - len(used)} left out")
    if noticed:
        parts.append(f"{noticed} with remarks")
    if bad:
        parts.append(f"{bad} cannot be used")
    return " ".join(["; ".join(parts) + ".", *view.notes])


# -- going on with a run -------------------------------------------------------------------------------------


def settings_of_run(view: RunView) -> TrainingSettings:
    """The settings that go on with a run, read from its folder.

    Where its preset is another one by now, they name a copy of it that is written into the run folder.

    :raises InputError: if the folder does not say what was trained.
    """
    try:
        settings = TrainingSettings.of_dict(view.record["settings"])
        preset = dict(view.record["content"]["preset"])
    except (MRI2PETError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{view.run} does not say how it was trained: {reason_of(error)}.", "Choose another folder."
        ) from error
    settings = replace(settings, output=str(view.run))
    with suppress(InputError):
        if settings.preset is not None and plain(preset_of(settings).to_dict()) == preset:
            return settings
    path = view.run / PRESET_FOLDER / f"{preset.get('name') or 'preset'}.json"
    path.parent.mkdir(exist_ok=True)
    replaced = {name: getattr(TrainingSettings, name) for name in settings.options() if name in preset}
    return replace(settings, **replaced, preset=str(write_json(path, preset)))
