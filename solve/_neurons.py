"""Neurons and sub-networks as arrays: one type for networks of two and of three layers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from exactrelu._typing import Array, Bools, Ints
from exactrelu.networks import ParallelReLUNetwork, ReLUNetwork

from ._problem import Problem


def signs_of(n_plus: int | Ints, width: int) -> Array:
    """The signs t of the neurons of a sub-network, (m,), or (K, m) for K numbers: the positive ones come first."""
    return np.where(np.arange(width) < np.asarray(n_plus)[..., None], 1.0, -1.0)


@dataclass(frozen=True)
class Neurons:
    """K sub-networks ``s_k (sum_j t_kj (Z a_kj)_+)_+``; with m = 1 they are neurons ``s_k (Z a_k)_+`` of two layers.

    Their penalty is ``beta sum_kj |a_kj|`` in both cases (Ergen & Pilanci 2021, Theorem 3.1).

    Attributes
    ----------
    signs : (K,) output signs, +1.0 or -1.0
    n_plus : (K,) number of neurons with ``t_kj = +1``, which come first; 1 where m = 1
    A : (K, m, r) directions times their weights, in isometric coordinates
    """

    signs: Array
    n_plus: Ints
    A: Array

    @staticmethod
    def empty(width: int, r: int) -> Neurons:
        """No sub-network."""
        return Neurons(np.zeros(0), np.zeros(0, np.int64), np.zeros((0, width, r)))

    @staticmethod
    def of_two_layers(signs: Array, W: Array) -> Neurons:
        """Neurons ``s_k (Z w_k)_+`` of two layers: `signs` (K,), `W` (K, r)."""
        return Neurons(signs, np.ones(len(signs), np.int64), W[:, None, :])

    def __len__(self) -> int:
        """Number of sub-networks K."""
        return len(self.signs)

    @cached_property
    def t(self) -> Array:
        """Signs of the neurons inside of their sub-networks, (K, m)."""
        return signs_of(self.n_plus, self.A.shape[1])

    @cached_property
    def W(self) -> Array:
        """The neurons of two layers as rows, (K, r), a view."""
        return self.A[:, 0]

    @cached_property
    def lengths(self) -> Array:
        """``|a_kj|``, (K, m)."""
        return np.sqrt(np.einsum("kmr,kmr->km", self.A, self.A))

    @cached_property
    def norms(self) -> Array:
        """``sum_j |a_kj|``, (K,)."""
        return self.lengths.sum(axis=1)

    def outputs(self, Z: Array) -> Array:
        """``(sum_j t_kj (Z a_kj)_+)_+``, without the output signs, (n, K). O(n K m r)."""
        K, m, r = self.A.shape
        # hidden[i, k m + j] = (z_i . a_kj)_+, one product for all
        hidden = np.maximum(Z @ self.A.reshape(K * m, r).T, 0.0)
        # (t (z.a)_+)_+ with t = 1: there is no second layer
        if m == 1:
            return hidden
        return np.maximum(np.einsum("nkm,km->nk", hidden.reshape(len(Z), K, m), self.t), 0.0)

    def evaluate(self, problem: Problem, beta: float) -> tuple[float, Array]:
        """Objective of the convex program and prediction (n,) of these weights, with the best bias. O(n K m r)."""
        f = problem.prediction(self.outputs(problem.Z) @ self.signs)
        return problem.loss.value(f, problem.y) + beta * float(self.norms.sum()), f

    def times(self, scale: Array) -> Neurons:
        """Every sub-network by its factor, `scale` (K,), at least 0."""
        return Neurons(self.signs, self.n_plus, self.A * scale[:, None, None])

    def take(self, index: Array | Ints | Bools) -> Neurons:
        """Some of the sub-networks, in the order of the index."""
        return Neurons(self.signs[index], self.n_plus[index], self.A[index])

    def widened(self, width: int) -> Neurons:
        """The same in sub-networks of `width` neurons, the further ones zero."""
        K, m, r = self.A.shape
        return Neurons(self.signs, self.n_plus, np.concatenate([self.A, np.zeros((K, width - m, r))], axis=1))

    def nonzero(self) -> Neurons:
        """Those with a weight."""
        return self.take(self.norms > 0.0)

    def joined(self, other: Neurons) -> Neurons:
        """The sub-networks of both."""
        return Neurons(
            np.append(self.signs, other.signs), np.append(self.n_plus, other.n_plus), np.concatenate([self.A, other.A])
        )


def network_of(neurons: Neurons, V: Array, layers: int, bias: float = 0.0) -> ReLUNetwork | ParallelReLUNetwork:
    """Weights in closed form, largest first, with balanced layers: the penalty is then ``beta sum |a_kj|``.

    Two layers (Pilanci & Ergen 2020, Theorem 1): ``w = a/sqrt|a|``, ``alpha = s sqrt|a|``.  Three layers (Ergen &
    Pilanci 2021, Theorem 3.1), with ``A = sum_j |a_j|``: ``w1_j = a_j/sqrt(|a_j| A)``, ``w2_j = t_j sqrt|a_j|``,
    ``w3 = s sqrt A``; then ``|W1|_F = 1`` and ``(|w2|^2 + w3^2)/2 = A``.

    Parameters
    ----------
    neurons : Neurons, in isometric coordinates
    V : (d, r), basis of the row space
    layers : 2 or 3
    bias : float, of the output

    Returns
    -------
    ReLUNetwork or ParallelReLUNetwork
    """
    neurons = neurons.nonzero()
    neurons = neurons.take(np.argsort(-neurons.norms, kind="stable"))
    lengths, root = neurons.lengths, np.sqrt(neurons.norms)
    if layers == 2:
        return ReLUNetwork(V @ (neurons.W / root[:, None]).T, neurons.signs * root, output_bias=bias)
    # zero neurons of a sub-network have length 0: they stay zero, without a division by it
    scale = np.sqrt(lengths) * root[:, None]
    unit = neurons.A / np.where(scale > 0.0, scale, 1.0)[:, :, None]
    W1 = np.einsum("dr,kmr->kdm", V, unit)
    W1 /= np.maximum(np.sqrt(np.einsum("kdm,kdm->k", W1, W1)), 1.0)[:, None, None]  # rounding must not exceed 1
    return ParallelReLUNetwork(W1, neurons.t * np.sqrt(lengths), neurons.signs * root, output_bias=bias)


def neurons_of(network: object, V: Array, layers: int, width: int) -> Neurons:
    """The neurons of a network to start from, projected on the row space of the data.

    Neurons of two layers become sub-networks of one neuron where three layers are trained.

    Parameters
    ----------
    network : ReLUNetwork, or ParallelReLUNetwork where three layers are trained
    V : (d, r), basis of the row space
    layers, width : int, of the networks that are trained

    Returns
    -------
    Neurons, none of them zero

    Raises
    ------
    ValueError
        For a network that does not fit.
    """
    if not isinstance(network, (ReLUNetwork, ParallelReLUNetwork)) or network.layers > layers:
        wanted = "a two-layer network" if layers == 2 else "a network"
        raise ValueError(f"warm_start must be {wanted}, got {type(network).__name__}")
    if network.n_outputs is not None:
        raise ValueError(f"warm_start must be a network with one output, got one with {network.n_outputs} outputs")
    if isinstance(network, ParallelReLUNetwork):
        # an intercept is one more input, the last: weights are those of the data with their column of ones
        first, second, outer = network.W1, network.w2, network.w3
    else:
        first, second, outer = network.W.T[:, :, None], np.ones((network.n_neurons, 1)), network.alpha
    inputs, given = first.shape[1:]
    if inputs != len(V):
        raise ValueError(f"warm_start has {inputs} inputs, X has {len(V)} columns")
    if given > width or (network.layers == 3 and given != width):
        raise ValueError(f"warm_start has width {given}, training asks for {width}")
    A = np.zeros((len(outer), width, V.shape[1]))
    # ReLUs are homogeneous: all weights of a path go into the first layer, but for their signs
    A[:, :given] = (np.swapaxes(first, 1, 2) @ V) * np.abs(second * outer[:, None])[:, :, None]
    positive = np.pad(second > 0.0, ((0, 0), (0, width - given)))
    order = np.argsort(~positive, axis=1, kind="stable")  # positive neurons first
    # a sub-network without a positive neuron is zero everywhere; the sets of cells begin with one
    n_plus = np.maximum(positive.sum(axis=1), 1)
    return Neurons(np.sign(outer), n_plus, np.take_along_axis(A, order[:, :, None], axis=1)).nonzero()
