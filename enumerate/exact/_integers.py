"""A float64 matrix as integers: exact mantissas, power-of-two shifts, residues modulo primes.

Every finite float64 is ``mantissa * 2**exponent`` with an integer mantissa.  Multiplying rows and
columns by powers of two changes no sign pattern, so the rows can be read as integer vectors, and the
sign of a determinant of such rows follows from its residues modulo enough primes (Chinese remainder).
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from exactrelu._typing import Array, Ints

LARGEST_PRIME = 2**31 - 1  # residues of 31 bits: the product of two, and a third one added, fit into 63
MANTISSA_BITS = 53  # of float64, the implicit one included
HALF_OF_RANGE = 450  # exponents of integers of 53 bits whose squares, summed up, float64 holds
NO_EXPONENT = np.int64(1) << 40  # stands for that of 0, beyond any other
BITS_PER_PRIME = 30.999  # less than log2 of any prime that is used: they lie just below 2**31


class IntegerRows(NamedTuple):
    """Rows as integers ``mantissa * 2**exponent``, with ``exponent >= 0`` wherever the mantissa is not 0.

    mantissa : (N, r) odd or zero;  exponent : (N, r);  log2_one, log2_two : (N,) log2 of the row norms
    """

    mantissa: Ints
    exponent: Ints
    log2_one: Array
    log2_two: Array

    def integers(self) -> NDArray[Any]:
        """The rows as Python integers, (N, r) of objects."""
        numbers: NDArray[Any] = self.mantissa.astype(object) << self.exponent.astype(object)
        return numbers


def decompose(X: Array) -> tuple[Ints, Ints]:
    """``X == mantissa * 2.0**exponent`` with mantissas odd (or zero, then with exponent 0)."""
    fraction, exponent = np.frexp(X)
    mantissa = np.ldexp(fraction, MANTISSA_BITS).astype(np.int64)
    # Shifting out trailing zeros makes mantissas odd, and integers as small as can be.
    low = (mantissa & -mantissa).astype(np.float64)  # the lowest set bit, a power of two
    trailing = np.where(mantissa != 0, np.frexp(np.maximum(low, 1.0))[1] - 1, 0).astype(np.int64)
    return mantissa >> trailing, np.where(mantissa != 0, exponent - MANTISSA_BITS + trailing, 0).astype(np.int64)


def integer_rows(X: Array) -> IntegerRows:
    """Scale columns, then rows, by powers of two so that all entries are integers, as small as that allows."""
    mantissa, exponent = decompose(X)
    present = mantissa != 0
    column = np.where(present, exponent, NO_EXPONENT).min(axis=0)
    exponent = exponent - np.where(column == NO_EXPONENT, 0, column)
    row = np.where(present, exponent, NO_EXPONENT).min(axis=1, keepdims=True)
    exponent = np.where(present, exponent - np.where(row == NO_EXPONENT, 0, row), 0)
    if exponent.max(initial=0) < HALF_OF_RANGE:
        values = np.abs(np.ldexp(mantissa.astype(np.float64), exponent))
        one, squares = values.sum(axis=1), (values * values).sum(axis=1)
        empty = one == 0.0  # a zero row counts as one of norm 1, below too
        return IntegerRows(mantissa, exponent, np.log2(one + empty), 0.5 * np.log2(squares + empty))
    # Norms as logarithms, relative to the largest entry: they may exceed float64.
    bits = np.where(present, np.log2(np.maximum(np.abs(mantissa), 1)) + exponent, -np.inf)
    top = np.where(present.any(axis=1), bits.max(axis=1), 0.0)
    relative = bits - top[:, None]
    with np.errstate(under="ignore", divide="ignore"):
        one = top + np.log2(np.exp2(relative).sum(axis=1))
        two = top + 0.5 * np.log2(np.exp2(2.0 * relative).sum(axis=1))
    return IntegerRows(mantissa, exponent, one, two)


def largest_product(log2_norms: Array, r: int) -> float:
    """log2 of an upper bound of the product of the `r` largest norms; 1e-6 is for rounded logarithms."""
    return float(np.sort(np.maximum(log2_norms, 0.0))[-r:].sum()) + 1e-6


@cache
def primes_below_2_31(count: int) -> tuple[int, ...]:
    """The `count` largest primes below 2**31, by sieving the top of that range."""
    width = 60 * count + 2000  # generous: the mean gap is log(2**31) = 21.5
    low = LARGEST_PRIME + 1 - width
    composite = np.zeros(width, dtype=bool)
    root = 46341  # > sqrt(2**31)
    small = np.ones(root, dtype=bool)
    small[:2] = False
    for p in range(2, root):
        if small[p]:
            small[p * p :: p] = False
            composite[-low % p :: p] = True
    return tuple(int(low + k) for k in np.flatnonzero(~composite)[::-1][:count])


def primes_for(log2_bound: float) -> tuple[int, ...]:
    """Primes, at least two, whose product exceeds ``2 * 2**log2_bound``."""
    count = max(2, int((log2_bound + 1.0) // BITS_PER_PRIME) + 1)
    return primes_below_2_31(count)


@lru_cache(maxsize=8)
def _powers_of_two(primes: tuple[int, ...], bits: int) -> Ints:
    """``2**e`` modulo each prime for all exponents e of so many bits, (2**bits, k)."""
    p = np.array(primes, dtype=np.int64)
    powers = np.empty((1 << bits, len(p)), dtype=np.int64)
    powers[0] = 1
    for e in range(1, len(powers)):
        powers[e] = 2 * powers[e - 1] % p
    return powers


def residues(rows: IntegerRows, primes: tuple[int, ...]) -> Ints:
    """The integers of `rows` modulo each prime, (N, r, k).  O(N r k + k max exponent)."""
    p = np.array(primes, dtype=np.int64)
    powers = _powers_of_two(primes, int(rows.exponent.max(initial=0)).bit_length())
    return np.ascontiguousarray(rows.mantissa[:, :, None] % p * powers[rows.exponent] % p)


class MixedRadix(NamedTuple):
    """Tables of Garner's algorithm for the signed residue in (-M/2, M/2), M the product of the primes.

    primes : (k,);  inverses : (k, k), ``inverses[i, j] = primes[i]**-1 mod primes[j]`` for i < j
    half : (k,) mixed-radix digits of (M - 1)/2, lowest first
    """

    primes: Ints
    inverses: Ints
    half: Ints


@lru_cache(maxsize=64)
def mixed_radix(primes: tuple[int, ...]) -> MixedRadix:
    """Precompute the tables of `MixedRadix`.  O(k**2)."""
    # Digits of the half by repeated division, as in any positional system.
    k = len(primes)
    inverses = np.zeros((k, k), dtype=np.int64)
    product = 1
    for j, p in enumerate(primes):
        product *= p
        for i in range(j):
            inverses[i, j] = pow(primes[i], -1, p)
    rest, half = (product - 1) // 2, np.zeros(k, dtype=np.int64)
    for j, p in enumerate(primes):
        rest, digit = divmod(rest, p)
        half[j] = digit
    return MixedRadix(np.array(primes, dtype=np.int64), inverses, half)
