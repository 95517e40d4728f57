"""Cells by lowest vertices: walks along lines for rank 3, subsets of rows for higher ranks."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from exactrelu.enumerate import Arrangement, count_patterns, max_patterns, sign_patterns
from exactrelu.enumerate.cone_tree._subtrees import subtree_patterns, walk_subtrees
from exactrelu.enumerate.exact._region import make_region
from exactrelu.enumerate.vertices import _lowest as lowest
from exactrelu.enumerate.vertices import _runs
from exactrelu.enumerate.vertices._generic import COMPLETE, NOT_GENERIC, planes_with_functionals
from exactrelu.enumerate.vertices._sort import in_order

from naive import exact_patterns, fractions

quick = settings(deadline=None, max_examples=40)


def gaussian(n, r, seed=0):
    return np.random.default_rng(seed).standard_normal((n, r))


def by_tree(a):
    """All patterns from the cone tree, packed, in order."""
    half = np.concatenate(list(walk_subtrees(subtree_patterns, make_region(a, None, None))))
    return np.unique(a.packed(np.concatenate([half, half ^ a.nonzero_words])), axis=0)


def by_vertices(a, n_jobs=1):
    """All patterns from the lowest vertices; each antipodal pair must come once."""
    octets = lowest.patterns_by_lowest_vertices(a, n_jobs)
    assert len(octets) == 2 * lowest.count_by_lowest_vertices(a, n_jobs)
    return octets


@quick
@given(arrays(np.int64, st.tuples(st.integers(3, 9), st.just(3)), elements=st.integers(-2, 2)), st.integers(1, 9))
def test_lines_of_degenerate_integers(X, leaders):
    with patch.object(_runs, "LEADERS", leaders):
        a = Arrangement(X)
        if a.rank == 3:
            patterns = np.unpackbits(by_vertices(a), axis=1, count=len(X)).astype(bool)
            expected = exact_patterns(fractions(X))
            assert [tuple(row) for row in patterns.tolist()] == sorted(expected)


@quick
@given(
    st.integers(0, 10**6), st.integers(1, 4), st.sampled_from([1.0, 1 / 3, np.pi]), st.sampled_from([1, 2, 5, 20, 64])
)  # fmt: skip
def test_lines_of_repeated_and_concurrent_planes(seed, size, scale, leaders):
    rng = np.random.default_rng(seed)
    base = rng.integers(-size, size + 1, (40, 3)) * scale
    X = np.vstack([base, -2.0 * base[:5], np.zeros((1, 3)), rng.standard_normal((5, 3))])
    with patch.object(_runs, "LEADERS", leaders):
        a = Arrangement(X)
        np.testing.assert_array_equal(by_vertices(a), by_tree(a))


@pytest.mark.parametrize("leaders", [1, 3, 17, 63])
@pytest.mark.parametrize("n", [17, 64, 66, 200])
@pytest.mark.parametrize("more", [False, True])
def test_groups_of_many_cells(n, leaders, more, monkeypatch):
    """Fewer leading planes: larger groups, and up to 199 planes that cut them, so keys of several words."""
    monkeypatch.setattr(_runs, "LEADERS", leaders)
    X = gaussian(n, 3, leaders)
    if more:  # rows and planes differ, and many planes share a vertex
        X[: n // 4, 2] = 0.0
        X = np.vstack([X[:1] * 0.0, -X[n // 2 :], X, X[: n // 3]])
    a = Arrangement(X)
    assert a.n_planes == n
    np.testing.assert_array_equal(by_vertices(a, 2), by_tree(a))


@pytest.mark.parametrize(
    ("n", "r"), [(9, 3), (70, 3), (500, 3), (8, 4), (70, 4), (9, 5), (25, 5), (9, 6), (14, 7), (12, 8)]
)
def test_general_position(n, r):
    a = Arrangement(gaussian(n, r, n + r))
    np.testing.assert_array_equal(by_vertices(a), by_tree(a))


@quick
@given(st.integers(4, 6), st.integers(0, 10**6))
def test_subsets_with_zero_repeated_and_opposite_rows(r, seed):
    X = gaussian(r + 3, r, seed)
    X = np.vstack([X[:2], np.zeros((1, r)), -0.5 * X[:1], X[2:], X[3:4]])
    a = Arrangement(X)
    assert a.n_planes == r + 3
    np.testing.assert_array_equal(by_vertices(a), by_tree(a))


@pytest.mark.parametrize("r", [3, 4, 5, 6])
def test_rows_an_ulp_apart(r):
    """Two vertices, or whole lines, that floating point cannot tell apart; all signs near them are exact ones."""
    X = gaussian(r + 2, r, 1)
    near = X[:2].copy()
    near[[0, 1], [0, 1]] = np.nextafter(near[[0, 1], [0, 1]], np.inf)  # other directions: still in general position
    a = Arrangement(np.vstack([X, near]))
    assert a.n_planes == r + 4
    np.testing.assert_array_equal(by_vertices(a), by_tree(a))


def test_positions_crowded_beyond_the_leading_bits():
    """All planes but one pass close to one line, so that the first digits of the positions on it agree."""
    rng = np.random.default_rng(2)
    X = np.array([1.0, 1.0, 1.0]) + 1e-9 * rng.standard_normal((80, 3))
    a = Arrangement(np.vstack([X, [[1.0, -1.0, 0.0]]]), rank=3)
    assert count_patterns(a) == max_patterns(81, 3)
    np.testing.assert_array_equal(by_vertices(a), by_tree(a))


@pytest.mark.parametrize("r", [4, 5])
def test_a_degenerate_vertex_is_noticed_wherever_it_is(r):
    """r rows of rank r-1 at the end of the data; the tree takes over."""
    X = gaussian(12, r, 3)
    X[-r:-1] = np.round(2.0**20 * X[-r:-1]) / 2.0**20
    X[-1] = np.arange(1.0, r) @ X[-r:-1]  # exact
    a = Arrangement(X)
    assert lowest.patterns_by_lowest_vertices(a, 1) is None
    assert lowest.count_by_lowest_vertices(a, 2) is None
    assert count_patterns(a) == len(sign_patterns(a)) == count_patterns(a, method="deletion-restriction")
    assert count_patterns(a) < max_patterns(12, r)


@pytest.mark.parametrize("r", [3, 4, 5, 6])
def test_functionals_out_of_general_position_are_drawn_again(r, monkeypatch):
    """In the first draw every functional is a row of the data."""
    X = gaussian(r + 4, r, 4)

    def unlucky(arrangement, order, draw):
        tables = planes_with_functionals(arrangement, order, draw)
        if draw == 0:
            tables.coords[arrangement.n_planes :] = tables.coords[: len(tables.coords) - arrangement.n_planes]
            tables.residues[arrangement.n_planes :] = tables.residues[: len(tables.coords) - arrangement.n_planes]
        return tables

    monkeypatch.setattr(lowest, "planes_with_functionals", unlucky)
    a = Arrangement(X)
    method = lowest.LowestVertices(a, True, 0)
    assert NOT_GENERIC in {method(task).code for task in method.tasks()}
    np.testing.assert_array_equal(by_vertices(a), by_tree(a))


@pytest.mark.parametrize(("n", "r"), [(1000, 3), (60, 4), (30, 5), (20, 6)])
def test_tasks_cover_the_vertices_and_bound_their_cells(n, r, monkeypatch):
    monkeypatch.setattr(lowest, "TASK_SECONDS", 1e-5)
    a = Arrangement(gaussian(n, r))
    method = lowest.LowestVertices(a, False, 0)
    tasks = list(method.tasks())
    parts = [method(task) for task in tasks]
    assert len(tasks) > 20
    assert {part.code for part in parts} == {COMPLETE}
    assert all(part.cells <= part.task.cells for part in parts)
    assert sum(task.cells for task in tasks) == method.most_cells
    assert 2 * sum(part.cells for part in parts) == max_patterns(n, r) == count_patterns(a, n_jobs=2)


@pytest.mark.parametrize(("n", "r"), [(400, 3), (40, 4)])
def test_workers_change_nothing(n, r):
    X = gaussian(n, r)
    np.testing.assert_array_equal(sign_patterns(X, n_jobs=1), sign_patterns(X, n_jobs=3))
    with pytest.raises(ValueError, match="got 0"):
        count_patterns(X[:10], n_jobs=0)


@pytest.mark.parametrize("n", [3, 8, 61, 64, 65, 128, 130])
@pytest.mark.parametrize("threads", [1, 3])
def test_sorted_octets(n, threads, monkeypatch):
    """Rows of words, with many equal first words, against NumPy's order of rows of octets."""
    monkeypatch.setattr("exactrelu.enumerate.vertices._sort.PARALLEL", 16)
    rng = np.random.default_rng(n)
    bits = rng.integers(0, 2, (300, n)).astype(bool)
    bits[:, : n // 2] = bits[rng.integers(0, 3, 300), : n // 2]
    bits[:, 1] = n % 2 == 0  # a zero row where it is never flipped
    bits = np.unique(bits ^ bits[:, :1] & (np.arange(n) != 1), axis=0)
    rng.shuffle(bits)
    padded = np.zeros((len(bits), -(-n // 64) * 64), bool)
    padded[:, :n] = bits
    mask = np.zeros((1, padded.shape[1]), bool)
    mask[0, :n] = np.arange(n) != 1
    words, mask_words = (np.packbits(x, axis=1).view(">i8").astype(np.int64) for x in (padded, mask))
    expected = np.unique(np.packbits(np.concatenate([bits, bits ^ mask[0, :n]]), axis=1), axis=0)
    np.testing.assert_array_equal(in_order([words[:50], words[50:]], mask_words[0], n, threads), expected)


@pytest.mark.parametrize(("power", "used"), [(890, True), (960, False)])
@pytest.mark.parametrize("r", [3, 4])
def test_columns_of_extreme_size(power, used, r):
    """Functionals are scaled to the columns; where that could leave the range of floats, the tree takes over."""
    X = gaussian(r + 6, r, 5)
    a = Arrangement(X * 2.0 ** np.resize([power, -power, 0], r), rank=r)
    assert lowest.applies(a) == used
    np.testing.assert_array_equal(sign_patterns(a), sign_patterns(X))
