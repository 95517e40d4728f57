"""Networks and model files."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from exactrelu import Model, ReLUNetwork, load_model, save_model
from exactrelu.solve import CertificateError, train

numbers = st.floats(-1e3, 1e3, width=32)


@st.composite
def networks(draw):
    """A network and data for it."""
    n, d, m = draw(st.integers(1, 6)), draw(st.integers(1, 4)), draw(st.integers(0, 5))
    intercept = draw(st.booleans())
    W = draw(arrays(float, (d + intercept, m), elements=numbers))
    alpha = draw(arrays(float, m, elements=numbers))
    return ReLUNetwork(W, alpha, intercept), draw(arrays(float, (n, d), elements=numbers))


def naive_output(network, row):
    """One sample, one neuron at a time."""
    inputs = [*row, 1.0] if network.intercept else [*row]
    total = 0.0
    for k in range(len(network.alpha)):
        before = sum(x * w for x, w in zip(inputs, network.W[:, k], strict=True))
        total += network.alpha[k] * max(before, 0.0)
    return total


@given(networks())
def test_predict_is_the_sum_over_neurons(case):
    network, X = case
    expected = [naive_output(network, row) for row in X]
    size = 1.0 + np.abs(X).max() * np.abs(network.W).sum() * (1.0 + np.abs(network.alpha).sum())
    np.testing.assert_allclose(network.predict(X), expected, rtol=1e-9, atol=1e-9 * size)


@given(networks())
def test_intercept_is_a_column_of_ones(case):
    network, X = case
    plain = ReLUNetwork(network.W, network.alpha)
    data = np.column_stack([X, np.ones(len(X))]) if network.intercept else X
    size = 1.0 + np.abs(data).max() * np.abs(network.W).sum() * (1.0 + np.abs(network.alpha).sum())
    np.testing.assert_allclose(network.predict(X), plain.predict(data), rtol=1e-9, atol=1e-9 * size)


def test_sizes():
    network = ReLUNetwork(np.ones((3, 5)), np.ones(5), intercept=True)
    assert (network.n_features, network.n_neurons, network.layers) == (2, 5, 2)
    assert repr(network) == "ReLUNetwork(n_features=2, n_neurons=5, intercept=True, layers=2)"


def test_network_without_neurons_is_zero():
    np.testing.assert_array_equal(ReLUNetwork(np.zeros((2, 0)), []).predict([[1.0, 2.0], [3.0, 4.0]]), [0.0, 0.0])


@pytest.mark.parametrize("intercept", [False, True])
def test_objective(intercept):
    rng = np.random.default_rng(1)
    network = ReLUNetwork(rng.normal(size=(3, 4)), rng.normal(size=4), intercept)
    X, y = rng.normal(size=(7, 3 - intercept)), rng.choice([-1.0, 1.0], 7)
    f = np.array([naive_output(network, row) for row in X])
    decay = 0.15 * (np.sum(network.W**2) + np.sum(network.alpha**2))
    assert network.objective(X, y, 0.3) == pytest.approx(0.5 * np.sum((f - y) ** 2) + decay, rel=1e-12)
    logistic = np.sum(np.log(1.0 + np.exp(-y * f)))
    assert network.objective(X, y, 0.3, "logistic") == pytest.approx(logistic + decay, rel=1e-12)


@pytest.mark.parametrize(
    ("W", "alpha", "intercept", "message"),
    [
        ([1.0, 2.0], [1.0], False, r"W must be 2-D, got shape \(2,\)"),
        ([[1.0, 2.0]], [[1.0, 2.0]], False, r"alpha must be 1-D, got shape \(1, 2\)"),
        ([[1.0, 2.0]], [1.0], False, "W has 2 columns but alpha has length 1"),
        ([[1.0]], [np.nan], False, "alpha must be finite, got 1 entries that are not"),
        ([["a"]], [1.0], False, "W must be numeric"),
        ([[1.0]], [1.0], True, r"row per feature, got shape \(1, 1\), intercept=True"),
        (np.zeros((0, 1)), [1.0], False, "row per feature"),
    ],
)
def test_illegal_weights(W, alpha, intercept, message):
    with pytest.raises(ValueError, match=message):
        ReLUNetwork(W, alpha, intercept)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        ([1.0, 2.0], r"X must be 2-D, got shape \(2,\)"),
        ([[1.0, 2.0, 3.0]], r"X must have 2 columns, got shape \(1, 3\)"),
        ([[1.0, np.inf]], "X must be finite, got 1 entries"),
        ([["a", "b"]], "X must be numeric"),
    ],
)
def test_illegal_data(X, message):
    with pytest.raises(ValueError, match=message):
        ReLUNetwork([[1.0], [1.0]], [1.0]).predict(X)


def test_illegal_targets():
    network = ReLUNetwork([[1.0]], [1.0])
    with pytest.raises(ValueError, match="X has 2 rows but y has length 3"):
        network.objective([[1.0], [2.0]], [1.0, 2.0, 3.0], 1.0)
    with pytest.raises(ValueError, match="needs labels -1 and"):
        network.objective([[1.0], [2.0]], [0.0, 1.0], 1.0, "logistic")
    with pytest.raises(ValueError, match="unknown loss 'cubed'; known losses: "):
        network.objective([[1.0]], [1.0], 1.0, "cubed")


def test_weights_cannot_change():
    weights = np.ones((1, 1))
    network = ReLUNetwork(weights, [1.0])
    weights[0, 0] = 5.0
    assert network.W[0, 0] == 1.0
    with pytest.raises(ValueError, match="read-only"):
        network.W[0, 0] = 2.0
    with pytest.raises(AttributeError, match="W of a ReLUNetwork cannot be changed"):
        network.W = weights


def test_pickle():
    network = ReLUNetwork([[1.0, -2.0], [0.5, 1.0]], [1.0, 3.0], intercept=True)
    copy = pickle.loads(pickle.dumps(network))
    np.testing.assert_array_equal(copy.W, network.W)
    assert copy.intercept


@settings(max_examples=20, deadline=None)
@given(networks())
def test_save_and_load(tmp_path_factory, case):
    network, _ = case
    path = tmp_path_factory.mktemp("model") / "model.of.mine"  # no ending is added
    network.save(path)
    loaded = ReLUNetwork.load(path)
    np.testing.assert_array_equal(loaded.W, network.W)
    np.testing.assert_array_equal(loaded.alpha, network.alpha)
    assert loaded.intercept == network.intercept
    assert [entry.name for entry in path.parent.iterdir()] == ["model.of.mine"]


def write_text(path):
    path.write_text("not an archive")


def write_other_archive(path):
    np.savez(path.open("wb"), weights=np.ones(3))


def write_single_array(path):
    np.save(path.open("wb"), np.ones(3))


def write_pickle(path):
    np.savez(path.open("wb"), format=np.array([object()]))


def write_newer(path):
    np.savez(path.open("wb"), format="exactrelu-model", version=99)


def write_without_network(path):
    np.savez(path.open("wb"), format="exactrelu-model", version=1)


def write_four_layers(path):
    parts = {
        "network.layers": 4,
        "network.W": np.ones((1, 1)),
        "network.alpha": [1.0],
        "network.intercept": False,
    }
    np.savez(path.open("wb"), format="exactrelu-model", version=1, **parts)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (write_text, "is not an exactrelu model"),
        (lambda path: path.write_bytes(b""), "is not an exactrelu model"),
        (lambda path: path.write_bytes(b"PK\x03\x04 cut off"), "is not an exactrelu model"),
        (write_other_archive, "no format mark, it holds weights"),
        (write_single_array, "it is no .npz archive"),
        (write_pickle, "allow_pickle=False"),
        (write_newer, "format version 99, this library reads version 1"),
        (write_without_network, "holds no network: layers, W, alpha, intercept missing"),
        (write_four_layers, "a network of 4 layers"),
    ],
)
@pytest.mark.parametrize("load", [ReLUNetwork.load, load_model])
def test_foreign_files(tmp_path, write, message, load):
    path = tmp_path / "foreign.npz"
    write(path)
    with pytest.raises(ValueError, match=message):
        load(path)


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_model(tmp_path / "nothing.npz")


@pytest.fixture(scope="module")
def trained():
    """Data and a certified solution."""
    rng = np.random.default_rng(5)
    X, y = rng.normal(size=(25, 2)), rng.normal(size=25)
    return X, y, train(X, y, 0.5, tol=1e-8)


def test_model_file(tmp_path, trained):
    X, y, solution = trained
    path = tmp_path / "model.npz"
    notes = {"target": "naïve", "seconds": 1.5}
    save_model(path, solution.network, solution.certificate, notes)
    model = load_model(path)
    assert isinstance(model, Model)
    assert model.metadata == notes
    for name in ("beta", "loss", "layers", "width", "objective", "lower_bound", "gap", "rank", "pricing"):
        assert getattr(model.certificate, name) == getattr(solution.certificate, name), name
    np.testing.assert_array_equal(model.certificate.dual, solution.certificate.dual)
    found = model.certificate.verify(X, y)
    assert found.objective == pytest.approx(solution.objective, rel=1e-12)
    np.testing.assert_array_equal(ReLUNetwork.load(path).W, solution.network.W)


def test_network_file_has_no_certificate(tmp_path, trained):
    path = tmp_path / "network.npz"
    trained[2].network.save(path)
    model = load_model(path)
    assert model.certificate is None
    assert model.metadata == {}


def test_changed_model_file_is_found_out(tmp_path, trained):
    X, y, solution = trained
    path = tmp_path / "model.npz"
    save_model(path, solution.network, solution.certificate)
    with np.load(path) as archive:
        held = dict(archive)
    held["network.W"] = held["network.W"] * 1.001
    np.savez(path, **held)
    with pytest.raises(CertificateError, match="objective: claimed"):
        load_model(path).certificate.verify(X, y)


def test_incomplete_and_strange_certificates(tmp_path, trained):
    solution = trained[2]
    path = tmp_path / "model.npz"
    save_model(path, solution.network, solution.certificate)
    with np.load(path) as archive:
        held = dict(archive)
    np.savez(path, **{key: value for key, value in held.items() if key != "certificate.dual"})
    with pytest.raises(ValueError, match=r"incomplete certificate: .*dual"):
        load_model(path)
    np.savez(path, **held, **{"certificate.signature": 1.0})
    with pytest.raises(ValueError, match="unknown parts: signature"):
        load_model(path)


def test_certificate_of_another_network(tmp_path, trained):
    solution = trained[2]
    other = ReLUNetwork(2.0 * solution.network.W, solution.network.alpha)
    with pytest.raises(ValueError, match="another network"):
        save_model(tmp_path / "model.npz", other, solution.certificate)
    assert not list(tmp_path.iterdir())


def test_metadata_must_be_plain(tmp_path):
    with pytest.raises(TypeError, match=r"metadata\.thing must be numbers or text, got object"):
        save_model(tmp_path / "model.npz", ReLUNetwork([[1.0]], [1.0]), None, {"thing": object()})
    assert not list(tmp_path.iterdir())
