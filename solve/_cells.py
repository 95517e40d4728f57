"""From directions to blocks: which cell a neuron lies in, what bounds it, and what lies across a facet."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from exactrelu.enumerate import Arrangement, Cell, cell_across, cell_containing

from ._bcd import nonnegative_multipliers, project_onto_cone
from ._master import Block
from ._problem import Problem, unit_rows
from ._quadratic import ON_FACET

Array = NDArray[np.float64]


# Up to this rank a cell is described by its irredundant facets, from a descent in the cone tree; above it
# cells have too many rays for that, and all rows serve as (mostly redundant) facets.
FACET_RANK = 6
KNOWN_BYTES = 1 << 26  # cells looked up before are kept up to this much memory


class CellFinder:
    """Looks cells of one data set up; the arrangement is preprocessed once.

    Parameters
    ----------
    problem : Problem
        Combinatorics run on its original columns, or on the truncated coordinates when it is truncated.
    """

    def __init__(self, problem: Problem) -> None:
        self.Z = problem.Z
        self.lengths = np.linalg.norm(problem.Z, axis=1)
        # (columns of the arrangement, r): ``vectors @ to_coordinates`` maps its vectors to isometric ones
        self.to_coordinates = (
            np.eye(problem.coordinates.rank) if problem.coordinates.truncated else problem.coordinates.V
        )
        self.arrangement = Arrangement(problem.Z if problem.coordinates.truncated else problem.X)
        self._irredundant = problem.coordinates.rank <= FACET_RANK
        # by the sides asked for: the cell that the tree reaches, and its normals
        self._known: dict[bytes, tuple[Cell, Array]] = {}

    def containing(self, sign: float, u: Array, weight: Array | None = None) -> Block:
        """Block of the cell around direction `u` (r,), with zero weight unless one is given. O(n) expected."""
        start = np.zeros(len(u)) if weight is None else weight
        if self._irredundant:
            direction = self.to_coordinates @ u
            wanted = ~(self.arrangement.X @ direction < 0.0)
            cell, normals = self._look_up(wanted, lambda: cell_containing(self.arrangement, direction))
            return Block(sign, cell.pattern, cell.facets, normals, into_cone(normals, start))
        active = (self.Z @ u > 0.0) | self.arrangement.zero_rows
        rows = self.arrangement.representative
        normals = self._normals(active, rows)
        return Block(sign, active, rows, normals, into_cone(normals, start))

    def across(self, block: Block, facet: int) -> Block:
        """The block on the other side of facet number `facet`, with the same weight, which must lie on the facet."""
        row = int(block.rows[facet])
        members = self.arrangement.parallel_rows(row)
        active, rows = block.active.copy(), block.rows
        active[members] = ~active[members]
        if self._irredundant:
            cell, normals = self._look_up(active, lambda: cell_across(self.arrangement, block.active, row))
            active, rows = cell.pattern, cell.facets
        else:
            normals = self._normals(active, rows)
        weight = into_cone(normals, block.weight)
        return Block(block.sign, active, rows, normals, weight, origin=block.key, flipped=members)

    def _look_up(self, wanted: NDArray[np.bool_], find: Callable[[], Cell]) -> tuple[Cell, Array]:
        """The cell on the sides `wanted` (n,) and its normals, from `find` when it is asked for the first time."""
        key = np.packbits(wanted).tobytes()
        if key not in self._known:
            if len(self._known) * len(wanted) > KNOWN_BYTES:
                self._known.clear()
            cell = find()
            self._known[key] = cell, self._normals(cell.pattern, cell.facets)
        return self._known[key]

    def _normals(self, active: NDArray[np.bool_], rows: NDArray[np.int64]) -> Array:
        """Unit normals (k, r) of the given rows, inward from the side of `active`."""
        normals = self.Z[rows] * np.where(active[rows], 1.0, -1.0)[:, None]
        return unit_rows(normals)

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
        tight = (block.normals @ block.weight <= ON_FACET * block.norm).nonzero()[0]
        if tight.size == 0:
            return -1
        mult = nonnegative_multipliers(block.normals[tight], -residual)
        gains = np.empty(tight.size)
        for place, j in enumerate(tight):
            members = self.arrangement.parallel_rows(int(block.rows[j]))
            gains[place] = mult[place] + block.sign * float(nu[members] @ self.lengths[members])
        best = int(np.argmax(gains))
        return int(tight[best]) if gains[best] > least else -1


def into_cone(normals: Array, weight: Array) -> Array:
    """`weight`, moved by no more than rounding so that it lies in the closed cone."""
    if len(normals) and weight.any() and (normals @ weight).min() < 0.0:
        return project_onto_cone(normals, weight)
    return weight.copy()
