"""The restricted master problem: the convex program over the active cells only.

A quadratic loss has one Gram matrix (`_quadratic.py`); other losses go through a sequence of quadratic models.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from exactrelu._typing import Array
from exactrelu.solve._problem import Problem

from ._bcd import into_cones, pressed_facets, sweep
from ._quadratic import Quadratic

FRESH_GRAM = 2_000_000  # products up to which a Gram matrix is computed anew: keeping parts of it costs more
LEAST_DAMPING = 1e-7  # a cell whose active samples have no curvature would have an unbounded model


class Cone(NamedTuple):
    """One cell.

    Attributes
    ----------
    active : (n,) bool, its sign pattern
    rows : (k,) rows of the data that bound it
    normals : (k, r) their unit normals, inward: the cell is ``{u : normals @ u >= 0}``
    bits : the pattern, packed
    """

    active: NDArray[np.bool_]
    rows: NDArray[np.int64]
    normals: Array
    bits: bytes


@dataclass(slots=True)
class Block:
    """One active cell with an output sign.

    Attributes
    ----------
    sign : +1.0 or -1.0
    cone : Cone
    weight : (r,) current weight, in the closure of the cell but for rounding
    origin, flipped : key of the block it slid from, and the rows that changed sides; no key when it did not
    """

    sign: float
    cone: Cone
    weight: Array
    origin: bytes = b""
    flipped: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    @property
    def key(self) -> bytes:
        """Names the cell and the sign."""
        return (b"+" if self.sign > 0 else b"-") + self.cone.bits

    @property
    def norm(self) -> float:
        """Euclidean norm of the weight."""
        return math.sqrt(self.weight @ self.weight)


class Master:
    """Active blocks, their features and Gram matrix.

    Parameters
    ----------
    problem : Problem
        Its loss must have a gradient; `problem` may be replaced by one on the same data with another loss.
    beta : float
    deadline : float, optional, `time.monotonic` value at which `solve` is to stop, its weights feasible

    Attributes
    ----------
    sweeps : int, sweeps of block coordinate descent so far
    """

    def __init__(self, problem: Problem, beta: float, deadline: float | None = None) -> None:
        r = problem.coordinates.rank
        self.problem = problem
        self.beta = beta
        self.deadline = np.inf if deadline is None else deadline
        self.blocks: list[Block] = []
        self.signs = np.zeros(0)
        self.facets = np.zeros((0, r))  # of block k: starts[k] to starts[k+1]
        self.starts = np.zeros(1, np.intp)
        self._columns = np.ascontiguousarray(problem.Z.T)
        self._features = np.zeros((problem.Z.shape[0], 0))
        self._gram = np.zeros((0, 0))
        self._damping = 0.0
        self.sweeps = 0

    def set_blocks(self, blocks: Sequence[Block]) -> None:
        """Replace the active set.  O(n r K), and for the Gram matrix of a quadratic loss as in `_updated_gram`."""
        signs = np.array([block.sign for block in blocks])
        signed = np.where([block.cone.active for block in blocks], signs[:, None], 0.0)
        features = (signed[:, None, :] * self._columns).reshape(-1, self._columns.shape[1]).T
        if self.problem.loss.quadratic:
            self._gram = self._updated_gram(features, blocks)
        self._features, self.blocks, self.signs = features, list(blocks), signs
        self.facets = np.vstack([block.cone.normals for block in blocks])
        self.starts = np.zeros(len(blocks) + 1, np.intp)
        np.cumsum([len(block.cone.normals) for block in blocks], out=self.starts[1:])

    def _updated_gram(self, features: Array, blocks: Sequence[Block]) -> Array:
        """Gram matrix of the `features` of new blocks.

        O(n r^2 K^2) while that is little.  Otherwise entries of cells that stay are kept, a cell that slid across a
        facet changes by the rows that flipped, O(r K) each, and any other new cell costs O(n r^2 K).
        """
        r = self.problem.coordinates.rank
        weight = self._curvature()
        if features.shape[0] * features.shape[1] ** 2 <= FRESH_GRAM:
            weighted = features if (weight == 1.0).all() else weight[:, None] * features
            return weighted.T @ features
        place = {block.key: k for k, block in enumerate(self.blocks)}
        source = np.array([place.get(b.key, place.get(b.origin, -1)) for b in blocks], dtype=int)
        flipped = [b.flipped for k, b in enumerate(blocks) if source[k] >= 0 and b.key not in place]
        gram = np.empty((features.shape[1], features.shape[1]))
        old = np.repeat(source >= 0, r)
        columns = (source[source >= 0][:, None] * r + np.arange(r)).ravel()
        before = self._features[:, columns]
        gram[np.ix_(old, old)] = self._gram[np.ix_(columns, columns)]
        rows = np.unique(np.concatenate([np.zeros(0, np.int64), *flipped]))
        if rows.size:  # A'CA changes only by the rows in which A changed
            now, then, c = features[np.ix_(rows, np.flatnonzero(old))], before[rows], weight[rows][:, None]
            gram[np.ix_(old, old)] += (c * now).T @ now - (c * then).T @ then
        if not old.all():
            fresh = (weight[:, None] * features[:, ~old]).T @ features
            gram[~old] = fresh
            gram[:, ~old] = fresh.T
        return gram

    def _curvature(self) -> Array:
        """Curvature of a quadratic loss, which does not depend on the prediction."""
        return self.problem.loss.curvature(np.zeros(len(self.problem.y)), self.problem.y)

    @property
    def weights(self) -> Array:
        """Current weights, (K, r), a copy."""
        return np.array([block.weight for block in self.blocks]).reshape(
            len(self.blocks), self.problem.coordinates.rank
        )

    def prediction(self) -> Array:
        """Output of the current network on the data, (n,)."""
        if not self.blocks:
            return np.zeros(self.problem.Z.shape[0])
        return self._features @ self.weights.ravel()

    def correlations(self, nu: Array) -> Array:
        """``s_k Z'D_k nu`` for every block, (K, r)."""
        return (self._features.T @ nu).reshape(len(self.blocks), self.problem.coordinates.rank)

    def objective(self) -> float:
        """Objective of the convex program at the current weights."""
        loss = self.problem.loss.value(self.prediction(), self.problem.y)
        return loss + self.beta * float(sum(block.norm for block in self.blocks))

    def solve(self, tol: float) -> float:
        """Optimise the weights over the active cells; returns the largest violation in units of beta."""
        if not self.blocks:
            return 0.0
        W = self.weights
        into_cones(self.facets, self.starts, W)
        if self.problem.loss.quadratic:
            slope = -self.problem.loss.gradient(np.zeros(len(self.problem.y)), self.problem.y)
            violation = self._quadratic(self._gram, self._features.T @ slope, W, tol)
        else:
            violation = self._proximal_newton(W, tol)
        for block, weight in zip(self.blocks, W, strict=True):
            block.weight = weight
        return violation

    def _quadratic(self, gram: Array, linear: Array, W: Array, tol: float) -> float:
        """Solve a quadratic model in place, and count its sweeps; returns the largest violation."""
        model = Quadratic(gram, linear, self.facets, self.starts, self.beta, self.deadline)
        violation = model.solve(W, tol)
        self.sweeps += model.sweeps
        return violation

    def pressed(self, forces: Array, nu: Array, least: float) -> NDArray[np.intp]:
        """For every block the facet across which it would gain more than `least`, or -1, (K,).

        forces : (F,), ``sum_i nu_i |z_i|`` over the rows on each facet.  O(n r K).
        """
        W = self.weights
        norms = np.sqrt(np.einsum("kr,kr->k", W, W))[:, None]
        residual = self.correlations(nu) - self.beta * W / np.where(norms > 0.0, norms, 1.0)
        force = np.repeat(self.signs, np.diff(self.starts)) * forces
        return pressed_facets(self.facets, self.starts, W, residual, force, least)

    def _proximal_newton(self, W: Array, tol: float, max_steps: int = 60) -> float:
        """Quadratic models of the loss around the current prediction, each followed by a line search.

        Proximal Newton (Lee, Sun & Saunders 2014).  Where the curvature jumps (Huber, hinges) a step may
        overshoot: the model is then damped, until full steps succeed again.
        """
        loss, y, A = self.problem.loss, self.problem.y, self._features
        violation = np.inf
        for _ in range(max_steps):
            f = A @ W.ravel()
            weight = damped(loss.curvature(f, y), max(self._damping, LEAST_DAMPING))
            gram = (A * weight[:, None]).T @ A
            gram[np.diag_indices_from(gram)] += 1e-12 * np.trace(gram) / len(gram) + 1e-300
            linear = gram @ W.ravel() - A.T @ loss.gradient(f, y)
            # no sweep is done: this only measures the violation at W, where model and loss agree
            _, violation = sweep(gram, linear, self.facets, self.starts, self.beta, W, 0, tol)
            if violation <= tol:
                break
            target = W.copy()
            self._quadratic(gram, linear, target, max(0.1 * tol, 1e-3 * violation))
            step = self._line_search(W, target, f)
            if (step == 0.0 and self._damping >= 1.0) or time.monotonic() > self.deadline:
                break
            self._damping = next_damping(self._damping, step)
        return violation

    def _line_search(self, W: Array, target: Array, f: Array) -> float:
        """Move `W` towards `target` until the objective falls (convex along the segment); the step, 0 for none."""
        loss, y = self.problem.loss, self.problem.y
        direction = self._features @ (target - W).ravel()
        norms = np.linalg.norm(W, axis=1).sum()
        value = loss.value(f, y) + self.beta * norms
        change = self.beta * (np.linalg.norm(target, axis=1).sum() - norms) + float(loss.gradient(f, y) @ direction)
        step = 1.0
        for _ in range(40):
            trial = W + step * (target - W)
            new = loss.value(f + step * direction, y) + self.beta * np.linalg.norm(trial, axis=1).sum()
            if new <= value + 1e-4 * step * min(change, 0.0) + 1e-15 * abs(value):
                moved = bool(np.any(trial != W))
                W[:] = trial
                return step if moved else 0.0
            step *= 0.5
        return 0.0


def damped(curvature: Array, damping: float) -> Array:
    """Curvature with a part `damping` of its largest value (of one, when it is zero everywhere) added."""
    top = float(curvature.max(initial=0.0))
    return curvature + (damping if top > 0.0 else max(damping, 1e-3)) * (top or 1.0)


def next_damping(damping: float, step: float) -> float:
    """Less damping after a full step, more after a shortened one (Levenberg & Marquardt)."""
    if step == 1.0:
        return 0.1 * damping if damping > 1e-7 else 0.0
    return min(max(10.0 * damping, 1e-4), 1e3)
