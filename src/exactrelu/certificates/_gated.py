"""Certificates of gated networks: the dual constraint of the group lasso, recomputed from the data by plain NumPy."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from exactrelu._coordinates import Coordinates
from exactrelu._typing import Array, Bools
from exactrelu.networks import GatedReLUNetwork

from ._bounds import rounding_slack
from ._certificate import Certificate, CertificateError, NotProvenError
from ._output_bounds import outputs_slack
from ._outputs import Matrix, OutputsCertificate
from ._vertices import price_vertices, row_products

Octets = NDArray[np.uint8]
CHUNK = 1 << 22  # numbers of unpacked patterns at a time


def active_rows(octets: Octets, n: int) -> Bools:
    """Packed patterns as booleans (P, n)."""
    return np.unpackbits(octets, axis=1, count=n).view(np.bool_)


def pack_gates(X: Array, vectors: Array) -> Octets:
    """The patterns ``X g > 0`` of gate vectors (P, d), packed: (P, ceil(n/8)). O(P n d)."""
    step = max(1, CHUNK // len(X))
    parts = [np.packbits((X @ vectors[k : k + step].T > 0.0).T, axis=1) for k in range(0, len(vectors), step)]
    return np.concatenate([np.zeros((0, (len(X) + 7) // 8), np.uint8), *parts])


def largest_correlation(octets: Octets, Z: Array, theta: Array) -> float:
    """``max_j |Z' D_j theta|`` over packed patterns, 0 for none; theta (n,) or (n, c). O(P n r c)."""
    products, step, best = row_products(Z, theta), max(1, CHUNK // len(Z)), 0.0
    for start in range(0, len(octets), step):
        sums = active_rows(octets[start : start + step], len(Z)) @ products
        best = max(best, float(np.sqrt(np.square(sums).sum(axis=1)).max(initial=0.0)))
    return best


@dataclass(frozen=True, repr=False)
class GatedCertificate(Certificate):
    """A gated network with a dual point that bounds the best objective over given patterns.

    Attributes
    ----------
    beta : float, weight decay
    loss : str
    layers, width : int, 2 and 1
    dual : (n,) array, theta: ``|X' D_j theta| <= beta`` for every pattern D_j
    objective : float, objective of `network` on the data
    lower_bound : float, dual value ``-L*(-theta)``: no gated network over these patterns is better
    gap : float, ``(objective - lower_bound) / |objective|``
    network : GatedReLUNetwork
    rank : None
    truncation_factor : float, 1
    pricing : str, "gates"
    output_bias : bool
        Whether the bound speaks of networks with an output bias too: theta then sums to zero, exactly.
    hint, multipliers : None
    patterns : (P, ceil(n/8)) uint8, or None
        The patterns that the bound speaks of, in `numpy.packbits` order; None: all patterns of the data.
    """

    patterns: Octets | None = None
    _networks: ClassVar[tuple[type, ...]] = (GatedReLUNetwork,)

    def _check_fields(self) -> None:
        super()._check_fields()
        octets, width = self.patterns, (len(self.dual) + 7) // 8
        legal = isinstance(octets, np.ndarray) and octets.dtype == np.uint8 and octets.shape[1:] == (width,)
        if octets is not None and not legal:
            shown = f"{octets.dtype} of shape {octets.shape}" if isinstance(octets, np.ndarray) else repr(octets)
            raise CertificateError(f"patterns must be octets, {width} for each pattern, got {shown}")
        if (self.rank, self.truncation_factor, self.layers, self.width) != (None, 1.0, 2, 1):
            raise CertificateError(
                f"gated networks have two layers and no truncation, claimed: layers = {self.layers}, width = "
                f"{self.width}, rank = {self.rank}, truncation_factor = {self.truncation_factor}"
            )

    def _prove_feasible(self, coordinates: Coordinates, rtol: float, time_limit: float | None) -> int:
        """Prove ``|X' D_j theta| <= beta (1 + rtol)`` for every pattern; returns their number.

        Of all patterns those at the rays of the arrangement (`_vertices.py`), O(2^(r-1) n^r r): some are counted
        several times.  Rows whose unit normals agree to 12 digits are one plane.
        """
        Z, most = coordinates.Z, self.beta * (1.0 + rtol)
        slack = (outputs_slack if self._several else rounding_slack)(coordinates, self.dual)
        upper = attained = 0.0
        count = 0
        if self.patterns is not None:
            upper = attained = largest_correlation(self.patterns, Z, self.dual)
            count = len(self.patterns)
        elif coordinates.rank:
            found = price_vertices(Z, self.dual, None if time_limit is None else time.monotonic() + time_limit)
            upper, attained, count = found.upper, found.attained, found.count
        if upper <= most - slack:
            return count
        if attained > most - slack:
            raise CertificateError(
                f"theta is not dual feasible: a pattern has |X'D theta| = {attained:.17g}, rounding hides {slack:.3g}, "
                f"beta = {self.beta:.17g}"
            )
        limit = "" if time_limit is None else f" within {time_limit} s"
        raise NotProvenError(
            f"dual feasibility was not proven for all patterns{limit} ({count} looked at, rank {coordinates.rank}): "
            f"more planes meet than is generic, or time ran out; beta = {self.beta:.17g}",
            beta=self.beta, worst_value=attained, cones=count, slack=slack, time_limit=time_limit,
        )  # fmt: skip


@dataclass(frozen=True, repr=False)
class GatedOutputsCertificate(GatedCertificate, OutputsCertificate):
    """A gated network with several outputs and a dual point that bounds the best objective over given patterns.

    Attributes
    ----------
    beta : float, weight decay
    loss : str
    layers, width : int, 2 and 1
    dual : (n, c) array, Theta: ``|X' D_j Theta|_F <= beta`` for every pattern D_j; rows of the softmax loss sum to zero
    objective : float, objective of `network` on the data
    lower_bound : float, dual value ``-L*(-Theta)``: no gated network over these patterns is better
    gap : float, ``(objective - lower_bound) / |objective|``
    network : GatedReLUNetwork with V (d, m, c)
    rank : None
    truncation_factor : float, 1
    pricing : str, "gates"
    output_bias : bool
        Whether the bound speaks of networks with output biases too: the columns of Theta then sum to zero, exactly.
    hint, multipliers : None
    patterns : (P, ceil(n/8)) uint8, or None
        As for `GatedCertificate`.
    """

    dual: Matrix
    _several: ClassVar[bool] = True
