"""Networks as PyTorch modules; imported only when a network is exported, because it imports torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

from exactrelu._typing import Array


class ParallelSubnetworks(nn.Module):
    """Parallel three-layer sub-networks ``f(x) = sum_k w3_k (sum_j w2_kj (x . W1_kj + b1_kj)_+)_+ + b3``.

    Parameters
    ----------
    n_subnetworks, n_features, width : int
        K, d and m.
    bias : bool
        Whether the first layers have an intercept.
    output_bias : bool
        Whether a constant is added to the outputs.

    Attributes
    ----------
    W1 : (K, d, m) parameter
    b1 : (K, 1, m) parameter, None without an intercept
    w2 : (K, m, 1) parameter
    w3 : (K,) parameter
    b3 : () parameter, None without an output bias
    """

    b1: Tensor | None
    b3: Tensor | None

    def __init__(
        self, n_subnetworks: int, n_features: int, width: int, bias: bool = False, output_bias: bool = False
    ) -> None:
        super().__init__()

        def zeros(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.zeros(shape, dtype=torch.float64))  # shape () too

        self.W1 = zeros(n_subnetworks, n_features, width)
        self.register_parameter("b1", zeros(n_subnetworks, 1, width) if bias else None)
        self.w2 = zeros(n_subnetworks, width, 1)
        self.w3 = zeros(n_subnetworks)
        self.register_parameter("b3", zeros() if output_bias else None)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs (n,) for inputs (n, d)."""
        first = torch.matmul(x, self.W1)  # (K, n, m)
        if self.b1 is not None:
            first = first + self.b1
        second = torch.relu(torch.matmul(torch.relu(first), self.w2)).squeeze(2)  # (K, n)
        output = torch.matmul(self.w3, second)
        return output if self.b3 is None else output + self.b3


class Columns(nn.Module):
    """The outputs (n,) of several modules, side by side: (n, k)."""

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(modules)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs (n, k) for inputs (n, d)."""
        return torch.stack([network(x) for network in self.networks], dim=1)


class Exponential(nn.Module):
    """The inverse of the log link: rates for outputs."""

    def forward(self, x: Tensor) -> Tensor:
        """``exp(x)``."""
        return torch.exp(x)


def two_layers(W: Array, b: Array | None, alpha: Array, *, output_bias: Array | float) -> nn.Sequential:
    """``(x W + b)_+ alpha + output_bias`` as linear layers; W (d, m), b (m,) or None, alpha (m,) or (m, c)."""
    d, m = W.shape
    first = skip_init(nn.Linear, d, m, bias=b is not None, dtype=torch.float64)  # no draw from torch's generator
    rows = np.atleast_2d(alpha.T)  # one for each output
    last = skip_init(nn.Linear, m, len(rows), bias=bool(np.any(output_bias)), dtype=torch.float64)
    with torch.no_grad():
        first.weight.copy_(_tensor(W.T))
        if b is not None:
            first.bias.copy_(_tensor(b))
        last.weight.copy_(_tensor(rows))
        if last.bias is not None:
            last.bias.copy_(_tensor(np.broadcast_to(output_bias, len(rows))))
    if alpha.ndim == 2:
        return nn.Sequential(first, nn.ReLU(), last)
    return nn.Sequential(first, nn.ReLU(), last, nn.Flatten(0))


class GatedLayers(nn.Module):
    """Gated networks ``f(x) = sum_j 1[x . g_j + c_j > 0] (x . v_j + b_j) + output_bias``.

    Attributes
    ----------
    gates : Linear, g and c, fixed
    linear : Linear, v and b
    output_bias : () parameter, None without an output bias
    """

    output_bias: Tensor | None

    def __init__(self, n_features: int, n_gates: int, bias: bool = False, output_bias: bool = False) -> None:
        super().__init__()
        self.gates = skip_init(nn.Linear, n_features, n_gates, bias=bias, dtype=torch.float64)
        self.gates.requires_grad_(False)  # a step has no slope
        self.linear = skip_init(nn.Linear, n_features, n_gates, bias=bias, dtype=torch.float64)
        self.register_parameter(
            "output_bias", nn.Parameter(torch.zeros((), dtype=torch.float64)) if output_bias else None
        )

    def forward(self, x: Tensor) -> Tensor:
        """Outputs (n,) for inputs (n, d)."""
        output = torch.where(self.gates(x) > 0.0, self.linear(x), 0.0).sum(dim=1)
        return output if self.output_bias is None else output + self.output_bias


def gated_layers(gates: Array, c: Array | None, V: Array, b: Array | None, *, output_bias: float) -> GatedLayers:
    """Gated layers of gates and weights (d, m), and their intercepts (m,) or None."""
    module = GatedLayers(gates.shape[0], gates.shape[1], bias=c is not None, output_bias=output_bias != 0.0)
    with torch.no_grad():
        for layer, weight, bias in ((module.gates, gates, c), (module.linear, V, b)):
            layer.weight.copy_(_tensor(weight.T))
            if bias is not None:
                layer.bias.copy_(_tensor(bias))
        if module.output_bias is not None:
            module.output_bias.fill_(output_bias)
    return module


def three_layers(W1: Array, b1: Array | None, w2: Array, w3: Array, *, output_bias: float) -> ParallelSubnetworks:
    """Parallel sub-networks; W1 (K, d, m), b1 (K, m) or None, w2 (K, m), w3 (K,)."""
    K, d, m = W1.shape
    module = ParallelSubnetworks(K, d, m, bias=b1 is not None, output_bias=output_bias != 0.0)
    with torch.no_grad():
        module.W1.copy_(_tensor(W1))
        if module.b1 is not None and b1 is not None:
            module.b1.copy_(_tensor(b1[:, None, :]))
        module.w2.copy_(_tensor(w2[:, :, None]))
        module.w3.copy_(_tensor(w3))
        if module.b3 is not None:
            module.b3.fill_(output_bias)
    return module


def _tensor(values: Array) -> Tensor:
    return torch.from_numpy(np.array(values, order="C"))  # a copy: the network's arrays are read-only
