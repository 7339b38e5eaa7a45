"""The network beside its baselines: means and differences by hand, and the words that follow from them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from MRI2PETLib.evaluation.case import SCALE_FREE
from MRI2PETLib.evaluation.direction import Direction
from MRI2PETTrainingLib.baseline_table import baseline_rows, best_baseline, card_section, not_beaten

ERRORS = {
    "network": [0.030, 0.032, 0.028, 0.031, 0.029, 0.030, 0.033],
    "constant": [0.050, 0.052, 0.051, 0.049, 0.050, 0.053, 0.052],
    "training mean": [0.020, 0.021, 0.022, 0.019, 0.020, 0.021, 0.020],
    "cubic of T1": [0.029, 0.033, 0.027, 0.032, 0.028, 0.031, 0.033],
    "warped average": [None] * 7,
}


def cohort(people: int = 7, names: tuple[str, ...] = tuple(ERRORS)) -> Any:
    """The second scan of the first person has the same errors: it counts once."""
    scans = []
    for person in [0, *range(people)]:
        numbers = {name: {"pearson_r": 0.7, "mse": ERRORS[name][person]} for name in names}
        metrics = {(SCALE_FREE, name): own for name, own in numbers.items()}
        case = SimpleNamespace(subject=f"p{person}", group="", fold="0")
        scans.append(SimpleNamespace(case=case, metrics=metrics))
    return SimpleNamespace(
        scans=scans,
        predictors=list(names),
        uses=dict.fromkeys(names, "what it knows"),
        settings=SimpleNamespace(seed=0),
        direction=Direction(),
    )


def test_differences_and_verdicts() -> None:
    rows = {row.predictor: row for row in baseline_rows(cohort())}
    assert list(rows) == ["network", "constant", "training mean", "cubic of T1"]  # none of the null
    network = np.array(ERRORS["network"])
    for name, better in (("constant", 7), ("training mean", 0), ("cubic of T1", 3)):
        row, own = rows[name], np.array(ERRORS[name])
        assert row.n_people == 7 and row.n_network_better == better == np.count_nonzero(network < own)
        assert row.means["mse"] == pytest.approx(own.mean())
        assert row.difference == pytest.approx((network - own).mean())
    assert rows["constant"].verdict == "is worse than the network"
    assert rows["training mean"].verdict == "is BETTER than the network"
    assert rows["cubic of T1"].verdict == "cannot be told from the network by these people"
    best = best_baseline(list(rows.values()))
    assert best is rows["training mean"] and "training mean" in not_beaten(list(rows.values()))
    card = card_section(list(rows.values()), 7, "scale-free", "Tested by hand.")
    assert "The best baseline, training mean, is BETTER than the network." in card
    assert "| constant | what it knows | 0.7 | 0.051 | −0.0206 (" in card and "| 7 of 7 |" in card


def test_a_scan_that_a_baseline_lacks_is_not_held_against_the_network() -> None:
    rows = {row.predictor: row for row in baseline_rows(cohort())}
    harder = cohort()
    for person in range(7):
        metrics = {(SCALE_FREE, name): {"pearson_r": None, "mse": None} for name in ERRORS}
        metrics[SCALE_FREE, "network"] = {"pearson_r": 0.1, "mse": 0.9}
        case = SimpleNamespace(subject=f"p{person}", group="", fold="0")
        harder.scans.append(SimpleNamespace(case=case, metrics=metrics))
    for row in baseline_rows(harder):
        if row.predictor != "network":
            assert row.difference == pytest.approx(rows[row.predictor].difference)
            assert row.verdict == rows[row.predictor].verdict


def test_few_people_have_no_interval() -> None:
    (_, row) = baseline_rows(cohort(3, ("network", "constant")))
    assert (row.low, row.verdict) == (None, "has too few people for an interval")
    assert row.difference == pytest.approx(-0.021)
