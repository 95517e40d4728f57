"""Counting and listing sign patterns: known counts, references, invariances."""

from __future__ import annotations

import signal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.datasets import load_iris

from exactrelu.enumerate import Arrangement, count_patterns, iter_cells, max_patterns, sample_patterns, sign_patterns

from arrangements import braid, threshold, type_b
from naive import exact_patterns, fractions, lp_patterns

quick = settings(deadline=None, max_examples=40)


def gaussian(n, r, seed=0):
    return np.random.default_rng(seed).standard_normal((n, r))


def as_set(patterns):
    return {tuple(row) for row in patterns.tolist()}


@st.composite
def degenerate(draw, max_rows=8, max_columns=4):
    """Small integer matrices with zero, repeated, parallel and dependent rows."""
    shape = draw(st.integers(1, max_rows)), draw(st.integers(1, max_columns))
    return draw(arrays(np.int64, shape, elements=st.integers(-2, 2)))


@pytest.mark.parametrize(("n", "r"), [(1, 1), (7, 1), (1000, 2), (1000, 3), (50, 4), (40, 5), (20, 6), (12, 9), (3, 5)])
def test_general_position_reaches_covers_bound(n, r):
    assert count_patterns(gaussian(n, r)) == max_patterns(n, r)


@pytest.mark.parametrize("scale", [np.pi, 1 / 3])
def test_irrational_scale_of_a_degenerate_arrangement_needs_exact_signs(scale):
    """Scaled rows are integer rows times one float, so all ties persist, but the filter cannot decide them."""
    a = Arrangement(braid(5) * scale)
    assert count_patterns(a) == sum(map(len, iter_cells(a))) == 120
    assert a.planes.eps > 0.0
    assert a.planes.calls[0] > 0


def test_integer_data_need_no_exact_signs():
    a = Arrangement(threshold(4))
    assert a.planes.eps == 0.0
    assert count_patterns(a) == sum(map(len, iter_cells(a))) == 1882
    assert a.planes.calls[0] == 0


@quick
@given(degenerate(max_rows=6, max_columns=3))
def test_equals_one_linear_program_per_candidate(X):
    expected = lp_patterns(X)
    np.testing.assert_array_equal(sign_patterns(X), expected)
    assert count_patterns(X) == len(expected)


@quick
@given(degenerate())
def test_equals_rational_reference_on_degenerate_integers(X):
    expected = exact_patterns(fractions(X))
    assert as_set(sign_patterns(X)) == expected
    assert count_patterns(X, method="deletion-restriction") == len(expected)


@st.composite
def nearly_parallel(draw):
    """Float rows, some an ulp or a rounded multiple away from others."""
    r = draw(st.integers(2, 3))
    X = gaussian(draw(st.integers(r, 4)), r, draw(st.integers(0, 10**6)))
    steps = draw(st.lists(st.tuples(st.integers(0, len(X) - 1), st.integers(0, r)), min_size=1, max_size=3))
    near = []
    for i, j in steps:
        row = X[i].copy() * (3.0 if j == r else 1.0)
        if j < r:
            row[j] = np.nextafter(row[j], np.inf)
        near.append(row)
    return np.vstack([X, near])


@quick
@given(nearly_parallel())
def test_equals_rational_reference_an_ulp_apart(X):
    assert as_set(sign_patterns(X)) == exact_patterns(fractions(X))


def test_rows_whose_quotients_round_alike_stay_apart():
    """p/q and p'/q' differ by 1/(q q') = 2**-106 here, far below the spacing of floats."""
    top = 2.0**53 - 1.0
    near = np.array([[top, top - 1.0], [top - 1.0, top - 2.0]])
    assert near[0, 1] / near[0, 0] == near[1, 1] / near[1, 0]
    X = np.vstack([near, -0.5 * near, [[top, -top]]])
    assert Arrangement(X).n_planes == 3
    assert as_set(sign_patterns(X)) == exact_patterns(fractions(X))


@pytest.mark.parametrize("power", [150, -150])
def test_extreme_scales_of_rows_and_columns_change_nothing(power):
    X = gaussian(12, 3, 5)
    rows = 2.0 ** np.random.default_rng(1).integers(-abs(power), abs(power), (12, 1))
    columns = 2.0 ** np.array([power, 0, -power])
    expected = sign_patterns(X)
    np.testing.assert_array_equal(sign_patterns(X * rows * columns), expected)


def test_columns_of_very_different_size_at_default_rank():
    X = gaussian(15, 3, 2)
    np.testing.assert_array_equal(sign_patterns(X * [1e6, 1.0, 1e-6]), sign_patterns(X * [2e6, 1.0, 5e-7]))


def test_integers_up_to_2_53():
    rng = np.random.default_rng(3)
    X = rng.integers(-(2**53), 2**53, (7, 3))
    X[3] = X[0] + X[1] - 2 * X[2] // 3
    X[4] = X[0] // 2 - X[1] // 2
    X = np.clip(X, -(2**53), 2**53)
    assert as_set(sign_patterns(X)) == exact_patterns(fractions(X))


@quick
@given(degenerate(), st.randoms(use_true_random=False))
def test_permuting_and_scaling_rows(X, random):
    order = list(range(len(X)))
    random.shuffle(order)
    scale = np.array([random.choice([-3, -2, -1, 1, 2, 5]) for _ in order])
    patterns = sign_patterns(X)
    moved = sign_patterns(X[order] * scale[:, None])
    zero = ~X[order].any(axis=1)
    flipped = patterns[:, order] ^ ((scale < 0) & ~zero)
    assert as_set(moved) == as_set(flipped)


@quick
@given(degenerate(), st.integers(0, 10**6))
def test_invertible_column_maps(X, seed):
    d = X.shape[1]
    lower = np.tril(np.random.default_rng(seed).integers(-2, 3, (d, d)), -1) + np.eye(d, dtype=int)
    np.testing.assert_array_equal(sign_patterns(X @ lower @ lower.T), sign_patterns(X))


@quick
@given(degenerate())
def test_patterns_are_sorted_distinct_antipodal_and_active_on_zero_rows(X):
    patterns = sign_patterns(X)
    rows = patterns.tolist()
    assert rows == sorted(rows)
    assert len(as_set(patterns)) == len(rows)
    zero = ~X.any(axis=1)
    assert patterns[:, zero].all()
    if not zero.all():
        assert as_set(~patterns | zero) == as_set(patterns)


@pytest.mark.parametrize("n", [1, 7, 8, 9, 63, 64, 65, 130])
def test_packed_patterns_are_packbits_of_the_plain_ones(n):
    X = gaussian(n, 2)
    packed = sign_patterns(X, packed=True)
    assert packed.shape == (2 * n, (n + 7) // 8)
    np.testing.assert_array_equal(packed, np.packbits(sign_patterns(X), axis=1))


def test_many_patterns_are_sorted_and_the_same_each_time():
    X = gaussian(150, 3)
    packed = sign_patterns(X, packed=True)
    as_bytes = [row.tobytes() for row in packed]
    assert as_bytes == sorted(set(as_bytes))
    np.testing.assert_array_equal(packed, sign_patterns(X, packed=True))


def test_sorted_real_data_with_ties():
    X = load_iris().data[:, :3]
    X = X[np.lexsort(X.T)]
    patterns = sign_patterns(X, packed=True)
    assert len(patterns) == count_patterns(X) == count_patterns(X, method="deletion-restriction")


def test_deletion_and_restriction_by_hand():
    """cells(A) = cells(A - h) + cells(A restricted to h), h the hyperplane of the last coordinate."""
    X = np.random.default_rng(4).integers(-3, 4, (9, 4)).astype(float)
    h = np.array([[0.0, 0.0, 0.0, 1.0]])
    X = X[X[:, :3].any(axis=1)]
    assert count_patterns(np.vstack([X, h])) == count_patterns(X) + count_patterns(X[:, :3])


@quick
@given(degenerate(max_columns=3), st.integers(0, 7))
def test_deletion_and_restriction_by_enumeration(X, k):
    """cells(A) = cells(A - h) + cells(A restricted to h), all three enumerated; and so for the polynomial."""
    X = X[X.any(axis=1)]
    if not len(X):
        return
    k %= len(X)
    h, j = X[k], np.flatnonzero(X[k])[0]
    parallel = ~np.array([any(np.outer(x, h).ravel() != np.outer(h, x).ravel()) for x in X])
    rest = X[~parallel]
    traces = np.delete(h[j] * rest - np.outer(rest[:, j], h), j, axis=1)  # x - (x_j / h_j) h, without coordinate j
    fewer = count_patterns(rest) if len(rest) else 1
    assert count_patterns(X) == fewer + (count_patterns(traces) if traces.size else 1)


def test_rank_below_the_number_of_columns():
    X = np.arange(1.0, 19.0).reshape(9, 2) ** 2 @ np.array([[1.0, 2.0, -1.0, 4.0], [0.0, 1.0, 3.0, 1.0]])
    assert Arrangement(X).rank == 2
    assert count_patterns(X) == max_patterns(9, 2)


def test_directions_that_are_numerically_negligible_count():
    X = np.array([[1.0, 1.0], [1.0, 1.0 + 2.0**-52]])
    assert count_patterns(Arrangement(X, rank=1)) == 2
    assert count_patterns(X) == 4


def test_max_patterns_is_covers_function():
    assert [max_patterns(4, r) for r in range(6)] == [1, 2, 8, 14, 16, 16]
    assert max_patterns(100, 3) == 2 * (1 + 99 + 99 * 98 // 2)


def test_samples_are_patterns_in_order():
    X = np.vstack([gaussian(12, 3), np.zeros((1, 3)), gaussian(1, 3) * -2.0])
    every = as_set(sign_patterns(X))
    sample = sample_patterns(X, 200, random_state=0)
    assert sample.tolist() == sorted(sample.tolist())
    assert as_set(sample) <= every
    assert 1 < len(sample) == len(as_set(sample)) <= 200
    np.testing.assert_array_equal(sample, sample_patterns(X, 200, random_state=0))
    few = type_b(2)  # eight equal cells
    assert as_set(sample_patterns(few, 200, random_state=1)) == as_set(sign_patterns(few))


def test_samples_of_high_rank():
    X = gaussian(60, 40)
    sample = sample_patterns(X, 50, random_state=0)
    assert sample.shape == (50, 60)
    with pytest.raises(ValueError, match="rank 40"):
        count_patterns(X)


def test_too_many_patterns_for_memory(monkeypatch):
    monkeypatch.setattr("exactrelu.enumerate._patterns.available_memory", lambda: 1e6)
    with pytest.raises(MemoryError, match=rf"{max_patterns(200, 3)} patterns of 200 rows"):
        sign_patterns(gaussian(200, 3))
    assert len(sign_patterns(gaussian(20, 3))) == max_patterns(20, 3)
    repeated = np.random.default_rng(0).integers(-1, 2, (400, 4))  # far fewer cells than Cover's bound of its planes
    assert len(sign_patterns(repeated, packed=True)) == count_patterns(repeated)


def test_too_many_patterns_to_count(monkeypatch):
    monkeypatch.setattr("exactrelu.enumerate._patterns.available_memory", lambda: 1e9)
    monkeypatch.setattr("exactrelu.enumerate._patterns.COUNTING_SLICES", 1)
    with pytest.raises(MemoryError, match=rf"at most {max_patterns(500, 5)} patterns of 500 rows"):
        sign_patterns(gaussian(500, 5), packed=True)


def test_an_interrupt_stops_a_long_count():
    def interrupt(*_):
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        with pytest.raises(KeyboardInterrupt):
            count_patterns(gaussian(3000, 5))  # 10**13 cells
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, previous)


BAD = [
    (np.zeros(5), r"2-D, got shape \(5,\)"),
    (np.zeros((2, 2, 2)), r"2-D, got shape \(2, 2, 2\)"),
    (np.zeros((0, 3)), r"empty, got shape \(0, 3\)"),
    (np.zeros((3, 0)), r"empty, got shape \(3, 0\)"),
    ([[1.0, np.nan]], r"finite, got nan at \(0, 1\)"),
    ([[np.inf, 1.0]], r"finite, got inf at \(0, 0\)"),
    ([["a", "b"]], "numeric, got dtype <U1"),
    ([[1j, 2.0]], "numeric, got dtype complex128"),
    ([[None, object()]], "numeric, got NoneType None"),
    ([[2**53 + 1, 1]], "9007199254740993"),
]


@pytest.mark.parametrize(("X", "message"), BAD)
@pytest.mark.parametrize(
    "function",
    [count_patterns, sign_patterns, iter_cells, lambda X: sample_patterns(X, 3, random_state=0)],
    ids=["count", "sign", "iter", "sample"],
)
def test_bad_data(function, X, message):
    with pytest.raises(ValueError, match=message):
        function(X)


def test_bad_arguments():
    X = gaussian(4, 2)
    with pytest.raises(ValueError, match="got 'guess'"):
        count_patterns(X, method="guess")
    with pytest.raises(ValueError, match="n must be a positive integer, got 0"):
        max_patterns(0, 1)
    with pytest.raises(ValueError, match=r"rank must be an integer of at least 0, got 1\.5"):
        max_patterns(3, 1.5)
    with pytest.raises(ValueError, match="n_samples must be a positive integer, got 0"):
        sample_patterns(X, 0, random_state=0)


@pytest.mark.parametrize("X", [[[2.0]], [[-1, 4]], [[True, False], [True, True]], np.float32([[1.5, -2.0]])])
def test_small_and_unusual_but_valid(X):
    assert as_set(sign_patterns(X)) == exact_patterns(fractions(X))
