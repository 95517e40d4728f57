"""Parallel three-layer ReLU networks as plain NumPy arrays."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from exactrelu._typing import Array

from ._base import Network, frozen

UNIT = 1.0 + 1e-9  # largest norm of a first layer: 1, and what rounding of d m squares may add


class ParallelReLUNetwork(Network):
    """Parallel three-layer sub-networks ``f(x) = sum_k w3_k (sum_j w2_kj (W1_kj·x)_+)_+ + b``.

    Parameters
    ----------
    W1 : (K, d, m) array_like
        First layers, each of Frobenius norm at most 1.
    w2 : (K, m) array_like
        Second layers.
    w3 : (K,) array_like
        Output weights.
    intercept : bool
        Whether the first layers have an intercept: the data then get a column of ones appended, and `W1` has one
        more row than the data have columns.
    output_bias : float
        Added to the outputs; it is free of penalty.

    Attributes
    ----------
    W1, w2, w3 : read-only float64 arrays
    intercept : bool
    output_bias : float
    layers : int, 3

    Raises
    ------
    ValueError
        For shapes that do not fit each other, weights that are not finite, or a first layer of norm above 1.

    References
    ----------
    T. Ergen and M. Pilanci, "Global optimality beyond two layers: training deep ReLU networks via convex
    programs", ICML 2021, arXiv:2110.05518.

    Examples
    --------
    >>> from exactrelu import ParallelReLUNetwork
    >>> network = ParallelReLUNetwork(W1=[[[0.6, 0.8]]], w2=[[1.0, -0.5]], w3=[2.0])
    >>> network.predict([[1.0], [-1.0]]).round(12)
    array([0.4, 0. ])
    """

    layers = 3
    W1: Array
    w2: Array
    w3: Array
    _parts = ("W1", "w2", "w3")
    _sizes = ("n_subnetworks", "width")

    def __init__(
        self, W1: ArrayLike, w2: ArrayLike, w3: ArrayLike, intercept: bool = False, output_bias: float = 0.0
    ) -> None:
        self._hold(
            frozen(W1, "W1", 3), frozen(w2, "w2", 2), frozen(w3, "w3", 1), intercept=intercept, output_bias=output_bias
        )
        K, d, m = self.W1.shape
        if self.w2.shape != (K, m) or self.w3.shape != (K,):
            raise ValueError(
                f"W1 of shape {self.W1.shape} needs w2 of shape ({K}, {m}) and w3 of shape ({K},), "
                f"got {self.w2.shape} and {self.w3.shape}"
            )
        # the penalty leaves the first layers out, so a norm above 1 would buy output for nothing
        largest = float(np.linalg.norm(self.W1.reshape(K, d * m), axis=1).max(initial=0.0))
        if largest > UNIT:
            raise ValueError(f"first layers must have Frobenius norm at most 1, got {largest!r}")

    @property
    def n_subnetworks(self) -> int:
        """Number of sub-networks K."""
        return int(self.W1.shape[0])

    @property
    def width(self) -> int:
        """Neurons in the first layer of a sub-network, m."""
        return int(self.W1.shape[2])

    @property
    def n_neurons(self) -> int:
        """Number of neurons of the first layers that are not zero."""
        return int(np.count_nonzero(self.w2 * np.linalg.norm(self.W1, axis=1)))

    @property
    def penalty(self) -> float:
        """``1/2 sum_k (|w2_k|^2 + w3_k^2)``."""
        return 0.5 * float(np.sum(self.w2**2) + np.sum(self.w3**2))

    def _weighted(self, inputs: Array) -> Array:
        """``sum_k w3_k ((X W1_k)_+ w2_k)_+``, (n,)."""
        # one sub-network at a time: (n, m) numbers are held, not (n, K m)
        output = np.zeros(len(inputs))
        for W1, w2, w3 in zip(self.W1, self.w2, self.w3, strict=True):
            output += w3 * np.maximum(np.maximum(inputs @ W1, 0.0) @ w2, 0.0)
        return output
