"""From directions to blocks: which cell a neuron lies in, what bounds it, and what lies across a facet."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from exactrelu.enumerate._cells import facets_on

from ._master import Block, Cone
from ._problem import Problem, unit_rows

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]


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
        self.lengths = problem.lengths
        self._unit = np.zeros_like(problem.Z)
        used = problem.Z.any(axis=1)
        self._unit[used] = unit_rows(problem.Z[used])
        # (columns of the arrangement, r): ``vectors @ to_coordinates`` maps its vectors to isometric ones
        self.to_coordinates = (
            np.eye(problem.coordinates.rank) if problem.coordinates.truncated else problem.coordinates.V
        )
        self.arrangement = problem.arrangement
        self._irredundant = problem.coordinates.rank <= FACET_RANK
        self._known: dict[bytes, Cone] = {}  # by the sides asked for: the cell that the tree reaches

    def containing(self, sign: float, u: Array) -> Block:
        """Block of the cell around direction `u` (r,), with zero weight. O(n) expected."""
        return self.around(np.array([sign]), u[None], np.zeros((1, len(u))))[0]

    def around(self, signs: Array, directions: Array, weights: Array) -> list[Block]:
        """Blocks of the cells around nonzero directions (K, r), with the weights (K, r).  O(n K) expected."""
        scaled = np.ldexp(directions, -np.frexp(np.abs(directions).max(axis=1, keepdims=True))[1])
        if self._irredundant:
            values = (scaled @ self.to_coordinates.T) @ self.arrangement.X[self.arrangement.representative].T
            cones = [self._look_up(upper) for upper in values >= 0.0]
        else:
            cones = [self._cone((self.Z @ u > 0.0) | self.arrangement.zero_rows) for u in scaled]
        return [Block(float(s), cone, w) for s, cone, w in zip(signs, cones, weights, strict=True)]

    def across(self, block: Block, facet: int) -> Block:
        """The block on the other side of facet number `facet`, with the same weight, which must lie on the facet."""
        row, arrangement = int(block.cone.rows[facet]), self.arrangement
        members = arrangement.parallel_rows(row)
        active = block.cone.active.copy()
        active[members] = ~active[members]
        cone = self._look_up(active[arrangement.representative]) if self._irredundant else self._cone(active)
        if (cone.active != active).any():
            raise ValueError(f"row {row} is not on a facet of a cell with this pattern")
        return Block(block.sign, cone, block.weight, origin=block.key, flipped=members)

    def _look_up(self, upper: Bools) -> Cone:
        """The cell that the tree reaches by the given sides of the hyperplanes, True for the positive one."""
        key = np.packbits(upper).tobytes()
        cone = self._known.get(key)
        if cone is None:
            if len(self._known) * len(self.Z) > KNOWN_BYTES:
                self._known.clear()
            cone = self._known[key] = self._cone(*facets_on(self.arrangement, np.where(upper, 1, -1)))
        return cone

    def _cone(self, active: Bools, rows: NDArray[np.int64] | None = None) -> Cone:
        """The cell of a pattern, bounded by the given rows, or by one row of every hyperplane."""
        rows = self.arrangement.representative if rows is None else rows
        normals = np.where(active[rows, None], self._unit[rows], -self._unit[rows])
        return Cone(active, rows, normals, np.packbits(active).tobytes())

    def forces(self, nu: Array) -> Array:
        """``sum_i nu_i |z_i|`` over the rows i of each hyperplane, (n_planes,).  O(n)."""
        use = ~self.arrangement.zero_rows
        planes = self.arrangement.row_plane[use]
        sums = np.bincount(planes, (nu * self.lengths)[use], minlength=self.arrangement.n_planes)
        return sums.astype(np.float64)  # of no rows, bincount makes integers
