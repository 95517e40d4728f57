"""The convex program in CVXPY: over all patterns, and over a working set with this library's pricing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from exactrelu._typing import Array
from exactrelu.enumerate import iter_cells
from exactrelu.solve._problem import make_problem
from exactrelu.solve.master._cells import CellFinder
from exactrelu.solve.master._master import Block
from exactrelu.solve.pricing._climb import distinct
from exactrelu.solve.pricing._complete import price_by_enumeration

ROUNDS = 200  # of column generation; it ends by itself long before
PER_ROUND = 10  # columns that come in together
MASTER_TOL = 1e-9  # of Clarabel: fine enough not to spoil the duals that price


@dataclass(frozen=True)
class Program:
    """The convex program over all patterns, as CVXPY has it.

    Attributes
    ----------
    problem : cvxpy.Problem
    v, w : cvxpy.Variable (cells r,), the groups of positive and of negative neurons
    cells : int
    """

    problem: Any
    v: Any
    w: Any
    cells: int

    def weights(self) -> tuple[Array, Array]:
        """First-layer weights (k, r) of a network, its output weights ±1 (k,): zero groups left out.

        Groups hold the product of both layers, so a neuron costs its norm.
        """
        groups = [np.asarray(u.value).reshape(self.cells, -1) for u in (self.v, self.w)]
        kept = [group[group.any(axis=1)] for group in groups]
        return np.vstack(kept), np.repeat([1.0, -1.0], [len(group) for group in kept])


def build_program(X: Array, y: Array, beta: float) -> Program:
    """The full program of the squared loss (Pilanci & Ergen 2020, theorem 1); a cell is described by its facets.

    O(cells n r) memory: every cell has its own masked copy of X.
    """
    import cvxpy as cp

    features, sides = [], []
    for chunk in iter_cells(X, facets=True):
        assert chunk.facets is not None
        indptr, rows = chunk.facets
        for k, active in enumerate(np.unpackbits(chunk.patterns, axis=1, count=len(X)).astype(bool)):
            sides.append(((2.0 * active - 1.0)[:, None] * X)[rows[indptr[k] : indptr[k + 1]]])
            features.append(active[:, None] * X)
    count, r = len(features), X.shape[1]
    A, G = np.hstack(features), sp.block_diag(sides, format="csr")
    v, w = cp.Variable(count * r), cp.Variable(count * r)
    norms = [cp.sum(cp.norm(cp.reshape(u, (count, r), order="C"), 2, axis=1)) for u in (v, w)]
    objective = 0.5 * cp.sum_squares(A @ (v - w) - y) + beta * (norms[0] + norms[1])
    return Program(cp.Problem(cp.Minimize(objective), [G @ v >= 0, G @ w >= 0]), v, w, count)


def solve_conic_master(blocks: list[Block], Z: Array, y: Array, beta: float) -> tuple[float, Array]:
    """Optimal value and prediction over the given cells, by CVXPY and Clarabel."""
    import cvxpy as cp

    r = Z.shape[1]
    A = np.hstack([np.where(block.cone.active, block.sign, 0.0)[:, None] * Z for block in blocks])
    G = sp.block_diag([block.cone.normals for block in blocks], format="csr")
    w = cp.Variable(len(blocks) * r)
    norms = cp.norm(cp.reshape(w, (len(blocks), r), order="C"), 2, axis=1)
    problem = cp.Problem(cp.Minimize(0.5 * cp.sum_squares(A @ w - y) + beta * cp.sum(norms)), [G @ w >= 0])
    problem.solve(solver=cp.CLARABEL, tol_gap_abs=MASTER_TOL, tol_gap_rel=MASTER_TOL, tol_feas=MASTER_TOL)
    return float(problem.value), A @ w.value


def working_set(X: Array, y: Array, beta: float, tol: float) -> tuple[float, float, int]:
    """Column generation with a conic master and complete pricing: objective, proven relative gap, rounds.

    As one would write it with a conic solver: master over the cells found so far, pricing over all cells, until the
    relative gap `tol` is proven.
    """
    problem = make_problem(X, y, "squared", None)
    finder = CellFinder(problem)
    blocks: dict[bytes, Block] = {}
    # invariant: `bound` is the best dual value so far, `value` the optimum over the blocks, which only falls
    value, f, bound, gap = 0.5 * float(y @ y), np.zeros(len(y)), -np.inf, np.inf
    rounds = 0
    while rounds < ROUNDS:
        rounds += 1
        nu = y - f
        priced = price_by_enumeration(problem, nu, target=beta * (1.0 + 0.1 * tol), rel=1e-9)
        # feasible by scaling: |theta'(Xu)_+| <= beta |u| for all u, since priced.upper bounds that of nu
        theta = nu * min(1.0, beta / priced.upper)
        bound = max(bound, float(theta @ (y - 0.5 * theta)))
        gap = (value - bound) / value
        if gap <= tol:
            break
        for k in distinct(priced.neurons, PER_ROUND):
            if priced.values[k] > beta:
                block = finder.containing(float(priced.neurons.signs[k]), priced.neurons.A[k, 0])
                blocks.setdefault(block.key, block)
        value, f = solve_conic_master(list(blocks.values()), problem.Z, y, beta)
    return value, gap, rounds
