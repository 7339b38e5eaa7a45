"""The example of downstream use: groups told apart by what the PET holds, people kept apart, limits."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def example() -> ModuleType:
    path = REPOSITORY / "Docs" / "examples" / "downstream_classification.py"
    spec = importlib.util.spec_from_file_location("downstream_classification", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    module.REPEATS, module.BOOTSTRAPS = 2, 200  # type: ignore[attr-defined]
    return module


def test_area_by_hand(example: ModuleType) -> None:
    group = np.array([0, 0, 1, 1])
    assert example.area(np.array([0.0, 1.0, 2.0, 3.0]), group) == 1.0
    assert example.area(np.array([0.0, 2.0, 1.0, 3.0]), group) == 0.75
    assert example.area(np.ones(4), group) == 0.5


def test_what_only_the_tracer_knows_no_synthetic_pet_can_tell(example: ModuleType) -> None:
    """The tracer differs by 3 SD where the anatomy does not: the real PET tells, the synthetic one less."""
    real, synthetic = example.simulate(1, tracer_only=3.0)
    by_arm = example.compare(real, synthetic)
    group_of = dict(zip(real.subject.tolist(), real.group.tolist()))
    rows = {name: (value, low, high) for name, value, low, high in example.intervals(by_arm, group_of)}
    assert rows["real -> real"][0] > 0.95
    gain, low, high = rows["synthetic -> synthetic, minus real -> real"]
    assert low <= gain <= high < 0
    for value, low, high in rows.values():
        assert low <= value <= high


def test_labels_without_meaning_are_at_chance(example: ModuleType) -> None:
    real, synthetic = example.simulate(2)
    shuffled = np.random.default_rng(0).permutation(2 * [0, 1] + (len(set(synthetic.subject)) - 4) * [0, 1])
    of = dict(zip(synthetic.subject.tolist(), shuffled.tolist()))
    real, synthetic = (
        example.Scans(s.values, s.subject, np.array([of[p] for p in s.subject.tolist()]))
        for s in (real, synthetic)
    )
    rows = example.intervals(example.compare(real, synthetic), of)
    assert all(low < 0.62 for name, _, low, _ in rows[:4])


def test_tables_of_mri2pet_suvr_are_read(example: ModuleType, tmp_path: Path) -> None:
    head = "case,subject,group,method,region,label,role,n_voxels,volume_ml,mean,suvr,covered,reason\n"
    lines = [
        "a1,a,AD,real MR,frontal,1,region,9,1,2,1.5,1,",
        "a1,a,AD,PET template,frontal,1,region,9,1,2,9.9,1,",
        "a1,a,AD,real MR,composite,,composite,9,1,2,1.4,1,",
        "b1,b,NC,real MR,frontal,1,region,9,1,2,1.1,1,",
    ]
    path = tmp_path / "suvr.csv"
    path.write_text(head + "\n".join(lines) + "\n")
    groups: list[str] = []
    scans = example.read_table(path, groups)
    assert groups == ["AD", "NC"]
    assert scans.values.tolist() == [[1.5], [1.1]] and scans.group.tolist() == [0, 1]
