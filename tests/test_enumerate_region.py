"""Parts of arrangements: restriction to cones, and affine arrangements."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from exactrelu.enumerate import Arrangement, count_patterns, iter_cells, max_patterns, sign_patterns
from exactrelu.enumerate.cone_tree import _subtrees as subtrees_module

from naive import dot, exact_patterns, fractions

quick = settings(deadline=None, max_examples=40)


def gaussian(n, r, seed=0):
    return np.random.default_rng(seed).standard_normal((n, r))


def as_set(patterns):
    return {tuple(row) for row in patterns.tolist()}


@st.composite
def with_conditions(draw):
    """A degenerate matrix, rows of it (zero, repeated and contradictory ones too) and signs."""
    shape = draw(st.integers(1, 8)), draw(st.integers(1, 4))
    X = draw(arrays(np.int64, shape, elements=st.integers(-2, 2)))
    k = draw(st.integers(0, 4))
    rows = np.array(draw(st.lists(st.integers(0, shape[0] - 1), min_size=k, max_size=k)), dtype=np.int64)
    signs = np.array(draw(st.lists(st.sampled_from((-1, 1)), min_size=k, max_size=k)), dtype=np.int64)
    return X, rows, signs


@st.composite
def affine(draw):
    """A degenerate matrix and small offsets."""
    shape = draw(st.integers(1, 7)), draw(st.integers(1, 3))
    X = draw(arrays(np.int64, shape, elements=st.integers(-2, 2)))
    return X, draw(arrays(np.int64, shape[0], elements=st.integers(-2, 2)))


def affine_patterns(X, b):
    """The naive reference: the patterns of (x, b) on the side u_(d+1) > 0."""
    rows = np.vstack([np.column_stack([X, b]), np.append(np.zeros(X.shape[1]), 1.0)])
    return {pattern[:-1] for pattern in exact_patterns(fractions(rows)) if pattern[-1]}


def agrees(X, pattern, rows, signs):
    return all(X[i].any() and pattern[i] == (s > 0) for i, s in zip(rows, signs, strict=True))


@quick
@given(with_conditions())
def test_cells_within_a_cone(problem):
    X, rows, signs = problem
    expected = {p for p in exact_patterns(fractions(X)) if agrees(X, p, rows, signs)}
    patterns = sign_patterns(X, within=(rows, signs))
    assert as_set(patterns) == expected
    assert patterns.shape == (len(expected), len(X))
    assert patterns.tolist() == sorted(patterns.tolist())
    assert count_patterns(X, within=(rows, signs)) == len(expected)
    table = np.arange(1.0, len(X) + 1)[:, None]
    chunks = list(iter_cells(X, within=(rows, signs), chunk_size=3, facets=True, rays=True, row_sums=table))
    found = [tuple(p) for c in chunks for p in np.unpackbits(c.patterns, axis=1, count=len(X)).astype(bool).tolist()]
    assert sorted(found) == sorted(expected)
    for chunk in chunks:
        bits = np.unpackbits(chunk.patterns, axis=1, count=len(X)).astype(bool)
        np.testing.assert_array_equal(chunk.sums, bits @ table)
        np.testing.assert_array_equal(bits[:, X.any(axis=1)], (chunk.points @ X.T > 0)[:, X.any(axis=1)])


@quick
@given(with_conditions())
def test_cones_partition_the_cells(problem):
    X, rows, _ = problem
    rows = np.unique(rows)
    parts = [
        count_patterns(X, within=(rows, np.array(signs, dtype=int)))
        for signs in itertools.product((-1, 1), repeat=len(rows))
    ]
    if X[rows].any(axis=1).all():
        assert sum(parts) == count_patterns(X)
    else:
        assert not any(parts)


@pytest.mark.parametrize("n_jobs", [1, 3])
def test_a_large_cone_in_parts(monkeypatch, n_jobs):
    monkeypatch.setattr(subtrees_module, "WORTH_SHARING", 0)
    X = np.vstack([gaussian(60, 4), np.eye(4)])
    cones = [((60, 61, 62, 5), signs) for signs in itertools.product((-1, 1), repeat=4)]
    counts = [count_patterns(X, within=cone, n_jobs=n_jobs) for cone in cones]
    assert sum(counts) == max_patterns(64, 4)
    assert [len(sign_patterns(X, within=cone, packed=True, n_jobs=n_jobs)) for cone in cones] == counts


def test_a_narrow_cone_of_many_rows_is_quick():
    """The time depends on the cells in the cone: all of it would take hours."""
    X = gaussian(400, 5)
    signs = np.where(X[:399] @ np.ones(5) > 0, 1, -1)
    assert count_patterns(X, within=(np.arange(399), signs)) in (1, 2)


@quick
@given(affine())
def test_affine_arrangements(problem):
    X, b = problem
    expected = affine_patterns(X, b)
    patterns = sign_patterns(X, offsets=b)
    assert as_set(patterns) == expected
    assert patterns.tolist() == sorted(patterns.tolist())
    np.testing.assert_array_equal(sign_patterns(X, offsets=b, packed=True), np.packbits(patterns, axis=1))
    assert count_patterns(X, offsets=b) == len(expected)
    assert count_patterns(X, offsets=b, method="deletion-restriction") == len(expected)


@quick
@given(affine())
def test_points_vertices_and_facets_of_affine_cells(problem):
    X, b = problem
    rows, every = fractions(X), affine_patterns(X, b)
    a = Arrangement(np.column_stack([X, b]))
    found = set()
    for chunk in iter_cells(X, offsets=b, rays=True, facets=True, row_sums=np.ones((len(X), 1))):
        patterns = np.unpackbits(chunk.patterns, axis=1, count=len(X)).astype(bool)
        (ray_ptr, rays), (facet_ptr, facets) = chunk.rays, chunk.facets
        np.testing.assert_array_equal(chunk.sums[:, 0], patterns.sum(axis=1))
        for k, (pattern, point) in enumerate(zip(patterns, chunk.points, strict=True)):
            found.add(tuple(pattern.tolist()))
            u = [Fraction(v) for v in point.tolist()]
            for row, offset, side in zip(rows, b.tolist(), pattern, strict=True):
                if any(row) or offset:
                    assert (dot(row, u) + offset > 0) == side
                    assert dot(row, u) + offset != 0
            mine = rays[ray_ptr[k] : ray_ptr[k + 1]]
            assert mine.shape[1] == X.shape[1] + 1
            assert np.isin(mine[:, -1], (0.0, 1.0)).all()
            values = (mine @ np.column_stack([X, b]).T) * np.where(pattern, 1, -1)
            assert (values > -1e-9).all()
            walls = set()
            for i in np.flatnonzero(X.any(axis=1)):
                other = pattern.copy()
                other[a.parallel_rows(i)] ^= True
                if tuple(other.tolist()) in every:
                    walls.add(int(a.parallel_rows(i)[0]))
            assert sorted(facets[facet_ptr[k] : facet_ptr[k + 1]].tolist()) == sorted(walls)
    assert found == every


def test_bounded_and_unbounded_cells():
    """Three lines in the plane in general position: seven regions, one of them a triangle."""
    X, b = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), np.array([0.0, 0.0, -1.0])
    (chunk,) = iter_cells(X, offsets=b, rays=True)
    ptr, rays = chunk.rays
    shapes = sorted(
        (int((part[:, -1] == 1).sum()), int((part[:, -1] == 0).sum())) for part in np.split(rays, ptr[1:-1])
    )
    assert shapes == [(1, 2), (1, 2), (1, 2), (2, 2), (2, 2), (2, 2), (3, 0)]
    vertices = {tuple(v[:2]) for v in rays if v[2] == 1.0}
    assert vertices == {(0.0, 0.0), (0.0, 1.0), (1.0, 0.0)}


@pytest.mark.parametrize(("n", "d"), [(30, 1), (40, 2), (20, 3), (12, 5)])
def test_affine_general_position(n, d):
    """Zaslavsky: ``sum_{k <= d} C(n, k)`` regions."""
    regions = sum(math.comb(n, k) for k in range(d + 1))
    assert count_patterns(gaussian(n, d), offsets=gaussian(n, 1, 1)[:, 0]) == regions


@pytest.mark.parametrize("n", [3, 4, 5, 6])
def test_shi_and_catalan_arrangements(n):
    """(n+1)**(n-1) and n! Catalan(n) regions (Shi 1986; Stanley, *An introduction to hyperplane arrangements*)."""
    E = np.eye(n)
    pairs = [E[i] - E[j] for i, j in itertools.combinations(range(n), 2)]
    X, b = np.array(pairs * 2), np.repeat([0.0, -1.0], len(pairs))
    assert count_patterns(X, offsets=b) == (n + 1) ** (n - 1)
    X, b = np.array(pairs * 3), np.repeat([0.0, -1.0, 1.0], len(pairs))
    assert count_patterns(X, offsets=b) == math.factorial(n) * math.comb(2 * n, n) // (n + 1)


def test_cells_of_an_affine_arrangement_within_a_cone():
    X, b = gaussian(20, 2), gaussian(20, 1, 1)[:, 0]
    every = sign_patterns(X, offsets=b)
    inside = sign_patterns(X, offsets=b, within=([3, 8], [1, -1]))
    np.testing.assert_array_equal(inside, every[every[:, 3] & ~every[:, 8]])


def test_a_memory_limit():
    X = gaussian(200, 3)
    with pytest.raises(MemoryError, match=rf"{max_patterns(200, 3)} patterns of 200 rows.*1\.00e\+05 .*iter_cells"):
        sign_patterns(X, max_memory=1e5)
    assert len(sign_patterns(X, packed=True, max_memory=1e9)) == max_patterns(200, 3)
    signs = np.where(X[:150] @ np.ones(3) > 0, 1, -1)
    assert len(sign_patterns(X, packed=True, max_memory=1e5, within=(np.arange(150), signs))) < 1000


def test_bad_arguments():
    X = gaussian(4, 2)
    for within, message in [
        (3, r"a pair \(rows, signs\), got 3"),
        (([0, 1], [1]), r"shapes \(2,\) and \(1,\)"),
        (([4], [1]), r"integers from 0 to 3, got \[4\]"),
        (([-1], [1]), r"got \[-1\]"),
        (([0.0], [1]), r"got \[0\.\]"),
        (([0], [0]), r"-1 or 1, got \[0\]"),
        (([0], [True]), "-1 or 1, got"),
    ]:
        with pytest.raises(ValueError, match=message):
            count_patterns(X, within=within)
    with pytest.raises(ValueError, match=r"offsets must have shape \(4,\), got \(3,\)"):
        iter_cells(X, offsets=np.ones(3))
    with pytest.raises(ValueError, match="offsets must be finite"):
        sign_patterns(X, offsets=[0.0, np.nan, 1.0, 2.0])
    with pytest.raises(ValueError, match="within is not supported"):
        count_patterns(X, within=([0], [1]), method="deletion-restriction")
    with pytest.raises(ValueError, match="positive number of bytes, got 0"):
        sign_patterns(X, max_memory=0)
