"""Arrangements with coordinates in a real quadratic field: rows ``A + B sqrt(m)``, A and B of integers, m no square.

A determinant of r rows is D = a + b sqrt(m) with integers a, b; its conjugate is D' = a - b sqrt(m), and its
norm D D' = a**2 - m b**2 is an integer, 0 only when D is.  Hadamard's inequality bounds both D and D'
by H, the product of the r largest numbers ``max(1, ||  |A_i| + |B_i| sqrt(m)  ||_2)``.

**Zero.**  For a prime p and s with ``s**2 = m (mod p)``, replacing sqrt(m) by s is a homomorphism of rings from
Z[sqrt(m)] to the integers modulo p, so that determinants can be computed from the residues ``A + B s (mod p)``.
When the residue of D is 0, p divides the norm of D, which is (a + b s)(a - b s) modulo p.  When that happens for
distinct primes with a product M > H**2, M divides the norm, which is smaller: D = 0.  So zero tests by residues
are exact, and rows are independent exactly when they are so modulo one of the primes.  Of the primes
``p = 3 (mod 4)``, half have such an s, namely ``m**((p+1)/4)``.

**Sign.**  A D other than 0 has a norm of at least 1, so ``|D| >= 1/|D'| >= 1/H``.  Coordinates are the rows rounded to
float64 and scaled by powers of two to 1-norms below 1.  The floating-point determinant has the error bound of
`_exact`, with 2 r more factors 1 + delta per term for rounded entries (one each, and one for the
1-norms).  When 1/H times the r smallest scales exceeds twice that bound, the filter decides the sign of every D
other than 0, and what it leaves undecided is 0, which the residues confirm.  Otherwise the arrangement is refused.
"""

from __future__ import annotations

from fractions import Fraction
from functools import cached_property
from hashlib import sha256
from math import isqrt

import numpy as np
from numpy.typing import ArrayLike

from exactrelu._typing import Array, Ints
from exactrelu.enumerate.exact._arrangement import Arrangement, check_rank, make_planes
from exactrelu.enumerate.exact._integers import primes_below_2_31
from exactrelu.enumerate.exact._signs import Planes, filter_bound

Number = tuple[Fraction, Fraction]  # a + b sqrt(m)


class QuadraticArrangement(Arrangement):
    """See `Arrangement.quadratic`."""

    rational = False

    def __init__(self, A: ArrayLike, B: ArrayLike, root: int) -> None:
        if not isinstance(root, int | np.integer) or root < 2 or isqrt(root) ** 2 == root:
            raise ValueError(f"root must be an integer of at least 2 and no square, got {root!r}")
        self.root = int(root)
        self.parts = _integer_matrix(A, "A"), _integer_matrix(B, "B")
        if self.parts[0].shape != self.parts[1].shape:
            raise ValueError(f"A and B must have the same shape, got {self.parts[0].shape} and {self.parts[1].shape}")
        super().__init__(_rounded(*self.parts, self.root))
        if self.rank < self.d:
            raise ValueError(f"A + B sqrt({root}) must have rank {self.d}, got numerical rank {self.rank}")
        self.planes  # noqa: B018 - refuses what floating point cannot decide

    def _merge(self) -> tuple[Ints, Ints]:
        """Number the lines of the nonzero rows by exact quotients by their first nonzero entry, c + d sqrt(m)."""
        m, numbers = self.root, dict[tuple[Number, ...], int]()
        lines, signs = [], []
        for i in np.flatnonzero(~self.zero_rows):
            row = [(int(a), int(b)) for a, b in zip(self.parts[0][i], self.parts[1][i], strict=True)]
            c, d = next(entry for entry in row if entry != (0, 0))
            norm = c * c - m * d * d
            key = tuple((Fraction(a * c - m * b * d, norm), Fraction(b * c - a * d, norm)) for a, b in row)
            lines.append(numbers.setdefault(key, len(numbers)))
            same = (c >= 0) == (d >= 0) or d == 0
            positive = c >= 0 if same else (c * c > m * d * d) == (c >= 0)
            signs.append(1 if positive else -1)
        return np.array(lines, dtype=np.int64), np.array(signs, dtype=np.int64)

    @cached_property
    def fingerprint(self) -> str:
        """Digest of both parts and of the numbering of hyperplanes."""
        digest = sha256(f"{self.X.shape} sqrt({self.root})".encode())
        for part in (*self.parts, self.row_plane):
            digest.update(np.ascontiguousarray(part).tobytes())
        return digest.hexdigest()

    @cached_property
    def column_exponents(self) -> Ints:
        """Columns are not scaled: the bound counts on it."""
        return np.zeros(self.rank, dtype=np.int64)

    @cached_property
    def planes(self) -> Planes:
        """The tables of the kernels.

        Raises
        ------
        ValueError
            When the rank is too high, or floating point cannot tell the smallest determinants from 0.
        """
        r = self.rank
        check_rank(r)
        A, B = (part[self.representative] for part in self.parts)
        with np.errstate(divide="ignore"):
            norms = np.log2(np.abs(A) + np.abs(B) * np.sqrt(float(self.root)))
        norms = np.maximum(0.0, np.logaddexp2.reduce(2.0 * norms, axis=1) / 2.0) + 1e-6
        hadamard = float(np.sort(norms)[-r:].sum())
        scales = np.frexp(np.abs(self.X[self.representative]).sum(axis=1))[1]  # coordinates are rows / 2**scale
        smallest = -hadamard - float(np.sort(scales)[-r:].sum())
        eps = filter_bound(r, 2 * r)
        if smallest <= np.log2(2.0 * eps) + 1e-6:
            raise ValueError(
                f"the entries are too large: determinants may be as small as 2**{smallest:.1f} and floating point "
                f"tells them from 0 down to 2**{np.log2(2.0 * eps):.1f}"
            )
        primes, square_roots = _split_primes(self.root, 2.0 * hadamard)
        p, s = np.array(primes), np.array(square_roots)
        residues = (A[:, :, None] % p + B[:, :, None] % p * s) % p
        return make_planes(self.coords, eps, np.ascontiguousarray(residues), primes)


def _integer_matrix(given: ArrayLike, name: str) -> Ints:
    """A matrix of integers of at most 2**53, as int64."""
    matrix = np.asarray(given)
    if matrix.ndim != 2:
        raise ValueError(f"{name} must be 2-D, got shape {matrix.shape}")
    if matrix.dtype.kind not in "iuf" or not (np.isfinite(matrix).all() and (matrix == np.rint(matrix)).all()):
        raise ValueError(f"{name} must hold integers, got dtype {matrix.dtype}")
    if matrix.size and np.abs(matrix).max() > 2.0**53:
        raise ValueError(f"{name} must hold integers up to 2**53, got {np.abs(matrix).max()}")
    return matrix.astype(np.int64)


def _rounded(A: Ints, B: Ints, m: int) -> Array:
    """``A + B sqrt(m)`` with relative error at most 2**-52, also where the parts nearly cancel."""
    bits = 256
    root = Fraction(isqrt(m << 2 * bits), 1 << bits)  # entries other than 0 exceed 2**-60: the norm is at least 1
    values = [float(int(a) + int(b) * root) for a, b in zip(A.flat, B.flat, strict=True)]
    return np.array(values).reshape(A.shape)


def _split_primes(m: int, log2_bound: float) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Primes whose product exceeds 2**log2_bound, and a square root of m modulo each."""
    wanted = max(2, int(log2_bound // 30.99) + 1)
    candidates = 8 * wanted
    found: list[tuple[int, int]] = []
    while len(found) < wanted:
        odd = [p for p in primes_below_2_31(candidates) if p % 4 == 3 and m % p]
        found = [(p, s) for p in odd if (s := pow(m, (p + 1) // 4, p)) * s % p == m % p]
        candidates *= 2
    primes, roots = zip(*found[:wanted], strict=True)
    return primes, roots
