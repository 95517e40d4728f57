"""The restricted master problem: the convex program over the active cells only.

A quadratic loss has one Gram matrix (`_quadratic.py`); other losses go through a sequence of quadratic models
(`_proximal.py`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from exactrelu._typing import Array, Bools, Ints
from exactrelu.solve._neurons import Neurons
from exactrelu.solve._problem import Problem
from exactrelu.solve._proximal import proximal_newton

from ._bcd import into_cones, pressed_facets, sweep
from ._quadratic import solve_quadratic

FRESH_GRAM = 2_000_000  # products up to which a Gram matrix is computed anew: keeping parts of it costs more
# Accuracy of a model's minimiser: a tenth of what is asked for, or a thousandth of how far its centre is from it.
OF_TOL, OF_VIOLATION = 0.1, 1e-3
# A force g across a facet raises h* from beta to sqrt(beta^2 + g^2) only, to second order: forces count from this part
# of beta sqrt(tol) on.
PRESSED = 1e-2


class Cone(NamedTuple):
    """One cell.

    Attributes
    ----------
    active : (n,) bool, its sign pattern
    rows : (k,) rows of the data that bound it
    normals : (k, r) their unit normals, inward: the cell is ``{u : normals @ u >= 0}``
    bits : the pattern, packed
    """

    active: Bools
    rows: Ints
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
    flipped: Ints = field(default_factory=lambda: np.zeros(0, np.int64))

    @property
    def key(self) -> bytes:
        """Names the cell and the sign."""
        return (b"+" if self.sign > 0 else b"-") + self.cone.bits

    @property
    def norm(self) -> float:
        """Euclidean norm of the weight."""
        return math.sqrt(self.weight @ self.weight)


def merged(blocks: Sequence[Any]) -> list[Any]:
    """One block per cell and sign: equal ones add their weights, which costs nothing by the triangle inequality."""
    found: dict[bytes, Any] = {}
    for block in blocks:
        if block.key in found:
            found[block.key].weight = found[block.key].weight + block.weight
        else:
            found[block.key] = block
    return list(found.values())


class Active:
    """Active blocks and their features, for masters of both depths.

    Parameters
    ----------
    problem : Problem
        Its loss must have a gradient; `problem` may be replaced by one on the same data with another loss.
    beta : float
    deadline : float, optional, `time.monotonic` value at which `solve` is to stop, its weights feasible
    size : int, numbers in a block

    Attributes
    ----------
    blocks : list
    sweeps : int, sweeps of block coordinate descent so far
    """

    blocks: list[Any]

    def __init__(self, problem: Problem, beta: float, deadline: float | None, size: int) -> None:
        self.problem, self.beta, self.size = problem, beta, size
        self.deadline = np.inf if deadline is None else deadline
        self.blocks = []
        self.sweeps = 0
        self._features = np.zeros((len(problem.y), 0))
        self._damping = 0.0

    @property
    def weights(self) -> Array:
        """Current weights, one row per block, a copy."""
        return np.array([block.weight for block in self.blocks]).reshape(len(self.blocks), self.size)

    def prediction(self) -> Array:
        """Output of the blocks on the data, (n,), with the best output bias."""
        return self.problem.prediction(self._features @ self.weights.ravel())

    def objective(self) -> float:
        """Objective of the convex program at the current weights."""
        loss = self.problem.loss.value(self.prediction(), self.problem.y)
        return loss + self.beta * float(sum(block.norm for block in self.blocks))

    def _store(self, W: Array) -> None:
        for block, weight in zip(self.blocks, W, strict=True):
            block.weight = weight.copy()


class Master(Active):
    """The master problem of two layers, by block coordinate descent and Newton steps on faces."""

    blocks: list[Block]

    def __init__(self, problem: Problem, beta: float, deadline: float | None = None) -> None:
        super().__init__(problem, beta, deadline, problem.rank)
        self.signs = np.zeros(0)
        self.facets = np.zeros((0, problem.rank))  # of block k: starts[k] to starts[k+1]
        self.starts = np.zeros(1, np.intp)
        self._columns = np.ascontiguousarray(problem.Z.T)
        self._gram = np.zeros((0, 0))
        zero = np.zeros(len(problem.y))
        # Of a quadratic loss, whose curvature does not depend on f: its gradient is H w - c, so at zero -c.
        self._curvature = problem.loss.curvature(zero, problem.y) if problem.loss.quadratic else zero
        self._at_zero = problem.dual_point(problem.constant)

    def set_blocks(self, blocks: Sequence[Block]) -> None:
        """Replace the active set.  O(n r K), and for the Gram matrix of a quadratic loss as in `_updated_gram`."""
        blocks = merged(blocks)
        signs = np.array([block.sign for block in blocks])
        # (K, n): the sign where the sample is active
        signed = np.where([block.cone.active for block in blocks], signs[:, None], 0.0)
        # features of block k = s_k D_k Z, side by side
        features = (signed[:, None, :] * self._columns).reshape(-1, self._columns.shape[1]).T
        if self.problem.loss.quadratic:
            self._gram = self._updated_gram(features, blocks)
        self._features, self.blocks, self.signs = features, blocks, signs
        self.facets = np.vstack([block.cone.normals for block in blocks])
        self.starts = np.zeros(len(blocks) + 1, np.intp)
        np.cumsum([len(block.cone.normals) for block in blocks], out=self.starts[1:])

    def _updated_gram(self, features: Array, blocks: Sequence[Block]) -> Array:
        """Gram matrix of the `features` of new blocks.

        O(n r^2 K^2) while that is little.  Otherwise entries of cells that stay are kept, a cell that slid across a
        facet changes by the rows that flipped, O(r K) each, and any other new cell costs O(n r^2 K).
        """
        r, weight = self.size, self._curvature
        if features.shape[0] * features.shape[1] ** 2 <= FRESH_GRAM:
            weighted = features if (weight == 1.0).all() else weight[:, None] * features
            return weighted.T @ features
        place = {block.key: k for k, block in enumerate(self.blocks)}
        # the old block whose features a new one had but for the rows that flipped, or -1
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

    def _centred_gram(self) -> Array:
        """The Gram matrix that is left when an output bias follows the weights: its weighted means taken out, O(N^2).

        The uncentred one is kept, because a flip of rows changes it by those rows alone.
        """
        if not self.problem.output_bias:
            return self._gram
        sums, total = self._curvature @ self._features, float(self._curvature.sum())
        return self._gram - np.outer(sums, sums / total) if total > 0.0 else self._gram

    def neurons(self) -> Neurons:
        """The blocks' nonzero weights."""
        return Neurons.of_two_layers(self.signs, self.weights).nonzero()

    def correlations(self, nu: Array) -> Array:
        """``s_k Z'D_k nu`` for every block, (K, r)."""
        return (self._features.T @ nu).reshape(len(self.blocks), self.size)

    def solve(self, tol: float) -> float:
        """Optimise the weights over the active cells; returns the largest violation in units of beta."""
        if not self.blocks:
            return 0.0
        W, loss = self.weights, self.problem.loss
        into_cones(self.facets, self.starts, W)
        if loss.quadratic:
            violation = self._quadratic(self._centred_gram(), self._features.T @ self._at_zero, W, tol)
        else:
            violation = np.inf

            def minimise(gram: Array, linear: Array) -> Array | None:
                nonlocal violation
                # no sweep is done: this only measures the violation at W, where model and loss agree
                _, violation = sweep(gram, linear, self.facets, self.starts, self.beta, W, 0, tol)
                if violation <= tol:
                    return None
                target = W.copy()
                self._quadratic(gram, linear, target, max(OF_TOL * tol, OF_VIOLATION * violation))
                return target

            self._damping = proximal_newton(
                self._features, self.problem, self.beta, W, self.size, minimise,
                damping=self._damping, deadline=self.deadline,
            )  # fmt: skip
        self._store(W)
        return violation

    def _quadratic(self, gram: Array, linear: Array, W: Array, tol: float) -> float:
        """Solve a quadratic model in place, and count its sweeps; returns the largest violation."""
        violation, sweeps = solve_quadratic(gram, linear, self.facets, self.starts, self.beta, W, tol, self.deadline)
        self.sweeps += sweeps
        return violation

    def pressed(self, forces: Array, nu: Array, tol: float) -> NDArray[np.intp]:
        """For every block the facet across which it would gain most, when that counts at tolerance `tol`, or -1, (K,).

        forces : (F,), ``sum_i nu_i |z_i|`` over the rows on each facet.  O(n r K).
        """
        W = self.weights
        norms = np.sqrt(np.einsum("kr,kr->k", W, W))[:, None]
        residual = self.correlations(nu) - self.beta * W / np.where(norms > 0.0, norms, 1.0)
        force = np.repeat(self.signs, np.diff(self.starts)) * forces
        least = PRESSED * np.sqrt(tol) * self.beta
        return pressed_facets(self.facets, self.starts, W, residual, force, least)
