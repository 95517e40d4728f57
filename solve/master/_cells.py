"""From directions to blocks: which cell a neuron lies in, what bounds it, and what lies across a facet."""

from __future__ import annotations

import numpy as np

from exactrelu._coordinates import unit_rows
from exactrelu._typing import Array, Bools, Ints
from exactrelu.enumerate._cells import facets_on
from exactrelu.solve._neurons import Neurons
from exactrelu.solve._problem import Problem

from ._master import Block, Cone, Master

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
        self.to_coordinates = problem.to_coordinates
        self.arrangement = problem.arrangement
        self._irredundant = problem.rank <= FACET_RANK
        self._known: dict[bytes, Cone] = {}  # by the sides asked for: the cell that the tree reaches

    def containing(self, sign: float, u: Array) -> Block:
        """Block of the cell around direction `u` (r,), with zero weight. O(n) expected."""
        return self.around(Neurons.of_two_layers(np.array([sign]), u[None]), np.zeros((1, len(u))))[0]

    def around(self, neurons: Neurons, weights: Array) -> list[Block]:
        """Blocks of the cells around nonzero neurons, with the weights (K, r) in place of theirs.  O(n K) expected."""
        directions = neurons.W
        if self._irredundant:
            # by a power of two: lengths far apart would overflow in the product, and signs stay
            scaled = np.ldexp(directions, -np.frexp(np.abs(directions).max(axis=1, keepdims=True))[1])
            values = (scaled @ self.to_coordinates.T) @ self.arrangement.X[self.arrangement.representative].T
            cones = self._look_up(values >= 0.0)
        else:
            cones = self._redundant((directions @ self.Z.T > 0.0) | self.arrangement.zero_rows)
        return [Block(s, cone, w) for s, cone, w in zip(neurons.signs.tolist(), cones, weights, strict=True)]

    def across(self, blocks: list[Block], facets: list[int]) -> list[Block]:
        """The blocks on the other sides of one facet of each, by number, with their weights, which must lie on them."""
        if not blocks:
            return []
        arrangement = self.arrangement
        rows = [int(block.cone.rows[facet]) for block, facet in zip(blocks, facets, strict=True)]
        active = np.array([block.cone.active for block in blocks])
        members = [arrangement.parallel_rows(row) for row in rows]
        for pattern, flipped in zip(active, members, strict=True):
            pattern[flipped] = ~pattern[flipped]
        cones = self._look_up(active[:, arrangement.representative]) if self._irredundant else self._redundant(active)
        for row, cone, pattern in zip(rows, cones, active, strict=True):
            if (cone.active != pattern).any():
                raise ValueError(f"row {row} is not on a facet of a cell with this pattern")
        return [
            Block(block.sign, cone, block.weight, origin=block.key, flipped=flipped)
            for block, cone, flipped in zip(blocks, cones, members, strict=True)
        ]

    def beyond(self, master: Master, tol: float) -> tuple[list[Block], bool]:
        """The master's blocks, every one that presses against a facet replaced by the one across it; whether any was.

        tol : float, relative gap that is aimed at.  O(n r K).
        """
        nu = master.problem.dual_point(master.prediction())
        rows = np.concatenate([block.cone.rows for block in master.blocks])
        facets = master.pressed(self.forces(nu)[self.arrangement.row_plane[rows]], nu, tol).tolist()
        blocks = list(master.blocks)
        moved = [k for k, facet in enumerate(facets) if facet >= 0]
        beyond = self.across([blocks[k] for k in moved], [facets[k] for k in moved])
        for k, block in zip(moved, beyond, strict=True):
            blocks[k] = block
        return blocks, bool(moved)

    def _look_up(self, upper: Bools) -> list[Cone]:
        """The cells that the tree reaches by sides (K, n_planes) of the hyperplanes, True for the positive one."""
        keys = [row.tobytes() for row in np.packbits(upper, axis=1)]
        new = {key: k for k, key in enumerate(keys) if key not in self._known}
        if new:
            # all at once: cells of the present round are found anew, old ones seldom come back
            if len(self._known) * len(self.Z) > KNOWN_BYTES:
                self._known.clear()
                new = {key: k for k, key in enumerate(keys)}
            found = facets_on(self.arrangement, np.where(upper[list(new.values())], 1, -1))
            self._known.update(zip(new, self._cones(*found), strict=True))
        return [self._known[key] for key in keys]

    def _redundant(self, active: Bools) -> list[Cone]:
        """The cells of patterns (K, n), bounded by one row of every hyperplane."""
        rows = self.arrangement.representative
        return self._cones(active, len(rows) * np.arange(len(active) + 1), np.tile(rows, len(active)))

    def _cones(self, active: Bools, indptr: Ints, rows: Ints) -> list[Cone]:
        """The cells of patterns (K, n), bounded by ``rows[indptr[k]:indptr[k+1]]``."""
        inside = active[np.repeat(np.arange(len(active)), np.diff(indptr)), rows]
        normals = self._unit[rows] * np.where(inside, 1.0, -1.0)[:, None]
        ends = indptr.tolist()
        return [
            Cone(pattern, rows[first:last], normals[first:last], bits.tobytes())
            for pattern, bits, first, last in zip(active, np.packbits(active, axis=1), ends, ends[1:], strict=False)
        ]

    def forces(self, nu: Array) -> Array:
        """``sum_i nu_i |z_i|`` over the rows i of each hyperplane, (n_planes,).  O(n)."""
        use = ~self.arrangement.zero_rows
        planes = self.arrangement.row_plane[use]
        sums = np.bincount(planes, (nu * self.lengths)[use], minlength=self.arrangement.n_planes)
        return sums.astype(np.float64)  # of no rows, bincount makes integers
