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

from exactrelu.enumerate.running._compiled import njit

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


@inner
def inverse_mod(a, p):
    """``a**-1 mod p`` by Euclid, for 0 < a < p, p prime.  O(log p)"""
    # Invariant: s a = old and t a = new, modulo p.
    old, new, s, t = a, p, 1, 0
    while new:
        quotient = old // new
        old, new = new, old - quotient * new
        s, t = t, s - quotient * t
    return s % p


@inner
def det_mod(m, p):
    """Determinant of m (r, r) modulo p by Gaussian elimination; m is overwritten.

    O(r**3).  Products stay below 2**62.
    """
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
