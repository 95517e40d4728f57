"""Training: against a conic solver, optimality conditions, laws, limits, odd and bad input."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_training import full_program, price_every_cell
from sklearn.datasets import load_diabetes, load_iris

import exactrelu
from exactrelu import ReLUNetwork
from exactrelu.solve import Status, max_beta, train


def gaussian(n, r, seed=0, loss="squared"):
    """Gaussian inputs with a planted network and noise."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, r))
    y = np.maximum(X @ rng.standard_normal((r, 5)), 0.0) @ rng.standard_normal(5) + 0.1 * rng.standard_normal(n)
    return X, (np.where(y > np.median(y), 1.0, -1.0) if loss == "logistic" else y)


def real(n, r, loss="squared"):
    """Rows of scikit-learn data with `r` features: iris petals, or diabetes."""
    if r == 2:
        data = load_iris()
        X, y = data.data[:, 2:] - data.data[:, 2:].mean(axis=0), 1.0 * (data.target == 1)
    else:
        data = load_diabetes()
        X, y = 20.0 * data.data[:, 2 : 2 + r], (data.target - data.target.mean()) / data.target.std()
    pick = np.random.default_rng(1).permutation(len(y))[:n]
    X, y = X[pick], y[pick]
    return X, (np.where(y > np.median(y), 1.0, -1.0) if loss == "logistic" else y)


@pytest.mark.parametrize("ratio", [0.1, 0.01])
@pytest.mark.parametrize("loss", ["squared", "logistic"])
@pytest.mark.parametrize(("source", "n", "r"), [(gaussian, 20, 2), (real, 24, 2), (gaussian, 12, 3), (real, 11, 3)])
def test_objective_equals_the_conic_solvers(source, n, r, loss, ratio):
    X, y = source(n, r, loss=loss)
    beta = ratio * max_beta(X, y, loss=loss)
    optimum = full_program(X, y, beta, loss)
    for pricing in ("bound", "enumerate"):
        solution = train(X, y, beta, loss=loss, tol=1e-8, pricing=pricing)
        assert solution.converged
        assert solution.certificate.pricing == pricing
        assert solution.objective == pytest.approx(optimum, rel=1e-7)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), ratio=st.floats(0.01, 0.9), logistic=st.booleans())
def test_degenerate_integer_data(seed, ratio, logistic):
    rng = np.random.default_rng(seed)
    n, d = int(rng.integers(2, 8)), int(rng.integers(1, 4))
    X = rng.integers(-2, 3, (n, d)).astype(float)
    X[0] = 1.0
    loss = "logistic" if logistic else "squared"
    y = rng.choice([-1.0, 1.0], n)
    top = max_beta(X, y, loss=loss)
    if top == 0.0:
        return
    a = train(X, y, ratio * top, loss=loss, tol=1e-8)
    b = train(X, y, ratio * top, loss=loss, tol=1e-8, pricing="enumerate")
    assert a.converged
    assert b.converged
    assert a.objective == pytest.approx(b.objective, rel=1e-7)
    assert a.objective == pytest.approx(full_program(X, y, ratio * top, loss), rel=1e-6)


@pytest.mark.parametrize("loss", ["squared", "logistic"])
def test_optimality_conditions_over_every_cell(loss):
    """Dual feasibility in all cells; every neuron attains beta; its weights and outputs balance."""
    X, y = gaussian(40, 3, seed=2, loss=loss)
    beta = 0.05 * max_beta(X, y, loss=loss)
    solution = train(X, y, beta, loss=loss, tol=1e-9)
    network = solution.network
    nu = -exactrelu.solve.get_loss(loss).gradient(network.predict(X), y)
    assert price_every_cell(X, nu) <= beta * (1 + 1e-7)
    for w, alpha in zip(network.W.T, network.alpha, strict=True):
        assert np.linalg.norm(w) == pytest.approx(abs(alpha))
        u = w / np.linalg.norm(w)
        assert np.sign(alpha) * nu @ np.maximum(X @ u, 0.0) == pytest.approx(beta, rel=1e-6)


@pytest.mark.parametrize("loss", ["squared", "logistic"])
def test_no_local_search_does_better(loss):
    """An outside check of the bound: random networks, scaled as well as can be, stay above it."""
    X, y = gaussian(60, 2, seed=3, loss=loss)
    beta = 0.1 * max_beta(X, y, loss=loss)
    solution = train(X, y, beta, loss=loss)
    rng = np.random.default_rng(0)
    fun = exactrelu.solve.get_loss(loss)
    for _ in range(200):
        m = int(rng.integers(1, 30))
        W, s = rng.standard_normal((m, 2)), rng.choice([-1.0, 1.0], m)
        f, penalty = np.maximum(X @ W.T, 0.0) @ s, beta * np.linalg.norm(W, axis=1).sum()
        best = min(fun.value(t * f, y) + t * penalty for t in np.linspace(0.0, 1.0, 50))
        assert best >= solution.lower_bound


def test_laws():
    X, y = gaussian(50, 3, seed=4)
    beta = 0.1 * max_beta(X, y)
    base = train(X, y, beta, tol=1e-8).objective
    rng = np.random.default_rng(0)
    Q = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    order = rng.permutation(50)
    assert train(X @ Q, y, beta, tol=1e-8).objective == pytest.approx(base, rel=1e-7)
    assert train(X[order], y[order], beta, tol=1e-8).objective == pytest.approx(base, rel=1e-7)
    assert train(4.0 * X, y, 4.0 * beta, tol=1e-8).objective == pytest.approx(base, rel=1e-7)
    assert train(X, -y, beta, tol=1e-8).objective == pytest.approx(base, rel=1e-7)
    assert train(X, 3.0 * y, 3.0 * beta, tol=1e-8).objective == pytest.approx(9.0 * base, rel=1e-7)
    wide = np.hstack([X, np.zeros((50, 2))]) @ np.linalg.qr(rng.standard_normal((5, 5)))[0]
    embedded = train(wide, y, beta, tol=1e-8)
    assert embedded.objective == pytest.approx(base, rel=1e-7)
    assert embedded.certificate.verify(wide, y).gap <= 1e-7


def test_objective_rises_with_beta_and_is_zero_network_from_max_beta_on():
    X, y = gaussian(50, 2, seed=5)
    top = max_beta(X, y)
    values = [train(X, y, t * top, tol=1e-8).objective for t in (0.02, 0.1, 0.5, 0.9)]
    assert values == sorted(values)
    zero = train(X, y, top * (1 + 1e-6))
    assert zero.converged
    assert zero.network.n_neurons == 0
    assert zero.objective == pytest.approx(0.5 * y @ y)
    assert train(X, y, 0.99 * top, tol=1e-9).network.n_neurons > 0


def test_stopping_rules_keep_the_certificate():
    X, y = gaussian(100, 4, seed=6)
    beta = 0.01 * max_beta(X, y)
    final = train(X, y, beta, tol=1e-7)
    assert final.converged
    assert final.status == "certified"

    def stop(state):
        return state.round == 1

    def interrupt(state):
        if state.round == 2:
            raise KeyboardInterrupt

    early = [
        train(X, y, beta, max_iter=1),
        train(X, y, beta, max_iter=2),
        train(X, y, beta, callback=stop),
        train(X, y, beta, callback=interrupt),
        train(X, y, beta, time_limit=1e-4),
    ]
    for solution in early:
        assert not solution.converged
        assert solution.status is not Status.CERTIFIED
        assert solution.lower_bound <= final.objective
        assert solution.objective >= final.lower_bound
        assert solution.gap == pytest.approx((solution.objective - solution.lower_bound) / solution.objective)
        assert solution.certificate.verify(X, y).objective == pytest.approx(solution.objective)
    assert [solution.status for solution in early] == [
        Status.ITERATION_LIMIT, Status.ITERATION_LIMIT, Status.CALLBACK, Status.INTERRUPTED, Status.TIME_LIMIT,
    ]  # fmt: skip


def test_high_rank_ends_by_the_clock_or_after_counted_work():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((100, 15)), rng.standard_normal(100)
    counted = {"effort": 0.2}
    for options, status in (({"max_iter": 1000, "time_limit": 0.5}, Status.TIME_LIMIT), (counted, Status.EFFORT)):
        solution = train(X, y, 5.0, **options)
        assert solution.status is status
        assert 0.0 < solution.gap < 1.0
        assert solution.converged is False
    assert solution.n_rounds == train(X, y, 5.0, **counted).n_rounds


def test_few_patterns_are_visited():
    X, y = gaussian(14, 5)
    assert train(X, y, 1.0).certificate.pricing == "enumerate"
    assert train(X[:, :3], y, 1.0).certificate.pricing == "bound"


@pytest.mark.parametrize("layers", [2, 3])
def test_rounding_that_hides_more_than_the_tolerance_is_named(layers):
    """Milliseconds since 1970 and an intercept: the numerical rank drops a column that matters."""
    t = 1.7e12 + 3.6e6 * np.arange(24)
    X, y = np.column_stack([t, np.ones(24)]), np.maximum(np.arange(24) - 12.0, 0.0)
    solution = train(X, y, 1e-9, layers=layers)
    assert solution.status is Status.ROUNDING
    assert "scale the columns of X" in repr(solution)
    w = np.array([1.0, -t[12]]) / 3.6e6  # the kink at hour 12: fits exactly
    root = np.sqrt(np.linalg.norm(w))
    assert solution.lower_bound <= ReLUNetwork((w / root)[:, None], [root]).objective(X, y, 1e-9)


def test_figures_are_plain_numbers():
    X, y = gaussian(20, 2)
    solution = train(X, y, np.float64(0.5))
    claim = solution.certificate
    figures = [
        solution.objective,
        solution.lower_bound,
        solution.gap,
        claim.objective,
        claim.truncation_factor,
        claim.gap,
    ]
    assert {type(figure) for figure in figures} == {float}
    assert type(solution.converged) is bool
    for state in solution.history:
        assert [type(value) for value in vars(state).values()] == [int, float, int, float, float, float, int, int]
    assert solution.status == "certified"


def test_history_and_verbose(capfd):
    X, y = gaussian(100, 3, seed=7)
    seen = []
    solution = train(X, y, 0.1 * max_beta(X, y), verbose=1, callback=lambda state: seen.append(state))
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("round")]
    assert len(lines) == len(solution.history)
    assert len(seen) == len(solution.history) - 1  # the last round ends training before the callback
    assert seen == solution.history[:-1]
    bounds = [state.lower_bound for state in solution.history]
    objectives = [state.objective for state in solution.history]
    assert bounds == sorted(bounds)
    assert objectives == sorted(objectives, reverse=True)
    assert [state.round for state in solution.history] == list(range(len(bounds)))


def test_warm_start_takes_no_more_rounds():
    X, y = gaussian(200, 3, seed=8)
    beta = 0.05 * max_beta(X, y)
    cold = train(X, y, beta, tol=1e-7)
    warm = train(X, y, beta, tol=1e-7, warm_start=cold)
    assert warm.objective == pytest.approx(cold.objective, rel=1e-7)
    assert len(warm.history) < len(cold.history)
    with pytest.raises(ValueError, match="warm_start has 3 inputs, X has 2 columns"):
        train(X[:, :2], y, beta, warm_start=cold)


@pytest.mark.parametrize("loss", ["squared", "logistic"])
def test_rank_truncation_states_a_valid_factor(loss):
    X, y = gaussian(60, 4, seed=9, loss=loss)
    X[:, 3] *= 1e-3
    beta = 0.2 * max_beta(X, y, loss=loss)
    full, cut = train(X, y, beta, loss=loss), train(X, y, beta, loss=loss, rank=3)
    factor = cut.certificate.truncation_factor
    assert factor > 1.0
    assert full.lower_bound <= cut.objective
    assert cut.lower_bound <= factor * full.objective
    cut.certificate.verify(X, y)
    assert full.certificate.truncation_factor == 1.0


@pytest.mark.parametrize(
    ("X", "y"),
    [
        (np.array([[2.0]]), np.array([3.0])),
        (np.array([[1.0, -1.0]]), np.array([-3.0])),
        (np.array([[1.0], [-2.0], [0.0], [3.0]]), np.array([1.0, 1.0, 5.0, -1.0])),
        (np.array([[1.0, 2.0], [2.0, 4.0], [-1.0, -2.0]]), np.array([1.0, 2.0, 0.5])),
        (np.array([[1, 0], [1, 0], [0, 1], [0, 0]]), np.array([1, 2, -1, 0])),
    ],
)
def test_small_and_degenerate_data(X, y):
    beta = 0.1
    a = train(X, y, beta, tol=1e-9)
    assert a.converged
    assert a.objective == pytest.approx(full_program(np.asarray(X, float), np.asarray(y, float), beta), rel=1e-6)
    assert a.certificate.verify(X, y).gap <= 1e-8


def test_all_zero_inputs_and_targets():
    zero_x = train(np.zeros((4, 2)), np.arange(4.0), 1.0)
    assert zero_x.converged
    assert zero_x.objective == pytest.approx(7.0)
    zero_y = train(np.ones((4, 2)), np.zeros(4), 1.0)
    assert zero_y.converged
    assert zero_y.gap == 0.0
    assert zero_y.network.predict(np.ones((2, 2))).tolist() == [0.0, 0.0]


X4, Y4 = np.eye(4, 2) + 1.0, np.arange(4.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: train(np.where(X4 > 1.5, np.nan, X4), Y4, 1.0), r"X must be finite, got nan at \[0, 0\]"),
        (lambda: train(np.where(X4 > 1.5, np.inf, X4), Y4, 1.0), r"X must be finite, got inf"),
        (lambda: train(X4, [0, 1, np.nan, 3], 1.0), r"y must be finite, got nan at \[2\]"),
        (lambda: train(X4[:, 0], Y4, 1.0), r"X must be 2-D, got shape \(4,\)"),
        (lambda: train(X4[:0], Y4[:0], 1.0), r"X must not be empty, got shape \(0, 2\)"),
        (lambda: train(X4, Y4[:3], 1.0), "X has 4 rows but y has length 3"),
        (lambda: train(X4, np.ones((4, 2, 2)), 1.0), r"y must have shape \(n,\) or \(n, c\), got shape \(4, 2, 2\)"),
        (lambda: train([["a", "b"]], [1.0], 1.0), "X must be numeric"),
        (lambda: train(X4, Y4, 0.0), "beta must be positive and finite, got 0"),
        (lambda: train(X4, Y4, -1.0), "beta must be positive and finite, got -1"),
        (lambda: train(X4, Y4, np.nan), "beta must be positive and finite, got nan"),
        (lambda: train(X4, Y4, "much"), "beta must be a positive number, got 'much'"),
        (lambda: train(X4, Y4, 1.0, loss="logistic"), r"labels -1 and \+1, got 4 distinct values"),
        (lambda: train(X4, Y4, 1.0, loss="cubic"), "unknown loss 'cubic'"),
        (lambda: train(X4, Y4, 1.0, pricing="guess"), "unknown pricing 'guess'; known: auto, bound, enumerate"),
        (lambda: train(X4, Y4, 1.0, rank=3), r"rank must be between 1 and min\(n, d\) = 2, got 3"),
        (lambda: train(X4, Y4, 1.0, rank=0), "rank must be between 1"),
        (lambda: train(X4, Y4, 1.0, tol=0.0), "tol must be positive, got 0"),
        (lambda: train(X4, Y4, 1.0, layers=4), "layers must be 2 or 3, got 4"),
        (lambda: train(X4, Y4, 1.0, width=0), "width must be a positive integer, got 0"),
        (
            lambda: train(X4, Y4, 1.0, width=2),
            "width must be 1 with two layers, which are optimal over all widths, got 2",
        ),
        (lambda: train(X4, Y4, 1.0, n_jobs=0), "n_jobs must be"),
        (lambda: train(X4, Y4, 1.0, layers=3, n_jobs=0.5), "n_jobs must be"),
        (lambda: train(X4, Y4, 1.0, max_iter=0), "max_iter must be a positive integer or None, got 0"),
        (lambda: train(X4, Y4, 1.0, time_limit=-1), "time_limit must be positive seconds or None, got -1"),
        (lambda: max_beta(X4, Y4, loss="logistic"), r"labels -1 and \+1"),
    ],
)
def test_bad_input_says_what_arrived(call, message):
    with pytest.raises(ValueError, match=message):
        call()
