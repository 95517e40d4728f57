"""Two-layer networks; test_model_files.py reads and writes them."""

import pickle

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from exactrelu import ParallelReLUNetwork, ReLUNetwork

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
    assert network.objective(X, y, 0.3, loss="logistic") == pytest.approx(logistic + decay, rel=1e-12)


@pytest.mark.parametrize(
    ("W", "alpha", "intercept", "message"),
    [
        ([1.0, 2.0], [1.0], False, r"W must be 2-D, got shape \(2,\)"),
        ([[1.0, 2.0]], [[1.0, 2.0]], False, "W has 2 columns but alpha has length 1"),
        ([[1.0, 2.0]], [[[1.0], [2.0]]], False, r"alpha must be 1-D, got shape \(1, 2, 1\)"),
        ([[1.0, 2.0]], [1.0], False, "W has 2 columns but alpha has length 1"),
        ([[1.0]], [np.nan], False, r"alpha must be finite, got nan at \[0\] \(1 bad entries\)"),
        ([["a"]], [1.0], False, "W must be numeric"),
        ([[1.0]], [1.0], True, r"row per feature, got shape \(1, 1\), intercept=True"),
        (np.zeros((0, 1)), [1.0], False, "row per feature"),
        (np.ma.array([[1.0]], mask=[[True]]), [1.0], False, "W must have no missing values, got a masked array with 1"),
        ([[1j]], [1.0], False, "W must be numeric: got dtype complex128"),
        (sp.csr_array([[1.0]]), [1.0], False, r"W must be a dense array, got csr_array; convert it with W\.toarray"),
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
        ([[1.0, np.inf]], r"X must be finite, got inf at \[0, 1\]"),
        ([["a", "b"]], "X must be numeric"),
        (sp.csr_array([[1.0, 2.0]]), "X must be a dense array, got csr_array"),
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
        network.objective([[1.0], [2.0]], [0.0, 1.0], 1.0, loss="logistic")
    with pytest.raises(ValueError, match="unknown loss 'cubed'; known losses: "):
        network.objective([[1.0]], [1.0], 1.0, loss="cubed")


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


def test_trusted_arrays_are_neither_copied_nor_writable():
    W, alpha = np.array([[1.0, -2.0], [0.5, 1.0]]), np.array([1.0, 3.0])
    network = ReLUNetwork._trusted(W, alpha, intercept=True)
    checked = ReLUNetwork(W, alpha, intercept=True)
    assert network.arrays().keys() == checked.arrays().keys()
    assert all(np.array_equal(value, checked.arrays()[name]) for name, value in network.arrays().items())
    assert np.shares_memory(network.W, W)
    assert not network.W.flags.writeable
    assert W.flags.writeable
    with pytest.raises(AttributeError, match="cannot be changed"):
        network.alpha = alpha


@pytest.mark.parametrize(
    "network",
    [ReLUNetwork([[1.0], [2.0]], [1.0]), ParallelReLUNetwork([[[0.6], [0.8]]], [[1.0]], [2.0])],
)
def test_the_last_row_read_as_an_intercept(network):
    other = network.with_intercept(True)
    assert type(other) is type(network)
    assert (other.n_features, network.n_features) == (1, 2)
    assert np.array_equal(other.predict([[3.0]]), network.predict([[3.0, 1.0]]))
    assert other.with_intercept(False).arrays()["network.intercept"] is False
    with pytest.raises(ValueError, match=r"W1? must have a row per feature, got shape .*, intercept=True"):
        type(network)(*[part[..., :1, :] for part in (other._first,)], *_later(other), intercept=True)


def _later(network):
    return [value for name, value in network.arrays().items() if name[8:] in ("alpha", "w2", "w3")]


def test_loss_and_weights_of_the_objective_are_named():
    network = ReLUNetwork([[1.0]], [1.0])
    with pytest.raises(TypeError, match="positional"):
        network.objective([[1.0]], [1.0], 1.0, "squared")
