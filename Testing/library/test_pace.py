"""The time left of a run: by what earlier runs took, at the pace of the present one; all by hand."""

from __future__ import annotations

import pytest

from MRI2PETLib.jobs.pace import Course, Pace, courses_of

# Half of the work takes a tenth of the time.
UNEVEN = Course((0.0, 0.5, 1.0), (0.0, 5.0, 50.0))
STEPS = ["synthesis", "comparison"]


def test_an_uneven_step_is_known_from_its_last_run() -> None:
    pace = Pace({"comparison": UNEVEN})
    assert pace.left_s(["comparison"], 0, 0.5, 5.0) == 45  # by its own speed it would be 5
    assert pace.left_s(["comparison"], 0, 0.5, 15.0) == 135  # a third as fast as last time


def test_a_step_to_come_counts_at_the_same_pace() -> None:
    pace = Pace({"synthesis": Course((0, 1), (0, 10)), "comparison": UNEVEN})
    assert pace.left_s(STEPS, 0, 0.5, 10.0) == 2 * (5 + 50)
    assert pace.left_s(STEPS, 0, 0.0, 0.0) == 60
    assert pace.share_of_run(STEPS, 0, 0.5) == pytest.approx(5 / 60)
    assert pace.share_of_run(STEPS, 1, 0.5) == pytest.approx((10 + 25) / 60)


def test_the_first_run_says_only_what_it_knows() -> None:
    pace = Pace({})
    assert pace.left_s(STEPS, 0, 0.5, 10.0) is None  # what the comparison takes is not known
    assert pace.left_s(STEPS, 1, 0.25, 10.0) == 30
    assert pace.left_s(STEPS, 1, 0.25, 1.0) is None and pace.left_s(STEPS, 1, 0.0, 10.0) is None
    assert pace.share_of_run(STEPS, 1, 0.5) == 0.75


def test_a_step_that_ends_is_remembered() -> None:
    pace = Pace({})
    pace.start()
    for share, seconds in ((0.01, 0.5), (0.5, 5.0), (0.5, 9.0), (0.9, 40.0), (1.0, 49.0)):
        pace.at(share, seconds)
    pace.end("comparison", 50.0)
    assert pace.courses["comparison"] == Course((0.0, 0.5, 0.9, 1.0), (0.0, 5.0, 40.0, 50.0))
    content = {"comparison": pace.courses["comparison"].to_list(), "damaged": [[0, 1], [5]], "none": 3}
    assert courses_of(content) == pace.courses
