"""ReLU networks as plain NumPy arrays: what training returns, and what a certificate speaks of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from exactrelu._checks import frozen
from exactrelu._typing import Array
from exactrelu.losses import Loss

from ._archive import take
from ._base import Network, data_loss
from ._parallel import ParallelReLUNetwork


class ReLUNetwork(Network):
    """A two-layer network ``f(x) = sum_k alpha_k (w_k·x)_+``.

    Parameters
    ----------
    W : (d, m) array_like
        First layer, one column per neuron.
    alpha : (m,) array_like
        Output weights.
    intercept : bool
        Whether the first layer has an intercept: the data then get a column of ones appended, and `W`
        has one more row than the data have columns.

    Attributes
    ----------
    W, alpha : read-only float64 arrays
    intercept : bool
    layers : int, 2

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
    _parts = ("W", "alpha")

    def __init__(self, W: ArrayLike, alpha: ArrayLike, intercept: bool = False) -> None:
        self.W = frozen(W, "W", 2)
        self.alpha = frozen(alpha, "alpha", 1)
        self.intercept = bool(intercept)
        if self.W.shape[1] != self.alpha.shape[0]:
            raise ValueError(f"W has {self.W.shape[1]} columns but alpha has length {self.alpha.shape[0]}")
        if self.W.shape[0] < 1 + self.intercept:
            given = f"shape {self.W.shape}, intercept={self.intercept}"
            raise ValueError(f"W must have a row per feature, got {given}")

    def __repr__(self) -> str:
        """The network's size."""
        return (
            f"ReLUNetwork(n_features={self.n_features}, n_neurons={self.n_neurons}, "
            f"intercept={self.intercept}, layers={self.layers})"
        )

    @property
    def n_features(self) -> int:
        """Number of columns the data must have (the column of ones is not counted)."""
        return int(self.W.shape[0]) - self.intercept

    @property
    def n_neurons(self) -> int:
        """Number of neurons m."""
        return int(self.W.shape[1])

    def _outputs(self, data: Array) -> Array:
        """Outputs (n,) on checked data (n, d)."""
        if not self.intercept:
            hidden = data @ self.W
        else:
            hidden = data @ self.W[:-1] + self.W[-1]
        np.maximum(hidden, 0.0, out=hidden)
        output: Array = hidden @ self.alpha
        return output

    def objective(
        self,
        X: ArrayLike,
        y: ArrayLike,
        beta: float,
        loss: str | Loss = "squared",
        sample_weight: ArrayLike | None = None,
    ) -> float:
        """Training objective ``L(f(X), y) + beta/2 sum_k (|w_k|^2 + alpha_k^2)``.

        The loss is a sum over the samples, not a mean; an intercept is regularised with its neuron.

        Parameters
        ----------
        X : (n, d) array_like
        y : (n,) array_like
            Targets; labels -1 and +1 for the losses of classification.
        beta : float
            Weight decay.
        loss : str or Loss
            As for `exactrelu.solve.train`.
        sample_weight : (n,) array_like, optional

        Returns
        -------
        float

        Raises
        ------
        ValueError
            As `predict`, for an unknown loss, or targets that are not legal for it.
        """
        decay = float(np.sum(self.W**2) + np.sum(self.alpha**2))
        return data_loss(self.predict(X), y, loss, sample_weight) + 0.5 * float(beta) * decay

    def with_intercept(self, intercept: bool) -> ReLUNetwork:
        """The same weights, the last row of `W` read as an intercept or not.

        Parameters
        ----------
        intercept : bool

        Returns
        -------
        ReLUNetwork
        """
        return ReLUNetwork(self.W, self.alpha, intercept)


def network_from(arrays: Mapping[str, NDArray[Any]], name: str) -> ReLUNetwork | ParallelReLUNetwork:
    """The network held by the arrays of the model file `name`, or ValueError."""
    held = {key.removeprefix("network."): value for key, value in arrays.items() if key.startswith("network.")}
    layers = take(held, "layers", int, f"{name}, network") if "layers" in held else ReLUNetwork.layers
    kinds = {kind.layers: kind._parts for kind in (ReLUNetwork, ParallelReLUNetwork)}
    if layers not in kinds:
        raise ValueError(f"{name} holds a network of {layers} layers, this version reads 2 and 3")
    expected = ("layers", *kinds[layers], "intercept")
    missing = [key for key in expected if key not in held]
    if missing:
        raise ValueError(f"{name} holds no network: {', '.join(missing)} missing")
    strange = sorted(set(held) - set(expected))
    if strange:
        raise ValueError(f"{name} has a network with unknown parts: {', '.join(strange)}")
    weights = [held[key] for key in kinds[layers]]
    for key, value in zip(kinds[layers], weights, strict=True):
        if value.dtype != np.float64:
            raise ValueError(f"{name}: network.{key} must be float64, got {value.dtype} of shape {value.shape}")
    intercept = take(held, "intercept", bool, f"{name}, network")
    try:
        if layers == 2:
            return ReLUNetwork(weights[0], weights[1], intercept)
        return ParallelReLUNetwork(weights[0], weights[1], weights[2], intercept)
    except ValueError as error:
        raise ValueError(f"{name} holds no network: {error}") from None
