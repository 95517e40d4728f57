"""What the networks of both depths share: checked arrays, the loss on data, files and exports."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from exactrelu._checks import check_array
from exactrelu._typing import Array
from exactrelu.losses import Loss, get_loss, with_weights
from exactrelu.losses._several import vector_loss, vector_targets

from ._archive import MAX_BYTES, read_archive, take, write_archive

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
    """What networks of both depths do alike.

    Attributes
    ----------
    layers : int
    intercept : bool
        Whether the data get a column of ones appended, whose weights are the last row of the first layer.
    output_bias : float, or (c,) array for several outputs
        What is added to the outputs, free of penalty.
    """

    layers: ClassVar[int]
    intercept: bool
    output_bias: Any
    _parts: ClassVar[tuple[str, ...]]  # attributes that hold the weights, from the first layer on
    _sizes: ClassVar[tuple[str, ...]]  # attributes that `repr` shows

    @classmethod
    def _trusted(cls, *weights: Array, intercept: bool = False, output_bias: Any = 0.0) -> Self:
        """A network of float64 arrays that are known to be legal: no check, no copy, only views that are read-only."""
        network = cls.__new__(cls)
        network._hold(*weights, intercept=intercept, output_bias=output_bias)
        return network

    def _hold(self, *weights: Array, intercept: bool, output_bias: Any) -> None:
        """Set the weights, once and for all."""
        for name, value in zip(self._parts, weights, strict=True):
            view = value.view()
            view.flags.writeable = False
            setattr(self, name, view)
        self.intercept = bool(intercept)
        if self.n_outputs is None:
            # one output: a number, so that predictions (n,) stay vectors
            self.output_bias = float(check_array(output_bias, "output_bias", 0))
        else:
            self.output_bias = self._biases(output_bias, self.n_outputs)
        rows = self._first.shape[-2]
        if rows < 1 + self.intercept:
            given = f"shape {self._first.shape}, intercept={self.intercept}"
            raise ValueError(f"{self._parts[0]} must have a row per feature, got {given}")

    @staticmethod
    def _biases(given: ArrayLike, c: int) -> Array:
        """A constant for each of several outputs, (c,), read-only; 0 stands for none."""
        bias = check_array(np.zeros(c) if np.ndim(given) == 0 and not np.any(given) else given, "output_bias", 1).copy()
        if len(bias) != c:
            raise ValueError(f"output_bias must have one entry for each of {c} outputs, got {len(bias)}")
        bias.flags.writeable = False
        return bias

    def __repr__(self) -> str:
        """The network's size."""
        names = (
            "n_features",
            *self._sizes,
            "intercept",
            *(["output_bias"] if np.any(self.output_bias) else []),
            "layers",
        )
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)}' for name in names)})"

    @property
    def _first(self) -> Array:
        """The first layer, (d, m) or (K, d, m)."""
        first: Array = getattr(self, self._parts[0])
        return first

    @property
    def n_features(self) -> int:
        """Number of columns the data must have (the column of ones is not counted)."""
        return int(self._first.shape[-2]) - self.intercept

    @property
    def n_outputs(self) -> int | None:
        """Number of outputs c where `predict` gives (n, c); None for one output, (n,)."""
        return None

    def single_outputs(self) -> list[Self]:
        """One network for each output, with all of the neurons; this one where there is one output.

        Returns
        -------
        list of networks of this class
        """
        if self.n_outputs is None:
            return [self]
        *first, last = (getattr(self, name) for name in self._parts)  # the last layer has an axis of outputs, its last
        return [
            self._trusted(*first, np.ascontiguousarray(last[..., k]), intercept=self.intercept, output_bias=bias)
            for k, bias in enumerate(self.output_bias.tolist())
        ]

    @property
    @abstractmethod
    def n_neurons(self) -> int:
        """Number of neurons."""

    @property
    @abstractmethod
    def penalty(self) -> float:
        """What the weight decay multiplies: half the squared norm of the layers that are regularised."""

    def with_intercept(self, intercept: bool) -> Self:
        """The same weights, the last row of the first layer read as an intercept or not.

        Parameters
        ----------
        intercept : bool

        Returns
        -------
        A network of this class

        Raises
        ------
        ValueError
            When no row is left for a feature.
        """
        # views of the same memory: no weight is copied, so training may hand out both readings
        weights = (getattr(self, name) for name in self._parts)
        return self._trusted(*weights, intercept=intercept, output_bias=self.output_bias)

    def predict(self, X: ArrayLike) -> Array:
        """Outputs of the network, O(n) times its number of weights.

        Parameters
        ----------
        X : (n, d) array_like
            Finite numbers.

        Returns
        -------
        (n,) array, (n, c) for several outputs

        Raises
        ------
        ValueError
            When `X` is not a finite matrix with `n_features` columns.
        """
        data = check_array(X, "X", 2)
        if data.shape[1] != self.n_features:
            raise ValueError(f"X must have {self.n_features} columns, got shape {data.shape}")
        return self._outputs(np.column_stack([data, np.ones(len(data))]) if self.intercept else data)

    def _outputs(self, inputs: Array) -> Array:
        """Outputs (n,) on checked data, the column of ones included."""
        return self._weighted(inputs) + self.output_bias

    @abstractmethod
    def _weighted(self, inputs: Array) -> Array:
        """The same without the output bias."""

    def objective(
        self,
        X: ArrayLike,
        y: ArrayLike,
        beta: float,
        *,
        loss: str | Loss = "squared",
        sample_weight: ArrayLike | None = None,
    ) -> float:
        """Training objective ``L(f(X), y) + beta penalty``, with the network's `penalty`.

        The loss is a sum over the samples, not a mean.  With two layers the penalty is
        ``1/2 sum_k (|w_k|^2 + alpha_k^2)``, an intercept regularised with its neuron; with three layers
        ``1/2 sum_k (|w2_k|^2 + w3_k^2)``: the first layers are bounded, not penalised.  The output bias is free.

        Parameters
        ----------
        X : (n, d) array_like
        y : (n,) array_like
            Targets; labels -1 and +1 for the losses of classification.  Several outputs: (n, c), or labels for
            "softmax".
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
            As `predict`, for an unknown loss, and targets that are not legal for it.
        """
        output = self.predict(X)
        if self.n_outputs is not None:
            rows = vector_targets(loss, y, len(output))
            if rows is None or rows.shape != output.shape:
                given = np.shape(y) if rows is None else rows.shape
                raise ValueError(f"the network has outputs of shape {output.shape}, got targets of shape {given}")
            several = vector_loss(loss, self.n_outputs, sample_weight, len(output))
            several.check_targets(rows)
            return several.value(output, rows) + float(beta) * self.penalty
        targets = check_array(y, "y", 1, len(output))
        chosen = get_loss(loss)
        chosen.check_targets(targets)
        return with_weights(chosen, sample_weight, len(output)).value(output, targets) + float(beta) * self.penalty

    def arrays(self) -> dict[str, Any]:
        """What describes the network in a model file.

        Returns
        -------
        dict of str to array
        """
        # read again by `network_from`: a name that is added here must be optional there, older files lack it
        names = ("layers", *self._parts, "intercept", "output_bias")
        return {f"network.{name}": getattr(self, name) for name in names}

    def to_torch(self) -> torch.nn.Module:
        """The network as a PyTorch module in double precision, with the same predictions up to rounding.

        Inputs (n, d), outputs (n,) or (n, c); `X` is taken as `predict` takes it: an intercept is a bias inside.  The
        weights are copies, and parameters that can be trained on; the certificate does not speak of what becomes of
        them.

        Returns
        -------
        torch.nn.Module
            Two layers: a ``Sequential`` of Linear, ReLU, Linear and, for one output, Flatten.  Three layers: a module
            with parameters ``W1`` (K, d, m), ``b1`` (K, 1, m) or None, ``w2`` (K, m, 1) and ``w3`` (K,).

        Raises
        ------
        ImportError
            When PyTorch is missing.
        """
        from ._export import to_torch

        return to_torch([self])

    def to_onnx(self, path: str | os.PathLike[str] | None = None) -> onnx.ModelProto:
        """The network as an ONNX model in double precision, opset 17, with the same predictions up to rounding.

        Input "X", (n, d) for any n, output "f", (n,) or (n, c); `X` is taken as `predict` takes it: an intercept is a
        bias inside.

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
        network = network_from(read_archive(path, max_bytes), os.fspath(path))
        if not isinstance(network, cls):
            kinds = f"a network of {network.layers} layers, not {cls.layers}"
            if network.layers == cls.layers:
                kinds = f"a {type(network).__name__}, not a {cls.__name__}"
            raise ValueError(f"{os.fspath(path)} holds {kinds}")
        return network


def frozen(values: ArrayLike, name: str, ndim: int) -> Array:
    """A copy of `values` for a network to keep, checked to be finite and of `ndim` dimensions."""
    return check_array(values, name, ndim).copy()


def network_from(arrays: Mapping[str, NDArray[Any]], name: str) -> Any:
    """The network held by the arrays of the model file `name`, or ValueError."""
    held = {key.removeprefix("network."): value for key, value in arrays.items() if key.startswith("network.")}
    layers = take(held, "layers", int, f"{name}, network") if "layers" in held else 2  # the first files did not say
    kinds: list[Any] = [kind for kind in Network.__subclasses__() if kind.layers == layers]
    if not kinds:
        raise ValueError(f"{name} holds a network of {layers} layers, this version reads 2 and 3")
    # of the kinds of this depth the one whose weights are there
    kind = max(kinds, key=lambda kind: sum(part in held for part in kind._parts))
    expected = ("layers", *kind._parts, "intercept")
    missing = [key for key in expected if key not in held]
    if missing:
        raise ValueError(f"{name} holds no network: {', '.join(missing)} missing")
    strange = sorted(set(held) - set(expected) - {"output_bias"})
    if strange:
        raise ValueError(f"{name} has a network with unknown parts: {', '.join(strange)}")
    weights = [held[key] for key in kind._parts]
    for key, value in zip(kind._parts, weights, strict=True):
        if value.dtype != np.float64:
            raise ValueError(f"{name}: network.{key} must be float64, got {value.dtype} of shape {value.shape}")
    intercept = take(held, "intercept", bool, f"{name}, network")
    # the first files had none
    bias: Any = 0.0
    if "output_bias" in held:
        several = held["output_bias"].ndim == 1 and held["output_bias"].dtype == np.float64
        bias = held["output_bias"] if several else take(held, "output_bias", float, f"{name}, network")
    try:
        return kind(*weights, intercept=intercept, output_bias=bias)
    except ValueError as error:
        raise ValueError(f"{name} holds no network: {error}") from None
