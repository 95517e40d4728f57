"""From directions to blocks: the composite cell a sub-network lies in, and the cells across its facets."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from exactrelu._coordinates import unit_rows
from exactrelu._typing import Array, Bools
from exactrelu.solve._neurons import signs_of
from exactrelu.solve._problem import Problem

from ._composite import price_block

MARGIN = 1e-12  # a point counts as strictly inside when every unit facet normal gives more than this part of its size
NUDGE = 1e-9  # first size of the perturbation that moves a point off the hyperplanes it lies on
FILL = 1e-4  # size of a neuron that stands for zero, as a part of its sub-network
ACROSS = 1e-7  # how far beyond a facet the point lies that names the cell across


@dataclass
class JointBlock:
    """One composite cell with an output sign.

    Attributes
    ----------
    sign : +1.0 or -1.0;  n_plus : int, number of positive neurons, which come first
    first : (m, k) bool, second : (k,) bool, patterns of the distinct rows of the data (see `Problem.bundle`)
    facets : (F, m r) unit inward normals, some of them redundant: the cell is ``{a : facets @ a >= 0}``
    a : (m r,) current weight, strictly inside
    """

    sign: float
    n_plus: int
    first: Bools
    second: Bools
    facets: Array
    a: Array
    key: bytes = field(init=False)

    def __post_init__(self) -> None:
        bits = np.packbits(np.vstack([self.first, self.second]))
        self.key = f"{self.sign:+.0f} {self.n_plus} ".encode() + bits.tobytes()

    @property
    def norm(self) -> float:
        """``sum_j |a_j|``."""
        return float(np.linalg.norm(self.a.reshape(len(self.first), -1), axis=1).sum())


class JointCells:
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
        self.r = problem.coordinates.rank
        self._rng = np.random.default_rng(0)

    def at(self, sign: float, n_plus: int, a: Array) -> JointBlock | None:
        """The cell around `a` (m, r), or one whose closure it lies in; None when rounding leaves no room for it.

        O(n m r), a few times over when `a` lies on hyperplanes.
        """
        size = float(np.linalg.norm(a))
        a = self._filled(a, size)
        point, nudge = a, NUDGE
        for _ in range(8):
            block = self._cell(sign, n_plus, point)
            if block.facets.size == 0 or (block.facets @ block.a).min() > MARGIN * size:
                return block
            point = a + nudge * size * self._rng.standard_normal(a.shape)
            nudge *= 3.0
        return None

    def _filled(self, a: Array, size: float) -> Array:
        """`a` with a small random direction for every zero neuron, which lies in the closure of every cell."""
        zero = ~a.any(axis=1)
        if not zero.any():
            return a
        filled = a.copy()
        filled[zero] = FILL * size * self._rng.standard_normal((int(zero.sum()), self.r))
        return filled

    def _cell(self, sign: float, n_plus: int, a: Array) -> JointBlock:
        """The block that the signs at `a` select; neurons of equal sign in the order of their patterns."""
        t = signs_of(n_plus, self.width)
        hidden = self.rows @ a.T  # (k, m)
        keys = [np.packbits(hidden[:, j] > 0.0).tobytes() for j in range(self.width)]
        order = sorted(range(self.width), key=lambda j: (-t[j], keys[j]))
        a, hidden = a[order], hidden[:, order]
        return self.of_patterns(sign, n_plus, (hidden > 0.0).T.copy(), np.maximum(hidden, 0.0) @ t > 0.0, a)

    def of_patterns(self, sign: float, n_plus: int, first: Bools, second: Bools, a: Array) -> JointBlock:
        """The block of given patterns (m, k), (k,) of the distinct rows, with weight `a` (m, r). O(k m^2 r)."""
        k, m, r = len(self.rows), self.width, self.r
        t, active = signs_of(n_plus, m), first.T
        mixed = active[:, :n_plus].any(axis=1) & active[:, n_plus:].any(axis=1)
        layer = np.zeros((m, k, m, r))
        for j in range(m):
            layer[j, :, j] = np.where(active[:, j], 1.0, -1.0)[:, None] * self.rows
        signed = (active[mixed] * t * np.where(second[mixed], 1.0, -1.0)[:, None])[:, :, None]
        facets = np.vstack([layer.reshape(m * k, m * r), (signed * self.rows[mixed, None]).reshape(-1, m * r)])
        facets = unit_rows(facets)
        return JointBlock(sign, n_plus, first, second, np.ascontiguousarray(facets), a.ravel().copy())

    def features(self, block: JointBlock) -> Array:
        """``s D_2 t_j D_1j Z`` side by side, (n, m r): the output of the block is ``features @ a``."""
        bundle = self.problem.bundle
        t = signs_of(block.n_plus, self.width)
        weight = block.sign * block.second[:, None] * block.first.T * t  # (k, m)
        small = (weight[:, :, None] * self.rows[:, None]).reshape(len(self.rows), -1)
        out = np.zeros((len(self.problem.y), self.width * self.r))
        out[bundle.rows] = bundle.length[:, None] * small[bundle.index]
        return out

    def across(self, block: JointBlock, facets: Iterable[int]) -> list[JointBlock]:
        """The cells on the other side of some facets of the block, near its weight."""
        found = []
        size = float(np.linalg.norm(block.a))
        for f in facets:
            normal = block.facets[f]
            point = block.a - (normal @ block.a + ACROSS * size) * normal
            cell = self.at(block.sign, block.n_plus, point.reshape(self.width, self.r))
            if cell is not None and cell.key != block.key:
                found.append(cell)
        return found

    def price(self, block: JointBlock, nu: Array, least: float, rel: float) -> float:
        """Largest ``s nu' phi`` over the cell's unit vectors when above `least`; `block.a` becomes such a vector."""
        v, value, _ = price_block(self.features(block).T @ nu, block.facets, self.r, block.a, least, rel)
        block.a = v
        return value
