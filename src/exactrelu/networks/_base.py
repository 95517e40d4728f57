"""What the networks of both depths share: checked arrays, the loss on data, files and exports."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Self

from numpy.typing import ArrayLike

from exactrelu._checks import finite
from exactrelu._typing import Array
from exactrelu.losses import Loss, get_loss, with_weights

from ._archive import MAX_BYTES, read_archive, write_archive

if TYPE_CHECKING:
    import onnx
    import torch


class SetOnce:
    """Attributes that cannot be set again: a certificate holds for these weights and no others."""

    def __setattr__(self, name: str, value: object) -> None:
        """Set an attribute that has no value yet."""
        if name in self.__dict__:
            raise AttributeError(f"{name} of a {type(self).__name__} cannot be changed; build a new network")
        super().__setattr__(name, value)


class Network(SetOnce, ABC):
    """Files and exports of a network."""

    layers: int
    intercept: bool
    _parts: ClassVar[tuple[str, ...]]  # attributes that hold the weights

    @property
    @abstractmethod
    def n_features(self) -> int:
        """Number of columns the data must have (the column of ones is not counted)."""

    @property
    @abstractmethod
    def n_neurons(self) -> int:
        """Number of neurons."""

    def predict(self, X: ArrayLike) -> Array:
        """Outputs of the network, O(n) times its number of weights.

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
        return self._outputs(data)

    @abstractmethod
    def _outputs(self, data: Array) -> Array:
        """Outputs (n,) on checked data (n, d)."""

    def arrays(self) -> dict[str, Any]:
        """What describes the network in a model file.

        Returns
        -------
        dict of str to array
        """
        return {f"network.{name}": getattr(self, name) for name in ("layers", *self._parts, "intercept")}

    def to_torch(self) -> torch.nn.Module:
        """The network as a PyTorch module in double precision, with the same predictions up to rounding.

        Inputs (n, d), outputs (n,); `X` is taken as `predict` takes it: an intercept is a bias inside.  The weights are
        copies, and parameters that can be trained on; the certificate does not speak of what becomes of them.

        Returns
        -------
        torch.nn.Module
            Two layers: a ``Sequential`` of Linear, ReLU, Linear and Flatten.  Three layers: a module with parameters
            ``W1`` (K, d, m), ``b1`` (K, 1, m) or None, ``w2`` (K, m, 1) and ``w3`` (K,).

        Raises
        ------
        ImportError
            When PyTorch is missing.
        """
        from ._export import to_torch

        return to_torch([self])

    def to_onnx(self, path: str | os.PathLike[str] | None = None) -> onnx.ModelProto:
        """The network as an ONNX model in double precision, opset 17, with the same predictions up to rounding.

        Input "X", (n, d) for any n, output "f", (n,); `X` is taken as `predict` takes it: an intercept is a bias
        inside.

        Parameters
        ----------
        path : str or path, optional
            Write the model there, too.

        Returns
        -------
        onnx.ModelProto

        Raises
        ------
        ImportError
            When the package onnx is missing.
        OSError
            When the file cannot be written.
        """
        from ._export import to_onnx

        return to_onnx([self], path)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the network to a .npz file of plain arrays; nothing is pickled.

        Parameters
        ----------
        path : str or path
            Taken as it is: no ending is added.  A file of that name is replaced, whole or not at all.

        Raises
        ------
        OSError
            When the file cannot be written.
        """
        write_archive(path, self.arrays())

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, max_bytes: int = MAX_BYTES) -> Self:
        """Read a network from a file written by `save`, by `exactrelu.save_model` or by ``exactrelu fit``.

        Parameters
        ----------
        path : str or path
        max_bytes : int
            Refuse a file whose arrays take more than this.  Default: 1 GiB.

        Returns
        -------
        A network of this class

        Raises
        ------
        FileNotFoundError
            When there is no such file.
        ValueError
            When the file is not a model of this library, is damaged, or holds a network of another depth.
        """
        from ._two_layers import network_from

        network = network_from(read_archive(path, max_bytes), os.fspath(path))
        if not isinstance(network, cls):
            raise ValueError(f"{os.fspath(path)} holds a network of {network.layers} layers, not {cls.layers}")
        return network


def data_loss(output: Array, y: ArrayLike, loss: str | Loss, sample_weight: ArrayLike | None) -> float:
    """``L(output, y)``, a sum over the samples, or ValueError when the targets are not legal for the loss."""
    chosen = get_loss(loss)
    targets = finite(y, "y", 1)
    if targets.shape != output.shape:
        raise ValueError(f"X has {output.shape[0]} rows but y has length {targets.shape[0]}")
    chosen.check_targets(targets)
    return float(with_weights(chosen, sample_weight, len(targets)).value(output, targets))
