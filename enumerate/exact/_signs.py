"""Exact signs of determinants: a floating-point filter with a proven bound, then modular arithmetic.

A ray is given by r-1 independent rows ``t_1 .. t_{r-1}`` and an orientation ``o = ±1``; it is o times
their generalised cross product g, the vector of signed (r-1)-minors, so that

    x . g = det[t_1; ..; t_{r-1}; x].

**Filter.**  The rows are scaled by powers of two (exactly) to 1-norms at most 1.  Minors are expanded
along the last row, from the bottom up, sharing sub-minors: a minor of size s is a sum of s products
``entry * sub-minor``, and ``x . g`` is the expansion of size r.  Unrolled, the result is a sum of signed
products of r entries, one from each row and column.  On its way a term meets at each size s at most one
rounded product and s-1 rounded additions, so at most ``q = 1 + 2 + .. + r = r(r+1)/2`` factors
``1 + delta``, ``|delta| <= u = 2**-53``; it is therefore computed with relative error at most
``gamma_q = q u / (1 - q u)`` (Higham, *Accuracy and Stability*, Lemma 3.1).  The absolute values of all
terms sum to at most the permanent of the absolute matrix, hence to at most the product of the row
1-norms, so to at most 1:

    |computed - exact| <= gamma_q + underflow.

Each of the fewer than ``r 2**r`` products underflows by at most 2**-1075, entries of the scaled copy
that became subnormal are off by as much, and later factors are at most 1: 1e-290 covers it.  The bound
does not depend on the ray, because coordinates always come from minors and never from combinations of
other rays.  When the rows, read as integers, have 1-norms whose r largest multiply to less than 2**53,
every intermediate is an integer below 2**53 times a fixed power of two: nothing is rounded, the
bound is 0 and a computed 0 is a true 0.

**Exact step.**  Otherwise the determinant of the integer rows is computed modulo k primes below
2**31 whose product M exceeds twice Hadamard's bound: its residues determine it.  Garner's algorithm turns
them into mixed-radix digits (Knuth, TAOCP 2, 4.3.2), all zero exactly when the determinant is zero, and
greater than those of (M-1)/2 exactly when it is negative.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from exactrelu.enumerate.running._compiled import njit

UNIT_ROUNDOFF = 2.0**-53
LANES = 4  # rays whose minors are computed side by side: a SIMD register of doubles

# The kernels allocate nothing and get all arrays from their callers, so reference counting (atomic operations
# at every view of an array) is off; integer division needs no check.  Wrappers that unpack the tables for
# Python are only made for kernels that Python calls.
kernel = njit(nogil=True, error_model="numpy", _nrt=False)
inner = njit(nogil=True, error_model="numpy", _nrt=False, no_cpython_wrapper=True, no_cfunc_wrapper=True)
# Functions called from one place of a kernel are inlined by LLVM.  Numba's own inlining, before types are inferred,
# takes longer to compile, and its machine code was a tenth slower.
once = njit(
    nogil=True, error_model="numpy", _nrt=False, no_cpython_wrapper=True, no_cfunc_wrapper=True, forceinline=True
)


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
    fill_roots(planes, roots, np.zeros((r, r, LANES)), np.empty((1 << r, LANES)))
    return roots


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
    """``gamma_q + underflow`` of the module docstring; the factor covers 1-norms rounded to 1 and this sum."""
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


@inner
def inverse_mod(a, p):
    """``a**-1 mod p`` by Euclid, for 0 < a < p, p prime."""
    old, new, s, t = a, p, 1, 0
    while new:
        quotient = old // new
        old, new = new, old - quotient * new
        s, t = t, s - quotient * t
    return s % p


@inner
def det_mod(m, p):
    """Determinant of m (r, r) modulo p by Gaussian elimination; m is overwritten.  Products stay below 2**62."""
    r = m.shape[0]
    det = 1
    # Invariant: det(m given) = det * (determinant of the block from (c, c) on).
    for c in range(r):
        pivot = c
        while pivot < r and m[pivot, c] == 0:
            pivot += 1
        if pivot == r:
            return 0
        if pivot != c:
            for j in range(c, r):
                m[c, j], m[pivot, j] = m[pivot, j], m[c, j]
            det = p - det
        det = det * m[c, c] % p
        inverse = inverse_mod(m[c, c], p) if c < r - 1 else 0
        for i in range(c + 1, r):
            if m[i, c] != 0:
                f = p - m[i, c] * inverse % p
                for j in range(c + 1, r):
                    m[i, j] = (m[i, j] + f * m[c, j]) % p
    return det


@inner
def mixed_radix_sign(digits, primes, inverses, half):
    """Sign of the integer in (-M/2, M/2) with the given residues, which become mixed-radix digits.  O(k**2)

    The value is ``digits[0] + digits[1] primes[0] + digits[2] primes[0] primes[1] + ..`` (Knuth, TAOCP 2, 4.3.2).
    """
    k = len(primes)
    nonzero = False
    for j in range(k):
        x = digits[j]
        for i in range(j):
            x = (x - digits[i]) * inverses[i, j] % primes[j]
        digits[j] = x
        nonzero = nonzero or x != 0
    if not nonzero:
        return 0
    # The most significant digit that differs from those of (M - 1)/2 decides.
    for j in range(k - 1, -1, -1):
        if digits[j] != half[j]:
            return -1 if digits[j] > half[j] else 1
    return 1


@inner
def exact_sign(planes, define, h):
    """Sign of ``x_h . g`` for the ray of rows and orientation `define` (r,), in exact arithmetic.

    O(k r**3 + k**2).
    """
    r = planes.coords.shape[1]
    k = len(planes.primes)
    m, digits = planes.matrix, planes.digits
    planes.calls[0] += 1
    for q in range(k):
        for i in range(r):
            row = define[i] if i < r - 1 else h
            for j in range(r):
                m[i, j] = planes.residues[row, j, q]
        digits[q] = det_mod(m, planes.primes[q])
    return define[r - 1] * mixed_radix_sign(digits, planes.primes, planes.inverses, planes.half)


@inner
def ray_sign(planes, x, define, h):
    """Sign of ``x_h . g`` for the ray with float coordinates x (r,); ``define[r-1]`` is its orientation.

    O(r), and an `exact_sign` where the filter's error may exceed the value.
    """
    r = len(x)
    v = 0.0  # v = coords[h] @ x
    for j in range(r):
        v += planes.coords[h, j] * x[j]
    if v > planes.eps:
        return 1
    if v < -planes.eps:
        return -1
    if planes.eps == 0.0:
        return 0
    return exact_sign(planes, define, h)


@once
def lane_minors(planes, rows, minors):
    """Minors of the first |S| of r-1 rows in the columns S, for all S but the full set and for each lane.

    rows : (r, r, LANES) row, column, lane;  minors : (2**r, LANES) out
    Four rays at a time share the bookkeeping, and SIMD registers.  O(r 2**r)
    """
    # minors[S] = sum over j in S of ± rows[|S| - 1, j] * minors[S - {j}]; column sets come after their subsets
    for lane in range(LANES):
        minors[0, lane] = 1.0
    for columns in range(1, len(minors) - 1):
        i = planes.minor_row[columns]
        m0, m1, m2, m3 = 0.0, 0.0, 0.0, 0.0
        for t in range(planes.minor_ptr[columns], planes.minor_ptr[columns + 1]):
            j, src = planes.minor_col[t], planes.minor_src[t]
            m0 = rows[i, j, 0] * minors[src, 0] - m0
            m1 = rows[i, j, 1] * minors[src, 1] - m1
            m2 = rows[i, j, 2] * minors[src, 2] - m2
            m3 = rows[i, j, 3] * minors[src, 3] - m3
        minors[columns, 0] = m0
        minors[columns, 1] = m1
        minors[columns, 2] = m2
        minors[columns, 3] = m3


@once
def cross_entry(minors, r, j, lane):
    """Entry j of the generalised cross product of the r-1 rows of a lane: the minor without column j, signed."""
    minor = minors[(1 << r) - 1 - (1 << j), lane]
    return -minor if (r - 1 - j) & 1 else minor


@inner
def reduce_row(planes, h, q, echelon, pivots, rank, out):
    """Reduce row h modulo prime number q by an echelon basis; returns the column of its pivot, or -1.

    echelon : (>= rank, r) in, rows with leading 1 at `pivots`;  out : (r,) the reduced row
    """
    r = planes.coords.shape[1]
    p = planes.primes[q]
    for j in range(r):
        out[j] = planes.residues[h, j, q]
    for i in range(rank):
        f = out[pivots[i]]
        if f != 0:
            for j in range(r):
                out[j] = (out[j] + (p - f) * echelon[i, j]) % p
    for j in range(r):
        if out[j] != 0:
            return j
    return -1


@kernel
def independent_rows(planes, candidates, want, out):
    """The first `want` independent rows among `candidates` (hyperplanes), greedily; returns how many.

    Elimination modulo one prime after another until `want` rows are found.  Rows independent modulo a
    prime are independent; and independent rows are so modulo at least one of the primes, since
    their nonzero minor is below the product of the primes.  O(k len(candidates) r**2) at worst.
    """
    r = planes.coords.shape[1]
    echelon, pivots = planes.echelon, planes.pivots
    rank = 0
    for q in range(len(planes.primes)):
        p = planes.primes[q]
        rank = 0
        for h in candidates:
            if rank == want:
                return rank
            pivot = reduce_row(planes, h, q, echelon, pivots, rank, echelon[rank])
            if pivot >= 0:
                inverse = inverse_mod(echelon[rank, pivot], p)
                for j in range(r):
                    echelon[rank, j] = echelon[rank, j] * inverse % p
                pivots[rank] = pivot
                out[rank] = h
                rank += 1
        if rank == want:
            return rank
    return rank


@kernel
def fill_roots(planes, roots, rows, minors):
    """Compute rays and side bits of `roots` from its basis.  O(r**2 2**r + N r**2).

    rows : (r, r, LANES), minors : (2**r, LANES) work
    """
    r = len(roots.basis)
    # Ray k is tight on all rows of the basis but its own, and on the positive side of that.
    for k in range(r):
        for i in range(r - 1):
            h = roots.basis[i if i < k else i + 1]
            roots.define[k, i] = h
            for j in range(r):
                for lane in range(LANES):
                    rows[i, j, lane] = planes.coords[h, j]
        lane_minors(planes, rows, minors)
        for j in range(r):
            roots.x[k, j] = cross_entry(minors, r, j, 0)
        roots.define[k, r - 1] = 1
        side = ray_sign(planes, roots.x[k], roots.define[k], roots.basis[k])
        roots.define[k, r - 1] = side
        for j in range(r):
            roots.x[k, j] *= side
    for h in range(len(roots.plus)):
        for k in range(r):
            if h == roots.basis[k]:
                roots.plus[h] |= 1 << k
        if roots.plus[h] == 0:
            for k in range(r):
                side = ray_sign(planes, roots.x[k], roots.define[k], h)
                if side > 0:
                    roots.plus[h] |= 1 << k
                elif side < 0:
                    roots.minus[h] |= 1 << k
