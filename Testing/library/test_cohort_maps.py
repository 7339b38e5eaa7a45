"""Maps of a cohort in MNI space: what other programs read, of people whose images are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import special, stats

from MRI2PETLib.cli import main
from MRI2PETLib.core.tables import read_table
from MRI2PETLib.evaluation.cohort_cases import CohortCase
from MRI2PETLib.evaluation.cohort_maps import CohortMaps, design_matrix, map_name
from MRI2PETLib.evaluation.covariates import read_covariate
from MRI2PETLib.evaluation.spaces import mni_grid
from MRI2PETLib.reports.evaluation import _write_scores


def case(number: int, group: str, subject: str = "", age: str = "") -> CohortCase:
    paths = (Path("s.nii.gz"), Path("p.nii.gz"), Path("T1.nii.gz"))
    name = f"case/{number}"
    own = subject or f"person{number}"
    return CohortCase(name, own, "0", *paths, None, group=group, others={"age": age} if age else {})


@pytest.fixture(scope="module")
def maps(tmp_path_factory: pytest.TempPathFactory) -> CohortMaps:
    """Residuals are constants: 0, 1, 2, ... of controls and 20 of a patient; the last scan lacks a slab."""
    brain = sitk.GetArrayFromImage(mni_grid()) != 0
    result = CohortMaps(tmp_path_factory.mktemp("cohort"), 6.0)
    for number in range(8):
        real = np.where(brain, 2.0 + (number if number < 7 else 20), np.nan)
        if number == 7:
            real[:12] = np.nan
        result.add(
            case(number, "control" if number < 7 else "patient", age=str(40 + number)),
            np.where(brain, 2.0, np.nan),
            real,
            "SUVR",
        )
    _write_scores(result)
    result.finish([read_covariate("age", [(c.subject, c.others["age"]) for c in result.cases])])
    return result


def read(maps: CohortMaps, number: int, what: str) -> np.ndarray:
    image = sitk.ReadImage(str(maps.folder / map_name(f"case/{number}", what)))
    assert image.GetSize() == mni_grid().GetSize()
    return sitk.GetArrayFromImage(image)


def test_maps_are_masked_and_finite(maps: CohortMaps) -> None:
    mask = sitk.GetArrayFromImage(sitk.ReadImage(str(maps.folder / "mask.nii.gz"))) != 0
    brain = sitk.GetArrayFromImage(mni_grid()) != 0
    assert not mask[:12].any()
    assert np.array_equal(mask[12:], brain[12:])
    for what in ("real", "synthetic", "residual", "z"):
        assert np.isfinite(read(maps, 3, what)).all()
    np.testing.assert_allclose(read(maps, 3, "residual")[mask], 3.0, rtol=0, atol=1e-4)
    assert (read(maps, 3, "real")[~brain] == 0).all()


def test_z_is_against_the_other_controls(maps: CohortMaps) -> None:
    """By hand. Values are the same in every voxel, so variances are too, and d0 is as good as infinite,
    s0^2 is that of Smyth 2004 (s^2 exp(log d/2 - digamma d/2)) and t (value - mean) / (s0 sqrt(1 + 1/n)).
    """
    mask = sitk.GetArrayFromImage(sitk.ReadImage(str(maps.folder / "mask.nii.gz"))) != 0
    for number, value, others in ((7, 20.0, range(7)), (6, 6.0, range(6))):
        own = np.array(list(others), float)
        half = (len(own) - 1) / 2
        prior_sd = own.std(ddof=1) * np.exp((np.log(half) - special.digamma(half)) / 2)
        t = (value - own.mean()) / (prior_sd * np.sqrt(1 + 1 / len(own)))
        expected = stats.norm.isf(stats.t.sf(t, 1e4 + len(own) - 1))
        np.testing.assert_allclose(read(maps, number, "z")[mask], expected, rtol=2e-3)


def test_the_tables_are_those_of_a_design(maps: CohortMaps) -> None:
    rows = read_table(maps.folder / "maps.tsv").rows
    assert [row["group"] for row in rows] == ["control"] * 7 + ["patient"]
    assert all((maps.folder / row[name]).is_file() for row in rows for name in ("real", "z", "residual"))
    design = read_table(maps.folder / "design.csv")
    assert design.columns == ("control", "patient", "age")
    numbers = np.array([[float(v) for v in row.values()] for row in design.rows])
    assert numbers[:, :2].sum(axis=1).tolist() == [1] * 8
    assert numbers[:, 2].sum() == pytest.approx(0)
    assert design_matrix([case(1, ""), case(2, "")], [])[0] == ["all"]


def test_few_people_have_no_z(tmp_path: Path) -> None:
    brain = sitk.GetArrayFromImage(mni_grid()) != 0
    maps = CohortMaps(tmp_path, 0.0)
    for number in range(3):
        maps.add(case(number, ""), np.where(brain, 1.0, np.nan), np.where(brain, 2.0, np.nan), "SUV")
    _write_scores(maps)
    maps.finish([])
    assert "z" not in read_table(maps.folder / "maps.tsv").columns
    assert not list(maps.folder.glob("*desc-z*"))


def test_one_case_has_no_maps_of_a_cohort(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["evaluate", "--synthetic", "s.nii", "--pet", "p.nii", "--mni", "-o", str(tmp_path / "o")])
    assert code == 3 and "--mni is about a set of people" in capsys.readouterr().err
