"""Neurons and sub-networks as arrays, and the networks that they stand for."""

import numpy as np
import pytest
from naive_three import objective_of_networks

from exactrelu import ParallelReLUNetwork, ReLUNetwork
from exactrelu.solve._neurons import Neurons, network_of, neurons_of
from exactrelu.solve._problem import make_problem
from exactrelu.solve.descent._reduce import merge_neurons, without_dependent

CASES = [(2, 1), (3, 1), (3, 2), (3, 3)]  # layers and width


def draw(width, K=7, r=2, seed=0):
    rng = np.random.default_rng(seed)
    n_plus = rng.integers(1, max(width, 2), K)
    return Neurons(rng.choice([-1.0, 1.0], K), n_plus, rng.standard_normal((K, width, r)))


def data(n=9, d=2):
    rng = np.random.default_rng(1)
    return rng.standard_normal((n, d)), rng.standard_normal(n)


@pytest.mark.parametrize(("layers", "width"), CASES)
def test_objective_is_that_of_the_definition_and_of_the_network(layers, width):
    """The convex penalty, and that of the balanced layers."""
    X, y = data()
    neurons = draw(width)
    value, f = neurons.evaluate(make_problem(X, y, "squared", None), 0.3)
    parts = zip(neurons.signs, neurons.t, neurons.A, strict=True)
    assert value == pytest.approx(objective_of_networks(X, y, 0.3, list(parts)))
    network = network_of(neurons, np.eye(2), layers)
    assert network.layers == layers
    np.testing.assert_allclose(network.predict(X), f, rtol=1e-12, atol=1e-12)
    assert network.objective(X, y, 0.3) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize(("layers", "width"), CASES)
def test_networks_become_their_neurons_again(layers, width):
    neurons = draw(width)
    V = np.linalg.qr(np.random.default_rng(2).standard_normal((5, 2)))[0]
    network = network_of(neurons, V, layers)
    again = neurons_of(network, V, layers, width)
    order = np.argsort(-neurons.norms)
    np.testing.assert_allclose(again.A, neurons.A[order], atol=1e-12)
    assert again.signs.tolist() == neurons.signs[order].tolist()
    assert again.n_plus.tolist() == neurons.n_plus[order].tolist()


def test_neurons_of_two_layers_become_sub_networks():
    X, _ = data()
    network = network_of(draw(1), np.eye(2), 2)
    found = neurons_of(network, np.eye(2), 3, 3)
    assert found.A.shape[1:] == (3, 2)
    assert found.n_plus.tolist() == [1] * len(found)
    np.testing.assert_allclose(found.outputs(X) @ found.signs, network.predict(X), atol=1e-12)


def test_a_zero_neuron_is_no_neuron():
    network = ReLUNetwork([[1.0, 0.0, 2.0], [0.0, 0.0, 1.0]], [1.0, 1.0, 0.0])
    assert len(neurons_of(network, np.eye(2), 2, 1)) == 1
    assert len(network_of(Neurons.of_two_layers(np.ones(2), np.eye(2) * [1.0, 0.0]), np.eye(2), 2).alpha) == 1


@pytest.mark.parametrize(
    ("network", "layers", "width", "message"),
    [
        (ReLUNetwork(np.eye(3), np.ones(3)), 2, 1, "warm_start has 3 inputs, X has 2 columns"),
        (ParallelReLUNetwork(np.zeros((1, 2, 2)), [[1.0, 1.0]], [1.0]), 2, 1, "a two-layer network, got Parallel"),
        (ParallelReLUNetwork(np.zeros((1, 2, 2)), [[1.0, 1.0]], [1.0]), 3, 3, "has width 2, training asks for 3"),
        ("weights.npz", 3, 2, "warm_start must be a network, got str"),
    ],
)
def test_networks_that_do_not_fit_are_refused(network, layers, width, message):
    with pytest.raises(ValueError, match=message):
        neurons_of(network, np.eye(2), layers, width)


@pytest.mark.parametrize("width", [1, 2])
@pytest.mark.parametrize("seed", range(3))
def test_reduction_keeps_outputs_and_does_not_raise_the_penalty(width, seed):
    X, _ = data(6, 3)
    neurons = draw(width, K=25, r=3, seed=seed)
    reduced = without_dependent(X, merge_neurons(X, neurons) if width == 1 else neurons)
    assert len(reduced) <= 6
    np.testing.assert_allclose(reduced.outputs(X) @ reduced.signs, neurons.outputs(X) @ neurons.signs, atol=1e-9)
    assert reduced.norms.sum() <= neurons.norms.sum() * (1.0 + 1e-12)


def test_neurons_of_one_cell_merge():
    rng = np.random.default_rng(0)
    Z, w = rng.standard_normal((30, 3)), rng.standard_normal(3)
    W = np.array([w, w + 1e-6 * rng.standard_normal(3), -w, w])
    merged = merge_neurons(Z, Neurons.of_two_layers(np.array([1.0, 1.0, 1.0, -1.0]), W))
    assert len(merged) == 3
    np.testing.assert_allclose(merged.outputs(Z) @ merged.signs, np.maximum(Z @ W.T, 0.0) @ [1.0, 1.0, 1.0, -1.0])
