"""A fold does not start from a model that has seen its test people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bundles import tiny_bundle
from MRI2PETLib.core.checksums import sha256_of_voxels
from MRI2PETLib.core.errors import InputError
from MRI2PETLib.core.progress import Reporter
from MRI2PETTrainingLib.dataset.cache import PreparedCase
from MRI2PETTrainingLib.folds import Fold, Folds, write_folds
from MRI2PETTrainingLib.run_folder import FOLDS, RUN
from MRI2PETTrainingLib.warm_start import (
    check_unseen,
    describe,
    images_of,
    people_of,
    seen_in_training,
    start_bundle,
)
from small_datasets import prepared_cases

pytestmark = pytest.mark.usefixtures("quick_registration")

FOLD_SIDES = [Fold(0, ("a",), ("b",), ("c",)), Fold(1, ("c",), ("b",), ("a",))]


class Listening(Reporter):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warning(self, message: str) -> None:
        self.warnings.append(message)


@pytest.fixture
def cases(tmp_path: Path) -> dict[str, PreparedCase]:
    made = prepared_cases(tmp_path / "cache", ["a", "b", "c"])
    return {
        c.case.case: replace(c, about={**c.about, "images": [f"t1 {c.case.case}", f"pet {c.case.case}"]})
        for c in made
    }


def model(folder: Path, *images: str, people: Sequence[str] = ()) -> str:
    return str(tiny_bundle(folder, training={"images": list(images), "people": list(people)}).folder)


def test_a_model_that_knows_a_test_person_is_refused(tmp_path: Path, cases: dict[str, PreparedCase]) -> None:
    reporter = Listening()
    check_unseen(model(tmp_path / "fine", "t1 b", "pet b"), FOLD_SIDES, cases, reporter)
    check_unseen(None, FOLD_SIDES, cases, reporter)
    assert reporter.warnings == []
    with pytest.raises(
        InputError, match="tiny was trained with an image of 'c', whom fold 0 tests"
    ) as caught:
        check_unseen(model(tmp_path / "leaky", "pet c"), FOLD_SIDES, cases, reporter)
    assert "--start-from RUN" in caught.value.hint
    # Only the folds that are trained matter.
    check_unseen(model(tmp_path / "leaky", "pet c"), FOLD_SIDES[1:], cases, reporter)


def test_another_scan_of_a_trained_person_is_noticed(tmp_path: Path, cases: dict[str, PreparedCase]) -> None:
    """By the name, in any spelling, as a subject or as the donor of a simulation; refused where the model
    has seen images of this dataset, else told: every other dataset may have a ``c`` as well.
    """
    earlier = replace(cases["c"].case, case="c_01", subject=" sub-C")
    made_from = replace(cases["a"].case, subject="simulated", donor="C")
    for number, scan in enumerate((earlier, made_from)):
        people, reporter = people_of([scan]), Listening()
        with pytest.raises(InputError, match="another scan of 'c', whom fold 0 tests"):
            same = model(tmp_path / f"same{number}", "t1 a", "old scan", people=people)
            check_unseen(same, FOLD_SIDES, cases, reporter)
        assert reporter.warnings == []
        other = model(tmp_path / f"other{number}", "old scan", people=people)
        check_unseen(other, FOLD_SIDES, cases, reporter)
        assert len(reporter.warnings) == 1 and "the same name as the test person 'c'" in reporter.warnings[0]
        check_unseen(other, [Fold(0, ("a", "c"), ("c",), ("b",))], cases, reporter)
        assert len(reporter.warnings) == 1


def test_a_model_that_says_nothing_is_asked_about(tmp_path: Path, cases: dict[str, PreparedCase]) -> None:
    reporter = Listening()
    check_unseen(str(tiny_bundle(tmp_path / "old").folder), FOLD_SIDES, cases, reporter)
    assert len(reporter.warnings) == 1 and "does not say which images and people" in reporter.warnings[0]


def test_each_fold_starts_from_its_own_fold_of_a_run(tmp_path: Path, cases: dict[str, PreparedCase]) -> None:
    run = tmp_path / "run"
    model(run / "fold_0" / "bundle", "t1 a")
    model(run / "fold_1" / "bundle", "t1 c")
    (run / RUN).write_text("{}")
    write_folds(run / FOLDS, Folds("", 1, ("subject",), tuple(FOLD_SIDES)))
    check_unseen(str(run), FOLD_SIDES, cases, Reporter())
    bundle = start_bundle(str(run), 1)
    assert bundle is not None and bundle.metadata["training"]["images"] == ["t1 c"]
    about = describe(str(run))
    assert isinstance(about, dict) and set(about["folds"]) == {"0", "1"}
    with pytest.raises(InputError, match="has no model of fold 2"):
        start_bundle(str(run), 2)
    with pytest.raises(InputError, match="image of 'a', whom fold 1 tests"):
        check_unseen(str(run / "fold_0" / "bundle"), FOLD_SIDES, cases, Reporter())


def test_images_are_known_by_their_voxels(cases: dict[str, PreparedCase]) -> None:
    """Values as float32 and size count; the type that they were stored in does not."""
    voxels = np.arange(24).reshape(2, 3, 4)
    assert sha256_of_voxels(voxels.astype(np.int16)) == sha256_of_voxels(voxels.astype(np.float64))
    assert sha256_of_voxels(voxels) != sha256_of_voxels(voxels.reshape(4, 3, 2))
    assert sha256_of_voxels(voxels) != sha256_of_voxels(voxels + 1)
    assert images_of([cases["b"], cases["a"]]) == ["pet a", "pet b", "t1 a", "t1 b"]


def test_a_model_has_seen_what_the_model_it_began_from_has(
    tmp_path: Path, cases: dict[str, PreparedCase]
) -> None:
    first = start_bundle(model(tmp_path / "first", "t1 c", "pet c"), 0)
    names = seen_in_training([cases["a"]], first)
    images, people = names["images"], names["people"]
    assert images == ["pet a", "pet c", "t1 a", "t1 c"] and people == people_of([cases["a"].case])
    with pytest.raises(InputError, match="was trained with an image of 'c'"):
        check_unseen(model(tmp_path / "second", *images), FOLD_SIDES, cases, Reporter())
    silent = start_bundle(str(tiny_bundle(tmp_path / "old").folder), 0)
    assert seen_in_training([cases["a"]], silent) == {"images": None, "people": None}
    assert seen_in_training([cases["a"]], None) == {"images": ["pet a", "t1 a"], "people": people}
