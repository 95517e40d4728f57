"""Arrangements whose numbers of cells are known, and their characteristic polynomials."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from exactrelu.enumerate import Arrangement, characteristic_polynomial, count_patterns

from arrangements import braid, cube, threshold, type_b

quick = settings(deadline=None, max_examples=40)


def type_d(n):
    return type_b(n)[n:]


def roots_of(cartan):
    """Positive roots in the basis of simple roots, from a Cartan matrix of integers."""
    n = len(cartan)
    found, todo = set(), [tuple(row) for row in np.eye(n, dtype=int).tolist()]
    while todo:
        root = todo.pop()
        found.add(root)
        for i in range(n):
            image = np.array(root)
            image[i] -= np.array(root) @ np.array(cartan)[:, i]
            if tuple(image.tolist()) not in found and image.min() >= 0:
                todo.append(tuple(image.tolist()))
    return np.array(sorted(found))


E6 = 2 * np.eye(6, dtype=int)
for i, j in [(0, 1), (1, 2), (2, 3), (3, 4), (2, 5)]:
    E6[i, j] = E6[j, i] = -1
F4 = [[2, -1, 0, 0], [-1, 2, -2, 0], [0, -1, 2, -1], [0, 0, -1, 2]]


@pytest.mark.parametrize(
    ("X", "cells"),
    [
        *((braid(n), math.factorial(n)) for n in (2, 3, 4, 5, 6, 7)),
        *((type_b(n), 2**n * math.factorial(n)) for n in (2, 3, 4, 5)),
        *((type_d(n), 2 ** (n - 1) * math.factorial(n)) for n in (3, 4, 5)),
        (roots_of(F4), 1152),
        (roots_of(E6), 51840),
        *((cube(n)[1:], cells) for n, cells in enumerate((2, 6, 32, 370, 11292, 1066044), 1)),
        *((threshold(n), cells) for n, cells in enumerate((4, 14, 104), 1)),
        (threshold(4), 1882),
        (threshold(5), 94572),
        (np.eye(10), 1024),
        (np.array([[0.0, 0.0], [0.0, 0.0]]), 1),
    ],
)
def test_known_arrangements(X, cells):
    assert count_patterns(X) == cells


@quick
@given(arrays(np.int64, st.tuples(st.integers(1, 8), st.integers(1, 4)), elements=st.integers(-2, 2)))
def test_characteristic_polynomial(X):
    """Zaslavsky's theorem, alternating signs, and 1 as a root."""
    a = Arrangement(X)
    chi = characteristic_polynomial(a)
    assert len(chi) == a.rank + 1
    assert all(type(c) is int and c * (-1) ** k > 0 for k, c in enumerate(chi))
    assert abs(np.polyval(chi, -1)) == count_patterns(a)
    if a.rank:
        assert -chi[1] == a.n_planes
        assert sum(chi) == 0


@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_exponents_of_reflection_groups(n):
    """The roots of the polynomial are 1, .., n-1 for the braid arrangement, and 1, 3, .., 2n-1 for type B."""
    assert characteristic_polynomial(braid(n)) == tuple(np.poly(np.arange(1, n)).round().astype(int))
    assert characteristic_polynomial(type_b(n)) == tuple(np.poly(np.arange(1, 2 * n, 2)).round().astype(int))
