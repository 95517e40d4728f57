"""The restricted master problem: the convex program over the active cells only.

A quadratic loss has one Gram matrix (`_quadratic.py`); other losses go through a sequence of quadratic models.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ._bcd import sweep
from ._problem import Problem
from ._quadratic import Quadratic

Array = NDArray[np.float64]

LEAST_DAMPING = 1e-7  # a cell whose active samples have no curvature would have an unbounded model


@dataclass
class Block:
    """One active cell with an output sign.

    Attributes
    ----------
    sign : +1.0 or -1.0
    active : (n,) bool, the sign pattern of the cell
    rows : (k,) rows of the data that bound the cell
    normals : (k, r) their unit normals, inward: the cell is ``{u : normals @ u >= 0}``
    weight : (r,) current weight, in the closure of the cell
    origin, flipped : key of the block it slid from, and the rows that changed sides; no key when it did not
    """

    sign: float
    active: NDArray[np.bool_]
    rows: NDArray[np.int64]
    normals: Array
    weight: Array
    origin: bytes = b""
    flipped: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    key: bytes = field(init=False)

    def __post_init__(self) -> None:
        self.key = (b"+" if self.sign > 0 else b"-") + np.packbits(self.active).tobytes()

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

    Attributes
    ----------
    sweeps : int, sweeps of block coordinate descent so far
    """

    def __init__(self, problem: Problem, beta: float) -> None:
        self.problem = problem
        self.beta = beta
        self.blocks: list[Block] = []
        self._features = np.zeros((problem.Z.shape[0], 0))
        self._gram = np.zeros((0, 0))
        self._damping = 0.0
        self.sweeps = 0

    def set_blocks(self, blocks: Sequence[Block]) -> None:
        """Replace the active set.

        Gram blocks of cells that stay are kept; one that slid across a facet changes by the rows that flipped,
        O(r K) each; any other new cell costs O(n r^2 K).
        """
        r = self.problem.coordinates.rank
        place = {block.key: k for k, block in enumerate(self.blocks)}
        source = np.array([place.get(b.key, place.get(b.origin, -1)) for b in blocks], dtype=int)
        features = np.empty((self.problem.Z.shape[0], r * len(blocks)), order="F")
        for k, block in enumerate(blocks):
            here = slice(k * r, (k + 1) * r)
            if source[k] < 0:
                features[:, here] = np.where(block.active, block.sign, 0.0)[:, None] * self.problem.Z
                continue
            features[:, here] = self._features[:, source[k] * r : (source[k] + 1) * r]
            if block.key not in place:
                features[block.flipped, here] = (block.sign * block.active[block.flipped])[:, None] * (
                    self.problem.Z[block.flipped]
                )
        if self.problem.loss.quadratic:
            slid = [k for k, block in enumerate(blocks) if source[k] >= 0 and block.key not in place]
            self._gram = self._updated_gram(features, source, {k: blocks[k].flipped for k in slid})
        self._features = features
        self.blocks = list(blocks)

    def _updated_gram(self, features: Array, source: NDArray[np.int_], flipped: dict[int, NDArray[np.int64]]) -> Array:
        """Gram matrix of `features`, whose block k was block ``source[k]`` before rows ``flipped[k]`` changed."""
        r = self.problem.coordinates.rank
        gram = np.empty((features.shape[1], features.shape[1]))
        old = np.repeat(source >= 0, r)
        columns = (source[source >= 0][:, None] * r + np.arange(r)).ravel()
        before = self._features[:, columns]
        weight = self._curvature()
        gram[np.ix_(old, old)] = self._gram[np.ix_(columns, columns)]
        rows = np.unique(np.concatenate([np.zeros(0, np.int64), *flipped.values()]))
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
        model = Quadratic(gram, linear, self._normals(), self.beta)
        violation = model.solve(W, tol)
        self.sweeps += model.sweeps
        return violation

    def _normals(self) -> list[Array]:
        return [block.normals for block in self.blocks]

    def _proximal_newton(self, W: Array, tol: float, max_steps: int = 60) -> float:
        """Quadratic models of the loss around the current prediction, each followed by a line search.

        Proximal Newton (Lee, Sun & Saunders 2014).  Where the curvature jumps (Huber, hinges) a step may
        overshoot: the model is then damped, until full steps succeed again.
        """
        loss, y, A = self.problem.loss, self.problem.y, self._features
        facets = np.ascontiguousarray(np.vstack(self._normals()))
        starts = np.concatenate([[0], np.cumsum([len(g) for g in self._normals()])]).astype(np.intp)
        violation = np.inf
        for _ in range(max_steps):
            f = A @ W.ravel()
            weight = damped(loss.curvature(f, y), max(self._damping, LEAST_DAMPING))
            gram = (A * weight[:, None]).T @ A
            gram[np.diag_indices_from(gram)] += 1e-12 * np.trace(gram) / len(gram) + 1e-300
            linear = gram @ W.ravel() - A.T @ loss.gradient(f, y)
            # no sweep is done: this only measures the violation at W, where model and loss agree
            _, violation = sweep(gram, linear, facets, starts, self.beta, W, 0, tol)
            if violation <= tol:
                break
            target = W.copy()
            self._quadratic(gram, linear, target, max(0.1 * tol, 1e-3 * violation))
            step = self._line_search(W, target, f)
            if step == 0.0 and self._damping >= 1.0:
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
