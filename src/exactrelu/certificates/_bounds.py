"""Figures that certificates are made of: dual values, gaps, what truncation costs."""

from __future__ import annotations

import numpy as np

from exactrelu._coordinates import Coordinates
from exactrelu._typing import Array
from exactrelu.losses import Loss, WeightedLoss


def dual_value(loss: Loss, theta: Array, y: Array) -> float:
    """``-L*(-theta)``, lowered by a bound of its rounding error, so that it is a lower bound as a number.

    Valid as a lower bound of every network's objective when ``h*(theta) <= beta``.
    """
    value = 0.0 - loss.conjugate(-theta, y)  # not -0.0
    return value - dual_rounding(value, theta, y) if np.isfinite(value) else -np.inf


def dual_rounding(value: float, theta: Array, y: Array) -> float:
    """A bound of the rounding error of ``value = -L*(-theta)``."""
    size = abs(value) + float(np.abs(theta) @ (np.abs(y) + np.abs(theta)))
    return 4.0 * len(y) * np.finfo(float).eps * size


def relative_gap(objective: float, lower_bound: float) -> float:
    """``(objective - lower_bound) / |objective|``, 0 when both are 0."""
    difference = max(objective - lower_bound, 0.0)
    return 0.0 if difference == 0.0 else difference / max(abs(objective), np.finfo(float).tiny)


def truncation_factor(coordinates: Coordinates, loss: Loss, y: Array, beta: float) -> float:
    """How much the optimum on the truncated data may exceed the optimum on the data, as a factor >= 1.

    With sigma the first singular value left out, ``p* <= p_k <= p* (1 + rho sigma / beta)`` for a nonnegative loss
    that is rho-Lipschitz in f (Euclidean norm): a sum of n losses of slope at most l has ``rho = l sqrt(n)``, with
    weights c ``l |c|``.  For losses with a 1-Lipschitz ``sqrt(2 l)``, such as the squared one,
    ``p_k <= p* (1 + sigma s / (2 beta))^2`` with ``s = sqrt(2 L(0) max c)``; without weights and for the squared loss
    s is ``|y|``.  Infinite for other losses: no bound is known.
    """
    if not coordinates.truncated:
        return 1.0
    weight = loss.weight if isinstance(loss, WeightedLoss) else np.ones(len(y))
    ratio = coordinates.sigma / beta
    if loss.root_lipschitz:
        at_zero = 2.0 * loss.value(np.zeros(len(y)), y) * float(weight.max())
        return (1.0 + 0.5 * ratio * float(np.sqrt(at_zero))) ** 2
    return 1.0 + ratio * loss.lipschitz * float(np.linalg.norm(weight))


def trivial_bound(Z: Array, nu: Array) -> float:
    """An upper bound of h* that costs O(n r^2).

    For rows a_i of one sign family, ``sum (a_i.u)_+ = 1/2 sum a_i.u + 1/2 sum |a_i.u|
    <= 1/2 |sum a_i| + 1/2 sqrt(n) |A|_2`` (Cauchy-Schwarz).
    """
    bound = 0.0
    for family in (nu > 0.0, nu < 0.0):
        A = Z[family] * nu[family, None]
        if A.size:
            spectral = np.sqrt(np.linalg.eigvalsh(A.T @ A)[-1].clip(0.0))
            bound = max(bound, 0.5 * (np.linalg.norm(A.sum(axis=0)) + np.sqrt(len(A)) * spectral))
    return float(bound) * (1.0 + 1e-12)
