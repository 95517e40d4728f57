"""Tables of hyperplanes and of the root cones that they cut, as compiled code reads them: see `_signs`."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ._roots import fill_roots, independent_rows

UNIT_ROUNDOFF = 2.0**-53


class Planes(NamedTuple):
    """What the kernels know of the N hyperplanes of an arrangement of rank r.

    coords : (N, r) float64, rows of 1-norm in (1/2, 1], exact but for subnormal entries
    eps : float, bound of the filter's error, 0 when floating-point determinants are exact
    residues : (N, r, k);  primes : (k,);  inverses : (k, k);  half : (k,), see `_integers`
    minor_ptr : (2**r + 1,);  minor_row : (2**r,);  minor_col, minor_src : (r 2**(r-1),)
        terms of the minor with column set S (a bit mask), those number ``minor_ptr[S]`` and following:
        ``M[S] = sum ± coords[t_(row[S]), col] * M[src]``, signs alternating, + for the last
    matrix, echelon : (r, r);  digits : (k,);  pivots : (r,) work space
    calls : (1,) number of signs that needed exact arithmetic
    """

    coords: np.ndarray
    eps: float
    residues: np.ndarray
    primes: np.ndarray
    inverses: np.ndarray
    half: np.ndarray
    minor_ptr: np.ndarray
    minor_row: np.ndarray
    minor_col: np.ndarray
    minor_src: np.ndarray
    matrix: np.ndarray
    echelon: np.ndarray
    digits: np.ndarray
    pivots: np.ndarray
    calls: np.ndarray


def filter_bound(r: int) -> float:
    """``gamma_q + underflow`` of `_signs`; the factor covers 1-norms rounded to 1 and this sum."""
    q = r * (r + 1) // 2
    return q * UNIT_ROUNDOFF / (1.0 - q * UNIT_ROUNDOFF) * (1.0 + 2.0**-30) + 1e-290


@lru_cache(maxsize=8)
def minor_tables(r: int) -> tuple[np.ndarray, ...]:
    """Terms of all minors of r-1 rows, smaller column sets first: (ptr, row, col, src).  O(r 2**r)."""
    member = (np.arange(1 << r)[:, None] >> np.arange(r)) & 1
    size = member.sum(axis=1)
    columns, col = np.nonzero(member)
    ptr = np.concatenate([[0], np.cumsum(size)])
    # unsigned, so that kernels need not look for negative indices
    return ptr, *(part.astype(np.uint32) for part in (np.maximum(size - 1, 0), col, columns ^ (1 << col)))


class Roots(NamedTuple):
    """The simplicial cones cut by r independent hyperplanes, rays tight on all but one of them.

    basis : (r,) hyperplanes;  x : (r, r) ray k, on the positive side of ``basis[k]``
    define : (r, r) its defining rows and, last, its orientation
    plus, minus : (N,) bit k is set when ray k is strictly on that side of the hyperplane
    order : (N,) hyperplanes in the order of the conflict lists, which is the order of splitting
    """

    basis: np.ndarray
    x: np.ndarray
    define: np.ndarray
    plus: np.ndarray
    minus: np.ndarray
    order: np.ndarray


def make_roots(planes: Planes, order: np.ndarray, candidates: np.ndarray) -> Roots:
    """The root cones cut by the first r independent hyperplanes among `candidates`.  O(r**2 2**r + N r**2).

    Raises
    ------
    ValueError
        When the candidates have a smaller rank.
    """
    n, r = planes.coords.shape
    basis = np.zeros(r, dtype=np.int64)
    if (found := independent_rows(planes, candidates, r, basis)) < r:
        raise ValueError(f"{r} independent hyperplanes are needed, but the rows have exact rank {found}")
    roots = Roots(
        basis, np.empty((r, r)), np.empty((r, r), np.int64), np.zeros(n, np.int64), np.zeros(n, np.int64), order
    )
    fill_roots(planes, basis, roots.x, roots.define, roots.plus, roots.minus)
    return roots
