"""Descent of neurons and sub-networks across cells: the non-convex view of the master problem.

The network ``sum_k s_k (sum_j t_kj (Z a_kj)_+)_+`` with penalty ``beta sum |a_kj|`` is a feasible point of the convex
program wherever its weights lie, so any descent here is progress there; the cells come afterwards.  Without it a
neuron would cross the tiny cells of a large data set one round at a time.
"""

from __future__ import annotations

import time

import numpy as np
import scipy
from scipy.linalg.lapack import dposv

from exactrelu._limits import stop_at
from exactrelu._typing import Array, Bools
from exactrelu.solve._neurons import Neurons
from exactrelu.solve._problem import Problem
from exactrelu.solve._proximal import damped

from ._descent import slide as slide_compiled

SHARED_DAMPING = 1e-3  # of the model along a new direction: its active samples may have no curvature
# Damping of Gauss-Newton steps, as a part of the mean diagonal entry: the least, which rounding asks for where weights
# are more than data; tenfold after a step that was shortened, a thousandfold after one that failed, up to the most.
LEAST_DAMPING, FIRST_DAMPING, MOST_DAMPING = 1e-9, 1e-6, 1.0
EASE, HARDEN, AFTER_FAILURE = 0.1, 10.0, 1e3
MAX_HALVINGS = 12  # of a step
FLAT = 1e-7  # gradient at which L-BFGS ends, in units of the problem
LEAST_GAIN = 1e-9  # part of the objective that a step must lower it by for another one to follow
PASSES = 500  # steps of L-BFGS, most of which cross kinks; Newton steps finish


def first_weights(problem: Problem, beta: float, f: Array, directions: Neurons) -> Neurons:
    """Small weights along new unit directions: the minimiser of the model of each alone, shared among them.

    Parameters
    ----------
    f : (n,), prediction of the network that they join

    Returns
    -------
    Neurons, some of weight zero.  O(n K m r).
    """
    weight = damped(problem.loss.curvature(f, problem.y), SHARED_DAMPING)
    features = problem.centred(directions.outputs(problem.Z) * directions.signs, weight)
    slope = -problem.loss.gradient(f, problem.y) @ features - beta
    curvature = np.einsum("ik,i,ik->k", features, weight, features)
    length = np.maximum(slope, 0.0) / np.maximum(curvature, 1e-300)
    return directions.times(length / max(len(directions), 1))


def descend(
    problem: Problem, beta: float, neurons: Neurons, *, max_steps: int = PASSES, deadline: float | None = None
) -> Neurons:
    """L-BFGS on the non-convex problem of either depth: weights ``a = v |v|`` in the variable v, O(n K m r) a step.

    In v the penalty is ``beta |v|^2``, smooth where a neuron vanishes.  It passes kinks on which Newton steps stop.
    Variables and objective are in units of the problem: scaled targets and repeated samples make the same steps.

    Returns
    -------
    Neurons of the same signs, with no larger an objective
    """
    (K, m, r), Z, y = neurons.A.shape, problem.Z, problem.y
    W, t, signs = neurons.A.reshape(K * m, r), neurons.t.ravel(), (neurons.t * neurons.signs[:, None]).ravel()
    at_constant = problem.loss.value(problem.constant, y)
    if not (0.0 < at_constant < np.inf):
        return neurons
    root = np.sqrt(problem.unit / problem.size)  # so that a weight of one moves predictions by a unit

    def objective(flat: Array) -> tuple[float, Array]:
        V = root * flat.reshape(W.shape)
        norms = np.linalg.norm(V, axis=1)
        inner = Z @ V.T
        hidden, active = np.maximum(inner, 0.0), inner > 0.0
        if m > 1:  # a sub-network that the second ReLU closes passes nothing on
            closed = (hidden * (t * norms)).reshape(len(Z), K, m).sum(axis=2) <= 0.0
            hidden.reshape(len(Z), K, m)[closed] = 0.0
            active.reshape(len(Z), K, m)[closed] = False
        f = problem.prediction(hidden @ (signs * norms))
        slope = problem.loss.gradient(f, y)
        back = (slope[:, None] * active) * (signs * norms)
        along = signs * (hidden.T @ slope)
        unit = V / np.maximum(norms, 1e-300)[:, None]
        gradient = back.T @ Z + along[:, None] * unit + 2.0 * beta * V
        value = problem.loss.value(f, y) + beta * root**2 * float(flat @ flat)
        return value / at_constant, gradient.ravel() * (root / at_constant)

    # a = v |v|, so v = a / sqrt|a|
    start = W / (root * np.sqrt(np.maximum(np.linalg.norm(W, axis=1), 1e-300))[:, None])
    options = {"maxiter": max_steps, "gtol": FLAT}
    found = scipy.optimize.minimize(  # loaded here: it takes a fifth of a second
        objective, start.ravel(), method="L-BFGS-B", jac=True, callback=stop_at(deadline), options=options
    )  # fmt: skip
    V = root * found.x.reshape(W.shape)
    A = (V * np.linalg.norm(V, axis=1)[:, None]).reshape(K, m, r)
    trial = Neurons(neurons.signs, neurons.n_plus, A)
    return trial if trial.evaluate(problem, beta)[0] <= neurons.evaluate(problem, beta)[0] else neurons


def slide(
    problem: Problem, beta: float, neurons: Neurons, max_steps: int = 30, *, deadline: float | None = None
) -> Neurons:
    """Gauss-Newton descent of all neurons together until a step gains next to nothing, O(n (K m r)^2) a step.

    Quadratic losses of two layers are for the compiled `_descent.pyx`, which takes no deadline; elsewhere the curvature
    may jump, and the model is damped after steps that were too long.

    Returns
    -------
    Neurons, those that have not shrunk to nothing
    """
    neurons = neurons.nonzero()
    zero, quadratic = np.zeros(len(problem.y)), problem.loss.quadratic
    curvature = problem.loss.curvature(zero, problem.y)
    if quadratic and neurons.A.shape[1] == 1 and curvature.any():
        # complete the square: L(f) = 1/2 |root (f - target)|^2 + a constant
        target = np.divide(-problem.loss.gradient(zero, problem.y), curvature, out=zero, where=curvature > 0.0)
        left = slide_compiled(
            problem.Z, target, np.sqrt(curvature), beta, neurons.signs, neurons.W, max_steps, LEAST_GAIN,
            problem.output_bias,
        )  # fmt: skip
        return Neurons.of_two_layers(*left)
    value, f = neurons.evaluate(problem, beta)
    damping = LEAST_DAMPING
    for _ in range(max_steps):
        if len(neurons) == 0 or (deadline is not None and time.monotonic() > deadline):
            break
        alive = neurons.lengths > 0.0
        step = _damped_step(*_gauss_newton(problem, beta, neurons, alive, f), damping)
        length, new = 1.0, value
        for _ in range(MAX_HALVINGS):
            trial = _moved(neurons, alive, length * step)
            new, new_f = trial.evaluate(problem, beta)
            if new < value:
                break
            length *= 0.5
        if not new < value:
            if damping >= MOST_DAMPING:
                break
            damping = max(AFTER_FAILURE * damping, FIRST_DAMPING)
            continue
        damping = max(EASE * damping, LEAST_DAMPING) if length == 1.0 else max(HARDEN * damping, FIRST_DAMPING)
        small = value - new <= LEAST_GAIN * abs(value)
        neurons, value, f = trial.nonzero(), new, new_f
        if small:
            break
    return neurons


def _gauss_newton(problem: Problem, beta: float, neurons: Neurons, alive: Bools, f: Array) -> tuple[Array, Array]:
    """Gradient (P r,) and Gauss-Newton matrix of the piece of the objective that the current patterns select.

    alive : (K, m), where the P nonzero neurons are;  f : (n,), the prediction
    """
    A, r, Z = neurons.A[alive], neurons.A.shape[2], problem.Z
    weight = np.where(Z @ A.T > 0.0, (neurons.t * neurons.signs[:, None])[alive], 0.0)  # (n, P)
    if neurons.A.shape[1] > 1:
        weight *= (neurons.outputs(Z) > 0.0)[:, np.nonzero(alive)[0]]
    J = (weight[:, :, None] * Z[:, None, :]).reshape(len(f), -1)  # derivative of the outputs
    curvature = damped(problem.loss.curvature(f, problem.y), 0.0)  # not zero everywhere
    J = problem.centred(J, curvature)
    hessian = (J if np.all(curvature == 1.0) else J * curvature[:, None]).T @ J
    norms = np.linalg.norm(A, axis=1)
    unit = A / norms[:, None]
    each = np.arange(len(A))  # beta/|a| (I - uu') is the second derivative of the norm, in the diagonal blocks
    blocks = (beta / norms)[:, None, None] * (np.eye(r) - unit[:, :, None] * unit[:, None, :])
    hessian.reshape(len(A), r, len(A), r)[each, :, each] += blocks
    return beta * unit.ravel() + problem.loss.gradient(f, problem.y) @ J, hessian


def _damped_step(gradient: Array, hessian: Array, damping: float) -> Array:
    """Newton step with a part `damping` of the mean diagonal added to it (Levenberg 1944); `hessian` is used up."""
    hessian[np.diag_indices_from(hessian)] += damping * np.trace(hessian) / len(hessian)
    _, step, info = dposv(hessian, -gradient)
    if info != 0:
        size = np.abs(hessian).sum(axis=1)
        step = np.divide(-gradient, size, out=np.zeros_like(size), where=size > 0.0)
    return step


def _moved(neurons: Neurons, alive: Bools, step: Array) -> Neurons:
    """The sub-networks after a step of their nonzero neurons; one that would turn through zero becomes zero."""
    A, before = neurons.A.copy(), neurons.A[alive]
    moved = before + step.reshape(before.shape)
    moved[np.einsum("pr,pr->p", moved, before) <= 0.0] = 0.0
    A[alive] = moved
    return Neurons(neurons.signs, neurons.n_plus, A)
