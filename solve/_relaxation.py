"""A semidefinite relaxation of the dual constraint, for ranks at which a tree of cones proves next to nothing.

For weights v and unit directions u, ``h(u) = sum v_i (z_i.u)_+ = 1/2 sum v_i z_i.u + 1/2 sum v_i |z_i.u|``.  Each
absolute value is bounded by quadratics in u:

* where ``v_i > 0``: ``|a| <= 1/2 (lambda_i a^2 + 1 / lambda_i)`` for every ``lambda_i > 0``;
* where ``v_i < 0``: ``|a|`` is at least any mean of ``a``, ``-a`` and ``a^2 / |z_i|``, with weights ``omega_i``.

So ``h(u) <= const + c.u + u'Qu``, whose maximum over the unit ball is a trust region problem: the bound costs
O(n r^2 + r^3).  The best multipliers are dual to a relaxation over moments, ``u`` and ``uu'`` replaced by ``l`` and
``M`` with ``[[1, l'], [l, M]] >= 0`` and ``tr M <= 1`` (Shor's relaxation).  Neurons replaced by such moments make a
convex program whose optimum is a lower bound of the training problem, and whose loss gradient is a dual point; it
is solved over factors of low rank (Burer and Monteiro, Math. Program. 95, 2003).  Whatever the solver returns is
only a proposal: a bound is proven for the multipliers at hand.
"""

from __future__ import annotations

import time

import numpy as np

from exactrelu._typing import Array
from exactrelu.certificates._multipliers import (
    ATTEMPTS,
    FACTORS,
    MAX_STEPS,
    SMALLEST,
    WIDTHS,
    Moments,
    Multipliers,
    find_multipliers,
    minimise_smoothed,
    multipliers_at,
)
from exactrelu.losses import Loss

from ._problem import Problem

ACCURATE = 2e-4  # multipliers whose bound is within this of what a relaxed neuron attains need no other start
BISECTIONS = 80  # for the output bias: more than the bits of a number
MARGIN = 1e-3  # room that is left to whoever proves the same dual point again, with multipliers of his own


def minimisers(loss: Loss, y: Array) -> Array:
    """For each sample the prediction of least loss, or a huge one where the loss falls for ever: bisection."""
    high = np.full(len(y), 2.0**40 * (1.0 + float(np.abs(y).max())))
    low = -high
    for _ in range(100):
        middle = 0.5 * (low + high)
        with np.errstate(all="ignore"):  # far out the gradient may overflow; its sign is all that counts
            falls = loss.gradient(middle, y) < 0.0
        low, high = np.where(falls, middle, low), np.where(falls, high, middle)
    return 0.5 * (low + high)


def relaxed_dual(
    problem: Problem, beta: float, deadline: float | None = None, max_steps: int = MAX_STEPS
) -> tuple[Array, Array]:
    """Dual point of the relaxed training problem: one relaxed neuron per output sign. O(n r) a step.

    A prediction may then lie anywhere between two bounds, so each sample takes the least loss between them.

    Parameters
    ----------
    problem : Problem, of a smooth loss and rank at least 1
    beta : float
    deadline : float, `time.monotonic` value at which to stop
    max_steps : int, of L-BFGS for each width of smoothing

    Returns
    -------
    nu : (n,) dual point, near ``h*(nu) <= beta`` by the relaxed bound; it is to be scaled by what is proven of it
    factors : (2, 1 + r, k), the relaxed neurons of either sign, whose multipliers prove that bound if it is optimal
    """
    loss, y, constant = problem.loss, problem.y, problem.constant
    shape = (2, 1 + problem.rank, FACTORS)
    at_zero = loss.value(constant, y)
    if at_zero == 0.0 or not loss.gradient(constant, y).any():
        return problem.dual_point(constant), np.ones(shape)
    unit, scale = problem.unit, problem.size
    Z, norms, beta = problem.Z / scale, np.maximum(problem.lengths / scale, SMALLEST), beta / scale
    target = minimisers(loss, y)

    def objective(flat: Array, width: float) -> tuple[float, Array]:
        plus, minus, low, high = bounds(flat, width)
        f = np.minimum(np.maximum(target, low + unit * flat[-1]), high + unit * flat[-1])
        slope = loss.gradient(f, y)
        on_low, on_high = np.maximum(slope, 0.0), np.minimum(slope, 0.0)
        back = np.stack([plus.gradient(on_high, on_low, beta), minus.gradient(-on_low, -on_high, beta)])
        on_bias = unit * float(slope.sum()) if problem.output_bias else 0.0
        value = loss.value(f, y) + beta * (plus.mass + minus.mass)
        return value / at_zero, np.append(back.ravel(), on_bias) / at_zero

    def bounds(flat: Array, width: float) -> tuple[Moments, Moments, Array, Array]:
        plus, minus = (Moments(factor, Z, norms, width * unit * norms) for factor in flat[:-1].reshape(shape))
        return plus, minus, plus.lower - minus.upper, plus.upper - minus.lower

    start = 0.1 * np.sqrt(unit) * np.random.default_rng(0).standard_normal(shape)
    first = np.append(start.ravel(), problem.constant[:1] / unit)
    best = minimise_smoothed(objective, first, deadline, max_steps)
    _, _, low, high = bounds(best, WIDTHS[-1])
    return problem.dual_point(_least_between(problem, target, low, high)), best[:-1].reshape(shape)


def _least_between(problem: Problem, target: Array, low: Array, high: Array) -> Array:
    """Predictions (n,) of least loss between two bounds, moved together by the best output bias where there is one.

    The sum of the slopes there rises with the bias: bisection, O(n) a step.
    """

    def clipped(b: float) -> Array:
        return np.minimum(np.maximum(target, low + b), high + b)

    if not problem.output_bias:
        return clipped(0.0)
    first, last = (float(np.min(target - high)), float(np.max(target - low)))
    for _ in range(BISECTIONS):
        b = 0.5 * (first + last)
        falls = problem.loss.gradient(clipped(b), problem.y).sum() < 0.0
        first, last = (b, last) if falls else (first, b)
    return clipped(last)


def relaxed_bound(Z: Array, v: Array, multipliers: Multipliers) -> float:
    """Upper bound of ``sum v_i (z_i.u)_+`` over the unit ball that the multipliers prove. O(n r^2 + r^3).

    The maximum of ``c.u + u'Qu`` there is the least ``g + c'(g - Q)^-1 c / 4`` over g above the spectrum of Q and 0;
    any such g gives a bound.
    """
    n, r = Z.shape
    norms = np.linalg.norm(Z, axis=1)
    rise, fall = np.maximum(v, 0.0), np.maximum(-v, 0.0)
    constant = 0.25 * float(rise @ (1.0 / multipliers.curvature))
    bends = 0.25 * rise * multipliers.curvature - 0.5 * fall * multipliers.bend / norms
    values, basis = np.linalg.eigh((Z * bends[:, None]).T @ Z)
    c = basis.T @ (Z.T @ (0.5 * (v - fall * multipliers.tilt)))
    size = float(np.abs(bends) @ np.square(norms)) + float(np.abs(v) @ norms) + constant
    low = max(float(values[-1]), 0.0) + 1e-9 * size
    high = low + 0.5 * float(np.linalg.norm(c))  # here the derivative is not negative
    for _ in range(60):
        g = 0.5 * (low + high)
        low, high = (g, high) if np.sum(np.square(c / (g - values))) > 4.0 else (low, g)
    # Rounding of Q, c and their decomposition is that of a Q and c nearby, which move the maximum by no more than
    # they move themselves; the differences g - values, of at least 1e-9 of the size, are right to 1e-6.
    rounding = 4.0 * (n + 100 * r) * r * np.finfo(float).eps * size
    return constant + high + (0.25 + 1e-6) * float(np.sum(np.square(c) / (high - values))) + rounding


def relaxed_norm(
    problem: Problem,
    nu: Array,
    factors: Array | None = None,
    *,
    attempts: int = ATTEMPTS,
    deadline: float | None = None,
) -> tuple[float, Array]:
    """Upper bound of ``h*(nu)`` by the relaxation, with `MARGIN` to spare, and the neurons whose multipliers prove it.

    Parameters
    ----------
    problem : Problem;  nu : (n,)
    factors : (2, 1 + r, k), relaxed neurons of either sign from which to take multipliers
    attempts : int, at finding better ones from different starts
    deadline : float, `time.monotonic` value at which to stop
    """
    Z, v = problem.bundle.Z, problem.bundle.weights(nu)
    bounds = [0.0]
    proof = np.ones((2, 1 + problem.rank, FACTORS)) if factors is None else factors.copy()
    for number, signed in enumerate((v, -v) if v.any() else ()):
        best = np.inf if factors is None else relaxed_bound(Z, signed, multipliers_at(factors[number], Z))
        for seed in range(attempts):
            multipliers, attained, factor = find_multipliers(Z, signed, seed, deadline)
            bound = relaxed_bound(Z, signed, multipliers)
            if bound < best:
                best, proof[number] = bound, factor
            enough = max((1.0 + ACCURATE) * attained, *bounds)
            if best <= enough or (deadline is not None and time.monotonic() > deadline):
                break
        bounds.append(best)
    return (1.0 + MARGIN) * (max(bounds) + problem.slack(nu)), proof
