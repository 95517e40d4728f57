"""Gated networks: the group lasso over given patterns, against CVXPY, plain references, and laws."""

from dataclasses import replace

import naive_gated
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from sklearn.datasets import load_iris

from exactrelu import (
    ConvexReLUClassifier,
    ConvexReLURegressor,
    GatedReLUNetwork,
    ReLUNetwork,
    load_model,
    plot_arrangement,
    plot_function,
    save_model,
)
from exactrelu.certificates._vertices import price_vertices
from exactrelu.commands._cli import main
from exactrelu.enumerate import iter_cells
from exactrelu.solve import CertificateError, NotProvenError, max_beta, path, train
from exactrelu.solve._api import price_at_zero
from exactrelu.solve._problem import make_problem
from exactrelu.solve.gated._bits import correlate
from exactrelu.solve.gated._features import Features, Gram
from exactrelu.solve.gated._gates import make_gates
from exactrelu.solve.gated._rows import Rows, solve_rows
from exactrelu.solve.gated._sweeps import solve_gram, sweep_rows

BOOL = st.booleans()
SMOOTH = ("squared", "huber", "logistic", "squared_hinge", "poisson")


def data(seed, n=24, d=3, loss="squared"):
    """A small problem whose targets suit the loss."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d))
    f = np.maximum(X @ rng.standard_normal((d, 2)), 0.0) @ [1.0, -1.0] + 0.1 * rng.standard_normal(n)
    if loss in ("logistic", "squared_hinge"):
        return X, np.where(f > np.median(f), 1.0, -1.0)
    return X, rng.poisson(np.exp(f)).astype(float) if loss == "poisson" else f


def all_patterns(X, packed=False):
    """All patterns of the rows of X, (P, n) bool or packed as `sign_patterns` packs them."""
    octets = np.concatenate([chunk.patterns for chunk in iter_cells(X)])
    return octets if packed else np.unpackbits(octets, axis=1, count=len(X)).astype(bool)


def gated(X, y, ratio=0.1, **options):
    """A solution at a part of the largest weight decay, to the last digits unless options say otherwise."""
    kind = {k: options[k] for k in ("gates", "loss", "sample_weight", "output_bias") if k in options}
    beta = ratio * max_beta(X, y, activation="gated", **kind)
    return train(X, y, beta, activation="gated", **{"tol": 1e-10, **options})


# The kernel


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 70), P=st.integers(0, 40), r=st.integers(0, 7))
def test_correlations_are_those_of_the_reference(seed, n, P, r):
    rng = np.random.default_rng(seed)
    patterns, Z, nu = rng.random((P, n)) < 0.5, rng.standard_normal((n, r)), rng.standard_normal(n)
    octets = np.packbits(patterns, axis=1)
    octets = np.ascontiguousarray(np.pad(octets, ((0, 0), (0, -octets.shape[1] % 4))).T)
    out = np.full((P, r), np.nan)
    correlate(octets, Z, nu, out)
    assert np.allclose(out, naive_gated.correlations(patterns, Z, nu), atol=1e-13 * n)


def test_correlations_of_more_patterns_than_a_tile():
    rng = np.random.default_rng(0)
    patterns, Z, nu = rng.random((5000, 9)) < 0.5, rng.standard_normal((9, 2)), rng.standard_normal(9)
    octets = np.zeros((4, 5000), np.uint8)
    octets[:2] = np.packbits(patterns, axis=1).T
    out = np.empty((5000, 2))
    correlate(octets, Z, nu, out)
    assert np.allclose(out, naive_gated.correlations(patterns, Z, nu), atol=1e-13)


def test_correlations_refuse_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match=r"octets \(3, 2\)"):
        correlate(np.zeros((3, 2), np.uint8), np.zeros((9, 1)), np.zeros(9), np.zeros((2, 1)))


def working_set(seed, n, K, r, centred, weighted=True):
    """A problem over random patterns, and its features and target written down, what a bias explains taken out."""
    rng = np.random.default_rng(seed)
    patterns, root = rng.random((K, n)) < 0.5, rng.random(n) if weighted else np.ones(n)
    Z, target = root[:, None] * rng.standard_normal((n, r)), 3.0 * rng.standard_normal(n)
    rows = Rows(np.arange(K), patterns, Z, target, 0.3, root if centred else None, Gram(K))
    P = np.eye(n) - np.outer(root, root) / (root @ root) if centred else np.eye(n)
    return rows, P @ naive_gated.features(patterns, Z), P @ target, rng


def test_features_are_those_written_down(monkeypatch):
    monkeypatch.setattr("exactrelu.solve.gated._features.TILE", 40)  # several tiles
    rng = np.random.default_rng(2)
    patterns, Z = rng.random((5, 24)) < 0.5, rng.standard_normal((24, 3))
    A, made = naive_gated.features(patterns, Z), Features(patterns, Z)
    w, nu = rng.standard_normal(15), rng.standard_normal(24)
    assert np.allclose(made @ w, A @ w)
    assert np.allclose(made.outputs(w.reshape(5, 3)[1:3], [1, 2]), A[:, 3:9] @ w[3:9])
    assert np.allclose(made.correlations(nu).ravel(), A.T @ nu)
    assert np.allclose(made.gram(2), (A.T @ A)[6:])
    assert np.allclose(made.blocks()[4], (A.T @ A)[12:, 12:])


def test_kept_gram_matrices_are_those_written_down():
    rng = np.random.default_rng(3)
    patterns, Z, gram = rng.random((12, 9)) < 0.5, rng.standard_normal((9, 2)), Gram(12)
    for names in ([3, 5], [3], [1, 3, 9], [0, 1, 2, 3, 4, 5, 6], [11], [], [4, 11], [1, 2, 7, 8, 10, 11]):
        A = naive_gated.features(patterns[names], Z) if names else np.zeros((9, 0))
        assert np.allclose(gram.of(np.array(names, np.int64), patterns[names], Z), A.T @ A)


def working_sets(rows, blocks):
    """Problems over random patterns, see `working_set`, with so many rows and blocks."""
    return st.builds(
        working_set, seed=st.integers(0, 10**6), n=rows, K=blocks, r=st.integers(1, 4), centred=st.booleans()
    )


@settings(max_examples=60, deadline=None)
@given(problem=working_sets(st.integers(2, 12), st.integers(1, 6)))
def test_a_sweep_is_that_of_the_reference(problem):
    rows, A, target, rng = problem
    K, r = len(rows.names), rows.Z.shape[1]
    W = rng.standard_normal((K, r)) * (rng.random((K, 1)) < 0.7)
    expected = naive_gated.sweep(A, target, rows.beta, W)
    residual = rows.residual(W)
    active = rows.active.view(np.uint8)
    sweep_rows(active, rows.Z, *rows.spectra, rows.means, rows.beta, W[None], residual[None])
    assert np.allclose(W, expected, rtol=1e-6, atol=1e-6)
    assert np.allclose(residual, target - A @ W.ravel(), atol=1e-11)


@settings(max_examples=60, deadline=None)
@given(problem=working_sets(st.integers(4, 14), st.integers(1, 3)))
def test_newton_steps_are_those_of_the_reference(problem):
    rows, A, target, rng = problem
    K, r = len(rows.names), rows.Z.shape[1]
    W = rng.standard_normal((K, r))
    lengths, index = np.linalg.norm(W, axis=1), np.arange(K)
    U = W / lengths[:, None]
    hessian = A.T @ A
    for k in range(K):
        part = slice(k * r, (k + 1) * r)
        hessian[part, part] += rows.beta / lengths[k] * (np.eye(r) - np.outer(U[k], U[k]))
    if np.linalg.cond(hessian) > 1e6:
        return
    expected = naive_gated.newton_direction(A, target, rows.beta, W)
    gradient = rows.beta * U - rows.correlations(rows.residual(W))
    for step in rows._few_weights, rows._few_rows:
        d, e = step(U, lengths / rows.beta, index, gradient)
        assert np.allclose(d, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
        assert np.allclose(e, A @ d.ravel(), atol=1e-5 * (1 + np.abs(e).max()))
    assert rows._conjugate(U, lengths / rows.beta, index, gradient, 1e-4, 0) is None
    d, e = rows._conjugate(U, lengths / rows.beta, index, gradient, 1e-5, 200)
    # the energy of what is missing, as a part of the step's
    assert energy(hessian, d - expected) <= 1e-2 * energy(hessian, expected)
    assert np.allclose(e, A @ d.ravel(), atol=1e-10 * (1 + np.abs(e).max()))


def energy(hessian, d):
    """``sqrt(d'Hd)``."""
    return np.sqrt(d.ravel() @ hessian @ d.ravel())


@settings(max_examples=40, deadline=None)
@given(problem=working_sets(st.integers(2, 12), st.integers(1, 6)))
def test_sweeps_on_the_gram_matrix_are_those_of_the_reference(problem):
    rows, A, target, rng = problem
    K, r = len(rows.names), rows.Z.shape[1]
    W = rng.standard_normal((K, r)) * (rng.random((K, 1)) < 0.7)
    expected = naive_gated.sweep(A, target, rows.beta, naive_gated.sweep(A, target, rows.beta, W))
    G, q = rows.small()
    assert np.allclose(G, A.T @ A)
    assert np.allclose(q, [A.T @ target])
    found = solve_gram(G, q, *rows.spectra, rows.beta, W[None], 0.0, 2, False)
    assert np.allclose(W, expected, rtol=1e-6, atol=1e-6)
    assert found == pytest.approx(rows.violation(W), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("most", [0, 1500])  # weights that a Gram matrix is made for
@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize(("n", "K", "r"), [(30, 5, 2), (10, 15, 3)])
def test_working_sets_are_solved_to_the_last_digits(n, K, r, centred, most, monkeypatch):
    monkeypatch.setattr("exactrelu.solve.gated._rows.MOST_WEIGHTS", most)
    rows, A, target, _ = working_set(4, n, K, r, centred)
    W = np.zeros((K, r))
    assert solve_rows(rows, W, 1e-9) > 0
    pull = (A.T @ (target - A @ W.ravel())).reshape(K, r)
    for w, q in zip(W, pull, strict=True):
        if w.any():
            assert np.allclose(q, rows.beta * w / np.linalg.norm(w), atol=1e-8)
        else:
            assert np.linalg.norm(q) <= rows.beta * (1 + 1e-8)
    assert solve_rows(rows, W, 1e-8) == 0


# The optimum


@pytest.mark.parametrize("loss", SMOOTH)
@pytest.mark.parametrize("output_bias", [False, True])
def test_optimum_is_that_of_cvxpy(loss, output_bias):
    X, y = data(3, loss=loss)
    weight = np.random.default_rng(4).integers(0, 3, len(y)).astype(float)
    gates = np.random.default_rng(5).standard_normal((30, X.shape[1]))
    solution = gated(X, y, gates=gates, loss=loss, sample_weight=weight, output_bias=output_bias)
    assert solution.converged
    beta = solution.certificate.beta
    reference = naive_gated.optimum((X @ gates.T > 0).T, X, y, beta, loss, weight, output_bias)
    assert solution.objective == pytest.approx(reference, rel=1e-8)
    found = solution.certificate.verify(X, y, sample_weight=weight)
    assert found.gap <= 1e-8
    assert found.cones == len(np.unique(X @ gates.T > 0, axis=1).T)


def test_all_patterns_are_the_default_at_low_rank():
    X, y = data(6, n=15)
    solution, patterns = gated(X, y), all_patterns(X)
    assert solution.patterns == "all"
    assert solution.objective == pytest.approx(naive_gated.optimum(patterns, X, y, solution.certificate.beta), rel=1e-8)
    for gates in ("all", patterns, all_patterns(X, packed=True)):
        other = gated(X, y, gates=gates)
        assert other.objective == pytest.approx(solution.objective, rel=1e-9)
        assert np.allclose(other.network.predict(X), solution.network.predict(X), atol=1e-6)


def test_few_rows_of_ties_and_zeros():
    X = np.array([[1.0, 0, 0], [2, 0, 0], [0, 0, 0], [-1, 0, 0], [0, 1, 0], [1, 1, 0], [0, -3, 0]])
    y = np.array([1.0, -2, 0.5, 1, 0, 3, -1])
    solution = gated(X, y, 0.05)
    reference = naive_gated.optimum(all_patterns(X), X, y, solution.certificate.beta)
    assert solution.objective == pytest.approx(reference, rel=1e-8)
    solution.certificate.verify(X, y)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), exponent=st.integers(-30, 30), ties=st.booleans(), bias=st.booleans())
def test_scaling_the_data_scales_the_optimum(seed, exponent, ties, bias):
    rng = np.random.default_rng(seed)
    X, y = data(seed, n=12, d=2)
    if ties:
        X = np.round(X)
        X[3] = X[4]
    gates, s = rng.standard_normal((15, 2)), 2.0**exponent
    if max_beta(X, y, activation="gated", gates=gates, output_bias=bias) < 1e-9:
        return
    one = gated(X, y, gates=gates, output_bias=bias, tol=1e-9)
    two = gated(s * X, s * y, gates=gates, output_bias=bias, tol=1e-9)
    assert one.converged
    assert two.converged
    assert two.certificate.beta == pytest.approx(s * s * one.certificate.beta, rel=1e-12)
    assert two.objective == pytest.approx(s * s * one.objective, rel=1e-8)
    two.certificate.verify(s * X, s * y)


def test_zero_network_from_exactly_max_beta_on():
    X, y = data(7)
    gates = np.random.default_rng(8).standard_normal((40, 3))
    top = max_beta(X, y, activation="gated", gates=gates)
    zero = train(X, y, top * (1 + 1e-9), activation="gated", gates=gates)
    assert zero.network.n_neurons == 0
    assert zero.converged
    assert train(X, y, top * (1 - 1e-6), activation="gated", gates=gates, tol=1e-13).network.n_neurons > 0


def test_permuted_samples_and_gates_change_nothing():
    X, y = data(9)
    rng = np.random.default_rng(10)
    gates, rows = rng.standard_normal((25, 3)), rng.permutation(len(y))
    one = gated(X, y, gates=gates)
    two = gated(X[rows], y[rows], gates=gates[rng.permutation(25)])
    assert two.objective == pytest.approx(one.objective, rel=1e-9)


def test_weights_are_repetitions():
    X, y = data(11)
    times = np.random.default_rng(12).integers(0, 4, len(y))
    gates = np.random.default_rng(13).standard_normal((25, 3))
    one = gated(X, y, gates=gates, sample_weight=times)
    two = gated(np.repeat(X, times, axis=0), np.repeat(y, times), gates=gates)
    assert two.objective == pytest.approx(one.objective, rel=1e-9)


def test_sampled_gates_are_seeded():
    X, y = data(14, d=12)
    one, two, other = (gated(X, y, gates=50, random_state=s, tol=1e-6) for s in (1, 1, 2))
    assert one.objective == two.objective != other.objective
    assert np.array_equal(one.network.V, two.network.V)
    assert one.patterns == "given"


def test_sampled_gates_cut_the_data_whatever_the_units_and_the_means():
    X, y = data(27, d=5)
    for Z in X, X * [1e6, 1.0, 1e-6, 3.0, 0.1], np.column_stack([X + 1e3, np.ones(24)]):
        active = make_gates(make_problem(Z, y, "squared", None), 30, 0).active(slice(None))
        assert len(active) == 30
        assert (np.abs(active.mean(axis=1) - 0.5) <= 0.4).mean() > 0.8


def test_sampled_gates_take_weights_for_repetitions():
    X, y = data(27, d=5)
    times = np.random.default_rng(0).integers(0, 3, len(y))
    repeated = make_gates(make_problem(np.repeat(X, times, axis=0), np.repeat(y, times), "squared", None), 30, 0)
    weighted = make_gates(make_problem(X, y, "squared", None, times), 30, 0)
    assert np.allclose(np.sort(repeated.vectors, axis=0), np.sort(weighted.vectors, axis=0), rtol=1e-9)
    few = make_gates(make_problem(X, y, "squared", None, np.eye(24)[0]), 30, 0)  # of rank one
    assert np.isfinite(few.vectors).all()


def test_all_patterns_that_do_not_fit_in_memory():
    X, y = data(28, n=200, d=12)
    with pytest.raises(MemoryError, match=r"the data may have .* patterns of 200 rows"):
        train(X, y, 1.0, activation="gated", gates="all")


def test_above_the_upper_bound_of_max_beta_nothing_is_used():
    X, y = data(16)
    problem = make_problem(X, y, "squared", None)
    found = price_at_zero(problem, 2, 1, 1e-4, activation="gated", gates=9)
    assert found.best == max_beta(X, y, activation="gated", gates=9) < found.upper <= found.best * (1 + 1e-12)
    solution = train(X, y, found.upper, activation="gated", gates=9, tol=1e-12)
    assert (solution.network.n_neurons, solution.converged) == (0, True)
    assert solution.certificate.verify(X, y).gap <= 1e-12


def test_path_and_warm_start():
    X, y = data(15)
    solutions = path(X, y, [0.5, 2.0, 1.0], activation="gated", gates=60, tol=1e-9)
    assert [s.certificate.beta for s in solutions] == [2.0, 1.0, 0.5]
    cold = train(X, y, 0.5, activation="gated", gates=60, tol=1e-9)
    assert solutions[-1].objective == pytest.approx(cold.objective, rel=1e-8)
    again = train(X, y, 0.5, activation="gated", gates=60, tol=1e-9, warm_start=cold)
    assert again.n_rounds == 1
    assert train(X, y, 0.5, activation="gated", gates=60, tol=1e-9, warm_start=cold.network).n_rounds == 1


# What arrives


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gates": 0}, "at least 1, got 0"),
        ({"gates": "some"}, "got 'some'"),
        ({"gates": np.ones((4, 5))}, r"3 columns of X, got gates of shape \(4, 5\)"),
        ({"gates": np.ones((4, 5), bool)}, r"24 columns of bool got gates of shape \(4, 5\)"),
        ({"gates": np.ones((4, 5), np.uint8)}, r"need 3 columns of uint8.* got gates of shape \(4, 5\)"),
        ({"gates": True}, "got True"),
        ({"gates": 2.5}, "got 2.5"),
        ({"gates": [[1.0, 2.0], [1.0]]}, r"got \[\[1.0, 2.0\], \[1.0\]\]"),
        ({"gates": np.ones(3)}, r"a row per gate or pattern, got shape \(3,\)"),
        ({"gates": np.full((2, 3), np.nan)}, "gates"),
        ({"loss": "absolute"}, "losses with a gradient .*squared.*got 'absolute'"),
        ({"layers": 3}, "layers must be 2 with activation='gated', got 3"),
        ({"rank": 2}, "rank must be None with activation='gated', got 2"),
        ({"patterns": "sampled"}, "patterns must be 'all'.*got 'sampled'"),
        ({"activation": "tanh"}, "unknown activation 'tanh'"),
        ({"activation": "relu", "gates": 3}, "gates are for activation='gated'"),
    ],
)
def test_errors_show_what_arrived(options, message):
    X, y = data(16)
    with pytest.raises(ValueError, match=message):
        train(X, y, 1.0, **{"activation": "gated", **options})


def test_a_relu_network_is_no_warm_start():
    X, y = data(17)
    relu = train(X, y, 1.0, tol=1e-3)
    with pytest.raises(ValueError, match="must be a gated network, got ReLUNetwork"):
        train(X, y, 1.0, activation="gated", gates=5, warm_start=relu)


def test_a_pattern_without_a_vector_cannot_predict():
    X, y = np.array([[1.0], [2.0], [-1.0]]), np.array([1.0, -1.0, -1.0])
    with pytest.raises(ValueError, match="no gate vector has the pattern"):
        train(X, y, 1e-3, activation="gated", gates=np.array([[True, False, True]]))


# Estimators


def test_estimators_train_gated_networks():
    X, y = data(24, n=20, d=2)
    model = ConvexReLURegressor(activation="gated", tol=1e-7).fit(X, y)
    assert isinstance(model.network_, GatedReLUNetwork)
    assert model.certified_
    assert model.certificate_.verify(X, y).gap <= 1e-6
    top = max_beta(np.column_stack([X, np.ones(20)]), y, activation="gated", output_bias=True)
    assert model.beta_ == pytest.approx(0.05 * top)
    few = ConvexReLURegressor(activation="gated", gates=7, tol=1e-7).fit(X, y)
    assert len(few.certificate_.patterns) <= 7
    again = ConvexReLURegressor(activation="gated", gates=7, warm_start=True, tol=1e-7).fit(X, y).fit(X, y)
    assert again.n_iter_ == 1
    changed = again.set_params(activation="relu", gates=None).fit(X, y)
    assert isinstance(changed.network_, ReLUNetwork)


@pytest.mark.parametrize("packed", [False, True])
def test_estimators_keep_patterns_in_files(tmp_path, packed):
    X, y = data(26, n=20, d=2)
    gates = all_patterns(np.column_stack([X, np.ones(20)]), packed=packed)[::9]
    model = ConvexReLURegressor(activation="gated", gates=gates).fit(X, y)
    model.save(tmp_path / "model.npz")
    again = ConvexReLURegressor.load(tmp_path / "model.npz")
    assert again.activation == "gated"
    assert np.array_equal(again.predict(X), model.predict(X))
    assert np.array_equal(again.fit(X, y).predict(X), model.predict(X))


@pytest.mark.parametrize("gates", ["15", "all"])
def test_the_command_line_trains_gated_networks(tmp_path, monkeypatch, capsys, gates):
    monkeypatch.chdir(tmp_path)
    X, y = data(27, n=30, d=2)
    np.savetxt("data.csv", np.column_stack([X, y]), delimiter=",", header="a,b,y", comments="")
    asked = ["fit", "data.csv", "--activation", "gated", "--gates", gates, "--out", "model.npz", "--quiet"]
    assert main(asked) == 0
    assert "no gated network over " + ("all" if gates == "all" else "these ") in capsys.readouterr().out
    assert main(["verify", "model.npz", "data.csv"]) == 0
    assert "patterns, " in capsys.readouterr().out
    assert main(["predict", "model.npz", "data.csv"]) == 0
    shown = np.array(capsys.readouterr().out.split()[1:], dtype=float)
    model = ConvexReLURegressor.load("model.npz")
    frame = pd.DataFrame(X, columns=["a", "b"])
    assert np.allclose(shown, model.predict(frame))
    top = max_beta(np.column_stack([X, np.ones(30)]), y, activation="gated", gates=model.gates, output_bias=True)
    assert model.beta_ == pytest.approx(0.05 * top)
    assert model.fit(frame, y).certified_


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--gates", "3"], "--gates needs --activation gated"),
        (["--activation", "gated", "--gates", "some"], "a number or all, got 'some'"),
    ],
)
def test_the_command_line_refuses_gates_that_mean_nothing(capsys, words, message):
    try:
        code = main(["fit", *words])
    except SystemExit as error:  # of argparse
        code = error.code
    assert code == 2
    assert message in capsys.readouterr().err


def test_gated_networks_can_be_drawn():
    X, y = data(28, n=20, d=2)
    model = ConvexReLURegressor(activation="gated", gates=9).fit(X, y)
    axes = Figure().subplots()
    plot_function(model, X, y, axes)
    assert axes.get_title().startswith(f"Fitted network, {model.network_.n_neurons} neuron")
    axes = Figure().subplots()
    plot_arrangement(X, axes, network=model)
    assert "gate" in axes.get_legend_handles_labels()[1]


def test_classifiers_train_gated_networks():
    X, y = load_iris(return_X_y=True)
    model = ConvexReLUClassifier(activation="gated", gates=40).fit(X[:, 2:], y)
    assert model.certified_
    assert model.score(X[:, 2:], y) > 0.9
    assert all(isinstance(network, GatedReLUNetwork) for network in model.networks_)


# Files and claims


def steeper(X, certificate):
    """A pattern, packed, with more of the direction in which a tight pattern of the certificate is tight."""
    patterns = np.unpackbits(certificate.patterns, axis=1, count=len(X)).astype(bool)
    sums = naive_gated.correlations(patterns, X, certificate.dual)
    u = sums[np.argmax(np.linalg.norm(sums, axis=1))]
    return np.packbits(certificate.dual * (X @ u) > 0)[None]


def test_round_trip_of_files(tmp_path):
    X, y = data(18, n=21)
    solution = gated(X, y, gates=40, output_bias=True)
    save_model(tmp_path / "model.npz", solution.network, solution.certificate, {"target": "y"})
    model = load_model(tmp_path / "model.npz")
    assert isinstance(model.network, GatedReLUNetwork)
    assert np.array_equal(model.network.predict(X), solution.network.predict(X))
    assert np.array_equal(model.certificate.patterns, solution.certificate.patterns)
    assert model.certificate.verify(X, y) == solution.certificate.verify(X, y)
    solution.network.save(tmp_path / "network.npz")
    assert np.array_equal(GatedReLUNetwork.load(tmp_path / "network.npz").V, solution.network.V)


@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("bias", [0.0, -1.5])
@pytest.mark.parametrize("m", [0, 4])
def test_exports_predict_the_same(intercept, bias, m):
    import onnxruntime
    import torch

    rng = np.random.default_rng(22)
    gates, V = rng.standard_normal((2, 3, m))
    network, X = GatedReLUNetwork(gates, V, intercept, bias), rng.standard_normal((9, 3 - intercept))
    expected = network.predict(X)
    assert np.allclose(network.to_torch()(torch.from_numpy(X)).detach().numpy(), expected, atol=1e-13)
    session = onnxruntime.InferenceSession(network.to_onnx().SerializeToString(), providers=["CPUExecutionProvider"])
    assert np.allclose(session.run(["f"], {"X": X})[0], expected, atol=1e-13)


# ReLU networks that are equal on the data


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 40), d=st.integers(1, 5), m=st.integers(0, 4), intercept=BOOL)
def test_relu_network_is_equal_on_the_data(seed, n, d, m, intercept):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d))
    gates, V = rng.standard_normal((2, d + intercept, m))
    network = GatedReLUNetwork(gates, V, intercept, 0.5)
    relu, growth = network.to_relu(X)
    size = np.linalg.norm(X, axis=1).max() * max(relu.penalty, 1.0)
    assert np.abs(relu.predict(X) - network.predict(X)).max() <= 1e-12 * size
    assert growth >= 1.0 - 1e-12
    assert relu.penalty == pytest.approx(growth * network.penalty)


@pytest.mark.parametrize("seed", range(8))
def test_pairs_are_the_cheapest(seed):
    import cvxpy as cp

    rng = np.random.default_rng(seed)
    X, g, v = rng.standard_normal((12, 3)), rng.standard_normal(3), rng.standard_normal(3)
    G = np.sign(X @ g)[:, None] * X
    a, b = cp.Variable(3), cp.Variable(3)
    problem = cp.Problem(cp.Minimize(cp.norm(a) + cp.norm(b)), [a - b == v, G @ a >= 0, G @ b >= 0])
    problem.solve(solver="CLARABEL")
    _, growth = GatedReLUNetwork(g[:, None], v[:, None]).to_relu(X)
    assert growth * np.linalg.norm(v) == pytest.approx(problem.value, rel=1e-6)


def test_relu_network_is_a_warm_start():
    X, y = data(23, n=15)
    solution = gated(X, y, 0.05, tol=1e-8)
    relu, growth = solution.network.to_relu(X)
    beta = solution.certificate.beta
    exact = train(X, y, beta, warm_start=relu, tol=1e-6)
    start = relu.objective(X, y, beta)
    assert start <= solution.objective + beta * (growth - 1) * solution.network.penalty + 1e-9
    assert solution.lower_bound - 1e-9 <= exact.objective <= start * (1 + 1e-9)


def test_a_gate_with_rows_on_its_plane_has_no_relu_network():
    network = GatedReLUNetwork([[0.0], [1.0]], [[1.0], [0.3]])
    with pytest.raises(ValueError, match="no interior"):
        network.to_relu([[1.0, 0.0], [-1.0, 0.0], [0.5, 1.0], [0.2, -1.0]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: {"lower_bound": c.lower_bound * (1 + 1e-6), "gap": 0.0}, "lower_bound|gap"),
        (lambda c: {"objective": c.objective * (1 + 1e-6)}, "objective"),
        (lambda c: {"dual": c.dual * (1 + 1e-6)}, "not dual feasible"),
        (lambda c: {"beta": c.beta * (1 - 1e-6)}, "objective|not dual feasible"),
        (lambda c: {"patterns": None}, "not dual feasible"),  # all of them
        (lambda c: {"patterns": [1]}, "patterns must be octets, 3 for each pattern, got .1."),
        (lambda c: {"patterns": c.patterns[:, :2]}, "patterns must be octets"),
        (lambda c: {"patterns": np.vstack([c.patterns, steeper(data(19)[0], c)])}, "not dual feasible"),
        (lambda c: {"rank": 1}, "no truncation"),
        (lambda c: {"layers": 3}, "3 layers"),
    ],
)
def test_corrupted_claims_are_refused(change, message):
    X, y = data(19)
    certificate = gated(X, y, 0.2, gates=40).certificate
    certificate.verify(X, y)
    with pytest.raises(CertificateError, match=message):
        replace(certificate, **change(certificate)).verify(X, y)


def largest(Z, theta):
    """``max |Z' D theta|`` over all patterns, enumerated."""
    return np.linalg.norm(naive_gated.correlations(all_patterns(Z), Z, theta), axis=1).max()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 11), r=st.integers(1, 4), ties=BOOL)
def test_vertices_bound_all_patterns(seed, n, r, ties):
    rng = np.random.default_rng(seed)
    Z, theta = rng.standard_normal((n, r)), rng.standard_normal(n)
    if ties:
        Z = np.round(Z)
        Z[-1] = -2.0 * Z[0]
    if np.linalg.matrix_rank(Z) < r:
        return
    found, reference = price_vertices(Z, theta), largest(Z, theta)
    assert found.upper >= reference * (1 - 1e-12)
    assert found.attained <= reference * (1 + 1e-12)
    if not ties:
        assert found.upper == pytest.approx(reference, rel=1e-12)
        assert found.attained == found.upper


def test_vertices_give_up_where_they_must(monkeypatch):
    rng = np.random.default_rng(0)
    assert price_vertices(np.round(2 * rng.standard_normal((60, 2))) @ np.eye(2, 3), rng.random(60)).upper == np.inf
    assert price_vertices(rng.standard_normal((9, 3)), rng.random(9), deadline=0.0).upper == np.inf


def test_a_proof_for_all_patterns_that_runs_out_of_time():
    X, y = data(25)
    solution = gated(X, y)
    assert solution.certificate.patterns is None
    assert solution.certificate.verify(X, y).gap <= 1e-9
    with pytest.raises(NotProvenError, match="not proven for all patterns within 1e-09 s"):
        solution.certificate.verify(X, y, time_limit=1e-9)
    with pytest.raises(CertificateError, match="not dual feasible"):
        replace(solution.certificate, dual=solution.certificate.dual * (1 + 1e-6)).verify(X, y)


def test_a_certificate_shows_its_claim_in_a_line():
    X, y = data(20)
    shown = repr(gated(X, y, gates=10).certificate)
    assert shown.startswith("GatedCertificate(beta=")
    assert len(shown) < 160


def test_a_certificate_of_relu_networks_does_not_take_a_gated_one():
    X, y = data(20)
    relu, solution = train(X, y, 1.0, tol=1e-3), gated(X, y, gates=10)
    with pytest.raises(CertificateError, match="cannot speak of a GatedReLUNetwork"):
        replace(relu.certificate, network=solution.network).verify(X, y)


def test_gates_find_their_patterns():
    X, y = data(21)
    gates = make_gates(make_problem(X, y, "squared", None), 30, 0)
    assert np.array_equal(gates.find(gates.octets[[7, 2]]), [7, 2])
    assert gates.find(np.zeros((1, 3), np.uint8)).tolist() == [-1]
