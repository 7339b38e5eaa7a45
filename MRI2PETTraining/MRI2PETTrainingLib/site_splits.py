"""Splits between the sites where people were scanned: each site tested in turn, or some of them for good."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from MRI2PETLib.core.errors import InputError
from MRI2PETLib.images.subjects import one_spelling, plain_name
from MRI2PETTrainingLib.dataset.manifest import TrainingCase


def split_by_site(
    cases: Sequence[TrainingCase], units: Sequence[int], test_sites: Sequence[str]
) -> tuple[list[tuple[np.ndarray, np.ndarray]], str]:
    """Indices of both sides of every split (the rest, the tested), and the name of the method.

    :param units: a number a case; cases that share it stay on one side.
    :param test_sites: tested in one split; empty: each site is tested in turn.
    :raises InputError: for a case without a site, an unknown site, a side that is empty, or cases that belong
        together on two sides.
    """
    spelt = one_spelling(case.site for case in cases)
    of_case = [spelt[case.site] for case in cases]
    present = sorted(set(of_case) - {""})
    missing = [case.case for case in cases if not case.site]
    if missing:
        raise InputError(
            f"{missing[0]!r} has no site.", "A split by site needs the column site for every case."
        )
    if len(present) < 2:
        raise InputError(f"All cases are of the site {present[0]!r}.", "There must be two or more sites.")
    by_key = {plain_name(site): site for site in present}
    unknown = [site for site in test_sites if plain_name(site) not in by_key]
    if unknown:
        raise InputError(f"No case is of the site {unknown[0]!r}.", f"Sites: {', '.join(present)}.")
    tested = sorted({by_key[plain_name(site)] for site in test_sites})
    if tested == present:
        raise InputError("Every site is a test site: nobody is left to train.", "Leave out a --test-site.")
    side = {name: "test" if site in tested else "training" for name, site in spelt.items()}
    _check_people_by_side(cases, units, side if tested else spelt)
    sites = np.array(of_case)
    tests = [np.isin(sites, tested)] if tested else [sites == site for site in present]
    method = f"one split: tested at {', '.join(tested)}" if tested else "leave one site out"
    return [(np.flatnonzero(~test), np.flatnonzero(test)) for test in tests], method


def _check_people_by_side(
    cases: Sequence[TrainingCase], units: Sequence[int], side: Mapping[str, str]
) -> None:
    """Cases that belong together are of one side; ``side``: of each site."""
    first_of: dict[int, TrainingCase] = {}
    for case, unit in zip(cases, units):
        first = first_of.setdefault(unit, case)
        if side[first.site] != side[case.site]:
            raise InputError(
                f"{first.case!r} ({first.site}) and {case.case!r} ({case.site}) belong together but are at "
                "two sites that a split divides.",
                "Leave out the cases of one of the sites (column exclude), or do not split by site.",
            )
