"""Models on disk: a network, the certificate that proves it, and notes on where it came from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ._archive import read_archive, write_archive
from ._network import ReLUNetwork, network_arrays, network_from
from ._parallel import ParallelReLUNetwork

if TYPE_CHECKING:
    from .solve import Certificate


@dataclass(frozen=True)
class Model:
    """What a model file holds.

    Attributes
    ----------
    network : ReLUNetwork or ParallelReLUNetwork
    certificate : Certificate or None
        None for a file written by `ReLUNetwork.save`.
    metadata : dict
        Text and numbers the writer added, such as the name of the target column.
    """

    network: ReLUNetwork | ParallelReLUNetwork
    certificate: Certificate | None
    metadata: dict[str, str | float]


def save_model(
    path: str | os.PathLike[str],
    network: ReLUNetwork | ParallelReLUNetwork,
    certificate: Certificate | None = None,
    metadata: Mapping[str, str | float] | None = None,
) -> None:
    """Write a network with its certificate to a .npz file of plain arrays.

    Parameters
    ----------
    path : str or path
        Taken as it is: no ending is added.
    network : ReLUNetwork or ParallelReLUNetwork
    certificate : Certificate, optional
        It must speak of the same network.
    metadata : mapping of str to str or float, optional

    Raises
    ------
    ValueError
        When the certificate speaks of another network.
    OSError
        When the file cannot be written.
    """
    arrays = network_arrays(network)
    if certificate is not None:
        claimed = network_arrays(certificate.network)
        if not all(key in claimed and np.array_equal(claimed[key], value) for key, value in arrays.items()):
            raise ValueError("the certificate speaks of another network")
        for field in fields(certificate):
            value = getattr(certificate, field.name)
            if field.name != "network" and value is not None:
                arrays[f"certificate.{field.name}"] = value
    for key, value in (metadata or {}).items():
        arrays[f"metadata.{key}"] = value
    write_archive(path, arrays)


def load_model(path: str | os.PathLike[str]) -> Model:
    """Read a file written by `save_model` or `ReLUNetwork.save`.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    Model

    Raises
    ------
    FileNotFoundError
        When there is no such file.
    ValueError
        When the file is not a model of this library, or its certificate is incomplete.
    """
    from .solve import Certificate

    name = os.fspath(path)
    arrays = read_archive(path)
    network = network_from(arrays, name)
    found = _section(arrays, "certificate.")
    certificate = None
    if found:
        known = {field.name for field in fields(Certificate)} - {"network"}
        strange = sorted(set(found) - known)
        if strange:
            raise ValueError(f"{name} has a certificate with unknown parts: {', '.join(strange)}")
        try:
            certificate = Certificate(network=network, **{key: _plain(value) for key, value in found.items()})
        except TypeError as error:
            raise ValueError(f"{name} has an incomplete certificate: {error}") from None
    metadata = {key: _plain(value) for key, value in _section(arrays, "metadata.").items()}
    return Model(network, certificate, metadata)


def _section(arrays: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    return {key.removeprefix(prefix): value for key, value in arrays.items() if key.startswith(prefix)}


def _plain(value: NDArray[Any]) -> Any:
    """A Python scalar for an array without dimensions, the array itself otherwise."""
    return value.item() if value.ndim == 0 else value
