"""Proximal Newton for losses that are not quadratic: one method for the masters of both depths.

    minimise  F(w) = L(A w, y) + beta sum_g |w_g|   over w in a product of closed convex cones

A step models the loss at the current weights by ``1/2 w'Hw - c'w`` with ``H = A' diag(L'') A`` and ``c = Hw - A'L'``,
lets the caller minimise that plus the penalty within the cones, and searches along the segment to the minimiser, which
the cones contain (Lee, Sun & Saunders, SIAM J. Optim. 24, 2014, algorithm 1).  Where the curvature jumps (Huber,
hinges) a full step may overshoot: the model is then damped, until full steps succeed again (Levenberg & Marquardt).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from exactrelu._typing import Array

from ._problem import Problem

LEAST_DAMPING = 1e-7  # part of the largest curvature: a cell whose active samples have none has an unbounded model
FIRST_DAMPING, MOST_DAMPING = 1e-4, 1e3  # after a step that was too long, ten times more each time up to the second
NO_CURVATURE = 1e-3  # damping where the curvature is zero everywhere: of a curvature of one
STEEP = 1.0  # from this damping on a step is close to one of steepest descent: if it fails, no step would do
RIDGE = 1e-12  # part of the mean diagonal entry of H that is added to it: it may be singular, and is then rounded
DECREASE = 1e-4  # part of the decrease that the model promises which a step must bring (Armijo)
ROUNDING = 1e-15  # part of the objective that may be lost to rounding
MAX_STEPS, MAX_HALVINGS = 60, 40


def damped(curvature: Array, damping: float) -> Array:
    """Curvature with a part `damping` of its largest value (of one, when it is zero everywhere) added."""
    top = float(curvature.max(initial=0.0))
    return curvature + (damping if top > 0.0 else max(damping, NO_CURVATURE)) * (top or 1.0)


def next_damping(damping: float, step: float) -> float:
    """Less damping after a full step, more after a shortened one."""
    if step == 1.0:
        return 0.1 * damping if damping > LEAST_DAMPING else 0.0
    return min(max(10.0 * damping, FIRST_DAMPING), MOST_DAMPING)


class Product(Protocol):
    """Features that are not written down."""

    def __matmul__(self, w: Array, /) -> Array:
        """Outputs (n,), or (n, c), of weights (N,)."""


def quadratic_model(A: Array, problem: Problem, W: Array, f: Array, damping: float) -> tuple[Array, Array]:
    """``H`` and ``c`` of the model of the loss at the weights W, whose prediction is f; exact for a quadratic loss.

    Its gradient at W is that of the loss, ridge and damping or not.  An output bias follows the weights: it takes the
    weighted means of the features out of H.  O(n N^2).

    Parameters
    ----------
    A : (n, N), features;  problem : Problem, gives loss and targets;  f : (n,);  W : N numbers in any shape

    Returns
    -------
    H : (N, N), positive definite unless the loss is quadratic;  c : (N,)
    """
    loss, y = problem.loss, problem.y
    weight = loss.curvature(f, y)
    if not loss.quadratic:
        weight = damped(weight, max(damping, LEAST_DAMPING))
    B = problem.centred(A, weight)
    hessian = (B if np.all(weight == 1.0) else B * weight[:, None]).T @ B
    if not loss.quadratic:
        hessian[np.diag_indices_from(hessian)] += RIDGE * np.trace(hessian) / len(hessian) + 1e-300
    return hessian, hessian @ W.ravel() - A.T @ loss.gradient(f, y)


def proximal_newton(
    A: Array | Product,
    problem: Problem,
    beta: float,
    W: Array,
    r: int,
    minimise: Callable[[Array, Array], Array | None],
    *,
    damping: float,
    enough: float = -np.inf,
    deadline: float = np.inf,
    steps: int = MAX_STEPS,
    model: Callable[[Any, Problem, Array, Array, float], tuple[Array, Array]] = quadratic_model,
) -> float:
    """Minimise F in place from feasible weights, O(n N^2) a step and what `minimise` takes.

    Parameters
    ----------
    A : (n, N) in, features;  problem : Problem in, gives loss, targets and whether there is an output bias
    W : in/out, N numbers, rows of which are blocks;  r : int in, numbers in a group of the penalty
    minimise : in, gives the minimiser of ``1/2 w'Hw - c'w`` plus the penalty in the cones from (H, c), in the shape of
        W, or None when W is accurate enough
    damping : float in, of the first model
    enough : float in, decrease of F, as a part of it, that ends the search when a step that could be full brings less
    deadline : float in, `time.monotonic` value at which to stop
    steps : int in, limit on steps
    model : in, gives what `minimise` takes from (A, problem, W, f, damping); then A needs no more than a product

    Returns
    -------
    float, the damping to begin with on a similar problem
    """
    for _ in range(steps):
        f = problem.prediction(A @ W.ravel())
        target = minimise(*model(A, problem, W, f, damping))
        if target is None:
            break
        step, decrease = _search(A, problem, beta, W, r, target, f)
        could_be_full = step == 1.0 or damping >= STEEP
        if (step == 0.0 and damping >= STEEP) or time.monotonic() > deadline:
            break
        damping = next_damping(damping, step)
        if could_be_full and decrease <= enough:
            break
    return damping


def _search(
    A: Array | Product, problem: Problem, beta: float, W: Array, r: int, target: Array, f: Array
) -> tuple[float, float]:
    """Move `W` towards `target` until F falls (it is convex along the segment): the step, 0 for none, and the decrease.

    The decrease is a part of F.
    """

    def penalty(weights: Array) -> float:
        return beta * float(np.linalg.norm(weights.reshape(-1, r), axis=1).sum())

    loss, y = problem.loss, problem.y
    direction, before = A @ (target - W).ravel(), penalty(W)
    value = loss.value(f, y) + before
    promised = penalty(target) - before + float(np.vdot(loss.gradient(f, y), direction))
    step = 1.0
    for _ in range(MAX_HALVINGS):
        trial = W + step * (target - W)
        new = loss.value(problem.prediction(f + step * direction), y) + penalty(trial)
        if new <= value + DECREASE * step * min(promised, 0.0) + ROUNDING * abs(value):
            moved = bool(np.any(trial != W))
            W[:] = trial
            return (step if moved else 0.0), (value - new) / max(abs(value), 1e-300)
        step *= 0.5
    return 0.0, 0.0
