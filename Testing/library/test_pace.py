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


def test_what_was_there_already_is_no_speed_and_no_guide() -> None:
    """A norm whose 20 people were read before: 90 % at once, then a tenth in 100 s."""
    pace = Pace({})
    pace.start()
    pace.at(0.0, 3.0)
    for person in range(20):
        pace.at(0.045 * (person + 1), 5.0 + 0.05 * person)
    assert pace.left_s(["build"], 0, 0.9, 30.0) is None
    pace.at(0.95, 55.95)
    assert pace.left_s(["build"], 0, 0.95, 55.95) == pytest.approx(50)
    pace.end("build", 106.0)
    assert pace.courses == {}
    pace.courses["build"] = Course((0.0, 0.9, 1.0), (0.0, 900.0, 1000.0))
    assert pace.left_s(["build"], 0, 0.9, 8.0) == pytest.approx(100)  # as long as last time
    assert pace.left_s(["build"], 0, 0.95, 105.95) == pytest.approx(100)  # half as fast


def test_a_short_step_is_a_guide_however_fast_it_begins() -> None:
    pace = Pace({})
    pace.start()
    for tenth in range(1, 10):
        pace.at(tenth / 10, 0.4 * tenth)
    pace.end("check", 4.0)
    assert pace.courses["check"].total_s == 4


def test_a_step_that_ends_is_remembered() -> None:
    pace = Pace({})
    pace.start()
    for share, seconds in ((0.01, 0.5), (0.5, 5.0), (0.5, 9.0), (0.9, 40.0), (1.0, 49.0)):
        pace.at(share, seconds)
    pace.end("comparison", 50.0)
    assert pace.courses["comparison"] == Course((0.0, 0.5, 0.9, 1.0), (0.0, 5.0, 40.0, 50.0))
    content = {"comparison": pace.courses["comparison"].to_list(), "damaged": [[0, 1], [5]], "none": 3}
    assert courses_of(content) == pace.courses
