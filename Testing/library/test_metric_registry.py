"""A metric is entered in one place and stands in every table, file, report and window."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from evaluation_cases import listed_files, write_run, write_subject
from MRI2PETLib.cli import main
from MRI2PETLib.evaluation.local import RoiReadout
from MRI2PETLib.evaluation.measure import Measure
from MRI2PETLib.evaluation.metrics import METRICS, PET_SQUARED, Metric, brain_metrics, metric_notes
from MRI2PETLib.evaluation.pair import Pair
from MRI2PETLib.reports.case_files import read_comparison
from MRI2PETLib.reports.evaluation import EVALUATION_RECORD
from MRI2PETLib.simulation import simulate_subject

pytestmark = pytest.mark.usefixtures("quick_registration")


def test_entries_are_complete_and_their_names_do_not_meet() -> None:
    labels = [metric.label for metric in brain_metrics().values()]
    assert len(set(labels)) == len(labels)
    for name, metric in METRICS.items():
        assert metric.name == name == metric.function.__name__ and metric.function.__doc__
        assert set(metric.columns) <= set(metric.against)
    assert all(note.endswith(".") for to_pet in (True, False) for note in metric_notes(to_pet=to_pet))
    assert "metrics" in RoiReadout.__dataclass_fields__


def test_better_is_a_direction_or_a_distance() -> None:
    r, mse, slope, cnr = (METRICS[name] for name in ("pearson_r", "mse", "slope", "cnr_synthetic_median_abs"))
    assert r.is_better(0.9, 0.8) and not r.is_better(0.8, 0.9)
    assert mse.is_better(0.1, 0.2) and not mse.is_better(0.2, 0.2)
    assert slope.is_better(0.9, 1.2) and METRICS["normdiff_median"].is_better(-0.1, 0.2)
    assert not cnr.is_better(1.0, 2.0) and not cnr.is_better(2.0, 1.0)
    assert mse.unit_of("SUVR") == "SUVR²" and METRICS["mae"].unit_of("Bq/mL") == "Bq/mL"
    assert mse.unit_of("Bq/mL") == "(Bq/mL)²" and r.unit_of("SUVR") == ""
    assert METRICS["percent_difference"].heading == "difference (%)" and mse.heading == "MSE"
    assert np.isfinite(METRICS["psnr_db"].function(Pair(np.arange(3.0), np.arange(3.0)[::-1])).value or 0)


@pytest.fixture(scope="module")
def dummy() -> Iterator[Metric]:
    """What a newcomer adds: a function and its entry."""

    def largest_error(pair: Pair) -> Measure:
        return Measure(float(pair.squared.max())) if pair.s.size else Measure(None, "empty")

    entry = Metric(
        *("largest_error", "largest error", PET_SQUARED, "lower", largest_error),
        note="Largest error: of all voxels, squared.",
        regions="all",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(METRICS, entry.name, entry)
        yield entry


@pytest.fixture(scope="module")
def evaluated(dummy: Metric, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The evaluation of a case."""
    folder = tmp_path_factory.mktemp("case")
    files = write_subject(folder, simulate_subject(4, spacing_mm=6.0))
    pair = ["--synthetic", str(files["synthetic"]), "--pet", str(files["real"]), "--t1", str(files["T1"])]
    assert main(["evaluate", *pair, "-o", str(folder / "out"), "--progress", "none"]) == 0
    return folder / "out"


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_new_metric_is_in_every_file_of_a_case(dummy: Metric, evaluated: Path) -> None:
    content = json.loads((evaluated / "metrics.json").read_text())
    network = content["scales"]["stated"]["network"]
    assert network[dummy.name] > network["mse"] and network[f"smoothed_{dummy.name}"] > 0
    assert content["scales"]["stated"]["baselines"]["constant"][dummy.name] > 0
    assert content["metrics"][dummy.name]["label"] == dummy.label
    table = rows(evaluated / "regions.csv")
    whole = next(r for r in table if (r["predictor"], r["region"]) == ("network", "whole brain"))
    assert float(whole[dummy.name]) == pytest.approx(network[dummy.name])
    assert f"smoothed_{dummy.name}" in whole
    page = (evaluated / "report.html").read_text(encoding="utf-8")
    assert (
        f">{dummy.label}</th>" in page
        and f">{dummy.label}, warped average</th>" in page
        and dummy.note in page
    )
    read = read_comparison(listed_files(evaluated / EVALUATION_RECORD))
    assert read.regions[0].metrics[dummy.name] == pytest.approx(network[dummy.name])


def test_a_new_metric_is_in_every_file_of_a_cohort(dummy: Metric, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", range(3))
    out = tmp_path / "out"
    assert main(["evaluate", "--run", str(run), "-o", str(out), "--progress", "none"]) == 0
    summary = [r for r in rows(out / "summary.csv") if r["metric"] == dummy.name]
    assert {r["unit"] for r in summary} == {"SUVR²", "(PET / in-brain mean)²"} and summary[0]["mean"]
    assert dummy.name in rows(out / "scans.csv")[0] and dummy.name in rows(out / "regions.csv")[0]
    assert dummy.name in {r["metric"] for r in json.loads((out / "cohort.json").read_text())["summary"]}
    page = (out / "report.html").read_text(encoding="utf-8")
    assert f">{dummy.label}</th>" in page and dummy.note in page


def test_a_new_metric_is_in_the_tables_of_slicer(dummy: Metric, evaluated: Path) -> None:
    pytest.importorskip("slicer", reason="needs slicer-core")
    from MRI2PETLib.scene.tables import global_columns, region_columns

    comparison = read_comparison(listed_files(evaluated / EVALUATION_RECORD))
    columns = global_columns(
        comparison.scales["stated"]["network"], comparison.scales["stated"]["baselines"], comparison.unit
    )
    where = list(columns["metric"]).index(dummy.label)
    assert columns["unit"][where] == "SUVR²" and columns["better"][where] == "lower"
    whole = comparison.scales["stated"]["network"][dummy.name]
    assert float(columns["network"][where]) == pytest.approx(whole, rel=1e-3)  # rounded for the eye
    assert f"{dummy.label}, network" in region_columns(comparison.regions, "stated")
