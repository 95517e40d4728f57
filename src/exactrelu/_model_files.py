"""Models on disk: a network, the certificate that proves it, and notes on where it came from."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exactrelu._table import label_text
from exactrelu.certificates import Certificate, GatedCertificate, GatedOutputsCertificate, OutputsCertificate
from exactrelu.networks import GatedReLUNetwork, Network, network_from
from exactrelu.networks._archive import MAX_BYTES, read_archive, take, write_archive

# How the fields of a certificate are stored, by their annotation; a field that is None has no entry.
VECTORS = {"Array": np.float64, "Array | None": np.float64, "Ints | None": np.int64}
MATRIX = "Matrix"  # the dual point of several outputs
OCTETS = "Octets | None"  # eight to an integer of 64 bits, each row filled up with zeros
KINDS: dict[str, type] = {"float": float, "int": int, "str": str, "bool": bool, "int | None": int}


@dataclass(frozen=True)
class Model:
    """What a model file holds.

    Attributes
    ----------
    networks : tuple of ReLUNetwork, ParallelReLUNetwork or GatedReLUNetwork
        One, or one for each of several classes.
    certificates : tuple of Certificate, one for each network
        None for each in a file written by ``ReLUNetwork.save``.
    metadata : dict
        Text, numbers and truth values the writer added, such as the name of the target column.
    """

    networks: tuple[Network, ...]
    certificates: tuple[Certificate | None, ...]
    metadata: dict[str, str | float]

    @property
    def network(self) -> Any:
        """The network, where there is one; ValueError where there are several."""
        (only,) = self._one(self.networks)
        return only

    @property
    def certificate(self) -> Certificate | None:
        """Its certificate."""
        (only,) = self._one(self.certificates)
        return only

    def _one(self, held: tuple[Any, ...]) -> tuple[Any, ...]:
        if len(held) != 1:
            raise ValueError(f"this model holds {len(held)} networks: they are in networks and certificates")
        return held


def save_model(
    path: str | os.PathLike[str],
    network: Network | Sequence[Network],
    certificate: Certificate | Sequence[Certificate] | None = None,
    metadata: Mapping[str, str | float] | None = None,
) -> None:
    """Write a network with its certificate to a .npz file of plain arrays.

    Parameters
    ----------
    path : str or path
        Taken as it is: no ending is added.  A file of that name is replaced, whole or not at all.
    network : ReLUNetwork, ParallelReLUNetwork or GatedReLUNetwork, or a sequence of them
    certificate : Certificate, or one for each network, optional
        It must speak of the same network.
    metadata : mapping of str to str or float, optional
        Names without slashes.  ``exactrelu verify`` reads "target" (name of a column), or "targets" (a JSON list of
        columns, one for each output), "features" (a JSON list of columns), and, for the losses of classification,
        "negative_label" and "positive_label" (the second alone: that class against all others), or "classes"
        (a JSON list, one network each); "class_weight" ("balanced" or a JSON list); "shift" and "scale" (JSON lists),
        by which columns were standardised.

    Raises
    ------
    TypeError
        For metadata that are neither text nor numbers.
    ValueError
        When the certificate speaks of another network, or metadata cannot be stored unchanged.
    OSError
        When the file cannot be written.
    """
    networks = list(network) if isinstance(network, Sequence) else [network]
    given = list(certificate) if isinstance(certificate, Sequence) else [certificate] * len(networks)
    if not networks or len(given) != len(networks):
        raise ValueError(f"each network needs its certificate, got {len(networks)} and {len(given)}")
    arrays: dict[str, Any] = {}
    for number, (one, claim) in enumerate(zip(networks, given, strict=True)):
        place = f"{number}." if len(networks) > 1 else ""
        for section, entries in _entries(one, claim).items():
            arrays |= {f"{section}.{place}{key}": value for key, value in entries.items()}
    for key, value in (metadata or {}).items():
        # lists would come back as arrays, not as what was given
        if np.ndim(value):
            raise TypeError(f"metadata.{key} must be one number or text, got {type(value).__name__}")
        arrays[f"metadata.{key}"] = value
    write_archive(path, arrays)


def load_model(path: str | os.PathLike[str], *, max_bytes: int = MAX_BYTES) -> Model:
    """Read a file written by `save_model` or ``ReLUNetwork.save``.

    Parameters
    ----------
    path : str or path
    max_bytes : int
        Refuse a file whose arrays take more than this.  Default: 1 GiB.

    Returns
    -------
    Model

    Raises
    ------
    FileNotFoundError
        When there is no such file.
    ValueError
        When the file is not a model of this library, is damaged, or its certificate is incomplete.

    Notes
    -----
    The file may come from anywhere: nothing in it is executed, and sizes are checked before memory is taken.  What it
    *claims* is worth nothing until ``model.certificate.verify(X, y)`` has proven it on the data.
    """
    name = os.fspath(path)
    arrays = read_archive(path, max_bytes)
    numbered = itertools.takewhile(
        lambda place: f"network.{place}layers" in arrays, (f"{k}." for k in itertools.count())
    )
    places = list(numbered) or [""]  # a single network has no number
    known = tuple(f"{section}.{place}" for section in ("network", "certificate") for place in places)
    strange = [key for key in arrays if not key.startswith((*known, "metadata."))]
    if strange:
        raise ValueError(f"{name} holds {len(places)} networks and, besides, {strange[0]!r}")
    networks, certificates = [], []
    for place in places:
        weights = _section(arrays, f"network.{place}")
        network = network_from({f"network.{key}": value for key, value in weights.items()}, name)
        held = _section(arrays, f"certificate.{place}")
        networks.append(network)
        certificates.append(_certificate_from(held, network, name) if held else None)
    metadata = {}
    for key, value in _section(arrays, "metadata.").items():
        if value.ndim:
            raise ValueError(f"{name}: metadata.{key} must be one value, got shape {value.shape}")
        metadata[key] = value.item()
    return Model(tuple(networks), tuple(certificates), metadata)


def _entries(network: Any, certificate: Certificate | None) -> dict[str, dict[str, Any]]:
    """What describes a network and its certificate, by section of the file."""
    weights = {key.removeprefix("network."): value for key, value in network.arrays().items()}
    if certificate is None:
        return {"network": weights}
    claimed = certificate.network.arrays()
    names = {key: f"network.{key}" for key in weights}
    if not all(names[key] in claimed and np.array_equal(claimed[names[key]], weights[key]) for key in weights):
        raise ValueError("the certificate speaks of another network")
    claims = {}
    for field in _stored_fields(certificate):
        value = getattr(certificate, field.name)
        if value is not None:
            if field.type == OCTETS:
                claims[field.name] = _words(value)
            else:
                plain = field.type in VECTORS or field.type == MATRIX
                claims[field.name] = value if plain else KINDS[str(field.type)](value)
    return {"network": weights, "certificate": claims}


def _certificate_from(held: Mapping[str, NDArray[Any]], network: Any, name: str) -> Certificate:
    """The certificate of these entries, each of the type that its field has, or ValueError."""
    kind: type[Certificate] = Certificate if network.n_outputs is None else OutputsCertificate
    if isinstance(network, GatedReLUNetwork):
        kind = GatedCertificate if network.n_outputs is None else GatedOutputsCertificate
    stored = _stored_fields(kind)
    # what this version does not know it could not check
    strange = sorted(set(held) - {field.name for field in stored})
    if strange:
        raise ValueError(f"{name} has a certificate with unknown parts: {', '.join(strange)}")
    values: dict[str, Any] = {}
    for field in stored:
        if field.name not in held:
            if field.default is MISSING:
                raise ValueError(f"{name} has an incomplete certificate: no {field.name}")
        # annotations are text, because the module imports them from the future
        elif field.type in VECTORS:
            values[field.name] = _vector(
                held[field.name], VECTORS[str(field.type)], f"{name}: certificate.{field.name}"
            )
        elif field.type == MATRIX:
            values[field.name] = _vector(held[field.name], np.float64, f"{name}: certificate.{field.name}", ndim=2)
        elif field.type == OCTETS:
            values[field.name] = _octets(held[field.name], held.get("dual"), f"{name}: certificate.{field.name}")
        else:
            values[field.name] = take(held, field.name, KINDS[str(field.type)], f"{name}, certificate")
    return kind(network=network, **values)


def _stored_fields(certificate: Certificate | type[Certificate]) -> list[Field[Any]]:
    """The fields that a file holds entries for: all but the network."""
    return [field for field in fields(certificate) if field.name != "network"]


def _vector(value: NDArray[Any], kind: type, what: str, ndim: int = 1) -> NDArray[Any]:
    if value.ndim != ndim or value.dtype != kind:
        shape = "vector" if ndim == 1 else "matrix"
        raise ValueError(f"{what} must be a {shape} of {kind.__name__}, got {value.dtype} of shape {value.shape}")
    if not np.isfinite(value).all():
        raise ValueError(f"{what} must be finite, got {int((~np.isfinite(value)).sum())} entries that are not")
    return value


def _words(octets: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Octets (P, k) as integers of 64 bits, (P, ceil(k/8))."""
    padded = np.pad(octets, ((0, 0), (0, -octets.shape[1] % 8)))
    return np.ascontiguousarray(padded).view("<i8").astype(np.int64)


def _octets(words: NDArray[Any], dual: NDArray[Any] | None, what: str) -> NDArray[np.uint8]:
    """The octets of `_words`, a row for the samples of the dual point."""
    width = 0 if dual is None else (len(dual) + 7) // 8
    if words.ndim != 2 or words.dtype != np.int64 or words.shape[1] != (width + 7) // 8:
        raise ValueError(f"{what} must be integers, {(width + 7) // 8} a pattern, got {words.dtype} {words.shape}")
    return np.ascontiguousarray(words.astype("<i8").view(np.uint8)[:, :width])


def _section(arrays: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    return {key.removeprefix(prefix): value for key, value in arrays.items() if key.startswith(prefix)}


def feature_names(notes: Mapping[str, str | float]) -> list[str]:
    """The JSON list of columns in the notes, or ValueError."""
    return listed(notes, "features", str)


def trained_classes(notes: Mapping[str, str | float]) -> list[str]:
    """The labels that the networks of a model tell apart, in order; none for a model of numbers."""
    if "classes" in notes:
        return listed(notes, "classes", str)
    keys = ("negative_label", "positive_label")
    return [label_text(notes[key]) for key in keys] if all(key in notes for key in keys) else []


def listed(notes: Mapping[str, str | float], key: str, kind: type) -> list[Any]:
    """A JSON list of one kind of values in the notes, or ValueError."""
    text = str(notes.get(key, ""))
    try:
        values = json.loads(text)
    except ValueError:
        values = None
    kinds = (int, float) if kind is float else (kind,)
    if not (isinstance(values, list) and all(type(value) in kinds and value == value for value in values)):
        what = "columns" if key == "features" else "labels" if kind is str else "numbers"
        raise ValueError(f"the model's {key} must be a JSON list of {what}, got {text[:60]!r}")
    return values
