"""One leaf of the relaxed training problem: an output sign, rows that are fixed, and its multipliers.

Several outputs have no signs: the direction a of the outputs is part of the moments, and the sign is 1.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from exactrelu._typing import Array, Ints
from exactrelu.certificates._forms import PairMultipliers

from ._kernels import Kernel
from ._shifts import Shift

CANDIDATES = 6000  # slacks among which partners are sought: all of them up to 3000 rows
CUT_BYTES = 64 * 2**20  # of the scalar products that a cut round holds at once
VIOLATION = 1e-5  # pairs violated by less are no cuts; the moments of a leaf are of size one
# Of the density: its step for unit mass times the number of rows and `MORE_ROWS`, found by trial on 12 rows and on real
# data of 30 to 800, where ten times as long a step diverges; mass that is added where a leaf's divides, so that an
# empty one moves little; and the least and most that the constant may be.
RATE, MORE_ROWS, MORE_MASS, LEAST_BASE, MOST_BASE = 20.0, 50, 0.01, 0.2, 1.5
SLACK = 0.02  # pairs whose multiplier is zero stay while their product is below this


class LeafMultipliers(NamedTuple):
    """Multipliers of one leaf as the kernels take them.

    Attributes
    ----------
    start : (2n + 1,), other : (P,)
        Slack p is paired with ``other[start[p]:start[p + 1]]``, all larger than p.
    pair : (P,), diagonal : (n,), offset : (2n,), slope : (2n, r)
        As in `PairMultipliers`.
    trace : float, of ``|u|^2 <= 1``
    unit : float, of ``|a|^2 <= 1`` of several outputs
    base : float, density : (2n,)
        The moments are weighted by ``base + density.R``.
    """

    start: Ints
    other: Ints
    pair: Array
    diagonal: Array
    offset: Array
    slope: Array
    trace: float
    unit: float = 0.0
    base: float = 1.0
    density: Array = np.zeros(0)

    @property
    def first(self) -> Ints:
        """First slack of every pair, (P,)."""
        return np.repeat(np.arange(len(self.start) - 1), np.diff(self.start))

    def certificate(self) -> PairMultipliers:
        """The multipliers as proofs take them; those that are zero are left out."""
        used, part = self.pair > 0.0, 1.0 / self.base
        return PairMultipliers(
            self.first[used], self.other[used].astype(np.int64), part * self.pair[used], part * self.diagonal,
            part * self.offset, part * self.slope, density=part * self.density,
        )  # fmt: skip

    def towards(self, other: LeafMultipliers, part: float) -> LeafMultipliers:
        """The convex combination ``(1 - part) self + part other``, over the pairs of both."""
        rows = len(self.start) - 1
        keys = np.concatenate([self.first * rows + self.other, other.first * rows + other.other])
        keys, place = np.unique(keys, return_inverse=True)
        weights = np.concatenate([(1.0 - part) * self.pair, part * other.pair])
        pair = np.bincount(place, weights, len(keys)).astype(np.float64)  # of no pairs it makes integers

        def between(name: str) -> Any:
            return (1.0 - part) * getattr(self, name) + part * getattr(other, name)

        numbers = {name: between(name) for name in ("diagonal", "offset", "slope", "trace", "unit", "base", "density")}
        return LeafMultipliers(*compress(keys, rows // 2), pair, **numbers)


class Penalties(NamedTuple):
    """Weights of the squared violations; fixed, see `_moments`."""

    pair: float
    diagonal: float
    ball: float
    trace: float


@dataclass(eq=False)  # a leaf is itself only
class Leaf:
    """Multipliers, pairs and work arrays of one leaf.

    Attributes
    ----------
    sign : float, of the output
    fixed : (n,) +1 where only ``z_i.u >= 0`` is looked at, -1 where only ``z_i.u <= 0``, else 0
    m : LeafMultipliers, those that the augmented Lagrangian is taken at
    proximal : LeafMultipliers, the last ones that came from a minimisation: those that prove
    hint : Shift that the last proof took
    proven : LeafMultipliers or None, with which the best dual point so far was proven; children keep them
    proven_hint : Shift that goes with those
    """

    Z: Array
    sign: float
    fixed: Ints
    k: int
    m: LeafMultipliers
    proximal: LeafMultipliers
    hint: Shift | None = None
    proven: LeafMultipliers | None = None
    proven_hint: Shift | None = None
    kernel: Kernel = field(init=False)

    def __post_init__(self) -> None:
        self.kernel = Kernel(self.Z, self.fixed, self.k)

    def __reduce__(self) -> tuple[Any, ...]:
        """As it is built: work arrays stay behind."""
        return Leaf, (
            self.Z, self.sign, self.fixed, self.k, self.m, self.proximal, self.hint, self.proven, self.proven_hint
        )  # fmt: skip

    def copy(self) -> Leaf:
        """The same with work arrays of its own."""
        return Leaf(self.Z, self.sign, self.fixed, self.k, self.m, self.proximal, self.hint)

    def child(self, row: int, side: int) -> Leaf:
        """A copy with one more row fixed."""
        fixed = self.fixed.copy()
        fixed[row] = side
        return Leaf(
            self.Z, self.sign, fixed, self.k, self.m, self.proximal, self.hint, self.proven, self.proven_hint
        )  # fmt: skip

    def first_order(self, V: Array, penalties: Penalties) -> LeafMultipliers:
        """Multipliers at which the Lagrangian has the gradient that the augmented one has at V."""
        n, r = self.Z.shape
        m, R = self.m, self.kernel.slacks(V)
        pair, offset, slope = self.kernel.multipliers(V, m, penalties)
        diagonal = m.diagonal - penalties.diagonal * np.einsum("nk,nk->n", R[:n], R[n:])
        diagonal[self.fixed != 0] = 0.0
        mass, B, A = float(V[0] @ V[0]), V[1 : 1 + r], V[1 + r + n :]
        trace = max(0.0, m.trace - penalties.trace * (mass - float(np.vdot(B, B))))
        unit = max(0.0, m.unit - penalties.trace * (mass - float(np.vdot(A, A)))) if len(A) else 0.0
        return LeafMultipliers(m.start, m.other, pair, diagonal, offset, slope, trace, unit, m.base, m.density)

    def reweigh(self, V: Array, gain: Array, slope: float) -> None:
        """A step of the density along ``E (slope + gain.t) R_p``, the derivative of the problem's value in w_p. O(n k).

        Where that is positive the program with ``1 + w.R`` for weight of the moments is the sharper the larger w_p is.
        The weight is scaled so that the mass stays what it is.

        Parameters
        ----------
        V : the factor, at a minimum nearly
        gain : (n,), slope : float, derivatives of the problem in e and in the mass, as `Goal.value` returns them
        """
        R, base, mass = self.kernel.slacks(V), self.m.base, float(V[0] @ V[0])
        gradient = R @ (R[: len(gain)].T @ gain + slope * V[0])
        density = np.maximum(self.m.density + (RATE / ((len(gain) + MORE_ROWS) * (mass + MORE_MASS))) * gradient, 0.0)
        with np.errstate(all="ignore"):
            scale = mass / float(V[0] @ (base * V[0] + R.T @ density))
        # a constant above one: moments that are far from legal, whose mass the weights all but cancel
        if not LEAST_BASE < scale * base < MOST_BASE:
            return
        self.m = self.m._replace(base=scale * base, density=scale * density)

    def cut(self, V: Array, most: int) -> float:
        """Add the most violated pairs, at most `most` a slack, and drop idle ones. O(n min(n, CANDIDATES) k).

        Returns the worst product of two slacks seen that was not a pair.
        """
        n = len(self.Z)
        R = self.kernel.slacks(V)
        first, other = self.m.first, self.m.other
        products = np.einsum("pk,pk->p", R[first], R[other])
        key = first * (2 * n) + other
        found, worst = violated(R, most, VIOLATION, key)
        keep = (self.m.pair > 0.0) | (self.proximal.pair > 0.0) | (products < SLACK)
        fresh = np.zeros(len(found))
        keys = np.append(key[keep], found)
        order = np.argsort(keys)
        start, partner = compress(keys[order], n)
        self.m, self.proximal = (
            m._replace(start=start, other=partner, pair=np.append(m.pair[keep], fresh)[order])
            for m in (self.m, self.proximal)
        )
        return worst


def compress(keys: Ints, n: int) -> tuple[Ints, Ints]:
    """Sorted keys ``2n p + q`` as starts (2n + 1,) and partners (P,)."""
    start = np.searchsorted(keys, np.arange(2 * n + 1) * (2 * n))
    return start.astype(np.int32), (keys % (2 * n)).astype(np.int32)


def violated(R: Array, most: int, tolerance: float, known: Ints) -> tuple[Ints, float]:
    """Keys of the smallest products ``R_p.R_q < -tolerance``, at most `most` for each p, without those known.

    The pair of a slack with itself, or with the other of the same row, is left out.  Beyond `CANDIDATES` slacks, q is
    sought among so many that are drawn anew at every call: any pair proves, and most have many that are nearly alike.
    """
    rows = len(R)
    n, own = rows // 2, np.arange(rows)
    among = own
    if rows > CANDIDATES:
        among = np.sort(np.random.default_rng(len(known)).choice(rows, CANDIDATES, replace=False))
    place = np.full(rows, -1)
    place[among] = np.arange(len(among))
    first = np.concatenate([known // rows, known % rows, own, own])
    other = place[np.concatenate([known % rows, known // rows, own, (own + n) % rows])]
    order = np.argsort(first[other >= 0])
    first, other = first[other >= 0][order], other[other >= 0][order]
    found, worst = [], 0.0
    step = max(1, CUT_BYTES // (8 * len(among)))
    for low in range(0, rows, step):
        high = min(rows, low + step)
        G = R[low:high] @ R[among].T
        here = slice(*np.searchsorted(first, (low, high)))
        G[first[here] - low, other[here]] = np.inf
        least = np.argpartition(G, most, axis=1)[:, :most] if most < len(among) else np.argsort(G, axis=1)
        value = np.take_along_axis(G, least, axis=1)
        p, c = np.nonzero(value < -tolerance)
        q = among[least[p, c]]
        p = p + low
        found.append(np.minimum(p, q) * rows + np.maximum(p, q))
        worst = min(worst, float(value.min(initial=0.0)))
    return np.unique(np.concatenate(found)), worst


def first_leaf(Z: Array, sign: float, k: int, partners: int) -> Leaf:
    """A leaf without fixed rows; its pairs are the most opposite directions, `partners` of each slack."""
    n, r = Z.shape
    D = np.vstack([Z, -Z])
    keys, _ = violated(D, min(partners, 2 * n), -np.inf if n < 2 else -2.0, np.zeros(0, dtype=np.int64))
    start, other = compress(keys, n)
    m = LeafMultipliers(
        start, other, np.zeros(len(keys)), np.zeros(n), np.zeros(2 * n), np.zeros((2 * n, r)), 0.0,
        density=np.zeros(2 * n),
    )  # fmt: skip
    return Leaf(Z, sign, np.zeros(n, dtype=np.int64), k, m, m)
