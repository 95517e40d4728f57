"""A free output bias: optima against a conic solver, certificates whose dual points sum to zero, laws, files."""

import dataclasses
import math

import cvxpy as cp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from exactrelu import ReLUNetwork, load_model, save_model
from exactrelu.certificates._bounds import balanced
from exactrelu.enumerate import sign_patterns
from exactrelu.losses import get_loss, with_weights
from exactrelu.losses._constant import best_constant
from exactrelu.solve import Certificate, CertificateError, max_beta, path, train

LOSSES = ["squared", "huber", "absolute", "quantile:0.3", "poisson", "logistic", "hinge", "squared_hinge"]
floats = st.floats(-1e30, 1e30)


def instance(loss, seed=0, n=8, d=2):
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(n, d)), 3.0 + rng.normal(size=n)
    if loss == "poisson":
        y = np.abs(np.round(y))
    if get_loss(loss).labels:
        y = np.where(np.arange(n) < n // 3, -1.0, 1.0)
    return X, y


def conic_loss(loss, f, y):
    margins = 1 - cp.multiply(y, f)
    terms = {
        "squared": lambda: 0.5 * cp.sum_squares(f - y),
        "huber": lambda: 0.5 * cp.sum(cp.huber(f - y, 1)),
        "absolute": lambda: cp.norm1(f - y),
        "quantile:0.3": lambda: cp.sum(cp.maximum(0.3 * (y - f), 0.7 * (f - y))),
        "poisson": lambda: cp.sum(cp.exp(f) - cp.multiply(y, f)) + sum(v * math.log(v) - v for v in y if v > 0),
        "logistic": lambda: cp.sum(cp.logistic(-cp.multiply(y, f))),
        "hinge": lambda: cp.sum(cp.pos(margins)),
        "squared_hinge": lambda: 0.5 * cp.sum_squares(cp.pos(margins)),
    }
    return terms[loss]()


def conic_optimum(X, y, beta, loss):
    """The convex program over all cells, with a free constant."""
    f, norms, cones = cp.Variable(), 0, []
    for active in sign_patterns(X):
        for sign in (1, -1):
            v = cp.Variable(X.shape[1])
            f = f + sign * cp.multiply(active.astype(float), X @ v)
            norms = norms + cp.norm(v)
            cones.append(cp.multiply(2.0 * active - 1.0, X @ v) >= 0)
    problem = cp.Problem(cp.Minimize(conic_loss(loss, f, y) + beta * norms), cones)
    return problem.solve(solver=cp.CLARABEL)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_optimum_is_that_of_a_conic_solver(loss):
    X, y = instance(loss)
    beta = 0.2 * max_beta(X, y, loss=loss, output_bias=True)
    solution = train(X, y, beta, loss=loss, output_bias=True, tol=1e-7)
    assert solution.converged
    assert solution.objective == pytest.approx(conic_optimum(X, y, beta, loss), rel=1e-6)
    assert math.fsum(solution.certificate.dual) == 0.0
    assert solution.certificate.verify(X, y).gap == pytest.approx(solution.gap, abs=1e-8)
    without = train(X, y, beta, loss=loss, tol=1e-7)
    assert solution.objective <= without.objective * (1.0 + 1e-6)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_constant_is_optimal_from_max_beta_on(loss):
    X, y = instance(loss, seed=1)
    top = max_beta(X, y, loss=loss, output_bias=True)
    constant = train(X, y, 1.001 * top, loss=loss, output_bias=True)
    assert constant.converged
    assert constant.network.n_neurons == 0
    grid = np.linspace(-20.0, 20.0, 40001)[:, None]
    best = min(get_loss(loss).value(np.full(len(y), b[0]), y) for b in grid)
    assert constant.objective <= best * (1.0 + 1e-6)


@pytest.mark.parametrize("loss", ["squared", "logistic"])
def test_three_layers_are_no_worse_and_verified(loss):
    X, y = instance(loss, n=6)
    beta = 0.2 * max_beta(X, y, loss=loss, layers=3, width=2, output_bias=True)
    deep = train(X, y, beta, loss=loss, layers=3, width=2, output_bias=True, tol=1e-5)
    flat = train(X, y, beta, loss=loss, output_bias=True, tol=1e-5)
    assert deep.converged
    assert deep.objective <= flat.objective * (1.0 + 1e-5)
    assert math.fsum(deep.certificate.dual) == 0.0
    deep.certificate.verify(X, y)


def test_a_constant_added_to_the_targets_is_added_to_the_network():
    X, y = instance("squared", n=20, d=3)
    first, second = (train(X, y + c, 0.5, output_bias=True, tol=1e-9) for c in (0.0, 1000.0))
    assert second.objective == pytest.approx(first.objective, rel=1e-7)
    assert second.network.output_bias - first.network.output_bias == pytest.approx(1000.0, abs=1e-3)


def test_weights_equal_repeated_samples():
    X, y = instance("logistic", n=9)
    times = np.arange(9) % 3
    weighted = train(X, y, 0.3, loss="logistic", output_bias=True, sample_weight=times, tol=1e-8)
    repeated = train(X.repeat(times, 0), y.repeat(times), 0.3, loss="logistic", output_bias=True, tol=1e-8)
    assert weighted.objective == pytest.approx(repeated.objective, rel=1e-7)
    weighted.certificate.verify(X, y, sample_weight=times)


@pytest.mark.parametrize("loss", LOSSES)
def test_data_of_zeros_leave_the_constant(loss):
    _, y = instance(loss)
    solution = train(np.zeros((len(y), 2)), y, 1.0, loss=loss, output_bias=True, tol=1e-6)
    assert solution.converged
    assert solution.network.n_neurons == 0
    solution.certificate.verify(np.zeros((len(y), 2)), y)


def test_along_a_path():
    X, y = instance("squared", n=20)
    solutions = path(X, y, [5.0, 1.0, 0.2], output_bias=True)
    assert all(solution.converged and math.fsum(solution.certificate.dual) == 0.0 for solution in solutions)
    assert np.all(np.diff([solution.objective for solution in solutions]) < 0.0)


@pytest.mark.parametrize(("loss", "targets"), [("logistic", np.ones(5)), ("poisson", np.zeros(5))])
def test_a_loss_that_falls_for_ever_is_refused(loss, targets):
    with pytest.raises(ValueError, match="no best output bias"):
        train(np.eye(5), targets, 1.0, loss=loss, output_bias=True)


def test_certificates_are_held_against_the_bias():
    X, y = instance("squared", n=20)
    claim = train(X, y, 0.5, output_bias=True).certificate
    shifted = claim.dual.copy()
    shifted[0] = np.nextafter(shifted[0], np.inf)
    with pytest.raises(CertificateError, match="sum to zero"):
        dataclasses.replace(claim, dual=shifted).verify(X, y)
    with pytest.raises(CertificateError, match="speaks of networks without"):
        dataclasses.replace(claim, output_bias=False).verify(X, y)
    without = train(X, y, 0.5).certificate
    with pytest.raises(CertificateError, match="sum to zero"):
        dataclasses.replace(without, output_bias=True).verify(X, y)


def test_files_keep_the_bias_and_old_ones_have_none(tmp_path):
    X, y = instance("squared", n=20)
    solution = train(X, y, 0.5, output_bias=True)
    save_model(tmp_path / "m.npz", solution.network, solution.certificate)
    model = load_model(tmp_path / "m.npz")
    assert model.network.output_bias == solution.network.output_bias != 0.0
    assert isinstance(model.certificate, Certificate)
    model.certificate.verify(X, y)
    assert ReLUNetwork([[1.0]], [1.0]).output_bias == 0.0


@given(arrays(np.float64, st.integers(1, 40), elements=floats))
def test_balanced_entries_sum_to_zero_and_none_grows(theta):
    found = balanced(theta)
    assert math.fsum(found) == 0.0
    assert np.all(np.abs(found) <= np.abs(theta))
    assert np.all(found * theta >= 0.0)


@given(arrays(np.float64, st.integers(2, 40), elements=st.floats(-1.0, 1.0)))
def test_balancing_what_nearly_balances_changes_little(values):
    theta = values - values.mean()
    size = max(np.abs(values).max(), 1e-280)
    assert np.abs(balanced(theta) - theta).sum() <= 1e-15 * size * len(theta) ** 2


@given(st.sampled_from(LOSSES), st.integers(0, 10**6), st.floats(-3.0, 3.0))
def test_the_best_constant_beats_its_neighbours(loss, seed, spread):
    rng = np.random.default_rng(seed)
    _, y = instance(loss, seed)
    f = rng.normal(size=len(y)) * 10.0 ** min(spread, 1.0 if loss == "poisson" else 3.0)
    chosen = with_weights(get_loss(loss), rng.uniform(0.1, 2.0, len(y)), len(y))
    b = best_constant(chosen, f, y)
    value = chosen.value(f + b, y)
    size = 1.0 + abs(b)
    for step in (1e-6, 1e-3, 1.0):
        assert chosen.value(f + b + step * size, y) >= value - 1e-9 * (1.0 + abs(value))
        assert chosen.value(f + b - step * size, y) >= value - 1e-9 * (1.0 + abs(value))
