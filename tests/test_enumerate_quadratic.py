"""Rows with coordinates in a real quadratic field, where floats lose the ties."""

from __future__ import annotations

import pickle
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from exactrelu.enumerate import Arrangement, count_patterns, iter_cells, sign_patterns

from naive import exact_patterns, lp_patterns

quick = settings(deadline=None, max_examples=30)


class Number:
    """a + b sqrt(m), with rational a and b: enough of a field for the naive reference."""

    def __init__(self, a, b, m):
        self.a, self.b, self.m = Fraction(a), Fraction(b), m

    def _other(self, other):
        return other if isinstance(other, Number) else Number(other, 0, self.m)

    def __add__(self, other):
        other = self._other(other)
        return Number(self.a + other.a, self.b + other.b, self.m)

    __radd__ = __add__

    def __neg__(self):
        return Number(-self.a, -self.b, self.m)

    def __sub__(self, other):
        return self + -self._other(other)

    def __mul__(self, other):
        other = self._other(other)
        return Number(self.a * other.a + self.m * self.b * other.b, self.a * other.b + self.b * other.a, self.m)

    __rmul__ = __mul__

    def __truediv__(self, other):
        other = self._other(other)
        norm = other.a**2 - self.m * other.b**2
        return self * Number(other.a / norm, -other.b / norm, self.m)

    def __gt__(self, other):
        a, b = (self - other).a, (self - other).b
        if a * b >= 0:
            return a > 0 or b > 0
        return (a > 0) == (a * a > self.m * b * b)

    def __lt__(self, other):
        return -self > -self._other(other)

    def __eq__(self, other):
        other = self._other(other)
        return (self.a, self.b) == (other.a, other.b)

    def __hash__(self):
        return hash((self.a, self.b))

    def __bool__(self):
        return bool(self.a or self.b)


def numbers(A, B, m):
    return [[Number(int(a), int(b), m) for a, b in zip(*pair, strict=True)] for pair in zip(A, B, strict=True)]


def golden_roots(rank):
    """Positive roots of H_rank times 2, as A + B sqrt(5): reflections of simple roots in Z[golden ratio]."""
    # u + v tau is kept as (u, v); tau**2 = tau + 1
    found, todo = set(), [tuple((int(i == k), 0) for i in range(rank)) for k in range(rank)]
    value = (1, (1 + 5**0.5) / 2)
    while todo:
        root = todo.pop()
        found.add(root)
        for i in range(rank):
            u, v = -root[i][0], -root[i][1]
            for j in (i - 1, i + 1):
                if 0 <= j < rank:
                    a, b = root[j]
                    # the first pair of simple roots is at an angle of pi - pi/5: -2 cos = -tau
                    u, v = (u + b, v + a + b) if {i, j} == {0, 1} else (u + a, v + b)
            image = (*root[:i], (u, v), *root[i + 1 :])
            if image not in found and u * value[0] + v * value[1] > -1e-9:
                todo.append(image)
    coefficients = np.array(sorted(found))
    return 2 * coefficients[:, :, 0] + coefficients[:, :, 1], coefficients[:, :, 1]


@pytest.mark.parametrize(("rank", "planes", "cells"), [(2, 5, 10), (3, 15, 120), (4, 60, 14400)])
def test_groups_of_the_pentagon(rank, planes, cells):
    """|H2| = 10, |H3| = 120, |H4| = 14400; every cell of a reflection arrangement is simplicial."""
    a = Arrangement.quadratic(*golden_roots(rank), 5)
    assert a.n_planes == planes
    assert count_patterns(a) == cells
    assert len(sign_patterns(a, packed=True)) == cells
    if rank < 4:
        for chunk in iter_cells(a, rays=True, facets=True):
            assert (np.diff(chunk.rays[0]) == rank).all()
            assert (np.diff(chunk.facets[0]) == rank).all()
            bits = np.unpackbits(chunk.patterns, axis=1, count=a.n).astype(bool)
            np.testing.assert_array_equal(chunk.points @ a.X.T > 0, bits)
    assert count_patterns(pickle.loads(pickle.dumps(a))) == cells


def test_floats_would_lose_the_ties():
    a = Arrangement.quadratic(*golden_roots(3), 5)
    assert count_patterns(a.X) > count_patterns(a)


@quick
@given(st.data(), st.sampled_from([2, 3, 5, 7, 12]))
def test_equals_the_naive_reference_in_the_field(data, m):
    shape = data.draw(st.integers(3, 6)), data.draw(st.integers(1, 3))
    A, B = (data.draw(arrays(np.int64, shape, elements=st.integers(-2, 2))) for _ in range(2))
    A[: shape[1]] += 3 * np.eye(shape[1], dtype=np.int64)
    assume(np.linalg.matrix_rank(A + B * m**0.5) == shape[1])
    a = Arrangement.quadratic(A, B, m)
    assert {tuple(p) for p in sign_patterns(a).tolist()} == exact_patterns(numbers(A, B, m))


def test_parallel_rows_are_merged_exactly():
    """(1 + sqrt 2)(1, sqrt 2) = (1 + sqrt 2, 2 + sqrt 2)."""
    a = Arrangement.quadratic([[1, 0], [1, 2], [-1, -2], [1, 1]], [[0, 1], [1, 1], [-1, -1], [0, 0]], 2)
    assert a.n_planes == 2
    assert a.row_sign.tolist() == [1, 1, -1, 1]
    b = Arrangement.quadratic([[0, 1], [0, 1]], [[-1, 0], [1, 0]], 2)
    assert {tuple(p) for p in sign_patterns(b).tolist()} == {tuple(p) for p in lp_patterns(b.X).tolist()}


def test_rational_rows_are_as_without_a_root():
    A = np.random.default_rng(0).integers(-3, 4, (12, 3))
    np.testing.assert_array_equal(sign_patterns(Arrangement.quadratic(A, 0 * A, 5)), sign_patterns(A))
    within = ([0, 1], [1, -1])
    np.testing.assert_array_equal(
        sign_patterns(Arrangement.quadratic(0 * A, A, 5), within=within), sign_patterns(A, within=within)
    )


def test_bad_arguments():
    A = np.eye(2, dtype=int)
    for root in (4, 1, -5, 2.5):
        with pytest.raises(ValueError, match=f"no square, got {root}"):
            Arrangement.quadratic(A, A, root)
    with pytest.raises(ValueError, match=r"A must be 2-D, got shape \(2,\)"):
        Arrangement.quadratic([1, 2], A, 5)
    with pytest.raises(ValueError, match="B must hold integers, got dtype float64"):
        Arrangement.quadratic(A, A / 2, 5)
    with pytest.raises(ValueError, match=r"same shape, got \(2, 2\) and \(1, 2\)"):
        Arrangement.quadratic(A, A[:1], 5)
    with pytest.raises(ValueError, match="must have rank 2, got numerical rank 1"):
        Arrangement.quadratic(np.ones((3, 2)), np.ones((3, 2)), 5)
    with pytest.raises(ValueError, match="too large"):
        Arrangement.quadratic(10**9 * np.eye(3), np.ones((3, 3)), 5)
