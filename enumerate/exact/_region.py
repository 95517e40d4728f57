"""Parts of an arrangement: restriction to a cone, and affine arrangements as a half of a central one."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from itertools import repeat
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from exactrelu._typing import Ints

from ._arrangement import Arrangement, as_arrangement
from ._matrix import exact_numbers

Within = tuple[ArrayLike, ArrayLike]


class Region(NamedTuple):
    """What is enumerated: all cells of a central arrangement, or those on prescribed sides of some hyperplanes.

    arrangement : of the rows of X or, when `affine`, of the rows (x_i, b_i) and, last, the row (0, .., 0, 1)
    prefix : None, or signed hyperplanes (see `TreeWalk`), the lowest-numbered ones
    affine : whether offsets were given
    empty : whether the conditions contradict each other at sight
    """

    arrangement: Arrangement
    prefix: Ints | None
    affine: bool
    empty: bool

    @property
    def n(self) -> int:
        """Rows of X."""
        return self.arrangement.n - self.affine

    @property
    def fixed(self) -> int:
        """Number of hyperplanes with a prescribed side."""
        return 0 if self.prefix is None else len(self.prefix)

    def octets(self, octets: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Packed patterns (k, ceil(n/8)) of the rows of X from those of the arrangement; may write in place."""
        if not self.affine:
            return octets
        # The last row is that of infinity: its bit goes, and its octet where it has one of its own.
        octets = octets[:, : (self.n + 7) // 8]
        if self.n % 8:
            octets[:, -1] &= np.uint8((0xFF00 >> self.n % 8) & 0xFF)
        return np.ascontiguousarray(octets)


def make_region(X: ArrayLike | Arrangement, within: Within | None, offsets: ArrayLike | None) -> Region:
    """Check the arguments that public functions have in common, and number prescribed hyperplanes first.

    Raises
    ------
    ValueError
        When `X`, `within` or `offsets` does not fit.
    """
    arrangement = as_arrangement(X)
    n = arrangement.n
    rows, signs = _conditions(within, n)
    if offsets is not None:
        arrangement = _homogenised(arrangement, offsets)
        rows, signs = np.append(n, rows), np.append(1, signs)
    elif within is None:
        return Region(arrangement, None, False, False)
    # a zero row has plane -1: no u is strictly on one of its sides
    planes = arrangement.row_plane[rows]
    # Conditions as signed hyperplanes; the same one again says nothing new, the opposite one contradicts.
    signed = (planes + 1) * signs * arrangement.row_sign[rows]
    distinct = signed[np.sort(np.unique(signed, return_index=True)[1])]
    if (planes < 0).any() or len({*np.abs(distinct).tolist()}) < len(distinct):
        return Region(arrangement, None, offsets is not None, True)
    if not len(distinct):  # no condition at all
        return Region(arrangement, None, False, False)
    # The tree splits on its first hyperplanes first: so it never leaves the cone.
    led = arrangement.led_by(np.abs(distinct) - 1)
    prefix = np.sign(distinct) * np.arange(1, len(distinct) + 1)
    return Region(led, prefix, offsets is not None, False)


def _conditions(within: Within | None, n: int) -> tuple[Ints, Ints]:
    """`within` as integer arrays (rows, signs)."""
    if within is None:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    try:
        rows, signs = (np.asarray(part) for part in within)
    except (TypeError, ValueError):
        raise ValueError(f"within must be a pair (rows, signs), got {within!r}") from None
    if rows.ndim != 1 or rows.shape != signs.shape:
        raise ValueError(f"within must hold as many rows as signs, got shapes {rows.shape} and {signs.shape}")
    if len(rows) and (rows.dtype.kind not in "iu" or rows.min() < 0 or rows.max() >= n):
        raise ValueError(f"rows of within must be integers from 0 to {n - 1}, got {rows}")
    if not np.isin(signs, (-1, 1)).all() or signs.dtype.kind == "b":
        raise ValueError(f"signs of within must be -1 or 1, got {signs}")
    return rows.astype(np.int64), signs.astype(np.int64)


def _homogenised(arrangement: Arrangement, offsets: ArrayLike) -> Arrangement:
    """Rows (x_i, b_i) and the row (0, .., 0, 1): on its positive side, scaled to last entry 1, lies R^d."""
    a, b = arrangement, exact_numbers(offsets, "offsets")
    if b.shape != (a.n,):
        raise ValueError(f"offsets must have shape ({a.n},), got {b.shape}")
    if a.row_factors is not None or b.dtype == object:
        # Fractions: an offset shares the factor of its row, and both may need a larger one.
        factors: Iterable[Any] = a.row_factors or repeat(1)
        exact = [Fraction(v) * factor for v, factor in zip(b.tolist(), factors, strict=False)]
        b = np.array(exact, dtype=object)
    X = np.zeros_like(a.X)  # the other columns depend on the chosen ones, or were left out by a truncation
    X[:, a.columns] = a.X[:, a.columns]
    return Arrangement(np.vstack([np.column_stack([X, b]), np.append(np.zeros(a.d), 1.0)]))
