"""Certificates of networks with several outputs, proven from the data by plain NumPy."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from exactrelu._checks import check_matrix
from exactrelu._coordinates import Coordinates
from exactrelu._typing import Array
from exactrelu.losses import Loss
from exactrelu.losses._several import is_softmax, vector_loss, vector_targets
from exactrelu.networks import ReLUNetwork

from ._bounds import scale_advice
from ._certificate import Certificate, CertificateError, NotProvenError
from ._output_bounds import audit_outputs, outputs_slack
from ._packed import packed_bound

Matrix = Array


@dataclass(frozen=True, repr=False)
class OutputsCertificate(Certificate):
    """A network with several outputs and a dual point that bounds the best objective of any of any width.

    Attributes
    ----------
    beta : float, weight decay
    loss : str
    layers, width : int, 2 and 1
    dual : (n, c) array, Theta: every direction u satisfies ``|Theta'(X u)_+| <= beta |u|``
    objective : float, objective of `network` on the data
    lower_bound : float, dual value ``-L*(-Theta)``: no network of any width is better
    gap : float, ``(objective - lower_bound) / |objective|``
    network : ReLUNetwork with alpha (m, c)
    rank : int or None
        Truncation rank, as for `Certificate`.
    truncation_factor : float, 1 without truncation
    pricing : str, the method that proved the bound
    output_bias : bool
        Whether the bound speaks of networks with output biases too: the columns of Theta then sum to zero, exactly.
    hint : None
    multipliers : vector of integers or None, as for `Certificate`
    """

    dual: Matrix
    _networks: ClassVar[tuple[type, ...]] = (ReLUNetwork,)
    _several: ClassVar[bool] = True

    def _check_fields(self) -> None:
        super()._check_fields()
        if (self.layers, self.width, self.hint) != (2, 1, None):
            raise CertificateError(
                f"networks of several outputs have two layers, claimed: layers = {self.layers}, width = {self.width}"
            )
        if self.dual.shape[1] != self.network.n_outputs:
            raise CertificateError(
                f"theta has {self.dual.shape[1]} columns, the network {self.network.n_outputs} outputs"
            )

    def _check_sums(self) -> None:
        """Refuse a theta whose sums are not exactly those that its bound needs."""
        columns = [math.fsum(column) for column in self.dual.T] if self.output_bias else [0.0]
        if any(columns):
            worst = max(columns, key=abs)
            raise CertificateError(
                f"the columns of theta must sum to zero for networks with output biases, a sum is {worst:.17g}"
            )
        rows = [math.fsum(row) for row in self.dual.tolist()] if is_softmax(self.loss) else [0.0]
        if any(rows):
            worst = max(rows, key=abs)
            raise CertificateError(f"the rows of theta must sum to zero for the softmax loss, one sums to {worst:.17g}")

    def _check_data(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None, given: Loss | None
    ) -> tuple[Array, Array, Loss]:
        data = check_matrix(X)
        if given is not None and given.name != self.loss:
            raise ValueError(f"the certificate is for the loss {self.loss!r}, got {given.name!r}")
        try:
            loss = vector_loss(self.loss if given is None else given, self.dual.shape[1], sample_weight, len(data))
        except ValueError as error:
            raise ValueError(f"{error}. A loss of your own is passed to verify as loss=") from None
        targets = vector_targets(self.loss if given is None else given, y, len(data))
        if targets is None or targets.shape != self.dual.shape:
            shape = np.shape(y) if targets is None else targets.shape
            raise ValueError(f"the certificate is for targets of shape {self.dual.shape}, got {shape}")
        try:
            loss.check_targets(targets)
        except ValueError as error:
            raise CertificateError(f"loss: claimed {self.loss!r}, but {error}") from None
        return self._with_ones(data), targets, loss

    def _prove_feasible(self, coordinates: Coordinates, rtol: float, time_limit: float | None) -> int:
        """Prove ``|Theta'(X u)_+| <= beta (1 + rtol) |u|``, rounding included; returns the number of cones."""
        slack, most = outputs_slack(coordinates, self.dual), self.beta * (1.0 + rtol)
        if not slack < most:
            raise NotProvenError(
                f"nothing can be proven: {scale_advice(slack, self.beta)}",
                beta=self.beta, worst_value=0.0, cones=0, slack=slack, time_limit=time_limit,
            )  # fmt: skip
        Z, V, packed = coordinates.Z, coordinates.V, self.multipliers
        if packed is not None and packed_bound(packed, Z, self.dual, V) <= most - slack:
            return 0
        audit = audit_outputs(Z, self.dual, most - slack, time_limit=time_limit)
        if not audit.proven:
            self._not_proven(audit, coordinates.rank, most, slack, time_limit)
        return audit.cones
