"""Mean and SD of controls by unit (voxel or region) with covariates, and the z of somebody who is not in it.

Units are columns, people are rows; NaN: the person was not measured there. The z allows for what few controls
leave unknown: with x the person's covariates (1 first), X those of the controls who were measured in this
unit, h = x' (X'X)^-1 x and s^2 the shrunk variance,

    t = (value - x' beta) / (s sqrt(1 + h)),    z: the normal score of t with d + d0 degrees of freedom,

so that the z of a new control has mean 0 and SD 1 whatever the number of controls. A unit in which fewer than
:data:`LEAST_COVERING` of the controls were measured has no z.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from MRI2PETLib.normative.shrinkage import VariancePrior, fit_prior, shrunk_variance

LEAST_COVERING = 0.8  # of the controls who must be measured in a unit
_LEAST_PEOPLE = 4  # in a unit: a variance of left-out people needs three
_LEAST_FREEDOM = 2  # a variance of less is none
_BLOCK = 20_000  # units at a time
_LEAST_P = 1e-300  # z is finite: 37 at most


@dataclass(frozen=True)
class ControlModel:
    """What controls are like.

    :ivar coefficients: [column, unit], the first is the mean at the centre of the covariates.
    :ivar variance: [unit], shrunk; NaN where too few controls were measured.
    :ivar count: [unit], controls who were measured.
    :ivar inverse: [pair of columns, unit], (X'X)^-1 over those controls: its upper triangle, line by line.
    """

    coefficients: np.ndarray
    variance: np.ndarray
    count: np.ndarray
    inverse: np.ndarray
    prior: VariancePrior

    def expected(self, row: np.ndarray) -> np.ndarray:
        """The mean of controls with these covariates, [unit]."""
        return np.asarray(row @ self.coefficients)

    def prediction_sd(self, row: np.ndarray) -> np.ndarray:
        """SD of a new control around :meth:`expected`, [unit]."""
        first, second = pairs_of_columns(len(row))
        leverage = (row[first] * row[second] * np.where(first == second, 1, 2)) @ self.inverse
        return np.asarray(np.sqrt(self.variance * (1 + leverage)))

    def z(self, values: np.ndarray, row: np.ndarray) -> np.ndarray:
        """Scores of a person, [unit]; NaN where there is no value or no model.

        :param values: [unit]; ``row``: the person's line of the design.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            t = (values - self.expected(row)) / self.prediction_sd(row)
        freedom = self.count - len(self.coefficients) + self.prior.freedom
        return normal_score(t, freedom)


def pairs_of_columns(columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Line and column of each entry of :attr:`ControlModel.inverse` in the whole matrix."""
    return np.triu_indices(columns)


def least_controls(people: int) -> int:
    """How many of the controls must be measured in a unit for a z.

    >>> least_controls(4), least_controls(21)
    (4, 17)
    """
    return max(_LEAST_PEOPLE, math.ceil(LEAST_COVERING * people))


def fit_controls(values: np.ndarray, design: np.ndarray) -> ControlModel:
    """Least squares by unit over the people who were measured there, the variances shrunk.

    :param values: [person, unit]; ``design``: [person, column], of full rank, its first column 1.
    """
    fit = _least_squares(values, design)
    prior = fit_prior(fit.variance, fit.freedom)
    return ControlModel(
        coefficients=fit.coefficients,
        variance=shrunk_variance(fit.variance, np.maximum(fit.freedom, 0), prior),
        count=fit.count,
        inverse=fit.inverse,
        prior=prior,
    )


def left_out_scores(values: np.ndarray, design: np.ndarray) -> np.ndarray:
    """Scores of each control by the others, [person, unit]; as if every model had been fitted anew.

    With e the residual and h the leverage of a person, the variance of the others is
    (RSS - e^2 / (1 - h)) / (d - 1), and the error of their prediction e / (1 - h) has 1 / (1 - h) times it.
    Where the person was not measured the model of the others is that of all.
    """
    fit = _least_squares(values, design)
    result = np.full(values.shape, np.nan)
    for person in range(len(values)):
        own = np.isfinite(values[person])
        rest = 1 - fit.leverage[person]
        with np.errstate(divide="ignore", invalid="ignore"):
            freedom = fit.freedom - own
            error = np.where(own, np.where(rest > 1e-6, fit.residual[person] ** 2 / rest, np.nan), 0)
            variance = np.maximum(fit.freedom * fit.variance - error, 0) / freedom
            variance[freedom < _LEAST_FREEDOM] = np.nan
            prior = fit_prior(variance, freedom)
            t = fit.residual[person] / np.sqrt(shrunk_variance(variance, freedom, prior) * rest)
        result[person] = normal_score(t, freedom + prior.freedom)
    return result


def normal_score(t: np.ndarray, freedom: np.ndarray) -> np.ndarray:
    """The z that is as rare as ``t`` with ``freedom`` degrees; NaN stays."""
    from scipy.special import ndtri, stdtr

    with np.errstate(invalid="ignore"):
        tail = np.maximum(stdtr(np.where(freedom > 0, freedom, np.nan), -np.abs(t)), _LEAST_P)
        return np.asarray(np.sign(t) * -ndtri(tail))


@dataclass(frozen=True)
class _Fit:
    """``coefficients`` [column, unit]; ``inverse`` [pair of columns, unit]; ``variance``, ``freedom``,
    ``count`` [unit]; ``residual`` and ``leverage`` [person, unit], float32.
    """

    coefficients: np.ndarray
    inverse: np.ndarray
    variance: np.ndarray
    freedom: np.ndarray
    count: np.ndarray
    residual: np.ndarray
    leverage: np.ndarray


def _least_squares(values: np.ndarray, design: np.ndarray) -> _Fit:
    people, columns = design.shape
    units = values.shape[1]
    first_of, second_of = pairs_of_columns(columns)
    fit = _Fit(
        coefficients=np.full((columns, units), np.nan),
        inverse=np.full((len(first_of), units), np.nan),
        variance=np.full(units, np.nan),
        freedom=np.zeros(units),
        count=np.zeros(units),
        residual=np.full((people, units), np.nan, np.float32),
        leverage=np.full((people, units), np.nan, np.float32),
    )
    products = (design[:, :, None] * design[:, None, :]).reshape(people, -1)
    for first in range(0, units, _BLOCK):
        part = slice(first, min(first + _BLOCK, units))
        own = values[:, part].astype(np.float64)
        there = np.isfinite(own)
        own[~there] = 0
        gram = (there.T.astype(np.float64) @ products).reshape(-1, columns, columns)
        inverse = np.linalg.pinv(gram, hermitian=True)
        rank = np.rint(np.einsum("vpq,vqp->v", inverse, gram))
        coefficients = np.einsum("vpq,pv->qv", inverse, design.T @ own)
        residual = np.where(there, own - design @ coefficients, np.nan)
        count = there.sum(axis=0)
        freedom = count - rank
        usable = (freedom >= _LEAST_FREEDOM) & (rank == columns) & (count >= least_controls(people))
        sums = np.nansum(residual**2, axis=0)
        fit.coefficients[:, part] = np.where(usable, coefficients, np.nan)
        fit.inverse[:, part] = np.where(usable, inverse[:, first_of, second_of].T, np.nan)
        fit.variance[part] = np.where(usable, sums / np.maximum(freedom, 1), np.nan)
        fit.freedom[part], fit.count[part] = freedom, count
        fit.residual[:, part] = residual
        fit.leverage[:, part] = np.einsum("ip,vpq,iq->iv", design, inverse, design, optimize=True)
    return fit
