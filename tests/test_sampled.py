"""Sampled patterns, for data of high rank: proven gaps, and no claim beyond them."""

import numpy as np
import pytest

from exactrelu.solve import max_beta, train
from exactrelu.solve._neurons import Neurons
from exactrelu.solve._problem import make_problem
from exactrelu.solve.descent._slide import descend
from exactrelu.solve.pricing._climb import climb_many, evaluate


def instance(n, r):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, r))
    return X, np.maximum(X @ rng.standard_normal((r, 3)), 0.0) @ np.array([1.0, -1.0, 1.0])


def test_high_rank_shows_a_proven_gap_and_says_it_is_not_certified():
    X, y = instance(80, 12)
    solution = train(X, y, 2.0, patterns="sampled")
    assert solution.patterns == "sampled"
    assert not solution.converged
    assert solution.status == "end of the effort asked for"
    assert "not certified: end of the effort asked for; patterns were sampled" in repr(solution)
    assert 0.0 < solution.lower_bound < solution.objective < 0.5 * y @ y
    assert solution.gap == pytest.approx(1.0 - solution.lower_bound / solution.objective)
    assert solution.objective == pytest.approx(solution.network.objective(X, y, 2.0), rel=1e-12)


def test_sampled_reaches_the_optimum_where_that_can_be_proven():
    X, y = instance(40, 3)
    beta = 0.1 * max_beta(X, y)
    sampled = train(X, y, beta, patterns="sampled", tol=1e-5)
    exact = train(X, y, beta, tol=1e-5)
    assert sampled.objective == pytest.approx(exact.objective, rel=1e-4)
    assert sampled.lower_bound <= exact.objective
    assert exact.lower_bound <= sampled.objective


def test_the_same_seed_gives_the_same_directions():
    X, nu = instance(50, 8)
    starts = np.random.default_rng(1).standard_normal((20, 8))
    starts /= np.linalg.norm(starts, axis=1)[:, None]
    neurons, values = climb_many(X, nu, starts)
    assert len(values) == 40
    assert neurons.norms == pytest.approx(1.0)
    assert values == pytest.approx(evaluate(X, nu, neurons))
    assert (np.diff(values) <= 0.0).all()
    before = np.sort(np.abs(nu @ np.maximum(X @ starts.T, 0.0)))[::-1]
    assert (values[:20] >= before - 1e-9).all()  # a climb never falls


@pytest.mark.parametrize(
    ("options", "message"),
    [({"patterns": "some"}, "unknown patterns 'some'; known: all, sampled"),
     ({"effort": -1.0}, "effort must be at least 0 or None, got -1.0")],
)  # fmt: skip
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        train(np.eye(3), np.ones(3), 0.1, **options)


def test_descend_never_rises_and_finds_a_stationary_network():
    X, y = instance(60, 5)
    problem = make_problem(X, y, "squared", None)
    rng = np.random.default_rng(2)
    start = Neurons.of_two_layers(rng.choice([-1.0, 1.0], 6), 0.1 * rng.standard_normal((6, 5)))
    left = descend(problem, 0.5, start)
    value, f = left.evaluate(problem, 0.5)
    assert value <= start.evaluate(problem, 0.5)[0]
    for s, w in zip(left.signs, left.W, strict=True):  # along its own ray, a neuron is at its optimum
        size = np.linalg.norm(w)
        if size > 1e-3:
            assert s * (y - f) @ np.maximum(X @ w, 0.0) == pytest.approx(0.5 * size, rel=1e-2)
