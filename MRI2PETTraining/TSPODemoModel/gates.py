"""What a model must reach before it is shipped, and the table that says whether it does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from MRI2PETLib.core.progress import ProgressCallback, no_progress, part_of
from MRI2PETLib.models.bundle import Bundle
from MRI2PETLib.models.model_space import ModelSpace
from TSPODemoModel import held_out_people, real_donors
from TSPODemoModel.activity_model import ActivityModel, Donor, leave_one_out
from TSPODemoModel.anatomies import PersonAnatomy
from TSPODemoModel.calibration import Coverage, coverage_of
from TSPODemoModel.held_out_people import (
    AFFINE,
    FIVE,
    NETWORK_ROW,
    ORACLE,
    UNWARPED,
    WARPED,
    Baselines,
    PredictFunction,
    Row,
    mean_of,
)
from TSPODemoModel.real_donors import RealCheck
from TSPODemoModel.same_brain import path_agreement
from TSPODemoModel.simulated_pairs import load_people
from TSPODemoModel.work_folder import WorkFolder

SEED_OF_SECOND = 1  # the out-of-sample model


@dataclass(frozen=True)
class Limits:
    """Thresholds of one grid. They were set before any of these models was trained."""

    error_unwarped: float  # G1: scale-free MSE, times the best unwarped baseline
    error_warped: float  # G1: times the better warped population map
    gap: float  # G2: share of the gap from the 5 parameters to the oracle
    r_gain: float  # G3: above the 5 parameters
    ssim_gain: float  # G4: above the best baseline
    real_share: float  # G6: of the way from tissue weights to the training donors' mean
    ratio: float  # G6: largest error of a region's ratio to cortex
    own: float = 0.95  # G7
    cavity: float = 0.5  # G8: share of a cavity's missing uptake
    path_r: float = 0.95  # G9


FINE = Limits(0.85, 1.00, 0.5, 0.08, 0.02, 1 / 2, 0.10)
COARSE = Limits(0.92, 1.05, 0.3, 0.04, 0.01, 1 / 3, 0.15)


@dataclass(frozen=True)
class Gate:
    """One line of the table. ``passed`` is ``None`` where it could not be measured."""

    name: str
    what: str
    value: str
    limit: str
    passed: bool | None


@dataclass(frozen=True)
class Unseen:
    """The out-of-sample model against donors that it never saw, from the T1 of the template and of people.

    :ivar simulated: region over cortex as ``people.ratios``, of the simulated uptake of the same people.
    :ivar stage: the last one of its training, of so many ``epochs``.
    """

    template: RealCheck
    people: RealCheck
    simulated: dict[str, float]
    stage: str
    epochs: int
    donors: list[str]


@dataclass(frozen=True)
class Measurements:
    """Everything that the card prints.

    :ivar people: who was measured.
    :ivar unseen: the out-of-sample model against donors that it never saw, ``None`` without one.
    :ivar coverage: of the bundle's calibrated SD, ``None`` where it has none.
    """

    people: list[str]
    baselines: Baselines
    table: dict[str, Row]
    gates: list[Gate]
    cavity: float
    own_donors: RealCheck
    unseen: Unseen | None
    coverage: Coverage | None
    path: dict[str, float]
    leave_one_out: list[dict[str, float | str]]


def limits_of(space: ModelSpace) -> Limits:
    """2 mm limits up to 2.5 mm, else the 4 mm ones."""
    return FINE if max(space.spacings_mm) <= 2.5 else COARSE


def judge(
    space: ModelSpace,
    table: dict[str, Row],
    real: Unseen | None,
    cavity: float,
    path: dict[str, float],
) -> list[Gate]:
    """The gates G1 to G9 (there is no G5: the published error on min-max scale decides nothing)."""
    limits, net = limits_of(space), table[NETWORK_ROW]
    best = min(table[name].scale_free_mse for name in UNWARPED)
    warped = min(table[name].scale_free_mse for name in (AFFINE, WARPED))
    five, oracle = table[FIVE], table[ORACLE]
    gap = (five.scale_free_mse - net.scale_free_mse) / (five.scale_free_mse - oracle.scale_free_mse)
    ssim = max(table[name].ssim for name in (*UNWARPED, AFFINE, WARPED))

    def at_most(name: str, what: str, value: float, limit: float, form: str = ".2f") -> Gate:
        return Gate(name, what, format(value, form), f"<= {limit:{form}}", value <= limit)

    def at_least(name: str, what: str, value: float, limit: float, form: str = ".2f") -> Gate:
        return Gate(name, what, format(value, form), f">= {limit:{form}}", value >= limit)

    error = net.scale_free_mse
    gates = [
        at_most("G1a", "error / best unwarped baseline's", error / best, limits.error_unwarped),
        at_most("G1b", "error / better warped population map's", error / warped, limits.error_warped),
        at_least("G2", "share of the gap 5 parameters to oracle", gap, limits.gap),
        at_least("G3", "r above the 5 parameters'", net.r - five.r, limits.r_gain, ".3f"),
        at_least("G4", "SSIM above the best baseline's", net.ssim - ssim, limits.ssim_gain, ".3f"),
    ]
    if real is None:
        gates.append(Gate("G6", "held-out real donors", "-", "needs the out-of-sample model", None))
    else:
        gates += [
            at_least("G6a", "way from tissue to donors' mean", real.template.share, limits.real_share),
            at_most("G6b", "regional ratio, ICBM T1", real.template.largest_ratio_error, limits.ratio),
            at_most("G6c", "regional ratio, people's T1s", real.people.largest_ratio_error, limits.ratio),
        ]
    gates += [
        at_least("G7", "people closer to their own prediction", net.own_first, limits.own),
        at_least("G8", "share of a cavity's missing uptake", cavity, limits.cavity),
        at_least("G9", "lowest r, other versions of a T1", min(path.values()), limits.path_r),
    ]
    return gates


def render_gates(table: dict[str, Row], gates: Sequence[Gate]) -> str:
    """Both tables as Markdown."""
    lines = [
        "| predictor | scale-free MSE | r, noisy target | SSIM, noise-free | own first | own best |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {name} | {row.scale_free_mse:.4f} | {row.r:.3f} | {row.ssim:.3f} | {row.own_first:.0%} | "
        f"{row.own_best:.0%} |"
        for name, row in table.items()
    ]
    lines += [
        "",
        f"Mask: {held_out_people.T1_MASK}.",
        "",
        "| gate | what | measured | limit | |",
        "|---|---|---|---|---|",
    ]
    word = {True: "pass", False: "FAIL", None: "not measured"}
    lines += [f"| {g.name} | {g.what} | {g.value} | {g.limit} | {word[g.passed]} |" for g in gates]
    return "\n".join(lines)


def render_real(title: str, check: RealCheck, simulated: dict[str, float] | None = None) -> str:
    """One comparison with real maps as Markdown, with ``simulated`` ratios as a further column."""
    columns = {"predicted": check.ratios, "real": check.real_ratios}
    if simulated is not None:
        columns["simulated"] = simulated
    head = f"| region / cortex | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 1)}"
    rows = "\n".join(
        f"| {name} | {' | '.join(f'{values[name]:.2f}' for values in columns.values())} |"
        for name in check.ratios
    )
    return (
        f"{title}: r {check.r:.3f}; tissue weights alone {check.r_tissue:.3f}, training donors' mean "
        f"{check.r_donors:.3f}: {check.share:.0%} of the way. Mask: {real_donors.TEMPLATE_MASK}. "
        f"In {real_donors.INNER_MASK}: r {check.inner_r:.3f}, tissue weights {check.inner_tissue:.3f}, "
        f"donors' mean {check.inner_donors:.3f}. Smoothed with zeros around the brain as the real maps were; "
        f"smoothed inside the mask only, the prediction has r {check.r_normalised:.3f}.\n\n{head}\n{rows}"
    )


def outcome(table: dict[str, Row], gates: Sequence[Gate]) -> dict[str, Any]:
    """What the bundle's metadata keeps."""
    return {
        "where": held_out_people.T1_MASK,
        "table": {name: asdict(row) for name, row in table.items()},
        "gates": [asdict(gate) for gate in gates],
    }


def measure_model(
    bundle: Bundle,
    model: ActivityModel,
    training: Sequence[PersonAnatomy],
    held_out: Sequence[PersonAnatomy],
    donors: Sequence[Donor],
    *,
    unseen: Unseen | None,
    t1s: dict[str, Path],
    progress: ProgressCallback = no_progress,
) -> Measurements:
    """Everything about a bundle.

    :param model: activity model of the ``donors``, with which the held-out pairs are made.
    :param unseen: the out-of-sample model against donors that it never saw.
    :param t1s: T1 files by subject; the first two people of ``held_out`` go through the whole path.
    """
    predict, space, size = mean_of(bundle.networks()), bundle.space, bundle.space.size[0]
    progress(0, 1, "fitting the baselines")
    people = load_people(training, model, size, torch.device("cpu"))
    baselines = held_out_people.fit_baselines(people, space.target)
    table = held_out_people.table_of(
        predict, size, model, baselines, held_out, target=space.target, progress=part_of(progress, 0.1, 0.6)
    )
    progress(0.6, 1, "cavity")
    cavity = held_out_people.cavity_response(predict, size, model, held_out)
    progress(0.7, 1, "other versions of the same T1")
    path = path_agreement(bundle, t1s, [person.subject for person in held_out][:2])
    return Measurements(
        people=[person.subject for person in held_out],
        baselines=baselines,
        table=table,
        gates=judge(space, table, unseen, cavity, path),
        cavity=cavity,
        own_donors=compare_with_real(predict, space, donors, None),
        unseen=unseen,
        coverage=coverage_of(bundle, predict, model, held_out),
        path=path,
        leave_one_out=leave_one_out(donors, model.tissue),
    )


def unseen_donors(work: WorkFolder, held_out: Sequence[str]) -> Unseen | None:
    """What the out-of-sample model says of the donors that it never saw; ``None`` where it is not trained.

    :param held_out: subjects whose T1s it predicts from, beside the template's.
    """
    from TSPODemoModel.training import finished, trained_stages

    training = work.seen_donors()
    folder, about = work.training_folder(SEED_OF_SECOND, training), work.about(training)
    for last in ("3mm", "4mm"):
        done = finished(trained_stages(last, folder), folder, seed=SEED_OF_SECOND, about=about)
        if done is not None:
            break
    else:
        return None
    predict, stage = mean_of([done[-1].network]), done[-1].stage
    unseen = [donor for donor in work.donors if donor not in training]
    anatomies, activity = work.people(held_out), work.activity(training)
    predicted = real_donors.predict_people(predict, stage.size, anatomies, activity)
    simulated, _ = real_donors.predict_people(None, stage.size, anatomies, activity)
    return Unseen(
        compare_with_real(predict, stage.preset.space, unseen, training),
        real_donors.check_real(*predicted, unseen, training),
        real_donors.region_ratios(simulated),
        stage.preset.name,
        stage.preset.epochs,
        [donor.name for donor in unseen],
    )


def compare_with_real(
    predict: PredictFunction, space: ModelSpace, compared: Sequence[Donor], training: Sequence[Donor] | None
) -> RealCheck:
    """Predict for the template's T1 and compare with the controls in ``compared``."""
    return real_donors.check_real(*real_donors.predict_template(predict, space), compared, training)
