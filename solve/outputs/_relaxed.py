"""Dual points for the bound that needs no tree: column generation on the program whose dual norm it is.

`factored_bound` is a norm of N.  With the norm that it is dual to in place of the penalty the program
``min L(F + 1 b') + beta |F|`` is convex, and at its optimum -grad L gives a larger lower bound than the network's does,
which must be scaled until the norm allows it.  A round takes the gradient of the norm, smoothed, at the dual point as
one more atom, and finds the best nonnegative weights of all atoms.  Whatever it finds is proven afterwards.
"""

from __future__ import annotations

import time

import numpy as np
import scipy

from exactrelu._coordinates import row_norms
from exactrelu._limits import stop_at
from exactrelu._typing import Array
from exactrelu.certificates._bounds import dual_value
from exactrelu.certificates._output_bounds import best_scales
from exactrelu.solve._problem import OutputsProblem

SHARPNESS = 32  # p of the Schatten norms (order 2 p) in place of spectral norms, which have no gradient at the optimum
SCALINGS = 20  # steps towards good scales in a round, from those of the last
STEPS = 200  # of L-BFGS in a round
IDLE, GAIN = 10, 1e-3  # rounds in a row that may pass without this gain, as a part of the bound


def relaxed_dual(problem: OutputsProblem, beta: float, rounds: int, deadline: float | None) -> Array:
    """A dual point (n, c) that bounds well once it is scaled, O(n (r + c)^2 + n c K) a step with K atoms.

    Parameters
    ----------
    problem : OutputsProblem
    beta : float
    rounds : int, at most
    deadline : float or None, `time.monotonic` value at which to stop
    """
    y, used = problem.y, row_norms(problem.Z) > 0.0
    Z, scales = problem.Z[used], None
    atoms, weights, bias = np.zeros((y.size, 0)), np.zeros(0), problem.bias(np.zeros_like(y))
    best, value, idle = problem.dual_point(problem.constant), -np.inf, 0
    for _ in range(rounds):
        N = problem.dual_point(problem.prediction((atoms @ weights).reshape(y.shape)))
        if not N[used].any() or idle >= IDLE or (deadline is not None and time.monotonic() > deadline):
            break
        bound, scales = best_scales(Z, N[used], scales, SCALINGS)
        theta = problem.balanced(N * (min(1.0, beta / bound) * (1.0 - 1e-12)))
        new = dual_value(problem.loss, theta, y)
        idle = idle + 1 if new <= value + GAIN * abs(value) else 0
        if new > value:
            best, value = N, new
        atom = np.zeros_like(y)
        atom[used] = _atom(Z, N[used], scales)
        atoms = np.column_stack([atoms, atom.ravel()])
        weights, bias = _weights(problem, beta, atoms, np.append(weights, 0.0), bias, deadline)
        atoms, weights = atoms[:, weights > 0.0], weights[weights > 0.0]
    return best


def _atom(Z: Array, N: Array, scales: Array) -> Array:
    """The gradient in N of half of ``|N'Z| + |N / d| |d Z|``, with Schatten norms, (n, c)."""
    U, sizes, Vt = np.linalg.svd(Z.T @ N, full_matrices=False)
    linear = Z @ ((U * _schatten(sizes)) @ Vt)
    U, sizes, Vt = np.linalg.svd(N / scales[:, None], full_matrices=False)
    spectral = float(np.linalg.norm(scales[:, None] * Z, 2))
    return np.asarray(0.5 * (linear + spectral * ((U * _schatten(sizes)) @ Vt) / scales[:, None]))


def _schatten(sizes: Array) -> Array:
    """The derivatives of ``(sum sizes^(2 p))^(1 / (2 p))``."""
    part = sizes / (sizes[0] or 1.0)
    return np.asarray(part ** (2 * SHARPNESS - 1) / np.sum(part ** (2 * SHARPNESS)) ** (1.0 - 0.5 / SHARPNESS))


def _weights(
    problem: OutputsProblem, beta: float, atoms: Array, weights: Array, bias: Array, deadline: float | None
) -> tuple[Array, Array]:
    """Nonnegative weights (K,) and biases (c,) that minimise the loss plus beta times the weights' sum."""
    y, loss, K = problem.y, problem.loss, len(weights)

    def objective(x: Array) -> tuple[float, Array]:
        f = (atoms @ x[:K]).reshape(y.shape) + x[K:]
        slope = loss.gradient(f, y)
        by_bias = slope.sum(axis=0) if problem.output_bias else np.zeros_like(bias)
        return loss.value(f, y) + beta * float(x[:K].sum()), np.append(atoms.T @ slope.ravel() + beta, by_bias)

    found = scipy.optimize.minimize(
        objective, np.append(weights, bias), jac=True, method="L-BFGS-B", callback=stop_at(deadline),
        bounds=[(0.0, None)] * K + [(None, None)] * len(bias), options={"maxiter": STEPS},
    )  # fmt: skip
    return found.x[:K], found.x[K:]
