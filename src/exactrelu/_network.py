"""ReLU networks as plain NumPy arrays: what training returns, and what a certificate speaks of."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._archive import read_archive, write_archive
from ._parallel import ParallelReLUNetwork
from ._weights import SetOnce, data_loss, finite, frozen

if TYPE_CHECKING:
    from .solve import Loss

Array = NDArray[np.float64]


class ReLUNetwork(SetOnce):
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

    def predict(self, X: ArrayLike) -> Array:
        """Outputs of the network, O(n d m).

        Parameters
        ----------
        X : (n, d) array_like
            Finite numbers.

        Returns
        -------
        (n,) array

        Raises
        ------
        ValueError
            When `X` is not a finite matrix with `n_features` columns.
        """
        data = finite(X, "X", 2)
        if data.shape[1] != self.n_features:
            raise ValueError(f"X must have {self.n_features} columns, got shape {data.shape}")
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

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the network to a .npz file of plain arrays; nothing is pickled.

        Parameters
        ----------
        path : str or path
            Taken as it is: no ending is added.

        Raises
        ------
        OSError
            When the file cannot be written.
        """
        write_archive(path, network_arrays(self))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> ReLUNetwork:
        """Read a network from a file written by `save` or by ``exactrelu fit``.

        Parameters
        ----------
        path : str or path

        Returns
        -------
        ReLUNetwork

        Raises
        ------
        FileNotFoundError
            When there is no such file.
        ValueError
            When the file is not a model of this library.
        """
        network = network_from(read_archive(path), os.fspath(path))
        if not isinstance(network, ReLUNetwork):
            raise ValueError(f"{os.fspath(path)} holds a network of {network.layers} layers, not of 2")
        return network

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


def network_arrays(network: ReLUNetwork | ParallelReLUNetwork) -> dict[str, Any]:
    """What describes a network in a model file."""
    if isinstance(network, ParallelReLUNetwork):
        return network.arrays()
    return {
        "network.layers": network.layers,
        "network.W": network.W,
        "network.alpha": network.alpha,
        "network.intercept": network.intercept,
    }


def network_from(arrays: Mapping[str, NDArray[Any]], name: str) -> ReLUNetwork | ParallelReLUNetwork:
    """The network held by the arrays of the model file `name`, or ValueError."""
    deep = "network.layers" in arrays and int(arrays["network.layers"]) == ParallelReLUNetwork.layers
    weights = ("W1", "w2", "w3") if deep else ("W", "alpha")
    missing = [key for key in ("layers", *weights, "intercept") if f"network.{key}" not in arrays]
    if missing:
        raise ValueError(f"{name} holds no network: {', '.join(missing)} missing")
    if deep:
        W1, w2, w3 = (arrays[f"network.{key}"] for key in weights)
        return ParallelReLUNetwork(W1, w2, w3, bool(arrays["network.intercept"]))
    layers = int(arrays["network.layers"])
    if layers != ReLUNetwork.layers:
        raise ValueError(f"{name} holds a network of {layers} layers, this version reads 2 and 3")
    return ReLUNetwork(arrays["network.W"], arrays["network.alpha"], bool(arrays["network.intercept"]))
