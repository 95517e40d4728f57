"""The restricted master problem of three layers: the convex program over the active composite cells.

Block coordinate descent (`_composite.pyx`) screens many blocks; the few that stay are solved together along the
central path.  Losses other than the squared one go through a sequence of quadratic models (`_proximal.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from exactrelu._typing import Array
from exactrelu.solve._neurons import Neurons
from exactrelu.solve._proximal import proximal_newton, quadratic_model

from ._composite import solve_together, sweep_blocks
from ._composite_cells import CompositeBlock, CompositeCells
from ._master import OF_TOL, PRESSED, Active, merged

SWEEP_ABOVE = 150  # variables above which a few sweeps drop blocks before all are solved together: that takes N^3
SWEEPS, SWEEP_TOL, SWEEP_PATH = 3, 1e-3, 1e-6  # most of them, change that ends them, accuracy of a block's own path
SCREENED, GONE = 1e-4, 1e-7  # parts of the total norm below which a block is dropped: after sweeps, after the solution
FIRST_BARRIER = 0.1  # of the objective, what all barrier terms weigh together at the start of the central path
LAST_BARRIER = 0.1  # of the accuracy asked for, at its end
NEW_WEIGHT = 1e-4  # of a cell across a facet, as a part of the total norm
# Neighbours are priced to a hundredth of tol, and join when they violate the dual constraint by a tenth of it.
NEIGHBOUR_REL, NEIGHBOUR_GAIN = 0.01, 0.1


class CompositeMaster(Active):
    """The master problem of three layers.

    Parameters
    ----------
    cells : CompositeCells
    beta : float
    deadline : float, optional, `time.monotonic` value
    """

    blocks: list[CompositeBlock]

    def __init__(self, cells: CompositeCells, beta: float, deadline: float | None = None) -> None:
        super().__init__(cells.problem, beta, deadline, cells.width * cells.r)
        self.cells = cells
        self._known: dict[bytes, Array] = {}  # features of the active blocks

    def set_blocks(self, blocks: Sequence[CompositeBlock]) -> None:
        """Replace the active set.  O(n K m r)."""
        self.blocks = merged(blocks)
        self._known = {
            block.key: self._known[block.key] if block.key in self._known else self.cells.features(block)
            for block in self.blocks
        }
        self._features = np.hstack([self._features[:, :0], *self._known.values()])

    def neurons(self) -> Neurons:
        """The blocks' weights as sub-networks."""
        signs = np.array([block.sign for block in self.blocks])
        n_plus = np.array([block.n_plus for block in self.blocks], dtype=np.int64)
        return Neurons(signs, n_plus, self.weights.reshape(len(self.blocks), self.cells.width, self.cells.r))

    def solve(self, tol: float) -> float:
        """Optimise the weights within their cells to relative accuracy `tol`; returns the objective.

        Blocks that vanish are dropped.  O((K m r)^3) a Newton step.
        """
        if not self.blocks:
            return self.objective()
        loss, r = self.problem.loss, self.cells.r
        if self._features.shape[1] > SWEEP_ABOVE and loss.quadratic:
            W = self.weights
            path = self._path(SWEEP_PATH)
            self.sweeps += sweep_blocks(*self._model(W), *self._cones(), r, self.beta, W, *path, SWEEPS, SWEEP_TOL)
            self._store(W)
            self._drop(SCREENED)
        W = self.weights
        facets, starts = self._cones()

        def minimise(gram: Array, linear: Array, accuracy: float = OF_TOL * tol) -> Array:
            target = W.copy()
            force = solve_together(gram, linear, facets, starts, r, self.beta, target, *self._path(accuracy))
            for block, part in zip(self.blocks, np.split(force, starts[1:-1]), strict=True):
                block.force = part
            return target

        if loss.quadratic:
            W = minimise(*self._model(W), tol)
        else:
            self._damping = proximal_newton(
                self._features, self.problem, self.beta, W, r, minimise,
                damping=self._damping, enough=OF_TOL * tol, deadline=self.deadline,
            )  # fmt: skip
        self._store(W)
        self._drop(GONE)
        return self.objective()

    def _model(self, W: Array) -> tuple[Array, Array]:
        """Gram matrix and linear term of a quadratic loss."""
        f = self.problem.prediction(self._features @ W.ravel())
        return quadratic_model(self._features, self.problem, W, f, 0.0)

    def _cones(self) -> tuple[Array, NDArray[np.intp]]:
        # facets of block k: starts[k] to starts[k+1]
        starts = np.concatenate([[0], np.cumsum([len(block.facets) for block in self.blocks])]).astype(np.intp)
        return np.ascontiguousarray(np.vstack([block.facets for block in self.blocks])), starts

    def _path(self, tol: float) -> tuple[float, float]:
        """First and last barrier parameter for a relative accuracy of `tol`: see `_composite.pyx` for their meaning."""
        terms = sum(len(block.facets) for block in self.blocks) + 2 * self.cells.width * len(self.blocks) + 1
        size = max(self.objective(), 1e-300) / terms
        return FIRST_BARRIER * size, LAST_BARRIER * tol * size

    def _drop(self, part: float) -> None:
        """Forget blocks whose norm is at most `part` of the total."""
        norms = np.array([block.norm for block in self.blocks])
        keep = norms > part * norms.sum()
        if not keep.all():
            self.set_blocks([block for block, kept in zip(self.blocks, keep, strict=True) if kept])

    def neighbours(self, tol: float) -> list[CompositeBlock]:
        """Cells across pressed facets in which pricing violates the dual constraint, at small weights there."""
        nu = self.problem.dual_point(self.prediction())
        # cells met twice on the way, from either side, are priced once
        have = {block.key for block in self.blocks}
        total = sum(block.norm for block in self.blocks)
        found = []
        for block in self.blocks:
            pressed = np.flatnonzero(block.force > PRESSED * np.sqrt(tol) * self.beta)
            hardest = pressed[np.argsort(-block.force[pressed])][: 2 * self.size]
            for cell in self.cells.across(block, hardest.tolist()):
                if cell.key in have:
                    continue
                have.add(cell.key)
                value = self.cells.price(cell, nu, self.beta, NEIGHBOUR_REL * tol)
                if value > self.beta * (1.0 + NEIGHBOUR_GAIN * tol):
                    cell.weight = NEW_WEIGHT * total * cell.weight
                    found.append(cell)
        return found
