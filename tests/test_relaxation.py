"""The semidefinite relaxation: any multipliers bound, the ones found are the best, and `verify` proves them again."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_relaxation import relaxed_maximum, relaxed_training
from naive_training import price_every_cell

from exactrelu import ConvexReLURegressor
from exactrelu.certificates._audit import audit_dual, prove_quadratically, quadratic_proof
from exactrelu.certificates._bounds import dual_value
from exactrelu.certificates._multipliers import Moments, Multipliers, find_multipliers
from exactrelu.solve import max_beta, train
from exactrelu.solve._problem import make_problem
from exactrelu.solve._relaxation import minimisers, relaxed_bound, relaxed_dual, relaxed_norm
from exactrelu.solve.pricing._climb import climb_many

LOSSES = ["squared", "huber:0.3", "logistic", "squared_hinge", "poisson", "hinge", "absolute", "quantile:0.8"]
LABELS = ("logistic", "hinge", "squared_hinge")


def instance(name="squared", n=40, r=6, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, r))
    y = np.maximum(X @ rng.standard_normal((r, 4)), 0.0) @ np.array([1.0, -1.0, 1.0, -1.0])
    y = np.where(y > 0.0, 1.0, -1.0) if name in LABELS else np.floor(np.abs(y)) if name == "poisson" else y
    return X, y


def draw(seed, n_most=30, r_most=7):
    rng = np.random.default_rng(seed)
    n, r = int(rng.integers(1, n_most)), int(rng.integers(1, r_most))
    return rng, rng.standard_normal((n, r)) * 10.0 ** rng.integers(-2, 3), rng.standard_normal(n)


@given(seed=st.integers(0, 10**6))
def test_moments_have_the_right_gradient(seed):
    rng, Z, v = draw(seed, 12, 5)
    n, r = Z.shape
    norms = np.linalg.norm(Z, axis=1)
    factor, on_upper, on_lower = rng.standard_normal((1 + r, 3)), v, rng.standard_normal(n)

    def value(factor):
        moments = Moments(factor, Z, norms, 0.3 * norms)
        return on_upper @ moments.upper + on_lower @ moments.lower + 0.7 * moments.mass

    gradient = Moments(factor, Z, norms, 0.3 * norms).gradient(on_upper, on_lower, 0.7)
    step = rng.standard_normal(factor.shape)
    slope = (value(factor + 1e-6 * step) - value(factor - 1e-6 * step)) / 2e-6
    scale = 1.0 + (np.abs(on_upper) + np.abs(on_lower)) @ norms
    assert np.sum(gradient * step) == pytest.approx(slope, abs=1e-6 * scale)


@given(seed=st.integers(0, 10**6))
def test_a_relaxed_neuron_of_rank_one_is_a_neuron(seed):
    rng, Z, _ = draw(seed)
    u = rng.standard_normal(Z.shape[1])
    u /= np.linalg.norm(u)
    factor = 2.0 * np.append(1.0, u)[:, None]
    norms = np.linalg.norm(Z, axis=1)
    moments = Moments(factor, Z, norms, 1e-9 * norms)
    assert moments.mass == pytest.approx(4.0)
    assert moments.upper == pytest.approx(4.0 * np.maximum(Z @ u, 0.0), abs=1e-12 * norms.max())
    assert moments.sharp == pytest.approx(4.0 * np.maximum(Z @ u, 0.0), abs=1e-12 * norms.max())
    assert (moments.lower <= moments.sharp).all()
    assert (moments.lower >= moments.sharp - 4.0 * 1e-9 * norms).all()


@given(seed=st.integers(0, 10**6))
def test_any_multipliers_bound_every_direction(seed):
    rng, Z, v = draw(seed)
    n, r = Z.shape
    tilt = rng.uniform(-1.0, 1.0, n)
    multipliers = Multipliers(np.exp(rng.standard_normal(n)), tilt, rng.random(n) * (1.0 - np.abs(tilt)))
    bound = relaxed_bound(Z, v, multipliers)
    neurons, values = climb_many(Z, v, rng.standard_normal((50, r)))
    assert (neurons.signs * values).max() <= bound
    size = np.abs(v) @ np.linalg.norm(Z, axis=1)
    assert quadratic_proof(Z, v, multipliers, bound + 1e-5 * size)
    assert not quadratic_proof(Z, v, multipliers, bound - 1e-5 * size)
    assert not quadratic_proof(Z, v, multipliers, (neurons.signs * values).max() - 1e-9 * size)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_not_finite_prove_nothing(value):
    Z, v = np.eye(3), np.array([1.0, -1.0, 1.0])
    good = Multipliers(np.ones(3), np.zeros(3), np.zeros(3))
    assert quadratic_proof(Z, v, good, 100.0)
    with np.errstate(invalid="ignore"):
        assert not quadratic_proof(Z, np.array([1.0, value, 1.0]), good, 100.0)
        assert not quadratic_proof(Z, v, Multipliers(np.array([1.0, 1.0, value]), good.tilt, good.bend), 100.0)


@pytest.mark.parametrize("r", [2, 5])
@pytest.mark.parametrize("seed", range(4))
def test_multipliers_found_are_the_best(seed, r):
    rng = np.random.default_rng(seed)
    Z, v = rng.standard_normal((20, r)), rng.standard_normal(20)
    multipliers, attained, _ = find_multipliers(Z, v)
    bound, value = relaxed_bound(Z, v, multipliers), relaxed_maximum(Z, v)
    assert attained <= value * (1.0 + 1e-6)
    assert value * (1.0 - 1e-6) <= bound <= value * (1.0 + 1e-3)


@given(seed=st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_the_relaxed_norm_bounds_every_cell(seed):
    _, Z, v = draw(seed, 9, 4)
    problem = make_problem(Z, v, "squared", None)
    assert relaxed_norm(problem, v)[0] >= price_every_cell(Z, v)


@pytest.mark.parametrize("name", ["squared", "logistic", "poisson"])
def test_the_dual_point_solves_the_relaxed_program(name):
    X, y = instance(name, n=25, r=5)
    beta = 0.05 * max_beta(X, y, loss=name)
    problem = make_problem(X, y, name, None)
    theta, _ = relaxed_dual(problem, beta)
    bound = dual_value(problem.loss, theta * min(1.0, beta / relaxed_norm(problem, theta)[0]), y)
    value = relaxed_training(X, y, beta, name)
    assert bound <= value * (1.0 + 1e-6)
    assert bound == pytest.approx(value, rel=1e-2)


def test_bounds_turn_and_scale_with_the_data():
    X, y = instance()
    rotation = np.linalg.qr(np.random.default_rng(1).standard_normal((6, 6)))[0]
    order = np.random.default_rng(2).permutation(len(y))

    def bound(X, y, beta):
        problem = make_problem(X, y, "squared", None)
        theta, _ = relaxed_dual(problem, beta)
        return dual_value(problem.loss, theta * min(1.0, beta / relaxed_norm(problem, theta)[0]), y)

    first = bound(X, y, 5.0)
    assert bound(X @ rotation, y, 5.0) == pytest.approx(first, rel=2e-3)
    assert bound(X[order], y[order], 5.0) == pytest.approx(first, rel=2e-3)
    assert bound(1e6 * X, y, 5e6) == pytest.approx(first, rel=2e-3)
    assert bound(X, 1e-6 * y, 5e-6) == pytest.approx(1e-12 * first, rel=2e-3)


@pytest.mark.parametrize("name", LOSSES)
def test_minimisers_have_the_least_loss(name):
    _, y = instance(name)
    loss = make_problem(np.eye(len(y)), y, name, None).loss
    best = minimisers(loss, y)
    for f in (best - 1e-3, best + 1e-3, np.zeros(len(y)), y):
        assert (loss.samples(np.clip(best, -30.0, 30.0), y) <= loss.samples(f, y) + 1e-9).all()


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_gets_a_bound_that_verify_proves_without_cones(name):
    X, y = instance(name, n=120, r=9)
    weight = np.random.default_rng(3).uniform(0.5, 2.0, len(y))
    solution = train(X, y, 3.0, loss=name, patterns="sampled", sample_weight=weight, effort=0.2)
    assert solution.gap < 0.6
    verified = solution.certificate.verify(X, y, sample_weight=weight)
    assert verified.cones == 0
    assert verified.lower_bound == pytest.approx(solution.lower_bound, rel=1e-8)


def test_counted_work_gets_the_bound_too():
    X, y = instance(n=200, r=8)
    solution = train(X, y, 3.0, effort=0.3)
    assert solution.status == "end of the effort asked for"
    assert solution.gap < 0.3
    assert solution.certificate.verify(X, y, time_limit=30.0).cones == 0


def test_the_audit_refutes_what_is_not_feasible():
    X, y = instance(n=60, r=6)
    problem = make_problem(X, y, "squared", None)
    theta, factors = relaxed_dual(problem, 5.0)
    bound, proof = relaxed_norm(problem, theta)
    own, _ = relaxed_norm(problem, theta, factors, attempts=0)
    assert prove_quadratically(X, theta, bound, proof, deadline=0.0)  # no time for a search
    assert prove_quadratically(X, theta, own, factors, deadline=0.0)
    assert not prove_quadratically(X, theta, 0.5 * bound, proof, deadline=0.0)
    assert audit_dual(X, theta, bound, factors=np.ones_like(proof)).proven  # they only guide
    assert audit_dual(X, theta, bound).proven
    worst = climb_many(X, theta, np.random.default_rng(0).standard_normal((200, 6)))[1][0]
    refuted = audit_dual(X, theta, 0.999 * worst, time_limit=60.0)
    assert not refuted.proven
    assert refuted.worst_value > 0.999 * worst


@pytest.mark.parametrize("factor", [1e200, 1e300, 1e-200])
def test_the_audit_takes_dual_points_of_any_size(factor):
    X, y = instance(n=40, r=6)
    theta = y / np.abs(y).max() * factor
    top = climb_many(X, y / np.abs(y).max(), np.random.default_rng(0).standard_normal((100, 6)))[1][0]
    assert audit_dual(X, theta, 10.0 * top * factor).proven
    assert not audit_dual(X, theta, 0.9 * top * factor, time_limit=20.0).proven


def test_the_audit_takes_dual_points_that_cancel():
    X, y = instance(n=40, r=6)
    assert audit_dual(np.vstack([X, X]), np.append(y, -y), 1e-300).proven
    assert audit_dual(np.zeros((5, 6)), np.ones(5), 1e-300).proven


def test_zero_rows_and_repeated_rows_change_nothing():
    X, y = instance(n=80, r=8)
    X, y = np.vstack([X, X[:10], np.zeros((5, 8))]), np.append(y, [*y[:10], 1.0, 2.0, 3.0, 4.0, 5.0])
    solution = train(X, y, 3.0, effort=1.0)
    assert solution.certificate.verify(X, y).cones == 0


def test_the_master_keeps_the_time_limit_at_high_rank():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((100, 12)), rng.standard_normal(100)
    solution = train(X, y, 1e-2, time_limit=1.0)
    assert solution.status == "time limit"
    assert solution.network.n_neurons > 0


def test_multipliers_of_another_seed_are_as_good():
    X, y = instance(n=100, r=8)
    bounds = [relaxed_bound(X, y, find_multipliers(X, y, seed)[0]) for seed in range(3)]
    assert max(bounds) <= min(bounds) * (1.0 + 1e-3)


def test_a_deadline_in_the_past_still_gives_a_valid_bound():
    X, y = instance(n=60, r=6)
    problem = make_problem(X, y, "squared", None)
    theta, _ = relaxed_dual(problem, 5.0, deadline=0.0)
    assert np.isfinite(theta).all()
    _, values = climb_many(X, theta, np.random.default_rng(0).standard_normal((100, 6)))
    assert relaxed_norm(problem, theta, deadline=0.0)[0] >= values[0]


def test_estimators_of_high_rank_return_a_network_and_a_gap():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((100, 40))
    y = np.maximum(X[:, 0], 0.0) - np.maximum(X[:, 1], 0.0)
    model = ConvexReLURegressor(beta=1.0, effort=0.2).fit(X, y)
    assert model.network_.n_neurons > 0
    assert 0.0 < model.gap_ < 0.9
