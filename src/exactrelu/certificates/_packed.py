"""Multipliers of the pair bound as one vector of a model file, and what they prove of a dual point.

Numbers are float32, two in an int64: any legal multipliers prove something, so what is stored is rounded first and
proven then.  Rows are those of the data, directions in the columns of the data, so that whoever proves the bound may
choose other coordinates.  Nothing in the vector is trusted: whatever it holds, `packed_bound` is an upper bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from exactrelu._coordinates import row_norms, sums_by
from exactrelu._typing import Array, Ints

from ._forms import EPS, PairMultipliers
from ._pairs import leaves_cover, pair_proof

MOST_INDEX = 1 << 24  # integers up to this are numbers of float32


@dataclass(frozen=True)
class Leaf:
    """Multipliers of one output sign where some rows are fixed; of several outputs the sign is 1.

    Attributes
    ----------
    sign : float;  fixed : (m,) as `pair_proof` takes it
    multipliers : PairMultipliers
    """

    sign: float
    fixed: Ints
    multipliers: PairMultipliers


def packed(owner: Ints, leaves: Sequence[Leaf], V: Array) -> Ints | None:
    """The multipliers as a vector for `packed_bound`; None when there are too many rows for float32.

    Parameters
    ----------
    owner : (n,) for each row of the data the merged row that it belongs to, 0 to m - 1, or -1 for a row of zeros
    leaves : sequence of Leaf, over the merged rows
    V : (d, r), orthonormal basis of the coordinates in the columns of the data
    """
    if 2 * len(owner) > MOST_INDEX or any(len(leaf.multipliers.pair) > MOST_INDEX for leaf in leaves):
        return None
    dense = any(leaf.multipliers.density.any() for leaf in leaves)
    # a negative number of leaves says that they have densities, which vectors of before had not
    parts = [np.array([0.0, 0.0, len(owner), -len(leaves) if dense else len(leaves)]), owner]
    for leaf in leaves:
        m = leaf.multipliers
        held = np.flatnonzero((leaf.fixed != 0) | (m.diagonal != 0.0))
        ball = np.flatnonzero(m.offset != 0.0)
        sizes = [len(m.pair), len(held), len(ball)]
        parts += [
            np.array([leaf.sign, m.shift, m.share, *sizes]), m.first, m.second, m.pair,
            held, leaf.fixed[held], m.diagonal[held], ball, m.offset[ball], (m.slope[ball] @ V.T).ravel(),
        ]  # fmt: skip
        if dense:
            weighted = np.flatnonzero(m.density)
            parts += [np.array([m.level, len(weighted)]), weighted, m.density[weighted]]
    flat = np.concatenate(parts).astype("<f4")
    return np.append(flat, np.zeros(len(flat) % 2, "<f4")).view("<i8").astype(np.int64)


def with_factor(vector: Ints, factor: float) -> Ints:
    """The same multipliers times `factor`, which is held to 48 bits."""
    flat = np.asarray(vector, "<i8").view("<f4").copy()
    flat[0] = factor
    flat[1] = factor - float(flat[0])
    return flat.view("<i8").astype(np.int64)


class _Reader:
    """Takes numbers from the front of a vector; ValueError when there are too few, or indices that are none."""

    def __init__(self, flat: Array) -> None:
        self.flat, self.at = flat, 0

    def numbers(self, count: int) -> Array:
        if count > len(self.flat) - self.at:
            raise ValueError(f"{count} numbers wanted, {len(self.flat) - self.at} are left")
        self.at += count
        return self.flat[self.at - count : self.at].astype(np.float64)

    def indices(self, count: int, low: int, high: int) -> Ints:
        values = self.numbers(count)
        whole = values.astype(np.int64) if np.isfinite(values).all() else np.full(count, low - 1)
        if count and not (low <= whole.min() and whole.max() < high and (whole == values).all()):
            raise ValueError(f"indices from {low} to {high - 1} wanted, got {values[:5]}")
        return whole

    def leaf(self, m: int, V: Array, dense: bool) -> Leaf:
        sign, shift, share = self.numbers(3)
        pairs, held, ball = self.indices(3, 0, MOST_INDEX + 1)
        first, second = self.indices(pairs, 0, 2 * m), self.indices(pairs, 0, 2 * m)
        found = PairMultipliers.zero(m, V.shape[1])
        fixed = np.zeros(m, dtype=np.int64)
        pair, place = self.numbers(pairs), self.indices(held, 0, m)
        fixed[place], found.diagonal[place] = self.indices(held, -1, 2), self.numbers(held)
        place = self.indices(ball, 0, 2 * m)
        found.offset[place] = self.numbers(ball)
        found.slope[place] = self.numbers(ball * len(V)).reshape(ball, len(V)) @ V
        multipliers = PairMultipliers(first, second, pair, found.diagonal, found.offset, found.slope, shift, share)
        if dense:
            level, density = float(self.numbers(1)[0]), np.zeros(2 * m)
            place = self.indices(int(self.indices(1, 0, 2 * m + 1)[0]), 0, 2 * m)
            density[place] = self.numbers(len(place))
            multipliers = replace(multipliers, level=level, density=density)
        return Leaf(float(sign), fixed, multipliers)


def packed_bound(vector: Ints, Z: Array, theta: Array, V: Array) -> float:
    """Upper bound of ``|theta'(Zu)_+|`` over unit vectors that the multipliers prove; inf where they do not.

    Parameters
    ----------
    vector : of `packed`, or anything
    Z : (n, r);  theta : (n,), or (n, c) of several outputs, finite
    V : (d, r), orthonormal basis of these coordinates in the columns of the data

    Notes
    -----
    One Cholesky factorisation of a matrix of the size of the merged rows for each leaf.
    """
    try:
        with np.errstate(all="ignore"):
            return _bound(_Reader(np.asarray(vector, "<i8").view("<f4")), Z, theta, V)
    except (ValueError, OverflowError, np.linalg.LinAlgError):  # not what `packed` makes
        return np.inf


def _bound(reader: _Reader, Z: Array, theta: Array, V: Array) -> float:
    """`packed_bound` of the vector in `reader`."""
    n = len(Z)
    high, low = reader.numbers(2)
    factor = float(high + low)
    _, count = reader.indices(1, n, n + 1), int(reader.indices(1, -MOST_INDEX, MOST_INDEX)[0])
    owner = reader.indices(n, -1, n)
    m = int(owner.max(initial=-1)) + 1
    used = owner >= 0
    unit, weights, moved = merged(Z, theta, owner, m)
    if not (0.0 < factor < np.inf) or not used.any():
        return np.inf
    leaves = [reader.leaf(m, V, count < 0) for _ in range(abs(count))]
    bound = 0.0
    for sign in (1.0, -1.0) if theta.ndim == 1 else (1.0,):
        mine = [leaf for leaf in leaves if leaf.sign == sign]
        if not mine or not leaves_cover(np.stack([leaf.fixed for leaf in mine])):
            return np.inf
        for leaf in mine:
            bound = max(bound, pair_proof(unit, sign * weights, leaf.multipliers.scaled(factor), leaf.fixed))
    return (bound + moved) * (1.0 + 4.0 * EPS)


def merged(Z: Array, theta: Array, owner: Ints, m: int) -> tuple[Array, Array, float]:
    """Merged unit rows (m, r), their weights (m,) or (m, c), and what merging may hide of ``theta'(Zu)_+``.

    The merged row is the direction of the first of its rows; the others may lie anywhere, at the price of how far.
    """
    lengths = np.linalg.norm(Z, axis=1)
    found, first = np.unique(owner, return_index=True)
    if len(found) - (found[0] < 0) != m:
        raise ValueError("merged rows without a row")
    first = first[found >= 0]
    unit = Z[first] / lengths[first][:, None]
    used = owner >= 0
    size = row_norms(theta) * (1.0 if theta.ndim == 1 else 1.0 + 1e-12)  # lengths are rounded
    weights = sums_by(owner[used], lengths[used], theta[used], m)
    off = lengths.copy()  # of a row that belongs to none, all of it
    off[used] = np.linalg.norm(Z[used] - lengths[used, None] * unit[owner[used]], axis=1)
    # sums of n terms, and lengths of r: their rounding, in the sizes of what is summed
    rounding = (len(Z) + 4.0 * Z.shape[1] + 16.0) * EPS
    moved = float(size @ off) + rounding * float(size @ lengths)
    return unit, weights, moved
