"""Geometry of cells: interior points, rays, facets, sums, chunks, and cells found on demand."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from exactrelu.enumerate import (
    Arrangement,
    cell_across,
    cell_containing,
    iter_cells,
    max_patterns,
    neighbours,
    sign_patterns,
)
from exactrelu.enumerate.cone_tree._frames import Workspace
from exactrelu.enumerate.cone_tree._state import CELLS, COUNT, PATTERNS
from exactrelu.enumerate.cone_tree._walk import TreeWalk

from naive import exact_rays, fractions, independent_coordinates, inside, lines

quick = settings(deadline=None, max_examples=30)


def gaussian(n, r, seed=0):
    return np.random.default_rng(seed).standard_normal((n, r))


@st.composite
def matrices(draw):
    """Small matrices: degenerate integers, or floats with rows repeated, flipped and an ulp away."""
    shape = draw(st.integers(1, 7)), draw(st.integers(1, 4))
    if draw(st.booleans()):
        return draw(arrays(np.int64, shape, elements=st.integers(-2, 2))).astype(float)
    X = gaussian(*shape, draw(st.integers(0, 10**6)))
    k = draw(st.integers(0, shape[0] - 1))
    near = X[k].copy()
    near[-1] = np.nextafter(near[-1], np.inf)
    return np.vstack([X, -2.0 * X[:1], near])


def all_cells(X, **options):
    """(pattern, point, rays, facets, sums) of every cell, over all chunks."""
    n = X.n if isinstance(X, Arrangement) else len(X)
    for chunk in iter_cells(X, rays=True, facets=True, **options):
        patterns = np.unpackbits(chunk.patterns, axis=1, count=n).astype(bool)
        (ray_ptr, rays), (facet_ptr, facets) = chunk.rays, chunk.facets
        for k in range(len(chunk)):
            sums = None if chunk.sums is None else chunk.sums[k]
            yield (
                patterns[k], chunk.points[k], rays[ray_ptr[k] : ray_ptr[k + 1]],
                facets[facet_ptr[k] : facet_ptr[k + 1]], sums,
            )  # fmt: skip


def flipped(arrangement, pattern, row):
    out = pattern.copy()
    out[arrangement.parallel_rows(row)] ^= True
    return tuple(out)


@quick
@given(matrices())
def test_points_lie_strictly_inside_exactly(X):
    columns = Arrangement(X).columns
    rows = fractions(X[:, columns])
    for pattern, point, *_ in all_cells(X):
        assert inside(rows, pattern, point[columns])
        assert not np.delete(point, columns).any()


@quick
@given(matrices())
def test_each_cell_once(X):
    found = sorted(pattern.tolist() for pattern, *_ in all_cells(X))
    assert found == sign_patterns(X).tolist()


@quick
@given(matrices())
def test_rays_are_the_extreme_rays(X):
    columns = Arrangement(X).columns
    rows = fractions(X[:, columns])
    axes = lines([row for row in rows if any(row)], len(columns)) if len(columns) else []
    for pattern, _, rays, _, _ in all_cells(X):
        expected = np.array([[float(v) for v in ray] for ray in exact_rays(rows, pattern, axes)])
        assert len(rays) == len(expected)
        rest = np.delete(rays, columns, axis=1)
        assert not rest.any()
        if len(rays):
            given_rays = rays[:, columns] / np.abs(rays[:, columns]).max(axis=1, keepdims=True)
            distance = np.abs(given_rays[:, None] - expected[None]).max(axis=2)
            # an ulp apart, rays are known to half the digits; each expected ray has its own counterpart
            assert sorted(distance.argmin(axis=1)) == list(range(len(rays))) or distance.min(axis=1).max() < 1e-6


@quick
@given(matrices())
def test_facets_are_the_rows_whose_flip_is_a_cell(X):
    a = Arrangement(X)
    patterns = {tuple(p) for p in sign_patterns(X).tolist()}
    for pattern, _, _, facets, _ in all_cells(a):
        walls = {int(a.parallel_rows(i)[0]) for i in np.flatnonzero(~a.zero_rows) if flipped(a, pattern, i) in patterns}
        assert sorted(facets.tolist()) == sorted(walls)


@pytest.mark.parametrize(
    "X",
    [
        np.array(list(itertools.product((0, 1), repeat=4)))[1:],
        np.array([(1, *bits) for bits in itertools.product((0, 1), repeat=3)]),
        np.random.default_rng(0).integers(-1, 2, (30, 4)),
    ],
    ids=["resonance", "threshold", "signs"],
)
def test_facets_where_many_rows_meet(X):
    """Rows that merely touch a cell in a ray or an edge are no facets of it, though the tree has split on them."""
    a = Arrangement(X)
    patterns = {tuple(p) for p in sign_patterns(X).tolist()}
    firsts = a.representative
    for pattern, _, _, facets, _ in all_cells(a):
        assert sorted(facets) == sorted(i for i in firsts if flipped(a, pattern, i) in patterns)


@pytest.mark.parametrize("n", [3, 4, 5])
def test_cells_of_reflections_are_simplicial(n):
    E = np.eye(n)
    X = np.array([E[i] - E[j] for i, j in itertools.combinations(range(n), 2)])
    shapes = {(len(rays), len(facets)) for _, _, rays, facets, _ in all_cells(X)}
    assert shapes == {(n - 1, n - 1)}


@quick
@given(matrices(), st.integers(1, 3))
def test_sums_are_those_of_the_active_rows(X, c):
    table = np.random.default_rng(c).integers(-5, 6, (len(X), c)).astype(float)
    for pattern, *_, sums in all_cells(X, row_sums=table):
        np.testing.assert_array_equal(sums, pattern @ table)


@quick
@given(matrices(), st.integers(1, 9))
def test_chunk_sizes_do_not_matter(X, chunk_size):
    chunks = list(iter_cells(X, chunk_size=chunk_size, rays=True, facets=True, row_sums=X))
    assert all(1 <= len(chunk) <= chunk_size for chunk in chunks)
    fields = {(p.tobytes(), u.tobytes(), g.tobytes(), f.tobytes()) for p, u, g, f, _ in all_cells(X)}
    small = all_cells(X, chunk_size=chunk_size)
    assert {(p.tobytes(), u.tobytes(), g.tobytes(), f.tobytes()) for p, u, g, f, _ in small} == fields


def test_only_what_is_asked_for():
    chunk = next(iter_cells(gaussian(5, 2)))
    assert (chunk.rays, chunk.facets, chunk.sums) == (None, None, None)
    assert len(chunk) == 10


def test_facet_normals_point_into_the_cell():
    X = np.random.default_rng(3).integers(-2, 3, (12, 3)).astype(float)
    turn = np.array([[2.0, 1.0, 0.0], [0.0, 1.0, 0.0], [1.0, 0.0, -1.0]])  # other coordinates: X u = (X turn) v
    (chunk,) = iter_cells(X, facets=True)
    for k in range(len(chunk)):
        normals = chunk.facet_normals(k, X)
        assert len(normals) == np.diff(chunk.facets[0])[k]
        assert (normals @ chunk.points[k] > 0.0).all()
        np.testing.assert_array_equal(chunk.facet_normals(k, X @ turn), normals @ turn)
    with pytest.raises(ValueError, match="facets=True"):
        next(iter_cells(X)).facet_normals(0, X)


def test_cells_of_all_zero_data():
    (chunk,) = iter_cells(np.zeros((3, 2)), rays=True, facets=True, row_sums=np.ones((3, 1)))
    assert chunk.patterns.tolist() == [[0b11100000]]
    assert chunk.rays[1].shape == (0, 2)
    assert chunk.sums.tolist() == [[3.0]]
    cell = cell_containing(np.zeros((3, 2)), [1.0, 2.0])
    assert cell.pattern.all()
    assert cell.facets.shape == (0,)


@quick
@given(matrices(), st.integers(0, 10**6))
def test_cell_containing_agrees_with_enumeration(X, seed):
    a = Arrangement(X)
    u = np.random.default_rng(seed).standard_normal(X.shape[1])
    cell = cell_containing(a, u)
    by_pattern = {tuple(p): (point, len(rays), sorted(facets)) for p, point, rays, facets, _ in all_cells(a)}
    _, n_rays, facets = by_pattern[tuple(cell.pattern)]
    assert (len(cell.rays), sorted(cell.facets)) == (n_rays, facets)
    assert inside(fractions(X[:, a.columns]), cell.pattern, cell.point[a.columns])


@pytest.mark.parametrize(("n", "r"), [(50, 1), (300, 2), (200, 3), (60, 4), (30, 6)])
def test_cell_containing_a_generic_direction(n, r):
    X = gaussian(n, r)
    a = Arrangement(X)
    for u in gaussian(10, r, 1):
        cell = cell_containing(a, u)
        np.testing.assert_array_equal(cell.pattern, X @ u > 0)
        np.testing.assert_array_equal(cell.pattern, X @ cell.point > 0)


def test_cell_containing_a_direction_on_hyperplanes():
    X = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, -1.0]])
    cell = cell_containing(X, [0.0, 1.0])
    assert cell.pattern[[1, 2]].all()
    assert not cell.pattern[3]
    patterns = sign_patterns(X).tolist()
    assert cell.pattern.tolist() in patterns
    assert cell_containing(X, [0.0, 0.0]).pattern.tolist() in patterns
    assert cell_containing(X, [1e-320, 2e-320]).pattern.tolist() == [True, True, True, False]
    assert cell_containing(X, [1e308, 1.7e308]).pattern.tolist() == [True, True, True, False]


def test_cell_containing_with_fewer_columns_than_features():
    rng = np.random.default_rng(0)
    X = rng.integers(-50, 51, (30, 2)) @ rng.integers(-9, 10, (2, 5)).astype(float)  # exact: rank 2
    assert Arrangement(X).rank == 2
    for u in gaussian(10, 5, 2):
        cell = cell_containing(X, u)
        np.testing.assert_array_equal(cell.pattern, (X @ u > 0) | ~X.any(axis=1))
        np.testing.assert_array_equal(cell.pattern, (X @ cell.point > 0) | ~X.any(axis=1))


def test_cell_containing_a_direction_whose_side_rounding_hides():
    """In floats 0.1 - 0.3 + 0.2 is not 0, and the products of 1e17 swallow the 1."""
    X = np.array([[1e17, 1.0, -1e17], [0.1, -0.3, 0.2], [0.0, 1.0, 0.0]])
    cell = cell_containing(X, [1.0, 1.0, 1.0])
    exact = [sum(row) > 0 for row in fractions(X)]
    assert cell.pattern.tolist() == exact
    assert not cell_containing(-X, [1.0, 1.0, 1.0]).pattern[[i for i in range(3) if exact[i]]].any()


@quick
@given(matrices(), st.integers(0, 10**6))
def test_across_a_facet_and_back(X, seed):
    a = Arrangement(X)
    start = cell_containing(a, np.random.default_rng(seed).standard_normal(X.shape[1]))
    for row in start.facets:
        other = cell_across(a, start.pattern, row)
        assert tuple(other.pattern) == flipped(a, start.pattern, row)
        assert row in other.facets
        np.testing.assert_array_equal(cell_across(a, other.pattern, row).pattern, start.pattern)


@quick
@given(matrices(), st.integers(0, 10**6))
def test_neighbours_are_mutual(X, seed):
    a = Arrangement(X)
    start = cell_containing(a, np.random.default_rng(seed).standard_normal(X.shape[1]))
    others = neighbours(a, start)
    assert len(others) == len(start.facets)
    for row, other in zip(start.facets, others, strict=True):
        assert tuple(other.pattern) == flipped(a, start.pattern, row)
        assert tuple(start.pattern) in {tuple(cell.pattern) for cell in neighbours(a, other.pattern)}


def test_neighbours_reach_every_cell():
    X = np.random.default_rng(3).integers(-2, 3, (12, 3))
    a = Arrangement(X)
    start = cell_containing(a, [0.3, 0.2, 0.1])
    seen, todo = {start.pattern.tobytes()}, [start]
    while todo:
        for other in neighbours(a, todo.pop()):
            if other.pattern.tobytes() not in seen:
                seen.add(other.pattern.tobytes())
                todo.append(other)
    assert seen == {pattern.tobytes() for pattern in sign_patterns(X)}
    with pytest.raises(ValueError, match="no cell has this pattern"):
        neighbours(np.vstack([X, X]), np.arange(24) < 12)
    with pytest.raises(ValueError, match=r"shape \(12,\), got \(3,\)"):
        neighbours(X, [True] * 3)


def test_a_cell_with_more_rays_and_facets_than_one_word():
    angle = np.arange(150) * (2 * np.pi / 150)
    X = np.c_[np.cos(angle), np.sin(angle), np.ones(150)]  # tangent planes of a circular cone
    cells = {tuple(p): (rays, facets) for p, _, rays, facets, _ in all_cells(X)}
    assert len(cells) == max_patterns(150, 3)
    rays, facets = cells[(True,) * 150]
    assert len(rays) == len(facets) == 150
    centre = cell_containing(X, [0.0, 0.0, 1.0])
    assert len(centre.rays) == 150


@pytest.mark.parametrize("mode", [COUNT, PATTERNS, CELLS])
def test_tiny_work_space_grows_without_loss(mode):
    a = Arrangement(np.random.default_rng(0).integers(-2, 3, (40, 4)))
    walk = TreeWalk(a, mode, 10**5)
    expected = TreeWalk(a, mode, 10**5)
    walk.work = Workspace(a, 2, a.n_planes, 0)
    assert walk.run()
    assert expected.run()
    assert walk.visited == expected.visited
    filled = expected.filled
    assert walk.filled == filled
    np.testing.assert_array_equal(walk.out.patterns[:filled], expected.out.patterns[:filled])


def test_streaming_does_not_run_ahead():
    a = Arrangement(gaussian(100, 5))
    walk = TreeWalk(a, CELLS, 64)
    assert not walk.run()
    assert walk.visited == walk.filled <= 64


def test_threads_share_an_arrangement():
    a = Arrangement(np.random.default_rng(1).standard_normal((8, 3)) @ np.diag([1 / 3, np.pi, 1.0]))
    X = np.vstack([a.X, 3.0 * a.X, a.X[:4] + a.X[4:8]])
    shared = Arrangement(X)
    expected = sign_patterns(X, packed=True)

    def both_ways(_):
        streamed = np.concatenate([chunk.patterns for chunk in iter_cells(shared)])
        return sign_patterns(shared, packed=True), np.unique(streamed, axis=0)

    with ThreadPoolExecutor(4) as pool:
        for result, streamed in pool.map(both_ways, range(4)):
            np.testing.assert_array_equal(result, expected)
            np.testing.assert_array_equal(streamed, expected)
    assert shared.planes.calls[0] > 0


def test_thin_cells_have_points_inside():
    rows = [gaussian(1, 3, 7)[0]]
    for j in itertools.cycle(range(3)):
        row = rows[-1].copy()
        row[j] = np.nextafter(row[j], np.inf)
        rows.append(row)
        if len(rows) == 4:
            break
    X = np.vstack([rows, gaussian(2, 3)])
    a = Arrangement(X, rank=3)
    cells = list(all_cells(a))
    assert sum(min(abs(X @ point)) < 1e-15 for _, point, *_ in cells) > 2  # the float filter could not have done it
    for pattern, point, *_ in cells:
        assert inside(fractions(X), pattern, point)


def test_a_cell_without_float_points_warns():
    top = 2.0**53 - 1.0
    X = np.array([[top, top - 1.0], [top - 1.0, top - 2.0]])
    with pytest.warns(RuntimeWarning, match="too thin"):
        cells = list(all_cells(Arrangement(X, rank=2)))
    assert len(cells) == 4
    assert independent_coordinates(fractions(X))[1] == 2


def test_bad_arguments():
    X = gaussian(4, 2)
    with pytest.raises(ValueError, match="chunk_size must be a positive integer, got 0"):
        iter_cells(X, chunk_size=0)
    with pytest.raises(ValueError, match=r"row_sums must have shape \(4, c\), got \(3, 1\)"):
        iter_cells(X, row_sums=np.ones((3, 1)))
    with pytest.raises(ValueError, match=r"u must have shape \(2,\), got \(3,\)"):
        cell_containing(X, [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="u must be finite"):
        cell_containing(X, [np.nan, 1.0])
    with pytest.raises(ValueError, match=r"pattern must have shape \(4,\), got \(3,\)"):
        cell_across(X, [True] * 3, 0)
    with pytest.raises(ValueError, match=r"pattern must hold booleans, got \[-1  1  1  1\]"):
        neighbours(X, [-1, 1, 1, 1])
    pattern = cell_containing(X, [1.0, 0.0]).pattern
    inner = next(i for i in range(4) if i not in cell_containing(X, [1.0, 0.0]).facets)
    with pytest.raises(ValueError, match=f"row {inner} is not on a facet"):
        cell_across(X, pattern, inner)
    with pytest.raises(ValueError, match="row 4 is zero"):
        Arrangement(np.vstack([X, np.zeros(2)])).parallel_rows(4)
