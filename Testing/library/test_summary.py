"""The first screen of a report: the verdict follows the interval of the difference from the best baseline."""

from __future__ import annotations

import pytest

from MRI2PETLib.evaluation.metrics import METRICS
from MRI2PETLib.evaluation.paired import Difference, PairedRow
from MRI2PETLib.reports.summary import case_summary, cohort_summary

SCALE = "stated"


def row(metric: str, baseline: str, network: float, other: float, low: float, high: float) -> PairedRow:
    change = Difference((low + high) / 2, low, high)
    about = ("network", baseline, SCALE, "brain", "whole brain", METRICS[metric].heading, "value", "SUVR", 20)
    return PairedRow(*about, network, other, "", 15, change)


def test_better_than_the_best_baseline_in_all() -> None:
    rows = [
        row("pearson_r", "cubic of T1", 0.9, 0.7, 0.1, 0.3),
        row("pearson_r", "warped average", 0.9, 0.8, 0.05, 0.15),
        row("mse", "cubic of T1", 0.01, 0.03, -0.03, -0.01),
        row("mse", "warped average", 0.01, 0.04, -0.05, -0.01),
    ]
    summary = cohort_summary(rows, SCALE, "SUVR")
    assert summary.kind == "ok" and "better than the best baseline in" in summary.verdict
    assert summary.table is not None
    assert [line[2] for line in summary.table.rows] == [
        "warped average",
        "cubic of T1",
    ]  # the best, not the first
    assert summary.table.rows[0][4] == "0.100 (0.050 to 0.150)" and summary.table.rows[0][5] == "15 of 20"


@pytest.mark.parametrize(
    ("low", "high", "kind", "words"),
    [
        (0.01, 0.02, "refuse", "worse than the best baseline in MSE"),
        (-0.01, 0.02, "", "not clearly different"),
    ],
)
def test_worse_or_not_told_from_it(low: float, high: float, kind: str, words: str) -> None:
    rows = [row("pearson_r", "null", 0.9, 0.8, 0.05, 0.15), row("mse", "null", 0.03, 0.02, low, high)]
    summary = cohort_summary(rows, SCALE, "SUVR")
    assert summary.kind == kind and words in summary.verdict and "better in r" in summary.verdict


def test_few_people_and_no_baseline_give_no_verdict() -> None:
    few = row("mse", "null", 0.03, 0.02, 0, 0)._replace(n_people=4, paired=Difference(0.01, reason="needs 6"))
    summary = cohort_summary([few], SCALE, "SUVR")
    assert summary.kind == "" and "4 people are too few" in summary.verdict
    assert cohort_summary([], SCALE, "SUVR").table is None


def test_one_person_says_nothing_of_the_model() -> None:
    network = {"pearson_r": 0.9, "mse": 0.03}
    baselines = {"null": {"pearson_r": 0.8, "mse": 0.02}, "cubic": {"pearson_r": 0.7, "not_available": {}}}
    summary = case_summary(network, baselines, "SUVR")
    assert "better than the best baseline in r (null)" in summary.verdict
    assert "not better in MSE (null)" in summary.verdict and "One person" in summary.verdict
