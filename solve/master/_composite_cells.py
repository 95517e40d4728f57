"""From directions to blocks: the composite cell a sub-network lies in, and the cells across its facets."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from exactrelu._typing import Array, Bools
from exactrelu.solve._neurons import Neurons, signs_of
from exactrelu.solve._problem import Problem

from ._composite import price_block

# All as parts of the norm of the point at hand:
MARGIN = 1e-12  # a point counts as strictly inside when every unit facet normal gives more than this
NUDGE, GROWTH, MAX_NUDGES = 1e-9, 3.0, 8  # first random step off the hyperplanes a point lies on, then larger ones
FILL = 1e-4  # size of a neuron that stands for zero
ACROSS = 1e-7  # how far beyond a facet the point lies that names the cell across


@dataclass
class CompositeBlock:
    """One composite cell with an output sign.

    Attributes
    ----------
    sign : +1.0 or -1.0;  n_plus : int, number of positive neurons, which come first
    first : (m, k) bool, second : (k,) bool, patterns of the distinct rows of the data (see `Problem.bundle`)
    facets : (F, m r) unit inward normals, some of them redundant: the cell is ``{a : facets @ a >= 0}``
    weight : (m r,) current weight, strictly inside
    force : (F,) multipliers of the facets, known once the master problem was solved
    key : names the cell and the sign
    """

    sign: float
    n_plus: int
    first: Bools
    second: Bools
    facets: Array
    weight: Array
    force: Array = field(init=False)
    key: bytes = field(init=False)

    def __post_init__(self) -> None:
        bits = np.packbits(np.vstack([self.first, self.second]))
        self.key = f"{self.sign:+.0f} {self.n_plus} ".encode() + bits.tobytes()

    @property
    def norm(self) -> float:
        """``sum_j |a_j|``."""
        return float(np.linalg.norm(self.weight.reshape(len(self.first), -1), axis=1).sum())


class CompositeCells:
    """Looks composite cells of one data set up.

    Parameters
    ----------
    problem : Problem
    width : int, m
    """

    def __init__(self, problem: Problem, width: int) -> None:
        self.problem = problem
        self.width = width
        self.rows = problem.bundle.Z
        self.r = problem.rank
        self.t = signs_of(np.arange(width + 1), width)  # of the neurons, by the number of positive ones
        self._rng = np.random.default_rng(0)

    def around(self, neurons: Neurons) -> list[CompositeBlock]:
        """The cells around sub-networks, with their weights; none where rounding leaves no room for one."""
        parts = zip(neurons.signs.tolist(), neurons.n_plus.tolist(), neurons.A, strict=True)
        return [cell for part in parts if (cell := self.at(*part)) is not None]

    def at(self, sign: float, n_plus: int, a: Array) -> CompositeBlock | None:
        """The cell around `a` (m, r), or one whose closure it lies in; None when rounding leaves no room for it.

        O(n m r), a few times over when `a` lies on hyperplanes.
        """
        size = float(np.linalg.norm(a))
        a = self._filled(a, size)
        point, nudge = a, NUDGE
        for _ in range(MAX_NUDGES):
            block = self._cell(sign, n_plus, point)
            if block.facets.size == 0 or (block.facets @ block.weight).min() > MARGIN * size:
                return block
            point = a + nudge * size * self._rng.standard_normal(a.shape)
            nudge *= GROWTH
        return None

    def _filled(self, a: Array, size: float) -> Array:
        """`a` with a small random direction for every zero neuron, which lies in the closure of every cell."""
        zero = ~a.any(axis=1)
        if not zero.any():
            return a
        filled = a.copy()
        filled[zero] = FILL * size * self._rng.standard_normal((int(zero.sum()), self.r))
        return filled

    def _cell(self, sign: float, n_plus: int, a: Array) -> CompositeBlock:
        """The block that the signs at `a` select; neurons of equal sign in the order of their patterns."""
        t, hidden = self.t[n_plus], self.rows @ a.T  # (k, m)
        # neurons of equal sign may be exchanged: one order for all, so that equal cells have equal keys
        keys = [bits.tobytes() for bits in np.packbits(hidden.T > 0.0, axis=1)]
        order = sorted(range(self.width), key=lambda j: (-t[j], keys[j]))
        a, hidden = a[order], hidden[:, order]
        return self.of_patterns(sign, n_plus, (hidden > 0.0).T.copy(), np.maximum(hidden, 0.0) @ t > 0.0, a)

    def of_patterns(self, sign: float, n_plus: int, first: Bools, second: Bools, a: Array) -> CompositeBlock:
        """The block of given patterns (m, k), (k,) of the distinct rows, with weight `a` (m, r). O(k m^2 r)."""
        k, m, r = len(self.rows), self.width, self.r
        active, neuron = first.T, np.arange(m)
        mixed = active[:, :n_plus].any(axis=1) & active[:, n_plus:].any(axis=1)
        layer = np.zeros((m, k, m, r))  # the rows are unit vectors
        layer[neuron, :, neuron] = np.where(first, 1.0, -1.0)[:, :, None] * self.rows
        both = active[mixed]  # the second layer's facet holds a unit row once for every active neuron
        factor = np.where(second[mixed], 1.0, -1.0) / np.sqrt(both.sum(axis=1))
        joint = (both * self.t[n_plus] * factor[:, None])[:, :, None] * self.rows[mixed, None]
        facets = np.vstack([layer.reshape(m * k, m * r), joint.reshape(-1, m * r)])
        return CompositeBlock(sign, n_plus, first, second, facets, a.ravel().copy())

    def features(self, block: CompositeBlock) -> Array:
        """``s D_2 t_j D_1j Z`` side by side, (n, m r): the output of the block is ``features @ a``."""
        bundle = self.problem.bundle
        weight = block.sign * block.second[:, None] * block.first.T * self.t[block.n_plus]  # (k, m)
        # of the distinct rows; every row of the data is one of them times its length
        small = (weight[:, :, None] * self.rows[:, None]).reshape(len(self.rows), -1)
        out = np.zeros((len(self.problem.y), self.width * self.r))
        out[bundle.rows] = bundle.length[:, None] * small[bundle.index]
        return out

    def across(self, block: CompositeBlock, facets: Iterable[int]) -> list[CompositeBlock]:
        """The cells on the other side of some facets of the block, near its weight."""
        found = []
        size = float(np.linalg.norm(block.weight))
        for f in facets:
            normal = block.facets[f]
            # mirrored at the facet nearly onto it: the nearest point on its other side
            point = block.weight - (normal @ block.weight + ACROSS * size) * normal
            cell = self.at(block.sign, block.n_plus, point.reshape(self.width, self.r))
            if cell is not None and cell.key != block.key:
                found.append(cell)
        return found

    def price(self, block: CompositeBlock, nu: Array, least: float, rel: float) -> float:
        """Largest ``s nu' phi`` over the cell's unit vectors when above `least`; `block.weight` becomes that one."""
        v, value, _ = price_block(self.features(block).T @ nu, block.facets, self.r, block.weight, least, rel)
        block.weight = v
        return value
