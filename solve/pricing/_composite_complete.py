"""Complete pricing of sub-networks: every composite cell is visited. The reference for bound and prune."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np

from exactrelu._typing import Array
from exactrelu.certificates._bounds import trivial_bound
from exactrelu.enumerate import CompositeChunk, iter_composite_cells
from exactrelu.solve._neurons import Neurons
from exactrelu.solve._problem import Problem
from exactrelu.solve.master._composite import price_block
from exactrelu.solve.master._composite_cells import MARGIN, CompositeCells

from ._climb import Pricing, best_first
from ._complete import price_by_enumeration, to_coordinates
from ._composite_search import known_neurons

CHUNK = 4096  # cells between two looks at the clock
N_KEPT = 64  # sub-networks kept; a master problem takes a few dozen
SMALLEST = 1e-12  # a level below which no cell is worth solving, where neither target nor incumbent give one


def price_composite_by_enumeration(
    problem: Problem,
    nu: Array,
    width: int,
    *,
    target: float = 0.0,
    rel: float = 1e-9,
    starts: Neurons | None = None,
    deadline: float | None = None,
    patience: int | None = None,
    limit: int | None = None,
    n_jobs: int = 1,
) -> Pricing:
    """``h* = max over composite cells and output signs of the linear pricing problem of the cell``, over all cells.

    Parameters and result as in `price_composite_by_bound`; `patience`, `limit` and `n_jobs` have no meaning here.
    One small cone program per cell and sign whose dual norm exceeds what is known, O(n m (m r)^2) a Newton step;
    memory independent of the number of cells.
    """
    slack = problem.slack(nu, width)
    if problem.coordinates.rank == 0 or not nu.any():
        return Pricing.of_nothing(slack, width, problem.coordinates.rank)
    single = price_by_enumeration(problem, nu, target=target, rel=rel, deadline=deadline)
    found, values = known_neurons(single, starts, problem.Z, nu, width)
    best = float(values.max(initial=0.0))
    upper, cells, late = (single.upper - slack if width == 1 else 0.0), single.nodes, single.late
    visit = CellVisit(problem, nu, width)
    for chunk in iter_composite_cells(problem.arrangement, width, chunk_size=CHUNK):
        late = late or (deadline is not None and time.monotonic() > deadline)
        if late:
            break
        cells += len(chunk)
        for sign in (1.0, -1.0):
            for k, b in visit.promising(chunk, sign, max(target, best * (1.0 + rel))):
                neuron, value, bound = visit.solve(chunk, k, sign, b, max(target, best, SMALLEST), rel)
                upper = max(upper, bound)
                if value > target:
                    found, values = found.joined(neuron), np.append(values, value)
                    best = max(best, value)
        found, values = best_first(found, values, N_KEPT)
    upper = max(upper, target, best) * (1.0 + rel)
    if late:
        upper = max(upper, trivial_bound(problem.Z, nu))
    return Pricing(upper + slack, best, found, values, cells, late)


class CellVisit:
    """The linear pricing problems of the cells of a chunk."""

    def __init__(self, problem: Problem, nu: Array, width: int) -> None:
        self.cells = CompositeCells(problem, width)
        self.Z, self.nu = problem.Z, nu
        bundle = problem.bundle
        self.distinct = np.zeros(len(bundle.Z), dtype=np.int64)
        self.distinct[bundle.index] = bundle.rows  # a row of the data for each distinct direction
        self.to_coordinates = to_coordinates(problem)

    def promising(self, chunk: CompositeChunk, sign: float, level: float) -> Iterator[tuple[int, Array]]:
        """Cells whose linear function ``b.a`` has dual norm ``max_j |b_j|`` above `level`, with b (m r,)."""
        weighted = (chunk.second * (sign * self.nu))[:, :, None] * self.Z  # (P, n, r)
        b = np.einsum("pjn,pnr->pjr", chunk.first.astype(np.float64), weighted) * chunk.t[:, None]
        norms = np.linalg.norm(b, axis=2).max(axis=1)
        return ((k, b[k].ravel()) for k in np.flatnonzero(norms > level).tolist())

    def solve(
        self, chunk: CompositeChunk, k: int, sign: float, b: Array, least: float, rel: float
    ) -> tuple[Neurons, float, float]:
        """Best direction of cell k, its value, and an upper bound of that which is at least `least`."""
        n_plus, width = int((chunk.t > 0).sum()), self.cells.width
        first, second = chunk.first[k][:, self.distinct], chunk.second[k][self.distinct]
        block = self.cells.of_patterns(sign, n_plus, first, second, chunk.points[k] @ self.to_coordinates)
        if (block.facets @ block.weight).min() <= 1e-3 * MARGIN * np.linalg.norm(block.weight):  # too thin for float64
            return Neurons.empty(width, self.cells.r), 0.0, float(np.linalg.norm(b.reshape(width, -1), axis=1).max())
        a, value, bound = price_block(b, block.facets, self.cells.r, block.weight, least, 0.1 * rel)
        neuron = Neurons(np.array([sign]), np.array([n_plus]), a.reshape(1, width, -1))
        return neuron, float(value), float(bound)
