"""Damaged files of every kind are read or refused with a reason; ``make fuzz`` tries many more."""

from __future__ import annotations

from fuzz import KINDS, run


def test_damaged_files_are_refused_or_harmless() -> None:
    tallies = run(KINDS, seed=0, count=40, timeout_s=300)
    assert tallies.keys() == set(KINDS)
    for kind, tally in tallies.items():
        assert min(tally.values()) > 0, f"{kind}: {tally}"  # neither all sound nor all hopeless
