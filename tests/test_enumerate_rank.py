"""The rank of the numbers as given, whatever their scale; and numbers that floats do not hold, counted or refused."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from math import comb

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from exactrelu.enumerate import (
    Arrangement,
    cell_containing,
    characteristic_polynomial,
    count_composite_cells,
    count_patterns,
    enumerate_to,
    iter_cells,
    max_patterns,
    sample_patterns,
    sign_patterns,
)
from exactrelu.enumerate.exact import _rank
from exactrelu.enumerate.exact._matrix import exact_floats, exact_numbers

from naive import echelon, exact_patterns, fractions

quick = settings(deadline=None, max_examples=40)
small = st.integers(-2, 2)


def as_set(patterns):
    return {tuple(row) for row in patterns.tolist()}


def timestamps(n):
    """Seconds since 1970, a minute apart, and a column of ones: numerically of rank 1."""
    return np.column_stack([1.7e9 + 60.0 * np.arange(n), np.ones(n)])


def rank_of(X):
    return len(echelon(fractions(X))[1])


def test_timestamps():
    X = timestamps(1440)
    assert count_patterns(X) == 2 * 1440
    assert count_patterns(X[:40], method="deletion-restriction") == 80
    assert characteristic_polynomial(X[:40]) == (1, -40, 39)
    assert Arrangement(X, rank=1).rank == 1 == count_patterns(Arrangement(X, rank=1)) - 1


def test_every_way_to_the_cells_of_timestamps(tmp_path):
    X = timestamps(24)
    expected = exact_patterns(fractions(X))
    assert len(expected) == 48
    assert as_set(sign_patterns(X)) == expected
    (chunk,) = iter_cells(X)
    assert as_set(np.unpackbits(chunk.patterns, axis=1, count=24).astype(bool)) == expected
    folder = enumerate_to(tmp_path / "out", X)
    assert len(folder) == 48
    assert as_set(sample_patterns(X, 100, random_state=0)) <= expected
    u = np.array([1.0, -X[12, 0] - 30.0])
    np.testing.assert_array_equal(cell_containing(X, u).pattern, np.arange(24) > 12)
    assert count_patterns(X, within=([3, 20], [-1, 1])) == 17
    assert count_patterns(X, offsets=np.arange(24.0)) == len(
        [p for p in exact_patterns(fractions(np.vstack([np.column_stack([X, np.arange(24)]), [[0, 0, 1]]]))) if p[-1]]
    )
    assert count_composite_cells(X[:5], 2) == count_composite_cells(X[:5] - [X[2, 0], 0.0], 2)


def test_rounded_rows_are_not_parallel():
    assert count_patterns([[0.1, 0.3], [1, 3]]) == 4
    assert as_set(sign_patterns([[0.1, 0.3], [1, 3]])) == exact_patterns(fractions([[0.1, 0.3], [1, 3]]))


def test_large_offsets():
    X = np.array([[1, 0], [0, 1], [1, 1]])
    assert count_patterns(X, offsets=[-1e18, -2e18, -5e18]) == 7
    assert len(sign_patterns(X, offsets=[-1e18, -2e18, -5e18])) == 7
    assert count_patterns(X, offsets=[-1e18, -2e18, -3e18]) == 6  # the three lines meet
    days = 1.7e12 + 3.6e6 * np.arange(24)
    assert count_patterns(np.ones((24, 1)), offsets=-days) == 25
    assert count_patterns(np.ones((24, 1)), offsets=-days, method="deletion-restriction") == 25


@st.composite
def matrices(draw):
    """Small integers, with zero, repeated and dependent rows and columns."""
    return draw(arrays(np.int64, st.tuples(st.integers(1, 6), st.integers(1, 4)), elements=small)).astype(float)


@quick
@given(matrices(), st.data())
def test_scaling_columns_changes_nothing(X, data):
    powers = st.lists(st.integers(-498, 498), min_size=X.shape[1], max_size=X.shape[1])  # 1e-150 to 1e150
    scaled = X * 2.0 ** np.array(data.draw(powers))
    expected = sign_patterns(X)
    np.testing.assert_array_equal(sign_patterns(scaled), expected)
    assert count_patterns(scaled, method="deletion-restriction") == len(expected)
    for chunk in iter_cells(scaled):
        side = np.unpackbits(chunk.patterns, axis=1, count=len(X)).astype(bool)
        for pattern, point in zip(side, chunk.points, strict=True):
            exact = [
                sum(a * Fraction(b) for a, b in zip(row, point.tolist(), strict=True)) for row in fractions(scaled)
            ]
            assert all((v > 0) == s and v != 0 for v, s, x in zip(exact, pattern, X, strict=True) if x.any())


@quick
@given(matrices(), st.randoms(use_true_random=False))
def test_permutations_and_unimodular_maps_of_columns_change_nothing(X, random):
    d = X.shape[1]
    count = count_patterns(X)
    order = random.sample(range(d), d)
    assert count_patterns(X[:, order]) == count
    mapped = X.copy()
    for _ in range(4):
        i, j = random.randrange(d), random.randrange(d)
        if i != j:
            mapped[:, i] += 2.0 ** random.randrange(12) * mapped[:, j]  # exact: integers far below 2**53
    assert count_patterns(mapped * 2.0 ** np.array([random.randrange(-300, 300) for _ in range(d)])) == count


@pytest.mark.parametrize("seed", range(4))
def test_gaussian_data_through_ill_conditioned_maps(seed):
    """Rotations and scales as floats take them: the naive reference counts the very same numbers."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((6, 3)) @ np.linalg.qr(rng.standard_normal((3, 3)))[0]
    X = X * 10.0 ** rng.integers(-150, 151, 3)
    assert as_set(sign_patterns(X)) == exact_patterns(fractions(X))
    nearly = np.column_stack([X[:, :2], X[:, 0] + X[:, 1] * (X[0, 0] / X[0, 1])])
    assert Arrangement(nearly).rank == rank_of(nearly) == 3
    assert as_set(sign_patterns(nearly)) == exact_patterns(fractions(nearly))


def test_a_rounded_product_has_more_rank_than_its_factors():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((9, 2)) @ rng.standard_normal((2, 4))
    assert Arrangement(X).rank == rank_of(X) == 4
    assert count_patterns(Arrangement(X, rank=2)) == max_patterns(9, 2)
    assert as_set(sign_patterns(X[:6])) == exact_patterns(fractions(X[:6]))


@st.composite
def dependent(draw):
    """Float columns of any scale, some of them exact combinations of others."""
    n, d = draw(st.integers(1, 7)), draw(st.integers(1, 5))
    X = np.random.default_rng(draw(st.integers(0, 10**6))).integers(-(2**20), 2**20, (n, d)).astype(float)
    if draw(st.booleans()):
        X = draw(arrays(np.int64, (n, d), elements=small)).astype(float)
    for _ in range(draw(st.integers(0, 2))):
        i, j, k = (draw(st.integers(0, d - 1)) for _ in range(3))
        X[:, i] = draw(st.sampled_from([0.0, 1.0, 3.0, 1e6])) * X[:, j] - draw(st.sampled_from([0, 0.5, 7.0])) * X[:, k]
    if draw(st.booleans()):
        X[0, 0] += 2.0**-20
    return X * 2.0 ** np.array(draw(st.lists(st.integers(-400, 400), min_size=d, max_size=d)))


@quick
@given(dependent())
def test_columns_are_independent_and_as_many_as_there_are(X):
    columns = _rank.independent_columns(X)
    rank = rank_of(X)
    assert len(columns) == rank
    assert len(columns) == 0 or rank_of(X[:, columns]) == rank
    for most in range(X.shape[1] + 1):
        fewer = _rank.independent_columns(X, most)
        assert len(fewer) == min(most, rank)
        assert len(fewer) == 0 or rank_of(X[:, fewer]) == len(fewer)


@pytest.mark.parametrize("relations", [True, False])
def test_rank_without_floating_point(relations, monkeypatch):
    """Modulo primes alone, and modulo enough of them where no relation is recognised."""
    monkeypatch.setattr(_rank, "certainly_independent", lambda S: False)
    if not relations:
        monkeypatch.setattr(_rank, "_hold", lambda *_: False)
    rng = np.random.default_rng(1)
    for d in range(1, 6):
        X = rng.integers(-9, 10, (8, d)) / 3.0 * 2.0 ** rng.integers(-30, 30, d)
        X[:, -1] = np.round(X[:, 0] * 2.0**40) / 2.0**41
        assert len(_rank.independent_columns(X)) == rank_of(X)


@quick
@given(dependent())
def test_what_floating_point_proves_is_true(X):
    S = _rank._balanced(X[:, X.any(axis=0)])
    assert np.abs(S).max(initial=0.0) < 1.0
    if _rank.certainly_independent(S):
        assert rank_of(X) == S.shape[1]


def test_floating_point_proves_the_common_case():
    assert _rank.certainly_independent(_rank._balanced(np.random.default_rng(0).standard_normal((1000, 30))))
    assert not _rank.certainly_independent(np.ones((3, 2)))


def test_one_hot_columns():
    """A column of ones is the sum of the indicators, in every group of them."""
    rng = np.random.default_rng(0)
    groups = [np.eye(5)[rng.integers(0, 5, 200)] for _ in range(3)]
    X = np.hstack([np.ones((200, 1)), *groups, rng.standard_normal((200, 2))])
    assert len(_rank.independent_columns(X)) == 18 - 3


rationals = st.fractions(-20, 20, max_denominator=12)


@quick
@given(st.lists(st.tuples(rationals, rationals, rationals), min_size=1, max_size=6), st.data())
def test_fractions_are_counted_exactly(rows, data):
    X = np.array(rows, dtype=object)
    assert as_set(sign_patterns(X)) == exact_patterns(rows)
    b = data.draw(st.lists(rationals, min_size=len(rows), max_size=len(rows)))
    lifted = [[*row, v] for row, v in zip(rows, b, strict=True)] + [[Fraction(0)] * 3 + [Fraction(1)]]
    expected = {p[:-1] for p in exact_patterns(lifted) if p[-1]}
    assert as_set(sign_patterns(X, offsets=b)) == expected
    assert count_patterns(Arrangement(X), offsets=b) == len(expected)


def test_decimals_and_fractions():
    third, tenth = Fraction(1, 3), Fraction(1, 10)
    assert count_patterns([[tenth, 3 * tenth], [1, 3], [1, 0]]) == 4
    assert count_patterns([[Decimal("0.1"), Decimal("0.3")], [1, 3], [1, 0]]) == 4
    assert count_patterns([[0.1, 0.3], [1, 3], [1, 0]]) == 6  # in floats these rows are not parallel
    assert Arrangement([[third, 1], [2, 1]]).row_factors == [3, 1]
    assert Arrangement([[Fraction(1, 2), 1], [2, Decimal("0.25")]]).X.tolist() == [[0.5, 1.0], [2.0, 0.25]]
    assert Arrangement([[Fraction(1, 2), 1]]).row_factors is None
    assert Arrangement([[10**30, 2 * 10**30], [10**400, 0]]).X.tolist() == [[1.0, 2.0], [1.0, 0.0]]
    assert count_patterns([[1, 0], [0, 1], [1, 1]], offsets=[-third, -third, -2 * third]) == 6  # through one point
    assert count_patterns([[1, 0], [0, 1], [1, 1]], offsets=[-1 / 3, -1 / 3, -0.66]) == 7


HUGE = 2**53 + 1
REFUSED = [
    ([[HUGE, 0.5]], "9007199254740993"),
    ([[HUGE, 1]], "9007199254740993"),
    (pd.DataFrame({"a": [HUGE], "b": [0.5]}), "9007199254740993"),
    (pd.DataFrame({"a": [HUGE], "b": [0.5]}, dtype=object), "9007199254740993"),
    (pd.DataFrame({"a": pd.array([1, None], dtype="Int64"), "b": [0.5, 1.0]}), "numeric, got NAType <NA>"),
    (np.array([[HUGE, 1]], dtype=np.uint64), "9007199254740993"),
    (np.array([[np.int64(HUGE), 1.0]], dtype=object), "9007199254740993"),
    ([[Fraction(1, 3), 0.1]], "1/3"),
    ([[Decimal("nan"), 1]], r"finite, got NaN at \(0, 0\)"),
    ([[1, Decimal("inf")]], r"finite, got Infinity at \(0, 1\)"),
    ([[10**400, 10**400 + 1]], "10000"),
    ([[1.0, 1j]], "complex128"),
    ([[1, "2"]], "<U"),
    (np.array([[1, "2"]], dtype=object), "numeric, got str '2'"),
    ([[1.0, None]], "numeric, got NoneType None"),
    (np.ma.array([[1.0, 2.0]], mask=[[False, True]]), "masked array with 1"),
    ([[1.0], [1.0, 2.0]], "array of numbers"),
]


@pytest.mark.parametrize(("X", "message"), REFUSED)
def test_numbers_that_would_be_rounded_are_refused(X, message):
    with pytest.raises(ValueError, match=message):
        count_patterns(X)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([HUGE, 0.5], "9007199254740993"),
        (pd.Series([HUGE, 0.5], dtype=object), "9007199254740993"),
        ([Fraction(1, 3), 1], "1/3"),
        ([Decimal("0.1"), 1], "1/10"),
        ([1j, 0], "complex128"),
        ([np.nan, 0], "finite"),
        (np.ma.array([1.0, 2.0], mask=[True, False]), "masked array with 1"),
    ],
)
def test_other_arguments_are_refused_likewise(values, message):
    X = np.eye(2)
    with pytest.raises(ValueError, match=f"u must .*{message}"):
        cell_containing(X, values)
    with pytest.raises(ValueError, match=f"row_sums must .*{message}"):
        iter_cells(X, row_sums=values[:, None] if isinstance(values, np.ndarray) else [[v] for v in values])
    if "/" in message:  # fractions are counted
        assert count_patterns(X, offsets=values) == 4
    else:
        with pytest.raises(ValueError, match=message):
            count_patterns(X, offsets=values)


def test_what_floats_hold_is_taken_as_it_is():
    assert exact_floats([Fraction(1, 4), 2**53, Decimal("0.5"), True, np.float32(0.1)], "x").tolist() == [
        0.25, 2.0**53, 0.5, 1.0, float(np.float32(0.1)),
    ]  # fmt: skip
    assert exact_numbers(np.array([[2**60, 1]]), "x").dtype == np.float64
    assert exact_numbers([HUGE], "x").tolist() == [HUGE]
    assert exact_numbers(np.array([np.longdouble(1) / 4]), "x").tolist() == [0.25]


def test_rank_is_a_number_of_columns():
    for wrong in (-1, 3, 1.0, "2"):
        with pytest.raises(ValueError, match=f"got {wrong!r}"):
            Arrangement(np.eye(2), rank=wrong)
    assert Arrangement(np.zeros((2, 2)), rank=0).rank == 0
    assert Arrangement([[1.0, 2.0], [3.0, 6.0]], rank=2).rank == 1
    assert count_patterns(np.ones((3, 5)) * np.arange(1.0, 6.0)) == 2
    assert sum(comb(3, k) for k in range(3)) == count_patterns(np.array([[1, 0], [0, 1], [1, 1]]), offsets=[0, 0, 1])
