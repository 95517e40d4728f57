"""Local search on the non-convex problems: objectives with gradients, and SGD, Adam and L-BFGS.

An objective has the targets ``y``, ``start(rng)`` with random weights in one vector, and gives value and gradient on
all rows or on some.  Every search takes ``report``, called with each value on all rows that it computes: whatever
weights were evaluated are a network one could keep.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from exactrelu._typing import Array

Rows = NDArray[np.int64] | slice
Report = Callable[[float], None]


class Objective(Protocol):
    """What the searches need to know of a problem."""

    y: Array

    def start(self, rng: np.random.Generator) -> Array:
        """Random weights."""

    def __call__(self, weights: Array, rows: Rows = slice(None)) -> tuple[float, Array]:
        """Value and gradient on some of the rows, the loss scaled to all of them."""


class TwoLayers:
    """``1/2 |f - y|^2 + beta/2 sum_k (|w_k|^2 + alpha_k^2)`` of `width` neurons."""

    def __init__(self, X: Array, y: Array, beta: float, width: int) -> None:
        self.X, self.y, self.beta, self.width = X, y, beta, width
        self.d = X.shape[1]

    def start(self, rng: np.random.Generator) -> Array:
        """Variance 2/d in the first layer, 1/width in the second."""
        first = rng.standard_normal(self.d * self.width) * np.sqrt(2.0 / self.d)
        return np.concatenate([first, rng.standard_normal(self.width) / np.sqrt(self.width)])

    def __call__(self, weights: Array, rows: Rows = slice(None)) -> tuple[float, Array]:
        """Value and gradient on some of the rows, the loss scaled to all of them."""
        W, alpha = weights[: -self.width].reshape(self.d, self.width), weights[-self.width :]
        X, y = self.X[rows], self.y[rows]
        hidden = np.maximum(X @ W, 0.0)
        residual = hidden @ alpha - y
        scale = len(self.y) / len(y)  # the loss is a sum over all rows: minibatches estimate it without bias
        value = 0.5 * scale * residual @ residual + 0.5 * self.beta * weights @ weights
        back = scale * np.outer(residual, alpha) * (hidden > 0.0)
        gradient = np.concatenate([(X.T @ back).ravel(), scale * hidden.T @ residual]) + self.beta * weights
        return float(value), gradient


class ThreeLayers:
    """``1/2 |f - y|^2 + beta/2 sum_k (|w2_k|^2 + w3_k^2)`` of K sub-networks of width m, first layers normalised."""

    def __init__(self, X: Array, y: Array, beta: float, K: int, m: int) -> None:
        self.X, self.y, self.beta, self.K, self.m = X, y, beta, K, m
        self.d = X.shape[1]
        self.sizes = np.cumsum([K * m * self.d, K * m])

    def start(self, rng: np.random.Generator) -> Array:
        """Gaussian weights at the scale of He et al. 2015 for the upper layers."""
        return rng.standard_normal(self.K * (self.m * self.d + self.m + 1)) * np.sqrt(2.0 / self.m)

    def __call__(self, weights: Array, rows: Rows = slice(None)) -> tuple[float, Array]:
        """Value and gradient on some of the rows, the loss scaled to all of them."""
        K, m, d = self.K, self.m, self.d
        raw, w2, w3 = np.split(weights, self.sizes)
        raw, w2 = raw.reshape(K, m * d), w2.reshape(K, m)
        norms = np.linalg.norm(raw, axis=1, keepdims=True) + 1e-300  # no division by zero at raw = 0
        unit = raw / norms
        X, y = self.X[rows], self.y[rows]
        first = np.einsum("nd,kmd->nkm", X, unit.reshape(K, m, d))
        hidden = np.maximum(first, 0.0)
        second = np.einsum("nkm,km->nk", hidden, w2)
        residual = np.maximum(second, 0.0) @ w3 - y
        scale = len(self.y) / len(y)
        value = 0.5 * scale * residual @ residual + 0.5 * self.beta * (np.sum(w2**2) + np.sum(w3**2))
        back = scale * residual[:, None] * w3 * (second > 0.0)
        g3 = scale * residual @ np.maximum(second, 0.0) + self.beta * w3
        g2 = np.einsum("nk,nkm->km", back, hidden) + self.beta * w2
        g1 = np.einsum("nk,nkm,nd->kmd", back, (first > 0.0) * w2, X).reshape(K, m * d)
        # chain rule of raw / |raw|: only what is orthogonal to the direction changes it
        g1 = (g1 - np.sum(g1 * unit, axis=1, keepdims=True) * unit) / norms
        return float(value), np.concatenate([g1.ravel(), g2.ravel(), g3])


def sgd(objective: Objective, w: Array, rng: np.random.Generator, steps: int, report: Report) -> Array:
    """Minibatches of 10, momentum 0.9, step halved four times."""
    velocity = np.zeros_like(w)
    for step in range(steps):
        rows = rng.integers(0, len(objective.y), 10)
        gradient = objective(w, rows)[1]
        # clipped to length 10: from random weights the gradient of a few rows can be a hundred times as long
        gradient *= min(1.0, 10.0 / (float(np.linalg.norm(gradient)) + 1e-300))
        velocity = 0.9 * velocity - 1e-3 * 0.5 ** (5 * step // steps) * gradient
        w = w + velocity
    report(objective(w)[0])
    return w


def adam(objective: Objective, w: Array, rng: np.random.Generator, steps: int, report: Report) -> Array:
    """Full gradients (Kingma & Ba 2015, algorithm 1), step size falling from 1e-2 to 1e-4."""
    first, second = np.zeros_like(w), np.zeros_like(w)
    for step in range(1, steps + 1):
        value, gradient = objective(w)
        report(value)
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        rate = 1e-2 * 0.01 ** (step / steps)  # a constant rate circles around the optimum at its own distance
        w = w - rate * first / (1.0 - 0.9**step) / (np.sqrt(second / (1.0 - 0.999**step)) + 1e-8)
    report(objective(w)[0])
    return w


def lbfgs(objective: Objective, w: Array, rng: np.random.Generator, steps: int, report: Report) -> Array:
    """SciPy's L-BFGS-B on the full objective, to the accuracy that it can reach."""

    def reported(weights: Array) -> tuple[float, Array]:
        value, gradient = objective(weights)
        report(value)
        return value, gradient

    # ftol far below what is told apart, so that it stops where double precision ends, not where SciPy's default does
    options = {"maxiter": steps, "maxfun": 2 * steps, "ftol": 1e-12, "gtol": 1e-8}
    return np.asarray(minimize(reported, w, method="L-BFGS-B", jac=True, options=options).x)


SEARCHES: dict[str, Callable[..., Array]] = {"SGD": sgd, "Adam": adam, "L-BFGS": lbfgs}
