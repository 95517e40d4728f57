"""Complete pricing of several outputs: every cell of the arrangement is visited.  The reference for the tree of cones.

On a cell the hidden layer is linear, so what is to be maximised is ``|M'u|`` with ``M = Z'D N``, (r, c), over a cone in
the unit ball: a convex function, whose maximum a tree of simplicial cones finds that starts from the cell's own.
"""

from __future__ import annotations

import time

import numpy as np
import scipy

from exactrelu._coordinates import unit_rows
from exactrelu._typing import Array
from exactrelu.certificates._output_cones import OutputTree, VectorKinks
from exactrelu.enumerate import iter_cells
from exactrelu.solve._problem import OutputsProblem
from exactrelu.solve.pricing._stack import prune_level

from ._pricing import FINE_CLIMB, OutputPricing, climb, price_by_climbs

CHUNK = 4096  # cells between two looks at the clock


def price_by_cells(
    problem: OutputsProblem, N: Array, starts: Array, *,
    target: float = 0.0, rel: float = 1e-9, deadline: float | None = None,
) -> OutputPricing:  # fmt: skip
    """``h* = max over cells of max |M'u|``, over all cells; parameters and result as those of `price_outputs`.

    `target` and `rel` only spare cells that cannot change the answer, but that the accuracy is `rel`: the maximum on a
    cell is found by branch and bound.  O(cells) time, memory independent of their number.
    """
    climbed, slack = price_by_climbs(problem, N, starts), problem.slack(N)
    if climbed.best == 0.0:
        return climbed
    Z, weights = problem.bundle.Z, problem.bundle.weights(N)
    (n, r), c = problem.Z.shape, N.shape[1]
    U, values, best, cells = [climbed.U], [climbed.values], climbed.best, 0
    sums = (problem.Z[:, :, None] * N[:, None, :]).reshape(n, r * c)
    late = False
    for chunk in iter_cells(problem.arrangement, chunk_size=CHUNK, rays=True, row_sums=sums):
        late = deadline is not None and time.monotonic() > deadline
        if late:
            break
        assert chunk.rays is not None
        assert chunk.sums is not None
        cells += len(chunk.points)
        indptr, rays = chunk.rays
        unit, M = unit_rows(rays @ problem.to_coordinates), chunk.sums.reshape(-1, r, c)
        bounds = np.linalg.norm(M, 2, axis=(1, 2)) * (1.0 + 1e-12)
        for cell in np.argsort(-bounds, kind="stable"):
            level = prune_level(best, target - slack, rel)
            if bounds[cell] <= level:
                break
            tree = OutputTree(VectorKinks(M[cell], np.zeros((0, r)), np.zeros((0, c))), level)
            tree.start_from(simplicial_cones(unit[indptr[cell] : indptr[cell + 1]]))
            while tree.run(np.inf, deadline) is False:
                reached, value = climb(Z, weights, tree.direction[None], FINE_CLIMB)
                best = max(best, float(value[0]), tree.worst)
                U.append(reached)
                values.append(value)
                tree.target = prune_level(best, target - slack, rel)
            late = not tree.empty
            if late:
                break
        if late:
            break
    directions, reached = np.vstack(U), np.concatenate(values)
    order = np.argsort(-reached, kind="stable")
    upper = climbed.upper if late else min(climbed.upper, prune_level(best, target - slack, rel) + slack)
    return OutputPricing(upper, best, directions[order], reached[order], cells, late)


def simplicial_cones(rays: Array) -> Array:
    """Cones of r rays, (k, r, r), that cover the pointed cone of unit rays (m, r).

    The rays are those of a cell, whose section is a polytope with a corner on each: its Delaunay triangulation.
    """
    m, r = rays.shape
    if m <= r:
        return rays[None]
    centre = rays.mean(axis=0)
    section = rays / (rays @ centre)[:, None]
    across = np.linalg.svd(centre[None])[2][1:]  # orthonormal, orthogonal to the centre
    corners = scipy.spatial.Delaunay(section @ across.T).simplices
    return np.asarray(rays[corners])
