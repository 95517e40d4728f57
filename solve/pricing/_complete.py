"""Complete pricing: every cell of the arrangement is visited. The reference for bound and prune."""

from __future__ import annotations

import time

import numpy as np

from exactrelu._coordinates import unit_rows
from exactrelu._typing import Array
from exactrelu.certificates._bounds import trivial_bound
from exactrelu.enumerate import CellChunk, iter_cells
from exactrelu.solve._neurons import Neurons
from exactrelu.solve._problem import Problem
from exactrelu.solve.master._bcd import project_onto_cone

from ._climb import Pricing, ascend_many, climb_from, ranked
from ._stack import prune_level

CHUNK = 16384  # cells between two looks at the clock up to rank 6, a quarter of that with every further one
N_KEPT = 64  # directions kept; a master problem of low rank takes at most 28


def price_by_enumeration(
    problem: Problem,
    nu: Array,
    *,
    target: float = 0.0,
    rel: float = 1e-9,
    starts: Neurons | None = None,
    deadline: float | None = None,
    patience: int | None = None,
    limit: int | None = None,
    n_jobs: int = 1,
) -> Pricing:
    """``h* = max over cells i and signs s of |Proj_{K_i}(s Z'D_i nu)|``, over all cells.

    Parameters and result as in `price_by_bound`, but that `patience`, `limit` and `n_jobs` have no meaning here, and
    `target` and `rel` only spare projections that cannot change the answer.  O(cells) time, memory independent of their
    number.
    """
    Z, slack = problem.Z, problem.slack(nu)
    r = Z.shape[1]
    if r == 0 or not nu.any():
        return Pricing.of_nothing(slack, 1, r)
    neurons, values = ascend_many(Z, nu, climb_from(starts, r))
    cells, late = 0, False
    size = max(64, CHUNK >> (2 * max(0, r - 6)))
    for chunk in iter_cells(problem.arrangement, chunk_size=size, rays=True, facets=True, row_sums=nu[:, None] * Z):
        late = deadline is not None and time.monotonic() > deadline
        if late:
            break
        cells += len(chunk.points)
        u, signed = _best_of_cells(chunk, Z, to_coordinates(problem), float(values[0]), target, rel)
        neurons, values = ranked(np.vstack([neurons.A[:, 0], u]), np.append(neurons.signs * values, signed), N_KEPT)
    best = float(values[0])
    upper = trivial_bound(Z, nu) if late else prune_level(best, target, rel)
    return Pricing(upper + slack, best, neurons, values, cells, late)


def _best_of_cells(
    chunk: CellChunk, Z: Array, to_coordinates: Array, best: float, target: float, rel: float
) -> tuple[Array, Array]:
    """Directions (k, r) and values, signed, of the cells that may exceed both `best` and the target, and do the latter.

    A cell is solved only where a cheap bound does not rule it out: O(k r^3) each for k facets (Lawson & Hanson).
    """
    assert chunk.sums is not None
    found, values = [], []
    for sign in (1.0, -1.0):
        q = sign * chunk.sums
        bound = _cheap_bounds(chunk, to_coordinates, q)
        for cell in np.flatnonzero(bound > prune_level(best, target, rel)).tolist():
            if bound[cell] <= prune_level(best, target, rel):  # it has risen
                continue
            p = project_onto_cone(_unit_normals(chunk, cell, Z), q[cell])
            value = float(np.linalg.norm(p))
            if value > target:
                found.append(p / value)
                values.append(sign * value)
                best = max(best, value)
    return np.array(found).reshape(-1, Z.shape[1]), np.array(values)


def _cheap_bounds(chunk: CellChunk, to_coordinates: Array, q: Array) -> Array:
    """Upper bounds of ``q.u`` over each cell within the unit ball: the smaller of two.

    ``|q|``, and the largest value at a unit ray divided by the smallest cosine between ray and centre.
    """
    assert chunk.rays is not None
    indptr, rays = chunk.rays
    unit = unit_rows(rays @ to_coordinates)
    owner = np.repeat(np.arange(len(q)), np.diff(indptr))
    centre = np.add.reduceat(unit, indptr[:-1])
    centre /= np.maximum(np.linalg.norm(centre, axis=1), 1e-300)[:, None]
    at = np.maximum.reduceat(np.einsum("ij,ij->i", unit, q[owner]), indptr[:-1])
    cosine = np.minimum.reduceat(np.einsum("ij,ij->i", unit, centre[owner]), indptr[:-1])
    with np.errstate(divide="ignore", invalid="ignore"):
        by_rays = np.where(cosine > 1e-8, np.maximum(at, 0.0) / cosine, np.inf)
    return np.minimum(np.linalg.norm(q, axis=1), by_rays) * (1.0 + 1e-14)


def _unit_normals(chunk: CellChunk, cell: int, Z: Array) -> Array:
    """Unit inward facet normals of one cell, (k, r)."""
    assert chunk.facets is not None
    indptr, rows = chunk.facets
    mine = rows[indptr[cell] : indptr[cell + 1]]
    active = (chunk.patterns[cell, mine >> 3] >> (7 - (mine & 7))) & 1
    return unit_rows(Z[mine] * np.where(active == 1, 1.0, -1.0)[:, None])


def to_coordinates(problem: Problem) -> Array:
    """``vectors @ to_coordinates`` maps vectors of the arrangement to isometric ones, (columns, r)."""
    return np.eye(problem.coordinates.rank) if problem.coordinates.truncated else problem.coordinates.V
