"""Variances of few people, shrunk towards what variances over the brain are like.

Smyth 2004, Stat Appl Genet Mol Biol 3:3, sections 3 and 6.2 (limma): the true variances of all units (voxels
or regions) are draws from s0^2 d0 / chi^2(d0). The estimate of a unit becomes the weighted mean of its own
variance (weight: its degrees of freedom) and of s0^2 (weight: d0), and its t has d + d0 degrees of freedom.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

# As good as infinite: all units have the same variance.
MOST_FREEDOM = 1e4
_LEAST_UNITS = 3  # fewer say nothing about how variances differ


class VariancePrior(NamedTuple):
    """``freedom``: d0, how many people's worth is known of the variance beforehand; ``variance``: s0^2."""

    freedom: float
    variance: float


def fit_prior(variances: np.ndarray, freedom: np.ndarray | float) -> VariancePrior:
    """The prior by the mean and the variance of log s^2 over units (Smyth 2004, section 6.2).

    >>> fit_prior(np.full(100, 4.0), 10.0).freedom == MOST_FREEDOM
    True

    :param variances: s^2 of each unit, of ``freedom`` degrees; those that are not above 0 are left out.
    """
    from scipy.optimize import brentq
    from scipy.special import digamma, polygamma

    variances, freedom = np.broadcast_arrays(np.asarray(variances, np.float64), freedom)
    usable = np.isfinite(variances) & (variances > 0) & (freedom > 0)
    if np.count_nonzero(usable) < _LEAST_UNITS:
        return VariancePrior(0.0, 0.0)
    half = freedom[usable] / 2
    logs = np.log(variances[usable]) - digamma(half) + np.log(half)
    spread = float(logs.var(ddof=1) - polygamma(1, half).mean())
    d0 = MOST_FREEDOM
    if spread > polygamma(1, MOST_FREEDOM / 2):
        d0 = 2 * float(brentq(lambda x: polygamma(1, x) - spread, 1e-8, MOST_FREEDOM / 2))
    location = float(logs.mean() + digamma(d0 / 2) - np.log(d0 / 2))
    return VariancePrior(d0, float(np.exp(location)))


def shrunk_variance(variances: np.ndarray, freedom: np.ndarray | float, prior: VariancePrior) -> np.ndarray:
    """(d0 s0^2 + d s^2) / (d0 + d) of each unit."""
    total = prior.freedom + np.asarray(freedom, np.float64)
    return np.asarray((prior.freedom * prior.variance + freedom * variances) / total)
