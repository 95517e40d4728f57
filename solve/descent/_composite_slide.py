"""Descent of sub-networks across composite cells: the non-convex view of the three-layer master problem."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from exactrelu._typing import Array
from exactrelu.solve._neurons import Neurons
from exactrelu.solve._problem import Problem
from exactrelu.solve.master._master import damped

SIMPLIFY = (1e-1, 3e-2, 1e-2, 1e-3, 1e-4)  # parts of the total norm, and angles, that may be neglected


def ensemble_value(problem: Problem, beta: float, ensemble: Neurons) -> tuple[float, Array]:
    """Objective and prediction. O(n K m r)."""
    f = ensemble.outputs(problem.Z) @ ensemble.signs
    return problem.loss.value(f, problem.y) + beta * float(ensemble.norms.sum()), f


def first_ensemble(problem: Problem, beta: float, f: Array, fresh: Neurons) -> Neurons:
    """Small sub-networks along new unit directions: the minimiser of the model of each alone, shared among them."""
    features = fresh.outputs(problem.Z) * fresh.signs
    slope = -(problem.loss.gradient(f, problem.y) @ features) - beta
    curvature = np.einsum("ik,i,ik->k", features, damped(problem.loss.curvature(f, problem.y), 1e-3), features)
    length = np.maximum(slope, 0.0) / np.maximum(curvature, 1e-300) / max(len(fresh), 1)
    return Neurons(fresh.signs, fresh.n_plus, fresh.A * length[:, None, None])


def slide_ensemble(
    problem: Problem, beta: float, ensemble: Neurons, *, max_steps: int = 40, rel: float = 1e-9
) -> Neurons:
    """Gauss-Newton descent of all neurons together, O(n (K m r)^2) a step.

    Stops when a step lowers the objective by less than `rel` of it.  Sub-networks that shrink to nothing are dropped.
    """
    ensemble = ensemble.take(ensemble.norms > 0.0)
    value, f = ensemble_value(problem, beta, ensemble)
    damping = 1e-9
    for _ in range(max_steps):
        if len(ensemble.signs) == 0:
            break
        A, gradient, hessian, alive = _model(problem, beta, ensemble, f)
        gained = 0.0
        for _ in range(8):
            step = _step(hessian, gradient, damping)
            trial = _moved(ensemble, A, step, alive)
            new_value, new_f = ensemble_value(problem, beta, trial)
            if new_value < value:
                gained = value - new_value
                ensemble, value, f = trial.take(trial.norms > 0.0), new_value, new_f
                damping = max(0.1 * damping, 1e-9)
                break
            damping = max(10.0 * damping, 1e-6)
        if gained <= rel * abs(value):
            break
    return ensemble


def _model(problem: Problem, beta: float, ensemble: Neurons, f: Array) -> tuple[Array, Array, Array, NDArray[np.bool_]]:
    """Nonzero neurons (P, r), gradient and Gauss-Newton matrix of the piece that the patterns select, and where."""
    alive = np.linalg.norm(ensemble.A, axis=2) > 0.0  # (K, m)
    A, r = ensemble.A[alive], ensemble.A.shape[2]
    second = ensemble.outputs(problem.Z) > 0.0
    owner = np.nonzero(alive)[0]
    weight = (ensemble.t * ensemble.signs[:, None])[alive]
    active = (problem.Z @ A.T > 0.0) & second[:, owner]
    J = (active[:, :, None] * weight[:, None] * problem.Z[:, None, :]).reshape(len(f), -1)
    curvature = problem.loss.curvature(f, problem.y)
    hessian = (J if np.all(curvature == 1.0) else J * curvature[:, None]).T @ J
    norms = np.linalg.norm(A, axis=1)
    unit = A / norms[:, None]
    for k in range(len(A)):
        here = slice(k * r, (k + 1) * r)
        hessian[here, here] += beta / norms[k] * (np.eye(r) - np.outer(unit[k], unit[k]))
    gradient = J.T @ problem.loss.gradient(f, problem.y) + beta * unit.ravel()
    return A, gradient, hessian, alive


def _step(hessian: Array, gradient: Array, damping: float) -> Array:
    """Damped Newton step (Levenberg 1944)."""
    damped = hessian.copy()
    damped[np.diag_indices_from(damped)] += damping * np.trace(hessian) / len(hessian) + 1e-300
    try:
        return cho_solve(cho_factor(damped), -gradient)
    except np.linalg.LinAlgError:
        return -gradient / np.abs(damped).sum(axis=1)


def _moved(ensemble: Neurons, A: Array, step: Array, alive: NDArray[np.bool_]) -> Neurons:
    """The sub-networks after a step; a neuron that would turn through zero becomes zero."""
    moved = A + step.reshape(A.shape)
    moved[np.einsum("pr,pr->p", moved, A) <= 0.0] = 0.0
    blocks = ensemble.A.copy()
    blocks[alive] = moved
    return Neurons(ensemble.signs, ensemble.n_plus, blocks)


def simplified(problem: Problem, beta: float, ensemble: Neurons, allowed: float) -> Neurons:
    """A network of fewer neurons with an objective of at most `allowed`, or `ensemble` itself.

    Interior-point solutions spread weight over neighbouring cells.  Small neurons are dropped, sub-networks without
    negative neurons become two-layer neurons, nearly parallel ones are merged, and the rest slides to a minimum
    again; coarse simplifications are tried first.
    """
    for part in SIMPLIFY:
        trial = slide_ensemble(problem, beta, _merged(_pruned(ensemble, part), part))
        if len(trial.signs) <= len(ensemble.signs) and ensemble_value(problem, beta, trial)[0] <= allowed:
            return trial
    return ensemble


def _pruned(ensemble: Neurons, part: float) -> Neurons:
    """Without neurons below `part` of the total norm; sums of positive neurons split into sub-networks of one each."""
    total = float(ensemble.norms.sum())
    found = []
    for s, n_plus, blocks in zip(ensemble.signs, ensemble.n_plus, ensemble.A, strict=True):
        A = np.where(np.linalg.norm(blocks, axis=1)[:, None] >= part * total, blocks, 0.0)
        if A[n_plus:].any() and A[:n_plus].any():
            found.append((s, n_plus, A))
            continue
        rest = np.zeros((len(A) - 1, A.shape[1]))
        found += [(s, 1, np.vstack([a, rest])) for a in A[:n_plus][A[:n_plus].any(axis=1)]]
    if not found:
        return ensemble.take(np.zeros(0, dtype=np.int64))
    signs, counts, stacks = zip(*found, strict=True)
    return Neurons(np.array(signs), np.array(counts, dtype=np.int64), np.array(stacks))


def _merged(ensemble: Neurons, part: float) -> Neurons:
    """Sub-networks of equal signs whose directions differ by an angle of less than sqrt(2 part), added up."""
    kept: list[int] = []
    A = ensemble.A.copy()
    for k in np.argsort(-ensemble.norms, kind="stable").tolist():
        for j in kept:
            alike = ensemble.signs[j] == ensemble.signs[k] and ensemble.n_plus[j] == ensemble.n_plus[k]
            size = np.linalg.norm(A[j]) * np.linalg.norm(A[k])
            if alike and float(np.sum(A[j] * A[k])) >= (1.0 - part) * size:
                A[j] += A[k]
                break
        else:
            kept.append(k)
    return Neurons(ensemble.signs, ensemble.n_plus, A).take(np.array(kept, dtype=np.int64))
