"""The exact layer: integers, residues, primes, signs of determinants, and the bound of the filter."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numba import njit

from exactrelu.enumerate import Arrangement, merge_parallel
from exactrelu.enumerate.cone_tree._walk import find_cell
from exactrelu.enumerate.exact._bits import low_bit_index, popcount
from exactrelu.enumerate.exact._integers import (
    decompose,
    integer_rows,
    mixed_radix,
    primes_below_2_31,
    primes_for,
    residues,
)
from exactrelu.enumerate.exact._planes import filter_bound
from exactrelu.enumerate.exact._roots import sign_of as sign_in_tree
from exactrelu.enumerate.exact._signs import exact_sign
from exactrelu.enumerate.vertices._sort import in_order

from naive import determinant, dot, fractions

quick = settings(deadline=None, max_examples=60)
floats = st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=True)


@njit
def sign_of(planes, define, h):
    """A way from Python into the kernel."""
    return exact_sign(planes, define, h)


@njit
def bits_of(x):
    """Population and lowest set bit of a mask, by the kernels."""
    return popcount(x), low_bit_index(x)


def as_integers(rows):
    return [
        [int(m) << int(e) for m, e in zip(*pair, strict=True)]
        for pair in zip(rows.mantissa, rows.exponent, strict=True)
    ]


@quick
@given(arrays(np.float64, (3, 2), elements=floats))
def test_decompose_is_exact(X):
    mantissa, exponent = decompose(X)
    for value, m, e in zip(X.flat, mantissa.flat, exponent.flat, strict=True):
        assert Fraction(float(value)) == Fraction(int(m)) * Fraction(2) ** int(e)
        assert m % 2 == 1 or value == 0.0


@quick
@given(arrays(np.float64, (4, 3), elements=st.floats(-1e30, 1e30, allow_subnormal=False)))
def test_integer_rows_are_power_of_two_multiples(X):
    X = X[X.any(axis=1)]
    if not len(X):
        return
    rows = integer_rows(X)
    assert (rows.exponent >= 0).all()
    ints = as_integers(rows)
    for x, row, one, two in zip(X.tolist(), ints, rows.log2_one, rows.log2_two, strict=True):
        assert math.log2(sum(map(abs, row))) == pytest.approx(one, abs=1e-7)
        assert 0.5 * math.log2(sum(v * v for v in row)) == pytest.approx(two, abs=1e-7)
        assert [v > 0 for v in row] == [v > 0 for v in x]
    for j in range(3):  # the factor of a column is the same in every row, up to the row's own
        factors = {
            Fraction(row[j]) / Fraction(x[j]) / (Fraction(row[0]) / Fraction(x[0]))
            for x, row in zip(X.tolist(), ints, strict=True)
            if x[j] and x[0]
        }
        assert len(factors) <= 1
        assert all(
            (f.numerator & (f.numerator - 1)) == 0 and (f.denominator & (f.denominator - 1)) == 0 for f in factors
        )


def test_bit_tricks():
    masks = [1 << k for k in range(64)] + [2**64 - 1, 2**64 - 2, 0xF0F0 << 40, 1 | 1 << 63]
    for mask in masks:
        signed = mask - 2**64 if mask >> 63 else mask
        assert bits_of(signed) == (mask.bit_count(), (mask & -mask).bit_length() - 1)


def test_primes():
    primes = primes_below_2_31(200)
    small = np.arange(2, 46341)
    small = small[[all(p % q for q in range(2, int(p**0.5) + 1)) for p in small]]
    assert primes[0] == 2**31 - 1
    assert list(primes) == sorted(set(primes), reverse=True)
    for p in primes:
        assert (p % small != 0).all()
    between = set(range(primes[-1], primes[0])) - set(primes)
    assert all((q % small == 0).any() for q in between)


def test_enough_primes():
    for bits in (3.0, 61.0, 62.5, 500.0):
        product = 1
        for p in primes_for(bits):
            product *= p
        assert product > 2 * 2.0**bits


def test_residues_are_those_of_the_integers():
    X = np.random.default_rng(0).standard_normal((5, 3)) * [1.0, 1e9, 1e-9]
    rows = integer_rows(X)
    primes = primes_for(200.0)
    table = residues(rows, primes)
    for i, row in enumerate(as_integers(rows)):
        for j, value in enumerate(row):
            assert table[i, j].tolist() == [value % p for p in primes]


def test_mixed_radix_digits_of_half_the_product():
    tables = mixed_radix(primes_for(100.0))
    product, value = 1, 0
    for p, digit in zip(tables.primes.tolist(), tables.half.tolist(), strict=True):
        value += digit * product
        product *= p
    assert value == (product - 1) // 2


@st.composite
def nearly_singular(draw):
    """Square float matrices whose last row is, or nearly is, a combination of the others."""
    r = draw(st.integers(2, 4))
    X = np.random.default_rng(draw(st.integers(0, 10**6))).standard_normal((r, r))
    X[-1] = draw(st.integers(-3, 3)) * X[0] + X[1 % (r - 1)] * draw(st.sampled_from([0.0, 0.5, 2.0**-40]))
    X *= 2.0 ** np.array(draw(st.lists(st.integers(-60, 60), min_size=r, max_size=r)))
    return X


@quick
@given(nearly_singular())
def test_exact_signs_of_determinants(X):
    r = len(X)
    spanning = np.vstack([X, np.eye(r), np.ones((1, r)) / 3.0])  # full rank, whatever X is, and not integers
    a = Arrangement(spanning, rank=r)
    rows = [i for i in range(r) if not a.zero_rows[i]]
    if len(rows) < r:
        return
    planes = a.row_plane[:r]
    exact = determinant(fractions(spanning[a.representative[planes]][:, a.columns]))
    define = np.append(planes[:-1], 1)
    got = sign_of(a.planes, define, planes[-1])
    assert sign_in_tree(a.planes, define, planes[-1]) == got
    assert got == (exact > 0) - (exact < 0)
    define[-1] = -1
    assert sign_of(a.planes, define, planes[-1]) == -got


@pytest.mark.parametrize("r", [2, 3, 4, 5, 6])
def test_the_filter_bound_holds(r):
    """Products of computed rays with all rows differ from the exact ones by less than the bound."""
    rng = np.random.default_rng(r)
    X = rng.standard_normal((3 * r, r))
    X[r:] = X[: 2 * r] + rng.standard_normal((2 * r, r)) * 2.0 ** rng.integers(-50, -1, (2 * r, 1))
    a = Arrangement(X, rank=r)
    rows = fractions(a.coords)
    _, work = find_cell(a, np.ones(a.n_planes, dtype=np.int64))
    frames, worst = work.frames, 0.0
    for slot in frames.slots[0, : min(frames.n_rays[0], 20)]:
        *define, orientation = frames.define[0, slot].tolist()
        x = frames.x[0, slot]
        ray = [orientation * determinant([rows[t] for t in define] + [unit]) for unit in fractions(np.eye(r))]
        for h in range(a.n_planes):
            computed = 0.0
            for j in range(r):
                computed += a.coords[h, j] * x[j]
            worst = max(worst, abs(float(Fraction(computed) - dot(rows[h], ray))))
    assert 0.0 < worst <= filter_bound(r)
    assert a.planes.eps == filter_bound(r)
    assert np.abs(a.coords).sum(axis=1).max() <= 1.0


def test_rays_of_a_frame_satisfy_the_cell_exactly():
    """Orientation and defining rows, not only coordinates: every ray, taken exactly, lies in the closed cone."""
    X = np.random.default_rng(0).integers(-2, 3, (14, 4)).astype(float) / 3.0
    a = Arrangement(X)
    rows = fractions(a.coords)
    for seed in range(5):
        u = np.random.default_rng(seed).standard_normal(4)
        side = np.where(a.coords @ u < 0.0, -1, 1)
        _, work = find_cell(a, side)
        frames = work.frames
        for slot in frames.slots[0, : frames.n_rays[0]]:
            *define, orientation = frames.define[0, slot].tolist()
            g = [orientation * determinant([rows[t] for t in define] + [unit]) for unit in fractions(np.eye(4))]
            assert any(g)
            assert all(int(side[h]) * dot(rows[h], g) >= 0 for h in range(a.n_planes))


@quick
@given(arrays(np.int64, (6, 3), elements=st.integers(-2, 2)))
def test_merging_parallel_rows(X):
    X = X[X.any(axis=1)].astype(float)
    line, sign = merge_parallel(X)
    for i, j in itertools.combinations(range(len(X)), 2):
        cross = all(X[i, k] * X[j, m] == X[i, m] * X[j, k] for k in range(3) for m in range(3))
        assert (line[i] == line[j]) == cross
        if cross:
            assert sign[i] * sign[j] == np.sign(X[i] @ X[j])


def test_merging_rows_of_any_magnitude():
    x = np.array([3.0, 2.0**-1000, 5.0])
    far = np.array([1.0, 2.0**-1074, 0.0])
    rows = np.array([x, 2.0**1000 * x, -x, far, 2.0**900 * far, [1.0, 2.0**-1073, 0.0], 3.0 * np.ones(3), np.ones(3)])
    line, sign = merge_parallel(rows)
    assert len({*line}) == 4
    assert line[0] == line[1] == line[2]
    assert line[3] == line[4] != line[5]
    assert line[6] == line[7]
    assert sign.tolist() == [1, 1, -1, 1, 1, 1, 1, 1]


@pytest.mark.parametrize(("m", "words"), [(1, 1), (13, 1), (5000, 3)])
def test_sorting_rows_word_by_word(m, words):
    rng = np.random.default_rng(m)
    half = rng.integers(-(2**63), 2**63 - 1, (m, words))
    half[:, : words - 1] = rng.integers(-2, 2, (m, words - 1))  # long runs of equal words
    half[:, -1] = rng.permutation(m) - m // 2
    mask = np.full(words, -1, dtype=np.int64)
    octets = in_order([half], mask, 64 * words)
    rows = [row.tobytes() for row in octets]
    expected = np.concatenate([half, ~half]).astype(">i8")
    assert rows == sorted(row.tobytes() for row in expected)
