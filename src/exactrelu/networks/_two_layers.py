"""ReLU networks as plain NumPy arrays: what training returns, and what a certificate speaks of."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from exactrelu._typing import Array

from ._base import Network, frozen


class ReLUNetwork(Network):
    """A two-layer network ``f(x) = sum_k alpha_k (w_k·x)_+ + b``, with one output or several.

    Parameters
    ----------
    W : (d, m) array_like
        First layer, one column per neuron.
    alpha : (m,) or (m, c) array_like
        Output weights; c of them for each neuron of a network with c outputs.
    intercept : bool
        Whether the first layer has an intercept: the data then get a column of ones appended, and `W`
        has one more row than the data have columns.
    output_bias : float or (c,) array_like
        Added to the outputs; it is free of penalty.

    Attributes
    ----------
    W, alpha : read-only float64 arrays
    intercept : bool
    output_bias : float, or read-only (c,) array for several outputs
    layers : int, 2
    n_outputs : int, c, or None where alpha is (m,) and predictions are (n,)

    Raises
    ------
    ValueError
        For shapes that do not fit each other, or weights that are not finite.

    Examples
    --------
    >>> from exactrelu import ReLUNetwork
    >>> network = ReLUNetwork(W=[[1.0, -1.0]], alpha=[1.0, 1.0])  # |x|
    >>> network.predict([[-2.0], [3.0]])
    array([2., 3.])
    """

    layers = 2
    W: Array
    alpha: Array
    _parts = ("W", "alpha")
    _sizes = ("n_neurons",)

    def __init__(self, W: ArrayLike, alpha: ArrayLike, intercept: bool = False, output_bias: Any = 0.0) -> None:
        outer = frozen(alpha, "alpha", 2 if np.ndim(alpha) == 2 else 1)
        if outer.shape[1:] == (0,):
            raise ValueError(f"alpha must have a column for each output, got shape {outer.shape}")
        self._hold(frozen(W, "W", 2), outer, intercept=intercept, output_bias=output_bias)
        if self.W.shape[1] != self.alpha.shape[0]:
            raise ValueError(f"W has {self.W.shape[1]} columns but alpha has length {self.alpha.shape[0]}")

    @property
    def n_outputs(self) -> int | None:
        """Number of outputs c where alpha is (m, c); None where it is (m,)."""
        return None if self.alpha.ndim == 1 else int(self.alpha.shape[1])

    @property
    def n_neurons(self) -> int:
        """Number of neurons m."""
        return int(self.W.shape[1])

    @property
    def penalty(self) -> float:
        """``1/2 sum_k (|w_k|^2 + |alpha_k|^2)``."""
        return 0.5 * float(np.sum(self.W**2) + np.sum(self.alpha**2))

    def _weighted(self, inputs: Array) -> Array:
        """``(X W)_+ alpha``, (n,) or (n, c)."""
        hidden = inputs @ self.W
        np.maximum(hidden, 0.0, out=hidden)
        output: Array = hidden @ self.alpha
        return output
