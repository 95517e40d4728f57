"""Complete three-layer pricing: every composite cell is visited. The reference for bound and prune."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from exactrelu._typing import Array
from exactrelu.certificates._bounds import trivial_bound
from exactrelu.enumerate import CompositeChunk, iter_composite_cells
from exactrelu.solve._problem import Problem
from exactrelu.solve.master._cells import CellFinder
from exactrelu.solve.master._composite import price_block
from exactrelu.solve.master._composite_cells import MARGIN, CompositeCells

from ._complete import price_by_enumeration
from ._composite_search import Column, JointPricing, joint_slack, two_layer_columns, valued

CHUNK = 4096
N_KEPT = 64


def price_joint_by_enumeration(
    problem: Problem,
    nu: Array,
    width: int,
    *,
    target: float = 0.0,
    rel: float = 1e-9,
    starts: Sequence[Column] = (),
    deadline: float | None = None,
    patience: int | None = None,
) -> JointPricing:
    """``h* = max over composite cells and output signs of the linear pricing problem of the cell``, over all cells.

    Parameters and result as in `_three_pricing.price_joint_by_bound`, but that `patience` has no meaning here.
    One small cone program per cell and sign whose dual norm exceeds what is known, O(n m (m r)^2) a Newton step;
    memory independent of the number of cells.
    """
    slack = joint_slack(problem, nu, width)
    if problem.coordinates.rank == 0 or not nu.any():
        return JointPricing(slack, 0.0, [], 1, False)
    single = price_by_enumeration(problem, nu, finder=CellFinder(problem), target=target, rel=rel, deadline=deadline)
    columns = two_layer_columns(single, width) + [valued(column, problem.Z, nu) for column in starts]
    best = max((column.value for column in columns), default=0.0)
    upper, cells, late = (single.upper - slack if width == 1 else 0.0), single.nodes, single.late
    visit = CellVisit(problem, nu, width)
    data = problem.Z if problem.coordinates.truncated else problem.X
    for chunk in iter_composite_cells(data, width, chunk_size=CHUNK):
        if deadline is not None and time.monotonic() > deadline:
            late = True
        if late:
            break
        cells += len(chunk)
        for sign in (1.0, -1.0):
            for k, b in visit.promising(chunk, sign, max(target, best * (1.0 + rel))):
                column, bound = visit.solve(chunk, k, sign, b, max(target, best, 1e-12), rel)
                upper = max(upper, bound)
                if column is not None and column.value > target:
                    columns.append(column)
                    best = max(best, column.value)
        columns = sorted(columns, key=lambda column: -column.value)[:N_KEPT]
    upper = max(upper, target, best) * (1.0 + rel)
    if late:
        upper = max(upper, trivial_bound(problem.Z, nu))
    return JointPricing(upper + slack, best, columns, cells, late)


class CellVisit:
    """The linear pricing problems of the cells of a chunk."""

    def __init__(self, problem: Problem, nu: Array, width: int) -> None:
        self.cells = CompositeCells(problem, width)
        self.Z, self.nu = problem.Z, nu
        bundle = problem.bundle
        self.distinct = np.zeros(len(bundle.Z), dtype=np.int64)
        self.distinct[bundle.index] = bundle.rows  # a row of the data for each distinct direction
        coordinates = problem.coordinates
        self.to_coordinates = np.eye(coordinates.rank) if coordinates.truncated else coordinates.V

    def promising(self, chunk: CompositeChunk, sign: float, level: float) -> list[tuple[int, Array]]:
        """Cells whose linear function ``b.a`` has dual norm ``max_j |b_j|`` above `level`, with b (m r,)."""
        weighted = (chunk.second * (sign * self.nu))[:, :, None] * self.Z  # (P, n, r)
        b = np.einsum("pjn,pnr->pjr", chunk.first.astype(np.float64), weighted) * chunk.t[:, None]
        norms = np.linalg.norm(b, axis=2).max(axis=1)
        return [(int(k), b[k].ravel()) for k in np.flatnonzero(norms > level)]

    def solve(
        self, chunk: CompositeChunk, k: int, sign: float, b: Array, least: float, rel: float
    ) -> tuple[Column | None, float]:
        """Best direction of cell k, and an upper bound of its value that is at least `least`."""
        n_plus = int((chunk.t > 0).sum())
        first, second = chunk.first[k][:, self.distinct], chunk.second[k][self.distinct]
        block = self.cells.of_patterns(sign, n_plus, first, second, chunk.points[k] @ self.to_coordinates)
        if (block.facets @ block.weight).min() <= 1e-3 * MARGIN * np.linalg.norm(block.weight):  # too thin for float64
            return None, float(np.linalg.norm(b.reshape(self.cells.width, -1), axis=1).max())
        a, value, bound = price_block(b, block.facets, self.cells.r, block.weight, least, 0.1 * rel)
        return Column(sign, n_plus, a.reshape(self.cells.width, -1), float(value)), float(bound)
