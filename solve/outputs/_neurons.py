"""Neurons with several outputs: unit directions and vectors of output weights."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from exactrelu._typing import Array, Bools, Ints
from exactrelu.networks import Network, ReLUNetwork
from exactrelu.solve._problem import OutputsProblem

SAME = 1.0 - 1e-12  # cosine from which two directions are one


@dataclass(frozen=True)
class OutputNeurons:
    """K neurons ``(Z u_k)_+ a_k'`` with unit directions; their penalty is ``beta sum_k |a_k|``.

    Attributes
    ----------
    U : (K, r), in isometric coordinates
    A : (K, c)
    """

    U: Array
    A: Array

    @staticmethod
    def empty(problem: OutputsProblem) -> OutputNeurons:
        """No neuron."""
        return OutputNeurons(np.zeros((0, problem.rank)), np.zeros((0, problem.y.shape[1])))

    @staticmethod
    def of_weights(W: Array, A: Array) -> OutputNeurons:
        """Neurons ``(Z w_k)_+ a_k'``, W (K, r) and A (K, c); those that are zero go."""
        lengths = np.linalg.norm(W, axis=1)
        used = (lengths > 0.0) & A.any(axis=1)
        return OutputNeurons(W[used] / lengths[used, None], A[used] * lengths[used, None])

    def __len__(self) -> int:
        """Number of neurons K."""
        return len(self.U)

    @cached_property
    def lengths(self) -> Array:
        """``|a_k|``, (K,)."""
        return np.asarray(np.linalg.norm(self.A, axis=1))

    def hidden(self, Z: Array) -> Array:
        """``(Z u_k)_+``, (n, K)."""
        return np.maximum(Z @ self.U.T, 0.0)

    def outputs(self, Z: Array) -> Array:
        """``sum_k (Z u_k)_+ a_k'``, (n, c). O(n K (r + c))."""
        return np.asarray(self.hidden(Z) @ self.A)

    def evaluate(self, problem: OutputsProblem, beta: float) -> tuple[float, Array]:
        """Objective and prediction (n, c), with the best biases."""
        f = problem.prediction(self.outputs(problem.Z))
        return problem.loss.value(f, problem.y) + beta * float(self.lengths.sum()), f

    def take(self, index: Ints | Bools) -> OutputNeurons:
        """Some of the neurons."""
        return OutputNeurons(self.U[index], self.A[index])

    def joined(self, U: Array) -> OutputNeurons:
        """These and neurons of weight zero in further directions (k, r) that are not among them."""
        if len(self) and len(U):
            U = U[(U @ self.U.T).max(axis=1) < SAME]
        return OutputNeurons(np.vstack([self.U, U]), np.vstack([self.A, np.zeros((len(U), self.A.shape[1]))]))

    def merged(self) -> OutputNeurons:
        """One neuron for each direction: output weights add up, and the penalty cannot grow. O(K^2 r)."""
        if len(self) < 2:
            return self
        first = (self.U @ self.U.T >= SAME).argmax(axis=1)  # the first neuron of that direction
        A = np.zeros_like(self.A)
        np.add.at(A, first, self.A)
        kept = np.unique(first)
        return OutputNeurons(self.U[kept], A[kept])


def network_of(neurons: OutputNeurons, V: Array, bias: Array) -> ReLUNetwork:
    """The network with balanced layers, ``|w_k| = |alpha_k|``, largest neurons first; V (d, r), bias (c,)."""
    order = np.argsort(-neurons.lengths, kind="stable")
    root = np.sqrt(neurons.lengths[order])[:, None]
    return ReLUNetwork(V @ (neurons.U[order] * root).T, neurons.A[order] / root, output_bias=bias)


def neurons_of(network: Network, problem: OutputsProblem) -> OutputNeurons:
    """The neurons of a network to start from, projected on the row space of the data.

    Raises
    ------
    ValueError
        For a network of another kind, or one that does not fit.
    """
    V, c = problem.coordinates.V, problem.y.shape[1]
    if not isinstance(network, ReLUNetwork) or network.n_outputs != c:
        held = f"{type(network).__name__} with {network.n_outputs or 1} outputs"
        raise ValueError(f"warm_start must be a ReLUNetwork with {c} outputs, got a {held}")
    if len(network.W) != len(V):
        raise ValueError(f"warm_start has {len(network.W)} inputs, X has {len(V)} columns")
    return OutputNeurons.of_weights(network.W.T @ V, network.alpha).merged()
