"""From directions to blocks: which cell a neuron lies in, what bounds it, and what lies across a facet."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from exactrelu.enumerate import Arrangement, cell_across, cell_containing

from ._bcd import project_onto_cone
from ._master import Block
from ._problem import Problem
from ._quadratic import ON_FACET

Array = NDArray[np.float64]


# Up to this rank a cell is described by its irredundant facets, from a descent in the cone tree; above it
# cells have too many rays for that, and all rows serve as (mostly redundant) facets.
FACET_RANK = 6


class CellFinder:
    """Looks cells of one data set up; the arrangement is preprocessed once.

    Parameters
    ----------
    problem : Problem
        Combinatorics run on its original columns, or on the truncated coordinates when it is truncated.
    """

    def __init__(self, problem: Problem) -> None:
        self.Z = problem.Z
        # (columns of the arrangement, r): ``vectors @ to_coordinates`` maps its vectors to isometric ones
        self.to_coordinates = (
            np.eye(problem.coordinates.rank) if problem.coordinates.truncated else problem.coordinates.V
        )
        self.arrangement = Arrangement(problem.Z if problem.coordinates.truncated else problem.X)
        self._irredundant = problem.coordinates.rank <= FACET_RANK

    def containing(self, sign: float, u: Array, weight: Array | None = None) -> Block:
        """Block of the cell around direction `u` (r,), with zero weight unless one is given. O(n) expected."""
        start = np.zeros(len(u)) if weight is None else weight
        if self._irredundant:
            cell = cell_containing(self.arrangement, self.to_coordinates @ u)
            return self._block(sign, cell.pattern, cell.facets, start)
        active = (self.Z @ u > 0.0) | self.arrangement.zero_rows
        return self._block(sign, active, self.arrangement.representative, start)

    def across(self, block: Block, facet: int) -> Block:
        """The block on the other side of facet number `facet`, with the same weight, which must lie on the facet."""
        row = int(block.rows[facet])
        members = self.arrangement.parallel_rows(row)
        if self._irredundant:
            cell = cell_across(self.arrangement, block.active, row)
            active, rows = cell.pattern, cell.facets
        else:
            active, rows = block.active.copy(), block.rows
            active[members] = ~active[members]
        return replace(self._block(block.sign, active, rows, block.weight), origin=block.key, flipped=members)

    def _block(self, sign: float, active: NDArray[np.bool_], rows: NDArray[np.int64], weight: Array) -> Block:
        normals = self.Z[rows] * np.where(active[rows], 1.0, -1.0)[:, None]
        normals = np.ascontiguousarray(normals / np.linalg.norm(normals, axis=1)[:, None])
        return Block(sign, active, rows, normals, into_cone(normals, weight))

    def pressed_facet(self, block: Block, residual: Array, nu: Array, least: float) -> int:
        """The facet across which the block would gain most, or -1.

        With residual ``q - beta w/|w| = -sum mu_j n_j`` (unit inward normals n_j, multipliers mu >= 0) and
        c_i the length of the rows on facet j, the cell across offers descent iff
        ``mu_j + s sum_i nu_i c_i > 0``.

        Parameters
        ----------
        residual : (r,), gradient part ``s Z'D nu - beta w/|w|``;  nu : (n,)
        least : float, gains up to this do not count
        """
        at = block.normals @ block.weight
        tight = np.flatnonzero(at <= ON_FACET * block.norm)
        if tight.size == 0:
            return -1
        mult = nonnegative_multipliers(block.normals[tight], -residual)
        gains = np.empty(tight.size)
        for place, j in enumerate(tight):
            members = self.arrangement.parallel_rows(int(block.rows[j]))
            gains[place] = mult[place] + block.sign * float(nu[members] @ np.linalg.norm(self.Z[members], axis=1))
        best = int(np.argmax(gains))
        return int(tight[best]) if gains[best] > least else -1


def nonnegative_multipliers(normals: Array, target: Array) -> Array:
    """``argmin |normals' mu - target|`` over ``mu >= 0``."""
    return nnls(normals.T, target)[0]


def into_cone(normals: Array, weight: Array) -> Array:
    """`weight`, moved by no more than rounding so that it lies in the closed cone."""
    if weight.any() and np.min(normals @ weight, initial=0.0) < 0.0:
        return project_onto_cone(normals, weight)
    return weight.copy()
