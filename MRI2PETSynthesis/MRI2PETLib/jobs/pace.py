"""The time left of a run of several steps: what earlier runs took, at the pace of the present one."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

_MARKS = 24  # of a course: a mark for every 4 % of the work
_SURE_S = 2.0  # before that a step's own speed says little
_PACES = (0.1, 20.0)
_LEAST = 1e-3  # a share that says something of the speed
# A resumed step passes at once what is there already: more than this share, ten times as fast as all.
_RESUMED, _AT_ONCE = 0.1, 0.1


@dataclass(frozen=True)
class Course:
    """How far a step was when, from its start to its end: shares (0 to 1) and seconds, both rising."""

    shares: tuple[float, ...]
    seconds: tuple[float, ...]

    @property
    def total_s(self) -> float:
        return self.seconds[-1]

    def at(self, share: float) -> float:
        """After how many seconds a share was done."""
        return float(np.interp(share, self.shares, self.seconds))

    def to_list(self) -> list[list[float]]:
        return [list(self.shares), list(self.seconds)]

    @classmethod
    def of(cls, content: Any) -> Course:
        """A course from what ``to_list`` gave.

        :raises ValueError: if it is none; also TypeError.
        """
        shares, seconds = (tuple(float(v) for v in values) for values in content)
        if not len(shares) == len(seconds) > 1 or min(*np.diff(shares), *np.diff(seconds)) < 0:
            raise ValueError("no course of a step")
        return cls(shares, seconds)


class Pace:
    """Follows the steps of one run.

    :ivar courses: those of earlier runs by the name of the step; a step that ends replaces its own.
    """

    def __init__(self, courses: MutableMapping[str, Course]) -> None:
        self.courses = courses
        self.start()

    def start(self) -> None:
        """A step begins."""
        self._marks = [(0.0, 0.0)]
        self._first_s: float | None = None  # when anything of it was done
        self._from = (0.0, 0.0)  # share and seconds from which on its speed counts

    def at(self, share: float, seconds: float) -> None:
        """The step is so far after so many seconds."""
        if share > 0 and self._first_s is None:
            self._first_s = seconds
        if self._first_s is not None and seconds <= self._first_s + _SURE_S:
            self._from = share, seconds
        if share - self._marks[-1][0] >= 1 / _MARKS and seconds >= self._marks[-1][1]:
            self._marks.append((share, seconds))

    def end(self, step: str, seconds: float) -> None:
        """The step is done. What it took is no guide if a part of it was there already."""
        share, reached = self._from
        if share > _RESUMED and reached - (self._first_s or 0.0) < _AT_ONCE * share * seconds:
            return
        done = [mark for mark in self._marks if mark[0] < 1 and mark[1] <= seconds]
        shares, times = zip(*done, (1.0, seconds))
        self.courses[step] = Course(shares, times)

    def share_of_run(self, steps: Sequence[str], place: int, share: float) -> float:
        """How much of the run is done (0 to 1) when ``share`` of the step at ``place`` is."""
        totals = [self.courses[step].total_s if step in self.courses else None for step in steps]
        weights = [1.0 if None in totals else max(total or 0.0, 1e-3) for total in totals]
        return (sum(weights[:place]) + share * weights[place]) / sum(weights)

    def left_s(self, steps: Sequence[str], place: int, share: float, seconds: float) -> float | None:
        """Seconds left; ``None`` while nothing can be said.

        :param seconds: since this step began.
        """
        course = self.courses.get(steps[place])
        pace, left = 1.0, None
        share_before, seconds_before = self._from
        own_s = seconds - seconds_before
        is_sure = own_s > _SURE_S and share - share_before > _LEAST
        if course is not None:
            usual_s = course.at(share) - course.at(share_before)
            if is_sure and usual_s > 0:
                pace = float(np.clip(own_s / usual_s, *_PACES))
            left = pace * (course.total_s - course.at(share))
        elif is_sure:
            left = own_s * (1 - share) / (share - share_before)
        later = [self.courses.get(step) for step in steps[place + 1 :]]
        if left is None or None in later:
            return None
        return left + pace * sum(own.total_s for own in later if own is not None)


def courses_of(content: Mapping[str, Any]) -> dict[str, Course]:
    """Courses by step from plain lists; what is none is left out."""
    courses = {}
    for step, own in content.items():
        try:
            courses[step] = Course.of(own)
        except (ValueError, TypeError):
            continue
    return courses
