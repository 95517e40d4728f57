"""Networks for other programs: PyTorch modules and ONNX models, both in double precision."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from exactrelu._typing import Array

from ._archive import replacing

if TYPE_CHECKING:
    import onnx
    import torch


OPSET = 17  # of the default domain; MatMul, Add, Relu, Squeeze, Concat and Exp take doubles from opset 14 on
IR_VERSION = 8  # what the first runtimes with this opset read; onnx itself would write its newest


class Exportable(Protocol):
    """What an export asks of a network."""

    @property
    def layers(self) -> int: ...
    @property
    def intercept(self) -> bool: ...
    @property
    def n_features(self) -> int: ...
    @property
    def output_bias(self) -> Any: ...
    @property
    def n_outputs(self) -> int | None: ...
    def arrays(self) -> dict[str, Any]: ...
    def single_outputs(self) -> Sequence[Any]: ...


def require(module: str, extra: str) -> Any:
    """Import an optional library, or raise ImportError with the way to install it."""
    try:
        return import_module(module)
    except ImportError:
        raise ImportError(f'this needs {module}: pip install "exactrelu[{extra}]"') from None


def to_torch(networks: Sequence[Exportable], *, exponential: bool = False) -> torch.nn.Module:
    """One module for one network, with outputs (n,) or (n, c), or for several, with outputs (n, k).

    Parameters
    ----------
    networks : sequence of ReLUNetwork or ParallelReLUNetwork
    exponential : bool
        Return ``exp`` of the outputs.

    Raises
    ------
    ImportError
        When PyTorch is missing.
    """
    require("torch", "torch")
    # a module of its own, because its classes inherit from PyTorch's
    from . import _torch as modules

    parts: list[Any] = []
    for network in exported(networks):
        if is_gated(network):
            gates, linear = gated_weights(network)
            parts.append(modules.gated_layers(*gates, *linear, output_bias=network.output_bias))
            continue
        weights = weights_of(network)
        build = modules.two_layers if network.layers == 2 else modules.three_layers
        parts.append(build(weights.first, weights.bias, *weights.later, output_bias=weights.output_bias))
    module = parts[0] if len(parts) == 1 else modules.Columns(parts)
    return modules.nn.Sequential(module, modules.Exponential()) if exponential else module


def to_onnx(
    networks: Sequence[Exportable], path: str | os.PathLike[str] | None = None, *, exponential: bool = False
) -> onnx.ModelProto:
    """One model for one network, with outputs (n,) or (n, c), or for several, with outputs (n, k).

    Parameters
    ----------
    networks : sequence of ReLUNetwork or ParallelReLUNetwork, all with the same number of features
    path : str or path, optional
        Write the model there, too.
    exponential : bool
        Return ``exp`` of the outputs.

    Raises
    ------
    ImportError
        When the package onnx is missing.
    OSError
        When the file cannot be written.
    """
    onnx = require("onnx", "onnx")
    helper, double = onnx.helper, onnx.TensorProto.DOUBLE
    nodes: list[Any] = []
    constants: dict[str, NDArray[Any]] = {}
    outputs = []
    networks = exported(networks)
    for k, network in enumerate(networks):
        nodes += _nodes(helper, network, f"{k}.", constants)
        outputs.append(nodes[-1].output[0])
    if len(outputs) > 1:
        constants["column"] = np.array([1])
        for output in outputs:
            nodes.append(helper.make_node("Unsqueeze", [output, "column"], [f"{output}.column"]))
        nodes.append(helper.make_node("Concat", [f"{output}.column" for output in outputs], ["outputs"], axis=1))
    if exponential:
        nodes.append(helper.make_node("Exp", [nodes[-1].output[0]], ["rates"]))
    # whatever the last node is, its output has the name that users ask for
    nodes[-1].output[0] = "f"
    several = networks[0].n_outputs if len(outputs) == 1 else len(outputs)
    shape = ["n"] if several is None else ["n", several]
    graph = helper.make_graph(
        nodes,
        "relu_network",
        [helper.make_tensor_value_info("X", double, ["n", networks[0].n_features])],
        [helper.make_tensor_value_info("f", double, shape)],
        [onnx.numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION,
        producer_name="exactrelu", producer_version=version("exactrelu"),
    )  # fmt: skip
    # types and shapes are inferred through the whole graph: a node that does not fit raises here
    onnx.checker.check_model(model, full_check=True)
    if path is not None:
        with replacing(path) as file:
            file.write(model.SerializeToString())
    return model


class Weights(NamedTuple):
    """Weights of a network, the intercept apart.

    Attributes
    ----------
    first : (d, m) first layer, or (K, d, m)
    bias : (m,) or (K, m), None without an intercept
    later : alpha (m,) or (m, c), or w2 (K, m) and w3 (K,)
    output_bias : float, or (c,)
    """

    first: Array
    bias: Array | None
    later: tuple[Array, ...]
    output_bias: Any


def is_gated(network: Exportable) -> bool:
    """Whether it is a `GatedReLUNetwork`."""
    return "network.gates" in network.arrays()


def exported(networks: Sequence[Exportable]) -> list[Exportable]:
    """The networks, gated ones of several outputs as one for each output."""
    return [one for network in networks for one in (network.single_outputs() if is_gated(network) else [network])]


def gated_weights(network: Exportable) -> list[tuple[Array, Array | None]]:
    """Gates and weights of a gated network, (d, m) each, and their intercepts (m,) or None; at least one gate."""
    held = network.arrays()
    parts = [held["network.gates"], held["network.V"]]
    # a gate of zeros is never open, and runtimes refuse matrices without columns
    if parts[0].shape[1] == 0:
        parts = [np.zeros((len(part), 1)) for part in parts]
    return [(part[:-1], part[-1]) if network.intercept else (part, None) for part in parts]


def weights_of(network: Exportable) -> Weights:
    """The weights of a network; at least one neuron, be it of zeros, for runtimes that need one."""
    held = network.arrays()
    later: tuple[Any, ...]
    if network.layers == 3:
        first, later = held["network.W1"], (held["network.w2"], held["network.w3"])
    else:
        first, later = held["network.W"], (held["network.alpha"],)
    if later[0].size == 0:
        one = (1,) * first.ndim  # one sub-network, of one neuron
        first = np.zeros((*one[:-2], first.shape[-2], 1))
        later = tuple(np.zeros((1, *layer.shape[1:]) if network.layers == 2 else one[: layer.ndim]) for layer in later)
    if not network.intercept:
        return Weights(first, None, later, network.output_bias)
    return Weights(first[..., :-1, :], first[..., -1, :], later, network.output_bias)


def _nodes(helper: Any, network: Exportable, prefix: str, constants: dict[str, NDArray[Any]]) -> list[Any]:
    """The nodes from ``X`` to the outputs (n,) of one network; its weights are added to `constants`."""
    deep = network.layers == 3
    nodes: list[Any] = []
    value = "X"

    def step(kind: str, name: str, *inputs: str) -> str:
        nodes.append(helper.make_node(kind, list(inputs), [prefix + name]))
        return prefix + name

    def constant(name: str, array: NDArray[Any]) -> str:
        # the prefix keeps the names of several networks in one graph apart
        constants[prefix + name] = array
        return prefix + name

    output_bias = network.output_bias
    if is_gated(network):
        parts = {}
        for name, (weight, shift) in zip(("gates", "V"), gated_weights(network), strict=True):
            parts[name] = step("MatMul", f"{name}.product", "X", constant(name, weight))
            if shift is not None:
                parts[name] = step("Add", f"{name}.shifted", parts[name], constant(f"{name}.b", shift))
        zero = constant("zero", np.array(0.0))
        chosen = step("Where", "chosen", step("Greater", "active", parts["gates"], zero), parts["V"], zero)
        step("ReduceSum", "output", chosen, constant("axis", np.array([1])))
        # outputs are (n,), as `predict` returns them
        nodes[-1].attribute.append(helper.make_attribute("keepdims", 0))
        if output_bias:
            step("Add", "biased", prefix + "output", constant("output_bias", np.array(output_bias)))
        return nodes
    first, bias, later, _ = weights_of(network)
    value = step("MatMul", "first", "X", constant("W1" if deep else "W", first))  # (n, m) or (K, n, m)
    if bias is not None:
        value = step("Add", "shifted", value, constant("b", bias[:, None, :] if deep else bias))
    value = step("Relu", "hidden", value)
    if deep:
        value = step("MatMul", "second", value, constant("w2", later[0][:, :, None]))  # (K, n, 1)
        value = step("Squeeze", "flat", step("Relu", "subnetworks", value), constant("last", np.array([2])))
        value = step("MatMul", "output", constant("w3", later[1]), value)
    else:
        value = step("MatMul", "output", value, constant("alpha", later[0]))
    if np.any(output_bias):
        step("Add", "biased", value, constant("output_bias", np.array(output_bias)))
    return nodes
