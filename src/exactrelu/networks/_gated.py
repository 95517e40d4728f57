"""Gated ReLU networks: linear models, each switched on by a gate of its own."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from exactrelu._typing import Array

from ._base import Network, frozen


class GatedReLUNetwork(Network):
    """A gated network ``f(x) = sum_j 1[g_j·x > 0] v_j·x + b``.

    Parameters
    ----------
    gates : (d, m) array_like
        Gate vectors, one column each.
    V : (d, m) array_like
        Weights, one column per gate.
    intercept : bool
        Whether the data get a column of ones appended: both arrays then have one more row than the data have columns.
    output_bias : float
        Added to the outputs; it is free of penalty.

    Attributes
    ----------
    gates, V : read-only float64 arrays
    intercept : bool
    output_bias : float
    layers : int, 2

    Raises
    ------
    ValueError
        For shapes that do not fit each other, or weights that are not finite.

    Examples
    --------
    >>> from exactrelu import GatedReLUNetwork
    >>> network = GatedReLUNetwork(gates=[[1.0, -1.0]], V=[[1.0, -1.0]])  # |x|
    >>> network.predict([[-2.0], [3.0]])
    array([2., 3.])
    """

    layers = 2
    gates: Array
    V: Array
    _parts = ("gates", "V")
    _sizes = ("n_neurons",)

    def __init__(self, gates: ArrayLike, V: ArrayLike, intercept: bool = False, output_bias: float = 0.0) -> None:
        self._hold(frozen(gates, "gates", 2), frozen(V, "V", 2), intercept=intercept, output_bias=output_bias)
        if self.gates.shape != self.V.shape:
            raise ValueError(f"gates have shape {self.gates.shape} but V has shape {self.V.shape}")

    @property
    def n_neurons(self) -> int:
        """Number of gates m."""
        return int(self.V.shape[1])

    @property
    def penalty(self) -> float:
        """``sum_j |v_j|``."""
        return float(np.linalg.norm(self.V, axis=0).sum())

    def _weighted(self, inputs: Array) -> Array:
        """``sum_j 1[X g_j > 0] * X v_j``, (n,)."""
        output: Array = np.where(inputs @ self.gates > 0.0, inputs @ self.V, 0.0).sum(axis=1)
        return output
