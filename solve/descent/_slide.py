"""Descent of the neurons across cells: the non-convex view of the master problem.

The network ``sum_k s_k (Z w_k)_+`` with penalty ``beta sum |w_k|`` is a feasible point of the convex
program wherever its weights lie, so any descent here is progress there; the cells come afterwards.
Without it a neuron would cross the tiny cells of a large data set one round at a time.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg.lapack import dposv
from scipy.optimize import minimize

from exactrelu._limits import stop_at
from exactrelu._typing import Array
from exactrelu.solve._problem import Problem
from exactrelu.solve.master._master import damped, next_damping

from ._descent import slide as slide_together


def network_value(problem: Problem, beta: float, signs: Array, W: Array) -> tuple[float, Array]:
    """Objective and prediction of the neurons `W` (K, r) with output signs `signs` (K,). O(n r K)."""
    f = np.maximum(problem.Z @ W.T, 0.0) @ signs
    return problem.loss.value(f, problem.y) + beta * float(np.sqrt(np.einsum("kr,kr->k", W, W)).sum()), f


def first_weights(problem: Problem, beta: float, f: Array, signs: Array, directions: Array) -> Array:
    """Small weights along new unit directions: the minimiser of the model of each alone, shared among them."""
    features = np.maximum(problem.Z @ directions.T, 0.0) * signs
    slope = -(problem.loss.gradient(f, problem.y) @ features) - beta
    curvature = np.einsum("ik,i,ik->k", features, damped(problem.loss.curvature(f, problem.y), 1e-3), features)
    length = np.maximum(slope, 0.0) / np.maximum(curvature, 1e-300) / max(len(signs), 1)
    return directions * length[:, None]


def descend(
    problem: Problem, beta: float, signs: Array, W: Array, *, max_steps: int = 500, deadline: float | None = None
) -> Array:
    """L-BFGS on the non-convex problem, signs fixed: neurons ``w = v |v|`` in the variable v, O(n r K) a step.

    In v the penalty is ``beta |v|^2``, smooth where a neuron vanishes.  It passes kinks on which Newton steps stop.

    Returns
    -------
    (K, r) weights, with no larger an objective
    """
    Z, y = problem.Z, problem.y

    def objective(flat: Array) -> tuple[float, Array]:
        V = flat.reshape(W.shape)
        norms = np.linalg.norm(V, axis=1)
        inner = Z @ V.T
        hidden = np.maximum(inner, 0.0)
        f = hidden @ (signs * norms)
        slope = problem.loss.gradient(f, y)
        back = (slope[:, None] * (inner > 0.0)) * (signs * norms)
        along = signs * (hidden.T @ slope)
        unit = V / np.maximum(norms, 1e-300)[:, None]
        gradient = back.T @ Z + along[:, None] * unit + 2.0 * beta * V
        return problem.loss.value(f, y) + beta * float(flat @ flat), gradient.ravel()

    start = W / np.sqrt(np.maximum(np.linalg.norm(W, axis=1), 1e-300))[:, None]
    result = minimize(
        objective,
        start.ravel(),
        method="L-BFGS-B",
        jac=True,
        callback=stop_at(deadline),
        options={"maxiter": max_steps},
    )
    V = result.x.reshape(W.shape)
    trial = V * np.linalg.norm(V, axis=1)[:, None]
    better = network_value(problem, beta, signs, trial)[0] <= network_value(problem, beta, signs, W)[0]
    return trial if better else W


def slide(
    problem: Problem, beta: float, signs: Array, W: Array, *, max_steps: int = 30, rel: float = 1e-9
) -> tuple[Array, Array]:
    """Gauss-Newton descent of all neurons together, O(n (K r)^2) a step.

    Stops when a step lowers the objective by less than `rel` of it.  Neurons that shrink to nothing
    are dropped.

    Returns
    -------
    signs, W : the neurons that are left
    """
    alive = np.linalg.norm(W, axis=1) > 0.0
    signs, W = signs[alive], W[alive].copy()
    zero = np.zeros(len(problem.y))
    curvature = problem.loss.curvature(zero, problem.y)
    if problem.loss.quadratic and curvature.any():
        slope = problem.loss.gradient(zero, problem.y)
        target = np.divide(-slope, curvature, out=zero, where=curvature > 0.0)
        return slide_together(problem.Z, target, np.sqrt(curvature), beta, signs, W, max_steps, rel)
    value, f = network_value(problem, beta, signs, W)
    damping = 0.0
    for _ in range(max_steps):
        if len(W) == 0:
            break
        step = _gauss_newton_step(problem, beta, signs, W, f, damping)
        trial, new_value, new_f, length = _search(problem, beta, signs, W, step, value)
        if not problem.loss.quadratic:
            damping = next_damping(damping, length)
        if trial is None:
            if problem.loss.quadratic or damping > 1.0:
                break
            continue
        small = value - new_value <= rel * abs(value)
        alive = np.linalg.norm(trial, axis=1) > 0.0
        signs, W, value, f = signs[alive], trial[alive], new_value, new_f
        if small:
            break
    return signs, W


def _gauss_newton_step(problem: Problem, beta: float, signs: Array, W: Array, f: Array, damping: float) -> Array:
    """Newton step of the piece of the objective that the current activation patterns select."""
    count, r = W.shape
    norms = np.linalg.norm(W, axis=1)
    unit = W / norms[:, None]
    active = (problem.Z @ W.T > 0.0) * signs  # (n, K)
    A = (active[:, :, None] * problem.Z[:, None, :]).reshape(len(f), count * r)
    curvature = damped(problem.loss.curvature(f, problem.y), damping)
    weighted = A if np.all(curvature == 1.0) else A * curvature[:, None]
    hessian = weighted.T @ A
    for k in range(count):
        here = slice(k * r, (k + 1) * r)
        hessian[here, here] += beta / norms[k] * (np.eye(r) - np.outer(unit[k], unit[k]))
    diagonal = np.diag(hessian)
    hessian[np.diag_indices_from(hessian)] += 1e-9 * np.maximum(diagonal, 1e-6 * diagonal.mean())
    gradient = A.T @ problem.loss.gradient(f, problem.y) + beta * unit.ravel()
    _, step, info = dposv(hessian, -gradient)
    if info != 0:
        size = np.abs(hessian).sum(axis=1)  # zero for one coordinate and no curvature: then the damping grows first
        step = np.divide(-gradient, size, out=np.zeros_like(size), where=size > 0.0)
    return step.reshape(count, r)


def _search(
    problem: Problem, beta: float, signs: Array, W: Array, step: Array, value: float
) -> tuple[Array | None, float, Array, float]:
    """Halve the step until the objective falls; a neuron that would turn through zero is set to zero.

    Returns the weights, None when there are none, their objective and outputs, and the length of the step.
    """
    length = 1.0
    for _ in range(12):
        trial = W + length * step
        trial[np.einsum("kr,kr->k", trial, W) <= 0.0] = 0.0
        new_value, f = network_value(problem, beta, signs, trial)
        if new_value < value:
            return trial, new_value, f, length
        length *= 0.5
    return None, value, np.empty(0), 0.0
