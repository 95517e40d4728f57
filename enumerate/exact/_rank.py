"""Which columns of a matrix are linearly independent: decided exactly, for the numbers as given.

**In floating point, where that is a proof.**  Scaling rows and columns by powers of two is exact and changes no rank.
For a square matrix A and any R, ``|I - R A| < 1`` in a matrix norm proves A regular (Rump, *Verification methods*,
Acta Numerica 2010, section 10): R is the computed inverse, and the rounding errors of the product are bounded.

**Modulo primes, elsewhere.**  Columns independent modulo a prime are independent.  Conversely, dependent ones have
relations with rational coefficients.  These are read off modulo one prime, where they have small numerators and
denominators, and checked in integers; or else, when one rank is found modulo primes with a product above Hadamard's
bound of the minors one larger, these minors are divisible by that product and therefore 0.
"""

from __future__ import annotations

from fractions import Fraction
from math import isqrt, lcm
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from exactrelu._typing import Array, Bools, Ints

from ._integers import integer_rows, largest_product, primes_for, residues

UNIT_ROUNDOFF = 2.0**-53
LOWEST = -(1 << 11)  # binary exponent below that of every float64, subnormal ones too
# Entries of a matrix scaled to size 1 that are taken for 0, and inverses large enough to make them count all the same.
FLUSHED, LARGEST_INVERSE = 2.0**-1000, 2.0**800


def independent_columns(X: Array, most: int | None = None) -> Ints:
    """Indices of linearly independent columns of `X` (n, d), ascending.

    Parameters
    ----------
    X : (n, d) float64, finite
    most : int, optional
        At most so many columns, the numerically most significant ones as pivoted QR picks them.  Default: as many as
        there are, whatever the scale of rows and columns.

    Returns
    -------
    (rank,) int64

    Notes
    -----
    O(n d min(n, d)), in floating point, except for (nearly) dependent columns.  Then O(n d**2) for each prime: one
    when the columns are independent after all or have simple relations, otherwise as many as Hadamard's bound takes.
    """
    columns = np.flatnonzero(X.any(axis=0))
    given = X[:, columns]
    wanted = min(given.shape if most is None else (*given.shape, most))
    # most data need no scaling but to entries below 1
    scaled = np.ldexp(given, -np.frexp(np.abs(given).max(initial=0.0))[1])
    if wanted == len(columns) and certainly_independent(scaled):
        return columns
    even = _balanced(given)
    if wanted == len(columns) and certainly_independent(even):
        return columns
    # Where the caller truncates, the columns' own sizes say what matters; where not, scale means nothing.
    order = scipy.linalg.qr(even if most is None else scaled, mode="r", pivoting=True)[1]
    if wanted == len(columns) or not certainly_independent(even[:, order[:wanted]]):
        order = order[_independent_modulo_primes(given[:, order])]
    return np.sort(columns[order[:wanted]]).astype(np.int64)


def _balanced(X: Array) -> Array:
    """`X` (n, d) without zero columns, its columns and then its rows scaled by powers of two to entries below 1.

    Exact, but that entries far below the largest of their column and row are flushed to 0 like subnormal ones.
    """
    fraction, exponent = np.frexp(X)
    low = np.where(fraction != 0.0, exponent, -(2**30))
    low = low - low.max(axis=0)
    low = low - np.maximum(low.max(axis=1, keepdims=True, initial=LOWEST), LOWEST)  # zero rows stay
    return np.ldexp(fraction, np.maximum(low, LOWEST))


def certainly_independent(S: Array) -> bool:
    """Whether floating point proves the columns of `S` (n, r), entries of at most 1, independent.  O(n r**2)

    False says nothing.
    """
    n, r = S.shape
    if r == 0 or r > n:
        return r == 0
    A = S
    if n > r:  # the rows that partial pivoting takes; LAPACK itself, since scipy.linalg.lu takes longer than small data
        rows = np.arange(n)
        for i, j in enumerate(scipy.linalg.lapack.dgetrf(S)[1]):
            rows[i], rows[j] = rows[j], rows[i]
        A = S[rows[:r]]
    A = np.where(np.abs(A) < FLUSHED, 0.0, A)
    try:
        R = np.linalg.inv(A)
    except np.linalg.LinAlgError:
        return False
    if not np.abs(R).max() < LARGEST_INVERSE:
        return False
    # |fl(R A) - R A| <= gamma_r |R| |A| elementwise (Higham 2002, section 3.5); the factor 1.01 and the limit of 0.9
    # instead of 1 cover the rounding of this bound and of the sums, and what was flushed: r 2**800 / 2**1000.
    off = np.abs(np.eye(r) - R @ A) + 1.01 * (r + 2) * UNIT_ROUNDOFF * (np.abs(R) @ np.abs(A))
    return bool(off.sum(axis=1).max() < 0.9)


def _independent_modulo_primes(X: Array) -> Ints:
    """The first independent columns of `X` (n, d) in their order, by elimination modulo primes."""
    rows = integer_rows(X)
    most = min(X.shape)
    best = np.zeros(0, np.int64)
    for p in primes_for(largest_product(rows.log2_two, most)):
        pivots, relations = _eliminated(residues(rows, (p,))[:, :, 0].copy(), p)
        if len(pivots) > len(best):
            best = pivots
        if len(best) == most or (len(pivots) == len(best) and _hold(rows.integers(), pivots, relations, p)):
            break
    return best


def _eliminated(M: Ints, p: int) -> tuple[Ints, Ints]:
    """Gauss-Jordan elimination of `M` (n, d) modulo p, in place: pivot columns, ascending, and what becomes of M there.

    Returns
    -------
    pivots : (r,) each column that is independent of those before it
    relations : (r, d) column j is the combination ``relations[:, j]`` of the pivot columns, modulo p
    """
    pivots: list[int] = []
    rows: list[int] = []
    free: Bools = np.ones(len(M), np.bool_)
    # Invariant: column pivots[k] is the unit vector of row rows[k], and all others so far are 0 in the free rows.
    for j in range(M.shape[1]):
        if not (candidates := np.flatnonzero(free & (M[:, j] != 0))).size:
            continue
        i = int(candidates[0])
        M[i, j:] = M[i, j:] * pow(int(M[i, j]), -1, p) % p
        factor = M[:, j].copy()
        factor[i] = 0
        M[:, j:] = (M[:, j:] - factor[:, None] * M[i, j:]) % p  # products stay below 2**62
        free[i] = False
        pivots.append(j)
        rows.append(i)
    return np.array(pivots, np.int64), M[rows]


def _hold(integers: NDArray[Any], pivots: Ints, relations: Ints, p: int) -> bool:
    """Whether the other columns are the combinations of the pivots that their residues suggest, in integers."""
    for j in np.setdiff1d(np.arange(relations.shape[1]), pivots):
        found = [(k, _rational(int(v), p)) for k, v in zip(pivots, relations[:, j], strict=True) if v]
        terms = [(k, value) for k, value in found if value is not None]
        if len(terms) < len(found):
            return False
        whole = lcm(*(value.denominator for _, value in terms))
        total = sum((int(value * whole) * integers[:, k] for k, value in terms), -whole * integers[:, j])
        if total.any():
            return False
    return True


def _rational(residue: int, p: int) -> Fraction | None:
    """The fraction with numerator and denominator up to ``sqrt(p / 2)`` and this residue, or None.

    By Euclid's algorithm, halfway (Wang 1981).
    """
    limit = isqrt(p // 2)
    old, new, s, t = p, residue, 0, 1
    while new > limit:
        quotient = old // new
        old, new, s, t = new, old - quotient * new, t, s - quotient * t
    return Fraction(new, t) if 0 < abs(t) <= limit else None
