"""Gated networks with several outputs: against CVXPY, plain references, and laws."""

from dataclasses import replace

import naive_gated
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from sklearn.datasets import load_iris

from exactrelu import (
    ConvexReLUClassifier,
    ConvexReLURegressor,
    GatedReLUNetwork,
    load_model,
    plot_function,
    save_model,
)
from exactrelu.certificates._vertices import price_vertices
from exactrelu.commands._cli import main
from exactrelu.enumerate import sign_patterns
from exactrelu.losses import VectorLoss
from exactrelu.solve import CertificateError, GatedOutputsCertificate, max_beta, path, train
from exactrelu.solve._problem import make_problem
from exactrelu.solve.gated._features import Gram
from exactrelu.solve.gated._newton import Curved
from exactrelu.solve.gated._rows import Rows, solve_rows
from exactrelu.solve.gated._sweeps import solve_gram


def data(seed, n=24, d=3, c=3, loss="squared"):
    """A small problem of c outputs whose targets suit the loss."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d))
    F = np.maximum(X @ rng.standard_normal((d, 4)), 0.0) @ rng.standard_normal((4, c))
    F += 0.1 * rng.standard_normal((n, c))
    if loss == "softmax":
        return X, np.eye(c)[(F + rng.gumbel(size=F.shape)).argmax(axis=1)]
    if loss in ("logistic", "squared_hinge"):
        return X, np.where(np.median(F, axis=0) < F, 1.0, -1.0)
    return X, rng.poisson(np.exp(0.5 * F)).astype(float) if loss == "poisson" else F


def vectors(seed, count=30, d=3):
    """Gate vectors."""
    return np.random.default_rng(seed).standard_normal((count, d))


def gated(X, Y, ratio=0.1, **options):
    """A solution at a part of the largest weight decay."""
    kind = {k: options[k] for k in ("gates", "loss", "sample_weight", "output_bias") if k in options}
    beta = ratio * max_beta(X, Y, activation="gated", **kind)
    return train(X, Y, beta, activation="gated", **{"tol": 1e-9, **options})


# The parts


def working_set(seed, n, K, r, c, centred):
    """A working set of c outputs, and its features and target written down for one output of n c rows."""
    rng = np.random.default_rng(seed)
    patterns, root = rng.random((K, n)) < 0.6, 0.1 + rng.random(n)
    Z, target = root[:, None] * rng.standard_normal((n, r)), 2.0 * rng.standard_normal((n, c))
    rows = Rows(np.arange(K), patterns, Z, target, 0.3, root if centred else None, Gram(K))
    P = np.eye(n) - np.outer(root, root) / (root @ root) if centred else np.eye(n)
    A = np.zeros((n, c, K, c, r))
    for a in range(c):
        A[:, a, :, a] = (P @ naive_gated.features(patterns, Z)).reshape(n, K, r)
    return rows, A.reshape(n * c, K * c * r), (P @ target).ravel(), rng


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6), n=st.integers(2, 10), K=st.integers(1, 4), r=st.integers(1, 3), c=st.integers(2, 3),
    centred=st.booleans(),
)  # fmt: skip
def test_sweeps_are_those_of_the_reference(seed, n, K, r, c, centred):
    rows, A, target, rng = working_set(seed, n, K, r, c, centred)
    W = rng.standard_normal((K, c * r)) * (rng.random((K, 1)) < 0.7)
    expected = naive_gated.sweep(A, target, rows.beta, W)
    assert np.allclose(rows.residual(W).ravel(), target - A @ W.ravel())
    assert np.allclose(rows.correlations(rows.residual(W)).ravel(), A.T @ (target - A @ W.ravel()))
    G, q = rows.small()
    weights = rows.by_outputs(W)
    found = solve_gram(G, q, *rows.spectra, rows.beta, weights, 0.0, 1, False)
    W = weights.transpose(1, 0, 2).reshape(K, c * r)
    assert np.allclose(W, expected, rtol=1e-6, atol=1e-6)
    assert found == pytest.approx(rows.violation(W), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize(("n", "K", "r", "c"), [(20, 3, 2, 2), (5, 3, 2, 3), (9, 2, 3, 2)])
def test_newton_steps_are_those_of_the_reference(n, K, r, c, centred):
    rows, A, target, rng = working_set(1, n, K, r, c, centred)
    W = rng.standard_normal((K, c * r))
    lengths, index = np.linalg.norm(W, axis=1), np.arange(K)
    U = W / lengths[:, None]
    expected = naive_gated.newton_direction(A, target, rows.beta, W)
    gradient = rows.beta * U - rows.correlations(rows.residual(W))
    for step in rows._shared, rows._shared_rows:
        d, e = step(U, lengths / rows.beta, index, gradient)
        assert np.allclose(d, expected, rtol=1e-7, atol=1e-7 * np.abs(expected).max())
        assert np.allclose(e.ravel(), A @ d.ravel(), atol=1e-8)
    d, e = rows._conjugate(U, lengths / rows.beta, index, gradient, 1e-5, 200)
    assert np.allclose(d, expected, atol=1e-3 * np.abs(expected).max())
    assert np.allclose(e.ravel(), A @ d.ravel(), atol=1e-10 * (1 + np.abs(e).max()))


@pytest.mark.parametrize("output_bias", [False, True])
@pytest.mark.parametrize("loss", ["logistic", "softmax"])
def test_newton_steps_with_all_second_derivatives_are_those_written_down(loss, output_bias):
    X, Y = data(5, n=20, loss=loss)
    rng, (n, c), r = np.random.default_rng(9), Y.shape, X.shape[1]
    problem = make_problem(X, Y, loss, None, output_bias=output_bias)
    patterns, W, index = rng.random((3, n)) < 0.6, rng.standard_normal((3, c * r)), np.arange(3)
    curved = Curved(patterns, problem, 0.3)
    f = curved.state(W)
    lengths = np.linalg.norm(W, axis=1)
    gradient = 0.3 * W / lengths[:, None] + curved.correlations(curved.slope(f))
    A, L = np.zeros((n, c, 3, c, r)), np.zeros((n, c, n, c))
    for a in range(c):
        A[:, a, :, a] = naive_gated.features(patterns, problem.Z).reshape(n, 3, r)
    A, L[range(n), :, range(n)] = A.reshape(n * c, 3 * c * r), problem.loss.curvature(f, problem.y)
    L, biases = L.reshape(n * c, n * c), np.tile(np.eye(c), (n, 1))
    if output_bias:
        L = L - L @ biases @ np.linalg.pinv(biases.T @ L @ biases) @ biases.T @ L
    H = A.T @ L @ A
    for k, part in enumerate(np.split(np.arange(3 * c * r), 3)):
        u = W[k] / lengths[k]
        H[np.ix_(part, part)] += 0.3 / lengths[k] * (np.eye(c * r) - np.outer(u, u))
    expected = -np.linalg.solve(H, gradient.ravel())
    d, e = curved.direction(W, index, gradient, 1e-4, f)
    missing = d.ravel() - expected
    assert missing @ H @ missing <= 1e-5 * (expected @ H @ expected)
    assert np.allclose(e.ravel(), A @ d.ravel())


@pytest.mark.parametrize("most", [0, 1500])  # weights that a Gram matrix is made for
@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize(("n", "K", "r"), [(30, 5, 2), (10, 15, 3)])
def test_working_sets_are_solved_to_the_last_digits(n, K, r, centred, most, monkeypatch):
    monkeypatch.setattr("exactrelu.solve.gated._rows.MOST_WEIGHTS", most)
    rows, A, target, _ = working_set(4, n, K, r, 2, centred)
    W = np.zeros((K, 2 * r))
    assert solve_rows(rows, W, 1e-9) > 0
    pull = (A.T @ (target - A @ W.ravel())).reshape(K, 2 * r)
    for w, q in zip(W, pull, strict=True):
        if w.any():
            assert np.allclose(q, rows.beta * w / np.linalg.norm(w), atol=1e-8)
        else:
            assert np.linalg.norm(q) <= rows.beta * (1 + 1e-8)


def test_newton_steps_of_the_compiled_loop_are_for_one_output():
    rows, *_ = working_set(0, 9, 2, 2, 2, False)
    with pytest.raises(ValueError, match=r"one output, got W of shape \(2, 2, 2\)"):
        solve_gram(*rows.small(), *rows.spectra, 0.3, np.zeros((2, 2, 2)), 0.0, 1, True)


def test_vertices_bound_all_patterns_of_several_outputs():
    rng = np.random.default_rng(2)
    Z, theta = rng.standard_normal((9, 3)), rng.standard_normal((9, 2))
    reference = max(np.linalg.norm(Z[p].T @ theta[p]) for p in sign_patterns(Z))
    assert price_vertices(Z, theta).upper == pytest.approx(reference, rel=1e-12)


# The optimum


@pytest.mark.parametrize("output_bias", [False, True])
@pytest.mark.parametrize("loss", ["squared", "huber", "logistic", "squared_hinge", "poisson", "softmax"])
def test_optimum_is_that_of_cvxpy(loss, output_bias):
    X, Y = data(3, loss=loss)
    weight, gates = np.random.default_rng(4).integers(0, 3, len(Y)).astype(float), vectors(5)
    solution = gated(X, Y, gates=gates, loss=loss, sample_weight=weight, output_bias=output_bias, tol=1e-8)
    assert solution.converged
    beta = solution.certificate.beta
    reference = naive_gated.outputs_optimum((X @ gates.T > 0).T, X, Y, beta, loss, weight, output_bias)
    assert solution.objective == pytest.approx(reference, rel=1e-6)
    assert solution.lower_bound <= reference * (1 + 1e-8)
    found = solution.certificate.verify(X, Y, sample_weight=weight)
    assert found.gap <= 1e-7
    assert found.cones == len(np.unique(X @ gates.T > 0, axis=1).T)


def test_optimum_is_what_proximal_gradient_steps_tend_to():
    X, Y = data(4)
    gates = vectors(6)
    solution = gated(X, Y, gates=gates)
    _, objective = naive_gated.fista((X @ gates.T > 0).T, X, Y, solution.certificate.beta, 20_000)
    assert solution.lower_bound <= objective * (1 + 1e-12)
    assert objective == pytest.approx(solution.objective, rel=1e-6)


def test_all_patterns_are_the_default_at_low_rank():
    X, Y = data(6, n=12)
    solution = gated(X, Y)
    assert solution.patterns == "all"
    reference = naive_gated.outputs_optimum(sign_patterns(X), X, Y, solution.certificate.beta)
    assert solution.objective == pytest.approx(reference, rel=1e-7)
    assert solution.certificate.patterns is None
    assert solution.certificate.verify(X, Y).gap <= 1e-8


class Tilted(VectorLoss):
    """``1/2 (F - Y)' M (F - Y)``: a quadratic loss whose outputs are not alike."""

    name, quadratic = "tilted", True
    M = np.array([[2.0, 0.9], [0.9, 1.0]])

    def samples(self, f, y):
        """Half a quadratic form."""
        return 0.5 * np.einsum("na,ab,nb->n", f - y, self.M, f - y)

    def gradient(self, f, y):
        """Its gradient."""
        return (f - y) @ self.M

    def curvature(self, f, y):
        """The form."""
        return np.broadcast_to(self.M, (len(f), 2, 2)).copy()

    def conjugates(self, v, y):
        """``v.y + 1/2 v' M^-1 v``."""
        return (v * y).sum(axis=1) + 0.5 * np.einsum("na,ab,nb->n", v, np.linalg.inv(self.M), v)


@pytest.mark.parametrize("output_bias", [False, True])
def test_a_loss_of_ones_own(output_bias):
    X, Y = data(7, c=2)
    solution = gated(X, Y, gates=vectors(8), loss=Tilted(), output_bias=output_bias)
    assert solution.converged
    assert solution.certificate.verify(X, Y, loss=Tilted()).gap <= 1e-8


@pytest.mark.parametrize("loss", ["squared", "logistic"])
def test_one_column_is_one_output_bit_for_bit(loss):
    X, Y = data(8, c=1, loss=loss)
    one, two = (gated(X, y, gates=40, loss=loss) for y in (Y, Y[:, 0]))
    assert one.objective == two.objective
    assert np.array_equal(one.network.V, two.network.V)
    assert one.network.V.ndim == 2


def test_a_second_output_of_zeros_changes_nothing():
    X, Y = data(9, c=1)
    one = gated(X, Y[:, 0], gates=vectors(1))
    two = gated(X, np.column_stack([Y, np.zeros(len(Y))]), gates=vectors(1))
    assert two.objective == pytest.approx(one.objective, rel=1e-8)
    assert np.allclose(two.network.V[:, :, 1], 0.0, atol=1e-9)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6), output_bias=st.booleans())
def test_rotated_targets_leave_the_optimum(seed, output_bias):
    X, Y = data(seed)
    Q, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((3, 3)))
    one = gated(X, Y, gates=vectors(seed), output_bias=output_bias)
    two = gated(X, Y @ Q, gates=vectors(seed), output_bias=output_bias)
    assert two.objective == pytest.approx(one.objective, rel=1e-8)
    assert np.allclose(two.network.predict(X), one.network.predict(X) @ Q, atol=1e-3)


def test_zero_network_from_exactly_max_beta_on():
    X, Y = data(10)
    gates = vectors(11)
    top = max_beta(X, Y, activation="gated", gates=gates)
    assert top == pytest.approx(max(np.linalg.norm(X[p].T @ Y[p]) for p in (X @ gates.T > 0).T), rel=1e-13)
    zero = train(X, Y, top * (1 + 1e-9), activation="gated", gates=gates)
    assert zero.network.n_neurons == 0
    assert zero.converged
    assert zero.network.predict(X).shape == Y.shape
    assert train(X, Y, top * (1 - 1e-6), activation="gated", gates=gates, tol=1e-13).network.n_neurons > 0


def test_weights_are_repetitions():
    X, Y = data(11, loss="softmax")
    times = np.random.default_rng(12).integers(0, 4, len(Y))
    one = gated(X, Y, gates=vectors(13), sample_weight=times, loss="softmax")
    two = gated(np.repeat(X, times, axis=0), np.repeat(Y, times, axis=0), gates=vectors(13), loss="softmax")
    assert two.objective == pytest.approx(one.objective, rel=1e-8)


def test_path_and_warm_start():
    X, Y = data(15)
    X = np.column_stack([X, X[:, 0] + X[:, 1]])  # coordinates are not the columns
    solutions = path(X, Y, [0.5, 2.0, 1.0], activation="gated", gates=60, tol=1e-8)
    cold = train(X, Y, 0.5, activation="gated", gates=60, tol=1e-8)
    assert solutions[-1].objective == pytest.approx(cold.objective, rel=1e-7)
    for start in (cold, cold.network):
        assert train(X, Y, 0.5, activation="gated", gates=60, tol=1e-7, warm_start=start).n_rounds == 1
    with pytest.raises(ValueError, match=r"warm_start has 3 outputs, y is of shape \(24,\)"):
        train(X, Y[:, 0], 0.5, activation="gated", gates=60, warm_start=cold)


# Networks, files, exports


def test_networks_of_several_outputs():
    rng = np.random.default_rng(0)
    X, G, V = rng.standard_normal((9, 3)), rng.standard_normal((4, 5)), rng.standard_normal((4, 5, 2))
    network = GatedReLUNetwork(G, V, intercept=True, output_bias=[1.0, -2.0])
    inputs = np.column_stack([X, np.ones(9)])
    expected = np.array([1.0, -2.0]) + sum((inputs @ G[:, j] > 0)[:, None] * (inputs @ V[:, j]) for j in range(5))
    assert np.allclose(network.predict(X), expected)
    assert network.n_outputs == 2
    assert network.penalty == pytest.approx(sum(np.linalg.norm(V[:, j]) for j in range(5)))
    columns = np.column_stack([one.predict(X) for one in network.single_outputs()])
    assert np.allclose(columns, expected)
    with pytest.raises(ValueError, match="numbers for each output"):
        GatedReLUNetwork(G, V[:, :, :0])
    with pytest.raises(ValueError, match=r"gates have shape \(4, 5\) but V has shape \(4, 4, 2\)"):
        GatedReLUNetwork(G, V[:, :4])


def test_files_round_trip(tmp_path):
    X, Y = data(17)
    solution = gated(X, Y, gates=40, output_bias=True)
    solution.network.save(tmp_path / "network.npz")
    again = GatedReLUNetwork.load(tmp_path / "network.npz")
    assert np.array_equal(again.predict(X), solution.network.predict(X))
    save_model(tmp_path / "model.npz", solution.network, solution.certificate)
    claim = load_model(tmp_path / "model.npz").certificate
    assert isinstance(claim, GatedOutputsCertificate)
    assert np.array_equal(claim.patterns, solution.certificate.patterns)
    assert claim.verify(X, Y).gap <= 1e-8


def test_exports_predict_the_same():
    torch, onnxruntime = pytest.importorskip("torch"), pytest.importorskip("onnxruntime")
    X, Y = data(18)
    network = gated(X, Y, gates=20, output_bias=True).network
    assert np.allclose(network.to_torch()(torch.from_numpy(X)).detach().numpy(), network.predict(X))
    session = onnxruntime.InferenceSession(network.to_onnx().SerializeToString())
    assert np.allclose(session.run(None, {"X": X})[0], network.predict(X))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(3, 25), d=st.integers(1, 4), c=st.integers(2, 4))
def test_the_relu_network_is_equal_on_the_data(seed, n, d, c):
    rng = np.random.default_rng(seed)
    X, m = rng.standard_normal((n, d)), 3
    network = GatedReLUNetwork(rng.standard_normal((d, m)), rng.standard_normal((d, m, c)), output_bias=np.ones(c))
    relu, growth = network.to_relu(X)
    f = network.predict(X)
    assert np.allclose(relu.predict(X), f, rtol=0.0, atol=1e-12 * (np.abs(f).max() + relu.penalty))
    assert relu.penalty == pytest.approx(growth * network.penalty)
    assert growth >= 1.0 - 1e-12


def test_a_weight_of_rank_one_in_its_cone_costs_nothing_more():
    X = np.random.default_rng(3).standard_normal((20, 3))
    g = np.array([1.0, -1.0, 0.5])
    network = GatedReLUNetwork(g[:, None], np.multiply.outer(g, [3.0, -4.0])[:, None, :])
    relu, growth = network.to_relu(X)
    assert growth == pytest.approx(1.0)
    assert relu.n_neurons == 1
    assert np.allclose(relu.predict(X), network.predict(X))
    warm = train(X, network.predict(X), 0.1, warm_start=relu, tol=1e-4, max_iter=1)
    assert warm.objective <= relu.objective(X, network.predict(X), 0.1) * (1 + 1e-12)


def test_pictures_are_of_one_output():
    X, Y = data(20, d=1)
    network = gated(X, Y, gates="all").network
    with pytest.raises(ValueError, match="has 3 outputs: draw its single_outputs"):
        plot_function(network, X, Y[:, 0], Figure().subplots())


# Certificates


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: {"objective": c.objective * 0.99}, "objective: claimed"),
        (lambda c: {"lower_bound": c.lower_bound * 1.001, "objective": c.objective}, "claimed"),
        (lambda c: {"dual": c.dual * 1.001}, "not dual feasible"),
        (lambda c: {"dual": c.dual[:, 0]}, "theta must be a matrix"),
        (lambda c: {"dual": c.dual[:, :2]}, "theta has 2 columns, the network 3 outputs"),
        (lambda c: {"patterns": None}, "not dual feasible"),
        (lambda c: {"patterns": c.patterns[:, :2]}, "patterns must be octets"),
        (lambda c: {"rank": 1}, "no truncation"),
        (lambda c: {"network": c.network.single_outputs()[0]}, "cannot speak of a network with None outputs"),
    ],
)
def test_forged_claims_are_refused(change, message):
    X, Y = data(19)
    certificate = gated(X, Y, 0.2, gates=12).certificate
    certificate.verify(X, Y)
    with pytest.raises(CertificateError, match=message):
        replace(certificate, **change(certificate)).verify(X, Y)


def test_sums_must_be_exact():
    X, Y = data(21, loss="softmax")
    certificate = gated(X, Y, gates=12, loss="softmax", output_bias=True).certificate
    dual = certificate.dual.copy()
    dual[0, 0] *= 1 + 1e-15
    with pytest.raises(CertificateError, match="must sum to zero"):
        replace(certificate, dual=dual).verify(X, Y)


# Estimators


def test_estimators_train_gated_networks_of_several_outputs(tmp_path):
    X, Y = data(22, n=20, d=2)
    model = ConvexReLURegressor(activation="gated", tol=1e-7).fit(X, Y)
    assert isinstance(model.network_, GatedReLUNetwork)
    assert model.certified_
    assert model.predict(X).shape == Y.shape
    assert model.certificate_.verify(X, Y).gap <= 1e-6
    again = ConvexReLURegressor(activation="gated", gates=7, warm_start=True, tol=1e-7).fit(X, Y).fit(X, Y)
    assert again.n_iter_ == 1
    model.save(tmp_path / "model.npz")
    assert np.array_equal(ConvexReLURegressor.load(tmp_path / "model.npz").predict(X), model.predict(X))


def test_a_gated_network_of_three_classes():
    X, y = load_iris(return_X_y=True)
    X = X[:, 2:]
    model = ConvexReLUClassifier(activation="gated", gates=60, multi_class="softmax").fit(X, y)
    assert model.certified_
    assert model.network_.n_outputs == 3
    assert np.allclose(model.predict_proba(X).sum(axis=1), 1.0)
    assert model.score(X, y) >= 0.95
    assert len(ConvexReLUClassifier(activation="gated", gates=60).fit(X, y).networks_) == 3


def test_more_blocks_than_can_be_told_apart_end_in_a_proof():
    """Fifty blocks for sixty numbers: Newton's direction is flat, and no block came to its zero by halves."""
    X = np.column_stack([np.random.default_rng(0).standard_normal((30, 2)), np.ones(30)])
    hinge = np.maximum(X[:, 1], 0.0)
    solution = train(X, np.column_stack([np.abs(X[:, 0]) - hinge, hinge]), 0.1, activation="gated", max_iter=60)
    assert solution.converged
    assert solution.certificate.gap <= 1e-6


def test_the_command_line_learns_labels_with_one_gated_network(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    X = np.random.default_rng(8).standard_normal((30, 2))
    words = np.array(["red", "green", "blue"])[np.argmax(np.column_stack([X, np.abs(X[:, 0]) - 0.5]), axis=1)]
    rows = "".join(f"{a},{b},{word}\n" for (a, b), word in zip(X.tolist(), words, strict=True))
    (tmp_path / "data.csv").write_text("a,b,colour\n" + rows)
    asked = ["--target", "colour", "--loss", "softmax", "--activation", "gated", "--gates", "20", "--out", "model.npz"]
    assert main(["fit", "data.csv", *asked, "--quiet"]) == 0
    assert "3, one network with an output for each: blue, green, red" in capsys.readouterr().out
    assert main(["verify", "model.npz", "data.csv"]) == 0
    capsys.readouterr()
    assert main(["predict", "model.npz", "data.csv"]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header == "prediction,probability of blue,probability of green,probability of red"
    predicted = [line.split(",") for line in lines]
    assert np.mean([row[0] == word for row, word in zip(predicted, words, strict=True)]) > 0.9
    assert np.allclose(np.array([row[1:] for row in predicted], dtype=float).sum(axis=1), 1.0)
