"""The restricted master problem for three layers: the convex program over the active composite cells.

Block coordinate descent (`_joint.pyx`) screens many blocks; the few that stay are solved together along the
central path.  Losses other than the squared one go through a sequence of quadratic models (proximal Newton).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from exactrelu._typing import Array

from ._composite import solve_together, sweep_joint
from ._composite_cells import JointBlock, JointCells
from ._master import LEAST_DAMPING, damped, next_damping

SWEEP_ABOVE = 150  # variables above which a few sweeps drop blocks before all are solved together
SWEEPS = 3
GONE = 1e-7  # blocks below this part of the total norm are zero


class JointMaster:
    """Active blocks, their features and Gram matrix.

    Parameters
    ----------
    cells : JointCells
    beta : float

    Attributes
    ----------
    sweeps : int, sweeps of block coordinate descent so far
    """

    def __init__(self, cells: JointCells, beta: float) -> None:
        self.cells = cells
        self.problem = cells.problem
        self.beta = beta
        self.blocks: list[JointBlock] = []
        self.multipliers: list[Array] = []
        self._known: dict[bytes, Array] = {}
        self._features = np.zeros((len(self.problem.y), 0))
        self.sweeps = 0
        self._damping = 0.0

    def set_blocks(self, blocks: Sequence[JointBlock]) -> None:
        """Replace the active set; blocks of one cell are merged, at no cost by the triangle inequality. O(n K D)."""
        merged: dict[bytes, JointBlock] = {}
        for block in blocks:
            if block.key in merged:
                merged[block.key].a = merged[block.key].a + block.a
            else:
                merged[block.key] = block
        self._known = {
            key: self._known[key] if key in self._known else self.cells.features(block) for key, block in merged.items()
        }
        self.blocks = list(merged.values())
        self._features = np.hstack(list(self._known.values())) if merged else self._features[:, :0]

    def prediction(self) -> Array:
        """Output of the blocks on the data, (n,)."""
        return self._features @ self._weights().ravel()

    def objective(self) -> float:
        """Objective of the convex program at the current weights."""
        loss = self.problem.loss.value(self.prediction(), self.problem.y)
        return loss + self.beta * float(sum(block.norm for block in self.blocks))

    def _weights(self) -> Array:
        return np.array([block.a for block in self.blocks]).reshape(len(self.blocks), -1)

    def solve(self, tol: float) -> float:
        """Optimise the weights within their cells to relative accuracy `tol`; returns the objective.

        Blocks that vanish are dropped.  `multipliers` then holds the forces of the facets, one array a block.
        """
        if not self.blocks:
            return self.objective()
        squared = self.problem.loss.quadratic
        if self._features.shape[1] > SWEEP_ABOVE and squared:
            W = self._weights()
            gram, linear = self._quadratic(W)
            path = self._path(1e-6)
            self.sweeps += sweep_joint(gram, linear, *self._cones(), self.cells.r, self.beta, W, *path, SWEEPS, 1e-3)
            self._store(W)
            self._drop(1e-4)
        W = self._weights()
        if squared:
            self._model(W, *self._quadratic(W), tol)
        else:
            self._proximal_newton(W, tol)
        self._store(W)
        self._drop(GONE)
        return self.objective()

    def _quadratic(self, W: Array) -> tuple[Array, Array]:
        """Gram matrix and linear term of the model of the loss at the weights `W`."""
        A, loss, y = self._features, self.problem.loss, self.problem.y
        f = A @ W.ravel()
        weight = loss.curvature(f, y)
        if not loss.quadratic:
            weight = damped(weight, max(self._damping, LEAST_DAMPING))
        gram = (A * weight[:, None]).T @ A if not np.all(weight == 1.0) else A.T @ A
        return np.ascontiguousarray(gram), gram @ W.ravel() - A.T @ loss.gradient(f, y)

    def _cones(self) -> tuple[Array, NDArray[np.intp]]:
        starts = np.concatenate([[0], np.cumsum([len(block.facets) for block in self.blocks])]).astype(np.intp)
        return np.ascontiguousarray(np.vstack([block.facets for block in self.blocks])), starts

    def _path(self, tol: float) -> tuple[float, float]:
        """First and last barrier parameter for a relative accuracy of `tol`."""
        terms = sum(len(block.facets) for block in self.blocks) + 2 * self.cells.width * len(self.blocks) + 1
        size = max(self.objective(), 1e-300)
        return 0.1 * size / terms, 0.1 * tol * size / terms

    def _model(self, W: Array, gram: Array, linear: Array, tol: float) -> None:
        facets, starts = self._cones()
        force = solve_together(gram, linear, facets, starts, self.cells.r, self.beta, W, *self._path(tol))
        self.multipliers = [force[starts[k] : starts[k + 1]] for k in range(len(self.blocks))]

    def _proximal_newton(self, W: Array, tol: float, max_steps: int = 40) -> None:
        """Quadratic models around the current prediction, each followed by a line search, which stays in the cones.

        Where the curvature jumps (Huber, hinges) a step may overshoot by far: the model is then damped, until full
        steps succeed again.
        """
        loss, y, r = self.problem.loss, self.problem.y, self.cells.r
        value = self.objective()
        for _ in range(max_steps):
            f = self._features @ W.ravel()
            gram, linear = self._quadratic(W)
            gram[np.diag_indices_from(gram)] += 1e-12 * np.trace(gram) / len(gram) + 1e-300
            target = W.copy()
            self._model(target, gram, linear - 1e-12 * np.trace(gram) / len(gram) * W.ravel(), 0.1 * tol)
            direction = self._features @ (target - W).ravel()
            step, new = 1.0, np.inf
            while step > 1e-6:
                trial = W + step * (target - W)
                penalty = self.beta * float(np.linalg.norm(trial.reshape(-1, r), axis=1).sum())
                new = loss.value(f + step * direction, y) + penalty
                if new < value:
                    W[:] = trial
                    break
                step *= 0.5
            settled = step == 1.0 or self._damping >= 1.0
            self._damping = next_damping(self._damping, step)
            if settled and not new < value - 0.1 * tol * abs(value):
                break
            value = min(new, value)

    def _store(self, W: Array) -> None:
        for block, weight in zip(self.blocks, W, strict=True):
            block.a = weight.copy()

    def _drop(self, part: float) -> None:
        """Forget blocks whose norm is less than `part` of the total."""
        norms = np.array([block.norm for block in self.blocks])
        keep = norms > part * norms.sum()
        if keep.all():
            return
        if self.multipliers:
            self.multipliers = [m for m, k in zip(self.multipliers, keep, strict=False) if k]
        self.set_blocks([block for block, k in zip(self.blocks, keep, strict=True) if k])

    def neighbours(self, tol: float) -> list[JointBlock]:
        """Cells across pressed facets in which pricing violates the dual constraint, at small weights there."""
        nu = -self.problem.loss.gradient(self.prediction(), self.problem.y)
        have = {block.key for block in self.blocks}
        total = sum(block.norm for block in self.blocks)
        found = []
        for block, force in zip(self.blocks, self.multipliers, strict=True):
            pressed = np.flatnonzero(force > 1e-2 * np.sqrt(tol) * self.beta)
            hardest = pressed[np.argsort(-force[pressed])][: 2 * len(block.a)]
            for cell in self.cells.across(block, hardest.tolist()):
                if cell.key in have:
                    continue
                have.add(cell.key)
                if self.cells.price(cell, nu, self.beta, 0.01 * tol) > self.beta * (1.0 + 0.1 * tol):
                    cell.a = 1e-4 * total * cell.a
                    found.append(cell)
        return found
