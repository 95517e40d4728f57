"""Three-layer training: reference values, CVXPY over all composite cells, laws, certificates, weights."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from naive_three import composite_cells, full_three_layer_program, price_cell

from exactrelu import (
    ConvexReLUClassifier,
    ConvexReLURegressor,
    ParallelReLUNetwork,
    ReLUNetwork,
    load_model,
    save_model,
)
from exactrelu.solve import CertificateError, max_beta, train
from exactrelu.solve._high_rank import random_neurons
from exactrelu.solve._problem import make_problem
from exactrelu.solve.descent._slide import descend

FIVE = np.array([[1.0, -2.0], [1.0, -1.0], [1.0, 0.0], [1.0, 1.0], [1.0, 2.0]])
ZIGZAG = np.array([1.0, -1.0, 1.0, -1.0, 1.0])


def instance(n, seed, integer=False):
    rng = np.random.default_rng(seed)
    X = rng.integers(-2, 3, (n, 2)).astype(float) if integer else rng.standard_normal((n, 2))
    return X, rng.standard_normal(n)


def solve(X, y, beta, width=2, **options):
    return train(X, y, beta, layers=3, width=width, **options)


@pytest.mark.parametrize(("beta", "value"), [(0.1, 1.1280866), (0.01, 0.1311042)])
def test_reference_values(beta, value):
    for pricing in ("bound", "enumerate"):
        solution = solve(FIVE, ZIGZAG, beta, pricing=pricing, tol=1e-6)
        assert solution.converged
        assert solution.objective == pytest.approx(value, abs=1e-6)
    assert full_three_layer_program(FIVE, ZIGZAG, beta, 2) == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize(("width", "n", "seed"), [(2, 4 + k % 2, k) for k in range(10)] + [(3, 3, k) for k in (0, 2)])
def test_agrees_with_cvxpy_over_all_cells(width, n, seed):
    X, y = instance(n, seed)
    beta = (0.5, 0.1, 0.02)[seed % 3] * max_beta(X, y, layers=3, width=width, tol=1e-2)
    solution = solve(X, y, beta, width, tol=1e-6)
    expected = full_three_layer_program(X, y, beta, width)
    assert solution.converged
    assert solution.objective == pytest.approx(expected, rel=2e-6)
    assert solution.lower_bound <= expected * (1.0 + 1e-7)


@pytest.mark.parametrize("loss", ["huber:0.3", "squared_hinge", "poisson", "logistic"])
def test_smooth_losses_are_certified_and_no_worse_than_two_layers(loss):
    """Some of them have no curvature where training starts."""
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.standard_normal(12), np.ones(12)])
    y = np.abs(X[:, 0]) - 0.7
    y = np.floor(3.0 * np.abs(y)) if loss == "poisson" else y if loss.startswith("huber") else np.sign(y)
    weight = rng.integers(1, 3, 12)
    beta = 0.05 * max_beta(X, y, layers=3, width=2, loss=loss, sample_weight=weight)
    solution = solve(X, y, beta, loss=loss, tol=1e-4, sample_weight=weight)
    assert solution.converged
    assert solution.certificate.verify(X, y, sample_weight=weight).gap <= 1.1e-4
    assert solution.lower_bound <= train(X, y, beta, loss=loss, sample_weight=weight).objective


@pytest.mark.parametrize("loss", ["hinge", "absolute", "quantile"])
def test_losses_with_kinks_are_refused(loss):
    with pytest.raises(ValueError, match="smooth losses, got"):
        solve(FIVE, ZIGZAG, 0.1, loss=loss)


@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_cvxpy_on_degenerate_data(seed):
    X, y = instance(5, seed, integer=True)
    X[0], X[1] = -X[2], X[2]
    beta = 0.1 * max_beta(X, y, layers=3, width=2, tol=1e-6)
    solution = solve(X, y, beta)
    assert solution.objective == pytest.approx(full_three_layer_program(X, y, beta, 2), rel=2e-6)


def test_logistic_dual_point_is_feasible_in_every_cell():
    """theta holds in all cells, by CVXPY, and its dual value is the objective: so that is the optimum."""
    X, y = instance(3, 7)
    y = np.where(y > 0.0, 1.0, -1.0)
    solution = solve(X, y, 0.05, loss="logistic")
    assert solution.converged
    theta = solution.certificate.dual
    highest = max(price_cell(X, s * theta, cell) for cell in composite_cells(X, 2) for s in (1.0, -1.0))
    assert highest <= 0.05 * (1.0 + 1e-6)
    p = theta * y
    entropy = -np.sum(p * np.log(p) + (1.0 - p) * np.log1p(-p))
    assert entropy == pytest.approx(solution.objective, rel=2e-6)


def test_width_one_is_two_layers():
    X, y = instance(15, 0)
    for beta in (1.0, 0.1):
        deep, flat = solve(X, y, beta, 1, tol=1e-7), train(X, y, beta, tol=1e-7)
        assert deep.objective == pytest.approx(flat.objective, rel=1e-6)


@pytest.mark.parametrize("seed", range(2))
def test_width_and_depth_never_raise_the_optimum(seed):
    X, y = instance(7, seed)
    beta = 0.1 * max_beta(X, y)
    values = [train(X, y, beta).objective] + [solve(X, y, beta, m, tol=1e-3).objective for m in (1, 2, 3)]
    for before, after in pairwise(values):
        assert after <= before * (1.0 + 1e-3)


def test_rotation_and_permutation_change_nothing():
    X, y = instance(12, 3)
    turn = np.array([[np.cos(1.0), -np.sin(1.0)], [np.sin(1.0), np.cos(1.0)]])
    order = np.random.default_rng(0).permutation(12)
    base = solve(X, y, 0.2).objective
    assert solve(X @ turn, y, 0.2).objective == pytest.approx(base, rel=2e-6)
    assert solve(X[order], y[order], 0.2).objective == pytest.approx(base, rel=2e-6)


@pytest.mark.parametrize("loss", ["squared", "logistic"])
def test_zero_is_optimal_exactly_from_max_beta_on(loss):
    X, y = instance(10, 5)
    y = np.where(y > 0.0, 1.0, -1.0) if loss == "logistic" else y
    top = max_beta(X, y, layers=3, width=2, loss=loss, tol=1e-8)
    at = solve(X, y, top * (1.0 + 1e-6), loss=loss)
    assert at.network.n_subnetworks == 0
    assert at.converged
    below = solve(X, y, 0.99 * top, loss=loss)
    assert below.network.n_subnetworks > 0
    assert below.objective < at.objective


def test_weights_follow_the_theorem():
    X, y = instance(20, 1)
    network = solve(X, y, 0.2, tol=1e-3).network
    assert isinstance(network, ParallelReLUNetwork)
    assert network.n_subnetworks <= len(y)
    norms = np.linalg.norm(network.W1, axis=(1, 2))
    np.testing.assert_allclose(norms, 1.0, rtol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(network.w2, axis=1), np.abs(network.w3), rtol=1e-9)


def test_certificate_verifies_and_refuses_changes():
    X, y = instance(12, 4)
    certificate = solve(X, y, 0.2, tol=1e-5).certificate
    found = certificate.verify(X, y)
    assert found.gap <= 2e-5
    for changed in (
        replace(certificate, dual=1.2 * certificate.dual),
        replace(certificate, objective=0.9 * certificate.objective),
        replace(certificate, lower_bound=certificate.objective),
        replace(certificate, width=1),
        replace(certificate, layers=2),
    ):
        with pytest.raises(CertificateError):
            changed.verify(X, y)


def test_save_and_load(tmp_path):
    X, y = instance(8, 4)
    solution = solve(X, y, 0.2, tol=1e-4)
    save_model(tmp_path / "m.npz", solution.network, solution.certificate)
    model = load_model(tmp_path / "m.npz")
    assert model.certificate.verify(X, y).gap <= 2e-4
    np.testing.assert_array_equal(model.network.predict(X), solution.network.predict(X))
    np.testing.assert_array_equal(ParallelReLUNetwork.load(tmp_path / "m.npz").W1, solution.network.W1)
    with pytest.raises(ValueError, match="holds a network of 3 layers"):
        ReLUNetwork.load(tmp_path / "m.npz")


def test_limits_callback_and_warm_start():
    X, y = instance(15, 6)
    short = solve(X, y, 0.1, time_limit=1e-9)
    assert short.status == "time limit"
    assert short.lower_bound <= short.objective
    stopped = solve(X, y, 0.1, callback=lambda state: True)
    assert stopped.status == "stopped by the callback"
    full = solve(X, y, 0.1, tol=1e-4)
    again = solve(X, y, 0.1, tol=1e-4, warm_start=full)
    assert again.converged
    assert again.history[0].objective == pytest.approx(full.objective, rel=1e-9)
    flat = train(X, y, 0.1, tol=1e-4)
    first = solve(X, y, 0.1, max_iter=1, warm_start=flat)
    assert first.objective <= flat.objective * (1.0 + 1e-9)
    with pytest.raises(ValueError, match="warm_start must be a two-layer network, got ParallelReLUNetwork"):
        train(X, y, 0.1, warm_start=full)


def test_rank_zero_and_truncation():
    zero = solve(np.zeros((3, 2)), np.ones(3), 1.0)
    assert zero.objective == pytest.approx(1.5)
    X = np.random.default_rng(0).standard_normal((12, 3))
    solution = solve(X, X[:, 0], 1.0, rank=2, tol=1e-4)
    assert solution.certificate.truncation_factor > 1.0
    solution.certificate.verify(X, X[:, 0])


def test_estimators():
    X = np.linspace(-1.0, 1.0, 15)[:, None]
    model = ConvexReLURegressor(beta=0.01, layers=3, width=2).fit(X, np.abs(X[:, 0]))
    assert model.gap_ <= 1e-4
    assert model.network_.layers == 3
    model.certificate_.verify(X, np.abs(X[:, 0]))
    labels = ConvexReLUClassifier(beta=0.05, layers=3, width=2).fit(X, X[:, 0] > 0.2)
    assert labels.score(X, X[:, 0] > 0.2) > 0.9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"W1": np.ones((1, 2, 2)), "w2": [[1.0, 1.0]], "w3": [1.0]}, "Frobenius norm at most 1, got 2.0"),
        ({"W1": np.zeros((1, 2, 2)), "w2": [[1.0]], "w3": [1.0]}, r"needs w2 of shape \(1, 2\)"),
        ({"W1": np.zeros((2, 2)), "w2": [[1.0]], "w3": [1.0]}, r"W1 must be 3-D, got shape \(2, 2\)"),
    ],
)
def test_illegal_networks(arguments, message):
    with pytest.raises(ValueError, match=message):
        ParallelReLUNetwork(**arguments)


def test_effort_is_counted_where_no_proof_ends():
    rng = np.random.default_rng(3)
    X = rng.normal(size=(60, 5))
    y = np.abs(X[:, 0]) - np.maximum(X[:, 1], 0.0) + 0.1 * rng.normal(size=60)
    beta = 0.1 * max_beta(X, y, output_bias=True)
    flat = train(X, y, beta, output_bias=True, effort=1.0)
    found = [train(X, y, beta, layers=3, width=2, output_bias=True, **kw) for kw in ({}, {"effort": 1.0})]
    assert [solution.status for solution in found] == ["end of the effort asked for"] * 2
    assert found[0].objective == found[1].objective
    assert found[0].objective <= 1.01 * flat.objective
    assert found[0].lower_bound > 0.0
    found[0].certificate.verify(X, y)  # at once: the trivial bound proves it
    assert max_beta(X, y, layers=3, width=2, output_bias=True) >= (1 - 1e-9) * beta / 0.1


def test_descent_of_sub_networks_follows_the_gradient():
    rng = np.random.default_rng(5)
    problem = make_problem(rng.normal(size=(40, 3)), rng.normal(size=40), "squared", None, None, True)
    start = random_neurons(rng, 3, 3)
    before = start.evaluate(problem, 0.5)[0]
    end = descend(problem, 0.5, start, max_steps=300)
    assert end.evaluate(problem, 0.5)[0] < 0.2 * before
    assert np.array_equal(end.n_plus, start.n_plus)
    # stationary: no nearby sub-network is better by more than the square of the distance
    for _ in range(20):
        near = type(end)(end.signs, end.n_plus, end.A + 1e-5 * rng.normal(size=end.A.shape) * (end.A != 0.0))
        assert near.evaluate(problem, 0.5)[0] >= end.evaluate(problem, 0.5)[0] - 1e-5
